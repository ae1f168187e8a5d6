//! One execution as it stands: made of the steps that were recorded, and nothing else.
//!
//! [`Run`] follows the log ([`Run::apply`]) and says what comes next ([`Run::next`],
//! [`Run::wake`]). Nodes hand *tokens* to those that follow them. A node begins when a token has
//! arrived and no other branch that still moves can bring another: so branches that were forked
//! meet again wherever their ways do, however long each is and whichever were not taken.
//!
//! What was begun and has no step yet is not in the log: after a crash it begins anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{
    definition::{NodeKind, STATE_BYTES_MAX, STEPS_MAX},
    program::{NodeIndex, Program},
};
use crate::{
    Timestamp,
    execution::{ExecutionError, Step, StepKey, StepState, Usage},
};

/// An execution as it stands.
#[derive(Debug)]
pub struct Run {
    pub(super) program: Arc<Program>,
    /// The fields of the state.
    pub(super) state: Arc<Map<String, Value>>,
    /// The last node's output.
    pub(super) last: Option<Arc<Value>>,
    /// Tokens that wait at each node.
    pub(super) arrived: Vec<u32>,
    /// Tokens that a join no longer waits for, and passes over.
    pub(super) surplus: Vec<u32>,
    /// How often each node has begun.
    pub(super) begun: Vec<u32>,
    /// How often each node's loop has led back.
    pub(super) rounds: Vec<u32>,
    /// What has begun and not ended.
    pub(super) active: BTreeMap<StepKey, Active>,
    /// Nodes that run over a list.
    pub(super) maps: BTreeMap<NodeIndex, Items>,
    /// Nodes that have ended at least once.
    pub(super) ended: BTreeSet<NodeIndex>,
    /// What was cut off when the run failed or was stopped: it begins anew on a retry.
    pub(super) cut: Vec<(StepKey, u32)>,
    /// Bytes of outputs that were taken into the state.
    pub(super) bytes: usize,
    /// The number of the last step.
    pub(super) steps: u32,
    /// What model calls used.
    pub(super) usage: Usage,
    /// Running time of all steps, in milliseconds.
    pub(super) ran_ms: u64,
    pub(super) end: Option<End>,
}

/// A node that has begun.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Active {
    pub(super) node: NodeIndex,
    pub(super) attempt: u32,
    pub(super) phase: Phase,
}

/// Where a node that has begun stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    /// It may go on.
    Ready,
    /// Somebody runs it.
    Running,
    /// It waits, as step `step` says.
    Waiting { step: u32, until: Option<Timestamp> },
    /// It waits for units of a pool.
    Blocked { step: u32 },
    /// It is tried again.
    Retry { step: u32, at: Timestamp },
}

/// A node that runs over a list.
#[derive(Clone, Debug)]
pub(super) struct Items {
    pub(super) iteration: u32,
    pub(super) all: Vec<Value>,
    pub(super) results: Vec<Option<Value>>,
    pub(super) collect: String,
}

/// How an execution ends.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Well, with this result.
    Completed(Value),
    /// With a failure.
    Failed(ExecutionError),
    /// It was stopped.
    Stopped,
}

/// Something that happened, which events tell of.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields are those of the catalogue's events"
)]
pub enum Fact {
    /// An attempt at a node begins.
    TaskStarted { key: StepKey, attempt: u32 },
    /// A node has completed.
    TaskCompleted { key: StepKey, attempt: u32 },
    /// A node has failed for good.
    TaskFailed {
        key: StepKey,
        attempt: u32,
        error: String,
    },
    /// A node was cut off.
    TaskCancelled { key: StepKey, attempt: u32 },
    /// More nodes have ended.
    Progress { ended: usize, of: usize },
    /// A node can't go on. `kind` is `approval`, `resource` or `retry`.
    BlockerDetected {
        key: StepKey,
        kind: &'static str,
        description: String,
    },
    /// It can.
    BlockerResolved {
        key: StepKey,
        kind: &'static str,
        description: String,
    },
    /// A milestone was reached.
    Milestone { node: String, name: String },
    /// A branch has arrived at a join.
    SyncReached {
        node: String,
        arrived: u32,
        required: u32,
    },
    /// All that were required have.
    SyncCompleted {
        node: String,
        arrived: u32,
        required: u32,
    },
    /// They have not, or one has failed.
    SyncFailed {
        node: String,
        arrived: u32,
        required: u32,
    },
}

