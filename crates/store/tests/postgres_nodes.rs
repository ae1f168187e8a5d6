//! Several processes' stores over one database: who holds what, and until when.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{
    DeliveryId, EventId, EventKey, Timestamp, WebhookId, WorkspaceId,
    attempt::Attempt,
    delivery::{DeliveryState, Next},
    event::{Event, EventType},
};
use store::{
    Accepted, Announcement, Change, Claim, Claimed, FinishAttempt, Finished, Identity, Lease,
    NewDelivery, NewEvent, Store, StoreError,
    postgres::{PostgresOptions, PostgresStore},
};
use testkit::postgres::{Cluster, Database, Gate, database};
use uuid::Uuid;

const HOME: WorkspaceId = WorkspaceId::DEFAULT;
const NOW_MS: i64 = 1_767_225_600_000;
/// How long a lease runs here.
const LEASE: Duration = Duration::from_millis(1_200);

static MADE: AtomicU64 = AtomicU64::new(1);

/// A new id, greater than all before.
fn next_id() -> Uuid {
    let made = u128::from(MADE.fetch_add(1, Ordering::Relaxed));
    let ms = u128::try_from(NOW_MS).expect("after 1970");
    Uuid::from_u128(ms << 80 | 0x7 << 76 | 0b10 << 62 | made)
}

fn now() -> Timestamp {
    Timestamp::from_ms(NOW_MS)
}

fn options(number: u128) -> PostgresOptions {
    PostgresOptions {
        identity: Identity {
            id: Uuid::from_u128(number),
            name: format!("node-{number}"),
            ..Identity::default()
        },
        lease: LEASE,
        ..PostgresOptions::new(now())
    }
}

async fn join(url: &str, number: u128) -> Arc<PostgresStore> {
    let opened = PostgresStore::open(url, options(number)).await;
    Arc::new(opened.expect("the database can be opened"))
}

fn event_to(webhook: WebhookId, held: bool, ordered: bool) -> NewEvent {
    let key = EventKey::new(next_id());
    NewEvent {
        event: Event {
            workspace: HOME,
            key,
            id: EventId::from_key(key),
            event_type: EventType::parse("order.paid").expect("a name"),
            timestamp: now(),
            accepted_at: now(),
            data: br#"{"total":17}"#[..].into(),
            hops: 0,
        },
        id_given: false,
        idempotency_key: None,
        deliveries: vec![NewDelivery {
            id: DeliveryId::new(next_id()),
            event: key,
            webhook,
            held,
            ordered,
            replay: None,
        }],
    }
}

async fn accept(store: &PostgresStore, new: NewEvent) -> DeliveryId {
    let id = new.deliveries[0].id;
    assert_eq!(store.accept(vec![new]).await, Ok(vec![Accepted::New]));
    id
}

async fn claim(store: &PostgresStore, webhook: WebhookId, ordered: bool) -> Vec<Claimed> {
    let claim = Claim {
        workspace: HOME,
        webhook,
        ordered,
        now: now(),
        limit: 10,
    };
    store.claim(claim).await.expect("claimed")
}

fn ids(claimed: &[Claimed]) -> Vec<DeliveryId> {
    claimed.iter().map(|claimed| claimed.delivery.id).collect()
}

fn finish(delivery: DeliveryId, webhook: WebhookId, lease: Lease, next: Next) -> FinishAttempt {
    FinishAttempt {
        workspace: HOME,
        delivery,
        webhook,
        lease,
        attempt: Attempt {
            number: 1,
            started_at: now(),
            duration_us: 1_500,
            url: "https://receiver.example/hook".into(),
            status: Some(200),
            error: None,
            error_message: None,
            request_headers: String::new(),
            response_headers: String::new(),
            response_body: bytes::Bytes::new(),
            response_truncated: false,
            peer: None,
            tls_not_after: None,
        },
        next,
        failing_since: None,
    }
}

