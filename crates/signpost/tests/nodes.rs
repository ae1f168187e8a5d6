//! Several nodes of the real program over one PostgreSQL that the test has to itself: what
//! happens to them, and to it, must not matter to what was acknowledged.
//!
//! `SIGNPOST_NODES_ROUNDS` (4), `SIGNPOST_NODES_EVENTS` (600) and `SIGNPOST_NODES_SEED` (random,
//! printed) set the mishaps, the events and the moments of the longest of these tests.

#[path = "samples/mod.rs"]
mod harness;

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Method;
use parking_lot::RwLock;
use serde_json::{Value, json};
use testkit::{
    Answer, Received, Receiver, SeededEntropy,
    postgres::{Cluster, Gate},
};
use tokio::{sync::watch, task::JoinSet};

use harness::{
    api::Api,
    fleet::{Fleet, LEASE},
    ledger::{Expected, Ledger},
    subscriber::Subscriber,
};

const SECRET: &str = "whsec_c2lnbnBvc3QgdGVzdHMsIG5vdCBzZWNyZXQ=";
/// How many attempts at the webhook may run at once, over all nodes.
const CONCURRENCY: usize = 9;
/// Connections that publish at once.
const PUBLISHERS: usize = 4;
/// The value of a metric of one node.
async fn metric(api: &Api, name: &str) -> u64 {
    let answer = api.send(Method::GET, "/metrics", "").await;
    let text = answer.text();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no metric {name} in\n{text}"));
    value.trim().parse().expect("a count")
}

/// Publishes numbered events until told to stop or all are published, each to some node and, if
/// that fails, to the next.
struct Publishers {
    tasks: JoinSet<()>,
    shared: Arc<Publishing>,
}

struct Publishing {
    addresses: Arc<RwLock<Vec<String>>>,
    next: AtomicUsize,
    events: usize,
    stopped: AtomicBool,
    acknowledged: watch::Sender<usize>,
    /// How long each publisher waits between two events.
    pause: Duration,
}

impl Publishers {
    fn start(fleet: &Fleet, events: usize, pause: Duration) -> Self {
        let shared = Arc::new(Publishing {
            addresses: Arc::clone(&fleet.addresses),
            next: AtomicUsize::new(0),
            events,
            stopped: AtomicBool::new(false),
            acknowledged: watch::channel(0).0,
            pause,
        });
        let mut tasks = JoinSet::new();
        for number in 0..PUBLISHERS {
            tasks.spawn(publish(Arc::clone(&shared), number));
        }
        Self { tasks, shared }
    }

    async fn wait_for(&self, count: usize) {
        let mut acknowledged = self.shared.acknowledged.subscribe();
        acknowledged
            .wait_for(|so_far| *so_far >= count)
            .await
            .expect("the publishers are alive");
    }

    /// Waits for what is under way and answers how many events were acknowledged.
    async fn finish(mut self) -> usize {
        while let Some(published) = self.tasks.join_next().await {
            published.expect("a publisher does not panic");
        }
        *self.shared.acknowledged.borrow()
    }

    /// Publishes no further events.
    async fn stop(self) -> usize {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.finish().await
    }
}

fn id(number: usize) -> String {
    format!("nodes-{number}")
}

async fn publish(shared: Arc<Publishing>, publisher: usize) {
    let mut turn = publisher;
    while !shared.stopped.load(Ordering::SeqCst) {
        let number = shared.next.fetch_add(1, Ordering::SeqCst);
        if number >= shared.events {
            return;
        }
        let body = json!({"event": "nodes.checked", "id": id(number), "data": {"number": number}});
        loop {
            turn += 1;
            if post(&shared, turn, &body).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        shared.acknowledged.send_modify(|count| *count += 1);
        tokio::time::sleep(shared.pause).await;
    }
}

/// Posts to the node whose turn it is; whether it was acknowledged. Asks no node for longer than
/// a publisher would.
async fn post(shared: &Publishing, turn: usize, body: &Value) -> bool {
    let address = {
        let addresses = shared.addresses.read();
        addresses[turn % addresses.len()].clone()
    };
    if address.is_empty() {
        return false;
    }
    let api = Api::new(&address);
    let asked = api.try_send(Method::POST, "/api/v1/events", body.to_string());
    match tokio::time::timeout(Duration::from_secs(3), asked).await {
        Ok(Ok(answer)) => match answer.status.as_u16() {
            200 | 202 => true,
            503 => false,
            _ => panic!("{}", answer.text()),
        },
        Ok(Err(_)) | Err(_) => false,
    }
}

fn delivered(count: usize) -> Vec<Expected> {
    (0..count)
        .map(|number| Expected {
            id: id(number),
            number,
            state: "delivered",
        })
        .collect()
}

/// Retried soon and often: what a mishap breaks off must arrive in the end.
fn settings() -> Value {
    json!({
        "secret": SECRET, "concurrency": CONCURRENCY,
        "schedule": {"delays": ["1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s"]},
    })
}

fn number_of(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|error| panic!("{name} is no number: {error}"))
    })
}

