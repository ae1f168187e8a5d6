//! One endpoint that never answers does not hold up the others, in the real program.
//!
//! Nothing here depends on how fast anything is: what is asserted is which deliveries complete
//! while others hang, and how many of those hang at once.

#[path = "samples/mod.rs"]
mod harness;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;
use testkit::Receiver;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

use harness::{
    api::Api,
    program::Installation,
    subscriber::{Subscriber, publish},
};

/// Endpoints that answer at once.
const HEALTHY: usize = 9;
/// Events, each for every endpoint: more than fit into anybody's cap.
const EVENTS: usize = 200;
/// How many attempts at the silent endpoint may run at once.
const SILENT_CAP: usize = 3;

/// Takes connections and requests, and never says a word.
struct Silent {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&open), Arc::clone(&most));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (open, most) = counts.clone();
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::spawn(async move {
                    read_to_end(stream).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            open,
            most,
        }
    }
}

async fn read_to_end(mut stream: TcpStream) {
    let mut part = [0; 4096];
    while matches!(stream.read(&mut part).await, Ok(read) if read > 0) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_endpoints_get_everything_while_a_tenth_never_answers() {
    let program = Installation::start(&[]);
    let api = Api::new(program.address());
    let silent = Silent::start().await;
    let settings = json!({"concurrency": SILENT_CAP, "schedule": {"delays": ["1h"]}});
    let held =
        Subscriber::create(&api, &format!("http://{}/hook", silent.address), &settings).await;
    let mut healthy = Vec::new();
    for _ in 0..HEALTHY {
        let receiver = Receiver::ok().await;
        let webhook = Subscriber::create(&api, &receiver.url(), &json!({})).await;
        healthy.push((receiver, webhook));
    }
    for number in 0..EVENTS {
        assert!(
            publish(
                &api,
                "isolation.checked",
                &format!(r#"{{"number":{number}}}"#)
            )
            .await
        );
    }
    for (receiver, webhook) in &healthy {
        webhook.took_all(&api, EVENTS, "a healthy endpoint").await;
        assert_eq!(receiver.received().len(), EVENTS, "each event once");
    }

    // All of that happened while the tenth held its own places and no more.
    assert!(
        silent.most.load(Ordering::SeqCst) <= SILENT_CAP,
        "only its own cap"
    );
    assert!(silent.open.load(Ordering::SeqCst) <= SILENT_CAP);
    assert!(silent.most.load(Ordering::SeqCst) > 0, "it was tried");
    let waiting = api
        .all(&format!("/api/v1/deliveries?webhookId={}", held.id))
        .await;
    assert_eq!(waiting.len(), EVENTS, "nothing of its own was dropped");
    assert!(
        waiting
            .iter()
            .all(|delivery| delivery["state"] == "pending"),
        "it never answered"
    );
}
