//! Sending again: one delivery, one event, a range, everything that failed.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::time::Duration;

use domain::{
    delivery::DeliveryState,
    replay::{ReplayScope, ReplayState},
};
use store::Retried;
use support::{MINUTE, Rig, WS};
use testkit::{Answer, Receiver};

#[tokio::test]
async fn a_dead_delivery_can_be_retried_by_hand() {
    let rig = Rig::new().await;
    let receiver = Receiver::statuses(&[500, 500]).await;
    let webhook = rig
        .webhook(&receiver.url(), &["*"], |input| {
            input.schedule = Some(Some(serde_json::json!([])));
        })
        .await;
    rig.publish("system.info", "{}").await;
    rig.idle().await;
    let dead = rig.only_delivery(webhook.id).await;
    assert_eq!(dead.state, DeliveryState::Dead);

    assert_eq!(
        rig.pipeline.retry(WS, dead.id).await.unwrap(),
        Retried::Due(webhook.id)
    );
    rig.idle().await;
    let dead = rig.only_delivery(webhook.id).await;
    assert_eq!(
        (dead.state, dead.attempts),
        (DeliveryState::Dead, 2),
        "one more attempt, no more"
    );

    rig.pipeline.retry(WS, dead.id).await.unwrap();
    rig.idle().await;
    let delivered = rig.only_delivery(webhook.id).await;
    assert_eq!(
        (delivered.state, delivered.attempts),
        (DeliveryState::Delivered, 3)
    );
}

#[tokio::test]
async fn a_retry_by_hand_passes_an_open_breaker_and_goes_first() {
    let rig = Rig::new().await;
    let receiver =
        Receiver::start(|_, number| Answer::status(if number < 10 { 500 } else { 200 })).await;
    let webhook = rig
        .webhook(&receiver.url(), &["*"], |input| {
            input.concurrency = Some(Some(1));
        })
        .await;
    for number in 0..20 {
        rig.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    rig.idle().await;
    assert_eq!(receiver.received().len(), 10);
    let last = rig.deliveries(webhook.id).await.pop().unwrap().delivery;
    rig.pipeline.retry(WS, last.id).await.unwrap();
    rig.idle().await;
    let requests = receiver.received();
    assert_eq!(requests.len(), 11);
    assert!(String::from_utf8_lossy(&requests[10].body).contains("\"n\":19"));
}

#[tokio::test]
async fn a_range_is_replayed_to_the_webhook_that_asks() {
    let rig = Rig::new().await;
    let before = domain::time::Clock::now(&*rig.clock);
    for number in 0..1_200 {
        let event = if number % 2 == 0 {
            "workflow.completed"
        } else {
            "workflow.failed"
        };
        rig.publish(event, &format!("{{\"n\":{number}}}")).await;
    }
    rig.clock.advance(MINUTE);
    let receiver = Receiver::ok().await;
    let webhook = rig
        .webhook(&receiver.url(), &["workflow.completed"], |_| {})
        .await;
    let until = domain::time::Clock::now(&*rig.clock);
    let scope = ReplayScope::Range {
        since: before,
        until,
    };
    let replay = rig
        .pipeline
        .start_replay(WS, webhook.id, scope)
        .await
        .unwrap();
    assert_eq!(replay.total, 1_200);
    let rig = rig.restart().await;
    rig.idle().await;
    let replay = rig
        .pipeline
        .store()
        .replay(WS, replay.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (replay.state, replay.examined, replay.created),
        (ReplayState::Completed, 1_200, 600)
    );
    assert_eq!(receiver.received().len(), 600);
}

#[tokio::test]
async fn everything_that_failed_is_replayed() {
    let rig = Rig::new().await;
    let receiver =
        Receiver::start(|_, number| Answer::status(if number < 4 { 500 } else { 200 })).await;
    let webhook = rig
        .webhook(&receiver.url(), &["*"], |input| {
            input.schedule = Some(Some(serde_json::json!([])));
            input.concurrency = Some(Some(1));
        })
        .await;
    let since = domain::time::Clock::now(&*rig.clock);
    for number in 0..6 {
        rig.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    rig.idle().await;
    let dead = rig
        .states(webhook.id)
        .await
        .iter()
        .filter(|state| **state == DeliveryState::Dead)
        .count();
    assert_eq!(dead, 4);
    rig.clock.advance(Duration::from_secs(1));
    let replay = rig
        .pipeline
        .start_replay(WS, webhook.id, ReplayScope::FailedSince { since })
        .await
        .unwrap();
    rig.idle().await;
    let replay = rig
        .pipeline
        .store()
        .replay(WS, replay.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((replay.total, replay.created), (4, 4));
    assert_eq!(receiver.received().len(), 10);
}
