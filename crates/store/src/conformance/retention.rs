//! Retention: what is old goes, what is still needed stays.

use domain::{EventId, delivery::Next, replay::ReplayScope};

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE, all},
};
use crate::{Accepted, DeliveryFilter, EventFilter, KeptAnswer, Pruned};

/// Deliveries, attempts, those of replays too; what is younger stays.
pub async fn what_is_old_is_removed_with_all_that_belongs_to_it(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let mut old = test.event_to(HOME, &[webhook, webhook]);
    old.deliveries[0].held = true;
    old.deliveries[1].held = true;
    test.accept(old.clone()).await;
    test.record(old.deliveries[0].id, webhook, 1, Next::RetryAt(test.now()))
        .await;
    test.claim(webhook, 1).await;
    test.record(old.deliveries[0].id, webhook, 2, Next::Dead)
        .await;
    test.record(old.deliveries[1].id, webhook, 1, Next::Delivered)
        .await;
    let silent = test.event(HOME);
    test.accept(silent.clone()).await;
    let replay = domain::replay::Replay {
        workspace: HOME,
        id: domain::ReplayId::new(test.id()),
        webhook,
        scope: ReplayScope::Event {
            event: old.event.key,
        },
        state: domain::replay::ReplayState::Running,
        examined: 0,
        total: 0,
        created: 0,
        created_at: test.now(),
        finished_at: None,
    };
    test.store.create_replay(replay.clone()).await.unwrap();
    let step = test.store.replay_candidates(&replay, 1).await.unwrap();
    let mut again = test.delivery(old.event.key, webhook);
    again.replay = Some(replay.id);
    test.store
        .advance_replay(&replay, step, vec![again], test.now())
        .await
        .unwrap();
    test.claim(webhook, 1).await;
    test.record(again.id, webhook, 1, Next::Delivered).await;
    test.pass(MINUTE);
    let young = test.dead_to(webhook).await;

    let pruned = test.store.prune(test.now(), test.now(), 100).await.unwrap();
    assert_eq!(
        pruned,
        Pruned {
            events: 2,
            deliveries: 3,
            attempts: 4,
            keys: 0,
            more: false
        }
    );
    assert_eq!(test.store.event(HOME, old.event.key).await.unwrap(), None);
    assert_eq!(
        test.store.event(HOME, silent.event.key).await.unwrap(),
        None
    );
    assert_eq!(
        test.store
            .attempts(HOME, old.deliveries[0].id)
            .await
            .unwrap(),
        []
    );
    assert_eq!(test.list(DeliveryFilter::default()).await, [young]);
    assert_eq!(test.store.attempts(HOME, young).await.unwrap().len(), 1);
    assert_eq!(
        test.store.prune(test.now(), test.now(), 100).await.unwrap(),
        Pruned::default()
    );
}

/// Whole, until the last of them is finished.
pub async fn what_has_pending_deliveries_stays(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let (one, two) = (test.webhook_id(), test.webhook_id());
    let mut new = test.event_to(HOME, &[one, two]);
    new.deliveries[0].held = true;
    test.accept(new.clone()).await;
    test.record(new.deliveries[0].id, one, 1, Next::Delivered)
        .await;
    test.pass(MINUTE);
    assert_eq!(
        test.store.prune(test.now(), test.now(), 100).await.unwrap(),
        Pruned::default()
    );
    let kept = test.claim(two, 1).await;
    assert_eq!(kept[0].event, new.event);
    assert_eq!(
        test.store
            .attempts(HOME, new.deliveries[0].id)
            .await
            .unwrap()
            .len(),
        1
    );
    test.record(new.deliveries[1].id, two, 1, Next::Dead).await;
    let pruned = test.store.prune(test.now(), test.now(), 100).await.unwrap();
    assert_eq!(
        (pruned.events, pruned.deliveries, pruned.attempts),
        (1, 2, 2)
    );
}

/// None removes more than asked for, and they come to an end.
pub async fn retention_goes_in_steps(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    for number in 0..20 {
        // Every other one is still needed.
        if number % 2 == 0 {
            test.deliver_to(webhook).await;
        } else {
            test.dead_to(webhook).await;
        }
    }
    test.pass(MINUTE);
    let mut removed = 0;
    for _ in 0..20 {
        let pruned = test.store.prune(test.now(), test.now(), 3).await.unwrap();
        assert!(pruned.events <= 3);
        removed += pruned.events;
        if !pruned.more {
            break;
        }
    }
    assert_eq!(removed, 10);
    assert_eq!(
        test.store
            .events(HOME, EventFilter::default(), all())
            .await
            .unwrap()
            .len(),
        10
    );
    assert_eq!(test.store.queue_depth().await.unwrap().pending, 10);
}

/// Dedupe keys and kept answers have an age of their own; the event they belong to stays.
pub async fn old_keys_are_removed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let mut new = test.event(HOME);
    new.event.id = EventId::parse("order-17").unwrap();
    new.id_given = true;
    new.idempotency_key = Some("k".into());
    test.accept(new.clone()).await;
    let begin = test.now();
    let answer = KeptAnswer {
        request_hash: [0; 32],
        status: 200,
        body: Vec::new(),
        created_at: begin,
    };
    assert!(
        test.store
            .keep_answer(HOME, "k", answer.clone())
            .await
            .unwrap()
    );
    test.pass(MINUTE);
    let mut young = test.event(HOME);
    young.idempotency_key = Some("young".into());
    test.accept(young.clone()).await;

    assert_eq!(
        test.store.prune(begin, begin, 100).await.unwrap(),
        Pruned::default()
    );
    let pruned = test.store.prune(begin, test.now(), 100).await.unwrap();
    assert_eq!(
        pruned,
        Pruned {
            keys: 3,
            ..Pruned::default()
        }
    );
    assert_eq!(
        test.store.event_by_id(HOME, &new.event.id).await.unwrap(),
        Some(new.event.clone())
    );
    assert_eq!(test.store.kept_answer(HOME, "k").await.unwrap(), None);
    let mut again = test.event(HOME);
    again.idempotency_key = Some("k".into());
    let mut still = test.event(HOME);
    still.idempotency_key = Some("young".into());
    let answers = test.store.accept(vec![again, still]).await.unwrap();
    let duplicate = Accepted::Duplicate {
        key: young.event.key,
        id: young.event.id,
    };
    assert_eq!(answers, [Accepted::New, duplicate]);
}

/// A step may end in the midst of one.
pub async fn every_workspace_is_pruned(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let spaces = [HOME, test.elsewhere().await, test.elsewhere().await];
    for workspace in spaces {
        for _ in 0..5 {
            test.accept(test.event(workspace)).await;
        }
    }
    test.pass(MINUTE);
    let mut removed = 0;
    loop {
        let pruned = test.store.prune(test.now(), test.now(), 4).await.unwrap();
        removed += pruned.events;
        if !pruned.more {
            break;
        }
    }
    assert_eq!(removed, 15);
}
