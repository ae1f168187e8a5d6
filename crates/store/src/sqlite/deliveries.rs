//! Deliveries: look-ups and lists, manual retry, burial. What is due stands in `due.rs`.

use domain::{
    DeliveryId, EventKey, ReplayId, Timestamp, WebhookId, WorkspaceId,
    delivery::{Delivery, DeliveryState},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params, types::Value};
use uuid::Uuid;

use super::{
    events::blob,
    row::{
        Counts, DEAD, DELIVERED, PENDING, earliest_id, error_class, event_id, event_type, limit,
        made_at, state, time, time_or_null, uuid, uuid_or_null,
    },
    webhooks::exists,
    writer::Batch,
};
use crate::{DeliveryFilter, DeliveryRow, Page, Retried, StoreError};

/// The columns that [`read`] reads, of a table called `d`.
pub(super) const COLUMNS: &str = "d.id, d.event, d.webhook, d.state, d.attempts, d.due_ms, d.created_ms, d.finished_ms, d.replay";

/// How many columns [`COLUMNS`] has.
pub(super) const COLUMN_COUNT: usize = 9;

/// Reads a delivery whose [`COLUMNS`] come first.
pub(super) fn read(row: &Row<'_>, workspace: WorkspaceId) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        workspace,
        id: DeliveryId::new(uuid(row, 0)?),
        event: EventKey::new(uuid(row, 1)?),
        webhook: WebhookId::new(uuid(row, 2)?),
        state: state(row.get(3)?)?,
        attempts: row.get(4)?,
        next_attempt_at: time_or_null(row, 5)?,
        created_at: time(row, 6)?,
        finished_at: time_or_null(row, 7)?,
        replay: uuid_or_null(row, 8)?.map(ReplayId::new),
    })
}

/// See [`crate::Store::delivery`].
pub(super) fn by_id(
    conn: &Connection,
    workspace: WorkspaceId,
    id: DeliveryId,
) -> Result<Option<Delivery>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM deliveries d WHERE workspace = ?1 AND id = ?2"
    ))?;
    let mut rows = find.query(params![workspace.number(), id.uuid().as_bytes()])?;
    rows.next()?.map(|row| read(row, workspace)).transpose()
}

/// See [`crate::Store::deliveries`].
pub(super) fn list(
    conn: &Connection,
    workspace: WorkspaceId,
    filter: &DeliveryFilter,
    page: Page<DeliveryId>,
) -> Result<Vec<DeliveryRow>, StoreError> {
    let Some((ids, mut values)) = ids_of_page(conn, workspace, filter, page)? else {
        return Ok(Vec::new());
    };
    values.push(Value::from(workspace.number()));
    // First the page's ids, out of an index as far as one serves; then the rows of those alone.
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS}, e.id, e.type, a.status, a.error
         FROM ({ids}) page
         CROSS JOIN deliveries d ON d.workspace = ? AND d.id = page.id
         JOIN events e ON e.workspace = d.workspace AND e.key = d.event
         LEFT JOIN attempts a ON a.row = d.last_attempt
         ORDER BY d.id DESC"
    ))?;
    let mut rows = find.query(rusqlite::params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let delivery = read(row, workspace)?;
        found.push(DeliveryRow {
            event_id: event_id(row, COLUMN_COUNT, delivery.event)?,
            event_type: event_type(row, COLUMN_COUNT + 1)?,
            last_status: row.get(COLUMN_COUNT + 2)?,
            last_error: error_class(row.get(COLUMN_COUNT + 3)?)?,
            delivery,
        });
    }
    Ok(found)
}

/// The query that finds a page's ids, with its values; `None` if the page is empty.
fn ids_of_page(
    conn: &Connection,
    workspace: WorkspaceId,
    filter: &DeliveryFilter,
    page: Page<DeliveryId>,
) -> Result<Option<(String, Vec<Value>)>, StoreError> {
    let (conditions, bound) = conditions(filter, page);
    let mut values = vec![Value::from(workspace.number())];
    let ids = if let Some(event) = filter.event {
        let Some((first, last)) = made_with(conn, workspace, event)? else {
            return Ok(None);
        };
        values.extend([blob(first), blob(last), blob(event.uuid())]);
        values.extend(bound.iter().cloned());
        values.extend([Value::from(workspace.number()), blob(event.uuid())]);
        values.extend(bound);
        format!(
            "SELECT id FROM deliveries
             WHERE workspace = ? AND id BETWEEN ? AND ? AND event = ? AND replay IS NULL{conditions}
             UNION ALL
             SELECT id FROM deliveries INDEXED BY deliveries_replayed
             WHERE workspace = ? AND event = ? AND replay IS NOT NULL{conditions}"
        )
    } else {
        values.extend(bound);
        let index = match (filter.state, filter.webhook) {
            (Some(DeliveryState::Pending), _) => "INDEXED BY deliveries_pending",
            (Some(DeliveryState::Dead), Some(_)) => "INDEXED BY deliveries_dead",
            (Some(DeliveryState::Dead), None) => "INDEXED BY deliveries_dead_all",
            (_, Some(_)) => "INDEXED BY deliveries_by_webhook",
            (_, None) => "NOT INDEXED",
        };
        format!("SELECT id FROM deliveries {index} WHERE workspace = ?{conditions}")
    };
    values.push(Value::from(limit(page.limit)));
    Ok(Some((format!("{ids} ORDER BY id DESC LIMIT ?"), values)))
}

