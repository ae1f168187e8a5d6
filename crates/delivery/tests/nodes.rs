//! Several nodes over one store: shares, order, lost leases, changes, what is to be seen, roles.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use delivery::{Settings, accept::AcceptError, webhooks::WebhookInput};
use domain::{
    WebhookId, delivery::DeliveryState, event::EventType, format::Format, pattern::EventPattern,
    replay::ReplayScope, share::Share,
};
use store::{CustomEventType, Hint, NodeRole, Retried, Store as _};
use support::{
    HOUR, Rig, WS,
    cluster::{Cluster, Member},
};
use testkit::{Answer, Receiver};

const SECOND: Duration = Duration::from_secs(1);

fn numbers(receiver: &Receiver) -> Vec<u64> {
    let number = |body: &Bytes| {
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        body["data"]["n"].as_u64().unwrap()
    };
    let all = receiver.received();
    all.iter().map(|one| number(&one.body)).collect()
}

fn share(rig: &Rig, webhook: WebhookId) -> Share {
    rig.pipeline.lane_status(WS, webhook).unwrap().share
}

fn concurrency(rig: &Rig, webhook: WebhookId) -> u32 {
    share(rig, webhook).concurrency
}

/// Two nodes that have counted each other.
async fn two(cluster: &Arc<Cluster>) -> [(Rig, Arc<Member>); 2] {
    let first = cluster.node(Settings::default()).await;
    first.0.idle().await;
    let second = cluster.node(Settings::default()).await;
    first.0.idle().await;
    second.0.idle().await;
    [first, second]
}

/// Which of two nodes leads the webhook, and which does not.
fn by_lead(nodes: [&Rig; 2], webhook: WebhookId) -> (&Rig, &Rig) {
    let [a, b] = nodes;
    if share(a, webhook).leads {
        assert!(!share(b, webhook).leads);
        (a, b)
    } else {
        assert!(share(b, webhook).leads);
        (b, a)
    }
}

