//! Typed ids, printed with a prefix that names their kind (`dlv_…`).
//!
//! All but [`WorkspaceId`] are UUIDs of version 7, so they sort by the time at which they were
//! made. They are made at the edge ([`IdSource`]), never here.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

/// Makes ids. The program's is the system's clock and random source; a test's is seeded.
pub trait IdSource: Send + Sync {
    /// A UUID of version 7, greater than all that this source made before.
    fn next_id(&self) -> Uuid;
}

/// A text that is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} id: expected `{prefix}_` and 32 hexadecimal digits")]
pub struct IdError {
    kind: &'static str,
    prefix: &'static str,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What stands before the underscore of a printed id.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps an id that an [`IdSource`] or the store gave.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The bare id, as the store keeps it.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|rest| rest.len() == 32 && !rest.bytes().any(|b| b.is_ascii_uppercase()))
                    .and_then(|rest| Uuid::try_parse(rest).ok())
                    .map(Self)
                    .ok_or_else(|| IdError {
                        kind: $kind,
                        prefix: $prefix,
                        text: text.chars().take(80).collect(),
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

id!(
    /// The store's own key of an event. The publisher's [`EventId`] may differ.
    EventKey, "evt", "event"
);
id!(
    /// A webhook: one receiver's URL with what it subscribes to.
    WebhookId, "whk", "webhook"
);
id!(
    /// A delivery: one event on its way to one webhook. Deliveries of one webhook are ordered by it.
    DeliveryId, "dlv", "delivery"
);
id!(
    /// A replay: a durable job that sends past events again.
    ReplayId, "rpl", "replay"
);
id!(
    /// A person who can log in.
    UserId, "usr", "user"
);
id!(
    /// An API key (its record; the key itself is `sp_…` and stored hashed).
    ApiKeyId, "key", "API key"
);

id!(
    /// A workflow: a definition with its versions, under a name.
    WorkflowId, "wfl", "workflow"
);
id!(
    /// An execution: one run of one version of a workflow.
    ExecutionId, "exe", "execution"
);
id!(
    /// A source: where signed webhooks come in, and how they are verified.
    SourceId, "src", "source"
);
id!(
    /// A trigger: what starts a workflow.
    TriggerId, "trg", "trigger"
);
id!(
    /// A receipt: one inbound request as it was kept.
    ReceiptId, "rcp", "receipt"
);

/// An event's id as receivers see it, the same on every attempt and for every webhook: the one
/// that the publisher gave, else the printed [`EventKey`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct EventId(Arc<str>);

/// A publisher's event id that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event id has 1 to {max} characters out of A–Z a–z 0–9 `_` `-` `:` `/` `+` `=`", max = EventId::LEN_MAX)]
pub struct EventIdError;

impl EventId {
    /// The longest id that is taken, in bytes.
    pub const LEN_MAX: usize = 128;

    /// Takes a publisher's id. A full stop is refused since it separates the parts of what a
    /// Standard Webhooks signature covers.
    ///
    /// # Errors
    /// If it is empty, too long, or has a character that a header could not carry.
    pub fn parse(text: &str) -> Result<Self, EventIdError> {
        let fits = (1..=Self::LEN_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-:/+=".contains(&b));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(EventIdError)
        }
    }

    /// The id of an event whose publisher gave none.
    pub fn from_key(key: EventKey) -> Self {
        Self(key.to_string().into())
    }

    /// The text, as headers and bodies carry it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A workspace: every record belongs to one, and nothing crosses from one to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkspaceId(i64);

impl WorkspaceId {
    /// The workspace that every installation starts with.
    pub const DEFAULT: Self = Self(1);

    /// Wraps a number that the store gave; positive.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The bare number, as the store keeps it.
    pub const fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wsp_{}", self.0)
    }
}

impl FromStr for WorkspaceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("wsp_")
            .and_then(|rest| rest.parse().ok())
            .filter(|number| *number > 0)
            .map(Self)
            .ok_or_else(|| IdError {
                kind: "workspace",
                prefix: "wsp",
                text: text.chars().take(80).collect(),
            })
    }
}

impl Serialize for WorkspaceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_with_its_prefix_and_reads_back() {
        let id = DeliveryId::new(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(id.to_string(), "dlv_01900000000070008000000000000001");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        for text in [
            "whk_01900000000070008000000000000001",
            "dlv_0190",
            "dlv_0190000000007000800000000000000G",
            "dlv_0190000000007000800000000000000A",
            "dlv_01900000-0000-7000-8000-000000000001",
            "",
        ] {
            assert!(text.parse::<DeliveryId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_publishers_event_id_must_fit_a_header_and_the_signed_text() {
        assert!(EventId::parse("order-17:paid").is_ok());
        for text in ["", "a.b", "a b", "a\nb", "ä", &"x".repeat(129)] {
            assert!(EventId::parse(text).is_err(), "{text}");
        }
    }
}
