//! The questions that providers ask before they send to a new URL.

use ring::digest;
use serde_json::{Value, json};

use super::{
    config::{Algorithm, SourceConfig},
    hmac::{same, tag},
    preset::Preset,
    verify::{Refusal, Request, usable},
};

/// The longest challenge that is given back, in bytes.
const CHALLENGE_BYTES_MAX: usize = 4_096;

/// What a handshake is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The body's media type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// Answers Meta's question, which comes as a GET before anything is signed: `hub.challenge`, if
/// `hub.verify_token` is right. `None` if this is no such question.
///
/// # Errors
/// If the token is wrong.
pub fn of_query(
    config: &SourceConfig,
    secrets: &[&[u8]],
    request: &Request<'_>,
) -> Option<Result<Answer, Refusal>> {
    if config.preset != Preset::Whatsapp || request.method != "GET" {
        return None;
    }
    let field = |wanted: &str| {
        url::form_urlencoded::parse(request.query.as_bytes())
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    };
    if field("hub.mode").as_deref() != Some("subscribe") {
        return None;
    }
    let challenge = field("hub.challenge")?;
    let token = field("hub.verify_token").unwrap_or_default();
    let right = match &config.verify_token_hash {
        Some(hash) => {
            let theirs = digest::digest(&digest::SHA256, token.as_bytes());
            hex::decode(hash).is_ok_and(|ours| same(&ours, theirs.as_ref()))
        }
        None => usable(secrets).any(|secret| same(secret, token.as_bytes())),
    };
    Some(if !right || challenge.len() > CHALLENGE_BYTES_MAX {
        Err(Refusal::new(
            "verify_token",
            "`hub.verify_token` is not the one that is set for this source",
        ))
    } else {
        Ok(Answer {
            content_type: "text/plain; charset=utf-8",
            body: challenge,
        })
    })
}

/// Answers what Slack and Zoom ask within a signed request; to be called after the signature was
/// checked. `None` if it asks nothing.
pub fn of_payload(config: &SourceConfig, secrets: &[&[u8]], payload: &Value) -> Option<Answer> {
    let body = match config.preset {
        Preset::Slack if payload["type"] == "url_verification" => {
            json!({ "challenge": short(&payload["challenge"])? })
        }
        Preset::Zoom if payload["event"] == "endpoint.url_validation" => {
            let plain = short(&payload["payload"]["plainToken"])?;
            let secret = usable(secrets).next()?;
            let tag = tag(Algorithm::Sha256, secret, &[plain.as_bytes()]);
            json!({ "plainToken": plain, "encryptedToken": hex::encode(tag) })
        }
        _ => return None,
    };
    Some(Answer {
        content_type: "application/json",
        body: body.to_string(),
    })
}

fn short(value: &Value) -> Option<&str> {
    value
        .as_str()
        .filter(|text| text.len() <= CHALLENGE_BYTES_MAX)
}
