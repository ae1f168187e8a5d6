//! Reading what is published: `{event, data, id?, timestamp?, numbers?}`, one or many.
//!
//! One pass over the bytes: small members are read, `data` is made canonical where it stands.
//! Only `"numbers": "verbatim"` may take a second pass, since it can stand behind the data that
//! it speaks of. What is wrong with the fields of all events is gathered ([`Faults`]); what is no
//! JSON ends the reading.

use bytes::Bytes;
use delivery::accept::Publish;
use domain::{
    EventId, Timestamp,
    event::EventType,
    json::{JsonError, Kind as JsonKind, Limits, Numbers, Reader},
    nearest,
};
use ring::digest::{Context, SHA256};

use super::refusal::{Faults, is_fatal};
use crate::problem::Problem;

/// The deepest nesting of a body.
const DEPTH_MAX: usize = 128;
/// The most events of one batch.
pub const BATCH_MAX: usize = 1_000;
/// The fields of an event, as messages name them.
const FIELDS: &[&str] = &[
    "event",
    "data",
    "id",
    "timestamp",
    "numbers",
    "type",
    "payload",
];

/// What comes with a request rather than with an event.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    /// How many Signposts the event has passed through.
    pub hops: u8,
    /// The request's `Idempotency-Key`.
    pub idempotency_key: Option<String>,
}

/// Reads a body of one event.
///
/// # Errors
/// If it is no JSON, or a field is refused.
pub fn one(body: &[u8], carried: Carried) -> Result<Publish, Problem> {
    let read = |verbatim| {
        let mut faults = Faults::default();
        let mut reader = Reader::new(body, &limits())?;
        let draft = event(&mut reader, verbatim, &String::new, &mut faults)?;
        reader.finish()?;
        Ok::<_, JsonError>((draft, faults))
    };
    let (mut draft, mut faults) = read(false)?;
    if draft.verbatim {
        (draft, faults) = read(true)?;
    }
    draft.publish(carried, &String::new, faults)
}

/// The events of a batch, and what stands before an event's index in their paths.
#[derive(Debug)]
pub struct Batch {
    /// The events.
    pub events: Vec<Publish>,
    /// `events`, or nothing for a bare array.
    pub prefix: &'static str,
}

/// Reads a body of many events: `{"events": […]}` or a bare array.
///
/// # Errors
/// If it is no JSON, has none or too many events, or a field of any event is refused.
pub fn many(body: &[u8], carried: &Carried) -> Result<Batch, Problem> {
    let mut drafts = read_many(body, &[])?;
    if drafts.list.iter().any(|draft| draft.verbatim) {
        let verbatim: Vec<bool> = drafts.list.iter().map(|draft| draft.verbatim).collect();
        drafts = read_many(body, &verbatim)?;
    }
    let Drafts {
        list,
        prefix,
        count,
        mut faults,
    } = drafts;
    if count == 0 || count > BATCH_MAX {
        faults.field("", prefix, &format!("must have 1 to {BATCH_MAX} events"));
    }
    let mut events = Vec::with_capacity(list.len());
    for (index, draft) in list.into_iter().enumerate() {
        let carried = Carried {
            hops: carried.hops,
            idempotency_key: None,
        };
        events.extend(draft.check(carried, &|| format!("{prefix}[{index}]"), &mut faults));
    }
    faults.end()?;
    if let Some(key) = &carried.idempotency_key {
        for (index, event) in events.iter_mut().enumerate() {
            event.idempotency_key = Some(key_within(key, index, event));
        }
    }
    Ok(Batch { events, prefix })
}

/// What one event of a batch is recognised by when the batch comes again under its key: the
/// place, and what is published there. A batch of other events under the same key is stored
/// rather than taken for the first. The separator stands in no key.
fn key_within(key: &str, index: usize, event: &Publish) -> String {
    let mut content = Context::new(&SHA256);
    let id = event.id.as_ref().map_or("", EventId::as_str);
    for part in [
        event.event_type.as_str().as_bytes(),
        id.as_bytes(),
        &event.data,
    ] {
        content.update(&(part.len() as u64).to_be_bytes());
        content.update(part);
    }
    let content = hex::encode(&content.finish().as_ref()[..16]);
    format!("{key}\u{1f}{index}\u{1f}{content}")
}

struct Drafts {
    list: Vec<Draft>,
    prefix: &'static str,
    count: usize,
    faults: Faults,
}

fn read_many(body: &[u8], verbatim: &[bool]) -> Result<Drafts, Problem> {
    let mut drafts = Drafts {
        list: Vec::new(),
        prefix: "",
        count: 0,
        faults: Faults::default(),
    };
    let mut reader = Reader::new(body, &limits())?;
    if reader.kind()? == JsonKind::Array {
        events(&mut reader, verbatim, &mut drafts)?;
    } else {
        drafts.prefix = "events";
        reader.object(|key, reader| {
            if key == "events" {
                drafts.list.clear();
                match events(reader, verbatim, &mut drafts) {
                    Err(error) if !is_fatal(&error) => drafts.faults.json(&error),
                    result => return result,
                }
            } else {
                drafts.faults.unknown("", key, &["events"]);
            }
            Ok::<_, JsonError>(())
        })?;
    }
    reader.finish()?;
    Ok(drafts)
}

/// Reads the array that stands here. Beyond the most events they are only counted.
fn events(
    reader: &mut Reader<'_>,
    verbatim: &[bool],
    drafts: &mut Drafts,
) -> Result<(), JsonError> {
    let Drafts {
        list,
        prefix,
        count,
        faults,
    } = drafts;
    *count = 0;
    reader.array(|index, reader| {
        *count = index + 1;
        if index >= BATCH_MAX {
            return Ok(());
        }
        let verbatim = verbatim.get(index).copied().unwrap_or_default();
        let draft = event(reader, verbatim, &|| format!("{prefix}[{index}]"), faults);
        match draft {
            Ok(draft) => list.push(draft),
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => {
                list.push(Draft {
                    refused: true,
                    ..Draft::default()
                });
                faults.json(&error);
            }
        }
        Ok(())
    })
}

