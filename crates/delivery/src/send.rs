//! Sends one delivery: renders, signs, calls the receiver, and turns the exchange into a log.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use domain::{
    Timestamp,
    attempt::{Attempt, ErrorClass, Outcome, RESPONSE_BODY_BYTES_MAX},
    event::Event,
    format::{self, USER_AGENT, webhook_headers},
    header,
    schedule::retry_after_seconds,
};
use egress::{Exchange, ExchangeError};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT as USER_AGENT_NAME},
};

use crate::{Shared, endpoint::Endpoint};

/// What is kept of the headers of an exchange, in bytes each way.
const HEADER_LOG_BYTES_MAX: usize = 16 * 1024;

/// A request made ready for one attempt.
pub(crate) struct Request {
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The values that a receiver could echo and that no log may hold.
    signatures: Vec<String>,
}

/// What came of an attempt.
pub(crate) struct Sent {
    pub attempt: Attempt,
    pub outcome: Outcome,
}

/// Renders headers and signs, for an attempt at `now`.
pub(crate) fn request(endpoint: &Endpoint, event: &Event, body: Bytes, now: Timestamp) -> Request {
    let config = &endpoint.webhook.config;
    let mut headers = HeaderMap::with_capacity(16 + endpoint.headers.len());
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(config.format.content_type()),
    );
    headers.insert(USER_AGENT_NAME, HeaderValue::from_static(USER_AGENT));
    let mut signatures = Vec::with_capacity(2);
    let outgoing = format::Outgoing {
        format: config.format,
        event,
        body: &body,
        attempt_unix_s: now.unix_s(),
        signer: endpoint.signer(now),
        signature_prefix: &config.signature_prefix,
    };
    webhook_headers(&outgoing, |name, value| {
        let is_signature = name.ends_with("signature");
        if is_signature {
            signatures.extend(value.split(' ').map(ToOwned::to_owned));
        }
        let mut value =
            HeaderValue::try_from(value).expect("ids, types and signatures fit a header");
        value.set_sensitive(is_signature);
        headers.insert(HeaderName::from_static(name), value);
    });
    for (name, value) in &endpoint.headers {
        headers.append(name, value.clone());
    }
    Request {
        headers,
        body,
        signatures,
    }
}

impl Shared {
    /// Sends `event` to `endpoint` once, as attempt `number`.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        event: &Event,
        body: Bytes,
        number: u32,
    ) -> Sent {
        let started_at = self.now();
        let Request {
            headers,
            body,
            signatures,
        } = request(endpoint, event, body, started_at);
        let request_headers = log_request_headers(&headers);
        let result = self.exchange(endpoint, headers, body).await;
        let mut attempt = Attempt {
            number,
            started_at,
            duration_us: 0,
            url: endpoint.webhook.config.target_url.clone(),
            status: None,
            error: None,
            error_message: None,
            request_headers,
            response_headers: String::new(),
            response_body: Bytes::new(),
            response_truncated: false,
            peer: None,
            tls_not_after: None,
        };
        let outcome = match result {
            Ok(exchange) => log_answer(&mut attempt, exchange, &signatures, self.now()),
            Err(error) => {
                attempt.duration_us = micros(error.duration);
                attempt.error_message = Some(error.message);
                attempt.peer = error.peer;
                let class = class(error.class);
                attempt.error = Some(class);
                Outcome::Failed(class)
            }
        };
        Sent { attempt, outcome }
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Exchange, ExchangeError> {
        let blocked = |message: &str| ExchangeError {
            class: egress::ErrorClass::Blocked,
            message: message.to_owned(),
            peer: None::<SocketAddr>,
            duration: Duration::ZERO,
        };
        let target = endpoint
            .target
            .as_ref()
            .map_err(|message| blocked(message))?;
        if endpoint.is_sealed_shut() {
            return Err(blocked(
                "the webhook's secret cannot be opened with this installation's key; nothing is sent unsigned",
            ));
        }
        let mut outgoing = egress::Outgoing::new(Method::POST, target.clone());
        outgoing.headers = headers;
        outgoing.body = body;
        outgoing.timeout = endpoint.webhook.config.timeout();
        outgoing.response_body_bytes_max = RESPONSE_BODY_BYTES_MAX;
        self.egress.exchange(outgoing).await
    }
}

