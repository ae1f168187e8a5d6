//! The installation itself, for commands that work without a running server: the data folder, or
//! a PostgreSQL database.
//!
//! A running server has the folder's database locked, so nothing here runs beside one. A
//! PostgreSQL database may have any number of nodes meanwhile; a command is one of them for a
//! moment, and delivers nothing.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use server::{
    ServerConfig, StartError,
    auth::{login::normal_login, password, token::Tokens},
    config::{DatabaseUrl, NodeConfig},
    lifecycle::{DATABASE_FILE, Installation},
};
use store::{SharedStore, StoreError};

use crate::{commands::database::DatabaseArgs, edge, problem::Problem};

/// Where `serve` keeps its data when nothing else is said.
const DEFAULT: &str = "./signpost-data";

/// Connections to a PostgreSQL database: one command does one thing at a time.
const CONNECTIONS: usize = 4;

/// What these flags stand under in the help.
const HEADING: &str = "Data folder";

/// Which data folder a command works on.
#[derive(Clone, Debug, Args)]
#[expect(
    clippy::struct_field_names,
    reason = "the field is named as its flag is"
)]
pub struct DataDir {
    /// The folder that holds the database [default: ./signpost-data]
    #[arg(long, global = true, help_heading = HEADING, env = "SIGNPOST_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// The key that seals secrets, where it does not lie in the data folder
    #[arg(
        long,
        global = true,
        help_heading = HEADING,
        env = "SIGNPOST_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    key: Option<String>,

    #[command(flatten)]
    database: DatabaseArgs,
}

impl DataDir {
    /// Whether a folder or a database was named: not by `DATABASE_URL`, which other programs read
    /// as well.
    pub fn is_given(&self) -> bool {
        self.data_dir.is_some() || self.database.database_url.is_some()
    }

    /// The database, where it does not lie in the folder.
    pub fn database_url(&self) -> Option<DatabaseUrl> {
        self.database.url()
    }

    /// Where the data are, for people.
    pub fn place(&self) -> String {
        self.database
            .url()
            .map_or_else(|| self.path().display().to_string(), |url| url.to_string())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.data_dir
            .as_deref()
            .unwrap_or_else(|| Path::new(DEFAULT))
    }

    /// Whether there is a database in it.
    pub fn has_database(&self) -> bool {
        self.path().join(DATABASE_FILE).exists()
    }

    /// The text of the key that seals secrets, where one was given.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn config(&self) -> ServerConfig {
        ServerConfig {
            data_dir: self.path().to_owned(),
            database_url: self.database.url(),
            node: NodeConfig {
                name: format!("{} (command line)", edge::host_name()),
                connections: Some(CONNECTIONS),
                ..NodeConfig::default()
            },
            key: self.key.clone(),
            ..ServerConfig::default()
        }
    }
}

/// What to do about a folder without a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMissing {
    /// Make one.
    Create,
    /// Say so.
    Fail,
}

/// Opens the store and reads the key.
///
/// # Errors
/// If a server has it open, it is damaged, or missing.
pub async fn open_installation(data_dir: &DataDir, if_missing: IfMissing) -> Result<Installation> {
    check_there(data_dir, if_missing)?;
    let opened = Installation::visit(&data_dir.config(), &edge::system()).await;
    opened.map_err(|error| not_opened(error, data_dir).into())
}

/// Opens the store, for what needs no key.
///
/// # Errors
/// As for [`open_installation`].
pub async fn open(data_dir: &DataDir, if_missing: IfMissing) -> Result<SharedStore> {
    check_there(data_dir, if_missing)?;
    let opened = Installation::visit_store(&data_dir.config(), &edge::system()).await;
    opened.map_err(|error| not_opened(error, data_dir).into())
}

fn check_there(data_dir: &DataDir, if_missing: IfMissing) -> Result<()> {
    let is_there = data_dir.database_url().is_some() || data_dir.has_database();
    if is_there || if_missing == IfMissing::Create {
        return Ok(());
    }
    Err(Problem::failed("there is no data folder of Signpost")
        .at(data_dir.place())
        .advice("name it with --data-dir, or start a server: signpost serve")
        .into())
}

fn not_opened(error: StartError, data_dir: &DataDir) -> Problem {
    let what = match data_dir.database_url() {
        Some(_) => "failed to open the database",
        None => "failed to open the data folder",
    };
    let advice = match &error {
        StartError::Store(StoreError::InUse(_)) => {
            Some("ask the running server instead, with --server URL, or stop it first")
        }
        StartError::File { .. } => {
            Some("check who owns the folder: signpost doctor --data-dir DIR")
        }
        _ => None,
    };
    let problem = Problem::failed(what).at(data_dir.place()).because(error);
    match advice {
        Some(advice) => problem.advice(advice),
        None => problem,
    }
}

/// Makes a token for a user without their password, and says until when it counts. Whoever can
/// read the folder can read all that is in it anyway.
///
/// # Errors
/// As for [`open_installation`], and if there is no such user.
pub async fn token(data_dir: &DataDir, login: &str) -> Result<(String, String)> {
    let installation = open_installation(data_dir, IfMissing::Fail).await?;
    let user = installation.store.user_by_login(&normal_login(login)).await;
    installation.store.close().await;
    let user = user?.ok_or_else(|| {
        Problem::failed(format!("there is no user `{login}`"))
            .at(data_dir.place())
            .advice("see who there is: signpost users list --data-dir DIR")
    })?;
    let lifetime = data_dir.config().access.token_lifetime;
    let now = edge::now();
    let mark = password::mark(&user.password_hash);
    let lifetime_s = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX / 2);
    let token = Tokens::of_installation(&installation.sealing).issue(
        &user.id.to_string(),
        mark,
        now,
        lifetime_s,
    );
    Ok((token, (now + lifetime).to_string()))
}
