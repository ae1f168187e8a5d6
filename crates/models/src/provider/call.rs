//! Sends a question and reads the answer: the one place where adapters meet the network.

use std::time::Duration;

use bytes::Bytes;
use domain::{Timestamp, schedule::retry_after_seconds};
use egress::{ErrorClass, ExchangeError, Outgoing, Streaming, Target};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
};
use serde_json::Value;
use url::Url;

use super::{
    Adapter, Ask, Fault, Reply, SHAPE,
    lines::{Events, TooLong},
};
use crate::{
    Progress, Secret, Settings, Shared, TurnError, TurnProgress, error::trimmed, provider_name,
};
use domain::workflow::definition::Provider;

/// The largest answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How much of an error's body is read.
const FAULT_BYTES_MAX: usize = 64 * 1024;
/// How much of a provider's message is shown, in characters.
const MESSAGE_CHARS_MAX: usize = 500;

/// Where a question goes, and with which key.
pub(crate) struct Line<'a> {
    adapter: &'static dyn Adapter,
    provider: Provider,
    model: &'a str,
    base: String,
    host: String,
    /// Whether that is the provider's own server.
    own: bool,
    key: Option<Secret>,
    /// Whether there is a key that was held back because of the host.
    held_back: bool,
}

impl<'a> Line<'a> {
    /// Finds the server and the key for a model.
    ///
    /// # Errors
    /// `model_key_missing`, or `model_unreachable` for an `api_base` that is no URL.
    pub(crate) fn open(
        llm: &'a domain::workflow::definition::Llm,
        settings: &Settings,
    ) -> Result<Self, TurnError> {
        let adapter = super::adapter(llm.provider);
        let own_base = match llm.provider {
            Provider::Ollama => settings.ollama_base.as_str(),
            _ => adapter.base(),
        };
        let own_url = parsed(own_base)?;
        let url = match llm.api_base.as_deref().filter(|base| !base.is_empty()) {
            Some(base) => parsed(base)?,
            None => own_url.clone(),
        };
        let own = url.origin() == own_url.origin();
        let names = adapter.key_names();
        let key = names.iter().find_map(|name| settings.keys.key(name));
        if key.is_none() && own && !names.is_empty() {
            return Err(TurnError::key_missing(&llm.model, names));
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let may_have = own
            || settings
                .key_hosts
                .iter()
                .any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(&host));
        Ok(Self {
            held_back: key.is_some() && !may_have,
            key: key.filter(|_| may_have),
            base: based(&url, adapter.base()),
            adapter,
            provider: llm.provider,
            model: &llm.model,
            host,
            own,
        })
    }

    /// Asks, and tells the answer's text while it comes where that is wanted.
    ///
    /// # Errors
    /// The kinds that begin with `model_`.
    pub(crate) async fn ask(
        &self,
        shared: &Shared,
        ask: &Ask<'_>,
        progress: &TurnProgress<'_>,
    ) -> Result<Reply, TurnError> {
        let patience = shared.settings.patience;
        let asking = self.exchange(shared, ask, progress);
        let whole = tokio::time::timeout(patience.whole, asking)
            .await
            .map_err(|_| self.timeout(patience.whole))??;
        if !whole.is_object() {
            return Err(self.failed(Fault::new(SHAPE, "the provider's answer is no JSON object")));
        }
        self.adapter
            .reply(whole)
            .map_err(|fault| self.failed(fault))
    }

    async fn exchange(
        &self,
        shared: &Shared,
        ask: &Ask<'_>,
        progress: &TurnProgress<'_>,
    ) -> Result<Value, TurnError> {
        let outgoing = self.request(shared, ask)?;
        let idle = shared.settings.patience.idle;
        let mut answer = shared
            .egress
            .stream(outgoing)
            .await
            .map_err(|error| self.unreachable(&error))?;
        if !answer.status.is_success() {
            return Err(self.refused(answer, idle).await);
        }
        if ask.stream && is_stream(&answer.headers) {
            return self.follow(&mut answer, idle, progress).await;
        }
        let (body, rest) = read(&mut answer, ANSWER_BYTES_MAX, idle)
            .await
            .map_err(|error| self.unreachable(&error))?;
        if rest {
            return Err(self.too_large());
        }
        serde_json::from_slice(&body)
            .map_err(|_| self.failed(Fault::new(SHAPE, "the provider's answer is no JSON")))
    }

