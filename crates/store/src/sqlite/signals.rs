//! Signals: left for an execution, kept until a record takes them up.

use domain::{
    ExecutionId, Timestamp, WorkspaceId,
    execution::{ExecutionState, Signal},
};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    executions::step_row,
    row::{limit, uuid},
    writer::Batch,
};
use crate::{
    HeldSignal, Signalled, StoreError,
    run_columns::{execution_state, from_json, signal_kind, to_json},
};

/// See [`crate::Executions::signal`].
pub(super) fn signal(
    batch: &mut Batch<'_, '_>,
    workspace: WorkspaceId,
    id: ExecutionId,
    signal: &Signal,
    now: Timestamp,
) -> Result<Signalled, StoreError> {
    let found = batch
        .conn
        .prepare_cached(
            "SELECT row, state, held_by FROM executions WHERE workspace = ?1 AND id = ?2",
        )?
        .query_row(params![workspace.number(), id.uuid().as_bytes()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, i64>(2)?))
        })
        .optional()?;
    let Some((row, state, held_by)) = found else {
        return Ok(Signalled::Unknown);
    };
    let state = execution_state(state)?;
    if !fits(batch.conn, row, state, signal)? {
        return Ok(Signalled::Refused(state));
    }
    if state.is_final() {
        go_on(batch.conn, row)?;
    }
    leave(batch, row, signal, now)?;
    Ok(if held_by == batch.epoch {
        Signalled::Held { here: true }
    } else {
        Signalled::Due
    })
}

fn fits(
    conn: &Connection,
    row: i64,
    state: ExecutionState,
    signal: &Signal,
) -> Result<bool, StoreError> {
    let failed = matches!(state, ExecutionState::Failed | ExecutionState::Stopped);
    match signal {
        Signal::Retry { .. } => Ok(failed),
        Signal::Stop { .. } | Signal::Ended { .. } => Ok(!state.is_final()),
        Signal::Approval { step, .. } | Signal::Callback { step, .. } => {
            Ok(!state.is_final() && is_open(conn, row, *step)?)
        }
    }
}

/// Whether a step waits and has no answer yet.
fn is_open(conn: &Connection, execution: i64, step: u32) -> Result<bool, StoreError> {
    let Ok(row) = step_row(execution, step) else {
        return Ok(false);
    };
    let mut find = conn.prepare_cached(
        "SELECT 1 FROM steps WHERE row = ?1 AND state = 0 AND ended_ms IS NULL AND NOT EXISTS (
             SELECT 1 FROM signals WHERE execution = ?2 AND kind = 2 AND step = ?3)",
    )?;
    Ok(find.exists(params![row, execution, step])?)
}

/// Has an execution that has ended run again.
fn go_on(conn: &Connection, row: i64) -> Result<(), StoreError> {
    let mut go_on = conn.prepare_cached(
        "UPDATE executions SET state = 1, ended_ms = NULL, error = NULL, result = NULL WHERE row = ?1",
    )?;
    go_on.execute([row])?;
    Ok(())
}

/// Leaves a signal for the execution in this row, and makes it due unless it is held.
pub(super) fn leave(
    batch: &Batch<'_, '_>,
    row: i64,
    signal: &Signal,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (kind, step) = signal_kind(signal);
    let mut insert = batch.conn.prepare_cached(
        "INSERT INTO signals (execution, kind, step, signal) VALUES (?1, ?2, ?3, ?4)",
    )?;
    insert.execute(params![row, kind, step, to_json(signal, "a signal")?])?;
    let mut wake = batch.conn.prepare_cached(
        "UPDATE executions SET has_more = 1,
             due_ms = CASE WHEN held_by = ?2 THEN due_ms ELSE min(coalesce(due_ms, ?3), ?3) END
         WHERE row = ?1",
    )?;
    wake.execute(params![row, batch.epoch, now.ms()])?;
    Ok(())
}

/// Takes up signals of the execution in this row.
pub(super) fn take_up(conn: &Connection, row: i64, numbers: &[i64]) -> Result<(), StoreError> {
    if numbers.is_empty() {
        return Ok(());
    }
    let mut remove =
        conn.prepare_cached("DELETE FROM signals WHERE number = ?1 AND execution = ?2")?;
    for number in numbers {
        remove.execute([*number, row])?;
    }
    Ok(())
}

/// Drops all signals of the execution in this row.
pub(super) fn drop_all(conn: &Connection, row: i64) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM signals WHERE execution = ?1")?
        .execute([row])?;
    Ok(())
}

/// Whether any signal waits for the execution in this row.
pub(super) fn any(conn: &Connection, row: i64) -> Result<bool, StoreError> {
    Ok(conn
        .prepare_cached("SELECT 1 FROM signals WHERE execution = ?1")?
        .exists([row])?)
}

/// The signals that wait for the execution in this row, oldest first.
pub(super) fn of(conn: &Connection, row: i64) -> Result<Vec<(i64, Signal)>, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT number, signal FROM signals WHERE execution = ?1 ORDER BY number",
    )?;
    let mut rows = find.query([row])?;
    let mut signals = Vec::new();
    while let Some(row) = rows.next()? {
        let json: String = row.get(1)?;
        signals.push((row.get(0)?, from_json(&json, "a signal")?));
    }
    Ok(signals)
}

/// See [`crate::Executions::held_signals`].
pub(super) fn held(
    conn: &Connection,
    epoch: i64,
    most: usize,
) -> Result<Vec<HeldSignal>, StoreError> {
    // Few signals wait at any time: those in the table are walked through.
    let mut find = conn.prepare_cached(
        "SELECT e.workspace, e.id, s.number, s.signal
         FROM signals s CROSS JOIN executions e ON e.row = s.execution
         WHERE e.held_by = ?1 ORDER BY s.number LIMIT ?2",
    )?;
    let mut rows = find.query(params![epoch, limit(most)])?;
    let mut signals = Vec::new();
    while let Some(row) = rows.next()? {
        let json: String = row.get(3)?;
        signals.push(HeldSignal {
            workspace: WorkspaceId::new(row.get(0)?),
            execution: ExecutionId::new(uuid(row, 1)?),
            number: row.get(2)?,
            signal: from_json(&json, "a signal")?,
        });
    }
    Ok(signals)
}
