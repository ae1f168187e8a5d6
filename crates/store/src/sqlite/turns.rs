//! A workflow's concurrency: what starts at once, what waits for its turn, and whose turn is next.
//!
//! Those that count have begun and not ended: running and waiting ones, and of the pending ones
//! those whose turn it is, which are those that have a due time.

use domain::{
    Timestamp, WorkflowId, WorkspaceId, execution::Signal, workflow::definition::OnConflict,
};
use rusqlite::{Connection, params};

use super::{executions::insert, signals, writer::Batch};
use crate::{Limit, Start, Started, StoreError};

pub(super) const BEGUN: &str = "SELECT (SELECT count(*) FROM executions INDEXED BY executions_open
                 WHERE workspace = ?1 AND workflow = ?2 AND state >= 1 AND state <= 2)
              + (SELECT count(*) FROM executions INDEXED BY executions_open
                 WHERE workspace = ?1 AND workflow = ?2 AND state = 0 AND state <= 2 AND due_ms >= 0)";
pub(super) const ADMIT: &str = "UPDATE executions SET due_ms = ?4 WHERE row IN (
             SELECT row FROM executions INDEXED BY executions_open
             WHERE workspace = ?1 AND workflow = ?2 AND state = 0 AND state <= 2 AND due_ms IS NULL
             ORDER BY row LIMIT ?3)";

/// Starts an execution, or what its workflow's concurrency makes of it.
pub(super) fn begin(batch: &mut Batch<'_, '_>, start: &Start) -> Result<Started, StoreError> {
    let started = match start.limit {
        Some(limit) => turn(batch, start, limit)?,
        None => Started::Running,
    };
    match started {
        Started::Running => insert(batch, start, false)?,
        Started::Queued => insert(batch, start, true)?,
        Started::Skipped => {}
    }
    Ok(started)
}

fn turn(batch: &mut Batch<'_, '_>, start: &Start, limit: Limit) -> Result<Started, StoreError> {
    let execution = &start.execution;
    let (workspace, workflow) = (execution.workspace, execution.workflow);
    if begun(batch.conn, workspace, workflow)? < i64::from(limit.max) {
        return Ok(Started::Running);
    }
    match limit.on_conflict {
        OnConflict::Queue => Ok(Started::Queued),
        OnConflict::Skip => Ok(Started::Skipped),
        OnConflict::Cancel => {
            stop_oldest(batch, start, limit.max)?;
            Ok(Started::Running)
        }
    }
}

/// How many executions of a workflow have begun and not ended.
fn begun(
    conn: &Connection,
    workspace: WorkspaceId,
    workflow: WorkflowId,
) -> Result<i64, StoreError> {
    let mut count = conn.prepare_cached(BEGUN)?;
    let workflow = workflow.uuid();
    let values = params![workspace.number(), workflow.as_bytes()];
    Ok(count.query_row(values, |row| row.get(0))?)
}

/// Tells as many of the oldest to stop as make room for one more.
fn stop_oldest(batch: &mut Batch<'_, '_>, start: &Start, max: u32) -> Result<(), StoreError> {
    let execution = &start.execution;
    let mut find = batch.conn.prepare_cached(
        "SELECT row FROM executions e INDEXED BY executions_open
         WHERE workspace = ?1 AND workflow = ?2 AND state <= 2 AND (state > 0 OR due_ms >= 0)
           AND NOT EXISTS (SELECT 1 FROM signals WHERE execution = e.row AND kind = 0)
         ORDER BY row",
    )?;
    let going_on = find
        .query_map(
            params![
                execution.workspace.number(),
                execution.workflow.uuid().as_bytes()
            ],
            |row| row.get(0),
        )?
        .collect::<Result<Vec<i64>, _>>()?;
    let stop = Signal::Stop {
        by: "a newer execution".to_owned(),
    };
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let too_many = (going_on.len() + 1).saturating_sub(max);
    for row in going_on.into_iter().take(too_many) {
        signals::leave(batch, row, &stop, execution.created_at)?;
    }
    Ok(())
}

/// Makes the oldest that wait for their turn due, as many as there is room for.
pub(super) fn admit(
    batch: &Batch<'_, '_>,
    workspace: WorkspaceId,
    workflow: WorkflowId,
    max: u32,
    now: Timestamp,
) -> Result<(), StoreError> {
    let room = i64::from(max) - begun(batch.conn, workspace, workflow)?;
    if room <= 0 {
        return Ok(());
    }
    let mut admit = batch.conn.prepare_cached(ADMIT)?;
    admit.execute(params![
        workspace.number(),
        workflow.uuid().as_bytes(),
        room,
        now.ms()
    ])?;
    Ok(())
}
