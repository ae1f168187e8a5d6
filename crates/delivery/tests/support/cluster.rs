//! A store that several pipelines of one process share, as nodes share a database: made of one
//! SQLite file and of a table of nodes that a test sets as it likes.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use delivery::{Edge, Settings};
use domain::{
    ApiKeyId, DeliveryId, EventId, EventKey, ReplayId, Timestamp, UserId, WebhookId, WorkspaceId,
    access::{ApiKey, Membership, Role, User, Workspace},
    attempt::Attempt,
    delivery::Delivery,
    event::Event,
    id::IdSource,
    replay::Replay,
    time::Clock,
    webhook::{DisabledReason, Webhook},
};
use parking_lot::Mutex;
use store::{
    Accepted, Announcement, Change, Changes, Claim, Claimed, CustomEventType, DeliveryFilter,
    DeliveryRow, Due, EventFilter, FinishAttempt, Finished, Hint, KeptAnswer, Lease, NewDelivery,
    NewEvent, Node, NodeRole, Page, Pruned, QueueDepth, ReplayBatch, Retried, Store, StoreError,
    StoreFacts, WebhookStats,
    sqlite::{SqliteOptions, SqliteStore},
};
use testkit::{FakeClock, TestStore};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::Rig;

/// The database and its table of nodes.
pub struct Cluster {
    store: SqliteStore,
    pub clock: Arc<FakeClock>,
    place: Arc<TestStore>,
    state: Mutex<State>,
    /// Whether ordered claims come in the reverse order of the ids, as if clocks disagreed.
    pub reverses: AtomicBool,
    /// How many deliveries were released by their holders.
    pub released: AtomicUsize,
}

#[derive(Default)]
struct State {
    leases: i64,
    members: Vec<Arc<Member>>,
    held: HashMap<DeliveryId, Lease>,
    changes: Vec<Change>,
    forgotten: bool,
    notes: Vec<(usize, String)>,
}

/// One node's way to the database.
pub struct Member {
    cluster: Arc<Cluster>,
    seat: usize,
    role: NodeRole,
    lease: AtomicI64,
    /// Whether it is among the nodes, and its lease runs.
    pub lives: AtomicBool,
    about: Mutex<Announcement>,
    hints: broadcast::Sender<Hint>,
    notes_read: Mutex<Option<usize>>,
    /// Loses its lease, and gets another, in the middle of the next commit: before or after it
    /// was written.
    pub lapses_before: AtomicBool,
    pub lapses_after: AtomicBool,
}

struct NodeIds {
    clock: Arc<FakeClock>,
    next: AtomicI64,
}

impl IdSource for NodeIds {
    fn next_id(&self) -> Uuid {
        let ms = u128::try_from(self.clock.now().ms()).unwrap();
        let count = u128::try_from(self.next.fetch_add(1, Ordering::SeqCst)).unwrap();
        Uuid::from_u128((ms << 80) | (0x7 << 76) | (0b10 << 62) | count)
    }
}

impl Cluster {
    pub fn new() -> Arc<Self> {
        let place = Arc::new(TestStore::sqlite());
        let options = SqliteOptions::new(Timestamp::from_ms(0));
        Arc::new(Self {
            store: SqliteStore::open(&place.folder().join("signpost.db"), options).unwrap(),
            clock: FakeClock::at(Timestamp::parse("2026-03-01T12:00:00Z").unwrap()),
            place,
            state: Mutex::default(),
            reverses: AtomicBool::new(false),
            released: AtomicUsize::new(0),
        })
    }

    /// A node joins.
    pub async fn node(self: &Arc<Self>, settings: Settings) -> (Rig, Arc<Member>) {
        let member = {
            let mut state = self.state.lock();
            state.leases += 1;
            let member = Arc::new(Member {
                cluster: Arc::clone(self),
                seat: state.members.len(),
                role: settings.role,
                lease: AtomicI64::new(state.leases),
                lives: AtomicBool::new(true),
                about: Mutex::default(),
                hints: broadcast::channel(64).0,
                notes_read: Mutex::default(),
                lapses_before: AtomicBool::new(false),
                lapses_after: AtomicBool::new(false),
            });
            state.members.push(Arc::clone(&member));
            member
        };
        let seat = u64::try_from(member.seat).unwrap();
        let ids = NodeIds {
            clock: Arc::clone(&self.clock),
            next: AtomicI64::new(i64::try_from(seat).unwrap() << 32),
        };
        let edge = Edge {
            ids: Arc::new(ids),
            ..testkit::edge(&self.clock, seat)
        };
        let store = Arc::clone(&member) as Arc<dyn Store>;
        let (clock, place) = (Arc::clone(&self.clock), Arc::clone(&self.place));
        let rig = Rig::over(store, edge, clock, place, settings, seat).await;
        (rig, member)
    }

