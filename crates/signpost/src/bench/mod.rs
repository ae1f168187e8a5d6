//! `signpost bench`: a load generator and a receiver in one process, measuring a server in another.
//!
//! Players, in the order of a run:
//! - [`child`] starts this program's own `serve` (or the run takes a `--url`), several of them on
//!   one [`database`] where that is asked for; [`control`] waits for them and makes a webhook per
//!   endpoint;
//! - [`traffic`] runs the [`generator`], which publishes, and the [`receiver`], which plays all
//!   endpoints and checks every delivery; both write into the [`ledger`] and speak HTTP through
//!   [`wire`];
//! - [`watch`] looks on, sampling CPU and memory through [`procfs`], and waits for stragglers;
//! - [`report`] draws up the figures ([`histogram`]: latencies), [`tables`] shows them.
//!
//! Generator, receiver and server share a machine, so the first two are built to cost little: no
//! HTTP library, no JSON, no allocation per event, one write and one read per exchange.
//!
//! It measures; it never decides what is fast enough. It does not cover TLS, nor servers that answer
//! without `Content-Length`.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod args;
mod child;
mod control;
mod database;
mod generator;
mod histogram;
mod ledger;
mod procfs;
mod receiver;
mod report;
mod tables;
mod traffic;
mod watch;
mod wire;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::edge;

pub use self::args::{Answers, BenchArgs};
use self::child::{Child, Launch};
use self::control::{Control, Webhook};
use self::database::Database;
use self::generator::{Plan, Target};
use self::ledger::{Kind, Ledger, parts_of_2_32};
use self::procfs::{Process, memory_of};
use self::receiver::Receiver;
use self::report::{Facts, Report};
use self::traffic::{Shared, Traffic};
use self::watch::{Observed, Schedule, Watched, Watcher};
use self::wire::{PublishRequest, PublishShape, TriggerShape};

/// How long answers may take once publishing is over.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long several nodes get to learn of webhooks that were made on one of them: they promise to
/// within a second.
const SPREAD: Duration = Duration::from_secs(2);
/// Settling after a backlog was published, when nothing else was asked.
const BACKLOG_SETTLE: f64 = 2.0;

/// Runs the benchmark, prints its report, and says whether all went well: nothing lost, no bad
/// signature. Blocks; makes its own threads and runtimes, so it must not be called inside one.
///
/// # Errors
/// When the options contradict each other, the server cannot be started, reached or set up, it ended
/// badly, or the user interrupted the run.
#[expect(
    clippy::needless_pass_by_value,
    reason = "every command owns its arguments"
)]
pub fn run(args: BenchArgs) -> Result<bool> {
    let (report, tidied) = measure(&args)?;
    let text = if args.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        report.tables()
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("failed to print the report")?;
    tidied?;
    Ok(report.passed)
}

/// Measures, and returns the figures and how tidying up went: the servers' end, or the removal of
/// the webhooks from one that goes on.
fn measure(args: &BenchArgs) -> Result<(Report, Result<()>)> {
    args.validate()?;
    let Some(url) = &args.url else {
        return measure_own(args);
    };
    let control = Control::new(url, args.token.clone())?;
    let server = Server {
        name: url,
        watched: Watched {
            servers: args.pid.map(Process::Pid).into_iter().collect(),
            database: None,
        },
        fsync: None,
        webhook_secret: String::new(),
    };
    let (shared, facts, webhooks) = measure_server(args, std::slice::from_ref(&control), &server)?;
    let removed = webhooks
        .iter()
        .try_for_each(|id| control.delete_webhook(id));
    Ok((Report::new(args, &shared.ledger(), &facts), removed))
}

