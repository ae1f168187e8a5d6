//! Steps: written with what their execution comes to, and read back.

use deadpool_postgres::{GenericClient, Transaction};
use domain::{
    ExecutionId, Timestamp, WorkspaceId,
    execution::{Step, StepKey},
};
use futures_util::future::try_join_all;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    codes::{
        from_json_or_null, int, json_or_null, step_state, step_state_number, unsigned_32,
        unsigned_32_or_null, usage, usage_columns,
    },
    executions::ByExecution,
    row::{get, stored, text, time, time_or_null},
};
use crate::StoreError;

const COLUMNS: &str = "s.number, s.node, s.iteration, s.item, s.attempt, s.state, s.started_ms, s.ended_ms, s.until_ms, s.output, s.error, s.tokens_in, s.tokens_out, s.cost_nanos, s.detail";

/// Reads a step whose [`COLUMNS`] begin the row.
fn read(row: &Row) -> Result<Step, StoreError> {
    let bytes = |column| Ok::<_, StoreError>(get::<Option<Vec<u8>>>(row, column)?.map(Into::into));
    Ok(Step {
        number: unsigned_32(row, 0)?,
        key: StepKey {
            node: text(row, 1)?,
            iteration: unsigned_32(row, 2)?,
            item: unsigned_32_or_null(row, 3)?,
        },
        attempt: unsigned_32(row, 4)?,
        state: step_state(row, 5)?,
        started_at: time(row, 6)?,
        ended_at: time_or_null(row, 7)?,
        until: time_or_null(row, 8)?,
        output: bytes(9)?,
        error: from_json_or_null(row, 10, "a step's error")?,
        usage: usage(row, 11)?,
        detail: bytes(14)?,
    })
}

/// Stores steps in order; one whose number is taken replaces that one.
pub(super) async fn write(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    execution: ExecutionId,
    steps: &[Step],
) -> Result<(), StoreError> {
    if steps.is_empty() {
        return Ok(());
    }
    let write = tx
        .prepare_cached(
            "INSERT INTO steps (workspace, execution, number, node, iteration, item, attempt, state, started_ms,
                                ended_ms, until_ms, output, error, tokens_in, tokens_out, cost_nanos, detail)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
             ON CONFLICT (workspace, execution, number) DO UPDATE
             SET node = excluded.node, iteration = excluded.iteration, item = excluded.item,
                 attempt = excluded.attempt, state = excluded.state, started_ms = excluded.started_ms,
                 ended_ms = excluded.ended_ms, until_ms = excluded.until_ms, output = excluded.output,
                 error = excluded.error, tokens_in = excluded.tokens_in, tokens_out = excluded.tokens_out,
                 cost_nanos = excluded.cost_nanos, detail = excluded.detail",
        )
        .await?;
    // They go out together, and are executed in order.
    let write = &write;
    try_join_all(steps.iter().map(|step| async move {
        let (tokens_in, tokens_out, cost_nanos) = usage_columns(step.usage);
        tx.execute(
            write,
            &[
                &workspace.number(),
                &execution.uuid(),
                &int(step.number),
                &stored(&step.key.node),
                &int(step.key.iteration),
                &step.key.item.map(int),
                &int(step.attempt),
                &step_state_number(step.state),
                &step.started_at.ms(),
                &step.ended_at.map(Timestamp::ms),
                &step.until.map(Timestamp::ms),
                &step.output.as_deref(),
                &json_or_null(step.error.as_ref())?,
                &tokens_in,
                &tokens_out,
                &cost_nanos,
                &step.detail.as_deref(),
            ],
        )
        .await?;
        Ok::<_, StoreError>(())
    }))
    .await?;
    Ok(())
}

/// See [`crate::Executions::steps`].
pub(super) async fn list(
    conn: &impl GenericClient,
    workspace: WorkspaceId,
    execution: ExecutionId,
) -> Result<Vec<Step>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM steps s WHERE workspace = $1 AND execution = $2 ORDER BY number"
        ))
        .await?;
    let rows = conn
        .query(&find, &[&workspace.number(), &execution.uuid()])
        .await?;
    rows.iter().map(read).collect()
}

/// The steps of each of these executions, in order.
pub(super) async fn of(
    tx: &Transaction<'_>,
    workspaces: &[i64],
    executions: &[Uuid],
) -> Result<ByExecution<Step>, StoreError> {
    let find = tx
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, s.workspace, s.execution
             FROM UNNEST($1::bigint[], $2::uuid[]) AS e (workspace, id)
             JOIN steps s ON s.workspace = e.workspace AND s.execution = e.id
             ORDER BY s.workspace, s.execution, s.number"
        ))
        .await?;
    let mut steps = ByExecution::default();
    for row in tx.query(&find, &[&workspaces, &executions]).await? {
        let which = (
            WorkspaceId::new(get(&row, 15)?),
            ExecutionId::new(get(&row, 16)?),
        );
        steps.entry(which).or_default().push(read(&row)?);
    }
    Ok(steps)
}
