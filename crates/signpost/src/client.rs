//! Talks to a server over its HTTP API.
//!
//! One request, one answer ([`Client::get`], [`Client::send`]), all pages of a list
//! ([`Client::list`]), or a stream that outlives lost connections ([`Client::follow`]). Goes out
//! through `egress`, like everything. Every failure is a [`Problem`] that says what to do: no
//! server there, credentials missing, a field refused.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use egress::{AddressPolicy, Egress, EgressConfig, ErrorClass, Exchange, ExchangeError, Target};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use url::Url;

use crate::{
    commands::connection::Connection,
    edge,
    output::text,
    problem::Problem,
    sse::{Message, Parser},
};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most of an answer that is taken.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most records that the server gives in one page.
const PAGE_MAX: usize = 250;
/// A stream that says nothing for this long (servers send comments) is dead.
const STREAM_IDLE: Duration = Duration::from_mins(1);
/// How long to wait before connecting again, at first and at most.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// A server, and who we are to it.
#[derive(Clone)]
pub struct Client {
    base: Url,
    authorization: Option<HeaderValue>,
    egress: Egress,
}

/// An answer of 2xx.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body; null where there is none.
    pub body: Value,
}

impl Client {
    /// Does not connect yet.
    ///
    /// # Errors
    /// If the address is no URL, or the token has characters that no header may have.
    pub fn new(connection: &Connection) -> Result<Self> {
        let bad = |why: String| {
            Problem::misuse("that is no address of a server")
                .at(connection.address())
                .detail(why)
                .advice("write it as http://HOST:PORT")
        };
        let base = Url::parse(connection.address()).map_err(|error| bad(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(bad("it must begin with http:// or https:// and a host".to_owned()).into());
        }
        let authorization = connection.token.as_deref().map(bearer).transpose()?;
        Ok(Self {
            base,
            authorization,
            egress: outgoing_to_anywhere(),
        })
    }

    /// The address, without a slash at its end.
    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Whether somebody answers at the address.
    pub async fn is_reachable(&self) -> bool {
        let Ok(outgoing) = self.outgoing(Method::GET, &self.url("/healthz", &[])) else {
            return false;
        };
        self.egress.exchange(outgoing).await.is_ok()
    }

    /// The way out, for commands that also call receivers.
    pub const fn egress(&self) -> &Egress {
        &self.egress
    }

    /// `GET`s one document.
    ///
    /// # Errors
    /// If there is no server, or it refuses.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        Ok(self.request(Method::GET, path, query, None).await?.body)
    }

    /// Sends a JSON document (or none). A `POST` carries an `Idempotency-Key` of its own.
    ///
    /// # Errors
    /// If there is no server, or it refuses.
    pub async fn send(&self, method: Method, path: &str, body: Option<String>) -> Result<Answer> {
        self.request(method, path, &[], body).await
    }

    /// Up to `limit` records of a list, over as many pages as it takes, and the cursor behind them.
    ///
    /// # Errors
    /// If there is no server, or it refuses.
    pub async fn list(&self, path: &str, query: &[(&str, &str)], limit: usize) -> Result<Listing> {
        let mut listing = Listing::default();
        loop {
            let page = (limit - listing.data.len()).min(PAGE_MAX).to_string();
            let mut query = query.to_vec();
            query.push(("limit", &page));
            if let Some(cursor) = &listing.next_cursor {
                query.push(("cursor", cursor));
            }
            let mut body = self.get(path, &query).await?;
            let next = text(&body, "nextCursor").map(str::to_owned);
            match body.get_mut("data").map(Value::take) {
                Some(Value::Array(records)) => listing.data.extend(records),
                _ => return Err(self.not_signpost("the answer has no list").into()),
            }
            listing.next_cursor = next;
            if listing.next_cursor.is_none() || listing.data.len() >= limit {
                return Ok(listing);
            }
        }
    }

