//! Executions: started, claimed, released, listed, removed.
//!
//! `due_ms` of one that is held tells since when it would be due: whoever ends its holder's lease
//! has only to clear `held_by`.
//!
//! *The order of locks*, so that no two transitions wait for each other in a circle: the lease's
//! fence; a receipt; pools by name; workflows' turns by id; executions by id, those that are told
//! something among them; those that fall due because of it, which nobody holds; what events need;
//! the number of a change. Where a circle comes about all the same, PostgreSQL breaks it and the
//! transition is made anew.

use std::collections::HashMap;

use deadpool_postgres::{Client, GenericClient, Transaction};
use domain::{
    ExecutionId, Timestamp, WorkflowId, WorkspaceId,
    execution::{Execution, ExecutionState},
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    codes::{
        execution_state, execution_state_number, from_json, from_json_or_null, int, json,
        json_or_null, unsigned_32, usage, usage_columns,
    },
    query::Query,
    row::{earliest_id, get, limit, time, time_or_null},
    signals, steps, turns,
};
use crate::{ClaimedExecution, ExecutionFilter, Lease, Page, Start, Started, StoreError};

const COLUMNS: &str = "workspace, id, workflow, version, state, input, cause, offline, result, error, created_ms, started_ms, ended_ms, due_ms, steps, tokens_in, tokens_out, cost_nanos, held_by";

fn read(row: &Row) -> Result<Execution, StoreError> {
    let bytes = |column| Ok::<_, StoreError>(get::<Option<Vec<u8>>>(row, column)?.map(Into::into));
    let held = get::<i64>(row, 18)? != 0;
    Ok(Execution {
        workspace: WorkspaceId::new(get(row, 0)?),
        id: ExecutionId::new(get(row, 1)?),
        workflow: WorkflowId::new(get(row, 2)?),
        version: unsigned_32(row, 3)?,
        state: execution_state(row, 4)?,
        input: get::<Vec<u8>>(row, 5)?.into(),
        cause: from_json(row, 6, "an execution's cause")?,
        offline: get(row, 7)?,
        result: bytes(8)?,
        error: from_json_or_null(row, 9, "an execution's error")?,
        created_at: time(row, 10)?,
        started_at: time_or_null(row, 11)?,
        ended_at: time_or_null(row, 12)?,
        due_at: time_or_null(row, 13)?.filter(|_| !held),
        steps: unsigned_32(row, 14)?,
        usage: usage(row, 15)?,
    })
}

/// Starts executions in order, those that are to be held under `lease`, whose row of claims is
/// locked; without one, nobody holds them.
pub(super) async fn start_all(
    tx: &Transaction<'_>,
    starts: &[Start],
    lease: Option<Lease>,
) -> Result<Vec<Started>, StoreError> {
    turns::lock(tx, limited(starts)).await?;
    start_in_turn(tx, starts, lease).await
}

/// The workflows whose turns must be locked before these start.
pub(super) fn limited(starts: &[Start]) -> impl Iterator<Item = WorkflowId> {
    starts
        .iter()
        .filter(|start| start.limit.is_some())
        .map(|start| start.execution.workflow)
}

/// [`start_all`], where the workflows' turns are locked already.
pub(super) async fn start_in_turn(
    tx: &Transaction<'_>,
    starts: &[Start],
    lease: Option<Lease>,
) -> Result<Vec<Started>, StoreError> {
    let mut started = Vec::with_capacity(starts.len());
    for start in starts {
        let execution = &start.execution;
        let turn = match start.limit {
            Some(limit) => turns::ask(tx, execution, limit).await?,
            None => Started::Running,
        };
        if turn != Started::Skipped {
            let lease = lease.filter(|_| start.held && turn == Started::Running);
            insert(tx, execution, turn == Started::Running, lease).await?;
        }
        started.push(turn);
    }
    Ok(started)
}

