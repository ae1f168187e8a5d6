//! Workflows run while the real program is killed with `kill -9` at random moments: on one server,
//! and on two nodes over one PostgreSQL of which one or the other is killed, or is stopped for
//! longer than its lease and continued, or whose database is killed.
//!
//! Senders start executions at `/webhooks/generic`, each under a `webhook_id` of its own, and send
//! each again until it is acknowledged. The workflow forks into a call that is refused at first and
//! a transform, joins, and tells of it with an event. At the end every execution must have
//! completed with the right result; every node of it has completed once; no call was made again
//! once its step was recorded (but by a node that was stopped just before it sent it); and each
//! ending was told as one event.
//!
//! `SIGNPOST_CRASH_ROUNDS` (5), `SIGNPOST_CRASH_EXECUTIONS` (200) and `SIGNPOST_CRASH_SEED` (random,
//! printed) set the kills, the executions and the moments.

#[path = "samples/mod.rs"]
mod harness;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use domain::Timestamp;
use http::Method;
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use testkit::{Answer, Received, Receiver, SeededEntropy, TestStore, postgres::Cluster};
use tokio::{sync::watch, task::JoinSet};

use harness::{
    api::Api,
    fleet::{Fleet, LEASE},
    program::Program,
    subscriber::Subscriber,
};

/// So many executions are started ahead of those whose call was answered: so many calls may be
/// repeated for each kill.
const AHEAD: usize = 64;
/// Connections that send at once.
const SENDERS: usize = 4;
/// The server is killed up to so many milliseconds after the event at which it is to happen.
const DELAY_MS_MAX: u64 = 300;
/// A sender asks a node no longer than this before it asks another.
const SENDER_PATIENCE: Duration = Duration::from_secs(5);

/// A fork, a join, a step that is retried. Every other execution is of a copy of it of which a few
/// run at once, so that most of its executions wait for their turn.
const WORKFLOW: &str = r#"
schema_version: "1.0"
flow: {name: NAME}
LIMIT
state:
  fields:
    n: {type: int, required: true}
    answer: {type: dict}
    doubled: {type: int}
    sum: {type: int}
nodes:
  - id: call
    kind: http
    method: POST
    url: "URL"
    body: {n: "{n}"}
    outputs: [answer]
    retry: {max: 20, backoff: 200ms, max_backoff: 1s}
  - {id: double, kind: transform, jq: ".state.n * 2", outputs: [doubled]}
  - {id: meet, kind: join}
  - {id: sum, kind: transform, jq: ".state.doubled + .state.answer.body.value", outputs: [sum]}
  - {id: tell, kind: emit, event: crash.summed, data: {sum: "{sum}"}}
edges:
  - {from: START, to: [call, double]}
  - {from: call, to: meet}
  - {from: double, to: meet}
  - {from: meet, to: sum}
  - {from: sum, to: tell}
  - {from: tell, to: END}
"#;
const NODES: [&str; 5] = ["call", "double", "meet", "sum", "tell"];

#[derive(Clone, Copy, Debug)]
struct Plan {
    rounds: usize,
    executions: usize,
    seed: u64,
}

impl Plan {
    fn read() -> Self {
        let set = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(
                text.parse::<u64>()
                    .unwrap_or_else(|error| panic!("{name} is no number: {error}")),
            )
        };
        let count = |name, default| {
            set(name).map_or(default, |count| count.try_into().expect("a count fits"))
        };
        Self {
            rounds: count("SIGNPOST_CRASH_ROUNDS", 5),
            executions: count("SIGNPOST_CRASH_EXECUTIONS", 200),
            seed: set("SIGNPOST_CRASH_SEED")
                .unwrap_or_else(|| RandomState::new().build_hasher().finish()),
        }
    }
}

/// What is killed and started again.
enum Servers {
    One(TestStore, Option<Program>, Arc<RwLock<Vec<String>>>),
    Two(Fleet),
    /// Two nodes to which more happens, and the database that they have to themselves.
    Tried(Fleet, Cluster),
}

impl Servers {
    fn one() -> Self {
        let place = TestStore::chosen();
        let program = Program::start_in(&place, &[]);
        let addresses = Arc::new(RwLock::new(vec![program.address().to_owned()]));
        Self::One(place, Some(program), addresses)
    }

    fn addresses(&self) -> Arc<RwLock<Vec<String>>> {
        match self {
            Self::One(_, _, addresses) => Arc::clone(addresses),
            Self::Two(fleet) | Self::Tried(fleet, _) => Arc::clone(&fleet.addresses),
        }
    }

    fn api(&self) -> Api {
        Api::new(&self.addresses().read()[0])
    }

