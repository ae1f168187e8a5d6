//! Replays: durable jobs whose cursor moves in the same transaction that stores their deliveries.
//!
//! Candidates are bounded by the replay's own id and time: what was accepted, or died, after it
//! was asked for is none, so a replay ends even if what it sends fails again.

use domain::{
    EventKey, ReplayId, Timestamp, WebhookId, WorkspaceId,
    event::Event,
    replay::{Replay, ReplayScope},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::{
    events::{by_key, insert_delivery},
    row::{
        EVENT_COLUMNS, count, earliest_id, event as read_event, integer, latest_id, limit, time,
        time_or_null, uuid, uuid_or_null,
    },
    writer::Batch,
};
use crate::{
    NewDelivery, Page, ReplayBatch, StoreError,
    records::{ScopeColumns, replay_state, replay_state_number},
};

const COLUMNS: &str =
    "workspace, id, webhook, scope, event, since_ms, until_ms, state, examined, total, created,
     created_ms, finished_ms";

fn read(row: &Row<'_>) -> Result<Replay, StoreError> {
    let scope = ScopeColumns {
        scope: row.get(3)?,
        event: uuid_or_null(row, 4)?,
        since_ms: row.get(5)?,
        until_ms: row.get(6)?,
    };
    Ok(Replay {
        workspace: WorkspaceId::new(row.get(0)?),
        id: ReplayId::new(uuid(row, 1)?),
        webhook: WebhookId::new(uuid(row, 2)?),
        scope: scope.read()?,
        state: replay_state(row.get(7)?)?,
        examined: count(row.get(8)?),
        total: count(row.get(9)?),
        created: count(row.get(10)?),
        created_at: time(row, 11)?,
        finished_at: time_or_null(row, 12)?,
    })
}

fn read_all(mut rows: rusqlite::Rows<'_>) -> Result<Vec<Replay>, StoreError> {
    let mut replays = Vec::new();
    while let Some(row) = rows.next()? {
        replays.push(read(row)?);
    }
    Ok(replays)
}

/// How many candidates a replay has.
pub(super) fn total(conn: &Connection, replay: &Replay) -> Result<u64, StoreError> {
    let workspace = replay.workspace.number();
    let bound = replay.id.uuid();
    let total = match replay.scope {
        ReplayScope::Event { event } => {
            return Ok(u64::from(by_key(conn, replay.workspace, event)?.is_some()));
        }
        ReplayScope::Range { since, until } => conn.query_row(
            "SELECT count(*) FROM events
             WHERE workspace = ?1 AND key >= ?2 AND key < ?3 AND accepted_ms >= ?4 AND accepted_ms < ?5",
            params![
                workspace,
                earliest_id(since).as_bytes(),
                latest_id(until).min(bound).as_bytes(),
                since.ms(),
                until.ms()
            ],
            |row| row.get(0),
        )?,
        ReplayScope::FailedSince { since } => conn.query_row(
            "SELECT count(*) FROM deliveries INDEXED BY deliveries_dead
             WHERE workspace = ?1 AND webhook = ?2 AND state = 2 AND id < ?3 AND finished_ms BETWEEN ?4 AND ?5",
            params![
                workspace,
                replay.webhook.uuid().as_bytes(),
                bound.as_bytes(),
                since.ms(),
                replay.created_at.ms()
            ],
            |row| row.get(0),
        )?,
    };
    Ok(count(total))
}

/// See [`crate::Store::create_replay`]; `replay.total` was counted.
pub(super) fn create(batch: &mut Batch<'_, '_>, replay: &Replay) -> Result<(), StoreError> {
    let scope = ScopeColumns::new(replay.scope);
    let mut insert = batch.conn.prepare_cached(&format!(
        "INSERT INTO replays ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
    ))?;
    insert.execute(params![
        replay.workspace.number(),
        replay.id.uuid().as_bytes(),
        replay.webhook.uuid().as_bytes(),
        scope.scope,
        scope.event.map(Uuid::into_bytes),
        scope.since_ms,
        scope.until_ms,
        replay_state_number(replay.state),
        integer(replay.examined),
        integer(replay.total),
        integer(replay.created),
        replay.created_at.ms(),
        replay.finished_at.map(Timestamp::ms),
    ])?;
    Ok(())
}

/// See [`crate::Store::replay`].
pub(super) fn by_id(
    conn: &Connection,
    workspace: WorkspaceId,
    id: ReplayId,
) -> Result<Option<Replay>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM replays WHERE workspace = ?1 AND id = ?2"
    ))?;
    let mut rows = find.query(params![workspace.number(), id.uuid().as_bytes()])?;
    rows.next()?.map(read).transpose()
}

/// See [`crate::Store::replays`].
pub(super) fn list(
    conn: &Connection,
    workspace: WorkspaceId,
    webhook: WebhookId,
    page: Page<ReplayId>,
) -> Result<Vec<Replay>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM replays WHERE workspace = ?1 AND webhook = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4"
    ))?;
    let after = page.after.map_or(Uuid::max(), ReplayId::uuid);
    let rows = find.query(params![
        workspace.number(),
        webhook.uuid().as_bytes(),
        after.as_bytes(),
        limit(page.limit)
    ])?;
    read_all(rows)
}

