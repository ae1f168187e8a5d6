//! Deliveries: look-ups and lists, manual retry, burial. What is due stands in `due.rs`.
//!
//! A delivery is a row of `pending_deliveries` or of `finished_deliveries`. Look-ups read both in
//! one statement, so that one that moves meanwhile is seen once.

use deadpool_postgres::{Client, Transaction};
use domain::{
    DeliveryId, EventKey, ReplayId, Timestamp, WebhookId, WorkspaceId,
    delivery::{Delivery, DeliveryState},
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    events::made_with,
    partitions,
    query::Query,
    row::{
        Counts, DEAD, DELIVERED, earliest_id, error_class, event_id, event_type, get, limit,
        made_at, number, number_or_null, state, status, time, time_or_null,
    },
    tally::Tally,
    webhooks::exists,
};
use crate::{DeliveryFilter, DeliveryRow, Page, Retried, StoreError};

/// A pending delivery as [`read`] reads it, of a table called `d`, and how its last attempt ended.
pub(super) const PENDING_COLUMNS: &str =
    "d.id, d.event, d.webhook, 0::smallint AS state, d.attempts, d.due_ms, d.created_ms,
     NULL::bigint AS finished_ms, d.replay, d.last_status, d.last_error";
/// A finished one, likewise.
const FINISHED_COLUMNS: &str =
    "d.id, d.event, d.webhook, d.state, d.attempts, NULL::bigint AS due_ms, d.created_ms,
     d.finished_ms, d.replay, d.last_status, d.last_error";
/// How many columns these are.
pub(super) const COLUMN_COUNT: usize = 11;

/// The columns that move along with a delivery between the two tables, in both directions.
const KEPT: &str = "workspace, id, event, webhook, attempts, ordered, position, created_ms, replay,
     last_status, last_error, last_started_ms, last_duration_us";

/// Reads a delivery whose columns begin at `column`.
pub(super) fn read(
    row: &Row,
    workspace: WorkspaceId,
    column: usize,
) -> Result<Delivery, StoreError> {
    let attempts: i32 = get(row, column + 4)?;
    Ok(Delivery {
        workspace,
        id: DeliveryId::new(get(row, column)?),
        event: EventKey::new(get(row, column + 1)?),
        webhook: WebhookId::new(get(row, column + 2)?),
        state: state(number(row, column + 3)?)?,
        attempts: u32::try_from(attempts).unwrap_or(0),
        next_attempt_at: time_or_null(row, column + 5)?,
        created_at: time(row, column + 6)?,
        finished_at: time_or_null(row, column + 7)?,
        replay: get::<Option<Uuid>>(row, column + 8)?.map(ReplayId::new),
    })
}

/// See [`crate::Store::delivery`].
pub(super) async fn by_id(
    conn: &Client,
    workspace: WorkspaceId,
    id: DeliveryId,
) -> Result<Option<Delivery>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {PENDING_COLUMNS} FROM pending_deliveries d WHERE workspace = $1 AND id = $2
             UNION ALL
             SELECT {FINISHED_COLUMNS} FROM finished_deliveries d WHERE workspace = $1 AND id = $2"
        ))
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &id.uuid()])
        .await?;
    row.map(|row| read(&row, workspace, 0)).transpose()
}

/// See [`crate::Store::deliveries`].
pub(super) async fn list(
    conn: &Client,
    workspace: WorkspaceId,
    filter: &DeliveryFilter,
    page: Page<DeliveryId>,
) -> Result<Vec<DeliveryRow>, StoreError> {
    let made_with = match filter.event {
        None => None,
        Some(event) => match made_with(conn, workspace, event).await? {
            None => return Ok(Vec::new()),
            made_with => made_with,
        },
    };
    let mut query = Query::default();
    let whose = query.value(workspace.number());
    let parts = parts_of_page(&mut query, &whose, filter, made_with, page);
    let most = query.value(limit(page.limit));
    let parts: Vec<_> = parts
        .iter()
        .map(|part| format!("({part} ORDER BY id DESC LIMIT {most})"))
        .collect();
    // First the page out of the indexes of both tables; then the events of its rows alone, one
    // by one, so that each is looked for in its own partition.
    let find = conn
        .prepare_cached(&format!(
            "SELECT page.*, e.id, e.type
             FROM (SELECT * FROM ({}) parts ORDER BY id DESC LIMIT {most}) page
             CROSS JOIN LATERAL (
                 SELECT id, type FROM events WHERE workspace = {whose} AND key = page.event LIMIT 1
             ) e
             ORDER BY page.id DESC",
            parts.join(" UNION ALL ")
        ))
        .await?;
    let rows = conn.query(&find, &query.values()).await?;
    rows.iter()
        .map(|row| {
            let delivery = read(row, workspace, 0)?;
            Ok(DeliveryRow {
                event_id: event_id(row, COLUMN_COUNT, delivery.event)?,
                event_type: event_type(row, COLUMN_COUNT + 1)?,
                last_status: status(row, 9)?,
                last_error: error_class(number_or_null(row, 10)?)?,
                delivery,
            })
        })
        .collect()
}

