//! Retention: drops spans of time that are old and no longer needed, and removes the rest in
//! short steps.
//!
//! One node at a time does it, on a connection of its own. A span of which nothing is pending is
//! marked as closing, so that nothing of it can become pending again (`partitions::keep`), and
//! then dropped as a whole. Where something is pending, what is not needed goes event by event,
//! and the pass remembers where it stands, so that what must stay is looked at once a pass. At
//! the pass's end go the statistics, tokens, changes and notes that are as old.

use domain::Timestamp;
use parking_lot::Mutex;
use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use super::{
    connect::{Link, settings},
    migrate::{LOCK_KEY, RETENTION},
    partitions::{Partitions, Span, TABLES},
    row::{get, limit, slot, unsigned},
};
use crate::{Pruned, StoreError};

/// How long one statement may take: the dropping of a partition waits for those who read it.
const STATEMENT_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(2);
/// Tables up to this size are counted before they are dropped; of larger ones it is said what
/// the planner thinks.
const COUNTED_BYTES_MAX: i64 = 64 << 20;

/// Where the running pass stands.
#[derive(Default)]
pub(super) struct Retention {
    at: Mutex<Option<Place>>,
}

/// The event that was looked at last, of a span that is removed event by event.
#[derive(Clone, Copy)]
struct Place {
    from_ms: i64,
    workspace: i64,
    key: Uuid,
}

impl Retention {
    /// See [`crate::Store::prune`].
    pub(super) async fn prune(
        &self,
        link: &Link,
        partitions: &Partitions,
        before: Timestamp,
        keys_before: Timestamp,
        most: usize,
    ) -> Result<Pruned, StoreError> {
        let Some(mut own) = Own::connect(link).await? else {
            // Another node is at it.
            return Ok(Pruned::default());
        };
        let step = self.step(&mut own.client, partitions, before, keys_before, most);
        let pruned = step.await?;
        own.give_up().await?;
        Ok(pruned)
    }

    async fn step(
        &self,
        client: &mut Client,
        partitions: &Partitions,
        before: Timestamp,
        keys_before: Timestamp,
        most: usize,
    ) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        self.remove_spans(client, partitions, before, most, &mut pruned)
            .await?;
        if !pruned.more {
            remove_old(client, before).await?;
        }
        for table in ["dedupe", "kept_answers"] {
            let removed = remove_keys(client, table, keys_before, most).await?;
            pruned.keys += removed;
            pruned.more |= removed == most;
        }
        Ok(pruned)
    }

    /// Goes on with the pass over the spans that are old.
    async fn remove_spans(
        &self,
        client: &mut Client,
        partitions: &Partitions,
        before: Timestamp,
        most: usize,
        pruned: &mut Pruned,
    ) -> Result<(), StoreError> {
        let mut looked = 0;
        for (span, closing) in old_spans(client, before).await? {
            if looked >= most {
                pruned.more = true;
                return Ok(());
            }
            if closing || close(client, span).await? {
                partitions.forget(span);
                let before = pruned.events;
                if drop_span(client, span, pruned).await? {
                    looked += pruned.events - before;
                    continue;
                }
            }
            let Some(after) = self.after(span) else {
                continue;
            };
            let events = next_events(client, span, after, most - looked).await?;
            looked += events.len();
            if let Some(last) = events.last() {
                remove_events(client, span, &events, pruned).await?;
                *self.at.lock() = Some(Place {
                    from_ms: span.from_ms,
                    workspace: last.workspace,
                    key: last.key,
                });
            }
        }
        if looked >= most {
            pruned.more = true;
        } else {
            *self.at.lock() = None;
        }
        Ok(())
    }

    /// Where to go on in a span; `None` if the pass has left it behind.
    fn after(&self, span: Span) -> Option<(i64, Uuid)> {
        match *self.at.lock() {
            Some(place) if place.from_ms > span.from_ms => None,
            Some(place) if place.from_ms == span.from_ms => Some((place.workspace, place.key)),
            _ => Some((i64::MIN, Uuid::nil())),
        }
    }
}

/// A connection that holds the right to remove what is old.
struct Own {
    client: Client,
}

