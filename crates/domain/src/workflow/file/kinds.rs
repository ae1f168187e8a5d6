//! What each kind of node has of its own.

use serde_json::{Map, Value};

use super::{
    model::{KindWord, Network, NodeFile, OnTimeoutWord, PresetWord, Sandbox},
    nodes::Settings,
    reader::{Names, Path, Reader, entries, template_text},
    span_of_time::MS_MAX,
    tree::Node as TreeNode,
};
use crate::{
    event::EventType,
    jq::Expression,
    workflow::definition::{
        CodeNode, FieldType, HttpNode, Llm, LlmNode, NodeKind, OnTimeout, WaitFor,
    },
};

/// How long a request may take where a file says nothing, in milliseconds.
const HTTP_MS: u64 = 30_000;
/// How long what happens within Signpost may take where a file says nothing, in milliseconds.
const INSIDE_MS: u64 = 30_000;
/// The least and the most memory of a program, in MiB.
const MEMORY_MIB: std::ops::RangeInclusive<u64> = 16..=16_384;
/// The methods of requests.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];

/// Which kinds act on which key; those that are not here act on all.
const KEYS: [(&str, &[KindWord]); 25] = {
    use KindWord::{Agent, Code, Emit, Http, Join, Llm, Transform, Wait, Workflow};
    [
        ("prompt", &[Llm, Agent]),
        ("output_schema", &[Llm, Code]),
        ("tools", &[Llm]),
        ("memory", &[Llm]),
        ("llm", &[Llm]),
        ("code", &[Code]),
        ("sandbox", &[Code]),
        ("method", &[Http]),
        ("url", &[Http]),
        ("headers", &[Http]),
        ("body", &[Http]),
        ("accept", &[Http]),
        ("jq", &[Transform]),
        ("event", &[Emit]),
        ("data", &[Emit]),
        ("workflow", &[Workflow]),
        ("wait", &[Workflow]),
        ("duration", &[Wait]),
        ("until", &[Wait]),
        ("approval", &[Wait]),
        ("callback", &[Wait]),
        ("required", &[Join]),
        ("on_timeout", &[Wait, Join]),
        ("agent", &[Agent]),
        (
            "retry",
            &[Llm, Code, Http, Transform, Emit, Workflow, Agent],
        ),
    ]
};

/// A node as its kind reads it, and how long it may take if it does not say.
type Read = Option<(NodeKind, u64)>;

