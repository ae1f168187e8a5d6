//! One HTTP/2 connection, shared by all exchanges with its host.
//!
//! HTTP/2 is used only where TLS agreed on it by ALPN. Many exchanges share the connection, so
//! unlike [`crate::http1`] its work is done by a task of its own. That task ends when the
//! connection does: when the peer closes it, when pings go unanswered, or when the last handle
//! (pool and exchanges) is dropped.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;

use crate::error::{Failure, find};
use crate::http1::Unanswered;
use crate::wire::{Facts, Wire};

/// Bounds the decoded headers of a response.
const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;
/// Exchanges on one connection before another is opened: what most servers allow (RFC 9113
/// §6.5.2 recommends no less than 100).
const STREAMS_MAX: usize = 100;
/// A connection with exchanges waiting is probed this often, so that a dead path is noticed.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A handle to a shared connection.
#[derive(Clone)]
pub(crate) struct Http2 {
    send: SendRequest<Full<Bytes>>,
    /// One reference per handle: the pool's and one per exchange.
    handles: Arc<()>,
    pub(crate) opened: Instant,
    pub(crate) facts: Facts,
}

impl Http2 {
    pub(crate) async fn open(wire: Wire, facts: Facts) -> Result<Self, Failure> {
        let (send, work) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWER_WITHIN)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|error| Failure::from(&error))?;
        tokio::spawn(async move {
            if let Err(error) = work.await {
                // Exchanges under way were told by the connection itself.
                tracing::debug!(%error, peer = %facts.peer, "an HTTP/2 connection ended");
            }
        });
        Ok(Self {
            send,
            handles: Arc::default(),
            opened: Instant::now(),
            facts,
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.send.is_closed()
    }

    /// Whether one more exchange fits, given that the pool holds one handle.
    pub(crate) fn has_room(&self) -> bool {
        Arc::strong_count(&self.handles) <= STREAMS_MAX
    }

    /// Whether this handle is the only one.
    pub(crate) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.handles) == 1
    }

    /// Whether two handles belong to the same connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.handles, &other.handles)
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Unanswered> {
        self.send
            .send_request(request)
            .await
            .map_err(|error| Unanswered {
                silent: error.is_canceled() || self.send.is_closed() || was_not_processed(&error),
                failure: Failure::from(&error),
            })
    }
}

/// Whether the peer says it has not looked at the request (RFC 9113 §8.7).
fn was_not_processed(error: &hyper::Error) -> bool {
    find::<h2::Error>(error).is_some_and(|h2| {
        h2.reason() == Some(h2::Reason::REFUSED_STREAM)
            || (h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR))
    })
}