/// What a filter and a page ask beside workspace and event.
fn conditions(filter: &DeliveryFilter, page: Page<DeliveryId>) -> (String, Vec<Value>) {
    let mut sql = String::new();
    let mut values = Vec::new();
    if let Some(state) = filter.state {
        // As a literal, so that the partial indexes can be used.
        sql += match state {
            DeliveryState::Pending => " AND state = 0",
            DeliveryState::Delivered => " AND state = 1",
            DeliveryState::Dead => " AND state = 2",
        };
    }
    if let Some(webhook) = filter.webhook {
        sql += " AND webhook = ?";
        values.push(blob(webhook.uuid()));
    }
    if let Some(since) = filter.since {
        sql += " AND id >= ? AND created_ms >= ?";
        values.extend([blob(earliest_id(since)), Value::from(since.ms())]);
    }
    if let Some(after) = page.after {
        sql += " AND id < ?";
        values.push(blob(after.uuid()));
    }
    (sql, values)
}

/// Between which ids the deliveries lie that were made along with an event; nil ids if none
/// were, `None` if there is no such event.
pub(super) fn made_with(
    conn: &Connection,
    workspace: WorkspaceId,
    event: EventKey,
) -> Result<Option<(Uuid, Uuid)>, StoreError> {
    let mut find =
        conn.prepare_cached("SELECT first, last FROM events WHERE workspace = ?1 AND key = ?2")?;
    let range = find
        .query_row(
            params![workspace.number(), event.uuid().as_bytes()],
            |row| {
                let first = uuid_or_null(row, 0)?.unwrap_or_default();
                Ok((first, uuid_or_null(row, 1)?.unwrap_or(first)))
            },
        )
        .optional()?;
    Ok(range)
}

/// See [`crate::Store::retry`].
pub(super) fn retry(
    batch: &mut Batch<'_, '_>,
    workspace: WorkspaceId,
    id: DeliveryId,
    now: Timestamp,
) -> Result<Retried, StoreError> {
    let mut find = batch.conn.prepare_cached(
        "SELECT webhook, state, held_by FROM deliveries WHERE workspace = ?1 AND id = ?2",
    )?;
    let found = find
        .query_row(params![workspace.number(), id.uuid().as_bytes()], |row| {
            Ok((
                WebhookId::new(uuid(row, 0)?),
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
            ))
        })
        .optional()?;
    let Some((webhook, state, held_by)) = found else {
        return Ok(Retried::Unknown);
    };
    if state == PENDING && held_by == batch.epoch {
        return Ok(Retried::InFlight(webhook));
    }
    let mut put = batch.conn.prepare_cached(
        "UPDATE deliveries
         SET state = 0, due_ms = ?3, held_by = 0, finished_ms = NULL
         WHERE workspace = ?1 AND id = ?2",
    )?;
    put.execute(params![workspace.number(), id.uuid().as_bytes(), now.ms()])?;
    if state != PENDING {
        batch.tally.pending += 1;
        let back = Counts {
            delivered: -i64::from(state == DELIVERED),
            dead: -i64::from(state == DEAD),
            ..Counts::default()
        };
        batch.tally.add(workspace, webhook, made_at(id), back);
    }
    Ok(Retried::Due(webhook))
}

/// Webhooks that no longer exist but have pending deliveries that nobody holds; at most `most`.
pub(super) fn orphaned(
    conn: &Connection,
    epoch: i64,
    most: usize,
) -> Result<Vec<(WorkspaceId, WebhookId)>, StoreError> {
    let mut orphaned = Vec::new();
    let mut after = None;
    while let Some((workspace, webhook)) = super::due::next_pending(conn, after)? {
        if !exists(conn, workspace, webhook)?
            && !super::due::holders(conn, workspace, webhook, epoch)?.is_empty()
        {
            orphaned.push((workspace, webhook));
            if orphaned.len() >= most {
                break;
            }
        }
        after = Some((workspace, webhook));
    }
    Ok(orphaned)
}

/// Moves up to `most` pending deliveries of these webhooks to dead, where the webhooks (still)
/// do not exist; see [`crate::Store::bury_orphans`].
pub(super) fn bury(
    batch: &mut Batch<'_, '_>,
    webhooks: &[(WorkspaceId, WebhookId)],
    now: Timestamp,
    most: usize,
) -> Result<usize, StoreError> {
    let mut bury = batch.conn.prepare_cached(
        "UPDATE deliveries SET state = 2, due_ms = NULL, held_by = 0, finished_ms = ?3
         WHERE workspace = ?1 AND id = ?2",
    )?;
    let mut buried = 0;
    for &(workspace, webhook) in webhooks {
        if exists(batch.conn, workspace, webhook)? {
            continue;
        }
        for id in pending_of(batch, workspace, webhook, most - buried)? {
            bury.execute(params![workspace.number(), id.uuid().as_bytes(), now.ms()])?;
            batch.tally.pending -= 1;
            batch.tally.add(
                workspace,
                webhook,
                made_at(id),
                Counts {
                    dead: 1,
                    ..Counts::default()
                },
            );
            buried += 1;
        }
    }
    Ok(buried)
}

/// Up to `most` of a webhook's pending deliveries that this process does not hold.
fn pending_of(
    batch: &Batch<'_, '_>,
    workspace: WorkspaceId,
    webhook: WebhookId,
    most: usize,
) -> Result<Vec<DeliveryId>, StoreError> {
    let mut find = batch.conn.prepare_cached(
        "SELECT id FROM deliveries INDEXED BY deliveries_pending
         WHERE workspace = ?1 AND webhook = ?2 AND state = 0 AND held_by < ?3 LIMIT ?4",
    )?;
    let rows = find.query_map(
        params![
            workspace.number(),
            webhook.uuid().as_bytes(),
            batch.epoch,
            limit(most)
        ],
        |row| uuid(row, 0).map(DeliveryId::new),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}
