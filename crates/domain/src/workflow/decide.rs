//! What comes next in an execution: where tokens go, which nodes begin, what a moment's passing
//! changes. Functions of the run alone.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    definition::{ITEMS_MAX, Node, NodeKind, OnTimeout, WaitFor},
    program::{Exit, NodeIndex, Target, output_of},
    run::{Active, Fact, Items, Phase, Run},
    scope::Scope,
};
use crate::{
    Timestamp,
    execution::{ExecutionError, Step, StepKey, StepState, Usage},
};

/// How many items of one map run at once.
const ITEMS_AT_ONCE: usize = 16;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run this attempt at a node. Units of pools that the node wants have to be taken first.
    Run {
        /// Which run of which node.
        key: StepKey,
        /// Which attempt.
        attempt: u32,
    },
    /// Record this step: there is nothing to run. It has been applied.
    Note(Box<Step>),
}

impl Run {
    /// Begins what can begin, and what goes on. Answers the commands, and what happened by them.
    pub fn next(&mut self, now: Timestamp) -> (Vec<Command>, Vec<Fact>) {
        let (mut commands, mut facts) = (Vec::new(), Vec::new());
        while self.end().is_none() {
            if let Some(step) = self.full_join(now) {
                facts.extend(self.apply(&step));
                commands.push(Command::Note(Box::new(step)));
            } else if let Some(key) = self.ready() {
                let active = self.active.get_mut(&key).expect("it was just found");
                active.phase = Phase::Running;
                let attempt = active.attempt;
                facts.push(started(&key, attempt));
                commands.push(Command::Run { key, attempt });
            } else if let Some((node, at)) = self.next_item() {
                let iteration = self.maps.get(&node).map_or(0, |items| items.iteration);
                let item = u32::try_from(at).ok();
                self.start_node(node, iteration, item, now, &mut commands, &mut facts);
            } else if let Some(node) = self.next_node() {
                let iteration = self.begun[node];
                self.start_node(node, iteration, None, now, &mut commands, &mut facts);
            } else {
                break;
            }
        }
        (commands, facts)
    }

