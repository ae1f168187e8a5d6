//! What a person sets of a source, apart from its secrets. Stored as JSON, with every default
//! left out, so that a preset's later changes reach sources that were made before.

use serde::{Deserialize, Serialize};

use super::{hmac::Content, preset::Preset};

/// How far a signed time may lie from now, in seconds, where nothing else is set.
pub const TOLERANCE_S_DEFAULT: u32 = 300;
/// The widest tolerance, in seconds.
pub const TOLERANCE_S_MAX: u32 = 3_600;
/// The largest body of a request, in bytes, where nothing else is set.
pub const BODY_BYTES_DEFAULT: usize = 1 << 20;
/// GitHub's: it sends bodies up to this size.
pub const BODY_BYTES_GITHUB: usize = 25 << 20;
/// The largest body that a source can be made to take, in bytes.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Requests of one source at once, where nothing else is set.
pub const CONCURRENCY_DEFAULT: u32 = 64;
/// The most requests of one source at once.
pub const CONCURRENCY_MAX: u32 = 10_000;
/// The most requests per second that can be set.
pub const RATE_MAX: f64 = 100_000.0;
/// The longest that an answer waits for what was started, in milliseconds.
pub const WAIT_MS_MAX: u64 = 30_000;
/// The largest fixed answer, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// The longest header name, prefix or path.
const TEXT_BYTES_MAX: usize = 256;

/// What a person sets of a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SourceConfig {
    /// Who sends, or how it signs.
    pub preset: Preset,
    /// How it signs (preset `hmac`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac: Option<HmacConfig>,
    /// The header that holds the key (preset `api-key`); `X-API-Key` where nothing is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// How far a signed time may lie from now, in seconds; 300 where nothing is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance_seconds: Option<u32>,
    /// Whether a signature over the body as JavaScript's `JSON.stringify(JSON.parse(body))` would
    /// write it counts too; those bytes are processed then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub canonical_fallback: bool,
    /// The hex SHA-256 of what `hub.verify_token` must be (preset `whatsapp`). Without it, an
    /// active secret is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_token_hash: Option<String>,
    /// Where the event's id is; the preset's place where nothing is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Location>,
    /// How much is taken.
    #[serde(skip_serializing_if = "LimitsConfig::is_default")]
    pub limits: LimitsConfig,
    /// What is answered.
    #[serde(skip_serializing_if = "ResponseConfig::is_default")]
    pub response: ResponseConfig,
}

/// How a sender of one's own signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HmacConfig {
    /// The hash.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// The header that holds the signature.
    pub header: String,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// What stands before it, such as `v0=`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The header that holds the time: Unix seconds or milliseconds, or RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// What is signed: a text with `{body}`, `{timestamp}`, `{id}`, `{method}` and `{url}` in it.
    /// Where nothing is set, `{timestamp}.{body}` with a timestamp header, else `{body}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The header that holds what `{id}` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
}

/// A hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-1: for senders that know no better.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Hexadecimal, in either case.
    #[default]
    Hex,
    /// Standard base64.
    Base64,
}

/// Where a value is in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// In a header.
    Header(String),
    /// In the payload, as a path: `data.items[0].id`.
    Json(String),
    /// Nowhere: nothing is deduplicated.
    None,
}

/// How much a source takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// The largest body, in bytes; 1 MiB where nothing is set, for GitHub 25 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<usize>,
    /// Requests at once; 64 where nothing is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Requests per second; no limit where nothing is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<f64>,
}

/// What a source answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ResponseConfig {
    /// How long the answer waits for what was started, in milliseconds; not at all where nothing
    /// is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// The status of a success, 200 to 299.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The body of a success, instead of what was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// That body's media type; `text/plain` where nothing is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

impl LimitsConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl ResponseConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// Which, such as `hmac.header`.
    pub path: &'static str,
    /// What is wrong, and what is expected.
    pub message: String,
}

impl SourceConfig {
    /// How far a signed time may lie from now, in seconds.
    pub fn tolerance_s(&self) -> u32 {
        self.tolerance_seconds.unwrap_or(TOLERANCE_S_DEFAULT)
    }

    /// The largest body, in bytes.
    pub fn body_bytes_max(&self) -> usize {
        self.limits.body_bytes_max.unwrap_or(match self.preset {
            Preset::Github => BODY_BYTES_GITHUB,
            _ => BODY_BYTES_DEFAULT,
        })
    }

    /// Requests at once.
    pub fn concurrency(&self) -> u32 {
        self.limits.concurrency.unwrap_or(CONCURRENCY_DEFAULT)
    }

