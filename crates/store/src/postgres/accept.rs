//! Events in: stored with their deliveries, deduplicated, whole batches at a time.

use std::{collections::HashMap, future::Future};

use deadpool_postgres::GenericClient;
use domain::{DeliveryId, EventId, EventKey, ReplayId, Timestamp, WebhookId, WorkspaceId};
use tokio_postgres::{Statement, types::ToSql};
use uuid::Uuid;

use super::{
    lease::CLAIMS,
    row::{Counts, corrupt, get, is_conflict, lacks_partition, made_at, small},
    tally::Tally,
};
use crate::{Accepted, Lease, NewDelivery, NewEvent, StoreError};

/// `dedupe.kind` of a publisher's event id.
const BY_ID: i16 = 0;
/// `dedupe.kind` of an `Idempotency-Key`.
const BY_KEY: i16 = 1;

const FIND_DEDUPE: &str = "
    SELECT k.nth, d.event, d.event_id
    FROM UNNEST($1::bigint[], $2::smallint[], $3::text[]) WITH ORDINALITY AS k (workspace, kind, text, nth)
    JOIN dedupe d ON d.workspace = k.workspace AND d.kind = k.kind AND d.text = k.text";
const FIND_GENERATED: &str = "
    SELECT k.nth
    FROM UNNEST($1::bigint[], $2::uuid[]) WITH ORDINALITY AS k (workspace, key, nth)
    JOIN events e ON e.workspace = k.workspace AND e.key = k.key
    WHERE e.id IS NULL";
const INSERT_EVENTS: &str = "
    INSERT INTO events (workspace, key, type, id, accepted_ms, happened_ms, hops, first, last, data)
    SELECT * FROM UNNEST($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
                         $7::smallint[], $8::uuid[], $9::uuid[], $10::bytea[])";
/// In one order everywhere, so that two batches with the same keys never wait for each other in a
/// circle.
const INSERT_DEDUPE: &str = "
    INSERT INTO dedupe (workspace, kind, text, event, event_id, created_ms)
    SELECT * FROM UNNEST($1::bigint[], $2::smallint[], $3::text[], $4::uuid[], $5::text[], $6::bigint[])
    ORDER BY 1, 2, 3";
/// A delivery is held only if the lease's fence is there: whoever calls has locked it, or holds
/// nothing.
const INSERT_DELIVERIES: &str = "
    INSERT INTO pending_deliveries (workspace, id, event, webhook, attempts, due_ms, held_by, ordered, position,
                                    created_ms, replay)
    SELECT d.workspace, d.id, d.event, d.webhook, 0, d.now_ms,
           CASE WHEN d.held AND EXISTS (SELECT 1 FROM fences WHERE lease = $9 AND writer = $10) THEN $9 ELSE 0 END,
           d.ordered, CASE WHEN d.ordered THEN nextval('positions') ELSE 0 END, d.now_ms, d.replay
    FROM UNNEST($1::bigint[], $2::uuid[], $3::uuid[], $4::uuid[], $5::bigint[], $6::boolean[], $7::boolean[],
                $8::uuid[]) AS d (workspace, id, event, webhook, now_ms, held, ordered, replay)";

/// The statements of this file, prepared.
pub(super) struct Statements {
    find_dedupe: Statement,
    find_generated: Statement,
    insert_events: Statement,
    insert_dedupe: Statement,
    insert_deliveries: Statement,
}

impl Statements {
    /// Out of a connection's cache.
    pub(super) async fn cached(client: &impl GenericClient) -> Result<Self, StoreError> {
        Ok(Self {
            find_dedupe: client.prepare_cached(FIND_DEDUPE).await?,
            find_generated: client.prepare_cached(FIND_GENERATED).await?,
            insert_events: client.prepare_cached(INSERT_EVENTS).await?,
            insert_dedupe: client.prepare_cached(INSERT_DEDUPE).await?,
            insert_deliveries: client.prepare_cached(INSERT_DELIVERIES).await?,
        })
    }
}

/// Stores events in order within a transaction that holds nothing; see [`crate::Store::accept`].
pub(super) async fn store(
    tx: &impl GenericClient,
    events: &[NewEvent],
) -> Result<Vec<Accepted>, StoreError> {
    store_under(tx, events, None).await
}