impl Reader<'_> {
    /// Warns of keys that a node of this kind does not act on.
    pub(super) fn misplaced(&mut self, kind: KindWord, path: &Path) {
        let Some(tree) = self.part(path) else { return };
        let TreeNode::Mapping(entries) = &tree.node else {
            return;
        };
        let keys: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        for (key, kinds) in KEYS {
            if kinds.contains(&kind) || !keys.iter().any(|given| given == key) {
                continue;
            }
            let listed: Vec<String> = kinds
                .iter()
                .map(|kind| format!("`{}`", word(*kind)))
                .collect();
            let message = format!(
                "`{key}` has no effect on a node of kind `{}`: it belongs to {}",
                word(kind),
                listed.join(", ")
            );
            let span = self.tree.span_of(&path.key(key).0, true);
            self.warning("key.ignored", message, &path.key(key)).span = span;
        }
    }

    /// Reads what a node of this kind does.
    #[expect(clippy::too_many_arguments, reason = "the parts of one node")]
    pub(super) fn kind(
        &mut self,
        kind: KindWord,
        file: NodeFile,
        outputs: &[String],
        timeout: Option<u64>,
        settings: &Settings,
        names: &Names<'_>,
        path: &Path,
    ) -> Read {
        match kind {
            KindWord::Llm => self.llm_node(file, outputs, settings, names, path),
            KindWord::Code => self.code_node(file, outputs, path),
            KindWord::Http => self.http_node(file, settings, names, path),
            KindWord::Transform => {
                let jq = self.needed(file.jq, "jq", path)?;
                self.jq(&jq, &path.key("jq"));
                Some((NodeKind::Transform { jq }, INSIDE_MS))
            }
            KindWord::Emit => self.emit_node(file, names, path),
            KindWord::Workflow => {
                let workflow = self.needed(file.workflow, "workflow", path)?;
                self.template(&workflow, names, &path.key("workflow"));
                let wait = file.wait.unwrap_or(true);
                Some((NodeKind::Workflow { workflow, wait }, MS_MAX))
            }
            KindWord::Wait => self.wait_node(&file, outputs, timeout, names, path),
            KindWord::Join => {
                let join = NodeKind::Join {
                    required: file.required,
                    timeout_ms: timeout,
                    on_timeout: on_timeout(file.on_timeout),
                };
                Some((join, MS_MAX))
            }
            KindWord::Agent => {
                let agent = self.needed(file.agent, "agent", path);
                let prompt = self.prompt(file.prompt, names, path);
                let agent = self.short(&agent?, &path.key("agent"))?;
                let prompt = prompt?;
                let message = "no agents can be registered yet: this node will fail";
                self.warning("node.agent", message, path);
                Some((NodeKind::Agent { agent, prompt }, settings.timeout_ms))
            }
        }
    }

    /// A key that a node of its kind must have.
    fn needed<T>(&mut self, value: Option<T>, key: &str, path: &Path) -> Option<T> {
        if value.is_none() && self.part(&path.key(key)).is_none() {
            let message = format!("the node has no `{key}`");
            self.error("key.missing", message, path);
        }
        value
    }

    fn prompt(&mut self, prompt: Option<String>, names: &Names<'_>, path: &Path) -> Option<String> {
        if prompt.is_none() {
            let guess = KEYS.iter().find_map(|(key, kinds)| match kinds {
                [kind] if !matches!(kind, KindWord::Llm | KindWord::Agent) => {
                    self.part(&path.key(key)).map(|_| word(*kind))
                }
                _ => None,
            });
            let before = self.found.len();
            self.needed(prompt.as_ref(), "prompt", path);
            if let Some(diagnostic) = self.found.get_mut(before) {
                diagnostic.help = Some(match guess {
                    Some(kind) => format!("is `kind: {kind}` missing?"),
                    None => "a node without `kind` asks a model; other kinds are `code`, `http`, `transform`, `emit`, `workflow`, `wait`, `join`, `agent`".to_owned(),
                });
            }
            return None;
        }
        let prompt = prompt?;
        self.template(&prompt, names, &path.key("prompt"));
        Some(prompt)
    }

    fn llm_node(
        &mut self,
        file: NodeFile,
        outputs: &[String],
        settings: &Settings,
        names: &Names<'_>,
        path: &Path,
    ) -> Read {
        let prompt = self.prompt(file.prompt, names, path);
        let llm_path = path.key("llm");
        self.check_llm(file.llm.as_ref(), &llm_path);
        let llm: Llm = self.llm(file.llm.as_ref(), settings.llm.as_ref(), &llm_path);
        let tools = self.tools(file.tools, &path.key("tools"));
        let memory = super::llm::node_memory(file.memory, settings.memory.as_ref());
        if memory.is_some() {
            let message =
                "runs remember nothing of each other yet: the node sees what its prompt says";
            self.warning("key.ignored", message, &path.key("memory"));
        }
        let declared =
            file.output_schema.is_some() || self.part(&path.key("output_schema")).is_some();
        if outputs.is_empty()
            && self
                .part(&path.key("outputs"))
                .is_none_or(|part| part.items().is_empty())
        {
            let message = "the node has no `outputs`: its answer would be lost";
            self.error("key.missing", message, path).help =
                Some("name the fields of the state that the answer goes to".to_owned());
        }
        if !declared && (!self.loose || outputs.len() > 1) {
            let message =
                "the node has no `output_schema`: nothing says what the model must answer";
            self.error("key.missing", message, path).help =
                Some("write such as `output_schema: {type: str}`".to_owned());
        }
        let output = self.output(file.output_schema, outputs, path);
        let node = LlmNode {
            prompt: prompt?,
            llm,
            tools,
            output,
            memory,
        };
        Some((NodeKind::Llm(node), settings.timeout_ms))
    }

    fn code_node(&mut self, file: NodeFile, outputs: &[String], path: &Path) -> Read {
        let code = self.needed(file.code, "code", path);
        let output = self.output(file.output_schema, outputs, path);
        let limits = self.sandbox(file.sandbox.unwrap_or_default(), &path.key("sandbox"));
        let node = CodeNode {
            code: code?,
            output,
            network: limits.network,
            memory_mib: limits.memory_mib,
            cpu_ms: limits.cpu_ms,
        };
        Some((NodeKind::Code(node), limits.timeout_ms))
    }

    fn sandbox(&mut self, file: Sandbox, path: &Path) -> SandboxLimits {
        match file.mode.as_deref() {
            None | Some("python") => {}
            Some("docker") => {
                let message = "`docker` is not used: the program runs in a Python process of its own, kept apart by the operating system";
                self.warning("key.ignored", message, &path.key("mode"));
            }
            Some(other) => {
                let message = format!(
                    "`mode` is `python` or `docker`, not `{}`",
                    super::tree::cut(other)
                );
                self.error("shape.word", message, &path.key("mode"));
            }
        }
        if file.enabled == Some(false) {
            let message = "a program is always kept apart: `enabled: false` has no effect";
            self.warning("key.ignored", message, &path.key("enabled"));
        }
        let network = match file.network {
            None | Some(Network::Switch(false)) => false,
            Some(Network::Switch(true)) => true,
            Some(Network::Settings(_)) => {
                let message = "`network` is `true` or `false`; settings are not understood, and the network stays off";
                self.warning("key.ignored", message, &path.key("network"));
                false
            }
        };
        let (cpus, mut memory_mib, seconds) = match file.preset.unwrap_or_default() {
            PresetWord::Low => (0.5, 256, 30),
            PresetWord::Medium => (1.0, 512, 60),
            PresetWord::High => (2.0, 1024, 120),
            PresetWord::Max => (4.0, 2048, 300),
        };
        let resources_path = path.key("resources");
        let resources = file.resources.unwrap_or_default();
        if let Some(memory) = &resources.memory {
            if let Some(mib) = mebibytes(memory) {
                memory_mib = mib;
            } else {
                let message = format!(
                    "`memory` is such as `256m` or `1g`, between {} and {} MiB",
                    MEMORY_MIB.start(),
                    MEMORY_MIB.end()
                );
                self.error("value.memory", message, &resources_path.key("memory"));
            }
        }
        let own = self.span_of_time(resources.timeout.as_ref(), &resources_path.key("timeout"));
        let outer = self.span_of_time(file.timeout.as_ref(), &path.key("timeout"));
        let timeout_ms = outer.or(own).unwrap_or(seconds * 1_000);
        let cpus = resources.cpu.unwrap_or(cpus);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "at most 64 times 366 days of milliseconds, positive"
        )]
        let cpu_ms = (timeout_ms as f64 * cpus).ceil() as u64;
        SandboxLimits {
            network,
            memory_mib,
            cpu_ms: cpu_ms.max(1),
            timeout_ms,
        }
    }

    fn http_node(
        &mut self,
        file: NodeFile,
        settings: &Settings,
        names: &Names<'_>,
        path: &Path,
    ) -> Read {
        let url = self.needed(file.url, "url", path);
        if let Some(url) = &url {
            self.template(url, names, &path.key("url"));
            if !url.contains('{') && !is_http(url) {
                let message = "`url` is an address that begins with http:// or https://";
                self.error("value.url", message, &path.key("url"));
            }
        }
        let usual = if file.body.is_some() { "POST" } else { "GET" };
        let method = file
            .method
            .unwrap_or_else(|| usual.to_owned())
            .to_ascii_uppercase();
        if !METHODS.contains(&method.as_str()) {
            let message = format!("`method` is one of {}", METHODS.join(", "));
            self.error("shape.word", message, &path.key("method"));
        }
        let headers = self.headers(file.headers, names, &path.key("headers"));
        if let Some(body) = &file.body {
            self.templates(body, names, &path.key("body"));
        }
        let accept = file.accept.unwrap_or_default();
        for (index, status) in accept.iter().enumerate() {
            if !(100..=599).contains(status) {
                let message = format!("a status is between 100 and 599, not {status}");
                self.error("shape.range", message, &path.key("accept").index(index));
            }
        }
        let node = HttpNode {
            method,
            url: url?,
            headers,
            body: file.body,
            accept,
        };
        Some((NodeKind::Http(node), HTTP_MS.min(settings.timeout_ms)))
    }

    fn headers(
        &mut self,
        headers: Option<Map<String, Value>>,
        names: &Names<'_>,
        path: &Path,
    ) -> Vec<(String, String)> {
        let mut read = Vec::new();
        for (name, value) in entries(headers) {
            let path = path.key(&name);
            let is_token = !name.is_empty()
                && name.len() <= 128
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
            if !is_token {
                self.error("value.header", "this is no name of a header", &path);
            }
            match template_text(self.part(&path), &value) {
                Some(text) if text.contains(['\r', '\n']) => {
                    let message = format!("the header `{name}` has a line break");
                    self.error("value.header", message, &path);
                }
                Some(text) => {
                    self.template(&text, names, &path);
                    read.push((name, text));
                }
                None => {
                    let message = format!("the header `{name}` is a text");
                    self.error("shape.type", message, &path);
                }
            }
        }
        read
    }

    fn emit_node(&mut self, file: NodeFile, names: &Names<'_>, path: &Path) -> Read {
        let event = self.needed(file.event, "event", path);
        if let Some(event) = &event {
            self.template(event, names, &path.key("event"));
            if !event.contains('{')
                && let Err(error) = EventType::parse(event)
            {
                self.error("value.event", error.to_string(), &path.key("event"));
            }
        }
        if let Some(data) = &file.data {
            self.templates(data, names, &path.key("data"));
        }
        let emit = NodeKind::Emit {
            event: event?,
            data: file.data,
        };
        Some((emit, INSIDE_MS))
    }

    fn wait_node(
        &mut self,
        file: &NodeFile,
        outputs: &[String],
        timeout_ms: Option<u64>,
        names: &Names<'_>,
        path: &Path,
    ) -> Read {
        let given = [
            file.duration.is_some(),
            file.until.is_some(),
            file.approval.is_some(),
            file.callback == Some(true),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            let message =
                "a `wait` has exactly one of `duration`, `until`, `approval`, `callback: true`";
            self.error("wait.what", message, path);
            return None;
        }
        let on_timeout = on_timeout(file.on_timeout);
        let wait = if let Some(duration) = &file.duration {
            WaitFor::Duration {
                ms: self.span_of_time(Some(duration), &path.key("duration"))?,
            }
        } else if let Some(time) = &file.until {
            self.template(time, names, &path.key("until"));
            WaitFor::Until { time: time.clone() }
        } else if let Some(message) = &file.approval {
            self.template(message, names, &path.key("approval"));
            self.approval_outputs(outputs, &path.key("outputs"));
            WaitFor::Approval {
                message: message.clone(),
                timeout_ms,
                on_timeout,
            }
        } else {
            WaitFor::Callback {
                timeout_ms,
                on_timeout,
            }
        };
        Some((NodeKind::Wait(wait), MS_MAX))
    }

    /// Holds where an approval's answer goes to what it has.
    fn approval_outputs(&mut self, outputs: &[String], path: &Path) {
        let kind_of = |name: &str| match name {
            "approved" => Some(FieldType::Bool),
            "by" | "comment" => Some(FieldType::Str),
            _ => None,
        };
        for (index, name) in outputs.iter().enumerate() {
            let path = path.index(index);
            if let Some(kind) = kind_of(name) {
                self.fits(name, &kind, &path);
            } else {
                let message = format!("an approval's answer has no field `{name}`");
                self.error("output.missing_field", message, &path).help =
                    Some("it has `approved` (bool), `by` (str) and `comment` (str)".to_owned());
            }
        }
    }

    /// Checks a jq expression.
    pub(super) fn jq(&mut self, text: &str, path: &Path) {
        if let Err(error) = Expression::parse(text) {
            let message = format!("this is no jq expression: {}", error.message);
            self.error("jq.syntax", message, path);
        }
    }
}

