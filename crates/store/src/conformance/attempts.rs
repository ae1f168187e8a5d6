//! The end of an attempt: logged and settled together, by the holder only.

use domain::{
    DeliveryId, Timestamp,
    attempt::ErrorClass,
    delivery::{DeliveryState, Next},
};

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE, attempt},
};
use crate::{Finished, Lease};

/// 2xx: delivered, for good.
pub async fn a_success_delivers(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let id = test.held_to(webhook).await;
    test.pass(20);
    test.record(id, webhook, 1, Next::Delivered).await;

    let delivery = test.get(id).await;
    assert_eq!(delivery.state, DeliveryState::Delivered);
    assert_eq!(delivery.attempts, 1);
    assert_eq!(delivery.next_attempt_at, None);
    // The attempt took 1.5 ms.
    assert_eq!(delivery.finished_at, Some(test.later(1)));
    test.pass(MINUTE);
    assert!(test.claim(webhook, 10).await.is_empty());
    assert_eq!(test.store.next_due(HOME, webhook).await.unwrap(), None);
}

/// A retry is due at its time, and free for whoever claims then.
pub async fn a_failure_waits_for_its_time(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let id = test.held_to(webhook).await;
    let retry_at = test.later(5_000);
    test.record(id, webhook, 1, Next::RetryAt(retry_at)).await;

    let delivery = test.get(id).await;
    assert_eq!(delivery.state, DeliveryState::Pending);
    assert_eq!(delivery.attempts, 1);
    assert_eq!(delivery.next_attempt_at, Some(retry_at));
    assert_eq!(delivery.finished_at, None);
    test.pass(4_999);
    assert!(test.claim(webhook, 10).await.is_empty());
    test.pass(1);
    assert_eq!(test.claim(webhook, 10).await[0].delivery.id, id);
}

/// Given up: no more due.
pub async fn the_last_failure_is_dead(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let id = test.dead_to(webhook).await;
    let delivery = test.get(id).await;
    assert_eq!(delivery.state, DeliveryState::Dead);
    assert_eq!(delivery.next_attempt_at, None);
    assert_eq!(delivery.finished_at, Some(test.later(1)));
    assert!(test.claim(webhook, 10).await.is_empty());
}

/// First to last, every field as it was.
pub async fn attempts_are_logged_in_full_and_in_order(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let id = test.held_to(webhook).await;
    let mut logged = Vec::new();
    for number in 1..=3 {
        let next = if number < 3 {
            Next::RetryAt(test.now())
        } else {
            Next::Delivered
        };
        let mut finish = test.finish(id, webhook, number, next);
        if number == 1 {
            finish.attempt.error = Some(ErrorClass::Blocked);
            finish.attempt.error_message = Some("10.0.0.1 is not public".into());
        } else {
            finish.attempt.status = Some(if number == 2 { 503 } else { 200 });
            finish.attempt.error = None;
            finish.attempt.error_message = None;
            finish.attempt.response_headers = "retry-after: 1\nserver: x\n".into();
            finish.attempt.response_body = vec![0xff; 65_536].into();
            finish.attempt.response_truncated = number == 2;
            finish.attempt.peer = Some(
                if number == 2 {
                    "[2001:db8::1]:443"
                } else {
                    "192.0.2.1:80"
                }
                .parse()
                .unwrap(),
            );
            finish.attempt.tls_not_after = (number == 2).then(|| test.later(MINUTE));
            finish.attempt.duration_us = u64::from(u32::MAX) * 10;
        }
        logged.push(finish.attempt.clone());
        assert_eq!(
            test.store.finish_attempt(finish).await,
            Ok(Finished::Recorded)
        );
        test.claim(webhook, 1).await;
    }
    assert_eq!(test.store.attempts(HOME, id).await.unwrap(), logged);
    assert_eq!(
        test.store
            .attempts(HOME, DeliveryId::new(test.id()))
            .await
            .unwrap(),
        []
    );
}

