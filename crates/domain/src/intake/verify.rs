//! Whether a request is genuine.
//!
//! Signatures are checked over the raw bytes, whatever they are, and compared in constant time.
//! It fails closed: without a usable secret nothing is genuine, an empty secret verifies nothing,
//! and a preset that checks nothing refuses once a secret was set. Where a time is signed, it may
//! lie up to the tolerance from now, on either side.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::Value;

use super::{
    config::{HmacConfig, SourceConfig},
    hmac::{Content, Filling, SIGNATURES_MAX, same, signatures, tag},
    payload,
    preset::{Scheme, scheme},
    twilio,
};
use crate::{
    Timestamp,
    intake::{config::Algorithm, preset::Preset},
    json::{self, Limits, Numbers},
    signature::SECRET_PREFIX,
};

/// Above this, a number is a time in milliseconds rather than in seconds (the year 5138).
const SECONDS_MAX: i64 = 100_000_000_000;

/// A request, as far as it is verified.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method, in capitals.
    pub method: &'a str,
    /// The whole URL that the sender called, with its query: Twilio signs it.
    pub url: &'a str,
    /// The query, without `?`.
    pub query: &'a str,
    /// Its headers.
    pub headers: &'a Headers,
    /// Its body, byte for byte.
    pub body: &'a [u8],
}

/// Headers: names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Takes names and values; names in any case.
    pub fn new(headers: impl IntoIterator<Item = (String, String)>) -> Self {
        let lower = |(mut name, value): (String, String)| {
            name.make_ascii_lowercase();
            (name, value)
        };
        Self(headers.into_iter().map(lower).collect())
    }

    /// The first value under a name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// A genuine request.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// What its sender deduplicates by.
    pub event_id: Option<String>,
    /// What its sender says has happened.
    pub event_type: Option<String>,
    /// The time that is signed.
    pub timestamp: Option<Timestamp>,
    /// The bytes to process instead of the body: what was signed is its JavaScript form.
    pub canonical: Option<Bytes>,
    /// What the body says; an error if it says that it is JSON, and is not.
    pub payload: Result<Value, String>,
}

/// Why a request is not genuine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// A stable word for it, such as `signature_mismatch`.
    pub kind: &'static str,
    /// What is wrong and what is expected; never any part of a secret or a signature.
    pub message: String,
}

