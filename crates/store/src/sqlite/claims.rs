//! Which executions are due: claims, releases, the next due time.
//!
//! One that has not ended is held if its `held_by` is the present epoch. Rows of an older epoch
//! were held by a process that is gone: they are due at once. `executions_due` is ordered by
//! holder, then due time, so what is due is sought, never scanned for.

use domain::{ExecutionId, Timestamp, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    executions::{COLUMNS, read, steps_of},
    row::{limit, time},
    signals,
    writer::Batch,
};
use crate::{ClaimedExecution, Lease, StoreError};

pub(super) const LEFT: &str = "SELECT due_ms, row FROM executions INDEXED BY executions_due
     WHERE held_by > 0 AND held_by < ?1 AND state <= 2 ORDER BY held_by, due_ms LIMIT ?2";
pub(super) const DUE: &str = "SELECT due_ms, row FROM executions INDEXED BY executions_due
     WHERE held_by = 0 AND due_ms <= ?1 AND state <= 2 ORDER BY due_ms LIMIT ?2";
pub(super) const FIRST_LEFT: &str = "SELECT due_ms FROM executions INDEXED BY executions_due
     WHERE held_by > 0 AND held_by < ?1 AND state <= 2 ORDER BY held_by, due_ms LIMIT 1";
pub(super) const FIRST_DUE: &str = "SELECT due_ms FROM executions INDEXED BY executions_due
     WHERE held_by = 0 AND due_ms >= 0 AND state <= 2 ORDER BY due_ms LIMIT 1";

/// See [`crate::Executions::claim_executions`].
pub(super) fn claim(
    batch: &mut Batch<'_, '_>,
    now: Timestamp,
    most: usize,
) -> Result<Vec<ClaimedExecution>, StoreError> {
    let mut due = Vec::new();
    for (sql, bound) in [(LEFT, batch.epoch), (DUE, now.ms())] {
        let mut find = batch.conn.prepare_cached(sql)?;
        let rows = find.query_map([bound, limit(most)], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?;
        due.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    due.sort_unstable();
    due.truncate(most);
    let mut hold = batch.conn.prepare_cached(
        "UPDATE executions SET held_by = ?2, due_ms = ?3, state = min(state, 1) WHERE row = ?1",
    )?;
    let mut claimed = Vec::with_capacity(due.len());
    for (_, row) in due {
        hold.execute([row, batch.epoch, now.ms()])?;
        claimed.push(load(batch, row)?);
    }
    Ok(claimed)
}

fn load(batch: &Batch<'_, '_>, row: i64) -> Result<ClaimedExecution, StoreError> {
    let mut find = batch
        .conn
        .prepare_cached(&format!("SELECT {COLUMNS} FROM executions WHERE row = ?1"))?;
    let execution = find.query_row([row], |row| Ok(read(row)))??;
    Ok(ClaimedExecution {
        execution,
        steps: steps_of(batch.conn, row)?,
        signals: signals::of(batch.conn, row)?,
        lease: Lease(batch.epoch),
    })
}

/// See [`crate::Executions::release_executions`].
pub(super) fn release(
    batch: &Batch<'_, '_>,
    executions: &[(WorkspaceId, ExecutionId, Lease)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut release = batch.conn.prepare_cached(
        "UPDATE executions SET held_by = 0, due_ms = ?4
         WHERE workspace = ?1 AND id = ?2 AND held_by = ?3",
    )?;
    for (workspace, id, lease) in executions {
        if lease.0 == batch.epoch {
            release.execute(params![
                workspace.number(),
                id.uuid().as_bytes(),
                batch.epoch,
                now.ms()
            ])?;
        }
    }
    Ok(())
}

/// See [`crate::Executions::next_execution_due`].
pub(super) fn next_due(conn: &Connection, epoch: i64) -> Result<Option<Timestamp>, StoreError> {
    let left = conn
        .prepare_cached(FIRST_LEFT)?
        .query_row([epoch], |row| time(row, 0))
        .optional()?;
    let due = conn
        .prepare_cached(FIRST_DUE)?
        .query_row([], |row| time(row, 0))
        .optional()?;
    Ok([left, due].into_iter().flatten().min())
}
