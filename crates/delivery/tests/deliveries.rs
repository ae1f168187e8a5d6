//! An event's way to its webhooks: delivered, retried on schedule, given up, resumed.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{
    EventId,
    delivery::DeliveryState,
    signature::{StandardHeaders, verify_standard},
};
use serde_json::json;
use support::{HOUR, MINUTE, Rig, WS, publish};
use testkit::{Answer, Receiver};

#[tokio::test]
async fn an_event_arrives_once_signed_and_is_logged() {
    let rig = Rig::new().await;
    let receiver = Receiver::ok().await;
    let webhook = rig.webhook(&receiver.url(), &["workflow.*"], |_| {}).await;
    let receipt = rig
        .publish("workflow.completed", r#"{"workflowId":"w1"}"#)
        .await;
    assert_eq!(receipt.deliveries, 1);
    rig.idle().await;

    let requests = receiver.received();
    assert_eq!(requests.len(), 1);
    let body = std::str::from_utf8(&requests[0].body).unwrap();
    assert_eq!(
        body,
        format!(
            r#"{{"id":"{}","event":"workflow.completed","timestamp":"2026-03-01T12:00:00.000Z","data":{{"workflowId":"w1"}}}}"#,
            receipt.id
        )
    );
    let secret = rig.pipeline.reveal_secret(&webhook).unwrap().unwrap();
    let headers = StandardHeaders {
        id: requests[0].header("webhook-id"),
        timestamp: requests[0].header("webhook-timestamp"),
        signature: requests[0].header("webhook-signature"),
    };
    let now = domain::time::Clock::now(&*rig.clock).unix_s();
    verify_standard(
        std::slice::from_ref(&secret),
        headers,
        body.as_bytes(),
        now,
        300,
    )
    .unwrap();
    assert!(
        verify_standard(
            &[secret],
            headers,
            body.replace("w1", "w2").as_bytes(),
            now,
            300
        )
        .is_err(),
        "a tampered body is refused"
    );

    let delivery = rig.only_delivery(webhook.id).await;
    assert_eq!(
        (delivery.state, delivery.attempts),
        (DeliveryState::Delivered, 1)
    );
    let attempts = rig
        .pipeline
        .store()
        .attempts(WS, delivery.id)
        .await
        .unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].status, Some(200));
    assert_eq!(attempts[0].peer, Some(receiver.address()));
    assert!(
        attempts[0]
            .request_headers
            .contains("webhook-signature: ***"),
        "{}",
        attempts[0].request_headers
    );
}

#[tokio::test]
async fn a_failed_delivery_is_tried_on_its_schedule_until_it_is_dead() {
    let rig = Rig::new().await;
    let receiver = Receiver::start(|_, _| Answer::status(500)).await;
    let webhook = rig.webhook(&receiver.url(), &["*"], |_| {}).await;
    rig.publish("task.execution.failed", "{}").await;
    rig.idle().await;
    assert_eq!(receiver.received().len(), 1);

    // 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 10 h, each lengthened by up to a fifth.
    let waits = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000].map(Duration::from_secs);
    for (done, wait) in waits.into_iter().enumerate() {
        rig.pass(wait.mul_f64(0.99)).await;
        assert_eq!(receiver.received().len(), done + 1, "not before {wait:?}");
        rig.pass(wait.mul_f64(0.22)).await;
        assert_eq!(
            receiver.received().len(),
            done + 2,
            "after {wait:?} and a fifth"
        );
    }
    let delivery = rig.only_delivery(webhook.id).await;
    assert_eq!(
        (delivery.state, delivery.attempts),
        (DeliveryState::Dead, 8)
    );
    rig.pass(48 * HOUR).await;
    assert_eq!(receiver.received().len(), 8);
    let ids: Vec<_> = receiver
        .received()
        .iter()
        .map(|r| r.header("webhook-id").to_owned())
        .collect();
    assert!(
        ids.iter().all(|id| *id == ids[0]),
        "the id is the same on every attempt"
    );
}

