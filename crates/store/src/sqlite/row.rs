//! How values stand in columns: ids as BLOBs, times as milliseconds, enumerations as integers.
//!
//! What cannot be read back is a corrupt file or a bug, never a caller's fault: it becomes
//! [`StoreError::Failed`] with the name of what was wrong.

use domain::{
    EventId, EventKey, Timestamp, WorkspaceId,
    access::{Role, Scope},
    attempt::ErrorClass,
    delivery::DeliveryState,
    event::{Event, EventType},
};
use rusqlite::{Error, Row, ffi::ErrorCode};
use uuid::Uuid;

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

/// A column that holds what this program never writes.
pub(super) fn corrupt(what: &str) -> StoreError {
    StoreError::Failed(format!("the database holds {what} that cannot be read"))
}

/// A count from a database column, which is never negative.
pub(super) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A count for a database column.
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A limit for a `LIMIT` clause.
pub(super) fn limit(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
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

/// The least UUID of version 7 that can have been made at `at`: ids of records made at or after
/// that time are not less.
pub(super) fn least_id(at: Timestamp) -> Uuid {
    let ms = u64::try_from(at.ms()).unwrap_or(0);
    if ms >= 1 << 48 {
        return Uuid::max();
    }
    Uuid::from_u128(u128::from(ms) << 80)
}

pub(super) const PENDING: i64 = 0;
pub(super) const DELIVERED: i64 = 1;
pub(super) const DEAD: i64 = 2;

pub(super) fn state(number: i64) -> Result<DeliveryState, StoreError> {
    match number {
        PENDING => Ok(DeliveryState::Pending),
        DELIVERED => Ok(DeliveryState::Delivered),
        DEAD => Ok(DeliveryState::Dead),
        _ => Err(corrupt("a delivery state")),
    }
}

pub(super) fn error_number(class: ErrorClass) -> i64 {
    ErrorClass::ALL
        .iter()
        .position(|other| *other == class)
        .map_or(-1, limit)
}

pub(super) fn error_class(number: Option<i64>) -> Result<Option<ErrorClass>, StoreError> {
    number
        .map(|number| {
            usize::try_from(number)
                .ok()
                .and_then(|index| ErrorClass::ALL.get(index).copied())
                .ok_or_else(|| corrupt("an error class"))
        })
        .transpose()
}

pub(super) fn role_number(role: Role) -> i64 {
    Role::ALL
        .iter()
        .position(|other| *other == role)
        .map_or(-1, limit)
}

pub(super) fn role(number: i64) -> Result<Role, StoreError> {
    usize::try_from(number)
        .ok()
        .and_then(|index| Role::ALL.get(index).copied())
        .ok_or_else(|| corrupt("a role"))
}

pub(super) fn scope_bits(scopes: &[Scope]) -> i64 {
    Scope::ALL
        .iter()
        .enumerate()
        .filter(|(_, scope)| scopes.contains(scope))
        .fold(0, |bits, (index, _)| bits | 1 << index)
}

pub(super) fn scopes(bits: i64) -> Vec<Scope> {
    Scope::ALL
        .into_iter()
        .enumerate()
        .filter(|(index, _)| bits & 1 << index != 0)
        .map(|(_, scope)| scope)
        .collect()
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