    /// How many deliveries are held in some node's memory.
    pub fn held(&self) -> usize {
        self.state.lock().held.len()
    }

    /// Changes are no longer told one by one to whoever asks next.
    pub fn forget_changes(&self) {
        self.state.lock().forgotten = true;
    }

    fn hint_others(&self, seat: usize, hint: Hint) {
        let members = self.state.lock().members.clone();
        for member in members.iter().filter(|member| member.seat != seat) {
            let _ = member.hints.send(hint);
        }
    }
}

impl Member {
    /// The database.
    pub fn store(&self) -> &SqliteStore {
        &self.cluster.store
    }

    pub fn about(&self) -> Announcement {
        self.about.lock().clone()
    }

    /// The node is gone; what it held is due.
    pub async fn leave(&self) {
        self.lives.store(false, Ordering::SeqCst);
        let lost = Lease(self.lease.load(Ordering::SeqCst));
        self.free(lost).await;
        self.cluster.hint_others(self.seat, Hint::Nodes);
    }

    /// The lease is lost: what it held is due. The node takes another.
    pub async fn lapse(&self) {
        let lost = Lease(self.lease.load(Ordering::SeqCst));
        self.take_lease();
        self.free(lost).await;
    }

    fn take_lease(&self) {
        let mut state = self.cluster.state.lock();
        state.leases += 1;
        self.lease.store(state.leases, Ordering::SeqCst);
        *self.about.lock() = Announcement::default();
    }

    async fn free(&self, lost: Lease) {
        let ids: Vec<DeliveryId> = {
            let mut state = self.cluster.state.lock();
            let ids = state.held.iter().filter(|(_, lease)| **lease == lost);
            let ids = ids.map(|(id, _)| *id).collect();
            state.held.retain(|_, lease| *lease != lost);
            ids
        };
        self.release_in_file(ids, Timestamp::from_ms(0))
            .await
            .unwrap();
    }

    async fn release_in_file(
        &self,
        ids: Vec<DeliveryId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let lease = self.cluster.store.lease();
        let ids = ids
            .into_iter()
            .map(|id| (WorkspaceId::DEFAULT, id, lease))
            .collect();
        self.cluster.store.release(ids, now).await
    }

    fn changed(&self, change: Change) {
        self.cluster.state.lock().changes.push(change);
        self.cluster.hint_others(self.seat, Hint::Changes);
    }
}

#[async_trait]
impl Store for Member {
    fn lease(&self) -> Lease {
        Lease(self.lease.load(Ordering::SeqCst))
    }

