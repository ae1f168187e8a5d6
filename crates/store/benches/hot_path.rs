//! What the hot path costs: `accept` of one event of 1 KB with one delivery, `finish_attempt`
//! with the headers of a usual exchange; `receive` of one request of 1 KB that starts one
//! execution, and the three `record`s of its steps, the last of which ends it with an event and a
//! delivery; through the real API, fsynced.
//!
//! `cargo bench -p store [-- callers [operations [page bytes]]]` prints operations per second
//! and processor time per operation: all of it, and that of the writer's and the checkpoint's
//! threads. Results depend on the disk; the file lies in the folder for temporary files, or in
//! `SIGNPOST_BENCH_DIR`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{
    DeliveryId, EventId, EventKey, ExecutionId, ReceiptId, SourceId, Timestamp, WebhookId,
    WorkflowId, WorkspaceId,
    attempt::Attempt,
    delivery::Next,
    event::{Event, EventType},
    execution::{Cause, Execution, ExecutionState, Step, StepKey, StepState, Usage},
    intake::{Door, Outcome, Receipt},
};
use store::{
    CommitObserver, ExecutionChange, FinishAttempt, Finished, NewDelivery, NewEvent, Receive,
    Received, Record, Recorded, SharedStore, Start,
    sqlite::{SqliteOptions, SqliteStore},
};
use uuid::Uuid;

const HEADERS: &str = "content-type: application/json\nuser-agent: Signpost/0.1.0\n\
    webhook-id: evt_0190163d8694739f9e3e5b1e3b3f8a5e\nwebhook-timestamp: 1767225600\n\
    webhook-signature: [masked]\nx-webhook-id: evt_0190163d8694739f9e3e5b1e3b3f8a5e\n\
    x-webhook-event: order.paid\nx-webhook-timestamp: 1767225600000\nx-webhook-signature: [masked]\n\
    content-length: 1106\nhost: receiver.example\n";
const ANSWER: &str = "content-type: application/json; charset=utf-8\ncontent-length: 11\n\
    date: Thu, 01 Jan 2026 00:00:00 GMT\nconnection: keep-alive\nserver: receiver/1.0\n";

#[derive(Default)]
struct Commits {
    count: AtomicU64,
    transitions: AtomicU64,
    slowest_us: AtomicU64,
}

