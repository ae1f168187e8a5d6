//! Triggers: their records, those of a workflow's file, and what the clock fires.

use domain::{
    SourceId, Timestamp, TriggerId, WorkflowId, WorkspaceId, intake::Trigger, seal::Sealed,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params, types::Value};

use super::{
    events::blob,
    row::{limit, time, time_or_null, uuid, uuid_or_null},
    turns::begin,
    writer::Batch,
};
use crate::{
    Page, Start, Started, StoreError,
    run_columns::{from_json, to_json},
};

const COLUMNS: &str =
    "workspace, id, workflow, source, next_ms, config, key, of_definition, active,
     created_ms, updated_ms";

fn read(row: &Row<'_>) -> Result<Trigger, StoreError> {
    Ok(Trigger {
        workspace: WorkspaceId::new(row.get(0)?),
        id: TriggerId::new(uuid(row, 1)?),
        workflow: WorkflowId::new(uuid(row, 2)?),
        source: uuid_or_null(row, 3)?.map(SourceId::new),
        next_at: time_or_null(row, 4)?,
        config: from_json(&row.get::<_, String>(5)?, "a trigger's configuration")?,
        key: row.get::<_, Option<Vec<u8>>>(6)?.map(Sealed),
        of_definition: row.get(7)?,
        active: row.get(8)?,
        created_at: time(row, 9)?,
        updated_at: time(row, 10)?,
    })
}

fn read_all(mut rows: rusqlite::Rows<'_>) -> Result<Vec<Trigger>, StoreError> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// See [`crate::Workflows::create_trigger`].
pub(super) fn create(conn: &Connection, trigger: &Trigger) -> Result<(), StoreError> {
    let mut insert = conn.prepare_cached(&format!(
        "INSERT INTO triggers ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    ))?;
    insert.execute(params![
        trigger.workspace.number(),
        trigger.id.uuid().as_bytes(),
        trigger.workflow.uuid().as_bytes(),
        trigger.source.map(|id| id.uuid().into_bytes()),
        trigger.next_at.map(Timestamp::ms),
        to_json(&trigger.config, "a trigger's configuration")?,
        trigger.key.as_ref().map(|key| &key.0[..]),
        trigger.of_definition,
        trigger.active,
        trigger.created_at.ms(),
        trigger.updated_at.ms(),
    ])?;
    Ok(())
}

/// See [`crate::Workflows::update_trigger`].
pub(super) fn update(
    conn: &Connection,
    trigger: &Trigger,
    expected: Timestamp,
) -> Result<bool, StoreError> {
    let mut remove = conn.prepare_cached(
        "DELETE FROM triggers WHERE workspace = ?1 AND id = ?2 AND updated_ms = ?3",
    )?;
    let removed = remove.execute(params![
        trigger.workspace.number(),
        trigger.id.uuid().as_bytes(),
        expected.ms()
    ])?;
    if removed > 0 {
        create(conn, trigger)?;
    }
    Ok(removed > 0)
}

/// See [`crate::Workflows::delete_trigger`].
pub(super) fn delete(
    conn: &Connection,
    workspace: WorkspaceId,
    id: TriggerId,
) -> Result<bool, StoreError> {
    let mut remove =
        conn.prepare_cached("DELETE FROM triggers WHERE workspace = ?1 AND id = ?2")?;
    Ok(remove.execute(params![workspace.number(), id.uuid().as_bytes()])? > 0)
}

/// Removes all triggers of a workflow.
pub(super) fn delete_of_workflow(
    conn: &Connection,
    workspace: WorkspaceId,
    workflow: WorkflowId,
) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM triggers WHERE workspace = ?1 AND workflow = ?2")?
        .execute(params![workspace.number(), workflow.uuid().as_bytes()])?;
    Ok(())
}

/// Removes all triggers that a source fires.
pub(super) fn delete_of_source(
    conn: &Connection,
    workspace: WorkspaceId,
    source: SourceId,
) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM triggers WHERE workspace = ?1 AND source = ?2")?
        .execute(params![workspace.number(), source.uuid().as_bytes()])?;
    Ok(())
}

/// Replaces the triggers that a workflow's file brought along; one whose configuration is the
/// same stays.
pub(super) fn replace(
    conn: &Connection,
    workspace: WorkspaceId,
    workflow: WorkflowId,
    triggers: &[Trigger],
) -> Result<(), StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM triggers
         WHERE workspace = ?1 AND workflow = ?2 AND of_definition = 1 ORDER BY id"
    ))?;
    let mut before =
        read_all(find.query(params![workspace.number(), workflow.uuid().as_bytes()])?)?;
    let mut stays = conn.prepare_cached(
        "UPDATE triggers SET source = ?3, updated_ms = ?4 WHERE workspace = ?1 AND id = ?2",
    )?;
    for trigger in triggers {
        let same = before.iter().position(|old| old.config == trigger.config);
        let Some(same) = same.map(|index| before.remove(index)) else {
            create(conn, trigger)?;
            continue;
        };
        stays.execute(params![
            workspace.number(),
            same.id.uuid().as_bytes(),
            trigger.source.map(|id| id.uuid().into_bytes()),
            trigger.updated_at.ms()
        ])?;
    }
    for gone in before {
        delete(conn, workspace, gone.id)?;
    }
    Ok(())
}

