//! Up and down: from a [`ServerConfig`] to a server that answers, and back.
//!
//! Up: check the settings, open the data folder (0700), find the sealing key, open the store,
//! make the first owner if one was named, refuse to serve strangers without an owner, load the
//! pipeline, bind, serve. Down ([`Running::stop`]): not ready, no new connections, requests
//! in progress end, attempts in flight are recorded, the store closes.
//!
//! [`Installation`] is the part that needs no port: the command line opens it to work offline.

use std::{
    fs::{DirBuilder, OpenOptions, Permissions},
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use delivery::{Edge, Pipeline, Settings};
use domain::{
    UserId, WorkspaceId,
    access::{Membership, Role, User},
    seal::{KEY_BYTES, KeyError, SealingKey},
};
use egress::{AddressPolicy, Egress, EgressConfig};
use store::{
    SharedStore, StoreError,
    sqlite::{SqliteOptions, SqliteStore},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    auth::{
        Gatekeeper,
        login::normal_login,
        password::{self, Passwords},
        token::Tokens,
    },
    config::{ConfigError, FirstOwner, ServerConfig},
    front::Front,
    metrics::Metrics,
    offline::OfflineDialer,
    serve::serve,
    state::{App, SharedApp},
};

/// The database's file in the data folder.
pub const DATABASE_FILE: &str = "signpost.db";
/// The sealing key's file in the data folder.
pub const KEY_FILE: &str = "signpost.key";
/// The file that says which key the data were sealed with.
pub const FINGERPRINT_FILE: &str = "signpost.key.fingerprint";

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
    /// The key is not the one that sealed what is in the data folder.
    #[error(
        "the sealing key in {place} (fingerprint {found}) is not the one that this data folder was sealed with (fingerprint {expected}). Restore that key; `{FINGERPRINT_FILE}` says which it is"
    )]
    WrongKey {
        /// Where it was read.
        place: String,
        /// The key's fingerprint.
        found: String,
        /// The fingerprint of the key that is needed.
        expected: String,
    },
    /// There is a database but no key.
    #[error("{KEY_FILE} is missing in {folder}, though there is a database that was sealed with it (fingerprint {expected}). Restore it from a backup, or set SIGNPOST_KEY", folder = .folder.display(), expected = .expected.as_deref().unwrap_or("not known"))]
    LostKey {
        /// The data folder.
        folder: PathBuf,
        /// The fingerprint of the key that is needed, unless that is lost as well.
        expected: Option<String>,
    },
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

/// What an installation is without a port: its store and its key.
pub struct Installation {
    /// The store, open and locked for this process.
    pub store: SharedStore,
    /// The key that seals secrets.
    pub sealing: SealingKey,
}

impl Installation {
    /// Opens (or makes) the data folder, the key and the store.
    ///
    /// # Errors
    /// If the settings, a file, the key or the store do not allow it; also if another process
    /// has the store open.
    pub async fn open(
        config: &ServerConfig,
        edge: &Edge,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        config.validate()?;
        let folder = &config.data_dir;
        make_folder(folder)?;
        let sealing = sealing_key(config, edge)?;
        let options = SqliteOptions {
            observer: metrics.commit_observer(),
            ..SqliteOptions::new(edge.clock.now())
        };
        let path = folder.join(DATABASE_FILE);
        let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&path, options)).await;
        let store = opened.map_err(|error| StoreError::Failed(error.to_string()))??;
        Ok(Self {
            store: Arc::new(store),
            sealing,
        })
    }

    /// Adds a user to the default workspace; `false` if the login is taken.
    ///
    /// # Errors
    /// If login or password are refused, or the store fails.
    pub async fn add_user(
        &self,
        edge: &Edge,
        login: &str,
        password: &str,
        role: Role,
    ) -> Result<bool, StartError> {
        let login = normal_login(login);
        if login.is_empty() {
            return Err(StartError::FirstOwner("the login is empty".to_owned()));
        }
        let hash = password::hash_now(password, &*edge.entropy)
            .map_err(|problem| StartError::FirstOwner(problem.detail().to_owned()))?;
        let user = User {
            id: UserId::new(edge.ids.next_id()),
            login,
            password_hash: hash,
            created_at: edge.clock.now(),
        };
        let membership = Membership {
            user: user.id,
            workspace: WorkspaceId::DEFAULT,
            role,
        };
        Ok(self.store.create_user(user, membership).await?)
    }
}

