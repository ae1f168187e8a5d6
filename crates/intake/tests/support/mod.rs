//! A store in memory with what intake asks of it, an engine that starts everything (and ends it at
//! once where it is waited for), and a jq that knows four expressions.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use domain::{
    ExecutionId, ReceiptId, SourceId, Timestamp, TriggerId, WorkflowId, WorkspaceId,
    execution::{ExecutionError, ExecutionState},
    id::IdSource,
    intake::{Headers, Outcome, Receipt, Source, Trigger},
    jq::Expression,
    seal::SealingKey,
};
use intake::{
    Edge, Intake, Parts, Settings,
    map::Jq,
    receive::Request,
    start::{Standing, StartError, StartOutcome, StartRequest, Starter, WorkflowRef},
};
use parking_lot::Mutex;
use ring::hmac;
use sandbox::SandboxError;
use serde_json::{Value, json};
use store::{Page, ReceiptFilter, Receive, Received, StoreError, Workflow};
use testkit::{FakeClock, SeededEntropy, SeededIds};

/// The time at which every test begins.
const T0: Timestamp = Timestamp::from_ms(1_781_000_000_000);

/// Intake has no business with what answers this.
fn never_asked() -> StoreError {
    StoreError::Failed("intake never asks for this".to_owned())
}

#[derive(Default)]
struct Records {
    sources: Mutex<Vec<Source>>,
    triggers: Mutex<Vec<Trigger>>,
    receipts: Mutex<Vec<Receipt>>,
    starts: Mutex<Vec<StartRequest>>,
}

#[async_trait]
impl store::Intake for Records {
    async fn create_source(&self, source: Source) -> Result<bool, StoreError> {
        let mut sources = self.sources.lock();
        let free = sources.iter().all(|known| known.name != source.name);
        if free {
            sources.push(source);
        }
        Ok(free)
    }

    async fn update_source(&self, source: Source, expected: Timestamp) -> Result<bool, StoreError> {
        let mut sources = self.sources.lock();
        let known = sources
            .iter_mut()
            .find(|known| known.id == source.id && known.updated_at == expected);
        Ok(known.map(|known| *known = source).is_some())
    }

    async fn source(
        &self,
        workspace: WorkspaceId,
        id: SourceId,
    ) -> Result<Option<Source>, StoreError> {
        let sources = self.sources.lock();
        let mut own = sources.iter().filter(|known| known.workspace == workspace);
        Ok(own.find(|known| known.id == id).cloned())
    }

    async fn sources(
        &self,
        workspace: WorkspaceId,
        page: Page<SourceId>,
    ) -> Result<Vec<Source>, StoreError> {
        let mut found: Vec<Source> = self.sources.lock().clone();
        found.retain(|known| known.workspace == workspace);
        found.truncate(page.limit);
        Ok(found)
    }

    async fn delete_source(&self, _: WorkspaceId, id: SourceId) -> Result<bool, StoreError> {
        let mut sources = self.sources.lock();
        let before = sources.len();
        sources.retain(|known| known.id != id);
        Ok(sources.len() < before)
    }

    async fn receipts(
        &self,
        workspace: WorkspaceId,
        filter: ReceiptFilter,
        page: Page<ReceiptId>,
    ) -> Result<Vec<Receipt>, StoreError> {
        let mut found: Vec<Receipt> = self.receipts.lock().iter().rev().cloned().collect();
        found.retain(|known| {
            known.workspace == workspace
                && filter.door.is_none_or(|door| known.door == door)
                && filter
                    .outcome
                    .is_none_or(|outcome| known.outcome == outcome)
        });
        found.truncate(page.limit);
        Ok(found)
    }

    async fn all_sources(&self) -> Result<Vec<Source>, StoreError> {
        Ok(self.sources.lock().clone())
    }

    async fn receive(&self, receive: Receive) -> Result<Received, StoreError> {
        let mut receipts = self.receipts.lock();
        let new = receive.receipt;
        let counts = |outcome| matches!(outcome, Outcome::Started | Outcome::Ignored);
        let first = receipts.iter().find(|known| {
            new.event_id.is_some()
                && known.event_id == new.event_id
                && known.door == new.door
                && counts(known.outcome)
                && counts(new.outcome)
        });
        if let Some(first) = first {
            return Ok(Received::Duplicate {
                receipt: first.id,
                executions: first.executions.clone(),
            });
        }
        receipts.push(new);
        Ok(Received::New {
            started: Vec::new(),
            accepted: Vec::new(),
        })
    }

