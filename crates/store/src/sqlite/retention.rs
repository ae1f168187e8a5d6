//! Retention: removes what is old in short steps.
//!
//! A pass walks the events of each workspace from the oldest on and remembers where it stands,
//! so that what must stay (events with pending deliveries) is looked at once a pass, not once a
//! step. At its end the statistics that are as old go too.

use domain::{EventKey, Timestamp, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::{
    attempts::remove as remove_attempts,
    row::{PENDING, least_id, limit, slot, uuid, uuid_or_null},
    writer::Batch,
};
use crate::{Pruned, StoreError};

/// See [`crate::Store::prune`].
pub(super) fn prune(
    batch: &mut Batch<'_, '_>,
    before: Timestamp,
    keys_before: Timestamp,
    most: usize,
) -> Result<Pruned, StoreError> {
    let mut pruned = Pruned::default();
    let old = next_events(batch, before, most)?;
    for event in &old {
        if !has_pending(batch.conn, event)? {
            remove(batch.conn, event, &mut pruned)?;
        }
    }
    batch.kept.pruned_to = old.last().map(|event| (event.workspace, event.key));
    if old.len() < most {
        batch.kept.pruned_to = None;
        remove_counts(batch.conn, before)?;
    } else {
        pruned.more = true;
    }
    for table in ["dedupe", "kept_answers"] {
        let removed = remove_keys(batch.conn, table, keys_before, most)?;
        pruned.keys += removed;
        pruned.more |= removed == most;
    }
    Ok(pruned)
}

struct OldEvent {
    row: i64,
    workspace: WorkspaceId,
    key: EventKey,
    /// Between which ids the deliveries lie that were made with it.
    made: Option<(Uuid, Uuid)>,
}

/// The next events of the pass, over as many workspaces as it takes.
fn next_events(
    batch: &Batch<'_, '_>,
    before: Timestamp,
    most: usize,
) -> Result<Vec<OldEvent>, StoreError> {
    let mut next_workspace = batch.conn.prepare_cached(
        "SELECT workspace FROM events WHERE workspace > ?1 ORDER BY workspace LIMIT 1",
    )?;
    let mut find = batch.conn.prepare_cached(
        "SELECT row, key, first, last FROM events
         WHERE workspace = ?1 AND key > ?2 AND key < ?3 AND accepted_ms < ?4 ORDER BY key LIMIT ?5",
    )?;
    let mut found = Vec::new();
    let (mut workspace, mut after) = match batch.kept.pruned_to {
        Some((workspace, key)) => (Some(workspace.number()), key.uuid()),
        None => (
            next_workspace
                .query_row([i64::MIN], |row| row.get(0))
                .optional()?,
            Uuid::nil(),
        ),
    };
    while let Some(number) = workspace {
        let end = least_id(before);
        let room = limit(most - found.len());
        let values = params![number, after.as_bytes(), end.as_bytes(), before.ms(), room];
        let rows = find.query_map(values, |row| {
            let first = uuid_or_null(row, 2)?;
            let last = uuid_or_null(row, 3)?;
            Ok(OldEvent {
                row: row.get(0)?,
                workspace: WorkspaceId::new(number),
                key: EventKey::new(uuid(row, 1)?),
                made: first.map(|first| (first, last.unwrap_or(first))),
            })
        })?;
        found.extend(rows.collect::<Result<Vec<_>, _>>()?);
        if found.len() >= most {
            break;
        }
        workspace = next_workspace
            .query_row([number], |row| row.get(0))
            .optional()?;
        after = Uuid::nil();
    }
    Ok(found)
}

fn has_pending(conn: &Connection, event: &OldEvent) -> Result<bool, StoreError> {
    Ok(deliveries_of(conn, event)?
        .iter()
        .any(|delivery| delivery.state == PENDING))
}

struct OldDelivery {
    id: Uuid,
    state: i64,
    last_attempt: Option<i64>,
}

fn deliveries_of(conn: &Connection, event: &OldEvent) -> Result<Vec<OldDelivery>, StoreError> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(OldDelivery {
            id: uuid(row, 0)?,
            state: row.get(1)?,
            last_attempt: row.get(2)?,
        })
    };
    let workspace = event.workspace.number();
    let key = event.key.uuid();
    let mut replayed = conn.prepare_cached(
        "SELECT id, state, last_attempt FROM deliveries INDEXED BY deliveries_replayed
         WHERE workspace = ?1 AND event = ?2 AND replay IS NOT NULL",
    )?;
    let mut found = replayed
        .query_map(params![workspace, key.as_bytes()], read)?
        .collect::<Result<Vec<_>, _>>()?;
    if let Some((first, last)) = event.made {
        let mut made = conn.prepare_cached(
            "SELECT id, state, last_attempt FROM deliveries
             WHERE workspace = ?1 AND id BETWEEN ?2 AND ?3 AND event = ?4 AND replay IS NULL",
        )?;
        let rows = made.query_map(
            params![workspace, first.as_bytes(), last.as_bytes(), key.as_bytes()],
            read,
        )?;
        found.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(found)
}

fn remove(conn: &Connection, event: &OldEvent, pruned: &mut Pruned) -> Result<(), StoreError> {
    let mut remove_delivery =
        conn.prepare_cached("DELETE FROM deliveries WHERE workspace = ?1 AND id = ?2")?;
    for delivery in deliveries_of(conn, event)? {
        pruned.attempts += remove_attempts(conn, delivery.last_attempt)?;
        pruned.deliveries +=
            remove_delivery.execute(params![event.workspace.number(), delivery.id.as_bytes()])?;
    }
    pruned.events += conn
        .prepare_cached("DELETE FROM events WHERE row = ?1")?
        .execute([event.row])?;
    Ok(())
}

/// Removes the oldest of what was stored in this order and before `before`.
fn remove_keys(
    conn: &Connection,
    table: &str,
    before: Timestamp,
    most: usize,
) -> Result<usize, StoreError> {
    let mut remove = conn.prepare_cached(&format!(
        "DELETE FROM {table}
         WHERE row IN (SELECT row FROM {table} ORDER BY row LIMIT ?2) AND created_ms < ?1"
    ))?;
    Ok(remove.execute(params![before.ms(), limit(most)])?)
}

/// Removes statistics of slots that ended before `before`, webhook by webhook.
fn remove_counts(conn: &Connection, before: Timestamp) -> Result<(), StoreError> {
    let mut next_workspace = conn.prepare_cached(
        "SELECT workspace FROM webhook_counts WHERE workspace > ?1 ORDER BY workspace LIMIT 1",
    )?;
    let mut next_webhook = conn.prepare_cached(
        "SELECT webhook FROM webhook_counts WHERE workspace = ?1 AND webhook > ?2
         ORDER BY webhook LIMIT 1",
    )?;
    let mut remove = conn.prepare_cached(
        "DELETE FROM webhook_counts WHERE workspace = ?1 AND webhook = ?2 AND slot < ?3",
    )?;
    let mut workspace = i64::MIN;
    while let Some(next) = next_workspace
        .query_row([workspace], |row| row.get(0))
        .optional()?
    {
        workspace = next;
        let mut webhook = Uuid::nil();
        while let Some(next) = next_webhook
            .query_row(params![workspace, webhook.as_bytes()], |row| uuid(row, 0))
            .optional()?
        {
            webhook = next;
            remove.execute(params![workspace, webhook.as_bytes(), slot(before)])?;
        }
    }
    Ok(())
}
