//! A workflow's concurrency: what is one too many waits, is skipped, or has the oldest stopped.

use domain::{
    ExecutionId, WorkflowId,
    execution::{ExecutionState, Signal},
    workflow::definition::OnConflict,
};

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE},
    running::stop,
};
use crate::{Limit, Signalled, Started};

/// Its end under a concurrency of `max`.
async fn end(test: &Fixture<'_, impl Backend>, id: ExecutionId, workflow: WorkflowId, max: u32) {
    let mut record = test.ended(id, ExecutionState::Completed);
    record.limit = Some((workflow, max));
    test.written(record).await;
}

/// One too many is kept as pending, without its events, and is due when another has ended: the
/// oldest first. It is pending until whoever took it up says otherwise.
pub async fn one_too_many_waits_for_its_turn(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let start = || test.limited(workflow, 2, OnConflict::Queue);
    let (one, _) = test.begin(start()).await;
    let (two, started) = test.begin(start()).await;
    assert_eq!(started, Started::Running);
    test.wait_until(two, None).await;
    let event = test.event(HOME);
    let (key, third) = (event.event.key, start());
    let three = third.execution.id;
    assert_eq!(
        test.store.start(third, vec![event]).await,
        Ok((Started::Queued, Vec::new()))
    );
    assert_eq!(test.store.event(HOME, key).await, Ok(None));
    let (four, started) = test.begin(start()).await;
    assert_eq!(started, Started::Queued);
    let queued = test.execution(three).await;
    assert_eq!(queued.state, ExecutionState::Pending);
    assert_eq!((queued.started_at, queued.due_at), (None, None));
    assert_eq!(test.taken_up().await, []);
    // Another workflow's are not counted.
    let other = test.limited(test.workflow_id(), 1, OnConflict::Queue);
    assert_eq!(test.begin(other).await.1, Started::Running);

    test.pass(MINUTE);
    end(&test, one, workflow, 2).await;
    assert_eq!(test.execution(three).await.due_at, Some(test.now()));
    // Nobody slips in before it.
    let (five, started) = test.begin(start()).await;
    assert_eq!(started, Started::Queued);
    let claimed = test.take_up(10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].execution.id, three);
    assert_eq!(claimed[0].execution.state, ExecutionState::Pending);
    let mut record = test.found(three);
    let mut change = test.change(ExecutionState::Running);
    change.held = true;
    change.started_at = Some(test.now());
    record.change = Some(change);
    test.written(record).await;
    let runs = test.execution(three).await;
    assert_eq!(runs.state, ExecutionState::Running);
    assert_eq!(runs.started_at, Some(test.now()));
    assert_eq!(test.taken_up().await, []);
    end(&test, three, workflow, 2).await;
    assert_eq!(test.taken_up().await, [four]);
    end(&test, four, workflow, 2).await;
    assert_eq!(test.taken_up().await, [five]);
}

/// As many are admitted as there is room for under the concurrency of now.
pub async fn a_changed_concurrency_counts_from_the_next_end(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let mut ids = Vec::new();
    for _ in 0..6 {
        let start = test.limited(workflow, 2, OnConflict::Queue);
        ids.push(test.begin(start).await.0);
    }
    end(&test, ids[0], workflow, 1).await;
    assert_eq!(test.taken_up().await, []);
    end(&test, ids[1], workflow, 3).await;
    assert_eq!(test.taken_up().await, ids[2..5]);
}

/// Stopping one that waits for its turn makes no room.
pub async fn a_stopped_one_that_waited_admits_nobody(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let start = || test.limited(workflow, 1, OnConflict::Queue);
    let (runs, _) = test.begin(start()).await;
    let (waits, _) = test.begin(start()).await;
    let (behind, _) = test.begin(start()).await;
    assert_eq!(
        test.store.signal(HOME, waits, stop(), test.now()).await,
        Ok(Signalled::Due)
    );
    let claimed = test.take_up(10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].execution.id, waits);
    assert_eq!(claimed[0].execution.state, ExecutionState::Pending);
    let mut record = test.ended(waits, ExecutionState::Stopped);
    record.signals = vec![claimed[0].signals[0].0];
    record.limit = Some((workflow, 1));
    test.written(record).await;
    assert_eq!(test.taken_up().await, []);
    end(&test, runs, workflow, 1).await;
    assert_eq!(test.taken_up().await, [behind]);
}

/// Nothing of it is stored.
pub async fn one_too_many_is_skipped(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let first = test.running(workflow).await;
    let start = || test.limited(workflow, 1, OnConflict::Skip);
    let event = test.event(HOME);
    let (key, second) = (event.event.key, start());
    let id = second.execution.id;
    assert_eq!(
        test.store.start(second, vec![event]).await,
        Ok((Started::Skipped, Vec::new()))
    );
    assert_eq!(test.store.execution(HOME, id).await, Ok(None));
    assert_eq!(test.store.event(HOME, key).await, Ok(None));
    end(&test, first, workflow, 1).await;
    assert_eq!(test.begin(start()).await.1, Started::Running);
}

/// The oldest is told to stop, and each is told once.
pub async fn one_too_many_has_the_oldest_stopped(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let start = || test.limited(workflow, 1, OnConflict::Cancel);
    let (first, _) = test.begin(start()).await;
    test.wait_until(first, None).await;
    test.pass(MINUTE);
    let (second, started) = test.begin(start()).await;
    assert_eq!(started, Started::Running);
    let claimed = test.take_up(10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].execution.id, first);
    let signals: Vec<_> = claimed[0]
        .signals
        .iter()
        .map(|(_, signal)| signal)
        .collect();
    let by_newer = Signal::Stop {
        by: "a newer execution".into(),
    };
    assert_eq!(signals, [&by_newer]);

    let (_, started) = test.begin(start()).await;
    assert_eq!(started, Started::Running);
    let held = test.store.held_signals(10).await.unwrap();
    let told: Vec<_> = held
        .iter()
        .map(|held| (held.execution, &held.signal))
        .collect();
    assert_eq!(told, [(first, &by_newer), (second, &by_newer)]);
}

/// Of many at once, no more run than may.
pub async fn a_race_keeps_the_limit(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let (store, start) = (
            test.store.clone(),
            test.limited(workflow, 3, OnConflict::Queue),
        );
        calls.spawn(async move { store.start(start, Vec::new()).await.unwrap().0 });
    }
    let started = calls.join_all().await;
    let running = started.iter().filter(|one| **one == Started::Running);
    assert_eq!(running.count(), 3);
    assert!(!started.contains(&Started::Skipped));
}

/// An execution that another starts is counted like any.
pub async fn a_record_starts_within_the_limit(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let (parent, child) = (test.workflow_id(), test.workflow_id());
    let id = test.running(parent).await;
    let mut record = test.found(id);
    for on_conflict in [OnConflict::Queue, OnConflict::Queue, OnConflict::Skip] {
        let mut start = test.start_of(child);
        start.held = false;
        start.limit = Some(Limit {
            max: 1,
            on_conflict,
        });
        record.starts.push(start);
    }
    let ids: Vec<_> = record.starts.iter().map(|one| one.execution.id).collect();
    let (_, started, _) = test.written(record).await;
    assert_eq!(
        started,
        [Started::Running, Started::Queued, Started::Skipped]
    );
    assert_eq!(test.taken_up().await, ids[..1]);
    assert_eq!(test.execution(ids[1]).await.state, ExecutionState::Pending);
    assert_eq!(test.store.execution(HOME, ids[2]).await, Ok(None));
}
