//! What can be asked of `signpost bench`, and the checks between options.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use server::config::DatabaseUrl;

/// Deliveries in flight that a webhook can be made to allow.
const CONCURRENCY_MAX: u32 = 1_000;

/// Measure a server: publish events, receive the deliveries, report speed, cost and losses
///
/// Without --url it starts a server of its own on a new data folder, so that CPU and memory are the
/// server's alone, and removes both afterwards. Exit code 1: something was lost, or a signature or
/// an id was wrong.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  signpost bench                                   as fast as it goes, for 10 seconds
  signpost bench --rate 5000 --duration 60         latency under a steady load
  signpost bench --events 300000 --memory-samples  memory over many events
  signpost bench --dead-endpoints 1 --slow-endpoints 1 --rate 2000
                                                   whether the healthy endpoint suffers
  signpost bench --backlog 100000                  what waiting deliveries cost in memory
  signpost bench --database-url postgres://127.0.0.1/bench --nodes 2
                                                   two servers on one PostgreSQL database
  signpost bench --workflow --connections 32       a signed webhook in, three durable steps, a signed
                                                   webhook out; each answered when it has ended
  signpost bench --workflow async                  the same, answered as soon as it is on disk
  signpost bench --url http://127.0.0.1:8000 --pid 4711 --json")]
pub struct BenchArgs {
    /// Publish this many events, instead of for a time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pub events: Option<u64>,

    /// Publish for this many seconds after the warm-up [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<f64>,

    /// Publish this long before measuring [default: 2, with --events 0]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub warm_up: Option<f64>,

    /// Publish at this rate, in events per second, whether or not the server keeps up; latency then
    /// counts from the scheduled instant. Without it every connection publishes as fast as it is answered
    #[arg(long, value_name = "EVENTS_PER_SECOND", value_parser = rate)]
    pub rate: Option<f64>,

    /// Connections to publish over, one request at a time on each
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,

    /// Deliveries in flight that each webhook allows [default: as many as connections, at most 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: Option<u32>,

    /// Instead of publishing events, send signed webhooks that each start a workflow of three steps,
    /// the last of which publishes the event that is delivered; answered when it has ended (`sync`)
    /// or as soon as it is on disk (`async`)
    #[arg(long, value_enum, value_name = "ANSWER", num_args = 0..=1, default_missing_value = "sync", conflicts_with_all = ["url", "batch", "backlog"])]
    pub workflow: Option<Answers>,

    /// Size of an event's `data`, in bytes of JSON
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub payload_bytes: u32,

    /// What `data` is filled with
    #[arg(long, value_enum, default_value_t = Shape::Text)]
    pub payload_shape: Shape,

    /// Events per publish request
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub batch: u32,

    /// Healthy endpoints; each gets every event
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub fan_out: u32,

    /// Share of the deliveries to healthy endpoints whose first attempt is answered 500
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = share)]
    pub failing_share: f64,

    /// Further endpoints that answer 500, always
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000))]
    pub failing_endpoints: u32,

    /// Further endpoints that answer late
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000))]
    pub slow_endpoints: u32,

    /// How late the slow endpoints answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(..=60_000))]
    pub slow_ms: u64,

    /// Further endpoints that take a request and never answer
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000))]
    pub dead_endpoints: u32,

    /// Timeout of each webhook, in milliseconds [default: the server's]
    #[arg(long, value_name = "MS")]
    pub timeout_ms: Option<u64>,

    /// Format of each webhook [default: the server's]
    #[arg(long, value_name = "FORMAT")]
    pub webhooks_format: Option<String>,

    /// Publish this many events to one dead endpoint and nothing else: what a backlog costs in memory
    #[arg(long, value_name = "N", conflicts_with_all = ["events", "duration", "fan_out", "slow_endpoints", "dead_endpoints", "failing_endpoints", "failing_share"], value_parser = clap::value_parser!(u64).range(1..))]
    pub backlog: Option<u64>,

    /// Share of the signatures that is verified (verifying costs the receiver CPU)
    #[arg(long, value_name = "0..1", default_value_t = 1.0, value_parser = share)]
    pub verify_share: f64,

    /// After publishing, give up on missing deliveries when none has come for this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0, value_parser = seconds)]
    pub drain_timeout: f64,

    /// Sample the server's memory for this many seconds after the run, before stopping it
    /// [default: 0, with --backlog 2]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub settle: Option<f64>,

    /// Show memory over time
    #[arg(long)]
    pub memory_samples: bool,

    /// Run generator and receiver on threads of their own (more CPU, more throughput)
    #[arg(long)]
    pub two_threads: bool,

    /// A note on what is measured, repeated in the report
    #[arg(long, value_name = "TEXT")]
    pub workload: Option<String>,

    /// Measure the running server at this address (plain HTTP) instead of starting one
    #[arg(long, value_name = "URL", conflicts_with_all = ["database_url", "data_dir", "program", "serve_args"])]
    pub url: Option<String>,

    /// Bearer token for the server at --url
    #[arg(long, env = "SIGNPOST_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// Process id of the server at --url, to report its CPU and memory
    #[arg(long, requires = "url")]
    pub pid: Option<u32>,

    /// Address that receives deliveries; the server must reach it
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub receive_on: IpAddr,

    /// PostgreSQL database for the server that is started; the run makes a schema in it, and
    /// removes that afterwards
    #[arg(long, value_name = "URL")]
    pub database_url: Option<DatabaseUrl>,

    /// Start so many servers on the database, and spread the connections over them
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "url", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub nodes: u32,

    /// Make the server's data folder inside this one, which decides the disk that is measured
    /// [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Start this program instead of this one (to compare builds)
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,

    /// Further arguments for the `serve` that is started
    #[arg(last = true, value_name = "SERVE_ARGS")]
    pub serve_args: Vec<String>,
}

