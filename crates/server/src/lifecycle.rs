//! Up and down: from a [`ServerConfig`] to a server that answers, and back.
//!
//! Up: open the installation ([`crate::installation`]), make the first owner if one was named,
//! refuse to serve strangers without an owner, load the pipeline, bind, serve. Down
//! ([`Running::stop`]): not ready, no new connections, requests in progress end, executions leave
//! memory, attempts in flight are recorded, the store closes.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use delivery::{Edge, Pipeline, Settings};
use domain::{access::Role, seal::KeyError};
use egress::{AddressPolicy, Egress, EgressConfig};
use store::{NodeRole, StoreError, lock::FileLock};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::sleep};

pub use crate::installation::{DATABASE_FILE, FINGERPRINT_FILE, Installation, KEY_FILE, NODE_FILE};
use crate::{
    auth::{Gatekeeper, password::Passwords, token::Tokens, watch as access_watch},
    config::{ConfigError, FirstOwner, ServerConfig},
    engine,
    front::Front,
    intake,
    metrics::Metrics,
    offline::OfflineDialer,
    serve::serve,
    starter::starter,
    state::{App, SharedApp},
};

/// Why the server did not start. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of the data folder could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The sealing key's text is no key.
    #[error(
        "the sealing key in {place} is damaged: {error}. Restore it from a backup: without it, secrets cannot be opened"
    )]
    BadKey {
        /// Where it was read.
        place: String,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The key is not the one that sealed what is in the database.
    #[error(
        "the sealing key in {place} (fingerprint {found}) is not the one that the database was sealed with (fingerprint {expected}). {}", bring(*.shared, "that key")
    )]
    WrongKey {
        /// Where it was read.
        place: String,
        /// The key's fingerprint.
        found: String,
        /// The fingerprint of the key that is needed.
        expected: String,
        /// Whether other nodes have it.
        shared: bool,
    },
    /// There is a database but no key.
    #[error("{KEY_FILE} is missing in {folder}, though there is a database that was sealed with it (fingerprint {expected}). {}", bring(*.shared, "it"), folder = .folder.display(), expected = .expected.as_deref().unwrap_or("not known"))]
    LostKey {
        /// The data folder.
        folder: PathBuf,
        /// The fingerprint of the key that is needed, unless that is lost as well.
        expected: Option<String>,
        /// Whether other nodes have it.
        shared: bool,
    },
    /// The file that says which installation this is says nothing.
    #[error("{path} holds no id: remove it, and another is made", path = .0.display())]
    BadNode(PathBuf),
    /// The store could not be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The first owner's login or password is refused.
    #[error("the first owner could not be made: {0}")]
    FirstOwner(String),
    /// Strangers could reach a server that nobody owns.
    #[error(
        "{address} can be reached by others, and there is no user yet, so anybody would be the owner. \
         Make one first: `signpost users add <login>` with the same --data-dir, or set SIGNPOST_ADMIN_LOGIN and \
         SIGNPOST_ADMIN_PASSWORD for this start. Or bind to 127.0.0.1"
    )]
    NoOwner {
        /// The address that was to be bound.
        address: IpAddr,
    },
    /// The port could not be bound.
    #[error("failed to bind {address}: {source}")]
    Bind {
        /// Address and port.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// What to do about a key that is not here.
fn bring(shared: bool, what: &str) -> String {
    if shared {
        format!(
            "Copy {KEY_FILE} from a node that runs, or set SIGNPOST_KEY to the same value on all nodes"
        )
    } else {
        format!("Restore {what} from a backup, or set SIGNPOST_KEY")
    }
}

/// A server that answers.
pub struct Running {
    address: SocketAddr,
    app: SharedApp,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    watching: [JoinHandle<()>; 2],
    /// The data folder is this process's until the store is closed.
    _folder: Option<FileLock>,
}

impl Running {
    /// Where it listens; the port is the real one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether requests without credentials act as the owner.
    pub fn is_local(&self) -> bool {
        self.app.gatekeeper.is_local()
    }

    /// The state behind it: for embedding and tests.
    pub fn app(&self) -> &SharedApp {
        &self.app
    }

    /// Takes the server down in order: `/readyz` says no, and everything is still served for the
    /// drain delay; no connection is accepted, requests in progress end (bounded), attempts in
    /// flight are recorded (bounded), what is held goes back, the store closes and with it ends
    /// the lease.
    pub async fn stop(self) {
        self.app.start_draining();
        sleep(self.app.config.node.drain_delay).await;
        self.stop.send_replace(true);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the serving task broke");
        }
        let patience = self.app.config.limits.drain_timeout;
        // First, since what executions come to causes deliveries.
        self.app.engine.drain(patience).await;
        self.app.pipeline.drain(patience).await;
        self.watching.iter().for_each(JoinHandle::abort);
        self.app.store().close().await;
    }
}

