//! Turns: how many executions of a workflow run at once.
//!
//! What has begun and not ended counts, and so does one that waited and whose turn has come: it is
//! pending, and due or held. Whoever counts has locked the workflow's turns before, in a statement
//! of its own: so what others have committed is seen. The lock is not the workflow's row, since
//! executions of a workflow that was removed go on taking turns.

use deadpool_postgres::Transaction;
use domain::{
    ExecutionId, Timestamp, WorkflowId, WorkspaceId,
    execution::{Execution, Signal},
    workflow::definition::OnConflict,
};
use uuid::Uuid;

use super::{codes::STOP, row::get, signals};
use crate::{Lease, Limit, Started, StoreError};

/// What has begun and not ended, as the index `executions_begun` has it.
const BEGUN: &str = "(state IN (1, 2) OR (state = 0 AND due_ms IS NOT NULL))";

/// Locks workflows' turns until the transaction has ended, always in the same order.
pub(super) async fn lock(
    tx: &Transaction<'_>,
    workflows: impl Iterator<Item = WorkflowId>,
) -> Result<(), StoreError> {
    let mut workflows: Vec<_> = workflows.collect();
    if workflows.is_empty() {
        return Ok(());
    }
    workflows.sort_unstable();
    workflows.dedup();
    let lock = tx
        .prepare_cached(
            "SELECT pg_advisory_xact_lock(hashtext(current_schema()), hashtext('workflow ' || $1::text))",
        )
        .await?;
    for workflow in workflows {
        tx.query_one(&lock, &[&workflow.to_string()]).await?;
    }
    Ok(())
}

/// Whether an execution may begin; the turns of its workflow are locked. Where the oldest has to
/// make room, it is told here.
pub(super) async fn ask(
    tx: &Transaction<'_>,
    execution: &Execution,
    limit: Limit,
) -> Result<Started, StoreError> {
    let (workspace, workflow, now) = (
        execution.workspace,
        execution.workflow,
        execution.created_at,
    );
    let full = begun(tx, workspace, workflow, limit.max).await? >= i64::from(limit.max);
    match limit.on_conflict {
        _ if !full => Ok(Started::Running),
        OnConflict::Queue => Ok(Started::Queued),
        OnConflict::Skip => Ok(Started::Skipped),
        OnConflict::Cancel => {
            stop_oldest(tx, workspace, workflow, limit.max, now).await?;
            Ok(Started::Running)
        }
    }
}

/// How many have begun and not ended; up to `most` are counted.
async fn begun(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    workflow: WorkflowId,
    most: u32,
) -> Result<i64, StoreError> {
    let count = tx
        .prepare_cached(&format!(
            "SELECT count(*) FROM (SELECT FROM executions WHERE workspace = $1 AND workflow = $2 AND {BEGUN}
                                   LIMIT $3) begun"
        ))
        .await?;
    let row = tx
        .query_one(
            &count,
            &[&workspace.number(), &workflow.uuid(), &i64::from(most)],
        )
        .await?;
    get(&row, 0)
}

/// Tells the oldest ones to stop that are too many once one more runs, unless they were told.
async fn stop_oldest(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    workflow: WorkflowId,
    max: u32,
    now: Timestamp,
) -> Result<(), StoreError> {
    let find = tx
        .prepare_cached(&format!(
            "SELECT id FROM executions e
             WHERE workspace = $1 AND workflow = $2 AND {BEGUN}
               AND NOT EXISTS (SELECT 1 FROM signals s
                               WHERE s.workspace = e.workspace AND s.execution = e.id AND s.kind = $3)
             ORDER BY id DESC OFFSET $4"
        ))
        .await?;
    let rows = tx
        .query(
            &find,
            &[
                &workspace.number(),
                &workflow.uuid(),
                &STOP,
                &i64::from(max.saturating_sub(1)),
            ],
        )
        .await?;
    let mut ids = rows
        .iter()
        .map(|row| get::<Uuid>(row, 0))
        .collect::<Result<Vec<_>, _>>()?;
    ids.sort_unstable();
    let stop = Signal::Stop {
        by: "a newer execution".to_owned(),
    };
    for id in ids {
        let id = ExecutionId::new(id);
        signals::leave(tx, workspace, id, &stop, now, Lease(0)).await?;
    }
    Ok(())
}

/// Makes as many of those that wait for their turn due as there is room for, the oldest first;
/// answers how many. The workflow's turns are locked.
pub(super) async fn pass_on(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    workflow: WorkflowId,
    max: u32,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let room = i64::from(max) - begun(tx, workspace, workflow, max).await?;
    if room <= 0 {
        return Ok(0);
    }
    let admit = tx
        .prepare_cached(
            "UPDATE executions e SET due_ms = $3
             FROM (SELECT workspace, id FROM executions
                   WHERE workspace = $1 AND workflow = $2 AND state = 0 AND due_ms IS NULL
                   ORDER BY id LIMIT $4 FOR UPDATE) next
             WHERE e.workspace = next.workspace AND e.id = next.id",
        )
        .await?;
    let admitted = tx
        .execute(
            &admit,
            &[&workspace.number(), &workflow.uuid(), &now.ms(), &room],
        )
        .await?;
    Ok(admitted)
}
