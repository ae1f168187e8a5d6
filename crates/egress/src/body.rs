//! The body of a response: read up to a cap, its connection kept where that is cheap.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::error::{ErrorClass, Failure, find};
use crate::pool::{Connection, Pool};

/// How much of a body beyond the cap is read and thrown away to keep the connection, if its
/// length is known.
const DRAINED_BYTES_MAX: u64 = 64 * 1024;

/// The body of a response together with the connection that carries it.
pub(crate) struct ResponseBody {
    pub(crate) incoming: Incoming,
    pub(crate) connection: Connection,
    pub(crate) pool: Arc<Pool>,
    pub(crate) key: Arc<str>,
}

/// What was read of a body.
#[derive(Default)]
pub(crate) struct Collected {
    /// The first piece as hyper's buffer holds it: mostly the only one.
    first: Bytes,
    rest: BytesMut,
    pub(crate) truncated: bool,
    pub(crate) error: Option<String>,
    /// Whether the body was read to its end, so that the connection can be used again.
    pub(crate) complete: bool,
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

    pub(crate) fn bytes(&mut self) -> Bytes {
        if self.rest.is_empty() {
            std::mem::take(&mut self.first)
        } else {
            std::mem::take(&mut self.rest).freeze()
        }
    }
}

impl ResponseBody {
    /// Reads up to `cap` bytes, and on to the end if little enough is left.
    pub(crate) async fn collect(&mut self, cap: usize, collected: &mut Collected) {
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
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, hyper::Error>> {
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
    pub(crate) fn finish(self) {
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

pub(crate) fn body_failure(error: &hyper::Error) -> Failure {
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
