//! What the cases make their records of: a clock that stands still and ids that count up.

use std::cell::Cell;

use bytes::Bytes;
use domain::{
    DeliveryId, EventId, EventKey, Timestamp, WebhookId, WorkspaceId,
    attempt::{Attempt, ErrorClass},
    delivery::{Delivery, Next},
    event::{Event, EventType},
    webhook::{Sealed, Webhook, WebhookConfig, WebhookSecret, WebhookState},
};
use serde_json::json;
use uuid::Uuid;

use super::Backend;
use crate::{
    Accepted, Claim, Claimed, DeliveryFilter, DeliveryRow, FinishAttempt, Finished, Lease,
    NewDelivery, NewEvent, Page, SharedStore,
};

/// The workspace that every store has.
pub(super) const HOME: WorkspaceId = WorkspaceId::DEFAULT;
/// One minute, in milliseconds.
pub(super) const MINUTE: i64 = 60_000;

/// A store with what is needed to fill it.
pub(super) struct Fixture<'b, B> {
    pub(super) store: SharedStore,
    backend: &'b B,
    now: Cell<i64>,
    made: Cell<u64>,
}

impl<'b, B: Backend> Fixture<'b, B> {
    pub(super) async fn new(backend: &'b B) -> Self {
        Self {
            store: backend.open().await,
            backend,
            // The start of a ten-minute slot, so that a case controls in which slot it counts.
            now: Cell::new(1_767_225_600_000),
            made: Cell::new(0),
        }
    }

    /// As [`Backend::restart`].
    pub(super) async fn restart(self) -> Self {
        Self {
            store: self.backend.restart(self.store).await,
            ..self
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.now.get())
    }

    /// The time `ms` from now.
    pub(super) fn later(&self, ms: i64) -> Timestamp {
        Timestamp::from_ms(self.now.get() + ms)
    }

    /// Up to when events are removed that are to be kept from `before` on, in milliseconds.
    pub(super) fn pruned_up_to(&self, before: Timestamp) -> i64 {
        let span_ms = self.backend.span_ms();
        before.ms().div_euclid(span_ms) * span_ms
    }

    /// Moves the clock on.
    pub(super) fn pass(&self, ms: i64) {
        self.now.set(self.now.get() + ms);
    }

    /// A new id, greater than all before.
    pub(super) fn id(&self) -> Uuid {
        let made = self.made.get() + 1;
        self.made.set(made);
        let ms = u128::try_from(self.now.get()).expect("the clock starts after 1970");
        Uuid::from_u128(ms << 80 | 0x7 << 76 | 0b10 << 62 | u128::from(made))
    }

    pub(super) fn webhook_id(&self) -> WebhookId {
        WebhookId::new(self.id())
    }

