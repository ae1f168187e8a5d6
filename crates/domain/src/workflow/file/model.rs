//! What a workflow file may hold: the one source of its published JSON Schema ([`super::schema`])
//! and of the check of its shape ([`super::shape`]). Both dialects are here; what a dialect
//! requires, and what values mean, is looked at afterwards.
//!
//! The documents of these types are what editors show. A field that Signpost reads and does not
//! act on says so with `x-ignored`; using it is a warning.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A workflow of Signpost, and of Configurable Agents (schema v1.0).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Signpost workflow")]
pub struct WorkflowFile {
    /// The version of this format: `"1.0"`. With it, or with `flow`, the strict dialect is read.
    pub schema_version: Option<Text>,
    /// What the workflow is called.
    pub flow: Option<Flow>,
    /// What the workflow is called (loose dialect).
    pub name: Option<String>,
    /// What the workflow is for (loose dialect).
    pub description: Option<String>,
    /// What its author calls this version (loose dialect).
    pub version: Option<Text>,
    /// What the workflow keeps while it runs.
    pub state: Option<State>,
    /// What the workflow does.
    #[schemars(with = "Vec<NodeFile>")]
    pub nodes: Vec<Value>,
    /// What follows what. `START` and `END` are where it begins and ends.
    #[schemars(with = "Option<Vec<EdgeFile>>")]
    pub edges: Option<Vec<Value>>,
    /// Settings of the whole workflow.
    pub config: Option<Config>,
    /// The model of every node that names none (loose dialect).
    pub llm: Option<LlmFile>,
    /// Limits of a run (loose dialect).
    pub execution: Option<ExecutionFile>,
    /// Where runs are tracked (loose dialect).
    pub observability: Option<Observability>,
    /// How agents work together (loose dialect).
    pub orchestration: Option<Orchestration>,
    /// What runs remember.
    pub memory: Option<MemoryFile>,
    /// How prompts are optimised.
    #[schemars(extend("x-ignored" = "Signpost does not optimise prompts"))]
    pub optimization: Option<Value>,
    /// How the workflow is reached by webhooks.
    #[schemars(extend("x-ignored" = "a workflow is started through `triggers`, or by its name at /webhooks/generic"))]
    pub webhook: Option<Value>,
    /// How many executions may run at once.
    #[schemars(range(min = 1, max = 10_000))]
    pub concurrency: Option<u32>,
    /// What becomes of an execution that would be one too many.
    pub on_conflict: Option<OnConflictFile>,
    /// What starts the workflow, beside people and programs.
    pub triggers: Option<Vec<TriggerFile>>,
    /// Webhooks that are created with the workflow.
    pub webhooks: Option<Vec<WebhookFile>>,
}

/// A short text; a number is taken as it is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Text {
    /// A text.
    Text(String),
    /// A number, which stands for how it is written.
    Number(f64),
}

/// What a workflow is called.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Its name, unique in a workspace.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What its author calls this version.
    pub version: Option<Text>,
    /// Words to find it by.
    #[schemars(extend("x-ignored" = "Signpost keeps no tags; the file is stored as it is"))]
    pub tags: Option<Value>,
    /// Who wrote it.
    #[schemars(extend("x-ignored" = "Signpost keeps no author; the file is stored as it is"))]
    pub author: Option<Value>,
}

/// What a workflow keeps while it runs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// Its fields by name.
    #[schemars(with = "Option<std::collections::BTreeMap<String, FieldFile>>")]
    pub fields: Option<Map<String, Value>>,
    /// Always `object` (loose dialect).
    #[serde(rename = "type")]
    pub kind: Option<ObjectWord>,
    /// Its fields by name, as JSON Schema (loose dialect).
    #[schemars(with = "Option<std::collections::BTreeMap<String, Property>>")]
    pub properties: Option<Map<String, Value>>,
    /// The names of fields that an execution cannot start without (loose dialect).
    pub required: Option<Vec<String>>,
    /// What it is.
    pub description: Option<String>,
}

