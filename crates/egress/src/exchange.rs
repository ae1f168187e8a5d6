//! One request and its response: the flow of this crate.
//!
//! pool → (resolve → policy → connect → TLS) → send → head → capped body → pool.
//!
//! - One deadline covers everything. Resolving and connecting have shorter limits of their own.
//! - Redirects are answers like any other; nothing is followed, decompressed, or remembered.
//! - The response's status decides. Once its head is there the exchange has succeeded: a body
//!   that breaks, stalls until the deadline or exceeds the cap is cut, with the reason in
//!   [`Exchange::body_error`] where there is one. A receiver that said 200 has the event, and
//!   sending it again for a broken body would double it.
//! - A kept-alive connection may have been closed by the peer at any moment. If a request on one
//!   fails before a single byte came back, it is sent once more on a fresh connection, within the
//!   same deadline. Nothing else is retried here.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Version};
use http_body_util::Full;
use tokio::time::{Instant, Sleep};

use crate::Egress;
use crate::body::{Collected, ResponseBody};
use crate::error::{ErrorClass, ExchangeError, Failure};
use crate::http1::Unanswered;
use crate::pool::Connection;
use crate::target::Target;
use crate::wire::Facts;

/// Default for [`Outgoing::response_body_bytes_max`]: 64 KiB.
pub const RESPONSE_BODY_BYTES_MAX: usize = 64 * 1024;

/// Default for [`Outgoing::timeout`]: 10 s.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A request to make.
#[derive(Clone)]
pub struct Outgoing {
    /// Where to.
    pub target: Target,
    /// `POST` for webhooks.
    pub method: Method,
    /// Sent as they are, except those that belong to the connection or are never sent (see
    /// [`Egress::exchange`]).
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The whole exchange: look-up, connecting, TLS, request, response with body.
    pub timeout: Duration,
    /// How many bytes of the response's body are kept.
    pub response_body_bytes_max: usize,
}

impl Outgoing {
    /// A request without headers or body, with the default timeout and cap.
    pub fn new(method: Method, target: Target) -> Self {
        Self {
            target,
            method,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: TIMEOUT,
            response_body_bytes_max: RESPONSE_BODY_BYTES_MAX,
        }
    }
}

/// A response, whatever its status.
#[derive(Clone)]
pub struct Exchange {
    /// 101 or 200 to 599.
    pub status: StatusCode,
    /// As received; values may hold any bytes but CR, LF and NUL.
    pub headers: HeaderMap,
    /// The first [`Outgoing::response_body_bytes_max`] bytes, as received (never decompressed).
    pub body: Bytes,
    /// Whether there was, or should have been, more than `body`.
    pub body_truncated: bool,
    /// Why the body could not be read to its end or its cap, if that is so.
    pub body_error: Option<String>,
    /// The address that was dialled.
    pub peer: SocketAddr,
    /// When the receiver's certificate expires, Unix seconds.
    pub tls_not_after: Option<i64>,
    /// HTTP/1.0, 1.1 or 2.
    pub http_version: Version,
    /// From the call to the end of the body.
    pub duration: Duration,
    /// Whether an earlier exchange had opened the connection.
    pub connection_reused: bool,
}

/// Without headers and body: they hold signatures and data that belong in no log.
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("target", &self.target)
            .field("method", &self.method)
            .field("body_bytes", &self.body.len())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Without headers and body, as for [`Outgoing`].
impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .field("body_truncated", &self.body_truncated)
            .field("body_error", &self.body_error)
            .field("peer", &self.peer)
            .field("http_version", &self.http_version)
            .field("duration", &self.duration)
            .field("connection_reused", &self.connection_reused)
            .finish_non_exhaustive()
    }
}

impl Egress {
    /// Makes one exchange. Any status is a success here; see the module's text for what a broken
    /// body means.
    ///
    /// `Host` and the framing headers are set here. `Accept-Encoding`, `Expect` and the headers
    /// that belong to a connection (`Connection`, `Transfer-Encoding`, …) are removed from
    /// [`Outgoing::headers`]. Nothing is added that is not there: no user agent, no cookies, no
    /// credentials.
    ///
    /// # Errors
    /// [`ExchangeError`] if no response's head came, or one that is not HTTP.
    pub async fn exchange(&self, outgoing: Outgoing) -> Result<Exchange, ExchangeError> {
        let started = Instant::now();
        let timeout = outgoing.timeout;
        let cap = outgoing.response_body_bytes_max;
        let mut deadline = pin!(tokio::time::sleep(timeout));
        let answer = self.answer(outgoing, deadline.as_mut(), started).await?;
        let mut body = answer.body;
        let mut collected = Collected::default();
        let read = within(deadline, body.collect(cap, &mut collected)).await;
        // What is over the cap is only read to keep the connection: missing it is no error.
        if read.is_err() && !collected.truncated {
            collected.truncated = true;
            collected.error = Some(format!("the body was not complete within {timeout:?}"));
        }
        if collected.complete {
            body.finish();
        }
        Ok(Exchange {
            status: answer.head.status,
            headers: answer.head.headers,
            body: collected.bytes(),
            body_truncated: collected.truncated,
            body_error: collected.error,
            peer: answer.facts.peer,
            tls_not_after: answer.facts.tls_not_after,
            http_version: answer.head.version,
            duration: started.elapsed(),
            connection_reused: answer.reused,
        })
    }