    fn request(&self, shared: &Shared, ask: &Ask<'_>) -> Result<Outgoing, TurnError> {
        let url = format!("{}{}", self.base, self.adapter.path(ask));
        let target = Target::parse(&url, shared.egress.policy()).map_err(|error| {
            TurnError::new(
                "model_unreachable",
                format!("{} cannot be called: {error}", self.host),
            )
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(domain::format::USER_AGENT),
        );
        headers.extend(self.adapter.headers());
        if let Some(key) = &self.key {
            let (name, prefix) = self.adapter.key_header();
            let text = zeroize::Zeroizing::new(format!("{prefix}{}", key.expose()));
            let mut value = HeaderValue::from_str(&text).map_err(|_| {
                TurnError::new(
                    "model_key_refused",
                    format!(
                        "the key in {} holds a character that no header can carry, perhaps a line break",
                        self.adapter.key_names().join(" or ")
                    ),
                )
            })?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let mut outgoing = Outgoing::new(Method::POST, target);
        outgoing.headers = headers;
        outgoing.body = Bytes::from(self.adapter.body(ask, self.own).to_string());
        outgoing.timeout = shared.settings.patience.head;
        Ok(outgoing)
    }

    /// Reads a stream of events to its end.
    async fn follow(
        &self,
        answer: &mut Streaming,
        idle: Duration,
        progress: &TurnProgress<'_>,
    ) -> Result<Value, TurnError> {
        let mut events = Events::new(self.adapter.framing());
        let mut whole = Value::Null;
        let mut bytes = 0_usize;
        let fold = |whole: &mut Value, found: Vec<String>| -> Result<bool, TurnError> {
            for event in found {
                if event == "[DONE]" {
                    return Ok(true);
                }
                let text = self.fold(whole, &event)?;
                if let Some(text) = text {
                    progress(Progress::Text(text));
                }
            }
            Ok(false)
        };
        let mut done = false;
        while !done {
            let chunk = answer.chunk(idle).await;
            let Some(chunk) = chunk.map_err(|error| self.unreachable(&error))? else {
                fold(&mut whole, events.finish())?;
                break;
            };
            bytes += chunk.len();
            if bytes > ANSWER_BYTES_MAX {
                return Err(self.too_large());
            }
            let found = events.feed(&chunk).map_err(|TooLong| self.too_large())?;
            done = fold(&mut whole, found)?;
        }
        if self.adapter.is_complete(&whole) {
            return Ok(whole);
        }
        Err(TurnError::new(
            "model_unreachable",
            format!("the answer of {} broke off before its end", self.name()),
        )
        .retryable())
    }

    fn fold(&self, whole: &mut Value, event: &str) -> Result<Option<String>, TurnError> {
        let event: Value = serde_json::from_str(event)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| {
                self.failed(Fault::new(
                    SHAPE,
                    "an event of the provider's stream is no JSON object",
                ))
            })?;
        self.adapter
            .fold(whole, event)
            .map_err(|fault| self.failed(fault))
    }

    /// What an answer that is no success means.
    async fn refused(&self, mut answer: Streaming, idle: Duration) -> TurnError {
        let body = match read(&mut answer, FAULT_BYTES_MAX, idle).await {
            Ok((body, _)) => body,
            Err(_) => Vec::new(),
        };
        let status = answer.status.as_u16();
        let mut fault = match serde_json::from_slice::<Value>(&body) {
            // Gemini wraps the errors of streams in a list.
            Ok(Value::Array(mut list)) if !list.is_empty() => {
                self.adapter.fault(status, &list.swap_remove(0))
            }
            Ok(body) => self.adapter.fault(status, &body),
            Err(_) => Fault::new(status, String::from_utf8_lossy(&body)),
        };
        if let Some(delay) = retry_after(&answer.headers) {
            fault.retry_after = Some(delay);
        }
        self.failed(fault)
    }

    /// The provider and the model, as messages name them.
    fn name(&self) -> String {
        format!("{} ({})", self.model, provider_name(self.provider))
    }

    fn failed(&self, fault: Fault) -> TurnError {
        let name = self.name();
        let said = self.shown(&fault.message);
        let says = if said.is_empty() {
            String::new()
        } else {
            format!(": {said}")
        };
        let status = StatusCode::from_u16(fault.status).map_or_else(
            |_| "an answer that cannot be read".to_owned(),
            |status| status.to_string(),
        );
        match fault.status {
            SHAPE => TurnError::new("model_unreachable", format!("{name} gave {status}{says}"))
                .retryable(),
            401 | 403 => TurnError::new("model_key_refused", self.key_refused(&says)),
            404 => TurnError::new(
                "model_unknown",
                format!("{} has no model {}{says}", self.host, self.model),
            ),
            408 => TurnError::new("model_timeout", format!("{name} answered {status}{says}"))
                .retryable(),
            429 => TurnError {
                retryable: !fault.permanent,
                ..TurnError::new(
                    "model_rate_limited",
                    format!("{name} asks to wait (429){says}"),
                )
                .after(fault.retry_after)
            },
            500.. => TurnError::new(
                "model_overloaded",
                format!("{name} answered {status}{says}"),
            )
            .retryable()
            .after(fault.retry_after),
            _ => TurnError::new(
                "model_request_refused",
                format!("{name} refused the request ({status}){says}"),
            ),
        }
    }

    fn key_refused(&self, says: &str) -> String {
        let names = self.adapter.key_names().join(" or ");
        if self.held_back {
            return format!(
                "{} wants a key{says}; the one in {names} is not sent there, since a workflow chose this server: allow the host with ALLOWED_API_HOSTS",
                self.host
            );
        }
        if self.key.is_none() {
            return format!("{} wants a key{says}", self.host);
        }
        format!("{} refused the key in {names}{says}", self.host)
    }

    /// A provider's words in one line, without the key, should they repeat it.
    fn shown(&self, message: &str) -> String {
        let masked = match &self.key {
            Some(key) if !key.expose().is_empty() => message.replace(key.expose(), "***"),
            _ => message.to_owned(),
        };
        trimmed(&masked, MESSAGE_CHARS_MAX)
    }

    fn too_large(&self) -> TurnError {
        TurnError::output_invalid(format!(
            "the answer of {} is larger than 16 MiB",
            self.name()
        ))
    }

    fn timeout(&self, limit: Duration) -> TurnError {
        TurnError::new(
            "model_timeout",
            format!("{} did not finish its answer within {limit:?}", self.name()),
        )
        .retryable()
    }

    fn unreachable(&self, error: &ExchangeError) -> TurnError {
        let kind = match error.class {
            ErrorClass::Timeout => "model_timeout",
            _ => "model_unreachable",
        };
        let failed = TurnError::new(kind, format!("{}: {}", self.host, error.message));
        TurnError {
            retryable: error.class != ErrorClass::Blocked,
            ..failed
        }
    }
}

fn parsed(base: &str) -> Result<Url, TurnError> {
    Url::parse(base)
        .ok()
        .filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| {
            TurnError::new(
                "model_unreachable",
                "`api_base` must be a URL such as https://models.example.com/v1",
            )
        })
}

/// `url` without a slash at its end; one without a path gets that of the provider's own.
fn based(url: &Url, own: &str) -> String {
    let text = url.as_str().trim_end_matches('/');
    let bare = matches!(url.path(), "" | "/") && url.query().is_none();
    let path = own
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or("", |(_, path)| path);
    if bare {
        format!("{text}/{path}")
    } else {
        text.to_owned()
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    // A server that cannot stream answers with plain JSON.
    !kind.starts_with("application/json")
}

/// Reads up to `bytes_max`, and tells whether there is more.
pub(crate) async fn read(
    answer: &mut Streaming,
    bytes_max: usize,
    idle: Duration,
) -> Result<(Vec<u8>, bool), ExchangeError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk(idle).await? {
        let room = bytes_max - body.len();
        if chunk.len() > room {
            body.extend_from_slice(&chunk[..room]);
            return Ok((body, true));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, false))
}

/// The seconds of a `Retry-After`. Its other form, a date, no provider uses.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if !value.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    retry_after_seconds(429, value, Timestamp::from_ms(0)).map(Duration::from_secs)
}