/// Stores events in order within a transaction that has locked the claims' row of `fences` of
/// this lease; see [`crate::Store::accept`]. Without one, nothing is held.
pub(super) async fn store_under(
    tx: &impl GenericClient,
    events: &[NewEvent],
    lease: Option<Lease>,
) -> Result<Vec<Accepted>, StoreError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let statements = Statements::cached(tx).await?;
    let events: Vec<&NewEvent> = events.iter().collect();
    let (answers, rows) = plan(tx, &statements, &events).await?;
    let lease = lease.map_or(0, |lease| lease.0);
    rows.insert(tx, &statements, lease, CLAIMS).await?;
    rows.tally().write(tx).await?;
    Ok(answers)
}

/// Stores deliveries that nobody holds and that are due at `now`, within a transaction.
pub(super) async fn insert_deliveries(
    tx: &impl GenericClient,
    deliveries: &[(WorkspaceId, NewDelivery)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let statements = Statements::cached(tx).await?;
    let mut rows = Rows::default();
    for (workspace, delivery) in deliveries {
        rows.deliveries.push(*workspace, delivery, now);
    }
    rows.insert(tx, &statements, 0, 0).await?;
    rows.tally().write(tx).await
}

/// Which of `events` are new, and the rows of those.
pub(super) async fn plan<'e>(
    tx: &impl GenericClient,
    statements: &Statements,
    events: &[&'e NewEvent],
) -> Result<(Vec<Accepted>, Rows<'e>), StoreError> {
    let mut known = Known::look(tx, statements, events).await?;
    let mut rows = Rows::default();
    let mut answers = Vec::with_capacity(events.len());
    for new in events {
        answers.push(if let Some((key, id)) = known.first_of(new) {
            Accepted::Duplicate { key, id }
        } else {
            known.remember(new);
            rows.push(new);
            Accepted::New
        });
    }
    Ok((answers, rows))
}

/// Whether an event's public id is the printed key.
fn has_generated_id(new: &NewEvent) -> bool {
    !new.id_given && new.event.id.as_str().parse() == Ok(new.event.key)
}

/// The event's own id, where it has one.
fn own_id(new: &NewEvent) -> Option<&str> {
    (!has_generated_id(new)).then(|| new.event.id.as_str())
}

type First = (EventKey, EventId);

/// Ids and keys that are taken: in the database, and by earlier events of the batch.
#[derive(Default)]
struct Known {
    taken: HashMap<(WorkspaceId, i16, String), First>,
    generated: HashMap<(WorkspaceId, EventKey), EventId>,
    /// Whether any event of the batch gave an id or a key; if none did, nothing is a repeat.
    asks: bool,
}

impl Known {
    async fn look(
        tx: &impl GenericClient,
        statements: &Statements,
        events: &[&NewEvent],
    ) -> Result<Self, StoreError> {
        let mut known = Self::default();
        let mut asked: Vec<(WorkspaceId, i16, &str)> = Vec::new();
        let mut printed: Vec<(WorkspaceId, EventKey)> = Vec::new();
        for new in events {
            let workspace = new.event.workspace;
            if new.id_given {
                asked.push((workspace, BY_ID, new.event.id.as_str()));
                // The id may be one that an earlier event got for want of its own.
                printed.extend(new.event.id.as_str().parse().map(|key| (workspace, key)));
            }
            if let Some(text) = &new.idempotency_key {
                asked.push((workspace, BY_KEY, text));
            }
        }
        known.asks = !asked.is_empty();
        if !asked.is_empty() {
            let workspaces: Vec<_> = asked.iter().map(|(at, ..)| at.number()).collect();
            let kinds: Vec<_> = asked.iter().map(|(_, kind, _)| *kind).collect();
            let texts: Vec<_> = asked.iter().map(|(.., text)| *text).collect();
            let found = tx
                .query(&statements.find_dedupe, &[&workspaces, &kinds, &texts])
                .await?;
            for row in &found {
                let (workspace, kind, text) = asked[nth(row)?];
                let key = EventKey::new(get(row, 1)?);
                let id = match (kind, get::<Option<&str>>(row, 2)?) {
                    (BY_ID, _) => EventId::parse(text),
                    (_, Some(id)) => EventId::parse(id),
                    (_, None) => Ok(EventId::from_key(key)),
                };
                let id = id.map_err(|_| corrupt("an event id"))?;
                known
                    .taken
                    .insert((workspace, kind, text.to_owned()), (key, id));
            }
        }
        if !printed.is_empty() {
            let workspaces: Vec<_> = printed.iter().map(|(at, _)| at.number()).collect();
            let keys: Vec<_> = printed.iter().map(|(_, key)| key.uuid()).collect();
            let found = tx
                .query(&statements.find_generated, &[&workspaces, &keys])
                .await?;
            for row in &found {
                let (workspace, key) = printed[nth(row)?];
                known
                    .generated
                    .insert((workspace, key), EventId::from_key(key));
            }
        }
        Ok(known)
    }

    /// The event that `new` repeats.
    fn first_of(&self, new: &NewEvent) -> Option<First> {
        if !self.asks {
            return None;
        }
        let workspace = new.event.workspace;
        if new.id_given {
            let id = new.event.id.as_str();
            if let Some(first) = self.taken.get(&(workspace, BY_ID, id.to_owned())) {
                return Some(first.clone());
            }
            if let Ok(key) = id.parse()
                && let Some(id) = self.generated.get(&(workspace, key))
            {
                return Some((key, id.clone()));
            }
        }
        let text = new.idempotency_key.clone()?;
        self.taken.get(&(workspace, BY_KEY, text)).cloned()
    }

    fn remember(&mut self, new: &NewEvent) {
        if !self.asks {
            return;
        }
        let event = &new.event;
        let first = (event.key, event.id.clone());
        if new.id_given {
            let id = event.id.as_str().to_owned();
            self.taken
                .insert((event.workspace, BY_ID, id), first.clone());
        }
        if has_generated_id(new) {
            self.generated
                .insert((event.workspace, event.key), event.id.clone());
        }
        if let Some(text) = &new.idempotency_key {
            self.taken
                .insert((event.workspace, BY_KEY, text.clone()), first);
        }
    }
}

/// Which of what was asked for a row answers.
fn nth(row: &tokio_postgres::Row) -> Result<usize, StoreError> {
    let nth: i64 = get(row, 0)?;
    usize::try_from(nth - 1).map_err(|_| corrupt("a position"))
}

/// Rows to be inserted, column by column.
#[derive(Default)]
pub(super) struct Rows<'e> {
    events: Events<'e>,
    dedupe: Dedupe<'e>,
    deliveries: Deliveries,
}

