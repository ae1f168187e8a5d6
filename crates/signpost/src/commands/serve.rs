//! `signpost serve`: runs the server until it is told to stop.
//!
//! Flags and environment become a `server::ServerConfig` ([`settings`]); [`Stop`] says when to stop. What the
//! server is and does is the `server` crate's business.

mod settings;

use std::{
    io, net::SocketAddr, num::NonZeroUsize, path::PathBuf, process::ExitCode, time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;
use server::{ServerConfig, StartError};
use store::StoreError;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use self::settings::{AccessArgs, LimitsArgs, NodeArgs};
use crate::{
    edge,
    output::{BOLD, DIM, GOOD, Out, styled},
    problem::Problem,
    surroundings,
};

/// What is logged where nothing else is said: not what migrations tell of their source.
const LOG_DEFAULT: &str = "info,rusqlite_migration=warn";
/// Seconds of a day.
const DAY_S: u64 = 24 * 3600;

/// Start the server: API and deliveries, all in one
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  signpost serve
  signpost serve --port 0 --json                   a free port; its address as JSON
  signpost serve --host 0.0.0.0 --data-dir /var/lib/signpost
  signpost serve --allow-target 10.0.0.0/8         webhooks may target this private network
  SIGNPOST_DATABASE_URL=postgres://… signpost serve
                                                   one of any number of nodes on a database

On a loopback address with no users yet, requests need no credentials (local mode). On any other,
make an owner first: signpost users add LOGIN. SIGTERM or Ctrl-C drains and stops; a second one
stops at once. Several nodes: docs/guides/several-nodes.md.")]
pub struct ServeArgs {
    /// Address to listen on
    #[arg(
        long,
        env = "SIGNPOST_HOST",
        default_value = "127.0.0.1",
        value_name = "ADDRESS"
    )]
    pub host: String,

    /// Port to listen on; 0 picks a free one
    #[arg(short, long, env = "SIGNPOST_PORT", default_value_t = 8000)]
    pub port: u16,

    /// The folder that holds everything: the database, the key that seals secrets
    #[arg(
        long,
        env = "SIGNPOST_DATA_DIR",
        default_value = "./signpost-data",
        value_name = "DIR"
    )]
    pub data_dir: PathBuf,

    /// A network that webhooks may target although it is not public; repeat it or use commas
    #[arg(
        long,
        env = "SIGNPOST_ALLOW_TARGET",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub allow_target: Vec<ipnet::IpNet>,

    /// The folder whose workflow files may be registered by their path
    #[arg(long, env = "SIGNPOST_WORKFLOWS_DIR", value_name = "DIR")]
    pub workflows_dir: Option<PathBuf>,

    /// Let workflows run Python although others than you may write them: such code can reach all
    /// that the server's account can (in local mode it may always run)
    #[arg(long, env = "SIGNPOST_ALLOW_CODE")]
    pub allow_code: bool,

    /// Call nothing but loopback addresses and --allow-target; models are the offline stand-in
    #[arg(long, env = "SIGNPOST_OFFLINE")]
    pub offline: bool,

    /// What is logged, as in `info,delivery=debug`
    #[arg(
        long,
        env = "SIGNPOST_LOG",
        default_value = LOG_DEFAULT,
        value_name = "FILTER"
    )]
    pub log: String,

    /// Log JSON lines
    #[arg(long, env = "SIGNPOST_LOG_JSON")]
    pub log_json: bool,

    /// Worker threads beside the store's writer [default: one for every two cores]
    #[arg(long, env = "SIGNPOST_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,

    /// How many days finished events are kept
    #[arg(long, env = "SIGNPOST_RETENTION_DAYS", default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    pub retention_days: u64,

    #[command(flatten)]
    pub node: NodeArgs,

    #[command(flatten)]
    pub access: AccessArgs,

    #[command(flatten)]
    pub limits: LimitsArgs,
}

impl ServeArgs {
    /// What the server is started with.
    pub fn config(self) -> ServerConfig {
        ServerConfig {
            host: self.host,
            port: self.port,
            data_dir: self.data_dir,
            database_url: self.node.database.url(),
            node: self.node.config(),
            key: self.access.key.clone(),
            allow_targets: self.allow_target,
            offline: self.offline,
            public_url: self.access.public_url.clone(),
            retention: Duration::from_secs(self.retention_days * DAY_S),
            access: self.access.config(),
            limits: self.limits.config(),
            program: surroundings::program(),
            models: surroundings::models(self.offline),
            allow_code: self.allow_code,
            webhook_secrets: surroundings::webhook_secrets(),
            workflows_dir: self.workflows_dir,
        }
    }
}

