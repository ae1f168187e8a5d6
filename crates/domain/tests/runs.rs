//! Executions as they are decided: graphs as tables, and random ones against what must hold of
//! each.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::{collections::BTreeMap, sync::Arc};

use domain::{
    Timestamp,
    execution::{Step, StepState},
    workflow::{
        decide::Command,
        definition::Definition,
        program::Program,
        run::{End, Fact, Run},
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

fn node(id: &str, kind: &Value) -> Value {
    json!({
        "id": id, "description": "", "kind": kind, "inputs": [], "outputs": [],
        "retry": { "max": 2, "backoff_ms": 1000, "max_backoff_ms": 60000 },
        "timeout_ms": 1000, "resources": [], "milestone": null, "when": null, "line": 1
    })
}

fn plain(id: &str) -> Value {
    node(id, &json!({ "kind": "transform", "jq": "." }))
}

fn to(from: &str, targets: &[&str]) -> Value {
    json!({ "from": from, "route": { "to": targets } })
}

fn definition(nodes: &[Value], edges: &[Value]) -> Definition {
    serde_json::from_value(json!({
        "name": "w", "description": "", "version": "1", "state": [], "nodes": nodes,
        "edges": edges, "timeout_ms": 1000, "concurrency": null, "on_conflict": "queue",
        "triggers": [], "webhooks": [], "memory": null, "observability": {},
        "result_is_last_output": false
    }))
    .unwrap()
}

fn run(nodes: &[Value], edges: &[Value], state: &Value) -> Run {
    let program = Arc::new(Program::new(definition(nodes, edges)).unwrap());
    Run::begin(program, state.as_object().unwrap().clone())
}

/// Runs it to where nothing can go on by itself; each node's output is `outputs[node]`, or its
/// name. Answers the log, and how often each node ran.
fn drive(
    run: &mut Run,
    outputs: &BTreeMap<&str, Value>,
    pick: &mut dyn FnMut(usize) -> usize,
) -> (Vec<Step>, Vec<Fact>, Vec<String>) {
    let (mut log, mut facts, mut ran) = (Vec::new(), Vec::new(), Vec::new());
    let mut open = Vec::new();
    loop {
        let (commands, more) = run.next(NOW);
        facts.extend(more);
        for command in commands {
            match command {
                Command::Run { key, attempt } => open.push((key, attempt)),
                Command::Note(step) => log.push(*step),
            }
        }
        if open.is_empty() || run.end().is_some() {
            return (log, facts, ran);
        }
        let (key, attempt) = open.remove(pick(open.len()));
        let mut step = run.note(&key, attempt, StepState::Completed, NOW);
        let output = outputs.get(key.node.as_str()).cloned();
        step.output = Some(output.unwrap_or_else(|| json!(key.node)).to_string().into());
        ran.push(key.node.clone());
        facts.extend(run.apply(&step));
        log.push(step);
    }
}

fn first(_: usize) -> usize {
    0
}

#[test]
fn branches_of_unequal_length_meet_once() {
    let nodes = [plain("a"), plain("b"), plain("c"), plain("d")];
    let edges = [
        to("START", &["a", "b"]),
        to("a", &["c"]),
        to("c", &["d"]),
        to("b", &["d"]),
        to("d", &["END"]),
    ];
    let mut run = run(&nodes, &edges, &json!({}));
    let (_, facts, ran) = drive(&mut run, &BTreeMap::new(), &mut first);
    assert_eq!(ran.iter().filter(|node| *node == "d").count(), 1, "{ran:?}");
    assert_eq!(ran.last().unwrap(), "d");
    assert!(matches!(run.end(), Some(End::Completed(_))));
    let shares: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Progress { ended, of } => Some((*ended, *of)),
            _ => None,
        })
        .collect();
    assert_eq!(shares, [(1, 4), (2, 4), (3, 4), (4, 4)]);
}

