//! Receipts: requests as they came in, each event id of a door once.

use deadpool_postgres::{Client, Transaction};
use domain::{ExecutionId, ReceiptId, Timestamp, WorkspaceId, intake::Receipt};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    accept,
    codes::{door, door_columns, outcome, outcome_number, uuids},
    executions,
    query::Query,
    row::{corrupt, earliest_id, get, limit, stored, stored_or_null, text, text_or_null, time},
};
use crate::{Lease, Page, ReceiptFilter, Receive, Received, Started, StoreError};

const COLUMNS: &str = "workspace, id, door, door_id, received_ms, peer, headers, body, outcome, event_id, executions, reason, replay_of";

fn read(row: &Row) -> Result<Receipt, StoreError> {
    let event_id = get::<Option<Vec<u8>>>(row, 9)?
        .map(String::from_utf8)
        .transpose()
        .map_err(|_| corrupt("an event id"))?;
    Ok(Receipt {
        workspace: WorkspaceId::new(get(row, 0)?),
        id: ReceiptId::new(get(row, 1)?),
        door: door(row, 2)?,
        received_at: time(row, 4)?,
        peer: text_or_null(row, 5)?,
        headers: text(row, 6)?,
        body: get::<Vec<u8>>(row, 7)?.into(),
        outcome: outcome(row, 8)?,
        event_id,
        executions: ids(row, 10)?,
        reason: text_or_null(row, 11)?,
        replay_of: get::<Option<Uuid>>(row, 12)?.map(ReceiptId::new),
    })
}

fn ids(row: &Row, column: usize) -> Result<Vec<ExecutionId>, StoreError> {
    let ids: Vec<Uuid> = get(row, column)?;
    Ok(ids.into_iter().map(ExecutionId::new).collect())
}

/// See [`crate::Intake::receive`]; what is to be held is held under `lease`, whose row of claims
/// is locked, or by nobody.
pub(super) async fn receive(
    tx: &Transaction<'_>,
    receive: &Receive,
    lease: Option<Lease>,
) -> Result<Received, StoreError> {
    // First, so that whoever repeats it waits here for what becomes of this transaction.
    if !insert(tx, &receive.receipt).await? {
        return earlier(tx, &receive.receipt).await;
    }
    let started = executions::start_all(tx, &receive.starts, lease).await?;
    if started.contains(&Started::Skipped) {
        leave_out(tx, receive, &started).await?;
    }
    let accepted = if started.is_empty() || started.contains(&Started::Running) {
        accept::store_under(tx, &receive.events, lease).await?
    } else {
        Vec::new()
    };
    Ok(Received::New { started, accepted })
}

/// Inserts a receipt, unless it repeats another.
async fn insert(tx: &Transaction<'_>, receipt: &Receipt) -> Result<bool, StoreError> {
    let insert = tx
        .prepare_cached(&format!(
            "INSERT INTO receipts ({COLUMNS})
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
             ON CONFLICT DO NOTHING"
        ))
        .await?;
    let (door, door_id) = door_columns(receipt.door);
    let inserted = tx
        .execute(
            &insert,
            &[
                &receipt.workspace.number(),
                &receipt.id.uuid(),
                &door,
                &door_id,
                &receipt.received_at.ms(),
                &stored_or_null(receipt.peer.as_deref()),
                &stored(&receipt.headers),
                &&receipt.body[..],
                &outcome_number(receipt.outcome),
                &receipt.event_id.as_deref().map(str::as_bytes),
                &uuids(&receipt.executions),
                &stored_or_null(receipt.reason.as_deref()),
                &receipt.replay_of.map(ReceiptId::uuid),
            ],
        )
        .await?;
    Ok(inserted > 0)
}

/// Has a receipt name only those executions that were stored.
async fn leave_out(
    tx: &Transaction<'_>,
    receive: &Receive,
    started: &[Started],
) -> Result<(), StoreError> {
    let skipped: Vec<_> = (receive.starts.iter().zip(started))
        .filter(|(_, started)| **started == Started::Skipped)
        .map(|(start, _)| start.execution.id)
        .collect();
    let receipt = &receive.receipt;
    let mut stored = receipt.executions.clone();
    stored.retain(|id| !skipped.contains(id));
    let update = tx
        .prepare_cached("UPDATE receipts SET executions = $3 WHERE workspace = $1 AND id = $2")
        .await?;
    tx.execute(
        &update,
        &[
            &receipt.workspace.number(),
            &receipt.id.uuid(),
            &uuids(&stored),
        ],
    )
    .await?;
    Ok(())
}

