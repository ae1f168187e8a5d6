//! What a model may call.

use domain::{nearest, workflow::definition::Tool};

use crate::{Settings, TurnError};

/// A tool that Signpost brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    HttpClient,
    WebSearch,
    SerperSearch,
    WebScrape,
    JsonParse,
    YamlParse,
    DataframeToCsv,
    FileRead,
    FileWrite,
    FileGlob,
    FileMove,
    SqlQuery,
    EnvVars,
    Shell,
    Process,
}

/// Their names.
const BUILTINS: [(&str, Builtin); 15] = [
    ("http_client", Builtin::HttpClient),
    ("web_search", Builtin::WebSearch),
    ("serper_search", Builtin::SerperSearch),
    ("web_scrape", Builtin::WebScrape),
    ("json_parse", Builtin::JsonParse),
    ("yaml_parse", Builtin::YamlParse),
    ("dataframe_to_csv", Builtin::DataframeToCsv),
    ("file_read", Builtin::FileRead),
    ("file_write", Builtin::FileWrite),
    ("file_glob", Builtin::FileGlob),
    ("file_move", Builtin::FileMove),
    ("sql_query", Builtin::SqlQuery),
    ("env_vars", Builtin::EnvVars),
    ("shell", Builtin::Shell),
    ("process", Builtin::Process),
];

impl Builtin {
    pub(crate) fn named(name: &str) -> Option<Self> {
        BUILTINS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, tool)| *tool)
    }

    /// The environment variable with the key that it needs.
    pub(crate) fn key_name(self, settings: &Settings) -> Option<&'static str> {
        match self {
            Self::WebSearch => Some(settings.search_provider.key_name()),
            Self::SerperSearch => Some("SERPER_API_KEY"),
            _ => None,
        }
    }
}

/// Whether the tools of a turn exist and have the keys that they need; one that lacks its key is
/// passed over where the node goes on after its failure.
///
/// # Errors
/// `tool_unknown`, `tool_key_missing`.
pub(crate) fn check(tools: &[Tool], settings: &Settings) -> Result<(), TurnError> {
    for tool in tools {
        if tool.config.contains_key("mcp") {
            continue;
        }
        let Some(builtin) = Builtin::named(&tool.name) else {
            let names = BUILTINS.iter().map(|(name, _)| *name);
            return Err(TurnError::new(
                "tool_unknown",
                format!(
                    "there is no tool {:?}{}; the tools are {}, or one of an MCP server (`config: {{mcp: {{url: …}}}}`)",
                    tool.name,
                    nearest::hint(&tool.name, names.clone()),
                    names.collect::<Vec<_>>().join(", ")
                ),
            ));
        };
        if let Some(key) = builtin.key_name(settings)
            && !tool.continue_on_error
            && settings.keys.key(key).is_none()
        {
            return Err(key_missing(&tool.name, key));
        }
    }
    Ok(())
}

pub(crate) fn key_missing(tool: &str, key: &str) -> TurnError {
    TurnError::new(
        "tool_key_missing",
        format!(
            "the tool {tool} needs a key: set the environment variable {key}, or `on_error: continue` on the tool to go on without it"
        ),
    )
}
