//! What receivers ask for with `Retry-After`.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{fs, path::Path};

use domain::{
    Timestamp,
    schedule::{RETRY_AFTER_S_MAX, retry_after_seconds},
};
use proptest::prelude::*;
use serde_json::Value;

fn now() -> Timestamp {
    Timestamp::parse("2026-10-21T07:26:00Z").unwrap()
}

#[test]
fn seconds_and_dates_are_read_and_the_rest_is_passed_over() {
    for (value, seconds) in [
        ("1", Some(1)),
        ("120", Some(120)),
        (" 120\t", Some(120)),
        ("120.5", Some(121)),
        ("120.0", Some(120)),
        ("0", Some(0)),
        ("007", Some(7)),
        ("99999999999", Some(RETRY_AFTER_S_MAX)),
        ("99999999999999999999999999", Some(RETRY_AFTER_S_MAX)),
        ("Wed, 21 Oct 2026 07:28:00 GMT", Some(120)),
        ("Wednesday, 21-Oct-26 07:28:00 GMT", Some(120)),
        ("Wed Oct 21 07:28:00 2026", Some(120)),
        ("Wed, 21 Oct 2099 07:28:00 GMT", Some(RETRY_AFTER_S_MAX)),
        ("Thu, 21 Oct 1999 07:28:00 GMT", Some(0)),
        ("-5", None),
        ("+5", None),
        ("1e9", None),
        ("abc", None),
        ("", None),
        (".5", None),
        ("5.", None),
        ("5 s", None),
        ("1.2.3", None),
        ("Wed, 21 Oct 2026 07:28:00", None),
        ("Wed, 99 Oct 2026 07:28:00 GMT", None),
        ("١٢", None),
    ] {
        assert_eq!(retry_after_seconds(429, value, now()), seconds, "{value}");
        assert_eq!(retry_after_seconds(503, value, now()), seconds, "{value}");
        assert_eq!(retry_after_seconds(500, value, now()), None);
    }
}

#[test]
fn a_wrong_weekday_does_not_make_a_date_worthless() {
    // Senders that build the date by hand get the weekday wrong; the rest is unambiguous.
    assert_eq!(
        retry_after_seconds(429, "Mon, 21 Oct 2026 07:28:00 GMT", now()),
        Some(120)
    );
    assert_eq!(
        retry_after_seconds(429, "Wed, 21 Oct 1999 07:28:00 GMT", now()),
        Some(0)
    );
}

#[test]
fn recorded_receivers_are_understood() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/corpora/receiver-behaviours/behaviours.jsonl"
    );
    let Ok(text) = fs::read_to_string(Path::new(path)) else {
        eprintln!("skipped: no corpus of receivers");
        return;
    };
    let mut checked = 0;
    for line in text.lines() {
        let Ok(case) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let Some(value) = case["receiver"]["headers"]["Retry-After"].as_str() else {
            continue;
        };
        let status = u16::try_from(case["receiver"]["status"].as_u64().unwrap()).unwrap();
        let asked = retry_after_seconds(status, value, now());
        let expected = case["expect"].as_str().unwrap();
        let fits = match expected {
            "failure, not before schedule" => asked == Some(1),
            "failure, not before 120 s" | "failure, HTTP-date honoured" => asked == Some(120),
            "failure, rounded up" => asked == Some(121),
            "failure, schedule" | "failure, past date: schedule" => asked == Some(0),
            "failure, ignored" | "failure, ignored or clamped" => asked.is_none(),
            _ if expected.contains("clamped") => asked == Some(RETRY_AFTER_S_MAX),
            _ => panic!("an expectation that this test does not know: {expected}"),
        };
        assert!(
            fits,
            "{}: {value} gives {asked:?}, expected {expected}",
            case["id"]
        );
        checked += 1;
    }
    assert!(checked > 10, "only {checked} receivers");
}

proptest! {
    #[test]
    fn no_text_breaks_it(value in ".{0,70}") {
        let asked = retry_after_seconds(429, &value, now());
        prop_assert!(asked.is_none_or(|seconds| seconds <= RETRY_AFTER_S_MAX));
    }
}