/// Measures servers that are started for it.
fn measure_own(args: &BenchArgs) -> Result<(Report, Result<()>)> {
    let database = match &args.database_url {
        Some(url) => Some(Database::create(url.expose())?),
        None => None,
    };
    let webhook_secret = hex::encode(edge::random::<32>());
    let children = start(args, database.as_ref(), &webhook_secret)?;
    // The servers are in local mode; a token of another one would be refused.
    let controls = children
        .iter()
        .map(|child| Control::new(child.address(), None))
        .collect::<Result<Vec<_>>>()?;
    let server = Server {
        name: "started",
        watched: Watched {
            servers: children
                .iter()
                .map(|child| Process::Pid(child.pid()))
                .collect(),
            database: database.as_ref().and_then(Database::process),
        },
        // What is synced beside the server says nothing of a database elsewhere.
        fsync: children[0].fsync().filter(|_| database.is_none()),
        webhook_secret,
    };
    let (shared, mut facts, _) = measure_server(args, &controls, &server).map_err(|error| {
        let words: String = children.iter().map(Child::last_lines).collect();
        anyhow!("{error:#}\nthe server's last lines:\n{words}")
    })?;
    let stopped = stop(children);
    facts.stop = stopped.as_ref().ok().copied();
    Ok((
        Report::new(args, &shared.ledger(), &facts),
        stopped.map(drop),
    ))
}

/// Starts as many servers as were asked for: alone on a folder, or all on one database.
fn start(
    args: &BenchArgs,
    database: Option<&Database>,
    webhook_secret: &str,
) -> Result<Vec<Child>> {
    let mut launch = launch(args)?;
    if let Some(database) = database {
        launch.environment = vec![
            ("SIGNPOST_DATABASE_URL", database.url().to_owned()),
            // Nodes share what is sealed, so each needs the same key.
            ("SIGNPOST_KEY", hex::encode(edge::random::<32>())),
        ];
    }
    if args.workflow.is_some() {
        let secret = ("WEBHOOK_SECRET_GENERIC", webhook_secret.to_owned());
        launch.environment.push(secret);
    }
    (0..args.nodes).map(|_| Child::start(&launch)).collect()
}

/// Stops all; answers how long the slowest took.
fn stop(children: Vec<Child>) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for child in children {
        slowest = slowest.max(child.stop()?);
    }
    Ok(slowest)
}

/// What is known of the server, or the servers, beside the addresses.
#[derive(Debug, Clone)]
struct Server<'a> {
    name: &'a str,
    watched: Watched,
    fsync: Option<Duration>,
    /// What webhooks that start a workflow are signed with.
    webhook_secret: String,
}

fn launch(args: &BenchArgs) -> Result<Launch> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("failed to find this program")?,
    };
    Ok(Launch {
        program,
        data_parent: args.data_dir.clone().unwrap_or_else(std::env::temp_dir),
        environment: Vec::new(),
        further: args.serve_args.clone(),
    })
}

/// Runs the load once the servers are ready, and returns what came of it and the webhooks' ids.
fn measure_server(
    args: &BenchArgs,
    controls: &[Control],
    server: &Server<'_>,
) -> Result<(Arc<Shared>, Facts, Vec<String>)> {
    controls.iter().try_for_each(Control::wait_until_ready)?;
    let idle = memory_of(&server.watched.servers);
    let endpoints = Endpoints::bind(args)?;
    controls[0].register_event_type()?;
    if args.workflow.is_some() {
        controls[0].register_workflow()?;
    }
    let webhooks = endpoints.create_webhooks(args, &controls[0])?;
    if controls.len() > 1 {
        thread::sleep(SPREAD);
    }

    let warm_up = Duration::from_secs_f64(args.warm_up_seconds());
    let measure_from_ns = u64::try_from(warm_up.as_nanos()).expect("a day at most");
    let ledger = Ledger::new(
        &endpoints.kinds,
        args.events_max(),
        measure_from_ns,
        args.failing_share,
    );
    let shared = Arc::new(Shared::new(ledger));
    let observed = drive(args, controls, endpoints, &shared, server)?;
    let end = memory_of(&server.watched.servers);
    let facts = Facts {
        server: server.name.to_owned(),
        fsync: server.fsync,
        idle,
        end,
        observed,
        stop: None,
    };
    Ok((shared, facts, webhooks))
}

