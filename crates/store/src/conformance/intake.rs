//! Receipts: what came in is kept, and starts what it starts once.

use domain::{
    ReceiptId, SourceId, TriggerId,
    execution::ExecutionState,
    intake::{Door, Outcome, Receipt},
    workflow::definition::OnConflict,
};

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE, all},
};
use crate::{Accepted, Limit, Page, ReceiptFilter, Receive, Received, Started};

fn alone(receipt: &Receipt) -> Receive {
    Receive {
        receipt: receipt.clone(),
        starts: Vec::new(),
        events: Vec::new(),
    }
}

async fn keep(test: &Fixture<'_, impl Backend>, receipt: &Receipt) -> bool {
    let received = test.store.receive(alone(receipt)).await.unwrap();
    matches!(received, Received::New { .. })
}

/// Every field comes back; newest first, by pages, by door, outcome and time.
pub async fn receipts_are_kept_whole_and_listed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let doors = [
        Door::Generic,
        Door::Source(SourceId::new(test.id())),
        Door::Trigger(TriggerId::new(test.id())),
    ];
    let mut made = Vec::new();
    let outcomes = [
        Outcome::Ignored,
        Outcome::Challenge,
        Outcome::Refused,
        Outcome::Failed,
        Outcome::Duplicate,
        Outcome::Started,
    ];
    for (index, outcome) in outcomes.into_iter().enumerate() {
        let receipt = Receipt {
            outcome,
            peer: None,
            reason: Some("the signature is wrong".into()),
            replay_of: (index == 3).then(|| ReceiptId::new(test.id())),
            ..test.receipt(doors[index % 3], (index > 3).then_some("evt ä"))
        };
        assert!(keep(&test, &receipt).await);
        made.insert(0, receipt);
        test.pass(MINUTE);
    }
    let get = async |receipt: &Receipt| test.store.receipt(HOME, receipt.id).await.unwrap();
    for receipt in &made {
        assert_eq!(get(receipt).await.as_ref(), Some(receipt));
    }
    let list = async |filter, page| test.store.receipts(HOME, filter, page).await.unwrap();
    let none = ReceiptFilter::default();
    assert_eq!(list(none, all()).await, made);
    let page = Page {
        after: Some(made[1].id),
        limit: 2,
    };
    assert_eq!(list(none, page).await, made[2..4]);
    for door in doors {
        let filter = ReceiptFilter {
            door: Some(door),
            ..none
        };
        let of_door = made.iter().filter(|receipt| receipt.door == door);
        assert_eq!(
            list(filter, all()).await,
            of_door.cloned().collect::<Vec<_>>()
        );
    }
    for outcome in outcomes {
        let filter = ReceiptFilter {
            outcome: Some(outcome),
            since: Some(made[4].received_at),
            ..none
        };
        let with = made[..5].iter().filter(|one| one.outcome == outcome);
        assert_eq!(list(filter, all()).await, with.cloned().collect::<Vec<_>>());
    }
    let elsewhere = test.elsewhere().await;
    assert_eq!(
        test.store.receipts(elsewhere, none, all()).await,
        Ok(Vec::new())
    );
    assert_eq!(test.store.receipt(elsewhere, made[0].id).await, Ok(None));
}

/// One transaction: the request, its executions and its events.
pub async fn a_request_starts_what_it_starts(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let (one, other) = (test.workflow_id(), test.workflow_id());
    let mut request = test.request(Door::Generic, None, one);
    request
        .starts
        .push(test.limited(other, 1, OnConflict::Skip));
    request
        .starts
        .push(test.limited(other, 1, OnConflict::Skip));
    request
        .starts
        .push(test.limited(other, 1, OnConflict::Queue));
    let ids: Vec<_> = request.starts.iter().map(|one| one.execution.id).collect();
    request.receipt.executions.clone_from(&ids);
    request.events = vec![test.event(HOME)];
    let receipt = request.receipt.id;
    assert_eq!(
        test.store.receive(request.clone()).await,
        Ok(Received::New {
            started: vec![
                Started::Running,
                Started::Running,
                Started::Skipped,
                Started::Queued
            ],
            accepted: vec![Accepted::New],
        })
    );
    assert_eq!(
        test.execution(ids[0]).await.cause,
        request.starts[0].execution.cause
    );
    // What was skipped is not there, so it is not named.
    let kept = test.store.receipt(HOME, receipt).await.unwrap().unwrap();
    assert_eq!(kept.executions, [ids[0], ids[1], ids[3]]);
    assert_eq!(test.store.execution(HOME, ids[2]).await, Ok(None));
    test.written(test.ended(ids[0], ExecutionState::Completed))
        .await;

    // Nothing of it runs at once: its events are not stored.
    let mut request = test.request(Door::Generic, None, other);
    request.starts[0].limit = Some(Limit {
        max: 1,
        on_conflict: OnConflict::Queue,
    });
    let event = test.event(HOME);
    let key = event.event.key;
    request.events = vec![event];
    assert_eq!(
        test.store.receive(request).await,
        Ok(Received::New {
            started: vec![Started::Queued],
            accepted: Vec::new(),
        })
    );
    assert_eq!(test.store.event(HOME, key).await, Ok(None));
}

