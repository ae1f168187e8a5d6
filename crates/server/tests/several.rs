//! Several nodes in one process, on one schema of a PostgreSQL database.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use delivery::{Edge, Entropy};
use domain::id::IdSource;
use serde_json::{Value, json};
use server::{
    Running, ServerConfig, StartError,
    config::{AccessConfig, FirstOwner, NodeConfig},
    lifecycle::{Installation, KEY_FILE},
};
use store::NodeRole;
use support::{PASSWORD, edge};
use testkit::{Receiver, postgres::Database};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

/// How often it is looked whether something has come about.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often at most.
const LOOKS_MAX: u32 = 1_000;

/// Ids and randomness of one node: another's are others.
struct Own {
    number: u64,
    next: AtomicU64,
}

impl IdSource for Own {
    fn next_id(&self) -> uuid::Uuid {
        let next = self.next.fetch_add(1, Ordering::SeqCst);
        let tail = u128::from(next << 8 | self.number);
        uuid::Uuid::from_u128(0x019c_1356_4ec0_7000_8000_0000_0000_0000 + tail)
    }
}

impl Entropy for Own {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let next = self.next.fetch_add(1, Ordering::SeqCst);
            let mixed = (next << 8 | self.number).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = mixed.to_be_bytes()[0];
        }
    }
}

fn edge_of(number: u64) -> Edge {
    let own = Arc::new(Own {
        number,
        next: AtomicU64::new(1),
    });
    Edge {
        ids: Arc::clone(&own) as Arc<dyn IdSource>,
        entropy: own,
        ..edge()
    }
}

/// A schema, and the data folders of its nodes.
struct Place {
    database: Database,
    folder: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let database = tokio::task::spawn_blocking(testkit::postgres::database);
        Self {
            database: database.await.unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn data(&self, number: u64) -> PathBuf {
        self.folder.path().join(number.to_string())
    }

    fn config(&self, number: u64) -> ServerConfig {
        ServerConfig {
            port: 0,
            data_dir: self.data(number),
            database_url: Some(self.database.url().parse().unwrap()),
            node: NodeConfig {
                name: format!("node-{number}"),
                ..NodeConfig::default()
            },
            ..ServerConfig::default()
        }
    }

    /// Gives a node the first one's key.
    fn hand_over_key(&self, number: u64) {
        fs::create_dir_all(self.data(number)).unwrap();
        fs::copy(
            self.data(1).join(KEY_FILE),
            self.data(number).join(KEY_FILE),
        )
        .unwrap();
    }

    async fn start(&self, number: u64) -> Node {
        self.start_with(number, NodeRole::All).await
    }

    async fn start_with(&self, number: u64, role: NodeRole) -> Node {
        if number > 1 {
            self.hand_over_key(number);
        }
        let mut config = self.config(number);
        config.node.role = role;
        Node(server::start(config, edge_of(number)).await.unwrap())
    }
}

/// A node that is asked over HTTP.
struct Node(Running);

impl Node {
    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.0.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, &Value::Null).await
    }

    /// Names and states of the nodes that this one sees.
    async fn nodes(&self) -> Vec<(String, String)> {
        let (_, nodes) = self.get("/api/v1/nodes").await;
        let text = |node: &Value, field| node[field].as_str().unwrap().to_owned();
        let nodes = nodes["data"].as_array().unwrap();
        nodes
            .iter()
            .map(|node| (text(node, "name"), text(node, "state")))
            .collect()
    }
}

