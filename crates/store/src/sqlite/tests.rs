//! What only the inside can show: the plans of queries, their cost on a backlog, a panic.

use domain::{DeliveryId, EventId, EventKey, Timestamp, WebhookId, WorkspaceId, event::Event};
use rusqlite::{Connection, StatementStatus, params};
use uuid::Uuid;

use super::{SqliteOptions, SqliteStore, claims, due, open, turns};
use crate::{Claim, NewDelivery, NewEvent, Store as _, StoreError};

const HOME: WorkspaceId = WorkspaceId::DEFAULT;

fn store() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(Timestamp::from_ms(0));
    let store = SqliteStore::open(&folder.path().join("signpost.db"), options).unwrap();
    (folder, store)
}

fn id(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number) << 80 | 0x7 << 76 | 0b10 << 62)
}

/// An event with many deliveries to one webhook that nobody holds, `number` apart.
fn backlog(number: u64, webhook: WebhookId, deliveries: u64) -> NewEvent {
    let key = EventKey::new(id(number));
    NewEvent {
        event: Event {
            workspace: HOME,
            key,
            id: EventId::from_key(key),
            event_type: domain::event::EventType::parse("order.paid").unwrap(),
            timestamp: Timestamp::from_ms(0),
            accepted_at: Timestamp::from_ms(0),
            data: bytes::Bytes::new(),
            hops: 0,
        },
        id_given: false,
        idempotency_key: None,
        deliveries: (1..=deliveries)
            .map(|index| NewDelivery {
                id: DeliveryId::new(id(number + index)),
                event: key,
                webhook,
                held: false,
                ordered: true,
                replay: None,
            })
            .collect(),
    }
}

fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let nulls = vec![rusqlite::types::Null; explain.parameter_count()];
    let lines = explain
        .query_map(rusqlite::params_from_iter(nulls), |row| row.get(3))
        .unwrap();
    lines.map(Result::unwrap).collect()
}

#[tokio::test]
async fn what_is_due_is_sought_in_an_index_never_scanned_or_sorted() {
    let (folder, _store) = store();
    let conn = open::connect(&folder.path().join("signpost.db")).unwrap();
    let queries = [
        due::NEXT_WEBHOOK,
        due::NEXT_WORKSPACE,
        due::NEXT_HOLDER,
        due::FIRST_DUE,
        due::DUE_OF_HOLDER,
        due::FIRST_IN_ORDER,
    ];
    for sql in queries {
        let plan = plan(&conn, sql);
        assert_eq!(plan.len(), 1, "{sql}: {plan:?}");
        assert!(
            plan[0].starts_with("SEARCH deliveries USING "),
            "{sql}: {plan:?}"
        );
        assert!(plan[0].contains("INDEX deliveries_"), "{sql}: {plan:?}");
    }
}

#[tokio::test]
async fn executions_that_are_due_or_take_turns_are_sought_never_scanned_or_sorted() {
    let (folder, _store) = store();
    let conn = open::connect(&folder.path().join("signpost.db")).unwrap();
    let queries = [
        (claims::LEFT, "executions_due"),
        (claims::DUE, "executions_due"),
        (claims::FIRST_LEFT, "executions_due"),
        (claims::FIRST_DUE, "executions_due"),
        (turns::BEGUN, "executions_open"),
        (turns::ADMIT, "executions_open"),
    ];
    for (sql, index) in queries {
        let plan = plan(&conn, sql);
        let searches: Vec<_> = plan
            .iter()
            .filter(|line| line.contains(" executions USING "))
            .collect();
        assert!(
            searches.iter().any(|line| line.contains(index)),
            "{sql}: {plan:?}"
        );
        assert!(
            searches.iter().all(|line| line.starts_with("SEARCH ")),
            "{sql}: {plan:?}"
        );
        assert!(
            plan.iter().all(|line| !line.contains("TEMP B-TREE")),
            "{sql}: {plan:?}"
        );
    }
}

#[tokio::test]
async fn a_dead_webhooks_backlog_costs_nothing_to_pass_by() {
    let (folder, store) = store();
    let (dead, live) = (WebhookId::new(id(1)), WebhookId::new(id(2)));
    store
        .accept(vec![backlog(1_000, dead, 20_000), backlog(50_000, live, 1)])
        .await
        .unwrap();
    let claim = |ordered| Claim {
        workspace: HOME,
        webhook: dead,
        ordered,
        now: Timestamp::from_ms(0),
        limit: 10_000,
    };
    assert_eq!(store.claim(claim(false)).await.unwrap().len(), 10_000);
    let conn = open::connect(&folder.path().join("signpost.db")).unwrap();
    let (workspace, webhook) = (HOME.number(), dead.uuid());
    let steps = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query(values).unwrap().mapped(|_| Ok(())).count();
        assert_eq!(
            statement.get_status(StatementStatus::FullscanStep),
            0,
            "{sql}"
        );
        assert_eq!(statement.get_status(StatementStatus::Sort), 0, "{sql}");
        (rows, statement.get_status(StatementStatus::VmStep))
    };
    let each: [(&str, &[&dyn rusqlite::ToSql]); 6] = [
        (due::NEXT_WEBHOOK, params![workspace, webhook.as_bytes()]),
        (due::NEXT_WORKSPACE, params![i64::MIN]),
        (
            due::NEXT_HOLDER,
            params![workspace, webhook.as_bytes(), -1, 2],
        ),
        (due::FIRST_DUE, params![workspace, webhook.as_bytes(), 0]),
        (
            due::DUE_OF_HOLDER,
            params![workspace, webhook.as_bytes(), 0, 5, 3],
        ),
        (
            due::FIRST_IN_ORDER,
            params![workspace, webhook.as_bytes(), 3],
        ),
    ];
    for (sql, values) in each {
        let (rows, steps) = steps(sql, values);
        assert!((1..=3).contains(&rows), "{sql}: {rows} rows");
        assert!(steps < 100, "{sql}: {steps} steps");
    }
    let due = store.due(None, 10).await.unwrap();
    assert_eq!(
        due.iter().map(|due| due.webhook).collect::<Vec<_>>(),
        [dead, live]
    );
}

#[tokio::test]
async fn a_panic_is_told_to_whoever_waits_and_stops_transitions_only() {
    let (_folder, store) = store();
    let webhook = WebhookId::new(id(1));
    store.accept(vec![backlog(10, webhook, 1)]).await.unwrap();
    let writer = store.writer.as_ref().unwrap();
    let answer: Result<(), _> = writer
        .apply(|batch| {
            batch.conn.execute("DELETE FROM events", [])?;
            panic!("a bug in a transition")
        })
        .await;
    let Err(StoreError::Failed(why)) = answer else {
        panic!("{answer:?}")
    };
    assert!(why.contains("a bug in a transition"), "{why}");
    let later = store.accept(vec![backlog(20, webhook, 1)]).await;
    assert!(matches!(later, Err(StoreError::Failed(_))), "{later:?}");
    // What was there is there, and can be read.
    assert!(
        store
            .event(HOME, EventKey::new(id(10)))
            .await
            .unwrap()
            .is_some()
    );
    store.close().await;
}
