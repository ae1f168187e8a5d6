//! What the operator sets. The binary fills it at the edge; nothing here reads the environment.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::prices::Prices;

/// A key. It leaves memory when it is dropped, and no `Debug` shows it.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over `text`.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for whoever sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Where keys come from, by the name of their environment variable (`OPENAI_API_KEY`). The
/// program's reads the environment, a test's a map.
pub trait Keys: Send + Sync {
    /// The value of this name; none if there is none or it is empty.
    fn key(&self, name: &str) -> Option<Secret>;
}

/// No keys at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKeys;

impl Keys for NoKeys {
    fn key(&self, _name: &str) -> Option<Secret> {
        None
    }
}

/// Reads databases for the tool `sql_query`: the one that speaks SQL is another crate.
#[async_trait]
pub trait SqlReader: Send + Sync {
    /// The rows of a SELECT over the `SQLite` file at `file`, opened read-only, as a list of
    /// objects; at most `rows_max` of them.
    ///
    /// # Errors
    /// What is wrong with file or statement, for a person.
    async fn select(&self, file: &Path, query: &str, rows_max: usize) -> Result<Value, String>;
}

/// Who searches the web for the tool `web_search` (`WEB_SEARCH_PROVIDER`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SearchProvider {
    /// Serper; needs `SERPER_API_KEY`.
    #[default]
    Serper,
    /// Tavily; needs `TAVILY_API_KEY`.
    Tavily,
}

impl SearchProvider {
    /// The environment variable with its key.
    pub const fn key_name(self) -> &'static str {
        match self {
            Self::Serper => "SERPER_API_KEY",
            Self::Tavily => "TAVILY_API_KEY",
        }
    }

    /// Reads `serper` or `tavily`, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "serper" => Some(Self::Serper),
            "tavily" => Some(Self::Tavily),
            _ => None,
        }
    }
}

/// How long to wait for a model's answer to one request. A node's own timeout comes on top: it
/// drops the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until the answer begins. Default: 5 min, since some models think before they speak.
    pub head: Duration,
    /// For each next piece. Default: 2 min.
    pub idle: Duration,
    /// In all. Default: 15 min.
    pub whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_mins(5),
            idle: Duration::from_mins(2),
            whole: Duration::from_mins(15),
        }
    }
}

/// What the operator sets. The default allows tools nothing on this machine.
#[derive(Clone)]
pub struct Settings {
    /// Whether the offline stand-in takes every turn, whatever the turn says.
    pub offline: bool,
    /// Keys of providers and tools, and the variables that `env_vars` may show.
    pub keys: Arc<dyn Keys>,
    /// What tokens cost.
    pub prices: Prices,
    /// The hosts beside the providers' own that a provider's key may be sent to
    /// (`ALLOWED_API_HOSTS`); `*`: any. A workflow's author chooses `api_base`, and must not get
    /// the operator's key by it: to other hosts requests go without one.
    pub key_hosts: Vec<String>,
    /// How long to wait for models.
    pub patience: Patience,
    /// Where Ollama is, unless a model's `api_base` says so (`OLLAMA_HOST`).
    pub ollama_base: String,
    /// The folders that file tools and `sql_query` may use (`ALLOWED_PATHS`); none: none.
    pub allowed_paths: Vec<PathBuf>,
    /// The programs that `shell`, `process` and MCP servers may start (`ALLOWED_COMMANDS`).
    pub allowed_commands: Vec<String>,
    /// The variables that `env_vars` may show (`ALLOWED_ENV`), by their whole names.
    pub allowed_env: Vec<String>,
    /// Who searches the web.
    pub search_provider: SearchProvider,
    /// Serper's address; another one in tests.
    pub serper_base: String,
    /// Tavily's address; another one in tests.
    pub tavily_base: String,
    /// Who reads databases; none: `sql_query` says that it is not available.
    pub sql: Option<Arc<dyn SqlReader>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            offline: false,
            keys: Arc::new(NoKeys),
            prices: Prices::default(),
            key_hosts: Vec::new(),
            patience: Patience::default(),
            ollama_base: "http://127.0.0.1:11434".to_owned(),
            allowed_paths: Vec::new(),
            allowed_commands: Vec::new(),
            allowed_env: Vec::new(),
            search_provider: SearchProvider::default(),
            serper_base: "https://google.serper.dev".to_owned(),
            tavily_base: "https://api.tavily.com".to_owned(),
            sql: None,
        }
    }
}