/// By workspace, door and event id, of what was started or ignored; nothing of it is written.
pub async fn a_repeated_request_is_a_duplicate(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let workflow = test.workflow_id();
    let door = Door::Source(SourceId::new(test.id()));
    // What was not let in takes no id from anybody.
    for outcome in [
        Outcome::Refused,
        Outcome::Failed,
        Outcome::Challenge,
        Outcome::Duplicate,
    ] {
        let mut receipt = test.receipt(door, Some("evt_1"));
        receipt.outcome = outcome;
        assert!(keep(&test, &receipt).await);
    }
    let first = test.request(door, Some("evt_1"), workflow);
    let answer = test.store.receive(first.clone()).await.unwrap();
    assert!(matches!(answer, Received::New { .. }));
    let duplicate = Ok(Received::Duplicate {
        receipt: first.receipt.id,
        executions: first.receipt.executions.clone(),
    });
    let mut again = test.request(door, Some("evt_1"), workflow);
    again.events = vec![test.event(HOME)];
    let event = again.events[0].event.key;
    assert_eq!(test.store.receive(again.clone()).await, duplicate);
    assert_eq!(test.store.event(HOME, event).await, Ok(None));
    let (receipt, execution) = (again.receipt.id, again.receipt.executions[0]);
    assert_eq!(test.store.receipt(HOME, receipt).await, Ok(None));
    assert_eq!(test.store.execution(HOME, execution).await, Ok(None));
    let ignored = alone(&test.receipt(door, Some("evt_1")));
    assert_eq!(test.store.receive(ignored).await, duplicate);

    let mut refused = test.receipt(door, Some("evt_1"));
    refused.outcome = Outcome::Refused;
    assert!(keep(&test, &refused).await);
    for door in [Door::Generic, Door::Source(SourceId::new(test.id()))] {
        assert!(keep(&test, &test.receipt(door, Some("evt_1"))).await);
        assert!(!keep(&test, &test.receipt(door, Some("evt_1"))).await);
        assert!(keep(&test, &test.receipt(door, Some("evt_2"))).await);
        assert!(keep(&test, &test.receipt(door, None)).await);
        assert!(keep(&test, &test.receipt(door, None)).await);
    }
    let mut foreign = test.receipt(door, Some("evt_1"));
    foreign.workspace = elsewhere;
    assert!(keep(&test, &foreign).await);
}

/// Of fifty at once with one event id, one is new, and all others name it.
pub async fn a_race_of_repeats_has_one_winner(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (store, request) = (
            test.store.clone(),
            test.request(Door::Generic, Some("evt_1"), workflow),
        );
        calls.spawn(async move {
            let (receipt, executions) = (request.receipt.id, request.receipt.executions.clone());
            match store.receive(request).await.unwrap() {
                Received::New { .. } => (true, receipt, executions),
                Received::Duplicate {
                    receipt,
                    executions,
                } => (false, receipt, executions),
            }
        });
    }
    let mut answers = calls.join_all().await;
    assert_eq!(answers.iter().filter(|(new, ..)| *new).count(), 1);
    answers.dedup_by_key(|(_, receipt, executions)| (*receipt, executions.clone()));
    assert_eq!(answers.len(), 1);
    let kept = test.store.receipts(HOME, ReceiptFilter::default(), all());
    assert_eq!(kept.await.unwrap().len(), 1);
}

/// Once they are old, and what they started is too; their ids are free again.
pub async fn old_receipts_are_removed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let workflow = test.workflow_id();
    let done = test.request(Door::Generic, Some("evt_1"), workflow);
    let runs = test.request(Door::Generic, Some("evt_2"), workflow);
    for request in [&done, &runs] {
        test.store.receive(request.clone()).await.unwrap();
    }
    let bare = test.receipt(Door::Generic, None);
    assert!(keep(&test, &bare).await);
    let ended = test.ended(done.receipt.executions[0], ExecutionState::Completed);
    test.written(ended).await;
    test.pass(10 * MINUTE);
    let before = test.now();
    let young = test.receipt(Door::Generic, None);
    assert!(keep(&test, &young).await);
    while test.store.prune_executions(before, 1).await.unwrap() > 0 {}
    let kept = test.store.receipts(HOME, ReceiptFilter::default(), all());
    assert_eq!(kept.await, Ok(vec![young, runs.receipt]));
    let again = test.receipt(Door::Generic, Some("evt_1"));
    assert!(keep(&test, &again).await);
    let again = test.receipt(Door::Generic, Some("evt_2"));
    assert!(!keep(&test, &again).await);
}
