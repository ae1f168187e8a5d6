//! One attempt of a delivery, as `deliveries show` and `demo` print it.
//!
//! Everything in it came over the network: nothing reaches the terminal unescaped.

use std::fmt::Write as _;

use anstyle::Style;
use comfy_table::{Cell, Color};
use serde_json::Value;

use super::deliveries::took;
use crate::{
    output::{self, BAD, BOLD, DIM, GOOD, show, styled, text},
    terminal,
};

/// How much of an answer's body is printed.
const BODY_CHARS_MAX: usize = 4_000;

/// The whole attempt: how it went, what was sent, what came back.
pub fn render(attempt: &Value) -> String {
    let mut log = headline(attempt);
    for line in headers(attempt, "requestHeaders") {
        let _ = write!(log, "\n  {} {line}", styled(DIM, ">"));
    }
    for line in headers(attempt, "responseHeaders") {
        let _ = write!(log, "\n  {} {line}", styled(DIM, "<"));
    }
    if let Some(body) = text(attempt, "responseBody").filter(|body| !body.is_empty()) {
        let _ = write!(log, "\n{}", indented(body));
        if attempt.get("responseTruncated") == Some(&Value::Bool(true)) {
            let _ = write!(
                log,
                "\n  {}",
                styled(DIM, "(the rest of the answer was not kept)")
            );
        }
    }
    log
}

fn headline(attempt: &Value) -> String {
    let number = show(attempt, "number");
    let mut line = format!(
        "{} {} {}  {}  {}",
        styled(BOLD, "attempt"),
        styled(BOLD, number),
        outcome(attempt),
        show(attempt, "startedAt"),
        took(attempt),
    );
    let _ = write!(line, "\n  POST {}", show(attempt, "url"));
    if text(attempt, "peer").is_some() {
        let _ = write!(
            line,
            " {}",
            styled(DIM, format_args!("({})", show(attempt, "peer")))
        );
    }
    if let Some(message) = text(attempt, "errorMessage") {
        let _ = write!(line, "\n  {}", terminal::line(message));
    }
    line
}

/// The status, or why there is none, in its colour.
pub fn outcome(attempt: &Value) -> String {
    let (text, style, _) = told(attempt);
    styled(style, text)
}

/// The same as a table's cell.
pub fn outcome_cell(attempt: &Value) -> Cell {
    let (text, _, color) = told(attempt);
    output::cell(&text, Some(color))
}

fn told(attempt: &Value) -> (String, Style, Color) {
    match (
        attempt.get("status").and_then(Value::as_u64),
        text(attempt, "error"),
    ) {
        (Some(status @ 200..=299), _) => (format!("✓ {status}"), GOOD, Color::Green),
        (Some(status), _) => (format!("✗ {status}"), BAD, Color::Red),
        (None, Some(error)) => (format!("✗ {}", terminal::line(error)), BAD, Color::Red),
        (None, None) => ("…".to_owned(), DIM, Color::DarkGrey),
    }
}

/// The headers of one side, as lines.
fn headers(attempt: &Value, field: &str) -> Vec<String> {
    let pairs = attempt.get(field).and_then(Value::as_array);
    let lines = pairs.into_iter().flatten().filter_map(|pair| {
        let line = format!("{}: {}", text(pair, "name")?, text(pair, "value")?);
        Some(terminal::line(&line).into_owned())
    });
    lines.collect()
}

/// A body, indented, shortened, and with nothing that a terminal acts on.
pub fn indented(body: &str) -> String {
    let short: String = body.chars().take(BODY_CHARS_MAX).collect();
    let mut lines = String::new();
    for line in terminal::block(&short).lines() {
        let _ = writeln!(lines, "    {line}");
    }
    if short.len() < body.len() {
        let _ = writeln!(lines, "    {}", styled(DIM, "… (all of it: --json)"));
    }
    lines.pop();
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn an_attempt_shows_both_sides_of_the_exchange() {
        let attempt = json!({
            "number": 2, "startedAt": "2026-01-31T12:00:00.000Z", "durationMs": 12.345,
            "url": "https://example.com/hook", "status": 500, "peer": "192.0.2.1:443",
            "requestHeaders": [
                {"name": "content-type", "value": "application/json"},
                {"name": "webhook-id", "value": "evt_1"},
            ],
            "responseHeaders": [{"name": "content-type", "value": "text/plain"}],
            "responseBody": "oh no\u{1b}[31m\nsecond line",
        });
        insta::assert_snapshot!(plain(&render(&attempt)), @r"
        attempt 2 ✗ 500  2026-01-31T12:00:00.000Z  12 ms
          POST https://example.com/hook (192.0.2.1:443)
          > content-type: application/json
          > webhook-id: evt_1
          < content-type: text/plain
            oh no\x1b[31m
            second line
        ");
    }

    #[test]
    fn an_attempt_without_an_answer_says_why() {
        let attempt = json!({
            "number": 1, "startedAt": "2026-01-31T12:00:00.000Z", "durationMs": 0.9,
            "url": "https://example.com/hook", "error": "dns",
            "errorMessage": "no such host\u{7}",
        });
        insta::assert_snapshot!(plain(&render(&attempt)), @r"
        attempt 1 ✗ dns  2026-01-31T12:00:00.000Z  0.9 ms
          POST https://example.com/hook
          no such host\x07
        ");
    }
}