/// Waits for what must come true.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

async fn pending_of(store: &PostgresStore, id: DeliveryId) -> DeliveryState {
    store
        .delivery(HOME, id)
        .await
        .expect("read")
        .expect("there is one")
        .state
}

#[tokio::test]
async fn what_one_node_holds_another_does_not_take() {
    let database = database();
    let (one, two) = (
        join(&database.url(), 1).await,
        join(&database.url(), 2).await,
    );
    let webhook = WebhookId::new(next_id());
    let held = accept(&one, event_to(webhook, true, false)).await;
    let free = accept(&one, event_to(webhook, false, false)).await;
    assert_eq!(ids(&claim(&two, webhook, false).await), [free]);
    assert!(claim(&one, webhook, false).await.is_empty());
    // Nor can it write what came of it.
    let foreign = finish(held, webhook, two.lease(), Next::Delivered);
    assert_eq!(two.finish_attempt(foreign).await, Ok(Finished::LeaseLost));
    let own = finish(held, webhook, one.lease(), Next::Delivered);
    assert_eq!(one.finish_attempt(own).await, Ok(Finished::Recorded));
    one.close().await;
    two.close().await;
}

/// The one that was cut off stops by itself, before the other takes over; its result comes too
/// late; it goes on under a new lease.
#[tokio::test]
async fn a_node_that_is_cut_off_loses_what_it_holds_and_comes_back() {
    let database = database();
    let gate = Gate::before(&database.url());
    let (one, two) = (join(gate.url(), 1).await, join(&database.url(), 2).await);
    let webhook = WebhookId::new(next_id());
    let held = accept(&one, event_to(webhook, true, false)).await;
    let lost = one.lease();
    gate.silence();
    let mut taken = Vec::new();
    until("the other one takes over", async || {
        taken = ids(&claim(&two, webhook, false).await);
        !taken.is_empty()
    })
    .await;
    assert_eq!(taken, [held]);
    assert!(!one.holds(lost), "it had stopped before");
    gate.open();
    until("it has a new lease", async || {
        one.lease() > lost && one.holds(one.lease())
    })
    .await;
    assert!(!one.holds(lost));
    let late = finish(held, webhook, lost, Next::Dead);
    assert_eq!(one.finish_attempt(late).await, Ok(Finished::LeaseLost));
    assert_eq!(pending_of(&two, held).await, DeliveryState::Pending);
    let right = finish(held, webhook, two.lease(), Next::Delivered);
    assert_eq!(two.finish_attempt(right).await, Ok(Finished::Recorded));
    assert_eq!(one.attempts(HOME, held).await.map(|all| all.len()), Ok(1));
    let nodes = two.nodes().await.expect("read");
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn a_node_that_closes_leaves_nothing_held() {
    let database = database();
    let (one, two) = (
        join(&database.url(), 1).await,
        join(&database.url(), 2).await,
    );
    let webhook = WebhookId::new(next_id());
    let held = accept(&one, event_to(webhook, true, false)).await;
    one.close().await;
    assert_eq!(ids(&claim(&two, webhook, false).await), [held]);
    let nodes = two.nodes().await.expect("read");
    let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["node-2"]);
    assert!(nodes[0].is_self);
    two.close().await;
}

/// Its folder is locked: there is nobody to wait for.
#[tokio::test]
async fn a_process_takes_over_from_the_one_before_it_at_once() {
    let database = database();
    let webhook = WebhookId::new(next_id());
    let one = join(&database.url(), 1).await;
    let held = accept(&one, event_to(webhook, true, false)).await;
    // As after `kill -9`: the first one never says goodbye.
    let again = join(&database.url(), 1).await;
    assert!(again.lease() > one.lease());
    assert_eq!(ids(&claim(&again, webhook, false).await), [held]);
    let late = finish(held, webhook, one.lease(), Next::Dead);
    assert_eq!(again.finish_attempt(late).await, Ok(Finished::LeaseLost));
    again.close().await;
    one.close().await;
}