impl CommitObserver for Commits {
    fn committed(&self, transitions: usize, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.transitions
            .fetch_add(transitions as u64, Ordering::Relaxed);
        self.slowest_us.fetch_max(
            u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }
}

/// Ids that count up in front of a time that moves with them, about 15,000 to a second.
struct Ids(AtomicU64);

impl Ids {
    fn next(&self) -> Uuid {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        let ms = 1_767_225_600_000 + u128::from(count / 30);
        let tail = u128::from(count.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8);
        Uuid::from_u128(ms << 80 | 0x7 << 76 | u128::from(count % 30) << 64 | 0b10 << 62 | tail)
    }
}

fn new_event(ids: &Ids, webhook: WebhookId) -> NewEvent {
    let key = EventKey::new(ids.next());
    let now = Timestamp::from_ms(1_767_225_600_000);
    NewEvent {
        event: Event {
            workspace: WorkspaceId::DEFAULT,
            key,
            id: EventId::from_key(key),
            event_type: EventType::parse("order.paid").expect("a name"),
            timestamp: now,
            accepted_at: now,
            data: Bytes::from(vec![b'x'; 1024]),
            hops: 0,
        },
        id_given: false,
        idempotency_key: None,
        deliveries: vec![NewDelivery {
            id: DeliveryId::new(ids.next()),
            event: key,
            webhook,
            held: true,
            ordered: false,
            replay: None,
        }],
    }
}

fn finish(store: &SharedStore, delivery: DeliveryId, webhook: WebhookId) -> FinishAttempt {
    FinishAttempt {
        workspace: WorkspaceId::DEFAULT,
        delivery,
        webhook,
        lease: store.lease(),
        attempt: Attempt {
            number: 1,
            started_at: Timestamp::from_ms(1_767_225_600_000),
            duration_us: 1_234,
            url: "https://receiver.example/hooks/orders".into(),
            status: Some(200),
            error: None,
            error_message: None,
            request_headers: HEADERS.into(),
            response_headers: ANSWER.into(),
            response_body: Bytes::from_static(b"{\"ok\":true}"),
            response_truncated: false,
            peer: Some(([192, 0, 2, 1], 443).into()),
            tls_not_after: Some(Timestamp::from_ms(1_800_000_000_000)),
        },
        next: Next::Delivered,
        failing_since: None,
    }
}

/// A request of 1 KB with an id of its own that starts an execution, held here.
fn request(ids: &Ids, workflow: WorkflowId) -> Receive {
    let now = Timestamp::from_ms(1_767_225_600_000);
    let receipt = ReceiptId::new(ids.next());
    let execution = ExecutionId::new(ids.next());
    let body = Bytes::from(vec![b'x'; 1024]);
    Receive {
        receipt: Receipt {
            workspace: WorkspaceId::DEFAULT,
            id: receipt,
            door: Door::Source(SourceId::new(workflow.uuid())),
            received_at: now,
            peer: Some("192.0.2.1".into()),
            headers: HEADERS.into(),
            body: body.clone(),
            outcome: Outcome::Started,
            event_id: Some(receipt.to_string()),
            executions: vec![execution],
            reason: None,
            replay_of: None,
        },
        starts: vec![Start {
            execution: Execution {
                workspace: WorkspaceId::DEFAULT,
                id: execution,
                workflow,
                version: 1,
                state: ExecutionState::Running,
                input: body,
                cause: Cause::Webhook {
                    receipt,
                    trigger: None,
                    hops: 0,
                },
                offline: false,
                result: None,
                error: None,
                created_at: now,
                started_at: Some(now),
                ended_at: None,
                due_at: None,
                steps: 0,
                usage: Usage::default(),
            },
            held: true,
            limit: None,
        }],
        events: Vec::new(),
    }
}

/// The record of a step with half a kilobyte of output; the last one ends the execution.
fn step(bench: &Bench, execution: ExecutionId, number: u32) -> Record {
    let now = Timestamp::from_ms(1_767_225_600_000);
    let is_last = number == STEPS;
    let usage = Usage {
        tokens_in: 700,
        tokens_out: 90,
        cost_nanos: 12_000,
    };
    Record {
        workspace: WorkspaceId::DEFAULT,
        execution,
        lease: bench.store.lease(),
        now,
        steps: vec![Step {
            number,
            key: StepKey {
                node: "classify".into(),
                iteration: 0,
                item: None,
            },
            attempt: 1,
            state: StepState::Completed,
            started_at: now,
            ended_at: Some(now),
            until: None,
            output: Some(Bytes::from(vec![b'x'; 512])),
            error: None,
            usage,
            detail: Some(Bytes::from_static(b"{\"model\":\"offline\"}")),
        }],
        change: is_last.then(|| ExecutionChange {
            state: ExecutionState::Completed,
            held: false,
            due_at: None,
            started_at: None,
            ended_at: Some(now),
            result: Some(Bytes::from(vec![b'x'; 512])),
            error: None,
            steps: STEPS,
            usage,
        }),
        signals: Vec::new(),
        takes: Vec::new(),
        gives: Vec::new(),
        waits_for: Vec::new(),
        starts: Vec::new(),
        tells: Vec::new(),
        limit: None,
        events: is_last
            .then(|| new_event(&bench.ids, bench.webhook))
            .into_iter()
            .collect(),
    }
}

/// How many steps an execution has.
const STEPS: u32 = 3;

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Accept,
    Finish,
    Both,
    Receive,
    Steps,
}

struct Bench {
    store: SharedStore,
    ids: Ids,
    webhook: WebhookId,
    made: Vec<parking_lot::Mutex<Option<DeliveryId>>>,
    begun: Vec<parking_lot::Mutex<Option<ExecutionId>>>,
}

/// One operation on the execution of this index.
async fn execute(bench: &Bench, index: usize, phase: Phase) {
    if phase == Phase::Receive {
        let request = request(&bench.ids, WorkflowId::new(bench.webhook.uuid()));
        *bench.begun[index].lock() = Some(request.starts[0].execution.id);
        let received = bench.store.receive(request).await;
        assert!(matches!(received, Ok(Received::New { .. })));
        return;
    }
    let id = bench.begun[index].lock().take().expect("received before");
    for number in 1..=STEPS {
        let recorded = bench.store.record(step(bench, id, number)).await;
        assert!(matches!(recorded, Ok(Recorded::Written { .. })));
    }
}

