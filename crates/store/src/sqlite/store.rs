//! The trait, method by method: look-ups go to the readers, transitions to the writer.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use domain::{
    ApiKeyId, DeliveryId, EventId, EventKey, ReplayId, Timestamp, UserId, WebhookId, WorkspaceId,
    access::{ApiKey, Membership, Role, User, Workspace},
    attempt::Attempt,
    delivery::Delivery,
    event::Event,
    replay::Replay,
    webhook::{DisabledReason, Webhook},
};
use rusqlite::Connection;
use tokio::sync::broadcast;

use super::{
    SqliteStore, access, answers, attempts, deliveries, due, event_types, events, installation,
    replays, retention, row::count, stats, webhooks, writer::Batch,
};
use crate::{
    Accepted, Announcement, Changes, Claim, Claimed, CustomEventType, DeliveryFilter, DeliveryRow,
    Due, EventFilter, FinishAttempt, Finished, Hint, KeptAnswer, Lease, NewDelivery, NewEvent,
    Node, Page, Pruned, QueueDepth, ReplayBatch, Retried, Store, StoreError, StoreFacts,
    WebhookStats, records::WebhookRecord,
};

impl SqliteStore {
    pub(super) async fn read<T, F>(&self, look_up: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.readers.read(look_up).await
    }

