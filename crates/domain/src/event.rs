//! An event: something that happened, published once, immutable.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::{EventId, EventKey, Timestamp, WorkspaceId};

/// How often an event may have been handed from one Signpost to the next before it is refused
/// as a loop (CONTRACTS: delivery rules).
pub const HOPS_MAX: u8 = 8;

/// The name of a kind of event, such as `workflow.completed`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EventType(Arc<str>);

/// A text that is no event type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event type is 1 to {max} characters: parts of A–Z a–z 0–9 `_` `-`, separated by single full stops", max = EventType::LEN_MAX)]
pub struct EventTypeError;

impl EventType {
    /// The longest name, in bytes.
    pub const LEN_MAX: usize = 128;

    /// Takes a name; whether it is known is the catalogue's question.
    ///
    /// # Errors
    /// If it is not of the form above.
    pub fn parse(text: &str) -> Result<Self, EventTypeError> {
        let well_formed = text.len() <= Self::LEN_MAX
            && text.split('.').all(|part| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
            });
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err(EventTypeError)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// An event as it was accepted. Kept until retention prunes its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The store's key; sorts by the time of acceptance.
    pub key: EventKey,
    /// What receivers see and deduplicate by.
    pub id: EventId,
    /// What kind of thing happened.
    pub event_type: EventType,
    /// When it happened: the publisher's word, else when it was accepted.
    pub timestamp: Timestamp,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// The payload: canonical JSON ([`crate::json`]). Retention removes it with the event.
    pub data: Bytes,
    /// How many Signposts it has passed through.
    pub hops: u8,
}
