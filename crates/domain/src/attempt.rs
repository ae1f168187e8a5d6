//! An attempt: one exchange with a receiver, as it is logged.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Response bytes that are kept of each attempt.
pub const RESPONSE_BODY_BYTES_MAX: usize = 64 * 1024;

/// Why no answer came. The text form is what API and logs show.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The name did not resolve.
    Dns,
    /// No connection could be made.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The exchange did not end in time.
    Timeout,
    /// The connection broke before an answer.
    Reset,
    /// The address is not one that may be called.
    Blocked,
    /// What came was not HTTP, or over a limit.
    Body,
}

impl ErrorClass {
    /// All of them, in the order of an exchange.
    pub const ALL: [Self; 7] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Reset,
        Self::Blocked,
        Self::Body,
    ];

    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Blocked => "blocked",
            Self::Body => "body",
        }
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

/// How an attempt ended, as far as what follows depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// An answer with this status; 2xx is success, all else fails (3xx too: never followed).
    Answered {
        /// The status code, 100–599.
        status: u16,
        /// Seconds of a `Retry-After` that counts: only on 429 and 503, already parsed.
        retry_after_s: Option<u64>,
    },
    /// No answer.
    Failed(ErrorClass),
}

impl Outcome {
    /// Whether the receiver took the delivery.
    pub const fn is_success(self) -> bool {
        matches!(
            self,
            Self::Answered {
                status: 200..=299,
                ..
            }
        )
    }

    /// Whether the receiver says that it is gone for good (410).
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Answered { status: 410, .. })
    }
}

/// The log of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// 1 for a delivery's first.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The URL that was called.
    pub url: String,
    /// The status, if an answer came.
    pub status: Option<u16>,
    /// Why none came.
    pub error: Option<ErrorClass>,
    /// What a person should read of the failure; holds no secret.
    pub error_message: Option<String>,
    /// Sent headers as `name: value` lines; values of signatures and of custom headers that look
    /// like credentials are masked.
    pub request_headers: String,
    /// Received headers as `name: value` lines; signatures echoed by the receiver are masked.
    pub response_headers: String,
    /// The first [`RESPONSE_BODY_BYTES_MAX`] bytes of the answer, as they came.
    pub response_body: Bytes,
    /// Whether more came than was kept.
    pub response_truncated: bool,
    /// The address that was connected to.
    pub peer: Option<SocketAddr>,
    /// When the receiver's certificate expires.
    pub tls_not_after: Option<Timestamp>,
}
