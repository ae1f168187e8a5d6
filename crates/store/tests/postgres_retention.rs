//! Spans of time in PostgreSQL: made, dropped, and kept where something of them is needed.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use domain::{
    DeliveryId, EventId, EventKey, Timestamp, WebhookId, WorkspaceId,
    attempt::Attempt,
    delivery::Next,
    event::{Event, EventType},
};
use store::{
    Accepted, Claim, FinishAttempt, Finished, NewDelivery, NewEvent, Retried, Store,
    postgres::{PostgresOptions, PostgresStore},
};
use testkit::postgres::{Database, database};
use uuid::Uuid;

const HOME: WorkspaceId = WorkspaceId::DEFAULT;
const MINUTE_MS: i64 = 60_000;
/// The start of the span that things happen in.
const BEGIN_MS: i64 = 1_767_225_600_000;

struct Test {
    store: Arc<PostgresStore>,
    sql: tokio_postgres::Client,
    webhook: WebhookId,
    /// Last, so that it is dropped last.
    _schema: Database,
}

impl Test {
    async fn new() -> Self {
        let schema = database();
        let mut options = PostgresOptions::new(Timestamp::from_ms(0));
        options.partition_span = Duration::from_mins(1);
        let store = PostgresStore::open(&schema.url(), options).await.unwrap();
        let (sql, connection) = tokio_postgres::connect(&schema.url(), tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        Self {
            store: Arc::new(store),
            sql,
            webhook: WebhookId::new(id(0, 1)),
            _schema: schema,
        }
    }

    /// Stores event number `number` with one delivery, in the first span.
    async fn accept(&self, number: u128) -> (EventKey, DeliveryId) {
        let key = EventKey::new(id(BEGIN_MS, 2 * number));
        let delivery = DeliveryId::new(id(BEGIN_MS, 2 * number + 1));
        let at = Timestamp::from_ms(BEGIN_MS);
        let new = NewEvent {
            event: Event {
                workspace: HOME,
                key,
                id: EventId::from_key(key),
                event_type: EventType::parse("order.paid").unwrap(),
                timestamp: at,
                accepted_at: at,
                data: Bytes::from_static(b"{}"),
                hops: 0,
            },
            id_given: false,
            idempotency_key: None,
            deliveries: vec![NewDelivery {
                id: delivery,
                event: key,
                webhook: self.webhook,
                held: true,
                ordered: false,
                replay: None,
            }],
        };
        assert_eq!(self.store.accept(vec![new]).await.unwrap(), [Accepted::New]);
        (key, delivery)
    }

    async fn finish(&self, delivery: DeliveryId, number: u32) {
        let finish = FinishAttempt {
            workspace: HOME,
            delivery,
            webhook: self.webhook,
            lease: self.store.lease(),
            attempt: Attempt {
                number,
                started_at: Timestamp::from_ms(BEGIN_MS),
                duration_us: 1_500,
                url: "https://receiver.example/".into(),
                status: Some(204),
                error: None,
                error_message: None,
                request_headers: String::new(),
                response_headers: String::new(),
                response_body: Bytes::new(),
                response_truncated: false,
                peer: None,
                tls_not_after: None,
            },
            next: Next::Delivered,
            failing_since: None,
        };
        let finished = self.store.finish_attempt(finish).await;
        assert_eq!(finished, Ok(Finished::Recorded));
    }

    /// Removes what is older than a minute after the first span.
    async fn prune(&self) -> usize {
        let before = Timestamp::from_ms(BEGIN_MS + MINUTE_MS);
        let none = Timestamp::from_ms(0);
        let mut removed = 0;
        loop {
            let pruned = self.store.prune(before, none, 100).await.unwrap();
            removed += pruned.events;
            if !pruned.more {
                return removed;
            }
        }
    }

    async fn retry(&self, delivery: DeliveryId) -> Retried {
        let now = Timestamp::from_ms(BEGIN_MS + MINUTE_MS);
        self.store.retry(HOME, delivery, now).await.unwrap()
    }

    async fn claimed(&self) -> Vec<EventKey> {
        let claim = Claim {
            workspace: HOME,
            webhook: self.webhook,
            ordered: false,
            now: Timestamp::from_ms(BEGIN_MS + MINUTE_MS),
            limit: 100,
        };
        let claimed = self.store.claim(claim).await.unwrap();
        claimed.iter().map(|claimed| claimed.event.key).collect()
    }

    async fn has(&self, event: EventKey) -> bool {
        self.store.event(HOME, event).await.unwrap().is_some()
    }

    async fn run(&self, sql: &str) {
        self.sql.batch_execute(sql).await.unwrap();
    }

    async fn spans(&self) -> i64 {
        let row = self.sql.query_one("SELECT count(*) FROM partitions", &[]);
        row.await.unwrap().get(0)
    }
}

fn id(ms: i64, number: u128) -> Uuid {
    let ms = u128::try_from(ms).unwrap();
    Uuid::from_u128(ms << 80 | 0x7 << 76 | 0b10 << 62 | number)
}

/// With its tables; events of the same time are taken again after that.
#[tokio::test]
async fn a_span_is_dropped_whole_and_made_again() {
    let test = Test::new().await;
    for round in 0..3 {
        let (_, delivery) = test.accept(round).await;
        test.finish(delivery, 1).await;
        assert_eq!(test.prune().await, 1);
        let of_span = format!("SELECT to_regclass('events_{BEGIN_MS}')::text");
        let row = test.sql.query_one(&of_span, &[]).await.unwrap();
        assert_eq!(row.get::<_, Option<String>>(0), None);
    }
}

/// Wherever it was.
#[tokio::test]
async fn a_drop_that_was_cut_short_goes_on() {
    let test = Test::new().await;
    let cuts = [
        String::new(),
        format!("ALTER TABLE events DETACH PARTITION events_{BEGIN_MS};"),
        format!(
            "ALTER TABLE events DETACH PARTITION events_{BEGIN_MS};
             ALTER TABLE finished_deliveries DETACH PARTITION finished_deliveries_{BEGIN_MS};
             ALTER TABLE attempts DETACH PARTITION attempts_{BEGIN_MS};"
        ),
        // As a concurrent DETACH leaves it that was cancelled while it waited.
        format!(
            "ALTER TABLE events DETACH PARTITION events_{BEGIN_MS};
             ALTER TABLE attempts DETACH PARTITION attempts_{BEGIN_MS};
             UPDATE pg_inherits SET inhdetachpending = true
             WHERE inhrelid = 'finished_deliveries_{BEGIN_MS}'::regclass;"
        ),
    ];
    for (round, cut) in cuts.iter().enumerate() {
        let (_, delivery) = test.accept(round as u128).await;
        test.finish(delivery, 1).await;
        let close = format!("UPDATE partitions SET closing = true WHERE from_ms = {BEGIN_MS};");
        test.run(&format!("{close} {cut}")).await;
        assert_eq!(test.retry(delivery).await, Retried::Unknown, "{cut}");
        assert_eq!(test.prune().await, 1, "{cut}");
        assert_eq!(test.store.delivery(HOME, delivery).await, Ok(None));
    }
}

/// A node whose clock is behind stored something in it when it was closing already.
#[tokio::test]
async fn a_closing_span_that_is_needed_is_opened_again() {
    let test = Test::new().await;
    let (needed, pending) = test.accept(1).await;
    let (finished, delivery) = test.accept(2).await;
    test.finish(delivery, 1).await;
    test.run("UPDATE partitions SET closing = true").await;
    assert_eq!(test.prune().await, 1);
    assert!(test.has(needed).await && !test.has(finished).await);
    test.finish(pending, 1).await;
    let (again, _) = test.accept(3).await;
    assert!(test.has(again).await);
}

/// Whichever comes first: what was made due again has its event, and what has not is unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_and_a_drop_at_once_agree() {
    let test = Test::new().await;
    for round in 0..20 {
        let (event, delivery) = test.accept(round).await;
        test.finish(delivery, 1).await;
        let (removed, retried) = tokio::join!(test.prune(), test.retry(delivery));
        let kept = retried == Retried::Due(test.webhook);
        assert_eq!(kept, removed == 0, "{retried:?}, {removed} removed");
        assert_eq!(kept, test.has(event).await);
        if kept {
            assert_eq!(test.claimed().await, [event]);
            test.finish(delivery, 2).await;
            assert_eq!(test.prune().await, 1);
        }
    }
}

/// Two nodes that store at once in spans that are missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_are_made_once() {
    let test = Arc::new(Test::new().await);
    let before = test.spans().await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..20 {
        let test = Arc::clone(&test);
        calls.spawn(async move { test.accept(number).await });
    }
    calls.join_all().await;
    assert!(test.spans().await > before);
}