/// The word `object`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectWord {
    /// An object.
    Object,
}

/// A field of the state.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldFile {
    /// What it holds: `str`, `int`, `float`, `bool`, `list`, `dict`, `list[T]`, `dict[str, T]`,
    /// `object`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether an execution cannot start without it.
    #[serde(default)]
    pub required: bool,
    /// What it holds where no input does.
    #[serde(default, deserialize_with = "present")]
    pub default: Option<Value>,
    /// What it is.
    pub description: Option<String>,
    /// The fields of an `object`: names and types.
    pub schema: Option<Map<String, Value>>,
}

/// A `null` that is written is a value.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// A field of the state in JSON Schema's words.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Property {
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What the items of an `array` are.
    pub items: Option<Box<Property>>,
    /// What an `object` holds.
    pub properties: Option<Map<String, Value>>,
    /// What it is.
    pub description: Option<String>,
    /// What it holds where no input does.
    #[serde(default, deserialize_with = "present")]
    pub default: Option<Value>,
    /// Its title.
    #[schemars(extend("x-ignored" = "use `description`"))]
    pub title: Option<Value>,
    /// What it may be.
    #[schemars(extend("x-ignored" = "only the type of a state field is checked"))]
    pub r#enum: Option<Value>,
    /// What its text is.
    #[schemars(extend("x-ignored" = "only the type of a state field is checked"))]
    pub format: Option<Value>,
    /// What it may look like.
    #[schemars(extend("x-ignored" = "Signpost shows no examples of state fields"))]
    pub examples: Option<Value>,
    /// Which fields an object must have.
    #[schemars(extend("x-ignored" = "only the types of an object's fields are checked"))]
    pub required: Option<Value>,
}