#[test]
fn a_route_takes_the_first_case_that_holds_and_waits_for_nothing_else() {
    let nodes = [plain("a"), plain("yes"), plain("no"), plain("z")];
    let edges = [
        to("START", &["a"]),
        json!({ "from": "a", "route": { "routes": {
            "cases": [["state.a == 'go'", "yes"]], "default": "no" } } }),
        to("yes", &["z"]),
        to("no", &["z"]),
        to("z", &["END"]),
    ];
    for (output, taken) in [("go", "yes"), ("stay", "no")] {
        let mut run = run(&nodes, &edges, &json!({}));
        let outputs = BTreeMap::from([("a", json!(output))]);
        let (_, _, ran) = drive(&mut run, &outputs, &mut first);
        assert_eq!(ran, ["a", taken, "z"]);
    }
}

#[test]
fn a_loop_ends_by_its_field_or_its_bound() {
    let nodes = [plain("a"), plain("z")];
    let edges = [
        to("START", &["a"]),
        json!({ "from": "a", "route": { "loop": {
            "until": "a", "max_iterations": 3, "exit_to": "z" } } }),
        to("z", &["END"]),
    ];
    for (output, times) in [(json!(true), 1), (json!(false), 3)] {
        let mut run = run(&nodes, &edges, &json!({}));
        let (log, _, ran) = drive(&mut run, &BTreeMap::from([("a", output)]), &mut first);
        assert_eq!(ran.iter().filter(|node| *node == "a").count(), times);
        assert_eq!(ran.last().unwrap(), "z");
        let rounds: Vec<u32> = log.iter().map(|step| step.key.iteration).collect();
        assert_eq!(rounds[..times], (0..3).collect::<Vec<_>>()[..times]);
    }
}

#[test]
fn a_map_runs_once_for_each_item_and_keeps_their_order() {
    let nodes = [plain("a"), plain("each"), plain("z")];
    let edges = [
        to("START", &["a"]),
        json!({ "from": "a", "route": { "map": {
            "items": "things", "node": "each", "collect": "all" } } }),
        to("each", &["z"]),
        to("z", &["END"]),
    ];
    let things: Vec<u32> = (0..40).collect();
    let mut run = run(&nodes, &edges, &json!({ "things": things }));
    let mut last = |open: usize| open - 1;
    let (_, _, ran) = drive(&mut run, &BTreeMap::new(), &mut last);
    assert_eq!(ran.iter().filter(|node| *node == "each").count(), 40);
    assert_eq!(ran.last().unwrap(), "z");
    assert_eq!(run.state()["all"].as_array().unwrap().len(), 40);

    let empty = json!({ "things": [] });
    let mut run = self::run(&nodes, &edges, &empty);
    let (_, _, ran) = drive(&mut run, &BTreeMap::new(), &mut first);
    assert_eq!(ran, ["a", "z"]);
}

#[test]
fn a_join_goes_on_when_enough_have_arrived_and_passes_over_the_rest() {
    let join = node(
        "j",
        &json!({ "kind": "join", "required": 2, "timeout_ms": null, "on_timeout": "fail" }),
    );
    let nodes = [plain("a"), plain("b"), plain("c"), join, plain("z")];
    let edges = [
        to("START", &["a", "b", "c"]),
        to("a", &["j"]),
        to("b", &["j"]),
        to("c", &["j"]),
        to("j", &["z"]),
        to("z", &["END"]),
    ];
    let mut run = run(&nodes, &edges, &json!({}));
    let (_, facts, ran) = drive(&mut run, &BTreeMap::new(), &mut first);
    assert_eq!(ran.iter().filter(|node| *node == "z").count(), 1, "{ran:?}");
    assert_eq!(ran.iter().filter(|node| *node == "c").count(), 1);
    assert!(matches!(run.end(), Some(End::Completed(_))));
    let completed = facts.iter().filter(|fact| {
        matches!(
            fact,
            Fact::SyncCompleted {
                arrived: 2,
                required: 2,
                ..
            }
        )
    });
    assert_eq!(completed.count(), 1, "{facts:?}");
}

