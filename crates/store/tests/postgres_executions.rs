//! Executions, turns, pools and receipts where several processes' stores share one database.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use domain::{
    DeliveryId, EventId, EventKey, ExecutionId, ReceiptId, Timestamp, WebhookId, WorkflowId,
    WorkspaceId,
    event::{Event, EventType},
    execution::{Cause, Execution, ExecutionState, Signal, Step, StepKey, StepState, Usage},
    intake::{Door, Outcome, Receipt},
    workflow::definition::OnConflict,
};
use store::{
    Accepted, Change, ClaimedExecution, ExecutionChange, ExecutionFilter, Executions as _, Hint,
    Identity, Intake as _, Lease, Limit, NewDelivery, NewEvent, Page, PutWorkflow, Receive,
    Received, Record, Recorded, Signalled, Start, Started, Store as _, StoreError, Take, Workflow,
    WorkflowVersion, Workflows as _,
    postgres::{PostgresOptions, PostgresStore},
};
use testkit::postgres::{Database, Gate, database};
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

async fn join(url: &str, number: u128) -> Arc<PostgresStore> {
    join_for(url, number, LEASE).await
}

async fn join_for(url: &str, number: u128, lease: Duration) -> Arc<PostgresStore> {
    let options = PostgresOptions {
        identity: Identity {
            id: Uuid::from_u128(number),
            name: format!("node-{number}"),
            ..Identity::default()
        },
        lease,
        ..PostgresOptions::new(now())
    };
    let opened = PostgresStore::open(url, options).await;
    Arc::new(opened.expect("the database can be opened"))
}

async fn both(database: &Database) -> [Arc<PostgresStore>; 2] {
    [
        join(&database.url(), 1).await,
        join(&database.url(), 2).await,
    ]
}

fn workflow() -> WorkflowId {
    WorkflowId::new(next_id())
}

fn start_of(workflow: WorkflowId, held: bool) -> Start {
    Start {
        execution: Execution {
            workspace: HOME,
            id: ExecutionId::new(next_id()),
            workflow,
            version: 1,
            state: ExecutionState::Running,
            input: Bytes::from_static(b"{}"),
            cause: Cause::Api,
            offline: false,
            result: None,
            error: None,
            created_at: now(),
            started_at: Some(now()),
            ended_at: None,
            due_at: None,
            steps: 0,
            usage: Usage::default(),
        },
        held,
        limit: None,
    }
}

async fn begin(store: &PostgresStore, start: Start) -> (ExecutionId, Started) {
    let id = start.execution.id;
    let (started, _) = store.start(start, Vec::new()).await.expect("started");
    (id, started)
}

async fn hold(store: &PostgresStore) -> ExecutionId {
    let (id, started) = begin(store, start_of(workflow(), true)).await;
    assert_eq!(started, Started::Running);
    id
}

/// A record of an execution in which nothing stands yet.
fn found(execution: ExecutionId, lease: Lease) -> Record {
    Record {
        workspace: HOME,
        execution,
        lease,
        now: now(),
        steps: Vec::new(),
        change: None,
        signals: Vec::new(),
        takes: Vec::new(),
        gives: Vec::new(),
        waits_for: Vec::new(),
        starts: Vec::new(),
        tells: Vec::new(),
        limit: None,
        events: Vec::new(),
    }
}

fn change(state: ExecutionState) -> ExecutionChange {
    ExecutionChange {
        state,
        held: false,
        due_at: None,
        started_at: None,
        ended_at: state.is_final().then(now),
        result: None,
        error: None,
        steps: 0,
        usage: Usage::default(),
    }
}

fn key(node: &str) -> StepKey {
    StepKey {
        node: node.into(),
        iteration: 0,
        item: None,
    }
}

fn step(number: u32) -> Step {
    Step {
        number,
        key: key("only"),
        attempt: 1,
        state: StepState::Completed,
        started_at: now(),
        ended_at: Some(now()),
        until: None,
        output: None,
        error: None,
        usage: Usage::default(),
        detail: None,
    }
}

fn event_to(webhook: WebhookId) -> NewEvent {
    let key = EventKey::new(next_id());
    NewEvent {
        event: Event {
            workspace: HOME,
            key,
            id: EventId::from_key(key),
            event_type: EventType::parse("workflow.completed").expect("a name"),
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
            held: true,
            ordered: false,
            replay: None,
        }],
    }
}

