//! Executions over a real store: what is recorded, what is told, and that a restart at any point
//! changes nothing of it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::time::Duration;

use domain::execution::{ExecutionState, Signal, StepState};
use serde_json::{Value, json};
use store::Signalled;
use support::{Rig, WS};
use workflow::start::StartError;

const THREE: &str = r#"
schema_version: "1.0"
flow: {name: three}
state:
  fields:
    n: {type: int, required: true}
    doubled: {type: int}
    told: {type: dict}
nodes:
  - {id: double, kind: transform, jq: ".state.n * 2", outputs: [doubled]}
  - {id: wrap, kind: transform, jq: "{n: .state.doubled}", outputs: [told], milestone: wrapped}
  - {id: tell, kind: emit, event: number.doubled, data: "{told}"}
edges:
  - {from: START, to: double}
  - {from: double, to: wrap}
  - {from: wrap, to: tell}
  - {from: tell, to: END}
"#;

const FORKED: &str = r#"
schema_version: "1.0"
flow: {name: forked}
state:
  fields:
    a: {type: int}
    b: {type: int}
    sum: {type: int}
nodes:
  - {id: a, kind: transform, jq: "1", outputs: [a]}
  - {id: b, kind: transform, jq: "2", outputs: [b]}
  - {id: pause, kind: wait, duration: 60s}
  - {id: sum, kind: transform, jq: ".state.a + .state.b", outputs: [sum]}
edges:
  - {from: START, to: [a, b]}
  - {from: b, to: pause}
  - {from: a, to: sum}
  - {from: pause, to: sum}
  - {from: sum, to: END}
"#;

fn result(execution: &domain::execution::Execution) -> Value {
    serde_json::from_slice(execution.result.as_deref().unwrap()).unwrap()
}