/// A node: one step of the workflow. Which keys it takes beside the common ones depends on its
/// `kind`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NodeFile {
    /// Its name, unique in the workflow.
    pub id: Option<String>,
    /// What people call it; its id in the loose dialect.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What it does. Without it, a node with `code` runs Python, any other calls a model.
    pub kind: Option<KindWord>,
    /// Values of its own, as templates; they stand before the state's of the same name.
    pub inputs: Option<Map<String, Value>>,
    /// The fields of the state that its output goes to.
    pub outputs: Option<Vec<String>>,
    /// `llm`, `agent`: what it is asked, a template.
    pub prompt: Option<String>,
    /// `llm`, `code`: what it must answer.
    pub output_schema: Option<OutputFile>,
    /// `llm`: what the model may call.
    pub tools: Option<ToolsFile>,
    /// `llm`: what it remembers of earlier runs.
    pub memory: Option<NodeMemory>,
    /// `llm`: the model and its settings, over those of the workflow.
    pub llm: Option<LlmFile>,
    /// `code`: Python; `inputs` in, `result` out.
    pub code: Option<String>,
    /// `code`: what the program may use.
    pub sandbox: Option<Sandbox>,
    /// `http`: the method; `GET`, or `POST` with a body.
    pub method: Option<String>,
    /// `http`: the address, a template.
    pub url: Option<String>,
    /// `http`: headers; values are templates.
    pub headers: Option<Map<String, Value>>,
    /// `http`: the body; its texts are templates. A text is sent as it is, anything else as JSON.
    #[serde(deserialize_with = "present")]
    pub body: Option<Value>,
    /// `http`: statuses that are no failure, beside 2xx.
    pub accept: Option<Vec<u16>>,
    /// `transform`: a jq expression over `{state, input, trigger}`.
    pub jq: Option<String>,
    /// `emit`: the event type, a template.
    pub event: Option<String>,
    /// `emit`: the payload; its texts are templates.
    #[serde(deserialize_with = "present")]
    pub data: Option<Value>,
    /// `workflow`: the name of the workflow to start, a template.
    pub workflow: Option<String>,
    /// `workflow`: whether to wait for its end (the default).
    pub wait: Option<bool>,
    /// `wait`: for how long.
    pub duration: Option<Duration>,
    /// `wait`: until when, a template that gives an RFC 3339 time.
    pub until: Option<String>,
    /// `wait`: for a person's word on this message, a template.
    pub approval: Option<String>,
    /// `wait`: for a POST to a URL that works once.
    pub callback: Option<bool>,
    /// `join`: how many branches must arrive; without it, all that can.
    #[schemars(range(min = 1, max = 500))]
    pub required: Option<u32>,
    /// `wait`, `join`: what follows when `timeout` is over.
    pub on_timeout: Option<OnTimeoutWord>,
    /// `agent`: the agent's name.
    pub agent: Option<String>,
    /// When it is tried again after a failure.
    pub retry: Option<RetryFile>,
    /// How long one attempt may take; of a `wait` or `join`, how long it waits. Seconds, or such
    /// as `30s`, `5m`, `1h`, `2d`.
    pub timeout: Option<Duration>,
    /// The same as `timeout`, in seconds.
    pub timeout_seconds: Option<Duration>,
    /// What it takes of which pool while it runs: units.
    pub resources: Option<Map<String, Value>>,
    /// The milestone that is reached when it completes.
    pub milestone: Option<String>,
    /// It is skipped unless this condition holds.
    pub when: Option<String>,
    /// It runs again until a field of the state is true.
    pub r#loop: Option<NodeLoop>,
    /// The nodes that come before it, instead of edges (loose dialect).
    pub needs: Option<OneOrMore>,
    /// Whether prompts are tracked.
    #[schemars(extend("x-ignored" = "what is tracked is set for the whole server, not for each node"))]
    pub log_prompts: Option<Value>,
    /// Whether artifacts are tracked.
    #[schemars(extend("x-ignored" = "what is tracked is set for the whole server, not for each node"))]
    pub log_artifacts: Option<Value>,
    /// How its prompt is optimised.
    #[schemars(extend("x-ignored" = "Signpost does not optimise prompts"))]
    pub optimize: Option<Value>,
    /// How it is tracked.
    #[schemars(extend("x-ignored" = "what is tracked is set for the whole server, not for each node"))]
    pub mlflow: Option<Value>,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KindWord {
    /// A turn of a model: one call, or several with tools in between.
    Llm,
    /// Python in a process of its own.
    Code,
    /// A request to an HTTP server.
    Http,
    /// A jq expression.
    Transform,
    /// Publishes an event.
    Emit,
    /// Starts another workflow.
    Workflow,
    /// Waits for a time, a person or an outside system.
    Wait,
    /// Lets several branches meet.
    Join,
    /// Hands the turn to a registered agent.
    Agent,
}

/// What a node must answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputFile {
    /// `object` with `fields`, or the type of the one output.
    #[serde(rename = "type")]
    pub kind: String,
    /// The fields of the answer, one for each output.
    pub fields: Option<Vec<OutputFieldFile>>,
    /// What it is, for the model.
    pub description: Option<String>,
    /// The fields of an `object` that goes to one output: names and types.
    pub schema: Option<Map<String, Value>>,
}

/// A field of an answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputFieldFile {
    /// Its name.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is, for the model.
    pub description: Option<String>,
    /// The fields of an `object`: names and types.
    pub schema: Option<Map<String, Value>>,
    /// The fields of an `object`, one by one.
    pub fields: Option<Vec<OutputFieldFile>>,
}

/// A model and its settings.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LlmFile {
    /// Who serves it; `google` without.
    pub provider: Option<ProviderWord>,
    /// Its name there; `gemini-2.5-flash-lite` without.
    pub model: Option<String>,
    /// 0 to 1: how freely it answers.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub temperature: Option<f64>,
    /// The most tokens of an answer.
    #[schemars(range(min = 1))]
    pub max_tokens: Option<u32>,
    /// Another server that speaks the provider's protocol.
    pub api_base: Option<String>,
}

