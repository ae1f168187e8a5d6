//! What is due: claims, releases, due times.
//!
//! What nobody holds stands in the index `pending_due`, by webhook and due time; what is held is
//! not in it. So a claim reads just what it takes, however much waits or is held.
//!
//! A strictly ordered webhook's deliveries are claimed by one node at a time: a claim takes the
//! first ones in order, and nothing at all while another node holds any.

use deadpool_postgres::{GenericClient, Transaction};
use domain::{DeliveryId, Timestamp, WebhookId, WorkspaceId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    connect::Link,
    deliveries::{COLUMN_COUNT, PENDING_COLUMNS, read},
    lease::{LeaseKeeper, fence},
    row::{EVENT_COLUMNS, event as read_event, get, limit, time},
    transact::{Over, transact},
};
use crate::{Claim, Claimed, Due, Lease, StoreError};

/// See [`crate::Store::claim`].
pub(super) async fn claim(
    link: &Link,
    keeper: &LeaseKeeper,
    claim: Claim,
) -> Result<Vec<Claimed>, StoreError> {
    let lease = keeper.trusted_lease()?;
    let over = Over { link };
    let unknown = link.unknown_commits();
    match transact!(over, |tx| claim_in(tx, &claim, lease)) {
        Ok(Some(claimed)) => Ok(claimed),
        Ok(None) => {
            keeper.abandon(lease);
            Err(StoreError::Unavailable(
                "this node's lease has ended".to_owned(),
            ))
        }
        Err(error) => {
            if link.unknown_commits() != unknown {
                // It may have been committed, and nobody would know what is held.
                keeper.abandon(lease);
            }
            Err(error)
        }
    }
}

/// Claims under a lease; `None` if that has ended.
async fn claim_in(
    tx: &Transaction<'_>,
    claim: &Claim,
    lease: Lease,
) -> Result<Option<Vec<Claimed>>, StoreError> {
    if !fence(tx, lease).await? {
        return Ok(None);
    }
    let claimed = if claim.ordered {
        claim_in_order(tx, claim, lease).await?
    } else {
        claim_due(tx, claim, lease).await?
    };
    Ok(Some(claimed))
}

async fn claim_due(
    tx: &Transaction<'_>,
    claim: &Claim,
    lease: Lease,
) -> Result<Vec<Claimed>, StoreError> {
    let take = tx
        .prepare_cached(&format!(
            "WITH due AS (
                 SELECT workspace, id FROM pending_deliveries
                 WHERE workspace = $1 AND webhook = $2 AND held_by = 0 AND due_ms <= $3
                 ORDER BY due_ms, id LIMIT $4 FOR UPDATE SKIP LOCKED
             ), taken AS (
                 UPDATE pending_deliveries p SET held_by = $5 FROM due
                 WHERE p.workspace = due.workspace AND p.id = due.id
                 RETURNING p.*
             )
             SELECT {PENDING_COLUMNS}, {EVENT_COLUMNS} FROM taken d
             LEFT JOIN events e ON e.workspace = d.workspace AND e.key = d.event
             ORDER BY d.due_ms, d.id"
        ))
        .await?;
    let rows = tx
        .query(
            &take,
            &[
                &claim.workspace.number(),
                &claim.webhook.uuid(),
                &claim.now.ms(),
                &limit(claim.limit),
                &lease.0,
            ],
        )
        .await?;
    read_claimed(tx, &rows, claim.workspace, lease).await
}

async fn claim_in_order(
    tx: &Transaction<'_>,
    claim: &Claim,
    lease: Lease,
) -> Result<Vec<Claimed>, StoreError> {
    let (workspace, webhook) = (claim.workspace.number(), claim.webhook.uuid());
    // One claim of this webhook at a time.
    let lock = tx
        .prepare_cached(
            "SELECT pg_advisory_xact_lock(hashtext(current_schema()), hashtext($1::text))",
        )
        .await?;
    tx.query_one(&lock, &[&webhook.to_string()]).await?;
    let others = tx
        .prepare_cached(
            "SELECT 1 FROM pending_deliveries
             WHERE workspace = $1 AND webhook = $2 AND ordered AND held_by <> 0 AND held_by <> $3 LIMIT 1",
        )
        .await?;
    if tx
        .query_opt(&others, &[&workspace, &webhook, &lease.0])
        .await?
        .is_some()
    {
        return Ok(Vec::new());
    }
    let mut ids = before_held(tx, claim).await?;
    if ids.len() < claim.limit && flag_ordered(tx, claim.workspace, claim.webhook).await? > 0 {
        // Some were made while nobody knew yet that the webhook is ordered.
        ids = before_held(tx, claim).await?;
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let take = tx
        .prepare_cached(&format!(
            "WITH taken AS (
                 UPDATE pending_deliveries SET held_by = $3
                 WHERE workspace = $1 AND id = ANY($2) AND held_by = 0
                 RETURNING *
             )
             SELECT {PENDING_COLUMNS}, {EVENT_COLUMNS} FROM taken d
             LEFT JOIN events e ON e.workspace = d.workspace AND e.key = d.event
             ORDER BY d.position"
        ))
        .await?;
    let rows = tx.query(&take, &[&workspace, &ids, &lease.0]).await?;
    read_claimed(tx, &rows, claim.workspace, lease).await
}