/// Waits until it is so.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    for _ in 0..LOOKS_MAX {
        if is_so().await {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
    panic!("it does not come about: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_see_each_other_and_one_goes_down_in_order() {
    let place = Place::new().await;
    let first = place.start(1).await;
    let second = place.start(2).await;
    let both = [
        ("node-1".to_owned(), "active".to_owned()),
        ("node-2".to_owned(), "active".to_owned()),
    ];
    for node in [&first, &second] {
        assert_eq!(node.nodes().await, both);
    }
    let (_, list) = second.get("/api/v1/nodes").await;
    let nodes = list["data"].as_array().unwrap();
    let own: Vec<bool> = nodes
        .iter()
        .map(|node| node["isSelf"].as_bool().unwrap())
        .collect();
    assert_eq!(own, [false, true]);
    assert_ne!(nodes[0]["id"], nodes[1]["id"]);
    until("addresses are told", async || {
        let (_, list) = second.get("/api/v1/nodes").await;
        list["data"][0]["address"] == first.0.address().to_string()
    })
    .await;

    first.0.app().start_draining();
    assert_eq!(first.get("/readyz").await.0, 503);
    until("the other sees that it goes down", async || {
        second.nodes().await[0].1 == "draining"
    })
    .await;
    first.0.stop().await;
    assert_eq!(second.nodes().await, [both[1].clone()]);
    assert_eq!(second.get("/readyz").await.0, 200);
    second.0.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_made_on_one_gets_what_another_accepts() {
    let place = Place::new().await;
    let receiver = Receiver::ok().await;
    let first = place.start(1).await;
    let second = place.start_with(2, NodeRole::Api).await;
    let webhook = json!({ "targetUrl": receiver.url(), "events": ["order.*"] });
    let (status, made) = first.ask("POST", "/api/v1/webhooks", &webhook).await;
    assert_eq!(status, 201, "{made}");
    let path = format!(
        "/api/v1/webhooks/{}/deliveries?state=delivered",
        made["id"].as_str().unwrap()
    );
    until("the event arrives", async || {
        let event = json!({ "event": "order.paid", "data": { "order": 17 } });
        let (status, answer) = second.ask("POST", "/api/v1/events", &event).await;
        assert_eq!(status, 202, "{answer}");
        let (_, list) = second.get(&path).await;
        list["data"].as_array().is_some_and(|list| !list.is_empty())
    })
    .await;
    assert!(!receiver.received().is_empty());
    second.0.stop().await;
    first.0.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_made_on_one_ends_local_mode_on_all() {
    let place = Place::new().await;
    let first = place.start(1).await;
    let second = place.start(2).await;
    assert!(first.0.is_local() && second.0.is_local());
    let ann = json!({ "login": "ann", "password": PASSWORD, "role": "owner" });
    let (status, made) = first.ask("POST", "/api/v1/users", &ann).await;
    assert_eq!(status, 201, "{made}");
    assert!(!first.0.is_local());
    until("local mode ends", async || !second.0.is_local()).await;
    assert_eq!(second.get("/api/v1/keys").await.0, 401);
    first.0.stop().await;
    second.0.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_has_the_key_or_does_not_start() {
    let place = Place::new().await;
    let first = place.start(1).await;
    // None of its own, and then another.
    let lost = server::start(place.config(2), edge_of(2))
        .await
        .err()
        .unwrap();
    assert!(matches!(lost, StartError::LostKey { .. }), "{lost}");
    assert!(lost.to_string().contains("Copy signpost.key"), "{lost}");
    assert!(!place.data(2).join(KEY_FILE).exists());
    let another = ServerConfig {
        key: Some("ab".repeat(32)),
        ..place.config(2)
    };
    let wrong = server::start(another, edge_of(2)).await.err().unwrap();
    assert!(matches!(wrong, StartError::WrongKey { .. }), "{wrong}");
    // What did not start has left nothing behind that counts as a node.
    assert_eq!(first.nodes().await.len(), 1);
    // Its folder is its own as long as it runs.
    let twice = server::start(place.config(1), edge_of(3))
        .await
        .err()
        .unwrap();
    assert!(twice.to_string().contains("in use"), "{twice}");
    first.0.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_nodes_that_start_at_once_one_makes_the_key_and_the_owner_is_made_once() {
    let place = Place::new().await;
    let config = |number| ServerConfig {
        access: AccessConfig {
            first_owner: Some(FirstOwner {
                login: "ann".to_owned(),
                password: PASSWORD.to_owned(),
            }),
            ..AccessConfig::default()
        },
        ..place.config(number)
    };
    let starts = [1, 2].map(|number| tokio::spawn(server::start(config(number), edge_of(number))));
    let mut running = Vec::new();
    let mut keyless = None;
    for (number, start) in [1, 2].into_iter().zip(starts) {
        match start.await.unwrap() {
            Ok(node) => running.push((number, node)),
            Err(error) => {
                assert!(matches!(error, StartError::LostKey { .. }), "{error}");
                assert!(!place.data(number).join(KEY_FILE).exists());
                keyless = Some(number);
            }
        }
    }
    let (number, node) = running.pop().unwrap();
    assert!(running.is_empty() && !node.is_local());
    let keyless = keyless.unwrap();
    fs::copy(
        place.data(number).join(KEY_FILE),
        place.data(keyless).join(KEY_FILE),
    )
    .unwrap();
    let other = server::start(config(keyless), edge_of(keyless))
        .await
        .unwrap();
    assert!(!other.is_local());
    assert_eq!(other.app().store().user_count().await.unwrap(), 1);
    node.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_works_beside_a_node_and_takes_no_part() {
    let place = Place::new().await;
    let node = place.start(1).await;
    // Without the key where nothing sealed is needed, and in the node's own folder.
    let store = Installation::visit_store(&place.config(9), &edge_of(9))
        .await
        .unwrap();
    assert_eq!(store.user_count().await.unwrap(), 0);
    assert!(!place.data(9).exists());
    let roles: Vec<_> = store
        .nodes()
        .await
        .unwrap()
        .iter()
        .map(|node| node.role)
        .collect();
    assert_eq!(roles, [NodeRole::All, NodeRole::Api]);
    store.close().await;
    let visit = Installation::visit(&place.config(1), &edge_of(8))
        .await
        .unwrap();
    assert!(
        visit
            .add_user(&edge_of(8), "ann", PASSWORD, domain::access::Role::Owner)
            .await
            .unwrap()
    );
    visit.store.close().await;
    until("local mode ends", async || !node.0.is_local()).await;
    assert_eq!(node.get("/readyz").await.0, 200);
    node.0.stop().await;
}