    async fn receipt(
        &self,
        workspace: WorkspaceId,
        id: ReceiptId,
    ) -> Result<Option<Receipt>, StoreError> {
        let receipts = self.receipts.lock();
        let mut own = receipts.iter().filter(|known| known.workspace == workspace);
        Ok(own.find(|known| known.id == id).cloned())
    }
}

#[async_trait]
impl store::Workflows for Records {
    async fn workflow(
        &self,
        workspace: WorkspaceId,
        id: WorkflowId,
    ) -> Result<Option<Workflow>, StoreError> {
        Ok(Some(Workflow {
            workspace,
            id,
            name: "slack_notification".to_owned(),
            description: String::new(),
            version: 1,
            label: "1".to_owned(),
            created_at: T0,
            updated_at: T0,
        }))
    }

    async fn create_trigger(&self, trigger: Trigger) -> Result<(), StoreError> {
        self.triggers.lock().push(trigger);
        Ok(())
    }

    async fn update_trigger(
        &self,
        trigger: Trigger,
        expected: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut triggers = self.triggers.lock();
        let known = triggers
            .iter_mut()
            .find(|known| known.id == trigger.id && known.updated_at == expected);
        Ok(known.map(|known| *known = trigger).is_some())
    }

    async fn triggers(
        &self,
        workspace: WorkspaceId,
        _: Option<WorkflowId>,
        page: Page<TriggerId>,
    ) -> Result<Vec<Trigger>, StoreError> {
        let mut found: Vec<Trigger> = self.triggers.lock().clone();
        found.retain(|known| known.workspace == workspace);
        found.retain(|known| page.after.is_none_or(|after| known.id > after));
        found.truncate(page.limit);
        Ok(found)
    }

    async fn all_triggers(&self) -> Result<Vec<Trigger>, StoreError> {
        Ok(self.triggers.lock().clone())
    }

    async fn put_workflow(
        &self,
        _: store::PutWorkflow,
    ) -> Result<Option<Vec<store::Accepted>>, StoreError> {
        Err(never_asked())
    }

    async fn delete_workflow(
        &self,
        _: WorkspaceId,
        _: WorkflowId,
        _: Vec<store::NewEvent>,
    ) -> Result<Option<Vec<store::Accepted>>, StoreError> {
        Err(never_asked())
    }

    async fn workflow_by_name(
        &self,
        _: WorkspaceId,
        _: &str,
    ) -> Result<Option<Workflow>, StoreError> {
        Err(never_asked())
    }

    async fn workflows(
        &self,
        _: WorkspaceId,
        _: Page<WorkflowId>,
    ) -> Result<Vec<Workflow>, StoreError> {
        Err(never_asked())
    }

    async fn workflow_version(
        &self,
        _: WorkspaceId,
        _: WorkflowId,
        _: u32,
    ) -> Result<Option<store::WorkflowVersion>, StoreError> {
        Err(never_asked())
    }

    async fn workflow_versions(
        &self,
        _: WorkspaceId,
        _: WorkflowId,
        _: Page<u32>,
    ) -> Result<Vec<store::WorkflowVersion>, StoreError> {
        Err(never_asked())
    }

    async fn delete_trigger(&self, _: WorkspaceId, _: TriggerId) -> Result<bool, StoreError> {
        Err(never_asked())
    }

    async fn due_triggers(&self, _: Timestamp, _: usize) -> Result<Vec<Trigger>, StoreError> {
        Err(never_asked())
    }

    async fn next_trigger_due(&self) -> Result<Option<Timestamp>, StoreError> {
        Err(never_asked())
    }

    async fn fire_trigger(
        &self,
        _: WorkspaceId,
        _: TriggerId,
        _: Timestamp,
        _: Option<Timestamp>,
        _: store::Start,
    ) -> Result<Option<store::Started>, StoreError> {
        Err(never_asked())
    }
}

struct Engine {
    records: Arc<Records>,
    ids: Arc<dyn IdSource>,
}

impl Engine {
    fn standing(id: ExecutionId, state: ExecutionState) -> Standing {
        let error = ExecutionError {
            kind: "model_key_missing".to_owned(),
            message: "GOOGLE_API_KEY is not set".to_owned(),
            node: None,
        };
        Standing {
            id,
            workflow: "slack_notification".to_owned(),
            state,
            result: (state == ExecutionState::Completed).then(|| "{\"text\":\"hi\"}".into()),
            error: (state == ExecutionState::Failed).then_some(error),
        }
    }
}

