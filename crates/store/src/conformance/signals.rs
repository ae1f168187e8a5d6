//! Signals: kept until they are taken up, refused where they do not fit.

use bytes::Bytes;
use domain::{
    ExecutionId,
    execution::{ExecutionError, ExecutionState, Signal, StepState},
};
use serde_json::json;

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE},
    running::{approval, stop},
};
use crate::{ExecutionChange, Lease, Signalled};

/// Whoever holds it hears of it; it is taken up by a record, once.
pub async fn a_signal_reaches_the_holder(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let id = test.running(test.workflow_id()).await;
    let other = test.running(test.workflow_id()).await;
    let second = Signal::Stop { by: "bob".into() };
    for signal in [stop(), second.clone()] {
        assert_eq!(
            test.store.signal(HOME, id, signal, test.now()).await,
            Ok(Signalled::Held { here: true })
        );
    }
    test.store
        .signal(HOME, other, stop(), test.now())
        .await
        .unwrap();
    let held = test.store.held_signals(10).await.unwrap();
    let told: Vec<_> = held
        .iter()
        .map(|held| (held.workspace, held.execution, held.signal.clone()))
        .collect();
    assert_eq!(
        told,
        [
            (HOME, id, stop()),
            (HOME, id, second.clone()),
            (HOME, other, stop())
        ]
    );
    assert!(held[0].number < held[1].number && held[1].number < held[2].number);
    assert_eq!(test.store.held_signals(1).await.unwrap().len(), 1);

    // A number of another execution's signal takes up nothing.
    let mut record = test.found(id);
    record.signals = vec![held[0].number, held[2].number];
    test.written(record).await;
    let left = test.store.held_signals(10).await.unwrap();
    let numbers: Vec<_> = left.iter().map(|held| held.number).collect();
    assert_eq!(numbers, [held[1].number, held[2].number]);
}

/// A number is never used again, so that whoever holds an execution can tell what is new.
pub async fn numbers_of_signals_are_not_used_again(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let id = test.running(test.workflow_id()).await;
    let mut last = i64::MIN;
    for _ in 0..3 {
        test.store
            .signal(HOME, id, stop(), test.now())
            .await
            .unwrap();
        let held = test.store.held_signals(10).await.unwrap();
        assert_eq!(held.len(), 1);
        assert!(held[0].number > last);
        last = held[0].number;
        let mut record = test.found(id);
        record.signals = vec![last];
        test.written(record).await;
    }
}

/// Held by nobody: due at once, unless it was before. What a gone process held counts as free.
pub async fn a_signal_wakes_what_waits(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let id = test.waiting(test.workflow_id()).await;
    let sooner = test.running(test.workflow_id()).await;
    let held = test.running(test.workflow_id()).await;
    test.wait_until(sooner, Some(test.later(1_000))).await;
    let due = test.later(1_000);
    test.pass(MINUTE);
    for id in [id, sooner] {
        assert_eq!(
            test.store.signal(HOME, id, stop(), test.now()).await,
            Ok(Signalled::Due)
        );
    }
    assert_eq!(test.execution(id).await.due_at, Some(test.now()));
    assert_eq!(test.execution(sooner).await.due_at, Some(due));
    assert_eq!(test.store.held_signals(10).await.unwrap().len(), 0);

    let test = test.restart().await;
    assert_eq!(
        test.store.signal(HOME, held, stop(), test.now()).await,
        Ok(Signalled::Due)
    );
    let claimed = test.take_up(10).await;
    assert_eq!(claimed.len(), 3);
    assert!(claimed.iter().all(|claimed| claimed.signals.len() == 1));
    assert_eq!(test.store.held_signals(10).await.unwrap().len(), 3);
}

/// Nothing is left for what has ended or does not exist.
pub async fn what_has_ended_hears_nothing(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let id = test.running(test.workflow_id()).await;
    // One that comes with the end is never heard.
    test.store
        .signal(HOME, id, stop(), test.now())
        .await
        .unwrap();
    test.written(test.ended(id, ExecutionState::Failed)).await;
    assert_eq!(test.taken_up().await, []);
    for signal in [stop(), approval(1)] {
        assert_eq!(
            test.store.signal(HOME, id, signal, test.now()).await,
            Ok(Signalled::Refused(ExecutionState::Failed))
        );
    }
    let nobody = ExecutionId::new(test.id());
    for (workspace, id) in [(HOME, nobody), (elsewhere, id)] {
        assert_eq!(
            test.store.signal(workspace, id, stop(), test.now()).await,
            Ok(Signalled::Unknown)
        );
    }
    let again = Signal::Retry { by: "ada".into() };
    let retried = test.store.signal(HOME, id, again.clone(), test.now()).await;
    assert_eq!(retried, Ok(Signalled::Due));
    let claimed = test.take_up(1).await.remove(0);
    let signals: Vec<_> = claimed.signals.iter().map(|(_, signal)| signal).collect();
    assert_eq!(signals, [&again]);
}

