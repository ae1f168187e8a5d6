//! Opening and closing.

use domain::delivery::Next;

use super::{
    Backend,
    fixture::{Fixture, HOME, all},
};
use crate::{DeliveryFilter, EventFilter, QueueDepth, StoreError};

/// What was answered is there.
pub async fn a_restart_keeps_everything(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.create_webhook().await;
    let done = test.held_to(webhook.id).await;
    test.record(done, webhook.id, 1, Next::Delivered).await;
    test.held_to(webhook.id).await;
    test.deliver_to(webhook.id).await;
    let none = DeliveryFilter::default();
    let events = test
        .store
        .events(HOME, EventFilter::default(), all())
        .await
        .unwrap();
    let deliveries = test.store.deliveries(HOME, none, all()).await.unwrap();
    let attempts = test.store.attempts(HOME, done).await.unwrap();
    let workspaces = test.store.workspaces().await.unwrap();
    assert_eq!((events.len(), deliveries.len(), attempts.len()), (3, 3, 1));

    let test = test.restart().await;
    assert_eq!(
        test.store
            .events(HOME, EventFilter::default(), all())
            .await
            .unwrap(),
        events
    );
    assert_eq!(
        test.store.deliveries(HOME, none, all()).await.unwrap(),
        deliveries
    );
    assert_eq!(test.store.attempts(HOME, done).await.unwrap(), attempts);
    assert_eq!(test.store.workspaces().await.unwrap(), workspaces);
    assert_eq!(test.store.all_webhooks().await.unwrap(), [webhook]);
    assert_eq!(
        test.store.queue_depth().await,
        Ok(QueueDepth {
            pending: 2,
            held: 0
        })
    );
}

/// So that an old one is told from the present.
pub async fn leases_grow_with_each_process(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let first = test.lease();
    let test = test.restart().await;
    assert!(test.lease().0 > first.0);
}

/// Transitions and look-ups; closing again does nothing.
pub async fn a_closed_store_refuses(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = test.store.clone();
        let new = test.event(HOME);
        let key = new.event.key;
        calls.spawn(async move { (key, store.accept(vec![new]).await) });
    }
    test.store.close().await;
    test.store.close().await;
    let answers = calls.join_all().await;
    assert_eq!(
        test.store.accept(vec![test.event(HOME)]).await,
        Err(StoreError::Closed)
    );
    assert_eq!(
        test.store.webhooks(HOME, all()).await,
        Err(StoreError::Closed)
    );
    assert_eq!(test.store.queue_depth().await, Err(StoreError::Closed));
    // What was queued in time is stored, and only that.
    let test = test.restart().await;
    for (key, answer) in answers {
        let stored = test.store.event(HOME, key).await.unwrap().is_some();
        assert_eq!(stored, answer.is_ok(), "{answer:?}");
    }
}

/// For `doctor` and metrics.
pub async fn a_store_tells_about_itself(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let facts = test.store.facts().await.unwrap();
    assert!(["sqlite", "postgresql"].contains(&facts.kind));
    assert!(
        facts
            .version
            .starts_with(|first: char| first.is_ascii_digit()),
        "{}",
        facts.version
    );
    assert!(facts.schema_version >= 1);
    assert!(facts.size_bytes > 0);
}
