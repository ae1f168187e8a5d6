//! Sources: where requests of one sender come in.

use domain::{SourceId, Timestamp, WorkspaceId, intake::Source};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::{
    row::{limit, time, uuid},
    triggers,
};
use crate::{
    Page, StoreError,
    run_columns::{from_json, to_json},
};

const COLUMNS: &str = "workspace, id, name, config, secrets, active, created_ms, updated_ms";

fn read(row: &Row<'_>) -> Result<Source, StoreError> {
    Ok(Source {
        workspace: WorkspaceId::new(row.get(0)?),
        id: SourceId::new(uuid(row, 1)?),
        name: row.get(2)?,
        config: from_json(&row.get::<_, String>(3)?, "a source's configuration")?,
        secrets: from_json(&row.get::<_, String>(4)?, "a source's secrets")?,
        active: row.get(5)?,
        created_at: time(row, 6)?,
        updated_at: time(row, 7)?,
    })
}

fn read_all(mut rows: rusqlite::Rows<'_>) -> Result<Vec<Source>, StoreError> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// See [`crate::Intake::create_source`].
pub(super) fn create(conn: &Connection, source: &Source) -> Result<bool, StoreError> {
    let mut insert = conn.prepare_cached(&format!(
        "INSERT INTO sources ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (name) DO NOTHING"
    ))?;
    let inserted = insert.execute(params![
        source.workspace.number(),
        source.id.uuid().as_bytes(),
        source.name,
        to_json(&source.config, "a source's configuration")?,
        to_json(&source.secrets, "a source's secrets")?,
        source.active,
        source.created_at.ms(),
        source.updated_at.ms(),
    ])?;
    Ok(inserted > 0)
}

/// See [`crate::Intake::update_source`].
pub(super) fn update(
    conn: &Connection,
    source: &Source,
    expected: Timestamp,
) -> Result<bool, StoreError> {
    let mut update = conn.prepare_cached(
        "UPDATE sources SET name = ?4, config = ?5, secrets = ?6, active = ?7, updated_ms = ?8
         WHERE workspace = ?1 AND id = ?2 AND updated_ms = ?3
           AND NOT EXISTS (SELECT 1 FROM sources WHERE name = ?4 AND id <> ?2)",
    )?;
    let updated = update.execute(params![
        source.workspace.number(),
        source.id.uuid().as_bytes(),
        expected.ms(),
        source.name,
        to_json(&source.config, "a source's configuration")?,
        to_json(&source.secrets, "a source's secrets")?,
        source.active,
        source.updated_at.ms(),
    ])?;
    Ok(updated > 0)
}

/// See [`crate::Intake::delete_source`].
pub(super) fn delete(
    conn: &Connection,
    workspace: WorkspaceId,
    id: SourceId,
) -> Result<bool, StoreError> {
    let removed = conn
        .prepare_cached("DELETE FROM sources WHERE workspace = ?1 AND id = ?2")?
        .execute(params![workspace.number(), id.uuid().as_bytes()])?;
    if removed > 0 {
        triggers::delete_of_source(conn, workspace, id)?;
    }
    Ok(removed > 0)
}

/// See [`crate::Intake::source`].
pub(super) fn by_id(
    conn: &Connection,
    workspace: WorkspaceId,
    id: SourceId,
) -> Result<Option<Source>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sources WHERE workspace = ?1 AND id = ?2"
    ))?;
    let mut rows = find.query(params![workspace.number(), id.uuid().as_bytes()])?;
    rows.next()?.map(read).transpose()
}

/// See [`crate::Intake::sources`].
pub(super) fn list(
    conn: &Connection,
    workspace: WorkspaceId,
    page: Page<SourceId>,
) -> Result<Vec<Source>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sources WHERE workspace = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
    ))?;
    let after = page.after.map_or(Uuid::nil(), SourceId::uuid);
    read_all(find.query(params![
        workspace.number(),
        after.as_bytes(),
        limit(page.limit)
    ])?)
}

/// See [`crate::Intake::all_sources`].
pub(super) fn all(conn: &Connection) -> Result<Vec<Source>, StoreError> {
    let mut find = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM sources"))?;
    read_all(find.query([])?)
}
