//! What a claim costs while much waits: PostgreSQL at `DATABASE_URL`, in a schema of its own.
//!
//! `cargo bench -p store --bench claims [-- waiting [limit]]` makes `waiting` deliveries
//! (1,000,000) to a hundred webhooks, claims `limit` (100) at a time from one after the other, and
//! prints how long the claims took, the look for what is due, and the end of a node.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    DeliveryId, EventId, EventKey, Timestamp, WebhookId, WorkspaceId,
    event::{Event, EventType},
};
use store::{
    Claim, NewDelivery, NewEvent, Store,
    postgres::{PostgresOptions, PostgresStore, scratch},
};
use uuid::Uuid;

const NOW_MS: i64 = 1_767_225_600_000;
const WEBHOOKS: u128 = 100;
const EVENTS_AT_ONCE: usize = 50;

fn id(number: u128) -> Uuid {
    let ms = u128::try_from(NOW_MS).expect("after 1970");
    Uuid::from_u128(ms << 80 | 0x7 << 76 | 0b10 << 62 | number)
}

fn webhook(number: u128) -> WebhookId {
    WebhookId::new(id(number))
}

/// An event with a delivery to each webhook.
fn event(number: u128) -> NewEvent {
    let first = (number + 1) * 1_000;
    let key = EventKey::new(id(first));
    let now = Timestamp::from_ms(NOW_MS);
    NewEvent {
        event: Event {
            workspace: WorkspaceId::DEFAULT,
            key,
            id: EventId::from_key(key),
            event_type: EventType::parse("order.paid").expect("a name"),
            timestamp: now,
            accepted_at: now,
            data: vec![b'x'; 1_024].into(),
            hops: 0,
        },
        id_given: false,
        idempotency_key: None,
        deliveries: (0..WEBHOOKS)
            .map(|to| NewDelivery {
                id: DeliveryId::new(id(first + 1 + to)),
                event: key,
                webhook: webhook(to),
                held: false,
                ordered: false,
                replay: None,
            })
            .collect(),
    }
}

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse::<usize>().ok());
    let waiting = numbers.next().unwrap_or(1_000_000);
    let limit = numbers.next().unwrap_or(100);
    let Ok(url) = std::env::var("DATABASE_URL") else {
        println!("set DATABASE_URL to measure claims");
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let scratch = scratch::Scratch::create(&url, "bench_claims")
            .await
            .expect("a schema");
        measure(scratch.url(), waiting, limit).await;
        scratch.remove().await.expect("removed");
    });
}

async fn measure(url: &str, waiting: usize, limit: usize) {
    let options = PostgresOptions::new(Timestamp::from_ms(NOW_MS));
    let store = PostgresStore::open(url, options.clone())
        .await
        .expect("opened");
    let store = Arc::new(store);
    let events = waiting.div_ceil(WEBHOOKS as usize);
    for first in (0..events).step_by(EVENTS_AT_ONCE) {
        let batch = first..(first + EVENTS_AT_ONCE).min(events);
        let batch = batch.map(|number| event(number as u128)).collect();
        store.accept(batch).await.expect("stored");
    }
    let mut took = Vec::new();
    for round in 0..500_u128 {
        let began = Instant::now();
        let claimed = store
            .claim(Claim {
                workspace: WorkspaceId::DEFAULT,
                webhook: webhook(round % WEBHOOKS),
                ordered: false,
                now: Timestamp::from_ms(NOW_MS + 1_000),
                limit,
            })
            .await
            .expect("claimed");
        took.push(began.elapsed());
        assert_eq!(claimed.len(), limit.min(waiting / 100));
    }
    took.sort_unstable();
    println!(
        "{waiting} waiting: a claim of {limit} takes {} (p50), {} (p95), {} (p99), {} at most",
        ms(took[took.len() / 2]),
        ms(took[took.len() * 95 / 100]),
        ms(took[took.len() * 99 / 100]),
        ms(took[took.len() - 1]),
    );
    let began = Instant::now();
    let due = store.due(None, 1_000).await.expect("read").len();
    println!("what is due at {due} webhooks: {}", ms(began.elapsed()));
    let held = store.queue_depth().await.expect("counted").held;
    let began = Instant::now();
    store.close().await;
    println!("a node that held {held} ends: {}", ms(began.elapsed()));
}

fn ms(took: Duration) -> String {
    format!("{:.2} ms", took.as_secs_f64() * 1_000.0)
}
