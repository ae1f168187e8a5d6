//! What goes over the wire: the body of an event in each format, and the headers of an attempt.
//!
//! A body is rendered once per event and format, then signed per webhook and attempt. The
//! published `data` is canonical already ([`crate::json`]), so a body is put together from
//! pieces, and the whole is again a fixed point of `JSON.stringify(JSON.parse(body))`: the
//! envelopes have no integer-like keys. Custom headers ([`crate::header`]), framing and the
//! sending are not done here.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    WorkspaceId, event::Event, json, nearest, signature::Signer, webhook::TIMEOUT_DEFAULT,
};

/// The `User-Agent` of every request.
pub const USER_AGENT: &str = concat!("Signpost/", env!("CARGO_PKG_VERSION"));
/// The CloudEvents `source` of the first workspace's events; other workspaces append their id,
/// since `source` and `id` together must be unique (CloudEvents 1.0).
pub const CLOUDEVENTS_SOURCE: &str = "/signpost";
/// The header that counts how many Signposts an event has passed through.
pub const HOPS_HEADER: &str = "x-signpost-hops";

/// Which bodies and headers a webhook gets (CONTRACTS: wire formats).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `{id,event,timestamp,data}` with `X-Webhook-…` headers (S0).
    #[default]
    Default,
    /// The same with `data` in `snake_case`, and `X-AgentFactory-Signature` (S1).
    AgentFactory,
    /// `{event,timestamp,payload}` with `X-Webhook-…` headers (S2).
    Orchestration,
    /// CloudEvents 1.0, structured mode.
    #[serde(rename = "cloudevents")]
    CloudEvents,
}

/// A text that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown format `{text}`{hint}: expected default, agent-factory, orchestration or cloudevents"
)]
pub struct FormatError {
    text: String,
    hint: String,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Default,
        Self::AgentFactory,
        Self::Orchestration,
        Self::CloudEvents,
    ];

    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::AgentFactory => "agent-factory",
            Self::Orchestration => "orchestration",
            Self::CloudEvents => "cloudevents",
        }
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// If it is none of the four; the message names the nearest.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| FormatError {
                text: text.chars().take(40).collect(),
                hint: nearest::hint(text, Self::ALL.map(Self::as_str)),
            })
    }

    /// How long an exchange may take where a webhook of this format sets nothing else: S1's
    /// receivers were promised 5 s.
    pub const fn timeout_default(self) -> Duration {
        match self {
            Self::AgentFactory => Duration::from_secs(5),
            Self::Default | Self::Orchestration | Self::CloudEvents => TIMEOUT_DEFAULT,
        }
    }

    /// The `Content-Type` of its bodies.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::CloudEvents => "application/cloudevents+json",
            Self::Default | Self::AgentFactory | Self::Orchestration => "application/json",
        }
    }
}

/// The body of `event` in `format`.
pub fn render(format: Format, event: &Event) -> Bytes {
    match format {
        Format::Default => envelope(event, &event.data),
        Format::AgentFactory => envelope(event, &json::snake_case_keys(&event.data)),
        Format::Orchestration => concat(
            event.data.len() + 160,
            &[
                br#"{"event":""#,
                event.event_type.as_str().as_bytes(),
                br#"","timestamp":""#,
                event.timestamp.to_string().as_bytes(),
                br#"","payload":"#,
                &event.data,
                b"}",
            ],
        ),
        Format::CloudEvents => cloudevent(event, &source(event.workspace)),
    }
}

/// The body of `event` as a `CloudEvent` whose `source` is the given URI reference.
pub fn cloudevent(event: &Event, source: &str) -> Bytes {
    let source = serde_json::to_string(source).expect("a string is always JSON");
    concat(
        event.data.len() + source.len() + 320,
        &[
            br#"{"specversion":"1.0","id":""#,
            event.id.as_str().as_bytes(),
            br#"","source":"#,
            source.as_bytes(),
            br#","type":""#,
            event.event_type.as_str().as_bytes(),
            br#"","time":""#,
            event.timestamp.to_string().as_bytes(),
            br#"","datacontenttype":"application/json","data":"#,
            &event.data,
            b"}",
        ],
    )
}