    /// Every setting that cannot work.
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        self.check_scheme(&mut faults);
        self.check_bounds(&mut faults);
        self.check_response(&mut faults);
        faults
    }

    fn check_scheme(&self, faults: &mut Vec<ConfigFault>) {
        let mut add = |path, message: &str| faults.push(fault(path, message));
        match (&self.hmac, self.preset) {
            (None, Preset::Hmac) => add(
                "hmac",
                "is required with preset `hmac`: at least `{\"header\": …}`",
            ),
            (Some(_), preset) if preset != Preset::Hmac => {
                add("hmac", "is for preset `hmac` only");
            }
            _ => {}
        }
        if self.header.is_some() && self.preset != Preset::ApiKey {
            add("header", "is for preset `api-key` only");
        }
        if self.header.as_deref().is_some_and(|name| !is_token(name)) {
            add("header", HEADER_NAME);
        }
        if self.verify_token_hash.is_some() && self.preset != Preset::Whatsapp {
            add("verifyToken", "is for preset `whatsapp` only");
        }
        if let Some(hmac) = &self.hmac {
            if !is_token(&hmac.header) {
                add("hmac.header", HEADER_NAME);
            }
            let named = [
                ("hmac.timestampHeader", &hmac.timestamp_header),
                ("hmac.idHeader", &hmac.id_header),
            ];
            for (path, name) in named {
                if name.as_deref().is_some_and(|name| !is_token(name)) {
                    add(path, HEADER_NAME);
                }
            }
            if hmac.prefix.len() > TEXT_BYTES_MAX {
                add("hmac.prefix", "has at most 256 bytes");
            }
            if let Err(message) = Content::of(hmac) {
                faults.push(ConfigFault {
                    path: "hmac.content",
                    message,
                });
            }
        }
        match &self.event_id {
            Some(Location::Header(name)) if !is_token(name) => {
                faults.push(fault("eventId.header", HEADER_NAME));
            }
            Some(Location::Json(path))
                if path.is_empty()
                    || path.len() > TEXT_BYTES_MAX
                    || super::payload::path_steps(path).is_none() =>
            {
                faults.push(fault(
                    "eventId.json",
                    "is a path such as `data.items[0].id`",
                ));
            }
            _ => {}
        }
    }

    fn check_bounds(&self, faults: &mut Vec<ConfigFault>) {
        let mut check = |path, holds: bool, message: &str| {
            if !holds {
                faults.push(fault(path, message));
            }
        };
        check(
            "toleranceSeconds",
            (1..=TOLERANCE_S_MAX).contains(&self.tolerance_s()),
            "is 1 to 3600",
        );
        check(
            "limits.bodyBytesMax",
            (1..=BODY_BYTES_MAX).contains(&self.body_bytes_max()),
            "is 1 to 67108864 (64 MiB)",
        );
        check(
            "limits.concurrency",
            (1..=CONCURRENCY_MAX).contains(&self.concurrency()),
            "is 1 to 10000 requests at once",
        );
        let rate = self.limits.rate_per_second;
        check(
            "limits.ratePerSecond",
            rate.is_none_or(|rate| (0.01..=RATE_MAX).contains(&rate)),
            "is 0.01 to 100000 requests per second",
        );
    }

    fn check_response(&self, faults: &mut Vec<ConfigFault>) {
        let response = &self.response;
        if response.wait_ms.is_some_and(|ms| ms > WAIT_MS_MAX) {
            faults.push(fault("response.waitMs", "is at most 30000"));
        }
        if response
            .status
            .is_some_and(|status| !(200..300).contains(&status))
        {
            faults.push(fault("response.status", "is 200 to 299"));
        }
        if response
            .body
            .as_ref()
            .is_some_and(|body| body.len() > ANSWER_BYTES_MAX)
        {
            faults.push(fault("response.body", "has at most 16384 bytes"));
        }
        let media_type = response.content_type.as_deref();
        let fits = |text: &str| {
            text.len() <= TEXT_BYTES_MAX
                && text.contains('/')
                && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        };
        if media_type.is_some_and(|text| !fits(text)) {
            faults.push(fault(
                "response.contentType",
                "is a media type such as `text/xml`",
            ));
        }
    }
}

const HEADER_NAME: &str = "is a header's name: letters, digits and `-`, at most 256";

fn fault(path: &'static str, message: &str) -> ConfigFault {
    ConfigFault {
        path,
        message: message.to_owned(),
    }
}

/// Whether a text can be a header's name (RFC 9110, token).
fn is_token(name: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
