//! What a model may call: tools of our own, and those of MCP servers.
//!
//! A tool gets its arguments as JSON and gives a text, or says what went wrong: arguments that
//! don't fit are told to the model, which can do better; anything else ends the turn, unless the
//! node goes on after it (`on_error: continue`), in which case the model is told as well.

mod beneath;
mod data;
mod files;
mod mcp;
mod offers;
mod pages;
mod search;
mod system;
mod web;

use std::{sync::Arc, time::Duration};

use domain::{nearest, workflow::definition::Tool};
use serde_json::Value;

use crate::{Settings, Shared, TurnError, provider::Offer};

/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);

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

/// Why a tool gave nothing.
#[derive(Debug, PartialEq)]
pub(crate) enum ToolError {
    /// The arguments don't fit: what was expected.
    Arguments(String),
    /// The environment variable with its key is not set.
    KeyMissing(&'static str),
    /// Anything else.
    Failed(String),
}

/// What a failure means for the turn.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The model is told, and goes on.
    Told(String),
    /// The turn ends.
    Ends(TurnError),
}

/// The tools of one turn.
pub(crate) struct Toolbox<'a> {
    shared: &'a Shared,
    /// In the order of the offers.
    entries: Vec<Entry<'a>>,
    offers: Vec<Offer>,
}

struct Entry<'a> {
    tool: &'a Tool,
    from: From,
}

/// Whose tool it is.
enum From {
    Signpost(Builtin),
    Mcp(Arc<mcp::Server>),
}

impl<'a> Toolbox<'a> {
    /// Lays out the tools. They have been checked ([`check`]). Of an MCP server, the tool of the
    /// entry's name is offered, or all of them if it has none of that name. The first of several
    /// tools of one name counts.
    ///
    /// # Errors
    /// `tool_failed` if an MCP server does not tell its tools, unless the node goes on after it.
    pub(crate) async fn open(tools: &'a [Tool], shared: &'a Shared) -> Result<Self, TurnError> {
        let mut toolbox = Self {
            shared,
            entries: Vec::new(),
            offers: Vec::new(),
        };
        for tool in tools {
            if let Some(config) = tool.config.get("mcp") {
                match mcp::Server::open(shared, config).await {
                    Ok((server, offers)) => toolbox.add_server(tool, server, offers),
                    Err(error) => {
                        if let Trouble::Ends(error) = trouble(tool, error) {
                            return Err(error);
                        }
                    }
                }
            } else if let Some(builtin) = Builtin::named(&tool.name) {
                let offer = offers::offer(&tool.name, builtin);
                toolbox.add(tool, From::Signpost(builtin), offer);
            }
        }
        Ok(toolbox)
    }

    fn add_server(&mut self, tool: &'a Tool, server: mcp::Server, mut offers: Vec<Offer>) {
        let server = Arc::new(server);
        if offers.iter().any(|offer| offer.name == tool.name) {
            offers.retain(|offer| offer.name == tool.name);
        }
        for offer in offers {
            self.add(tool, From::Mcp(Arc::clone(&server)), offer);
        }
    }

    fn add(&mut self, tool: &'a Tool, from: From, offer: Offer) {
        if self.offers.iter().all(|known| known.name != offer.name) {
            self.offers.push(offer);
            self.entries.push(Entry { tool, from });
        }
    }

    pub(crate) fn offers(&self) -> &[Offer] {
        &self.offers
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) async fn call(&self, name: &str, arguments: &Value) -> Result<String, Trouble> {
        let at = self.offers.iter().position(|offer| offer.name == name);
        let Some(entry) = at.and_then(|at| self.entries.get(at)) else {
            let names: Vec<_> = self.offers.iter().map(|offer| &*offer.name).collect();
            return Err(Trouble::Told(format!(
                "there is no tool {name:?}; there are: {}",
                names.join(", ")
            )));
        };
        let running = async {
            let arguments = Arguments::of(arguments)?;
            match &entry.from {
                From::Signpost(builtin) => run(self.shared, *builtin, &arguments).await,
                From::Mcp(server) => server.call(name, arguments.0).await,
            }
        };
        let came = tokio::time::timeout(CALL_TIMEOUT, running)
            .await
            .unwrap_or_else(|_| Err(failed(format!("no result within {CALL_TIMEOUT:?}"))));
        came.map_err(|error| trouble(entry.tool, error))
    }
}

/// Whether a failure ends the turn.
fn trouble(tool: &Tool, error: ToolError) -> Trouble {
    match error {
        ToolError::Arguments(message) => Trouble::Told(format!("wrong arguments: {message}")),
        ToolError::KeyMissing(key) if tool.continue_on_error => Trouble::Told(format!(
            "not available: the environment variable {key} is not set"
        )),
        ToolError::KeyMissing(key) => Trouble::Ends(key_missing(&tool.name, key)),
        ToolError::Failed(message) if tool.continue_on_error => {
            Trouble::Told(format!("failed: {message}"))
        }
        ToolError::Failed(message) => Trouble::Ends(
            TurnError::new(
                "tool_failed",
                format!("the tool {} failed: {message}", tool.name),
            )
            .retryable(),
        ),
    }
}

async fn run(
    shared: &Shared,
    tool: Builtin,
    arguments: &Arguments<'_>,
) -> Result<String, ToolError> {
    match tool {
        Builtin::HttpClient => web::request(shared, arguments).await,
        Builtin::WebSearch => {
            search::search(shared, shared.settings.search_provider, arguments).await
        }
        Builtin::SerperSearch => {
            search::search(shared, crate::SearchProvider::Serper, arguments).await
        }
        Builtin::WebScrape => web::scrape(shared, arguments).await,
        Builtin::JsonParse => data::json(arguments),
        Builtin::YamlParse => data::yaml(arguments),
        Builtin::DataframeToCsv => data::csv(arguments),
        Builtin::FileRead | Builtin::FileWrite | Builtin::FileGlob | Builtin::FileMove => {
            files::run(&shared.settings, tool, arguments).await
        }
        Builtin::SqlQuery => files::sql(&shared.settings, arguments).await,
        Builtin::EnvVars => system::env_vars(&shared.settings, arguments),
        Builtin::Shell => system::shell(&shared.settings, arguments).await,
        Builtin::Process => system::process(&shared.settings, arguments).await,
    }
}

/// A call's arguments.
struct Arguments<'a>(&'a serde_json::Map<String, Value>);

impl<'a> Arguments<'a> {
    fn of(value: &'a Value) -> Result<Self, ToolError> {
        match value {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(ToolError::Arguments(
                "they must be a JSON object".to_owned(),
            )),
        }
    }

    fn text(&self, name: &str) -> Result<&'a str, ToolError> {
        self.text_or_none(name)?
            .ok_or_else(|| ToolError::Arguments(format!("`{name}` is missing")))
    }

    fn text_or_none(&self, name: &str) -> Result<Option<&'a str>, ToolError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ToolError::Arguments(format!("`{name}` must be a text"))),
        }
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }
}

fn failed(message: impl Into<String>) -> ToolError {
    ToolError::Failed(message.into())
}
