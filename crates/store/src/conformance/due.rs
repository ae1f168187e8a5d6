//! What is due: claimed once, by its time or in order, free again after release or restart.

use domain::{
    DeliveryId, WebhookId,
    delivery::{DeliveryState, Next},
};

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE, ids},
};
use crate::{Claim, Due, Lease};

/// What was accepted as held is in somebody's memory.
pub async fn what_is_held_is_not_claimed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    test.held_to(webhook).await;
    let free = test.deliver_to(webhook).await;
    let claimed = test.claim(webhook, 10).await;
    assert_eq!(ids(&claimed), [free]);
    assert_eq!(claimed[0].lease, test.lease());
    assert_eq!(claimed[0].event.key, claimed[0].delivery.event);
    assert_eq!(&claimed[0].event.data[..], br#"{"total":17}"#);
}

/// By due time, then by id; never more than asked for, nor another webhook's or workspace's.
pub async fn the_earliest_due_is_claimed_first(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let mut made = Vec::new();
    for _ in 0..4 {
        made.push(test.held_to(webhook).await);
    }
    for (id, wait) in made.iter().zip([3_000, 1_000, 9_000, 1_000]) {
        test.record(*id, webhook, 1, Next::RetryAt(test.later(wait)))
            .await;
    }
    test.deliver_to(test.webhook_id()).await;
    let elsewhere = test.elsewhere().await;
    test.accept(test.event_to(elsewhere, &[webhook])).await;

    test.pass(5_000);
    assert_eq!(ids(&test.claim(webhook, 2).await), [made[1], made[3]]);
    assert_eq!(ids(&test.claim(webhook, 2).await), [made[0]]);
    assert!(test.claim(webhook, 2).await.is_empty());
    let none = Claim {
        workspace: HOME,
        webhook,
        ordered: false,
        now: test.later(MINUTE),
        limit: 0,
    };
    assert!(test.store.claim(none).await.unwrap().is_empty());
}

/// Also by callers at the same time.
pub async fn what_is_claimed_is_not_claimed_again(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let events = (0..100).map(|_| test.event_to(HOME, &[webhook])).collect();
    test.store.accept(events).await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let store = test.store.clone();
        let claim = Claim {
            workspace: HOME,
            webhook,
            ordered: false,
            now: test.now(),
            limit: 7,
        };
        calls.spawn(async move { ids(&store.claim(claim).await.unwrap()) });
    }
    let mut claimed: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
    assert_eq!(claimed.len(), 100);
    claimed.sort_unstable();
    claimed.dedup();
    assert_eq!(claimed.len(), 100);
}

/// Whoever claims next gets it, at once.
pub async fn what_is_released_is_due(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let held = test.held_to(webhook).await;
    let claimed = test.deliver_to(webhook).await;
    test.claim(webhook, 1).await;
    test.pass(MINUTE);
    let both = vec![(HOME, held, test.lease()), (HOME, claimed, test.lease())];
    test.store.release(both, test.now()).await.unwrap();
    assert_eq!(
        test.store.next_due(HOME, webhook).await.unwrap(),
        Some(test.now())
    );
    assert_eq!(ids(&test.claim(webhook, 10).await), [held, claimed]);
}

/// Nor does a release bring back what is finished.
pub async fn a_foreign_lease_releases_nothing(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let held = test.held_to(webhook).await;
    let done = test.held_to(webhook).await;
    test.record(done, webhook, 1, Next::Delivered).await;
    let releases = vec![
        (HOME, held, Lease(test.lease().0 - 1)),
        (HOME, held, Lease(0)),
        (test.elsewhere().await, held, test.lease()),
        (HOME, done, test.lease()),
        (HOME, DeliveryId::new(test.id()), test.lease()),
    ];
    test.store.release(releases, test.now()).await.unwrap();
    assert!(test.claim(webhook, 10).await.is_empty());
    assert_eq!(test.get(done).await.state, DeliveryState::Delivered);
    test.record(held, webhook, 1, Next::Delivered).await;
}

/// The first in order waits for its retry; the next do not overtake it.
pub async fn ordered_ones_are_claimed_in_order_due_or_not(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let first = test.in_order_to(webhook, true).await;
    let second = test.in_order_to(webhook, false).await;
    let third = test.in_order_to(webhook, false).await;
    let retry_at = test.later(MINUTE);
    test.record(first, webhook, 1, Next::RetryAt(retry_at))
        .await;
    let claimed = test.claim_in_order(webhook, 2).await;
    assert_eq!(ids(&claimed), [first, second]);
    assert_eq!(claimed[0].delivery.next_attempt_at, Some(retry_at));

    let all = vec![(HOME, first, test.lease()), (HOME, second, test.lease())];
    test.store.release(all, test.now()).await.unwrap();
    assert_eq!(
        ids(&test.claim_in_order(webhook, 10).await),
        [first, second, third]
    );
}

