//! The only place that speaks SQL: every state transition of Signpost as a method.
//!
//! [`Store`] is the trait that callers see; [`sqlite`] keeps it in one file for one process,
//! [`postgres`] in a database that any number of processes (*nodes*) share. Each method is one
//! transaction and one legal transition; what was claimed is written back under its [`Lease`],
//! and a lost lease writes nothing. No transaction is open while anything waits for the network.
//! `conformance` holds one list of cases that every implementation passes.
//!
//! What stands here decides nothing: matching, schedules and verdicts come in as values.

mod columns;
mod executions;
mod intake;
pub mod lock;
mod records;
mod run_columns;
mod types;
mod workflows;

#[cfg(any(test, feature = "conformance"))]
#[expect(clippy::unwrap_used, reason = "these are tests")]
pub mod conformance;
pub mod postgres;
pub mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use domain::{
    ApiKeyId, DeliveryId, EventId, EventKey, ReplayId, Timestamp, UserId, WebhookId, WorkspaceId,
    access::{ApiKey, Membership, User, Workspace},
    attempt::Attempt,
    delivery::Delivery,
    event::Event,
    replay::Replay,
    webhook::{DisabledReason, Webhook},
};
use tokio::sync::broadcast;

pub use executions::*;
pub use intake::*;
pub use types::*;
pub use workflows::*;

/// A store that callers share.
pub type SharedStore = Arc<dyn Store>;

