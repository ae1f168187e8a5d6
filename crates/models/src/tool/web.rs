//! `http_client`, `web_scrape`: the web, through the same guard as deliveries.

use std::time::Duration;

use bytes::Bytes;
use egress::{Exchange, Outgoing, Target};
use http::{
    HeaderName, HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE, LOCATION, USER_AGENT},
};
use serde_json::{Value, json};

use super::{Arguments, ToolError, failed, pages};
use crate::Shared;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What is read of an answer: more than a model gets, since markup is taken out.
const BODY_BYTES_MAX: usize = 512 * 1024;
/// How many redirects of a page are followed, each checked as if it had been asked for.
const REDIRECTS_MAX: usize = 5;

pub(super) fn target(shared: &Shared, url: &str) -> Result<Target, ToolError> {
    Target::parse(url, shared.egress.policy())
        .map_err(|error| ToolError::Arguments(format!("`url`: {error}")))
}

pub(super) async fn exchange(
    shared: &Shared,
    mut outgoing: Outgoing,
) -> Result<Exchange, ToolError> {
    let agent = HeaderValue::from_static(domain::format::USER_AGENT);
    outgoing.headers.entry(USER_AGENT).or_insert(agent);
    // This server must know its own requests again: a model asks for them, not its owner.
    outgoing
        .headers
        .insert(domain::format::HOPS_HEADER, HeaderValue::from_static("1"));
    outgoing.timeout = TIMEOUT;
    outgoing.response_body_bytes_max = BODY_BYTES_MAX;
    let host = outgoing.target.host();
    shared
        .egress
        .exchange(outgoing)
        .await
        .map_err(|error| failed(format!("{host}: {error}")))
}

/// `http_client`.
pub(super) async fn request(
    shared: &Shared,
    arguments: &Arguments<'_>,
) -> Result<String, ToolError> {
    let method = arguments.text_or_none("method")?.unwrap_or("GET");
    let method = match method.to_ascii_uppercase().as_str() {
        "GET" => Method::GET,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        "HEAD" => Method::HEAD,
        _ => {
            return Err(ToolError::Arguments(
                "`method` must be GET, POST, PUT, PATCH, DELETE or HEAD".to_owned(),
            ));
        }
    };
    let mut outgoing = Outgoing::new(method, target(shared, arguments.text("url")?)?);
    if let Some(body) = arguments.value("body") {
        outgoing.body = match body {
            Value::String(text) => Bytes::from(text.clone()),
            other => {
                let json = HeaderValue::from_static("application/json");
                outgoing.headers.insert(CONTENT_TYPE, json);
                Bytes::from(other.to_string())
            }
        };
    }
    for (name, value) in arguments
        .value("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let (name, value) = header(name, value)?;
        outgoing.headers.insert(name, value);
    }
    let answer = exchange(shared, outgoing).await?;
    let text = |name: HeaderName| {
        let value = answer.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    Ok(json!({
        "status": answer.status.as_u16(),
        "contentType": text(CONTENT_TYPE),
        "location": text(LOCATION),
        "body": String::from_utf8_lossy(&answer.body),
    })
    .to_string())
}

fn header(name: &str, value: &Value) -> Result<(HeaderName, HeaderValue), ToolError> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    HeaderName::from_bytes(name.as_bytes())
        .ok()
        .zip(HeaderValue::from_str(&text).ok())
        .ok_or_else(|| ToolError::Arguments(format!("the header {name:?} cannot be sent")))
}

/// `web_scrape`.
pub(super) async fn scrape(
    shared: &Shared,
    arguments: &Arguments<'_>,
) -> Result<String, ToolError> {
    let mut at = target(shared, arguments.text("url")?)?;
    for _ in 0..=REDIRECTS_MAX {
        let mut outgoing = Outgoing::new(Method::GET, at.clone());
        let accept = HeaderValue::from_static("text/html, text/plain, */*;q=0.1");
        outgoing.headers.insert(ACCEPT, accept);
        let answer = exchange(shared, outgoing).await?;
        if answer.status.is_redirection()
            && let Some(next) = answer.headers.get(LOCATION)
        {
            at = next_target(shared, &at, next)?;
            continue;
        }
        if !answer.status.is_success() {
            return Err(failed(format!("{} answered {}", at.host(), answer.status)));
        }
        let body = String::from_utf8_lossy(&answer.body);
        let kind = answer.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_html = kind.is_none_or(|kind| {
            kind.starts_with(b"text/html") || kind.starts_with(b"application/xhtml")
        });
        return Ok(if is_html {
            pages::text(&body)
        } else {
            body.into_owned()
        });
    }
    Err(failed(format!("more than {REDIRECTS_MAX} redirects")))
}

fn next_target(shared: &Shared, at: &Target, next: &HeaderValue) -> Result<Target, ToolError> {
    let url = next
        .to_str()
        .ok()
        .and_then(|next| url::Url::parse(at.url()).ok()?.join(next).ok())
        .ok_or_else(|| {
            failed(format!(
                "{} redirects to something that is no URL",
                at.host()
            ))
        })?;
    Target::parse(url.as_str(), shared.egress.policy())
        .map_err(|error| failed(format!("{} redirects: {error}", at.host())))
}