/// See [`crate::Store::running_replays`].
pub(super) fn running(conn: &Connection) -> Result<Vec<Replay>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM replays INDEXED BY replays_running WHERE state = 0 ORDER BY id"
    ))?;
    read_all(find.query([])?)
}

/// See [`crate::Store::replay_candidates`].
pub(super) fn candidates(
    conn: &Connection,
    replay: &Replay,
    most: usize,
) -> Result<ReplayBatch, StoreError> {
    let from = conn
        .prepare_cached("SELECT cursor FROM replays WHERE workspace = ?1 AND id = ?2")?
        .query_row(
            params![replay.workspace.number(), replay.id.uuid().as_bytes()],
            |row| uuid_or_null(row, 0),
        )
        .optional()?
        .flatten();
    // One more than asked for tells whether these are the last.
    let mut found = match replay.scope {
        ReplayScope::Event { event } => {
            let events = if from.is_none() {
                by_key(conn, replay.workspace, event)?
            } else {
                None
            };
            events
                .map(|event| (event.key.uuid(), Some(event)))
                .into_iter()
                .collect()
        }
        ReplayScope::Range { since, until } => {
            in_range(conn, replay, (since, until), from, most + 1)?
        }
        ReplayScope::FailedSince { since } => failed(conn, replay, since, from, most + 1)?,
    };
    let last = found.len() <= most;
    found.truncate(most);
    Ok(ReplayBatch {
        from,
        to: found.last().map(|(cursor, _)| *cursor).or(from),
        events: found.into_iter().filter_map(|(_, event)| event).collect(),
        last,
    })
}

/// Candidates, each with where the cursor stands behind it.
type Found = Vec<(Uuid, Option<Event>)>;

fn in_range(
    conn: &Connection,
    replay: &Replay,
    (since, until): (Timestamp, Timestamp),
    from: Option<Uuid>,
    most: usize,
) -> Result<Found, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {EVENT_COLUMNS} FROM events e
         WHERE workspace = ?1 AND key > ?2 AND key >= ?3 AND key < ?4 AND accepted_ms >= ?5 AND accepted_ms < ?6
         ORDER BY key LIMIT ?7"
    ))?;
    let mut rows = find.query(params![
        replay.workspace.number(),
        from.unwrap_or_default().as_bytes(),
        earliest_id(since).as_bytes(),
        latest_id(until).min(replay.id.uuid()).as_bytes(),
        since.ms(),
        until.ms(),
        limit(most)
    ])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let event = read_event(row, replay.workspace, 0)?;
        found.push((event.key.uuid(), Some(event)));
    }
    Ok(found)
}

fn failed(
    conn: &Connection,
    replay: &Replay,
    since: Timestamp,
    from: Option<Uuid>,
    most: usize,
) -> Result<Found, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT id, event FROM deliveries INDEXED BY deliveries_dead
         WHERE workspace = ?1 AND webhook = ?2 AND state = 2 AND id > ?3 AND id < ?4
           AND finished_ms BETWEEN ?5 AND ?6
         ORDER BY id LIMIT ?7",
    )?;
    let mut rows = find.query(params![
        replay.workspace.number(),
        replay.webhook.uuid().as_bytes(),
        from.unwrap_or_default().as_bytes(),
        replay.id.uuid().as_bytes(),
        since.ms(),
        replay.created_at.ms(),
        limit(most)
    ])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let event = by_key(conn, replay.workspace, EventKey::new(uuid(row, 1)?))?;
        found.push((uuid(row, 0)?, event));
    }
    Ok(found)
}

/// See [`crate::Store::advance_replay`].
pub(super) fn advance(
    batch: &mut Batch<'_, '_>,
    replay: &Replay,
    step: &ReplayBatch,
    deliveries: &[NewDelivery],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut move_cursor = batch.conn.prepare_cached(
        "UPDATE replays
         SET cursor = ?4, examined = examined + ?5, created = created + ?6,
             state = CASE WHEN ?7 THEN 1 ELSE 0 END, finished_ms = CASE WHEN ?7 THEN ?8 END
         WHERE workspace = ?1 AND id = ?2 AND state = 0 AND cursor IS ?3",
    )?;
    let moved = move_cursor.execute(params![
        replay.workspace.number(),
        replay.id.uuid().as_bytes(),
        step.from.map(Uuid::into_bytes),
        step.to.map(Uuid::into_bytes),
        limit(step.events.len()),
        limit(deliveries.len()),
        step.last,
        now.ms(),
    ])?;
    if moved == 0 {
        return Ok(false);
    }
    for delivery in deliveries {
        insert_delivery(batch, replay.workspace, delivery, now)?;
    }
    Ok(true)
}