fn log_answer(
    attempt: &mut Attempt,
    exchange: Exchange,
    signatures: &[String],
    now: Timestamp,
) -> Outcome {
    let status = exchange.status.as_u16();
    let retry_after_s = exchange
        .headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry_after_seconds(status, value, now));
    attempt.duration_us = micros(exchange.duration);
    attempt.status = Some(status);
    attempt.error_message = exchange.body_error;
    attempt.response_headers = log_headers(&exchange.headers, signatures);
    attempt.response_body = masked(exchange.body, signatures);
    attempt.response_truncated = exchange.body_truncated;
    attempt.peer = Some(exchange.peer);
    attempt.tls_not_after = exchange
        .tls_not_after
        .map(|s| Timestamp::from_ms(s.saturating_mul(1000)));
    Outcome::Answered {
        status,
        retry_after_s,
    }
}

/// Sent headers as `name: value` lines; what was marked as sensitive is masked.
fn log_request_headers(headers: &HeaderMap) -> String {
    let mut log = String::with_capacity(64 * headers.len());
    for (name, value) in headers {
        log.push_str(name.as_str());
        log.push_str(": ");
        match value.to_str() {
            Ok(text) if !value.is_sensitive() => log.push_str(text),
            _ => log.push_str(header::MASK),
        }
        log.push('\n');
    }
    log
}

/// Received headers as `name: value` lines, credentials and echoed signatures masked, cut at
/// [`HEADER_LOG_BYTES_MAX`].
fn log_headers(headers: &HeaderMap, signatures: &[String]) -> String {
    let mut log = String::with_capacity(64 * headers.len());
    for (name, value) in headers {
        if log.len() > HEADER_LOG_BYTES_MAX {
            log.push_str("…\n");
            break;
        }
        log.push_str(name.as_str());
        log.push_str(": ");
        if let Ok(text) = value.to_str() {
            let echoed = signatures
                .iter()
                .any(|signature| text.contains(signature.as_str()));
            let masked = header::mask(name.as_str(), text);
            log.push_str(if echoed { header::MASK } else { &masked });
        } else {
            log.push_str(&String::from_utf8_lossy(value.as_bytes()));
        }
        log.push('\n');
    }
    log
}

/// The answer's body with this attempt's signatures struck out, where the receiver echoed them.
fn masked(body: Bytes, signatures: &[String]) -> Bytes {
    if body.is_empty() {
        return body;
    }
    let mut copy: Option<Vec<u8>> = None;
    for signature in signatures {
        let mut from = 0;
        let needle = signature.as_bytes();
        while let Some(at) = find(copy.as_deref().unwrap_or(&body), needle, from) {
            let bytes = copy.get_or_insert_with(|| body.to_vec());
            bytes[at..at + needle.len()].fill(b'*');
            from = at + needle.len();
        }
    }
    copy.map_or(body, Bytes::from)
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    if needle.is_empty() || haystack.len() < needle.len() {
        return None;
    }
    let last = haystack.len() - needle.len();
    (from..=last).find(|at| haystack[*at] == needle[0] && haystack[*at..].starts_with(needle))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn class(class: egress::ErrorClass) -> ErrorClass {
    match class {
        egress::ErrorClass::Dns => ErrorClass::Dns,
        egress::ErrorClass::Connect => ErrorClass::Connect,
        egress::ErrorClass::Tls => ErrorClass::Tls,
        egress::ErrorClass::Timeout => ErrorClass::Timeout,
        egress::ErrorClass::Reset => ErrorClass::Reset,
        egress::ErrorClass::Blocked => ErrorClass::Blocked,
        egress::ErrorClass::Body => ErrorClass::Body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echoed_signature_is_struck_out_of_the_logged_answer() {
        let signatures = vec!["abc123".to_owned()];
        let body = masked(Bytes::from_static(b"got abc123 and abc123!"), &signatures);
        assert_eq!(&body[..], b"got ****** and ******!");
        let mut headers = HeaderMap::new();
        headers.insert("x-echo", HeaderValue::from_static("sig=abc123"));
        assert_eq!(log_headers(&headers, &signatures), "x-echo: ***\n");
    }

    #[test]
    fn a_webhooks_own_credentials_are_not_logged() {
        let mut headers = HeaderMap::new();
        let mut credential = HeaderValue::from_static("Bearer x");
        credential.set_sensitive(true);
        headers.insert("authorization", credential);
        headers.insert("x-tenant", HeaderValue::from_static("7"));
        assert_eq!(
            log_request_headers(&headers),
            "authorization: ***\nx-tenant: 7\n"
        );
        headers.insert("set-cookie", HeaderValue::from_static("session=1"));
        assert_eq!(
            log_headers(&headers, &[]),
            "authorization: ***\nx-tenant: 7\nset-cookie: ***\n"
        );
    }
}
