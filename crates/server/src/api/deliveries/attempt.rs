//! What the log of an attempt looks like.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{
    Timestamp,
    attempt::{Attempt, ErrorClass},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::webhooks::milliseconds;

/// One header.
#[derive(Serialize, ToSchema, Debug, PartialEq)]
pub struct HeaderView {
    /// Its name.
    #[schema(example = "content-type")]
    name: String,
    /// Its value; `***` where it is masked.
    #[schema(example = "application/json")]
    value: String,
}

/// One exchange with a receiver.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attempt)]
pub struct AttemptView {
    /// 1 for the first.
    number: u32,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// How long it took, in milliseconds.
    duration_ms: f64,
    /// The URL that was called.
    url: String,
    /// The receiver's status; null if it gave no answer.
    #[schema(required)]
    status: Option<u16>,
    /// Why there is no answer: `dns`, `connect`, `tls`, `timeout`, `reset`, `blocked` or `body`.
    #[schema(required, value_type = Option<String>)]
    error: Option<ErrorClass>,
    /// The same for people.
    #[schema(required)]
    error_message: Option<String>,
    /// What was sent; signatures and credentials are masked.
    request_headers: Vec<HeaderView>,
    /// What came back.
    response_headers: Vec<HeaderView>,
    /// The first 64 KiB of the answer's body, as text.
    response_body: String,
    /// The same bytes in base64, where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_body_base64: Option<String>,
    /// Whether more came than was kept.
    response_truncated: bool,
    /// The address that was connected to.
    #[schema(required, value_type = Option<String>, example = "192.0.2.1:443")]
    peer: Option<SocketAddr>,
    /// When the receiver's certificate expires.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    tls_expires_at: Option<Timestamp>,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        let (response_body, response_body_base64) =
            body(&attempt.response_body, attempt.response_truncated);
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            duration_ms: milliseconds(attempt.duration_us),
            url: attempt.url,
            status: attempt.status,
            error: attempt.error,
            error_message: attempt.error_message,
            request_headers: headers(&attempt.request_headers),
            response_headers: headers(&attempt.response_headers),
            response_body,
            response_body_base64,
            response_truncated: attempt.response_truncated,
            peer: attempt.peer,
            tls_expires_at: attempt.tls_not_after,
        }
    }
}

/// `name: value` lines as pairs.
fn headers(lines: &str) -> Vec<HeaderView> {
    let pairs = lines.lines().filter_map(|line| line.split_once(':'));
    pairs
        .map(|(name, value)| HeaderView {
            name: name.to_owned(),
            value: value.trim().to_owned(),
        })
        .collect()
}

/// A body as text, and in base64 where that loses something. A character that was cut in two
/// where the log ends is left out of the text.
fn body(bytes: &[u8], truncated: bool) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(error) if truncated && error.error_len().is_none() => (
            String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned(),
            None,
        ),
        Err(_) => (
            String::from_utf8_lossy(bytes).into_owned(),
            Some(STANDARD.encode(bytes)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lines_become_pairs() {
        let pair = |name: &str, value: &str| HeaderView {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        assert_eq!(
            headers("a: 1\nb: x: y\n"),
            [pair("a", "1"), pair("b", "x: y")]
        );
        assert_eq!(headers(""), []);
    }

    #[test]
    fn a_body_that_is_no_text_is_given_in_base64_too() {
        assert_eq!(body("grün".as_bytes(), false), ("grün".to_owned(), None));
        assert_eq!(
            body(b"\xff\xfe", false),
            ("\u{fffd}\u{fffd}".to_owned(), Some("//4=".to_owned()))
        );
        assert_eq!(body(b"gr\xc3", true), ("gr".to_owned(), None));
        assert_eq!(body(b"gr\xc3", false).1.as_deref(), Some("Z3LD"));
    }
}
