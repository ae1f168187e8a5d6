//! An engine over a real store (testkit says which), with a clock that stands still and an outbox
//! that remembers what was told.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};

use domain::{
    EventId, EventKey, ExecutionId, Timestamp, WorkflowId, WorkspaceId,
    event::{Event, EventType},
    execution::{Cause, Execution, Step},
    workflow::file,
};
use egress::{AddressPolicy, Egress, EgressConfig};
use models::Models;
use parking_lot::Mutex;
use sandbox::Sandbox;
use serde_json::{Map, Value};
use store::{Accepted, NewEvent, PutWorkflow, SharedStore, Workflow, WorkflowVersion};
use testkit::{FakeClock, TestStore};
use workflow::{
    Callbacks, Engine, Parts, Settings,
    outbox::{Occurrence, Outbox, Planned},
    start::{Begun, Request, StartError, WorkflowRef},
};

pub const WS: WorkspaceId = WorkspaceId::DEFAULT;

/// Remembers the events that were stored.
#[derive(Clone)]
pub struct Told {
    edge: domain::edge::Edge,
    pub events: Arc<Mutex<Vec<(String, Value)>>>,
    pub left_out: Arc<AtomicUsize>,
}

struct Plan {
    told: Told,
    events: Vec<NewEvent>,
    names: Vec<(String, Value)>,
}

impl Outbox for Told {
    fn wants(&self, _: WorkspaceId, _: &EventType) -> bool {
        true
    }

    fn plan(&self, workspace: WorkspaceId, occurrences: Vec<Occurrence>) -> Box<dyn Planned> {
        let now = self.edge.clock.now();
        let names = occurrences
            .iter()
            .map(|occurrence| {
                let data = serde_json::from_slice(&occurrence.data).unwrap();
                (occurrence.event_type.to_string(), data)
            })
            .collect();
        let events = occurrences
            .into_iter()
            .map(|occurrence| {
                let key = EventKey::new(self.edge.ids.next_id());
                NewEvent {
                    event: Event {
                        workspace,
                        key,
                        id: EventId::from_key(key),
                        event_type: occurrence.event_type,
                        timestamp: now,
                        accepted_at: now,
                        data: occurrence.data,
                        hops: 0,
                    },
                    id_given: false,
                    idempotency_key: None,
                    deliveries: Vec::new(),
                }
            })
            .collect();
        Box::new(Plan {
            told: self.clone(),
            events,
            names,
        })
    }
}

impl Planned for Plan {
    fn take_events(&mut self) -> Vec<NewEvent> {
        std::mem::take(&mut self.events)
    }

    fn stored(self: Box<Self>, accepted: Vec<Accepted>) {
        assert_eq!(accepted.len(), self.names.len(), "an answer for each event");
        self.told.events.lock().extend(self.names);
    }

    fn left_out(self: Box<Self>) {
        self.told.left_out.fetch_add(1, Ordering::SeqCst);
    }
}

/// No addresses; breaks when asked for that of a node `breaks`.
struct Breakable;

impl Callbacks for Breakable {
    fn url(&self, _: WorkspaceId, _: ExecutionId, node: &str) -> String {
        assert_ne!(node, "breaks", "a test wants to see what becomes of this");
        String::new()
    }
}

