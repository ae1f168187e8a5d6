//! Events in: durable, deduplicated, found again.

use domain::{EventId, EventKey, Timestamp, delivery::DeliveryState, event::EventType};

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE, all},
};
use crate::{Accepted, EventFilter, Page};

/// An accepted event and its deliveries can be read.
pub async fn an_event_is_stored_with_its_deliveries(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let (one, other) = (test.webhook_id(), test.webhook_id());
    let new = test.event_to(HOME, &[one, other]);
    test.accept(new.clone()).await;

    let stored = test.store.event(HOME, new.event.key).await.unwrap();
    assert_eq!(stored, Some(new.event.clone()));
    for made in &new.deliveries {
        let delivery = test.get(made.id).await;
        assert_eq!(delivery.event, new.event.key);
        assert_eq!(delivery.webhook, made.webhook);
        assert_eq!(delivery.state, DeliveryState::Pending);
        assert_eq!(delivery.attempts, 0);
        assert_eq!(delivery.next_attempt_at, Some(test.now()));
        assert_eq!(delivery.created_at, test.now());
        assert_eq!(delivery.finished_at, None);
        assert_eq!(delivery.replay, None);
    }
}

/// Nobody need want an event.
pub async fn an_event_without_deliveries_is_stored(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let new = test.event(HOME);
    test.accept(new.clone()).await;
    assert_eq!(
        test.store.event(HOME, new.event.key).await.unwrap(),
        Some(new.event)
    );
    assert_eq!(
        test.store
            .event(HOME, EventKey::new(test.id()))
            .await
            .unwrap(),
        None
    );
    assert_eq!(test.store.accept(Vec::new()).await.unwrap(), []);
}

/// Payload, times, hops and id are kept as they came.
pub async fn what_was_published_comes_back_byte_for_byte(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let mut new = test.event(HOME);
    new.event.data = (0..1_000_000_u32)
        .map(|n| n.to_le_bytes()[1])
        .collect::<Vec<u8>>()
        .into();
    new.event.timestamp = Timestamp::from_ms(-1);
    new.event.hops = 8;
    new.event.id = EventId::parse("order-17:paid/+=").unwrap();
    new.id_given = true;
    test.accept(new.clone()).await;
    assert_eq!(
        test.store.event(HOME, new.event.key).await.unwrap(),
        Some(new.event)
    );
}

/// The publisher's id deduplicates, and the first event is named.
pub async fn a_repeated_id_is_a_duplicate(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let mut first = test.event_to(HOME, &[webhook]);
    first.event.id = EventId::parse("order-17").unwrap();
    first.id_given = true;
    test.accept(first.clone()).await;

    let mut again = test.event_to(HOME, &[webhook]);
    again.event.id = first.event.id.clone();
    again.id_given = true;
    let answers = test.store.accept(vec![again.clone()]).await.unwrap();
    assert_eq!(
        answers,
        [Accepted::Duplicate {
            key: first.event.key,
            id: first.event.id
        }]
    );
    assert_eq!(test.store.event(HOME, again.event.key).await.unwrap(), None);
    assert_eq!(
        test.store
            .delivery(HOME, again.deliveries[0].id)
            .await
            .unwrap(),
        None
    );
}

/// So does an `Idempotency-Key`; the answer has the first event's id, given or generated.
pub async fn a_repeated_idempotency_key_is_a_duplicate(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    for (key, given) in [("k1", None), ("k2", Some("order-17"))] {
        let mut first = test.event(HOME);
        first.idempotency_key = Some(key.into());
        if let Some(id) = given {
            first.event.id = EventId::parse(id).unwrap();
            first.id_given = true;
        }
        test.accept(first.clone()).await;
        let mut again = test.event(HOME);
        again.idempotency_key = Some(key.into());
        let answers = test.store.accept(vec![again]).await.unwrap();
        assert_eq!(
            answers,
            [Accepted::Duplicate {
                key: first.event.key,
                id: first.event.id
            }]
        );
    }
    // An id is no idempotency key.
    let mut other = test.event(HOME);
    other.event.id = EventId::parse("k1").unwrap();
    other.id_given = true;
    test.accept(other).await;
}

/// Also the second of one call is told from the first; the others are stored.
pub async fn a_repeat_within_one_call_is_a_duplicate(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let mut batch = vec![
        test.event(HOME),
        test.event(HOME),
        test.event(HOME),
        test.event(HOME),
    ];
    for index in [0, 2] {
        batch[index].event.id = EventId::parse("order-17").unwrap();
        batch[index].id_given = true;
    }
    let answers = test.store.accept(batch.clone()).await.unwrap();
    let duplicate = Accepted::Duplicate {
        key: batch[0].event.key,
        id: batch[0].event.id.clone(),
    };
    assert_eq!(
        answers,
        [Accepted::New, Accepted::New, duplicate, Accepted::New]
    );
    for (index, stored) in [true, true, false, true].into_iter().enumerate() {
        let found = test
            .store
            .event(HOME, batch[index].event.key)
            .await
            .unwrap();
        assert_eq!(found.is_some(), stored, "event {index}");
    }
}

