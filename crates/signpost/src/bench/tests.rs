//! Whole runs against a make-believe server: what goes wrong there must show in the report.

use clap::Parser;

use super::fake::{Fake, Faults};
use super::report::Report;
use super::{BenchArgs, measure};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    bench: BenchArgs,
}

fn args(url: &str, line: &str) -> BenchArgs {
    let line = format!("bench --url {url} --connections 4 {line}");
    let mut args = Cli::parse_from(line.split_whitespace()).bench;
    // The fake has delivered before it answers, unless it is told to do so in the background.
    if !line.contains("--drain-timeout") {
        args.drain_timeout = 0.0;
    }
    args
}

/// Measures a fake with these faults.
fn report(faults: Faults, line: &str) -> Report {
    let (fake, url) = Fake::start(faults);
    let (report, stopped) = measure(&args(&url, line)).unwrap();
    stopped.unwrap();
    assert_eq!(
        fake.webhooks_left(),
        0,
        "webhooks are removed from a server that goes on"
    );
    report
}

#[test]
fn an_honest_server_passes() {
    let report = report(
        Faults::default(),
        "--events 300 --fan-out 2 --memory-samples",
    );
    assert!(report.passed);
    let integrity = &report.integrity;
    assert_eq!(
        (integrity.issued, integrity.accepted, integrity.delivered),
        (300, 300, 600)
    );
    assert_eq!(
        (
            integrity.lost,
            integrity.duplicated,
            integrity.bad_signatures
        ),
        (0, 0, 0)
    );
    assert_eq!(
        (
            integrity.signatures_verified,
            integrity.unknown,
            integrity.wrong_ids
        ),
        (600, 0, 0)
    );
    assert!(integrity.publish_errors.is_empty());
    assert_eq!(report.latency_ms["send_to_accept"].count, 300);
    let receipt = report.latency_ms["send_to_receipt"];
    assert_eq!(receipt.count, 600);
    assert!(receipt.p50 > 0.0 && receipt.p50 <= receipt.p99 && receipt.p99 <= receipt.max);
    assert!(report.throughput.accepted_per_second > 0.0);
    assert!(
        report.tables().contains("Nothing lost"),
        "{}",
        report.tables()
    );
}

#[test]
fn lost_events_are_counted_and_fail_the_run() {
    let report = report(
        Faults {
            lose_every: 10,
            ..Faults::default()
        },
        "--events 300",
    );
    assert_eq!(
        (report.integrity.delivered, report.integrity.lost),
        (270, 30)
    );
    assert!(!report.passed);
    assert!(
        report.tables().contains("FAILED: 30 lost"),
        "{}",
        report.tables()
    );
}

#[test]
fn doubled_deliveries_are_counted_but_allowed() {
    let report = report(
        Faults {
            double_every: 3,
            ..Faults::default()
        },
        "--events 300",
    );
    assert_eq!(
        (
            report.integrity.delivered,
            report.integrity.duplicated,
            report.integrity.lost
        ),
        (300, 100, 0)
    );
    assert!(report.passed);
}

#[test]
fn wrong_signatures_are_counted_and_fail_the_run() {
    let report = report(
        Faults {
            missign_every: 100,
            ..Faults::default()
        },
        "--events 300",
    );
    assert_eq!(
        (report.integrity.bad_signatures, report.integrity.lost),
        (3, 0)
    );
    assert!(!report.passed);
}

#[test]
fn a_sample_of_the_signatures_can_be_verified() {
    let report = report(
        Faults {
            missign_every: 1,
            ..Faults::default()
        },
        "--events 300 --verify-share 0.2",
    );
    let verified = report.integrity.signatures_verified;
    assert!((30..100).contains(&verified), "{verified} verified");
    assert_eq!(report.integrity.bad_signatures, verified);
}

#[test]
fn ids_other_than_the_publisher_got_are_counted_and_fail_the_run() {
    let report = report(
        Faults {
            misname_every: 50,
            ..Faults::default()
        },
        "--events 300",
    );
    assert_eq!(report.integrity.wrong_ids, 6);
    assert!(!report.passed);
}

