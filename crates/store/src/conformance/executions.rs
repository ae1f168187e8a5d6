//! Executions: started, listed, claimed once, free again after release or restart, removed.

use bytes::Bytes;
use domain::{
    ExecutionId, TriggerId,
    execution::{Cause, ExecutionState, StepState, Usage},
};

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE, all},
    running::stop,
};
use crate::{Accepted, ExecutionFilter, Lease, Page, Signalled, Started};

/// Every field comes back; what nobody holds is due at once.
pub async fn an_execution_is_kept_whole(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let workflow = test.workflow_id();
    let causes = [
        Cause::Api,
        Cause::Schedule {
            trigger: TriggerId::new(test.id()),
            at: test.now(),
        },
        Cause::Execution {
            parent: ExecutionId::new(test.id()),
            node: "sub".into(),
            iteration: 3,
            item: Some(2),
            waits: true,
            depth: 4,
            hops: 0,
        },
    ];
    for cause in causes {
        let mut start = test.start_of(workflow);
        start.held = false;
        start.execution.version = 7;
        start.execution.cause = cause;
        start.execution.offline = true;
        start.execution.input = Bytes::from(format!("{{\"ä\":\"{}\"}}", "x".repeat(20_000)));
        let mut expected = start.execution.clone();
        expected.due_at = Some(test.now());
        let id = expected.id;
        assert_eq!(test.begin(start).await, (id, Started::Running));
        assert_eq!(test.execution(id).await, expected);
        assert_eq!(test.store.execution(elsewhere, id).await, Ok(None));
    }
    let unknown = ExecutionId::new(test.id());
    assert_eq!(test.store.execution(HOME, unknown).await, Ok(None));
    assert_eq!(test.store.steps(HOME, unknown).await, Ok(Vec::new()));
}

/// Together with it.
pub async fn a_start_stores_its_events(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let event = test.event(HOME);
    let key = event.event.key;
    let start = test.start_of(test.workflow_id());
    assert_eq!(
        test.store.start(start, vec![event]).await,
        Ok((Started::Running, vec![Accepted::New]))
    );
    assert!(test.store.event(HOME, key).await.unwrap().is_some());
}

/// Newest first, by pages, of a workflow, in a state, since a time.
pub async fn executions_are_listed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let (one, other) = (test.workflow_id(), test.workflow_id());
    let first = test.running(one).await;
    let waits = test.waiting(other).await;
    test.pass(MINUTE);
    let failed = test.running(one).await;
    test.written(test.ended(failed, ExecutionState::Failed))
        .await;
    let done = test.running(one).await;
    test.written(test.ended(done, ExecutionState::Completed))
        .await;
    let list = async |filter: ExecutionFilter, page| -> Vec<ExecutionId> {
        let found = test.store.executions(HOME, filter, page).await.unwrap();
        found.iter().map(|execution| execution.id).collect()
    };
    let none = ExecutionFilter::default();
    assert_eq!(
        list(none.clone(), all()).await,
        [done, failed, waits, first]
    );
    let page = Page {
        after: Some(done),
        limit: 2,
    };
    assert_eq!(list(none.clone(), page).await, [failed, waits]);
    let of_one = ExecutionFilter {
        workflow: Some(one),
        ..none.clone()
    };
    assert_eq!(list(of_one.clone(), all()).await, [done, failed, first]);
    assert_eq!(list(of_one.clone(), page).await, [failed, first]);
    let states = [
        (ExecutionState::Pending, vec![]),
        (ExecutionState::Running, vec![first]),
        (ExecutionState::Waiting, vec![waits]),
        (ExecutionState::Completed, vec![done]),
        (ExecutionState::Failed, vec![failed]),
        (ExecutionState::Stopped, vec![]),
    ];
    for (state, expected) in states {
        let filter = ExecutionFilter {
            state: Some(state),
            ..none.clone()
        };
        assert_eq!(list(filter, all()).await, expected, "{state:?}");
        let filter = ExecutionFilter {
            state: Some(state),
            since: Some(test.now()),
            ..of_one.clone()
        };
        let recent = expected.into_iter().filter(|id| *id >= failed);
        assert_eq!(list(filter, all()).await, recent.collect::<Vec<_>>());
    }
    let elsewhere = test.elsewhere().await;
    assert_eq!(
        test.store.executions(elsewhere, none, all()).await,
        Ok(Vec::new())
    );
}

/// Earliest due first, never more than asked for, never what this process holds or what is not
/// due; what waited runs, with its steps and what it is to hear.
pub async fn what_is_due_is_claimed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let held = test.running(workflow).await;
    let (late, early) = (test.running(workflow).await, test.running(workflow).await);
    test.wait_until(late, Some(test.later(2_000))).await;
    let steps = vec![
        test.step_of(1, "ask", StepState::Completed),
        test.step_of(2, "wait", StepState::Waiting),
    ];
    let mut record = test.found(early);
    record.steps.clone_from(&steps);
    test.written(record).await;
    test.wait_until(early, Some(test.later(1_000))).await;
    let by_signal = test.waiting(workflow).await;

    test.pass(999);
    assert_eq!(test.taken_up().await, []);
    test.pass(MINUTE);
    assert_eq!(
        test.store.signal(HOME, by_signal, stop(), test.now()).await,
        Ok(Signalled::Due)
    );
    assert!(test.take_up(0).await.is_empty());
    let first = test.take_up(1).await.remove(0);
    assert_eq!(first.execution.id, early);
    assert_eq!(first.execution.state, ExecutionState::Running);
    assert_eq!(first.lease, test.lease());
    assert_eq!(first.steps, steps);
    assert_eq!(first.signals, []);
    let rest = test.take_up(10).await;
    assert_eq!(rest.len(), 2);
    assert_eq!(rest[0].execution.id, late);
    assert_eq!(rest[1].execution.id, by_signal);
    assert_eq!(rest[1].signals.len(), 1);
    assert_eq!(rest[1].signals[0].1, stop());
    assert_eq!(test.taken_up().await, []);
    for id in [held, early, late, by_signal] {
        assert_eq!(test.execution(id).await.state, ExecutionState::Running);
    }
}

