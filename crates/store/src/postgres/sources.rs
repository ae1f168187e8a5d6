//! Sources: where requests come in.

use deadpool_postgres::{Client, Transaction};
use domain::{SourceId, Timestamp, WorkspaceId, intake::Source};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    changes,
    codes::{from_json, json},
    row::{busy_if_taken, get, limit, stored, text, time},
};
use crate::{Change, Page, StoreError};

const COLUMNS: &str = "workspace, id, name, config, secrets, active, created_ms, updated_ms";

fn read(row: &Row) -> Result<Source, StoreError> {
    Ok(Source {
        workspace: WorkspaceId::new(get(row, 0)?),
        id: SourceId::new(get(row, 1)?),
        name: text(row, 2)?,
        config: from_json(row, 3, "a source's configuration")?,
        secrets: from_json(row, 4, "a source's secrets")?,
        active: get(row, 5)?,
        created_at: time(row, 6)?,
        updated_at: time(row, 7)?,
    })
}

/// See [`crate::Intake::create_source`].
pub(super) async fn create(tx: &Transaction<'_>, source: &Source) -> Result<bool, StoreError> {
    let insert = tx
        .prepare_cached(&format!(
            "INSERT INTO sources ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (name) DO NOTHING"
        ))
        .await?;
    let made = tx
        .execute(
            &insert,
            &[
                &source.workspace.number(),
                &source.id.uuid(),
                &stored(&source.name),
                &json(&source.config)?,
                &json(&source.secrets)?,
                &source.active,
                &source.created_at.ms(),
                &source.updated_at.ms(),
            ],
        )
        .await?;
    if made == 0 {
        return Ok(false);
    }
    changes::record(tx, &Change::Sources).await?;
    Ok(true)
}

/// See [`crate::Intake::update_source`].
pub(super) async fn update(
    tx: &Transaction<'_>,
    source: &Source,
    expected: Timestamp,
) -> Result<bool, StoreError> {
    let update = tx
        .prepare_cached(
            "UPDATE sources s
             SET name = $4, config = $5, secrets = $6, active = $7, created_ms = $8, updated_ms = $9
             WHERE workspace = $1 AND id = $2 AND updated_ms = $3
               AND NOT EXISTS (SELECT 1 FROM sources o WHERE o.name = $4 AND o.id <> s.id)",
        )
        .await?;
    let updated = tx
        .execute(
            &update,
            &[
                &source.workspace.number(),
                &source.id.uuid(),
                &expected.ms(),
                &stored(&source.name),
                &json(&source.config)?,
                &json(&source.secrets)?,
                &source.active,
                &source.created_at.ms(),
                &source.updated_at.ms(),
            ],
        )
        .await
        .map_err(busy_if_taken)?;
    if updated == 0 {
        return Ok(false);
    }
    changes::record(tx, &Change::Sources).await?;
    Ok(true)
}

/// See [`crate::Intake::delete_source`].
pub(super) async fn delete(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    id: SourceId,
) -> Result<bool, StoreError> {
    let (workspace, id) = (workspace.number(), id.uuid());
    let delete = tx
        .prepare_cached("DELETE FROM sources WHERE workspace = $1 AND id = $2")
        .await?;
    if tx.execute(&delete, &[&workspace, &id]).await? == 0 {
        return Ok(false);
    }
    let forget = tx
        .prepare_cached("DELETE FROM triggers WHERE workspace = $1 AND source = $2")
        .await?;
    if tx.execute(&forget, &[&workspace, &id]).await? > 0 {
        changes::record(tx, &Change::Workflows).await?;
    }
    changes::record(tx, &Change::Sources).await?;
    Ok(true)
}

/// See [`crate::Intake::source`].
pub(super) async fn by_id(
    conn: &Client,
    workspace: WorkspaceId,
    id: SourceId,
) -> Result<Option<Source>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM sources WHERE workspace = $1 AND id = $2"
        ))
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &id.uuid()])
        .await?;
    row.as_ref().map(read).transpose()
}

/// See [`crate::Intake::sources`].
pub(super) async fn list(
    conn: &Client,
    workspace: WorkspaceId,
    page: Page<SourceId>,
) -> Result<Vec<Source>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM sources WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3"
        ))
        .await?;
    let after = page.after.map_or(Uuid::nil(), SourceId::uuid);
    let rows = conn
        .query(&find, &[&workspace.number(), &after, &limit(page.limit)])
        .await?;
    rows.iter().map(read).collect()
}

/// See [`crate::Intake::all_sources`].
pub(super) async fn all(conn: &Client) -> Result<Vec<Source>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM sources ORDER BY workspace, id"
        ))
        .await?;
    let rows = conn.query(&find, &[]).await?;
    rows.iter().map(read).collect()
}
