//! A response that is read piece by piece: event streams, and the command line.
//!
//! The way to the response's head is that of [`crate::exchange`]. After it there is no deadline
//! and no cap: a stream may last for hours. Each wait for a piece has a limit of its own.

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{StatusCode, Version};
use tokio::time::Instant;

use crate::Egress;
use crate::body::{ResponseBody, body_failure};
use crate::error::{ErrorClass, ExchangeError, Failure};
use crate::exchange::{Late, Outgoing, within};

/// A response whose body is read piece by piece. Dropping it closes the connection (HTTP/1.1) or
/// cancels the stream (HTTP/2).
pub struct Streaming {
    /// 101 or 200 to 599.
    pub status: StatusCode,
    /// As received.
    pub headers: HeaderMap,
    /// The address that was dialled.
    pub peer: SocketAddr,
    /// When the receiver's certificate expires, Unix seconds.
    pub tls_not_after: Option<i64>,
    /// HTTP/1.0, 1.1 or 2.
    pub http_version: Version,
    /// Whether an earlier exchange had opened the connection.
    pub connection_reused: bool,
    body: Option<ResponseBody>,
    started: Instant,
}

impl fmt::Debug for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming")
            .field("status", &self.status)
            .field("peer", &self.peer)
            .field("http_version", &self.http_version)
            .field("connection_reused", &self.connection_reused)
            .finish_non_exhaustive()
    }
}

impl Egress {
    /// Makes a request and returns once the response's head is there; [`Outgoing::timeout`]
    /// covers that much, and [`Outgoing::response_body_bytes_max`] is not used. What the body may
    /// cost in time and bytes is up to the caller of [`Streaming::chunk`].
    ///
    /// # Errors
    /// As [`Egress::exchange`].
    pub async fn stream(&self, outgoing: Outgoing) -> Result<Streaming, ExchangeError> {
        let started = Instant::now();
        let deadline = pin!(tokio::time::sleep(outgoing.timeout));
        let answer = self.answer(outgoing, deadline, started).await?;
        Ok(Streaming {
            status: answer.head.status,
            headers: answer.head.headers,
            peer: answer.facts.peer,
            tls_not_after: answer.facts.tls_not_after,
            http_version: answer.head.version,
            connection_reused: answer.reused,
            body: Some(answer.body),
            started,
        })
    }
}

impl Streaming {
    /// The next piece of the body; `None` at its end. `idle` bounds the wait for this piece.
    ///
    /// # Errors
    /// `Timeout` if nothing came within `idle`, `Reset` or `Body` if the body broke. There is
    /// nothing more to read after an error.
    pub async fn chunk(&mut self, idle: Duration) -> Result<Option<Bytes>, ExchangeError> {
        let Some(body) = &mut self.body else {
            return Ok(None);
        };
        let deadline = pin!(tokio::time::sleep(idle));
        let failure = match within(deadline, body.chunk()).await {
            Ok(Some(Ok(chunk))) => return Ok(Some(chunk)),
            Ok(None) => {
                if let Some(body) = self.body.take() {
                    body.finish();
                }
                return Ok(None);
            }
            Ok(Some(Err(error))) => body_failure(&error),
            Err(Late) => Failure::new(
                ErrorClass::Timeout,
                format!("nothing more of the body within {idle:?}"),
            ),
        };
        self.body = None;
        Err(ExchangeError {
            class: failure.class,
            message: failure.message,
            peer: Some(self.peer),
            duration: self.started.elapsed(),
        })
    }
}