/// Who serves a model.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderWord {
    /// Google Gemini.
    Google,
    /// `OpenAI`, and what speaks its protocol.
    Openai,
    /// Anthropic.
    Anthropic,
    /// Ollama.
    Ollama,
}

/// What a model may call: a list, or a mapping of names and settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ToolsFile {
    /// A list.
    List(Vec<ToolFile>),
    /// Settings by name.
    Mapping(Map<String, Value>),
}

/// A tool: its name, or its settings, or a mapping of its name to them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ToolFile {
    /// Its name.
    Name(String),
    /// Its settings.
    Settings(Map<String, Value>),
}

/// A tool's settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolSettings {
    /// Its name.
    pub name: Option<String>,
    /// Whether the node goes on after it failed.
    #[serde(default)]
    pub on_error: OnErrorWord,
    /// Its settings.
    pub config: Option<Map<String, Value>>,
}

/// What follows when a tool fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnErrorWord {
    /// The node fails.
    #[default]
    Fail,
    /// The model is told.
    Continue,
}

/// Whether a node remembers: a switch, or settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NodeMemory {
    /// A switch.
    Switch(bool),
    /// Settings.
    Settings(MemoryFile),
}

/// What runs remember.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryFile {
    /// Whether they do.
    pub enabled: Option<bool>,
    /// Who shares it; `agent` without.
    pub default_scope: Option<ScopeWord>,
    /// The most entries.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_entries: Option<u32>,
}

/// Who shares a memory.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScopeWord {
    /// Every node of every workflow of the same agent.
    Agent,
    /// Every node of this workflow.
    Workflow,
    /// One node.
    Node,
}

/// What a program may use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// How it is kept apart.
    pub mode: Option<String>,
    /// Whether it is kept apart.
    pub enabled: Option<bool>,
    /// Whether it may use the network.
    pub network: Option<Network>,
    /// How much it may use: `low` 256 MiB and 30 s, `medium` 512 MiB and 60 s, `high` 1 GiB and
    /// 120 s, `max` 2 GiB and 300 s.
    pub preset: Option<PresetWord>,
    /// Limits over those of the preset.
    pub resources: Option<SandboxResources>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

/// Whether a program may use the network.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Network {
    /// A switch.
    Switch(bool),
    /// Settings, which are not understood.
    Settings(Map<String, Value>),
}

/// How much a program may use.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PresetWord {
    /// Half a processor, 256 MiB, 30 s.
    Low,
    /// One processor, 512 MiB, 60 s.
    #[default]
    Medium,
    /// Two processors, 1 GiB, 120 s.
    High,
    /// Four processors, 2 GiB, 300 s.
    Max,
}

/// Limits of a program.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxResources {
    /// Processors.
    #[schemars(range(min = 0.1, max = 64.0))]
    pub cpu: Option<f64>,
    /// Memory, such as `256m` or `1g`.
    pub memory: Option<String>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

/// A span of time: seconds, or such as `30s`, `5m`, `1h`, `2d`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Duration {
    /// Seconds.
    Seconds(f64),
    /// A number with `ms`, `s`, `m`, `h` or `d`; several may follow each other.
    Text(String),
}

/// When a failed attempt is followed by another.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryFile {
    /// How many attempts follow the first.
    #[schemars(range(min = 0, max = 100))]
    pub max: Option<u32>,
    /// The first delay; each following one is twice as long.
    pub backoff: Option<Duration>,
    /// The longest delay.
    pub max_backoff: Option<Duration>,
}

/// What follows when a wait or a join has lasted too long.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeoutWord {
    /// The node fails.
    Fail,
    /// It completes with what there is.
    Continue,
}