#[test]
fn a_join_that_waits_too_long_fails_or_goes_on() {
    for (on_timeout, completes) in [("fail", false), ("continue", true)] {
        let join = node(
            "j",
            &json!({ "kind": "join", "required": 2, "timeout_ms": 60000, "on_timeout": on_timeout }),
        );
        let wait = node(
            "w",
            &json!({ "kind": "wait", "for": "callback", "timeout_ms": null, "on_timeout": "fail" }),
        );
        let nodes = [plain("a"), wait, join];
        let edges = [
            to("START", &["a", "w"]),
            to("a", &["j"]),
            to("w", &["j"]),
            to("j", &["END"]),
        ];
        let mut run = run(&nodes, &edges, &json!({}));
        let (commands, _) = run.next(NOW);
        assert_eq!(commands.len(), 2);
        let keys: Vec<_> = commands
            .into_iter()
            .map(|command| match command {
                Command::Run { key, .. } => key,
                Command::Note(step) => panic!("{step:?}"),
            })
            .collect();
        let waits = keys.iter().find(|key| key.node == "w").unwrap();
        run.apply(&run.note(waits, 1, StepState::Waiting, NOW));
        let done = keys.iter().find(|key| key.node == "a").unwrap();
        run.apply(&run.note(done, 1, StepState::Completed, NOW));
        let (commands, _) = run.next(NOW);
        assert!(matches!(&commands[..], [Command::Note(step)] if step.state == StepState::Waiting));
        assert_eq!(run.wakes_at(), Some(Timestamp::from_ms(NOW.ms() + 60_000)));
        let (steps, facts) = run.wake(Timestamp::from_ms(NOW.ms() + 60_000));
        assert_eq!(steps.len(), 1);
        if completes {
            assert_eq!(steps[0].state, StepState::Completed);
        } else {
            assert!(
                facts
                    .iter()
                    .any(|fact| matches!(fact, Fact::SyncFailed { .. }))
            );
            assert!(matches!(run.end(), Some(End::Failed(error)) if error.kind == "wait_timeout"));
        }
    }
}

#[test]
fn a_failure_is_tried_again_and_a_person_can_have_it_go_on() {
    let nodes = [plain("a"), plain("b")];
    let edges = [
        to("START", &["a", "b"]),
        to("a", &["END"]),
        to("b", &["END"]),
    ];
    let mut run = run(&nodes, &edges, &json!({}));
    let (commands, _) = run.next(NOW);
    let Command::Run { key, .. } = &commands[0] else {
        panic!()
    };
    let mut failed = run.note(key, 1, StepState::Failed, NOW);
    failed.until = run.retry_at(key, 1, NOW, None, 0.0);
    assert_eq!(failed.until, Some(Timestamp::from_ms(NOW.ms() + 1_000)));
    let facts = run.apply(&failed);
    assert!(matches!(
        facts[..],
        [Fact::BlockerDetected { kind: "retry", .. }]
    ));
    let later = Timestamp::from_ms(NOW.ms() + 1_000);
    let (steps, facts) = run.wake(later);
    assert_eq!(steps[0].state, StepState::Resumed);
    assert!(matches!(
        facts[..],
        [Fact::BlockerResolved { kind: "retry", .. }]
    ));
    let (commands, _) = run.next(later);
    assert!(matches!(&commands[..], [Command::Run { attempt: 2, .. }]));
    assert_eq!(run.retry_at(key, 3, NOW, None, 0.0), None);

    let fails = run.note(key, 3, StepState::Failed, later);
    run.apply(&fails);
    assert!(matches!(run.end(), Some(End::Failed(_))));
    for (key, attempt) in run.to_cancel() {
        let cut = run.note(&key, attempt, StepState::Cancelled, later);
        run.apply(&cut);
    }
    let mark = run.retry_mark(later).unwrap();
    assert_eq!((mark.key.node.as_str(), mark.attempt), ("a", 4));
    run.apply(&mark);
    let (_, _, ran) = drive(&mut run, &BTreeMap::new(), &mut first);
    assert_eq!(ran, ["a", "b"]);
    assert!(matches!(run.end(), Some(End::Completed(_))));
}

/// A random graph without circles: each node is followed by some that come later.
fn graph() -> impl Strategy<Value = (usize, Vec<Vec<usize>>)> {
    (2usize..9).prop_flat_map(|count| {
        let follows: Vec<_> = (0..count)
            .map(|from| {
                if from + 1 == count {
                    Just(Vec::new()).boxed()
                } else {
                    prop::collection::btree_set(from + 1..count, 1..=(count - from - 1).min(3))
                        .prop_map(|set| set.into_iter().collect())
                        .boxed()
                }
            })
            .collect();
        (Just(count), follows)
    })
}