    /// An event without deliveries or keys of its own.
    pub(super) fn event(&self, workspace: WorkspaceId) -> NewEvent {
        let key = EventKey::new(self.id());
        NewEvent {
            event: Event {
                workspace,
                key,
                id: EventId::from_key(key),
                event_type: EventType::parse("order.paid").expect("a name"),
                timestamp: self.now(),
                accepted_at: self.now(),
                data: Bytes::from_static(br#"{"total":17}"#),
                hops: 0,
            },
            id_given: false,
            idempotency_key: None,
            deliveries: Vec::new(),
        }
    }

    /// A delivery of `event` that nobody holds.
    pub(super) fn delivery(&self, event: EventKey, webhook: WebhookId) -> NewDelivery {
        NewDelivery {
            id: DeliveryId::new(self.id()),
            event,
            webhook,
            held: false,
            ordered: false,
            replay: None,
        }
    }

    /// An event with one delivery to each webhook that nobody holds.
    pub(super) fn event_to(&self, workspace: WorkspaceId, webhooks: &[WebhookId]) -> NewEvent {
        let mut new = self.event(workspace);
        new.deliveries = webhooks
            .iter()
            .map(|webhook| self.delivery(new.event.key, *webhook))
            .collect();
        new
    }

    /// Stores an event.
    pub(super) async fn accept(&self, new: NewEvent) {
        let answers = self.store.accept(vec![new]).await.expect("accepted");
        assert_eq!(answers, [Accepted::New]);
    }

    /// Stores an event with one delivery that nobody holds.
    pub(super) async fn deliver_to(&self, webhook: WebhookId) -> DeliveryId {
        let new = self.event_to(HOME, &[webhook]);
        let id = new.deliveries[0].id;
        self.accept(new).await;
        id
    }

    /// Stores an event with one delivery that this process holds.
    pub(super) async fn held_to(&self, webhook: WebhookId) -> DeliveryId {
        let mut new = self.event_to(HOME, &[webhook]);
        new.deliveries[0].held = true;
        let id = new.deliveries[0].id;
        self.accept(new).await;
        id
    }

    /// Stores an event with one delivery to a strictly ordered webhook.
    pub(super) async fn in_order_to(&self, webhook: WebhookId, held: bool) -> DeliveryId {
        let mut new = self.event_to(HOME, &[webhook]);
        new.deliveries[0].ordered = true;
        new.deliveries[0].held = held;
        let id = new.deliveries[0].id;
        self.accept(new).await;
        id
    }

    /// Stores a webhook.
    pub(super) async fn create_webhook(&self) -> Webhook {
        let webhook = self.webhook(HOME);
        self.store
            .create_webhook(webhook.clone())
            .await
            .expect("created");
        webhook
    }

    /// An active webhook that is not stored yet.
    pub(super) fn webhook(&self, workspace: WorkspaceId) -> Webhook {
        Webhook {
            workspace,
            id: self.webhook_id(),
            config: config(),
            headers: Some(Sealed(vec![0, 255, 7])),
            secrets: vec![WebhookSecret {
                sealed: Sealed(vec![1, 2, 3]),
                created_at: self.now(),
                expires_at: None,
            }],
            state: WebhookState::Active,
            failing_since: None,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    /// Claims what is due now.
    pub(super) async fn claim(&self, webhook: WebhookId, limit: usize) -> Vec<Claimed> {
        self.claim_as(webhook, false, limit).await
    }

    /// Claims in order.
    pub(super) async fn claim_in_order(&self, webhook: WebhookId, limit: usize) -> Vec<Claimed> {
        self.claim_as(webhook, true, limit).await
    }

    async fn claim_as(&self, webhook: WebhookId, ordered: bool, limit: usize) -> Vec<Claimed> {
        let claim = Claim {
            workspace: HOME,
            webhook,
            ordered,
            now: self.now(),
            limit,
        };
        self.store.claim(claim).await.expect("claimed")
    }

    /// The end of a delivery's attempt under the present lease.
    pub(super) fn finish(
        &self,
        delivery: DeliveryId,
        webhook: WebhookId,
        number: u32,
        next: Next,
    ) -> FinishAttempt {
        FinishAttempt {
            workspace: HOME,
            delivery,
            webhook,
            lease: self.lease(),
            attempt: attempt(number, self.now(), next),
            next,
            failing_since: None,
        }
    }

    /// Records an attempt that must be recorded.
    pub(super) async fn record(
        &self,
        delivery: DeliveryId,
        webhook: WebhookId,
        number: u32,
        next: Next,
    ) {
        let finish = self.finish(delivery, webhook, number, next);
        assert_eq!(
            self.store.finish_attempt(finish).await,
            Ok(Finished::Recorded)
        );
    }

    /// Makes a delivery and has it die at once.
    pub(super) async fn dead_to(&self, webhook: WebhookId) -> DeliveryId {
        let id = self.held_to(webhook).await;
        self.record(id, webhook, 1, Next::Dead).await;
        id
    }

    pub(super) fn lease(&self) -> Lease {
        self.store.lease()
    }

    pub(super) async fn get(&self, id: DeliveryId) -> Delivery {
        self.store
            .delivery(HOME, id)
            .await
            .expect("read")
            .expect("there is one")
    }

    /// Ids of the listed deliveries.
    pub(super) async fn list(&self, filter: DeliveryFilter) -> Vec<DeliveryId> {
        let rows = self
            .store
            .deliveries(HOME, filter, all())
            .await
            .expect("listed");
        rows.iter()
            .map(|row: &DeliveryRow| row.delivery.id)
            .collect()
    }

    /// A second workspace.
    pub(super) async fn elsewhere(&self) -> WorkspaceId {
        self.store
            .create_workspace("elsewhere", self.now())
            .await
            .expect("created")
            .id
    }
}

/// Ids of claimed deliveries, in their order.
pub(super) fn ids(claimed: &[Claimed]) -> Vec<DeliveryId> {
    claimed.iter().map(|claimed| claimed.delivery.id).collect()
}

/// A page that takes everything.
pub(super) const fn all<Id>() -> Page<Id> {
    Page {
        after: None,
        limit: 1_000,
    }
}

/// A configuration as a person would set it.
pub(super) fn config() -> WebhookConfig {
    serde_json::from_value(json!({
        "name": "orders",
        "targetUrl": "https://receiver.example/hook",
        "events": ["order.*"],
        "timeoutMs": 10_000,
        "concurrency": 10,
    }))
    .expect("a configuration")
}

/// The log of an attempt, as its outcome would have it.
pub(super) fn attempt(number: u32, started_at: Timestamp, next: Next) -> Attempt {
    let arrived = next == Next::Delivered;
    Attempt {
        number,
        started_at,
        duration_us: 1_500,
        url: "https://receiver.example/hook".into(),
        status: arrived.then_some(204),
        error: (!arrived).then_some(ErrorClass::Connect),
        error_message: (!arrived).then(|| "connection refused".into()),
        request_headers: "webhook-id: evt_1\n".into(),
        response_headers: String::new(),
        response_body: Bytes::new(),
        response_truncated: false,
        peer: None,
        tls_not_after: None,
    }
}
