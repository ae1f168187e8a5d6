//! How values stand in columns of PostgreSQL, beyond what every database shares.

use std::borrow::Cow;

use domain::{
    EventId, EventKey, Timestamp, WorkspaceId,
    event::{Event, EventType},
};
use tokio_postgres::{Error, Row, error::SqlState, types::FromSql};

use crate::StoreError;
pub(super) use crate::columns::{
    Counts, DEAD, DELIVERED, DURATIONS_MAX, PENDING, corrupt, count, earliest_id, error_class,
    error_number, integer, latest_id, least_id, limit, made_at, percentile, role, role_number,
    scope_bits, scopes, slot, state,
};

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let Some(said) = error.as_db_error() else {
            // Nothing that the database said: the connection itself.
            return match std::error::Error::source(&error) {
                Some(source) if !error.is_closed() => {
                    let text = format!("{error}: {source}");
                    if is_of_the_wire(&error) {
                        Self::Unavailable(text)
                    } else {
                        Self::Failed(text)
                    }
                }
                _ if error.is_closed() => Self::Unavailable("the connection was closed".to_owned()),
                _ => Self::Unavailable(error.to_string()),
            };
        };
        let text = format!("{} ({})", said.message(), said.code().code());
        match said.code() {
            &SqlState::DISK_FULL => Self::Full,
            code if is_passing(code) => Self::Unavailable(text),
            _ => Self::Failed(text),
        }
    }
}

/// Whether an error without a word of the database came from the connection, and not from values
/// that do not fit their columns.
fn is_of_the_wire(error: &Error) -> bool {
    let text = error.to_string();
    !(text.starts_with("error serializing parameter")
        || text.starts_with("error deserializing column"))
}

/// What may be otherwise a moment later: the server goes down or comes up, a lock or a deadlock
/// was in the way.
fn is_passing(code: &SqlState) -> bool {
    // Class 08 is about connections, 57P about an operator's interventions.
    code.code().starts_with("08")
        || [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::QUERY_CANCELED,
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            // Of statements sent together, an earlier one failed; what it said may be heard later.
            SqlState::IN_FAILED_SQL_TRANSACTION,
        ]
        .contains(code)
}

/// Whether a unique index refused a row.
pub(super) fn is_conflict(error: &Error) -> bool {
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
}

/// [`StoreError::Busy`] where a unique index refused a row: somebody else has stored the same a
/// moment ago, and the next look finds it.
pub(super) fn busy_if_taken(error: Error) -> StoreError {
    if is_conflict(&error) {
        StoreError::Busy
    } else {
        error.into()
    }
}

/// Whether a row fits no partition.
pub(super) fn lacks_partition(error: &Error) -> bool {
    error.code() == Some(&SqlState::CHECK_VIOLATION)
}

/// Reads a column; what does not fit is a bug or somebody else's hand in the database.
pub(super) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, StoreError> {
    row.try_get(column)
        .map_err(|error| corrupt(&format!("a value ({error})")))
}

/// Reads a time.
pub(super) fn time(row: &Row, column: usize) -> Result<Timestamp, StoreError> {
    get(row, column).map(Timestamp::from_ms)
}

/// Reads a time that may be missing.
pub(super) fn time_or_null(row: &Row, column: usize) -> Result<Option<Timestamp>, StoreError> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_ms))
}

/// Reads a number that is never negative.
pub(super) fn unsigned(row: &Row, column: usize) -> Result<u64, StoreError> {
    get(row, column).map(count)
}

/// A small number for a `SMALLINT` column.
pub(super) fn small(value: i64) -> i16 {
    i16::try_from(value).unwrap_or(i16::MAX)
}

/// Reads a small number.
pub(super) fn number(row: &Row, column: usize) -> Result<i64, StoreError> {
    get::<i16>(row, column).map(i64::from)
}

