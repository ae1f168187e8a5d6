//! What goes into the store's transitions and comes out of its look-ups.

use std::time::Duration;

use domain::{
    DeliveryId, EventId, EventKey, ReplayId, Timestamp, WebhookId, WorkspaceId,
    attempt::Attempt,
    delivery::{Delivery, DeliveryState, Next},
    event::{Event, EventType},
};
use uuid::Uuid;

/// A process's right to hold work and to write what comes of it. The number is greater for each
/// that is taken later, also by a process that has lost the one before: so what was held under a
/// stale one is told from what is held now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lease(pub i64);

/// Which process opens a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which installation of the program it is: the same after a restart, another for each that
    /// runs at the same time.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// What it does.
    pub role: NodeRole,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            id: Uuid::nil(),
            name: "signpost".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: NodeRole::All,
        }
    }
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NodeRole {
    /// Everything.
    #[default]
    All,
    /// Takes requests; sends nothing.
    Api,
    /// Sends; takes no requests but those about its health.
    Worker,
}

impl NodeRole {
    /// Whether it sends deliveries.
    pub const fn delivers(self) -> bool {
        !matches!(self, Self::Api)
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// Where it can be reached, as `host:port`.
    pub address: Option<String>,
    /// Whether it is going down and takes nothing new.
    pub draining: bool,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Whether it wants the others' notes.
    pub watches: bool,
    /// The youngest node that it has taken into account when it shared the work out.
    pub counted_to: Option<Lease>,
}

/// A process that works on the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its lease: greater for each that joined later.
    pub lease: Lease,
    /// Which installation of the program it is; the same after a restart.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// What it does.
    pub role: NodeRole,
    /// Whether it is the one that was asked.
    pub is_self: bool,
    /// When it joined, by the database's clock.
    pub started_at: Timestamp,
    /// When it last renewed its lease, by the database's clock.
    pub seen_at: Timestamp,
    /// What it says of itself.
    pub about: Announcement,
}

/// Something that processes keep in memory and that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A webhook was made, changed or removed.
    Webhook(WorkspaceId, WebhookId),
    /// A custom event type was made, changed or removed.
    EventType(WorkspaceId, String),
    /// A user, a role, a password or an API key was changed.
    Access,
    /// A workflow got a version or was removed, or a trigger was made, changed or removed.
    Workflows,
    /// A source was made, changed or removed.
    Sources,
}

/// What was changed, and where to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// What to ask with next.
    pub to: u64,
    /// The changes, in order; `None` if they can no longer be told one by one: everything has
    /// to be read again.
    pub what: Option<Vec<Change>>,
}

/// What a node can tell the others at once. Nothing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// [`Store::changes`](crate::Store::changes) has news.
    Changes,
    /// A node joined, left or said something else of itself.
    Nodes,
    /// An execution is due that nobody holds, or a signal waits for one that somebody does.
    Executions,
    /// A webhook has deliveries that are due and that nobody holds.
    Due {
        /// Whose it is.
        workspace: WorkspaceId,
        /// The webhook.
        webhook: WebhookId,
        /// Whether a person asked for one, so that even an open breaker lets it through.
        forced: bool,
    },
}

/// An event to be stored, with the deliveries that fan-out made of it.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event.
    pub event: Event,
    /// Whether `event.id` is the publisher's own, and so deduplicates.
    pub id_given: bool,
    /// The publisher's `Idempotency-Key`, if any: deduplicates as well.
    pub idempotency_key: Option<String>,
    /// Its deliveries.
    pub deliveries: Vec<NewDelivery>,
}

/// A delivery to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// The event it carries (repeated here for replays).
    pub event: EventKey,
    /// The webhook it goes to.
    pub webhook: WebhookId,
    /// Whether this process keeps it in memory, under its own lease, to send it at once.
    pub held: bool,
    /// Whether the webhook is strictly ordered.
    pub ordered: bool,
    /// The replay that makes it.
    pub replay: Option<ReplayId>,
}

/// What became of one event that was to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is stored.
    New,
    /// An event with the same id or key had been; this one was not stored.
    Duplicate {
        /// The first one's key.
        key: EventKey,
        /// The first one's id.
        id: EventId,
    },
}

/// An attempt's end.
#[derive(Clone, Debug)]
pub struct FinishAttempt {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The delivery that was attempted.
    pub delivery: DeliveryId,
    /// The webhook it goes to.
    pub webhook: WebhookId,
    /// The lease under which it was attempted.
    pub lease: Lease,
    /// The log.
    pub attempt: Attempt,
    /// What follows.
    pub next: Next,
    /// A change of the webhook's failing mark: `Some(Some(t))` sets it where it is unset,
    /// `Some(None)` clears it, `None` leaves it.
    pub failing_since: Option<Option<Timestamp>>,
}

/// Whether an attempt's end was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It was.
    Recorded,
    /// The delivery is no longer this lease's; nothing was written.
    LeaseLost,
}

/// What to claim.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The webhook.
    pub webhook: WebhookId,
    /// Whether it is strictly ordered.
    pub ordered: bool,
    /// The time now.
    pub now: Timestamp,
    /// The most to take.
    pub limit: usize,
}

/// A claimed delivery with its event.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The delivery.
    pub delivery: Delivery,
    /// The event it carries.
    pub event: Event,
    /// The lease under which it is held.
    pub lease: Lease,
}