impl Refusal {
    pub(super) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// The secrets that can verify anything.
pub(super) fn usable<'a>(secrets: &'a [&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
    secrets.iter().copied().filter(|secret| !secret.is_empty())
}

/// Checks a request against each of the active `secrets`, and says what it is.
///
/// # Errors
/// Says what is wrong; time never tells how much of a signature was right.
pub fn verify(
    config: &SourceConfig,
    secrets: &[&[u8]],
    request: &Request<'_>,
    now: Timestamp,
) -> Result<Verified, Refusal> {
    let (timestamp, canonical) = authenticate(config, secrets, request, now)?;
    let body = canonical.as_deref().unwrap_or(request.body);
    let payload = payload::read(config.preset, request.headers.get("content-type"), body);
    let known = payload.as_ref().unwrap_or(&Value::Null);
    let mut timestamp = timestamp;
    if config.preset == Preset::Linear {
        let at = known["webhookTimestamp"].as_i64().ok_or_else(|| {
            Refusal::new("timestamp_missing", "the body has no `webhookTimestamp`")
        })?;
        timestamp = Some(near(Timestamp::from_ms(at), config, now)?);
    }
    Ok(Verified {
        event_id: payload::event_id(config, request.headers, known),
        event_type: payload::event_type(config, request.headers, known),
        timestamp,
        canonical,
        payload,
    })
}

type Genuine = (Option<Timestamp>, Option<Bytes>);

fn authenticate(
    config: &SourceConfig,
    secrets: &[&[u8]],
    request: &Request<'_>,
    now: Timestamp,
) -> Result<Genuine, Refusal> {
    let scheme = scheme(config).ok_or_else(|| {
        Refusal::new(
            "not_configured",
            "the source does not say how requests are signed",
        )
    })?;
    if scheme == Scheme::Open {
        return if secrets.is_empty() {
            Ok((None, None))
        } else {
            Err(Refusal::new(
                "not_configured",
                "the source has a secret and a preset that checks none: choose how requests are signed",
            ))
        };
    }
    let secrets: Vec<&[u8]> = usable(secrets).collect();
    if secrets.is_empty() {
        return Err(Refusal::new(
            "no_secret",
            "no secret is active here, so nothing can be verified: set one",
        ));
    }
    match &scheme {
        Scheme::Hmac {
            headers,
            config: hmac,
        } => by_hmac(config, headers, hmac, &secrets, request, now),
        Scheme::Stripe => by_stripe(config, &secrets, request, now).map(timed),
        Scheme::Standard => by_standard(config, &secrets, request, now).map(timed),
        Scheme::Twilio => {
            let signature = header(request, "x-twilio-signature")?;
            plain(twilio::fits(&secrets, request, signature))
        }
        Scheme::Token(name) => {
            let theirs = header(request, name)?;
            plain(secrets.iter().any(|secret| same(secret, theirs.as_bytes())))
        }
        Scheme::Basic => by_basic(&secrets, request),
        Scheme::Open => Ok((None, None)),
    }
}

fn timed(at: Timestamp) -> Genuine {
    (Some(at), None)
}

fn plain(fits: bool) -> Result<Genuine, Refusal> {
    if fits {
        Ok((None, None))
    } else {
        Err(mismatch())
    }
}

fn mismatch() -> Refusal {
    Refusal::new(
        "signature_mismatch",
        "the signature does not match: check the secret, and that the body is signed byte for byte",
    )
}

fn header<'a>(request: &Request<'a>, name: &str) -> Result<&'a str, Refusal> {
    request
        .headers
        .get(name)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Refusal::new("signature_missing", format!("there is no `{name}` header")))
}

fn malformed(name: &str) -> Refusal {
    Refusal::new(
        "signature_malformed",
        format!("`{name}` holds no signature of the expected form"),
    )
}

fn by_hmac(
    source: &SourceConfig,
    names: &[String],
    config: &HmacConfig,
    secrets: &[&[u8]],
    request: &Request<'_>,
    now: Timestamp,
) -> Result<Genuine, Refusal> {
    let name = names
        .iter()
        .find(|name| request.headers.get(name).is_some())
        .unwrap_or(&names[0]);
    let theirs = signatures(config, header(request, name)?);
    if theirs.is_empty() {
        return Err(malformed(name));
    }
    let (stamp, at) = match &config.timestamp_header {
        Some(name) => {
            let text = request.headers.get(name).ok_or_else(|| {
                Refusal::new("timestamp_missing", format!("there is no `{name}` header"))
            })?;
            (text, Some(near(time_of(text)?, source, now)?))
        }
        None => ("", None),
    };
    let id = match &config.id_header {
        Some(name) => header(request, name)?,
        None => "",
    };
    let content = Content::of(config).map_err(|error| Refusal::new("not_configured", error))?;
    let fits = |body: &[u8]| {
        let filling = Filling {
            request,
            body,
            timestamp: stamp,
            id,
        };
        content.fits(config.algorithm, secrets, &filling, &theirs)
    };
    if fits(request.body) {
        return Ok((at, None));
    }
    if source.canonical_fallback {
        let limits = Limits {
            bytes_max: usize::MAX,
            ..Limits::default()
        };
        if let Ok(canonical) = json::canonicalize(request.body, Numbers::JavaScript, &limits)
            && fits(canonical.as_bytes())
        {
            return Ok((at, Some(canonical.into_bytes())));
        }
    }
    Err(mismatch())
}