/// The receipt that this one repeats. [`StoreError::Busy`] if it has gone since.
async fn earlier(tx: &Transaction<'_>, receipt: &Receipt) -> Result<Received, StoreError> {
    let find = tx
        .prepare_cached(
            "SELECT id, executions FROM receipts
             WHERE workspace = $1 AND door = $2 AND door_id = $3 AND sha256(event_id) = sha256($4)
               AND event_id IS NOT NULL AND outcome IN (0, 1)",
        )
        .await?;
    let (door, door_id) = door_columns(receipt.door);
    let row = tx
        .query_opt(
            &find,
            &[
                &receipt.workspace.number(),
                &door,
                &door_id,
                &receipt.event_id.as_deref().map(str::as_bytes),
            ],
        )
        .await?
        .ok_or(StoreError::Busy)?;
    Ok(Received::Duplicate {
        receipt: ReceiptId::new(get(&row, 0)?),
        executions: ids(&row, 1)?,
    })
}

/// See [`crate::Intake::receipt`].
pub(super) async fn by_id(
    conn: &Client,
    workspace: WorkspaceId,
    id: ReceiptId,
) -> Result<Option<Receipt>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM receipts WHERE workspace = $1 AND id = $2"
        ))
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &id.uuid()])
        .await?;
    row.as_ref().map(read).transpose()
}

/// See [`crate::Intake::receipts`].
pub(super) async fn list(
    conn: &Client,
    workspace: WorkspaceId,
    filter: &ReceiptFilter,
    page: Page<ReceiptId>,
) -> Result<Vec<Receipt>, StoreError> {
    let mut query = Query::default();
    let mut wanted = vec![
        format!("workspace = {}", query.value(workspace.number())),
        format!(
            "id < {}",
            query.value(page.after.map_or(Uuid::max(), ReceiptId::uuid))
        ),
    ];
    if let Some(door) = filter.door {
        let (door, id): (i16, Uuid) = door_columns(door);
        wanted.push(format!(
            "door = {} AND door_id = {}",
            query.value(door),
            query.value(id)
        ));
    }
    if let Some(outcome) = filter.outcome {
        wanted.push(format!(
            "outcome = {}",
            query.value(outcome_number(outcome))
        ));
    }
    if let Some(since) = filter.since {
        wanted.push(format!(
            "id >= {} AND received_ms >= {}",
            query.value(earliest_id(since)),
            query.value(since.ms())
        ));
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM receipts WHERE {} ORDER BY id DESC LIMIT {}",
        wanted.join(" AND "),
        query.value(limit(page.limit))
    );
    let find = conn.prepare_cached(&sql).await?;
    let rows = conn.query(&find, &query.values()).await?;
    rows.iter().map(read).collect()
}

/// Removes up to `most` receipts that are old, with all that they started; see
/// [`crate::Executions::prune_executions`].
pub(super) async fn prune(
    tx: &Transaction<'_>,
    before: Timestamp,
    most: usize,
) -> Result<usize, StoreError> {
    let prune = tx
        .prepare_cached(
            "WITH old AS (
                 SELECT r.workspace, r.id FROM receipts r
                 WHERE r.received_ms < $1
                   AND NOT EXISTS (SELECT 1 FROM UNNEST(r.executions) AS started (id)
                                   JOIN executions e ON e.workspace = r.workspace AND e.id = started.id
                                   WHERE e.ended_ms IS NULL OR e.ended_ms >= $1)
                 ORDER BY r.received_ms LIMIT $2 FOR UPDATE SKIP LOCKED
             )
             DELETE FROM receipts r USING old WHERE r.workspace = old.workspace AND r.id = old.id",
        )
        .await?;
    let pruned = tx.execute(&prune, &[&before.ms(), &limit(most)]).await?;
    Ok(usize::try_from(pruned).unwrap_or(usize::MAX))
}
