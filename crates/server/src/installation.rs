//! What an installation is without a port: its data folder, its store, its key.
//!
//! The store is the file in the data folder, or a PostgreSQL database that any number of
//! installations share. A process opens it as a *node* ([`Installation::open`]: it has the data
//! folder to itself and takes its part of the work) or as a *visitor* ([`Installation::visit`]:
//! the command line, which looks or changes something and leaves; on a shared database other
//! processes may run meanwhile).
//!
//! [`folder`] makes the folder and the files in it, [`key`] finds the sealing key or makes it.

mod folder;
mod key;

use std::{num::NonZeroUsize, sync::Arc, thread};

use delivery::Edge;
use domain::{
    UserId, WorkspaceId,
    access::{Membership, Role, User},
    seal::SealingKey,
};
use store::{
    Identity, NodeRole, SharedStore, StoreError,
    lock::FileLock,
    postgres::{PostgresOptions, PostgresStore},
    sqlite::{SqliteOptions, SqliteStore},
};
use uuid::Uuid;

use crate::{
    auth::{login::normal_login, password},
    config::{DatabaseUrl, ServerConfig, partition_span},
    lifecycle::StartError,
    metrics::Metrics,
};

/// The database's file in the data folder.
pub const DATABASE_FILE: &str = "signpost.db";
/// The sealing key's file in the data folder.
pub const KEY_FILE: &str = "signpost.key";
/// The file in which older versions kept which key the data were sealed with: it is still read
/// where the database does not know.
pub const FINGERPRINT_FILE: &str = "signpost.key.fingerprint";
/// The file in the data folder that says which installation this is.
pub const NODE_FILE: &str = "signpost.node";

/// An open installation. Whoever is done with it closes the store.
pub struct Installation {
    /// The store.
    pub store: SharedStore,
    /// The key that seals secrets.
    pub sealing: SealingKey,
    /// Keeps other nodes out of the data folder, where the store does not.
    pub(crate) folder: Option<FileLock>,
}

impl Installation {
    /// Opens (or makes) the data folder, the store and the key, for a node.
    ///
    /// # Errors
    /// If the settings, a file, the key or the store do not allow it; also if another process
    /// works on the data folder.
    pub async fn open(
        config: &ServerConfig,
        edge: &Edge,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        config.validate()?;
        folder::make(&config.data_dir)?;
        let Some(url) = &config.database_url else {
            let store = open_file(config, edge, metrics).await?;
            return Self::unlocked(config, edge, store, None).await;
        };
        let lock = FileLock::take(&config.data_dir.join(NODE_FILE))?;
        let identity = Identity {
            id: folder::node_id(&config.data_dir, edge)?,
            ..identity(config)
        };
        let store = open_shared(url, config, edge, identity, metrics).await?;
        Self::unlocked(config, edge, store, Some(lock)).await
    }

    /// Opens the installation for a command that looks or changes something and leaves. On a
    /// shared database it does not deliver, and needs the data folder for the key only.
    ///
    /// # Errors
    /// As for [`Installation::open`]; on a shared database others may have it open.
    pub async fn visit(config: &ServerConfig, edge: &Edge) -> Result<Self, StartError> {
        config.validate()?;
        folder::make(&config.data_dir)?;
        let store = match &config.database_url {
            None => open_file(config, edge, &Metrics::default()).await?,
            Some(url) => open_visiting(url, config, edge).await?,
        };
        Self::unlocked(config, edge, store, None).await
    }

    /// As [`Installation::visit`], for commands that need nothing sealed: on a shared database
    /// they need neither the data folder nor the key.
    ///
    /// # Errors
    /// As for [`Installation::visit`].
    pub async fn visit_store(
        config: &ServerConfig,
        edge: &Edge,
    ) -> Result<SharedStore, StartError> {
        match &config.database_url {
            None => Ok(Self::visit(config, edge).await?.store),
            Some(url) => {
                config.validate()?;
                open_visiting(url, config, edge).await
            }
        }
    }

    /// Finds the key; a store that cannot be used is closed again.
    async fn unlocked(
        config: &ServerConfig,
        edge: &Edge,
        store: SharedStore,
        folder: Option<FileLock>,
    ) -> Result<Self, StartError> {
        match key::find(config, edge, &store).await {
            Ok(sealing) => Ok(Self {
                store,
                sealing,
                folder,
            }),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
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

fn identity(config: &ServerConfig) -> Identity {
    Identity {
        id: Uuid::nil(),
        name: config.node.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role: config.node.role,
    }
}

/// The store in the data folder.
async fn open_file(
    config: &ServerConfig,
    edge: &Edge,
    metrics: &Metrics,
) -> Result<SharedStore, StartError> {
    key::prepare(config, edge)?;
    let options = SqliteOptions {
        observer: metrics.commit_observer(),
        identity: Identity {
            id: folder::node_id(&config.data_dir, edge)?,
            ..identity(config)
        },
        ..SqliteOptions::new(edge.clock.now())
    };
    let path = config.data_dir.join(DATABASE_FILE);
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&path, options)).await;
    let store = opened.map_err(|error| StoreError::Failed(error.to_string()))??;
    Ok(Arc::new(store))
}

/// The store that nodes share, for somebody who delivers nothing and is gone soon.
async fn open_visiting(
    url: &DatabaseUrl,
    config: &ServerConfig,
    edge: &Edge,
) -> Result<SharedStore, StartError> {
    let identity = Identity {
        id: edge.ids.next_id(),
        role: NodeRole::Api,
        ..identity(config)
    };
    open_shared(url, config, edge, identity, &Metrics::default()).await
}

/// The store that nodes share.
async fn open_shared(
    url: &DatabaseUrl,
    config: &ServerConfig,
    edge: &Edge,
    identity: Identity,
    metrics: &Metrics,
) -> Result<SharedStore, StartError> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let options = PostgresOptions {
        identity,
        observer: metrics.commit_observer(),
        lease: config.node.lease,
        partition_span: partition_span(config.retention),
        connections: config.node.pool_size(cores),
        ..PostgresOptions::new(edge.clock.now())
    };
    Ok(Arc::new(PostgresStore::open(url.expose(), options).await?))
}
