//! A request to an HTTP server, through the same guarded way out as deliveries.

use std::{str::FromStr as _, sync::Arc, time::Duration};

use domain::{
    format::HOPS_HEADER,
    workflow::{definition::HttpNode, template::render_json},
};
use egress::{ErrorClass, Exchange, Outgoing, Target};
use http::{
    HeaderName, HeaderValue, Method,
    header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
};
use serde_json::{Value, json};

use super::{Failure, Outcome, Seen, idempotency_key};
use crate::Shared;

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Headers that are this program's alone.
const RESERVED: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "idempotency-key",
    HOPS_HEADER,
];

/// Sends the request; a status that is neither 2xx nor named is a failure.
pub(super) async fn run(
    shared: &Arc<Shared>,
    seen: &Seen<'_>,
    node: &HttpNode,
) -> Result<Outcome, Box<Failure>> {
    let outgoing = outgoing(shared, seen, node)?;
    match shared.egress.exchange(outgoing).await {
        Ok(exchange) => answered(&exchange, node),
        Err(error) if error.class == ErrorClass::Blocked => {
            Err(Failure::new("http_blocked", error.message))
        }
        Err(error) => Err(Failure::passing("http_failed", error.message)),
    }
}

fn outgoing(shared: &Shared, seen: &Seen<'_>, node: &HttpNode) -> Result<Outgoing, Box<Failure>> {
    let url = seen.text(&node.url)?;
    // The address is checked as it is once filled in, and again when it is connected to.
    let target = Target::parse(url.trim(), shared.egress.policy())
        .map_err(|error| Failure::new("http_blocked", error.to_string()))?;
    let method = Method::from_str(&node.method.to_ascii_uppercase())
        .map_err(|_| Failure::new("http_invalid", format!("`{}` is no method", node.method)))?;
    let mut outgoing = Outgoing::new(method, target);
    outgoing.timeout = Duration::from_millis(seen.job.node().timeout_ms);
    outgoing.response_body_bytes_max = ANSWER_BYTES_MAX;
    let headers = &mut outgoing.headers;
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("Signpost/", env!("CARGO_PKG_VERSION"))),
    );
    let body = node
        .body
        .as_ref()
        .map(|body| render_json(body, &seen.scope()))
        .transpose()?;
    if let Some(body) = body {
        let (kind, bytes) = match body {
            Value::String(text) => ("text/plain; charset=utf-8", text),
            value => ("application/json", value.to_string()),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        outgoing.body = bytes.into();
    }
    for (name, template) in &node.headers {
        let (name, value) = header(name, &seen.text(template)?)?;
        outgoing.headers.insert(name, value);
    }
    let hops = seen.job.execution.cause.hops().saturating_add(1);
    outgoing
        .headers
        .insert(HOPS_HEADER, HeaderValue::from(u16::from(hops)));
    let key = idempotency_key(seen.job.execution.id, &seen.job.key);
    outgoing.headers.insert(
        "idempotency-key",
        HeaderValue::try_from(key).expect("ids and names of nodes fit a header"),
    );
    Ok(outgoing)
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Box<Failure>> {
    let invalid = |what: &str| Failure::new("http_invalid", format!("the header `{name}` {what}"));
    let parsed = HeaderName::from_str(name).map_err(|_| invalid("has no valid name"))?;
    if RESERVED.contains(&parsed.as_str()) {
        return Err(invalid("is set by Signpost itself"));
    }
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| invalid("has a value with a line break or a control character in it"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// The answer as the node's output: `{status, body}`, the body as JSON where it is some.
fn answered(exchange: &Exchange, node: &HttpNode) -> Result<Outcome, Box<Failure>> {
    let status = exchange.status.as_u16();
    let detail = json!({
        "status": status,
        "ms": u64::try_from(exchange.duration.as_millis()).unwrap_or(u64::MAX),
    });
    if !exchange.status.is_success() && !node.accept.contains(&status) {
        return Err(refused(exchange, status, detail));
    }
    if exchange.body_truncated {
        return Err(Failure::new(
            "http_failed",
            format!("the answer is longer than {} MiB", ANSWER_BYTES_MAX >> 20),
        ));
    }
    if let Some(why) = &exchange.body_error {
        return Err(Failure::passing("http_failed", why.clone()));
    }
    let body = serde_json::from_slice(&exchange.body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&exchange.body).into_owned()));
    Ok(Outcome::Completed {
        output: json!({ "status": status, "body": body }),
        usage: domain::execution::Usage::default(),
        detail: Some(detail),
        emits: Vec::new(),
        child: None,
    })
}

fn refused(exchange: &Exchange, status: u16, told: Value) -> Box<Failure> {
    let seconds = exchange
        .headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let mut failed = Failure::new("http_status", format!("the server answered {status}"));
    failed.retryable = status >= 500 || matches!(status, 408 | 425 | 429);
    failed.retry_after = seconds
        .filter(|_| matches!(status, 429 | 503))
        .map(|seconds: u64| Duration::from_secs(seconds.min(86_400)));
    failed.detail = Some(told);
    failed
}
