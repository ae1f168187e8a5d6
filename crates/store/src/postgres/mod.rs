//! [`Store`](crate::Store) in PostgreSQL, for any number of nodes.
//!
//! The players: `connect` reads the URL and keeps the pool; `migrate` brings the schema up to
//! date; `lease` takes this node's lease, renews it on the database's clock and ends the leases
//! of nodes that stopped; `writer` gathers events accepted and attempts finished into group
//! commits, each a few statements over whole batches; `transact` runs everything else, a
//! transaction each; `partitions` makes and drops the spans of time that events, finished
//! deliveries and attempts lie in. The transitions and look-ups stand in a file per resource, as
//! in [`sqlite`](crate::sqlite).
//!
//! *Fencing.* A held delivery carries the number of its holder's lease. A result is written only
//! if that number is still there, so what a node does under a lease that ended changes nothing.
//! Whoever ends a lease removes its rows of `fences` first: these are locked by each batch of
//! the node, so nothing can be held under a lease that has ended.
//!
//! *Leases save work, the event id gives correctness:* a node that stops and goes on later may
//! send once more what it had begun to send, under the same id.

mod accept;
mod access;
mod answers;
mod attempts;
mod changes;
mod codes;
mod connect;
mod deliveries;
mod due;
mod event_types;
mod events;
mod executions;
mod flows;
mod hints;
mod installation;
mod lease;
mod migrate;
mod nodes;
mod notes;
mod partitions;
mod pools;
mod query;
mod receipts;
mod record;
mod replays;
mod retention;
mod row;
pub mod scratch;
mod signals;
mod sources;
mod stats;
mod steps;
mod store;
mod tally;
mod transact;
mod triggers;
mod turns;
mod webhooks;
mod workflows;
mod writer;

use std::{sync::Arc, time::Duration};

use domain::Timestamp;

use crate::{CommitObserver, Identity, StoreError};

use connect::Link;
use lease::LeaseKeeper;

/// How a database is opened.
#[derive(Clone)]
pub struct PostgresOptions {
    /// The time now, for what is made at the first opening.
    pub now: Timestamp,
    /// Which process opens it.
    pub identity: Identity,
    /// Told of every group commit.
    pub observer: Arc<dyn CommitObserver>,
    /// How long a lease runs after it was renewed. Whoever stops for longer loses what it holds
    /// to the others; whoever is cut off stops sending after three quarters of it.
    pub lease: Duration,
    /// How much time one partition covers: what is past its retention is kept up to this much
    /// longer.
    pub partition_span: Duration,
    /// How many connections the pool has, beside one for each of the writers and one that
    /// listens.
    pub connections: usize,
}

impl PostgresOptions {
    /// How long a lease runs where nothing else is said.
    pub const LEASE: Duration = Duration::from_secs(10);

    /// Opened at `now`, nobody told of commits, a pool for two cores.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            identity: Identity::default(),
            observer: Arc::new(crate::Unobserved),
            lease: Self::LEASE,
            partition_span: Duration::from_hours(24),
            connections: 6,
        }
    }
}

/// The store in a PostgreSQL database.
pub struct PostgresStore {
    link: Arc<Link>,
    lease: Arc<LeaseKeeper>,
    partitions: Arc<partitions::Partitions>,
    writers: writer::Writers,
    hints: Arc<hints::Hints>,
    notes: notes::Notes,
    depth: tokio::sync::Mutex<Option<stats::KnownDepth>>,
    retention: retention::Retention,
}

impl PostgresStore {
    /// Connects, brings the schema up to date and takes a lease. What an earlier process of the
    /// same [`Identity::id`] held is free at once: it cannot run any more.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database cannot be reached, [`StoreError::Newer`] if a
    /// newer Signpost has changed it in a way that this one cannot work with,
    /// [`StoreError::Failed`] if the URL is wrong or a right is lacking.
    pub async fn open(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let link = Arc::new(Link::new(
            url,
            options.connections.max(2) + usize::from(writer::WRITERS.unsigned_abs()),
        )?);
        let mut first = link.own_connection().await?;
        let mut migrating = std::pin::pin!(migrate::migrate(&mut first.client));
        let migrated = tokio::select! {
            migrated = &mut migrating => migrated,
            ended = &mut first.connection => {
                Err(ended.err().map_or(StoreError::Closed, StoreError::from))
            }
        };
        migrated?;
        installation::prepare(&link, options.now).await?;
        let partitions = Arc::new(partitions::Partitions::new(
            Arc::clone(&link),
            options.partition_span,
        ));
        let hints = hints::Hints::start(Arc::clone(&link));
        let lease =
            LeaseKeeper::start(Arc::new(Link::new(url, 2)?), Arc::clone(&hints), &options).await?;
        let writers = writer::Writers::start(&link, &lease, &partitions, &options.observer);
        Ok(Self {
            link,
            lease,
            partitions,
            writers,
            hints,
            notes: notes::Notes::default(),
            depth: tokio::sync::Mutex::default(),
            retention: retention::Retention::default(),
        })
    }
}
