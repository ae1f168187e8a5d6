//! HMACs of senders, over whatever they sign, compared in constant time.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;

use super::{
    config::{Algorithm, Encoding, HmacConfig},
    verify::Request,
};

/// The most signatures of one header that are compared.
pub(super) const SIGNATURES_MAX: usize = 32;

/// What is signed, in parts.
pub(super) struct Content(Vec<Part>);

enum Part {
    Text(String),
    Body,
    Timestamp,
    Id,
    Method,
    Url,
}

/// What fills a [`Content`].
pub(super) struct Filling<'a> {
    pub request: &'a Request<'a>,
    pub body: &'a [u8],
    pub timestamp: &'a str,
    pub id: &'a str,
}

impl Content {
    /// Reads the template of a configuration.
    pub fn of(config: &HmacConfig) -> Result<Self, String> {
        let timed = config.timestamp_header.is_some();
        let text = match &config.content {
            Some(text) => text,
            None if timed => "{timestamp}.{body}",
            None => "{body}",
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..]
                .find('}')
                .ok_or_else(|| "has a `{` without its `}`".to_owned())?;
            parts.push(Part::Text(rest[..open].to_owned()));
            parts.push(match &rest[open + 1..open + close] {
                "body" => Part::Body,
                "timestamp" => Part::Timestamp,
                "id" => Part::Id,
                "method" => Part::Method,
                "url" => Part::Url,
                other => {
                    return Err(format!(
                        "has `{{{other}}}`: only {{body}}, {{timestamp}}, {{id}}, {{method}} and {{url}} are known"
                    ));
                }
            });
            rest = &rest[open + close + 1..];
        }
        parts.push(Part::Text(rest.to_owned()));
        let has = |wanted: fn(&Part) -> bool| parts.iter().any(wanted);
        if !has(|part| matches!(part, Part::Body)) {
            return Err("must sign the `{body}`".to_owned());
        }
        if has(|part| matches!(part, Part::Timestamp)) != timed {
            return Err(
                "has `{timestamp}` exactly if `timestampHeader` says where it is: a time that \
                 is not signed proves nothing"
                    .to_owned(),
            );
        }
        if has(|part| matches!(part, Part::Id)) != config.id_header.is_some() {
            return Err("has `{id}` exactly if `idHeader` says where it is".to_owned());
        }
        Ok(Self(parts))
    }

    /// The tag of what is signed.
    fn tag(&self, key: &hmac::Key, filling: &Filling<'_>) -> hmac::Tag {
        let mut context = hmac::Context::with_key(key);
        for part in &self.0 {
            context.update(match part {
                Part::Text(text) => text.as_bytes(),
                Part::Body => filling.body,
                Part::Timestamp => filling.timestamp.as_bytes(),
                Part::Id => filling.id.as_bytes(),
                Part::Method => filling.request.method.as_bytes(),
                Part::Url => filling.request.url.as_bytes(),
            });
        }
        context.sign()
    }

    /// Whether one of `signatures` is one of what is signed, under one of `secrets`.
    pub fn fits(
        &self,
        algorithm: Algorithm,
        secrets: &[&[u8]],
        filling: &Filling<'_>,
        signatures: &[Vec<u8>],
    ) -> bool {
        secrets.iter().any(|secret| {
            let key = hmac::Key::new(of(algorithm), secret);
            let ours = self.tag(&key, filling);
            signatures.iter().any(|theirs| same(ours.as_ref(), theirs))
        })
    }
}

/// The signatures of a header: one, or several with commas or spaces between. What is no
/// signature of the expected form is passed over.
pub(super) fn signatures(config: &HmacConfig, value: &str) -> Vec<Vec<u8>> {
    value
        .split([',', ' '])
        .filter(|part| !part.is_empty())
        .take(SIGNATURES_MAX)
        .filter_map(|part| {
            let bare = part
                .strip_prefix(config.prefix.as_str())
                .filter(|_| !config.prefix.is_empty())
                .or_else(|| part.strip_prefix(name(config.algorithm)))
                .unwrap_or(part);
            decode(config.encoding, bare)
        })
        .filter(|tag| tag.len() == of(config.algorithm).digest_algorithm().output_len())
        .collect()
}

/// What many senders write before the hex.
const fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Sha1 => "sha1=",
        Algorithm::Sha256 => "sha256=",
        Algorithm::Sha512 => "sha512=",
    }
}

fn of(algorithm: Algorithm) -> hmac::Algorithm {
    match algorithm {
        Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::Sha256 => hmac::HMAC_SHA256,
        Algorithm::Sha512 => hmac::HMAC_SHA512,
    }
}

fn decode(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex => hex::decode(text).ok(),
        Encoding::Base64 => STANDARD.decode(text).ok(),
    }
}

/// The HMAC of `parts`, one after the other.
pub(super) fn tag(algorithm: Algorithm, secret: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let key = hmac::Key::new(of(algorithm), secret);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    context.sign()
}

/// Compares in a time that tells nothing of where two values differ.
pub(super) fn same(ours: &[u8], theirs: &[u8]) -> bool {
    // The HMACs of both under any key are equal exactly if they are, and comparing those is
    // constant in time by `verify`'s promise.
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"signpost compares");
    hmac::verify(&key, ours, hmac::sign(&key, theirs).as_ref()).is_ok()
}