/// When a webhook's next delivery that nobody holds falls due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The webhook.
    pub webhook: WebhookId,
    /// The earliest due time.
    pub at: Timestamp,
}

/// What a manual retry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// The delivery is pending and due.
    Due(WebhookId),
    /// It is held: an attempt runs or is about to.
    InFlight(WebhookId),
    /// There is no such delivery.
    Unknown,
}

/// A page of a list: up to `limit` records after (in the list's order) the record `after`.
#[derive(Clone, Copy, Debug)]
pub struct Page<Id> {
    /// Where the last page ended.
    pub after: Option<Id>,
    /// The most records.
    pub limit: usize,
}

/// Which events to list.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only of this type.
    pub event_type: Option<EventType>,
    /// Only accepted at or after.
    pub since: Option<Timestamp>,
    /// Only accepted before.
    pub until: Option<Timestamp>,
}

/// Which deliveries to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeliveryFilter {
    /// Only to this webhook.
    pub webhook: Option<WebhookId>,
    /// Only of this event.
    pub event: Option<EventKey>,
    /// Only in this state.
    pub state: Option<DeliveryState>,
    /// Only made at or after.
    pub since: Option<Timestamp>,
}

/// A delivery in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryRow {
    /// The delivery.
    pub delivery: Delivery,
    /// The event's id.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: EventType,
    /// The last attempt's status, if it got an answer.
    pub last_status: Option<u16>,
    /// The last attempt's error class, if it got none.
    pub last_error: Option<domain::attempt::ErrorClass>,
}

/// Counts of one webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookStats {
    /// Deliveries made since the time that are pending now.
    pub pending: u64,
    /// Deliveries made since the time that arrived.
    pub delivered: u64,
    /// Deliveries made since the time that were given up.
    pub dead: u64,
    /// Attempts since the time.
    pub attempts: u64,
    /// Attempts since the time that failed.
    pub attempts_failed: u64,
    /// Median duration, in microseconds, of the last attempts of the newest 1,000 deliveries, as
    /// far as they began since the time.
    pub duration_us_p50: Option<u64>,
    /// 95th percentile, likewise.
    pub duration_us_p95: Option<u64>,
}

/// The next candidates of a replay.
#[derive(Clone, Debug)]
pub struct ReplayBatch {
    /// Where the cursor stood.
    pub from: Option<Uuid>,
    /// Where it stands behind the candidates.
    pub to: Option<Uuid>,
    /// The events to be looked at, in order.
    pub events: Vec<Event>,
    /// Whether nothing comes after them.
    pub last: bool,
}

/// A workspace's own event type.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomEventType {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Its name.
    pub name: EventType,
    /// What it says.
    pub description: String,
    /// A JSON Schema for `data`, as JSON text.
    pub schema: Option<String>,
    /// An example of `data`, as JSON text.
    pub example: Option<String>,
    /// Whether published events are checked against the schema.
    pub enforce: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An answer kept for an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// SHA-256 over method, path and body of the request, to tell a reused key.
    pub request_hash: [u8; 32],
    /// The status that was answered.
    pub status: u16,
    /// The body that was answered, sealed (it may carry a secret).
    pub body: Vec<u8>,
    /// When.
    pub created_at: Timestamp,
}

/// What one step of retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events.
    pub events: usize,
    /// Deliveries.
    pub deliveries: usize,
    /// Attempts.
    pub attempts: usize,
    /// Dedupe keys and kept answers.
    pub keys: usize,
    /// Whether there is more to remove.
    pub more: bool,
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Pending deliveries.
    pub pending: u64,
    /// Those of them that are held in memory.
    pub held: u64,
}

/// The store about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFacts {
    /// `sqlite` or `postgresql`.
    pub kind: &'static str,
    /// The library's or the server's version.
    pub version: String,
    /// The schema's version.
    pub schema_version: u32,
    /// Size on disk, in bytes.
    pub size_bytes: u64,
    /// Free space where it lies, in bytes, where that can be told.
    pub free_bytes: Option<u64>,
    /// Settings of the database's server with which what was committed can be lost, as in
    /// `fsync = off`; none is as it should be.
    pub unsafe_settings: Vec<String>,
}

/// Told of every commit: for metrics.
pub trait CommitObserver: Send + Sync {
    /// A transaction of `transitions` transitions was committed in `took` (its fsync included).
    fn committed(&self, transitions: usize, took: Duration);
}

/// For a store whose commits nobody counts.
pub(crate) struct Unobserved;

impl CommitObserver for Unobserved {
    fn committed(&self, _transitions: usize, _took: Duration) {}
}

/// Why a transition was not made. Nothing of it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full: what needs no new space still works.
    #[error("the disk is full")]
    Full,
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
    /// The database cannot be reached, or was lost on the way. What was asked for may be tried
    /// again: a transition is either written or not, and an answer `Ok` never comes of this.
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    /// Others were storing the same id or key at this moment, again and again; try again.
    #[error("others are storing the same id or key at this moment")]
    Busy,
    /// The database was written by a newer Signpost.
    #[error(
        "the database has schema version {found}, this program knows up to {known}: start the newer Signpost that wrote it, or restore a backup"
    )]
    Newer {
        /// What the database says.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// Another process has it open.
    #[error("the data directory is in use by another Signpost{holder}", holder = .0.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse(Option<u32>),
    /// Anything else that the database said.
    #[error("the database failed: {0}")]
    Failed(String),
}
