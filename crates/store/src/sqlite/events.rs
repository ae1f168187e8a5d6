//! Events in: stored with their deliveries, deduplicated, looked up.

use domain::{EventId, EventKey, Timestamp, WorkspaceId, event::Event};
use rusqlite::{Connection, OptionalExtension as _, params, types::Value};
use uuid::Uuid;

use super::{
    row::{
        Counts, EVENT_COLUMNS, corrupt, earliest_id, event as read_event, event_id, latest_id,
        limit, made_at, uuid,
    },
    writer::Batch,
};
use crate::{Accepted, EventFilter, NewDelivery, NewEvent, Page, StoreError};

/// `dedupe.kind` of a publisher's event id.
const BY_ID: i64 = 0;
/// `dedupe.kind` of an `Idempotency-Key`.
const BY_KEY: i64 = 1;

/// Stores events in order; see [`crate::Store::accept`].
pub(super) fn accept(
    batch: &mut Batch<'_, '_>,
    events: &[NewEvent],
) -> Result<Vec<Accepted>, StoreError> {
    let mut answers = Vec::with_capacity(events.len());
    for new in events {
        answers.push(if let Some((key, id)) = first_of(batch.conn, new)? {
            Accepted::Duplicate { key, id }
        } else {
            insert(batch, new)?;
            Accepted::New
        });
    }
    Ok(answers)
}

/// The event that `new` repeats.
fn first_of(conn: &Connection, new: &NewEvent) -> Result<Option<(EventKey, EventId)>, StoreError> {
    let workspace = new.event.workspace;
    if new.id_given {
        let id = &new.event.id;
        if let Some(first) = deduped(conn, workspace, BY_ID, id.as_str())? {
            return Ok(Some(first));
        }
        // The id may be one that an earlier event got for want of its own.
        if let Some(key) = generated(conn, workspace, id)? {
            return Ok(Some((key, id.clone())));
        }
    }
    match &new.idempotency_key {
        Some(text) => deduped(conn, workspace, BY_KEY, text),
        None => Ok(None),
    }
}

fn deduped(
    conn: &Connection,
    workspace: WorkspaceId,
    kind: i64,
    text: &str,
) -> Result<Option<(EventKey, EventId)>, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT event, event_id FROM dedupe WHERE workspace = ?1 AND kind = ?2 AND text = ?3",
    )?;
    let mut rows = find.query(params![workspace.number(), kind, text])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let key = EventKey::new(uuid(row, 0)?);
    let id = match kind {
        BY_ID => EventId::parse(text).map_err(|_| corrupt("an event id"))?,
        _ => event_id(row, 1, key)?,
    };
    Ok(Some((key, id)))
}

/// The event whose printed key is `id`, if it got no other.
fn generated(
    conn: &Connection,
    workspace: WorkspaceId,
    id: &EventId,
) -> Result<Option<EventKey>, StoreError> {
    let Ok(key) = id.as_str().parse::<EventKey>() else {
        return Ok(None);
    };
    let mut find = conn
        .prepare_cached("SELECT 1 FROM events WHERE workspace = ?1 AND key = ?2 AND id IS NULL")?;
    let found = find.exists(params![workspace.number(), key.uuid().as_bytes()])?;
    Ok(found.then_some(key))
}

fn insert(batch: &mut Batch<'_, '_>, new: &NewEvent) -> Result<(), StoreError> {
    let event = &new.event;
    let workspace = event.workspace.number();
    let key = event.key.uuid();
    let own_id =
        (new.id_given || event.id.as_str().parse() != Ok(event.key)).then(|| event.id.as_str());
    let first = new
        .deliveries
        .iter()
        .map(|delivery| delivery.id.uuid())
        .min();
    let last = new
        .deliveries
        .iter()
        .map(|delivery| delivery.id.uuid())
        .max()
        .filter(|last| Some(*last) != first);
    let happened = Some(event.timestamp)
        .filter(|at| *at != event.accepted_at)
        .map(Timestamp::ms);
    batch.hot.insert_event.execute(params![
        workspace,
        key.as_bytes(),
        event.event_type.as_str(),
        own_id,
        event.accepted_at.ms(),
        happened,
        event.hops,
        first.as_ref().map(Uuid::as_bytes),
        last.as_ref().map(Uuid::as_bytes),
        &event.data[..],
    ])?;
    if new.id_given {
        keep_dedupe(batch.conn, event, BY_ID, event.id.as_str(), None)?;
    }
    if let Some(text) = &new.idempotency_key {
        keep_dedupe(batch.conn, event, BY_KEY, text, own_id)?;
    }
    for delivery in &new.deliveries {
        insert_delivery(batch, event.workspace, delivery, event.accepted_at)?;
    }
    Ok(())
}