fn by_stripe(
    config: &SourceConfig,
    secrets: &[&[u8]],
    request: &Request<'_>,
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    const NAME: &str = "stripe-signature";
    let value = header(request, NAME)?;
    let pairs = || {
        value
            .split(',')
            .filter_map(|part| part.trim().split_once('='))
    };
    let mut times = pairs().filter(|(key, _)| *key == "t");
    let (Some((_, stamp)), None) = (times.next(), times.next()) else {
        return Err(malformed(NAME));
    };
    let at = near(time_of(stamp)?, config, now)?;
    let theirs: Vec<Vec<u8>> = pairs()
        .filter(|(key, _)| *key == "v1")
        .take(SIGNATURES_MAX)
        .filter_map(|(_, text)| hex::decode(text).ok())
        .collect();
    if theirs.is_empty() {
        return Err(malformed(NAME));
    }
    let fits = secrets.iter().any(|secret| {
        let parts = [stamp.as_bytes(), b".", request.body];
        let ours = tag(Algorithm::Sha256, secret, &parts);
        theirs.iter().any(|theirs| same(ours.as_ref(), theirs))
    });
    if fits { Ok(at) } else { Err(mismatch()) }
}

fn by_standard(
    config: &SourceConfig,
    secrets: &[&[u8]],
    request: &Request<'_>,
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    const NAME: &str = "webhook-signature";
    let value = header(request, NAME)?;
    let id = header(request, "webhook-id")?;
    let stamp = request.headers.get("webhook-timestamp").ok_or_else(|| {
        Refusal::new(
            "timestamp_missing",
            "there is no `webhook-timestamp` header",
        )
    })?;
    let at = near(time_of(stamp)?, config, now)?;
    let theirs: Vec<Vec<u8>> = value
        .split(' ')
        .filter_map(|part| part.strip_prefix("v1,"))
        .take(SIGNATURES_MAX)
        .filter_map(|text| STANDARD.decode(text).ok())
        .collect();
    if theirs.is_empty() {
        return Err(malformed(NAME));
    }
    let fits = secrets.iter().any(|secret| {
        let Some(key) = standard_key(secret) else {
            return false;
        };
        let parts = [id.as_bytes(), b".", stamp.as_bytes(), b".", request.body];
        let ours = tag(Algorithm::Sha256, &key, &parts);
        theirs.iter().any(|theirs| same(ours.as_ref(), theirs))
    });
    if fits { Ok(at) } else { Err(mismatch()) }
}

/// The key of a Standard Webhooks secret: what `whsec_` is the base64 of, else its bytes.
fn standard_key(secret: &[u8]) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    let key = match secret.strip_prefix(SECRET_PREFIX.as_bytes()) {
        Some(encoded) => STANDARD.decode(encoded).ok()?,
        None => secret.to_vec(),
    };
    (!key.is_empty()).then(|| key.into())
}

fn by_basic(secrets: &[&[u8]], request: &Request<'_>) -> Result<Genuine, Refusal> {
    let value = header(request, "authorization")?;
    let theirs = value
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, text)| STANDARD.decode(text.trim()).ok())
        .map(zeroize::Zeroizing::new)
        .ok_or_else(|| malformed("authorization"))?;
    if secrets.iter().any(|secret| same(secret, &theirs)) {
        Ok((None, None))
    } else {
        Err(Refusal::new("credentials", "user or password is not right"))
    }
}

/// Reads a time: Unix seconds or milliseconds in digits, or RFC 3339.
fn time_of(text: &str) -> Result<Timestamp, Refusal> {
    let bad = || {
        Refusal::new(
            "timestamp_malformed",
            "the signed time is neither Unix time in digits nor RFC 3339",
        )
    };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = text.parse().map_err(|_| bad())?;
        return Ok(Timestamp::from_ms(if number < SECONDS_MAX {
            number * 1_000
        } else {
            number
        }));
    }
    Timestamp::parse(text).map_err(|_| bad())
}

/// Refuses a time that lies too far from now, on either side; whole seconds count.
fn near(at: Timestamp, config: &SourceConfig, now: Timestamp) -> Result<Timestamp, Refusal> {
    let tolerance = config.tolerance_s();
    if at.unix_s().abs_diff(now.unix_s()) <= u64::from(tolerance) {
        return Ok(at);
    }
    let which = if at < now { "past" } else { "future" };
    Err(Refusal::new(
        "timestamp_out_of_tolerance",
        format!("the signed time lies more than {tolerance} s in the {which}: check both clocks"),
    ))
}
