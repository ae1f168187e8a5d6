//! Starts executions: what was asked for, checked against the definition, as a record; and the
//! execution in memory, once that record is on disk with what caused it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use domain::{
    ExecutionId, ReceiptId, WorkflowId, WorkspaceId,
    execution::{Cause, Execution, ExecutionState, Usage},
    intake::Receipt,
    nearest::nearest,
    workflow::{
        decide::Command,
        run::{Fact, Run},
    },
};
use serde_json::{Map, Value};
use store::{Lease, Page, Receive, Received, Start, Started, StoreError, Workflow};
use tokio::sync::oneshot;

use crate::{
    Engine, Shared,
    drive::{Batch, Live},
    events::Events,
    outbox::{Occurrence, Planned},
    programs::{PrepareError, Prepared},
};

/// How many executions may have started each other.
pub const DEPTH_MAX: u32 = 8;
/// How often an execution is asked for that another node may be running.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// An execution that is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// What it shall run.
    pub workflow: WorkflowRef,
    /// Which version of it; none: the newest.
    pub version: Option<u32>,
    /// What it starts with.
    pub input: Map<String, Value>,
    /// What starts it.
    pub cause: Cause,
    /// Whether its models are the offline stand-in, whatever the server's setting.
    pub offline: bool,
}

/// How a workflow is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkflowRef {
    /// By its id.
    Id(WorkflowId),
    /// By its name.
    Name(String),
}

/// Why an execution was not started. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such workflow.
    #[error("there is no workflow `{name}`{}", .nearest.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownWorkflow {
        /// The name or id that was given.
        name: String,
        /// The nearest name that is known.
        nearest: Option<String>,
    },
    /// The inputs do not fit.
    #[error("the inputs do not fit the workflow")]
    Inputs(Vec<(String, String)>),
    /// What is stored cannot be run.
    #[error("{0}")]
    Definition(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PrepareError> for StartError {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Store(error) => Self::Store(error),
            other => Self::Definition(other.to_string()),
        }
    }
}

/// An execution that was started.
#[derive(Debug)]
pub struct Begun {
    /// Its id.
    pub id: ExecutionId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Whether it runs, waits for its turn, or was left out.
    pub started: Started,
    ended: Option<oneshot::Receiver<Execution>>,
}

/// What became of a request that was kept.
#[derive(Debug)]
pub enum Kept {
    /// It is kept, and these have begun.
    New(Vec<Begun>),
    /// It repeats an earlier one.
    Duplicate {
        /// That one.
        receipt: ReceiptId,
        /// What it started.
        executions: Vec<ExecutionId>,
    },
}

/// An execution on its way into the store.
pub(crate) struct Asked {
    execution: Execution,
    prepared: Arc<Prepared>,
    run: Run,
    batch: Batch,
    held: bool,
    reply: Option<oneshot::Sender<Execution>>,
    ended: Option<oneshot::Receiver<Execution>>,
    told: Vec<Occurrence>,
    /// What happened as it began.
    first: Vec<Fact>,
}

impl Asked {
    /// What is told as it starts.
    pub fn told(&self) -> &[Occurrence] {
        &self.told
    }

    /// Whether it may have to wait for its turn.
    pub fn may_wait(&self) -> bool {
        self.prepared.limit().is_some()
    }

    /// Whether it has a place in memory.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Has the execution tell by its first step what it would have told as it starts.
    pub fn tell_later(&mut self) {
        self.batch.starts = true;
        if self.batch.facts.is_empty() {
            self.batch.facts.append(&mut self.first);
        }
        self.told.clear();
    }

    pub fn start(&self) -> Start {
        Start {
            execution: self.execution.clone(),
            held: self.held,
            limit: self.prepared.limit(),
        }
    }
}

