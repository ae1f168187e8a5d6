//! Nodes: what is common to all kinds. [`super::kinds`] reads what each kind has of its own.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{
    model::{
        ExecutionFile, KindWord, LlmFile, NodeFile, OneOrMore, OutputFieldFile, OutputFile,
        WorkflowFile,
    },
    reader::{Names, Path, Reader, entries, template_text},
    tree::Tree,
    types,
};
use crate::workflow::definition::{
    END, Field, FieldType, Memory, Node, Output, OutputField, Retry, START,
};

/// How long a run may take where a file says nothing, in milliseconds.
const TIMEOUT_MS: u64 = 120_000;
/// How often a failed attempt is followed by another where a file says nothing.
const RETRIES: u32 = 3;
/// The first delay between attempts, in milliseconds.
const BACKOFF_MS: u64 = 1_000;
/// The longest, in milliseconds.
const MAX_BACKOFF_MS: u64 = 60_000;
/// The most units that a node takes of a pool.
const UNITS_MAX: u64 = 1_000_000;
/// The most inputs, outputs or pools of one node.
const PARTS_MAX: usize = 200;

/// What the whole workflow sets for its nodes.
pub struct Settings {
    pub llm: Option<LlmFile>,
    pub timeout_ms: u64,
    pub retries: u32,
    pub memory: Option<Memory>,
    pub observability: Map<String, Value>,
}

/// All nodes.
pub struct Nodes {
    pub read: Vec<Node>,
    /// Whether some node says where its output goes.
    pub outputs_declared: bool,
    /// What nodes say of their ways themselves.
    pub own_ways: Vec<OwnWay>,
}

/// What a node says of its own way.
pub enum OwnWay {
    /// It comes after these.
    Needs {
        node: String,
        names: Vec<String>,
        path: Path,
    },
    /// It runs again until a field is true.
    Loop {
        node: String,
        until: String,
        max_iterations: u32,
        path: Path,
    },
}