#[tokio::test]
async fn a_node_that_joins_takes_its_share_once_the_older_ones_have_left_it() {
    let cluster = Cluster::new();
    let receiver = Receiver::ok().await;
    let (a, _) = cluster.node(Settings::default()).await;
    let webhook = a
        .webhook(&receiver.url(), &["*"], |input| {
            input.rate_per_s = Some(Some(6.0));
        })
        .await
        .id;
    assert_eq!(concurrency(&a, webhook), 0, "nobody was counted yet");
    a.idle().await;
    assert_eq!(concurrency(&a, webhook), 10, "alone");

    let (b, of_b) = cluster.node(Settings::default()).await;
    b.idle().await;
    assert_eq!(concurrency(&b, webhook), 0, "the older node does not know");
    a.idle().await;
    assert_eq!(concurrency(&a, webhook), 5);
    assert_eq!(share(&a, webhook).rate_per_s, Some(3.0));
    assert_eq!(concurrency(&b, webhook), 0, "it has not looked again");
    b.idle().await;
    assert_eq!(concurrency(&b, webhook), 5);
    assert_eq!(share(&b, webhook).rate_per_s, Some(3.0));

    of_b.leave().await;
    a.idle().await;
    assert_eq!(concurrency(&a, webhook), 10);
    assert_eq!(a.pipeline.nodes().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_younger_node_that_has_counted_nothing_yet_takes_nothing_away() {
    let cluster = Cluster::new();
    let [(a, _), (b, _)] = two(&cluster).await;
    let receiver = Receiver::ok().await;
    let webhook = a.webhook(&receiver.url(), &["*"], |_| {}).await.id;
    b.idle().await;
    let _c = cluster.node(Settings::default()).await;
    a.idle().await;
    b.idle().await;
    let both = concurrency(&a, webhook) + concurrency(&b, webhook);
    assert!((6..=7).contains(&both), "{both}");
}

#[tokio::test]
async fn an_ordered_webhook_is_sent_by_one_node_from_disk_in_the_stores_order() {
    let cluster = Cluster::new();
    let [(a, _), (b, _)] = two(&cluster).await;
    let receiver = Receiver::ok().await;
    let webhook = a
        .webhook(&receiver.url(), &["*"], |input| input.ordered = Some(true))
        .await
        .id;
    b.idle().await;
    let (leader, other) = by_lead([&a, &b], webhook);
    assert_eq!(concurrency(other, webhook), 0);
    let batch = (0..6)
        .map(|n| support::publish("system.info", &format!("{{\"n\":{n}}}")))
        .collect();
    cluster.reverses.store(true, Ordering::SeqCst);
    other.pipeline.accept_batch(WS, batch).await.unwrap();
    other.idle().await;
    assert_eq!(cluster.held(), 0, "nobody holds what is ordered");
    assert!(receiver.received().is_empty());
    leader.idle().await;
    assert_eq!(numbers(&receiver), [5, 4, 3, 2, 1, 0]);
    assert_eq!(leader.states(webhook).await, [DeliveryState::Delivered; 6]);
}

#[tokio::test]
async fn order_holds_while_the_node_that_sends_is_lost() {
    let cluster = Cluster::new();
    let [(a, of_a), (b, of_b)] = two(&cluster).await;
    let receiver =
        Receiver::start(|_, _| Answer::status(200).after(Duration::from_millis(2))).await;
    let webhook = a
        .webhook(&receiver.url(), &["*"], |input| input.ordered = Some(true))
        .await
        .id;
    b.idle().await;
    let leads = share(&a, webhook).leads;
    let (publisher, leader) = if leads { (&b, &of_a) } else { (&a, &of_b) };
    a.pipeline.spawn();
    b.pipeline.spawn();
    for number in 0..60 {
        publisher
            .publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
        if number == 30 {
            receiver.wait_for(5).await;
            leader.leave().await;
        }
    }
    eventually(|| numbers(&receiver).last() == Some(&59)).await;
    let mut seen = numbers(&receiver);
    let sent = seen.len();
    seen.dedup();
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    assert!(sent <= 61, "no more than what was in flight comes twice");
}

#[tokio::test]
async fn all_nodes_together_keep_to_the_webhooks_cap() {
    let cluster = Cluster::new();
    let [(a, _), (b, _)] = two(&cluster).await;
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
    let webhook = a
        .webhook(&receiver.url(), &["*"], |input| {
            input.concurrency = Some(Some(3));
        })
        .await
        .id;
    b.idle().await;
    assert_eq!(concurrency(&a, webhook) + concurrency(&b, webhook), 3);
    a.pipeline.spawn();
    b.pipeline.spawn();
    for number in 0..40 {
        let node = if number % 2 == 0 { &a } else { &b };
        node.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    receiver.wait_for(40).await;
    eventually(|| cluster.held() == 0).await;
    let mut seen = numbers(&receiver);
    seen.sort_unstable();
    assert_eq!(seen, (0..40).collect::<Vec<_>>(), "each once");
    assert!(most.load(Ordering::SeqCst) <= 3);
}

#[tokio::test]
async fn what_waits_in_memory_goes_to_the_node_that_takes_over() {
    let cluster = Cluster::new();
    let (a, _) = cluster.node(Settings::default()).await;
    a.idle().await;
    let receiver = Receiver::ok().await;
    let mut led = Vec::new();
    for _ in 0..8 {
        let made = a
            .webhook(&receiver.url(), &["*"], |input| {
                input.rate_per_s = Some(Some(1.0));
            })
            .await;
        led.push(made.id);
    }
    for number in 0..3 {
        a.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    a.idle().await;
    assert_eq!(receiver.received().len(), 8, "one each, by their rate");
    assert_eq!(cluster.held(), 16);
    let (b, _) = cluster.node(Settings::default()).await;
    a.idle().await;
    let moved: Vec<_> = led
        .iter()
        .filter(|webhook| share(&a, **webhook).is_none())
        .collect();
    assert!(!moved.is_empty() && moved.len() < 8, "{}", moved.len());
    assert_eq!(cluster.held(), 16 - 2 * moved.len(), "given back");
    b.idle().await;
    assert_eq!(receiver.received().len(), 8, "a rate is not used twice");
    for _ in 0..2 {
        a.pass(SECOND).await;
        b.idle().await;
    }
    assert_eq!(receiver.received().len(), 24);
}

#[tokio::test]
async fn a_lost_lease_empties_the_memory_and_nothing_is_released() {
    let cluster = Cluster::new();
    let (a, of_a) = cluster.node(Settings::default()).await;
    a.idle().await;
    let receiver = Receiver::ok().await;
    let webhook = a
        .webhook(&receiver.url(), &["*"], |input| {
            input.rate_per_s = Some(Some(1.0));
        })
        .await
        .id;
    for number in 0..4 {
        a.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    a.idle().await;
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(a.pipeline.lane_status(WS, webhook).unwrap().ready, 3);

    // Cut off: the next kick finds that the lease no longer runs.
    of_a.lives.store(false, Ordering::SeqCst);
    a.clock.advance(SECOND);
    a.publish("system.info", "{\"n\":4}").await;
    assert_eq!(a.pipeline.lane_status(WS, webhook).unwrap().ready, 0);
    assert_eq!(receiver.received().len(), 1, "nothing is sent any more");

    of_a.lapse().await;
    of_a.lives.store(true, Ordering::SeqCst);
    for _ in 0..6 {
        a.pass(SECOND).await;
    }
    assert_eq!(cluster.released.load(Ordering::SeqCst), 0);
    assert_eq!(numbers(&receiver).len(), 5, "but taken up from disk");
    assert_eq!(a.states(webhook).await, [DeliveryState::Delivered; 5]);
    assert_eq!(a.pipeline.metrics().lease_lost.get(), 0);
}

#[tokio::test]
async fn a_result_under_a_lost_lease_is_not_written_and_the_delivery_is_made_again() {
    let cluster = Cluster::new();
    let (a, of_a) = cluster.node(Settings::default()).await;
    a.idle().await;
    let receiver = Receiver::start(|_, number| {
        Answer::status(200).after(Duration::from_millis(if number == 0 { 300 } else { 0 }))
    })
    .await;
    let webhook = a.webhook(&receiver.url(), &["*"], |_| {}).await.id;
    a.publish("system.info", "{\"n\":1}").await;
    receiver.wait_for(1).await;
    of_a.lapse().await;
    a.idle().await;
    a.pass(SECOND).await;
    assert_eq!(numbers(&receiver), [1, 1]);
    assert_eq!(a.pipeline.metrics().lease_lost.get(), 1);
    assert_eq!(a.states(webhook).await, [DeliveryState::Delivered]);
    assert_eq!(a.only_delivery(webhook).await.attempts, 1);
}

#[tokio::test]
async fn a_lease_that_changes_during_a_commit_leaves_nothing_held_by_nobody() {
    let cluster = Cluster::new();
    let (a, of_a) = cluster.node(Settings::default()).await;
    a.idle().await;
    let receiver = Receiver::ok().await;
    let webhook = a.webhook(&receiver.url(), &["*"], |_| {}).await.id;
    of_a.lapses_before.store(true, Ordering::SeqCst);
    a.publish("system.info", "{\"n\":1}").await;
    of_a.lapses_after.store(true, Ordering::SeqCst);
    a.publish("system.info", "{\"n\":2}").await;
    a.idle().await;
    a.pass(SECOND).await;
    let mut seen = numbers(&receiver);
    seen.sort_unstable();
    assert_eq!(seen, [1, 2]);
    assert_eq!(cluster.held(), 0);
    assert_eq!(a.states(webhook).await, [DeliveryState::Delivered; 2]);
}

#[tokio::test]
async fn what_one_node_changes_takes_effect_on_the_others() {
    let cluster = Cluster::new();
    let [(a, _), (b, _)] = two(&cluster).await;
    let receiver = Receiver::ok().await;
    let mut access = b.pipeline.on_access_change();
    let webhook = a.webhook(&receiver.url(), &["*"], |_| {}).await.id;
    b.idle().await;
    assert!(!access.has_changed().unwrap());
    assert_eq!(b.publish("system.info", "{\"n\":1}").await.deliveries, 1);
    let off = WebhookInput {
        active: Some(false),
        ..WebhookInput::default()
    };
    a.pipeline.update_webhook(WS, webhook, off).await.unwrap();
    let record = CustomEventType {
        workspace: WS,
        name: EventType::parse("order.paid").unwrap(),
        description: String::new(),
        schema: Some(r#"{"type":"object","required":["total"]}"#.to_owned()),
        example: None,
        enforce: true,
        created_at: domain::Timestamp::from_ms(0),
    };
    a.pipeline.create_event_type(record.clone()).await.unwrap();
    b.idle().await;
    assert_eq!(b.publish("system.info", "{\"n\":2}").await.deliveries, 0);
    let refused = b
        .pipeline
        .accept(WS, support::publish("order.paid", "{}"))
        .await;
    assert!(matches!(refused, Err(AcceptError::Schema { .. })));

    a.pipeline.delete_webhook(WS, webhook).await.unwrap();
    a.pipeline
        .delete_event_type(WS, "order.paid")
        .await
        .unwrap();
    let user = domain::UserId::new(uuid::Uuid::from_u128(9));
    a.pipeline.store().delete_user(user).await.unwrap();
    b.idle().await;
    assert!(b.pipeline.lane_status(WS, webhook).is_none());
    assert!(!b.pipeline.knows_type(WS, "order.paid"));
    assert!(access.has_changed().unwrap());
    access.mark_unchanged();

    // So much was changed that it is no longer told one by one.
    let other = a.webhook(&receiver.url(), &["*"], |_| {}).await.id;
    b.idle().await;
    a.pipeline.delete_webhook(WS, other).await.unwrap();
    let third = a.webhook(&receiver.url(), &["*"], |_| {}).await.id;
    a.pipeline.create_event_type(record).await.unwrap();
    cluster.forget_changes();
    b.idle().await;
    assert!(b.pipeline.lane_status(WS, other).is_none());
    assert!(b.pipeline.lane_status(WS, third).is_some());
    assert!(b.pipeline.knows_type(WS, "order.paid"));
    assert!(access.has_changed().unwrap());
}

#[tokio::test]
async fn who_follows_or_listens_sees_the_work_of_every_node() {
    let cluster = Cluster::new();
    let [(a, of_a), (b, _)] = two(&cluster).await;
    a.pipeline.spawn();
    b.pipeline.spawn();
    let receiver = Receiver::ok().await;
    let webhook = b.webhook(&receiver.url(), &["*"], |_| {}).await.id;
    let mut followed = a.pipeline.follow();
    let patterns = vec![EventPattern::parse("system.*").unwrap()];
    let mut listening = a.pipeline.listen(WS, patterns, Format::Default).unwrap();
    eventually(|| of_a.about().watches).await;
    // Notes go out once the other node has counted again.
    let mut seen = (false, false);
    for number in 0.. {
        b.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
        if let Ok(Ok(notice)) = tokio::time::timeout(SECOND, followed.recv()).await {
            assert_eq!(notice.webhook, webhook);
            assert_eq!(notice.status, Some(200));
            seen.0 = true;
        }
        while let Ok(heard) = listening.heard.try_recv() {
            assert_eq!(heard.event, "system.info");
            seen.1 = true;
        }
        if seen == (true, true) {
            break;
        }
        assert!(number < 30, "{seen:?}");
    }
    drop((followed, listening));
    eventually(|| !of_a.about().watches).await;
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .expect("it comes true");
}

#[tokio::test]
async fn a_node_that_only_takes_requests_leaves_the_sending_to_others() {
    let cluster = Cluster::new();
    let api_only = Settings {
        role: NodeRole::Api,
        ..Settings::default()
    };
    // No poll helps: what makes it quick is the hint.
    let never_polls = Settings {
        poll_every: HOUR,
        role: NodeRole::Worker,
        ..Settings::default()
    };
    let (api, _) = cluster.node(api_only).await;
    let receiver = Receiver::statuses(&[500]).await;
    let webhook = api
        .webhook(&receiver.url(), &["*"], |input| {
            input.schedule = Some(Some(serde_json::json!(["1h"])));
        })
        .await
        .id;
    api.idle().await;
    api.publish("system.info", "{\"n\":1}").await;
    api.idle().await;
    assert!(receiver.received().is_empty());
    assert_eq!((concurrency(&api, webhook), cluster.held()), (0, 0));

    let (worker, of_worker) = cluster.node(never_polls).await;
    worker.pipeline.set_address("10.0.0.2:8080".to_owned());
    api.pipeline.spawn();
    worker.pipeline.spawn();
    receiver.wait_for(1).await;
    let delivery = worker.only_delivery(webhook).await.id;
    let mut retried = Retried::InFlight(webhook);
    while retried != Retried::Due(webhook) {
        retried = api.pipeline.retry(WS, delivery).await.unwrap();
    }
    receiver.wait_for(2).await;
    api.publish("system.info", "{\"n\":2}").await;
    receiver.wait_for(3).await;
    eventually(|| cluster.held() == 0).await;
    assert_eq!(concurrency(&worker, webhook), 10);
    assert_eq!(of_worker.about().address.as_deref(), Some("10.0.0.2:8080"));
}

#[tokio::test]
async fn what_is_left_to_others_is_hinted_once_however_much_it_is() {
    let cluster = Cluster::new();
    let [(a, of_a), (b, of_b)] = two(&cluster).await;
    let receiver = Receiver::ok().await;
    let webhook = a
        .webhook(&receiver.url(), &["*"], |input| input.ordered = Some(true))
        .await
        .id;
    b.idle().await;
    let leads = share(&a, webhook).leads;
    let (other, mut hints) = if leads {
        (&b, of_a.hints())
    } else {
        (&a, of_b.hints())
    };
    for number in 0..10 {
        other
            .publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    other.pipeline.drain(Duration::from_secs(5)).await;
    let mut due = Vec::new();
    while let Ok(hint) = hints.try_recv() {
        if let Hint::Due {
            webhook, forced, ..
        } = hint
        {
            due.push((webhook, forced));
        }
    }
    assert_eq!(due, [(webhook, false)]);
}

#[tokio::test]
async fn a_drained_node_says_so_and_leaves_what_it_held_to_the_others() {
    let cluster = Cluster::new();
    let [(a, of_a), (b, _)] = two(&cluster).await;
    let receiver = Receiver::ok().await;
    let webhook = a
        .webhook(&receiver.url(), &["*"], |input| {
            input.rate_per_s = Some(Some(2.0));
        })
        .await
        .id;
    b.idle().await;
    for number in 0..4 {
        a.publish("system.info", &format!("{{\"n\":{number}}}"))
            .await;
    }
    a.idle().await;
    assert_eq!(receiver.received().len(), 1, "half of the rate");
    assert_eq!(cluster.held(), 3);
    a.pipeline.drain(Duration::from_secs(5)).await;
    assert!(of_a.about().draining);
    assert_eq!((of_a.about().in_flight, cluster.held()), (0, 0));
    a.publish("system.info", "{\"n\":4}").await;
    assert_eq!(cluster.held(), 0, "nothing is held any more");
    b.idle().await;
    assert_eq!(
        concurrency(&b, webhook),
        5,
        "it is counted until it is gone"
    );
    a.pipeline.store().close().await;
    b.idle().await;
    assert_eq!(concurrency(&b, webhook), 10);
    for _ in 0..2 {
        b.pass(SECOND).await;
    }
    assert_eq!(b.states(webhook).await, [DeliveryState::Delivered; 5]);
    assert_eq!(receiver.received().len(), 5, "each once");
}

#[tokio::test]
async fn one_node_advances_a_replay() {
    let cluster = Cluster::new();
    let [(a, _), (b, _)] = two(&cluster).await;
    let receiver = Receiver::ok().await;
    let webhook = a.webhook(&receiver.url(), &["*"], |_| {}).await.id;
    b.idle().await;
    let (leader, other) = by_lead([&a, &b], webhook);
    other.publish("system.info", "{\"n\":1}").await;
    other.idle().await;
    let scope = ReplayScope::Range {
        since: domain::Timestamp::from_ms(0),
        until: domain::Timestamp::FAR_FUTURE,
    };
    let replay = other.pipeline.start_replay(WS, webhook, scope).await;
    let replay = replay.unwrap().id;
    let created = async || {
        let replay = a.pipeline.store().replay(WS, replay).await;
        replay.unwrap().unwrap().created
    };
    other.idle().await;
    assert_eq!(created().await, 0);
    leader.idle().await;
    assert_eq!(created().await, 1);
    assert_eq!(numbers(&receiver), [1, 1]);
}