impl Engine {
    /// Starts an execution.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(&self, request: Request) -> Result<Begun, StartError> {
        let engine = self.clone();
        // Once it is on its way to disk it must be followed up, whoever hangs up.
        let task = tokio::spawn(async move { engine.start_here(request).await });
        task.await
            .unwrap_or(Err(StartError::Store(StoreError::Closed)))
    }

    async fn start_here(&self, request: Request) -> Result<Begun, StartError> {
        let shared = &self.shared;
        let workspace = request.workspace;
        let mut asked = shared.ask(request).await?;
        let lease = shared.store.lease();
        let mut plan = shared.plan(workspace, std::mem::take(&mut asked.told));
        let start = asked.start();
        match shared.store.start(start, plan.take_events()).await {
            Ok((started, accepted)) => {
                plan.end(Some(accepted), started);
                Ok(shared.begun(asked, started, lease))
            }
            Err(error) => {
                shared.not_begun(&asked);
                Err(error.into())
            }
        }
    }

    /// Keeps an inbound request and starts what it starts, in one transaction.
    ///
    /// # Errors
    /// See [`StartError`]; of the first of the requests that cannot be started.
    pub async fn receive(
        &self,
        receipt: Receipt,
        requests: Vec<Request>,
    ) -> Result<Kept, StartError> {
        let engine = self.clone();
        let task = tokio::spawn(async move { engine.receive_here(receipt, requests).await });
        task.await
            .unwrap_or(Err(StartError::Store(StoreError::Closed)))
    }

    async fn receive_here(
        &self,
        mut receipt: Receipt,
        requests: Vec<Request>,
    ) -> Result<Kept, StartError> {
        let shared = &self.shared;
        let workspace = receipt.workspace;
        let mut all = Vec::with_capacity(requests.len());
        for request in requests {
            match shared.ask(request).await {
                Ok(asked) => all.push(asked),
                Err(error) => {
                    shared.none_begun(all);
                    return Err(error);
                }
            }
        }
        receipt.executions = all.iter().map(|asked| asked.execution.id).collect();
        let lease = shared.store.lease();
        let told = all
            .iter_mut()
            .flat_map(|asked| std::mem::take(&mut asked.told))
            .collect();
        let mut plan = shared.plan(workspace, told);
        let receive = Receive {
            receipt,
            starts: all.iter().map(Asked::start).collect(),
            events: plan.take_events(),
        };
        match shared.store.receive(receive).await {
            Ok(Received::New { started, accepted }) => {
                let first = started.first().copied().unwrap_or(Started::Running);
                plan.end(Some(accepted), first);
                let begun = all
                    .into_iter()
                    .zip(started)
                    .map(|(asked, started)| shared.begun(asked, started, lease))
                    .collect();
                Ok(Kept::New(begun))
            }
            Ok(Received::Duplicate {
                receipt,
                executions,
            }) => {
                plan.end(None, Started::Skipped);
                shared.none_begun(all);
                Ok(Kept::Duplicate {
                    receipt,
                    executions,
                })
            }
            Err(error) => {
                shared.none_begun(all);
                Err(error.into())
            }
        }
    }

    /// The workflow that is named, with its newest version, ready to run.
    ///
    /// # Errors
    /// If there is none, or it cannot be run.
    pub async fn find(
        &self,
        workspace: WorkspaceId,
        named: &WorkflowRef,
    ) -> Result<(Arc<Workflow>, Arc<Prepared>), StartError> {
        let workflow = self.shared.workflow(workspace, named).await?;
        let prepared = self.shared.named(workspace, named, None).await?;
        Ok((workflow, prepared))
    }

    /// Waits up to `patience` for the end of an execution that was just started.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn wait(
        &self,
        begun: Begun,
        patience: Duration,
    ) -> Result<Option<Execution>, StoreError> {
        let deadline = tokio::time::Instant::now() + patience;
        if let Some(ended) = begun.ended
            && let Ok(Ok(execution)) = tokio::time::timeout_at(deadline, ended).await
        {
            return Ok(Some(execution));
        }
        self.wait_until(begun.workspace, begun.id, deadline).await
    }

    /// Waits for the end of any execution, by asking the store.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn wait_until(
        &self,
        workspace: WorkspaceId,
        id: ExecutionId,
        deadline: tokio::time::Instant,
    ) -> Result<Option<Execution>, StoreError> {
        loop {
            let found = self.shared.store.execution(workspace, id).await?;
            match found {
                Some(execution) if execution.state.is_final() => return Ok(Some(execution)),
                None => return Ok(None),
                Some(_) => {}
            }
            let next = tokio::time::Instant::now() + ASK_EVERY;
            if next > deadline {
                return Ok(None);
            }
            tokio::time::sleep_until(next).await;
        }
    }
}

impl Shared {
    /// The workflow that is named.
    pub async fn workflow(
        &self,
        workspace: WorkspaceId,
        named: &WorkflowRef,
    ) -> Result<Arc<Workflow>, StartError> {
        let (found, asked) = match named {
            WorkflowRef::Name(name) => {
                let found = self.programs.by_name(&self.store, workspace, name).await?;
                (found, name.clone())
            }
            WorkflowRef::Id(id) => {
                let found = self.programs.by_id(&self.store, workspace, *id).await?;
                (found, id.to_string())
            }
        };
        match found {
            Some(workflow) => Ok(workflow),
            None => Err(self.unknown(workspace, asked).await),
        }
    }

    /// The workflow that a request names, prepared.
    pub async fn named(
        &self,
        workspace: WorkspaceId,
        named: &WorkflowRef,
        version: Option<u32>,
    ) -> Result<Arc<Prepared>, StartError> {
        let workflow = self.workflow(workspace, named).await?;
        let version = version.unwrap_or(workflow.version);
        Ok(self
            .programs
            .get(&self.store, workspace, workflow.id, version)
            .await?)
    }

