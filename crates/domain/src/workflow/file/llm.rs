//! Models, tools and memory.

use serde_json::{Map, Value};

use super::{
    model::{
        LlmFile, MemoryFile, NodeMemory, OnErrorWord, ProviderWord, ScopeWord, ToolFile,
        ToolSettings, ToolsFile,
    },
    reader::{Path, Reader},
    schema, shape,
    tree::Tree,
};
use crate::{
    nearest::nearest,
    workflow::definition::{Llm, Memory, MemoryScope, Provider, Tool},
};

/// The model where a file names none.
const MODEL: &str = "gemini-2.5-flash-lite";
/// The most entries of a memory where a file says nothing.
const ENTRIES: u32 = 100;
/// The most tools of one node.
const TOOLS_MAX: usize = 64;

/// The tools that a file may name without bringing them along.
const TOOLS: [&str; 16] = [
    "web_search",
    "serper_search",
    "web_scrape",
    "http_client",
    "file_read",
    "file_write",
    "file_glob",
    "file_move",
    "sql_query",
    "dataframe_to_csv",
    "json_parse",
    "yaml_parse",
    "shell",
    "process",
    "env_vars",
    "mcp",
];

impl Reader<'_> {
    /// A node's model: its own settings over the workflow's, key by key.
    pub(super) fn llm(
        &mut self,
        own: Option<&LlmFile>,
        base: Option<&LlmFile>,
        path: &Path,
    ) -> Llm {
        let empty = LlmFile::default();
        let (own, base) = (own.unwrap_or(&empty), base.unwrap_or(&empty));
        let provider = match own.provider.or(base.provider) {
            None | Some(ProviderWord::Google) => Provider::Google,
            Some(ProviderWord::Openai) => Provider::Openai,
            Some(ProviderWord::Anthropic) => Provider::Anthropic,
            Some(ProviderWord::Ollama) => Provider::Ollama,
        };
        let model = own.model.clone().or_else(|| base.model.clone());
        if model.is_none() && provider != Provider::Google {
            let message = format!(
                "there is a provider and no model: it is asked for `{MODEL}`, which is Google's"
            );
            self.warning("llm.model", message, path).help = Some("add `model: …`".to_owned());
        }
        Llm {
            provider,
            model: model.unwrap_or_else(|| MODEL.to_owned()),
            temperature: own.temperature.or(base.temperature),
            max_tokens: own.max_tokens.or(base.max_tokens),
            api_base: own.api_base.clone().or_else(|| base.api_base.clone()),
        }
    }

    /// Checks what one `llm` mapping says.
    pub(super) fn check_llm(&mut self, llm: Option<&LlmFile>, path: &Path) {
        let Some(llm) = llm else { return };
        if let Some(model) = &llm.model {
            self.short(model, &path.key("model"));
        }
        let Some(base) = &llm.api_base else { return };
        let is_http =
            url::Url::parse(base).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_http {
            let message = "`api_base` is an address that begins with http:// or https://";
            self.error("value.url", message, &path.key("api_base"));
        }
    }

    /// A node's tools.
    pub(super) fn tools(&mut self, tools: Option<ToolsFile>, path: &Path) -> Vec<Tool> {
        let mut read: Vec<Tool> = Vec::new();
        let given: Vec<(Path, Option<String>, Value)> = match tools {
            None => Vec::new(),
            Some(ToolsFile::Mapping(map)) => map
                .into_iter()
                .map(|(name, settings)| (path.key(&name), Some(name), settings))
                .collect(),
            Some(ToolsFile::List(list)) => list
                .into_iter()
                .enumerate()
                .map(|(index, tool)| {
                    let path = path.index(index);
                    match tool {
                        ToolFile::Name(name) => (path, Some(name), Value::Null),
                        ToolFile::Settings(map) => named(map, path),
                    }
                })
                .collect(),
        };
        for (path, name, settings) in given {
            let Some(tool) = self.tool(name, settings, &path) else {
                continue;
            };
            if read.iter().any(|other| other.name == tool.name) && tool.name != "mcp" {
                let message = format!("the tool `{}` is here twice", tool.name);
                self.error("tool.duplicate", message, &path);
            }
            read.push(tool);
        }
        if read.len() > TOOLS_MAX {
            let message = format!("a node has at most {TOOLS_MAX} tools");
            self.error("value.too_many", message, path);
        }
        read
    }

    fn tool(&mut self, name: Option<String>, settings: Value, path: &Path) -> Option<Tool> {
        let settings = match settings {
            Value::Null => ToolSettings {
                name: None,
                on_error: OnErrorWord::Fail,
                config: None,
            },
            settings => {
                let tree = Tree::of_value(&settings).ok()?;
                let shape = shape::check_at(&tree, schema::tool(), &path.0);
                let refused = !shape.broken.is_empty();
                for mut diagnostic in shape.diagnostics {
                    diagnostic.span = self.span(path);
                    self.found.push(diagnostic);
                }
                if refused {
                    return None;
                }
                self.parse(settings, path)?
            }
        };
        let Some(name) = name.or(settings.name) else {
            self.error("key.missing", "a tool has no `name`", path);
            return None;
        };
        let name = self.short(&name, path)?;
        if !TOOLS.contains(&name.as_str()) {
            let near = nearest(&name, TOOLS).map(|near| format!("did you mean `{near}`?"));
            let message = format!("no tool called `{name}` comes with Signpost");
            self.warning("tool.unknown", message, path).help = near;
        }
        Some(Tool {
            name,
            continue_on_error: settings.on_error == OnErrorWord::Continue,
            config: settings.config.unwrap_or_default(),
        })
    }
}

/// A tool of a list: with its `name`, or as a mapping of its name to its settings.
fn named(map: Map<String, Value>, path: Path) -> (Path, Option<String>, Value) {
    let single = (map.len() == 1 && !map.contains_key("name"))
        .then(|| map.iter().next())
        .flatten()
        .map(|(name, settings)| (name.clone(), settings.clone()));
    match single {
        Some((name, settings)) => (path.key(&name), Some(name), settings),
        None => (path, None, Value::Object(map)),
    }
}

/// What runs remember, if anything.
pub(super) fn memory(file: &MemoryFile, base: Option<Memory>) -> Option<Memory> {
    if file.enabled == Some(false) {
        return None;
    }
    let scope = file.default_scope.map(|scope| match scope {
        ScopeWord::Agent => MemoryScope::Agent,
        ScopeWord::Workflow => MemoryScope::Workflow,
        ScopeWord::Node => MemoryScope::Node,
    });
    let base = base.unwrap_or(Memory {
        scope: MemoryScope::Agent,
        max_entries: ENTRIES,
    });
    Some(Memory {
        scope: scope.unwrap_or(base.scope),
        max_entries: file.max_entries.unwrap_or(base.max_entries),
    })
}

/// What a node remembers.
pub(super) fn node_memory(own: Option<NodeMemory>, base: Option<&Memory>) -> Option<Memory> {
    let base = base.cloned();
    match own {
        None => base,
        Some(NodeMemory::Switch(false)) => None,
        Some(NodeMemory::Switch(true)) => memory(&MemoryFile::default(), base),
        Some(NodeMemory::Settings(file)) => memory(&file, base),
    }
}
