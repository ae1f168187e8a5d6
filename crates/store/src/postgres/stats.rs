//! Numbers: a webhook's, the queue's, the database's own.

use std::time::Duration;

use deadpool_postgres::Client;
use domain::{Timestamp, WebhookId, WorkspaceId};

use tokio::time::Instant;

use super::{
    migrate::schema_version,
    row::{DURATIONS_MAX, count, get, percentile, slot, unsigned},
};
use crate::{Lease, QueueDepth, StoreError, StoreFacts, WebhookStats};

/// See [`crate::Store::webhook_stats`].
pub(super) async fn of_webhook(
    conn: &Client,
    workspace: WorkspaceId,
    webhook: WebhookId,
    since: Timestamp,
) -> Result<WebhookStats, StoreError> {
    let sum = conn
        .prepare_cached(
            "SELECT coalesce(sum(made), 0)::bigint, coalesce(sum(delivered), 0)::bigint,
                    coalesce(sum(dead), 0)::bigint, coalesce(sum(attempts), 0)::bigint,
                    coalesce(sum(attempts_failed), 0)::bigint
             FROM webhook_counts WHERE workspace = $1 AND webhook = $2 AND slot >= $3",
        )
        .await?;
    let row = conn
        .query_one(&sum, &[&workspace.number(), &webhook.uuid(), &slot(since)])
        .await?;
    let (made, delivered, dead): (i64, i64, i64) = (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
    let durations = durations(conn, workspace, webhook, since).await?;
    Ok(WebhookStats {
        pending: count(made - delivered - dead),
        delivered: count(delivered),
        dead: count(dead),
        attempts: unsigned(&row, 3)?,
        attempts_failed: unsigned(&row, 4)?,
        duration_us_p50: percentile(&durations, 50),
        duration_us_p95: percentile(&durations, 95),
    })
}

/// How long the last attempts of the webhook's newest deliveries took, shortest first.
async fn durations(
    conn: &Client,
    workspace: WorkspaceId,
    webhook: WebhookId,
    since: Timestamp,
) -> Result<Vec<u64>, StoreError> {
    let newest = |table: &str| {
        format!(
            "(SELECT id, last_started_ms, last_duration_us FROM {table}
              WHERE workspace = $1 AND webhook = $2 ORDER BY id DESC LIMIT $4)"
        )
    };
    let find = conn
        .prepare_cached(&format!(
            "SELECT last_duration_us FROM (
                 {} UNION ALL {} ORDER BY id DESC LIMIT $4
             ) newest WHERE last_started_ms >= $3 ORDER BY last_duration_us",
            newest("pending_deliveries"),
            newest("finished_deliveries")
        ))
        .await?;
    let rows = conn
        .query(
            &find,
            &[
                &workspace.number(),
                &webhook.uuid(),
                &since.ms(),
                &DURATIONS_MAX,
            ],
        )
        .await?;
    rows.iter().map(|row| unsigned(row, 0)).collect()
}

/// A count that took less than this is made anew each time.
const QUICK: Duration = Duration::from_millis(50);
/// A slow count is believed for so many times as long as it took.
const BELIEVED: u32 = 20;

/// A depth of the queue, as it was counted.
pub(super) struct KnownDepth {
    pub(super) depth: QueueDepth,
    counted_at: Instant,
    took: Duration,
}

impl KnownDepth {
    /// Counted just now, from `began` on.
    pub(super) fn new(depth: QueueDepth, began: Instant) -> Self {
        Self {
            depth,
            counted_at: Instant::now(),
            took: began.elapsed(),
        }
    }

    /// Whether it is believed still: whoever asks often must not keep the database busy.
    pub(super) fn is_fresh(&self) -> bool {
        self.took >= QUICK && self.counted_at.elapsed() < self.took * BELIEVED
    }
}

/// See [`crate::Store::queue_depth`]. Reads the whole queue, which is short as long as receivers
/// answer: a million deliveries that wait take some 200 ms.
pub(super) async fn queue_depth(conn: &Client, lease: Lease) -> Result<QueueDepth, StoreError> {
    let sum = conn
        .prepare_cached(
            "SELECT count(*), count(*) FILTER (WHERE held_by = $1) FROM pending_deliveries",
        )
        .await?;
    let row = conn.query_one(&sum, &[&lease.0]).await?;
    Ok(QueueDepth {
        pending: unsigned(&row, 0)?,
        held: unsigned(&row, 1)?,
    })
}

/// See [`crate::Store::facts`].
pub(super) async fn facts(conn: &Client) -> Result<StoreFacts, StoreError> {
    let find = conn
        .prepare_cached(
            // The version alone, without what a distribution adds to it.
            "SELECT split_part(current_setting('server_version'), ' ', 1),
                    coalesce(sum(pg_total_relation_size(oid)), 0)::bigint,
                    array(SELECT name || ' = ' || setting FROM pg_settings
                          WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'
                          ORDER BY name)
             FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace",
        )
        .await?;
    let row = conn.query_one(&find, &[]).await?;
    Ok(StoreFacts {
        kind: "postgresql",
        version: get(&row, 0)?,
        schema_version: schema_version(),
        size_bytes: unsigned(&row, 1)?,
        free_bytes: None,
        unsafe_settings: get(&row, 2)?,
    })
}