impl Own {
    /// `None` if another node has the right.
    async fn connect(link: &Link) -> Result<Option<Self>, StoreError> {
        // Answers that the store is closed, if it is.
        drop(link.connection().await?);
        let own = link.own_connection().await?;
        // It ends with the client. Whoever waits for an answer is told of an error as well.
        tokio::spawn(own.connection);
        let own = Self { client: own.client };
        own.client
            .batch_execute(&settings(STATEMENT_TIMEOUT))
            .await?;
        let lock = format!("SELECT pg_try_advisory_lock({LOCK_KEY}, $1)");
        let row = own.client.query_one(&lock, &[&RETENTION]).await?;
        Ok(get::<bool>(&row, 0)?.then_some(own))
    }

    /// Gives up the right at once: the connection's end would reach the server some time later.
    async fn give_up(self) -> Result<(), StoreError> {
        let unlock = format!("SELECT pg_advisory_unlock({LOCK_KEY}, $1)");
        self.client.execute(&unlock, &[&RETENTION]).await?;
        Ok(())
    }
}

/// The spans all of whose events are old, and whether each is closing already: the oldest first.
async fn old_spans(client: &Client, before: Timestamp) -> Result<Vec<(Span, bool)>, StoreError> {
    let rows = client
        .query(
            "SELECT from_ms, to_ms, closing FROM partitions WHERE to_ms <= $1 OR closing ORDER BY from_ms",
            &[&before.ms()],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let span = Span {
                from_ms: get(row, 0)?,
                to_ms: get(row, 1)?,
            };
            Ok((span, get(row, 2)?))
        })
        .collect()
}

/// Marks a span as closing unless something of it is pending; answers whether it is marked.
async fn close(client: &Client, span: Span) -> Result<bool, StoreError> {
    if has_pending(client, span).await? {
        return Ok(false);
    }
    // Waits for those who keep the span for something that becomes pending.
    client
        .execute(
            "UPDATE partitions SET closing = TRUE WHERE from_ms = $1",
            &[&span.from_ms],
        )
        .await?;
    if has_pending(client, span).await? {
        reopen(client, span).await?;
        return Ok(false);
    }
    Ok(true)
}

async fn reopen(client: &Client, span: Span) -> Result<(), StoreError> {
    client
        .execute(
            "UPDATE partitions SET closing = FALSE WHERE from_ms = $1",
            &[&span.from_ms],
        )
        .await?;
    Ok(())
}

async fn has_pending(client: &Client, span: Span) -> Result<bool, StoreError> {
    let (first, end) = span.ids();
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT 1 FROM pending_deliveries WHERE event >= $1 AND event < $2)",
            &[&first, &end],
        )
        .await?;
    get(&row, 0)
}

/// Drops a closing span, going on wherever an earlier try ended; `false` if it is still needed
/// after all.
async fn drop_span(
    client: &mut Client,
    span: Span,
    pruned: &mut Pruned,
) -> Result<bool, StoreError> {
    for table in TABLES {
        detach(client, span, table).await?;
    }
    // Now nothing can be stored in it any more. A node whose clock is far behind may have, before.
    if has_pending(client, span).await? {
        for table in TABLES {
            client.batch_execute(&span.attach(table)).await?;
        }
        reopen(client, span).await?;
        return Ok(false);
    }
    let events = rows_of(client, span, TABLES[0]).await?;
    let deliveries = rows_of(client, span, TABLES[1]).await?;
    let attempts = rows_of(client, span, TABLES[2]).await?;
    let tx = client.transaction().await?;
    for table in TABLES {
        tx.batch_execute(&format!("DROP TABLE {}", span.of(table)))
            .await?;
    }
    tx.execute(
        "DELETE FROM partitions WHERE from_ms = $1",
        &[&span.from_ms],
    )
    .await?;
    tx.commit().await?;
    pruned.events += events;
    pruned.deliveries += deliveries;
    pruned.attempts += attempts;
    Ok(true)
}

