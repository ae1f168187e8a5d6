//! What a run comes to, in figures that programs read as JSON; [`super::tables`] shows them to people.
//!
//! Rates are counted between two moments both seen by the watcher: the end of the warm-up and the
//! end of publishing. CPU per delivery is counted until the last delivery, so that a server that
//! accepts now and delivers later pays for both.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::args::BenchArgs;
use super::histogram::Histogram;
use super::ledger::{Kind, Ledger, PublishError, Totals};
use super::procfs::Memory;
use super::watch::{MemorySample, Observed, Snapshot, per_second};

/// All figures of one run. Member names are stable: scripts compare runs by them.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Whether nothing was lost, every checked signature held and every id was right.
    pub(super) passed: bool,
    /// The user's note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workload: Option<String>,
    pub(super) setup: Setup,
    pub(super) throughput: Throughput,
    /// Milliseconds.
    pub(super) latency_ms: BTreeMap<&'static str, Latency>,
    pub(super) cpu: Cpu,
    /// Absent where the server's process is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<ServerMemory>,
    pub(super) integrity: Integrity,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Setup {
    /// `started` or the address that was given.
    pub(super) server: String,
    /// How many servers share the database; absent where one does all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nodes: Option<u32>,
    pub(super) cores: usize,
    /// `closed` or `open`.
    pub(super) r#loop: &'static str,
    pub(super) rate_per_second: Option<f64>,
    pub(super) connections: u32,
    pub(super) concurrency: u32,
    pub(super) batch: u32,
    pub(super) payload_bytes: u32,
    pub(super) fan_out: u32,
    pub(super) slow_endpoints: u32,
    pub(super) dead_endpoints: u32,
    pub(super) failing_endpoints: u32,
    pub(super) failing_share: f64,
    pub(super) verify_share: f64,
    /// Median time to write and sync 4 KiB beside the server's data.
    pub(super) fsync_ms: Option<f64>,
}

/// How fast it went.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Throughput {
    /// Length of the measured stretch of publishing.
    pub(super) measured_seconds: f64,
    pub(super) accepted_per_second: f64,
    /// First receipts at healthy endpoints, while publishing went on.
    pub(super) delivered_per_second: f64,
    /// The same until the last one, so with what had piled up.
    pub(super) delivered_per_second_to_the_last: f64,
    /// From the end of publishing to the last first receipt.
    pub(super) drain_seconds: f64,
    /// From asking the server to end to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stop_seconds: Option<f64>,
}

/// Quantiles of a latency.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Latency {
    pub(super) count: u64,
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// CPU time.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cpu {
    pub(super) server_seconds_per_1000_deliveries: Option<f64>,
    /// Average over the measured stretch.
    pub(super) server_cores: Option<f64>,
    /// PostgreSQL's processes; absent where there are none on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) database_seconds_per_1000_deliveries: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) database_cores: Option<f64>,
    /// Server and database together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total_seconds_per_1000_deliveries: Option<f64>,
    pub(super) load_seconds_per_1000_deliveries: Option<f64>,
    pub(super) load_cores: Option<f64>,
}

/// The server's resident memory, in bytes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServerMemory {
    /// Ready and without load.
    pub(super) idle_bytes: u64,
    /// The most the system saw.
    pub(super) peak_bytes: u64,
    /// After the last delivery (and settling).
    pub(super) end_bytes: u64,
    /// Over time; only when asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) samples: Vec<Sample>,
}

/// Memory at one moment.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sample {
    pub(super) at_seconds: f64,
    pub(super) resident_bytes: u64,
}

/// Whether the server did its duty.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Integrity {
    pub(super) issued: u64,
    pub(super) accepted: u64,
    /// First receipts at healthy endpoints; the next one at the others.
    pub(super) delivered: u64,
    pub(super) delivered_to_others: u64,
    /// Accepted and not received by a healthy endpoint.
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    /// Requests to no endpoint of this run or about no event of it.
    pub(super) unknown: u64,
    /// Deliveries whose id is not the one that publishing answered.
    pub(super) wrong_ids: u64,
    pub(super) signatures_verified: u64,
    pub(super) bad_signatures: u64,
    /// Deliveries of events whose publishing was not answered with a 2xx.
    pub(super) unacknowledged: u64,
    /// First attempts answered 500 for `--failing-share`.
    pub(super) refused_once: u64,
    /// Events not accepted, by status, `connection` or `unanswered`.
    pub(super) publish_errors: BTreeMap<String, u64>,
}