/// What is behind a held one has to wait, whoever holds it.
pub async fn ordered_claims_stop_before_what_is_held(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let first = test.in_order_to(webhook, false).await;
    let held = test.in_order_to(webhook, true).await;
    let last = test.in_order_to(webhook, false).await;
    assert_eq!(ids(&test.claim_in_order(webhook, 10).await), [first]);
    assert!(test.claim_in_order(webhook, 10).await.is_empty());
    test.record(first, webhook, 1, Next::Delivered).await;
    assert!(test.claim_in_order(webhook, 10).await.is_empty());
    test.record(held, webhook, 1, Next::Dead).await;
    assert_eq!(ids(&test.claim_in_order(webhook, 10).await), [last]);
}

/// Deliveries that were made before the change, and by those who had not heard of it yet.
pub async fn a_webhook_that_becomes_ordered_keeps_its_backlog_in_order(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let mut webhook = test.create_webhook().await;
    let first = test.deliver_to(webhook.id).await;
    let expected = webhook.updated_at;
    webhook.config.ordered = true;
    webhook.updated_at = test.later(1);
    assert!(
        test.store
            .update_webhook(webhook.clone(), expected)
            .await
            .unwrap()
    );
    let second = test.in_order_to(webhook.id, false).await;
    let third = test.deliver_to(webhook.id).await;
    assert_eq!(
        ids(&test.claim_in_order(webhook.id, 10).await),
        [first, second, third]
    );
}

/// With its earliest time; held ones and finished ones do not count.
pub async fn due_tells_each_webhook_once(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let (one, two, three) = (test.webhook_id(), test.webhook_id(), test.webhook_id());
    assert_eq!(test.store.due(None, 10).await.unwrap(), []);
    test.held_to(one).await;
    let later = test.held_to(two).await;
    test.record(later, two, 1, Next::RetryAt(test.later(MINUTE)))
        .await;
    let done = test.held_to(three).await;
    test.record(done, three, 1, Next::Delivered).await;
    assert_eq!(
        test.store.due(None, 10).await.unwrap(),
        [Due {
            workspace: HOME,
            webhook: two,
            at: test.later(MINUTE)
        }]
    );

    test.deliver_to(two).await;
    test.deliver_to(two).await;
    test.deliver_to(three).await;
    let due = |webhook| Due {
        workspace: HOME,
        webhook,
        at: test.now(),
    };
    assert_eq!(
        test.store.due(None, 10).await.unwrap(),
        [due(two), due(three)]
    );
}

/// In order of workspace and webhook.
pub async fn due_goes_on_after_a_webhook(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let mut expected = Vec::new();
    for workspace in [HOME, elsewhere] {
        for _ in 0..5 {
            let webhook = test.webhook_id();
            test.accept(test.event_to(workspace, &[webhook])).await;
            expected.push((workspace, webhook));
        }
    }
    let mut found: Vec<(_, WebhookId)> = Vec::new();
    loop {
        let page = test.store.due(found.last().copied(), 3).await.unwrap();
        found.extend(page.iter().map(|due| (due.workspace, due.webhook)));
        if page.len() < 3 {
            break;
        }
    }
    assert_eq!(found, expected);
}

/// Of this webhook alone.
pub async fn next_due_is_the_earliest_that_nobody_holds(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    assert_eq!(test.store.next_due(HOME, webhook).await.unwrap(), None);
    let id = test.held_to(webhook).await;
    assert_eq!(test.store.next_due(HOME, webhook).await.unwrap(), None);
    test.record(id, webhook, 1, Next::RetryAt(test.later(MINUTE)))
        .await;
    assert_eq!(
        test.store.next_due(HOME, webhook).await.unwrap(),
        Some(test.later(MINUTE))
    );
    test.deliver_to(test.webhook_id()).await;
    assert_eq!(
        test.store.next_due(HOME, webhook).await.unwrap(),
        Some(test.later(MINUTE))
    );
    test.deliver_to(webhook).await;
    assert_eq!(
        test.store.next_due(HOME, webhook).await.unwrap(),
        Some(test.now())
    );
    let elsewhere = test.elsewhere().await;
    assert_eq!(test.store.next_due(elsewhere, webhook).await.unwrap(), None);
}

/// Accepted as held or claimed: after a restart it is due again, in the order of its due times
/// among what nobody held, however many processes went.
pub async fn what_a_gone_process_held_is_free(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let mut made = vec![test.deliver_to(webhook).await];
    test.claim(webhook, 1).await;
    test.pass(1);
    made.push(test.held_to(webhook).await);
    test.pass(1);
    made.push(test.deliver_to(webhook).await);
    test.pass(1);
    let test = test.restart().await;
    assert_eq!(test.store.queue_depth().await.unwrap().held, 0);
    made.push(test.held_to(webhook).await);
    test.pass(1);
    let test = test.restart().await;
    test.held_to(webhook).await;

    let begin = test.get(made[0]).await.created_at;
    assert_eq!(
        test.store.due(None, 10).await.unwrap(),
        [Due {
            workspace: HOME,
            webhook,
            at: begin
        }]
    );
    assert_eq!(
        test.store.next_due(HOME, webhook).await.unwrap(),
        Some(begin)
    );
    assert_eq!(ids(&test.claim(webhook, 3).await), made[..3]);
    assert_eq!(ids(&test.claim(webhook, 3).await), made[3..]);
    let ordered = test.webhook_id();
    let held = test.in_order_to(ordered, true).await;
    let test = test.restart().await;
    assert_eq!(ids(&test.claim_in_order(ordered, 3).await), [held]);
}
