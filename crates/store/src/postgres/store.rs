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
use tokio::sync::broadcast;

use super::PostgresStore;
use crate::{
    Accepted, Announcement, Changes, Claim, Claimed, CustomEventType, DeliveryFilter, DeliveryRow,
    Due, EventFilter, FinishAttempt, Finished, Hint, KeptAnswer, Lease, NewDelivery, NewEvent,
    Node, Page, Pruned, QueueDepth, ReplayBatch, Retried, Store, StoreError, StoreFacts,
    WebhookStats,
};

#[async_trait]
impl Store for PostgresStore {
    fn lease(&self) -> Lease {
        unimplemented!()
    }

    fn holds(&self, lease: Lease) -> bool {
        unimplemented!()
    }

    fn is_shared(&self) -> bool {
        unimplemented!()
    }

    async fn announce(&self, about: Announcement) -> Result<(), StoreError> {
        unimplemented!()
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        unimplemented!()
    }

    async fn changes(&self, _after: Option<u64>) -> Result<Changes, StoreError> {
        unimplemented!()
    }

    async fn leave_notes(&self, _notes: Vec<String>) -> Result<(), StoreError> {
        unimplemented!()
    }

    async fn notes(&self) -> Result<Vec<String>, StoreError> {
        unimplemented!()
    }

    fn hint(&self, _hint: Hint) {}

    fn hints(&self) -> broadcast::Receiver<Hint> {
        unimplemented!()
    }

    async fn sealed_with(&self, fingerprint: Option<&str>) -> Result<Option<String>, StoreError> {
        unimplemented!()
    }

    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Accepted>, StoreError> {
        unimplemented!()
    }

    async fn event(
        &self,
        workspace: WorkspaceId,
        key: EventKey,
    ) -> Result<Option<Event>, StoreError> {
        unimplemented!()
    }

    async fn event_by_id(
        &self,
        workspace: WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError> {
        unimplemented!()
    }

    async fn events(
        &self,
        workspace: WorkspaceId,
        filter: EventFilter,
        page: Page<EventKey>,
    ) -> Result<Vec<Event>, StoreError> {
        unimplemented!()
    }

    async fn finish_attempt(&self, finish: FinishAttempt) -> Result<Finished, StoreError> {
        unimplemented!()
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError> {
        unimplemented!()
    }

    async fn release(
        &self,
        deliveries: Vec<(WorkspaceId, DeliveryId, Lease)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }

    async fn due(
        &self,
        after: Option<(WorkspaceId, WebhookId)>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        unimplemented!()
    }

    async fn next_due(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
    ) -> Result<Option<Timestamp>, StoreError> {
        unimplemented!()
    }

    async fn retry(
        &self,
        workspace: WorkspaceId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Result<Retried, StoreError> {
        unimplemented!()
    }

    async fn delivery(
        &self,
        workspace: WorkspaceId,
        id: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        unimplemented!()
    }

    async fn deliveries(
        &self,
        workspace: WorkspaceId,
        filter: DeliveryFilter,
        page: Page<DeliveryId>,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        unimplemented!()
    }

    async fn attempts(
        &self,
        workspace: WorkspaceId,
        delivery: DeliveryId,
    ) -> Result<Vec<Attempt>, StoreError> {
        unimplemented!()
    }

    async fn webhook_stats(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        since: Timestamp,
    ) -> Result<WebhookStats, StoreError> {
        unimplemented!()
    }

    async fn create_webhook(&self, webhook: Webhook) -> Result<(), StoreError> {
        unimplemented!()
    }

    async fn update_webhook(
        &self,
        webhook: Webhook,
        expected: Timestamp,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }

    async fn disable_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        reason: DisabledReason,
        now: Timestamp,
        event: NewEvent,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }

    async fn delete_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }

    async fn webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
    ) -> Result<Option<Webhook>, StoreError> {
        unimplemented!()
    }

    async fn webhooks(
        &self,
        workspace: WorkspaceId,
        page: Page<WebhookId>,
    ) -> Result<Vec<Webhook>, StoreError> {
        unimplemented!()
    }