/// What the report is drawn from, beside the options and the ledger.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) server: String,
    pub(super) fsync: Option<Duration>,
    pub(super) idle: Option<Memory>,
    pub(super) end: Option<Memory>,
    pub(super) observed: Observed,
    pub(super) stop: Option<Duration>,
}

impl Report {
    /// Draws up the figures.
    pub(super) fn new(args: &BenchArgs, ledger: &Ledger, facts: &Facts) -> Self {
        let integrity = integrity(ledger);
        let failed = integrity.lost + integrity.bad_signatures + integrity.wrong_ids > 0
            || integrity.accepted == 0;
        Self {
            passed: !failed,
            workload: args.workload.clone(),
            setup: setup(args, facts),
            throughput: throughput(facts, ledger.totals()),
            latency_ms: latencies(ledger),
            cpu: cpu(&facts.observed),
            memory: memory(facts, args.memory_samples),
            integrity,
        }
    }
}

fn setup(args: &BenchArgs, facts: &Facts) -> Setup {
    Setup {
        server: facts.server.clone(),
        nodes: (args.nodes > 1).then_some(args.nodes),
        cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        r#loop: if args.rate.is_some() {
            "open"
        } else {
            "closed"
        },
        rate_per_second: args.rate,
        connections: args.connections,
        concurrency: args.concurrency(),
        batch: args.batch,
        payload_bytes: args.payload_bytes,
        fan_out: args.healthy_endpoints(),
        slow_endpoints: args.slow_endpoints,
        dead_endpoints: args.dead_endpoints + u32::from(args.backlog.is_some()),
        failing_endpoints: args.failing_endpoints,
        failing_share: args.failing_share,
        verify_share: args.verify_share,
        fsync_ms: facts.fsync.map(|fsync| fsync.as_secs_f64() * 1e3),
    }
}

fn throughput(facts: &Facts, end: Totals) -> Throughput {
    let (begin, published) = (&facts.observed.begin, &facts.observed.published);
    let seconds = seconds_between(begin, published);
    let drain_ns = end.last_receipt_ns.saturating_sub(published.at_ns);
    let last_ns = end.last_receipt_ns.max(published.at_ns);
    let seconds_to_the_last = Duration::from_nanos(last_ns - begin.at_ns).as_secs_f64();
    Throughput {
        measured_seconds: seconds,
        accepted_per_second: per_second(published.totals.accepted - begin.totals.accepted, seconds),
        delivered_per_second: per_second(
            published.totals.delivered - begin.totals.delivered,
            seconds,
        ),
        delivered_per_second_to_the_last: per_second(
            end.delivered - begin.totals.delivered,
            seconds_to_the_last,
        ),
        drain_seconds: Duration::from_nanos(drain_ns).as_secs_f64(),
        stop_seconds: facts.stop.map(|stop| stop.as_secs_f64()),
    }
}

fn latencies(ledger: &Ledger) -> BTreeMap<&'static str, Latency> {
    let (healthy, slow, dead) = (
        ledger.latencies(Kind::Healthy),
        ledger.latencies(Kind::Slow),
        ledger.latencies(Kind::Dead),
    );
    [
        ("send_to_accept", ledger.acknowledged()),
        ("send_to_receipt", &healthy.from_send),
        ("accept_to_receipt", &healthy.from_accept),
        ("send_to_receipt_slow", &slow.from_send),
        ("send_to_receipt_unresponsive", &dead.from_send),
    ]
    .into_iter()
    .filter_map(|(name, histogram)| Some((name, Latency::of(histogram)?)))
    .collect()
}