impl Reader<'_> {
    /// The settings of the whole workflow.
    pub(super) fn settings(&mut self, file: &WorkflowFile) -> Settings {
        let config_path = Path::root().key("config");
        let config = file.config.as_ref();
        let mut execution = Limits::default();
        if let Some(limits) = config.and_then(|config| config.execution.as_ref()) {
            self.limits(limits, &mut execution, &config_path.key("execution"));
        }
        if let Some(limits) = &file.execution {
            self.limits(limits, &mut execution, &Path::root().key("execution"));
        }
        if let Some(orchestration) = &file.orchestration {
            let path = Path::root().key("orchestration").key("timeout");
            let timeout = self.span_of_time(orchestration.timeout.as_ref(), &path);
            execution.timeout_ms = execution.timeout_ms.or(timeout);
        }
        let llm = config.and_then(|config| config.llm.clone());
        self.check_llm(llm.as_ref(), &config_path.key("llm"));
        self.check_llm(file.llm.as_ref(), &Path::root().key("llm"));
        let memory = config
            .and_then(|config| config.memory.as_ref())
            .or(file.memory.as_ref());
        let memory = memory.and_then(|memory| super::llm::memory(memory, None));
        let observability = [&["config", "observability"][..], &["observability"]]
            .iter()
            .filter_map(|path| path.iter().try_fold(self.tree, |tree, key| tree.get(key)))
            .find_map(|tree| match tree.to_value() {
                Value::Object(map) => Some(map),
                _ => None,
            });
        Settings {
            llm: llm.or_else(|| file.llm.clone()),
            timeout_ms: execution.timeout_ms.unwrap_or(TIMEOUT_MS),
            retries: execution.retries.unwrap_or(RETRIES),
            memory,
            observability: observability.unwrap_or_default(),
        }
    }

    fn limits(&mut self, file: &ExecutionFile, limits: &mut Limits, path: &Path) {
        let timeout = self
            .span_of_time(file.timeout.as_ref(), &path.key("timeout"))
            .or(self.span_of_time(file.timeout_seconds.as_ref(), &path.key("timeout_seconds")));
        limits.timeout_ms = limits.timeout_ms.or(timeout);
        limits.retries = limits.retries.or(file.max_retries);
    }

    /// All nodes.
    pub(super) fn nodes(
        &mut self,
        values: Vec<Value>,
        ids: &[String],
        settings: &Settings,
    ) -> Nodes {
        let mut files = Vec::new();
        let mut seen: HashSet<&str> = HashSet::new();
        for (index, value) in values.into_iter().enumerate() {
            let path = Path::root().key("nodes").index(index);
            let file = self.parse::<NodeFile>(value, &path);
            if let Some(id) = ids.get(index) {
                self.node_id(id, &mut seen, &path);
            }
            files.extend(file.map(|file| (index, file)));
        }
        let mut nodes = Nodes {
            read: Vec::new(),
            outputs_declared: files.iter().any(|(_, file)| file.outputs.is_some()),
            own_ways: Vec::new(),
        };
        self.implied_fields(&files, ids);
        for (index, mut file) in files {
            let path = Path::root().key("nodes").index(index);
            let id = ids.get(index).cloned().unwrap_or_default();
            take_ways(&mut file, &id, &path, &mut nodes.own_ways);
            let node = self.node(id, file, settings, &path);
            self.whole &= node.is_some();
            nodes.read.extend(node);
        }
        nodes
    }

    fn node_id<'i>(&mut self, id: &'i str, seen: &mut HashSet<&'i str>, path: &Path) {
        let key = if self.tree.span_of(&path.key("id").0, false) == self.span(path) {
            "name"
        } else {
            "id"
        };
        if id.is_empty() {
            let word = if self.loose { "name" } else { "id" };
            self.whole = false;
            let message = format!("the node has no `{word}`");
            self.error("key.missing", message, path);
        } else if id == START || id == END {
            let message = format!("`{id}` is where every workflow begins or ends, no node");
            self.error("name.reserved", message, &path.key(key));
        } else if !seen.insert(id) {
            let message = format!("there are two nodes `{id}`");
            self.whole = false;
            self.error("name.duplicate", message, &path.key(key)).help =
                Some("rename one of them".to_owned());
        } else {
            self.identifier(id, &path.key(key));
        }
    }

    /// In the loose dialect, a node without outputs puts its text under its own name.
    fn implied_fields(&mut self, files: &[(usize, NodeFile)], ids: &[String]) {
        for (index, file) in files {
            let Some(id) = ids.get(*index) else { continue };
            let implied = self.loose && has_text(file) && file.outputs.is_none();
            if implied && !self.state.iter().any(|field| field.name == *id) {
                self.state.push(Field {
                    name: id.clone(),
                    kind: FieldType::Str,
                    required: false,
                    default: None,
                    description: format!("What `{id}` answered."),
                });
            }
        }
    }

    fn node(
        &mut self,
        id: String,
        mut file: NodeFile,
        settings: &Settings,
        path: &Path,
    ) -> Option<Node> {
        let kind = kind_of(&file);
        let kind_known = file.kind.is_some() || self.part(&path.key("kind")).is_none();
        if kind_known {
            self.misplaced(kind, path);
        }
        let inputs = self.inputs(file.inputs.take(), &id, path);
        let mut outputs = file.outputs.take();
        if outputs.is_none() && self.loose && has_text(&file) {
            outputs = Some(vec![id.clone()]);
        }
        let outputs = self.outputs(outputs.unwrap_or_default(), path);
        let timeout = self
            .span_of_time(file.timeout.as_ref(), &path.key("timeout"))
            .or(self.span_of_time(file.timeout_seconds.as_ref(), &path.key("timeout_seconds")));
        let retry = self.retry(kind, &file, settings, path);
        let resources = self.resources(file.resources.take(), path);
        if let Some(when) = &file.when {
            self.condition(when, &path.key("when"));
        }
        let milestone = match &file.milestone {
            Some(name) => self.short(name, &path.key("milestone")),
            None => None,
        };
        let when = file.when.take();
        let label = file.name.take().filter(|name| *name != id);
        let description = file.description.take().or(label).unwrap_or_default();
        let mut names: Vec<&str> = inputs.iter().map(|(name, _)| name.as_str()).collect();
        names.extend(self.item_names(&id));
        let names = Names { inputs: names };
        if !kind_known {
            return None;
        }
        let (kind, own_timeout) =
            self.kind(kind, file, &outputs, timeout, settings, &names, path)?;
        Some(Node {
            id,
            description,
            kind,
            timeout_ms: timeout.unwrap_or(own_timeout),
            retry,
            resources,
            milestone,
            when,
            line: self.span(path).line.max(1),
            outputs,
            inputs,
        })
    }

    fn inputs(
        &mut self,
        inputs: Option<Map<String, Value>>,
        id: &str,
        path: &Path,
    ) -> Vec<(String, String)> {
        let path = path.key("inputs");
        let names = Names {
            inputs: self.item_names(id).to_vec(),
        };
        let mut read = Vec::new();
        for (name, value) in entries(inputs) {
            let path = path.key(&name);
            self.identifier_key(&name, &path);
            let tree = self.part(&path);
            if let Some(text) = template_text(tree, &value) {
                self.template(&text, &names, &path);
                read.push((name, text));
            } else {
                let message = format!("the input `{name}` is a template, which is a text");
                self.error("shape.type", message, &path).help =
                    Some("write such as `\"{topic}\"`".to_owned());
            }
        }
        self.few(read.len(), &path);
        read
    }

    /// What a node that runs over a list finds beside its inputs.
    fn item_names(&self, id: &str) -> &'static [&'static str] {
        let edges = self.tree.get("edges").map(Tree::items).unwrap_or_default();
        let mut maps = edges
            .iter()
            .filter_map(|edge| edge.get("parallel")?.get("target_node")?.raw());
        if maps.any(|target| target == id) {
            &["item", "index"]
        } else {
            &[]
        }
    }

    /// The part of the tree at a path.
    pub(super) fn part(&self, path: &Path) -> Option<&Tree> {
        path.0.iter().try_fold(self.tree, |tree, step| match step {
            super::tree::Step::Key(key) => tree.get(key),
            super::tree::Step::Index(index) => tree.items().get(*index),
        })
    }

    fn few(&mut self, count: usize, path: &Path) {
        if count > PARTS_MAX {
            let message = format!("at most {PARTS_MAX} are taken here");
            self.error("value.too_many", message, path);
        }
    }

    fn outputs(&mut self, outputs: Vec<String>, path: &Path) -> Vec<String> {
        let path = path.key("outputs");
        for (index, name) in outputs.iter().enumerate() {
            let path = path.index(index);
            if outputs[..index].contains(name) {
                let message = format!("the output `{name}` is here twice");
                self.error("name.duplicate", message, &path);
            } else if self.state_known && !self.state.iter().any(|field| field.name == *name) {
                let fields: Vec<String> =
                    self.state.iter().map(|field| field.name.clone()).collect();
                let known = fields.iter().map(String::as_str);
                self.unknown(
                    "state.unknown",
                    "field of the state called",
                    name,
                    known,
                    &path,
                );
            }
        }
        self.few(outputs.len(), &path);
        outputs
    }

    fn retry(
        &mut self,
        kind: KindWord,
        file: &NodeFile,
        settings: &Settings,
        path: &Path,
    ) -> Retry {
        let is_outside = matches!(kind, KindWord::Llm | KindWord::Agent | KindWord::Http);
        let usual = if is_outside { settings.retries } else { 0 };
        let path = path.key("retry");
        let retry = file.retry.as_ref();
        let backoff = self.span_of_time(
            retry.and_then(|retry| retry.backoff.as_ref()),
            &path.key("backoff"),
        );
        let max_backoff = self.span_of_time(
            retry.and_then(|retry| retry.max_backoff.as_ref()),
            &path.key("max_backoff"),
        );
        let backoff_ms = backoff.unwrap_or(BACKOFF_MS);
        Retry {
            max: match retry {
                Some(retry) => retry.max.unwrap_or(settings.retries),
                None => usual,
            },
            backoff_ms,
            max_backoff_ms: max_backoff.unwrap_or(MAX_BACKOFF_MS.max(backoff_ms)),
        }
    }

    fn resources(
        &mut self,
        resources: Option<Map<String, Value>>,
        path: &Path,
    ) -> Vec<(String, u32)> {
        let path = path.key("resources");
        let mut read = Vec::new();
        for (pool, units) in entries(resources) {
            let path = path.key(&pool);
            self.short(&pool, &path);
            if let Some(units @ 1..=UNITS_MAX) = units.as_u64() {
                read.push((pool, u32::try_from(units).unwrap_or(u32::MAX)));
            } else {
                let message = format!("of `{pool}` a node takes 1 to {UNITS_MAX} units");
                self.error("shape.range", message, &path);
            }
        }
        self.few(read.len(), &path);
        read
    }

    /// What a node must answer, held to where it goes.
    pub(super) fn output(
        &mut self,
        schema: Option<OutputFile>,
        outputs: &[String],
        node: &Path,
    ) -> Option<Output> {
        let path = node.key("output_schema");
        let schema = schema?;
        let single = schema.fields.is_none();
        if schema.kind != "object" && !single {
            let message = format!(
                "`fields` belong to `type: object`, not to `{}`",
                schema.kind
            );
            self.error("output.fields", message, &path.key("fields"));
            return None;
        }
        if single {
            let kind = self.field_type(&schema.kind, schema.schema.as_ref(), &path)?;
            return if let [name] = outputs {
                self.fits(name, &kind, &path.key("type"));
                Some(Output::Value(kind))
            } else {
                let message = format!(
                    "the answer is one value (`{}`) and has {} outputs; it goes to exactly one",
                    schema.kind,
                    outputs.len()
                );
                self.error("output.count", message, &node.key("outputs"))
                    .help = Some("for several, write `type: object` and `fields`".to_owned());
                None
            };
        }
        let fields = self.output_fields(schema.fields.unwrap_or_default(), &path.key("fields"))?;
        for name in outputs {
            if !fields.iter().any(|field| field.name == *name) {
                let message = format!("the output `{name}` is no field of `output_schema`");
                let at = outputs.iter().position(|other| other == name).unwrap_or(0);
                self.error(
                    "output.missing_field",
                    message,
                    &node.key("outputs").index(at),
                )
                .help = Some(format!(
                    "add `- {{name: {name}, type: …}}` to `output_schema.fields`"
                ));
            }
        }
        for (index, field) in fields.iter().enumerate() {
            let path = path.key("fields").index(index);
            if outputs.contains(&field.name) {
                self.fits(&field.name, &field.kind, &path.key("type"));
            } else {
                let message = format!("the field `{}` is no output", field.name);
                self.error("output.extra_field", message, &path.key("name"))
                    .help = Some(format!(
                    "add `{}` to `outputs`, or remove the field",
                    field.name
                ));
            }
        }
        Some(Output::Fields(fields))
    }

    fn output_fields(
        &mut self,
        files: Vec<OutputFieldFile>,
        path: &Path,
    ) -> Option<Vec<OutputField>> {
        if files.is_empty() {
            self.error("output.fields", "the answer has no fields", path);
            return None;
        }
        let mut fields: Vec<OutputField> = Vec::new();
        let mut complete = true;
        for (index, file) in files.into_iter().enumerate() {
            let path = path.index(index);
            if fields.iter().any(|other| other.name == file.name) {
                let message = format!("the field `{}` is here twice", file.name);
                self.error("name.duplicate", message, &path.key("name"));
            }
            let kind = match file.fields {
                Some(inner) if file.kind == "object" => self
                    .output_fields(inner, &path.key("fields"))
                    .map(|inner| {
                        inner
                            .into_iter()
                            .map(|field| (field.name, field.kind))
                            .collect()
                    })
                    .map(FieldType::Object),
                _ => self.field_type(&file.kind, file.schema.as_ref(), &path),
            };
            complete &= kind.is_some();
            fields.extend(kind.map(|kind| OutputField {
                name: file.name,
                kind,
                description: file.description.unwrap_or_default(),
            }));
        }
        complete.then_some(fields)
    }

    /// Whether a value of this type may go to the field.
    pub(super) fn fits(&mut self, field: &str, kind: &FieldType, path: &Path) {
        let Some(wanted) = self.state.iter().find(|known| known.name == field) else {
            return;
        };
        if types::fits(kind, &wanted.kind) || self.untyped.contains(field) {
            return;
        }
        let wanted = types::written(&wanted.kind);
        let given = types::written(kind);
        let message = if wanted == given {
            format!("`{field}` is an object with other fields in the state")
        } else {
            format!("`{field}` is `{wanted}` in the state, not `{given}`")
        };
        self.error("output.type", message, path);
    }
}