/// Also by callers at the same time.
pub async fn what_is_claimed_is_not_claimed_again(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    for _ in 0..40 {
        let mut start = test.start_of(workflow);
        start.held = false;
        test.begin(start).await;
    }
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (store, now) = (test.store.clone(), test.now());
        calls.spawn(async move { store.claim_executions(now, 7).await.unwrap() });
    }
    let claimed = calls.join_all().await.into_iter().flatten();
    let mut ids: Vec<_> = claimed.map(|claimed| claimed.execution.id).collect();
    ids.extend(test.taken_up().await);
    assert_eq!(ids.len(), 40);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 40);
}

/// Only under the lease that holds it; then it is due, and its old holder's record is void.
pub async fn what_is_released_is_due(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let id = test.running(test.workflow_id()).await;
    let ended = test.running(test.workflow_id()).await;
    test.written(test.ended(ended, ExecutionState::Completed))
        .await;
    let release = async |id, lease| {
        let executions = vec![(HOME, id, lease)];
        let released = test.store.release_executions(executions, test.now()).await;
        released.unwrap();
        test.taken_up().await
    };
    assert_eq!(release(id, Lease(test.lease().0 + 1)).await, []);
    assert_eq!(release(ended, test.lease()).await, []);
    test.pass(MINUTE);
    assert_eq!(release(id, test.lease()).await, [id]);
}

/// Of what nobody holds.
pub async fn the_next_due_time_is_told(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let next = async || test.store.next_execution_due().await.unwrap();
    assert_eq!(next().await, None);
    let id = test.running(workflow).await;
    test.waiting(workflow).await;
    assert_eq!(next().await, None);
    let other = test.running(workflow).await;
    test.wait_until(other, Some(test.later(5_000))).await;
    test.wait_until(id, Some(test.later(3_000))).await;
    assert_eq!(next().await, Some(test.later(3_000)));
    test.pass(3_000);
    assert_eq!(test.taken_up().await, [id]);
    assert_eq!(next().await, Some(test.later(2_000)));
}

/// Due at once, whatever it was doing; what waited for a time goes on waiting for it.
pub async fn what_a_gone_process_held_is_free(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let held = test.running(workflow).await;
    let waits = test.running(workflow).await;
    test.wait_until(waits, Some(test.later(MINUTE))).await;
    let mut record = test.found(held);
    let step = test.step_of(1, "first", StepState::Completed);
    record.steps = vec![step.clone()];
    test.written(record.clone()).await;

    let test = test.restart().await;
    let due = test.store.next_execution_due().await.unwrap();
    assert!(due.unwrap() <= test.now());
    let claimed = test.take_up(10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].execution.id, held);
    assert_eq!(claimed[0].steps, [step]);
    assert_eq!(claimed[0].lease, test.lease());
    record.steps = vec![test.step_of(2, "late", StepState::Completed)];
    assert_eq!(
        test.store.record(record).await,
        Ok(crate::Recorded::LeaseLost)
    );
    test.pass(MINUTE);
    assert_eq!(test.taken_up().await, [waits]);
}

/// What ended long ago goes, with its steps, in steps; what runs stays, however old.
pub async fn what_ended_long_ago_is_removed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let old_waits = test.waiting(workflow).await;
    let mut old = Vec::new();
    for _ in 0..5 {
        let id = test.running(workflow).await;
        let mut record = test.ended(id, ExecutionState::Failed);
        record.steps = vec![test.step_of(1, "only", StepState::Failed)];
        test.written(record).await;
        old.push(id);
    }
    let ends_late = test.running(workflow).await;
    test.pass(10 * MINUTE);
    let before = test.now();
    test.written(test.ended(ends_late, ExecutionState::Completed))
        .await;
    let mut rounds = 0;
    while test.store.prune_executions(before, 2).await.unwrap() > 0 {
        rounds += 1;
        assert!(rounds < 20, "it never ends");
        if rounds == 1 {
            let left = old.iter();
            let mut kept = 0;
            for id in left {
                kept += usize::from(test.store.execution(HOME, *id).await.unwrap().is_some());
            }
            assert!(kept >= 3, "more than asked for at once");
        }
    }
    for id in old {
        assert_eq!(test.store.execution(HOME, id).await, Ok(None));
        assert_eq!(test.store.steps(HOME, id).await, Ok(Vec::new()));
    }
    assert_eq!(
        test.execution(old_waits).await.state,
        ExecutionState::Waiting
    );
    assert_eq!(
        test.execution(ends_late).await.state,
        ExecutionState::Completed
    );
    assert_eq!(test.execution(ends_late).await.usage, Usage::default());
}
