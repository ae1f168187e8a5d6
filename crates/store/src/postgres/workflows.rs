//! Workflows and their versions.

use deadpool_postgres::{Client, Transaction};
use domain::{WorkflowId, WorkspaceId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    accept, changes,
    codes::{int, unsigned_32},
    row::{busy_if_taken, get, limit, stored, text, time},
    triggers,
};
use crate::{Accepted, Change, NewEvent, Page, PutWorkflow, StoreError, Workflow, WorkflowVersion};

const COLUMNS: &str = "workspace, id, name, description, version, label, created_ms, updated_ms";
const VERSION_COLUMNS: &str = "workspace, workflow, number, label, source, definition, created_ms";

fn read(row: &Row) -> Result<Workflow, StoreError> {
    Ok(Workflow {
        workspace: WorkspaceId::new(get(row, 0)?),
        id: WorkflowId::new(get(row, 1)?),
        name: text(row, 2)?,
        description: text(row, 3)?,
        version: unsigned_32(row, 4)?,
        label: text(row, 5)?,
        created_at: time(row, 6)?,
        updated_at: time(row, 7)?,
    })
}

fn read_version(row: &Row) -> Result<WorkflowVersion, StoreError> {
    Ok(WorkflowVersion {
        workspace: WorkspaceId::new(get(row, 0)?),
        workflow: WorkflowId::new(get(row, 1)?),
        number: unsigned_32(row, 2)?,
        label: text(row, 3)?,
        source: get::<Vec<u8>>(row, 4)?.into(),
        definition: get::<Vec<u8>>(row, 5)?.into(),
        created_at: time(row, 6)?,
    })
}

/// See [`crate::Workflows::put_workflow`].
pub(super) async fn put(
    tx: &Transaction<'_>,
    put: &PutWorkflow,
) -> Result<Option<Vec<Accepted>>, StoreError> {
    if !write(tx, &put.workflow, put.expected).await? {
        return Ok(None);
    }
    insert_version(tx, &put.version).await?;
    triggers::replace_of_definition(tx, &put.workflow, &put.triggers).await?;
    let accepted = accept::store(tx, &put.events).await?;
    changes::record(tx, &Change::Workflows).await?;
    Ok(Some(accepted))
}

/// Writes the record if its version is the expected one, and its name is nobody else's.
async fn write(
    tx: &Transaction<'_>,
    workflow: &Workflow,
    expected: Option<u32>,
) -> Result<bool, StoreError> {
    let sql = match expected {
        // Whoever stores the same name at this moment is waited for.
        None => {
            "INSERT INTO workflows (workspace, id, name, description, version, label, created_ms, updated_ms)
             SELECT $1::bigint, $2::uuid, $3::text, $4::text, $5::integer, $6::text, $7::bigint, $8::bigint
             WHERE $9::integer IS NULL
             ON CONFLICT DO NOTHING"
        }
        Some(_) => {
            "UPDATE workflows w SET name = $3, description = $4, version = $5, label = $6, created_ms = $7,
                 updated_ms = $8
             WHERE workspace = $1 AND id = $2 AND version = $9
               AND NOT EXISTS (SELECT 1 FROM workflows o
                               WHERE o.workspace = w.workspace AND o.name = $3 AND o.id <> w.id)"
        }
    };
    let write = tx.prepare_cached(sql).await?;
    let written = tx
        .execute(
            &write,
            &[
                &workflow.workspace.number(),
                &workflow.id.uuid(),
                &stored(&workflow.name),
                &stored(&workflow.description),
                &int(workflow.version),
                &stored(&workflow.label),
                &workflow.created_at.ms(),
                &workflow.updated_at.ms(),
                &expected.map(int),
            ],
        )
        .await
        .map_err(busy_if_taken)?;
    Ok(written > 0)
}

async fn insert_version(tx: &Transaction<'_>, version: &WorkflowVersion) -> Result<(), StoreError> {
    let insert = tx
        .prepare_cached(&format!(
            "INSERT INTO workflow_versions ({VERSION_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)"
        ))
        .await?;
    tx.execute(
        &insert,
        &[
            &version.workspace.number(),
            &version.workflow.uuid(),
            &int(version.number),
            &stored(&version.label),
            &&version.source[..],
            &&version.definition[..],
            &version.created_at.ms(),
        ],
    )
    .await?;
    Ok(())
}

