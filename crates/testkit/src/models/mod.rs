//! Stand-ins for the servers of model providers: each speaks its provider's wire protocol on
//! loopback, checks what a real one would check of a request, and answers as it is told.
//!
//! ```ignore
//! let server = models::OpenAi::start([Reply::text("hello").tokens(5, 2)]).await;
//! // api_base = server.base(), key = models::KEY
//! ```

mod wire;

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle, time::Sleep};

/// The key that the stand-ins accept; Ollama wants none.
pub const KEY: &str = "sk-test-4f1c0a";

/// What a stand-in answers to one request.
#[derive(Clone, Debug)]
pub struct Reply {
    text: String,
    calls: Vec<(String, Value)>,
    answer: Option<Value>,
    tokens: (u64, u64),
    length: bool,
    refusal: Option<(u16, String)>,
    headers: Vec<(&'static str, String)>,
    pause: Duration,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Whole,
    /// The connection breaks after the first half.
    Cut,
    /// The stream ends in good order, but without the provider's mark of an end.
    Unfinished,
    /// What comes is no JSON.
    Malformed,
    /// Nothing comes.
    Never,
}

impl Reply {
    /// This text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            calls: Vec::new(),
            answer: None,
            tokens: (10, 5),
            length: false,
            refusal: None,
            headers: Vec::new(),
            pause: Duration::ZERO,
            fate: Fate::Whole,
        }
    }

    /// This object, as the provider gives an answer that was to match a schema.
    pub fn answer(answer: Value) -> Self {
        Self {
            answer: Some(answer),
            ..Self::text("")
        }
    }

    /// A call of a tool.
    pub fn call(name: &str, arguments: Value) -> Self {
        Self::text("").and_call(name, arguments)
    }

    /// An error as the provider words it.
    pub fn error(status: u16, message: &str) -> Self {
        Self {
            refusal: Some((status, message.to_owned())),
            ..Self::text("")
        }
    }

    /// 429, to be tried again after so many seconds.
    pub fn rate_limited(seconds: u64) -> Self {
        let mut reply = Self::error(429, "too many requests");
        reply.headers.push(("retry-after", seconds.to_string()));
        reply
    }

    /// No answer, ever.
    pub fn never() -> Self {
        Self::text("").with(Fate::Never)
    }

    /// Another call of a tool in the same answer.
    #[must_use]
    pub fn and_call(mut self, name: &str, arguments: Value) -> Self {
        self.calls.push((name.to_owned(), arguments));
        self
    }

    /// Counts so many tokens sent and received; 10 and 5 otherwise.
    #[must_use]
    pub fn tokens(mut self, sent: u64, received: u64) -> Self {
        self.tokens = (sent, received);
        self
    }

    /// Ends because it has reached the most tokens.
    #[must_use]
    pub fn at_length(mut self) -> Self {
        self.length = true;
        self
    }

    /// Waits so long before each piece of a stream, or before the whole.
    #[must_use]
    pub fn slow(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Breaks off in the middle.
    #[must_use]
    pub fn cut(self) -> Self {
        self.with(Fate::Cut)
    }

    /// Ends a stream without the provider's mark of an end.
    #[must_use]
    pub fn unfinished(self) -> Self {
        self.with(Fate::Unfinished)
    }

    /// Sends something that is no JSON.
    #[must_use]
    pub fn malformed(self) -> Self {
        self.with(Fate::Malformed)
    }

    fn with(mut self, fate: Fate) -> Self {
        self.fate = fate;
        self
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its path with the query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Gemini,
    OpenAi,
    Anthropic,
    Ollama,
}

/// A running stand-in; it ends when it is dropped.
pub struct ModelServer {
    address: SocketAddr,
    protocol: Protocol,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

macro_rules! stand_in {
    ($name:ident, $what:literal) => {
        #[doc = $what]
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl $name {
            /// Gives these answers one by one; the last is given again and again.
            pub async fn start(replies: impl IntoIterator<Item = Reply>) -> ModelServer {
                ModelServer::start(Protocol::$name, replies.into_iter().collect()).await
            }
        }
    };
}

stand_in!(Gemini, "Google's Gemini API, v1beta.");
stand_in!(OpenAi, "`OpenAI`'s chat completions.");
stand_in!(Anthropic, "Anthropic's messages API.");
stand_in!(Ollama, "Ollama's chat API.");

impl ModelServer {
    async fn start(protocol: Protocol, replies: VecDeque<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let asked = Arc::new(Mutex::default());
        let shared = Arc::new(Shared {
            protocol,
            replies: Mutex::new(replies),
            asked: Arc::clone(&asked),
        });
        Self {
            address,
            protocol,
            asked,
            task: tokio::spawn(serve(listener, shared)),
        }
    }

    /// What a model's `api_base` must be.
    pub fn base(&self) -> String {
        let path = match self.protocol {
            Protocol::Gemini => "/v1beta",
            Protocol::OpenAi | Protocol::Anthropic => "/v1",
            Protocol::Ollama => "/api",
        };
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }
}

struct Shared {
    protocol: Protocol,
    replies: Mutex<VecDeque<Reply>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Shared {
    fn next(&self) -> Reply {
        let mut replies = self.replies.lock();
        if replies.len() > 1 {
            replies.pop_front().expect("there are two")
        } else {
            replies.front().cloned().expect("a script has an answer")
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&shared), request));
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Pieces>, Infallible> {
    let (head, body) = request.into_parts();
    let bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let asked = Asked {
        path: head.uri.to_string(),
        headers: head.headers,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    };
    shared.asked.lock().push(asked.clone());
    let protocol = shared.protocol;
    let reply = match wire::check(protocol, &asked) {
        Ok(()) => shared.next(),
        Err((status, message)) => Reply::error(status, &message),
    };
    if reply.fate == Fate::Never {
        std::future::pending::<()>().await;
    }
    Ok(response(protocol, &asked, &reply))
}

fn response(protocol: Protocol, asked: &Asked, reply: &Reply) -> Response<Pieces> {
    let (status, kind, mut pieces) = match &reply.refusal {
        Some((status, message)) => {
            let error = wire::error(protocol, *status, message);
            (*status, "application/json", vec![error.to_string()])
        }
        None if wire::wants_stream(protocol, asked) => {
            let kind = match protocol {
                Protocol::Ollama => "application/x-ndjson",
                _ => "text/event-stream",
            };
            let mut events = wire::stream(protocol, reply);
            if reply.fate == Fate::Unfinished {
                events.truncate(events.len() / 2);
            }
            (200, kind, events)
        }
        None => {
            let whole = wire::whole(protocol, reply);
            (200, "application/json", vec![whole.to_string()])
        }
    };
    if reply.fate == Fate::Malformed {
        pieces = vec![if kind == "text/event-stream" {
            "data: {\"choices\": [oops\n\n".to_owned()
        } else {
            "{\"oops\": \n".to_owned()
        }];
    }
    let cut = reply.fate == Fate::Cut;
    if cut {
        if let [only] = &mut *pieces {
            only.truncate(only.len() / 2);
        } else {
            pieces.truncate(pieces.len() / 2);
        }
    }
    let mut response = Response::new(Pieces {
        left: pieces.into(),
        pause: reply.pause,
        waiting: None,
        cut,
    });
    *response.status_mut() = StatusCode::from_u16(status).expect("a test's status is valid");
    let headers = response.headers_mut();
    headers.insert("content-type", kind.parse().expect("it is a valid header"));
    for (name, value) in &reply.headers {
        headers.insert(*name, value.parse().expect("a test's header is valid"));
    }
    response
}

/// A body in pieces, with a pause before each, that may break off.
struct Pieces {
    left: VecDeque<String>,
    pause: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    cut: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !self.pause.is_zero() && !self.left.is_empty() {
            let pause = self.pause;
            let waiting = self
                .waiting
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            if waiting.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.waiting = None;
        }
        Poll::Ready(match self.left.pop_front() {
            Some(piece) => Some(Ok(Frame::data(Bytes::from(piece)))),
            None if self.cut => Some(Err(io::Error::other("cut off, as the script says"))),
            None => None,
        })
    }
}