    /// Opens a stream of Server-Sent Events. Fails where the first connection fails; later ones
    /// are made again until they succeed.
    ///
    /// # Errors
    /// If there is no server, or it refuses.
    pub async fn follow(&self, path: &str, query: &[(&str, &str)]) -> Result<Follow> {
        let url = self.url(path, query);
        let stream = self
            .open(&url, None)
            .await
            .map_err(|error| self.not_open(error, &url))?;
        Ok(Follow {
            client: self.clone(),
            url,
            stream: Some(stream),
            parser: Parser::default(),
            ready: Vec::new().into_iter(),
            last_id: None,
            wait: RECONNECT.0,
        })
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn outgoing(&self, method: Method, url: &Url) -> Result<egress::Outgoing> {
        let target = Target::parse(url.as_str(), self.egress.policy())
            .map_err(|error| Problem::misuse(error.to_string()).at(url.as_str()))?;
        let mut outgoing = egress::Outgoing::new(method, target);
        outgoing.timeout = TIMEOUT;
        outgoing.response_body_bytes_max = ANSWER_BYTES_MAX;
        let user_agent = concat!("signpost-cli/", env!("CARGO_PKG_VERSION"));
        outgoing
            .headers
            .insert(header::USER_AGENT, HeaderValue::from_static(user_agent));
        if let Some(authorization) = &self.authorization {
            outgoing
                .headers
                .insert(header::AUTHORIZATION, authorization.clone());
        }
        Ok(outgoing)
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Answer> {
        let url = self.url(path, query);
        let mut outgoing = self.outgoing(method.clone(), &url)?;
        if method == Method::POST {
            let key = HeaderValue::try_from(format!("cli-{}", edge::id().simple()));
            outgoing
                .headers
                .insert("idempotency-key", key.expect("hex digits fit a header"));
        }
        if let Some(body) = body {
            let json = HeaderValue::from_static("application/json");
            outgoing.headers.insert(header::CONTENT_TYPE, json);
            outgoing.body = Bytes::from(body);
        }
        let asked = format!("{method} {url}");
        let exchange = self
            .egress
            .exchange(outgoing)
            .await
            .map_err(|error| self.unreachable(&error, &asked))?;
        self.read(&exchange, &asked)
    }

    fn read(&self, exchange: &Exchange, asked: &str) -> Result<Answer> {
        let body = serde_json::from_slice(&exchange.body);
        if !exchange.status.is_success() {
            return Err(refused(exchange.status, body.as_ref().ok(), asked).into());
        }
        if exchange.body_truncated || exchange.body_error.is_some() {
            return Err(Problem::failed("the answer broke off").at(asked).into());
        }
        match body {
            Ok(body) => Ok(Answer {
                status: exchange.status,
                body,
            }),
            Err(_) if exchange.body.is_empty() => Ok(Answer {
                status: exchange.status,
                body: Value::Null,
            }),
            Err(_) => Err(self.not_signpost("the answer is not JSON").at(asked).into()),
        }
    }

    async fn open(&self, url: &Url, last_id: Option<&str>) -> Result<egress::Streaming, NotOpen> {
        let mut outgoing = self.outgoing(Method::GET, url).map_err(NotOpen::Misuse)?;
        outgoing.headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("text/event-stream"),
        );
        if let Some(Ok(id)) = last_id
            .filter(|id| !id.is_empty())
            .map(HeaderValue::from_str)
        {
            outgoing.headers.insert("last-event-id", id);
        }
        let mut stream = self
            .egress
            .stream(outgoing)
            .await
            .map_err(NotOpen::Unreachable)?;
        if stream.status.is_success() {
            return Ok(stream);
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = stream.chunk(TIMEOUT).await
            && body.len() < 64 * 1024
        {
            body.extend_from_slice(&chunk);
        }
        Err(NotOpen::Refused(
            stream.status,
            serde_json::from_slice(&body).ok(),
        ))
    }

    fn not_open(&self, error: NotOpen, url: &Url) -> anyhow::Error {
        let asked = format!("GET {url}");
        match error {
            NotOpen::Misuse(error) => error,
            NotOpen::Unreachable(error) => self.unreachable(&error, &asked).into(),
            NotOpen::Refused(status, body) => refused(status, body.as_ref(), &asked).into(),
        }
    }

    fn unreachable(&self, error: &ExchangeError, asked: &str) -> Problem {
        let problem = Problem::failed("the server could not be reached")
            .at(asked)
            .detail(error.message.clone());
        match error.class {
            ErrorClass::Connect if self.is_local() => problem.advice(self.how_to_start()),
            ErrorClass::Dns | ErrorClass::Connect => {
                problem.advice("check the address given with --server or SIGNPOST_URL")
            }
            ErrorClass::Timeout => problem.advice("see whether it is well: signpost doctor"),
            _ => problem
                .advice("check the address: a Signpost server, and http or https as it speaks"),
        }
    }

    fn how_to_start(&self) -> String {
        let port = match self.base.port() {
            None | Some(8000) => String::new(),
            Some(port) => format!(" --port {port}"),
        };
        format!(
            "start it with `signpost serve{port}`, or name another with --server or SIGNPOST_URL"
        )
    }

    fn is_local(&self) -> bool {
        matches!(
            self.base.host_str(),
            Some("127.0.0.1" | "localhost" | "[::1]")
        )
    }

    fn not_signpost(&self, why: &str) -> Problem {
        Problem::failed("the server does not answer as Signpost does")
            .at(self.address())
            .detail(why)
            .advice("check the address given with --server or SIGNPOST_URL")
    }
}

/// Why a stream was not opened.
enum NotOpen {
    /// It can't be asked for at all.
    Misuse(anyhow::Error),
    /// No answer came.
    Unreachable(ExchangeError),
    /// The answer was no.
    Refused(StatusCode, Option<Value>),
}

/// A refusal as the server put it (RFC 9457), with what can be done about it here.
fn refused(status: StatusCode, body: Option<&Value>, asked: &str) -> Problem {
    let told = |path| body.and_then(|body| text(body, path)).map(str::to_owned);
    let title = told("title").or_else(|| told("message"));
    let mut problem = Problem::failed(match title {
        Some(title) => format!("the server refused: {title} ({})", status.as_u16()),
        None => format!("the server answered {status}"),
    })
    .at(asked);
    let errors = body.and_then(|body| body.get("errors")?.as_array());
    let described: Vec<String> = errors
        .into_iter()
        .flatten()
        .filter_map(
            |error| match (text(error, "path"), text(error, "message")) {
                (Some("") | None, Some(message)) => Some(message.to_owned()),
                (Some(path), Some(message)) => Some(format!("{path}: {message}")),
                (_, None) => None,
            },
        )
        .collect();
    if described.is_empty() {
        problem = told("detail").into_iter().fold(problem, Problem::detail);
    } else {
        problem = described.into_iter().fold(problem, Problem::detail);
    }
    match status {
        // A login that is wrong is not mended by another credential.
        StatusCode::UNAUTHORIZED if asked.ends_with("/auth/login") => problem,
        StatusCode::UNAUTHORIZED => problem.advice(
            "give an API key or a token with --token or SIGNPOST_TOKEN; `signpost token` gets one",
        ),
        StatusCode::FORBIDDEN => problem.advice("use a key or a login whose role covers this"),
        StatusCode::TOO_MANY_REQUESTS => problem.advice("wait a moment, then try again"),
        StatusCode::SERVICE_UNAVAILABLE => {
            problem.advice("try again; `signpost doctor` says whether the server is well")
        }
        _ => problem,
    }
}

/// A way out for a person's own commands: they may call whatever they can reach.
pub fn outgoing_to_anywhere() -> Egress {
    Egress::new(EgressConfig {
        policy: AddressPolicy::anything(),
        ..EgressConfig::default()
    })
}

fn bearer(token: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| {
        Problem::misuse("the token has characters that no token has")
            .advice("copy it again from where it was shown")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Some records of a list.
#[derive(Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// The records.
    pub data: Vec<Value>,
    /// Where the rest begins.
    pub next_cursor: Option<String>,
}

/// A stream that is opened again whenever it is lost.
pub struct Follow {
    client: Client,
    url: Url,
    stream: Option<egress::Streaming>,
    parser: Parser,
    ready: std::vec::IntoIter<Message>,
    last_id: Option<String>,
    wait: Duration,
}

/// What a stream says next.
#[derive(Debug)]
pub enum Followed {
    /// A message.
    Message(Message),
    /// The connection was lost (why); it is being made again.
    Lost(String),
    /// It is back.
    Back,
}

impl Follow {
    /// Waits for what comes next.
    ///
    /// # Errors
    /// If the server refuses to open the stream again (credentials revoked, say).
    pub async fn next(&mut self) -> Result<Followed> {
        loop {
            if let Some(message) = self.ready.next() {
                if !message.id.is_empty() {
                    self.last_id = Some(message.id.clone());
                }
                return Ok(Followed::Message(message));
            }
            let Some(stream) = &mut self.stream else {
                tokio::time::sleep(self.wait).await;
                self.wait = (self.wait * 2).min(RECONNECT.1);
                if self.reopen().await? {
                    return Ok(Followed::Back);
                }
                continue;
            };
            let lost = match stream.chunk(STREAM_IDLE).await {
                Ok(Some(chunk)) => match self.parser.feed(&chunk) {
                    Ok(messages) => {
                        self.ready = messages.into_iter();
                        self.wait = RECONNECT.0;
                        continue;
                    }
                    Err(_) => "a message was longer than 16 MiB".to_owned(),
                },
                Ok(None) => "the server closed it".to_owned(),
                Err(error) => error.message,
            };
            self.stream = None;
            return Ok(Followed::Lost(lost));
        }
    }

    /// Tries once. A server that is not there (yet) is no failure; one that refuses is.
    async fn reopen(&mut self) -> Result<bool> {
        match self.client.open(&self.url, self.last_id.as_deref()).await {
            Ok(stream) => {
                self.stream = Some(stream);
                self.parser = Parser::default();
                Ok(true)
            }
            // It is restarting, perhaps.
            Err(NotOpen::Unreachable(_) | NotOpen::Refused(StatusCode::SERVICE_UNAVAILABLE, _)) => {
                Ok(false)
            }
            Err(error) => Err(self.client.not_open(error, &self.url)),
        }
    }
}