/// Whoever publishes the id that an earlier event was given means that event.
pub async fn a_given_id_that_was_generated_before_is_a_duplicate(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let first = test.event(HOME);
    test.accept(first.clone()).await;
    let mut again = test.event(HOME);
    again.event.id = first.event.id.clone();
    again.id_given = true;
    let answers = test.store.accept(vec![again]).await.unwrap();
    assert_eq!(
        answers,
        [Accepted::Duplicate {
            key: first.event.key,
            id: first.event.id
        }]
    );
}

/// Ids and keys deduplicate within their workspace only.
pub async fn the_same_id_in_two_workspaces_is_two_events(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    for workspace in [HOME, elsewhere] {
        let mut new = test.event(workspace);
        new.event.id = EventId::parse("order-17").unwrap();
        new.id_given = true;
        new.idempotency_key = Some("k".into());
        test.accept(new.clone()).await;
        let other = if workspace == HOME { elsewhere } else { HOME };
        assert_eq!(test.store.event(other, new.event.key).await.unwrap(), None);
        let found = test
            .store
            .event_by_id(workspace, &new.event.id)
            .await
            .unwrap();
        assert_eq!(found, Some(new.event));
        assert_eq!(
            test.store
                .events(workspace, EventFilter::default(), all())
                .await
                .unwrap()
                .len(),
            1
        );
    }
}

/// Given and generated ids find their event.
pub async fn an_event_is_found_by_its_public_id(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let generated = test.event(HOME);
    let mut given = test.event(HOME);
    given.event.id = EventId::parse("order-17").unwrap();
    given.id_given = true;
    // An id that looks generated but is the publisher's.
    let mut alike = test.event(HOME);
    alike.event.id = EventId::from_key(EventKey::new(test.id()));
    alike.id_given = true;
    for new in [&generated, &given, &alike] {
        test.accept(new.clone()).await;
        let found = test.store.event_by_id(HOME, &new.event.id).await.unwrap();
        assert_eq!(found.as_ref(), Some(&new.event));
        assert_eq!(
            test.store
                .event_by_id(elsewhere, &new.event.id)
                .await
                .unwrap(),
            None
        );
    }
    // The key of an event with an id of its own is not its public id.
    let key = EventId::from_key(given.event.key);
    assert_eq!(test.store.event_by_id(HOME, &key).await.unwrap(), None);
}

/// Page by page, each where the last one ended.
pub async fn events_are_listed_newest_first(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let mut keys = Vec::new();
    for _ in 0..7 {
        let new = test.event(HOME);
        keys.insert(0, new.event.key);
        test.accept(new).await;
        test.pass(1);
    }
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = Page { after, limit: 3 };
        let events = test
            .store
            .events(HOME, EventFilter::default(), page)
            .await
            .unwrap();
        listed.extend(events.iter().map(|event| event.key));
        if events.len() < 3 {
            break;
        }
        after = listed.last().copied();
    }
    assert_eq!(listed, keys);
}

/// `since` counts its instant, `until` does not.
pub async fn events_are_filtered_by_type_and_time(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let begin = test.now();
    let mut keys = Vec::new();
    for name in ["a.b", "c", "a.b", "c"] {
        let mut new = test.event(HOME);
        new.event.event_type = EventType::parse(name).unwrap();
        keys.push(new.event.key);
        test.accept(new).await;
        test.pass(MINUTE);
    }
    let minute = |n: i64| Some(Timestamp::from_ms(begin.ms() + n * MINUTE));
    let list = async |event_type: Option<&str>, since, until| {
        let event_type = event_type.map(|name| EventType::parse(name).unwrap());
        let filter = EventFilter {
            event_type,
            since,
            until,
        };
        let events = test.store.events(HOME, filter, all()).await.unwrap();
        events
            .into_iter()
            .map(|event| event.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(list(Some("a.b"), None, None).await, [keys[2], keys[0]]);
    assert_eq!(list(Some("a"), None, None).await, []);
    assert_eq!(list(None, minute(1), minute(3)).await, [keys[2], keys[1]]);
    assert_eq!(list(Some("c"), minute(2), None).await, [keys[3]]);
    assert_eq!(list(Some("c"), None, minute(3)).await, [keys[1]]);
}

/// Callers at the same time share commits; each gets its own answer.
pub async fn many_at_once_are_all_stored(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..200 {
        let mut new = test.event_to(HOME, &[test.webhook_id()]);
        // Every tenth repeats the id of the one before.
        new.event.id =
            EventId::parse(&format!("id-{}", number - i32::from(number % 10 == 9))).unwrap();
        new.id_given = true;
        let store = test.store.clone();
        calls.spawn(async move { store.accept(vec![new]).await.unwrap().remove(0) });
    }
    let answers = calls.join_all().await;
    let stored = answers
        .iter()
        .filter(|answer| **answer == Accepted::New)
        .count();
    assert_eq!(stored, 180);
    let events = test
        .store
        .events(HOME, EventFilter::default(), all())
        .await
        .unwrap();
    assert_eq!(events.len(), 180);
    assert_eq!(test.store.queue_depth().await.unwrap().pending, 180);
}