/// Takes a span's partition out of its table, without keeping anybody from reading or writing
/// the table. Does nothing where that was done before.
async fn detach(client: &Client, span: Span, table: &str) -> Result<(), StoreError> {
    let partition = span.of(table);
    let row = client
        .query_opt(
            "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass($1)",
            &[&partition],
        )
        .await?;
    let how = match row.map(|row| get::<bool>(&row, 0)).transpose()? {
        None => return Ok(()),
        Some(true) => "FINALIZE",
        Some(false) => "CONCURRENTLY",
    };
    client
        .batch_execute(&format!(
            "ALTER TABLE {table} DETACH PARTITION {partition} {how}"
        ))
        .await?;
    Ok(())
}

/// How many rows a detached partition has: exactly, if it is small.
async fn rows_of(client: &Client, span: Span, table: &str) -> Result<usize, StoreError> {
    let partition = span.of(table);
    let row = client
        .query_one(
            "SELECT pg_relation_size(oid), reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)",
            &[&partition],
        )
        .await?;
    let (bytes, estimate): (i64, i64) = (get(&row, 0)?, get(&row, 1)?);
    let rows = if bytes > COUNTED_BYTES_MAX && estimate >= 0 {
        unsigned(&row, 1)?
    } else {
        let sum = format!("SELECT count(*) FROM {partition}");
        unsigned(&client.query_one(&sum, &[]).await?, 0)?
    };
    Ok(usize::try_from(rows).unwrap_or(usize::MAX))
}

struct OldEvent {
    workspace: i64,
    key: Uuid,
    /// Between which ids the deliveries lie that were made with it; nil if there are none.
    made: (Uuid, Uuid),
}

/// The next events of a span behind this one.
async fn next_events(
    client: &Client,
    span: Span,
    (workspace, key): (i64, Uuid),
    most: usize,
) -> Result<Vec<OldEvent>, StoreError> {
    let find = format!(
        "SELECT workspace, key, first, last FROM {}
         WHERE (workspace, key) > ($1, $2) ORDER BY workspace, key LIMIT $3",
        span.of(TABLES[0])
    );
    let rows = client
        .query(&find, &[&workspace, &key, &limit(most)])
        .await?;
    rows.iter()
        .map(|row| {
            let first = get::<Option<Uuid>>(row, 2)?.unwrap_or_default();
            Ok(OldEvent {
                workspace: get(row, 0)?,
                key: get(row, 1)?,
                made: (first, get::<Option<Uuid>>(row, 3)?.unwrap_or(first)),
            })
        })
        .collect()
}

/// Removes those of these events that have nothing pending, with their deliveries and attempts.
async fn remove_events(
    client: &mut Client,
    span: Span,
    events: &[OldEvent],
    pruned: &mut Pruned,
) -> Result<(), StoreError> {
    let tx = client.transaction().await?;
    // As long as this is locked, nothing of the span becomes pending again.
    tx.execute(
        "SELECT 1 FROM partitions WHERE from_ms = $1 FOR UPDATE",
        &[&span.from_ms],
    )
    .await?;
    let keys: Vec<_> = events.iter().map(|event| event.key).collect();
    let pending = tx
        .query(
            "SELECT event FROM pending_deliveries WHERE event = ANY ($1)",
            &[&keys],
        )
        .await?;
    let pending = pending
        .iter()
        .map(|row| get(row, 0))
        .collect::<Result<std::collections::HashSet<Uuid>, _>>()?;
    let gone: Vec<_> = events
        .iter()
        .filter(|event| !pending.contains(&event.key))
        .collect();
    let removed = remove_whole(&tx, span, &gone).await?;
    tx.commit().await?;
    pruned.events += removed.events;
    pruned.deliveries += removed.deliveries;
    pruned.attempts += removed.attempts;
    Ok(())
}