/// What is accepted as held under a lease that was ended is free.
#[tokio::test]
async fn nothing_is_held_under_a_lease_that_has_ended() {
    let database = database();
    let webhook = WebhookId::new(next_id());
    let one = join(&database.url(), 1).await;
    let ended = one.lease();
    let again = join(&database.url(), 1).await;
    let accepted = accept(&one, event_to(webhook, true, false)).await;
    assert!(!one.holds(ended), "it knows before it is answered");
    until("it is taken", async || {
        ids(&claim(&again, webhook, false).await) == [accepted]
            || one.lease() != ended && again.lease() < one.lease()
    })
    .await;
    again.close().await;
    one.close().await;
}

#[tokio::test]
async fn an_ordered_webhook_is_one_nodes_at_a_time_and_in_the_order_of_answers() {
    let database = database();
    let (one, two) = (
        join(&database.url(), 1).await,
        join(&database.url(), 2).await,
    );
    let webhook = WebhookId::new(next_id());
    let mut made = Vec::new();
    for number in 0..6 {
        let store = if number % 2 == 0 { &one } else { &two };
        let mut new = event_to(webhook, false, true);
        if number == 3 {
            // A node whose clock is behind.
            new.deliveries[0].id = DeliveryId::new(Uuid::from_u128(1 << 100));
        }
        made.push(accept(store, new).await);
    }
    let claimed = claim(&one, webhook, true).await;
    assert_eq!(ids(&claimed), made);
    assert!(claim(&two, webhook, true).await.is_empty());
    let head = finish(made[0], webhook, one.lease(), Next::RetryAt(now()));
    assert_eq!(one.finish_attempt(head).await, Ok(Finished::Recorded));
    assert!(claim(&two, webhook, true).await.is_empty(), "five are held");
    let rest: Vec<_> = made[1..]
        .iter()
        .map(|id| (HOME, *id, one.lease()))
        .collect();
    one.release(rest, now()).await.expect("released");
    assert_eq!(ids(&claim(&two, webhook, true).await), made);
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn changes_and_notes_reach_the_others() {
    let database = database();
    let (one, two) = (
        join(&database.url(), 1).await,
        join(&database.url(), 2).await,
    );
    let start = two.changes(None).await.expect("read");
    assert_eq!(start.what, Some(Vec::new()));
    assert_eq!(two.notes().await, Ok(Vec::new()));
    let webhook = WebhookId::new(next_id());
    // There is none: nothing changes.
    assert_eq!(one.delete_webhook(HOME, webhook, now()).await, Ok(false));
    let made = one
        .create_event_type(store::CustomEventType {
            workspace: HOME,
            name: EventType::parse("order.paid").expect("a name"),
            description: String::new(),
            schema: None,
            example: None,
            enforce: false,
            created_at: now(),
        })
        .await;
    assert_eq!(made, Ok(true));
    let changes = two.changes(Some(start.to)).await.expect("read");
    assert_eq!(
        changes.what,
        Some(vec![Change::EventType(HOME, "order.paid".to_owned())])
    );
    assert_eq!(
        two.changes(Some(changes.to)).await.map(|none| none.what),
        Ok(Some(Vec::new()))
    );
    let said = vec!["one".to_owned(), "two".to_owned()];
    one.leave_notes(said.clone()).await.expect("left");
    assert_eq!(two.notes().await, Ok(said));
    assert_eq!(two.notes().await, Ok(Vec::new()));
    assert_eq!(one.notes().await, Ok(Vec::new()), "not its own");
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn nodes_see_what_the_others_say_of_themselves() {
    let database = database();
    let (one, two) = (
        join(&database.url(), 1).await,
        join(&database.url(), 2).await,
    );
    let about = Announcement {
        address: Some("10.0.0.1:8000".to_owned()),
        draining: true,
        in_flight: 7,
        watches: true,
        counted_to: Some(two.lease()),
    };
    one.announce(about.clone()).await.expect("announced");
    let nodes = two.nodes().await.expect("read");
    assert_eq!(nodes[0].about, about);
    assert_eq!(nodes[0].lease, one.lease());
    assert!(!nodes[0].is_self && nodes[1].is_self);
    one.close().await;
    two.close().await;
}

/// Connections are cut, again and again, at any moment of what is under way: what was answered
/// is there, once, and what was refused is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_lose_and_double_nothing() {
    let database = database();
    let store = join(&database.url(), 1).await;
    let webhook = WebhookId::new(next_id());
    let done = Arc::new(AtomicBool::new(false));
    let cutting = tokio::spawn(cut(database.url(), Arc::clone(&done)));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        workers.spawn(async move {
            let mut answered = Vec::new();
            for _ in 0..60 {
                let new = event_to(webhook, true, false);
                let (key, id) = (new.event.key, new.deliveries[0].id);
                let lease = store.lease();
                let accepted = store.accept(vec![new]).await;
                if let Ok(answers) = &accepted {
                    assert_eq!(answers, &[Accepted::New]);
                    let end = finish(id, webhook, lease, Next::Delivered);
                    let finished = store.finish_attempt(end).await;
                    assert!(
                        matches!(
                            finished,
                            Ok(Finished::Recorded) | Err(StoreError::Unavailable(_))
                        ),
                        "{finished:?}"
                    );
                    answered.push((key, id, finished.is_ok()));
                } else {
                    assert!(
                        matches!(accepted, Err(StoreError::Unavailable(_))),
                        "{accepted:?}"
                    );
                }
            }
            answered
        });
    }
    let answered: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    done.store(true, Ordering::Relaxed);
    let cuts = cutting.await.expect("it does not panic");
    assert!(cuts > 0);
    assert!(!answered.is_empty());
    let mut seen = HashSet::new();
    for (key, id, recorded) in answered {
        assert!(seen.insert(id));
        assert!(store.event(HOME, key).await.expect("read").is_some());
        let attempts = store.attempts(HOME, id).await.expect("read");
        if recorded {
            assert_eq!(pending_of(&store, id).await, DeliveryState::Delivered);
            assert_eq!(attempts.len(), 1);
        }
    }
    store.close().await;
}

