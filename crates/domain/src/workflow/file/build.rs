//! The whole of a file: titles, state, settings, and what the other parts make of theirs.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{
    model::{FieldFile, OnConflictWord, Property, State, WorkflowFile},
    reader::{Path, Reader},
    tree::Node as TreeNode,
    types,
};
use crate::workflow::definition::{Definition, Field, FieldType, NODES_MAX, OnConflict};

/// The most fields of a state.
const FIELDS_MAX: usize = 500;

struct Titles {
    name: String,
    description: String,
    version: String,
}

impl Reader<'_> {
    /// The definition, complete only if nothing was refused.
    pub fn definition(&mut self, name: Option<&str>) -> Option<Definition> {
        let mut file = self.file()?;
        self.dialect(&file);
        let titles = self.titles(&file, name);
        self.read_state(file.state.take());
        let settings = self.settings(&file);
        let triggers = self.triggers(file.triggers.take());
        let webhooks = self.webhooks(file.webhooks.take());
        let ids = self.node_ids();
        let nodes = self.nodes(std::mem::take(&mut file.nodes), &ids, &settings);
        let ways = self.ways(file.edges.take(), &ids, nodes.own_ways);
        self.check_ways(&ids, &ways);
        let titles = titles?;
        Some(Definition {
            name: titles.name,
            description: titles.description,
            version: titles.version,
            state: std::mem::take(&mut self.state),
            nodes: nodes.read,
            edges: ways.into_iter().map(|way| way.edge).collect(),
            timeout_ms: settings.timeout_ms,
            concurrency: file.concurrency,
            on_conflict: on_conflict(file.on_conflict),
            triggers,
            webhooks,
            memory: settings.memory,
            observability: settings.observability,
            result_is_last_output: self.loose && !nodes.outputs_declared,
        })
    }

    fn dialect(&mut self, file: &WorkflowFile) {
        let path = Path::root().key("schema_version");
        match self.raw(&["schema_version"]) {
            Some("1.0") => {}
            Some(other) => {
                let message = format!("`schema_version` is \"1.0\", not `{other}`");
                self.error("value.schema_version", message, &path);
            }
            None if self.loose => {}
            None => {
                let message = "the file has no `schema_version`";
                self.error("key.missing", message, &Path::root().key("flow"))
                    .help = Some("write `schema_version: \"1.0\"` at the top".to_owned());
            }
        }
        if self.loose {
            return;
        }
        let loose_keys = [
            ("name", file.name.is_some(), "flow.name"),
            (
                "description",
                file.description.is_some(),
                "flow.description",
            ),
            ("version", file.version.is_some(), "flow.version"),
            ("llm", file.llm.is_some(), "config.llm"),
            ("execution", file.execution.is_some(), "config.execution"),
            (
                "observability",
                file.observability.is_some(),
                "config.observability",
            ),
        ];
        for (key, is_here, place) in loose_keys {
            if is_here {
                let message = format!("with `schema_version`, `{key}` belongs to `{place}`");
                self.error("key.misplaced", message, &Path::root().key(key));
            }
        }
    }

    fn titles(&mut self, file: &WorkflowFile, given: Option<&str>) -> Option<Titles> {
        let flow = file.flow.as_ref();
        let (base, name, description) = if self.loose {
            (Path::root(), &file.name, &file.description)
        } else {
            (
                Path::root().key("flow"),
                &flow.map(|flow| flow.name.clone()),
                &flow.and_then(|flow| flow.description.clone()),
            )
        };
        let name = match (given, name) {
            (Some(given), _) => self.short(given, &Path::root()),
            (None, Some(name)) => self.short(name, &base.key("name")),
            (None, None) => {
                if !self.refused() || self.tree.get("flow").is_none() {
                    let (message, help) = if self.loose {
                        (
                            "the workflow has no name",
                            "write `schema_version: \"1.0\"` and `flow: {name: …}`, or `name: …`",
                        )
                    } else {
                        ("the workflow has no name", "write `flow: {name: …}`")
                    };
                    self.error("key.missing", message, &base).help = Some(help.to_owned());
                }
                None
            }
        };
        let keys: &[&str] = if self.loose {
            &["version"]
        } else {
            &["flow", "version"]
        };
        let version = self.raw(keys).unwrap_or("1.0.0").trim().to_owned();
        let version = self.short(&version, &base.key("version"));
        Some(Titles {
            name: name?,
            description: description.clone().unwrap_or_default(),
            version: version?,
        })
    }

    fn read_state(&mut self, state: Option<State>) {
        let Some(state) = state else { return };
        let path = Path::root().key("state");
        if state.fields.is_some() && state.properties.is_some() {
            let message = "a state has `fields`, or `type: object` and `properties`, not both";
            self.error("key.misplaced", message, &path);
        }
        let required: HashSet<String> = state.required.into_iter().flatten().collect();
        for (name, value) in state.fields.into_iter().flatten() {
            let path = path.key("fields").key(&name);
            self.field(&name, value, &path);
        }
        let properties = state.properties.unwrap_or_default();
        for name in required
            .iter()
            .filter(|name| !properties.contains_key(*name))
        {
            let known = properties.keys().map(String::as_str);
            self.unknown(
                "state.unknown",
                "property",
                name,
                known,
                &path.key("required"),
            );
        }
        for (name, value) in properties {
            let path = path.key("properties").key(&name);
            let is_required = required.contains(&name);
            self.property(&name, value, is_required, &path);
        }
        if self.state.len() > FIELDS_MAX {
            let message = format!("a state has at most {FIELDS_MAX} fields");
            self.error("value.too_many", message, &path);
        }
    }

    fn field(&mut self, name: &str, value: Value, path: &Path) {
        let Some(field) = self.parse::<FieldFile>(value, path) else {
            return self.untyped_field(name);
        };
        let named = self.identifier_key(name, path);
        if field.required && field.default.is_some() {
            self.error(
                "state.required_default",
                format!("`{name}` is required and has a default: it never gets the default"),
                &path.key("default"),
            )
            .help = Some("remove one of `required` and `default`".to_owned());
        }
        let Some(kind) = self.field_type(&field.kind, field.schema.as_ref(), path) else {
            return self.untyped_field(name);
        };
        self.push_field(
            named,
            name,
            kind,
            field.required,
            field.default,
            field.description,
            path,
        );
    }

    /// A field whose type could not be read: its name is known, so that what uses it is right.
    fn untyped_field(&mut self, name: &str) {
        self.untyped.insert(name.to_owned());
        self.state.push(Field {
            name: name.to_owned(),
            kind: FieldType::Dict,
            required: false,
            default: None,
            description: String::new(),
        });
    }

    /// The type that stands under `type` at this path.
    pub(super) fn field_type(
        &mut self,
        kind: &str,
        schema: Option<&Map<String, Value>>,
        path: &Path,
    ) -> Option<FieldType> {
        match types::read(kind, schema) {
            Ok(read) => Some(read),
            Err(error) => {
                self.error("type.unknown", error.message, &path.key("type"))
                    .help = error.help;
                None
            }
        }
    }

    fn property(&mut self, name: &str, value: Value, required: bool, path: &Path) {
        let kind = types::property(&value);
        let Some(property) = self.parse::<Property>(value, path) else {
            return self.untyped_field(name);
        };
        let named = self.identifier_key(name, path);
        let kind = match kind {
            Ok(kind) => kind,
            Err(error) => {
                self.error("type.unknown", error.message, path).help = error.help;
                return self.untyped_field(name);
            }
        };
        self.push_field(
            named,
            name,
            kind,
            required,
            property.default,
            property.description,
            path,
        );
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one field")]
    fn push_field(
        &mut self,
        named: bool,
        name: &str,
        kind: FieldType,
        required: bool,
        default: Option<Value>,
        description: Option<String>,
        path: &Path,
    ) {
        if let Some(default) = &default
            && !kind.accepts(default)
        {
            let message = format!("the default of `{name}` is no `{}`", types::written(&kind));
            self.error("state.default_type", message, &path.key("default"));
        }
        if named {
            self.state.push(Field {
                name: name.to_owned(),
                kind,
                required,
                default,
                description: description.unwrap_or_default(),
            });
        }
    }

    /// The nodes' names in the order of the file, also of those that cannot be read otherwise.
    fn node_ids(&mut self) -> Vec<String> {
        let nodes = self.tree.get("nodes");
        let items = nodes.map(super::tree::Tree::items).unwrap_or_default();
        if items.len() > NODES_MAX {
            let message = format!("a workflow has at most {NODES_MAX} nodes");
            self.error("value.too_many", message, &Path::root().key("nodes"));
            self.whole = false;
        }
        if items.is_empty() && !self.refused() {
            if self.loose {
                let message = "the workflow has no nodes: it ends as soon as it starts";
                self.warning("nodes.none", message, &Path::root());
            } else {
                let message = "the workflow has no nodes";
                self.error("key.missing", message, &Path::root()).help =
                    Some("write `nodes: [{id: …, prompt: …, …}]`".to_owned());
            }
        }
        items
            .iter()
            .map(|item| {
                let id = item.get("id").or_else(|| item.get("name"));
                match id.map(|id| &id.node) {
                    Some(TreeNode::Scalar {
                        value: Value::String(id),
                        ..
                    }) => id.clone(),
                    _ => String::new(),
                }
            })
            .collect()
    }
}

fn on_conflict(word: Option<OnConflictWord>) -> OnConflict {
    match word {
        None | Some(OnConflictWord::Queue) => OnConflict::Queue,
        Some(OnConflictWord::Cancel) => OnConflict::Cancel,
        Some(OnConflictWord::Skip) => OnConflict::Skip,
    }
}
