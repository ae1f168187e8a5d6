//! Replays: durable jobs whose cursor moves in the same transaction that stores their deliveries.
//!
//! Candidates are bounded by the replay's own id and time: what was accepted, or died, after it
//! was asked for is none, so a replay ends even if what it sends fails again.

use std::collections::HashSet;

use deadpool_postgres::{Client, Transaction};
use domain::{
    ReplayId, Timestamp, WebhookId, WorkspaceId,
    event::Event,
    replay::{Replay, ReplayScope},
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    accept,
    events::{by_key, by_keys},
    partitions,
    row::{
        EVENT_COLUMNS, earliest_id, event as read_event, get, integer, latest_id, limit, number,
        small, time, time_or_null, unsigned,
    },
};
use crate::{
    NewDelivery, Page, ReplayBatch, StoreError,
    records::{ScopeColumns, replay_state, replay_state_number},
};

const COLUMNS: &str =
    "workspace, id, webhook, scope, event, since_ms, until_ms, state, examined, total, created,
     created_ms, finished_ms";

fn read(row: &Row) -> Result<Replay, StoreError> {
    let scope = ScopeColumns {
        scope: number(row, 3)?,
        event: get(row, 4)?,
        since_ms: get(row, 5)?,
        until_ms: get(row, 6)?,
    };
    Ok(Replay {
        workspace: WorkspaceId::new(get(row, 0)?),
        id: ReplayId::new(get(row, 1)?),
        webhook: WebhookId::new(get(row, 2)?),
        scope: scope.read()?,
        state: replay_state(number(row, 7)?)?,
        examined: unsigned(row, 8)?,
        total: unsigned(row, 9)?,
        created: unsigned(row, 10)?,
        created_at: time(row, 11)?,
        finished_at: time_or_null(row, 12)?,
    })
}

/// How many candidates a replay has.
pub(super) async fn total(conn: &Client, replay: &Replay) -> Result<u64, StoreError> {
    let workspace = replay.workspace.number();
    let bound = replay.id.uuid();
    let row = match replay.scope {
        ReplayScope::Event { event } => {
            return Ok(u64::from(
                by_key(conn, replay.workspace, event).await?.is_some(),
            ));
        }
        ReplayScope::Range { since, until } => {
            let sum = conn
                .prepare_cached(
                    "SELECT count(*) FROM events
                     WHERE workspace = $1 AND key >= $2 AND key < $3 AND accepted_ms >= $4 AND accepted_ms < $5",
                )
                .await?;
            let end = latest_id(until).min(bound);
            conn.query_one(
                &sum,
                &[
                    &workspace,
                    &earliest_id(since),
                    &end,
                    &since.ms(),
                    &until.ms(),
                ],
            )
            .await?
        }
        ReplayScope::FailedSince { since } => {
            let sum = conn
                .prepare_cached(
                    "SELECT count(*) FROM finished_deliveries
                     WHERE workspace = $1 AND webhook = $2 AND state = 2 AND id < $3
                       AND finished_ms BETWEEN $4 AND $5",
                )
                .await?;
            let (webhook, asked) = (replay.webhook.uuid(), replay.created_at.ms());
            conn.query_one(&sum, &[&workspace, &webhook, &bound, &since.ms(), &asked])
                .await?
        }
    };
    unsigned(&row, 0)
}

/// See [`crate::Store::create_replay`]; `replay.total` was counted.
pub(super) async fn create(tx: &Transaction<'_>, replay: &Replay) -> Result<(), StoreError> {
    let scope = ScopeColumns::new(replay.scope);
    let insert = tx
        .prepare_cached(&format!(
            "INSERT INTO replays ({COLUMNS})
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
        ))
        .await?;
    tx.execute(
        &insert,
        &[
            &replay.workspace.number(),
            &replay.id.uuid(),
            &replay.webhook.uuid(),
            &small(scope.scope),
            &scope.event,
            &scope.since_ms,
            &scope.until_ms,
            &small(replay_state_number(replay.state)),
            &integer(replay.examined),
            &integer(replay.total),
            &integer(replay.created),
            &replay.created_at.ms(),
            &replay.finished_at.map(Timestamp::ms),
        ],
    )
    .await?;
    Ok(())
}

/// See [`crate::Store::replay`].
pub(super) async fn by_id(
    conn: &Client,
    workspace: WorkspaceId,
    id: ReplayId,
) -> Result<Option<Replay>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM replays WHERE workspace = $1 AND id = $2"
        ))
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &id.uuid()])
        .await?;
    row.as_ref().map(read).transpose()
}

/// See [`crate::Store::replays`].
pub(super) async fn list(
    conn: &Client,
    workspace: WorkspaceId,
    webhook: WebhookId,
    page: Page<ReplayId>,
) -> Result<Vec<Replay>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM replays WHERE workspace = $1 AND webhook = $2 AND id < $3
             ORDER BY id DESC LIMIT $4"
        ))
        .await?;
    let after = page.after.map_or(Uuid::max(), ReplayId::uuid);
    let most = limit(page.limit);
    let rows = conn
        .query(
            &find,
            &[&workspace.number(), &webhook.uuid(), &after, &most],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// See [`crate::Store::running_replays`].
pub(super) async fn running(conn: &Client) -> Result<Vec<Replay>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM replays WHERE state = 0 ORDER BY id"
        ))
        .await?;
    let rows = conn.query(&find, &[]).await?;
    rows.iter().map(read).collect()
}