/// The queries that find a page's deliveries: each answers some of them, together all.
fn parts_of_page(
    query: &mut Query,
    whose: &str,
    filter: &DeliveryFilter,
    made_with: Option<(Uuid, Uuid)>,
    page: Page<DeliveryId>,
) -> Vec<String> {
    let conditions = conditions(query, whose, filter, page);
    let finished = format!(
        "SELECT {FINISHED_COLUMNS} FROM finished_deliveries d WHERE {conditions}{}",
        // As a literal, so that the partial indexes can be used.
        match filter.state {
            Some(DeliveryState::Delivered) => " AND state = 1",
            Some(DeliveryState::Dead) => " AND state = 2",
            _ => "",
        }
    );
    let mut parts = Vec::new();
    if filter
        .state
        .is_none_or(|state| state == DeliveryState::Pending)
    {
        parts.push(format!(
            "SELECT {PENDING_COLUMNS} FROM pending_deliveries d WHERE {conditions}"
        ));
    }
    if filter.state == Some(DeliveryState::Pending) {
        return parts;
    }
    if let Some((first, last)) = made_with {
        let (first, last) = (query.value(first), query.value(last));
        parts.push(format!(
            "{finished} AND replay IS NULL AND id BETWEEN {first} AND {last}"
        ));
        parts.push(format!("{finished} AND replay IS NOT NULL"));
    } else {
        parts.push(finished);
    }
    parts
}

/// What a filter and a page ask of both tables.
fn conditions(
    query: &mut Query,
    whose: &str,
    filter: &DeliveryFilter,
    page: Page<DeliveryId>,
) -> String {
    let mut all = vec![format!("workspace = {whose}")];
    if let Some(event) = filter.event {
        all.push(format!("event = {}", query.value(event.uuid())));
    }
    if let Some(webhook) = filter.webhook {
        all.push(format!("webhook = {}", query.value(webhook.uuid())));
    }
    if let Some(since) = filter.since {
        all.push(format!(
            "id >= {} AND created_ms >= {}",
            query.value(earliest_id(since)),
            query.value(since.ms())
        ));
    }
    if let Some(after) = page.after {
        all.push(format!("id < {}", query.value(after.uuid())));
    }
    all.join(" AND ")
}

/// See [`crate::Store::retry`].
pub(super) async fn retry(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    id: DeliveryId,
    now: Timestamp,
) -> Result<Retried, StoreError> {
    // One that ends, or is retried, just now is in neither table for one look at each.
    for _ in 0..2 {
        if let Some(retried) = retry_pending(tx, workspace, id, now).await? {
            return Ok(retried);
        }
        if let Some(webhook) = retry_finished(tx, workspace, id, now).await? {
            return Ok(Retried::Due(webhook));
        }
    }
    Ok(Retried::Unknown)
}

async fn retry_pending(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    id: DeliveryId,
    now: Timestamp,
) -> Result<Option<Retried>, StoreError> {
    let find = tx
        .prepare_cached(
            "SELECT webhook, held_by FROM pending_deliveries WHERE workspace = $1 AND id = $2 FOR UPDATE",
        )
        .await?;
    let key = (workspace.number(), id.uuid());
    let Some(row) = tx.query_opt(&find, &[&key.0, &key.1]).await? else {
        return Ok(None);
    };
    let webhook = WebhookId::new(get(&row, 0)?);
    if get::<i64>(&row, 1)? != 0 {
        return Ok(Some(Retried::InFlight(webhook)));
    }
    let put = tx
        .prepare_cached(
            "UPDATE pending_deliveries SET due_ms = $3 WHERE workspace = $1 AND id = $2",
        )
        .await?;
    tx.execute(&put, &[&key.0, &key.1, &now.ms()]).await?;
    Ok(Some(Retried::Due(webhook)))
}

