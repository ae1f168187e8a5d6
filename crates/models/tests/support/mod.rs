//! What the tests of this crate share.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{collections::HashMap, sync::Arc};

use domain::workflow::definition::{Llm, Provider, Tool};
use egress::{AddressPolicy, Egress, EgressConfig};
use models::{Keys, Models, Progress, Secret, Settings};
use serde_json::Map;

/// Keys from a map.
pub struct MapKeys(HashMap<String, String>);

impl Keys for MapKeys {
    fn key(&self, name: &str) -> Option<Secret> {
        self.0.get(name).cloned().map(Secret::new)
    }
}

pub fn keys(keys: &[(&str, &str)]) -> Arc<dyn Keys> {
    let owned = |(name, key): &(&str, &str)| ((*name).to_owned(), (*key).to_owned());
    Arc::new(MapKeys(keys.iter().map(owned).collect()))
}

/// A way out that may reach loopback.
pub fn egress() -> Egress {
    Egress::new(EgressConfig {
        policy: AddressPolicy::public_only().allow_loopback(true),
        ..EgressConfig::default()
    })
}

pub fn models_with_keys(pairs: &[(&str, &str)]) -> Models {
    let settings = Settings {
        keys: keys(pairs),
        ..Settings::default()
    };
    Models::new(settings, egress())
}

pub fn llm() -> Llm {
    Llm {
        provider: Provider::Google,
        model: "gemini-2.5-flash-lite".to_owned(),
        temperature: None,
        max_tokens: None,
        api_base: None,
    }
}

pub fn tool(name: &str, continue_on_error: bool) -> Tool {
    Tool {
        name: name.to_owned(),
        continue_on_error,
        config: Map::new(),
    }
}

pub fn silent(_: Progress) {}