    async fn all_webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        unimplemented!()
    }

    async fn bury_orphans(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        unimplemented!()
    }

    async fn create_replay(&self, mut replay: Replay) -> Result<Replay, StoreError> {
        unimplemented!()
    }

    async fn replay(
        &self,
        workspace: WorkspaceId,
        id: ReplayId,
    ) -> Result<Option<Replay>, StoreError> {
        unimplemented!()
    }

    async fn replays(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        page: Page<ReplayId>,
    ) -> Result<Vec<Replay>, StoreError> {
        unimplemented!()
    }

    async fn running_replays(&self) -> Result<Vec<Replay>, StoreError> {
        unimplemented!()
    }

    async fn replay_candidates(
        &self,
        replay: &Replay,
        limit: usize,
    ) -> Result<ReplayBatch, StoreError> {
        unimplemented!()
    }

    async fn advance_replay(
        &self,
        replay: &Replay,
        batch: ReplayBatch,
        deliveries: Vec<NewDelivery>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }

    async fn create_event_type(&self, event_type: CustomEventType) -> Result<bool, StoreError> {
        unimplemented!()
    }

    async fn update_event_type(&self, event_type: CustomEventType) -> Result<bool, StoreError> {
        unimplemented!()
    }

    async fn delete_event_type(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }

    async fn event_types(
        &self,
        workspace: WorkspaceId,
    ) -> Result<Vec<CustomEventType>, StoreError> {
        unimplemented!()
    }

    async fn all_event_types(&self) -> Result<Vec<CustomEventType>, StoreError> {
        unimplemented!()
    }

    async fn user_count(&self) -> Result<u64, StoreError> {
        unimplemented!()
    }

    async fn create_user(&self, user: User, membership: Membership) -> Result<bool, StoreError> {
        unimplemented!()
    }

    async fn set_password(&self, user: UserId, password_hash: &str) -> Result<bool, StoreError> {
        unimplemented!()
    }

    async fn delete_user(&self, user: UserId) -> Result<bool, StoreError> {
        unimplemented!()
    }

    async fn user_by_login(&self, login: &str) -> Result<Option<User>, StoreError> {
        unimplemented!()
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        unimplemented!()
    }

    async fn members(&self, workspace: WorkspaceId) -> Result<Vec<(User, Membership)>, StoreError> {
        unimplemented!()
    }

    async fn set_role(
        &self,
        user: UserId,
        workspace: WorkspaceId,
        role: Option<Role>,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }

    async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        unimplemented!()
    }

    async fn create_workspace(&self, name: &str, now: Timestamp) -> Result<Workspace, StoreError> {
        unimplemented!()
    }

    async fn workspaces(&self) -> Result<Vec<Workspace>, StoreError> {
        unimplemented!()
    }

    async fn create_api_key(&self, key: ApiKey) -> Result<(), StoreError> {
        unimplemented!()
    }

    async fn api_key_by_hash(&self, hash: [u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        unimplemented!()
    }

    async fn api_keys(&self, workspace: WorkspaceId) -> Result<Vec<ApiKey>, StoreError> {
        unimplemented!()
    }

    async fn revoke_api_key(
        &self,
        workspace: WorkspaceId,
        id: ApiKeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }

    async fn kept_answer(
        &self,
        workspace: WorkspaceId,
        key: &str,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        unimplemented!()
    }

    async fn keep_answer(
        &self,
        workspace: WorkspaceId,
        key: &str,
        answer: KeptAnswer,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }

    async fn prune(
        &self,
        before: Timestamp,
        keys_before: Timestamp,
        limit: usize,
    ) -> Result<Pruned, StoreError> {
        unimplemented!()
    }

    async fn queue_depth(&self) -> Result<QueueDepth, StoreError> {
        unimplemented!()
    }

    async fn facts(&self) -> Result<StoreFacts, StoreError> {
        unimplemented!()
    }

    async fn close(&self) {
        unimplemented!()
    }
}