    async fn unknown(&self, workspace: WorkspaceId, name: String) -> StartError {
        let page = Page {
            after: None,
            limit: 250,
        };
        let known = self
            .store
            .workflows(workspace, page)
            .await
            .unwrap_or_default();
        let names = known.iter().map(|workflow| workflow.name.as_str());
        StartError::UnknownWorkflow {
            nearest: nearest(&name, names).map(ToOwned::to_owned),
            name,
        }
    }

    /// Makes the record of an execution, and what it begins with; takes a place in memory for it,
    /// if there is one.
    pub async fn ask(&self, request: Request) -> Result<Asked, StartError> {
        let prepared = self
            .named(request.workspace, &request.workflow, request.version)
            .await?;
        let state = prepared
            .program
            .initial_state(&request.input)
            .map_err(StartError::Inputs)?;
        let now = self.now();
        let execution = Execution {
            workspace: request.workspace,
            id: ExecutionId::new(self.edge.ids.next_id()),
            workflow: prepared.workflow,
            version: prepared.version,
            state: ExecutionState::Running,
            input: Bytes::from(Value::Object(request.input).to_string()),
            cause: request.cause,
            offline: request.offline || self.settings.offline,
            result: None,
            error: None,
            created_at: now,
            started_at: Some(now),
            ended_at: None,
            due_at: None,
            steps: 0,
            usage: Usage::default(),
        };
        let mut run = Run::begin(Arc::clone(&prepared.program), state);
        let mut batch = Batch::default();
        let (commands, facts) = run.next(now);
        let mut events = Events::new(&*self.outbox, &execution);
        events.started(&execution);
        let plain = commands
            .iter()
            .all(|command| matches!(command, Command::Run { .. }));
        if plain && run.end().is_none() {
            events.facts(&facts);
        } else {
            // What happened by steps is told with them.
            batch.facts.clone_from(&facts);
        }
        let told = events.told;
        batch.take_commands(commands);
        let held = self.take_place();
        let (reply, ended) = oneshot::channel();
        Ok(Asked {
            execution,
            prepared,
            run,
            batch,
            held,
            reply: Some(reply),
            ended: Some(ended),
            told,
            first: facts,
        })
    }

    /// It was not stored.
    pub fn not_begun(&self, asked: &Asked) {
        if asked.held {
            self.leave_place();
        }
    }

    /// None of them was stored.
    pub fn none_begun(&self, all: Vec<Asked>) {
        for asked in all {
            self.not_begun(&asked);
        }
    }

    /// It was stored: it runs here, or waits on disk.
    pub fn begun(self: &Arc<Self>, mut asked: Asked, started: Started, lease: Lease) -> Begun {
        let begun = Begun {
            id: asked.execution.id,
            workspace: asked.execution.workspace,
            started,
            ended: asked.ended.take(),
        };
        if asked.held {
            let still = self.store.lease() == lease && self.store.holds(lease);
            if started == Started::Running && still {
                let live = Live::new(
                    asked.execution,
                    asked.prepared,
                    asked.run,
                    lease,
                    asked.reply,
                );
                self.go(live, asked.batch);
            } else {
                self.leave_place();
                if started == Started::Running {
                    self.held_by_nobody(&begun, lease);
                }
            }
        }
        self.due_bell.notify_one();
        begun
    }

    /// An execution was stored as held while the lease changed: under the old one, which others
    /// may have taken over, or under the new one. That one gives it up; it never was in memory.
    fn held_by_nobody(self: &Arc<Self>, begun: &Begun, before: Lease) {
        let lease = self.store.lease();
        if lease == before {
            // It ends, and whatever is held under it is free.
            return;
        }
        let shared = Arc::clone(self);
        let one = vec![(begun.workspace, begun.id, lease)];
        tokio::spawn(async move {
            let given_back = shared.store.release_executions(one, shared.now()).await;
            if let Err(error) = given_back {
                tracing::warn!(%error, "failed to give an execution back; it waits for the end of this node's lease");
            }
            shared.due_bell.notify_one();
        });
    }

    /// Plans events, if there are any.
    pub fn plan(&self, workspace: WorkspaceId, told: Vec<Occurrence>) -> Plan {
        Plan((!told.is_empty()).then(|| self.outbox.plan(workspace, told)))
    }
}

/// Events on their way into a transaction, if there are any.
pub(crate) struct Plan(Option<Box<dyn Planned>>);

impl Plan {
    /// The records.
    pub fn take_events(&mut self) -> Vec<store::NewEvent> {
        self.0
            .as_mut()
            .map(|plan| plan.take_events())
            .unwrap_or_default()
    }

    /// The transaction has ended: what the store answered, or nothing was written.
    pub fn end(self, accepted: Option<Vec<store::Accepted>>, started: Started) {
        let Some(plan) = self.0 else { return };
        match accepted {
            Some(accepted) if started == Started::Running && !accepted.is_empty() => {
                plan.stored(accepted);
            }
            _ => plan.left_out(),
        }
    }
}
