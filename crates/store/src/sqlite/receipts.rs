//! Receipts: requests as they came in, kept together with what they start, once.

use domain::{
    ExecutionId, ReceiptId, WorkspaceId,
    intake::{Outcome, Receipt},
};
use rusqlite::{Connection, Row, params, types::Value};

use super::{
    events::{accept, blob},
    row::{earliest_id, limit, time, uuid, uuid_or_null},
    turns::begin,
    writer::Batch,
};
use crate::{
    Page, ReceiptFilter, Receive, Received, Started, StoreError,
    run_columns::{door, door_bytes, id_bytes, ids, outcome, outcome_number},
};

const COLUMNS: &str = "workspace, id, door, outcome, received_ms, event_id, executions, replay_of,
     peer, reason, headers, body";

fn read(row: &Row<'_>) -> Result<Receipt, StoreError> {
    Ok(Receipt {
        workspace: WorkspaceId::new(row.get(0)?),
        id: ReceiptId::new(uuid(row, 1)?),
        door: door(&row.get::<_, Vec<u8>>(2)?)?,
        outcome: outcome(row.get(3)?)?,
        received_at: time(row, 4)?,
        event_id: row.get(5)?,
        executions: started_by(row, 6)?,
        replay_of: uuid_or_null(row, 7)?.map(ReceiptId::new),
        peer: row.get(8)?,
        reason: row.get(9)?,
        headers: row.get(10)?,
        body: row.get::<_, Vec<u8>>(11)?.into(),
    })
}

fn started_by(row: &Row<'_>, column: usize) -> Result<Vec<ExecutionId>, StoreError> {
    let bytes: Option<Vec<u8>> = row.get(column)?;
    bytes.map_or(Ok(Vec::new()), |bytes| ids(&bytes))
}

/// See [`crate::Intake::receive`].
pub(super) fn receive(
    batch: &mut Batch<'_, '_>,
    receive: &Receive,
) -> Result<Received, StoreError> {
    let receipt = &receive.receipt;
    if let Some(first) = first_of(batch.conn, receipt)? {
        return Ok(first);
    }
    let mut started = Vec::with_capacity(receive.starts.len());
    let mut skipped = Vec::new();
    for start in &receive.starts {
        let how = begin(batch, start)?;
        if how == Started::Skipped {
            skipped.push(start.execution.id);
        }
        started.push(how);
    }
    let mut executions = receipt.executions.clone();
    executions.retain(|id| !skipped.contains(id));
    insert(batch, receipt, &executions)?;
    let accepted = if started.is_empty() || started.contains(&Started::Running) {
        accept(batch, &receive.events)?
    } else {
        Vec::new()
    };
    Ok(Received::New { started, accepted })
}

/// The receipt that this one repeats.
fn first_of(conn: &Connection, receipt: &Receipt) -> Result<Option<Received>, StoreError> {
    let dedupes = matches!(receipt.outcome, Outcome::Started | Outcome::Ignored);
    let Some(event_id) = receipt.event_id.as_ref().filter(|_| dedupes) else {
        return Ok(None);
    };
    let mut find = conn.prepare_cached(
        "SELECT id, executions FROM receipts INDEXED BY receipts_deduped
         WHERE workspace = ?1 AND door = ?2 AND event_id = ?3 AND event_id IS NOT NULL AND outcome <= 1",
    )?;
    let mut rows = find.query(params![
        receipt.workspace.number(),
        door_bytes(receipt.door),
        event_id
    ])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Received::Duplicate {
        receipt: ReceiptId::new(uuid(row, 0)?),
        executions: started_by(row, 1)?,
    }))
}

fn insert(
    batch: &mut Batch<'_, '_>,
    receipt: &Receipt,
    executions: &[ExecutionId],
) -> Result<(), StoreError> {
    batch.hot.insert_receipt.execute(params![
        receipt.workspace.number(),
        receipt.id.uuid().as_bytes(),
        door_bytes(receipt.door),
        outcome_number(receipt.outcome),
        receipt.received_at.ms(),
        receipt.event_id,
        (!executions.is_empty()).then(|| id_bytes(executions)),
        receipt.replay_of.map(|id| id.uuid().into_bytes()),
        receipt.peer,
        receipt.reason,
        receipt.headers,
        &receipt.body[..],
    ])?;
    Ok(())
}

/// See [`crate::Intake::receipt`].
pub(super) fn by_id(
    conn: &Connection,
    workspace: WorkspaceId,
    id: ReceiptId,
) -> Result<Option<Receipt>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM receipts WHERE workspace = ?1 AND id = ?2"
    ))?;
    let mut rows = find.query(params![workspace.number(), id.uuid().as_bytes()])?;
    rows.next()?.map(read).transpose()
}

/// See [`crate::Intake::receipts`].
pub(super) fn list(
    conn: &Connection,
    workspace: WorkspaceId,
    filter: ReceiptFilter,
    page: Page<ReceiptId>,
) -> Result<Vec<Receipt>, StoreError> {
    let mut sql =
        format!("SELECT {COLUMNS} FROM receipts INDEXED BY receipts_by_id WHERE workspace = ?");
    let mut values = vec![Value::from(workspace.number())];
    if let Some(door) = filter.door {
        sql += " AND door = ?";
        values.push(Value::Blob(door_bytes(door)));
    }
    if let Some(outcome) = filter.outcome {
        sql += " AND outcome = ?";
        values.push(Value::from(outcome_number(outcome)));
    }
    if let Some(since) = filter.since {
        sql += " AND id >= ? AND received_ms >= ?";
        values.extend([blob(earliest_id(since)), Value::from(since.ms())]);
    }
    if let Some(after) = page.after {
        sql += " AND id < ?";
        values.push(blob(after.uuid()));
    }
    sql += " ORDER BY id DESC LIMIT ?";
    values.push(Value::from(limit(page.limit)));
    let mut find = conn.prepare_cached(&sql)?;
    let mut rows = find.query(rusqlite::params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}