/// Starts a server. When this returns it answers at [`Running::address`].
///
/// # Errors
/// See [`StartError`]; nothing keeps running then.
pub async fn start(config: ServerConfig, edge: Edge) -> Result<Running, StartError> {
    let ip = config.bind_address()?;
    let metrics = Metrics::default();
    let installation = Installation::open(&config, &edge, &metrics).await?;
    let store = Arc::clone(&installation.store);
    let started = run(config, edge, metrics, installation, ip).await;
    if started.is_err() {
        store.close().await;
    }
    started
}

/// Starts a server on an open installation.
async fn run(
    config: ServerConfig,
    edge: Edge,
    mut metrics: Metrics,
    installation: Installation,
    ip: IpAddr,
) -> Result<Running, StartError> {
    let has_users = has_users(&config, &edge, &installation).await?;
    // Of a worker nothing can be asked.
    if !ip.is_loopback() && !has_users && config.node.role != NodeRole::Worker {
        return Err(StartError::NoOwner { address: ip });
    }
    let address = SocketAddr::new(ip, config.port);
    let listener = bind(address)
        .await
        .map_err(|source| StartError::Bind { address, source })?;
    let address = listener
        .local_addr()
        .map_err(|source| StartError::Bind { address, source })?;
    let passwords = Passwords::new(Arc::clone(&edge.entropy));
    let tokens = Tokens::of_installation(&installation.sealing);
    let gatekeeper = Gatekeeper::new(tokens, passwords, ip.is_loopback(), has_users);
    let egress = egress(&config, gatekeeper.is_local());
    let settings = Settings {
        retention: config.retention,
        role: config.node.role,
        ..Settings::default()
    };
    let Installation {
        store,
        sealing,
        folder,
    } = installation;
    let pipeline = Pipeline::load(store, egress, edge, sealing, settings).await?;
    pipeline.metrics().register(metrics.registry_mut());
    pipeline.set_address(address.to_string());
    pipeline.spawn();
    let limits = config.limits.clone();
    let executions = engine::build(
        &config,
        &pipeline,
        &address.to_string(),
        gatekeeper.is_local(),
    );
    let engine = executions.engine.clone();
    let secrets = config.webhook_secrets.clone();
    engine.spawn();
    let app = App::new(config, pipeline, executions, gatekeeper, metrics);
    let jq = Arc::new(engine.sandbox().clone());
    intake::open_doors(&app, starter(engine), jq, secrets).await?;
    let watching = [access_watch::spawn(&app), engine::watch(&app)];
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(serve(
        listener,
        Front::new(Arc::clone(&app)),
        limits,
        stopped,
    ));
    Ok(Running {
        address,
        app,
        stop,
        serving,
        watching,
        _folder: folder,
    })
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// The way out: public addresses, loopback in local mode, and what was allowed; with `offline`
/// nothing public.
pub fn egress(config: &ServerConfig, local_mode: bool) -> Egress {
    let base = AddressPolicy::public_only().allow_loopback(local_mode);
    let allowed = &config.allow_targets;
    let policy = allowed
        .iter()
        .fold(base, |policy, network| policy.allow(*network));
    let mut settings = EgressConfig {
        policy,
        ..EgressConfig::default()
    };
    if config.offline {
        settings.dialer = Arc::new(OfflineDialer::new(allowed.clone()));
    }
    Egress::new(settings)
}

/// Whether there are users, once the first owner is made if one was named.
async fn has_users(
    config: &ServerConfig,
    edge: &Edge,
    installation: &Installation,
) -> Result<bool, StartError> {
    if installation.store.user_count().await? > 0 {
        return Ok(true);
    }
    let Some(FirstOwner { login, password }) = &config.access.first_owner else {
        return Ok(false);
    };
    // Another node that starts at the same time may have made them just now.
    let made = installation
        .add_user(edge, login, password, Role::Owner)
        .await?;
    if made {
        tracing::info!("the first owner was made");
    }
    Ok(true)
}
