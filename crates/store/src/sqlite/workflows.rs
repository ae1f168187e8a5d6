//! Workflows and their versions.

use domain::{WorkflowId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::{
    events::accept,
    row::{limit, time, uuid},
    triggers,
    writer::Batch,
};
use crate::{Accepted, NewEvent, Page, PutWorkflow, StoreError, Workflow, WorkflowVersion};

const COLUMNS: &str = "workspace, id, name, description, version, label, created_ms, updated_ms";
const VERSION_COLUMNS: &str = "workspace, workflow, number, label, source, definition, created_ms";

fn read(row: &Row<'_>) -> rusqlite::Result<Workflow> {
    Ok(Workflow {
        workspace: WorkspaceId::new(row.get(0)?),
        id: WorkflowId::new(uuid(row, 1)?),
        name: row.get(2)?,
        description: row.get(3)?,
        version: row.get(4)?,
        label: row.get(5)?,
        created_at: time(row, 6)?,
        updated_at: time(row, 7)?,
    })
}

fn read_version(row: &Row<'_>) -> rusqlite::Result<WorkflowVersion> {
    Ok(WorkflowVersion {
        workspace: WorkspaceId::new(row.get(0)?),
        workflow: WorkflowId::new(uuid(row, 1)?),
        number: row.get(2)?,
        label: row.get(3)?,
        source: row.get::<_, Vec<u8>>(4)?.into(),
        definition: row.get::<_, Vec<u8>>(5)?.into(),
        created_at: time(row, 6)?,
    })
}

/// See [`crate::Workflows::put_workflow`].
pub(super) fn put(
    batch: &mut Batch<'_, '_>,
    put: &PutWorkflow,
) -> Result<Option<Vec<Accepted>>, StoreError> {
    let workflow = &put.workflow;
    if !may_put(batch.conn, put)? {
        return Ok(None);
    }
    let mut store = batch.conn.prepare_cached(&format!(
        "INSERT OR REPLACE INTO workflows ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
    ))?;
    store.execute(params![
        workflow.workspace.number(),
        workflow.id.uuid().as_bytes(),
        workflow.name,
        workflow.description,
        workflow.version,
        workflow.label,
        workflow.created_at.ms(),
        workflow.updated_at.ms(),
    ])?;
    let version = &put.version;
    let mut store = batch.conn.prepare_cached(&format!(
        "INSERT INTO workflow_versions ({VERSION_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
    ))?;
    store.execute(params![
        version.workspace.number(),
        version.workflow.uuid().as_bytes(),
        version.number,
        version.label,
        &version.source[..],
        &version.definition[..],
        version.created_at.ms(),
    ])?;
    triggers::replace(batch.conn, workflow.workspace, workflow.id, &put.triggers)?;
    Ok(Some(accept(batch, &put.events)?))
}

/// Whether its newest version is the one that was seen, and its name is nobody else's.
fn may_put(conn: &Connection, put: &PutWorkflow) -> Result<bool, StoreError> {
    let workflow = &put.workflow;
    let id = workflow.id.uuid();
    let newest: Option<u32> = conn
        .prepare_cached("SELECT version FROM workflows WHERE workspace = ?1 AND id = ?2")?
        .query_row(params![workflow.workspace.number(), id.as_bytes()], |row| {
            row.get(0)
        })
        .optional()?;
    let mut taken = conn.prepare_cached(
        "SELECT 1 FROM workflows WHERE workspace = ?1 AND name = ?2 AND id <> ?3",
    )?;
    let taken = taken.exists(params![
        workflow.workspace.number(),
        workflow.name,
        id.as_bytes()
    ])?;
    Ok(newest == put.expected && !taken)
}

/// See [`crate::Workflows::delete_workflow`].
pub(super) fn delete(
    batch: &mut Batch<'_, '_>,
    workspace: WorkspaceId,
    id: WorkflowId,
    events: &[NewEvent],
) -> Result<Option<Vec<Accepted>>, StoreError> {
    let removed = batch
        .conn
        .prepare_cached("DELETE FROM workflows WHERE workspace = ?1 AND id = ?2")?
        .execute(params![workspace.number(), id.uuid().as_bytes()])?;
    if removed == 0 {
        return Ok(None);
    }
    triggers::delete_of_workflow(batch.conn, workspace, id)?;
    Ok(Some(accept(batch, events)?))
}

/// See [`crate::Workflows::workflow`].
pub(super) fn by_id(
    conn: &Connection,
    workspace: WorkspaceId,
    id: WorkflowId,
) -> Result<Option<Workflow>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM workflows WHERE workspace = ?1 AND id = ?2"
    ))?;
    let id = id.uuid();
    let key = params![workspace.number(), id.as_bytes()];
    Ok(find.query_row(key, read).optional()?)
}

