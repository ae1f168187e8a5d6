//! A workflow's definition in its one normal form: what the reader makes of a file, what is
//! stored with each version, and what is run.
//!
//! Everything that a file leaves out stands here with its default; a node's model settings are
//! already merged with the workflow's. Templates, conditions and jq expressions are kept as text
//! that was parsed once when the definition was read, so reading it again cannot fail.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The most nodes of one workflow.
pub const NODES_MAX: usize = 500;
/// The most steps of one execution, all attempts and iterations together.
pub const STEPS_MAX: u32 = 10_000;
/// The most items that a map runs over.
pub const ITEMS_MAX: usize = 1_000;
/// The largest state of an execution, as JSON, in bytes.
pub const STATE_BYTES_MAX: usize = 4 << 20;
/// The largest definition file, in bytes.
pub const FILE_BYTES_MAX: usize = 512 << 10;

/// The name of the place where every workflow begins, in edges.
pub const START: &str = "START";
/// The name of the place where every workflow ends, in edges.
pub const END: &str = "END";

/// A workflow, complete and checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name: unique in a workspace.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What its author calls this version.
    pub version: String,
    /// What it keeps while it runs, in the order of the file.
    pub state: Vec<Field>,
    /// What it does, in the order of the file.
    pub nodes: Vec<Node>,
    /// What follows what.
    pub edges: Vec<Edge>,
    /// How long an execution may take, in milliseconds of running; waiting does not count.
    pub timeout_ms: u64,
    /// How many executions may run at once; none: any number.
    pub concurrency: Option<u32>,
    /// What becomes of one that would be too many.
    pub on_conflict: OnConflict,
    /// What starts it, beside people and programs.
    pub triggers: Vec<TriggerSpec>,
    /// Webhooks that are created with it.
    pub webhooks: Vec<WebhookSpec>,
    /// What its runs remember of each other; none: nothing.
    pub memory: Option<Memory>,
    /// Where its runs are tracked, as the file has it.
    pub observability: Map<String, Value>,
    /// Whether the last node's text is the result, since the file declares no outputs (the loose
    /// dialect). Otherwise the result is the final state.
    pub result_is_last_output: bool,
}

/// A field of the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: FieldType,
    /// Whether an execution cannot start without it.
    pub required: bool,
    /// What it holds where no input does.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub default: Option<Value>,
    /// What it is.
    pub description: String,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// Text.
    Str,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// True or false.
    Bool,
    /// A list of anything.
    List,
    /// A list of one kind of item.
    ListOf(Box<FieldType>),
    /// An object with any keys.
    Dict,
    /// An object whose values are of one kind.
    DictOf(Box<FieldType>),
    /// An object with these fields; with none, any.
    Object(Vec<(String, FieldType)>),
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name: unique in the workflow.
    pub id: String,
    /// What it is for.
    pub description: String,
    /// What it does.
    pub kind: NodeKind,
    /// Values of its own, each a template; they stand before the state's of the same name.
    pub inputs: Vec<(String, String)>,
    /// The fields of the state that its output goes to, in the order of the file.
    pub outputs: Vec<String>,
    /// When it is tried again after a failure.
    pub retry: Retry,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// What it takes of which pool while it runs: units.
    pub resources: Vec<(String, u32)>,
    /// The milestone that is reached when it completes.
    pub milestone: Option<String>,
    /// It is skipped unless this condition holds.
    pub when: Option<String>,
    /// Its line in the file, the first is 1.
    pub line: u32,
}

/// What a node does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NodeKind {
    /// A turn of a model: one call, or several with tools in between.
    Llm(LlmNode),
    /// Python in a process of its own: `inputs` in, `result` out.
    Code(CodeNode),
    /// A request to an HTTP server.
    Http(HttpNode),
    /// A jq expression over `{state, input, trigger}`.
    Transform {
        /// The expression.
        jq: String,
    },
    /// Publishes an event.
    Emit {
        /// The event type's name, a template.
        event: String,
        /// The payload; its texts are templates. None: the node's inputs, or the state.
        #[serde(
            default,
            deserialize_with = "present",
            skip_serializing_if = "Option::is_none"
        )]
        data: Option<Value>,
    },
    /// Starts another workflow.
    Workflow {
        /// Its name, a template.
        workflow: String,
        /// Whether to wait for its end, and take its result as output.
        wait: bool,
    },
    /// Waits.
    Wait(WaitFor),
    /// Lets several branches meet.
    Join {
        /// How many must arrive; none: all that can.
        required: Option<u32>,
        /// How long to wait after the first, in milliseconds.
        timeout_ms: Option<u64>,
        /// What follows when they don't.
        on_timeout: OnTimeout,
    },
    /// Hands the turn to a registered agent.
    Agent {
        /// Its name.
        agent: String,
        /// What it is asked, a template.
        prompt: String,
    },
}

/// A model's turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlmNode {
    /// What it is asked, a template.
    pub prompt: String,
    /// The model and its settings.
    pub llm: Llm,
    /// What it may call.
    pub tools: Vec<Tool>,
    /// What it must answer; none: text.
    pub output: Option<Output>,
    /// Whether it gets, and adds to, what earlier runs remembered.
    pub memory: Option<Memory>,
}