    /// Kills it, or the node whose turn it is, and starts it again; or does what else is to happen.
    async fn harm(&mut self, round: usize) {
        let node = round % 2;
        match self {
            Self::One(place, program, addresses) => {
                program.take().expect("it runs").kill();
                let again = Program::start_in(place, &[]);
                again.address().clone_into(&mut addresses.write()[0]);
                *program = Some(again);
            }
            Self::Tried(fleet, _) if round.is_multiple_of(3) => {
                fleet.node(node).signal("STOP");
                tokio::time::sleep(LEASE * 2).await;
                fleet.node(node).signal("CONT");
            }
            Self::Tried(_, database) if round % 3 == 1 => {
                database.stop_immediately();
                database.start_again();
            }
            Self::Two(fleet) | Self::Tried(fleet, _) => {
                fleet.take(node).kill();
                fleet.start_node(node);
            }
        }
    }

    /// Whether a node may be stopped between its last look at its lease and what it sends.
    fn may_be_late(&self) -> bool {
        matches!(self, Self::Tried(..))
    }
}

/// What the receiver did about one call, known by its `Idempotency-Key`.
#[derive(Default)]
struct Call {
    /// Its body, which must never change.
    body: Bytes,
    /// When its requests came.
    came: Vec<Timestamp>,
}

#[derive(Default)]
struct Calls(Mutex<HashMap<String, Call>>);

impl Calls {
    /// Refuses the first attempt of each, and answers all others with what `n` stands for.
    fn answer(&self, request: &Received, answered: &watch::Sender<usize>) -> Answer {
        let mut calls = self.0.lock();
        let call = calls
            .entry(request.header("idempotency-key").to_owned())
            .or_default();
        call.came.push(now());
        if call.came.len() == 1 {
            call.body = request.body.clone();
            return Answer::status(500);
        }
        assert_eq!(call.body, request.body, "a call is repeated as it was");
        if call.came.len() == 2 {
            answered.send_modify(|count| *count += 1);
        }
        let body: Value = serde_json::from_slice(&request.body).expect("a body is JSON");
        let value = value_for(number(&body["n"]));
        Answer::status(200)
            .body(json!({ "value": value }).to_string())
            .after(Duration::from_millis(5))
    }
}

/// The clock by which the server says when a step has ended.
#[expect(
    clippy::disallowed_methods,
    reason = "it is compared with the time that the program, on this machine, has recorded"
)]
fn now() -> Timestamp {
    let ms = jiff::Timestamp::now().as_millisecond();
    Timestamp::from_ms(ms)
}

/// A number, which a template may have made a text.
#[track_caller]
fn number(value: &Value) -> usize {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    text.parse()
        .unwrap_or_else(|error| panic!("{value} is no number: {error}"))
}

fn value_for(n: usize) -> usize {
    1_000_000 + n
}

fn sum_for(n: usize) -> usize {
    2 * n + value_for(n)
}

