//! Executions and their steps: stored and read back.

use bytes::Bytes;
use domain::{
    ExecutionId, Timestamp, WorkflowId, WorkspaceId,
    execution::{Execution, ExecutionState, Step, StepKey, Usage},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params, types::Value};

use super::{
    events::{accept, blob},
    row::{count, earliest_id, integer, limit, time, time_or_null, uuid},
    turns::begin,
    writer::Batch,
};
use crate::{
    Accepted, ExecutionFilter, NewEvent, Page, Start, Started, StoreError,
    run_columns::{
        execution_state, execution_state_number, from_json, step_state, step_state_number, to_json,
    },
};

/// How many bits of a step's row are its number.
const NUMBER_BITS: u32 = 20;

/// The columns that [`read`] reads.
pub(super) const COLUMNS: &str =
    "workspace, id, workflow, version, state, input, cause, offline, result, error,
     created_ms, started_ms, ended_ms, due_ms, steps, tokens_in, tokens_out, cost_nanos";

/// Reads an execution from [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> Result<Execution, StoreError> {
    let error: Option<String> = row.get(9)?;
    Ok(Execution {
        workspace: WorkspaceId::new(row.get(0)?),
        id: ExecutionId::new(uuid(row, 1)?),
        workflow: WorkflowId::new(uuid(row, 2)?),
        version: row.get(3)?,
        state: execution_state(row.get(4)?)?,
        input: row.get::<_, Vec<u8>>(5)?.into(),
        cause: from_json(&row.get::<_, String>(6)?, "an execution's cause")?,
        offline: row.get(7)?,
        result: row.get::<_, Option<Vec<u8>>>(8)?.map(Bytes::from),
        error: error
            .map(|json| from_json(&json, "an execution's error"))
            .transpose()?,
        created_at: time(row, 10)?,
        started_at: time_or_null(row, 11)?,
        ended_at: time_or_null(row, 12)?,
        due_at: time_or_null(row, 13)?,
        steps: row.get(14)?,
        usage: usage(row, 15)?,
    })
}

fn usage(row: &Row<'_>, column: usize) -> Result<Usage, StoreError> {
    Ok(Usage {
        tokens_in: count(row.get(column)?),
        tokens_out: count(row.get(column + 1)?),
        cost_nanos: count(row.get(column + 2)?),
    })
}

/// See [`crate::Executions::start`].
pub(super) fn start(
    batch: &mut Batch<'_, '_>,
    start: &Start,
    events: &[NewEvent],
) -> Result<(Started, Vec<Accepted>), StoreError> {
    let started = begin(batch, start)?;
    let accepted = match started {
        Started::Running => accept(batch, events)?,
        Started::Queued | Started::Skipped => Vec::new(),
    };
    Ok((started, accepted))
}

/// Stores an execution that runs, or that waits for its turn.
pub(super) fn insert(
    batch: &mut Batch<'_, '_>,
    start: &Start,
    waits: bool,
) -> Result<(), StoreError> {
    let execution = &start.execution;
    let runs = (!waits).then_some(execution.created_at.ms());
    let state = if waits {
        ExecutionState::Pending
    } else {
        ExecutionState::Running
    };
    batch.hot.insert_execution.execute(params![
        execution.workspace.number(),
        execution.id.uuid().as_bytes(),
        execution.workflow.uuid().as_bytes(),
        execution.version,
        execution_state_number(state),
        if start.held && !waits { batch.epoch } else { 0 },
        runs,
        execution.offline,
        execution.created_at.ms(),
        runs.and(execution.started_at).map(Timestamp::ms),
        to_json(&execution.cause, "an execution's cause")?,
        &execution.input[..],
    ])?;
    Ok(())
}

/// The row of an execution's step.
///
/// # Errors
/// If the number is greater than the file has room for: more steps than 1,048,575.
pub(super) fn step_row(execution: i64, number: u32) -> Result<i64, StoreError> {
    if number >> NUMBER_BITS != 0 {
        return Err(StoreError::Failed(format!(
            "an execution can have {} steps, not {number}",
            (1 << NUMBER_BITS) - 1
        )));
    }
    Ok(execution << NUMBER_BITS | i64::from(number))
}

/// Between which rows an execution's steps lie.
pub(super) const fn step_rows(execution: i64) -> (i64, i64) {
    let first = execution << NUMBER_BITS;
    (first, first | ((1 << NUMBER_BITS) - 1))
}