/// What events' `data` is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// One long text
    Text,
    /// A field of three small values for every 40 bytes
    Fields,
}

/// When webhooks that start a workflow are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Answers {
    /// When the workflow has ended
    Sync,
    /// When its start is on disk
    Async,
}

impl BenchArgs {
    /// Checks what the options' own types cannot.
    ///
    /// # Errors
    /// When the options leave nothing to measure or contradict each other.
    pub(super) fn validate(&self) -> Result<()> {
        let endpoints =
            self.fan_out + self.slow_endpoints + self.dead_endpoints + self.failing_endpoints;
        ensure!(
            self.backlog.is_some() || endpoints > 0,
            "no endpoints: give --fan-out, --slow-endpoints, --dead-endpoints or --failing-endpoints"
        );
        ensure!(
            self.nodes == 1 || self.database_url.is_some(),
            "several nodes need a database that they share: give --database-url"
        );
        if let Some(url) = &self.url {
            ensure!(
                url.starts_with("http://"),
                "--url must begin with http:// (the generator speaks no TLS)"
            );
        }
        Ok(())
    }

    /// Events to publish, in whole batches; `None` when time ends the run.
    pub(super) fn events_max(&self) -> Option<u64> {
        let events = self.backlog.or(self.events)?;
        Some(events.next_multiple_of(u64::from(self.batch)))
    }

    /// Seconds of publishing before measuring.
    pub(super) fn warm_up_seconds(&self) -> f64 {
        self.warm_up.unwrap_or(if self.events_max().is_some() {
            0.0
        } else {
            2.0
        })
    }

    /// Seconds of measured publishing; `None` when the number of events ends the run.
    pub(super) fn measured_seconds(&self) -> Option<f64> {
        self.events_max()
            .is_none()
            .then(|| self.duration.unwrap_or(10.0))
    }

    /// Endpoints that answer as they should: none for a backlog.
    pub(super) fn healthy_endpoints(&self) -> u32 {
        if self.backlog.is_some() {
            0
        } else {
            self.fan_out
        }
    }

    /// Deliveries in flight that each webhook allows.
    pub(super) fn concurrency(&self) -> u32 {
        self.concurrency
            .unwrap_or(self.connections.min(CONCURRENCY_MAX))
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text.strip_suffix('s').unwrap_or(text), 0.0, 86_400.0)
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.001, 10_000_000.0)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0)
}

fn number(text: &str, min: f64, max: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("not a number from {min} to {max}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn parse(line: &str) -> Result<BenchArgs, clap::Error> {
        Cli::try_parse_from(std::iter::once("bench").chain(line.split_whitespace()))
            .map(|cli| cli.bench)
    }

    #[test]
    fn without_options_it_measures_ten_seconds_after_two() {
        let args = parse("").unwrap();
        assert_eq!(
            (
                args.warm_up_seconds(),
                args.measured_seconds(),
                args.events_max()
            ),
            (2.0, Some(10.0), None)
        );
        assert_eq!(
            (args.connections, args.concurrency(), args.payload_bytes),
            (64, 64, 1024)
        );
        args.validate().unwrap();
    }

    #[test]
    fn a_number_of_events_fills_whole_batches_and_replaces_the_time() {
        let args = parse("--events 1001 --batch 10 --connections 8").unwrap();
        assert_eq!(
            (
                args.events_max(),
                args.measured_seconds(),
                args.concurrency()
            ),
            (Some(1010), None, 8)
        );
        assert!(args.warm_up_seconds() < f64::EPSILON);
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(parse("--events 1 --duration 1").is_err());
        assert!(parse("--failing-share 1.1").is_err());
        assert!(parse("--rate NaN").is_err());
        assert!(parse("--pid 1").is_err());
        assert!(parse("--nodes 2").unwrap().validate().is_err());
        assert!(parse("--nodes 2 --url http://127.0.0.1:1").is_err());
        parse("--nodes 2 --database-url postgres://127.0.0.1/x")
            .unwrap()
            .validate()
            .unwrap();
        assert!(parse("--fan-out 0").unwrap().validate().is_err());
        assert!(
            parse("--url https://example.com")
                .unwrap()
                .validate()
                .is_err()
        );
    }

    #[test]
    fn what_follows_two_dashes_goes_to_the_server() {
        assert_eq!(
            parse("--duration 1s -- --offline").unwrap().serve_args,
            ["--offline"]
        );
    }
}