/// See [`crate::Store::replay_candidates`].
pub(super) async fn candidates(
    conn: &Client,
    replay: &Replay,
    most: usize,
) -> Result<ReplayBatch, StoreError> {
    let find = conn
        .prepare_cached("SELECT cursor FROM replays WHERE workspace = $1 AND id = $2")
        .await?;
    let row = conn
        .query_opt(&find, &[&replay.workspace.number(), &replay.id.uuid()])
        .await?;
    let from: Option<Uuid> = row.map(|row| get(&row, 0)).transpose()?.flatten();
    // One more than asked for tells whether these are the last.
    let mut found = match replay.scope {
        ReplayScope::Event { event } => {
            let events = if from.is_none() {
                by_key(conn, replay.workspace, event).await?
            } else {
                None
            };
            events
                .map(|event| (event.key.uuid(), Some(event)))
                .into_iter()
                .collect()
        }
        ReplayScope::Range { since, until } => {
            in_range(conn, replay, (since, until), from, most + 1).await?
        }
        ReplayScope::FailedSince { since } => failed(conn, replay, since, from, most + 1).await?,
    };
    let last = found.len() <= most;
    found.truncate(most);
    Ok(ReplayBatch {
        from,
        to: found.last().map(|(cursor, _)| *cursor).or(from),
        events: found.into_iter().filter_map(|(_, event)| event).collect(),
        last,
    })
}

/// Candidates, each with where the cursor stands behind it.
type Found = Vec<(Uuid, Option<Event>)>;

async fn in_range(
    conn: &Client,
    replay: &Replay,
    (since, until): (Timestamp, Timestamp),
    from: Option<Uuid>,
    most: usize,
) -> Result<Found, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {EVENT_COLUMNS} FROM events e
             WHERE workspace = $1 AND key > $2 AND key >= $3 AND key < $4 AND accepted_ms >= $5 AND accepted_ms < $6
             ORDER BY key LIMIT $7"
        ))
        .await?;
    let rows = conn
        .query(
            &find,
            &[
                &replay.workspace.number(),
                &from.unwrap_or_default(),
                &earliest_id(since),
                &latest_id(until).min(replay.id.uuid()),
                &since.ms(),
                &until.ms(),
                &limit(most),
            ],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let event = read_event(row, replay.workspace, 0)?;
            Ok((event.key.uuid(), Some(event)))
        })
        .collect()
}

async fn failed(
    conn: &Client,
    replay: &Replay,
    since: Timestamp,
    from: Option<Uuid>,
    most: usize,
) -> Result<Found, StoreError> {
    let find = conn
        .prepare_cached(
            "SELECT id, event FROM finished_deliveries
             WHERE workspace = $1 AND webhook = $2 AND state = 2 AND id > $3 AND id < $4
               AND finished_ms BETWEEN $5 AND $6
             ORDER BY id LIMIT $7",
        )
        .await?;
    let rows = conn
        .query(
            &find,
            &[
                &replay.workspace.number(),
                &replay.webhook.uuid(),
                &from.unwrap_or_default(),
                &replay.id.uuid(),
                &since.ms(),
                &replay.created_at.ms(),
                &limit(most),
            ],
        )
        .await?;
    let found = rows
        .iter()
        .map(|row| Ok((get(row, 0)?, get(row, 1)?)))
        .collect::<Result<Vec<(Uuid, Uuid)>, StoreError>>()?;
    let keys: Vec<_> = found.iter().map(|(_, event)| *event).collect();
    let events = by_keys(conn, replay.workspace, &keys).await?;
    Ok(found
        .into_iter()
        .map(|(id, event)| (id, events.get(&event).cloned()))
        .collect())
}

/// See [`crate::Store::advance_replay`]. Deliveries whose event retention has taken meanwhile
/// are left out.
pub(super) async fn advance(
    tx: &Transaction<'_>,
    replay: &Replay,
    step: &ReplayBatch,
    deliveries: &[NewDelivery],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let events: Vec<_> = deliveries.iter().map(|new| new.event.uuid()).collect();
    let there = still_there(tx, replay.workspace, &events).await?;
    let made: Vec<_> = deliveries
        .iter()
        .filter(|new| there.contains(&new.event.uuid()))
        .map(|new| (replay.workspace, *new))
        .collect();
    let move_cursor = tx
        .prepare_cached(
            "UPDATE replays
             SET cursor = $4, examined = examined + $5, created = created + $6,
                 state = CASE WHEN $7 THEN 1 ELSE 0 END, finished_ms = CASE WHEN $7 THEN $8::bigint END
             WHERE workspace = $1 AND id = $2 AND state = 0 AND cursor IS NOT DISTINCT FROM $3",
        )
        .await?;
    let moved = tx
        .execute(
            &move_cursor,
            &[
                &replay.workspace.number(),
                &replay.id.uuid(),
                &step.from,
                &step.to,
                &limit(step.events.len()),
                &limit(made.len()),
                &step.last,
                &now.ms(),
            ],
        )
        .await?;
    if moved == 0 {
        return Ok(false);
    }
    accept::insert_deliveries(tx, &made, now).await?;
    Ok(true)
}

/// Those of these events that there are and that stay until the transaction has ended.
async fn still_there(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    events: &[Uuid],
) -> Result<HashSet<Uuid>, StoreError> {
    let kept = partitions::keep(tx, events).await?;
    if kept.is_empty() {
        return Ok(HashSet::new());
    }
    let find = tx
        .prepare_cached("SELECT key FROM events WHERE workspace = $1 AND key = ANY ($2)")
        .await?;
    let rows = tx.query(&find, &[&workspace.number(), &kept]).await?;
    rows.iter().map(|row| get(row, 0)).collect()
}