    /// What the passing of time changes: waits that are over, attempts that are due. Answers the
    /// steps to be recorded, which have been applied, and what happened by them.
    pub fn wake(&mut self, now: Timestamp) -> (Vec<Step>, Vec<Fact>) {
        let (mut steps, mut facts) = (Vec::new(), Vec::new());
        let due: Vec<StepKey> = self
            .active
            .iter()
            .filter(|(_, active)| match active.phase {
                Phase::Waiting { until, .. } => until.is_some_and(|until| until <= now),
                Phase::Retry { at, .. } => at <= now,
                _ => false,
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            if self.end().is_some() {
                break;
            }
            let Some(active) = self.active.get(&key) else {
                continue;
            };
            let step = match active.phase {
                Phase::Retry { .. } => {
                    let attempt = active.attempt + 1;
                    self.note(&key, attempt, StepState::Resumed, now)
                }
                _ => self.wait_over(&key, active.node, active.attempt, now),
            };
            facts.extend(self.apply(&step));
            steps.push(step);
        }
        (steps, facts)
    }

    /// A step of this run, with the next number.
    pub fn note(&self, key: &StepKey, attempt: u32, state: StepState, now: Timestamp) -> Step {
        Step {
            number: self.steps() + 1,
            key: key.clone(),
            attempt,
            state,
            started_at: now,
            ended_at: Some(now)
                .filter(|_| !matches!(state, StepState::Waiting | StepState::Blocked)),
            until: None,
            output: None,
            error: None,
            usage: Usage::default(),
            detail: None,
        }
    }

    /// When an attempt that failed is followed by another; `None`: it is not. `jitter` is in
    /// `0.0..1.0` and lengthens the delay by up to 20 %.
    pub fn retry_at(
        &self,
        key: &StepKey,
        attempt: u32,
        now: Timestamp,
        at_least: Option<std::time::Duration>,
        jitter: f64,
    ) -> Option<Timestamp> {
        let node = self.program.number(&key.node)?;
        let retry = self.program.node(node).retry;
        if attempt > retry.max {
            return None;
        }
        let doubled = retry
            .backoff_ms
            .saturating_mul(1_u64.checked_shl(attempt - 1).unwrap_or(u64::MAX));
        let delay = std::time::Duration::from_millis(doubled.min(retry.max_backoff_ms));
        let delay = delay.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0));
        Some(now + delay.max(at_least.unwrap_or_default()))
    }

    /// How many branches a join requires.
    pub(super) fn required(&self, node: NodeIndex) -> u32 {
        let all = u32::try_from(self.program.edges_in(node)).unwrap_or(u32::MAX);
        match self.program.node(node).kind {
            NodeKind::Join { required, .. } => required.unwrap_or(all),
            _ => all,
        }
    }

    /// A run that may go on.
    fn ready(&self) -> Option<StepKey> {
        self.active
            .iter()
            .find(|(_, active)| active.phase == Phase::Ready)
            .map(|(key, _)| key.clone())
    }

    /// An item that may begin.
    fn next_item(&self) -> Option<(NodeIndex, usize)> {
        self.maps.iter().find_map(|(node, items)| {
            let running = self
                .active
                .keys()
                .filter(|key| key.item.is_some() && self.program.number(&key.node) == Some(*node))
                .count();
            if running >= ITEMS_AT_ONCE {
                return None;
            }
            let begins = |at: &usize| {
                let key = self.key(*node, items.iteration, u32::try_from(*at).ok());
                items.results[*at].is_none() && !self.active.contains_key(&key)
            };
            (0..items.all.len()).find(begins).map(|at| (*node, at))
        })
    }

    /// A node that may begin: a token has arrived, and nothing that moves can bring another.
    fn next_node(&self) -> Option<NodeIndex> {
        let waits = |node: &NodeIndex| {
            self.arrived[*node] > 0
                && !self.maps.contains_key(node)
                && !self.active.values().any(|active| active.node == *node)
        };
        let free = |node: &NodeIndex| {
            waits(node)
                && (!self.others_lead_to(*node)
                    || (self.is_join(*node) && self.active_join(*node).is_none()))
        };
        let nodes = 0..self.arrived.len();
        nodes.clone().find(free).or_else(|| {
            // Two branches that wait for each other within a circle: the first goes on.
            let stuck = self.active.is_empty() && self.maps.is_empty();
            nodes.clone().find(|node| stuck && waits(node))
        })
    }

    fn active_join(&self, node: NodeIndex) -> Option<&StepKey> {
        self.active
            .iter()
            .find(|(_, active)| active.node == node)
            .map(|(key, _)| key)
    }

    /// Whether a branch that moves elsewhere can still lead to this node.
    fn others_lead_to(&self, node: NodeIndex) -> bool {
        let moves = |other: NodeIndex| other != node && self.program.reaches(other, node);
        self.active.values().any(|active| moves(active.node))
            || self.maps.keys().any(|other| moves(*other))
            || (0..self.arrived.len()).any(|other| self.arrived[other] > 0 && moves(other))
    }

    fn key(&self, node: NodeIndex, iteration: u32, item: Option<u32>) -> StepKey {
        StepKey {
            node: self.program.node(node).id.clone(),
            iteration,
            item,
        }
    }

    fn start_node(
        &mut self,
        node: NodeIndex,
        iteration: u32,
        item: Option<u32>,
        now: Timestamp,
        commands: &mut Vec<Command>,
        facts: &mut Vec<Fact>,
    ) {
        let key = self.key(node, iteration, item);
        if let Some(step) = self.without_running(node, &key, now) {
            facts.extend(self.apply(&step));
            commands.push(Command::Note(Box::new(step)));
            return;
        }
        self.begin_node(node, &key);
        let active = Active {
            node,
            attempt: 1,
            phase: Phase::Running,
        };
        self.active.insert(key.clone(), active);
        facts.push(started(&key, 1));
        commands.push(Command::Run { key, attempt: 1 });
    }

    /// The step of a node that needs nobody to run it: one whose condition does not hold, a join.
    fn without_running(&self, node: NodeIndex, key: &StepKey, now: Timestamp) -> Option<Step> {
        let empty = Map::new();
        if let Some(condition) = self.program.when(node) {
            let scope = Scope {
                inputs: &empty,
                state: self.state(),
                last: self.last(),
            };
            match condition.holds(&scope) {
                Ok(true) => {}
                Ok(false) => return Some(self.note(key, 1, StepState::Skipped, now)),
                Err(error) => {
                    let mut step = self.note(key, 1, StepState::Failed, now);
                    step.error = Some(of_condition(key, &error.message));
                    return Some(step);
                }
            }
        }
        let NodeKind::Join { timeout_ms, .. } = self.program.node(node).kind else {
            return None;
        };
        if self.join_is_full(node) {
            return Some(self.join_over(key, 1, node, now));
        }
        let mut step = self.note(key, 1, StepState::Waiting, now);
        step.until = timeout_ms.map(|ms| now + std::time::Duration::from_millis(ms));
        Some(step)
    }

    fn join_is_full(&self, node: NodeIndex) -> bool {
        let NodeKind::Join { required, .. } = self.program.node(node).kind else {
            return false;
        };
        required.is_some_and(|required| self.arrived[node] >= required)
            || !self.others_lead_to(node)
    }

    fn join_over(&self, key: &StepKey, attempt: u32, node: NodeIndex, now: Timestamp) -> Step {
        let mut step = self.note(key, attempt, StepState::Completed, now);
        let arrived = self.arrived[node];
        step.output = Some(format!("{{\"arrived\":{arrived}}}").into());
        step
    }

    /// A join that waits and has all it waits for: the step that says so.
    fn full_join(&self, now: Timestamp) -> Option<Step> {
        let (key, active) = self.active.iter().find(|(_, active)| {
            self.is_join(active.node)
                && matches!(active.phase, Phase::Waiting { .. })
                && self.join_is_full(active.node)
        })?;
        Some(self.join_over(key, active.attempt, active.node, now))
    }

    /// The step that says that a wait is over.
    fn wait_over(&self, key: &StepKey, node: NodeIndex, attempt: u32, now: Timestamp) -> Step {
        let goes_on = match &self.program.node(node).kind {
            NodeKind::Wait(WaitFor::Duration { .. } | WaitFor::Until { .. }) => {
                let mut step = self.note(key, attempt, StepState::Completed, now);
                step.output = Some("{\"waited\":true}".into());
                return step;
            }
            NodeKind::Join { on_timeout, .. }
            | NodeKind::Wait(
                WaitFor::Approval { on_timeout, .. } | WaitFor::Callback { on_timeout, .. },
            ) => *on_timeout == OnTimeout::Continue,
            _ => false,
        };
        if goes_on {
            let mut step = self.note(key, attempt, StepState::Completed, now);
            step.output = Some("{\"timedOut\":true}".into());
            return step;
        }
        let mut step = self.note(key, attempt, StepState::Failed, now);
        step.error = Some(ExecutionError {
            kind: "wait_timeout".to_owned(),
            message: format!("`{}` has waited too long", key.node),
            node: Some(key.node.clone()),
        });
        step
    }

    /// Hands a node's output on: to the list that its item belongs to, or to what follows.
    pub(super) fn item_or_leave(
        &mut self,
        node: NodeIndex,
        key: &StepKey,
        output: Value,
        facts: &mut Vec<Fact>,
    ) {
        let program = Arc::clone(&self.program);
        let Some(item) = key.item else {
            if !output.is_null() {
                self.write(program.node(node), &output);
                self.last = Some(Arc::new(output));
            }
            return self.leave(Some(node), program.exits(node), facts);
        };
        let Some(items) = self.maps.get_mut(&node) else {
            return;
        };
        let at = usize::try_from(item).unwrap_or(usize::MAX);
        if let Some(result) = items.results.get_mut(at) {
            let outputs = &program.node(node).outputs;
            let value = match outputs.as_slice() {
                [one] => output_of(program.node(node), &output, one).cloned(),
                _ => None,
            };
            *result = Some(value.unwrap_or(output));
        }
        if items.results.iter().all(Option::is_some) {
            self.map_over(node, facts);
        }
    }

    fn map_over(&mut self, node: NodeIndex, facts: &mut Vec<Fact>) {
        let Some(items) = self.maps.remove(&node) else {
            return;
        };
        let results: Vec<Value> = items.results.into_iter().flatten().collect();
        let results = Value::Array(results);
        Arc::make_mut(&mut self.state).insert(items.collect, results.clone());
        self.last = Some(Arc::new(results));
        let program = Arc::clone(&self.program);
        self.leave(Some(node), program.exits(node), facts);
    }

    /// Writes an output into the state: lists are added to, all else is replaced.
    fn write(&mut self, node: &Node, output: &Value) {
        let state = Arc::make_mut(&mut self.state);
        if node.outputs.is_empty() {
            state.insert(node.id.clone(), output.clone());
            return;
        }
        for name in &node.outputs {
            let Some(value) = output_of(node, output, name) else {
                continue;
            };
            match (state.get_mut(name), value) {
                (Some(Value::Array(there)), Value::Array(more)) => {
                    there.extend(more.iter().cloned());
                }
                _ => {
                    state.insert(name.clone(), value.clone());
                }
            }
        }
    }

    /// Sends tokens where the ways out of `from` lead.
    pub(super) fn leave(&mut self, from: Option<NodeIndex>, exits: &[Exit], facts: &mut Vec<Fact>) {
        for exit in exits {
            match exit {
                Exit::To(targets) => {
                    for target in targets {
                        self.arrive(*target, facts);
                    }
                }
                Exit::Routes { cases, default } => match self.choose(cases, *default) {
                    Ok(target) => self.arrive(target, facts),
                    Err(message) => {
                        let node = from.map(|node| self.program.node(node).id.clone());
                        self.fail(ExecutionError {
                            kind: "condition_failed".to_owned(),
                            message,
                            node,
                        });
                    }
                },
                Exit::Loop {
                    until,
                    max_iterations,
                    exit_to,
                } => {
                    let Some(node) = from else { continue };
                    let over =
                        is_true(self.state.get(until)) || self.rounds[node] + 1 >= *max_iterations;
                    if over {
                        self.rounds[node] = 0;
                        self.arrive(*exit_to, facts);
                    } else {
                        self.rounds[node] += 1;
                        self.arrive(Some(node), facts);
                    }
                }
                Exit::Map {
                    items,
                    node,
                    collect,
                } => self.map(from, items, *node, collect, facts),
            }
        }
    }

    fn choose(
        &self,
        cases: &[(super::condition::Condition, Target)],
        default: Target,
    ) -> Result<Target, String> {
        let empty = Map::new();
        let scope = Scope {
            inputs: &empty,
            state: self.state(),
            last: self.last(),
        };
        for (condition, target) in cases {
            match condition.holds(&scope) {
                Ok(true) => return Ok(*target),
                Ok(false) => {}
                Err(error) => return Err(error.message),
            }
        }
        Ok(default)
    }

    fn arrive(&mut self, target: Target, facts: &mut Vec<Fact>) {
        let Some(node) = target else { return };
        if self.surplus[node] > 0 {
            self.surplus[node] -= 1;
            return;
        }
        self.arrived[node] += 1;
        if self.is_join(node) {
            facts.push(Fact::SyncReached {
                node: self.program.node(node).id.clone(),
                arrived: self.arrived[node],
                required: self.required(node),
            });
        }
    }

    /// Begins to run a node over a list.
    fn map(
        &mut self,
        from: Option<NodeIndex>,
        field: &str,
        node: NodeIndex,
        collect: &str,
        facts: &mut Vec<Fact>,
    ) {
        let items = match self.state.get(field) {
            Some(Value::Array(items)) if items.len() <= ITEMS_MAX => items.clone(),
            found => {
                let message = match found {
                    Some(Value::Array(items)) => format!(
                        "`{field}` has {} items, the most for one map is {ITEMS_MAX}",
                        items.len()
                    ),
                    _ => format!("`{field}` must be a list to run over"),
                };
                return self.fail(ExecutionError {
                    kind: "items_invalid".to_owned(),
                    message,
                    node: from.map(|node| self.program.node(node).id.clone()),
                });
            }
        };
        let iteration = self.begun[node];
        self.begun[node] += 1;
        let empty = items.is_empty();
        let run = Items {
            iteration,
            results: vec![None; items.len()],
            all: items,
            collect: collect.to_owned(),
        };
        self.maps.insert(node, run);
        if empty {
            self.map_over(node, facts);
        }
    }
}

fn started(key: &StepKey, attempt: u32) -> Fact {
    Fact::TaskStarted {
        key: key.clone(),
        attempt,
    }
}

fn of_condition(key: &StepKey, message: &str) -> ExecutionError {
    ExecutionError {
        kind: "condition_failed".to_owned(),
        message: message.to_owned(),
        node: Some(key.node.clone()),
    }
}

/// As Python has it: what is neither missing, null, false, zero nor empty.
fn is_true(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
    }
}
