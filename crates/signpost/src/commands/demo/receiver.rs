//! A receiver as a customer would write it, small enough to read: takes POSTs on loopback, keeps
//! them, answers 200, or 503 as often as it is told to.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use crate::{commands::headers::Headers, problem::Problem};

/// The largest request that is taken.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// How long a delivery is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// One request as it arrived.
#[derive(Debug)]
pub struct Received {
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: String,
    /// What was answered.
    pub status: u16,
}

/// A running receiver.
pub struct Receiver {
    address: SocketAddr,
    failures: Arc<Mutex<VecDeque<u16>>>,
    received: tokio::sync::Mutex<mpsc::UnboundedReceiver<Received>>,
}

impl Receiver {
    /// Listens on a free port of loopback.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("failed to start the receiver")?;
        let address = listener
            .local_addr()
            .context("failed to start the receiver")?;
        let (told, received) = mpsc::unbounded_channel();
        let failures: Arc<Mutex<VecDeque<u16>>> = Arc::default();
        let to_answer = Arc::clone(&failures);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (told, failures) = (told.clone(), Arc::clone(&to_answer));
                // A broken connection is the sender's to notice.
                tokio::spawn(async move { converse(stream, &failures, &told).await.ok() });
            }
        });
        Ok(Self {
            address,
            failures,
            received: tokio::sync::Mutex::new(received),
        })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Answers the next request with this status.
    pub fn fail_next(&self, status: u16) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(status);
    }

    /// The next request.
    ///
    /// # Errors
    /// If none comes within 20 s.
    pub async fn next(&self) -> Result<Received> {
        let next = timeout(PATIENCE, async { self.received.lock().await.recv().await }).await;
        next.ok().flatten().ok_or_else(|| {
            Problem::failed("the delivery did not arrive within 20 s")
                .at(self.url())
                .advice("see what the server is doing: signpost serve --log debug")
                .into()
        })
    }
}

/// Answers requests on one connection until it ends.
async fn converse(
    mut stream: TcpStream,
    failures: &Mutex<VecDeque<u16>>,
    told: &mpsc::UnboundedSender<Received>,
) -> Result<()> {
    let mut buffer = Vec::new();
    while let Some((headers, body)) = read_request(&mut stream, &mut buffer).await? {
        let status = failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
            .unwrap_or(200);
        let (reason, text) = if status == 200 {
            ("OK", "thank you")
        } else {
            ("Service Unavailable", "not now")
        };
        let answer = format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        // Told first: whoever sees the answer in the log finds the request here.
        let _ = told.send(Received {
            headers,
            body,
            status,
        });
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// Reads one request; `None` where the connection ends before another begins.
async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> Result<Option<(Headers, String)>> {
    loop {
        if let Some((headers, body_at, length)) = parse_head(buffer)?
            && buffer.len() >= body_at + length
        {
            let body = String::from_utf8_lossy(&buffer[body_at..body_at + length]).into_owned();
            buffer.drain(..body_at + length);
            return Ok(Some((headers, body)));
        }
        anyhow::ensure!(buffer.len() < REQUEST_BYTES_MAX, "the request is too large");
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// The headers, where the body begins, and how long it is; `None` while the head is incomplete.
fn parse_head(buffer: &[u8]) -> Result<Option<(Headers, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(body_at) = request.parse(buffer)? else {
        return Ok(None);
    };
    let headers: Headers = request
        .headers
        .iter()
        .map(|header| (header.name, String::from_utf8_lossy(header.value)))
        .collect();
    let length = headers.get("content-length").map_or(Ok(0), str::parse)?;
    anyhow::ensure!(length <= REQUEST_BYTES_MAX, "the request is too large");
    Ok(Some((headers, body_at, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_kept_and_answered_as_told() {
        let receiver = Receiver::start().await.unwrap();
        receiver.fail_next(503);
        let mut stream = TcpStream::connect(receiver.address).await.unwrap();
        let post =
            b"POST /hook HTTP/1.1\r\nHost: x\r\nWebhook-Id: evt_1\r\nContent-Length: 2\r\n\r\n{}";
        for expected in ["HTTP/1.1 503", "HTTP/1.1 200"] {
            stream.write_all(post).await.unwrap();
            let mut answer = vec![0; 512];
            let read = stream.read(&mut answer).await.unwrap();
            assert!(String::from_utf8_lossy(&answer[..read]).starts_with(expected));
            let request = receiver.next().await.unwrap();
            assert_eq!(request.headers.get("webhook-id"), Some("evt_1"));
            assert_eq!(request.body, "{}");
        }
    }
}