#[tokio::test]
async fn three_steps_are_recorded_and_told_in_order() {
    let rig = Rig::new().await;
    let workflow = rig.workflow(THREE).await;
    let ended = rig.run(workflow, json!({ "n": 21 })).await;
    assert_eq!(ended.state, ExecutionState::Completed, "{:?}", ended.error);
    assert_eq!(result(&ended)["doubled"], 42);
    let steps = rig.steps(ended.id).await;
    let nodes: Vec<_> = steps.iter().map(|step| step.key.node.as_str()).collect();
    assert_eq!(nodes, ["double", "wrap", "tell"]);
    assert!(steps.iter().all(|step| step.state == StepState::Completed));
    insta::assert_json_snapshot!(rig.names(), @r#"
    [
      "workflow.execution.started",
      "task.execution.started",
      "task.execution.completed",
      "progress.updated",
      "task.execution.started",
      "task.execution.completed",
      "milestone.achieved",
      "progress.updated",
      "task.execution.started",
      "task.execution.completed",
      "progress.updated",
      "number.doubled",
      "workflow.completed",
      "workflow.execution.completed"
    ]
    "#);
    let events = rig.told.events.lock();
    let (_, data) = events
        .iter()
        .find(|(name, _)| name == "number.doubled")
        .unwrap();
    assert_eq!(*data, json!({ "n": 42 }));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anything_is_stored() {
    let rig = Rig::new().await;
    let workflow = rig.workflow(THREE).await;
    match rig.start(workflow, json!({ "n": "x", "m": 1 })).await {
        Err(StartError::Inputs(wrong)) => assert_eq!(wrong.len(), 2),
        other => panic!("{other:?}"),
    }
    assert!(rig.names().is_empty());
}

#[tokio::test]
async fn a_workflow_without_nodes_ends_at_once() {
    let rig = Rig::new().await;
    let workflow = rig.workflow("name: nothing\n").await;
    let ended = rig.run(workflow, json!({})).await;
    assert_eq!(ended.state, ExecutionState::Completed, "{:?}", ended.error);
    assert_eq!(rig.count("workflow.completed"), 1);
}

#[tokio::test]
async fn branches_meet_after_a_wait_and_a_restart_in_between_repeats_nothing() {
    let rig = Rig::new().await;
    let workflow = rig.workflow(FORKED).await;
    let waits = rig.run(workflow, json!({})).await;
    assert_eq!(waits.state, ExecutionState::Waiting, "{:?}", waits.error);
    let before = rig.steps(waits.id).await;
    assert_eq!(before.len(), 3, "{before:#?}");

    let rig = rig.restart().await;
    rig.engine.run_until_idle().await.unwrap();
    assert_eq!(rig.steps(waits.id).await.len(), 3);
    // The clock jumps.
    rig.clock.advance(Duration::from_hours(1));
    rig.engine.run_until_idle().await.unwrap();
    let ended = rig.execution(waits.id).await;
    assert_eq!(ended.state, ExecutionState::Completed, "{:?}", ended.error);
    assert_eq!(result(&ended)["sum"], 3);
    let steps = rig.steps(ended.id).await;
    let mut runs: Vec<_> = steps
        .iter()
        .filter(|step| step.state == StepState::Completed)
        .map(|step| step.key.node.as_str())
        .collect();
    runs.sort_unstable();
    assert_eq!(runs, ["a", "b", "pause", "sum"]);
    assert_eq!(rig.count("workflow.completed"), 1);
    assert_eq!(rig.count("task.execution.started"), 1, "{:?}", rig.names());
}

#[tokio::test]
async fn an_approval_is_waited_for_across_restarts_and_counts_once() {
    const APPROVED: &str = r#"
schema_version: "1.0"
flow: {name: approved}
state:
  fields:
    what: {type: str, required: true}
    approved: {type: bool}
nodes:
  - {id: ask, kind: wait, approval: "Publish {what}?", outputs: [approved]}
edges:
  - {from: START, to: ask}
  - {from: ask, to: END}
"#;
    let rig = Rig::new().await;
    let workflow = rig.workflow(APPROVED).await;
    let waits = rig.run(workflow, json!({ "what": "it" })).await;
    assert_eq!(waits.state, ExecutionState::Waiting, "{:?}", waits.error);
    assert_eq!(rig.count("blocker.detected"), 1);
    let step = rig.steps(waits.id).await.pop().unwrap();
    let detail: Value = serde_json::from_slice(step.detail.as_deref().unwrap()).unwrap();
    assert_eq!(
        detail,
        json!({ "for": "approval", "message": "Publish it?" })
    );

    let rig = rig.restart().await;
    rig.clock.advance(Duration::from_hours(1));
    rig.engine.run_until_idle().await.unwrap();
    assert_eq!(rig.execution(waits.id).await.state, ExecutionState::Waiting);
    let answer = |approved| Signal::Approval {
        step: step.number,
        approved,
        by: "ada".to_owned(),
        comment: None,
    };
    let signalled = rig.engine.signal(WS, waits.id, answer(true)).await.unwrap();
    assert_eq!(signalled, Signalled::Due);
    let again = rig
        .engine
        .signal(WS, waits.id, answer(false))
        .await
        .unwrap();
    assert_eq!(again, Signalled::Refused(ExecutionState::Waiting));
    rig.engine.run_until_idle().await.unwrap();
    let ended = rig.execution(waits.id).await;
    assert_eq!(ended.state, ExecutionState::Completed, "{:?}", ended.error);
    assert_eq!(result(&ended)["approved"], true);
    assert_eq!(rig.count("blocker.resolved"), 1);
    assert_eq!(rig.count("workflow.completed"), 1);
}

#[tokio::test]
async fn a_step_that_fails_is_tried_again_and_then_fails_the_execution() {
    const BROKEN: &str = r#"
schema_version: "1.0"
flow: {name: broken}
state:
  fields:
    url: {type: str, required: true}
nodes:
  - {id: call, kind: http, url: "{url}", retry: {max: 1, backoff: 2s}}
edges:
  - {from: START, to: call}
  - {from: call, to: END}
"#;
    let rig = Rig::new().await;
    let workflow = rig.workflow(BROKEN).await;
    // Nothing listens on the discard port of loopback.
    let waits = rig
        .run(workflow, json!({ "url": "http://127.0.0.1:9/" }))
        .await;
    assert_eq!(waits.state, ExecutionState::Waiting, "{:?}", waits.error);
    assert_eq!(rig.count("blocker.detected"), 1);
    rig.clock.advance(Duration::from_secs(3));
    rig.engine.run_until_idle().await.unwrap();
    let ended = rig.execution(waits.id).await;
    assert_eq!(ended.state, ExecutionState::Failed);
    assert_eq!(ended.error.as_ref().unwrap().kind, "http_failed");
    assert_eq!(ended.error.as_ref().unwrap().node.as_deref(), Some("call"));
    let states: Vec<_> = rig
        .steps(ended.id)
        .await
        .iter()
        .map(|step| step.state)
        .collect();
    assert_eq!(
        states,
        [StepState::Failed, StepState::Resumed, StepState::Failed]
    );
    for (name, times) in [
        ("blocker.resolved", 1),
        ("task.execution.started", 2),
        ("task.execution.failed", 1),
        ("workflow.failed", 1),
        ("workflow.completed", 0),
    ] {
        assert_eq!(rig.count(name), times, "{name}: {:?}", rig.names());
    }
    // A person has it go on.
    let retry = Signal::Retry {
        by: "ada".to_owned(),
    };
    let signalled = rig.engine.signal(WS, ended.id, retry).await.unwrap();
    assert_eq!(signalled, Signalled::Due);
    rig.engine.run_until_idle().await.unwrap();
    let again = rig.execution(ended.id).await;
    assert_eq!(again.state, ExecutionState::Failed);
    assert_eq!(rig.steps(ended.id).await.len(), 5);
    assert_eq!(rig.count("workflow.failed"), 2);
}

#[tokio::test]
async fn a_step_that_panics_fails_its_execution_and_leaves_it_to_nobody() {
    const BREAKS: &str = r#"
schema_version: "1.0"
flow: {name: breaks}
nodes:
  - {id: first, kind: transform, jq: "1"}
  - {id: breaks, kind: wait, callback: true}
edges:
  - {from: START, to: first}
  - {from: first, to: breaks}
  - {from: breaks, to: END}
"#;
    let rig = Rig::new().await;
    let workflow = rig.workflow(BREAKS).await;
    let ended = rig.run(workflow, json!({})).await;
    assert_eq!(ended.state, ExecutionState::Failed);
    assert_eq!(ended.error.as_ref().unwrap().kind, "internal");
    assert_eq!(ended.error.as_ref().unwrap().node.as_deref(), Some("first"));
    assert_eq!(rig.engine.live(), 0);
    assert_eq!(rig.count("workflow.failed"), 1);
}

#[tokio::test]
async fn a_target_that_is_not_allowed_is_never_called_nor_tried_again() {
    const INWARD: &str = r#"
schema_version: "1.0"
flow: {name: inward}
state:
  fields:
    host: {type: str, required: true}
nodes:
  - {id: call, kind: http, url: "http://{host}/latest/meta-data"}
edges:
  - {from: START, to: call}
  - {from: call, to: END}
"#;
    let rig = Rig::new().await;
    let workflow = rig.workflow(INWARD).await;
    let ended = rig
        .run(workflow, json!({ "host": "169.254.169.254" }))
        .await;
    assert_eq!(ended.state, ExecutionState::Failed);
    assert_eq!(ended.error.unwrap().kind, "http_blocked");
    assert_eq!(rig.steps(ended.id).await.len(), 1);
}

#[tokio::test]
async fn a_waiting_execution_can_be_stopped() {
    let rig = Rig::new().await;
    let workflow = rig.workflow(FORKED).await;
    let waits = rig.run(workflow, json!({})).await;
    let stop = Signal::Stop {
        by: "ada".to_owned(),
    };
    rig.engine.signal(WS, waits.id, stop.clone()).await.unwrap();
    rig.engine.run_until_idle().await.unwrap();
    let ended = rig.execution(waits.id).await;
    assert_eq!(ended.state, ExecutionState::Stopped);
    assert_eq!(rig.count("task.execution.cancelled"), 1);
    assert_eq!(rig.count("workflow.stopped"), 1);
    assert_eq!(rig.count("workflow.execution.cancelled"), 1);
    let refused = rig.engine.signal(WS, waits.id, stop).await.unwrap();
    assert_eq!(refused, Signalled::Refused(ExecutionState::Stopped));
}

#[tokio::test]
async fn a_workflow_starts_another_and_waits_for_it() {
    const OUTER: &str = r#"
schema_version: "1.0"
flow: {name: outer}
state:
  fields:
    n: {type: int, required: true}
    inner: {type: dict}
nodes:
  - {id: call, kind: workflow, workflow: three, inputs: {n: "{n}"}, outputs: [inner]}
edges:
  - {from: START, to: call}
  - {from: call, to: END}
"#;
    let rig = Rig::new().await;
    rig.workflow(THREE).await;
    let outer = rig.workflow(OUTER).await;
    let ended = rig.run(outer, json!({ "n": 4 })).await;
    assert_eq!(ended.state, ExecutionState::Completed, "{:?}", ended.error);
    assert_eq!(result(&ended)["inner"]["doubled"], 8);
    assert_eq!(rig.count("workflow.completed"), 2);
    assert_eq!(rig.count("workflow.execution.started"), 2);
}

#[tokio::test]
async fn a_node_waits_for_units_of_a_pool_and_goes_on_when_they_are_free() {
    const POOLED: &str = r#"
schema_version: "1.0"
flow: {name: pooled}
state:
  fields: {x: {type: int}}
nodes:
  - {id: hold, kind: wait, duration: 60s, resources: {gpu: 2}}
edges:
  - {from: START, to: hold}
  - {from: hold, to: END}
"#;
    let rig = Rig::new().await;
    rig.store.put_pool(WS, "gpu", 3).await.unwrap();
    let workflow = rig.workflow(POOLED).await;
    let first = rig.run(workflow, json!({})).await;
    let second = rig.run(workflow, json!({})).await;
    let blocked = rig.steps(second.id).await;
    assert_eq!(blocked.last().unwrap().state, StepState::Blocked);
    assert_eq!(rig.count("resource.allocated"), 1);
    assert_eq!(rig.count("resource.shortage"), 1);
    rig.clock.advance(Duration::from_secs(61));
    rig.engine.run_until_idle().await.unwrap();
    assert_eq!(
        rig.execution(first.id).await.state,
        ExecutionState::Completed
    );
    rig.clock.advance(Duration::from_secs(61));
    rig.engine.run_until_idle().await.unwrap();
    assert_eq!(
        rig.execution(second.id).await.state,
        ExecutionState::Completed
    );
    assert_eq!(rig.count("resource.allocated"), 2);
    assert_eq!(rig.count("resource.released"), 2);
    assert_eq!(rig.count("blocker.resolved"), 1, "{:?}", rig.names());
    let pools = rig.store.pools(WS).await.unwrap();
    assert_eq!(pools[0].taken, 0);
}

#[tokio::test]
async fn one_too_many_waits_for_its_turn() {
    let rig = Rig::new().await;
    let workflow = rig
        .workflow(&FORKED.replace(
            "flow: {name: forked}",
            "flow: {name: forked}\nconcurrency: 1",
        ))
        .await;
    let first = rig.run(workflow, json!({})).await;
    let second = rig.run(workflow, json!({})).await;
    assert_eq!(second.state, ExecutionState::Pending);
    assert_eq!(rig.count("workflow.execution.started"), 1);
    rig.clock.advance(Duration::from_secs(61));
    rig.engine.run_until_idle().await.unwrap();
    assert_eq!(
        rig.execution(first.id).await.state,
        ExecutionState::Completed
    );
    assert_eq!(
        rig.execution(second.id).await.state,
        ExecutionState::Waiting
    );
    assert_eq!(rig.count("workflow.execution.started"), 2);
    rig.clock.advance(Duration::from_secs(61));
    rig.engine.run_until_idle().await.unwrap();
    assert_eq!(
        rig.execution(second.id).await.state,
        ExecutionState::Completed
    );
    assert_eq!(rig.count("workflow.completed"), 2);
}
