//! Custom event types.

use deadpool_postgres::{Client, Transaction};
use domain::WorkspaceId;
use tokio_postgres::Row;

use super::{
    changes,
    row::{event_type, get, stored, stored_or_null, text, text_or_null, time},
};
use crate::{Change, CustomEventType, StoreError};

const COLUMNS: &str = "workspace, name, description, schema, example, enforce, created_ms";

fn read(row: &Row) -> Result<CustomEventType, StoreError> {
    Ok(CustomEventType {
        workspace: WorkspaceId::new(get(row, 0)?),
        name: event_type(row, 1)?,
        description: text(row, 2)?,
        schema: text_or_null(row, 3)?,
        example: text_or_null(row, 4)?,
        enforce: get(row, 5)?,
        created_at: time(row, 6)?,
    })
}

/// See [`crate::Store::create_event_type`].
pub(super) async fn create(
    tx: &Transaction<'_>,
    event_type: &CustomEventType,
) -> Result<bool, StoreError> {
    let insert = tx
        .prepare_cached(&format!(
            "INSERT INTO event_types ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
        ))
        .await?;
    let inserted = tx
        .execute(
            &insert,
            &[
                &event_type.workspace.number(),
                &event_type.name.as_str(),
                &stored(&event_type.description),
                &stored_or_null(event_type.schema.as_deref()),
                &stored_or_null(event_type.example.as_deref()),
                &event_type.enforce,
                &event_type.created_at.ms(),
            ],
        )
        .await?;
    changed(tx, event_type.workspace, event_type.name.as_str(), inserted).await
}

/// See [`crate::Store::update_event_type`].
pub(super) async fn update(
    tx: &Transaction<'_>,
    event_type: &CustomEventType,
) -> Result<bool, StoreError> {
    let update = tx
        .prepare_cached(
            "UPDATE event_types SET description = $3, schema = $4, example = $5, enforce = $6
             WHERE workspace = $1 AND name = $2",
        )
        .await?;
    let updated = tx
        .execute(
            &update,
            &[
                &event_type.workspace.number(),
                &event_type.name.as_str(),
                &stored(&event_type.description),
                &stored_or_null(event_type.schema.as_deref()),
                &stored_or_null(event_type.example.as_deref()),
                &event_type.enforce,
            ],
        )
        .await?;
    changed(tx, event_type.workspace, event_type.name.as_str(), updated).await
}

/// See [`crate::Store::delete_event_type`].
pub(super) async fn delete(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    name: &str,
) -> Result<bool, StoreError> {
    let delete = tx
        .prepare_cached("DELETE FROM event_types WHERE workspace = $1 AND name = $2")
        .await?;
    let deleted = tx
        .execute(&delete, &[&workspace.number(), &stored(name)])
        .await?;
    changed(tx, workspace, name, deleted).await
}

/// Records the change if there was one, and answers whether.
async fn changed(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    name: &str,
    rows: u64,
) -> Result<bool, StoreError> {
    if rows > 0 {
        changes::record(tx, &Change::EventType(workspace, name.to_owned())).await?;
    }
    Ok(rows > 0)
}

/// See [`crate::Store::event_types`].
pub(super) async fn list(
    conn: &Client,
    workspace: WorkspaceId,
) -> Result<Vec<CustomEventType>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM event_types WHERE workspace = $1 ORDER BY name COLLATE \"C\""
        ))
        .await?;
    let rows = conn.query(&find, &[&workspace.number()]).await?;
    rows.iter().map(read).collect()
}

/// See [`crate::Store::all_event_types`].
pub(super) async fn all(conn: &Client) -> Result<Vec<CustomEventType>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM event_types ORDER BY workspace, name COLLATE \"C\""
        ))
        .await?;
    let rows = conn.query(&find, &[]).await?;
    rows.iter().map(read).collect()
}