impl Run {
    /// An execution that begins with this state ([`Program::initial_state`]).
    pub fn begin(program: Arc<Program>, state: Map<String, Value>) -> Self {
        let nodes = program.definition().nodes.len();
        let mut run = Self {
            state: Arc::new(state),
            last: None,
            arrived: vec![0; nodes],
            surplus: vec![0; nodes],
            begun: vec![0; nodes],
            rounds: vec![0; nodes],
            active: BTreeMap::new(),
            maps: BTreeMap::new(),
            ended: BTreeSet::new(),
            cut: Vec::new(),
            bytes: 0,
            steps: 0,
            usage: Usage::default(),
            ran_ms: 0,
            end: None,
            program,
        };
        let program = Arc::clone(&run.program);
        run.leave(None, program.first(), &mut Vec::new());
        // START may lead to the end at once.
        run.end_if_done();
        run
    }

    /// What it runs.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Its state.
    pub fn state(&self) -> &Map<String, Value> {
        &self.state
    }

    /// The last node's output.
    pub fn last(&self) -> Option<&Value> {
        self.last.as_deref()
    }

    /// Its state and the last node's output, as they stand: to be kept while the run goes on.
    pub fn seen(&self) -> (Arc<Map<String, Value>>, Option<Arc<Value>>) {
        (Arc::clone(&self.state), self.last.clone())
    }

    /// The item that a run of a node is for.
    pub fn item(&self, key: &StepKey) -> Option<&Value> {
        let node = self.program.number(&key.node)?;
        let at = usize::try_from(key.item?).ok()?;
        self.maps.get(&node)?.all.get(at)
    }