    /// Up to the response's head, with the deadline and the error's facts.
    pub(crate) async fn answer(
        &self,
        mut outgoing: Outgoing,
        deadline: Pin<&mut Sleep>,
        started: Instant,
    ) -> Result<Answer, ExchangeError> {
        let timeout = outgoing.timeout;
        remove_connection_headers(&mut outgoing.headers);
        let mut progress = Progress::default();
        let failure = match within(deadline, self.send(&outgoing, &mut progress)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(failure)) => failure,
            Err(Late) => Failure::new(
                ErrorClass::Timeout,
                format!("no response within {timeout:?}: {}", progress.phase.doing()),
            ),
        };
        Err(ExchangeError {
            class: failure.class,
            message: failure.message,
            peer: progress.peer,
            duration: started.elapsed(),
        })
    }

    /// Sends on a pooled connection or a fresh one, and once more if the pooled one was dead.
    async fn send(&self, outgoing: &Outgoing, progress: &mut Progress) -> Result<Answer, Failure> {
        let key = outgoing.target.key();
        let pooled = std::future::poll_fn(|cx| Poll::Ready(self.parts.pool.take(key, cx))).await;
        if let Some(connection) = pooled {
            match self.send_on(connection, outgoing, progress, true).await {
                Err(unanswered) if unanswered.silent => {}
                other => return other.map_err(|unanswered| unanswered.failure),
            }
        }
        progress.peer = None;
        // Boxed: a handshake's state is large, and most exchanges find a connection open.
        let fresh = Box::pin(self.open(&outgoing.target, progress)).await?;
        self.send_on(fresh, outgoing, progress, false)
            .await
            .map_err(|unanswered| unanswered.failure)
    }

    async fn send_on(
        &self,
        mut connection: Connection,
        outgoing: &Outgoing,
        progress: &mut Progress,
        reused: bool,
    ) -> Result<Answer, Unanswered> {
        progress.phase = Phase::Waiting;
        let pool = &self.parts.pool;
        let key = outgoing.target.key();
        let (facts, sent) = match &mut connection {
            Connection::Http1(http1) => {
                progress.peer = Some(http1.facts.peer);
                let request = http1_request(outgoing);
                (http1.facts, http1.send(request).await)
            }
            Connection::Http2(http2) => {
                progress.peer = Some(http2.facts.peer);
                let request = http2_request(outgoing);
                let sent = http2.send(request).await;
                if sent.as_ref().is_err_and(|unanswered| unanswered.silent) {
                    pool.forget(key, http2);
                }
                (http2.facts, sent)
            }
        };
        let (head, incoming) = sent?.into_parts();
        if head.status.as_u16() > 599 {
            return Err(Unanswered {
                failure: Failure::new(
                    ErrorClass::Body,
                    format!("{} is not an HTTP status", head.status.as_u16()),
                ),
                silent: false,
            });
        }
        Ok(Answer {
            head,
            facts,
            reused,
            body: ResponseBody {
                incoming,
                connection,
                pool: Arc::clone(pool),
                key: Arc::clone(key),
            },
        })
    }
}

/// How far an exchange has come: what a deadline's message and an error's peer are made from.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) phase: Phase,
    pub(crate) peer: Option<SocketAddr>,
}

#[derive(Default, Clone, Copy)]
pub(crate) enum Phase {
    #[default]
    Resolving,
    Connecting,
    Securing,
    Waiting,
}

impl Phase {
    fn doing(self) -> &'static str {
        match self {
            Self::Resolving => "the name was still being resolved",
            Self::Connecting => "the connection was still being opened",
            Self::Securing => "the TLS handshake was still under way",
            Self::Waiting => "the request was sent, the response's head is missing",
        }
    }
}

/// A response's head with its body still on the wire.
pub(crate) struct Answer {
    pub(crate) head: http::response::Parts,
    pub(crate) facts: Facts,
    pub(crate) reused: bool,
    pub(crate) body: ResponseBody,
}

/// Headers that describe the connection or are never sent, whoever asks for them.
fn remove_connection_headers(headers: &mut HeaderMap) {
    const REMOVED: [HeaderName; 11] = [
        header::ACCEPT_ENCODING,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::HOST,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
    ];
    for name in &REMOVED {
        headers.remove(name);
    }
}

fn http1_request(outgoing: &Outgoing) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(outgoing.body.clone()));
    *request.method_mut() = outgoing.method.clone();
    *request.uri_mut() = outgoing.target.origin_form().clone();
    *request.headers_mut() = outgoing.headers.clone();
    let headers = request.headers_mut();
    headers.insert(header::HOST, outgoing.target.host_header().clone());
    // hyper frames every body but an empty one, and some servers ask for a length then too
    // (RFC 9110 §8.6).
    if outgoing.body.is_empty()
        && [Method::POST, Method::PUT, Method::PATCH].contains(&outgoing.method)
    {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    request
}

fn http2_request(outgoing: &Outgoing) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(outgoing.body.clone()));
    *request.method_mut() = outgoing.method.clone();
    *request.uri_mut() = outgoing.target.absolute_form().clone();
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = outgoing.headers.clone();
    request
}

/// The deadline passed first.
pub(crate) struct Late;

/// Runs `future` until `deadline`.
///
/// Unlike `tokio::time::timeout` it takes a timer that several phases share. The clock is read
/// as well as the timer: a future that is always ready for more work uses up the task's budget,
/// and a timer polled after that would never fire.
pub(crate) async fn within<F: Future>(
    mut deadline: Pin<&mut Sleep>,
    future: F,
) -> Result<F::Output, Late> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if Instant::now() >= deadline.deadline() {
            return Poll::Ready(Err(Late));
        }
        deadline.as_mut().poll(cx).map(|()| Err(Late))
    })
    .await
}
