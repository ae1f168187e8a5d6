//! A webhook's statistics.

use domain::delivery::Next;

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE},
};
use crate::WebhookStats;

/// By state, and attempts by their success.
pub async fn deliveries_and_attempts_are_counted(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let webhook = test.webhook_id();
    let begin = test.now();
    assert_eq!(
        test.store
            .webhook_stats(HOME, webhook, begin)
            .await
            .unwrap(),
        WebhookStats::default()
    );
    for duration in [100, 200, 300] {
        let id = test.held_to(webhook).await;
        let mut finish = test.finish(id, webhook, 1, Next::Delivered);
        finish.attempt.duration_us = duration;
        test.store.finish_attempt(finish).await.unwrap();
    }
    test.dead_to(webhook).await;
    let retried = test.held_to(webhook).await;
    test.record(retried, webhook, 1, Next::RetryAt(test.later(MINUTE)))
        .await;
    test.deliver_to(webhook).await;
    test.dead_to(test.webhook_id()).await;
    let expected = WebhookStats {
        pending: 2,
        delivered: 3,
        dead: 1,
        attempts: 5,
        attempts_failed: 2,
        duration_us_p50: Some(300),
        duration_us_p95: Some(1_500),
    };
    assert_eq!(
        test.store
            .webhook_stats(HOME, webhook, begin)
            .await
            .unwrap(),
        expected
    );
    assert_eq!(
        test.store
            .webhook_stats(elsewhere, webhook, begin)
            .await
            .unwrap(),
        WebhookStats::default()
    );
    let test = test.restart().await;
    assert_eq!(
        test.store
            .webhook_stats(HOME, webhook, begin)
            .await
            .unwrap(),
        expected
    );
}

/// Deliveries by when they were made, attempts by when they began.
pub async fn counts_begin_at_a_time(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let begin = test.now();
    test.deliver_to(webhook).await;
    test.dead_to(webhook).await;
    test.pass(60 * MINUTE);
    let since = test.now();
    let old = test.claim(webhook, 1).await[0].delivery.id;
    test.record(old, webhook, 1, Next::Delivered).await;
    let id = test.held_to(webhook).await;
    test.record(id, webhook, 1, Next::Delivered).await;
    let stats = test
        .store
        .webhook_stats(HOME, webhook, since)
        .await
        .unwrap();
    assert_eq!((stats.pending, stats.delivered, stats.dead), (0, 1, 0));
    assert_eq!((stats.attempts, stats.attempts_failed), (2, 0));
    let stats = test
        .store
        .webhook_stats(HOME, webhook, begin)
        .await
        .unwrap();
    assert_eq!((stats.pending, stats.delivered, stats.dead), (0, 2, 1));
    assert_eq!((stats.attempts, stats.attempts_failed), (3, 1));
}

/// As pending, no longer as what it was; and what is buried is dead.
pub async fn a_retry_is_counted_anew(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let begin = test.now();
    let states = async || {
        let stats = test
            .store
            .webhook_stats(HOME, webhook, begin)
            .await
            .unwrap();
        (stats.pending, stats.delivered, stats.dead)
    };
    let dead = test.dead_to(webhook).await;
    let delivered = test.held_to(webhook).await;
    test.record(delivered, webhook, 1, Next::Delivered).await;
    assert_eq!(states().await, (0, 1, 1));
    test.store.retry(HOME, dead, test.now()).await.unwrap();
    assert_eq!(states().await, (1, 1, 0));
    test.store.retry(HOME, delivered, test.now()).await.unwrap();
    assert_eq!(states().await, (2, 0, 0));
    test.store.bury_orphans(test.now(), 1).await.unwrap();
    assert_eq!(states().await, (1, 0, 1));
}