/// Stores an execution that runs, or waits for its turn.
async fn insert(
    tx: &Transaction<'_>,
    execution: &Execution,
    runs: bool,
    lease: Option<Lease>,
) -> Result<(), StoreError> {
    let insert = tx
        .prepare_cached(&format!(
            "INSERT INTO executions ({COLUMNS})
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"
        ))
        .await?;
    let state = if runs {
        execution.state
    } else {
        ExecutionState::Pending
    };
    let (tokens_in, tokens_out, cost_nanos) = usage_columns(execution.usage);
    tx.execute(
        &insert,
        &[
            &execution.workspace.number(),
            &execution.id.uuid(),
            &execution.workflow.uuid(),
            &int(execution.version),
            &execution_state_number(state),
            &&execution.input[..],
            &json(&execution.cause)?,
            &execution.offline,
            &execution.result.as_deref(),
            &json_or_null(execution.error.as_ref())?,
            &execution.created_at.ms(),
            &execution.started_at.filter(|_| runs).map(Timestamp::ms),
            &execution.ended_at.map(Timestamp::ms),
            &runs.then(|| execution.created_at.ms()),
            &int(execution.steps),
            &tokens_in,
            &tokens_out,
            &cost_nanos,
            &lease.map_or(0, |lease| lease.0),
        ],
    )
    .await?;
    Ok(())
}

/// See [`crate::Executions::claim_executions`]; `lease`'s row of claims is locked.
pub(super) async fn claim(
    tx: &Transaction<'_>,
    now: Timestamp,
    most: usize,
    lease: Lease,
) -> Result<Vec<ClaimedExecution>, StoreError> {
    let take = tx
        .prepare_cached(&format!(
            "WITH due AS (
                 SELECT workspace, id, due_ms FROM executions
                 WHERE held_by = 0 AND due_ms <= $1
                 ORDER BY due_ms, id LIMIT $2 FOR UPDATE SKIP LOCKED
             ), taken AS (
                 UPDATE executions e SET held_by = $3, state = CASE e.state WHEN 2 THEN 1 ELSE e.state END
                 FROM due WHERE e.workspace = due.workspace AND e.id = due.id
                 RETURNING e.*
             )
             SELECT {COLUMNS} FROM taken ORDER BY due_ms, id"
        ))
        .await?;
    let rows = tx
        .query(&take, &[&now.ms(), &limit(most), &lease.0])
        .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let executions = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let workspaces: Vec<_> = executions
        .iter()
        .map(|one| one.workspace.number())
        .collect();
    let ids: Vec<_> = executions.iter().map(|one| one.id.uuid()).collect();
    let (mut steps, mut signals) = futures_util::future::try_join(
        steps::of(tx, &workspaces, &ids),
        signals::of(tx, &workspaces, &ids),
    )
    .await?;
    let claimed = executions.into_iter().map(|execution| {
        let which = (execution.workspace, execution.id);
        ClaimedExecution {
            steps: steps.remove(&which).unwrap_or_default(),
            signals: signals.remove(&which).unwrap_or_default(),
            execution,
            lease,
        }
    });
    Ok(claimed.collect())
}

/// Rows by the execution that they belong to.
pub(super) type ByExecution<T> = HashMap<(WorkspaceId, ExecutionId), Vec<T>>;