    fn holds(&self, lease: Lease) -> bool {
        self.lives.load(Ordering::SeqCst) && lease == self.lease()
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn announce(&self, about: Announcement) -> Result<(), StoreError> {
        *self.about.lock() = about;
        self.cluster.hint_others(self.seat, Hint::Nodes);
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        let members = self.cluster.state.lock().members.clone();
        let mut nodes: Vec<Node> = members
            .iter()
            .filter(|member| member.lives.load(Ordering::SeqCst))
            .map(|member| Node {
                lease: member.lease(),
                id: Uuid::from_u128(1),
                name: format!("node-{}", member.seat),
                version: "1.0.0".to_owned(),
                role: member.role,
                is_self: member.seat == self.seat,
                started_at: Timestamp::from_ms(0),
                seen_at: Timestamp::from_ms(0),
                about: member.about(),
            })
            .collect();
        nodes.sort_by_key(|node| node.lease);
        Ok(nodes)
    }

    async fn changes(&self, after: Option<u64>) -> Result<Changes, StoreError> {
        let mut state = self.cluster.state.lock();
        let to = u64::try_from(state.changes.len()).unwrap();
        let what = match after {
            None => Some(Vec::new()),
            Some(_) if std::mem::take(&mut state.forgotten) => None,
            Some(after) => Some(state.changes[usize::try_from(after).unwrap()..].to_vec()),
        };
        Ok(Changes { to, what })
    }

    async fn leave_notes(&self, notes: Vec<String>) -> Result<(), StoreError> {
        let notes = notes.into_iter().map(|note| (self.seat, note));
        self.cluster.state.lock().notes.extend(notes);
        Ok(())
    }

    async fn notes(&self) -> Result<Vec<String>, StoreError> {
        let state = self.cluster.state.lock();
        let from = self.notes_read.lock().replace(state.notes.len());
        let from = from.unwrap_or(state.notes.len());
        let others = state.notes[from..].iter();
        let others = others.filter(|(seat, _)| *seat != self.seat);
        Ok(others.map(|(_, note)| note.clone()).collect())
    }

    fn hint(&self, hint: Hint) {
        self.cluster.hint_others(self.seat, hint);
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Accepted>, StoreError> {
        if self.lapses_before.swap(false, Ordering::SeqCst) {
            self.lapse().await;
        }
        let held: Vec<_> = events
            .iter()
            .flat_map(|event| &event.deliveries)
            .filter(|delivery| delivery.held)
            .map(|delivery| (delivery.id, self.lease()))
            .collect();
        let accepted = self.cluster.store.accept(events).await?;
        self.cluster.state.lock().held.extend(held);
        if self.lapses_after.swap(false, Ordering::SeqCst) {
            self.lapse().await;
        }
        Ok(accepted)
    }

    async fn finish_attempt(&self, finish: FinishAttempt) -> Result<Finished, StoreError> {
        let held = self
            .cluster
            .state
            .lock()
            .held
            .get(&finish.delivery)
            .copied();
        if held != Some(finish.lease) {
            return Ok(Finished::LeaseLost);
        }
        let delivery = finish.delivery;
        let lease = self.cluster.store.lease();
        let finish = FinishAttempt { lease, ..finish };
        let finished = self.cluster.store.finish_attempt(finish).await?;
        self.cluster.state.lock().held.remove(&delivery);
        Ok(finished)
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError> {
        if !self.holds(self.lease()) {
            return Err(StoreError::Unavailable("cut off".to_owned()));
        }
        let mut claimed = self.cluster.store.claim(claim).await?;
        let lease = self.lease();
        for claimed in &mut claimed {
            claimed.lease = lease;
        }
        let held = claimed.iter().map(|claimed| (claimed.delivery.id, lease));
        self.cluster.state.lock().held.extend(held);
        if claim.ordered && self.cluster.reverses.load(Ordering::SeqCst) {
            claimed.reverse();
        }
        Ok(claimed)
    }

    async fn release(
        &self,
        deliveries: Vec<(WorkspaceId, DeliveryId, Lease)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut ids = Vec::new();
        for (_, id, lease) in deliveries {
            let mut state = self.cluster.state.lock();
            if state.held.get(&id) == Some(&lease) {
                state.held.remove(&id);
                ids.push(id);
            }
        }
        self.cluster.released.fetch_add(ids.len(), Ordering::SeqCst);
        self.release_in_file(ids, now).await
    }

    async fn create_webhook(&self, webhook: Webhook) -> Result<(), StoreError> {
        self.cluster.store.create_webhook(webhook.clone()).await?;
        self.changed(Change::Webhook(webhook.workspace, webhook.id));
        Ok(())
    }
    async fn update_webhook(
        &self,
        webhook: Webhook,
        expected: Timestamp,
    ) -> Result<bool, StoreError> {
        let answer = self
            .cluster
            .store
            .update_webhook(webhook.clone(), expected)
            .await?;
        self.changed(Change::Webhook(webhook.workspace, webhook.id));
        Ok(answer)
    }
    async fn disable_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        reason: DisabledReason,
        now: Timestamp,
        event: NewEvent,
    ) -> Result<bool, StoreError> {
        let answer = self
            .cluster
            .store
            .disable_webhook(workspace, id, reason, now, event)
            .await?;
        self.changed(Change::Webhook(workspace, id));
        Ok(answer)
    }
    async fn delete_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let answer = self
            .cluster
            .store
            .delete_webhook(workspace, id, now)
            .await?;
        self.changed(Change::Webhook(workspace, id));
        Ok(answer)
    }
    async fn create_event_type(&self, event_type: CustomEventType) -> Result<bool, StoreError> {
        let answer = self
            .cluster
            .store
            .create_event_type(event_type.clone())
            .await?;
        self.changed(Change::EventType(
            event_type.workspace,
            event_type.name.to_string(),
        ));
        Ok(answer)
    }
    async fn update_event_type(&self, event_type: CustomEventType) -> Result<bool, StoreError> {
        let answer = self
            .cluster
            .store
            .update_event_type(event_type.clone())
            .await?;
        self.changed(Change::EventType(
            event_type.workspace,
            event_type.name.to_string(),
        ));
        Ok(answer)
    }
    async fn delete_event_type(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<bool, StoreError> {
        let answer = self
            .cluster
            .store
            .delete_event_type(workspace, name)
            .await?;
        self.changed(Change::EventType(workspace, name.to_owned()));
        Ok(answer)
    }
    async fn create_user(&self, user: User, membership: Membership) -> Result<bool, StoreError> {
        let answer = self.cluster.store.create_user(user, membership).await?;
        self.changed(Change::Access);
        Ok(answer)
    }
    async fn set_password(&self, user: UserId, password_hash: &str) -> Result<bool, StoreError> {
        let answer = self.cluster.store.set_password(user, password_hash).await?;
        self.changed(Change::Access);
        Ok(answer)
    }
    async fn delete_user(&self, user: UserId) -> Result<bool, StoreError> {
        let answer = self.cluster.store.delete_user(user).await?;
        self.changed(Change::Access);
        Ok(answer)
    }
    async fn set_role(
        &self,
        user: UserId,
        workspace: WorkspaceId,
        role: Option<Role>,
    ) -> Result<(), StoreError> {
        self.cluster.store.set_role(user, workspace, role).await?;
        self.changed(Change::Access);
        Ok(())
    }
    async fn create_api_key(&self, key: ApiKey) -> Result<(), StoreError> {
        self.cluster.store.create_api_key(key).await?;
        self.changed(Change::Access);
        Ok(())
    }
    async fn revoke_api_key(
        &self,
        workspace: WorkspaceId,
        id: ApiKeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let answer = self
            .cluster
            .store
            .revoke_api_key(workspace, id, now)
            .await?;
        self.changed(Change::Access);
        Ok(answer)
    }
    async fn close(&self) {
        self.leave().await;
    }

    // --- as the file has it ----------------------------------------------------------------

    async fn sealed_with(&self, fingerprint: Option<&str>) -> Result<Option<String>, StoreError> {
        self.cluster.store.sealed_with(fingerprint).await
    }
    async fn event(
        &self,
        workspace: WorkspaceId,
        key: EventKey,
    ) -> Result<Option<Event>, StoreError> {
        self.cluster.store.event(workspace, key).await
    }
    async fn event_by_id(
        &self,
        workspace: WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError> {
        self.cluster.store.event_by_id(workspace, id).await
    }
    async fn events(
        &self,
        workspace: WorkspaceId,
        filter: EventFilter,
        page: Page<EventKey>,
    ) -> Result<Vec<Event>, StoreError> {
        self.cluster.store.events(workspace, filter, page).await
    }
    async fn due(
        &self,
        after: Option<(WorkspaceId, WebhookId)>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        self.cluster.store.due(after, limit).await
    }
    async fn next_due(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.cluster.store.next_due(workspace, webhook).await
    }
    async fn retry(
        &self,
        workspace: WorkspaceId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Result<Retried, StoreError> {
        self.cluster.store.retry(workspace, delivery, now).await
    }
    async fn delivery(
        &self,
        workspace: WorkspaceId,
        id: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        self.cluster.store.delivery(workspace, id).await
    }
    async fn deliveries(
        &self,
        workspace: WorkspaceId,
        filter: DeliveryFilter,
        page: Page<DeliveryId>,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        self.cluster.store.deliveries(workspace, filter, page).await
    }
    async fn attempts(
        &self,
        workspace: WorkspaceId,
        delivery: DeliveryId,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.cluster.store.attempts(workspace, delivery).await
    }
    async fn webhook_stats(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        since: Timestamp,
    ) -> Result<WebhookStats, StoreError> {
        self.cluster
            .store
            .webhook_stats(workspace, webhook, since)
            .await
    }
    async fn webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
    ) -> Result<Option<Webhook>, StoreError> {
        self.cluster.store.webhook(workspace, id).await
    }
    async fn webhooks(
        &self,
        workspace: WorkspaceId,
        page: Page<WebhookId>,
    ) -> Result<Vec<Webhook>, StoreError> {
        self.cluster.store.webhooks(workspace, page).await
    }
    async fn all_webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        self.cluster.store.all_webhooks().await
    }
    async fn bury_orphans(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.cluster.store.bury_orphans(now, limit).await
    }
    async fn create_replay(&self, replay: Replay) -> Result<Replay, StoreError> {
        self.cluster.store.create_replay(replay).await
    }
    async fn replay(
        &self,
        workspace: WorkspaceId,
        id: ReplayId,
    ) -> Result<Option<Replay>, StoreError> {
        self.cluster.store.replay(workspace, id).await
    }
    async fn replays(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        page: Page<ReplayId>,
    ) -> Result<Vec<Replay>, StoreError> {
        self.cluster.store.replays(workspace, webhook, page).await
    }
    async fn running_replays(&self) -> Result<Vec<Replay>, StoreError> {
        self.cluster.store.running_replays().await
    }
    async fn replay_candidates(
        &self,
        replay: &Replay,
        limit: usize,
    ) -> Result<ReplayBatch, StoreError> {
        self.cluster.store.replay_candidates(replay, limit).await
    }
    async fn advance_replay(
        &self,
        replay: &Replay,
        batch: ReplayBatch,
        deliveries: Vec<NewDelivery>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.cluster
            .store
            .advance_replay(replay, batch, deliveries, now)
            .await
    }
    async fn event_types(
        &self,
        workspace: WorkspaceId,
    ) -> Result<Vec<CustomEventType>, StoreError> {
        self.cluster.store.event_types(workspace).await
    }
    async fn all_event_types(&self) -> Result<Vec<CustomEventType>, StoreError> {
        self.cluster.store.all_event_types().await
    }
    async fn user_count(&self) -> Result<u64, StoreError> {
        self.cluster.store.user_count().await
    }
    async fn user_by_login(&self, login: &str) -> Result<Option<User>, StoreError> {
        self.cluster.store.user_by_login(login).await
    }
    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.cluster.store.user(id).await
    }
    async fn members(&self, workspace: WorkspaceId) -> Result<Vec<(User, Membership)>, StoreError> {
        self.cluster.store.members(workspace).await
    }
    async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        self.cluster.store.memberships(user).await
    }
    async fn create_workspace(&self, name: &str, now: Timestamp) -> Result<Workspace, StoreError> {
        self.cluster.store.create_workspace(name, now).await
    }
    async fn workspaces(&self) -> Result<Vec<Workspace>, StoreError> {
        self.cluster.store.workspaces().await
    }
    async fn api_key_by_hash(&self, hash: [u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        self.cluster.store.api_key_by_hash(hash).await
    }
    async fn api_keys(&self, workspace: WorkspaceId) -> Result<Vec<ApiKey>, StoreError> {
        self.cluster.store.api_keys(workspace).await
    }
    async fn kept_answer(
        &self,
        workspace: WorkspaceId,
        key: &str,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        self.cluster.store.kept_answer(workspace, key).await
    }
    async fn keep_answer(
        &self,
        workspace: WorkspaceId,
        key: &str,
        answer: KeptAnswer,
    ) -> Result<bool, StoreError> {
        self.cluster.store.keep_answer(workspace, key, answer).await
    }
    async fn prune(
        &self,
        before: Timestamp,
        keys_before: Timestamp,
        limit: usize,
    ) -> Result<Pruned, StoreError> {
        self.cluster.store.prune(before, keys_before, limit).await
    }
    async fn queue_depth(&self) -> Result<QueueDepth, StoreError> {
        self.cluster.store.queue_depth().await
    }
    async fn facts(&self) -> Result<StoreFacts, StoreError> {
        self.cluster.store.facts().await
    }
}