/// A server that answers.
pub struct Running {
    address: SocketAddr,
    app: SharedApp,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
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

    /// Takes the server down in order: `/readyz` says no, no connection is accepted, requests in
    /// progress end (bounded), attempts in flight are recorded (bounded), the store closes.
    pub async fn stop(self) {
        self.app.start_draining();
        self.stop.send_replace(true);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the serving task broke");
        }
        self.app
            .pipeline
            .drain(self.app.config.limits.drain_timeout)
            .await;
        self.app.store().close().await;
    }
}

/// Starts a server. When this returns it answers at [`Running::address`].
///
/// # Errors
/// See [`StartError`]; nothing keeps running then.
pub async fn start(config: ServerConfig, edge: Edge) -> Result<Running, StartError> {
    let ip = config.bind_address()?;
    let mut metrics = Metrics::default();
    let installation = Installation::open(&config, &edge, &metrics).await?;
    let has_users = has_users(&config, &edge, &installation).await?;
    if !ip.is_loopback() && !has_users {
        installation.store.close().await;
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
        ..Settings::default()
    };
    let Installation { store, sealing } = installation;
    let pipeline = Pipeline::load(store, egress, edge, sealing, settings).await?;
    pipeline.metrics().register(metrics.registry_mut());
    pipeline.spawn();
    let limits = config.limits.clone();
    let app = App::new(config, pipeline, gatekeeper, metrics);
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
    })
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// The way out: public addresses, loopback in local mode, and what was allowed; with `offline`
/// nothing public.
fn egress(config: &ServerConfig, local_mode: bool) -> Egress {
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
    installation
        .add_user(edge, login, password, Role::Owner)
        .await?;
    tracing::info!("the first owner was made");
    Ok(true)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::File { path, source }
}

/// Makes the data folder, for its owner only. One that others could look into is closed to them.
fn make_folder(folder: &Path) -> Result<(), StartError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed(folder))?;
    let mode = folder
        .metadata()
        .map_err(failed(folder))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed(folder))?;
    }
    Ok(())
}

/// Finds the sealing key, or makes it on the first start, and checks that it is the one that
/// this folder was sealed with.
fn sealing_key(config: &ServerConfig, edge: &Edge) -> Result<SealingKey, StartError> {
    let folder = &config.data_dir;
    let key_path = folder.join(KEY_FILE);
    let expected =
        read_if_there(&folder.join(FINGERPRINT_FILE))?.map(|text| text.trim().to_owned());
    let (place, text) = match &config.key {
        Some(text) => ("SIGNPOST_KEY".to_owned(), Some(text.clone())),
        None => (key_path.display().to_string(), read_if_there(&key_path)?),
    };
    let sealing = match (text, &expected) {
        (Some(text), _) => read_key(&text).map_err(|error| StartError::BadKey {
            place: place.clone(),
            error,
        })?,
        // The key is made before the database: where there is one, there was a key.
        (None, expected) if expected.is_some() || folder.join(DATABASE_FILE).exists() => {
            return Err(StartError::LostKey {
                folder: folder.clone(),
                expected: expected.clone(),
            });
        }
        (None, _) => make_key(&key_path, edge)?,
    };
    let found = sealing.fingerprint();
    match expected {
        Some(expected) if expected != found => Err(StartError::WrongKey {
            place,
            found,
            expected,
        }),
        Some(_) => Ok(sealing),
        None => {
            write_private(&folder.join(FINGERPRINT_FILE), &found)?;
            Ok(sealing)
        }
    }
}

/// Reads a key as the key file has it (base64), or as 64 hexadecimal digits, as `openssl rand -hex 32`
/// prints one.
fn read_key(text: &str) -> Result<SealingKey, KeyError> {
    let mut bytes = [0; KEY_BYTES];
    match hex::decode_to_slice(text.trim(), &mut bytes) {
        Ok(()) => Ok(SealingKey::new(bytes)),
        Err(_) => SealingKey::parse(text),
    }
}

fn make_key(path: &Path, edge: &Edge) -> Result<SealingKey, StartError> {
    let mut bytes = [0; KEY_BYTES];
    edge.entropy.fill(&mut bytes);
    let key = SealingKey::new(bytes);
    write_private(path, &key.to_text())?;
    Ok(key)
}

/// Writes a new file that only its owner can read, and sees to it that it is on disk.
fn write_private(path: &Path, text: &str) -> Result<(), StartError> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(failed(path))
}

fn read_if_there(path: &Path) -> Result<Option<String>, StartError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}