    /// The number of the last step.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// What model calls used.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// How long its steps have run, waits apart, in milliseconds.
    pub fn ran_ms(&self) -> u64 {
        self.ran_ms
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether something of it runs now.
    pub fn is_running(&self) -> bool {
        self.active
            .values()
            .any(|active| matches!(active.phase, Phase::Running | Phase::Ready))
    }

    /// When [`Run::wake`] has something to do.
    pub fn wakes_at(&self) -> Option<Timestamp> {
        self.active
            .values()
            .filter_map(|active| match active.phase {
                Phase::Waiting { until, .. } => until,
                Phase::Retry { at, .. } => Some(at),
                _ => None,
            })
            .min()
    }

    /// Runs that wait for units of a pool.
    pub fn blocked(&self) -> Vec<StepKey> {
        self.active
            .iter()
            .filter(|(_, active)| matches!(active.phase, Phase::Blocked { .. }))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// The run of a node that waits as step `step` says.
    pub fn waiting_as(&self, step: u32) -> Option<&StepKey> {
        self.active
            .iter()
            .find(|(_, active)| matches!(active.phase, Phase::Waiting { step: own, .. } if own == step))
            .map(|(key, _)| key)
    }

    /// The step that says what a run of a node waits for, and the attempt.
    pub fn waiting(&self, key: &StepKey) -> Option<(u32, u32)> {
        let active = self.active.get(key)?;
        match active.phase {
            Phase::Waiting { step, .. } => Some((step, active.attempt)),
            _ => None,
        }
    }

    /// Steps that say what something waits for which it will not wait for any longer once the
    /// execution has ended.
    pub fn open_steps(&self) -> Vec<u32> {
        self.active
            .values()
            .filter_map(|active| match active.phase {
                Phase::Waiting { step, .. } | Phase::Blocked { step } => Some(step),
                _ => None,
            })
            .collect()
    }

    /// Takes a step into account that was recorded, or is about to be: answers what happened
    /// by it. Steps have to come in the order of their numbers.
    pub fn apply(&mut self, step: &Step) -> Vec<Fact> {
        self.apply_with(step, None)
    }

    /// The same, where the step's output is at hand as a value.
    pub fn apply_with(&mut self, step: &Step, output: Option<Value>) -> Vec<Fact> {
        let mut facts = Vec::new();
        self.steps = self.steps.max(step.number);
        self.usage += step.usage;
        let Some(node) = self.program.number(&step.key.node) else {
            return facts;
        };
        if step.state == StepState::Retried {
            self.go_on(&step.key, step.attempt);
            return facts;
        }
        let before = self.take_up(node, &step.key, step.attempt);
        if !matches!(before.phase, Phase::Waiting { .. })
            && let Some(ended_at) = step.ended_at
        {
            let ran = ended_at.since(step.started_at).as_millis();
            self.ran_ms += u64::try_from(ran).unwrap_or(u64::MAX);
        }
        match step.state {
            StepState::Waiting => self.waits(node, step, &mut facts),
            StepState::Blocked => {
                self.set(step, Phase::Blocked { step: step.number });
                facts.push(blocker(step, "resource", waits_for(step)));
            }
            StepState::Resumed => {
                self.set(step, Phase::Ready);
                facts.extend(resolved(&step.key, &before.phase, false));
            }
            StepState::Completed => self.completed(node, step, output, &before, &mut facts),
            StepState::Skipped => {
                self.active.remove(&step.key);
                self.ended_once(node, &mut facts);
                self.item_or_leave(node, &step.key, Value::Null, &mut facts);
            }
            StepState::Failed => self.failed(node, step, &before, &mut facts),
            StepState::Cancelled => {
                self.active.remove(&step.key);
                self.cut.push((step.key.clone(), step.attempt));
                facts.push(Fact::TaskCancelled {
                    key: step.key.clone(),
                    attempt: step.attempt,
                });
            }
            StepState::Retried => {}
        }
        self.end_if_done();
        facts
    }

    /// Ends the run as stopped.
    pub fn stop(&mut self) {
        self.end = Some(End::Stopped);
    }

    /// Ends the run with a failure that is no node's own.
    pub fn fail(&mut self, error: ExecutionError) {
        self.end.get_or_insert(End::Failed(error));
    }

    /// Which attempt at a run of a node is the present one.
    pub fn attempt(&self, key: &StepKey) -> Option<u32> {
        self.active.get(key).map(|active| active.attempt)
    }

    /// The step by which a person has it go on after a failure, or after it was stopped; `None` if
    /// nothing was cut off: it would end the same way.
    pub fn retry_mark(&self, now: Timestamp) -> Option<Step> {
        let (key, tried) = self.cut.first()?;
        let failed = matches!(self.end, Some(End::Failed(_)));
        Some(self.note(key, tried + u32::from(failed), StepState::Retried, now))
    }

    /// What is cut off when the run ends before its time.
    pub fn to_cancel(&self) -> Vec<(StepKey, u32)> {
        self.active
            .iter()
            .map(|(key, active)| (key.clone(), active.attempt))
            .collect()
    }

    fn set(&mut self, step: &Step, phase: Phase) {
        if let Some(active) = self.active.get_mut(&step.key) {
            active.phase = phase;
            active.attempt = step.attempt;
        }
    }

    /// The run of a node as it stood; begun now, if the log does not say so otherwise.
    fn take_up(&mut self, node: NodeIndex, key: &StepKey, attempt: u32) -> Active {
        if let Some(active) = self.active.get(key) {
            return active.clone();
        }
        let active = Active {
            node,
            attempt,
            phase: Phase::Running,
        };
        self.begin_node(node, key);
        self.active.insert(key.clone(), active.clone());
        active
    }

    /// Takes the tokens that a run of a node uses up.
    pub(super) fn begin_node(&mut self, node: NodeIndex, key: &StepKey) {
        // An item has no token of its own.
        if key.item.is_some() {
            return;
        }
        if !self.is_join(node) {
            self.arrived[node] = 0;
        }
        self.begun[node] = self.begun[node].max(key.iteration + 1);
    }

    pub(super) fn is_join(&self, node: NodeIndex) -> bool {
        matches!(self.program.node(node).kind, NodeKind::Join { .. })
    }

    fn waits(&mut self, node: NodeIndex, step: &Step, facts: &mut Vec<Fact>) {
        self.set(
            step,
            Phase::Waiting {
                step: step.number,
                until: step.until,
            },
        );
        if is_approval(&self.program.node(node).kind) {
            facts.push(blocker(
                step,
                "approval",
                "waits for an approval".to_owned(),
            ));
        }
    }

    fn completed(
        &mut self,
        node: NodeIndex,
        step: &Step,
        output: Option<Value>,
        before: &Active,
        facts: &mut Vec<Fact>,
    ) {
        self.active.remove(&step.key);
        let approval = is_approval(&self.program.node(node).kind);
        facts.extend(resolved(&step.key, &before.phase, approval));
        if self.is_join(node) {
            let arrived = std::mem::take(&mut self.arrived[node]);
            let required = self.required(node);
            let expected = u32::try_from(self.program.edges_in(node)).unwrap_or(u32::MAX);
            self.surplus[node] = if required < expected {
                expected.saturating_sub(arrived)
            } else {
                0
            };
            facts.push(Fact::SyncCompleted {
                node: step.key.node.clone(),
                arrived,
                required,
            });
        }
        facts.push(Fact::TaskCompleted {
            key: step.key.clone(),
            attempt: step.attempt,
        });
        if let Some(name) = self.program.node(node).milestone.clone() {
            facts.push(Fact::Milestone {
                node: step.key.node.clone(),
                name,
            });
        }
        self.ended_once(node, facts);
        let bytes = step.output.as_deref().unwrap_or(b"null");
        self.bytes = self.bytes.saturating_add(bytes.len());
        let output = output.unwrap_or_else(|| serde_json::from_slice(bytes).unwrap_or(Value::Null));
        if self.bytes > STATE_BYTES_MAX {
            let most = STATE_BYTES_MAX >> 20;
            self.fail(ExecutionError {
                kind: "state_too_large".to_owned(),
                message: format!("the outputs of its nodes come to more than {most} MiB"),
                node: Some(step.key.node.clone()),
            });
        }
        self.item_or_leave(node, &step.key, output, facts);
    }

    fn failed(&mut self, node: NodeIndex, step: &Step, before: &Active, facts: &mut Vec<Fact>) {
        let error = step.error.clone().unwrap_or_else(|| ExecutionError {
            kind: "unknown".to_owned(),
            message: "no reason was recorded".to_owned(),
            node: Some(step.key.node.clone()),
        });
        if let Some(at) = step.until {
            self.set(
                step,
                Phase::Retry {
                    step: step.number,
                    at,
                },
            );
            facts.push(blocker(step, "retry", error.message));
            return;
        }
        self.active.remove(&step.key);
        self.cut.push((step.key.clone(), step.attempt));
        facts.extend(resolved(&step.key, &before.phase, false));
        if self.is_join(node) {
            facts.push(Fact::SyncFailed {
                node: step.key.node.clone(),
                arrived: self.arrived[node],
                required: self.required(node),
            });
        }
        facts.push(Fact::TaskFailed {
            key: step.key.clone(),
            attempt: step.attempt,
            error: error.message.clone(),
        });
        self.fail(error);
    }

    /// A person had it go on: what was cut off, the node that failed among it, begins anew.
    fn go_on(&mut self, key: &StepKey, attempt: u32) {
        if self.cut.is_empty() {
            // No node's failure: it would end the same way.
            return;
        }
        self.end = None;
        for (cut, tried) in std::mem::take(&mut self.cut) {
            let Some(node) = self.program.number(&cut.node) else {
                continue;
            };
            let attempt = if cut == *key { attempt } else { tried };
            let active = Active {
                node,
                attempt,
                phase: Phase::Ready,
            };
            self.active.insert(cut, active);
        }
    }

    fn ended_once(&mut self, node: NodeIndex, facts: &mut Vec<Fact>) {
        if self.maps.get(&node).is_some_and(|items| {
            items
                .results
                .iter()
                .filter(|result| result.is_none())
                .count()
                > 1
        }) {
            return;
        }
        if self.ended.insert(node) {
            facts.push(Fact::Progress {
                ended: self.ended.len(),
                of: self.program.definition().nodes.len(),
            });
        }
    }

    /// Ends the run once nothing of it moves.
    fn end_if_done(&mut self) {
        if self.end.is_none() && self.steps > STEPS_MAX {
            self.fail(ExecutionError {
                kind: "too_many_steps".to_owned(),
                message: format!("the execution has more than {STEPS_MAX} steps"),
                node: None,
            });
        }
        let moves = !self.active.is_empty()
            || !self.maps.is_empty()
            || self.arrived.iter().any(|tokens| *tokens > 0);
        if self.end.is_none() && !moves {
            self.end = Some(End::Completed(self.result()));
        }
    }

    fn result(&self) -> Value {
        if self.program.definition().result_is_last_output {
            self.last.as_deref().cloned().unwrap_or(Value::Null)
        } else {
            Value::Object((*self.state).clone())
        }
    }
}

pub(super) fn is_approval(kind: &NodeKind) -> bool {
    matches!(
        kind,
        NodeKind::Wait(super::definition::WaitFor::Approval { .. })
    )
}

fn waits_for(step: &Step) -> String {
    let detail: Option<Value> = step
        .detail
        .as_deref()
        .and_then(|detail| serde_json::from_slice(detail).ok());
    let pool = detail.as_ref().and_then(|detail| detail.get("pool"));
    match pool.and_then(Value::as_str) {
        Some(pool) => format!("waits for units of the pool `{pool}`"),
        None => "waits for units of a pool".to_owned(),
    }
}

fn blocker(step: &Step, kind: &'static str, description: String) -> Fact {
    Fact::BlockerDetected {
        key: step.key.clone(),
        kind,
        description,
    }
}

/// That a run of a node can go on which could not, if that is so.
fn resolved(key: &StepKey, before: &Phase, approval: bool) -> Option<Fact> {
    let (kind, description) = match before {
        Phase::Waiting { .. } if approval => ("approval", "was answered"),
        Phase::Blocked { .. } => ("resource", "has its units"),
        Phase::Retry { .. } => ("retry", "is tried again"),
        _ => return None,
    };
    Some(Fact::BlockerResolved {
        key: key.clone(),
        kind,
        description: description.to_owned(),
    })
}
