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

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Request, StatusCode, Version};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::Egress;
use crate::error::{ErrorClass, ExchangeError, Failure, find};
use crate::http1::Unanswered;
use crate::pool::{Connection, Pool};
use crate::target::Target;
use crate::wire::Facts;

/// Default for [`Outgoing::response_body_bytes_max`]: 64 KiB.
pub const RESPONSE_BODY_BYTES_MAX: usize = 64 * 1024;

/// Default for [`Outgoing::timeout`]: 10 s.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a body beyond the cap is read and thrown away to keep the connection, if its
/// length is known.
const DRAINED_BYTES_MAX: u64 = 64 * 1024;

/// A request to make.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
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
        if within(deadline, body.collect(cap, &mut collected))
            .await
            .is_err()
        {
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

    /// Up to the response's head, with the deadline and the error's facts.
    async fn answer(
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
    async fn send(
        &self,
        outgoing: &Outgoing,
        progress: &mut Progress,
    ) -> Result<Answer, Failure> {
        let key = outgoing.target.key();
        let pooled =
            std::future::poll_fn(|cx| Poll::Ready(self.parts.pool.take(key, cx))).await;
        if let Some(connection) = pooled {
            match self.send_on(connection, outgoing, progress, true).await {
                Err(unanswered) if unanswered.silent => {}
                other => return other.map_err(|unanswered| unanswered.failure),
            }
        }
        progress.peer = None;
        let fresh = self.open(&outgoing.target, progress).await?;
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
struct Answer {
    head: http::response::Parts,
    facts: Facts,
    reused: bool,
    body: ResponseBody,
}

/// The body of a response together with the connection that carries it.
struct ResponseBody {
    incoming: Incoming,
    connection: Connection,
    pool: Arc<Pool>,
    key: Arc<str>,
}

/// What was read of a body.
#[derive(Default)]
struct Collected {
    /// The first piece as hyper's buffer holds it: mostly the only one.
    first: Bytes,
    rest: BytesMut,
    truncated: bool,
    error: Option<String>,
    /// Whether the body was read to its end, so that the connection can be used again.
    complete: bool,
}

impl Collected {
    fn len(&self) -> usize {
        if self.rest.is_empty() {
            self.first.len()
        } else {
            self.rest.len()
        }
    }

    fn push(&mut self, chunk: Bytes) {
        if self.len() == 0 {
            self.first = chunk;
        } else {
            if self.rest.is_empty() {
                self.rest.extend_from_slice(&self.first);
            }
            self.rest.extend_from_slice(&chunk);
        }
    }

    fn bytes(&mut self) -> Bytes {
        if self.rest.is_empty() {
            std::mem::take(&mut self.first)
        } else {
            std::mem::take(&mut self.rest).freeze()
        }
    }
}

impl ResponseBody {
    /// Reads up to `cap` bytes, and on to the end if little enough is left.
    async fn collect(&mut self, cap: usize, collected: &mut Collected) {
        while let Some(chunk) = self.chunk().await {
            match chunk {
                Ok(mut chunk) => {
                    let room = cap - collected.len();
                    if chunk.len() > room {
                        chunk.truncate(room);
                        collected.truncated = true;
                    }
                    if !chunk.is_empty() {
                        collected.push(chunk);
                    }
                }
                Err(error) => {
                    collected.truncated = true;
                    collected.error = Some(body_failure(&error).message);
                    return;
                }
            }
            if collected.truncated {
                let left = self.incoming.size_hint().exact();
                if left.is_none_or(|left| left > DRAINED_BYTES_MAX) {
                    return;
                }
            }
        }
        collected.complete = true;
    }

    /// The next piece of data; `None` at the end. Trailers are dropped.
    async fn chunk(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            if self.incoming.is_end_stream() {
                return None;
            }
            let frame = std::future::poll_fn(|cx| match &mut self.connection {
                Connection::Http1(http1) => http1.poll_frame(&mut self.incoming, cx),
                Connection::Http2(_) => Pin::new(&mut self.incoming).poll_frame(cx),
            });
            match frame.await?.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                Ok(Err(_trailers)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Puts the connection back, if it can be used again. The body must have been read to its end.
    fn finish(self) {
        let Self {
            incoming,
            connection,
            pool,
            key,
        } = self;
        // The connection is not ready for the next request while somebody holds the body.
        drop(incoming);
        if let Connection::Http1(mut http1) = connection {
            // Nobody is to be woken for an idle connection, and this task's memory need not be
            // kept for it.
            let mut cx = Context::from_waker(Waker::noop());
            if http1.poll_usable(&mut cx) {
                pool.give_back(&key, http1);
            }
        }
    }
}

fn body_failure(error: &hyper::Error) -> Failure {
    if let Some(io) = find::<std::io::Error>(error) {
        let class = match io.kind() {
            // How hyper reports chunks it cannot parse.
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => ErrorClass::Body,
            _ => ErrorClass::Reset,
        };
        return Failure::new(class, format!("the body broke off: {io}"));
    }
    Failure::new(ErrorClass::Reset, format!("the body broke off: {error}"))
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
    request
        .headers_mut()
        .insert(header::HOST, outgoing.target.host_header().clone());
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
struct Late;

/// Runs `future` until `deadline`.
///
/// Unlike `tokio::time::timeout` it takes a timer that several phases share. The clock is read
/// as well as the timer: a future that is always ready for more work uses up the task's budget,
/// and a timer polled after that would never fire.
async fn within<F: Future>(mut deadline: Pin<&mut Sleep>, future: F) -> Result<F::Output, Late> {
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