/// Ends every connection to the schema's database but its own, until `done`; answers how often.
async fn cut(url: String, done: Arc<AtomicBool>) -> usize {
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .expect("connected");
    let driven = tokio::spawn(connection);
    let schema: String = client
        .query_one("SELECT current_schema()::text", &[])
        .await
        .expect("asked")
        .get(0);
    let mut cuts = 0;
    while !done.load(Ordering::Relaxed) {
        // Only those that have just worked on this schema's tables: other tests share the server.
        let ended = client
            .query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE pid <> pg_backend_pid() AND pid IN (
                     SELECT l.pid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1)",
                &[&schema],
            )
            .await
            .expect("asked");
        cuts += ended.len();
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    driven.abort();
    cuts
}

/// A publisher that asks another node before the first has answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_two_nodes_are_given_at_once_is_one_event() {
    let database = database();
    let (one, two) = (
        join(&database.url(), 1).await,
        join(&database.url(), 2).await,
    );
    let webhook = WebhookId::new(next_id());
    for round in 0..40 {
        let mut calls = tokio::task::JoinSet::new();
        for call in 0..8 {
            let store = Arc::clone(if call % 2 == 0 { &one } else { &two });
            let mut new = event_to(webhook, true, false);
            new.event.id = EventId::parse(&format!("given-{round}")).expect("an id");
            new.id_given = true;
            new.idempotency_key = Some(format!("key-{round}"));
            calls.spawn(async move { store.accept(vec![new]).await });
        }
        let answers: Vec<_> = calls
            .join_all()
            .await
            .into_iter()
            .map(|answer| answer.expect("accepted")[0].clone())
            .collect();
        let new = answers.iter().filter(|answer| **answer == Accepted::New);
        assert_eq!(new.count(), 1, "{answers:?}");
    }
    one.close().await;
    two.close().await;
}

