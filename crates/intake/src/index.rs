//! Every source and trigger in memory, with opened secrets, so that a request asks no disk before
//! it is known to be genuine.

use std::{collections::HashMap, sync::Arc};

use domain::{
    SourceId, Timestamp, TriggerId,
    intake::{Source, SourceConfig, SourceSecret, Trigger},
    jq::Expression,
    seal::{SealingKey, record_context},
};
use serde_json::Value;
use zeroize::Zeroizing;

/// Sources and triggers as they were at one time.
#[derive(Default)]
pub struct Index {
    sources: HashMap<String, Arc<SourceEntry>>,
    by_id: HashMap<SourceId, Arc<SourceEntry>>,
    of_source: HashMap<SourceId, Vec<Arc<TriggerEntry>>>,
    triggers: HashMap<TriggerId, Arc<TriggerEntry>>,
}

/// A source that is ready to verify.
pub struct SourceEntry {
    /// The record.
    pub source: Source,
    /// Its configuration; an error if the record's cannot be read (by an older version).
    pub config: Result<SourceConfig, String>,
    secrets: Vec<(Zeroizing<Vec<u8>>, Option<Timestamp>)>,
}

/// A trigger that is ready to fire.
pub struct TriggerEntry {
    /// The record.
    pub trigger: Trigger,
    /// Its key, if it has a URL of its own.
    pub key: Option<Zeroizing<Vec<u8>>>,
    /// Its condition; an error if it cannot be read.
    pub filter: Result<Option<Expression>, String>,
    /// What makes the inputs; an error if it cannot be read.
    pub map: Result<Option<Expression>, String>,
}

impl SourceEntry {
    /// The secrets that count at `now`.
    pub fn secrets(&self, now: Timestamp) -> Vec<&[u8]> {
        self.secrets
            .iter()
            .filter(|(_, expires)| expires.is_none_or(|at| at > now))
            .map(|(secret, _)| secret.as_slice())
            .collect()
    }
}

impl Index {
    pub(crate) fn new(sources: Vec<Source>, triggers: Vec<Trigger>, sealing: &SealingKey) -> Self {
        let mut index = Self::default();
        for source in sources {
            let entry = Arc::new(open_source(source, sealing));
            let name = entry.source.name.clone();
            index.by_id.insert(entry.source.id, Arc::clone(&entry));
            index.sources.insert(name, entry);
        }
        for trigger in triggers.into_iter().filter(|trigger| trigger.active) {
            let entry = Arc::new(open_trigger(trigger, sealing));
            if let Some(source) = index.source_of(&entry.trigger) {
                let list = index.of_source.entry(source).or_default();
                list.push(Arc::clone(&entry));
            }
            if entry.trigger.key.is_some() {
                index.triggers.insert(entry.trigger.id, entry);
            }
        }
        index
    }

    /// The source that fires a trigger: by its id, or by the name in a workflow's file, which may
    /// have come before the source did.
    fn source_of(&self, trigger: &Trigger) -> Option<SourceId> {
        if trigger.source.is_some() {
            return trigger.source;
        }
        let name = trigger.config.get("source")?.as_str()?;
        let entry = self.sources.get(name)?;
        (entry.source.workspace == trigger.workspace).then_some(entry.source.id)
    }

    /// The source of this name.
    pub fn source(&self, name: &str) -> Option<&Arc<SourceEntry>> {
        self.sources.get(name)
    }

    /// The source of this id.
    pub fn source_by_id(&self, id: SourceId) -> Option<&Arc<SourceEntry>> {
        self.by_id.get(&id)
    }

    /// The active triggers that a source fires.
    pub fn triggers_of(&self, source: SourceId) -> &[Arc<TriggerEntry>] {
        self.of_source.get(&source).map_or(&[], Vec::as_slice)
    }

    /// The active trigger with a URL of its own.
    pub fn trigger(&self, id: TriggerId) -> Option<&Arc<TriggerEntry>> {
        self.triggers.get(&id)
    }
}

fn open_source(source: Source, sealing: &SealingKey) -> SourceEntry {
    let mut secrets = Vec::new();
    for secret in &source.secrets {
        match sealing.open(
            &secret.sealed,
            secret_context(&source, secret.number).as_bytes(),
        ) {
            Ok(text) => secrets.push((text, secret.expires_at)),
            Err(error) => {
                tracing::error!(source = %source.id, %error, "a source's secret does not open");
                // It counts as set and verifies nothing, so that the source stays closed.
                secrets.push((Zeroizing::default(), secret.expires_at));
            }
        }
    }
    let config = serde_json::from_value(source.config.clone()).map_err(|error| error.to_string());
    SourceEntry {
        source,
        config,
        secrets,
    }
}

fn open_trigger(trigger: Trigger, sealing: &SealingKey) -> TriggerEntry {
    let key = trigger.key.as_ref().map(|sealed| {
        let opened = sealing.open(sealed, key_context(&trigger).as_bytes());
        opened.unwrap_or_else(|error| {
            tracing::error!(trigger = %trigger.id, %error, "a trigger's key does not open");
            Zeroizing::default()
        })
    });
    TriggerEntry {
        filter: expression(&trigger.config, "filter"),
        map: expression(&trigger.config, "map"),
        key,
        trigger,
    }
}

fn expression(config: &Value, name: &str) -> Result<Option<Expression>, String> {
    match config.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Expression::parse(text)
            .map(Some)
            .map_err(|error| format!("the trigger's `{name}` cannot be read: {error}")),
        Some(_) => Err(format!("the trigger's `{name}` is no text")),
    }
}

/// What a source's secret is sealed for.
pub(crate) fn secret_context(source: &Source, number: u32) -> String {
    let field = format!("secret/{number}");
    record_context(source.workspace, &source.id.to_string(), &field)
}

/// What a trigger's key is sealed for.
pub(crate) fn key_context(trigger: &Trigger) -> String {
    record_context(trigger.workspace, &trigger.id.to_string(), "key")
}

/// The number of a source's next secret.
pub(crate) fn next_number(secrets: &[SourceSecret]) -> u32 {
    secrets
        .iter()
        .map(|secret| secret.number)
        .max()
        .unwrap_or(0)
        + 1
}
