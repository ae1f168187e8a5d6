//! Has written what an execution has come to, with every event that this causes.

use std::{sync::Arc, time::Duration};

use domain::{
    ExecutionId, Timestamp,
    execution::{Cause, ExecutionError, ExecutionState, Signal, Step, StepKey, StepState},
};
use serde_json::{Value, json};
use store::{ExecutionChange, Record, Recorded, Started, StoreError, Take};

use crate::{
    Shared,
    drive::{Attempt, Batch, Live, bytes_of, ended},
    events::Events,
    follow::What,
    start::{Asked, StartError},
};

/// How often an execution that waits for units looks by itself.
const LOOK_FOR_UNITS_EVERY: Duration = Duration::from_secs(5);
/// The pause before a record that failed is tried again; doubled each time, up to two seconds.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether a batch is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is.
    Yes,
    /// Not as it was: some of it has to wait for a pool; the batch says so now.
    Again,
    /// The execution is somebody else's now, or the store is closed.
    No,
}

impl Shared {
    /// Has a batch written, trying again while the disk is full or the database away: what was
    /// done must not be forgotten. `leaves`: the execution leaves memory with it.
    pub async fn record(
        self: &Arc<Self>,
        live: &mut Live,
        batch: &mut Batch,
        leaves: bool,
    ) -> Written {
        let Some(children) = self.children(live, batch).await else {
            return Written::Again;
        };
        let now = self.now();
        let mut record = Record {
            workspace: live.execution.workspace,
            execution: live.execution.id,
            lease: live.lease,
            now,
            steps: Vec::new(),
            change: None,
            signals: batch.signals.clone(),
            takes: takes(live, &batch.runs),
            gives: gives(live, batch),
            waits_for: Vec::new(),
            starts: children.iter().map(Asked::start).collect(),
            tells: Vec::new(),
            limit: None,
            events: Vec::new(),
        };
        // A record that takes units may have to be made anew.
        let before = (!record.takes.is_empty()).then(|| live.execution.clone());
        record.steps = std::mem::take(&mut batch.steps);
        let result = if leaves {
            leave(live, &mut record, now)
        } else {
            record.change = batch.starts.then(|| change(live, true));
            None
        };
        let mut told = self.told(live, batch, &record, result.as_ref()).await;
        told.extend(children.iter().flat_map(Asked::told).cloned());
        let mut pause = PAUSE;
        let outcome = loop {
            let mut plan = self.plan(record.workspace, told.clone());
            record.events = plan.take_events();
            match self.store.record(record.clone()).await {
                Ok(Recorded::Written {
                    accepted, started, ..
                }) => {
                    plan.end(Some(accepted), Started::Running);
                    self.tell_steps(live, record.steps, leaves);
                    self.written(live, batch, leaves, children, started);
                    return Written::Yes;
                }
                Ok(Recorded::LeaseLost) => {
                    plan.end(None, Started::Skipped);
                    tracing::warn!(execution = %live.execution.id, "another node had taken over; what it records counts");
                    break Written::No;
                }
                Ok(Recorded::Short { pool, free }) => {
                    plan.end(None, Started::Skipped);
                    if let Some(before) = before {
                        live.execution = before;
                    }
                    batch.steps = record.steps;
                    short(live, batch, &pool, free, now);
                    break Written::Again;
                }
                Err(StoreError::Closed) => break Written::No,
                Err(_) if *self.stop.borrow() => break Written::No,
                Err(error) => {
                    tracing::warn!(execution = %live.execution.id, %error, "failed to record steps; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        };
        self.none_begun(children);
        outcome
    }

    /// The executions that nodes of this one start; `None` if one cannot be, which fails this one.
    async fn children(&self, live: &mut Live, batch: &mut Batch) -> Option<Vec<Asked>> {
        let mut children = Vec::new();
        let mut requests = std::mem::take(&mut batch.children).into_iter();
        while let Some(request) = requests.next() {
            match self.ask(request.clone()).await {
                Ok(mut asked) => {
                    if asked.may_wait() && asked.is_held() {
                        asked.tell_later();
                    }
                    batch.asked.push(request);
                    children.push(asked);
                }
                Err(StartError::Store(error)) if !*self.stop.borrow() => {
                    tracing::warn!(execution = %live.execution.id, %error, "failed to look a workflow up; trying again");
                    self.none_begun(children);
                    batch.children = std::mem::take(&mut batch.asked);
                    batch.children.push(request);
                    batch.children.extend(requests);
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    return None;
                }
                Err(error) => {
                    self.none_begun(children);
                    live.run.fail(ExecutionError {
                        kind: "child_failed".to_owned(),
                        message: format!("a workflow could not be started: {error}"),
                        node: None,
                    });
                    return None;
                }
            }
        }
        Some(children)
    }

    /// The events of a batch.
    async fn told(
        &self,
        live: &Live,
        batch: &mut Batch,
        record: &Record,
        result: Option<&Value>,
    ) -> Vec<crate::outbox::Occurrence> {
        let execution = &live.execution;
        let mut events = Events::new(&*self.outbox, execution);
        if batch.starts {
            events.started(execution);
        }
        events.facts(&batch.facts);
        if !(record.takes.is_empty() && record.gives.is_empty() && batch.short.is_empty())
            && events.wants_resources()
        {
            self.tell_of_units(&mut events, live, batch, record).await;
        }
        events.told.append(&mut batch.emits.clone());
        if let Some(ended_at) = execution.ended_at.filter(|_| record.change.is_some()) {
            events.ended(execution, result, ended_at);
        }
        events.told
    }

    /// Units taken, given back and missed. What is free is what was a moment before.
    async fn tell_of_units(
        &self,
        events: &mut Events<'_>,
        live: &Live,
        batch: &Batch,
        record: &Record,
    ) {
        for (key, pool, units, free) in &batch.short {
            events.resource("resource.shortage", key, pool, *units, *free);
        }
        let pools = self.store.pools(record.workspace).await.unwrap_or_default();
        let mut free: std::collections::HashMap<&str, u32> = pools
            .iter()
            .map(|pool| (pool.name.as_str(), pool.units.saturating_sub(pool.taken)))
            .collect();
        for key in &record.gives {
            for (pool, units) in wants(live, key) {
                let left = free.entry(pool).or_default();
                *left += units;
                events.resource("resource.released", key, pool, units, *left);
            }
        }
        for take in &record.takes {
            let left = free.entry(take.pool.as_str()).or_default();
            *left = left.saturating_sub(take.units);
            events.resource(
                "resource.allocated",
                &take.step,
                &take.pool,
                take.units,
                *left,
            );
        }
    }

    fn tell_steps(&self, live: &Live, steps: Vec<Step>, leaves: bool) {
        let (workspace, id) = (live.execution.workspace, live.execution.id);
        if self.notices.receiver_count() == 0 {
            return;
        }
        for step in steps {
            self.tell(workspace, id, What::Recorded(Box::new(step)));
        }
        if leaves {
            self.tell(workspace, id, What::State(live.execution.state));
        }
    }

    /// What follows once a batch is on disk.
    fn written(
        self: &Arc<Self>,
        live: &mut Live,
        batch: &mut Batch,
        leaves: bool,
        children: Vec<Asked>,
        started: Vec<Started>,
    ) {
        for (asked, started) in children.into_iter().zip(started) {
            self.begun(asked, started, live.lease);
        }
        batch.asked.clear();
        if leaves && live.execution.state.is_final() {
            if matches!(live.execution.cause, Cause::Execution { waits: true, .. }) {
                self.signal_bell.notify_one();
                self.due_bell.notify_one();
            }
            if let Some(reply) = live.reply.take() {
                // Whoever waited may have gone.
                let _ = reply.send(live.execution.clone());
            }
        } else if leaves {
            self.due_bell.notify_one();
        }
    }
}

/// What changes of the execution as it leaves memory; answers its result.
fn leave(live: &mut Live, record: &mut Record, now: Timestamp) -> Option<Value> {
    let mut result = None;
    let mut due_at = None;
    if let Some(end) = live.run.end() {
        result = ended(&mut live.execution, end, now);
        record.limit = live
            .prepared
            .definition()
            .concurrency
            .map(|max| (live.prepared.workflow, max));
        record.tells = tells(live, result.as_ref());
    } else {
        live.execution.state = ExecutionState::Waiting;
        due_at = live.run.wakes_at();
        record.waits_for = pools_of(live, &live.run.blocked());
        if !record.waits_for.is_empty() {
            let look = now + LOOK_FOR_UNITS_EVERY;
            due_at = Some(due_at.map_or(look, |at| at.min(look)));
        }
    }
    let execution = &mut live.execution;
    execution.steps = live.run.steps();
    execution.usage = live.run.usage();
    execution.due_at = due_at;
    record.change = Some(change(live, false));
    result
}

/// The execution as it stands.
fn change(live: &Live, held: bool) -> ExecutionChange {
    let execution = &live.execution;
    ExecutionChange {
        state: execution.state,
        held,
        due_at: execution.due_at,
        started_at: execution.started_at,
        ended_at: execution.ended_at,
        result: execution.result.clone(),
        error: execution.error.clone(),
        steps: live.run.steps(),
        usage: live.run.usage(),
    }
}

/// What an execution that has ended tells the one that waits for it.
fn tells(live: &Live, result: Option<&Value>) -> Vec<(ExecutionId, Signal)> {
    let execution = &live.execution;
    let Cause::Execution {
        parent,
        node,
        iteration,
        item,
        waits: true,
        ..
    } = &execution.cause
    else {
        return Vec::new();
    };
    let signal = Signal::Ended {
        execution: execution.id,
        node: node.clone(),
        iteration: *iteration,
        item: *item,
        state: execution.state,
        result: result.cloned(),
        error: execution.error.clone(),
    };
    vec![(*parent, signal)]
}

/// What a run of a node wants of which pool.
fn wants<'l>(live: &'l Live, key: &StepKey) -> impl Iterator<Item = (&'l str, u32)> + use<'l> {
    let node = live.prepared.definition().node(&key.node);
    node.into_iter()
        .flat_map(|node| &node.resources)
        .map(|(pool, units)| (pool.as_str(), *units))
}

fn takes(live: &Live, runs: &[Attempt]) -> Vec<Take> {
    runs.iter()
        .flat_map(|run| {
            wants(live, &run.key).map(|(pool, units)| Take {
                pool: pool.to_owned(),
                units,
                step: run.key.clone(),
            })
        })
        .collect()
}

/// Runs of nodes that need their units no longer.
fn gives(live: &Live, batch: &Batch) -> Vec<StepKey> {
    batch
        .steps
        .iter()
        .filter(|step| {
            matches!(
                step.state,
                StepState::Completed | StepState::Failed | StepState::Cancelled
            ) && wants(live, &step.key).next().is_some()
        })
        .map(|step| step.key.clone())
        .collect()
}

fn pools_of(live: &Live, blocked: &[StepKey]) -> Vec<String> {
    let mut pools: Vec<String> = blocked
        .iter()
        .flat_map(|key| wants(live, key))
        .map(|(pool, _)| pool.to_owned())
        .collect();
    pools.sort_unstable();
    pools.dedup();
    pools
}

/// A pool has too few units: the last of those that want some has to wait.
fn short(live: &mut Live, batch: &mut Batch, pool: &str, free: Option<u32>, now: Timestamp) {
    batch.children = std::mem::take(&mut batch.asked);
    let wants_it = |run: &Attempt| wants(live, &run.key).any(|(name, _)| name == pool);
    let Some(at) = batch.runs.iter().rposition(wants_it) else {
        return;
    };
    let Attempt { key, attempt } = batch.runs.remove(at);
    let units = wants(live, &key)
        .find(|(name, _)| *name == pool)
        .map_or(0, |(_, units)| units);
    let mut step = live.run.note(&key, attempt, StepState::Blocked, now);
    if let Some(free) = free {
        step.detail = Some(bytes_of(&json!({ "pool": pool, "units": units })));
        batch.short.push((key, pool.to_owned(), units, free));
    } else {
        step.state = StepState::Failed;
        step.ended_at = Some(now);
        step.error = Some(ExecutionError {
            kind: "pool_unknown".to_owned(),
            message: format!(
                "there is no pool `{pool}` of {units} units or more: declare it, or ask for fewer"
            ),
            node: Some(key.node.clone()),
        });
    }
    batch.facts.extend(live.run.apply(&step));
    batch.steps.push(step);
}