/// The first ones in order, up to one that is held.
async fn before_held(tx: &Transaction<'_>, claim: &Claim) -> Result<Vec<Uuid>, StoreError> {
    let find = tx
        .prepare_cached(
            "SELECT id, held_by FROM pending_deliveries
             WHERE workspace = $1 AND webhook = $2 AND ordered ORDER BY position LIMIT $3",
        )
        .await?;
    let rows = tx
        .query(
            &find,
            &[
                &claim.workspace.number(),
                &claim.webhook.uuid(),
                &limit(claim.limit),
            ],
        )
        .await?;
    let mut ids = Vec::with_capacity(rows.len());
    for row in &rows {
        if get::<i64>(row, 1)? != 0 {
            break;
        }
        ids.push(get(row, 0)?);
    }
    Ok(ids)
}

/// Marks a webhook's pending deliveries as strictly ordered, in the order of their ids; answers
/// how many were not.
pub(super) async fn flag_ordered(
    tx: &impl GenericClient,
    workspace: WorkspaceId,
    webhook: WebhookId,
) -> Result<u64, StoreError> {
    let flag = tx
        .prepare_cached(
            "UPDATE pending_deliveries p SET ordered = TRUE, position = placed.position
             FROM (SELECT id, nextval('positions') AS position
                   FROM (SELECT id FROM pending_deliveries
                         WHERE workspace = $1 AND webhook = $2 AND NOT ordered ORDER BY id) unplaced) placed
             WHERE p.workspace = $1 AND p.id = placed.id AND NOT p.ordered",
        )
        .await?;
    Ok(tx
        .execute(&flag, &[&workspace.number(), &webhook.uuid()])
        .await?)
}

/// Reads what was taken. A delivery whose event is gone has nothing to send: it is removed.
async fn read_claimed(
    tx: &Transaction<'_>,
    rows: &[Row],
    workspace: WorkspaceId,
    lease: Lease,
) -> Result<Vec<Claimed>, StoreError> {
    let mut claimed = Vec::with_capacity(rows.len());
    let mut gone = Vec::new();
    for row in rows {
        let delivery = read(row, workspace, 0)?;
        if get::<Option<Uuid>>(row, COLUMN_COUNT)?.is_none() {
            gone.push(delivery.id.uuid());
            continue;
        }
        claimed.push(Claimed {
            event: read_event(row, workspace, COLUMN_COUNT)?,
            delivery,
            lease,
        });
    }
    if !gone.is_empty() {
        tx.execute(
            "DELETE FROM pending_deliveries WHERE workspace = $1 AND id = ANY($2)",
            &[&workspace.number(), &gone],
        )
        .await?;
    }
    Ok(claimed)
}

/// See [`crate::Store::release`].
pub(super) async fn release(
    tx: &impl GenericClient,
    deliveries: &[(WorkspaceId, DeliveryId, Lease)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let workspaces: Vec<_> = deliveries.iter().map(|(at, ..)| at.number()).collect();
    let ids: Vec<_> = deliveries.iter().map(|(_, id, _)| id.uuid()).collect();
    let leases: Vec<_> = deliveries.iter().map(|(.., lease)| lease.0).collect();
    let release = tx
        .prepare_cached(
            "UPDATE pending_deliveries p SET held_by = 0, due_ms = $4
             FROM UNNEST($1::bigint[], $2::uuid[], $3::bigint[]) AS r (workspace, id, lease)
             WHERE p.workspace = r.workspace AND p.id = r.id AND p.held_by = r.lease AND p.held_by <> 0",
        )
        .await?;
    tx.execute(&release, &[&workspaces, &ids, &leases, &now.ms()])
        .await?;
    Ok(())
}

/// See [`crate::Store::next_due`].
pub(super) async fn next_due(
    conn: &impl GenericClient,
    workspace: WorkspaceId,
    webhook: WebhookId,
) -> Result<Option<Timestamp>, StoreError> {
    let find = conn
        .prepare_cached(
            "SELECT due_ms FROM pending_deliveries
             WHERE workspace = $1 AND webhook = $2 AND held_by = 0 ORDER BY due_ms LIMIT 1",
        )
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &webhook.uuid()])
        .await?;
    row.map(|row| time(&row, 0)).transpose()
}

/// See [`crate::Store::due`]. Goes from webhook to webhook in the index, past whatever each has.
pub(super) async fn due(
    conn: &impl GenericClient,
    after: Option<(WorkspaceId, WebhookId)>,
    most: usize,
) -> Result<Vec<Due>, StoreError> {
    let find = conn
        .prepare_cached(
            "WITH RECURSIVE due AS (
                 (SELECT workspace, webhook, due_ms FROM pending_deliveries
                  WHERE held_by = 0 AND (workspace, webhook) > ($1, $2)
                  ORDER BY workspace, webhook, due_ms LIMIT 1)
                 UNION ALL
                 SELECT next.* FROM due, LATERAL (
                     SELECT p.workspace, p.webhook, p.due_ms FROM pending_deliveries p
                     WHERE p.held_by = 0 AND (p.workspace, p.webhook) > (due.workspace, due.webhook)
                     ORDER BY p.workspace, p.webhook, p.due_ms LIMIT 1) next
             )
             SELECT workspace, webhook, due_ms FROM due LIMIT $3",
        )
        .await?;
    let (workspace, webhook) = after.map_or((i64::MIN, Uuid::nil()), |(workspace, webhook)| {
        (workspace.number(), webhook.uuid())
    });
    let rows = conn
        .query(&find, &[&workspace, &webhook, &limit(most)])
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Due {
                workspace: WorkspaceId::new(get(row, 0)?),
                webhook: WebhookId::new(get(row, 1)?),
                at: time(row, 2)?,
            })
        })
        .collect()
}