async fn claim(store: &PostgresStore, limit: usize) -> Vec<ClaimedExecution> {
    let claimed = store.claim_executions(now(), limit).await;
    claimed.expect("claimed")
}

async fn get(store: &PostgresStore, id: ExecutionId) -> Execution {
    let found = store.execution(HOME, id).await.expect("read");
    found.expect("there is one")
}

fn is_written(recorded: &Recorded) -> bool {
    matches!(recorded, Recorded::Written { .. })
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

/// The other one goes on from the last step; what the first one found out comes too late.
#[tokio::test]
async fn an_execution_goes_over_to_another_node() {
    let database = database();
    let gate = Gate::before(&database.url());
    let (one, two) = (join(gate.url(), 1).await, join(&database.url(), 2).await);
    let id = hold(&one).await;
    let lost = one.lease();
    let mut record = found(id, lost);
    record.steps = vec![step(1)];
    assert!(is_written(&one.record(record).await.expect("recorded")));
    assert!(claim(&two, 10).await.is_empty());
    gate.silence();
    let mut taken = Vec::new();
    until("the other one takes over", async || {
        taken = claim(&two, 10).await;
        !taken.is_empty()
    })
    .await;
    assert_eq!(taken[0].execution.id, id);
    assert_eq!(taken[0].steps, [step(1)]);
    assert_eq!(taken[0].lease, two.lease());
    gate.open();
    until("it has a new lease", async || {
        one.lease() > lost && one.holds(one.lease())
    })
    .await;
    for lease in [lost, one.lease(), two.lease()] {
        let mut late = found(id, lease);
        late.steps = vec![step(2)];
        late.events = vec![event_to(WebhookId::new(next_id()))];
        let key = late.events[0].event.key;
        assert_eq!(one.record(late).await, Ok(Recorded::LeaseLost));
        assert_eq!(two.event(HOME, key).await, Ok(None));
    }
    assert_eq!(two.steps(HOME, id).await, Ok(vec![step(1)]));
    let mut end = found(id, two.lease());
    end.change = Some(change(ExecutionState::Completed));
    assert!(is_written(&two.record(end).await.expect("recorded")));
    one.close().await;
    two.close().await;
}

/// Ends a lease as another node would, so that its node does not hear of it for a while.
async fn end_lease(database: &Database, lease: Lease) {
    let (client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls)
        .await
        .expect("connected");
    let driven = tokio::spawn(connection);
    let sql = format!(
        "DELETE FROM fences WHERE lease = {0}; UPDATE executions SET held_by = 0 WHERE held_by = {0};
         DELETE FROM nodes WHERE lease = {0}",
        lease.0
    );
    client.batch_execute(&sql).await.expect("ended");
    driven.abort();
}

/// It does not know yet that its lease has ended: the fence does.
#[tokio::test]
async fn a_stale_record_writes_nothing() {
    let database = database();
    let one = join_for(&database.url(), 1, Duration::from_mins(2)).await;
    let two = join(&database.url(), 2).await;
    let id = hold(&one).await;
    let lease = one.lease();
    end_lease(&database, lease).await;
    let mut stale = found(id, lease);
    stale.steps = vec![step(1)];
    stale.starts = vec![start_of(workflow(), true)];
    let child = stale.starts[0].execution.id;
    assert_eq!(one.record(stale).await, Ok(Recorded::LeaseLost));
    assert_eq!(two.steps(HOME, id).await, Ok(Vec::new()));
    assert_eq!(two.execution(HOME, child).await, Ok(None));
    let claimed = claim(&two, 10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].execution.id, id);
    two.close().await;
}

/// What it was to hold is stored, held by nobody: and it knows.
#[tokio::test]
async fn nothing_is_held_under_a_lease_that_has_ended() {
    let database = database();
    let one = join_for(&database.url(), 1, Duration::from_mins(2)).await;
    let two = join(&database.url(), 2).await;
    let lease = one.lease();
    end_lease(&database, lease).await;
    let (id, started) = begin(&one, start_of(workflow(), true)).await;
    assert_eq!(started, Started::Running);
    assert!(!one.holds(lease));
    let claimed = claim(&two, 10).await;
    assert_eq!(claimed[0].execution.id, id);
    two.close().await;
}

