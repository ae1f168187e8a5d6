//! The real program is killed with `kill -9` at random moments, and a ledger is drawn up.
//!
//! Publishers post numbered events under ids of their own, and post each again until it is
//! acknowledged, to whatever port the server has by then. A receiver in this process (whose port
//! stays) takes most of them and refuses the doomed ones, which are tried once. At the end every
//! event must be with the receiver or listed as dead, no more often than once plus the attempts
//! that were in flight when the server was killed, and rightly signed.
//!
//! `SIGNPOST_CRASH_ROUNDS` (3), `SIGNPOST_CRASH_EVENTS` (600) and `SIGNPOST_CRASH_SEED` (random,
//! printed) set the kills, the events and the moments.

#[path = "samples/mod.rs"]
mod harness;

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::json;
use testkit::{Answer, Receiver, SeededEntropy, TestStore};
use tokio::{sync::watch, task::JoinSet};

use harness::{
    api::Api,
    ledger::{Expected, Ledger},
    program::Program,
    subscriber::Subscriber,
};

const SECRET: &str = "whsec_c2lnbnBvc3QgdGVzdHMsIG5vdCBzZWNyZXQ=";
/// How many attempts at the webhook may run at once: so many may be repeated for each kill.
const CONCURRENCY: usize = 8;
/// Connections that publish at once.
const PUBLISHERS: usize = 4;
/// Of so many events one is refused by the receiver.
const DOOMED_EACH: usize = 10;
/// The server is killed up to so many milliseconds after the event at which it is to happen.
const DELAY_MS_MAX: u64 = 8;

#[derive(Clone, Copy, Debug)]
struct Plan {
    rounds: usize,
    events: usize,
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
            rounds: count("SIGNPOST_CRASH_ROUNDS", 3),
            events: count("SIGNPOST_CRASH_EVENTS", 600),
            seed: set("SIGNPOST_CRASH_SEED")
                .unwrap_or_else(|| RandomState::new().build_hasher().finish()),
        }
    }
}

/// What is said to the publishers, and what they say.
struct Progress {
    /// Where the server is; changes with each start.
    address: watch::Receiver<String>,
    /// The next event's number.
    next: AtomicUsize,
    /// How many were acknowledged.
    acknowledged: watch::Sender<usize>,
    plan: Plan,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_delivered_or_dead_after_any_kills() {
    let plan = Plan::read();
    eprintln!("{plan:?}: SIGNPOST_CRASH_SEED={} repeats it", plan.seed);
    let receiver = Receiver::start(|request, _| {
        let is_doomed = request
            .body
            .windows(DOOMED.len())
            .any(|part| part == DOOMED);
        Answer::status(if is_doomed { 500 } else { 200 })
    })
    .await;
    let place = TestStore::chosen();
    let mut program = Program::start_in(&place, &[]);
    let api = Api::new(program.address());
    let settings = json!({"secret": SECRET, "concurrency": CONCURRENCY});
    let webhook = Subscriber::create(&api, &receiver.url(), &settings).await;

    let (address, current) = watch::channel(program.address().to_owned());
    let progress = Arc::new(Progress {
        address: current,
        next: AtomicUsize::new(0),
        acknowledged: watch::channel(0).0,
        plan,
    });
    let mut publishers = JoinSet::new();
    for _ in 0..PUBLISHERS {
        publishers.spawn(publish(Arc::clone(&progress)));
    }
    let entropy = SeededEntropy::new(plan.seed);
    for round in 0..plan.rounds {
        await_moment(&progress, &receiver, round, entropy.next()).await;
        program.kill();
        program = Program::start_in(&place, &[]);
        address.send_replace(program.address().to_owned());
    }
    while let Some(published) = publishers.join_next().await {
        published.expect("a publisher does not panic");
    }
    assert_eq!(*progress.acknowledged.borrow(), plan.events);

    let deliveries = webhook.settled(&Api::new(program.address())).await;
    let repeated = Ledger::new(SECRET, &receiver.received()).check(&deliveries, &expected(plan));
    eprintln!(
        "{} events, {} kills: all there, {repeated} repeated",
        plan.events, plan.rounds
    );
    assert!(
        repeated <= CONCURRENCY * plan.rounds,
        "{plan:?}: {repeated} were repeated, more than were in flight at the kills"
    );
}

/// How a doomed event's data shows that it is.
const DOOMED: &[u8] = br#""doomed":true"#;

fn is_doomed(number: usize) -> bool {
    number % DOOMED_EACH == DOOMED_EACH / 2
}

fn id(number: usize) -> String {
    format!("crash-{number}")
}

fn expected(plan: Plan) -> Vec<Expected> {
    (0..plan.events)
        .map(|number| Expected {
            id: id(number),
            number,
            state: if is_doomed(number) {
                "dead"
            } else {
                "delivered"
            },
        })
        .collect()
}

/// Posts event after event, each until it is acknowledged.
async fn publish(progress: Arc<Progress>) {
    let mut address = progress.address.clone();
    let mut api = Api::new(&address.borrow_and_update());
    loop {
        let number = progress.next.fetch_add(1, Ordering::SeqCst);
        if number >= progress.plan.events {
            return;
        }
        let data = json!({"number": number, "doomed": is_doomed(number)});
        let body = json!({"event": "crash.checked", "id": id(number), "data": data}).to_string();
        loop {
            if let Ok(answer) = api
                .try_send(Method::POST, "/api/v1/events", body.clone())
                .await
            {
                // 200: it was accepted before a kill that kept the answer from arriving.
                assert!(
                    matches!(answer.status.as_u16(), 200 | 202),
                    "{}",
                    answer.text()
                );
                break;
            }
            // Whether it was accepted, nobody knows: it is posted again to the next server.
            address
                .changed()
                .await
                .expect("a killed server is started again");
            api = Api::new(&address.borrow_and_update());
        }
        progress.acknowledged.send_modify(|count| *count += 1);
    }
}

/// Waits for the moment of this round's kill: somewhere in its share of what is acknowledged or
/// received, and a little later.
async fn await_moment(progress: &Progress, receiver: &Receiver, round: usize, random: u64) {
    let share = progress.plan.events / (progress.plan.rounds + 1);
    let within = usize::try_from(random >> 8).expect("a pointer has 64 bits") % share.max(1);
    let count = (round * share + within).max(1);
    if random.is_multiple_of(2) {
        let mut acknowledged = progress.acknowledged.subscribe();
        acknowledged
            .wait_for(|so_far| *so_far >= count)
            .await
            .expect("the publishers are alive");
    } else {
        receiver.wait_for(count).await;
    }
    tokio::time::sleep(Duration::from_micros(
        (random >> 40) % (DELAY_MS_MAX * 1_000),
    ))
    .await;
}
