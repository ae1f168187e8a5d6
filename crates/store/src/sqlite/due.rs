//! What is due: claims, releases, due times.
//!
//! A pending delivery is held if its `held_by` is the present epoch. Rows of an older epoch were
//! held by a process that is gone and count as held by nobody. `deliveries_pending` is ordered
//! by holder, then due time, so each question is a few seeks in it: one for each holder that a
//! webhook's rows still name (0, and seldom an older epoch). What one dead webhook has piled up
//! is never walked through.

use domain::{DeliveryId, Timestamp, WebhookId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::{
    deliveries::{COLUMN_COUNT, COLUMNS, read},
    row::{EVENT_COLUMNS, event as read_event, limit, time, uuid},
    writer::Batch,
};
use crate::{Claim, Claimed, Due, Lease, StoreError};

pub(super) const NEXT_WEBHOOK: &str =
    "SELECT workspace, webhook FROM deliveries INDEXED BY deliveries_pending
     WHERE state = 0 AND workspace = ?1 AND webhook > ?2 ORDER BY webhook LIMIT 1";
pub(super) const NEXT_WORKSPACE: &str =
    "SELECT workspace, webhook FROM deliveries INDEXED BY deliveries_pending
     WHERE state = 0 AND workspace > ?1 ORDER BY workspace, webhook LIMIT 1";
pub(super) const NEXT_HOLDER: &str = "SELECT held_by FROM deliveries INDEXED BY deliveries_pending
     WHERE workspace = ?1 AND webhook = ?2 AND state = 0 AND held_by > ?3 AND held_by < ?4
     ORDER BY held_by LIMIT 1";
pub(super) const FIRST_DUE: &str = "SELECT due_ms FROM deliveries INDEXED BY deliveries_pending
     WHERE workspace = ?1 AND webhook = ?2 AND state = 0 AND held_by = ?3
     ORDER BY due_ms LIMIT 1";
pub(super) const DUE_OF_HOLDER: &str =
    "SELECT due_ms, id FROM deliveries INDEXED BY deliveries_pending
     WHERE workspace = ?1 AND webhook = ?2 AND state = 0 AND held_by = ?3 AND due_ms <= ?4
     ORDER BY due_ms, id LIMIT ?5";
pub(super) const FIRST_IN_ORDER: &str =
    "SELECT id, held_by FROM deliveries INDEXED BY deliveries_ordered
     WHERE workspace = ?1 AND webhook = ?2 AND state = 0 AND ordered = 1
     ORDER BY id LIMIT ?3";

/// The next webhook, in order, that has pending deliveries.
pub(super) fn next_pending(
    conn: &Connection,
    after: Option<(WorkspaceId, WebhookId)>,
) -> Result<Option<(WorkspaceId, WebhookId)>, StoreError> {
    let read = |row: &Row<'_>| Ok((WorkspaceId::new(row.get(0)?), WebhookId::new(uuid(row, 1)?)));
    // Two seeks, since a comparison of pairs would walk through the rest of the first webhook.
    if let Some((workspace, webhook)) = after {
        let key = webhook.uuid();
        let next = conn
            .prepare_cached(NEXT_WEBHOOK)?
            .query_row(params![workspace.number(), key.as_bytes()], read)
            .optional()?;
        if next.is_some() {
            return Ok(next);
        }
    }
    let workspace = after.map_or(i64::MIN, |(workspace, _)| workspace.number());
    Ok(conn
        .prepare_cached(NEXT_WORKSPACE)?
        .query_row([workspace], read)
        .optional()?)
}

/// Which holders but the present one a webhook's pending deliveries name: those are free.
pub(super) fn holders(
    conn: &Connection,
    workspace: WorkspaceId,
    webhook: WebhookId,
    epoch: i64,
) -> Result<Vec<i64>, StoreError> {
    let mut find = conn.prepare_cached(NEXT_HOLDER)?;
    let mut holders = Vec::new();
    loop {
        let last = holders.last().copied().unwrap_or(-1);
        let next = find
            .query_row(
                params![workspace.number(), webhook.uuid().as_bytes(), last, epoch],
                |row| row.get(0),
            )
            .optional()?;
        match next {
            Some(holder) => holders.push(holder),
            None => return Ok(holders),
        }
    }
}

/// See [`crate::Store::next_due`].
pub(super) fn next_due(
    conn: &Connection,
    epoch: i64,
    workspace: WorkspaceId,
    webhook: WebhookId,
) -> Result<Option<Timestamp>, StoreError> {
    let mut find = conn.prepare_cached(FIRST_DUE)?;
    let mut earliest = None;
    for holder in holders(conn, workspace, webhook, epoch)? {
        let due = find
            .query_row(
                params![workspace.number(), webhook.uuid().as_bytes(), holder],
                |row| time(row, 0),
            )
            .optional()?;
        earliest = [earliest, due].into_iter().flatten().min();
    }
    Ok(earliest)
}

/// See [`crate::Store::due`].
pub(super) fn due(
    conn: &Connection,
    epoch: i64,
    mut after: Option<(WorkspaceId, WebhookId)>,
    most: usize,
) -> Result<Vec<Due>, StoreError> {
    let mut found = Vec::new();
    while found.len() < most {
        let Some((workspace, webhook)) = next_pending(conn, after)? else {
            break;
        };
        if let Some(at) = next_due(conn, epoch, workspace, webhook)? {
            found.push(Due {
                workspace,
                webhook,
                at,
            });
        }
        after = Some((workspace, webhook));
    }
    Ok(found)
}

/// See [`crate::Store::claim`].
pub(super) fn claim(batch: &mut Batch<'_, '_>, claim: &Claim) -> Result<Vec<Claimed>, StoreError> {
    let ids = if claim.ordered {
        first_in_order(batch, claim)?
    } else {
        first_due(batch, claim)?
    };
    let mut hold = batch
        .conn
        .prepare_cached("UPDATE deliveries SET held_by = ?3 WHERE workspace = ?1 AND id = ?2")?;
    let mut load = batch.conn.prepare_cached(&format!(
        "SELECT {COLUMNS}, {EVENT_COLUMNS} FROM deliveries d
         JOIN events e ON e.workspace = d.workspace AND e.key = d.event
         WHERE d.workspace = ?1 AND d.id = ?2"
    ))?;
    let workspace = claim.workspace;
    let mut claimed = Vec::with_capacity(ids.len());
    for id in ids {
        let mut rows = load.query(params![workspace.number(), id.as_bytes()])?;
        let Some(row) = rows.next()? else { continue };
        claimed.push(Claimed {
            delivery: read(row, workspace)?,
            event: read_event(row, workspace, COLUMN_COUNT)?,
            lease: Lease(batch.epoch),
        });
    }
    for claimed in &claimed {
        hold.execute(params![
            workspace.number(),
            claimed.delivery.id.uuid().as_bytes(),
            batch.epoch
        ])?;
        batch.tally.held += 1;
    }
    Ok(claimed)
}

fn first_due(batch: &Batch<'_, '_>, claim: &Claim) -> Result<Vec<Uuid>, StoreError> {
    let mut find = batch.conn.prepare_cached(DUE_OF_HOLDER)?;
    let mut due = Vec::new();
    for holder in holders(batch.conn, claim.workspace, claim.webhook, batch.epoch)? {
        let rows = find.query_map(
            params![
                claim.workspace.number(),
                claim.webhook.uuid().as_bytes(),
                holder,
                claim.now.ms(),
                limit(claim.limit)
            ],
            |row| Ok((row.get::<_, i64>(0)?, uuid(row, 1)?)),
        )?;
        due.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    due.sort_unstable();
    due.truncate(claim.limit);
    Ok(due.into_iter().map(|(_, id)| id).collect())
}

fn first_in_order(batch: &Batch<'_, '_>, claim: &Claim) -> Result<Vec<Uuid>, StoreError> {
    let ids = before_held(batch, claim)?;
    if ids.len() < claim.limit && flag_ordered(batch.conn, claim.workspace, claim.webhook)? > 0 {
        // Some were made while nobody knew yet that the webhook is ordered.
        return before_held(batch, claim);
    }
    Ok(ids)
}

fn before_held(batch: &Batch<'_, '_>, claim: &Claim) -> Result<Vec<Uuid>, StoreError> {
    let mut find = batch.conn.prepare_cached(FIRST_IN_ORDER)?;
    let mut rows = find.query(params![
        claim.workspace.number(),
        claim.webhook.uuid().as_bytes(),
        limit(claim.limit)
    ])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)? == batch.epoch {
            break;
        }
        ids.push(uuid(row, 0)?);
    }
    Ok(ids)
}

