//! A pipeline over a real store (testkit says which), with a clock that stands still.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod cluster;
mod runs;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use delivery::{
    Edge, Pipeline, Settings,
    accept::{Publish, Receipt},
    webhooks::WebhookInput,
};
use domain::{
    Timestamp, WebhookId, WorkspaceId,
    delivery::{Delivery, DeliveryState},
    event::EventType,
    seal::SealingKey,
    webhook::Webhook,
};
use egress::{AddressPolicy, Egress, EgressConfig};
use store::{DeliveryFilter, DeliveryRow, Page, SharedStore};
use testkit::{FakeClock, TestStore};

pub const WS: WorkspaceId = WorkspaceId::DEFAULT;

pub struct Rig {
    pub pipeline: Pipeline,
    pub clock: Arc<FakeClock>,
    place: Arc<TestStore>,
    settings: Settings,
    seed: u64,
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let clock = FakeClock::at(Timestamp::parse("2026-03-01T12:00:00Z").unwrap());
        let rig = Self::open(clock, Arc::new(TestStore::chosen()), settings, 1).await;
        // A node has to count the others before it sends, if only to find that it is alone.
        rig.idle().await;
        rig
    }

    async fn open(
        clock: Arc<FakeClock>,
        place: Arc<TestStore>,
        settings: Settings,
        seed: u64,
    ) -> Self {
        let store = place.open(Timestamp::from_ms(0)).await;
        let edge = testkit::edge(&clock, seed);
        Self::over(store, edge, clock, place, settings, seed).await
    }

    /// A pipeline over `store`.
    pub async fn over(
        store: SharedStore,
        edge: Edge,
        clock: Arc<FakeClock>,
        place: Arc<TestStore>,
        settings: Settings,
        seed: u64,
    ) -> Self {
        let pipeline = Pipeline::load(
            store,
            Egress::new(EgressConfig {
                policy: AddressPolicy::public_only().allow_loopback(true),
                ..EgressConfig::default()
            }),
            edge,
            SealingKey::new([7; 32]),
            settings.clone(),
        )
        .await
        .unwrap();
        Self {
            pipeline,
            clock,
            place,
            settings,
            seed,
        }
    }

    /// Closes everything and opens it again, as a restart does.
    pub async fn restart(self) -> Self {
        let Self {
            pipeline,
            clock,
            place,
            settings,
            seed,
        } = self;
        pipeline.drain(Duration::from_secs(5)).await;
        pipeline.store().close().await;
        drop(pipeline);
        // Ids start anew with the seed: let the clock tell them apart.
        clock.advance(Duration::from_millis(5));
        Self::open(clock, place, settings, seed + 1).await
    }

    pub async fn webhook(
        &self,
        url: &str,
        events: &[&str],
        more: impl FnOnce(&mut WebhookInput),
    ) -> Webhook {
        let mut input = WebhookInput {
            target_url: Some(url.to_owned()),
            events: Some(events.iter().map(|event| (*event).to_owned()).collect()),
            ..WebhookInput::default()
        };
        more(&mut input);
        self.pipeline
            .create_webhook(WS, input)
            .await
            .unwrap()
            .webhook
    }

    pub async fn publish(&self, event: &str, data: &str) -> Receipt {
        self.pipeline
            .accept(WS, publish(event, data))
            .await
            .unwrap()
    }

    pub async fn idle(&self) {
        tokio::time::timeout(Duration::from_secs(30), self.pipeline.run_until_idle())
            .await
            .expect("the pipeline comes to rest")
            .unwrap();
    }

    /// Moves the clock and runs what has fallen due.
    pub async fn pass(&self, span: Duration) {
        self.clock.advance(span);
        self.idle().await;
    }

    pub async fn deliveries(&self, webhook: WebhookId) -> Vec<DeliveryRow> {
        let filter = DeliveryFilter {
            webhook: Some(webhook),
            ..DeliveryFilter::default()
        };
        let mut all = self
            .pipeline
            .store()
            .deliveries(
                WS,
                filter,
                Page {
                    after: None,
                    limit: 250,
                },
            )
            .await
            .unwrap();
        all.reverse();
        all
    }

    pub async fn only_delivery(&self, webhook: WebhookId) -> Delivery {
        let all = self.deliveries(webhook).await;
        assert_eq!(all.len(), 1);
        all[0].delivery.clone()
    }

    pub async fn states(&self, webhook: WebhookId) -> Vec<DeliveryState> {
        self.deliveries(webhook)
            .await
            .into_iter()
            .map(|row| row.delivery.state)
            .collect()
    }

    pub async fn read_webhook(&self, id: WebhookId) -> Webhook {
        self.pipeline
            .store()
            .webhook(WS, id)
            .await
            .unwrap()
            .unwrap()
    }
}

pub fn publish(event: &str, data: &str) -> Publish {
    Publish {
        event_type: EventType::parse(event).unwrap(),
        data: Bytes::from(data.to_owned()),
        id: None,
        timestamp: None,
        hops: 0,
        idempotency_key: None,
    }
}

pub const MINUTE: Duration = Duration::from_mins(1);
pub const HOUR: Duration = Duration::from_hours(1);