#[derive(Default)]
struct Events<'e> {
    workspaces: Vec<i64>,
    keys: Vec<Uuid>,
    types: Vec<&'e str>,
    ids: Vec<Option<&'e str>>,
    accepted_ms: Vec<i64>,
    happened_ms: Vec<Option<i64>>,
    hops: Vec<i16>,
    firsts: Vec<Option<Uuid>>,
    lasts: Vec<Option<Uuid>>,
    data: Vec<&'e [u8]>,
}

#[derive(Default)]
struct Dedupe<'e> {
    workspaces: Vec<i64>,
    kinds: Vec<i16>,
    texts: Vec<&'e str>,
    events: Vec<Uuid>,
    event_ids: Vec<Option<&'e str>>,
    created_ms: Vec<i64>,
}

#[derive(Default)]
struct Deliveries {
    workspaces: Vec<i64>,
    ids: Vec<Uuid>,
    events: Vec<Uuid>,
    webhooks: Vec<Uuid>,
    now_ms: Vec<i64>,
    held: Vec<bool>,
    ordered: Vec<bool>,
    replays: Vec<Option<Uuid>>,
}

impl Deliveries {
    fn push(&mut self, workspace: WorkspaceId, delivery: &NewDelivery, now: Timestamp) {
        self.workspaces.push(workspace.number());
        self.ids.push(delivery.id.uuid());
        self.events.push(delivery.event.uuid());
        self.webhooks.push(delivery.webhook.uuid());
        self.now_ms.push(now.ms());
        self.held.push(delivery.held);
        self.ordered.push(delivery.ordered);
        self.replays.push(delivery.replay.map(ReplayId::uuid));
    }
}