/// A node that goes down frees what it holds, and says so.
#[tokio::test]
async fn a_node_that_ends_frees_its_executions() {
    let database = database();
    let [one, two] = both(&database).await;
    let id = hold(&one).await;
    let mut hints = two.hints();
    one.close().await;
    until("the other one hears of it", async || {
        matches!(hints.try_recv(), Ok(Hint::Executions))
    })
    .await;
    let claimed = claim(&two, 10).await;
    assert_eq!(claimed[0].execution.id, id);
    two.close().await;
}

/// Each is claimed by one of two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_what_is_due() {
    let database = database();
    let stores = both(&database).await;
    let mut made = HashSet::new();
    for _ in 0..60 {
        made.insert(begin(&stores[0], start_of(workflow(), false)).await.0);
    }
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..8 {
        let store = Arc::clone(&stores[call % 2]);
        calls.spawn(async move {
            let mut taken = Vec::new();
            loop {
                let claimed = claim(&store, 3).await;
                if claimed.is_empty() {
                    return taken;
                }
                taken.extend(claimed.into_iter().map(|one| one.execution.id));
            }
        });
    }
    let taken: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
    assert_eq!(taken.len(), made.len());
    assert_eq!(taken.into_iter().collect::<HashSet<_>>(), made);
}

/// Wherever it was left, the holder reads it.
#[tokio::test]
async fn a_signal_reaches_the_node_that_holds() {
    let database = database();
    let [one, two] = both(&database).await;
    let id = hold(&one).await;
    let mut hints = one.hints();
    let stop = Signal::Stop { by: "ada".into() };
    let left = two.signal(HOME, id, stop.clone(), now()).await;
    assert_eq!(left, Ok(Signalled::Held { here: false }));
    until("the holder hears of it", async || {
        matches!(hints.try_recv(), Ok(Hint::Executions))
    })
    .await;
    let held = one.held_signals(10).await.expect("read");
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].execution, &held[0].signal), (id, &stop));
    assert!(two.held_signals(10).await.expect("read").is_empty());
    let here = one.signal(HOME, id, stop, now()).await;
    assert_eq!(here, Ok(Signalled::Held { here: true }));
}

/// One event id, fifty times at once over two nodes: one execution.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_two_nodes_are_given_at_once_is_one() {
    let database = database();
    let stores = both(&database).await;
    let order = workflow();
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..50 {
        let store = Arc::clone(&stores[call % 2]);
        let start = start_of(order, true);
        let receive = Receive {
            receipt: Receipt {
                workspace: HOME,
                id: ReceiptId::new(next_id()),
                door: Door::Generic,
                received_at: now(),
                peer: None,
                headers: "[]".into(),
                body: Bytes::from_static(b"{}"),
                outcome: Outcome::Started,
                event_id: Some("x".repeat(20_000)),
                executions: vec![start.execution.id],
                reason: None,
                replay_of: None,
            },
            starts: vec![start],
            events: vec![event_to(WebhookId::new(next_id()))],
        };
        calls.spawn(async move {
            let (receipt, execution) = (receive.receipt.id, receive.receipt.executions[0]);
            let received = store.receive(receive).await.expect("received");
            (receipt, execution, received)
        });
    }
    let answers = calls.join_all().await;
    let (new, repeats): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|(.., received)| matches!(received, Received::New { .. }));
    assert_eq!(new.len(), 1);
    let (receipt, execution, received) = &new[0];
    let expected = Received::New {
        started: vec![Started::Running],
        accepted: vec![Accepted::New],
    };
    assert_eq!(*received, expected);
    for (.., repeat) in repeats {
        let executions = vec![*execution];
        let receipt = *receipt;
        let expected = Received::Duplicate {
            receipt,
            executions,
        };
        assert_eq!(repeat, expected);
    }
    let page = Page {
        after: None,
        limit: 100,
    };
    let all = stores[1].executions(HOME, ExecutionFilter::default(), page);
    assert_eq!(all.await.expect("read").len(), 1);
}

