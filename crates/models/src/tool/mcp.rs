//! Tools of MCP servers (Model Context Protocol): `config: {mcp: {url}}` over streamable HTTP, or
//! `config: {mcp: {command, args}}` over a program's input and output.
//!
//! The protocol is `rmcp`'s; the transport is ours, so that every request goes through `egress`
//! with its address policy. A server is opened for a turn and closed after it. What a server
//! would like to ask of us (sampling, roots) it does not get.

use std::{collections::HashMap, collections::VecDeque, process::Stdio, sync::Arc, time::Duration};

use bytes::Bytes;
use egress::{Egress, Outgoing, Streaming, Target};
use futures_util::{StreamExt as _, stream::BoxStream};
use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use rmcp::{
    RoleClient, ServiceExt as _,
    model::{CallToolRequestParams, CallToolResult, ClientJsonRpcMessage, ServerJsonRpcMessage},
    service::RunningService,
    transport::{
        StreamableHttpClientTransport,
        streamable_http_client::{
            SseError, StreamableHttpClient, StreamableHttpClientTransportConfig,
            StreamableHttpError, StreamableHttpPostResponse,
        },
    },
};
use serde_json::{Map, Value};
use sse_stream::Sse;
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
};

use super::{ToolError, failed, system};
use crate::{
    Shared,
    error::trimmed,
    provider::{Framing, Offer, call::read, lines::Events},
};

/// How long opening a server and hearing its tools may take.
const OPEN_MAX: Duration = Duration::from_secs(30);
/// How long one request may take, from its head to each next piece.
const REQUEST_MAX: Duration = Duration::from_mins(1);
/// The largest message.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// All that a program may write in a turn.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The most tools that are taken from one server.
const TOOLS_MAX: usize = 64;
/// The longest name of a tool that all providers take.
const NAME_BYTES_MAX: usize = 64;
/// What is shown of a server's words.
const WORDS_CHARS_MAX: usize = 300;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// A server that is open.
pub(super) struct Server {
    service: RunningService<RoleClient, ()>,
    /// Killed when it is dropped.
    _child: Option<Child>,
}

impl Server {
    /// Opens the server of a tool's `mcp` setting and hears its tools.
    pub(super) async fn open(
        shared: &Shared,
        config: &Value,
    ) -> Result<(Self, Vec<Offer>), ToolError> {
        let opening = async {
            let server = Self::connect(shared, config).await?;
            let tools = server
                .service
                .list_all_tools()
                .await
                .map_err(|error| said("does not tell its tools", &error))?;
            let offers = tools
                .into_iter()
                .filter(|tool| is_name(&tool.name))
                .take(TOOLS_MAX)
                .map(|tool| Offer {
                    name: tool.name.into_owned(),
                    description: tool.description.unwrap_or_default().into_owned(),
                    parameters: Value::Object((*tool.input_schema).clone()),
                })
                .collect();
            Ok((server, offers))
        };
        tokio::time::timeout(OPEN_MAX, opening)
            .await
            .unwrap_or_else(|_| {
                Err(failed(format!(
                    "the MCP server did not tell its tools within {OPEN_MAX:?}"
                )))
            })
    }

    async fn connect(shared: &Shared, config: &Value) -> Result<Self, ToolError> {
        if let Some(url) = config["url"].as_str() {
            // Once here, for a clear answer; again for each request.
            Target::parse(url, shared.egress.policy())
                .map_err(|error| failed(format!("the MCP server's `url`: {error}")))?;
            let transport = StreamableHttpClientTransport::with_client(
                OverEgress(shared.egress.clone()),
                StreamableHttpClientTransportConfig::with_uri(url),
            );
            let service = ().serve(transport).await;
            return Ok(Self {
                service: service.map_err(|error| said("cannot be opened", &error))?,
                _child: None,
            });
        }
        let Some(program) = config["command"].as_str() else {
            return Err(failed(
                "`mcp` must have a `url`, or a `command` with its `args`",
            ));
        };
        system::check_command(&shared.settings, program)?;
        let args = config["args"].as_array().into_iter().flatten();
        let mut child = Command::new(program)
            .args(args.filter_map(Value::as_str))
            .env_clear()
            .env("PATH", system::PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("{program} cannot be started: {error}")))?;
        let (Some(output), Some(input)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(failed(format!("{program} has no input and output")));
        };
        let service = ().serve((output.take(OUTPUT_BYTES_MAX), input)).await;
        Ok(Self {
            service: service.map_err(|error| said("cannot be opened", &error))?,
            _child: Some(child),
        })
    }

    /// Calls a tool; the texts of its result are given.
    pub(super) async fn call(
        &self,
        name: &str,
        arguments: &Map<String, Value>,
    ) -> Result<String, ToolError> {
        let params = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments.clone());
        let result = self
            .service
            .call_tool(params)
            .await
            .map_err(|error| said("failed", &error))?;
        let text = text(&result);
        if result.is_error == Some(true) {
            return Err(failed(trimmed(&text, WORDS_CHARS_MAX)));
        }
        Ok(text)
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn said(what: &str, error: &dyn std::error::Error) -> ToolError {
    let words = trimmed(&error.to_string(), WORDS_CHARS_MAX);
    failed(format!("the MCP server {what}: {words}"))
}