/// A node's own loop.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeLoop {
    /// The field of the state that ends it once it is true.
    pub until: String,
    /// How often the node runs at most.
    #[schemars(range(min = 1, max = 100))]
    pub max_iterations: Option<u32>,
}

/// A name, or several.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One.
    One(String),
    /// Several.
    More(Vec<String>),
}

/// An edge: where it begins, and exactly one of `to`, `routes`, `loop`, `parallel`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EdgeFile {
    /// A node, or `START`.
    pub from: String,
    /// A node or `END`; or a list of at least two nodes, which run side by side.
    pub to: Option<OneOrMore>,
    /// The first whose condition holds.
    pub routes: Option<Vec<RouteFile>>,
    /// Where no route's condition holds.
    pub default: Option<String>,
    /// Back to where it begins, until a field of the state is true.
    pub r#loop: Option<LoopFile>,
    /// Runs a node once for each item of a list; or, as a list of nodes, all of them side by side.
    pub parallel: Option<ParallelFile>,
    /// Where the nodes of a `parallel` list meet.
    pub join: Option<String>,
    /// The edge is taken only if this holds.
    pub condition: Option<ConditionFile>,
}

/// One of several ways.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteFile {
    /// When it is taken; `default` for where no other is.
    pub condition: ConditionFile,
    /// A node, or `END`.
    pub to: String,
}

/// A condition: `state.f == 1`, with `and`, `or`, `not` and parentheses.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConditionFile {
    /// The condition.
    Text(String),
    /// The condition under `logic`.
    Logic(Logic),
}

/// A condition under `logic`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logic {
    /// The condition.
    pub logic: String,
}

/// Back to where the edge begins.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoopFile {
    /// The field of the state that ends it once it is true.
    pub condition_field: String,
    /// How often the node runs at most; 10 without.
    #[schemars(range(min = 1, max = 100))]
    pub max_iterations: Option<u32>,
    /// Where it leads then; `END` without.
    pub exit_to: Option<String>,
}

/// A node for each item of a list, or several nodes side by side.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ParallelFile {
    /// These nodes, side by side.
    Nodes(Vec<String>),
    /// A node for each item.
    Map(MapFile),
}

/// A node for each item of a list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MapFile {
    /// The field of the state with the list.
    pub items_field: String,
    /// The node; it finds the item under the name `item`, and its number under `index`.
    pub target_node: String,
    /// The field that gets the list of outputs, in the order of the items.
    pub collect_field: String,
}

/// Settings of the whole workflow.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The model of every node that names none.
    pub llm: Option<LlmFile>,
    /// Limits of a run.
    pub execution: Option<ExecutionFile>,
    /// Where runs are tracked.
    pub observability: Option<Observability>,
    /// What runs remember.
    pub memory: Option<MemoryFile>,
    /// Where the original keeps its data.
    #[schemars(extend("x-ignored" = "Signpost keeps everything in its own store"))]
    pub storage: Option<Value>,
    /// Thresholds that a run must meet.
    #[schemars(extend("x-ignored" = "Signpost checks no quality gates"))]
    pub gates: Option<Value>,
    /// Variants of prompts.
    #[schemars(extend("x-ignored" = "Signpost runs no A/B tests"))]
    pub ab_test: Option<Value>,
}

/// Limits of a run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExecutionFile {
    /// How long it may take, waiting apart; 120 s without.
    pub timeout: Option<Duration>,
    /// The same as `timeout`, in seconds.
    pub timeout_seconds: Option<Duration>,
    /// How often a failed attempt of a node is followed by another; 3 without.
    #[schemars(range(min = 0, max = 100))]
    pub max_retries: Option<u32>,
}

/// Where runs are tracked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Observability {
    /// Tracking with `MLflow`.
    pub mlflow: Option<Mlflow>,
    /// Logs.
    #[schemars(extend("x-ignored" = "how much is logged is set for the whole server"))]
    pub logging: Option<Value>,
}