/// Killed, stopped for longer than their lease and continued; the database killed and started.
#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_lose_nothing_whatever_happens_to_them_and_to_the_database() {
    let rounds = number_of("SIGNPOST_NODES_ROUNDS", 4);
    let events = number_of("SIGNPOST_NODES_EVENTS", 600);
    let seed = std::env::var("SIGNPOST_NODES_SEED").map_or_else(
        |_| RandomState::new().build_hasher().finish(),
        |text| text.parse().expect("a seed is a number"),
    );
    eprintln!("{events} events, {rounds} mishaps, SIGNPOST_NODES_SEED={seed} repeats it");
    let entropy = SeededEntropy::new(seed);
    let cluster = Cluster::start();
    let receiver =
        Receiver::start(|_, _| Answer::status(200).after(Duration::from_millis(2))).await;
    let mut fleet = Fleet::start(vec![cluster.url().to_owned(); 3]);
    let webhook = Subscriber::create(&fleet.api(0), &receiver.url(), &settings()).await;
    fleet.has_settled(3).await;

    let publishers = Publishers::start(&fleet, events, Duration::from_millis(5));
    for round in 0..rounds {
        publishers.wait_for(round * events / (rounds + 1) + 1).await;
        let random = entropy.next();
        let node = usize::try_from(random >> 8).expect("a pointer has 64 bits") % 3;
        tokio::time::sleep(Duration::from_micros((random >> 40) % 20_000)).await;
        match round % 3 {
            0 => {
                fleet.take(node).kill();
                fleet.start_node(node);
            }
            1 => {
                fleet.node(node).signal("STOP");
                tokio::time::sleep(LEASE * 2).await;
                fleet.node(node).signal("CONT");
            }
            _ => {
                cluster.stop_immediately();
                tokio::time::sleep(Duration::from_micros((random >> 20) % 1_500_000)).await;
                cluster.start_again();
            }
        }
    }
    assert_eq!(publishers.finish().await, events);
    let deliveries = webhook.settled(&fleet.api(0)).await;
    tell_of_missing(&fleet, &deliveries, &receiver.received(), events).await;
    let repeated = Ledger::new(SECRET, &receiver.received()).check(&deliveries, &delivered(events));
    let mut stale = 0;
    for number in 0..3 {
        stale += metric(&fleet.api(number), "signpost_leases_lost_total").await;
    }
    eprintln!("all there, {repeated} repeated, {stale} stale results refused");
    assert!(
        repeated <= CONCURRENCY * rounds,
        "{repeated} were repeated, more than were in flight"
    );
}

/// Says what can be known of an event that has no delivery.
async fn tell_of_missing(
    fleet: &Fleet,
    deliveries: &[Value],
    received: &[Received],
    events: usize,
) {
    let listed: HashSet<_> = deliveries
        .iter()
        .filter_map(|delivery| delivery["eventId"].as_str())
        .collect();
    for id in (0..events)
        .map(id)
        .filter(|id| !listed.contains(id.as_str()))
    {
        let came = received
            .iter()
            .filter(|request| request.header("webhook-id") == id)
            .count();
        let path = format!("/api/v1/events/{id}");
        let event = fleet.api(0).send(Method::GET, &path, "").await;
        eprintln!(
            "{id} has no delivery; it arrived {came} times; {}",
            event.text()
        );
    }
}

