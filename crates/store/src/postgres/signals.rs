//! Signals: what executions have yet to hear of.

use deadpool_postgres::{Client, Transaction};
use domain::{
    ExecutionId, Timestamp, WorkspaceId,
    execution::{ExecutionState, Signal},
};

use super::{
    codes::{execution_state, from_json, int, json, signal_columns},
    executions::ByExecution,
    row::{get, limit},
};
use crate::{HeldSignal, Lease, Signalled, StoreError};

/// See [`crate::Executions::signal`]; `own` is this process's lease.
pub(super) async fn leave(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    execution: ExecutionId,
    signal: &Signal,
    now: Timestamp,
    own: Lease,
) -> Result<Signalled, StoreError> {
    let lock = tx
        .prepare_cached(
            "SELECT state, held_by FROM executions WHERE workspace = $1 AND id = $2 FOR NO KEY UPDATE",
        )
        .await?;
    let (number, id) = (workspace.number(), execution.uuid());
    let Some(row) = tx.query_opt(&lock, &[&number, &id]).await? else {
        return Ok(Signalled::Unknown);
    };
    let (state, held_by) = (execution_state(&row, 0)?, get::<i64>(&row, 1)?);
    if !fits(tx, workspace, execution, signal, state).await? {
        return Ok(Signalled::Refused(state));
    }
    let (kind, step) = signal_columns(signal);
    let insert = tx
        .prepare_cached(
            "INSERT INTO signals (workspace, execution, kind, step, signal) VALUES ($1, $2, $3, $4, $5)",
        )
        .await?;
    tx.execute(
        &insert,
        &[&number, &id, &kind, &step.map(int), &json(signal)?],
    )
    .await?;
    if held_by != 0 {
        return Ok(Signalled::Held {
            here: held_by == own.0,
        });
    }
    let sql = if matches!(signal, Signal::Retry { .. }) {
        "UPDATE executions SET state = 1, ended_ms = NULL, error = NULL, result = NULL, due_ms = $3
         WHERE workspace = $1 AND id = $2"
    } else {
        "UPDATE executions SET due_ms = least(due_ms, $3) WHERE workspace = $1 AND id = $2"
    };
    let make_due = tx.prepare_cached(sql).await?;
    tx.execute(&make_due, &[&number, &id, &now.ms()]).await?;
    Ok(Signalled::Due)
}

/// Whether an execution in this state, whose row is locked, can hear of it.
async fn fits(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    execution: ExecutionId,
    signal: &Signal,
    state: ExecutionState,
) -> Result<bool, StoreError> {
    if matches!(signal, Signal::Retry { .. }) {
        return Ok(matches!(
            state,
            ExecutionState::Failed | ExecutionState::Stopped
        ));
    }
    let (_, Some(step)) = signal_columns(signal) else {
        return Ok(!state.is_final());
    };
    if state.is_final() {
        return Ok(false);
    }
    let find = tx
        .prepare_cached(
            "SELECT 1 FROM steps s
             WHERE s.workspace = $1 AND s.execution = $2 AND s.number = $3 AND s.state = 0
               AND s.ended_ms IS NULL
               AND NOT EXISTS (SELECT 1 FROM signals g
                               WHERE g.workspace = $1 AND g.execution = $2 AND g.step = $3)",
        )
        .await?;
    let waits = tx
        .query_opt(&find, &[&workspace.number(), &execution.uuid(), &int(step)])
        .await?;
    Ok(waits.is_some())
}

/// Removes signals that were taken up.
pub(super) async fn remove(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    execution: ExecutionId,
    numbers: &[i64],
) -> Result<(), StoreError> {
    if numbers.is_empty() {
        return Ok(());
    }
    let remove = tx
        .prepare_cached(
            "DELETE FROM signals WHERE workspace = $1 AND execution = $2 AND number = ANY($3)",
        )
        .await?;
    tx.execute(&remove, &[&workspace.number(), &execution.uuid(), &numbers])
        .await?;
    Ok(())
}

/// The signals that wait for each of these executions, oldest first, with their numbers.
pub(super) async fn of(
    tx: &Transaction<'_>,
    workspaces: &[i64],
    executions: &[uuid::Uuid],
) -> Result<ByExecution<(i64, Signal)>, StoreError> {
    let find = tx
        .prepare_cached(
            "SELECT s.workspace, s.execution, s.number, s.signal
             FROM UNNEST($1::bigint[], $2::uuid[]) AS e (workspace, id)
             JOIN signals s ON s.workspace = e.workspace AND s.execution = e.id
             ORDER BY s.number",
        )
        .await?;
    let mut signals = ByExecution::default();
    for row in tx.query(&find, &[&workspaces, &executions]).await? {
        let which = (
            WorkspaceId::new(get(&row, 0)?),
            ExecutionId::new(get(&row, 1)?),
        );
        let numbered = (get(&row, 2)?, from_json(&row, 3, "a signal")?);
        signals.entry(which).or_default().push(numbered);
    }
    Ok(signals)
}

/// See [`crate::Executions::held_signals`].
pub(super) async fn held(
    conn: &Client,
    lease: Lease,
    most: usize,
) -> Result<Vec<HeldSignal>, StoreError> {
    let find = conn
        .prepare_cached(
            "SELECT s.workspace, s.execution, s.number, s.signal
             FROM signals s JOIN executions e ON e.workspace = s.workspace AND e.id = s.execution
             WHERE e.held_by = $1 AND e.held_by <> 0 ORDER BY s.number LIMIT $2",
        )
        .await?;
    let rows = conn.query(&find, &[&lease.0, &limit(most)]).await?;
    rows.iter()
        .map(|row| {
            Ok(HeldSignal {
                workspace: WorkspaceId::new(get(row, 0)?),
                execution: ExecutionId::new(get(row, 1)?),
                number: get(row, 2)?,
                signal: from_json(row, 3, "a signal")?,
            })
        })
        .collect()
}