impl<'e> Rows<'e> {
    fn push(&mut self, new: &'e NewEvent) {
        let event = &new.event;
        let ids = new.deliveries.iter().map(|delivery| delivery.id.uuid());
        let first = ids.clone().min();
        let own_id = own_id(new);
        let events = &mut self.events;
        events.workspaces.push(event.workspace.number());
        events.keys.push(event.key.uuid());
        events.types.push(event.event_type.as_str());
        events.ids.push(own_id);
        events.accepted_ms.push(event.accepted_at.ms());
        let happened = Some(event.timestamp).filter(|at| *at != event.accepted_at);
        events.happened_ms.push(happened.map(Timestamp::ms));
        events.hops.push(small(event.hops.into()));
        events.firsts.push(first);
        events
            .lasts
            .push(ids.max().filter(|last| Some(*last) != first));
        events.data.push(&event.data);
        if new.id_given {
            self.dedupe.push(new, BY_ID, event.id.as_str(), None);
        }
        if let Some(text) = &new.idempotency_key {
            self.dedupe.push(new, BY_KEY, text, own_id);
        }
        for delivery in &new.deliveries {
            self.deliveries
                .push(event.workspace, delivery, event.accepted_at);
        }
    }

    /// The key of one of the events, to look for after a lost connection.
    pub(super) fn witness(&self) -> Option<(WorkspaceId, EventKey)> {
        let workspace = self.events.workspaces.first()?;
        let key = self.events.keys.first()?;
        Some((WorkspaceId::new(*workspace), EventKey::new(*key)))
    }

    /// Inserts everything; the statements go out together.
    pub(super) fn insert<'c>(
        &'c self,
        tx: &'c impl GenericClient,
        statements: &'c Statements,
        lease: i64,
        writer: i16,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'c {
        let (events, dedupe, deliveries) = (&self.events, &self.dedupe, &self.deliveries);
        async move {
            let events = execute_some(
                tx,
                &statements.insert_events,
                !events.keys.is_empty(),
                [
                    &events.workspaces,
                    &events.keys,
                    &events.types,
                    &events.ids,
                    &events.accepted_ms,
                    &events.happened_ms,
                    &events.hops,
                    &events.firsts,
                    &events.lasts,
                    &events.data,
                ],
            );
            let dedupe = execute_some(
                tx,
                &statements.insert_dedupe,
                !dedupe.texts.is_empty(),
                [
                    &dedupe.workspaces,
                    &dedupe.kinds,
                    &dedupe.texts,
                    &dedupe.events,
                    &dedupe.event_ids,
                    &dedupe.created_ms,
                ],
            );
            let deliveries = execute_some(
                tx,
                &statements.insert_deliveries,
                !deliveries.ids.is_empty(),
                [
                    &deliveries.workspaces,
                    &deliveries.ids,
                    &deliveries.events,
                    &deliveries.webhooks,
                    &deliveries.now_ms,
                    &deliveries.held,
                    &deliveries.ordered,
                    &deliveries.replays,
                    &lease,
                    &writer,
                ],
            );
            futures_util::future::try_join3(events, dedupe, deliveries).await?;
            Ok(())
        }
    }

    /// What they add to counts.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.count(&mut tally);
        tally
    }

    /// Adds to counts.
    pub(super) fn count(&self, tally: &mut Tally) {
        let rows = &self.deliveries;
        for ((workspace, webhook), id) in rows.workspaces.iter().zip(&rows.webhooks).zip(&rows.ids)
        {
            tally.add(
                WorkspaceId::new(*workspace),
                WebhookId::new(*webhook),
                made_at(DeliveryId::new(*id)),
                Counts {
                    made: 1,
                    ..Counts::default()
                },
            );
        }
    }
}

impl<'e> Dedupe<'e> {
    fn push(&mut self, new: &'e NewEvent, kind: i16, text: &'e str, id: Option<&'e str>) {
        self.workspaces.push(new.event.workspace.number());
        self.kinds.push(kind);
        self.texts.push(text);
        self.events.push(new.event.key.uuid());
        self.event_ids.push(id);
        self.created_ms.push(new.event.accepted_at.ms());
    }
}

/// Executes a statement unless there is nothing for it. [`StoreError::Busy`] if somebody else has
/// stored the same id or key since it was looked for, or dropped a partition that was there: the
/// next look finds it.
async fn execute_some<const N: usize>(
    tx: &impl GenericClient,
    statement: &Statement,
    needed: bool,
    columns: [&(dyn ToSql + Sync); N],
) -> Result<(), StoreError> {
    if !needed {
        return Ok(());
    }
    match tx.execute(statement, &columns).await {
        Err(error) if is_conflict(&error) || lacks_partition(&error) => Err(StoreError::Busy),
        executed => Ok(executed.map(drop)?),
    }
}