/// Tracking with `MLflow`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mlflow {
    /// Whether runs are tracked.
    pub enabled: Option<bool>,
    /// Where.
    pub tracking_uri: Option<String>,
    /// Under which experiment.
    pub experiment_name: Option<String>,
    /// Under which name.
    pub run_name: Option<String>,
    /// Whether prompts are kept.
    pub log_prompts: Option<bool>,
    /// Whether artifacts are kept.
    pub log_artifacts: Option<bool>,
    /// How much of them.
    pub artifact_level: Option<String>,
    /// Whether personal data is left out.
    pub redact_pii: Option<bool>,
    /// Labels.
    pub tags: Option<Map<String, Value>>,
    /// Where the original keeps artifacts.
    pub artifact_location: Option<String>,
    /// For how long runs are kept.
    pub retention_days: Option<f64>,
    /// Whether they are kept without being waited for.
    pub async_logging: Option<bool>,
}

/// How agents work together.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Orchestration {
    /// How long a run may take, waiting apart.
    pub timeout: Option<Duration>,
    /// Whether agents are registered.
    #[schemars(extend("x-ignored" = "Signpost looks for no agents; the nodes do the work"))]
    pub enable_registry: Option<Value>,
    /// How agents are found.
    #[schemars(extend("x-ignored" = "Signpost looks for no agents; the nodes do the work"))]
    pub agent_discovery: Option<Value>,
    /// Whether agents work side by side.
    #[schemars(extend("x-ignored" = "what runs side by side is what the edges fork"))]
    pub parallel_execution: Option<Value>,
    /// How many.
    #[schemars(extend("x-ignored" = "what runs side by side is what the edges fork"))]
    pub max_parallel_agents: Option<Value>,
}

/// What becomes of an execution that would be one too many.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnConflictWord {
    /// It waits for its turn.
    Queue,
    /// The oldest that runs is stopped for it.
    Cancel,
    /// It is not started.
    Skip,
}

/// See [`OnConflictWord`].
pub type OnConflictFile = OnConflictWord;

/// What starts a workflow: exactly one of its keys.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TriggerFile {
    /// A request that a source has verified.
    pub webhook: Option<WebhookTrigger>,
    /// The clock.
    pub schedule: Option<ScheduleTrigger>,
    /// An event.
    pub event: Option<EventTrigger>,
}

/// A request: the name of its source, or more.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum WebhookTrigger {
    /// The source's name.
    Source(String),
    /// The source, and what is taken of it.
    Settings(WebhookTriggerSettings),
}

/// A source, and what is taken of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookTriggerSettings {
    /// The source's name.
    pub source: String,
    /// A jq condition over the payload.
    pub filter: Option<String>,
    /// A jq expression that makes the inputs of the payload.
    pub map: Option<String>,
}

/// A cron expression, or one with a time zone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ScheduleTrigger {
    /// A cron expression of five or six parts.
    Cron(String),
    /// A cron expression with a time zone.
    Settings(ScheduleTriggerSettings),
}

/// A cron expression with a time zone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleTriggerSettings {
    /// A cron expression of five or six parts.
    pub cron: String,
    /// An IANA time zone; `UTC` without.
    pub timezone: Option<String>,
}

/// A pattern, or one with a filter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EventTrigger {
    /// A pattern: `a.b`, `a.*`, `*`.
    Pattern(String),
    /// A pattern with a filter.
    Settings(EventTriggerSettings),
}

/// A pattern with a filter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventTriggerSettings {
    /// A pattern: `a.b`, `a.*`, `*`.
    pub pattern: String,
    /// A jq condition over `{event, data}`.
    pub filter: Option<String>,
    /// A jq expression that makes the inputs of it.
    pub map: Option<String>,
}

/// A webhook that is created with the workflow.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookFile {
    /// Where it goes.
    pub url: String,
    /// What it subscribes to; `workflow.*` without.
    pub events: Option<Vec<String>>,
}