impl Latency {
    /// `None` when nothing was counted.
    fn of(nanoseconds: &Histogram) -> Option<Self> {
        let quantile = |per_mille| Some(milliseconds(nanoseconds.quantile(per_mille)?));
        Some(Self {
            count: nanoseconds.total(),
            p50: quantile(500)?,
            p95: quantile(950)?,
            p99: quantile(990)?,
            max: milliseconds(nanoseconds.max()),
        })
    }
}

fn cpu(observed: &Observed) -> Cpu {
    let Observed {
        begin,
        published,
        drained,
        ..
    } = observed;
    let received =
        |snapshot: &Snapshot| snapshot.totals.delivered + snapshot.totals.delivered_to_others;
    let deliveries = received(drained) - received(begin);
    let spent = |cpu: fn(&Snapshot) -> Option<Duration>, until: &Snapshot| {
        Some(cpu(until)?.saturating_sub(cpu(begin)?).as_secs_f64())
    };
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let per_1000 = |cpu| {
        spent(cpu, drained)
            .filter(|_| deliveries > 0)
            .map(|spent| spent * 1e3 / deliveries as f64)
    };
    let seconds = seconds_between(begin, published);
    let cores = |cpu| {
        spent(cpu, published)
            .filter(|_| seconds > 0.0)
            .map(|spent| spent / seconds)
    };
    Cpu {
        server_seconds_per_1000_deliveries: per_1000(|snapshot| snapshot.server_cpu),
        server_cores: cores(|snapshot| snapshot.server_cpu),
        database_seconds_per_1000_deliveries: per_1000(|snapshot| snapshot.database_cpu),
        database_cores: cores(|snapshot| snapshot.database_cpu),
        total_seconds_per_1000_deliveries: per_1000(|snapshot| {
            Some(snapshot.server_cpu? + snapshot.database_cpu?)
        }),
        load_seconds_per_1000_deliveries: per_1000(|snapshot| snapshot.own_cpu),
        load_cores: cores(|snapshot| snapshot.own_cpu),
    }
}

fn memory(facts: &Facts, with_samples: bool) -> Option<ServerMemory> {
    let (idle, end) = (facts.idle?, facts.end?);
    let sample = |sample: &MemorySample| Sample {
        at_seconds: Duration::from_nanos(sample.at_ns).as_secs_f64(),
        resident_bytes: sample.resident_bytes,
    };
    Some(ServerMemory {
        idle_bytes: idle.resident_bytes,
        peak_bytes: end.peak_bytes,
        end_bytes: end.resident_bytes,
        samples: if with_samples {
            facts.observed.memory.iter().map(sample).collect()
        } else {
            Vec::new()
        },
    })
}

fn integrity(ledger: &Ledger) -> Integrity {
    let totals = ledger.totals();
    let name = |error: &PublishError| match error {
        PublishError::Status(status) => status.to_string(),
        PublishError::Connection => "connection".to_owned(),
        PublishError::Unanswered => "unanswered".to_owned(),
    };
    Integrity {
        issued: totals.issued,
        accepted: totals.accepted,
        delivered: totals.delivered,
        delivered_to_others: totals.delivered_to_others,
        lost: ledger.outstanding(),
        duplicated: totals.duplicated,
        unknown: totals.unknown,
        wrong_ids: totals.wrong_ids,
        signatures_verified: totals.verified,
        bad_signatures: totals.bad_signatures,
        unacknowledged: ledger.unacknowledged(),
        refused_once: totals.refused,
        publish_errors: ledger
            .errors()
            .iter()
            .map(|(error, count)| (name(error), *count))
            .collect(),
    }
}

fn seconds_between(from: &Snapshot, to: &Snapshot) -> f64 {
    Duration::from_nanos(to.at_ns.saturating_sub(from.at_ns)).as_secs_f64()
}

fn milliseconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_become_milliseconds() {
        let mut histogram = Histogram::new();
        assert!(Latency::of(&histogram).is_none());
        histogram.record(2_000_000);
        let latency = Latency::of(&histogram).unwrap();
        assert_eq!(
            (latency.count, latency.max.to_string()),
            (1, "2".to_owned())
        );
    }
}
