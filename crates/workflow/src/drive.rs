//! One execution in memory: asks what comes next, has it done, has it recorded.

use std::{pin::Pin, sync::Arc, time::Duration};

use domain::{
    execution::{Execution, ExecutionError, ExecutionState, Signal, Step, StepState},
    workflow::{
        decide::Command,
        run::{End, Fact, Run},
    },
};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;
use store::Lease;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    Shared,
    follow::What,
    outbox::Occurrence,
    programs::Prepared,
    record::Written,
    start::{Request, WorkflowRef},
    step::{self, Done, Job, Outcome},
};

/// What an execution in memory is told.
#[derive(Debug)]
pub(crate) enum Word {
    /// A signal has come, with its number.
    Signal(i64, Box<Signal>),
    /// The process is going down: let go.
    Leave,
}

/// An execution in memory.
pub(crate) struct Live {
    pub execution: Execution,
    pub prepared: Arc<Prepared>,
    pub run: Run,
    pub lease: Lease,
    /// Steps that say what something waits for.
    pub open: FxHashMap<u32, Step>,
    /// Signals that it has heard of.
    pub heard: FxHashSet<i64>,
    /// Who waits for its end here.
    pub reply: Option<oneshot::Sender<Execution>>,
}

/// What is to be written next, and to be done once it is.
#[derive(Default)]
pub(crate) struct Batch {
    pub steps: Vec<Step>,
    pub facts: Vec<Fact>,
    /// Events of `emit` nodes.
    pub emits: Vec<Occurrence>,
    /// Executions of `workflow` nodes.
    pub children: Vec<Request>,
    /// Those of them that are about to be started.
    pub asked: Vec<Request>,
    /// Whether the execution begins only now: it has waited for its turn.
    pub starts: bool,
    /// Signals that were taken up.
    pub signals: Vec<i64>,
    /// Who has to wait for which pool: units wanted, units free.
    pub short: Vec<(domain::execution::StepKey, String, u32, u32)>,
    /// What is run once it is written.
    pub runs: Vec<Attempt>,
}

/// An attempt that is to be run.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub key: domain::execution::StepKey,
    pub attempt: u32,
}

impl Batch {
    pub fn take_commands(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Run { key, attempt } => self.runs.push(Attempt { key, attempt }),
                Command::Note(step) => self.steps.push(*step),
            }
        }
    }

    /// Whether something of it has to be on disk before anything goes on.
    fn is_due(&self) -> bool {
        self.starts || !self.steps.is_empty() || !self.facts.is_empty() || !self.signals.is_empty()
    }
}

type Running = FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>;

impl Live {
    pub fn new(
        execution: Execution,
        prepared: Arc<Prepared>,
        run: Run,
        lease: Lease,
        reply: Option<oneshot::Sender<Execution>>,
    ) -> Self {
        Self {
            execution,
            prepared,
            run,
            lease,
            open: FxHashMap::default(),
            heard: FxHashSet::default(),
            reply,
        }
    }

    /// Whether something that is to run has to take units of a pool first.
    fn wants_units(&self, batch: &Batch) -> bool {
        let definition = self.prepared.definition();
        batch.runs.iter().any(|run| {
            let node = definition.node(&run.key.node);
            node.is_some_and(|node| !node.resources.is_empty())
        })
    }

    /// Applies a step and puts it into the batch.
    fn write(&mut self, step: Step, batch: &mut Batch) {
        self.write_with(step, None, batch);
    }

    /// The same, with its output as a value.
    fn write_with(&mut self, step: Step, output: Option<Value>, batch: &mut Batch) {
        batch.facts.extend(self.run.apply_with(&step, output));
        batch.steps.push(step);
    }

    /// Says that what a step waited for is over.
    fn close(&mut self, number: u32, now: domain::Timestamp, batch: &mut Batch) {
        if let Some(mut step) = self.open.remove(&number) {
            step.ended_at = Some(now);
            batch.steps.insert(0, step);
        }
    }

    /// Remembers steps that wait, and closes those of what has ended meanwhile.
    fn keep_open(&mut self, now: domain::Timestamp, batch: &mut Batch) {
        for step in &batch.steps {
            if step.ended_at.is_none() {
                self.open.insert(step.number, step.clone());
            }
        }
        let open = self.run.open_steps();
        let over: Vec<u32> = self
            .open
            .keys()
            .copied()
            .filter(|number| !open.contains(number))
            .collect();
        for number in over {
            if let Some(step) = batch.steps.iter_mut().find(|step| step.number == number) {
                step.ended_at = Some(now);
                self.open.remove(&number);
            } else {
                self.close(number, now, batch);
            }
        }
    }

    /// Cuts off what runs or waits, once the run has ended before its time.
    fn cut_off(&mut self, now: domain::Timestamp, batch: &mut Batch) {
        for (key, attempt) in self.run.to_cancel() {
            let step = self.run.note(&key, attempt, StepState::Cancelled, now);
            self.write(step, batch);
        }
        batch.runs.clear();
    }
}