/// Starts the traffic, watches it to its end, and closes it.
fn drive(
    args: &BenchArgs,
    controls: &[Control],
    endpoints: Endpoints,
    shared: &Arc<Shared>,
    server: &Server<'_>,
) -> Result<Observed> {
    let target = |control: &Control| Target {
        address: control.address(),
        request: request(args, control, &server.webhook_secret),
    };
    let plan = Plan {
        targets: controls.iter().map(target).collect(),
        batch: u64::from(args.batch),
        connections: args.connections,
        rate: args.rate,
        patience: PATIENCE,
    };
    let slow = Duration::from_millis(args.slow_ms);
    let receiver = Receiver::new(
        Arc::clone(shared),
        endpoints.keys,
        parts_of_2_32(args.verify_share),
        slow,
    );
    let listeners = vec![endpoints.healthy, endpoints.others];
    let traffic = Traffic::start(shared, plan, receiver, listeners, args.two_threads)?;
    let schedule = Schedule {
        warm_up: Duration::from_secs_f64(args.warm_up_seconds()),
        measured: args.measured_seconds().map(Duration::from_secs_f64),
        drain_timeout: Duration::from_secs_f64(args.drain_timeout),
        settle: Duration::from_secs_f64(args.settle.unwrap_or(if args.backlog.is_some() {
            BACKLOG_SETTLE
        } else {
            0.0
        })),
    };
    let visible = !args.json && std::io::stderr().is_terminal();
    let observed = Watcher::new(
        shared,
        &traffic,
        &server.watched,
        visible,
        args.events_max(),
    )
    .watch(&schedule);
    traffic.close()?;
    observed
}

/// What is sent, again and again.
fn request(args: &BenchArgs, control: &Control, secret: &str) -> PublishRequest {
    let payload_bytes = args.payload_bytes as usize;
    match args.workflow {
        Some(answers) => PublishRequest::trigger(&TriggerShape {
            host: control.host(),
            secret,
            respond_async: answers == Answers::Async,
            payload_bytes,
            shape: args.payload_shape,
        }),
        None => PublishRequest::new(&PublishShape {
            host: control.host(),
            token: control.token(),
            payload_bytes,
            shape: args.payload_shape,
            batch: args.batch,
        }),
    }
}

/// The endpoints before they serve: sockets, behaviours and secrets.
struct Endpoints {
    kinds: Vec<Kind>,
    secrets: Vec<String>,
    keys: Vec<hmac::Key>,
    healthy: TcpListener,
    /// The slow, the dead and the failing have a port of their own: in the world they would not share
    /// a host with the healthy.
    others: TcpListener,
}

impl Endpoints {
    fn bind(args: &BenchArgs) -> Result<Self> {
        let kinds: Vec<_> = [
            (Kind::Healthy, args.healthy_endpoints()),
            (Kind::Slow, args.slow_endpoints),
            (
                Kind::Dead,
                args.dead_endpoints + u32::from(args.backlog.is_some()),
            ),
            (Kind::Failing, args.failing_endpoints),
        ]
        .into_iter()
        .flat_map(|(kind, count)| std::iter::repeat_n(kind, count as usize))
        .collect();
        let mut endpoints = Self {
            kinds,
            secrets: Vec::new(),
            keys: Vec::new(),
            healthy: TcpListener::bind((args.receive_on, 0))
                .context("failed to open the receiver's port")?,
            others: TcpListener::bind((args.receive_on, 0))
                .context("failed to open the receiver's port")?,
        };
        for _ in 0..endpoints.kinds.len() {
            let key = edge::random::<32>();
            endpoints
                .secrets
                .push(format!("whsec_{}", STANDARD.encode(key)));
            endpoints.keys.push(hmac::Key::new(hmac::HMAC_SHA256, &key));
        }
        Ok(endpoints)
    }

    /// Makes a webhook for each and returns their ids.
    fn create_webhooks(&self, args: &BenchArgs, control: &Control) -> Result<Vec<String>> {
        let mut ids = Vec::with_capacity(self.kinds.len());
        for (number, (kind, secret)) in self.kinds.iter().zip(&self.secrets).enumerate() {
            let listener = if *kind == Kind::Healthy {
                &self.healthy
            } else {
                &self.others
            };
            ids.push(control.create_webhook(&Webhook {
                name: format!("bench {number}"),
                target_url: format!("http://{}/hook/{number}", listener.local_addr()?),
                secret: secret.clone(),
                concurrency: args.concurrency(),
                timeout_ms: args.timeout_ms,
                format: args.webhooks_format.clone(),
            })?);
        }
        Ok(ids)
    }
}
