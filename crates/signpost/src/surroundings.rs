//! What executions take from around the program: which program it is, and what the environment
//! says of models and their tools.

use std::{env, path::PathBuf, sync::Arc};

use models::{Keys, SearchProvider, Secret, Settings};

/// This program: sandboxes run in it, started anew.
pub fn program() -> PathBuf {
    // Where the system cannot tell, it is looked for in PATH.
    env::current_exe().unwrap_or_else(|_| PathBuf::from("signpost"))
}

/// The secrets of the generic door.
pub fn webhook_secrets() -> Vec<zeroize::Zeroizing<String>> {
    intake::Settings::generic_secret(|name| env::var(name).ok())
}

/// What the environment says of models and their tools.
pub fn models(offline: bool) -> Settings {
    let default = Settings::default();
    Settings {
        offline,
        keys: Arc::new(Environment),
        ollama_base: text("OLLAMA_HOST").map_or(default.ollama_base, with_scheme),
        key_hosts: list("ALLOWED_API_HOSTS").collect(),
        allowed_paths: list("ALLOWED_PATHS").map(PathBuf::from).collect(),
        allowed_commands: list("ALLOWED_COMMANDS").collect(),
        allowed_env: list("ALLOWED_ENV").collect(),
        search_provider: text("WEB_SEARCH_PROVIDER")
            .and_then(|name| SearchProvider::parse(&name))
            .unwrap_or_default(),
        ..Settings::default()
    }
}

/// Ollama's own variable may be an address only.
fn with_scheme(address: String) -> String {
    if address.contains("://") {
        address
    } else {
        format!("http://{address}")
    }
}

/// A variable that is set and not empty.
fn text(name: &str) -> Option<String> {
    let text = env::var(name).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A variable's parts, separated by commas.
fn list(name: &str) -> impl Iterator<Item = String> {
    let parts: Vec<String> = text(name)
        .iter()
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    parts.into_iter()
}

/// Keys by the names of environment variables.
struct Environment;

impl Keys for Environment {
    fn key(&self, name: &str) -> Option<Secret> {
        text(name).map(Secret::new)
    }
}
