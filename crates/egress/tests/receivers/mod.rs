//! Scripted receivers: what stands at the other end of an exchange in tests.
//!
//! A [`Receiver`] listens on a free port of `127.0.0.1` and runs a script once per connection.
//! The script holds the raw [`Connection`]: it reads requests when it likes and writes whatever
//! bytes it likes, valid HTTP or not, or nothing. [`certificates`] has the TLS side.
//! [`Answers`] and [`Dialled`] stand in for DNS and for the network behind public addresses.

#![allow(dead_code, reason = "each test binary uses a part of this module")]

pub mod certificates;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use egress::{
    AddressPolicy, BoxFuture, Dial, Egress, EgressConfig, Exchange, ExchangeError, Outgoing,
    Resolve, Target,
};
use http::Method;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A deadline that is meant to pass.
pub const SHORT: Duration = Duration::from_millis(300);
/// A deadline that is not.
pub const LONG: Duration = Duration::from_secs(10);

/// The plainest success.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A listener that plays one script for each connection. Ends when dropped.
pub struct Receiver {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub struct Received {
    /// Request line and headers, up to the empty line.
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    /// The value of a header, matched in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn request_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

/// One accepted connection, in a script's hands.
pub struct Connection {
    pub socket: Box<dyn Socket>,
    /// 1 for the first connection this receiver accepted.
    pub number: usize,
    requests: Arc<Mutex<Vec<Received>>>,
    unread: Vec<u8>,
}

impl Receiver {
    /// Plays `script` for each connection.
    pub async fn start<S, F>(script: S) -> Self
    where
        S: Fn(Connection) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_over(
            |stream| async { Some(Box::new(stream) as Box<dyn Socket>) },
            script,
        )
        .await
    }

    /// Accepts with `accept` (a TLS handshake, say) and then plays `script`.
    pub async fn start_over<A, G, S, F>(accept: A, script: S) -> Self
    where
        A: Fn(TcpStream) -> G + Send + Sync + 'static,
        G: Future<Output = Option<Box<dyn Socket>>> + Send + 'static,
        S: Fn(Connection) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (count, seen) = (Arc::clone(&accepted), Arc::clone(&requests));
        let script = Arc::new(script);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let socket = accept(stream);
                let (script, requests) = (Arc::clone(&script), Arc::clone(&seen));
                connections.spawn(async move {
                    if let Some(socket) = socket.await {
                        let connection = Connection {
                            socket,
                            number,
                            requests,
                            unread: Vec::new(),
                        };
                        script(connection).await;
                    }
                });
            }
        });
        Self {
            address,
            accepted,
            requests,
            task,
        }
    }

    /// Answers every request on every connection with the same bytes.
    pub async fn always(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(move |mut connection| {
            let answer = Arc::clone(&answer);
            async move {
                while connection.request().await.is_some() {
                    connection.write(&*answer).await;
                }
            }
        })
        .await
    }

    /// Answers the one request of each connection with the same bytes and closes it.
    pub async fn once(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(move |mut connection| {
            let answer = Arc::clone(&answer);
            async move {
                connection.request().await;
                connection.write(&*answer).await;
            }
        })
        .await
    }

    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> Vec<Received> {
        self.requests.lock().clone()
    }

    /// The receiver's own URL, for an egress that may call loopback.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Reads one request to the end of its body; `None` if the sender has closed.
    pub async fn request(&mut self) -> Option<Received> {
        let head_end = loop {
            if let Some(at) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more().await?;
        };
        let head = String::from_utf8_lossy(&self.unread[..head_end]).into_owned();
        let mut received = Received {
            head,
            body: Vec::new(),
        };
        let length = received
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while self.unread.len() < head_end + length {
            self.read_more().await?;
        }
        received.body = self.unread[head_end..head_end + length].to_vec();
        self.unread.drain(..head_end + length);
        self.requests.lock().push(received.clone());
        Some(received)
    }

    async fn read_more(&mut self) -> Option<()> {
        let read = self.socket.read_buf(&mut self.unread).await.ok()?;
        (read > 0).then_some(())
    }

    /// Writes, and says whether the sender still took it.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.socket.write_all(bytes.as_ref()).await.is_ok() && self.socket.flush().await.is_ok()
    }

    /// Writes the same bytes until the sender closes the connection.
    pub async fn write_forever(&mut self, bytes: impl AsRef<[u8]>) {
        while self.write(bytes.as_ref()).await {}
    }

    /// Keeps the connection open without a word until the sender closes it.
    pub async fn hang(&mut self) {
        while self.read_more().await.is_some() {}
    }
}

/// A resolver with scripted answers: the first for the first look-up and so on; the last repeats.
pub struct Answers(Mutex<VecDeque<Answer>>);

#[derive(Clone)]
pub enum Answer {
    Addresses(Vec<std::net::IpAddr>),
    Fails(io::ErrorKind),
    Never,
}

impl Answers {
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(answers.into_iter().collect())))
    }

    /// Every name is on this machine.
    pub fn here() -> Arc<Self> {
        Self::new([Answer::Addresses(vec!["127.0.0.1".parse().unwrap()])])
    }
}

impl Resolve for Answers {
    fn resolve(&self, _: &str, port: u16) -> BoxFuture<'_, io::Result<Vec<SocketAddr>>> {
        let mut answers = self.0.lock();
        let answer = if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().cloned()
        };
        Box::pin(async move {
            match answer.expect("at least one answer") {
                Answer::Addresses(ips) => Ok(ips
                    .into_iter()
                    .map(|ip| SocketAddr::new(ip, port))
                    .collect()),
                Answer::Fails(kind) => Err(kind.into()),
                Answer::Never => std::future::pending().await,
            }
        })
    }
}

/// A dialer that notes each address and connects to `to` instead, or never where there is none.
#[derive(Default)]
pub struct Dialled {
    pub to: Option<SocketAddr>,
    pub addresses: Mutex<Vec<SocketAddr>>,
}

impl Dial for Dialled {
    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.addresses.lock().push(address);
        match self.to {
            Some(to) => Box::pin(TcpStream::connect(to)),
            None => Box::pin(std::future::pending()),
        }
    }
}

/// A configuration that may call loopback and never looks a name up.
pub fn local_config() -> EgressConfig {
    EgressConfig {
        policy: AddressPolicy::public_only().allow_loopback(true),
        resolver: Answers::here(),
        ..EgressConfig::default()
    }
}

pub fn local() -> Egress {
    Egress::new(local_config())
}

/// A POST of `{}` to `url`.
pub fn post(egress: &Egress, url: &str, timeout: Duration) -> Outgoing {
    let target = Target::parse(url, egress.policy()).unwrap();
    Outgoing {
        body: "{}".into(),
        timeout,
        ..Outgoing::new(Method::POST, target)
    }
}

/// One POST to `receiver` with plenty of time.
pub async fn send(egress: &Egress, receiver: &Receiver) -> Result<Exchange, ExchangeError> {
    egress.exchange(post(egress, &receiver.url(), LONG)).await
}

/// Boxes an accept function's future for [`Receiver::start_over`].
pub type Accepted = Pin<Box<dyn Future<Output = Option<Box<dyn Socket>>> + Send>>;