/// See [`crate::Workflows::delete_workflow`].
pub(super) async fn delete(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    id: WorkflowId,
    events: &[NewEvent],
) -> Result<Option<Vec<Accepted>>, StoreError> {
    let (workspace, id) = (workspace.number(), id.uuid());
    let delete = tx
        .prepare_cached("DELETE FROM workflows WHERE workspace = $1 AND id = $2")
        .await?;
    if tx.execute(&delete, &[&workspace, &id]).await? == 0 {
        return Ok(None);
    }
    let forget = tx
        .prepare_cached("DELETE FROM triggers WHERE workspace = $1 AND workflow = $2")
        .await?;
    tx.execute(&forget, &[&workspace, &id]).await?;
    let accepted = accept::store(tx, events).await?;
    changes::record(tx, &Change::Workflows).await?;
    Ok(Some(accepted))
}

/// See [`crate::Workflows::workflow`].
pub(super) async fn by_id(
    conn: &Client,
    workspace: WorkspaceId,
    id: WorkflowId,
) -> Result<Option<Workflow>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM workflows WHERE workspace = $1 AND id = $2"
        ))
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &id.uuid()])
        .await?;
    row.as_ref().map(read).transpose()
}

/// See [`crate::Workflows::workflow_by_name`].
pub(super) async fn by_name(
    conn: &Client,
    workspace: WorkspaceId,
    name: &str,
) -> Result<Option<Workflow>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM workflows WHERE workspace = $1 AND name = $2"
        ))
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &stored(name)])
        .await?;
    row.as_ref().map(read).transpose()
}

/// See [`crate::Workflows::workflows`].
pub(super) async fn list(
    conn: &Client,
    workspace: WorkspaceId,
    page: Page<WorkflowId>,
) -> Result<Vec<Workflow>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM workflows WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3"
        ))
        .await?;
    let after = page.after.map_or(Uuid::nil(), WorkflowId::uuid);
    let rows = conn
        .query(&find, &[&workspace.number(), &after, &limit(page.limit)])
        .await?;
    rows.iter().map(read).collect()
}

/// See [`crate::Workflows::workflow_version`].
pub(super) async fn version(
    conn: &Client,
    workspace: WorkspaceId,
    workflow: WorkflowId,
    number: u32,
) -> Result<Option<WorkflowVersion>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {VERSION_COLUMNS} FROM workflow_versions
             WHERE workspace = $1 AND workflow = $2 AND number = $3"
        ))
        .await?;
    let row = conn
        .query_opt(
            &find,
            &[&workspace.number(), &workflow.uuid(), &int(number)],
        )
        .await?;
    row.as_ref().map(read_version).transpose()
}

/// See [`crate::Workflows::workflow_versions`].
pub(super) async fn versions(
    conn: &Client,
    workspace: WorkspaceId,
    workflow: WorkflowId,
    page: Page<u32>,
) -> Result<Vec<WorkflowVersion>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {VERSION_COLUMNS} FROM workflow_versions
             WHERE workspace = $1 AND workflow = $2 AND ($3::integer IS NULL OR number < $3)
             ORDER BY number DESC LIMIT $4"
        ))
        .await?;
    let rows = conn
        .query(
            &find,
            &[
                &workspace.number(),
                &workflow.uuid(),
                &page.after.map(int),
                &limit(page.limit),
            ],
        )
        .await?;
    rows.iter().map(read_version).collect()
}

/// Removes up to `most` versions of removed workflows that no execution names; see
/// [`crate::Executions::prune_executions`].
pub(super) async fn prune_versions(tx: &Transaction<'_>, most: usize) -> Result<usize, StoreError> {
    let prune = tx
        .prepare_cached(
            "DELETE FROM workflow_versions WHERE ctid IN (
                 SELECT v.ctid FROM workflow_versions v
                 WHERE NOT EXISTS (SELECT 1 FROM workflows w WHERE w.workspace = v.workspace AND w.id = v.workflow)
                   AND NOT EXISTS (SELECT 1 FROM executions e
                                   WHERE e.workspace = v.workspace AND e.workflow = v.workflow
                                     AND e.version = v.number)
                 LIMIT $1 FOR UPDATE SKIP LOCKED)",
        )
        .await?;
    let pruned = tx.execute(&prune, &[&limit(most)]).await?;
    Ok(usize::try_from(pruned).unwrap_or(usize::MAX))
}