fn keep_dedupe(
    conn: &Connection,
    event: &Event,
    kind: i64,
    text: &str,
    id: Option<&str>,
) -> Result<(), StoreError> {
    let mut keep = conn.prepare_cached(
        "INSERT INTO dedupe (workspace, kind, text, event, event_id, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    keep.execute(params![
        event.workspace.number(),
        kind,
        text,
        event.key.uuid().as_bytes(),
        id,
        event.accepted_at.ms()
    ])?;
    Ok(())
}

/// Stores a delivery that is due at once.
pub(super) fn insert_delivery(
    batch: &mut Batch<'_, '_>,
    workspace: WorkspaceId,
    new: &NewDelivery,
    now: Timestamp,
) -> Result<(), StoreError> {
    batch.hot.insert_delivery.execute(params![
        workspace.number(),
        new.id.uuid().as_bytes(),
        new.event.uuid().as_bytes(),
        new.webhook.uuid().as_bytes(),
        now.ms(),
        if new.held { batch.epoch } else { 0 },
        new.ordered,
        now.ms(),
        new.replay.map(|replay| replay.uuid().into_bytes()),
    ])?;
    batch.tally.pending += 1;
    batch.tally.held += i64::from(new.held);
    batch.tally.add(
        workspace,
        new.webhook,
        made_at(new.id),
        Counts {
            made: 1,
            ..Counts::default()
        },
    );
    Ok(())
}

/// See [`crate::Store::event`].
pub(super) fn by_key(
    conn: &Connection,
    workspace: WorkspaceId,
    key: EventKey,
) -> Result<Option<Event>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {EVENT_COLUMNS} FROM events e WHERE workspace = ?1 AND key = ?2"
    ))?;
    let mut rows = find.query(params![workspace.number(), key.uuid().as_bytes()])?;
    rows.next()?
        .map(|row| read_event(row, workspace, 0))
        .transpose()
}

/// See [`crate::Store::event_by_id`].
pub(super) fn by_id(
    conn: &Connection,
    workspace: WorkspaceId,
    id: &EventId,
) -> Result<Option<Event>, StoreError> {
    if let Some(key) = generated(conn, workspace, id)? {
        return by_key(conn, workspace, key);
    }
    let mut find = conn.prepare_cached(
        "SELECT key FROM events WHERE workspace = ?1 AND id = ?2 AND id IS NOT NULL ORDER BY key DESC LIMIT 1",
    )?;
    let key = find
        .query_row(params![workspace.number(), id.as_str()], |row| uuid(row, 0))
        .optional()?;
    key.map_or(Ok(None), |key| by_key(conn, workspace, EventKey::new(key)))
}

/// See [`crate::Store::events`].
pub(super) fn list(
    conn: &Connection,
    workspace: WorkspaceId,
    filter: &EventFilter,
    page: Page<EventKey>,
) -> Result<Vec<Event>, StoreError> {
    let mut sql = format!("SELECT {EVENT_COLUMNS} FROM events e WHERE workspace = ?");
    let mut values = vec![Value::from(workspace.number())];
    if let Some(after) = page.after {
        sql += " AND key < ?";
        values.push(blob(after.uuid()));
    }
    if let Some(event_type) = &filter.event_type {
        sql += " AND type = ?";
        values.push(Value::from(event_type.as_str().to_owned()));
    }
    if let Some(since) = filter.since {
        sql += " AND key >= ? AND accepted_ms >= ?";
        values.extend([blob(earliest_id(since)), Value::from(since.ms())]);
    }
    if let Some(until) = filter.until {
        sql += " AND key < ? AND accepted_ms < ?";
        values.extend([blob(latest_id(until)), Value::from(until.ms())]);
    }
    sql += " ORDER BY key DESC LIMIT ?";
    values.push(Value::from(limit(page.limit)));
    let mut find = conn.prepare_cached(&sql)?;
    let mut rows = find.query(rusqlite::params_from_iter(values))?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(read_event(row, workspace, 0)?);
    }
    Ok(events)
}

/// An id for a dynamic parameter.
pub(super) fn blob(id: Uuid) -> Value {
    Value::Blob(id.into_bytes().to_vec())
}