/// However many nodes start and end them at once, no more run than may, and all have their turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_keep_a_workflows_concurrency() {
    let database = database();
    let stores = both(&database).await;
    let order = workflow();
    let mut starts = tokio::task::JoinSet::new();
    for call in 0..30 {
        let store = Arc::clone(&stores[call % 2]);
        let start = Start {
            limit: Some(Limit {
                max: 3,
                on_conflict: OnConflict::Queue,
            }),
            ..start_of(order, false)
        };
        starts.spawn(async move { begin(&store, start).await.1 });
    }
    let started = starts.join_all().await;
    let running = started.iter().filter(|one| **one == Started::Running);
    assert_eq!(running.count(), 3);
    let mut ended = 0;
    while ended < started.len() {
        let mut claimed = claim(&stores[0], 2).await;
        claimed.extend(claim(&stores[1], 10).await);
        assert!((1..=3).contains(&claimed.len()), "{}", claimed.len());
        ended += claimed.len();
        let mut ends = tokio::task::JoinSet::new();
        for one in claimed {
            let store = stores.iter().find(|store| store.lease() == one.lease);
            let store = Arc::clone(store.expect("it was claimed by one of them"));
            let mut end = found(one.execution.id, one.lease);
            end.change = Some(change(ExecutionState::Completed));
            end.limit = Some((order, 3));
            ends.spawn(async move { store.record(end).await.expect("recorded") });
        }
        assert!(ends.join_all().await.iter().all(is_written));
    }
}

/// However many nodes take at once, no more is taken than there is; who waits on another node is
/// woken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_a_pool() {
    let database = database();
    let stores = both(&database).await;
    stores[0].put_pool(HOME, "gpu", 4).await.expect("made");
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..24 {
        let store = Arc::clone(&stores[call % 2]);
        let id = hold(&store).await;
        calls.spawn(async move {
            let mut record = found(id, store.lease());
            record.takes = vec![Take {
                pool: "gpu".into(),
                units: 1,
                step: key("only"),
            }];
            let recorded = store.record(record).await.expect("recorded");
            (store, id, recorded)
        });
    }
    let (has, lack): (Vec<_>, Vec<_>) = calls
        .join_all()
        .await
        .into_iter()
        .partition(|(.., recorded)| is_written(recorded));
    assert_eq!(has.len(), 4);
    let pools = stores[1].pools(HOME).await.expect("read");
    assert_eq!((pools[0].units, pools[0].taken), (4, 4));

    let (store, waits, short) = &lack[0];
    let expected = Recorded::Short {
        pool: "gpu".into(),
        free: Some(0),
    };
    assert_eq!(*short, expected);
    let mut record = found(*waits, store.lease());
    record.waits_for = vec!["gpu".into()];
    record.change = Some(change(ExecutionState::Waiting));
    assert!(is_written(&store.record(record).await.expect("recorded")));
    let (other, has, _) = has
        .iter()
        .find(|(other, ..)| other.lease() != store.lease())
        .unwrap_or(&has[0]);
    let mut hints = store.hints();
    let mut back = found(*has, other.lease());
    back.gives = vec![key("only")];
    let given = other.record(back).await;
    assert!(matches!(given, Ok(Recorded::Written { free, .. }) if free == [("gpu".into(), 1)]));
    assert_eq!(get(store, *waits).await.due_at, Some(now()));
    until("the waiting one's node hears of it", async || {
        matches!(hints.try_recv(), Ok(Hint::Executions))
    })
    .await;
}

/// Two that give to each other's pools, tell each other, and start each other's workflows at the
/// same time: none of it gets stuck.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_cross_do_not_block_each_other() {
    let database = database();
    let stores = both(&database).await;
    for pool in ["a", "b"] {
        stores[0].put_pool(HOME, pool, 100).await.expect("made");
    }
    let workflows = [workflow(), workflow()];
    let ids = [hold(&stores[0]).await, hold(&stores[1]).await];
    let mut calls = tokio::task::JoinSet::new();
    for side in 0..2 {
        let store = Arc::clone(&stores[side]);
        calls.spawn(async move {
            for round in 0..40 {
                let mut record = found(ids[side], store.lease());
                let mut pools = ["a", "b"];
                pools.rotate_left(side);
                record.gives = vec![key("only")];
                record.takes = pools
                    .map(|pool| Take {
                        pool: pool.into(),
                        units: 1,
                        step: key(if round % 2 == 0 { "only" } else { "other" }),
                    })
                    .into();
                let stop = Signal::Stop { by: "it".into() };
                record.tells = vec![(ids[1 - side], stop)];
                record.starts = vec![0, 1]
                    .into_iter()
                    .map(|index: usize| Start {
                        limit: Some(Limit {
                            max: 2,
                            on_conflict: OnConflict::Cancel,
                        }),
                        ..start_of(workflows[(index + side) % 2], false)
                    })
                    .collect();
                record.steps = vec![step(round + 1)];
                assert!(is_written(&store.record(record).await.expect("recorded")));
            }
        });
    }
    calls.join_all().await;
}