pub struct Rig {
    pub engine: Engine,
    pub clock: Arc<FakeClock>,
    pub told: Told,
    pub store: SharedStore,
    place: Arc<TestStore>,
    settings: Settings,
    seed: u64,
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let clock = FakeClock::at(Timestamp::parse("2026-03-01T12:00:00Z").unwrap());
        Self::open(clock, Arc::new(TestStore::chosen()), settings, 1).await
    }

    async fn open(
        clock: Arc<FakeClock>,
        place: Arc<TestStore>,
        settings: Settings,
        seed: u64,
    ) -> Self {
        let store = place.open(Timestamp::from_ms(0)).await;
        let edge = testkit::edge(&clock, seed);
        let told = Told {
            edge: edge.clone(),
            events: Arc::default(),
            left_out: Arc::default(),
        };
        let egress = Egress::new(EgressConfig {
            policy: AddressPolicy::public_only().allow_loopback(true),
            ..EgressConfig::default()
        });
        let engine = Engine::new(Parts {
            store: Arc::clone(&store),
            edge,
            outbox: Arc::new(told.clone()),
            callbacks: Arc::new(Breakable),
            models: Models::new(models::Settings::default(), egress.clone()),
            egress,
            // Nothing here needs a process of its own.
            sandbox: Sandbox::new(sandbox::Settings {
                program: "/nonexistent".into(),
                python: false,
            }),
            settings: Settings {
                offline: true,
                ..settings.clone()
            },
        });
        Self {
            engine,
            clock,
            told,
            store,
            place,
            settings,
            seed,
        }
    }

    /// Closes everything and opens it again, as a restart does; what was told before is forgotten.
    pub async fn restart(self) -> Self {
        let Self {
            engine,
            clock,
            store,
            place,
            settings,
            seed,
            ..
        } = self;
        engine.drain(Duration::from_secs(5)).await;
        store.close().await;
        drop((engine, store));
        // Ids start anew with the seed: let the clock tell them apart.
        clock.advance(Duration::from_millis(5));
        Self::open(clock, place, settings, seed + 1).await
    }

    /// Stores a workflow file.
    pub async fn workflow(&self, yaml: &str) -> WorkflowId {
        let loaded = file::read(yaml.as_bytes()).unwrap_or_else(|wrong| panic!("{wrong:#?}"));
        let definition = loaded.definition;
        let id = WorkflowId::new(testkit::edge(&self.clock, self.seed + 77).ids.next_id());
        let now = Timestamp::from_ms(1);
        let put = PutWorkflow {
            workflow: Workflow {
                workspace: WS,
                id,
                name: definition.name.clone(),
                description: String::new(),
                version: 1,
                label: "1".to_owned(),
                created_at: now,
                updated_at: now,
            },
            expected: None,
            version: WorkflowVersion {
                workspace: WS,
                workflow: id,
                number: 1,
                label: "1".to_owned(),
                source: yaml.to_owned().into(),
                definition: serde_json::to_vec(&definition).unwrap().into(),
                created_at: now,
            },
            triggers: Vec::new(),
            events: Vec::new(),
        };
        self.clock.advance(Duration::from_millis(1));
        assert!(self.store.put_workflow(put).await.unwrap().is_some());
        id
    }

    pub async fn start(&self, workflow: WorkflowId, input: Value) -> Result<Begun, StartError> {
        let input: Map<String, Value> = input.as_object().unwrap().clone();
        let request = Request {
            workspace: WS,
            workflow: WorkflowRef::Id(workflow),
            version: None,
            input,
            cause: Cause::Api,
            offline: false,
        };
        self.engine.start(request).await
    }

    /// Starts an execution and runs it to where it waits or has ended.
    pub async fn run(&self, workflow: WorkflowId, input: Value) -> Execution {
        let id = self.start(workflow, input).await.unwrap().id;
        self.engine.run_until_idle().await.unwrap();
        self.execution(id).await
    }

    pub async fn execution(&self, id: ExecutionId) -> Execution {
        self.store.execution(WS, id).await.unwrap().unwrap()
    }

    pub async fn steps(&self, id: ExecutionId) -> Vec<Step> {
        self.store.steps(WS, id).await.unwrap()
    }

    /// The names of the events that were told, in order.
    pub fn names(&self) -> Vec<String> {
        let events = self.told.events.lock();
        events.iter().map(|(name, _)| name.clone()).collect()
    }

    /// How many events of this name were told.
    pub fn count(&self, name: &str) -> usize {
        self.names().iter().filter(|told| *told == name).count()
    }
}