#[derive(Default)]
struct Limits {
    timeout_ms: Option<u64>,
    retries: Option<u32>,
}

/// What a node does.
fn kind_of(file: &NodeFile) -> KindWord {
    match file.kind {
        None | Some(KindWord::Llm) if file.code.is_some() => KindWord::Code,
        None => KindWord::Llm,
        Some(kind) => kind,
    }
}

/// Whether a node's output is a text that goes under its own name in the loose dialect.
fn has_text(file: &NodeFile) -> bool {
    matches!(kind_of(file), KindWord::Llm | KindWord::Agent) && file.output_schema.is_none()
}

fn take_ways(file: &mut NodeFile, id: &str, path: &Path, ways: &mut Vec<OwnWay>) {
    if let Some(needs) = file.needs.take() {
        let names = match needs {
            OneOrMore::One(name) => vec![name],
            OneOrMore::More(names) => names,
        };
        ways.push(OwnWay::Needs {
            node: id.to_owned(),
            names,
            path: path.key("needs"),
        });
    }
    if let Some(own) = file.r#loop.take() {
        ways.push(OwnWay::Loop {
            node: id.to_owned(),
            until: own.until,
            max_iterations: own.max_iterations.unwrap_or(super::edges::ITERATIONS),
            path: path.key("loop"),
        });
    }
}