proptest! {
    /// Whatever the order in which steps end, every node that can be reached runs exactly once,
    /// after all that lead to it; and the log alone brings a run back to where it stood.
    #[test]
    fn every_node_of_a_forked_graph_runs_once_and_the_log_tells_all(
        (count, follows) in graph(),
        picks in prop::collection::vec(0usize..100, 40),
        cut in 0usize..40,
    ) {
        let names: Vec<String> = (0..count).map(|number| format!("n{number}")).collect();
        let nodes: Vec<Value> = names.iter().map(|name| plain(name)).collect();
        let mut edges = vec![to("START", &["n0"])];
        for (from, targets) in follows.iter().enumerate() {
            let targets: Vec<&str> = targets.iter().map(|to| names[*to].as_str()).collect();
            edges.push(to(&names[from], if targets.is_empty() { &["END"] } else { &targets }));
        }
        let mut at = 0;
        let mut pick = |open: usize| {
            at += 1;
            picks[at % picks.len()] % open
        };
        let mut whole = run(&nodes, &edges, &json!({}));
        let (log, _, ran) = drive(&mut whole, &BTreeMap::new(), &mut pick);
        prop_assert!(matches!(whole.end(), Some(End::Completed(_))));
        let mut reached = vec![false; count];
        reached[0] = true;
        for (from, targets) in follows.iter().enumerate() {
            for target in targets {
                reached[*target] |= reached[from];
            }
        }
        for (number, name) in names.iter().enumerate() {
            let times = ran.iter().filter(|node| *node == name).count();
            prop_assert_eq!(times, usize::from(reached[number]), "{} of {:?}", name, ran);
        }
        let place = |node: usize| ran.iter().position(|name| *name == names[node]);
        for (from, targets) in follows.iter().enumerate() {
            for target in targets {
                if let (Some(before), Some(after)) = (place(from), place(*target)) {
                    prop_assert!(before < after, "{} before {}", names[from], names[*target]);
                }
            }
        }
        // Killed after any step: what follows is what would have followed.
        let cut = cut.min(log.len());
        let mut again = run(&nodes, &edges, &json!({}));
        for step in &log[..cut] {
            again.apply(step);
        }
        let (rest, _, _) = drive(&mut again, &BTreeMap::new(), &mut first);
        let mut ended: Vec<&str> = log[..cut].iter().chain(&rest).map(|step| step.key.node.as_str()).collect();
        ended.sort_unstable();
        let mut expected: Vec<&str> = ran.iter().map(String::as_str).collect();
        expected.sort_unstable();
        prop_assert_eq!(ended, expected);
        prop_assert_eq!(again.state(), whole.state());
    }
}

#[test]
fn inputs_are_checked_against_the_fields() {
    let mut with_fields = definition(&[plain("a")], &[to("START", &["a"]), to("a", &["END"])]);
    with_fields.state = serde_json::from_value(json!([
        { "name": "topic", "kind": "str", "required": true, "default": null, "description": "" },
        { "name": "count", "kind": "int", "required": false, "default": 3, "description": "" },
        { "name": "tags", "kind": { "list_of": "str" }, "required": false, "default": null, "description": "" },
    ]))
    .unwrap();
    let program = Program::new(with_fields).unwrap();
    let check = |input: Value| program.initial_state(input.as_object().unwrap());
    let state = check(json!({ "topic": "x" })).unwrap();
    assert_eq!(
        Value::Object(state),
        json!({ "topic": "x", "count": 3, "tags": null })
    );
    for (input, path, says) in [
        (json!({}), "inputs.topic", "is required"),
        (json!({ "topic": 5 }), "inputs.topic", "expected text"),
        (
            json!({ "topic": "x", "tags": [1] }),
            "inputs.tags",
            "each item text",
        ),
        (
            json!({ "topic": "x", "tpic": 1 }),
            "inputs.tpic",
            "did you mean `topic`",
        ),
    ] {
        let wrong = check(input).unwrap_err();
        assert_eq!(wrong[0].0, path);
        assert!(wrong[0].1.contains(says), "{wrong:?}");
    }
}
