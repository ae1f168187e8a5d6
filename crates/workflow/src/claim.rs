//! Takes up from disk what is due and nobody holds: what was not started in memory, what waited,
//! what a process that is gone has held. Polling alone would do; the bell makes it quick.

use std::{sync::Arc, time::Duration};

use domain::{
    execution::{ExecutionError, ExecutionState, StepState},
    workflow::{decide::Command, run::Run},
};
use serde_json::{Map, Value};
use store::{ClaimedExecution, Pool, StoreError};

use crate::{
    Shared,
    drive::{Batch, Live},
    programs::{PrepareError, Prepared},
};

/// The most executions that are taken up at once.
const CLAIM_MAX: usize = 64;
/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);
/// How often what has ended long ago is removed.
const PRUNE_EVERY: Duration = Duration::from_mins(10);
/// How many executions are removed in one transaction.
const PRUNE_MAX: usize = 200;

/// Takes up what is due until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let bell = shared.due_bell.notified();
        match step(&shared).await {
            Ok(0) => {}
            Ok(_) => continue,
            Err(StoreError::Closed) => return std::future::pending().await,
            Err(error) => {
                tracing::warn!(%error, "failed to take up executions; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
        let wait = match shared.store.next_execution_due().await {
            Ok(Some(at)) => at.since(shared.now()).min(shared.settings.poll_every),
            _ => shared.settings.poll_every,
        };
        let wait = wait.max(Duration::from_millis(5));
        let _ = tokio::time::timeout(wait, bell).await;
    }
}

/// Takes up what is due now; answers how much that was.
pub(crate) async fn step(shared: &Arc<Shared>) -> Result<usize, StoreError> {
    let mut places = 0;
    while places < CLAIM_MAX && shared.take_place() {
        places += 1;
    }
    if places == 0 {
        return Ok(0);
    }
    let claimed = match shared.store.claim_executions(shared.now(), places).await {
        Ok(claimed) => claimed,
        Err(error) => {
            shared.leave_places(places);
            return Err(error);
        }
    };
    let taken = claimed.len();
    shared.leave_places(places - taken);
    for claimed in claimed {
        take_up(shared, claimed).await;
    }
    Ok(taken)
}

/// Has an execution run here that was claimed; its place was taken.
async fn take_up(shared: &Arc<Shared>, claimed: ClaimedExecution) {
    let ClaimedExecution {
        mut execution,
        steps,
        signals,
        lease,
    } = claimed;
    let (workspace, id) = (execution.workspace, execution.id);
    let prepared = shared
        .programs
        .get(
            &shared.store,
            workspace,
            execution.workflow,
            execution.version,
        )
        .await;
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            tracing::error!(execution = %id, %error, "an execution cannot be taken up");
            shared.leave_place();
            give_back(shared, &execution, lease, &error).await;
            return;
        }
    };
    let waited = execution.state == ExecutionState::Pending;
    if waited {
        execution.state = ExecutionState::Running;
        execution.started_at = Some(shared.now());
    }
    let mut run = begin(&prepared, &execution.input);
    for step in &steps {
        run.apply(step);
    }
    let mut live = Live::new(execution, prepared, run, lease, None);
    for step in steps {
        if step.ended_at.is_none() {
            live.open.insert(step.number, step);
        }
    }
    let mut batch = Batch {
        starts: waited,
        ..Batch::default()
    };
    go_on(shared, &mut live, &mut batch, waited).await;
    for (number, signal) in signals {
        shared.signal(&mut live, &mut batch, number, signal);
    }
    shared.go(live, batch);
}

/// The run as it was before any step.
pub(crate) fn begin(prepared: &Arc<Prepared>, input: &[u8]) -> Run {
    let input: Map<String, Value> = serde_json::from_slice(input).unwrap_or_default();
    if let Ok(state) = prepared.program.initial_state(&input) {
        return Run::begin(Arc::clone(&prepared.program), state);
    }
    let mut run = Run::begin(Arc::clone(&prepared.program), Map::new());
    run.fail(ExecutionError {
        kind: "inputs_invalid".to_owned(),
        message: "its inputs do not fit the workflow".to_owned(),
        node: None,
    });
    run
}

/// What runs again, and what a moment's passing and units that came free have changed.
async fn go_on(shared: &Arc<Shared>, live: &mut Live, batch: &mut Batch, waited: bool) {
    let now = shared.now();
    let fresh = live.run.steps() == 0;
    let (commands, facts) = live.run.next(now);
    let noted = commands
        .iter()
        .any(|command| matches!(command, Command::Note(_)));
    // That a node begins was told when it first did.
    if waited || (fresh && noted) {
        batch.facts = facts;
    }
    batch.take_commands(commands);
    let (steps, facts) = live.run.wake(now);
    batch.steps.extend(steps);
    batch.facts.extend(facts);
    let blocked = live.run.blocked();
    if blocked.is_empty() {
        return;
    }
    let pools = shared
        .store
        .pools(live.execution.workspace)
        .await
        .unwrap_or_default();
    for key in blocked {
        let node = live.prepared.definition().node(&key.node);
        if !node.is_some_and(|node| fits(&node.resources, &pools)) {
            continue;
        }
        let attempt = live.run.attempt(&key).unwrap_or(1);
        let step = live.run.note(&key, attempt, StepState::Resumed, now);
        batch.facts.extend(live.run.apply(&step));
        batch.steps.push(step);
    }
}

/// Whether the pools seem to have what is wanted; a pool that is no more is found out by asking.
fn fits(wanted: &[(String, u32)], pools: &[Pool]) -> bool {
    wanted.iter().all(|(name, units)| {
        let pool = pools.iter().find(|pool| pool.name == *name);
        pool.is_none_or(|pool| {
            pool.units < *units || pool.units.saturating_sub(pool.taken) >= *units
        })
    })
}

/// One that cannot be taken up now is due again later.
async fn give_back(
    shared: &Shared,
    execution: &domain::execution::Execution,
    lease: store::Lease,
    error: &PrepareError,
) {
    let later = match error {
        PrepareError::Store(_) => Duration::from_secs(1),
        _ => Duration::from_hours(1),
    };
    let one = vec![(execution.workspace, execution.id, lease)];
    if let Err(error) = shared
        .store
        .release_executions(one, shared.now() + later)
        .await
    {
        tracing::debug!(execution = %execution.id, %error, "failed to give an execution back");
    }
}

/// Removes what has ended long ago, until the engine stops.
pub(crate) async fn prune(shared: Arc<Shared>) {
    loop {
        let before = shared.now().before(shared.settings.retention);
        match shared.store.prune_executions(before, PRUNE_MAX).await {
            Ok(0) => tokio::time::sleep(PRUNE_EVERY).await,
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => {
                tracing::warn!(%error, "failed to remove old executions; trying again later");
                tokio::time::sleep(PRUNE_EVERY).await;
            }
        }
    }
}
