//! Deliveries by hand: retried, listed, buried, counted.

use domain::{
    DeliveryId,
    attempt::ErrorClass,
    delivery::{DeliveryState, Next},
};

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE, all, ids},
};
use crate::{DeliveryFilter, Finished, Page, QueueDepth, Retried};

/// Its count of attempts goes on.
pub async fn a_waiting_delivery_is_retried_now(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let id = test.held_to(webhook).await;
    test.record(id, webhook, 1, Next::RetryAt(test.later(MINUTE)))
        .await;
    test.pass(10);
    assert_eq!(
        test.store.retry(HOME, id, test.now()).await,
        Ok(Retried::Due(webhook))
    );
    let delivery = test.get(id).await;
    assert_eq!(delivery.next_attempt_at, Some(test.now()));
    assert_eq!(delivery.attempts, 1);
    assert_eq!(ids(&test.claim(webhook, 10).await), [id]);
}

/// Dead or delivered: it is pending again; its attempts go on being counted and logged.
pub async fn a_finished_delivery_is_retried(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    for next in [Next::Dead, Next::Delivered] {
        let id = test.held_to(webhook).await;
        test.record(id, webhook, 1, next).await;
        test.pass(MINUTE);
        assert_eq!(
            test.store.retry(HOME, id, test.now()).await,
            Ok(Retried::Due(webhook))
        );
        let delivery = test.get(id).await;
        assert_eq!(delivery.state, DeliveryState::Pending);
        assert_eq!(delivery.attempts, 1);
        assert_eq!(delivery.next_attempt_at, Some(test.now()));
        assert_eq!(delivery.finished_at, None);
        assert_eq!(ids(&test.claim(webhook, 10).await), [id]);
        test.record(id, webhook, 2, Next::Delivered).await;
        assert_eq!(test.store.attempts(HOME, id).await.unwrap().len(), 2);
    }
}

/// An attempt runs or is about to.
pub async fn a_held_delivery_is_not_retried(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let id = test.held_to(webhook).await;
    test.pass(MINUTE);
    assert_eq!(
        test.store.retry(HOME, id, test.now()).await,
        Ok(Retried::InFlight(webhook))
    );
    test.record(id, webhook, 1, Next::Delivered).await;
    let unknown = DeliveryId::new(test.id());
    assert_eq!(
        test.store.retry(HOME, unknown, test.now()).await,
        Ok(Retried::Unknown)
    );
    let elsewhere = test.elsewhere().await;
    assert_eq!(
        test.store.retry(elsewhere, id, test.now()).await,
        Ok(Retried::Unknown)
    );

    let test = test.restart().await;
    let left = test.held_to(webhook).await;
    let test = test.restart().await;
    assert_eq!(
        test.store.retry(HOME, left, test.now()).await,
        Ok(Retried::Due(webhook))
    );
}

/// Page by page, whatever the filter.
pub async fn deliveries_are_listed_newest_first(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let mut made = Vec::new();
    for _ in 0..7 {
        made.insert(0, test.deliver_to(webhook).await);
        test.pass(1);
    }
    let filters = [
        DeliveryFilter::default(),
        DeliveryFilter {
            webhook: Some(webhook),
            ..DeliveryFilter::default()
        },
        DeliveryFilter {
            state: Some(DeliveryState::Pending),
            ..DeliveryFilter::default()
        },
    ];
    for filter in filters {
        let mut listed: Vec<DeliveryId> = Vec::new();
        loop {
            let page = Page {
                after: listed.last().copied(),
                limit: 3,
            };
            let rows = test.store.deliveries(HOME, filter, page).await.unwrap();
            listed.extend(rows.iter().map(|row| row.delivery.id));
            if rows.len() < 3 {
                break;
            }
        }
        assert_eq!(listed, made, "{filter:?}");
    }
}

/// By webhook, event, state, time, and all of them together.
pub async fn deliveries_are_filtered(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let (one, two) = (test.webhook_id(), test.webhook_id());
    let old = test.dead_to(one).await;
    test.pass(10 * MINUTE);
    let since = test.now();
    let dead = test.dead_to(one).await;
    let delivered = test.held_to(two).await;
    test.record(delivered, two, 1, Next::Delivered).await;
    let mut new = test.event_to(HOME, &[one, two]);
    new.deliveries[1].held = true;
    let (pending, held) = (new.deliveries[0].id, new.deliveries[1].id);
    test.accept(new.clone()).await;

    let none = DeliveryFilter::default();
    let state = |state| DeliveryFilter {
        state: Some(state),
        ..none
    };
    assert_eq!(test.list(none).await, [held, pending, delivered, dead, old]);
    assert_eq!(
        test.list(DeliveryFilter {
            webhook: Some(one),
            ..none
        })
        .await,
        [pending, dead, old]
    );
    assert_eq!(
        test.list(DeliveryFilter {
            event: Some(new.event.key),
            ..none
        })
        .await,
        [held, pending]
    );
    assert_eq!(
        test.list(state(DeliveryState::Pending)).await,
        [held, pending]
    );
    assert_eq!(
        test.list(state(DeliveryState::Delivered)).await,
        [delivered]
    );
    assert_eq!(test.list(state(DeliveryState::Dead)).await, [dead, old]);
    assert_eq!(
        test.list(DeliveryFilter {
            since: Some(since),
            ..none
        })
        .await,
        [held, pending, delivered, dead]
    );
    let both = DeliveryFilter {
        webhook: Some(one),
        since: Some(since),
        ..state(DeliveryState::Dead)
    };
    assert_eq!(test.list(both).await, [dead]);
    let pending_of_two = DeliveryFilter {
        webhook: Some(two),
        ..state(DeliveryState::Pending)
    };
    assert_eq!(test.list(pending_of_two).await, [held]);
    let every = DeliveryFilter {
        webhook: Some(one),
        event: Some(new.event.key),
        state: Some(DeliveryState::Pending),
        since: Some(since),
    };
    assert_eq!(test.list(every).await, [pending]);
    let unknown = domain::EventKey::new(test.id());
    assert_eq!(
        test.list(DeliveryFilter {
            event: Some(unknown),
            ..none
        })
        .await,
        []
    );
    let silent = test.event(HOME);
    test.accept(silent.clone()).await;
    assert_eq!(
        test.list(DeliveryFilter {
            event: Some(silent.event.key),
            ..none
        })
        .await,
        []
    );
}