async fn caller(bench: Arc<Bench>, next: Arc<AtomicUsize>, phase: Phase) {
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(slot) = bench.made.get(index) else {
            return;
        };
        if matches!(phase, Phase::Receive | Phase::Steps) {
            execute(&bench, index, phase).await;
            continue;
        }
        if phase != Phase::Finish {
            let new = new_event(&bench.ids, bench.webhook);
            *slot.lock() = Some(new.deliveries[0].id);
            bench.store.accept(vec![new]).await.expect("accepted");
        }
        if phase != Phase::Accept {
            let id = slot.lock().take().expect("accepted before");
            let finished = bench
                .store
                .finish_attempt(finish(&bench.store, id, bench.webhook))
                .await;
            assert_eq!(finished, Ok(Finished::Recorded));
        }
    }
}

/// Processor time of each thread so far, in nanoseconds, by name.
fn processor_ns(name: &str) -> u64 {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return 0;
    };
    threads
        .flatten()
        .filter(|thread| {
            fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.starts_with(name))
        })
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn folder() -> PathBuf {
    let parent =
        std::env::var_os("SIGNPOST_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    parent.join(format!("signpost-bench-{}", std::process::id()))
}

#[expect(clippy::cast_precision_loss, reason = "for print only")]
async fn run(
    bench: &Arc<Bench>,
    commits: &Commits,
    callers: usize,
    phase: Phase,
    name: &str,
    path: &Path,
) {
    let before = ["", "store-writer", "store-checkpoin"].map(processor_ns);
    for counter in [&commits.count, &commits.transitions, &commits.slowest_us] {
        counter.store(0, Ordering::Relaxed);
    }
    let began = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..callers {
        running.spawn(caller(Arc::clone(bench), Arc::clone(&next), phase));
    }
    running.join_all().await;
    let took = began.elapsed();
    let after = ["", "store-writer", "store-checkpoin"].map(processor_ns);
    let operations = bench.made.len() as f64;
    let us = |index: usize| (after[index] - before[index]) as f64 / 1_000.0 / operations;
    let log = fs::metadata(path.with_extension("db-wal")).map_or(0, |file| file.len());
    println!(
        "{name:<16} {:>7.0}/s   {:>5.1} µs each: writer {:>5.1}, checkpoints {:>4.1}, callers {:>5.1}   batches of {:.0}, slowest commit {:.1} ms, log {:.0} MB",
        operations / took.as_secs_f64(),
        us(0),
        us(1),
        us(2),
        us(0) - us(1) - us(2),
        commits.transitions.load(Ordering::Relaxed) as f64
            / commits.count.load(Ordering::Relaxed) as f64,
        commits.slowest_us.load(Ordering::Relaxed) as f64 / 1_000.0,
        log as f64 / 1e6,
    );
}

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let callers = numbers.first().copied().unwrap_or(64);
    let operations = numbers.get(1).copied().unwrap_or(100_000);
    let page_bytes = numbers.get(2).and_then(|bytes| u32::try_from(*bytes).ok());
    let folder = folder();
    let path = folder.join("bench.db");
    let commits = Arc::new(Commits::default());
    let options = SqliteOptions {
        observer: Arc::clone(&commits) as Arc<dyn CommitObserver>,
        page_bytes,
        ..SqliteOptions::new(Timestamp::from_ms(0))
    };
    let store = SqliteStore::open(&path, options).expect("opened");
    let ids = Ids(AtomicU64::new(0));
    let webhook = WebhookId::new(ids.next());
    let bench = Arc::new(Bench {
        store: Arc::new(store),
        ids,
        webhook,
        made: (0..operations)
            .map(|_| parking_lot::Mutex::default())
            .collect(),
        begun: (0..operations)
            .map(|_| parking_lot::Mutex::default())
            .collect(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for round in 1..=2 {
            println!("round {round}: {operations} operations by {callers} callers");
            run(&bench, &commits, callers, Phase::Accept, "accept", &path).await;
            run(&bench, &commits, callers, Phase::Finish, "finish", &path).await;
            run(
                &bench,
                &commits,
                callers,
                Phase::Both,
                "accept + finish",
                &path,
            )
            .await;
            run(&bench, &commits, callers, Phase::Receive, "receive", &path).await;
            run(&bench, &commits, callers, Phase::Steps, "3 records", &path).await;
        }
        bench.store.close().await;
    });
    let bytes = fs::metadata(&path).map_or(0, |file| file.len());
    println!(
        "{} bytes of database for each two events and one execution",
        bytes / (2 * operations as u64)
    );
    fs::remove_dir_all(&folder).expect("removed");
}