/// Nodes of two versions run side by side during an upgrade.
#[tokio::test]
async fn what_only_a_newer_version_knows_stops_nobody() {
    let database = database();
    let (one, two) = (
        join(&database.url(), 1).await,
        join(&database.url(), 2).await,
    );
    let start = one.changes(None).await.expect("read");
    execute(
        &database,
        "WITH next AS (UPDATE installation SET change = change + 1 RETURNING change)
         INSERT INTO changes (change, kind) SELECT change, 999 FROM next",
    )
    .await;
    let changes = one.changes(Some(start.to)).await.expect("read");
    assert_eq!((changes.to, changes.what), (start.to + 1, None));
    let changes = one.changes(Some(changes.to)).await.expect("read");
    assert_eq!(changes.what, Some(Vec::new()));
    let role = format!(
        "UPDATE nodes SET role = 999 WHERE lease = {}",
        two.lease().0
    );
    execute(&database, &role).await;
    let nodes = one.nodes().await.expect("read");
    let delivers: Vec<_> = nodes.iter().map(|node| node.role.delivers()).collect();
    assert_eq!(delivers, [true, false]);
    one.close().await;
    two.close().await;
}

/// A program that does not know the schema's version works with it if the schema says so.
#[tokio::test]
async fn an_older_program_works_with_a_newer_schema_that_allows_it() {
    let database = database();
    join(&database.url(), 1).await.close().await;
    let known = facts_version(&database).await;
    version(&database, known + 1, known).await;
    let store = join(&database.url(), 1).await;
    let webhook = WebhookId::new(next_id());
    accept(&store, event_to(webhook, false, false)).await;
    store.close().await;
    version(&database, known + 2, known + 1).await;
    let refused = PostgresStore::open(&database.url(), options(1)).await;
    assert_eq!(
        refused.err(),
        Some(StoreError::Newer {
            found: known + 2,
            known
        })
    );
}

async fn facts_version(database: &Database) -> u32 {
    let store = join(&database.url(), 3).await;
    let facts = store.facts().await.expect("read");
    store.close().await;
    facts.schema_version
}

async fn version(database: &Database, version: u32, oldest: u32) {
    let insert =
        format!("INSERT INTO schema_versions (version, oldest) VALUES ({version}, {oldest})");
    execute(database, &insert).await;
}

/// Does to the database what no store does.
async fn execute(database: &Database, sql: &str) {
    let (client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls)
        .await
        .expect("connected");
    let driven = tokio::spawn(connection);
    client.batch_execute(sql).await.expect("written");
    driven.abort();
}

/// The server is killed in the midst of commits and comes back: what was answered is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_keeps_what_was_answered() {
    let cluster = Cluster::start();
    let store = join(cluster.url(), 1).await;
    let webhook = WebhookId::new(next_id());
    let done = Arc::new(AtomicBool::new(false));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        workers.spawn(async move {
            let mut answered = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let new = event_to(webhook, false, false);
                let key = new.event.key;
                match store.accept(vec![new]).await {
                    Ok(answers) => {
                        assert_eq!(answers, [Accepted::New]);
                        answered.push(key);
                    }
                    Err(error) => {
                        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
                    }
                }
            }
            answered
        });
    }
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cluster.stop_immediately();
        cluster.start_again();
        until("it answers again", async || {
            store.user_count().await.is_ok()
        })
        .await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    done.store(true, Ordering::Relaxed);
    let answered: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    assert!(answered.len() > 10, "{}", answered.len());
    for key in answered {
        assert!(store.event(HOME, key).await.expect("read").is_some());
    }
    store.close().await;
}