/// Its status or its error, and the event's id and type.
pub async fn a_row_tells_the_last_attempt(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let row = async || {
        test.store
            .deliveries(HOME, DeliveryFilter::default(), all())
            .await
            .unwrap()
            .remove(0)
    };
    let mut new = test.event_to(HOME, &[webhook]);
    new.event.id = domain::EventId::parse("order-17").unwrap();
    new.id_given = true;
    new.deliveries[0].held = true;
    let id = new.deliveries[0].id;
    test.accept(new.clone()).await;
    let first = row().await;
    assert_eq!((first.last_status, first.last_error), (None, None));
    assert_eq!(first.event_id, new.event.id);
    assert_eq!(first.event_type, new.event.event_type);
    test.record(id, webhook, 1, Next::RetryAt(test.now())).await;
    let failed = row().await;
    assert_eq!(
        (failed.last_status, failed.last_error),
        (None, Some(ErrorClass::Connect))
    );
    test.claim(webhook, 1).await;
    test.record(id, webhook, 2, Next::Delivered).await;
    let arrived = row().await;
    assert_eq!((arrived.last_status, arrived.last_error), (Some(204), None));
    assert_eq!(arrived.delivery, test.get(id).await);
}

/// Only what nobody holds of webhooks that are gone; what is held is its holder's to finish.
pub async fn orphans_are_buried_in_steps(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let (gone, kept) = (
        test.create_webhook().await.id,
        test.create_webhook().await.id,
    );
    let mut left = Vec::new();
    for _ in 0..5 {
        left.push(test.deliver_to(gone).await);
    }
    let held = test.held_to(gone).await;
    let other = test.deliver_to(kept).await;
    assert_eq!(test.store.bury_orphans(test.now(), 10).await, Ok(0));
    assert!(
        test.store
            .delete_webhook(HOME, gone, test.now())
            .await
            .unwrap()
    );
    test.pass(MINUTE);
    assert_eq!(test.store.bury_orphans(test.now(), 3).await, Ok(3));
    assert_eq!(test.store.bury_orphans(test.now(), 3).await, Ok(2));
    assert_eq!(test.store.bury_orphans(test.now(), 3).await, Ok(0));
    for id in left {
        let delivery = test.get(id).await;
        assert_eq!(delivery.state, DeliveryState::Dead);
        assert_eq!(delivery.finished_at, Some(test.now()));
        assert_eq!(delivery.next_attempt_at, None);
    }
    assert_eq!(test.get(other).await.state, DeliveryState::Pending);
    let finish = test.finish(held, gone, 1, Next::Delivered);
    assert_eq!(
        test.store.finish_attempt(finish).await,
        Ok(Finished::Recorded)
    );
}

/// Through every transition.
pub async fn the_queues_depth_is_counted(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let depth = async |pending, held| {
        assert_eq!(
            test.store.queue_depth().await,
            Ok(QueueDepth { pending, held })
        );
    };
    depth(0, 0).await;
    test.deliver_to(webhook).await;
    let held = test.held_to(webhook).await;
    depth(2, 1).await;
    let claimed = test.claim(webhook, 10).await[0].delivery.id;
    depth(2, 2).await;
    test.store
        .release(vec![(HOME, claimed, test.lease())], test.now())
        .await
        .unwrap();
    depth(2, 1).await;
    test.record(held, webhook, 1, Next::RetryAt(test.later(MINUTE)))
        .await;
    depth(2, 0).await;
    test.claim(webhook, 10).await;
    test.record(claimed, webhook, 1, Next::Delivered).await;
    depth(1, 0).await;
    test.store.retry(HOME, claimed, test.now()).await.unwrap();
    test.store.retry(HOME, claimed, test.now()).await.unwrap();
    depth(2, 0).await;
    assert_eq!(test.store.bury_orphans(test.now(), 10).await, Ok(2));
    depth(0, 0).await;
}

/// Every look-up names the workspace.
pub async fn another_workspace_sees_nothing(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let webhook = test.webhook_id();
    let new = test.event_to(HOME, &[webhook]);
    let id = new.deliveries[0].id;
    test.accept(new.clone()).await;
    test.claim(webhook, 1).await;
    test.record(id, webhook, 1, Next::Dead).await;
    assert_eq!(test.store.delivery(elsewhere, id).await, Ok(None));
    assert_eq!(test.store.attempts(elsewhere, id).await, Ok(Vec::new()));
    let none = DeliveryFilter::default();
    let filters = [
        none,
        DeliveryFilter {
            webhook: Some(webhook),
            ..none
        },
        DeliveryFilter {
            event: Some(new.event.key),
            ..none
        },
        DeliveryFilter {
            state: Some(DeliveryState::Dead),
            ..none
        },
    ];
    for filter in filters {
        assert_eq!(
            test.store.deliveries(elsewhere, filter, all()).await,
            Ok(Vec::new()),
            "{filter:?}"
        );
        assert_eq!(test.list(filter).await, [id], "{filter:?}");
    }
}
