//! Webhooks: their records, and what goes along with a change of them.

use domain::{
    Timestamp, WebhookId, WorkspaceId,
    webhook::{DisabledReason, Sealed, Webhook},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::{
    due::flag_ordered,
    events::accept,
    row::{limit, time, time_or_null, uuid},
    writer::Batch,
};
use crate::{
    NewEvent, Page, StoreError,
    records::{WebhookRecord, reason_number, webhook_config, webhook_secrets, webhook_state},
};

const COLUMNS: &str =
    "workspace, id, config, headers, secrets, state, disabled_reason, disabled_ms,
     failing_since_ms, created_ms, updated_ms";

fn read(row: &Row<'_>) -> Result<Webhook, StoreError> {
    Ok(Webhook {
        workspace: WorkspaceId::new(row.get(0)?),
        id: WebhookId::new(uuid(row, 1)?),
        config: webhook_config(&row.get::<_, String>(2)?)?,
        headers: row.get::<_, Option<Vec<u8>>>(3)?.map(Sealed),
        secrets: webhook_secrets(&row.get::<_, String>(4)?)?,
        state: webhook_state(row.get(5)?, row.get(6)?, row.get(7)?)?,
        failing_since: time_or_null(row, 8)?,
        created_at: time(row, 9)?,
        updated_at: time(row, 10)?,
    })
}

/// See [`crate::Store::create_webhook`].
pub(super) fn create(batch: &mut Batch<'_, '_>, record: &WebhookRecord) -> Result<(), StoreError> {
    let webhook = &record.webhook;
    let (state, reason, disabled_ms) = record.state();
    let mut insert = batch.conn.prepare_cached(&format!(
        "INSERT INTO webhooks ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    ))?;
    insert.execute(params![
        webhook.workspace.number(),
        webhook.id.uuid().as_bytes(),
        record.config,
        record.headers(),
        record.secrets,
        state,
        reason,
        disabled_ms,
        webhook.failing_since.map(Timestamp::ms),
        webhook.created_at.ms(),
        webhook.updated_at.ms(),
    ])?;
    Ok(())
}

/// See [`crate::Store::update_webhook`].
pub(super) fn update(
    batch: &mut Batch<'_, '_>,
    record: &WebhookRecord,
    expected: Timestamp,
) -> Result<bool, StoreError> {
    let webhook = &record.webhook;
    let (state, reason, disabled_ms) = record.state();
    let mut update = batch.conn.prepare_cached(
        "UPDATE webhooks
         SET config = ?4, headers = ?5, secrets = ?6, state = ?7, disabled_reason = ?8, disabled_ms = ?9,
             updated_ms = ?10,
             failing_since_ms = CASE WHEN ?7 = 0 AND state <> 0 THEN NULL ELSE failing_since_ms END
         WHERE workspace = ?1 AND id = ?2 AND updated_ms = ?3",
    )?;
    let updated = update.execute(params![
        webhook.workspace.number(),
        webhook.id.uuid().as_bytes(),
        expected.ms(),
        record.config,
        record.headers(),
        record.secrets,
        state,
        reason,
        disabled_ms,
        webhook.updated_at.ms(),
    ])?;
    if updated > 0 && webhook.config.ordered {
        // It may have become so just now, with deliveries waiting.
        flag_ordered(batch.conn, webhook.workspace, webhook.id)?;
    }
    Ok(updated > 0)
}

/// See [`crate::Store::disable_webhook`].
pub(super) fn disable(
    batch: &mut Batch<'_, '_>,
    workspace: WorkspaceId,
    id: WebhookId,
    reason: DisabledReason,
    now: Timestamp,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut disable = batch.conn.prepare_cached(
        // `updated_ms` moves too, so that a change that was read before cannot undo it unseen.
        "UPDATE webhooks SET state = 2, disabled_reason = ?3, disabled_ms = ?4,
             updated_ms = max(?4, updated_ms + 1)
         WHERE workspace = ?1 AND id = ?2 AND state = 0",
    )?;
    let disabled = disable.execute(params![
        workspace.number(),
        id.uuid().as_bytes(),
        reason_number(reason),
        now.ms()
    ])?;
    if disabled > 0 {
        accept(batch, std::slice::from_ref(event))?;
    }
    Ok(disabled > 0)
}

/// See [`crate::Store::delete_webhook`].
pub(super) fn delete(
    batch: &mut Batch<'_, '_>,
    workspace: WorkspaceId,
    id: WebhookId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let uuid = id.uuid();
    let key = params![workspace.number(), uuid.as_bytes()];
    let deleted = batch
        .conn
        .prepare_cached("DELETE FROM webhooks WHERE workspace = ?1 AND id = ?2")?
        .execute(key)?;
    if deleted == 0 {
        return Ok(false);
    }
    batch
        .conn
        .prepare_cached("DELETE FROM webhook_counts WHERE workspace = ?1 AND webhook = ?2")?
        .execute(key)?;
    batch
        .conn
        .prepare_cached(
            "UPDATE replays SET state = 2, finished_ms = ?3 WHERE workspace = ?1 AND webhook = ?2 AND state = 0",
        )?
        .execute(params![workspace.number(), id.uuid().as_bytes(), now.ms()])?;
    Ok(true)
}

/// See [`crate::Store::webhook`].
pub(super) fn by_id(
    conn: &Connection,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<Option<Webhook>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM webhooks WHERE workspace = ?1 AND id = ?2"
    ))?;
    let mut rows = find.query(params![workspace.number(), id.uuid().as_bytes()])?;
    rows.next()?.map(read).transpose()
}

/// See [`crate::Store::webhooks`].
pub(super) fn list(
    conn: &Connection,
    workspace: WorkspaceId,
    page: Page<WebhookId>,
) -> Result<Vec<Webhook>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM webhooks WHERE workspace = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
    ))?;
    let after = page.after.map_or(Uuid::nil(), WebhookId::uuid);
    let rows = find.query(params![
        workspace.number(),
        after.as_bytes(),
        limit(page.limit)
    ])?;
    read_all(rows)
}

/// See [`crate::Store::all_webhooks`].
pub(super) fn all(conn: &Connection) -> Result<Vec<Webhook>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM webhooks ORDER BY workspace, id"
    ))?;
    read_all(find.query([])?)
}

fn read_all(mut rows: rusqlite::Rows<'_>) -> Result<Vec<Webhook>, StoreError> {
    let mut webhooks = Vec::new();
    while let Some(row) = rows.next()? {
        webhooks.push(read(row)?);
    }
    Ok(webhooks)
}

/// Whether there is such a webhook.
pub(super) fn exists(
    conn: &Connection,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<bool, StoreError> {
    let found = conn
        .prepare_cached("SELECT 1 FROM webhooks WHERE workspace = ?1 AND id = ?2")?
        .query_row(
            params![workspace.number(), id.uuid().as_bytes()],
            |_| Ok(()),
        )
        .optional()?;
    Ok(found.is_some())
}
