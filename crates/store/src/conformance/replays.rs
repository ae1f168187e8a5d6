//! Replays: each candidate once, whatever happens in between.

use domain::{
    EventKey, ReplayId, WebhookId,
    delivery::{DeliveryState, Next},
    replay::{Replay, ReplayScope, ReplayState},
};

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE, all},
};
use crate::{DeliveryFilter, Page};

impl<B: Backend> Fixture<'_, B> {
    fn replay(&self, webhook: WebhookId, scope: ReplayScope) -> Replay {
        Replay {
            workspace: HOME,
            id: ReplayId::new(self.id()),
            webhook,
            scope,
            state: ReplayState::Running,
            examined: 0,
            total: 0,
            created: 0,
            created_at: self.now(),
            finished_at: None,
        }
    }

    /// One step with a delivery for each candidate; answers the events and whether it was the last.
    async fn step(&self, replay: &Replay, limit: usize) -> (Vec<EventKey>, bool) {
        let step = self.store.replay_candidates(replay, limit).await.unwrap();
        let events: Vec<_> = step.events.iter().map(|event| event.key).collect();
        let last = step.last;
        let deliveries = events
            .iter()
            .map(|event| {
                let mut delivery = self.delivery(*event, replay.webhook);
                delivery.replay = Some(replay.id);
                delivery
            })
            .collect();
        assert!(
            self.store
                .advance_replay(replay, step, deliveries, self.now())
                .await
                .unwrap()
        );
        (events, last)
    }

    /// All steps.
    async fn run(&self, replay: &Replay, limit: usize) -> Vec<EventKey> {
        let mut all = Vec::new();
        loop {
            let (events, last) = self.step(replay, limit).await;
            assert!(events.len() <= limit);
            all.extend(events);
            if last {
                return all;
            }
        }
    }

    async fn stored(&self, replay: &Replay) -> Replay {
        self.store
            .replay(HOME, replay.id)
            .await
            .unwrap()
            .expect("there is one")
    }
}

/// Its delivery says which replay made it.
pub async fn one_event_is_replayed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let new = test.event_to(HOME, &[webhook]);
    test.accept(new.clone()).await;
    test.pass(MINUTE);
    let scope = ReplayScope::Event {
        event: new.event.key,
    };
    let replay = test
        .store
        .create_replay(test.replay(webhook, scope))
        .await
        .unwrap();
    assert_eq!(replay.total, 1);
    assert_eq!(test.stored(&replay).await, replay);
    assert_eq!(
        test.store.running_replays().await.unwrap(),
        std::slice::from_ref(&replay)
    );
    test.pass(1);
    assert_eq!(test.run(&replay, 10).await, [new.event.key]);

    let done = test.stored(&replay).await;
    assert_eq!(done.state, ReplayState::Completed);
    assert_eq!((done.examined, done.created), (1, 1));
    assert_eq!(done.finished_at, Some(test.now()));
    assert_eq!(test.store.running_replays().await.unwrap(), []);
    let of_event = DeliveryFilter {
        event: Some(new.event.key),
        ..DeliveryFilter::default()
    };
    let rows = test.store.deliveries(HOME, of_event, all()).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].delivery.replay, Some(replay.id));
    assert_eq!(rows[0].delivery.created_at, test.now());
    assert_eq!(rows[0].delivery.next_attempt_at, Some(test.now()));
    assert_eq!(rows[0].delivery.state, DeliveryState::Pending);
    assert_eq!(rows[1].delivery.id, new.deliveries[0].id);

    let unknown = ReplayScope::Event {
        event: EventKey::new(test.id()),
    };
    let nothing = test
        .store
        .create_replay(test.replay(webhook, unknown))
        .await
        .unwrap();
    assert_eq!(nothing.total, 0);
    assert_eq!(test.run(&nothing, 10).await, []);
    assert_eq!(test.stored(&nothing).await.state, ReplayState::Completed);
}

/// What was accepted from `since` on and before `until`, and before the replay was asked for.
pub async fn a_range_is_replayed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let webhook = test.webhook_id();
    let mut keys = Vec::new();
    let begin = test.now();
    for _ in 0..10 {
        let new = test.event(HOME);
        keys.push(new.event.key);
        test.accept(new).await;
        test.accept(test.event(elsewhere)).await;
        test.pass(MINUTE);
    }
    let minute = |n: i64| domain::Timestamp::from_ms(begin.ms() + n * MINUTE);
    for limit in [1, 3, 6, 100] {
        let scope = ReplayScope::Range {
            since: minute(2),
            until: minute(8),
        };
        let replay = test
            .store
            .create_replay(test.replay(webhook, scope))
            .await
            .unwrap();
        assert_eq!(replay.total, 6);
        assert_eq!(test.run(&replay, limit).await, keys[2..8]);
        assert_eq!(test.stored(&replay).await.examined, 6);
    }
    let scope = ReplayScope::Range {
        since: minute(9),
        until: minute(1_000),
    };
    let replay = test
        .store
        .create_replay(test.replay(webhook, scope))
        .await
        .unwrap();
    test.accept(test.event(HOME)).await;
    assert_eq!(replay.total, 1);
    assert_eq!(test.run(&replay, 10).await, keys[9..]);
}