    pub(super) async fn apply<T, F>(&self, apply: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Batch<'_, '_>) -> Result<T, StoreError> + Send + 'static,
    {
        match &self.writer {
            Some(writer) if !writer.shared.is_closed() => writer.apply(apply).await,
            _ => Err(StoreError::Closed),
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn lease(&self) -> Lease {
        Lease(self.epoch)
    }

    fn holds(&self, lease: Lease) -> bool {
        lease.0 == self.epoch
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn announce(&self, about: Announcement) -> Result<(), StoreError> {
        self.node.lock().about = about;
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        Ok(vec![self.node.lock().clone()])
    }

    async fn changes(&self, _after: Option<u64>) -> Result<Changes, StoreError> {
        Ok(Changes {
            to: 0,
            what: Some(Vec::new()),
        })
    }

    async fn leave_notes(&self, _notes: Vec<String>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn notes(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn hint(&self, _hint: Hint) {}

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    async fn sealed_with(&self, fingerprint: Option<&str>) -> Result<Option<String>, StoreError> {
        if let Some(fingerprint) = fingerprint {
            let fingerprint = fingerprint.to_owned();
            self.apply(move |batch| installation::record_key(batch, &fingerprint))
                .await?;
        }
        self.read(installation::key_fingerprint).await
    }

    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Accepted>, StoreError> {
        self.apply(move |batch| events::accept(batch, &events))
            .await
    }

    async fn event(
        &self,
        workspace: WorkspaceId,
        key: EventKey,
    ) -> Result<Option<Event>, StoreError> {
        self.read(move |conn| events::by_key(conn, workspace, key))
            .await
    }

    async fn event_by_id(
        &self,
        workspace: WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError> {
        let id = id.clone();
        self.read(move |conn| events::by_id(conn, workspace, &id))
            .await
    }

    async fn events(
        &self,
        workspace: WorkspaceId,
        filter: EventFilter,
        page: Page<EventKey>,
    ) -> Result<Vec<Event>, StoreError> {
        self.read(move |conn| events::list(conn, workspace, &filter, page))
            .await
    }

    async fn finish_attempt(&self, finish: FinishAttempt) -> Result<Finished, StoreError> {
        self.apply(move |batch| attempts::finish(batch, &finish))
            .await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError> {
        self.apply(move |batch| due::claim(batch, &claim)).await
    }

    async fn release(
        &self,
        deliveries: Vec<(WorkspaceId, DeliveryId, Lease)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.apply(move |batch| due::release(batch, &deliveries, now))
            .await
    }

    async fn due(
        &self,
        after: Option<(WorkspaceId, WebhookId)>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let epoch = self.epoch;
        self.read(move |conn| due::due(conn, epoch, after, limit))
            .await
    }

    async fn next_due(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
    ) -> Result<Option<Timestamp>, StoreError> {
        let epoch = self.epoch;
        self.read(move |conn| due::next_due(conn, epoch, workspace, webhook))
            .await
    }

    async fn retry(
        &self,
        workspace: WorkspaceId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Result<Retried, StoreError> {
        self.apply(move |batch| deliveries::retry(batch, workspace, delivery, now))
            .await
    }

    async fn delivery(
        &self,
        workspace: WorkspaceId,
        id: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        self.read(move |conn| deliveries::by_id(conn, workspace, id))
            .await
    }

    async fn deliveries(
        &self,
        workspace: WorkspaceId,
        filter: DeliveryFilter,
        page: Page<DeliveryId>,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        self.read(move |conn| deliveries::list(conn, workspace, &filter, page))
            .await
    }

    async fn attempts(
        &self,
        workspace: WorkspaceId,
        delivery: DeliveryId,
    ) -> Result<Vec<Attempt>, StoreError> {
        self.read(move |conn| attempts::list(conn, workspace, delivery))
            .await
    }

    async fn webhook_stats(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        since: Timestamp,
    ) -> Result<WebhookStats, StoreError> {
        self.read(move |conn| stats::of_webhook(conn, workspace, webhook, since))
            .await
    }

    async fn create_webhook(&self, webhook: Webhook) -> Result<(), StoreError> {
        let record = WebhookRecord::new(webhook)?;
        self.apply(move |batch| webhooks::create(batch, &record))
            .await
    }

    async fn update_webhook(
        &self,
        webhook: Webhook,
        expected: Timestamp,
    ) -> Result<bool, StoreError> {
        let record = WebhookRecord::new(webhook)?;
        self.apply(move |batch| webhooks::update(batch, &record, expected))
            .await
    }

    async fn disable_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        reason: DisabledReason,
        now: Timestamp,
        event: NewEvent,
    ) -> Result<bool, StoreError> {
        self.apply(move |batch| webhooks::disable(batch, workspace, id, reason, now, &event))
            .await
    }

    async fn delete_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.apply(move |batch| webhooks::delete(batch, workspace, id, now))
            .await
    }

    async fn webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
    ) -> Result<Option<Webhook>, StoreError> {
        self.read(move |conn| webhooks::by_id(conn, workspace, id))
            .await
    }

    async fn webhooks(
        &self,
        workspace: WorkspaceId,
        page: Page<WebhookId>,
    ) -> Result<Vec<Webhook>, StoreError> {
        self.read(move |conn| webhooks::list(conn, workspace, page))
            .await
    }

    async fn all_webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        self.read(webhooks::all).await
    }

    async fn bury_orphans(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        // Looking for them is left to a reader: there are seldom any.
        let epoch = self.epoch;
        let orphaned = self
            .read(move |conn| deliveries::orphaned(conn, epoch, limit))
            .await?;
        if orphaned.is_empty() {
            return Ok(0);
        }
        self.apply(move |batch| deliveries::bury(batch, &orphaned, now, limit))
            .await
    }

    async fn create_replay(&self, mut replay: Replay) -> Result<Replay, StoreError> {
        // The count is bounded by the replay's own id, so it stays right until the replay is
        // stored; a long one does not hold up commits here.
        let counted = replay.clone();
        replay.total = self
            .read(move |conn| replays::total(conn, &counted))
            .await?;
        let stored = replay.clone();
        self.apply(move |batch| replays::create(batch, &stored))
            .await?;
        Ok(replay)
    }

    async fn replay(
        &self,
        workspace: WorkspaceId,
        id: ReplayId,
    ) -> Result<Option<Replay>, StoreError> {
        self.read(move |conn| replays::by_id(conn, workspace, id))
            .await
    }

    async fn replays(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        page: Page<ReplayId>,
    ) -> Result<Vec<Replay>, StoreError> {
        self.read(move |conn| replays::list(conn, workspace, webhook, page))
            .await
    }

    async fn running_replays(&self) -> Result<Vec<Replay>, StoreError> {
        self.read(replays::running).await
    }

    async fn replay_candidates(
        &self,
        replay: &Replay,
        limit: usize,
    ) -> Result<ReplayBatch, StoreError> {
        let replay = replay.clone();
        self.read(move |conn| replays::candidates(conn, &replay, limit))
            .await
    }

    async fn advance_replay(
        &self,
        replay: &Replay,
        batch: ReplayBatch,
        deliveries: Vec<NewDelivery>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let replay = replay.clone();
        let step = batch;
        self.apply(move |batch| replays::advance(batch, &replay, &step, &deliveries, now))
            .await
    }

    async fn create_event_type(&self, event_type: CustomEventType) -> Result<bool, StoreError> {
        self.apply(move |batch| event_types::create(batch, &event_type))
            .await
    }

    async fn update_event_type(&self, event_type: CustomEventType) -> Result<bool, StoreError> {
        self.apply(move |batch| event_types::update(batch, &event_type))
            .await
    }

    async fn delete_event_type(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.apply(move |batch| event_types::delete(batch, workspace, &name))
            .await
    }

    async fn event_types(
        &self,
        workspace: WorkspaceId,
    ) -> Result<Vec<CustomEventType>, StoreError> {
        self.read(move |conn| event_types::list(conn, workspace))
            .await
    }

    async fn all_event_types(&self) -> Result<Vec<CustomEventType>, StoreError> {
        self.read(event_types::all).await
    }

    async fn user_count(&self) -> Result<u64, StoreError> {
        self.read(access::user_count).await
    }

    async fn create_user(&self, user: User, membership: Membership) -> Result<bool, StoreError> {
        self.apply(move |batch| access::create_user(batch, &user, &membership))
            .await
    }

    async fn set_password(&self, user: UserId, password_hash: &str) -> Result<bool, StoreError> {
        let hash = password_hash.to_owned();
        self.apply(move |batch| access::set_password(batch, user, &hash))
            .await
    }

    async fn delete_user(&self, user: UserId) -> Result<bool, StoreError> {
        self.apply(move |batch| access::delete_user(batch, user))
            .await
    }

    async fn user_by_login(&self, login: &str) -> Result<Option<User>, StoreError> {
        let login = login.to_owned();
        self.read(move |conn| access::user_by_login(conn, &login))
            .await
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.read(move |conn| access::user(conn, id)).await
    }

    async fn members(&self, workspace: WorkspaceId) -> Result<Vec<(User, Membership)>, StoreError> {
        self.read(move |conn| access::members(conn, workspace))
            .await
    }

    async fn set_role(
        &self,
        user: UserId,
        workspace: WorkspaceId,
        role: Option<Role>,
    ) -> Result<(), StoreError> {
        self.apply(move |batch| access::set_role(batch, user, workspace, role))
            .await
    }

    async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        self.read(move |conn| access::memberships(conn, user)).await
    }

    async fn create_workspace(&self, name: &str, now: Timestamp) -> Result<Workspace, StoreError> {
        let name = name.to_owned();
        self.apply(move |batch| access::create_workspace(batch, &name, now))
            .await
    }

    async fn workspaces(&self) -> Result<Vec<Workspace>, StoreError> {
        self.read(access::workspaces).await
    }

    async fn create_api_key(&self, key: ApiKey) -> Result<(), StoreError> {
        self.apply(move |batch| access::create_key(batch, &key))
            .await
    }

    async fn api_key_by_hash(&self, hash: [u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        self.read(move |conn| access::key_by_hash(conn, hash)).await
    }

    async fn api_keys(&self, workspace: WorkspaceId) -> Result<Vec<ApiKey>, StoreError> {
        self.read(move |conn| access::keys(conn, workspace)).await
    }

    async fn revoke_api_key(
        &self,
        workspace: WorkspaceId,
        id: ApiKeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.apply(move |batch| access::revoke_key(batch, workspace, id, now))
            .await
    }

    async fn kept_answer(
        &self,
        workspace: WorkspaceId,
        key: &str,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        let key = key.to_owned();
        self.read(move |conn| answers::find(conn, workspace, &key))
            .await
    }

    async fn keep_answer(
        &self,
        workspace: WorkspaceId,
        key: &str,
        answer: KeptAnswer,
    ) -> Result<bool, StoreError> {
        let key = key.to_owned();
        self.apply(move |batch| answers::keep(batch, workspace, &key, &answer))
            .await
    }

    async fn prune(
        &self,
        before: Timestamp,
        keys_before: Timestamp,
        limit: usize,
    ) -> Result<Pruned, StoreError> {
        self.apply(move |batch| retention::prune(batch, before, keys_before, limit))
            .await
    }

    async fn queue_depth(&self) -> Result<QueueDepth, StoreError> {
        match &self.writer {
            Some(writer) if !writer.shared.is_closed() => Ok(QueueDepth {
                pending: count(writer.shared.pending.load(Ordering::Relaxed)),
                held: count(writer.shared.held.load(Ordering::Relaxed)),
            }),
            _ => Err(StoreError::Closed),
        }
    }

    async fn facts(&self) -> Result<StoreFacts, StoreError> {
        let path = self.path.clone();
        self.read(move |_| Ok(stats::facts(&path))).await
    }

    async fn close(&self) {
        self.readers.close().await;
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
        drop(self.lock.lock().take());
    }
}