struct SandboxLimits {
    network: bool,
    memory_mib: u32,
    cpu_ms: u64,
    timeout_ms: u64,
}

/// Whether a text is an address of an HTTP server.
pub fn is_http(text: &str) -> bool {
    url::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn on_timeout(word: Option<OnTimeoutWord>) -> OnTimeout {
    match word {
        None | Some(OnTimeoutWord::Fail) => OnTimeout::Fail,
        Some(OnTimeoutWord::Continue) => OnTimeout::Continue,
    }
}

/// `256m`, `1g`, `512MiB` in MiB.
fn mebibytes(text: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let mib = match text[digits..].trim() {
        "m" | "mb" | "mib" => number,
        "g" | "gb" | "gib" => number.checked_mul(1024)?,
        "k" | "kb" | "kib" => number / 1024,
        _ => return None,
    };
    MEMORY_MIB
        .contains(&mib)
        .then(|| u32::try_from(mib).ok())
        .flatten()
}

const fn word(kind: KindWord) -> &'static str {
    match kind {
        KindWord::Llm => "llm",
        KindWord::Code => "code",
        KindWord::Http => "http",
        KindWord::Transform => "transform",
        KindWord::Emit => "emit",
        KindWord::Workflow => "workflow",
        KindWord::Wait => "wait",
        KindWord::Join => "join",
        KindWord::Agent => "agent",
    }
}
