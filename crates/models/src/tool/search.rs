//! `web_search`, `serper_search`: Serper or Tavily.

use bytes::Bytes;
use egress::Outgoing;
use http::{
    HeaderName, HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::{Value, json};

use super::{Arguments, ToolError, failed, web};
use crate::{SearchProvider, Shared, error::trimmed};

/// Results unless a number is asked for.
const COUNT: u64 = 5;
/// The most results.
const COUNT_MAX: u64 = 20;

pub(super) async fn search(
    shared: &Shared,
    provider: SearchProvider,
    arguments: &Arguments<'_>,
) -> Result<String, ToolError> {
    let query = arguments.text("query")?;
    let count = arguments
        .value("count")
        .and_then(Value::as_u64)
        .unwrap_or(COUNT)
        .clamp(1, COUNT_MAX);
    let key_name = provider.key_name();
    let key = shared
        .settings
        .keys
        .key(key_name)
        .ok_or(ToolError::KeyMissing(key_name))?;
    let settings = &shared.settings;
    let (base, name, prefix, body) = match provider {
        SearchProvider::Serper => (
            &settings.serper_base,
            HeaderName::from_static("x-api-key"),
            "",
            json!({"q": query, "num": count}),
        ),
        SearchProvider::Tavily => (
            &settings.tavily_base,
            AUTHORIZATION,
            "Bearer ",
            json!({"query": query, "max_results": count}),
        ),
    };
    let url = format!("{}/search", base.trim_end_matches('/'));
    let mut outgoing = Outgoing::new(Method::POST, web::target(shared, &url)?);
    let text = zeroize::Zeroizing::new(format!("{prefix}{}", key.expose()));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| failed(format!("the key in {key_name} cannot be sent in a header")))?;
    value.set_sensitive(true);
    outgoing.headers.insert(name, value);
    outgoing
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    outgoing.body = Bytes::from(body.to_string());
    let answer = web::exchange(shared, outgoing).await?;
    if !answer.status.is_success() {
        let said = String::from_utf8_lossy(&answer.body).replace(key.expose(), "***");
        return Err(failed(format!(
            "the search ({key_name}) was answered {}: {}",
            answer.status,
            trimmed(&said, 200)
        )));
    }
    let found: Value = serde_json::from_slice(&answer.body)
        .map_err(|_| failed("the search was answered with something that is no JSON"))?;
    Ok(results(provider, &found, count))
}

/// Titles, URLs and snippets, whatever the provider calls them.
fn results(provider: SearchProvider, found: &Value, count: u64) -> String {
    let (list, url, snippet) = match provider {
        SearchProvider::Serper => ("organic", "link", "snippet"),
        SearchProvider::Tavily => ("results", "url", "content"),
    };
    let results: Vec<Value> = found[list]
        .as_array()
        .into_iter()
        .flatten()
        .take(usize::try_from(count).unwrap_or(usize::MAX))
        .map(|result| {
            json!({
                "title": result["title"],
                "url": result[url],
                "snippet": result[snippet],
            })
        })
        .collect();
    json!({"results": results}).to_string()
}