/// Running again, with what it ended with cleared and its steps kept; never what runs, waits or
/// has completed.
pub async fn only_what_failed_or_was_stopped_is_retried(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let retry = || Signal::Retry { by: "ada".into() };
    for state in [ExecutionState::Failed, ExecutionState::Stopped] {
        let id = test.running(test.workflow_id()).await;
        let mut expected = test.execution(id).await;
        let mut record = test.ended(id, state);
        record.steps = vec![test.step_of(1, "only", StepState::Failed)];
        record.change = Some(ExecutionChange {
            result: Some(Bytes::from_static(b"{}")),
            error: Some(ExecutionError {
                kind: "timeout".into(),
                message: "too long".into(),
                node: None,
            }),
            steps: 1,
            ..test.change(state)
        });
        test.written(record).await;
        test.pass(MINUTE);
        assert_eq!(
            test.store.signal(HOME, id, retry(), test.now()).await,
            Ok(Signalled::Due)
        );
        expected.steps = 1;
        expected.due_at = Some(test.now());
        assert_eq!(test.execution(id).await, expected);
        assert_eq!(test.store.steps(HOME, id).await.unwrap().len(), 1);
        assert_eq!(
            test.store.signal(HOME, id, retry(), test.now()).await,
            Ok(Signalled::Refused(ExecutionState::Running))
        );
        assert_eq!(test.taken_up().await, [id]);
    }
    let done = test.running(test.workflow_id()).await;
    test.written(test.ended(done, ExecutionState::Completed))
        .await;
    let waits = test.waiting(test.workflow_id()).await;
    for (id, state) in [
        (done, ExecutionState::Completed),
        (waits, ExecutionState::Waiting),
    ] {
        assert_eq!(
            test.store.signal(HOME, id, retry(), test.now()).await,
            Ok(Signalled::Refused(state))
        );
    }
    assert_eq!(test.taken_up().await, []);
}

/// Only for a step that waits, and only one.
pub async fn a_step_is_answered_once(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let id = test.running(test.workflow_id()).await;
    let mut record = test.found(id);
    record.steps = vec![
        test.step_of(1, "done", StepState::Completed),
        test.step_of(2, "approve", StepState::Waiting),
        test.step_of(3, "call", StepState::Waiting),
    ];
    record.change = Some(test.change(ExecutionState::Waiting));
    test.written(record).await;
    let callback = |step| Signal::Callback {
        step,
        body: json!({"paid": true, "sum": 17.5}),
    };
    let tell = async |signal| test.store.signal(HOME, id, signal, test.now()).await;
    let refused = Ok(Signalled::Refused(ExecutionState::Waiting));
    for step in [0, 1, 4] {
        assert_eq!(tell(approval(step)).await, refused);
        assert_eq!(tell(callback(step)).await, refused);
    }
    assert_eq!(tell(callback(3)).await, Ok(Signalled::Due));
    assert_eq!(tell(callback(3)).await, refused);
    assert_eq!(tell(approval(3)).await, refused);
    assert_eq!(tell(approval(2)).await, Ok(Signalled::Due));
    assert_eq!(tell(approval(2)).await, refused);

    let claimed = test.take_up(1).await.remove(0);
    let signals: Vec<_> = claimed.signals.iter().map(|(_, one)| one.clone()).collect();
    assert_eq!(signals, [callback(3), approval(2)]);
    let mut record = test.found(id);
    record.signals = claimed.signals.iter().map(|(number, _)| *number).collect();
    record.steps = vec![
        test.step_of(2, "approve", StepState::Completed),
        test.step_of(3, "call", StepState::Completed),
    ];
    test.written(record).await;
    let refused = Ok(Signalled::Refused(ExecutionState::Running));
    assert_eq!(tell(approval(2)).await, refused);
    assert_eq!(tell(stop()).await, Ok(Signalled::Held { here: true }));
}

/// Of many answers at once, one counts.
pub async fn a_race_of_answers_has_one_winner(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let id = test.running(test.workflow_id()).await;
    let mut record = test.found(id);
    record.steps = vec![test.step_of(1, "approve", StepState::Waiting)];
    test.written(record).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let (store, now) = (test.store.clone(), test.now());
        calls.spawn(async move { store.signal(HOME, id, approval(1), now).await.unwrap() });
    }
    let answers = calls.join_all().await;
    let kept = |answer: &&Signalled| **answer == Signalled::Held { here: true };
    assert_eq!(answers.iter().filter(kept).count(), 1);
    assert_eq!(test.store.held_signals(100).await.unwrap().len(), 1);
    // Nothing of it under a lease that never was.
    let mut record = test.found(id);
    record.lease = Lease(test.lease().0 + 1);
    record.signals = vec![test.store.held_signals(1).await.unwrap()[0].number];
    test.store.record(record).await.unwrap();
    assert_eq!(test.store.held_signals(100).await.unwrap().len(), 1);
}