/// An attempt is under way when its node is stopped; another takes over and is answered; the
/// first one's answer comes too late and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_node_that_was_stopped_too_long_is_refused_counted_and_logged() {
    let cluster = Cluster::start();
    let stopped = Arc::new(AtomicBool::new(false));
    let while_stopped = Arc::clone(&stopped);
    let receiver = Receiver::start(move |_, nth| {
        if nth == 0 {
            // Answered after all that follows.
            Answer::status(500).after(LEASE * 4)
        } else {
            assert!(while_stopped.load(Ordering::SeqCst));
            Answer::status(200)
        }
    })
    .await;
    let mut fleet = Fleet::start(vec![cluster.url().to_owned(); 2]);
    let webhook = Subscriber::create(&fleet.api(0), &receiver.url(), &settings()).await;
    fleet.has_settled(2).await;
    let body = json!({"event": "nodes.checked", "id": id(0), "data": {"number": 0}});
    fleet.api(0).post("/api/v1/events", &body).await.expect(202);
    receiver.wait_for(1).await;
    let sender = sender(&fleet).await;
    stopped.store(true, Ordering::SeqCst);
    fleet.node(sender).signal("STOP");
    receiver.wait_for(2).await;
    let other = 1 - sender;
    let deliveries = webhook.settled(&fleet.api(other)).await;
    assert_eq!(deliveries[0]["state"], "delivered");

    fleet.node(sender).signal("CONT");
    let refused = async {
        while metric(&fleet.api(sender), "signpost_leases_lost_total").await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), refused)
        .await
        .expect("the late result is counted");
    assert!(
        fleet
            .node(sender)
            .log()
            .contains("another node had taken over"),
        "{}",
        fleet.node(sender).log()
    );
    let deliveries = webhook.settled(&fleet.api(sender)).await;
    assert_eq!(deliveries[0]["state"], "delivered", "{deliveries:#?}");
    let id = deliveries[0]["id"].as_str().expect("an id is text");
    let attempts = fleet
        .api(other)
        .get(&format!("/api/v1/deliveries/{id}"))
        .await;
    assert_eq!(
        attempts["attempts"].as_array().map(Vec::len),
        Some(1),
        "only the result of the one that took over was written: {attempts:#}"
    );
    drop(fleet.take(sender));
}

/// The node that has an attempt in flight.
async fn sender(fleet: &Fleet) -> usize {
    let in_flight = |node: &Value| node["inFlight"].as_u64() > Some(0);
    let nodes = fleet
        .api(0)
        .until("/api/v1/nodes", |nodes| {
            nodes["data"]
                .as_array()
                .is_some_and(|nodes| nodes.iter().any(in_flight))
        })
        .await;
    let nodes = nodes["data"].as_array().expect("a list has data");
    let sender = nodes.iter().find(|node| in_flight(node));
    let name = sender.and_then(|node| node["name"].as_str());
    name.and_then(|name| name.strip_prefix("node-")?.parse().ok())
        .expect("it is one of these nodes")
}

/// It stops by itself, before anybody could take over; nobody has to tell it when it can go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_from_the_database_stops_sending_and_takes_up_again() {
    let cluster = Cluster::start();
    let gate = Gate::before(cluster.url());
    let receiver = Receiver::ok().await;
    let fleet = Fleet::start(vec![gate.url().to_owned()]);
    let mut slowly = settings();
    slowly["ratePerSecond"] = json!(40);
    let webhook = Subscriber::create(&fleet.api(0), &receiver.url(), &slowly).await;
    let events = 400;
    let publishers = Publishers::start(&fleet, events, Duration::ZERO);
    assert_eq!(publishers.finish().await, events);
    for silent in [true, false] {
        let so_far = receiver.received().len();
        receiver.wait_for(so_far + 20).await;
        if silent {
            gate.silence();
        } else {
            gate.shut();
        }
        tokio::time::sleep(LEASE).await;
        let at_the_end = receiver.received().len();
        let ready = fleet.api(0).send(Method::GET, "/readyz", "").await;
        assert_eq!(ready.status, 503, "{}", ready.text());
        tokio::time::sleep(LEASE).await;
        assert_eq!(
            receiver.received().len(),
            at_the_end,
            "nothing is sent once the lease has run out"
        );
        assert!(at_the_end < events, "there was something left to send");
        gate.open();
    }
    let deliveries = webhook.settled(&fleet.api(0)).await;
    let repeated = Ledger::new(SECRET, &receiver.received()).check(&deliveries, &delivered(events));
    assert!(
        repeated <= 2 * CONCURRENCY,
        "{repeated} were repeated, more than were in flight"
    );
    fleet
        .api(0)
        .until("/readyz", |answer| answer["status"] == "ok")
        .await;
}

/// Of more executions than may call at once, the rest must not begin to once the lease has run out.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_from_the_database_begins_no_step() {
    const WORKFLOW: &str = r#"
schema_version: "1.0"
flow: {name: calls}
state:
  fields:
    answer: {type: dict}
nodes:
  - {id: call, kind: http, url: "URL", outputs: [answer]}
edges:
  - {from: START, to: call}
  - {from: call, to: END}