/// See [`crate::Workflows::triggers`].
pub(super) fn list(
    conn: &Connection,
    workspace: WorkspaceId,
    workflow: Option<WorkflowId>,
    page: Page<TriggerId>,
) -> Result<Vec<Trigger>, StoreError> {
    let mut sql = format!("SELECT {COLUMNS} FROM triggers WHERE workspace = ?");
    let mut values = vec![Value::from(workspace.number())];
    if let Some(workflow) = workflow {
        sql += " AND workflow = ?";
        values.push(blob(workflow.uuid()));
    }
    if let Some(after) = page.after {
        sql += " AND id > ?";
        values.push(blob(after.uuid()));
    }
    sql += " ORDER BY id LIMIT ?";
    values.push(Value::from(limit(page.limit)));
    let mut find = conn.prepare_cached(&sql)?;
    read_all(find.query(rusqlite::params_from_iter(values))?)
}

/// See [`crate::Workflows::all_triggers`].
pub(super) fn all(conn: &Connection) -> Result<Vec<Trigger>, StoreError> {
    let mut find = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM triggers"))?;
    read_all(find.query([])?)
}

/// See [`crate::Workflows::due_triggers`].
pub(super) fn due(
    conn: &Connection,
    now: Timestamp,
    most: usize,
) -> Result<Vec<Trigger>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM triggers INDEXED BY triggers_due
         WHERE active = 1 AND next_ms IS NOT NULL AND next_ms <= ?1 ORDER BY next_ms, id LIMIT ?2"
    ))?;
    read_all(find.query([now.ms(), limit(most)])?)
}

/// See [`crate::Workflows::next_trigger_due`].
pub(super) fn next_due(conn: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT next_ms FROM triggers INDEXED BY triggers_due
         WHERE active = 1 AND next_ms IS NOT NULL ORDER BY next_ms LIMIT 1",
    )?;
    Ok(find.query_row([], |row| time(row, 0)).optional()?)
}

/// What a trigger fires.
pub(super) struct Fire {
    pub(super) workspace: WorkspaceId,
    pub(super) id: TriggerId,
    pub(super) expected: Timestamp,
    pub(super) next: Option<Timestamp>,
    pub(super) start: Start,
}

/// See [`crate::Workflows::fire_trigger`].
pub(super) fn fire(batch: &mut Batch<'_, '_>, fire: &Fire) -> Result<Option<Started>, StoreError> {
    let mut advance = batch.conn.prepare_cached(
        "UPDATE triggers SET next_ms = ?4
         WHERE workspace = ?1 AND id = ?2 AND next_ms = ?3 AND active = 1",
    )?;
    let advanced = advance.execute(params![
        fire.workspace.number(),
        fire.id.uuid().as_bytes(),
        fire.expected.ms(),
        fire.next.map(Timestamp::ms)
    ])?;
    if advanced == 0 {
        return Ok(None);
    }
    begin(batch, &fire.start).map(Some)
}
