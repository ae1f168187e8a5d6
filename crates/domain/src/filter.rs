//! Filters: which of the events that a webhook subscribes to are delivered to it.
//!
//! A filter is a JSON object of conditions on the event as the `default` format shows it,
//! `{id, event, timestamp, data}`. All of them must hold:
//!
//! ```json
//! {
//!   "data.amount": { "$gte": 100, "$lt": 1000 },
//!   "data.items.0.sku": "A-1",
//!   "$or": [ { "data.country": { "$in": ["DE", "AT"] } }, { "data.vip": true } ]
//! }
//! ```
//!
//! A key is a path: parts separated by full stops, a number for an array's element, `\.` for a
//! full stop inside a name and `\\` for a backslash. Its condition is a value to equal, or
//! an object of operators. Where a path leads nowhere only `$exists: false`, `$ne`, `$nin` and
//! `$not` hold. Values of different types are never equal and never ordered; nothing is
//! converted. `timestamp` is compared as a time.
//!
//! Parsing ([`Filter::parse`]) checks everything, so that matching can't fail. Selecting the
//! candidates by event type is [`crate::pattern`]'s part.

mod data;
mod matching;
mod parsing;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

pub use self::data::parse_data;
use crate::{Timestamp, event::Event};

/// The deepest nesting of `$and`, `$or`, `$not` and conditions.
pub const DEPTH_MAX: usize = 8;
/// The most conditions in all.
pub const CONDITIONS_MAX: usize = 100;
/// The most values of one `$in` or `$nin`.
pub const VALUES_MAX: usize = 250;
/// The longest filter, in bytes of compact JSON.
pub const BYTES_MAX: usize = 16 * 1024;

/// A checked filter. Written as the JSON that was given.
#[derive(Clone, Debug)]
pub struct Filter {
    source: Value,
    root: Condition,
}

/// Why a filter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FilterError {
    /// Where in the filter, as a JSON Pointer (RFC 6901).
    pub path: String,
    /// What to change.
    pub message: String,
}

/// The event as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub struct FilterView<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its type.
    pub event: &'a str,
    /// When it happened.
    pub timestamp: Timestamp,
    /// Its payload.
    pub data: &'a Value,
}

impl<'a> FilterView<'a> {
    /// The view of `event`, whose `data` the caller has read with [`parse_data`].
    pub fn new(event: &'a Event, data: &'a Value) -> Self {
        Self {
            id: event.id.as_str(),
            event: event.event_type.as_str(),
            timestamp: event.timestamp,
            data,
        }
    }
}

impl Filter {
    /// Checks a filter.
    ///
    /// # Errors
    /// Says where it is wrong, and names the operator that may have been meant.
    pub fn parse(source: Value) -> Result<Self, FilterError> {
        let root = parsing::parse(&source)?;
        Ok(Self { source, root })
    }

    /// Whether the event passes.
    pub fn matches(&self, view: &FilterView<'_>) -> bool {
        self.root.holds(view)
    }

    /// The filter as it was given.
    pub const fn as_json(&self) -> &Value {
        &self.source
    }
}

/// Two filters are the same if they were written the same.
impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.source.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// What must hold of an event.
#[derive(Clone, Debug)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    At(Path, Vec<Test>),
}

/// Where to look.
#[derive(Clone, Debug)]
enum Path {
    Id,
    Event,
    Timestamp,
    /// Parts below `data`.
    Data(Vec<Part>),
}

/// One part of a path below `data`.
#[derive(Clone, Debug)]
struct Part {
    name: String,
    /// The element it names if it meets an array.
    index: Option<usize>,
}

/// What must hold of what is found there.
#[derive(Clone, Debug)]
enum Test {
    Equal(Value),
    Differ(Value),
    Compare(Order, Value),
    OneOf(Vec<Value>),
    NoneOf(Vec<Value>),
    Exists(bool),
    StartsWith(String),
    EndsWith(String),
    Contains(Value),
    Not(Vec<Test>),
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}
