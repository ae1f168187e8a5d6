//! What an execution comes to: written whole, by its holder only.

use bytes::Bytes;
use domain::{
    ExecutionId,
    execution::{Cause, ExecutionError, ExecutionState, Signal, Step, StepKey, StepState, Usage},
};

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE},
    running::stop,
};
use crate::{Accepted, ExecutionChange, Lease, Recorded, Signalled, Started};

/// Every field comes back, in the order of numbers; a number that is taken is replaced.
pub async fn steps_are_kept_whole(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let id = test.running(test.workflow_id()).await;
    let beside = test.running(test.workflow_id()).await;
    let mut record = test.found(beside);
    record.steps = vec![test.step_of(1, "another", StepState::Completed)];
    test.written(record).await;

    let waits = Step {
        until: Some(test.later(MINUTE)),
        detail: Some(Bytes::from_static(br#"{"message":"may it?"}"#)),
        ..test.step_of(2, "ask", StepState::Waiting)
    };
    let whole = Step {
        number: 1,
        key: StepKey {
            node: "each".into(),
            iteration: 99,
            item: Some(4_000),
        },
        attempt: 3,
        state: StepState::Failed,
        started_at: test.now(),
        ended_at: Some(test.later(17)),
        until: Some(test.later(1_000)),
        output: Some(Bytes::from(format!("\"{}\"", "ä".repeat(40_000)))),
        error: Some(ExecutionError {
            kind: "timeout".into(),
            message: "it took too long".into(),
            node: Some("each".into()),
        }),
        usage: Usage {
            tokens_in: 1_000,
            tokens_out: u64::from(u32::MAX) * 3,
            cost_nanos: 7,
        },
        detail: None,
    };
    let mut record = test.found(id);
    record.steps = vec![waits.clone(), whole.clone()];
    test.written(record).await;
    assert_eq!(
        test.store.steps(HOME, id).await.unwrap(),
        [whole.clone(), waits]
    );
    let states = [
        StepState::Blocked,
        StepState::Completed,
        StepState::Cancelled,
        StepState::Skipped,
        StepState::Retried,
    ];
    let mut steps = vec![whole];
    for (number, state) in (2..).zip(states) {
        let mut record = test.found(id);
        steps.push(test.step_of(number, "next", state));
        record.steps = vec![steps.last().unwrap().clone()];
        test.written(record).await;
    }
    assert_eq!(test.store.steps(HOME, id).await.unwrap(), steps);
    assert_eq!(test.store.steps(HOME, beside).await.unwrap().len(), 1);
    let elsewhere = test.elsewhere().await;
    assert_eq!(test.store.steps(elsewhere, id).await, Ok(Vec::new()));
}

/// A step alone leaves the execution as it was: running, and held.
pub async fn a_step_alone_changes_nothing_else(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let id = test.running(test.workflow_id()).await;
    let before = test.execution(id).await;
    test.pass(MINUTE);
    let mut record = test.found(id);
    record.steps = vec![test.step_of(1, "one", StepState::Completed)];
    test.written(record).await;
    assert_eq!(test.execution(id).await, before);
    assert_eq!(test.taken_up().await, []);
}

/// The end: what it came to, its last step and its events, and no more due.
pub async fn an_end_is_written_whole(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let webhook = test.webhook_id();
    let usage = Usage {
        tokens_in: 12,
        tokens_out: 34,
        cost_nanos: 56,
    };
    let error = ExecutionError {
        kind: "model_key_missing".into(),
        message: "SIGNPOST_KEY is not set".into(),
        node: Some("ask".into()),
    };
    for state in [
        ExecutionState::Completed,
        ExecutionState::Failed,
        ExecutionState::Stopped,
    ] {
        let id = test.running(test.workflow_id()).await;
        let mut expected = test.execution(id).await;
        test.pass(MINUTE);
        let event = test.event_to(HOME, &[webhook]);
        let key = event.event.key;
        let mut record = test.ended(id, state);
        record.steps = vec![test.step_of(1, "only", StepState::Completed)];
        record.change = Some(ExecutionChange {
            result: Some(Bytes::from_static(b"[1, 2]")),
            error: Some(error.clone()),
            steps: 1,
            usage,
            ..test.change(state)
        });
        record.events = vec![event.clone(), event];
        record.events[1].event.key = domain::EventKey::new(test.id());
        record.events[1].deliveries.clear();
        let (accepted, started, free) = test.written(record).await;
        assert_eq!(accepted, [Accepted::New, Accepted::New]);
        assert_eq!((started, free), (Vec::new(), Vec::new()));

        expected.state = state;
        expected.result = Some(Bytes::from_static(b"[1, 2]"));
        expected.error = Some(error.clone());
        expected.ended_at = Some(test.now());
        expected.due_at = None;
        expected.steps = 1;
        expected.usage = usage;
        assert_eq!(test.execution(id).await, expected);
        assert!(test.store.event(HOME, key).await.unwrap().is_some());
        assert_eq!(test.claim(webhook, 10).await.len(), 1);
        assert_eq!(test.taken_up().await, []);
        let again = test.ended(id, state);
        assert_eq!(test.store.record(again).await, Ok(Recorded::LeaseLost));
    }
}

/// Neither what nobody holds, nor what has ended, nor what does not exist is recorded.
pub async fn only_the_holder_records(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let free = test.waiting(test.workflow_id()).await;
    let held = test.running(test.workflow_id()).await;
    let before = test.execution(held).await;
    let full = |id| {
        let mut record = test.ended(id, ExecutionState::Completed);
        record.steps = vec![test.step_of(1, "only", StepState::Completed)];
        record.events = vec![test.event(HOME)];
        record.starts = vec![test.start_of(test.workflow_id())];
        record
    };
    let mut lost = vec![full(free), full(ExecutionId::new(test.id()))];
    for wrong in [
        Lease(test.lease().0 - 1),
        Lease(test.lease().0 + 1),
        Lease(0),
    ] {
        lost.push(full(held));
        lost.last_mut().unwrap().lease = wrong;
    }
    lost.push(full(held));
    lost.last_mut().unwrap().workspace = elsewhere;
    for record in lost {
        let event = record.events[0].event.key;
        let child = record.starts[0].execution.id;
        assert_eq!(test.store.record(record).await, Ok(Recorded::LeaseLost));
        assert_eq!(test.store.event(HOME, event).await, Ok(None));
        assert_eq!(test.store.execution(HOME, child).await, Ok(None));
    }
    assert_eq!(test.execution(held).await, before);
    assert_eq!(test.store.steps(HOME, held).await, Ok(Vec::new()));
    assert_eq!(test.store.steps(HOME, free).await, Ok(Vec::new()));
    test.written(full(held)).await;
}

/// Once another process has taken over, what the old one found out is void, whether or not the
/// execution was claimed again.
pub async fn a_lease_of_an_earlier_process_records_nothing(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let one = test.running(test.workflow_id()).await;
    test.pass(1);
    let other = test.running(test.workflow_id()).await;
    let stale = [one, other].map(|id| {
        let mut record = test.ended(id, ExecutionState::Completed);
        record.steps = vec![test.step_of(1, "only", StepState::Completed)];
        record
    });
    let test = test.restart().await;
    assert_eq!(test.take_up(1).await[0].execution.id, one);
    for record in stale {
        assert_eq!(test.store.record(record).await, Ok(Recorded::LeaseLost));
    }
    for id in [one, other] {
        assert_eq!(test.execution(id).await.state, ExecutionState::Running);
        assert_eq!(test.store.steps(HOME, id).await, Ok(Vec::new()));
    }
    test.written(test.ended(one, ExecutionState::Completed))
        .await;
    assert_eq!(test.taken_up().await, [other]);
}

/// What leaves its holder while a signal waits is due at once; not if the signal is taken up.
pub async fn a_signal_is_not_slept_through(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let id = test.running(test.workflow_id()).await;
    let signalled = test.store.signal(HOME, id, stop(), test.now()).await;
    assert_eq!(signalled, Ok(Signalled::Held { here: true }));
    test.pass(MINUTE);
    test.wait_until(id, Some(test.later(MINUTE))).await;
    assert_eq!(test.execution(id).await.due_at, Some(test.now()));
    let claimed = test.take_up(1).await.remove(0);
    assert_eq!(claimed.signals.len(), 1);

    let mut record = test.found(id);
    record.signals = vec![claimed.signals[0].0];
    record.change = Some(test.change(ExecutionState::Waiting));
    test.written(record).await;
    assert_eq!(test.execution(id).await.due_at, None);
    assert_eq!(test.taken_up().await, []);
}

/// A change can leave it held; what it then waits for is its holder's to know.
pub async fn a_change_can_keep_it_held(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let id = test.running(test.workflow_id()).await;
    let mut record = test.found(id);
    record.change = Some(ExecutionChange {
        held: true,
        steps: 3,
        ..test.change(ExecutionState::Waiting)
    });
    test.written(record).await;
    let execution = test.execution(id).await;
    assert_eq!(execution.state, ExecutionState::Waiting);
    assert_eq!(execution.started_at, Some(test.now()));
    assert_eq!(execution.steps, 3);
    assert_eq!(test.taken_up().await, []);
    test.written(test.ended(id, ExecutionState::Completed))
        .await;
}

/// A child starts with the step that starts it, and its end is told with its end.
pub async fn an_execution_starts_and_tells_others(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let parent = test.running(test.workflow_id()).await;
    let mut start = test.start_of(test.workflow_id());
    start.held = false;
    start.execution.cause = Cause::Execution {
        parent,
        node: "sub".into(),
        iteration: 0,
        item: None,
        waits: true,
        depth: 1,
        hops: 0,
    };
    let child = start.execution.id;
    let mut record = test.found(parent);
    record.steps = vec![test.step_of(1, "sub", StepState::Waiting)];
    record.starts = vec![start];
    record.change = Some(test.change(ExecutionState::Waiting));
    assert_eq!(test.written(record).await.1, [Started::Running]);
    assert_eq!(test.taken_up().await, [child]);

    test.pass(MINUTE);
    let told = Signal::Ended {
        execution: child,
        node: "sub".into(),
        iteration: 0,
        item: None,
        state: ExecutionState::Completed,
        result: Some(serde_json::json!({"x": [1.5, null]})),
        error: None,
    };
    let mut record = test.ended(child, ExecutionState::Completed);
    let nobody = ExecutionId::new(test.id());
    record.tells = vec![(parent, told.clone()), (nobody, told.clone())];
    test.written(record).await;
    assert_eq!(test.execution(parent).await.due_at, Some(test.now()));
    let claimed = test.take_up(10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].execution.id, parent);
    assert_eq!(claimed[0].signals[0].1, told);
}
