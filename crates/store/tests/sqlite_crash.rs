//! What was acknowledged survives a `kill -9`.
//!
//! The test starts itself again as a child that accepts events and finishes attempts as fast as
//! it can and prints each acknowledgement; it is killed in the midst of that.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::{
    DeliveryId, EventId, EventKey, Timestamp, WebhookId, WorkspaceId,
    attempt::Attempt,
    delivery::{DeliveryState, Next},
    event::{Event, EventType},
};
use store::{
    Accepted, FinishAttempt, Finished, NewDelivery, NewEvent, SharedStore,
    sqlite::{SqliteOptions, SqliteStore},
};
use uuid::Uuid;

/// Names the database for the child; a run without it is no child.
const DATABASE: &str = "SIGNPOST_TEST_CRASH_DATABASE";

fn open(path: &Path) -> SharedStore {
    Arc::new(SqliteStore::open(path, SqliteOptions::new(Timestamp::from_ms(0))).expect("opened"))
}

fn start(database: &Path) -> Child {
    let test = std::env::current_exe().expect("this test's own file");
    Command::new(test)
        .args(["--exact", "child", "--nocapture"])
        .env(DATABASE, database)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started")
}

/// An acknowledgement as the child prints it: `accepted <event> <delivery>`, `delivered <delivery>`.
#[derive(Default)]
struct Acknowledged {
    accepted: Vec<(EventKey, DeliveryId)>,
    delivered: Vec<DeliveryId>,
}

impl Acknowledged {
    fn add(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["accepted", key, delivery] => {
                self.accepted.push((
                    key.parse().expect("a key"),
                    delivery.parse().expect("an id"),
                ));
            }
            ["delivered", delivery] => self.delivered.push(delivery.parse().expect("an id")),
            // The test harness has its own lines.
            _ => {}
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("signpost.db");
    let mut known = Acknowledged::default();
    for acknowledgements in [1, 150, 1_000, 2_500] {
        let mut child = start(&database);
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut seen = 0;
        for line in lines {
            let line = line.expect("text");
            // A kill can cut the last line short.
            if line.ends_with('.') {
                known.add(line.trim_end_matches('.'));
                seen += 1;
            }
            if seen == acknowledgements {
                child.kill().expect("killed");
            }
        }
        child.wait().expect("ended");
        assert!(seen >= acknowledgements, "the child ended by itself");
        check(&open(&database), &known).await;
    }
}

async fn check(store: &SharedStore, known: &Acknowledged) {
    for (key, delivery) in &known.accepted {
        let event = store.event(WorkspaceId::DEFAULT, *key).await.expect("read");
        assert!(event.is_some(), "{key} was acknowledged and is lost");
        let delivery = store
            .delivery(WorkspaceId::DEFAULT, *delivery)
            .await
            .expect("read");
        assert!(
            delivery.is_some(),
            "a delivery of {key} was acknowledged and is lost"
        );
    }
    for id in &known.delivered {
        let delivery = store
            .delivery(WorkspaceId::DEFAULT, *id)
            .await
            .expect("read")
            .expect("stored");
        assert_eq!(delivery.state, DeliveryState::Delivered, "{id}");
        let attempts = store
            .attempts(WorkspaceId::DEFAULT, *id)
            .await
            .expect("read");
        assert_eq!(attempts.len(), 1, "{id}");
    }
    store.close().await;
}

/// The child; as a test of its own it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(database) = std::env::var_os(DATABASE).map(PathBuf::from) else {
        return;
    };
    let store = open(&database);
    // Ids of different children differ in their time.
    let start = u64::try_from(store.lease().0).expect("positive") * 1_000_000_000;
    let next = Arc::new(AtomicU64::new(start));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, next) = (Arc::clone(&store), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                accept_and_finish(&store, &next).await;
            }
        });
    }
    tasks.join_all().await;
}

async fn accept_and_finish(store: &SharedStore, next: &AtomicU64) {
    let id = || {
        let count = u128::from(next.fetch_add(1, Ordering::Relaxed));
        Uuid::from_u128(count << 80 | 0x7 << 76 | 0b10 << 62)
    };
    let (key, webhook) = (EventKey::new(id()), WebhookId::new(Uuid::max()));
    let delivery = NewDelivery {
        id: DeliveryId::new(id()),
        event: key,
        webhook,
        held: true,
        ordered: false,
        replay: None,
    };
    let event = Event {
        workspace: WorkspaceId::DEFAULT,
        key,
        id: EventId::from_key(key),
        event_type: EventType::parse("order.paid").expect("a name"),
        timestamp: Timestamp::from_ms(0),
        accepted_at: Timestamp::from_ms(0),
        data: vec![b'x'; 1_000].into(),
        hops: 0,
    };
    let new = NewEvent {
        event,
        id_given: false,
        idempotency_key: None,
        deliveries: vec![delivery],
    };
    assert_eq!(store.accept(vec![new]).await, Ok(vec![Accepted::New]));
    tell(&format!("accepted {key} {}.\n", delivery.id));
    let finish = FinishAttempt {
        workspace: WorkspaceId::DEFAULT,
        delivery: delivery.id,
        webhook,
        lease: store.lease(),
        attempt: attempt(),
        next: Next::Delivered,
        failing_since: None,
    };
    assert_eq!(store.finish_attempt(finish).await, Ok(Finished::Recorded));
    tell(&format!("delivered {}.\n", delivery.id));
}

fn attempt() -> Attempt {
    Attempt {
        number: 1,
        started_at: Timestamp::from_ms(0),
        duration_us: 10,
        url: "https://receiver.example/".into(),
        status: Some(200),
        error: None,
        error_message: None,
        request_headers: String::new(),
        response_headers: String::new(),
        response_body: bytes::Bytes::new(),
        response_truncated: false,
        peer: None,
        tls_not_after: None,
    }
}

/// Prints a line at once and whole.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())
        .and_then(|()| out.flush())
        .expect("the parent listens");
}
