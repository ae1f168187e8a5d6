//! Custom headers against recorded cases.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{fs, path::Path};

use domain::header::{
    HEADERS_MAX, HeaderProblem, MASK, VALUE_BYTES_MAX, check_custom_headers, is_sensitive, mask,
};
use proptest::prelude::*;

fn problems(headers: &[(&str, &str)]) -> Vec<HeaderProblem> {
    check_custom_headers(headers.iter().copied())
        .err()
        .unwrap_or_default()
}

#[test]
fn every_recorded_case_is_taken_or_refused_as_it_should_be() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/corpora/headers/custom-headers.tsv"
    );
    let Ok(text) = fs::read_to_string(Path::new(path)) else {
        eprintln!("skipped: no corpus of headers");
        return;
    };
    let mut checked = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        let name: String = serde_json::from_str(cells[3]).unwrap();
        let value: String = serde_json::from_str(cells[4]).unwrap();
        let refused = !problems(&[(&name, &value)]).is_empty();
        assert_eq!(
            refused,
            cells[1] == "deny",
            "{}: {} ({})",
            cells[0],
            cells[5],
            cells[2]
        );
        checked += 1;
    }
    assert!(checked > 30, "only {checked} cases");
}

#[test]
fn what_signpost_or_http_own_is_refused() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "CONNECTION",
        "Upgrade",
        "TE",
        "Content-Type",
        "Content-Encoding",
        "Proxy-Authorization",
        "Proxy-Connection",
        "X-Forwarded-For",
        "Via",
        "webhook-id",
        "webhook-signature",
        "X-Webhook-Signature",
        "X-Webhook-Timestamp",
        "X-AgentFactory-Signature",
        "X-Signpost-Hops",
        "User-Agent",
    ] {
        assert_eq!(problems(&[(name, "x")]).len(), 1, "{name}");
    }
    for name in [
        "Authorization",
        "X-Api-Key",
        "Accept",
        "Idempotency-Key",
        "X-Webhook-Source",
    ] {
        assert!(problems(&[(name, "x")]).is_empty(), "{name}");
    }
}

#[test]
fn problems_name_their_header_and_come_all_at_once() {
    let found = problems(&[
        ("X-A", "1"),
        ("Host", "x"),
        ("x-a", "2"),
        ("X-B", "a\r\nX-C: 1"),
        ("", ""),
    ]);
    let places: Vec<usize> = found.iter().map(|problem| problem.index).collect();
    assert_eq!(places, [1, 2, 3, 4]);
    assert_eq!(
        found[0].to_string(),
        "header `Host`: this header is set by Signpost or by HTTP itself"
    );
    assert!(found[1].message.contains("twice"));
}

#[test]
fn number_and_size_are_bounded() {
    let names: Vec<String> = (0..=HEADERS_MAX).map(|n| format!("X-{n}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    assert!(problems(&headers[..HEADERS_MAX]).is_empty());
    assert_eq!(problems(&headers)[0].index, HEADERS_MAX);
    let long = "v".repeat(VALUE_BYTES_MAX);
    assert!(problems(&[("X-A", &long)]).is_empty());
    assert_eq!(problems(&[("X-A", &long), ("X-B", &long)])[0].index, 1);
}

#[test]
fn credentials_and_signatures_are_masked() {
    for name in [
        "Authorization",
        "Cookie",
        "X-Api-Key",
        "X-Auth-Token",
        "X-CLIENT-SECRET",
        "webhook-signature",
        "X-Webhook-Signature",
        "apikey",
    ] {
        assert!(is_sensitive(name), "{name}");
        assert_eq!(mask(name, "value"), MASK);
    }
    for name in [
        "Content-Type",
        "X-Webhook-Id",
        "webhook-timestamp",
        "Idempotency-Key",
        "X-Monkey",
    ] {
        assert_eq!(mask(name, "value"), "value", "{name}");
    }
}

proptest! {
    #[test]
    fn what_is_taken_can_break_no_line(name in ".{0,20}", value in ".{0,20}") {
        if problems(&[(&name, &value)]).is_empty() {
            prop_assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':'));
            prop_assert!(value.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b)));
        }
    }
}