/// Reads a small number that may be missing.
pub(super) fn number_or_null(row: &Row, column: usize) -> Result<Option<i64>, StoreError> {
    Ok(get::<Option<i16>>(row, column)?.map(i64::from))
}

/// Reads an HTTP status that may be missing.
pub(super) fn status(row: &Row, column: usize) -> Result<Option<u16>, StoreError> {
    get::<Option<i16>>(row, column)?
        .map(|status| u16::try_from(status).map_err(|_| corrupt("a status")))
        .transpose()
}

/// Stands in a column before what it stands for: `0` for U+0000, `1` for itself.
const ESCAPE: char = '\u{1}';

/// Text that came from outside, for a column: PostgreSQL's TEXT cannot hold U+0000, so that is
/// written as U+0001 `0`, and U+0001 itself as U+0001 `1`. [`text`] gives back exactly what it was.
/// Different texts stay different, so what is stored so can be looked up so.
pub(super) fn stored(text: &str) -> Cow<'_, str> {
    if text.contains(['\0', ESCAPE]) {
        // The escape first: it must not meet those that stand for U+0000.
        text.replace(ESCAPE, "\u{1}1")
            .replace('\0', "\u{1}0")
            .into()
    } else {
        text.into()
    }
}

/// [`stored`] for what may be missing.
pub(super) fn stored_or_null(text: Option<&str>) -> Option<Cow<'_, str>> {
    text.map(stored)
}

fn restored(text: &str) -> String {
    text.replace("\u{1}0", "\0").replace("\u{1}1", "\u{1}")
}

/// Reads text that was written as [`stored`].
pub(super) fn text(row: &Row, column: usize) -> Result<String, StoreError> {
    get(row, column).map(restored)
}

/// Reads text that was written as [`stored`] and may be missing.
pub(super) fn text_or_null(row: &Row, column: usize) -> Result<Option<String>, StoreError> {
    Ok(get::<Option<&str>>(row, column)?.map(restored))
}

/// The columns that [`event`] reads, of a table called `e`.
pub(super) const EVENT_COLUMNS: &str =
    "e.key, e.type, e.id, e.accepted_ms, e.happened_ms, e.hops, e.data";

/// Reads an event whose [`EVENT_COLUMNS`] begin at `column`.
pub(super) fn event(row: &Row, workspace: WorkspaceId, column: usize) -> Result<Event, StoreError> {
    let key = EventKey::new(get(row, column)?);
    let accepted_at = time(row, column + 3)?;
    Ok(Event {
        workspace,
        key,
        event_type: event_type(row, column + 1)?,
        id: event_id(row, column + 2, key)?,
        accepted_at,
        timestamp: time_or_null(row, column + 4)?.unwrap_or(accepted_at),
        hops: u8::try_from(get::<i16>(row, column + 5)?)
            .map_err(|_| corrupt("a number of hops"))?,
        data: get::<Vec<u8>>(row, column + 6)?.into(),
    })
}

/// Reads an event type's name.
pub(super) fn event_type(row: &Row, column: usize) -> Result<EventType, StoreError> {
    EventType::parse(get::<&str>(row, column)?).map_err(|_| corrupt("an event type"))
}

/// Reads the public id of the event with this key: null stands for the printed key.
pub(super) fn event_id(row: &Row, column: usize, key: EventKey) -> Result<EventId, StoreError> {
    match get::<Option<&str>>(row, column)? {
        Some(text) => EventId::parse(text).map_err(|_| corrupt("an event id")),
        None => Ok(EventId::from_key(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::{restored, stored};

    #[test]
    fn any_text_comes_back() {
        for text in [
            "",
            "plain",
            "\0",
            "a\0b",
            "\u{1}",
            "\u{1}0",
            "\u{1}1\0",
            "\0\u{1}\u{1}0\0",
        ] {
            let kept = stored(text);
            assert!(!kept.contains('\0'), "{text:?}");
            assert_eq!(restored(&kept), text, "{text:?}");
        }
    }
}