async fn remove_whole(
    tx: &Transaction<'_>,
    span: Span,
    events: &[&OldEvent],
) -> Result<Pruned, StoreError> {
    let [of_events, of_deliveries, of_attempts] = TABLES.map(|table| span.of(table));
    let workspaces: Vec<_> = events.iter().map(|event| event.workspace).collect();
    let keys: Vec<_> = events.iter().map(|event| event.key).collect();
    let firsts: Vec<_> = events.iter().map(|event| event.made.0).collect();
    let lasts: Vec<_> = events.iter().map(|event| event.made.1).collect();
    let deliveries = tx
        .query(
            &format!(
                "WITH gone AS MATERIALIZED (
                     SELECT d.workspace, d.id
                     FROM UNNEST($1::bigint[], $2::uuid[], $3::uuid[], $4::uuid[]) AS e (workspace, key, first, last)
                     JOIN {of_deliveries} d ON d.workspace = e.workspace AND d.id BETWEEN e.first AND e.last
                          AND d.event = e.key AND d.replay IS NULL
                     UNION ALL
                     SELECT d.workspace, d.id
                     FROM UNNEST($1::bigint[], $2::uuid[]) AS e (workspace, key)
                     JOIN {of_deliveries} d ON d.workspace = e.workspace AND d.event = e.key
                          AND d.replay IS NOT NULL
                 )
                 DELETE FROM {of_deliveries} d USING gone
                 WHERE d.workspace = gone.workspace AND d.id = gone.id
                 RETURNING d.workspace, d.id"
            ),
            &[&workspaces, &keys, &firsts, &lasts],
        )
        .await?;
    let (mut whose, mut ids) = (Vec::new(), Vec::new());
    for row in &deliveries {
        whose.push(get::<i64>(row, 0)?);
        ids.push(get::<Uuid>(row, 1)?);
    }
    let attempts = tx
        .execute(
            &format!(
                "DELETE FROM {of_attempts} a USING UNNEST($1::bigint[], $2::uuid[]) AS d (workspace, id)
                 WHERE a.workspace = d.workspace AND a.delivery = d.id"
            ),
            &[&whose, &ids],
        )
        .await?;
    let events = tx
        .execute(
            &format!(
                "DELETE FROM {of_events} e USING UNNEST($1::bigint[], $2::uuid[]) AS o (workspace, key)
                 WHERE e.workspace = o.workspace AND e.key = o.key"
            ),
            &[&workspaces, &keys],
        )
        .await?;
    Ok(Pruned {
        events: usize::try_from(events).unwrap_or(usize::MAX),
        deliveries: ids.len(),
        attempts: usize::try_from(attempts).unwrap_or(usize::MAX),
        ..Pruned::default()
    })
}

/// Removes up to `most` of what was stored before `before`.
async fn remove_keys(
    client: &Client,
    table: &str,
    before: Timestamp,
    most: usize,
) -> Result<usize, StoreError> {
    let removed = client
        .execute(
            &format!(
                "DELETE FROM {table}
                 WHERE ctid = ANY (ARRAY (SELECT ctid FROM {table} WHERE created_ms < $1 LIMIT $2))
                   AND created_ms < $1"
            ),
            &[&before.ms(), &limit(most)],
        )
        .await?;
    Ok(usize::try_from(removed).unwrap_or(usize::MAX))
}

/// Removes statistics of slots that ended before `before`, webhook by webhook, and what was of
/// use for minutes.
async fn remove_old(client: &Client, before: Timestamp) -> Result<(), StoreError> {
    client
        .execute(
            "WITH RECURSIVE counted AS (
                 (SELECT workspace, webhook FROM webhook_counts ORDER BY workspace, webhook LIMIT 1)
                 UNION ALL
                 SELECT next.* FROM counted c CROSS JOIN LATERAL (
                     SELECT n.workspace, n.webhook FROM webhook_counts n
                     WHERE (n.workspace, n.webhook) > (c.workspace, c.webhook)
                     ORDER BY n.workspace, n.webhook LIMIT 1
                 ) next
             )
             DELETE FROM webhook_counts c USING counted
             WHERE c.workspace = counted.workspace AND c.webhook = counted.webhook AND c.slot < $1",
            &[&slot(before)],
        )
        .await?;
    for (table, age) in [("commits", "1 h"), ("changes", "1 h"), ("notes", "1 min")] {
        client
            .execute(
                &format!("DELETE FROM {table} WHERE at < clock_timestamp() - interval '{age}'"),
                &[],
            )
            .await?;
    }
    Ok(())
}