/// Runs `signpost serve`.
pub fn run(args: ServeArgs, out: Out) -> Result<ExitCode> {
    log_to_stderr(&args.log, args.log_json)?;
    let threads = args.threads;
    let config = args.config();
    config.validate().map_err(|error| {
        Problem::misuse(error.to_string()).at(format!("--{}", error.setting.replace('_', "-")))
    })?;
    runtime(threads)?.block_on(serve(config, out))
}

/// The server's own threads: where nothing else is said, one for every two cores, since the
/// store's writer keeps one busy, and threads that sleep and wake cost more than they bring.
pub fn runtime(threads: Option<NonZeroUsize>) -> Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    let threads = threads.map_or_else(|| (cores / 2).max(1), NonZeroUsize::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("failed to start the runtime")
}

fn log_to_stderr(filter: &str, json: bool) -> Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Problem::misuse("that is no log filter")
            .at("--log")
            .detail(error.to_string())
            .advice("write one as info, or warn,delivery=debug")
    })?;
    let choice = anstream::AutoStream::choice(&io::stderr());
    let colours = choice != anstream::ColorChoice::Never;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json {
        logs.json().init();
    } else {
        logs.with_ansi(colours).init();
    }
    Ok(())
}

async fn serve(config: ServerConfig, out: Out) -> Result<ExitCode> {
    let mut stop = Stop::new()?;
    let data = match &config.database_url {
        Some(url) => url.to_string(),
        None => config.data_dir.display().to_string(),
    };
    let running = tokio::select! {
        running = start(config) => running?,
        () = stop.wait() => return Ok(ExitCode::SUCCESS),
    };
    if announce(running.address(), &data, out).is_err() {
        tracing::warn!("nobody reads standard output; the server runs on");
    }
    stop.wait().await;
    tokio::select! {
        () = running.stop() => Ok(ExitCode::SUCCESS),
        () = stop.wait() => {
            out.note("stopping at once; what was in flight is sent again at the next start");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Starts a server; what keeps it from starting says what to do.
pub async fn start(config: ServerConfig) -> Result<server::Running> {
    let address = format!("{}:{}", config.host, config.port);
    server::start(config, edge::system())
        .await
        .map_err(|error| not_started(error, address).into())
}

const NO_OWNER: &str =
    "others can reach this address, and there is no user yet: anybody would be the owner";
const MAKE_OWNER: &str = "make an owner first: signpost users add LOGIN --data-dir DIR
or set SIGNPOST_ADMIN_LOGIN and SIGNPOST_ADMIN_PASSWORD for this start
or listen on 127.0.0.1";

fn not_started(error: StartError, address: String) -> Problem {
    let problem = Problem::failed("the server could not start").at(address);
    match &error {
        StartError::NoOwner { .. } => problem.detail(NO_OWNER).advice(MAKE_OWNER),
        StartError::Bind { source, .. } => match source.kind() {
            io::ErrorKind::AddrInUse => problem
                .detail("another program listens there")
                .advice("choose another port with --port, or --port 0 for a free one"),
            io::ErrorKind::PermissionDenied => problem
                .detail("ports below 1024 need a privilege")
                .advice("choose another port with --port"),
            _ => problem.because(error),
        },
        StartError::Store(StoreError::InUse(_)) => problem
            .because(error)
            .advice("stop the other one, or use another folder with --data-dir"),
        StartError::Store(StoreError::Unavailable(_)) => problem.because(error).advice(
            "check --database-url (or SIGNPOST_DATABASE_URL, or DATABASE_URL) and the database",
        ),
        _ => problem.because(error),
    }
}

fn announce(address: SocketAddr, data: &str, out: Out) -> Result<()> {
    let url = format!("http://{address}");
    if out.is_json() {
        return out.record(&json!({ "address": url }));
    }
    out.line(format_args!(
        "{} Signpost is ready at {}",
        styled(GOOD, "●"),
        styled(BOLD, &url)
    ))?;
    out.line(styled(
        DIM,
        format_args!("  API {url}/api/docs · data {data}"),
    ))
}

/// SIGTERM and SIGINT.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From now on neither ends the process by itself.
    ///
    /// # Errors
    /// If the system refuses to tell of them.
    pub fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("failed to listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of either.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