/// See [`crate::Workflows::workflow_by_name`].
pub(super) fn by_name(
    conn: &Connection,
    workspace: WorkspaceId,
    name: &str,
) -> Result<Option<Workflow>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM workflows WHERE workspace = ?1 AND name = ?2"
    ))?;
    Ok(find
        .query_row(params![workspace.number(), name], read)
        .optional()?)
}

/// See [`crate::Workflows::workflows`].
pub(super) fn list(
    conn: &Connection,
    workspace: WorkspaceId,
    page: Page<WorkflowId>,
) -> Result<Vec<Workflow>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM workflows WHERE workspace = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
    ))?;
    let after = page.after.map_or(Uuid::nil(), WorkflowId::uuid);
    let values = params![workspace.number(), after.as_bytes(), limit(page.limit)];
    Ok(find.query_map(values, read)?.collect::<Result<_, _>>()?)
}

/// See [`crate::Workflows::workflow_version`].
pub(super) fn version(
    conn: &Connection,
    workspace: WorkspaceId,
    workflow: WorkflowId,
    number: u32,
) -> Result<Option<WorkflowVersion>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {VERSION_COLUMNS} FROM workflow_versions
         WHERE workspace = ?1 AND workflow = ?2 AND number = ?3"
    ))?;
    let workflow = workflow.uuid();
    let key = params![workspace.number(), workflow.as_bytes(), number];
    Ok(find.query_row(key, read_version).optional()?)
}

/// See [`crate::Workflows::workflow_versions`].
pub(super) fn versions(
    conn: &Connection,
    workspace: WorkspaceId,
    workflow: WorkflowId,
    page: Page<u32>,
) -> Result<Vec<WorkflowVersion>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {VERSION_COLUMNS} FROM workflow_versions
         WHERE workspace = ?1 AND workflow = ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4"
    ))?;
    let workflow = workflow.uuid();
    let values = params![
        workspace.number(),
        workflow.as_bytes(),
        page.after.map_or(i64::MAX, i64::from),
        limit(page.limit)
    ];
    Ok(find
        .query_map(values, read_version)?
        .collect::<Result<_, _>>()?)
}

/// Versions of removed workflows that no execution names: removes up to `most`.
pub(super) fn prune_versions(conn: &Connection, most: usize) -> Result<usize, StoreError> {
    let mut remove = conn.prepare_cached(
        "DELETE FROM workflow_versions WHERE (workspace, workflow, number) IN (
             SELECT workspace, workflow, number FROM workflow_versions v
             WHERE NOT EXISTS (SELECT 1 FROM workflows w
                               WHERE w.workspace = v.workspace AND w.id = v.workflow)
               AND NOT EXISTS (SELECT 1 FROM executions e INDEXED BY executions_by_workflow
                               WHERE e.workspace = v.workspace AND e.workflow = v.workflow
                                 AND e.version = v.number)
             LIMIT ?1)",
    )?;
    Ok(remove.execute([limit(most)])?)
}
