//! Providers behind one trait: pure adapters between a question and each wire format.
//!
//! An adapter makes the JSON of a request ([`Adapter::body`]), puts the events of a stream
//! together into what the provider would have answered at once ([`Adapter::fold`]), and reads
//! that ([`Adapter::reply`]). It sends nothing: [`call`] does.

pub(crate) mod call;
pub(crate) mod lines;

mod anthropic;
mod google;
mod ollama;
mod openai;

use std::time::Duration;

use domain::workflow::definition::{Llm, Provider};
use http::{HeaderName, HeaderValue};
use serde_json::Value;

/// One question to a model, with all that was said before.
pub(crate) struct Ask<'a> {
    pub llm: &'a Llm,
    pub messages: &'a [Message],
    pub tools: &'a [Offer],
    /// Whether it may still call tools.
    pub may_call: bool,
    /// The schema of the answer; none: text.
    pub schema: Option<&'a Value>,
    /// Whether the schema leaves nothing open.
    pub strict: bool,
    /// Whether the answer is wanted piece by piece.
    pub stream: bool,
}

/// A message of the conversation within one turn.
pub(crate) enum Message {
    User(String),
    /// What the model said, as the provider wrote it.
    Assistant(Value),
    Results(Vec<CallResult>),
}

/// A tool as it is offered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer {
    pub name: String,
    pub description: String,
    /// A JSON Schema.
    pub parameters: Value,
}

/// A call that the model asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub id: String,
    pub name: String,
    /// An object, or what the model wrote in place of one.
    pub arguments: Value,
}

/// What came of a call.
pub(crate) struct CallResult {
    pub id: String,
    pub name: String,
    pub content: String,
    pub failed: bool,
}

/// What a model answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub text: String,
    pub calls: Vec<Call>,
    /// The message as it must be sent back.
    pub message: Value,
    pub tokens: Tokens,
    /// Whether the answer ended because it reached the most tokens.
    pub cut: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tokens {
    pub sent: u64,
    /// Of those sent.
    pub cached: u64,
    pub received: u64,
}

/// What a provider answered in place of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    /// The HTTP status, or the one that stands for the error within a stream.
    pub status: u16,
    pub message: String,
    pub retry_after: Option<Duration>,
    /// Whether the provider says that another attempt is no use.
    pub permanent: bool,
}

impl Fault {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
            permanent: false,
        }
    }

    /// The model, or a filter before it, would not answer.
    fn refused(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// An answer that is not of the provider's shape.
    fn shape(what: &str) -> Self {
        Self::new(SHAPE, format!("the provider's answer has no {what}"))
    }
}

/// The status of an answer that is not of the provider's shape: none of HTTP's.
pub(crate) const SHAPE: u16 = 0;

/// How the events of a stream are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-Sent Events.
    Sse,
    /// One JSON value in each line.
    Lines,
}

pub(crate) trait Adapter: Send + Sync {
    /// The environment variables that may hold its key; none: it needs none.
    fn key_names(&self) -> &'static [&'static str];

    /// Its own address, with the path that all requests begin with.
    fn base(&self) -> &'static str;

    /// The rest of the path.
    fn path(&self, ask: &Ask<'_>) -> String;

    /// How the key travels: a header's name, and what stands before the key in it.
    fn key_header(&self) -> (HeaderName, &'static str);

    /// Headers of its own.
    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        Vec::new()
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    /// The body of a request. `own` is whether it goes to the provider's own server.
    fn body(&self, ask: &Ask<'_>, own: bool) -> Value;

    /// Adds an event of a stream, an object, to what came before, and tells the text in it.
    fn fold(&self, whole: &mut Value, event: Value) -> Result<Option<String>, Fault>;

    /// Whether a stream has come to its end.
    fn is_complete(&self, whole: &Value) -> bool;

    /// Reads a whole answer, an object.
    fn reply(&self, whole: Value) -> Result<Reply, Fault>;

    /// What an error's body says.
    fn fault(&self, status: u16, body: &Value) -> Fault {
        Fault::new(status, error_message(body))
    }

    /// Whether it enforces a schema by itself in this question. If not, the prompt asks for it.
    fn enforces(&self, ask: &Ask<'_>, own: bool) -> bool;
}

pub(crate) fn adapter(provider: Provider) -> &'static dyn Adapter {
    match provider {
        Provider::Google => &google::Google,
        Provider::Openai => &openai::OpenAi,
        Provider::Anthropic => &anthropic::Anthropic,
        Provider::Ollama => &ollama::Ollama,
    }
}

/// `error.message`, or `error` where that is a text, or `message`.
fn error_message(body: &Value) -> String {
    let error = &body["error"];
    [&error["message"], error, &body["message"], &body["detail"]]
        .into_iter()
        .find_map(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// What a message to the model says of the schema where the provider does not enforce it.
fn with_schema(text: &str, ask: &Ask<'_>, enforced: bool) -> String {
    match ask.schema {
        Some(schema) if !enforced => format!(
            "{text}\n\nAnswer with one JSON object and nothing else. It must match this JSON Schema:\n{schema}"
        ),
        _ => text.to_owned(),
    }
}

/// Takes out what stands at a JSON pointer; null where nothing does. Unlike an index it cannot
/// panic on what a server made up.
fn take(value: &mut Value, pointer: &str) -> Value {
    value
        .pointer_mut(pointer)
        .map(Value::take)
        .unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Appends text to a text within a JSON value.
fn append(to: &mut Value, text: &str) {
    match to {
        Value::String(whole) => whole.push_str(text),
        other => *other = Value::from(text),
    }
}

/// Appends `items` to a list within a JSON value.
fn extend(to: &mut Value, items: Value) {
    let Value::Array(mut items) = items else {
        return;
    };
    match to {
        Value::Array(list) => list.append(&mut items),
        other => *other = Value::Array(items),
    }
}

/// The arguments of a call that travel as a JSON text; what is no JSON stays a text, for the tool
/// to complain of.
fn arguments(text: &str) -> Value {
    if text.trim().is_empty() {
        return Value::Object(serde_json::Map::new());
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}