const fn limits() -> Limits {
    // How large a body may be is decided where it is received.
    Limits {
        depth_max: DEPTH_MAX,
        bytes_max: usize::MAX,
    }
}

/// One event as far as it could be read. `event` and `type`, `data` and `payload` are two names
/// of one field each, kept apart until it is known whether they agree.
#[derive(Default)]
struct Draft {
    event: Option<EventType>,
    type_: Option<EventType>,
    data: Option<Bytes>,
    payload: Option<Bytes>,
    id: Option<EventId>,
    timestamp: Option<Timestamp>,
    verbatim: bool,
    /// Something was wrong with the event's name, so that it isn't also called missing.
    named: bool,
    /// It is no object at all.
    refused: bool,
    /// A number that only verbatim would take.
    unsafe_number: Option<JsonError>,
}

/// Reads the event that stands here. `at` is its path.
fn event(
    reader: &mut Reader<'_>,
    verbatim: bool,
    at: &dyn Fn() -> String,
    faults: &mut Faults,
) -> Result<Draft, JsonError> {
    let mut draft = Draft::default();
    reader.object(|key, reader| {
        match key {
            "event" => draft.event = draft.name(reader, at, key, faults)?,
            "type" => draft.type_ = draft.name(reader, at, key, faults)?,
            "data" => draft.data = draft.body(reader, verbatim)?,
            "payload" => draft.payload = draft.body(reader, verbatim)?,
            "id" => draft.id = text(reader, EventId::parse, at, key, faults)?,
            "timestamp" => draft.timestamp = text(reader, Timestamp::parse, at, key, faults)?,
            "numbers" => {
                draft.verbatim = text(reader, numbers, at, key, faults)?.unwrap_or_default();
            }
            other => faults.unknown(&at(), other, FIELDS),
        }
        Ok(())
    })?;
    Ok(draft)
}

/// Reads the text field `key` of the event at `at`; `null` is none.
fn text<T, E: std::fmt::Display>(
    reader: &mut Reader<'_>,
    parse: impl FnOnce(&str) -> Result<T, E>,
    at: &dyn Fn() -> String,
    key: &str,
    faults: &mut Faults,
) -> Result<Option<T>, JsonError> {
    if reader.kind()? == JsonKind::Null {
        return Ok(None);
    }
    match reader.string() {
        Ok(text) => Ok(parse(&text)
            .map_err(|error| faults.field(&at(), key, &error.to_string()))
            .ok()),
        Err(error) if is_fatal(&error) => Err(error),
        Err(error) => {
            faults.json(&error);
            Ok(None)
        }
    }
}

fn numbers(text: &str) -> Result<bool, String> {
    match text {
        "verbatim" => Ok(true),
        "exact" => Ok(false),
        _ => {
            let hint = nearest::hint(text, ["verbatim", "exact"]);
            Err(format!("must be `verbatim`, or left out{hint}"))
        }
    }
}

impl Draft {
    fn name(
        &mut self,
        reader: &mut Reader<'_>,
        at: &dyn Fn() -> String,
        key: &str,
        faults: &mut Faults,
    ) -> Result<Option<EventType>, JsonError> {
        let before = faults.count();
        let name = text(reader, EventType::parse, at, key, faults)?;
        self.named |= faults.count() > before;
        Ok(name)
    }

    fn body(
        &mut self,
        reader: &mut Reader<'_>,
        verbatim: bool,
    ) -> Result<Option<Bytes>, JsonError> {
        let numbers = if verbatim {
            Numbers::Verbatim
        } else {
            Numbers::Exact
        };
        match reader.canonical(numbers) {
            Ok(data) => Ok(Some(data.into_bytes())),
            Err(error @ JsonError::UnsafeNumber { .. }) => {
                self.unsafe_number.get_or_insert(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn publish(
        self,
        carried: Carried,
        at: &dyn Fn() -> String,
        mut faults: Faults,
    ) -> Result<Publish, Problem> {
        let publish = self.check(carried, at, &mut faults);
        faults.end()?;
        Ok(publish.expect("without a fault there is an event"))
    }

    /// The event, unless something is wrong with it.
    fn check(
        self,
        carried: Carried,
        at: &dyn Fn() -> String,
        faults: &mut Faults,
    ) -> Option<Publish> {
        if self.refused {
            return None;
        }
        if let Some(error) = self.unsafe_number {
            faults.json(&error);
        }
        if matches!((&self.event, &self.type_), (Some(a), Some(b)) if a != b) {
            faults.field(
                &at(),
                "type",
                "says something else than `event`: give one of them",
            );
        }
        if matches!((&self.data, &self.payload), (Some(a), Some(b)) if a != b) {
            faults.field(
                &at(),
                "payload",
                "says something else than `data`: give one of them",
            );
        }
        let Some(event_type) = self.event.or(self.type_) else {
            if !self.named {
                faults.field(
                    &at(),
                    "event",
                    "is required: the event's type, such as `workflow.completed`",
                );
            }
            return None;
        };
        Some(Publish {
            event_type,
            // S0's events may have none; their receivers read `data` as an object.
            data: self
                .data
                .or(self.payload)
                .unwrap_or_else(|| Bytes::from_static(b"{}")),
            id: self.id,
            timestamp: self.timestamp,
            hops: carried.hops,
            idempotency_key: carried.idempotency_key,
        })
    }
}