/// Stores a step, or replaces it.
pub(super) fn put_step(
    batch: &mut Batch<'_, '_>,
    execution: i64,
    step: &Step,
) -> Result<(), StoreError> {
    let error = step
        .error
        .as_ref()
        .map(|error| to_json(error, "a step's error"))
        .transpose()?;
    batch.hot.put_step.execute(params![
        step_row(execution, step.number)?,
        step.key.node,
        step.key.iteration,
        step.key.item,
        step.attempt,
        step_state_number(step.state),
        step.started_at.ms(),
        step.ended_at.map(Timestamp::ms),
        step.until.map(Timestamp::ms),
        integer(step.usage.tokens_in),
        integer(step.usage.tokens_out),
        integer(step.usage.cost_nanos),
        error,
        step.detail.as_deref(),
        step.output.as_deref(),
    ])?;
    Ok(())
}

/// See [`crate::Executions::execution`].
pub(super) fn by_id(
    conn: &Connection,
    workspace: WorkspaceId,
    id: ExecutionId,
) -> Result<Option<Execution>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM executions WHERE workspace = ?1 AND id = ?2"
    ))?;
    let mut rows = find.query(params![workspace.number(), id.uuid().as_bytes()])?;
    rows.next()?.map(read).transpose()
}

/// See [`crate::Executions::executions`].
pub(super) fn list(
    conn: &Connection,
    workspace: WorkspaceId,
    filter: &ExecutionFilter,
    page: Page<ExecutionId>,
) -> Result<Vec<Execution>, StoreError> {
    let state = filter.state.map(execution_state_number);
    let (index, of_index) = match (state, filter.workflow) {
        (Some(..=2), _) => ("executions_open", " AND state <= 2"),
        (Some(4..), _) => ("executions_failed", " AND state >= 4"),
        (_, Some(_)) => ("executions_by_workflow", ""),
        _ => ("executions_by_id", ""),
    };
    let mut sql = format!(
        "SELECT {COLUMNS} FROM executions INDEXED BY {index} WHERE workspace = ?{of_index}"
    );
    let mut values = vec![Value::from(workspace.number())];
    if let Some(workflow) = filter.workflow {
        sql += " AND workflow = ?";
        values.push(blob(workflow.uuid()));
    }
    if let Some(state) = state {
        sql += " AND state = ?";
        values.push(Value::from(state));
    }
    if let Some(since) = filter.since {
        sql += " AND id >= ? AND created_ms >= ?";
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

/// See [`crate::Executions::steps`].
pub(super) fn steps(
    conn: &Connection,
    workspace: WorkspaceId,
    id: ExecutionId,
) -> Result<Vec<Step>, StoreError> {
    let row = conn
        .prepare_cached("SELECT row FROM executions WHERE workspace = ?1 AND id = ?2")?
        .query_row(params![workspace.number(), id.uuid().as_bytes()], |row| {
            row.get(0)
        })
        .optional()?;
    row.map_or(Ok(Vec::new()), |row| steps_of(conn, row))
}

/// The steps of the execution in this row, in order.
pub(super) fn steps_of(conn: &Connection, execution: i64) -> Result<Vec<Step>, StoreError> {
    let (first, last) = step_rows(execution);
    let mut find = conn.prepare_cached(
        "SELECT row, node, iteration, item, attempt, state, started_ms, ended_ms, until_ms,
                tokens_in, tokens_out, cost_nanos, error, detail, output
         FROM steps WHERE row BETWEEN ?1 AND ?2 ORDER BY row",
    )?;
    let mut rows = find.query([first, last])?;
    let mut steps = Vec::new();
    while let Some(row) = rows.next()? {
        steps.push(read_step(row, first)?);
    }
    Ok(steps)
}

fn read_step(row: &Row<'_>, first: i64) -> Result<Step, StoreError> {
    let error: Option<String> = row.get(12)?;
    Ok(Step {
        number: u32::try_from(row.get::<_, i64>(0)? - first).unwrap_or(0),
        key: StepKey {
            node: row.get(1)?,
            iteration: row.get(2)?,
            item: row.get(3)?,
        },
        attempt: row.get(4)?,
        state: step_state(row.get(5)?)?,
        started_at: time(row, 6)?,
        ended_at: time_or_null(row, 7)?,
        until: time_or_null(row, 8)?,
        usage: usage(row, 9)?,
        error: error
            .map(|json| from_json(&json, "a step's error"))
            .transpose()?,
        detail: row.get::<_, Option<Vec<u8>>>(13)?.map(Bytes::from),
        output: row.get::<_, Option<Vec<u8>>>(14)?.map(Bytes::from),
    })
}