/// Neither what nobody holds, nor what is finished, nor what does not exist takes a result.
pub async fn only_the_holder_records(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let webhook = test.webhook_id();
    let free = test.deliver_to(webhook).await;
    let done = test.held_to(webhook).await;
    test.record(done, webhook, 1, Next::Delivered).await;
    let held = test.held_to(webhook).await;

    let mut lost = vec![
        test.finish(free, webhook, 1, Next::Delivered),
        test.finish(done, webhook, 2, Next::Dead),
        test.finish(DeliveryId::new(test.id()), webhook, 1, Next::Delivered),
    ];
    for wrong in [
        Lease(test.lease().0 - 1),
        Lease(test.lease().0 + 1),
        Lease(0),
    ] {
        lost.push(test.finish(held, webhook, 1, Next::Delivered));
        lost.last_mut().unwrap().lease = wrong;
    }
    lost.push(test.finish(held, webhook, 1, Next::Delivered));
    lost.last_mut().unwrap().workspace = elsewhere;
    let before = (
        test.get(free).await,
        test.get(done).await,
        test.get(held).await,
    );
    for finish in lost {
        assert_eq!(
            test.store.finish_attempt(finish).await,
            Ok(Finished::LeaseLost)
        );
    }
    assert_eq!(
        (
            test.get(free).await,
            test.get(done).await,
            test.get(held).await
        ),
        before
    );
    assert_eq!(test.store.attempts(HOME, free).await.unwrap(), []);
    assert_eq!(test.store.attempts(HOME, done).await.unwrap().len(), 1);
    assert_eq!(test.store.attempts(HOME, held).await.unwrap(), []);
    test.record(held, webhook, 1, Next::Delivered).await;
}

/// Once another process has taken over, the result of the old one is void, whether or not the
/// delivery was claimed again.
pub async fn a_lease_of_an_earlier_process_records_nothing(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let (one, other) = (test.held_to(webhook).await, test.held_to(webhook).await);
    let stale = [
        test.finish(one, webhook, 1, Next::Delivered),
        test.finish(other, webhook, 1, Next::Delivered),
    ];
    let test = test.restart().await;
    assert_eq!(test.claim(webhook, 1).await[0].delivery.id, one);
    for finish in stale {
        assert_eq!(
            test.store.finish_attempt(finish).await,
            Ok(Finished::LeaseLost)
        );
    }
    assert_eq!(test.get(one).await.state, DeliveryState::Pending);
    assert_eq!(test.get(other).await.attempts, 0);
    test.record(one, webhook, 1, Next::Delivered).await;
}

/// The first failure sets it, later ones leave it, a success clears it.
pub async fn the_failing_mark_is_set_once_and_cleared(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.create_webhook().await.id;
    let begin = test.now();
    let finish = async |mark: Option<Option<Timestamp>>| {
        let id = test.held_to(webhook).await;
        let next = if mark == Some(None) {
            Next::Delivered
        } else {
            Next::Dead
        };
        let mut finish = test.finish(id, webhook, 1, next);
        finish.attempt = attempt(1, test.now(), next);
        finish.failing_since = mark;
        assert_eq!(
            test.store.finish_attempt(finish).await,
            Ok(Finished::Recorded)
        );
        test.pass(MINUTE);
        test.store
            .webhook(HOME, webhook)
            .await
            .unwrap()
            .unwrap()
            .failing_since
    };
    assert_eq!(finish(None).await, None);
    assert_eq!(finish(Some(Some(begin))).await, Some(begin));
    assert_eq!(finish(Some(Some(test.now()))).await, Some(begin));
    assert_eq!(finish(None).await, Some(begin));
    assert_eq!(finish(Some(None)).await, None);
    assert_eq!(finish(Some(None)).await, None);

    // A result that is void leaves the mark as it was.
    let mut void = test.finish(DeliveryId::new(test.id()), webhook, 1, Next::Dead);
    void.failing_since = Some(Some(begin));
    assert_eq!(
        test.store.finish_attempt(void).await,
        Ok(Finished::LeaseLost)
    );
    assert_eq!(
        test.store
            .webhook(HOME, webhook)
            .await
            .unwrap()
            .unwrap()
            .failing_since,
        None
    );
}