impl Shared {
    /// Has an execution run here; its place was taken.
    pub fn go(self: &Arc<Self>, live: Live, batch: Batch) {
        let (way, words) = mpsc::unbounded_channel();
        let id = live.execution.id;
        self.live.lock().insert(id, way);
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let place = Place {
                shared: Arc::clone(&shared),
                id,
            };
            shared.drive(live, batch, words).await;
            drop(place);
        });
    }

    async fn drive(
        self: &Arc<Self>,
        mut live: Live,
        mut batch: Batch,
        mut words: mpsc::UnboundedReceiver<Word>,
    ) {
        let mut running = Running::new();
        loop {
            let now = self.now();
            if live.run.end().is_none() {
                let (commands, facts) = live.run.next(now);
                batch.facts.extend(facts);
                batch.take_commands(commands);
            }
            if live.run.end().is_some() {
                live.cut_off(now, &mut batch);
            }
            let over = live.run.end().is_some();
            let leaves = over || (running.is_empty() && batch.runs.is_empty());
            if leaves || batch.is_due() || live.wants_units(&batch) {
                live.keep_open(now, &mut batch);
                match self.record(&mut live, &mut batch, leaves).await {
                    Written::Yes => {}
                    Written::Again => continue,
                    Written::No => return,
                }
            }
            if leaves {
                return;
            }
            for run in std::mem::take(&mut batch.runs) {
                let what = What::Started {
                    key: run.key.clone(),
                    attempt: run.attempt,
                };
                self.tell(live.execution.workspace, live.execution.id, what);
                let job = Job::new(&live, run, now);
                running.push(step::run(Arc::clone(self), job).boxed());
            }
            batch = Batch::default();
            if !self
                .hear(&mut live, &mut batch, &mut running, &mut words)
                .await
            {
                self.let_go(&live).await;
                return;
            }
        }
    }

    /// Waits for whatever comes first; `false`: the execution must be let go.
    async fn hear(
        &self,
        live: &mut Live,
        batch: &mut Batch,
        running: &mut Running,
        words: &mut mpsc::UnboundedReceiver<Word>,
    ) -> bool {
        let now = self.now();
        let wake = live
            .run
            .wakes_at()
            .map(|at| Instant::now() + at.since(now).max(Duration::from_millis(1)));
        let timeout_ms = live.prepared.definition().timeout_ms;
        let left = Duration::from_millis(timeout_ms.saturating_sub(live.run.ran_ms()));
        let mut stop = self.stop.subscribe();
        tokio::select! {
            biased;
            Some(done) = running.next(), if !running.is_empty() => {
                self.take(live, batch, done);
                while let Some(Some(done)) = running.next().now_or_never() {
                    self.take(live, batch, done);
                }
            }
            word = words.recv() => match word {
                Some(Word::Signal(number, signal)) => self.signal(live, batch, number, *signal),
                Some(Word::Leave) | None => return false,
            },
            () = sleep_until(wake) => {
                let (steps, facts) = live.run.wake(self.now());
                batch.steps.extend(steps);
                batch.facts.extend(facts);
            }
            () = tokio::time::sleep(left) => {
                live.run.fail(ExecutionError {
                    kind: "execution_timeout".to_owned(),
                    message: format!("the execution has run for more than {} s", timeout_ms / 1000),
                    node: None,
                });
            }
            _ = stop.wait_for(|stop| *stop) => return false,
        }
        true
    }

    /// Takes the outcome of an attempt into account.
    fn take(&self, live: &mut Live, batch: &mut Batch, done: Done) {
        if live.run.end().is_some() {
            return;
        }
        let now = self.now();
        let Done {
            key,
            attempt,
            started_at,
            outcome,
        } = done;
        let mut step = live.run.note(&key, attempt, StepState::Completed, now);
        let mut value = None;
        step.started_at = started_at;
        match outcome {
            Outcome::Completed {
                output,
                usage,
                detail,
                emits,
                child,
            } => {
                let node = live.prepared.definition().node(&key.node);
                let checked = node.map_or(Ok(()), |node| {
                    live.prepared.program.check_output(node, &output)
                });
                step.usage = usage;
                step.detail = detail.as_ref().map(bytes_of);
                match checked {
                    Ok(()) => {
                        step.output = Some(bytes_of(&output));
                        value = Some(output);
                        batch.emits.extend(emits);
                        batch.children.extend(child);
                    }
                    Err(error) => fail(&mut step, error),
                }
            }
            Outcome::Failed(failure) => {
                step.usage = failure.usage;
                step.detail = failure.detail.as_ref().map(bytes_of);
                if failure.retryable {
                    let jitter = self.edge.entropy.unit();
                    let at_least = failure.retry_after;
                    step.until = live.run.retry_at(&key, attempt, now, at_least, jitter);
                }
                fail(&mut step, failure.error);
            }
            Outcome::Waiting {
                until,
                detail,
                child,
            } => {
                step.state = StepState::Waiting;
                step.ended_at = None;
                step.until = until;
                step.detail = detail.as_ref().map(bytes_of);
                batch.children.extend(child);
            }
        }
        live.write_with(step, value, batch);
    }

    /// Takes a signal into account.
    pub fn signal(&self, live: &mut Live, batch: &mut Batch, number: i64, signal: Signal) {
        // One that waits is told of again and again until it is recorded as taken up.
        if !live.heard.insert(number) {
            return;
        }
        let now = self.now();
        batch.signals.push(number);
        match signal {
            Signal::Stop { .. } => {
                if live.run.end().is_none() {
                    live.run.stop();
                }
            }
            Signal::Retry { by } => {
                if let Some(mut step) = live.run.retry_mark(now) {
                    step.detail = Some(bytes_of(&serde_json::json!({ "by": by })));
                    live.write(step, batch);
                }
            }
            Signal::Approval {
                step,
                approved,
                by,
                comment,
            } => {
                let output =
                    serde_json::json!({ "approved": approved, "by": by, "comment": comment });
                let error =
                    (!approved).then(|| ("approval_denied", format!("{by} did not approve")));
                self.answer(live, batch, step, &output, error);
            }
            Signal::Callback { step, body } => self.answer(live, batch, step, &body, None),
            Signal::Ended {
                execution,
                node,
                iteration,
                item,
                state,
                result,
                error,
            } => {
                let key = domain::execution::StepKey {
                    node,
                    iteration,
                    item,
                };
                let Some((step, _)) = live.run.waiting(&key) else {
                    return;
                };
                let failure = (state != ExecutionState::Completed).then(|| {
                    let why = error.map_or(String::new(), |error| format!(": {}", error.message));
                    (
                        "child_failed",
                        format!("the execution {execution} has {}{why}", state.as_str()),
                    )
                });
                self.answer(live, batch, step, &result.unwrap_or(Value::Null), failure);
            }
        }
    }

    /// Ends the wait that step `number` tells of.
    fn answer(
        &self,
        live: &mut Live,
        batch: &mut Batch,
        number: u32,
        output: &Value,
        failure: Option<(&str, String)>,
    ) {
        let Some(key) = live.run.waiting_as(number).cloned() else {
            return;
        };
        let attempt = live.run.waiting(&key).map_or(1, |(_, attempt)| attempt);
        let node = live.prepared.definition().node(&key.node);
        let mut step = live
            .run
            .note(&key, attempt, StepState::Completed, self.now());
        // Whoever has a field for the answer decides by it what a refusal means.
        let decides = node.is_some_and(|node| !node.outputs.is_empty());
        match failure {
            Some((kind, message)) if kind == "child_failed" || !decides => fail(
                &mut step,
                ExecutionError {
                    kind: kind.to_owned(),
                    message,
                    node: Some(key.node.clone()),
                },
            ),
            _ => {
                let checked = node.map_or(Ok(()), |node| {
                    live.prepared.program.check_output(node, output)
                });
                match checked {
                    Ok(()) => step.output = Some(bytes_of(output)),
                    Err(error) => fail(&mut step, error),
                }
            }
        }
        live.write(step, batch);
    }

    /// Gives an execution back to disk, where it is due.
    async fn let_go(&self, live: &Live) {
        let execution = &live.execution;
        let one = vec![(execution.workspace, execution.id, live.lease)];
        if let Err(error) = self.store.release_executions(one, self.now()).await {
            // It is free when the lease has ended.
            tracing::debug!(execution = %execution.id, %error, "failed to give an execution back");
        }
    }

    /// A child's or a schedule's request, for the workflow of this name.
    pub fn request_for(
        execution: &Execution,
        workflow: String,
        input: serde_json::Map<String, Value>,
        cause: domain::execution::Cause,
    ) -> Request {
        Request {
            workspace: execution.workspace,
            workflow: WorkflowRef::Name(workflow),
            version: None,
            input,
            cause,
            offline: execution.offline,
        }
    }
}

/// A place in memory, until it is dropped.
struct Place {
    shared: Arc<Shared>,
    id: domain::ExecutionId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.live.lock().remove(&self.id);
        self.shared.leave_place();
        self.shared.due_bell.notify_one();
    }
}

fn fail(step: &mut Step, error: ExecutionError) {
    step.state = StepState::Failed;
    step.output = None;
    step.error = Some(error);
}

pub(crate) fn bytes_of(value: &Value) -> bytes::Bytes {
    value.to_string().into()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// How an execution stands once `end` is on disk.
pub(crate) fn ended(execution: &mut Execution, end: &End, now: domain::Timestamp) -> Option<Value> {
    execution.ended_at = Some(now);
    match end {
        End::Completed(result) => {
            execution.state = ExecutionState::Completed;
            execution.result = Some(bytes_of(result));
            Some(result.clone())
        }
        End::Failed(error) => {
            execution.state = ExecutionState::Failed;
            execution.error = Some(error.clone());
            None
        }
        End::Stopped => {
            execution.state = ExecutionState::Stopped;
            None
        }
    }
}
