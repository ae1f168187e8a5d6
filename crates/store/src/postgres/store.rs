//! The trait, method by method.

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
use tokio::{sync::broadcast, time::Instant};

use super::{
    PostgresStore, access, answers, attempts, changes, deliveries, due, event_types, events,
    installation, nodes, replays, stats,
    transact::{look, transact},
    webhooks,
};
use crate::{
    Accepted, Announcement, Changes, Claim, Claimed, CustomEventType, DeliveryFilter, DeliveryRow,
    Due, EventFilter, FinishAttempt, Finished, Hint, KeptAnswer, Lease, NewDelivery, NewEvent,
    Node, Page, Pruned, QueueDepth, ReplayBatch, Retried, Store, StoreError, StoreFacts,
    WebhookStats, columns::id_ms, records::WebhookRecord,
};

impl PostgresStore {
    /// Tells the other nodes that something they keep in memory was changed, if it was.
    pub(super) fn tell_of_change(&self, changed: bool) {
        if changed {
            self.hints.send(Hint::Changes);
        }
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn lease(&self) -> Lease {
        self.lease.current()
    }

    fn holds(&self, lease: Lease) -> bool {
        self.lease.holds(lease)
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn announce(&self, about: Announcement) -> Result<(), StoreError> {
        self.lease.announce(about).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        let own = self.lease.current();
        look!(self, |conn| nodes::list(conn, own))
    }

    async fn changes(&self, after: Option<u64>) -> Result<Changes, StoreError> {
        look!(self, |conn| changes::since(conn, after))
    }

    async fn leave_notes(&self, notes: Vec<String>) -> Result<(), StoreError> {
        self.notes
            .leave(&self.link, self.lease.current(), &notes)
            .await
    }

    async fn notes(&self) -> Result<Vec<String>, StoreError> {
        self.notes.read(&self.link, self.lease.current()).await
    }

    fn hint(&self, hint: Hint) {
        self.hints.send(hint);
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    async fn sealed_with(&self, fingerprint: Option<&str>) -> Result<Option<String>, StoreError> {
        installation::sealed_with(&self.link, fingerprint).await
    }

    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Accepted>, StoreError> {
        self.writers.accept(events).await
    }

    async fn event(
        &self,
        workspace: WorkspaceId,
        key: EventKey,
    ) -> Result<Option<Event>, StoreError> {
        look!(self, |conn| events::by_key(conn, workspace, key))
    }

    async fn event_by_id(
        &self,
        workspace: WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError> {
        look!(self, |conn| events::by_id(conn, workspace, id))
    }

    async fn events(
        &self,
        workspace: WorkspaceId,
        filter: EventFilter,
        page: Page<EventKey>,
    ) -> Result<Vec<Event>, StoreError> {
        look!(self, |conn| events::list(conn, workspace, &filter, page))
    }

    async fn finish_attempt(&self, finish: FinishAttempt) -> Result<Finished, StoreError> {
        self.writers.finish(finish).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError> {
        due::claim(&self.link, &self.lease, claim).await
    }

    async fn release(
        &self,
        deliveries: Vec<(WorkspaceId, DeliveryId, Lease)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        transact!(self, |tx| due::release(tx, &deliveries, now))
    }

    async fn due(
        &self,
        after: Option<(WorkspaceId, WebhookId)>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        look!(self, |conn| due::due(conn, after, limit))
    }

    async fn next_due(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
    ) -> Result<Option<Timestamp>, StoreError> {
        look!(self, |conn| due::next_due(conn, workspace, webhook))
    }

    async fn retry(
        &self,
        workspace: WorkspaceId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Result<Retried, StoreError> {
        transact!(self, |tx| deliveries::retry(tx, workspace, delivery, now))
    }

    async fn delivery(
        &self,
        workspace: WorkspaceId,
        id: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        look!(self, |conn| deliveries::by_id(conn, workspace, id))
    }

    async fn deliveries(
        &self,
        workspace: WorkspaceId,
        filter: DeliveryFilter,
        page: Page<DeliveryId>,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        look!(self, |conn| deliveries::list(
            conn, workspace, &filter, page
        ))
    }

    async fn attempts(
        &self,
        workspace: WorkspaceId,
        delivery: DeliveryId,
    ) -> Result<Vec<Attempt>, StoreError> {
        look!(self, |conn| attempts::list(conn, workspace, delivery))
    }

    async fn webhook_stats(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        since: Timestamp,
    ) -> Result<WebhookStats, StoreError> {
        look!(self, |conn| stats::of_webhook(
            conn, workspace, webhook, since
        ))
    }

    async fn create_webhook(&self, webhook: Webhook) -> Result<(), StoreError> {
        let record = WebhookRecord::new(webhook)?;
        transact!(self, |tx| webhooks::create(tx, &record))?;
        self.tell_of_change(true);
        Ok(())
    }

    async fn update_webhook(
        &self,
        webhook: Webhook,
        expected: Timestamp,
    ) -> Result<bool, StoreError> {
        let record = WebhookRecord::new(webhook)?;
        let made = transact!(self, |tx| webhooks::update(tx, &record, expected))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn disable_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        reason: DisabledReason,
        now: Timestamp,
        event: NewEvent,
    ) -> Result<bool, StoreError> {
        let made_ms = id_ms(event.event.key.uuid());
        self.partitions.cover(made_ms, made_ms).await?;
        let made = transact!(self, |tx| webhooks::disable(
            tx, workspace, id, reason, now, &event
        ))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn delete_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let made = transact!(self, |tx| webhooks::delete(tx, workspace, id, now))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
    ) -> Result<Option<Webhook>, StoreError> {
        look!(self, |conn| webhooks::by_id(conn, workspace, id))
    }

    async fn webhooks(
        &self,
        workspace: WorkspaceId,
        page: Page<WebhookId>,
    ) -> Result<Vec<Webhook>, StoreError> {
        look!(self, |conn| webhooks::list(conn, workspace, page))
    }

    async fn all_webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        look!(self, |conn| webhooks::all(conn))
    }

    async fn bury_orphans(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        // Most of the time there are none.
        let orphaned = look!(self, |conn| deliveries::orphaned(conn, limit))?;
        if orphaned.is_empty() {
            return Ok(0);
        }
        transact!(self, |tx| deliveries::bury(tx, &orphaned, now, limit))
    }

    async fn create_replay(&self, mut replay: Replay) -> Result<Replay, StoreError> {
        // The count is bounded by the replay's own id, so it stays right until the replay is
        // stored; a long one keeps no transaction open.
        replay.total = look!(self, |conn| replays::total(conn, &replay))?;
        transact!(self, |tx| replays::create(tx, &replay))?;
        Ok(replay)
    }

    async fn replay(
        &self,
        workspace: WorkspaceId,
        id: ReplayId,
    ) -> Result<Option<Replay>, StoreError> {
        look!(self, |conn| replays::by_id(conn, workspace, id))
    }

    async fn replays(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        page: Page<ReplayId>,
    ) -> Result<Vec<Replay>, StoreError> {
        look!(self, |conn| replays::list(conn, workspace, webhook, page))
    }

    async fn running_replays(&self) -> Result<Vec<Replay>, StoreError> {
        look!(self, |conn| replays::running(conn))
    }

    async fn replay_candidates(
        &self,
        replay: &Replay,
        limit: usize,
    ) -> Result<ReplayBatch, StoreError> {
        look!(self, |conn| replays::candidates(conn, replay, limit))
    }

    async fn advance_replay(
        &self,
        replay: &Replay,
        batch: ReplayBatch,
        deliveries: Vec<NewDelivery>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        transact!(self, |tx| replays::advance(
            tx,
            replay,
            &batch,
            &deliveries,
            now
        ))
    }

    async fn create_event_type(&self, event_type: CustomEventType) -> Result<bool, StoreError> {
        let made = transact!(self, |tx| event_types::create(tx, &event_type))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn update_event_type(&self, event_type: CustomEventType) -> Result<bool, StoreError> {
        let made = transact!(self, |tx| event_types::update(tx, &event_type))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn delete_event_type(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<bool, StoreError> {
        let made = transact!(self, |tx| event_types::delete(tx, workspace, name))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn event_types(
        &self,
        workspace: WorkspaceId,
    ) -> Result<Vec<CustomEventType>, StoreError> {
        look!(self, |conn| event_types::list(conn, workspace))
    }

    async fn all_event_types(&self) -> Result<Vec<CustomEventType>, StoreError> {
        look!(self, |conn| event_types::all(conn))
    }

    async fn user_count(&self) -> Result<u64, StoreError> {
        look!(self, |conn| access::user_count(conn))
    }

    async fn create_user(&self, user: User, membership: Membership) -> Result<bool, StoreError> {
        let made = transact!(self, |tx| access::create_user(tx, &user, &membership))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn set_password(&self, user: UserId, password_hash: &str) -> Result<bool, StoreError> {
        let made = transact!(self, |tx| access::set_password(tx, user, password_hash))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn delete_user(&self, user: UserId) -> Result<bool, StoreError> {
        let made = transact!(self, |tx| access::delete_user(tx, user))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn user_by_login(&self, login: &str) -> Result<Option<User>, StoreError> {
        look!(self, |conn| access::user_by_login(conn, login))
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        look!(self, |conn| access::user(conn, id))
    }

    async fn members(&self, workspace: WorkspaceId) -> Result<Vec<(User, Membership)>, StoreError> {
        look!(self, |conn| access::members(conn, workspace))
    }

    async fn set_role(
        &self,
        user: UserId,
        workspace: WorkspaceId,
        role: Option<Role>,
    ) -> Result<(), StoreError> {
        transact!(self, |tx| access::set_role(tx, user, workspace, role))?;
        self.tell_of_change(true);
        Ok(())
    }

    async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        look!(self, |conn| access::memberships(conn, user))
    }

    async fn create_workspace(&self, name: &str, now: Timestamp) -> Result<Workspace, StoreError> {
        transact!(self, |tx| access::create_workspace(tx, name, now))
    }

    async fn workspaces(&self) -> Result<Vec<Workspace>, StoreError> {
        look!(self, |conn| access::workspaces(conn))
    }

    async fn create_api_key(&self, key: ApiKey) -> Result<(), StoreError> {
        transact!(self, |tx| access::create_key(tx, &key))
    }

    async fn api_key_by_hash(&self, hash: [u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        look!(self, |conn| access::key_by_hash(conn, hash))
    }

    async fn api_keys(&self, workspace: WorkspaceId) -> Result<Vec<ApiKey>, StoreError> {
        look!(self, |conn| access::keys(conn, workspace))
    }

    async fn revoke_api_key(
        &self,
        workspace: WorkspaceId,
        id: ApiKeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let made = transact!(self, |tx| access::revoke_key(tx, workspace, id, now))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn kept_answer(
        &self,
        workspace: WorkspaceId,
        key: &str,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        look!(self, |conn| answers::find(conn, workspace, key))
    }

    async fn keep_answer(
        &self,
        workspace: WorkspaceId,
        key: &str,
        answer: KeptAnswer,
    ) -> Result<bool, StoreError> {
        transact!(self, |tx| answers::keep(tx, workspace, key, &answer))
    }

    async fn prune(
        &self,
        before: Timestamp,
        keys_before: Timestamp,
        limit: usize,
    ) -> Result<Pruned, StoreError> {
        self.retention
            .prune(&self.link, &self.partitions, before, keys_before, limit)
            .await
    }

    async fn queue_depth(&self) -> Result<QueueDepth, StoreError> {
        // One count at a time; who waits for it is told the same.
        let mut depth = self.depth.lock().await;
        if let Some(known) = depth.as_ref().filter(|known| known.is_fresh()) {
            return Ok(known.depth);
        }
        let began = Instant::now();
        let lease = self.lease.current();
        let counted = look!(self, |conn| stats::queue_depth(conn, lease))?;
        *depth = Some(stats::KnownDepth::new(counted, began));
        Ok(counted)
    }

    async fn facts(&self) -> Result<StoreFacts, StoreError> {
        look!(self, |conn| stats::facts(conn))
    }

    async fn close(&self) {
        if self.link.is_closed() {
            return;
        }
        self.writers.close().await;
        self.lease.release().await;
        self.hints.stop();
        self.link.close();
    }
}
