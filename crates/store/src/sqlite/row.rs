//! How values stand in columns: ids as BLOBs, times as milliseconds, enumerations as integers.
//!
//! What cannot be read back is a corrupt file or a bug, never a caller's fault: it becomes
//! [`StoreError::Failed`] with the name of what was wrong.

use domain::{
    EventId, EventKey, Timestamp, WorkspaceId,
    event::{Event, EventType},
};
use rusqlite::{Error, Row, ffi::ErrorCode};
use uuid::Uuid;

pub(super) use crate::columns::{
    Counts, DEAD, DELIVERED, DURATIONS_MAX, PENDING, corrupt, count, earliest_id, error_class,
    error_number, integer, latest_id, least_id, limit, made_at, percentile, role, role_number,
    scope_bits, scopes, slot, state,
};

use crate::StoreError;

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        if let Error::SqliteFailure(failure, _) = &error {
            // The shared-memory file beside the database cannot grow on a full disk either.
            let no_room = failure.code == ErrorCode::DiskFull
                || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
            if no_room {
                return Self::Full;
            }
        }
        Self::Failed(error.to_string())
    }
}

/// Reads an id.
pub(super) fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    row.get::<_, [u8; 16]>(column).map(Uuid::from_bytes)
}

/// Reads an id that may be missing.
pub(super) fn uuid_or_null(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Uuid>> {
    Ok(row
        .get::<_, Option<[u8; 16]>>(column)?
        .map(Uuid::from_bytes))
}

/// Reads a time.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_ms)
}

/// Reads a time that may be missing.
pub(super) fn time_or_null(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_ms))
}

/// The columns that [`event`] reads, of a table called `e`.
pub(super) const EVENT_COLUMNS: &str =
    "e.key, e.type, e.id, e.accepted_ms, e.happened_ms, e.hops, e.data";

/// Reads an event whose [`EVENT_COLUMNS`] begin at `column`.
pub(super) fn event(
    row: &Row<'_>,
    workspace: WorkspaceId,
    column: usize,
) -> Result<Event, StoreError> {
    let key = EventKey::new(uuid(row, column)?);
    let accepted_at = time(row, column + 3)?;
    Ok(Event {
        workspace,
        key,
        event_type: event_type(row, column + 1)?,
        id: event_id(row, column + 2, key)?,
        accepted_at,
        timestamp: time_or_null(row, column + 4)?.unwrap_or(accepted_at),
        hops: row.get(column + 5)?,
        data: row.get::<_, Vec<u8>>(column + 6)?.into(),
    })
}

/// Reads an event type's name.
pub(super) fn event_type(row: &Row<'_>, column: usize) -> Result<EventType, StoreError> {
    let name = row
        .get_ref(column)?
        .as_str()
        .map_err(|_| corrupt("an event type"))?;
    EventType::parse(name).map_err(|_| corrupt("an event type"))
}

/// Reads the public id of the event with this key: null stands for the printed key.
pub(super) fn event_id(row: &Row<'_>, column: usize, key: EventKey) -> Result<EventId, StoreError> {
    match row
        .get_ref(column)?
        .as_str_or_null()
        .map_err(|_| corrupt("an event id"))?
    {
        Some(text) => EventId::parse(text).map_err(|_| corrupt("an event id")),
        None => Ok(EventId::from_key(key)),
    }
}
