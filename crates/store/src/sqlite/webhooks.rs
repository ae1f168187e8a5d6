//! Webhooks: their records, and what goes along with a change of them.

use domain::{
    Timestamp, WebhookId, WorkspaceId,
    webhook::{DisabledReason, Sealed, Webhook, WebhookSecret, WebhookState},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::{
    due::flag_ordered,
    events::accept,
    row::{corrupt, limit, time, time_or_null, uuid},
    writer::Batch,
};
use crate::{NewEvent, Page, StoreError};

const COLUMNS: &str =
    "workspace, id, config, headers, secrets, state, disabled_reason, disabled_ms,
     failing_since_ms, created_ms, updated_ms";

const ACTIVE: i64 = 0;
const INACTIVE: i64 = 1;
const DISABLED: i64 = 2;

const GONE: i64 = 0;
const FAILING: i64 = 1;

fn read(row: &Row<'_>) -> Result<Webhook, StoreError> {
    let config: String = row.get(2)?;
    let secrets: String = row.get(4)?;
    let state = match row.get::<_, i64>(5)? {
        ACTIVE => WebhookState::Active,
        INACTIVE => WebhookState::Inactive,
        DISABLED => WebhookState::Disabled {
            reason: if row.get::<_, i64>(6)? == GONE {
                DisabledReason::Gone
            } else {
                DisabledReason::Failing
            },
            at: time(row, 7)?,
        },
        _ => return Err(corrupt("a webhook state")),
    };
    let secrets: Vec<WebhookSecret> =
        serde_json::from_str(&secrets).map_err(|_| corrupt("a webhook's secrets"))?;
    Ok(Webhook {
        workspace: WorkspaceId::new(row.get(0)?),
        id: WebhookId::new(uuid(row, 1)?),
        config: serde_json::from_str(&config)
            .map_err(|error| corrupt(&format!("a webhook's configuration ({error})")))?,
        headers: row.get::<_, Option<Vec<u8>>>(3)?.map(Sealed),
        secrets,
        state,
        failing_since: time_or_null(row, 8)?,
        created_at: time(row, 9)?,
        updated_at: time(row, 10)?,
    })
}

/// A webhook's record as columns, written out before it goes to the writer.
pub(super) struct Record {
    webhook: Webhook,
    config: String,
    secrets: String,
}

impl Record {
    pub(super) fn new(webhook: Webhook) -> Result<Self, StoreError> {
        let unwritable = |error: serde_json::Error| {
            StoreError::Failed(format!("a webhook that is no JSON: {error}"))
        };
        let config = serde_json::to_string(&webhook.config).map_err(unwritable)?;
        let secrets = serde_json::to_string(&webhook.secrets).map_err(unwritable)?;
        Ok(Self {
            webhook,
            config,
            secrets,
        })
    }

    fn state(&self) -> (i64, Option<i64>, Option<i64>) {
        match self.webhook.state {
            WebhookState::Active => (ACTIVE, None, None),
            WebhookState::Inactive => (INACTIVE, None, None),
            WebhookState::Disabled { reason, at } => {
                (DISABLED, Some(reason_number(reason)), Some(at.ms()))
            }
        }
    }
}

const fn reason_number(reason: DisabledReason) -> i64 {
    match reason {
        DisabledReason::Gone => GONE,
        DisabledReason::Failing => FAILING,
    }
}

/// See [`crate::Store::create_webhook`].
pub(super) fn create(batch: &mut Batch<'_, '_>, record: &Record) -> Result<(), StoreError> {
    let webhook = &record.webhook;
    let (state, reason, disabled_ms) = record.state();
    let mut insert = batch.conn.prepare_cached(&format!(
        "INSERT INTO webhooks ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    ))?;
    insert.execute(params![
        webhook.workspace.number(),
        webhook.id.uuid().as_bytes(),
        record.config,
        webhook.headers.as_ref().map(|headers| &headers.0),
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
    record: &Record,
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
        webhook.headers.as_ref().map(|headers| &headers.0),
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