/// Connections are cut at any moment of what is under way: what was answered is there, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_lose_and_double_nothing() {
    let database = database();
    let store = join(&database.url(), 1).await;
    let done = Arc::new(AtomicBool::new(false));
    let cutting = tokio::spawn(cut(database.url(), Arc::clone(&done)));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = Arc::clone(&store);
        workers.spawn(async move {
            let mut ended = Vec::new();
            for _ in 0..30 {
                let start = start_of(workflow(), true);
                let (id, lease) = (start.execution.id, store.lease());
                let started = store.start(start, Vec::new()).await;
                if started.is_err() {
                    assert!(matches!(started, Err(StoreError::Unavailable(_))));
                    continue;
                }
                let mut end = found(id, lease);
                end.steps = vec![step(1)];
                end.change = Some(change(ExecutionState::Completed));
                end.events = vec![event_to(WebhookId::new(next_id()))];
                let key = end.events[0].event.key;
                match store.record(end).await {
                    Ok(Recorded::Written { accepted, .. }) => {
                        assert_eq!(accepted, [Accepted::New]);
                        ended.push((id, key));
                    }
                    Ok(other) => assert_eq!(other, Recorded::LeaseLost),
                    Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
                }
            }
            ended
        });
    }
    let ended: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    done.store(true, Ordering::Relaxed);
    assert!(cutting.await.expect("it does not panic") > 0);
    assert!(!ended.is_empty());
    for (id, key) in ended {
        assert_eq!(get(&store, id).await.state, ExecutionState::Completed);
        assert_eq!(store.steps(HOME, id).await, Ok(vec![step(1)]));
        assert!(store.event(HOME, key).await.expect("read").is_some());
    }
    store.close().await;
}

/// Ends every connection that has just worked on the schema's tables, until `done`; answers how
/// often.
async fn cut(url: String, done: Arc<AtomicBool>) -> usize {
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .expect("connected");
    let driven = tokio::spawn(connection);
    let mut cuts = 0;
    while !done.load(Ordering::Relaxed) {
        let ended = client
            .query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE pid <> pg_backend_pid() AND pid IN (
                     SELECT l.pid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema())",
                &[],
            )
            .await
            .expect("asked");
        cuts += ended.len();
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    driven.abort();
    cuts
}

/// What nodes keep in memory of workflows and sources.
#[tokio::test]
async fn changes_of_workflows_reach_the_others() {
    let database = database();
    let [one, two] = both(&database).await;
    let from = two.changes(None).await.expect("read").to;
    let id = workflow();
    let put = PutWorkflow {
        workflow: Workflow {
            workspace: HOME,
            id,
            name: "order".into(),
            description: String::new(),
            version: 1,
            label: "1.0".into(),
            created_at: now(),
            updated_at: now(),
        },
        expected: None,
        version: WorkflowVersion {
            workspace: HOME,
            workflow: id,
            number: 1,
            label: "1.0".into(),
            source: Bytes::from_static(b"flow: {}\n"),
            definition: Bytes::from_static(b"{}"),
            created_at: now(),
        },
        triggers: Vec::new(),
        events: Vec::new(),
    };
    assert!(one.put_workflow(put.clone()).await.expect("put").is_some());
    assert!(one.put_workflow(put).await.expect("put").is_none());
    let deleted = one.delete_workflow(HOME, id, Vec::new()).await;
    assert!(deleted.expect("removed").is_some());
    let changes = two.changes(Some(from)).await.expect("read");
    assert_eq!(
        changes.what,
        Some(vec![Change::Workflows, Change::Workflows])
    );
}
