//! One HTTP/1.1 connection, driven by whoever uses it.
//!
//! hyper splits a client connection into a sender and a future that does the work. Usually the
//! future is spawned and each request crosses a channel to another task and back. Here both halves
//! stay together: the task that sends polls the connection itself, so an exchange on a kept-alive
//! connection wakes nobody but its own task, and dropping it (a deadline) closes the socket.
//! While idle in the pool nothing polls the connection; what happened meanwhile is seen by
//! [`Http1::poll_usable`] before the next use.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::error::Failure;
use crate::wire::{Facts, Received, Wire};

/// Bounds the response's head, and the read buffer. (The number of headers is bounded by hyper's
/// default of 100.)
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A connection that carries one exchange at a time.
pub(crate) struct Http1 {
    send: SendRequest<Full<Bytes>>,
    work: Connection<TokioIo<Wire>, Full<Bytes>>,
    /// Whether `work` has finished and must not be polled again.
    finished: bool,
    received: Received,
    pub(crate) opened: Instant,
    pub(crate) facts: Facts,
}

/// A request that brought no response head.
pub(crate) struct Unanswered {
    pub(crate) failure: Failure,
    /// Whether not one byte came back, so that the receiver may not have seen the request at all.
    pub(crate) silent: bool,
}

impl Http1 {
    pub(crate) async fn open(wire: Wire, facts: Facts) -> Result<Box<Self>, Failure> {
        let received = wire.received();
        let (send, work) = Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            // A header that no parser accepts says nothing about whether the receiver took the
            // event: it is skipped, and the status decides.
            .ignore_invalid_headers_in_responses(true)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|error| Failure::from(&error))?;
        Ok(Box::new(Self {
            send,
            work,
            finished: false,
            received,
            opened: Instant::now(),
            facts,
        }))
    }

    /// Lets the connection notice what happened while it was idle, and says whether it can take
    /// a request: not if the peer has closed it or sent something nobody asked for.
    pub(crate) fn poll_usable(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_work(cx);
        !self.finished && self.send.is_ready()
    }

    /// Sends a request and waits for the response's head, skipping 1xx.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let before = self.received.bytes();
        let mut response = pin!(self.send.send_request(request));
        let (work, finished) = (&mut self.work, &mut self.finished);
        std::future::poll_fn(|cx| {
            if !*finished && let Poll::Ready(_result) = Pin::new(&mut *work).poll(cx) {
                // The result goes to the response future, which is polled next.
                *finished = true;
            }
            response.as_mut().poll(cx)
        })
        .await
        .map_err(|error| Unanswered {
            failure: Failure::from(&error),
            silent: self.received.bytes() == before,
        })
    }

    /// The next piece of the response's body.
    pub(crate) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Asking the body first tells the connection that a piece is wanted.
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        self.poll_work(cx);
        Pin::new(body).poll_frame(cx)
    }

    fn poll_work(&mut self, cx: &mut Context<'_>) {
        if !self.finished && Pin::new(&mut self.work).poll(cx).is_ready() {
            self.finished = true;
        }
    }
}