/// The texts; of other content only that it is there. Without any, the structured content.
fn text(result: &CallToolResult) -> String {
    let texts: Vec<&str> = result
        .content
        .iter()
        .map(|block| {
            block
                .as_text()
                .map_or("[content that is no text]", |text| text.text.as_str())
        })
        .collect();
    match &result.structured_content {
        Some(value) if texts.is_empty() => value.to_string(),
        _ => texts.join("\n"),
    }
}

/// MCP's streamable HTTP over our way out.
#[derive(Clone)]
struct OverEgress(Egress);

/// A request that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct OverError(String);

type HttpError = StreamableHttpError<OverError>;

fn client(error: impl ToString) -> HttpError {
    StreamableHttpError::Client(OverError(error.to_string()))
}

impl OverEgress {
    async fn send(
        &self,
        method: Method,
        uri: &str,
        body: Bytes,
        session: Option<&str>,
        custom: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Streaming, HttpError> {
        let target = Target::parse(uri, self.0.policy()).map_err(client)?;
        let mut outgoing = Outgoing::new(method, target);
        outgoing.headers.extend(custom);
        let accept = HeaderValue::from_static("application/json, text/event-stream");
        outgoing.headers.insert(ACCEPT, accept);
        if !body.is_empty() {
            let json = HeaderValue::from_static("application/json");
            outgoing.headers.insert(CONTENT_TYPE, json);
        }
        if let Some(session) = session {
            let session = HeaderValue::from_str(session).map_err(client)?;
            outgoing.headers.insert(SESSION, session);
        }
        outgoing.body = body;
        outgoing.timeout = REQUEST_MAX;
        self.0.stream(outgoing).await.map_err(client)
    }
}

impl StreamableHttpClient for OverEgress {
    type Error = OverError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, HttpError> {
        let body = Bytes::from(serde_json::to_vec(&message)?);
        let mut answer = self
            .send(
                Method::POST,
                &uri,
                body,
                session_id.as_deref(),
                custom_headers,
            )
            .await?;
        if matches!(answer.status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if answer.status == StatusCode::NOT_FOUND && session_id.is_some() {
            return Err(StreamableHttpError::SessionExpired);
        }
        let text = |name: &HeaderName| {
            let value = answer.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let session = text(&SESSION);
        let kind = text(&CONTENT_TYPE).unwrap_or_default();
        if answer.status.is_success() && kind.starts_with("text/event-stream") {
            return Ok(StreamableHttpPostResponse::Sse(events(answer), session));
        }
        let (bytes, rest) = read(&mut answer, MESSAGE_BYTES_MAX, REQUEST_MAX)
            .await
            .map_err(client)?;
        if rest {
            return Err(StreamableHttpError::ResponseBodyTooLarge {
                max_size: MESSAGE_BYTES_MAX,
            });
        }
        match serde_json::from_slice::<ServerJsonRpcMessage>(&bytes) {
            Ok(message) => Ok(StreamableHttpPostResponse::Json(message, session)),
            Err(_) if answer.status.is_success() && bytes.is_empty() => {
                Ok(StreamableHttpPostResponse::Accepted)
            }
            Err(_) => Err(StreamableHttpError::UnexpectedServerResponse(
                format!("{} without a JSON-RPC message", answer.status).into(),
            )),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), HttpError> {
        let session = Some(&*session_id);
        self.send(Method::DELETE, &uri, Bytes::new(), session, custom_headers)
            .await
            .map(drop)
    }

    /// What a server says unasked is not listened to.
    async fn get_stream(
        &self,
        _uri: Arc<str>,
        _session_id: Option<Arc<str>>,
        _last_event_id: Option<String>,
        _auth_header: Option<String>,
        _custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, HttpError> {
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}

/// A stream of messages, as large in all as one message may be.
struct Messages {
    answer: Streaming,
    events: Events,
    found: VecDeque<String>,
    bytes: usize,
    ended: bool,
}

fn events(answer: Streaming) -> BoxStream<'static, Result<Sse, SseError>> {
    let messages = Messages {
        answer,
        events: Events::new(Framing::Sse),
        found: VecDeque::new(),
        bytes: 0,
        ended: false,
    };
    futures_util::stream::unfold(messages, |mut messages| async move {
        let next = messages.next().await.transpose()?;
        Some((next, messages))
    })
    .boxed()
}

impl Messages {
    async fn next(&mut self) -> Result<Option<Sse>, SseError> {
        let broken = |error: String| SseError::Body(Box::new(OverError(error)));
        loop {
            if let Some(data) = self.found.pop_front() {
                return Ok(Some(Sse {
                    data: Some(data),
                    ..Sse::default()
                }));
            }
            if self.ended {
                return Ok(None);
            }
            let chunk = self.answer.chunk(REQUEST_MAX).await;
            let found = match chunk {
                Ok(Some(chunk)) => {
                    self.bytes += chunk.len();
                    self.events.feed(&chunk).ok()
                }
                Ok(None) => {
                    self.ended = true;
                    Some(self.events.finish())
                }
                Err(error) => {
                    self.ended = true;
                    return Err(broken(error.to_string()));
                }
            };
            match found {
                Some(found) if self.bytes <= MESSAGE_BYTES_MAX => self.found.extend(found),
                _ => {
                    self.ended = true;
                    return Err(broken("an answer larger than 4 MiB".to_owned()));
                }
            }
        }
    }
}