/// Marks a webhook's pending deliveries as strictly ordered; answers how many were not.
pub(super) fn flag_ordered(
    conn: &Connection,
    workspace: WorkspaceId,
    webhook: WebhookId,
) -> Result<usize, StoreError> {
    let mut flag = conn.prepare_cached(
        "UPDATE deliveries SET ordered = 1 WHERE workspace = ?1 AND id IN (
             SELECT id FROM deliveries INDEXED BY deliveries_pending
             WHERE workspace = ?1 AND webhook = ?2 AND state = 0 AND ordered = 0)",
    )?;
    Ok(flag.execute(params![workspace.number(), webhook.uuid().as_bytes()])?)
}

/// See [`crate::Store::release`].
pub(super) fn release(
    batch: &mut Batch<'_, '_>,
    deliveries: &[(WorkspaceId, DeliveryId, Lease)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut release = batch.conn.prepare_cached(
        "UPDATE deliveries SET held_by = 0, due_ms = ?4
         WHERE workspace = ?1 AND id = ?2 AND held_by = ?3 AND state = 0",
    )?;
    for (workspace, id, lease) in deliveries {
        if lease.0 == batch.epoch {
            let released = release.execute(params![
                workspace.number(),
                id.uuid().as_bytes(),
                batch.epoch,
                now.ms()
            ])?;
            batch.tally.held -= i64::from(released > 0);
        }
    }
    Ok(())
}