/// Every state transition and every look-up. Implementations commit before they answer: an `Ok`
/// is on disk.
#[async_trait]
pub trait Store: Workflows + Executions + Intake + Send + Sync + 'static {
    /// The lease under which this process holds what it claims and what it accepts as held. It
    /// changes when it was lost: what was held under the old one is then somebody else's.
    fn lease(&self) -> Lease;

    /// Whether this process may still send what it holds under `lease`. `false` once the lease
    /// was lost, or could not be renewed in time to be sure of it; what was held is on disk, and
    /// whoever claims next has it.
    fn holds(&self, lease: Lease) -> bool;

    /// Whether other processes can work on the same database at the same time.
    fn is_shared(&self) -> bool;

    // --- nodes -----------------------------------------------------------------------------

    /// Says what this node is doing; the others see it.
    async fn announce(&self, about: Announcement) -> Result<(), StoreError>;

    /// The nodes whose lease runs, this one among them, by their leases: the oldest first.
    async fn nodes(&self) -> Result<Vec<Node>, StoreError>;

    /// What was changed since `after` (the `to` of an earlier answer) that processes keep in
    /// memory; with `None`, nothing but where to go on from. A store that is not shared has
    /// nothing to tell: who changed it knows.
    async fn changes(&self, after: Option<u64>) -> Result<Changes, StoreError>;

    /// Leaves notes for the nodes that watch ([`Announcement::watches`]), for a few seconds.
    async fn leave_notes(&self, notes: Vec<String>) -> Result<(), StoreError>;

    /// The notes that other nodes have left since the last call, each node's in order. The first
    /// call answers none: it begins to listen.
    async fn notes(&self) -> Result<Vec<String>, StoreError>;

    /// Tells the other nodes that there is something to be looked at: sooner than they would by
    /// themselves, if it reaches them at all.
    fn hint(&self, hint: Hint);

    /// Hints of other nodes from now on.
    fn hints(&self) -> broadcast::Receiver<Hint>;

    /// The fingerprint of the key that seals what is kept secret here: the one that was recorded
    /// first, which is `fingerprint` if none was.
    async fn sealed_with(&self, fingerprint: Option<&str>) -> Result<Option<String>, StoreError>;

    // --- events in -------------------------------------------------------------------------

    /// Stores events with their deliveries, all in one transaction, in order; an event whose
    /// dedupe key is taken (also by an earlier one of the same call) stores nothing and answers
    /// [`Accepted::Duplicate`].
    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Accepted>, StoreError>;

    /// The event with this key.
    async fn event(
        &self,
        workspace: WorkspaceId,
        key: EventKey,
    ) -> Result<Option<Event>, StoreError>;

    /// The event that receivers know by this id (the publisher's or the printed key).
    async fn event_by_id(
        &self,
        workspace: WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError>;

    /// Events, newest first.
    async fn events(
        &self,
        workspace: WorkspaceId,
        filter: EventFilter,
        page: Page<EventKey>,
    ) -> Result<Vec<Event>, StoreError>;

    // --- deliveries ------------------------------------------------------------------------

    /// Logs the attempt that the lease covers and moves its delivery to `next`, atomically.
    /// Where `failing_since` is given, the webhook's mark is set to it in the same transaction
    /// (the first failure after a success sets it, the first success after a failure clears it).
    ///
    /// Answers [`Finished::LeaseLost`] if another claim took over; nothing was written then.
    async fn finish_attempt(&self, finish: FinishAttempt) -> Result<Finished, StoreError>;

    /// Takes up to `limit` deliveries of one webhook that are due at `now` under this process's
    /// lease, earliest due first. With `ordered`, takes the first `limit` pending ones in order
    /// of their ids, due or not, and stops before one that is held (by this process too: what is
    /// behind it must wait until it is finished or released).
    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError>;

    /// Gives up the lease on deliveries that were claimed (or accepted as held) and not
    /// finished: they fall due at `now` for whoever claims next.
    async fn release(
        &self,
        deliveries: Vec<(WorkspaceId, DeliveryId, Lease)>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// For webhooks with pending deliveries that nobody holds: the earliest due time of each,
    /// in order of (workspace, webhook), after `after`.
    async fn due(
        &self,
        after: Option<(WorkspaceId, WebhookId)>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError>;

    /// The earliest due time among one webhook's pending deliveries that nobody holds.
    async fn next_due(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
    ) -> Result<Option<Timestamp>, StoreError>;

    /// Makes one delivery pending and due at `now`, whatever state it is in, unless it is held
    /// (its attempt is running or about to). Its attempts go on being counted: one whose schedule
    /// was used up gets one more.
    async fn retry(
        &self,
        workspace: WorkspaceId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Result<Retried, StoreError>;

    /// One delivery.
    async fn delivery(
        &self,
        workspace: WorkspaceId,
        id: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError>;

    /// Deliveries, newest first, with the type and id of their event.
    async fn deliveries(
        &self,
        workspace: WorkspaceId,
        filter: DeliveryFilter,
        page: Page<DeliveryId>,
    ) -> Result<Vec<DeliveryRow>, StoreError>;

    /// A delivery's attempts, first to last.
    async fn attempts(
        &self,
        workspace: WorkspaceId,
        delivery: DeliveryId,
    ) -> Result<Vec<Attempt>, StoreError>;

    /// Counts of a webhook's deliveries and attempts since a time, rounded down to ten minutes;
    /// costs the same however many there were.
    async fn webhook_stats(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        since: Timestamp,
    ) -> Result<WebhookStats, StoreError>;

    // --- webhooks --------------------------------------------------------------------------

    /// Stores a new webhook.
    async fn create_webhook(&self, webhook: Webhook) -> Result<(), StoreError>;

    /// Replaces what a person set (config, headers, secrets, state, `updated_at`), if the record
    /// is still the one whose `updated_at` was `expected`; `false` if it is not, or is gone.
    /// Becoming active clears `failing_since`.
    async fn update_webhook(
        &self,
        webhook: Webhook,
        expected: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Switches an active webhook off and stores the event that says so, atomically; `false` if
    /// it is not active any more. `updated_at` moves, so a change based on what was before fails.
    async fn disable_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        reason: DisabledReason,
        now: Timestamp,
        event: NewEvent,
    ) -> Result<bool, StoreError>;

    /// Removes a webhook, cancels its running replays; its pending deliveries are buried later
    /// ([`Store::bury_orphans`]). `false` if there is none.
    async fn delete_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// One webhook.
    async fn webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
    ) -> Result<Option<Webhook>, StoreError>;

    /// A workspace's webhooks, oldest first.
    async fn webhooks(
        &self,
        workspace: WorkspaceId,
        page: Page<WebhookId>,
    ) -> Result<Vec<Webhook>, StoreError>;

    /// Every webhook of every workspace, for the index in memory.
    async fn all_webhooks(&self) -> Result<Vec<Webhook>, StoreError>;

    /// Moves up to `limit` pending deliveries of webhooks that no longer exist to dead; answers
    /// how many it moved. What is held stays its holder's, to be finished or released.
    async fn bury_orphans(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;

    // --- replays ---------------------------------------------------------------------------

    /// Stores a new replay; `total` is counted here. Its candidates are what was accepted, or
    /// died, before it was asked for (ids less than its own, deaths up to `created_at`): what
    /// comes later, its own deliveries among it, is none.
    async fn create_replay(&self, replay: Replay) -> Result<Replay, StoreError>;

    /// One replay.
    async fn replay(
        &self,
        workspace: WorkspaceId,
        id: ReplayId,
    ) -> Result<Option<Replay>, StoreError>;

    /// A webhook's replays, newest first.
    async fn replays(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        page: Page<ReplayId>,
    ) -> Result<Vec<Replay>, StoreError>;

    /// Every running replay, oldest first.
    async fn running_replays(&self) -> Result<Vec<Replay>, StoreError>;

    /// The next candidates of a running replay after its cursor, in order, and the cursor behind
    /// the last of them. No candidates: it is at its end.
    async fn replay_candidates(
        &self,
        replay: &Replay,
        limit: usize,
    ) -> Result<ReplayBatch, StoreError>;

    /// Stores the deliveries made of a batch, moves the cursor and the counts, and completes the
    /// replay where the batch says so; all in one transaction, and only if the cursor still
    /// stands where the batch began (`false` otherwise).
    async fn advance_replay(
        &self,
        replay: &Replay,
        batch: ReplayBatch,
        deliveries: Vec<NewDelivery>,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    // --- event types -----------------------------------------------------------------------

    /// Stores a custom event type; `false` if the name is taken in this workspace.
    async fn create_event_type(&self, event_type: CustomEventType) -> Result<bool, StoreError>;
    /// Replaces a custom event type; `false` if there is none of that name.
    async fn update_event_type(&self, event_type: CustomEventType) -> Result<bool, StoreError>;
    /// Removes a custom event type; `false` if there is none.
    async fn delete_event_type(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<bool, StoreError>;
    /// A workspace's custom event types, by name.
    async fn event_types(&self, workspace: WorkspaceId)
    -> Result<Vec<CustomEventType>, StoreError>;
    /// Every custom event type of every workspace, for the index in memory.
    async fn all_event_types(&self) -> Result<Vec<CustomEventType>, StoreError>;

    // --- access ----------------------------------------------------------------------------

    /// How many users there are.
    async fn user_count(&self) -> Result<u64, StoreError>;
    /// Stores a user with a first membership; `false` if the login is taken.
    async fn create_user(&self, user: User, membership: Membership) -> Result<bool, StoreError>;
    /// Replaces a user's password hash; `false` if there is no such user.
    async fn set_password(&self, user: UserId, password_hash: &str) -> Result<bool, StoreError>;
    /// Removes a user and their memberships; `false` if there is none.
    async fn delete_user(&self, user: UserId) -> Result<bool, StoreError>;
    /// The user with this login (lower case).
    async fn user_by_login(&self, login: &str) -> Result<Option<User>, StoreError>;
    /// The user with this id.
    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError>;
    /// A workspace's members.
    async fn members(&self, workspace: WorkspaceId) -> Result<Vec<(User, Membership)>, StoreError>;
    /// Sets or removes (`None`) a member's role.
    async fn set_role(
        &self,
        user: UserId,
        workspace: WorkspaceId,
        role: Option<domain::access::Role>,
    ) -> Result<(), StoreError>;
    /// A user's memberships, by workspace.
    async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError>;
    /// Makes a workspace; the store gives its number.
    async fn create_workspace(&self, name: &str, now: Timestamp) -> Result<Workspace, StoreError>;
    /// All workspaces, by number. The default one always exists.
    async fn workspaces(&self) -> Result<Vec<Workspace>, StoreError>;
    /// Stores an API key.
    async fn create_api_key(&self, key: ApiKey) -> Result<(), StoreError>;
    /// The key with this hash, revoked ones included.
    async fn api_key_by_hash(&self, hash: [u8; 32]) -> Result<Option<ApiKey>, StoreError>;
    /// A workspace's keys, newest first.
    async fn api_keys(&self, workspace: WorkspaceId) -> Result<Vec<ApiKey>, StoreError>;
    /// Revokes a key; `false` if there is none or it is revoked already.
    async fn revoke_api_key(
        &self,
        workspace: WorkspaceId,
        id: ApiKeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    // --- idempotent requests ---------------------------------------------------------------

    /// The answer that was kept for an `Idempotency-Key` of a request other than a publish.
    async fn kept_answer(
        &self,
        workspace: WorkspaceId,
        key: &str,
    ) -> Result<Option<KeptAnswer>, StoreError>;
    /// Keeps an answer; `false` if the key is taken.
    async fn keep_answer(
        &self,
        workspace: WorkspaceId,
        key: &str,
        answer: KeptAnswer,
    ) -> Result<bool, StoreError>;

    // --- the installation ------------------------------------------------------------------

    /// Removes, in one short transaction that looks at no more than `limit` events: events
    /// accepted before `before` with none of their deliveries pending, with their deliveries and
    /// attempts; and as many dedupe keys and kept answers made before `keys_before`. A pass takes
    /// as many calls as answer `more`; where commits wait while one runs (some 30 µs an event), a
    /// few hundred make a good limit.
    ///
    /// A store that keeps events in partitions by time drops a whole one, however many events it
    /// has, once all of it is old enough and nothing of it is pending: what is old is then kept
    /// up to a partition's span longer.
    async fn prune(
        &self,
        before: Timestamp,
        keys_before: Timestamp,
        limit: usize,
    ) -> Result<Pruned, StoreError>;

    /// How many deliveries are pending, and how many of them are held by this process.
    async fn queue_depth(&self) -> Result<QueueDepth, StoreError>;

    /// What `doctor` and metrics show of the store itself: kind, version, size, free space.
    async fn facts(&self) -> Result<StoreFacts, StoreError>;

    /// Commits what is queued and closes. Later calls answer [`StoreError::Closed`].
    async fn close(&self);
}