/// See [`crate::Executions::release_executions`].
pub(super) async fn release(
    tx: &Transaction<'_>,
    executions: &[(WorkspaceId, ExecutionId, Lease)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let workspaces: Vec<_> = executions.iter().map(|(at, ..)| at.number()).collect();
    let ids: Vec<_> = executions.iter().map(|(_, id, _)| id.uuid()).collect();
    let leases: Vec<_> = executions.iter().map(|(.., lease)| lease.0).collect();
    let release = tx
        .prepare_cached(
            "UPDATE executions e SET held_by = 0, due_ms = $4
             FROM (SELECT e.workspace, e.id
                   FROM UNNEST($1::bigint[], $2::uuid[], $3::bigint[]) AS r (workspace, id, lease)
                   JOIN executions e ON e.workspace = r.workspace AND e.id = r.id
                                    AND e.held_by = r.lease AND e.held_by <> 0
                   ORDER BY e.id FOR UPDATE OF e) held
             WHERE e.workspace = held.workspace AND e.id = held.id",
        )
        .await?;
    tx.execute(&release, &[&workspaces, &ids, &leases, &now.ms()])
        .await?;
    Ok(())
}

/// See [`crate::Executions::next_execution_due`].
pub(super) async fn next_due(conn: &Client) -> Result<Option<Timestamp>, StoreError> {
    let find = conn
        .prepare_cached(
            "SELECT due_ms FROM executions WHERE held_by = 0 AND due_ms IS NOT NULL
             ORDER BY due_ms LIMIT 1",
        )
        .await?;
    let row = conn.query_opt(&find, &[]).await?;
    row.map(|row| time(&row, 0)).transpose()
}

/// See [`crate::Executions::execution`].
pub(super) async fn by_id(
    conn: &impl GenericClient,
    workspace: WorkspaceId,
    id: ExecutionId,
) -> Result<Option<Execution>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM executions WHERE workspace = $1 AND id = $2"
        ))
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &id.uuid()])
        .await?;
    row.as_ref().map(read).transpose()
}

/// See [`crate::Executions::executions`].
pub(super) async fn list(
    conn: &Client,
    workspace: WorkspaceId,
    filter: &ExecutionFilter,
    page: Page<ExecutionId>,
) -> Result<Vec<Execution>, StoreError> {
    let mut query = Query::default();
    let mut wanted = vec![
        format!("workspace = {}", query.value(workspace.number())),
        format!(
            "id < {}",
            query.value(page.after.map_or(Uuid::max(), ExecutionId::uuid))
        ),
    ];
    if let Some(workflow) = filter.workflow {
        wanted.push(format!("workflow = {}", query.value(workflow.uuid())));
    }
    if let Some(state) = filter.state {
        wanted.push(format!(
            "state = {}",
            query.value(execution_state_number(state))
        ));
    }
    if let Some(since) = filter.since {
        wanted.push(format!(
            "id >= {} AND created_ms >= {}",
            query.value(earliest_id(since)),
            query.value(since.ms())
        ));
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM executions WHERE {} ORDER BY id DESC LIMIT {}",
        wanted.join(" AND "),
        query.value(limit(page.limit))
    );
    let find = conn.prepare_cached(&sql).await?;
    let rows = conn.query(&find, &query.values()).await?;
    rows.iter().map(read).collect()
}

/// Removes up to `most` executions that ended before `before`, with all that is theirs; see
/// [`crate::Executions::prune_executions`].
pub(super) async fn prune(
    tx: &Transaction<'_>,
    before: Timestamp,
    most: usize,
) -> Result<usize, StoreError> {
    let prune = tx
        .prepare_cached(
            "WITH old AS (
                 SELECT workspace, id FROM executions WHERE ended_ms < $1
                 ORDER BY ended_ms LIMIT $2 FOR UPDATE SKIP LOCKED
             ), gone AS (
                 DELETE FROM executions e USING old WHERE e.workspace = old.workspace AND e.id = old.id
             ), steps_gone AS (
                 DELETE FROM steps s USING old WHERE s.workspace = old.workspace AND s.execution = old.id
             ), signals_gone AS (
                 DELETE FROM signals s USING old WHERE s.workspace = old.workspace AND s.execution = old.id
             ), units_gone AS (
                 DELETE FROM pool_units u USING old WHERE u.workspace = old.workspace AND u.execution = old.id
             ), waits_gone AS (
                 DELETE FROM pool_waits w USING old WHERE w.workspace = old.workspace AND w.execution = old.id
             )
             SELECT count(*) FROM old",
        )
        .await?;
    let row = tx.query_one(&prune, &[&before.ms(), &limit(most)]).await?;
    let pruned: i64 = get(&row, 0)?;
    Ok(usize::try_from(pruned).unwrap_or(usize::MAX))
}