fn source(workspace: WorkspaceId) -> String {
    if workspace == WorkspaceId::DEFAULT {
        CLOUDEVENTS_SOURCE.to_owned()
    } else {
        format!("{CLOUDEVENTS_SOURCE}/{workspace}")
    }
}

/// `{id,event,timestamp,data}`. Ids and types have no character that JSON escapes.
fn envelope(event: &Event, data: &[u8]) -> Bytes {
    concat(
        data.len() + 320,
        &[
            br#"{"id":""#,
            event.id.as_str().as_bytes(),
            br#"","event":""#,
            event.event_type.as_str().as_bytes(),
            br#"","timestamp":""#,
            event.timestamp.to_string().as_bytes(),
            br#"","data":"#,
            data,
            b"}",
        ],
    )
}

fn concat(capacity: usize, pieces: &[&[u8]]) -> Bytes {
    let mut body = Vec::with_capacity(capacity);
    for piece in pieces {
        body.extend_from_slice(piece);
    }
    body.into()
}

/// One attempt, as far as its headers depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The webhook's format.
    pub format: Format,
    /// The event that is sent.
    pub event: &'a Event,
    /// Its body, exactly as it is sent.
    pub body: &'a [u8],
    /// When this attempt starts, in Unix seconds.
    pub attempt_unix_s: i64,
    /// The webhook's keys.
    pub signer: &'a Signer,
    /// What stands before the hex of the format's own signature header.
    pub signature_prefix: &'a str,
}

/// Hands each header that the format carries for this attempt to `put`, with its name in lower
/// case. `Content-Type`, `User-Agent` and custom headers are not among them. Values borrow from
/// the stack or the event: nothing is allocated but the Standard Webhooks signature.
///
/// Signature headers are left out where there is no secret.
pub fn webhook_headers(outgoing: &Outgoing<'_>, mut put: impl FnMut(&'static str, &str)) {
    let Outgoing {
        format,
        event,
        body,
        attempt_unix_s,
        signer,
        signature_prefix,
    } = *outgoing;
    let event_ms = event.timestamp.ms();
    match format {
        Format::Default => {
            put("x-webhook-id", event.id.as_str());
            put("x-webhook-event", event.event_type.as_str());
            put("x-webhook-timestamp", itoa::Buffer::new().format(event_ms));
            put_hex(
                "x-webhook-signature",
                signer,
                signature_prefix,
                body,
                &mut put,
            );
        }
        Format::AgentFactory => {
            put_hex(
                "x-agentfactory-signature",
                signer,
                signature_prefix,
                body,
                &mut put,
            );
        }
        Format::Orchestration => {
            put("x-webhook-event", event.event_type.as_str());
            put("x-webhook-timestamp", itoa::Buffer::new().format(event_ms));
            put_hex(
                "x-webhook-signature",
                signer,
                signature_prefix,
                body,
                &mut put,
            );
        }
        Format::CloudEvents => {}
    }
    put("webhook-id", event.id.as_str());
    put(
        "webhook-timestamp",
        itoa::Buffer::new().format(attempt_unix_s),
    );
    if let Some(signature) = signer.standard(event.id.as_str(), attempt_unix_s, body) {
        put("webhook-signature", &signature);
    }
    put(
        HOPS_HEADER,
        itoa::Buffer::new().format(event.hops.saturating_add(1)),
    );
}

fn put_hex(
    name: &'static str,
    signer: &Signer,
    prefix: &str,
    body: &[u8],
    put: &mut impl FnMut(&'static str, &str),
) {
    let Some(signature) = signer.hex(body) else {
        return;
    };
    if prefix.is_empty() {
        put(name, signature.as_str());
    } else {
        put(name, &format!("{prefix}{}", signature.as_str()));
    }
}
