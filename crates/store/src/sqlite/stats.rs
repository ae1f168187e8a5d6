//! Numbers: a webhook's, the queue's are kept by the writer, the store's own.

use std::path::Path;

use domain::{Timestamp, WebhookId, WorkspaceId};
use rusqlite::{Connection, params};

use super::{
    open::schema_version,
    row::{DURATIONS_MAX, count, least_id, percentile, slot},
};
use crate::{StoreError, StoreFacts, WebhookStats};

/// See [`crate::Store::webhook_stats`].
pub(super) fn of_webhook(
    conn: &Connection,
    workspace: WorkspaceId,
    webhook: WebhookId,
    since: Timestamp,
) -> Result<WebhookStats, StoreError> {
    let mut sum = conn.prepare_cached(
        "SELECT coalesce(sum(made), 0), coalesce(sum(delivered), 0), coalesce(sum(dead), 0),
                coalesce(sum(attempts), 0), coalesce(sum(attempts_failed), 0)
         FROM webhook_counts WHERE workspace = ?1 AND webhook = ?2 AND slot >= ?3",
    )?;
    let mut stats = sum.query_row(
        params![workspace.number(), webhook.uuid().as_bytes(), slot(since)],
        |row| {
            let (made, delivered, dead): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(WebhookStats {
                pending: count(made - delivered - dead),
                delivered: count(delivered),
                dead: count(dead),
                attempts: count(row.get(3)?),
                attempts_failed: count(row.get(4)?),
                ..WebhookStats::default()
            })
        },
    )?;
    let durations = durations(conn, workspace, webhook, since)?;
    stats.duration_us_p50 = percentile(&durations, 50);
    stats.duration_us_p95 = percentile(&durations, 95);
    Ok(stats)
}

/// How long the last attempts of the webhook's newest deliveries took, shortest first.
fn durations(
    conn: &Connection,
    workspace: WorkspaceId,
    webhook: WebhookId,
    since: Timestamp,
) -> Result<Vec<u64>, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT a.duration_us FROM (
             SELECT d.last_attempt FROM deliveries d INDEXED BY deliveries_by_webhook
             WHERE d.workspace = ?1 AND d.webhook = ?2 AND d.id < ?5
             ORDER BY d.id DESC LIMIT ?4
         ) newest CROSS JOIN attempts a ON a.row = newest.last_attempt
         WHERE a.started_ms >= ?3",
    )?;
    let end = least_id(Timestamp::FAR_FUTURE);
    let rows = find.query_map(
        params![
            workspace.number(),
            webhook.uuid().as_bytes(),
            since.ms(),
            DURATIONS_MAX,
            end.as_bytes()
        ],
        |row| row.get::<_, i64>(0),
    )?;
    let mut durations = rows
        .map(|duration| duration.map(count))
        .collect::<Result<Vec<_>, _>>()?;
    durations.sort_unstable();
    Ok(durations)
}

/// See [`crate::Store::facts`].
pub(super) fn facts(path: &Path) -> StoreFacts {
    let bytes = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        std::fs::metadata(name).map_or(0, |file| file.len())
    };
    let free = rustix::fs::statvfs(path)
        .ok()
        .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    StoreFacts {
        kind: "sqlite",
        version: rusqlite::version().to_owned(),
        schema_version: schema_version(),
        size_bytes: bytes("") + bytes("-wal") + bytes("-shm"),
        free_bytes: free,
        unsafe_settings: Vec::new(),
    }
}