/// What is said to the senders, and what they say.
struct Progress {
    addresses: Arc<RwLock<Vec<String>>>,
    /// The next execution's number.
    next: AtomicUsize,
    /// The execution that each acknowledgement named.
    started: Mutex<BTreeMap<usize, String>>,
    acknowledged: watch::Sender<usize>,
    /// How many calls were answered well.
    answered: watch::Sender<usize>,
    plan: Plan,
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_end_right_and_once_after_any_kills() {
    check(Servers::one(), Plan::read()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_end_right_and_once_while_one_of_two_nodes_is_killed() {
    let database = testkit::postgres::database();
    let fleet = Fleet::start(vec![database.url(); 2]);
    fleet.has_settled(2).await;
    check(Servers::Two(fleet), Plan::read()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_end_right_and_once_whatever_happens_to_two_nodes_and_the_database() {
    let database = Cluster::start();
    let fleet = Fleet::start(vec![database.url().to_owned(); 2]);
    fleet.has_settled(2).await;
    check(Servers::Tried(fleet, database), Plan::read()).await;
}

async fn check(mut servers: Servers, plan: Plan) {
    eprintln!("{plan:?}: SIGNPOST_CRASH_SEED={} repeats it", plan.seed);
    let calls = Arc::new(Calls::default());
    let answered = watch::channel(0).0;
    let receiver = {
        let (calls, answered) = (Arc::clone(&calls), answered.clone());
        Receiver::start(move |request, _| match request.path.as_str() {
            "/call" => calls.answer(request, &answered),
            _ => Answer::status(200),
        })
        .await
    };
    let webhook = prepare(&servers.api(), &receiver).await;
    let progress = Arc::new(Progress {
        addresses: servers.addresses(),
        next: AtomicUsize::new(0),
        started: Mutex::default(),
        acknowledged: watch::channel(0).0,
        answered,
        plan,
    });
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        senders.spawn(send(Arc::clone(&progress), sender));
    }
    let entropy = SeededEntropy::new(plan.seed);
    let mut cut_off = 0;
    for round in 0..plan.rounds {
        await_moment(&progress, round, entropy.next()).await;
        cut_off += *progress.acknowledged.borrow() - *progress.answered.borrow();
        servers.harm(round).await;
    }
    while let Some(sent) = senders.join_next().await {
        sent.expect("a sender does not panic");
    }
    let api = servers.api();
    for state in ["pending", "running", "waiting"] {
        let path = format!("/api/v1/executions?state={state}");
        api.until(&path, |page| {
            page["data"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
    }
    let (repeated, late) = check_executions(&api, &progress, &calls).await;
    let delivered = webhook.settled(&api).await;
    check_endings(&api, &delivered, &receiver, &progress).await;
    eprintln!(
        "{} executions, {} mishaps with {cut_off} executions under way: all ended right and once, \
         {repeated} calls repeated, {} of them late",
        plan.executions,
        plan.rounds,
        late.len()
    );
    assert!(
        late.is_empty() || servers.may_be_late(),
        "{plan:?}: {late:?} were called once more after their step was recorded"
    );
    assert!(
        repeated <= AHEAD * plan.rounds,
        "{plan:?}: {repeated} were repeated, more than were in flight at the kills"
    );
}

/// Registers the workflow, and who is told of its endings.
async fn prepare(api: &Api, receiver: &Receiver) -> Subscriber {
    for (number, limit) in ["", "concurrency: 8"].into_iter().enumerate() {
        let source = WORKFLOW
            .replace("NAME", name_of(number))
            .replace("LIMIT", limit)
            .replace("URL", &format!("http://{}/call", receiver.address()));
        let body = json!({ "source": source });
        api.post("/api/v1/workflows", &body).await.expect(201);
    }
    let body = json!({"name": "crash.summed", "description": "A workflow has come to a sum"});
    api.post("/api/v1/event-types", &body).await.expect(201);
    let settings = json!({
        "events": ["workflow.completed", "workflow.failed", "workflow.stopped", "crash.summed"],
        "schedule": {"delays": ["1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s"]},
    });
    Subscriber::create(api, &receiver.url(), &settings).await
}

/// What the execution of this number runs.
fn name_of(number: usize) -> &'static str {
    ["crashed", "crashed_in_turn"][number % 2]
}

/// Starts execution after execution, each until it is acknowledged.
async fn send(progress: Arc<Progress>, sender: usize) {
    let mut turn = sender;
    loop {
        let number = progress.next.fetch_add(1, Ordering::SeqCst);
        if number >= progress.plan.executions {
            return;
        }
        let mut answered = progress.answered.subscribe();
        answered
            .wait_for(|answered| number < answered + AHEAD)
            .await
            .expect("the receiver is alive");
        let id = loop {
            turn += 1;
            match post(&progress, turn, number).await {
                Some(id) => break id,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        progress.started.lock().insert(number, id);
        progress.acknowledged.send_modify(|count| *count += 1);
    }
}

/// Asks the server whose turn it is; the execution that it names.
async fn post(progress: &Progress, turn: usize, number: usize) -> Option<String> {
    let address = {
        let addresses = progress.addresses.read();
        addresses[turn % addresses.len()].clone()
    };
    let api = Api::new(&address).with("prefer", "respond-async");
    let body = json!({
        "workflow_name": name_of(number), "webhook_id": format!("crash-{number}"), "inputs": {"n": number},
    });
    let asked = api.try_send(Method::POST, "/webhooks/generic", body.to_string());
    // Whether it was taken where the exchange broke, nobody knows: it is sent again.
    let answer = tokio::time::timeout(SENDER_PATIENCE, asked)
        .await
        .ok()?
        .ok()?;
    match answer.status.as_u16() {
        200 | 202 => Some(text(&answer.json()["execution_id"])),
        503 => None,
        _ => panic!("{}", answer.text()),
    }
}

#[track_caller]
fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// Waits for the moment of this round's kill: somewhere in its share of what is acknowledged or
/// called, and a little later.
async fn await_moment(progress: &Progress, round: usize, random: u64) {
    let share = progress.plan.executions / (progress.plan.rounds + 1);
    let within = usize::try_from(random >> 8).expect("a pointer has 64 bits") % share.max(1);
    let count = (round * share + within).max(1);
    let mut moments = if random.is_multiple_of(2) {
        progress.acknowledged.subscribe()
    } else {
        progress.answered.subscribe()
    };
    moments
        .wait_for(|so_far| *so_far >= count)
        .await
        .expect("senders and receiver are alive");
    let delay = Duration::from_micros((random >> 40) % (DELAY_MS_MAX * 1_000));
    tokio::time::sleep(delay).await;
}

/// Holds what the API says of each execution to what was asked for and what was called; answers
/// how many calls were repeated after they were answered well, and which after their step ended.
async fn check_executions(api: &Api, progress: &Progress, calls: &Calls) -> (usize, Vec<String>) {
    let plan = progress.plan;
    let started = progress.started.lock().clone();
    let ids: BTreeSet<_> = started.values().collect();
    assert_eq!(ids.len(), plan.executions, "each is one of its own");
    let listed = api.all("/api/v1/executions").await;
    assert_eq!(listed.len(), plan.executions, "nothing was started twice");
    let mut repeated = 0;
    let mut late = Vec::new();
    for (number, id) in &started {
        let shown = api.get(&format!("/api/v1/executions/{id}")).await;
        assert_eq!(shown["state"], "completed", "{shown:#}");
        assert_eq!(shown["result"]["sum"], sum_for(*number), "{shown:#}");
        let key = format!("{id}/call/0");
        let ended_at = check_timeline(&shown);
        let calls = calls.0.lock();
        let call = calls
            .get(&key)
            .unwrap_or_else(|| panic!("{key} never came"));
        let body: Value = serde_json::from_slice(&call.body).expect("a body is JSON");
        assert_eq!(self::number(&body["n"]), *number, "{key}");
        let last = call.came.last().expect("it came");
        if *last > ended_at {
            late.push(key);
        }
        repeated += call.came.len() - 2;
    }
    assert_eq!(calls.0.lock().len(), plan.executions, "no other was called");
    (repeated, late)
}

/// Each node has completed once, in an order that the edges allow; answers when the call was
/// recorded to have ended.
fn check_timeline(shown: &Value) -> Timestamp {
    let steps = shown["timeline"].as_array().expect("a timeline is a list");
    let of = |node: &str, state: &str| {
        let found = steps
            .iter()
            .filter(|step| step["node"] == node && step["state"] == state);
        found.collect::<Vec<_>>()
    };
    let mut numbers = HashMap::new();
    for node in NODES {
        let [completed] = of(node, "completed")[..] else {
            panic!("{node} must have completed once: {shown:#}");
        };
        assert_eq!(completed["iteration"], 0, "{shown:#}");
        numbers.insert(node, completed["number"].as_u64());
    }
    for [before, after] in [
        ["call", "meet"],
        ["double", "meet"],
        ["meet", "sum"],
        ["sum", "tell"],
    ] {
        assert!(numbers[before] < numbers[after], "{shown:#}");
    }
    // A kill can come before the refusal is recorded, and then the call is not refused again.
    assert!(of("call", "failed").len() <= 1, "{shown:#}");
    for step in steps {
        let known = NODES.iter().any(|node| step["node"] == *node);
        assert!(known && !step["endedAt"].is_null(), "{shown:#}");
    }
    let ended_at = text(&of("call", "completed")[0]["endedAt"]);
    Timestamp::parse(&ended_at).expect("a time is RFC 3339")
}

/// Each execution was told of once: by its own event, and as ended.
async fn check_endings(api: &Api, deliveries: &[Value], receiver: &Receiver, progress: &Progress) {
    let count = progress.plan.executions;
    for (event, expected) in [
        ("workflow.completed", count),
        ("workflow.failed", 0),
        ("workflow.stopped", 0),
        ("crash.summed", count),
    ] {
        if event != "workflow.started" {
            let events = api.all(&format!("/api/v1/events?type={event}")).await;
            assert_eq!(events.len(), expected, "events {event}");
        }
    }
    assert_eq!(deliveries.len(), 2 * count, "one delivery for each event");
    for delivery in deliveries {
        assert_eq!(delivery["state"], "delivered", "{delivery:#}");
    }
    let mut told: HashMap<(String, String), BTreeSet<String>> = HashMap::new();
    for request in receiver.received() {
        if request.path == "/call" {
            continue;
        }
        let body: Value = serde_json::from_slice(&request.body).expect("a body is JSON");
        let about = match text(&body["event"]).as_str() {
            "workflow.completed" => text(&body["data"]["executionId"]),
            "crash.summed" => number(&body["data"]["sum"]).to_string(),
            other => panic!("nobody was to be told of {other}: {body:#}"),
        };
        let ids = told.entry((text(&body["event"]), about)).or_default();
        ids.insert(request.header("webhook-id").to_owned());
    }
    for (number, id) in progress.started.lock().iter() {
        for (event, about) in [
            ("workflow.completed", id.clone()),
            ("crash.summed", sum_for(*number).to_string()),
        ] {
            let ids = told.remove(&(event.to_owned(), about));
            let ids = ids.unwrap_or_else(|| panic!("{event} of {id} was not told"));
            assert_eq!(ids.len(), 1, "{event} of {id} was told as {ids:?}");
        }
    }
    assert!(told.is_empty(), "nobody knows {told:?}");
}
