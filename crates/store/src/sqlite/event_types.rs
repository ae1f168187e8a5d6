//! Custom event types.

use domain::WorkspaceId;
use rusqlite::{Connection, Row, params};

use super::{
    row::{event_type, time},
    writer::Batch,
};
use crate::{CustomEventType, StoreError};

const COLUMNS: &str = "workspace, name, description, schema, example, enforce, created_ms";

fn read_all(mut rows: rusqlite::Rows<'_>) -> Result<Vec<CustomEventType>, StoreError> {
    let mut types = Vec::new();
    while let Some(row) = rows.next()? {
        types.push(read(row)?);
    }
    Ok(types)
}

fn read(row: &Row<'_>) -> Result<CustomEventType, StoreError> {
    Ok(CustomEventType {
        workspace: WorkspaceId::new(row.get(0)?),
        name: event_type(row, 1)?,
        description: row.get(2)?,
        schema: row.get(3)?,
        example: row.get(4)?,
        enforce: row.get(5)?,
        created_at: time(row, 6)?,
    })
}

/// See [`crate::Store::create_event_type`].
pub(super) fn create(
    batch: &mut Batch<'_, '_>,
    event_type: &CustomEventType,
) -> Result<bool, StoreError> {
    let mut insert = batch.conn.prepare_cached(&format!(
        "INSERT INTO event_types ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING"
    ))?;
    let inserted = insert.execute(params![
        event_type.workspace.number(),
        event_type.name.as_str(),
        event_type.description,
        event_type.schema,
        event_type.example,
        event_type.enforce,
        event_type.created_at.ms(),
    ])?;
    Ok(inserted > 0)
}

/// See [`crate::Store::update_event_type`].
pub(super) fn update(
    batch: &mut Batch<'_, '_>,
    event_type: &CustomEventType,
) -> Result<bool, StoreError> {
    let mut update = batch.conn.prepare_cached(
        "UPDATE event_types SET description = ?3, schema = ?4, example = ?5, enforce = ?6
         WHERE workspace = ?1 AND name = ?2",
    )?;
    let updated = update.execute(params![
        event_type.workspace.number(),
        event_type.name.as_str(),
        event_type.description,
        event_type.schema,
        event_type.example,
        event_type.enforce,
    ])?;
    Ok(updated > 0)
}

/// See [`crate::Store::delete_event_type`].
pub(super) fn delete(
    batch: &mut Batch<'_, '_>,
    workspace: WorkspaceId,
    name: &str,
) -> Result<bool, StoreError> {
    let mut delete = batch
        .conn
        .prepare_cached("DELETE FROM event_types WHERE workspace = ?1 AND name = ?2")?;
    Ok(delete.execute(params![workspace.number(), name])? > 0)
}

/// See [`crate::Store::event_types`].
pub(super) fn list(
    conn: &Connection,
    workspace: WorkspaceId,
) -> Result<Vec<CustomEventType>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM event_types WHERE workspace = ?1 ORDER BY name"
    ))?;
    read_all(find.query([workspace.number()])?)
}

/// See [`crate::Store::all_event_types`].
pub(super) fn all(conn: &Connection) -> Result<Vec<CustomEventType>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM event_types ORDER BY workspace, name"
    ))?;
    read_all(find.query([])?)
}