#[test]
fn refused_publishes_are_counted_by_status_and_are_not_lost() {
    let report = report(
        Faults {
            refuse_every: 100,
            ..Faults::default()
        },
        "--events 300",
    );
    assert_eq!(
        report.integrity.publish_errors,
        [("503".to_owned(), 3)].into()
    );
    assert_eq!((report.integrity.accepted, report.integrity.lost), (297, 0));
    assert!(report.passed);
}

#[test]
fn a_failing_share_is_delivered_at_the_second_attempt() {
    let report = report(Faults::default(), "--events 300 --failing-share 0.1");
    let refused = report.integrity.refused_once;
    assert!((10..60).contains(&refused), "{refused} refused");
    assert_eq!(
        (
            report.integrity.delivered,
            report.integrity.duplicated,
            report.integrity.lost
        ),
        (300, 0, 0)
    );
    assert_eq!(report.latency_ms["send_to_receipt"].count, 300 - refused);
}

#[test]
fn batches_and_another_payload_are_delivered_one_by_one() {
    let line = "--events 295 --batch 20 --payload-bytes 9000 --payload-shape fields --two-threads";
    let report = report(Faults::default(), line);
    assert_eq!(
        (report.integrity.accepted, report.integrity.delivered),
        (300, 300)
    );
    assert_eq!(
        (
            report.integrity.lost,
            report.integrity.wrong_ids,
            report.integrity.bad_signatures
        ),
        (0, 0, 0)
    );
}

#[test]
fn slow_dead_and_failing_endpoints_are_told_apart() {
    let faults = Faults {
        in_background: true,
        ..Faults::default()
    };
    let line = "--events 50 --slow-endpoints 1 --slow-ms 1 --dead-endpoints 1 --failing-endpoints 1 --settle 0.05 --drain-timeout 10";
    let report = report(faults, line);
    assert_eq!((report.integrity.delivered, report.integrity.lost), (50, 0));
    assert!(report.latency_ms["send_to_receipt_slow"].count > 0);
    assert!(report.latency_ms["send_to_receipt_unresponsive"].count > 0);
    assert_eq!(report.latency_ms["send_to_receipt"].count, 50);
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let report = report(Faults::default(), "--events 40 --rate 2000");
    // 40 events at 2,000/s take 19.5 ms, however fast the server is; one run can only be slower.
    assert!(
        report.throughput.accepted_per_second < 2_200.0,
        "{}",
        report.throughput.accepted_per_second
    );
    assert_eq!((report.integrity.issued, report.integrity.lost), (40, 0));
}

#[test]
fn time_ends_a_run_and_the_warm_up_is_not_measured() {
    let report = report(Faults::default(), "--duration 0.03 --warm-up 0.02");
    assert!(report.passed);
    assert!(report.latency_ms["send_to_receipt"].count < report.integrity.delivered);
}

#[test]
fn a_backlog_goes_to_one_dead_endpoint() {
    let faults = Faults {
        in_background: true,
        ..Faults::default()
    };
    let report = report(faults, "--backlog 100 --settle 0");
    assert_eq!(
        (
            report.integrity.accepted,
            report.integrity.delivered,
            report.setup.dead_endpoints
        ),
        (100, 0, 1)
    );
    assert!(report.passed && !report.latency_ms.contains_key("send_to_receipt"));
}

#[test]
fn webhooks_are_asked_for_as_the_options_say() {
    let (fake, url) = Fake::start(Faults::default());
    let line = "--events 8 --concurrency 7 --timeout-ms 1500 --webhooks-format orchestration";
    measure(&args(&url, line)).unwrap().1.unwrap();
    let made = fake.made.lock().unwrap();
    assert_eq!(made[0]["events"], serde_json::json!(["bench.event"]));
    assert_eq!(
        (
            made[0]["concurrency"].as_u64(),
            made[0]["timeoutMs"].as_u64()
        ),
        (Some(7), Some(1500))
    );
    assert_eq!(made[0]["format"], "orchestration");
}

#[test]
fn a_server_that_accepts_nothing_fails_the_run() {
    let report = report(
        Faults {
            refuse_every: 1,
            ..Faults::default()
        },
        "--events 4",
    );
    assert!(!report.passed);
    assert!(report.tables().contains("no event was accepted"));
}

#[test]
fn no_server_is_an_error_at_once() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = measure(&args(&format!("http://{nobody}"), "--events 4")).unwrap_err();
    assert!(
        error.to_string().contains("failed to GET /readyz"),
        "{error:#}"
    );
}
