//! What can go wrong on the way out, told by types and never by text.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::policy::Blocked;
use crate::tls;

/// The kind of failure, as attempts are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The name could not be resolved, or not within the time allowed for it.
    Dns,
    /// No connection could be opened to any address, or not within the time allowed for it.
    Connect,
    /// The TLS handshake failed: certificate, protocol version, client certificate.
    Tls,
    /// The deadline of the whole exchange passed before the response's head was there.
    Timeout,
    /// The connection broke before the response's head was complete.
    Reset,
    /// The address policy refuses the name or an address it resolves to.
    Blocked,
    /// What came back is not an HTTP response, or is beyond a limit.
    Body,
}

impl ErrorClass {
    /// The name in the attempt log: `dns`, `connect`, `tls`, `timeout`, `reset`, `blocked`, `body`.
    pub fn as_str(self) -> &'static str {
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
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An exchange that brought no response.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ExchangeError {
    /// The kind of failure.
    pub class: ErrorClass,
    /// One sentence for a person: lower case, no secrets, no part of the request.
    pub message: String,
    /// The address that was dialled, once one was connected.
    pub peer: Option<SocketAddr>,
    /// How long the exchange took until it failed.
    pub duration: Duration,
}

/// A failure inside the flow, before peer and duration are known to be final.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) class: ErrorClass,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
        }
    }
}

impl From<Blocked> for Failure {
    fn from(blocked: Blocked) -> Self {
        Self::new(ErrorClass::Blocked, blocked.to_string())
    }
}

/// Classifies what hyper reports between the request and the end of the response's head.
impl From<&hyper::Error> for Failure {
    fn from(error: &hyper::Error) -> Self {
        if let Some(reason) = find::<rustls::Error>(error).map(tls::reason) {
            return Self::new(ErrorClass::Tls, reason);
        }
        if error.is_parse_too_large() {
            return Self::new(
                ErrorClass::Body,
                "the response's head is larger than 64 KiB or has more than 100 headers",
            );
        }
        if error.is_parse() {
            return Self::new(
                ErrorClass::Body,
                format!("the response is not valid HTTP: {error}"),
            );
        }
        if let Some(h2) = find::<h2::Error>(error) {
            return Self::from_h2(h2);
        }
        if let Some(io) = find::<io::Error>(error) {
            return Self::new(ErrorClass::Reset, format!("the connection broke: {io}"));
        }
        Self::new(
            ErrorClass::Reset,
            "the connection was closed before a response came",
        )
    }
}

impl Failure {
    fn from_h2(error: &h2::Error) -> Self {
        let class = if error.is_remote() || error.is_io() {
            ErrorClass::Reset
        } else {
            // The receiver broke the protocol, as the library found.
            ErrorClass::Body
        };
        Self::new(class, format!("HTTP/2: {error}"))
    }
}

/// The first error of type `T` in a chain of causes, looking inside `io::Error` as well.
pub(crate) fn find<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        // An io::Error's source() is its inner error's source, which would skip the inner error.
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
