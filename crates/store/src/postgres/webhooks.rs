//! Webhooks: their records, and what goes along with a change of them.

use deadpool_postgres::{Client, GenericClient, Transaction};
use domain::{
    Timestamp, WebhookId, WorkspaceId,
    webhook::{DisabledReason, Sealed, Webhook},
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    accept, changes,
    due::flag_ordered,
    row::{get, limit, number, number_or_null, small, time, time_or_null},
};
use crate::{
    Change, NewEvent, Page, StoreError,
    records::{WebhookRecord, reason_number, webhook_config, webhook_secrets, webhook_state},
};

const COLUMNS: &str =
    "workspace, id, config, headers, secrets, state, disabled_reason, disabled_ms,
     failing_since_ms, created_ms, updated_ms";

fn read(row: &Row) -> Result<Webhook, StoreError> {
    Ok(Webhook {
        workspace: WorkspaceId::new(get(row, 0)?),
        id: WebhookId::new(get(row, 1)?),
        config: webhook_config(get(row, 2)?)?,
        headers: get::<Option<Vec<u8>>>(row, 3)?.map(Sealed),
        secrets: webhook_secrets(get(row, 4)?)?,
        state: webhook_state(number(row, 5)?, number_or_null(row, 6)?, get(row, 7)?)?,
        failing_since: time_or_null(row, 8)?,
        created_at: time(row, 9)?,
        updated_at: time(row, 10)?,
    })
}

/// See [`crate::Store::create_webhook`].
pub(super) async fn create(tx: &Transaction<'_>, record: &WebhookRecord) -> Result<(), StoreError> {
    let webhook = &record.webhook;
    let (state, reason, disabled_ms) = record.state();
    let insert = tx
        .prepare_cached(&format!(
            "INSERT INTO webhooks ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        ))
        .await?;
    tx.execute(
        &insert,
        &[
            &webhook.workspace.number(),
            &webhook.id.uuid(),
            &record.config,
            &record.headers(),
            &record.secrets,
            &small(state),
            &reason.map(small),
            &disabled_ms,
            &webhook.failing_since.map(Timestamp::ms),
            &webhook.created_at.ms(),
            &webhook.updated_at.ms(),
        ],
    )
    .await?;
    changes::record(tx, &Change::Webhook(webhook.workspace, webhook.id)).await
}

/// See [`crate::Store::update_webhook`].
pub(super) async fn update(
    tx: &Transaction<'_>,
    record: &WebhookRecord,
    expected: Timestamp,
) -> Result<bool, StoreError> {
    let webhook = &record.webhook;
    let (state, reason, disabled_ms) = record.state();
    let update = tx
        .prepare_cached(
            "UPDATE webhooks
             SET config = $4, headers = $5, secrets = $6, state = $7, disabled_reason = $8, disabled_ms = $9,
                 updated_ms = $10,
                 failing_since_ms = CASE WHEN $7::smallint = 0 AND state <> 0 THEN NULL ELSE failing_since_ms END
             WHERE workspace = $1 AND id = $2 AND updated_ms = $3",
        )
        .await?;
    let updated = tx
        .execute(
            &update,
            &[
                &webhook.workspace.number(),
                &webhook.id.uuid(),
                &expected.ms(),
                &record.config,
                &record.headers(),
                &record.secrets,
                &small(state),
                &reason.map(small),
                &disabled_ms,
                &webhook.updated_at.ms(),
            ],
        )
        .await?;
    if updated == 0 {
        return Ok(false);
    }
    if webhook.config.ordered {
        // It may have become so just now, with deliveries waiting.
        // Much may wait then. (A claim, which does the same, finds only what came meanwhile.)
        tx.batch_execute("SET LOCAL statement_timeout = '10min'")
            .await?;
        flag_ordered(tx, webhook.workspace, webhook.id).await?;
    }
    changes::record(tx, &Change::Webhook(webhook.workspace, webhook.id)).await?;
    Ok(true)
}

/// See [`crate::Store::disable_webhook`].
pub(super) async fn disable(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    id: WebhookId,
    reason: DisabledReason,
    now: Timestamp,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let disable = tx
        .prepare_cached(
            // `updated_ms` moves too, so that a change that was read before cannot undo it unseen.
            "UPDATE webhooks SET state = 2, disabled_reason = $3, disabled_ms = $4,
                 updated_ms = greatest($4, updated_ms + 1)
             WHERE workspace = $1 AND id = $2 AND state = 0",
        )
        .await?;
    let disabled = tx
        .execute(
            &disable,
            &[
                &workspace.number(),
                &id.uuid(),
                &small(reason_number(reason)),
                &now.ms(),
            ],
        )
        .await?;
    if disabled == 0 {
        return Ok(false);
    }
    accept::store(tx, std::slice::from_ref(event)).await?;
    changes::record(tx, &Change::Webhook(workspace, id)).await?;
    Ok(true)
}

/// See [`crate::Store::delete_webhook`].
pub(super) async fn delete(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    id: WebhookId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (number, uuid) = (workspace.number(), id.uuid());
    let delete = tx
        .prepare_cached("DELETE FROM webhooks WHERE workspace = $1 AND id = $2")
        .await?;
    if tx.execute(&delete, &[&number, &uuid]).await? == 0 {
        return Ok(false);
    }
    let forget = tx
        .prepare_cached("DELETE FROM webhook_counts WHERE workspace = $1 AND webhook = $2")
        .await?;
    tx.execute(&forget, &[&number, &uuid]).await?;
    let cancel = tx
        .prepare_cached(
            "UPDATE replays SET state = 2, finished_ms = $3 WHERE workspace = $1 AND webhook = $2 AND state = 0",
        )
        .await?;
    tx.execute(&cancel, &[&number, &uuid, &now.ms()]).await?;
    changes::record(tx, &Change::Webhook(workspace, id)).await?;
    Ok(true)
}

/// See [`crate::Store::webhook`].
pub(super) async fn by_id(
    conn: &Client,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<Option<Webhook>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM webhooks WHERE workspace = $1 AND id = $2"
        ))
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &id.uuid()])
        .await?;
    row.as_ref().map(read).transpose()
}

/// See [`crate::Store::webhooks`].
pub(super) async fn list(
    conn: &Client,
    workspace: WorkspaceId,
    page: Page<WebhookId>,
) -> Result<Vec<Webhook>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM webhooks WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3"
        ))
        .await?;
    let after = page.after.map_or(Uuid::nil(), WebhookId::uuid);
    let rows = conn
        .query(&find, &[&workspace.number(), &after, &limit(page.limit)])
        .await?;
    rows.iter().map(read).collect()
}

/// See [`crate::Store::all_webhooks`].
pub(super) async fn all(conn: &Client) -> Result<Vec<Webhook>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM webhooks ORDER BY workspace, id"
        ))
        .await?;
    let rows = conn.query(&find, &[]).await?;
    rows.iter().map(read).collect()
}

/// Whether there is such a webhook.
pub(super) async fn exists(
    conn: &impl GenericClient,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<bool, StoreError> {
    let find = conn
        .prepare_cached("SELECT 1 FROM webhooks WHERE workspace = $1 AND id = $2")
        .await?;
    let found = conn
        .query_opt(&find, &[&workspace.number(), &id.uuid()])
        .await?;
    Ok(found.is_some())
}