#[tokio::test]
async fn retry_after_lengthens_the_wait_and_never_shortens_it() {
    let rig = Rig::new().await;
    let receiver = Receiver::start(|_, number| match number {
        0 => Answer::status(429).header("retry-after", "120"),
        1 => Answer::status(503).header("retry-after", "1"),
        _ => Answer::status(200),
    })
    .await;
    let webhook = rig.webhook(&receiver.url(), &["*"], |_| {}).await;
    rig.publish("system.info", "{}").await;
    rig.idle().await;
    rig.pass(Duration::from_secs(119)).await;
    assert_eq!(receiver.received().len(), 1);
    rig.pass(Duration::from_secs(2)).await;
    assert_eq!(receiver.received().len(), 2);
    rig.pass(Duration::from_secs(299)).await;
    assert_eq!(
        receiver.received().len(),
        2,
        "the schedule's five minutes stand"
    );
    rig.pass(2 * MINUTE).await;
    assert_eq!(rig.states(webhook.id).await, [DeliveryState::Delivered]);
}

#[tokio::test]
async fn what_was_accepted_is_delivered_after_a_restart() {
    let rig = Rig::new().await;
    let answers = Arc::new(AtomicUsize::new(500));
    let status = Arc::clone(&answers);
    let receiver = Receiver::start(move |_, _| {
        Answer::status(u16::try_from(status.load(Ordering::SeqCst)).unwrap())
    })
    .await;
    let webhook = rig.webhook(&receiver.url(), &["*"], |_| {}).await;
    for number in 0..5 {
        rig.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    rig.idle().await;
    assert!(receiver.received().len() >= 5);
    answers.store(200, Ordering::SeqCst);
    let rig = rig.restart().await;
    rig.pass(10 * MINUTE).await;
    assert_eq!(rig.states(webhook.id).await, [DeliveryState::Delivered; 5]);
}

#[tokio::test]
async fn an_event_id_is_accepted_once() {
    let rig = Rig::new().await;
    let receiver = Receiver::ok().await;
    rig.webhook(&receiver.url(), &["*"], |_| {}).await;
    let mut event = publish("system.info", "{}");
    event.id = Some(EventId::parse("order-1").unwrap());
    let first = rig.pipeline.accept(WS, event.clone()).await.unwrap();
    let second = rig.pipeline.accept(WS, event.clone()).await.unwrap();
    assert!(!first.duplicate && second.duplicate);
    assert_eq!(first.key, second.key);
    let rig = rig.restart().await;
    assert!(
        rig.pipeline.accept(WS, event).await.unwrap().duplicate,
        "also after a restart"
    );
    rig.idle().await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn an_event_that_has_gone_round_too_often_is_refused() {
    let rig = Rig::new().await;
    let mut event = publish("system.info", "{}");
    event.hops = 8;
    rig.pipeline.accept(WS, event.clone()).await.unwrap();
    event.hops = 9;
    let error = rig.pipeline.accept(WS, event).await.unwrap_err();
    assert!(error.to_string().contains("loop"), "{error}");
}

#[tokio::test]
async fn a_filter_says_which_events_a_webhook_gets() {
    let rig = Rig::new().await;
    let receiver = Receiver::ok().await;
    rig.webhook(&receiver.url(), &["*"], |input| {
        input.filter = Some(Some(json!({ "data.amount": { "$gte": 100 } })));
    })
    .await;
    for amount in [5, 100, 700] {
        rig.publish("system.info", &format!("{{\"amount\":{amount}}}"))
            .await;
    }
    rig.idle().await;
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn a_publisher_who_hangs_up_leaves_nothing_undelivered() {
    let rig = Rig::new().await;
    let receiver = Receiver::ok().await;
    let webhook = rig.webhook(&receiver.url(), &["*"], |_| {}).await;
    for number in 0..50 {
        let accept = rig
            .pipeline
            .accept(WS, publish("system.info", &format!("{{\"n\":{number}}}")));
        // Polled once: the commit is queued, and nobody waits for its end.
        let mut accept = Box::pin(accept);
        let polled = futures_util::poll!(accept.as_mut());
        assert!(polled.is_pending() || number > 0);
        drop(accept);
    }
    rig.pass(5 * Duration::from_secs(1)).await;
    assert_eq!(
        rig.states(webhook.id).await,
        [DeliveryState::Delivered; 50],
        "each commit was queued before its publisher went"
    );
    assert_eq!(receiver.received().len(), 50);
}