#[async_trait]
impl Starter for Engine {
    async fn receive(
        &self,
        mut receipt: Receipt,
        starts: Vec<StartRequest>,
        wait: Option<std::time::Duration>,
    ) -> Result<StartOutcome, StartError> {
        let end = match &starts[0].workflow {
            WorkflowRef::Name(name) if name == "nobody" => {
                return Err(StartError::UnknownWorkflow {
                    asked: name.clone(),
                    nearest: Some("somebody".to_owned()),
                });
            }
            WorkflowRef::Name(name) if name == "broken" => ExecutionState::Failed,
            _ => ExecutionState::Completed,
        };
        let state = wait.map_or(ExecutionState::Running, |_| end);
        let ids: Vec<ExecutionId> = starts
            .iter()
            .map(|_| ExecutionId::new(self.ids.next_id()))
            .collect();
        receipt.executions.clone_from(&ids);
        let receive = Receive {
            receipt,
            starts: Vec::new(),
            events: Vec::new(),
        };
        let standing = |ids: Vec<ExecutionId>| {
            let all = ids.into_iter().map(|id| Self::standing(id, state));
            all.collect()
        };
        Ok(
            match store::Intake::receive(&*self.records, receive).await? {
                Received::Duplicate {
                    receipt,
                    executions,
                } => StartOutcome::Duplicate {
                    receipt,
                    executions: standing(executions),
                },
                Received::New { .. } => {
                    self.records.starts.lock().extend(starts);
                    StartOutcome::Started {
                        executions: standing(ids),
                    }
                }
            },
        )
    }
}

struct FourExpressions;

#[async_trait]
impl Jq for FourExpressions {
    async fn run(&self, expression: &Expression, _: Value) -> Result<Vec<Value>, SandboxError> {
        match expression.as_str() {
            "true" => Ok(vec![json!(true)]),
            "false" => Ok(vec![json!(false)]),
            "error" => Err(SandboxError::Failed("it failed".to_owned())),
            text => Ok(vec![serde_json::from_str(text).unwrap()]),
        }
    }
}

/// Intake with everything around it.
pub struct World {
    pub intake: Intake,
    pub clock: Arc<FakeClock>,
    pub workflow: WorkflowId,
    records: Arc<Records>,
}

impl World {
    /// Nothing is there; the generic door has no secret.
    pub async fn new() -> Self {
        let clock = FakeClock::at(T0);
        let ids: Arc<dyn IdSource> = SeededIds::new(Arc::clone(&clock));
        let entropy = SeededEntropy::new(7);
        let records = Arc::new(Records::default());
        let parts = Parts {
            records: records.clone(),
            workflows: records.clone(),
            starter: Arc::new(Engine {
                records: records.clone(),
                ids: Arc::clone(&ids),
            }),
            jq: Arc::new(FourExpressions),
            sealing: Arc::new(SealingKey::new([7; 32])),
            edge: Edge {
                clock: clock.clone(),
                ids: Arc::clone(&ids),
                random: Arc::new(move |bytes| delivery::Entropy::fill(&*entropy, bytes)),
            },
        };
        let settings = Settings::default();
        Self {
            intake: Intake::load(parts, settings).await.unwrap(),
            workflow: WorkflowId::new(ids.next_id()),
            clock,
            records,
        }
    }

    pub fn starts(&self) -> Vec<StartRequest> {
        self.records.starts.lock().clone()
    }

    pub fn receipts(&self) -> Vec<Receipt> {
        self.records.receipts.lock().clone()
    }

    pub fn sources(&self) -> Vec<Source> {
        self.records.sources.lock().clone()
    }
}

/// A POST.
pub fn post(headers: &[(&str, &str)], body: &str) -> Request {
    Request {
        method: "POST".to_owned(),
        url: "https://hooks.example.com/x".to_owned(),
        query: String::new(),
        headers: Headers::new(
            headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        ),
        body: Bytes::copy_from_slice(body.as_bytes()),
        peer: Some("203.0.113.7".to_owned()),
        respond_async: false,
        local: true,
    }
}

/// The hex HMAC-SHA256 of a body.
pub fn hex256(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex::encode(hmac::sign(&key, body.as_bytes()))
}