/// What a node must answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// One value, which goes to the node's one output.
    Value(FieldType),
    /// An object with one field for each output.
    Fields(Vec<OutputField>),
}

/// A field of a node's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputField {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: FieldType,
    /// What it is, for the model.
    pub description: String,
}

/// A model and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Llm {
    /// Who serves it.
    pub provider: Provider,
    /// Its name there.
    pub model: String,
    /// 0 to 1.
    pub temperature: Option<f64>,
    /// The most tokens of an answer.
    pub max_tokens: Option<u32>,
    /// Another server that speaks the provider's protocol.
    pub api_base: Option<String>,
}

/// Who serves a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Google Gemini.
    Google,
    /// `OpenAI`, and what speaks its protocol.
    Openai,
    /// Anthropic.
    Anthropic,
    /// Ollama.
    Ollama,
}

/// A tool that a model may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Whether the node goes on after it failed.
    pub continue_on_error: bool,
    /// Its settings.
    pub config: Map<String, Value>,
}

/// What runs remember.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Who shares it.
    pub scope: MemoryScope,
    /// The most entries.
    pub max_entries: u32,
}

/// Who shares a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryScope {
    /// Every node of every workflow of the same agent.
    Agent,
    /// Every node of this workflow.
    Workflow,
    /// This node.
    Node,
}

/// Python in a process of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CodeNode {
    /// The program.
    pub code: String,
    /// What it must answer; none: any JSON.
    pub output: Option<Output>,
    /// Whether it may use the network.
    pub network: bool,
    /// The most memory, in MiB.
    pub memory_mib: u32,
    /// The most processor time, in milliseconds.
    pub cpu_ms: u64,
}

/// A request to an HTTP server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpNode {
    /// The method.
    pub method: String,
    /// The address, a template; checked again once it is filled in.
    pub url: String,
    /// Headers, each value a template; line breaks in them are refused.
    pub headers: Vec<(String, String)>,
    /// The body; its texts are templates. A text is sent as it is, anything else as JSON.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub body: Option<Value>,
    /// Statuses that are no failure, beside 2xx.
    pub accept: Vec<u16>,
}

/// What a wait waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum WaitFor {
    /// Some time, in milliseconds.
    Duration {
        /// How long.
        ms: u64,
    },
    /// A moment.
    Until {
        /// Which: a template that gives an RFC 3339 time.
        time: String,
    },
    /// A person's word, in the dashboard or through the API.
    Approval {
        /// What they are asked, a template.
        message: String,
        /// How long to wait at most, in milliseconds.
        timeout_ms: Option<u64>,
        /// What follows when nobody answers.
        on_timeout: OnTimeout,
    },
    /// An outside system's POST to a URL that works once.
    Callback {
        /// How long to wait at most, in milliseconds.
        timeout_ms: Option<u64>,
        /// What follows when none comes.
        on_timeout: OnTimeout,
    },
}

/// What follows when a wait or a join has lasted too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// The node fails.
    #[default]
    Fail,
    /// It completes with what there is.
    Continue,
}

/// When a failed attempt of a node is followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How many attempts follow the first.
    pub max: u32,
    /// The first delay, in milliseconds; each following one is twice as long.
    pub backoff_ms: u64,
    /// The longest delay, in milliseconds.
    pub max_backoff_ms: u64,
}

/// What follows a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Where it begins: a node, or [`START`].
    pub from: String,
    /// Where it leads.
    pub route: Route,
}

/// Where an edge leads: nodes, or [`END`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// To each of these (one, or a fork).
    To(Vec<String>),
    /// To the first whose condition holds.
    Routes {
        /// Condition and target, in order.
        cases: Vec<(String, String)>,
        /// Where none holds.
        default: String,
    },
    /// Back to where it begins, until a field of the state is true.
    Loop {
        /// The field.
        until: String,
        /// How often the node runs at most.
        max_iterations: u32,
        /// Where it leads then.
        exit_to: String,
    },
    /// Runs a node once for each item of a list.
    Map {
        /// The list, a field of the state.
        items: String,
        /// The node; it finds the item under the name `item`, and its number under `index`.
        node: String,
        /// The field that gets the list of outputs, in the order of the items.
        collect: String,
    },
}

/// What becomes of an execution that would be one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// It waits for its turn.
    #[default]
    Queue,
    /// The oldest that runs is stopped for it.
    Cancel,
    /// It is not started.
    Skip,
}

/// What starts a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum TriggerSpec {
    /// A request that a source has verified.
    Webhook {
        /// The source's name.
        source: String,
        /// A jq condition over the payload.
        filter: Option<String>,
        /// A jq expression that makes the inputs of the payload.
        map: Option<String>,
    },
    /// The clock.
    Schedule {
        /// A cron expression of five or six parts.
        cron: String,
        /// An IANA time zone.
        timezone: String,
    },
    /// An event.
    Event {
        /// A pattern, as webhooks subscribe to.
        pattern: String,
        /// A jq condition over `{event, data}`.
        filter: Option<String>,
        /// A jq expression that makes the inputs of it.
        map: Option<String>,
    },
}

/// A webhook that is created with a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebhookSpec {
    /// Where it goes.
    pub url: String,
    /// What it subscribes to.
    pub events: Vec<String>,
}

/// A `null` that stands there is a value; what is left out is none.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

impl Definition {
    /// The node of this name.
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }
}