/// What died at or after a time, of this webhook, and is still dead.
pub async fn what_failed_is_replayed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    test.dead_to(webhook).await;
    test.pass(MINUTE);
    let since = test.now();
    let mut failed = Vec::new();
    for _ in 0..4 {
        let id = test.dead_to(webhook).await;
        failed.push(test.get(id).await.event);
    }
    test.dead_to(test.webhook_id()).await;
    let fine = test.held_to(webhook).await;
    test.record(fine, webhook, 1, Next::Delivered).await;
    test.deliver_to(webhook).await;
    test.pass(MINUTE);
    for limit in [1, 3, 100] {
        let replay = test.replay(webhook, ReplayScope::FailedSince { since });
        let replay = test.store.create_replay(replay).await.unwrap();
        assert_eq!(replay.total, 4);
        assert_eq!(test.run(&replay, limit).await, failed);
    }
}

/// Even if it dies before the replay has ended.
pub async fn what_a_replay_made_is_no_candidate(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let since = test.now();
    for _ in 0..3 {
        test.dead_to(webhook).await;
    }
    test.pass(2);
    let replay = test
        .store
        .create_replay(test.replay(webhook, ReplayScope::FailedSince { since }))
        .await
        .unwrap();
    let mut examined = 0;
    loop {
        let (events, last) = test.step(&replay, 1).await;
        examined += events.len();
        for claimed in test.claim(webhook, 10).await {
            test.record(claimed.delivery.id, webhook, 1, Next::Dead)
                .await;
        }
        if last {
            break;
        }
    }
    assert_eq!(examined, 3);
    assert_eq!(
        test.list(DeliveryFilter {
            state: Some(DeliveryState::Dead),
            ..DeliveryFilter::default()
        })
        .await
        .len(),
        6
    );
}

/// A step that was made by somebody else meanwhile is refused whole.
pub async fn a_step_counts_once(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let since = test.now();
    for _ in 0..4 {
        test.accept(test.event(HOME)).await;
    }
    let scope = ReplayScope::Range {
        since,
        until: test.later(MINUTE),
    };
    let replay = test
        .store
        .create_replay(test.replay(webhook, scope))
        .await
        .unwrap();
    let step = test.store.replay_candidates(&replay, 2).await.unwrap();
    assert!(!step.last);
    let make = || {
        step.events
            .iter()
            .map(|event| test.delivery(event.key, webhook))
            .collect::<Vec<_>>()
    };
    assert!(
        test.store
            .advance_replay(&replay, step.clone(), make(), test.now())
            .await
            .unwrap()
    );
    let again = make();
    assert!(
        !test
            .store
            .advance_replay(&replay, step.clone(), again.clone(), test.now())
            .await
            .unwrap()
    );
    assert_eq!(test.store.delivery(HOME, again[0].id).await.unwrap(), None);
    let stored = test.stored(&replay).await;
    assert_eq!((stored.examined, stored.created), (2, 2));
    // Not every candidate need become a delivery.
    let rest = test.store.replay_candidates(&replay, 2).await.unwrap();
    assert!(rest.last);
    assert!(
        test.store
            .advance_replay(&replay, rest.clone(), Vec::new(), test.now())
            .await
            .unwrap()
    );
    assert!(
        !test
            .store
            .advance_replay(&replay, rest, Vec::new(), test.now())
            .await
            .unwrap()
    );
    let stored = test.stored(&replay).await;
    assert_eq!(
        (stored.state, stored.examined, stored.created),
        (ReplayState::Completed, 4, 2)
    );
}

/// From where it stood.
pub async fn a_replay_goes_on_after_a_restart(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let since = test.now();
    let mut keys = Vec::new();
    for _ in 0..5 {
        let new = test.event(HOME);
        keys.push(new.event.key);
        test.accept(new).await;
    }
    let scope = ReplayScope::Range {
        since,
        until: test.later(MINUTE),
    };
    let replay = test
        .store
        .create_replay(test.replay(webhook, scope))
        .await
        .unwrap();
    assert_eq!(test.step(&replay, 2).await, (keys[..2].to_vec(), false));
    let test = test.restart().await;
    let running = test.store.running_replays().await.unwrap();
    assert_eq!(running.len(), 1);
    assert_eq!(
        (running[0].id, running[0].examined, running[0].total),
        (replay.id, 2, 5)
    );
    assert_eq!(test.run(&running[0], 2).await, keys[2..]);
}

/// Newest first, by webhook and workspace.
pub async fn replays_are_listed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let webhook = test.webhook_id();
    let scope = ReplayScope::FailedSince { since: test.now() };
    let mut made = Vec::new();
    for _ in 0..3 {
        made.insert(
            0,
            test.store
                .create_replay(test.replay(webhook, scope))
                .await
                .unwrap(),
        );
        test.pass(1);
    }
    test.store
        .create_replay(test.replay(test.webhook_id(), scope))
        .await
        .unwrap();
    assert_eq!(
        test.store.replays(HOME, webhook, all()).await.unwrap(),
        made
    );
    let second = Page {
        after: Some(made[0].id),
        limit: 1,
    };
    assert_eq!(
        test.store.replays(HOME, webhook, second).await.unwrap(),
        made[1..2]
    );
    assert_eq!(
        test.store.replays(elsewhere, webhook, all()).await.unwrap(),
        []
    );
    assert_eq!(
        test.store.replay(elsewhere, made[0].id).await.unwrap(),
        None
    );
    let running = test.store.running_replays().await.unwrap();
    assert_eq!(running.len(), 4);
    assert!(running.is_sorted_by_key(|replay| replay.id));
}