"#;
    let (at_once, more) = (512, 40);
    let cluster = Cluster::start();
    let gate = Gate::before(cluster.url());
    // The first ones are answered when the lease has long run out.
    let receiver = Receiver::start(move |_, nth| {
        Answer::status(200).after(if nth < at_once {
            LEASE * 4
        } else {
            Duration::ZERO
        })
    })
    .await;
    let fleet = Fleet::start(vec![gate.url().to_owned()]);
    let api = fleet.api(0);
    let body = json!({"source": WORKFLOW.replace("URL", &receiver.url())});
    api.post("/api/v1/workflows", &body).await.expect(201);
    let api = api.with("prefer", "respond-async");
    for _ in 0..at_once + more {
        let body = json!({"workflow_name": "calls"});
        api.post("/webhooks/generic", &body).await.expect(202);
    }
    receiver.wait_for(at_once).await;
    gate.silence();
    tokio::time::sleep(LEASE * 5).await;
    assert_eq!(
        receiver.received().len(),
        at_once,
        "nothing is called once the lease has run out"
    );
    gate.open();
    for state in ["pending", "running", "waiting"] {
        let path = format!("/api/v1/executions?state={state}");
        api.until(&path, |page| {
            page["data"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
    }
    assert_eq!(
        api.all("/api/v1/executions?state=completed").await.len(),
        at_once + more
    );
}

/// Rolling restarts: no duplicate, no error to those who ask another node.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_end_under_load_repeats_nothing() {
    let cluster = Cluster::start();
    let receiver =
        Receiver::start(|_, _| Answer::status(200).after(Duration::from_millis(5))).await;
    let mut fleet = Fleet::start(vec![cluster.url().to_owned(); 2]);
    let webhook = Subscriber::create(&fleet.api(0), &receiver.url(), &settings()).await;
    fleet.has_settled(2).await;
    let publishers = Publishers::start(&fleet, usize::MAX, Duration::from_millis(1));
    publishers.wait_for(200).await;
    let ending = fleet.take(0);
    ending.signal("TERM");
    assert!(ending.wait(), "it ends well");
    let so_far = *publishers.shared.acknowledged.borrow();
    publishers.wait_for(so_far + 200).await;
    fleet.start_node(0);
    publishers.wait_for(so_far + 400).await;
    let published = publishers.stop().await;
    let deliveries = webhook.settled(&fleet.api(1)).await;
    let repeated =
        Ledger::new(SECRET, &receiver.received()).check(&deliveries, &delivered(published));
    assert_eq!(repeated, 0, "of {published} events");
}

/// The limits that a webhook has hold over all nodes together.
#[tokio::test(flavor = "multi_thread")]
async fn order_and_concurrency_hold_over_all_nodes() {
    let cluster = Cluster::start();
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (counted, greatest) = (Arc::clone(&running), Arc::clone(&most));
    let receiver = Receiver::start(move |_, _| {
        let now = counted.fetch_add(1, Ordering::SeqCst) + 1;
        greatest.fetch_max(now, Ordering::SeqCst);
        let counted = Arc::clone(&counted);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            counted.fetch_sub(1, Ordering::SeqCst);
        });
        Answer::status(200).after(Duration::from_millis(25))
    })
    .await;
    let in_order = Receiver::ok().await;
    let fleet = Fleet::start(vec![cluster.url().to_owned(); 3]);
    let mut few = settings();
    few["concurrency"] = json!(4);
    let capped = Subscriber::create(&fleet.api(0), &receiver.url(), &few).await;
    let mut strictly = settings();
    strictly["ordered"] = json!(true);
    let ordered = Subscriber::create(&fleet.api(1), &in_order.url(), &strictly).await;
    fleet.has_settled(3).await;
    // One publisher that asks another node each time: each event is acknowledged before the next.
    let events = 150;
    for number in 0..events {
        let body = json!({"event": "nodes.checked", "id": id(number), "data": {"number": number}});
        fleet
            .api(number % 3)
            .post("/api/v1/events", &body)
            .await
            .expect(202);
    }
    assert_eq!(capped.settled(&fleet.api(2)).await.len(), events);
    assert_eq!(ordered.settled(&fleet.api(2)).await.len(), events);
    let order: Vec<u64> = in_order.received().iter().map(number_in).collect();
    assert_eq!(order, (0..events as u64).collect::<Vec<_>>());
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 4, "{most} at once");
}

fn number_in(request: &Received) -> u64 {
    let body: Value = serde_json::from_slice(&request.body).expect("a body is JSON");
    body["data"]["number"].as_u64().expect("a number")
}
