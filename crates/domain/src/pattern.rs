//! What a webhook subscribes to: an event's name, a `prefix.*`, or `*`.
//!
//! Whether an exact name is known is the catalogue's question, not asked here.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::event::EventType;

/// One pattern of a subscription. Written as its text everywhere.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum EventPattern {
    /// `*`: every event.
    All,
    /// `prefix.*`: every event whose name begins with the prefix and a full stop, however many
    /// parts follow. Holds the prefix without its `.*`.
    Prefix(Arc<str>),
    /// One name.
    Exact(EventType),
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no event pattern: expected an event type such as `workflow.completed`, a prefix such as `workflow.*`, or `*`"
)]
pub struct PatternError(String);

impl EventPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it has none of the three forms, or its name is no event type.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let refused = |_| PatternError(text.chars().take(80).collect());
        if text == "*" {
            return Ok(Self::All);
        }
        match text.strip_suffix(".*") {
            Some(prefix) => EventType::parse(prefix)
                .map(|checked| Self::Prefix(checked.as_str().into()))
                .map_err(refused),
            None => EventType::parse(text).map(Self::Exact).map_err(refused),
        }
    }

    /// Whether an event of this type is wanted.
    pub fn matches(&self, event: &EventType) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => event
                .as_str()
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.starts_with('.')),
            Self::Exact(name) => name == event,
        }
    }

    /// The name, if the pattern is one.
    pub const fn exact(&self) -> Option<&EventType> {
        match self {
            Self::Exact(name) => Some(name),
            Self::All | Self::Prefix(_) => None,
        }
    }
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}.*"),
            Self::Exact(name) => name.fmt(f),
        }
    }
}

impl Serialize for EventPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_its_name_or_all_below_its_prefix() {
        for (pattern, event, wanted) in [
            ("*", "a", true),
            ("*", "workflow.execution.completed", true),
            ("workflow.*", "workflow.completed", true),
            ("workflow.*", "workflow.execution.completed", true),
            ("workflow.execution.*", "workflow.execution.completed", true),
            ("workflow.execution.*", "workflow.completed", false),
            ("workflow.*", "workflow", false),
            ("workflow.*", "workflows.completed", false),
            ("work.*", "workflow.completed", false),
            ("workflow.completed", "workflow.completed", true),
            ("workflow.completed", "Workflow.completed", false),
            ("workflow.completed", "workflow.completed.twice", false),
        ] {
            let matches = EventPattern::parse(pattern)
                .unwrap()
                .matches(&EventType::parse(event).unwrap());
            assert_eq!(matches, wanted, "{pattern} on {event}");
        }
    }

    #[test]
    fn a_pattern_is_written_as_it_was_read() {
        for text in [
            "*",
            "workflow.*",
            "workflow.execution.*",
            "workflow.completed",
            "x",
        ] {
            let pattern: EventPattern = serde_json::from_value(text.into()).unwrap();
            assert_eq!(serde_json::to_value(&pattern).unwrap(), text);
            assert_eq!(pattern.exact().is_some(), !text.ends_with('*'));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            ".*",
            "**",
            "*.completed",
            "a.*.b",
            "a*",
            "a.",
            "a b",
            "a..*",
            "*.*",
            "ä.*",
        ] {
            assert!(EventPattern::parse(text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<EventPattern>("7").is_err());
    }
}
