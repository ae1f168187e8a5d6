//! Webhooks beside each other: order, caps, rates, breakers, and that none holds up another.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use delivery::{Settings, webhooks::WebhookInput};
use domain::{
    delivery::DeliveryState,
    webhook::{DisabledReason, WebhookState},
};
use support::{HOUR, MINUTE, Rig, WS};
use testkit::{Answer, Receiver};

fn numbers(receiver: &Receiver) -> Vec<u64> {
    receiver
        .received()
        .iter()
        .map(|received| {
            let body: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
            body["data"]["n"].as_u64().unwrap()
        })
        .collect()
}

#[tokio::test]
async fn an_ordered_webhook_gets_events_in_order_and_a_failure_holds_its_successors() {
    let rig = Rig::new().await;
    // The third request fails twice.
    let receiver = Receiver::start(|_, number| {
        Answer::status(if number == 2 || number == 3 { 500 } else { 200 })
    })
    .await;
    let webhook = rig
        .webhook(&receiver.url(), &["*"], |input| input.ordered = Some(true))
        .await;
    for number in 0..6 {
        rig.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    rig.idle().await;
    assert_eq!(
        numbers(&receiver),
        [0, 1, 2],
        "what comes after the failed one waits"
    );
    rig.publish("system.info", "{\"n\":6}").await;
    rig.pass(Duration::from_secs(7)).await;
    assert_eq!(numbers(&receiver), [0, 1, 2, 2]);
    let rig = rig.restart().await;
    rig.pass(7 * MINUTE).await;
    assert_eq!(numbers(&receiver), [0, 1, 2, 2, 2, 3, 4, 5, 6]);
    assert_eq!(rig.states(webhook.id).await, [DeliveryState::Delivered; 7]);
}

#[tokio::test]
async fn an_ordered_webhook_goes_on_once_its_head_is_dead() {
    let rig = Rig::new().await;
    let receiver = Receiver::start(|received, _| {
        let poisoned = received.body.windows(6).any(|w| w == b"\"n\":1}");
        Answer::status(if poisoned { 400 } else { 200 })
    })
    .await;
    let webhook = rig
        .webhook(&receiver.url(), &["*"], |input| {
            input.ordered = Some(true);
            input.schedule = Some(Some(serde_json::json!(["5s"])));
        })
        .await;
    for number in 0..4 {
        rig.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    rig.idle().await;
    rig.pass(Duration::from_secs(7)).await;
    assert_eq!(numbers(&receiver), [0, 1, 1, 2, 3]);
    assert_eq!(
        rig.states(webhook.id).await,
        [
            DeliveryState::Delivered,
            DeliveryState::Dead,
            DeliveryState::Delivered,
            DeliveryState::Delivered
        ]
    );
}

#[tokio::test]
async fn no_more_attempts_run_at_once_than_the_webhook_allows() {
    let rig = Rig::new().await;
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
    let receiver = Receiver::start(move |_, _| {
        let count = now.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(count, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(1));
        now.fetch_sub(1, Ordering::SeqCst);
        Answer::status(200).after(Duration::from_millis(2))
    })
    .await;
    let webhook = rig
        .webhook(&receiver.url(), &["*"], |input| {
            input.concurrency = Some(Some(3));
        })
        .await;
    for number in 0..40 {
        rig.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    rig.idle().await;
    assert_eq!(receiver.received().len(), 40);
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert!(
        rig.states(webhook.id)
            .await
            .iter()
            .all(|state| *state == DeliveryState::Delivered)
    );
}

#[tokio::test]
async fn a_rate_limit_spreads_attempts_over_time() {
    let rig = Rig::new().await;
    let receiver = Receiver::ok().await;
    rig.webhook(&receiver.url(), &["*"], |input| {
        input.rate_per_s = Some(Some(2.0));
    })
    .await;
    for number in 0..6 {
        rig.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    rig.idle().await;
    assert_eq!(receiver.received().len(), 2);
    rig.pass(Duration::from_secs(1)).await;
    assert_eq!(receiver.received().len(), 4);
    rig.pass(Duration::from_secs(1)).await;
    assert_eq!(receiver.received().len(), 6);
}

#[tokio::test]
async fn an_endpoint_that_never_answers_holds_up_nobody_else() {
    let settings = Settings {
        in_flight_max: 20,
        ..Settings::default()
    };
    let rig = Rig::with(settings).await;
    let dead = Receiver::start(|_, _| Answer::never()).await;
    let healthy = Receiver::ok().await;
    rig.webhook(&dead.url(), &["*"], |_| {}).await;
    rig.webhook(&healthy.url(), &["*"], |_| {}).await;
    for number in 0..100 {
        rig.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    healthy.wait_for(100).await;
    assert_eq!(dead.received().len(), 10, "its own cap, and no more");
}

#[tokio::test]
async fn sustained_failure_opens_the_breaker_and_one_probe_closes_it() {
    let rig = Rig::new().await;
    let healthy = Arc::new(AtomicUsize::new(0));
    let well = Arc::clone(&healthy);
    let receiver = Receiver::start(move |_, _| {
        Answer::status(if well.load(Ordering::SeqCst) == 1 {
            200
        } else {
            500
        })
    })
    .await;
    let webhook = rig
        .webhook(&receiver.url(), &["*"], |input| {
            input.concurrency = Some(Some(1));
            input.schedule = Some(Some(serde_json::json!(["1h", "1h"])));
        })
        .await;
    for number in 0..30 {
        rig.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    rig.idle().await;
    assert_eq!(receiver.received().len(), 10, "then it is left alone");
    let status = rig.pipeline.lane_status(WS, webhook.id).unwrap();
    assert_eq!(status.breaker.as_str(), "open");
    assert!(status.failing_since.is_some());
    assert_eq!(status.ready, 0, "what waits for it lies on disk");

    healthy.store(1, Ordering::SeqCst);
    rig.pass(MINUTE).await;
    assert_eq!(
        receiver.received().len(),
        30,
        "a probe, and then the rest that was due"
    );
    rig.pass(2 * HOUR).await;
    assert_eq!(rig.states(webhook.id).await, [DeliveryState::Delivered; 30]);
    assert!(rig.read_webhook(webhook.id).await.failing_since.is_none());
}

#[tokio::test]
async fn gone_disables_the_webhook_at_once_and_says_so() {
    let rig = Rig::new().await;
    let gone = Receiver::start(|_, _| Answer::status(410)).await;
    let watcher = Receiver::ok().await;
    let webhook = rig.webhook(&gone.url(), &["*"], |_| {}).await;
    rig.webhook(&watcher.url(), &["system.warning"], |_| {})
        .await;
    rig.publish("workflow.failed", "{}").await;
    rig.idle().await;
    let stored = rig.read_webhook(webhook.id).await;
    assert!(matches!(
        stored.state,
        WebhookState::Disabled {
            reason: DisabledReason::Gone,
            ..
        }
    ));
    assert_eq!(
        rig.states(webhook.id).await,
        [DeliveryState::Dead],
        "the warning does not go to it"
    );
    let warnings = watcher.received();
    assert_eq!(warnings.len(), 1);
    let body: serde_json::Value = serde_json::from_slice(&warnings[0].body).unwrap();
    assert_eq!(body["event"], "system.warning");
    assert_eq!(body["data"]["details"]["webhookId"], webhook.id.to_string());
    assert_eq!(
        rig.publish("workflow.failed", "{}").await.deliveries,
        0,
        "nobody wants it now"
    );

    let input = WebhookInput {
        active: Some(true),
        ..WebhookInput::default()
    };
    rig.pipeline
        .update_webhook(WS, webhook.id, input)
        .await
        .unwrap();
    assert_eq!(
        rig.publish("workflow.failed", "{}").await.deliveries,
        1,
        "a person can switch it on again"
    );
}

#[tokio::test]
async fn five_days_of_failure_disable_a_webhook_and_one_success_counts() {
    let rig = Rig::new().await;
    let receiver =
        Receiver::start(|_, number| Answer::status(if number == 3 { 200 } else { 500 })).await;
    let webhook = rig
        .webhook(&receiver.url(), &["*"], |input| {
            input.schedule = Some(Some(serde_json::json!([
                "1d", "1d", "1d", "1d", "1d", "1d"
            ])));
        })
        .await;
    let day = 29 * HOUR;
    rig.publish("system.info", "{\"n\":1}").await;
    rig.idle().await;
    for _ in 0..3 {
        rig.pass(day).await;
    }
    assert_eq!(
        rig.states(webhook.id).await,
        [DeliveryState::Delivered],
        "on the fourth day it works"
    );
    rig.publish("system.info", "{\"n\":2}").await;
    rig.idle().await;
    for _ in 0..4 {
        rig.pass(day).await;
        assert!(rig.read_webhook(webhook.id).await.is_active());
    }
    let rig = rig.restart().await;
    rig.pass(day).await;
    let stored = rig.read_webhook(webhook.id).await;
    assert!(
        matches!(
            stored.state,
            WebhookState::Disabled {
                reason: DisabledReason::Failing,
                ..
            }
        ),
        "{stored:?}"
    );
}

#[tokio::test]
async fn an_inactive_webhook_keeps_what_was_pending_and_goes_on_when_switched_on() {
    let rig = Rig::new().await;
    let receiver = Receiver::statuses(&[500, 500]).await;
    let webhook = rig.webhook(&receiver.url(), &["*"], |_| {}).await;
    rig.publish("system.info", "{\"n\":1}").await;
    rig.idle().await;
    let switch = |active| WebhookInput {
        active: Some(active),
        ..WebhookInput::default()
    };
    rig.pipeline
        .update_webhook(WS, webhook.id, switch(false))
        .await
        .unwrap();
    rig.pass(HOUR).await;
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(rig.publish("system.info", "{\"n\":2}").await.deliveries, 0);
    rig.pipeline
        .update_webhook(WS, webhook.id, switch(true))
        .await
        .unwrap();
    rig.idle().await;
    assert_eq!(receiver.received().len(), 2);
    rig.pass(HOUR).await;
    assert_eq!(rig.states(webhook.id).await, [DeliveryState::Delivered]);
}

#[tokio::test]
async fn a_removed_webhooks_deliveries_die() {
    let rig = Rig::new().await;
    let receiver = Receiver::start(|_, _| Answer::status(500)).await;
    let webhook = rig.webhook(&receiver.url(), &["*"], |_| {}).await;
    rig.publish("system.info", "{}").await;
    rig.idle().await;
    rig.pipeline.delete_webhook(WS, webhook.id).await.unwrap();
    rig.pipeline.prune().await.unwrap();
    rig.pass(24 * HOUR).await;
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(rig.states(webhook.id).await, [DeliveryState::Dead]);
}

#[tokio::test]
async fn more_than_fits_in_memory_is_delivered_from_disk() {
    let settings = Settings {
        lane_ready_max: 4,
        ..Settings::default()
    };
    let rig = Rig::with(settings).await;
    let receiver = Receiver::ok().await;
    let webhook = rig
        .webhook(&receiver.url(), &["*"], |input| input.ordered = Some(true))
        .await;
    let batch = (0..120)
        .map(|n| support::publish("system.info", &format!("{{\"n\":{n}}}")))
        .collect();
    rig.pipeline.accept_batch(WS, batch).await.unwrap();
    rig.idle().await;
    assert_eq!(numbers(&receiver), (0..120).collect::<Vec<_>>());
    assert!(
        rig.states(webhook.id)
            .await
            .iter()
            .all(|state| *state == DeliveryState::Delivered)
    );
}

#[tokio::test]
async fn a_receiver_that_fails_every_other_request_gets_everything_in_few_attempts() {
    let rig = Rig::new().await;
    let receiver =
        Receiver::start(|_, number| Answer::status(if number % 2 == 0 { 500 } else { 200 })).await;
    let webhook = rig.webhook(&receiver.url(), &["*"], |_| {}).await;
    for number in 0..100 {
        rig.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    rig.idle().await;
    for _ in 0..40 {
        rig.pass(HOUR).await;
    }
    assert_eq!(
        rig.states(webhook.id).await,
        [DeliveryState::Delivered; 100]
    );
    assert!(
        receiver.received().len() <= 220,
        "{}",
        receiver.received().len()
    );
}