async fn retry_finished(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    id: DeliveryId,
    now: Timestamp,
) -> Result<Option<WebhookId>, StoreError> {
    let find = tx
        .prepare_cached("SELECT event FROM finished_deliveries WHERE workspace = $1 AND id = $2")
        .await?;
    let Some(row) = tx
        .query_opt(&find, &[&workspace.number(), &id.uuid()])
        .await?
    else {
        return Ok(None);
    };
    let event: Uuid = get(&row, 0)?;
    if partitions::keep(tx, &[event]).await?.is_empty() {
        return Ok(None);
    }
    let move_back = tx
        .prepare_cached(&format!(
            "WITH taken AS (
                 DELETE FROM finished_deliveries WHERE workspace = $1 AND id = $2 AND event = $3
                 RETURNING state, {KEPT}
             ), put AS (
                 INSERT INTO pending_deliveries (due_ms, held_by, {KEPT}) SELECT $4, 0, {KEPT} FROM taken
             )
             SELECT webhook, state FROM taken"
        ))
        .await?;
    let moved = tx
        .query_opt(
            &move_back,
            &[&workspace.number(), &id.uuid(), &event, &now.ms()],
        )
        .await?;
    let Some(row) = moved else {
        return Ok(None);
    };
    let webhook = WebhookId::new(get(&row, 0)?);
    let state = number(&row, 1)?;
    let back = Counts {
        delivered: -i64::from(state == DELIVERED),
        dead: -i64::from(state == DEAD),
        ..Counts::default()
    };
    let mut tally = Tally::default();
    tally.add(workspace, webhook, made_at(id), back);
    tally.write(tx).await?;
    Ok(Some(webhook))
}

/// Webhooks that no longer exist but have pending deliveries that nobody holds; at most `most`.
pub(super) async fn orphaned(
    conn: &Client,
    most: usize,
) -> Result<Vec<(WorkspaceId, WebhookId)>, StoreError> {
    // From webhook to webhook, however much each has waiting.
    let find = conn
        .prepare_cached(
            "WITH RECURSIVE waiting AS (
                 (SELECT workspace, webhook FROM pending_deliveries WHERE held_by = 0
                  ORDER BY workspace, webhook LIMIT 1)
                 UNION ALL
                 SELECT next.* FROM waiting w CROSS JOIN LATERAL (
                     SELECT workspace, webhook FROM pending_deliveries p
                     WHERE held_by = 0 AND (p.workspace, p.webhook) > (w.workspace, w.webhook)
                     ORDER BY workspace, webhook LIMIT 1
                 ) next
             )
             SELECT workspace, webhook FROM waiting w
             WHERE NOT EXISTS (SELECT 1 FROM webhooks h WHERE h.workspace = w.workspace AND h.id = w.webhook)
             LIMIT $1",
        )
        .await?;
    let rows = conn.query(&find, &[&limit(most)]).await?;
    rows.iter()
        .map(|row| Ok((WorkspaceId::new(get(row, 0)?), WebhookId::new(get(row, 1)?))))
        .collect()
}

/// Moves up to `most` pending deliveries of these webhooks to dead, where the webhooks (still)
/// do not exist; see [`crate::Store::bury_orphans`].
pub(super) async fn bury(
    tx: &Transaction<'_>,
    webhooks: &[(WorkspaceId, WebhookId)],
    now: Timestamp,
    most: usize,
) -> Result<usize, StoreError> {
    let bury = tx
        .prepare_cached(&format!(
            "WITH taken AS (
                 DELETE FROM pending_deliveries WHERE workspace = $1 AND id = ANY (ARRAY (
                     SELECT id FROM pending_deliveries
                     WHERE workspace = $1 AND webhook = $2 AND held_by = 0
                     ORDER BY due_ms, id LIMIT $4 FOR UPDATE SKIP LOCKED
                 )) AND held_by = 0
                 RETURNING {KEPT}
             ), put AS (
                 INSERT INTO finished_deliveries (state, finished_ms, {KEPT}) SELECT 2, $3, {KEPT} FROM taken
             )
             SELECT id FROM taken"
        ))
        .await?;
    let mut tally = Tally::default();
    let mut buried = 0;
    for &(workspace, webhook) in webhooks {
        if buried == most || exists(tx, workspace, webhook).await? {
            continue;
        }
        let room = limit(most - buried);
        let rows = tx
            .query(
                &bury,
                &[&workspace.number(), &webhook.uuid(), &now.ms(), &room],
            )
            .await?;
        for row in &rows {
            let dead = Counts {
                dead: 1,
                ..Counts::default()
            };
            tally.add(
                workspace,
                webhook,
                made_at(DeliveryId::new(get(row, 0)?)),
                dead,
            );
        }
        buried += rows.len();
    }
    tally.write(tx).await?;
    Ok(buried)
}
