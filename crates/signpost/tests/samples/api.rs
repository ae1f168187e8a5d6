//! An HTTP client that shares nothing with the program: plain requests, kept-alive connections.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, sync::Mutex};

/// How long one exchange may take; a hang is a failure, not a slow test.
const EXCHANGE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_mins(2);
/// The most records of one page.
const PAGE: usize = 250;

/// A client of one server, on one connection: requests go one after the other.
pub struct Api {
    authority: String,
    headers: HeaderMap,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The request, for messages.
    asked: String,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// Its body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Its body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "{}: the answer is no JSON ({error}): {}",
                self.asked,
                self.text()
            )
        })
    }

    /// Its body as JSON, after checking its status.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(
            self.status.as_u16(),
            status,
            "{}: {}",
            self.asked,
            self.text()
        );
        if self.body.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }
}

impl Api {
    /// A client of the server at `http://HOST:PORT`.
    pub fn new(address: &str) -> Self {
        let authority = address
            .strip_prefix("http://")
            .expect("tests speak plain HTTP");
        let authority = authority
            .split('/')
            .next()
            .expect("a split has a first part")
            .to_owned();
        Self {
            authority,
            headers: HeaderMap::new(),
            connection: Mutex::new(None),
        }
    }

    /// With this header on each request.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers
            .insert(name, value.parse().expect("a test's header is valid"));
        self
    }

    /// Sends a request with a body that is JSON already.
    ///
    /// # Errors
    /// If the exchange breaks: then nobody knows whether it was done.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        let mut headers = self.headers.clone();
        headers.insert(
            header::CONTENT_TYPE,
            "application/json".parse().expect("it is a valid value"),
        );
        self.exchange(method, path, headers, body.into()).await
    }

    /// Sends a request with a body that is JSON already.
    pub async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let asked = format!("{method} {path}");
        self.try_send(method, path, body)
            .await
            .unwrap_or_else(|error| panic!("{asked}: {error}"))
    }

    /// Gets what must be there.
    pub async fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, Bytes::new()).await.expect(200)
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body.to_string()).await
    }

    /// Posts with these headers alone.
    pub async fn post_copy(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut headers = headers.clone();
        for name in [
            header::HOST,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::CONNECTION,
        ] {
            headers.remove(name);
        }
        let answer = self
            .exchange(Method::POST, path, headers, body.into())
            .await;
        answer.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// All records of a list, page by page.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let mut records = Vec::new();
        let mut cursor = String::new();
        let join = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = self.get(&format!("{path}{join}limit={PAGE}{cursor}")).await;
            records.extend(
                page["data"]
                    .as_array()
                    .expect("a list has data")
                    .iter()
                    .cloned(),
            );
            let Some(next) = page["nextCursor"].as_str() else {
                return records;
            };
            cursor = format!("&cursor={next}");
        }
    }

    /// Asks again and again until the answer will do. A test's own patience ends it.
    pub async fn until(&self, path: &str, will_do: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let asking = async {
            loop {
                last = self.get(path).await;
                if will_do(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, asking).await.is_ok();
        assert!(done, "GET {path} still answers {last:#}");
        last
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, String> {
        let asked = format!("{method} {path}");
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .body(Full::new(body))
            .map_err(|error| format!("no such request: {error}"))?;
        request.headers_mut().extend(headers);
        let mut connection = self.connection.lock().await;
        let mut sender = match connection.take() {
            Some(mut kept) => match kept.ready().await {
                Ok(()) => kept,
                Err(_closed) => connect(&self.authority).await?,
            },
            None => connect(&self.authority).await?,
        };
        let exchange = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>((head, body.collect().await?.to_bytes()))
        };
        let (head, body) = tokio::time::timeout(EXCHANGE_TIMEOUT, exchange)
            .await
            .map_err(|_| format!("no answer within {EXCHANGE_TIMEOUT:?}"))?
            .map_err(|error| format!("the exchange broke: {error}"))?;
        *connection = Some(sender);
        Ok(Answer {
            asked,
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

async fn connect(authority: &str) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(authority)
        .await
        .map_err(|error| format!("failed to connect: {error}"))?;
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Ends with the sender; what breaks it is seen by the request under way.
    tokio::spawn(connection);
    Ok(sender)
}
