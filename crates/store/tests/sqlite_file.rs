//! The file itself: whose it is, who has it open, what happens when the disk is full.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use domain::{
    DeliveryId, EventId, EventKey, Timestamp, WebhookId, WorkspaceId,
    event::{Event, EventType},
};
use store::{
    Accepted, DeliveryFilter, EventFilter, NewDelivery, NewEvent, Page, SharedStore, StoreError,
    sqlite::{SqliteOptions, SqliteStore},
};
use uuid::Uuid;

const HOME: WorkspaceId = WorkspaceId::DEFAULT;

fn options() -> SqliteOptions {
    SqliteOptions::new(Timestamp::from_ms(0))
}

fn open(path: &Path) -> Result<SharedStore, StoreError> {
    SqliteStore::open(path, options()).map(|store| Arc::new(store) as SharedStore)
}

fn id(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number) << 80 | 0x7 << 76 | 0b10 << 62)
}

fn event(number: u64, bytes: usize) -> NewEvent {
    let key = EventKey::new(id(2 * number));
    let delivery = NewDelivery {
        id: DeliveryId::new(id(2 * number + 1)),
        event: key,
        webhook: WebhookId::new(Uuid::nil()),
        held: false,
        ordered: false,
        replay: None,
    };
    NewEvent {
        event: Event {
            workspace: HOME,
            key,
            id: EventId::from_key(key),
            event_type: EventType::parse("order.paid").unwrap(),
            timestamp: Timestamp::from_ms(0),
            accepted_at: Timestamp::from_ms(0),
            data: vec![b'x'; bytes].into(),
            hops: 0,
        },
        id_given: false,
        idempotency_key: None,
        deliveries: vec![delivery],
    }
}

#[tokio::test]
async fn a_new_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/signpost.db");
    let store = open(&path).unwrap();
    store.accept(vec![event(1, 10)]).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for name in [
        "signpost.db",
        "signpost.db-wal",
        "signpost.db-shm",
        "signpost.db.lock",
    ] {
        assert_eq!(mode(&path.with_file_name(name)), 0o600, "{name}");
    }
    store.close().await;
    // A clean end leaves one file to copy, and the lock's.
    let mut left: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["signpost.db", "signpost.db.lock"]);
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signpost.db");
    let store = open(&path).unwrap();
    assert_eq!(
        open(&path).err(),
        Some(StoreError::InUse(Some(std::process::id())))
    );
    store.close().await;
    let again = open(&path).unwrap();
    drop(again);
    open(&path).unwrap().close().await;
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "Not a database. ".repeat(100)).unwrap();
    let other = folder.path().join("other.db");
    let conn = rusqlite::Connection::open(&other).unwrap();
    conn.execute_batch("CREATE TABLE songs (title TEXT)")
        .unwrap();
    drop(conn);
    for path in [text, other] {
        let before = std::fs::read(&path).unwrap();
        let Err(StoreError::Failed(message)) = open(&path) else {
            panic!("opened {}", path.display())
        };
        assert!(message.contains("is not a Signpost database"), "{message}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signpost.db");
    let store = open(&path).unwrap();
    let known = store.facts().await.unwrap().schema_version;
    store.close().await;
    drop(store);
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", known + 1).unwrap();
    drop(conn);
    assert_eq!(
        open(&path).err(),
        Some(StoreError::Newer {
            found: known + 1,
            known
        })
    );
}

#[tokio::test]
async fn a_full_disk_refuses_new_events_and_heals_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signpost.db");
    let full = SqliteOptions {
        pages_max: Some(400),
        ..options()
    };
    let store: SharedStore = Arc::new(SqliteStore::open(&path, full).unwrap());
    let mut stored = 0;
    let refused = loop {
        match store.accept(vec![event(stored + 1, 10_000)]).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, StoreError::Full);
    assert!(stored > 10);
    // Nothing of what was refused is left; reading goes on, and so does what needs no room.
    assert_eq!(
        store.event(HOME, EventKey::new(id(2 * (stored + 1)))).await,
        Ok(None)
    );
    let page = Page {
        after: None,
        limit: 1_000,
    };
    let rows = store
        .deliveries(HOME, DeliveryFilter::default(), page)
        .await
        .unwrap();
    assert_eq!(rows.len() as u64, stored);
    assert_eq!(store.queue_depth().await.unwrap().pending, stored);
    assert_eq!(
        store.accept(vec![event(stored + 1, 10_000)]).await,
        Err(StoreError::Full)
    );
    assert_eq!(
        store.bury_orphans(Timestamp::from_ms(5), 1_000).await,
        Ok(rows.len())
    );
    let pruned = store
        .prune(Timestamp::from_ms(1_000_000), Timestamp::from_ms(0), 10)
        .await
        .unwrap();
    assert_eq!(pruned.events, 10);
    // With room again.
    assert_eq!(
        store.accept(vec![event(stored + 1, 10_000)]).await,
        Ok(vec![Accepted::New])
    );
    store.close().await;
}

#[tokio::test]
async fn one_that_fails_half_way_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("signpost.db")).unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for number in 1..=60 {
        let mut new = event(number, 100);
        let broken = number % 20 == 0;
        if broken {
            // The second insert of the same delivery fails, after the event's went well.
            new.deliveries.push(new.deliveries[0]);
        }
        let store = Arc::clone(&store);
        calls.spawn(async move { (new.event.key, broken, store.accept(vec![new]).await) });
    }
    for (key, broken, answer) in calls.join_all().await {
        assert_eq!(
            matches!(answer, Err(StoreError::Failed(_))),
            broken,
            "{answer:?}"
        );
        assert_eq!(store.event(HOME, key).await.unwrap().is_none(), broken);
    }
    assert_eq!(store.queue_depth().await.unwrap().pending, 57);
    store.close().await;
}

#[tokio::test]
async fn the_log_stays_bounded_under_constant_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signpost.db");
    let store = open(&path).unwrap();
    let mut longest = 0;
    for number in 1..=200 {
        store.accept(vec![event(number, 1_000_000)]).await.unwrap();
        longest = longest.max(
            std::fs::metadata(path.with_extension("db-wal"))
                .unwrap()
                .len(),
        );
        if number % 50 == 0 {
            let page = Page {
                after: None,
                limit: 1,
            };
            assert_eq!(
                store
                    .events(HOME, EventFilter::default(), page)
                    .await
                    .unwrap()
                    .len(),
                1
            );
        }
    }
    assert!(longest < 160_000_000, "the log grew to {longest} bytes");
    store.close().await;
    assert!(!path.with_extension("db-wal").exists());
}
