//! Workflow files: the examples that people wrote, the corpora of hostile YAML, and what the
//! reader says of what is wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    clippy::uninlined_format_args,
    reason = "texts of a test"
)]

use std::{fs, path::PathBuf};

use domain::workflow::{
    definition::{
        Definition, Edge, MemoryScope, NodeKind, Output, Provider, Route, TriggerSpec, WaitFor,
    },
    file::{self, Diagnostic, Loaded, Severity},
};
use serde_json::{Value, json};

/// A folder of the material that stands beside the project; `None` where it does not.
fn shared(folder: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")).join(folder);
    if path.is_dir() {
        return Some(path);
    }
    if let Some(root) = std::env::var_os("SIGNPOST_SHARED") {
        let path = PathBuf::from(root).join(folder);
        if path.is_dir() {
            return Some(path);
        }
    }
    eprintln!("skipped: there is no {}", path.display());
    None
}

fn files(folder: &str, ending: &str) -> Vec<(String, Vec<u8>)> {
    let Some(path) = shared(folder) else {
        return Vec::new();
    };
    let mut found: Vec<(String, Vec<u8>)> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    found.sort();
    found
}

fn rendered(file: &str, text: &[u8], found: &[Diagnostic]) -> String {
    let text = String::from_utf8_lossy(text);
    found
        .iter()
        .map(|one| one.render(file, &text))
        .collect::<Vec<_>>()
        .join("\n")
}

fn load(text: &str) -> Loaded {
    file::read(text.as_bytes())
        .unwrap_or_else(|found| panic!("{}", rendered("flow.yaml", text.as_bytes(), &found)))
}

fn refusal(text: &str) -> String {
    let found = file::read(text.as_bytes()).expect_err("it has errors");
    assert!(found.iter().any(|one| one.severity == Severity::Error));
    rendered("flow.yaml", text.as_bytes(), &found)
}

/// A strict file with one node `n`, to which lines are added, and edges.
fn with_node(node: &str) -> String {
    let node = node.replace('\n', "\n    ");
    format!(
        "schema_version: \"1.0\"\nflow: {{name: w}}\nstate:\n  fields:\n    a: {{type: str, required: true}}\n    b: {{type: str, default: \"\"}}\n    items: {{type: \"list[str]\"}}\n    done: {{type: bool, default: false}}\n    d: {{type: dict}}\nnodes:\n  - id: n\n    {node}\nedges:\n  - {{from: START, to: n}}\n  - {{from: n, to: END}}\n"
    )
}

fn node_of(node: &str) -> NodeKind {
    load(&with_node(node)).definition.nodes.remove(0).kind
}

#[test]
fn every_example_loads_as_it_is() {
    for (name, text) in files("examples/configurable-agents", "yaml") {
        let loaded =
            file::read(&text).unwrap_or_else(|found| panic!("{}", rendered(&name, &text, &found)));
        let definition = loaded.definition;
        assert!(!definition.nodes.is_empty(), "{name}");
        let stored = serde_json::to_string(&definition).unwrap();
        let read: Definition = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, definition, "{name}: what is stored is what was read");
        domain::workflow::program::Program::new(definition).unwrap();
    }
}

#[test]
fn the_warnings_of_the_examples() {
    let mut all = String::new();
    for (name, text) in files("examples/configurable-agents", "yaml") {
        let loaded = file::read(&text).unwrap();
        for warning in &loaded.warnings {
            all.push_str(&format!("{name}: {} ({})\n", warning.message, warning.path));
        }
    }
    if !all.is_empty() {
        insta::assert_snapshot!(all);
    }
}

#[test]
fn the_loose_dialect_comes_to_the_same_form() {
    let loaded = load(
        "name: Notify people\nversion: 1.10\nstate:\n  type: object\n  required: [message]\n  properties:\n    message: {type: string}\n    people: {type: array, items: {type: string}}\nnodes:\n  - name: summary\n    prompt: 'Say {message} to {people}'\n  - name: notice\n    prompt: 'Make it short: {summary}, {whatever}'\nedges:\n  - {from: summary, to: notice}\n",
    );
    let definition = loaded.definition;
    assert_eq!(definition.name, "Notify people");
    assert_eq!(definition.version, "1.10");
    assert!(definition.result_is_last_output);
    assert_eq!(definition.nodes[0].outputs, ["summary"]);
    let fields: Vec<&str> = definition
        .state
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    assert_eq!(fields, ["message", "people", "summary", "notice"]);
    assert!(definition.state[0].required);
    let to = |from: &str, to: &str| Edge {
        from: from.to_owned(),
        route: Route::To(vec![to.to_owned()]),
    };
    assert_eq!(
        definition.edges,
        [
            to("summary", "notice"),
            to("START", "summary"),
            to("notice", "END")
        ]
    );
    let codes: Vec<&str> = loaded.warnings.iter().map(|one| one.code).collect();
    assert_eq!(codes, ["name.undeclared"].repeat(codes.len()));
}

#[test]
fn loose_nodes_without_edges_follow_each_other() {
    let loaded = load("name: w\nnodes:\n  - {name: a, prompt: x}\n  - {name: b, prompt: y}\n");
    let ways: Vec<String> = loaded
        .definition
        .edges
        .iter()
        .map(|edge| format!("{} {:?}", edge.from, edge.route))
        .collect();
    assert_eq!(
        ways,
        ["START To([\"a\"])", "a To([\"b\"])", "b To([\"END\"])"]
    );
    let needs =
        load("name: w\nnodes:\n  - {name: b, prompt: y, needs: a}\n  - {name: a, prompt: x}\n");
    assert!(needs.definition.edges.iter().any(|edge| edge.from == "a"));
}

#[test]
fn every_kind_of_node() {
    let NodeKind::Http(http) = node_of(
        "kind: http\nurl: 'https://example.com/{a}'\nheaders: {X-A: '{a}', X-N: 1.50}\nbody: {text: '{a}', n: 1}\naccept: [404]\ntimeout: 5s\noutputs: [d]",
    ) else {
        panic!("http")
    };
    assert_eq!((http.method.as_str(), http.accept), ("POST", vec![404]));
    assert_eq!(http.headers[1], ("X-N".to_owned(), "1.50".to_owned()));
    assert_eq!(
        node_of("kind: transform\njq: .state.a\noutputs: [b]"),
        NodeKind::Transform {
            jq: ".state.a".to_owned()
        }
    );
    assert_eq!(
        node_of("kind: emit\nevent: a.b\ndata: {x: '{a}'}"),
        NodeKind::Emit {
            event: "a.b".to_owned(),
            data: Some(json!({"x": "{a}"}))
        }
    );
    assert_eq!(
        node_of("kind: workflow\nworkflow: other\nwait: false\ninputs: {x: '{a}'}"),
        NodeKind::Workflow {
            workflow: "other".to_owned(),
            wait: false
        }
    );
    assert_eq!(
        node_of("kind: wait\nduration: 1h"),
        NodeKind::Wait(WaitFor::Duration { ms: 3_600_000 })
    );
    let NodeKind::Wait(WaitFor::Approval { timeout_ms, .. }) =
        node_of("kind: wait\napproval: 'send {a}?'\ntimeout: 2d\non_timeout: continue")
    else {
        panic!("approval")
    };
    assert_eq!(timeout_ms, Some(172_800_000));
    assert!(matches!(
        node_of("kind: wait\ncallback: true"),
        NodeKind::Wait(WaitFor::Callback {
            timeout_ms: None,
            ..
        })
    ));
    assert!(matches!(
        node_of("kind: join\nrequired: 2\ntimeout: 30"),
        NodeKind::Join {
            required: Some(2),
            timeout_ms: Some(30_000),
            ..
        }
    ));
    assert!(matches!(
        node_of("kind: agent\nagent: helper\nprompt: 'do {a}'\noutputs: [b]"),
        NodeKind::Agent { .. }
    ));
}

#[test]
fn sandboxes_have_their_presets() {
    for (sandbox, memory, cpu, timeout) in [
        ("", 512, 60_000, 60_000),
        ("\nsandbox: {preset: low}", 256, 15_000, 30_000),
        ("\nsandbox: {preset: high}", 1024, 240_000, 120_000),
        (
            "\nsandbox: {preset: max, resources: {memory: 1g}}",
            1024,
            1_200_000,
            300_000,
        ),
        ("\nsandbox: {preset: low, timeout: 10}", 256, 5_000, 10_000),
    ] {
        let text = with_node(&format!("code: result = 1\noutputs: [b]{sandbox}"));
        let node = load(&text).definition.nodes.remove(0);
        assert_eq!(node.timeout_ms, timeout, "{sandbox}");
        let NodeKind::Code(code) = node.kind else {
            panic!("code")
        };
        assert_eq!(
            (code.memory_mib, code.cpu_ms, code.network),
            (memory, cpu, false)
        );
    }
}

#[test]
fn settings_of_a_node_stand_over_those_of_the_workflow_key_by_key() {
    let text = with_node(
        "prompt: '{a}'\noutputs: [b]\noutput_schema: {type: str}\nllm: {model: small}\nretry: {max: 5, backoff: 2s}\nresources: {model: 2}\nmilestone: Half\nwhen: state.done == false\ntools:\n  - web_search\n  - web_scrape: {on_error: continue}\n  - {name: http_client, config: {x: 1}}\nmemory: true",
    ) + "config:\n  llm: {provider: openai, model: big, temperature: 0.2, api_base: 'http://127.0.0.1:9/v1'}\n  execution: {timeout: 5m, max_retries: 1}\n  memory: {enabled: false, default_scope: workflow}\nconcurrency: 2\non_conflict: skip\n";
    let loaded = load(&text);
    let definition = loaded.definition;
    assert_eq!(definition.timeout_ms, 300_000);
    assert_eq!(definition.concurrency, Some(2));
    let node = &definition.nodes[0];
    assert_eq!((node.retry.max, node.retry.backoff_ms), (5, 2_000));
    assert_eq!(node.resources, [("model".to_owned(), 2)]);
    let NodeKind::Llm(llm) = &node.kind else {
        panic!("llm")
    };
    assert_eq!(llm.llm.provider, Provider::Openai);
    assert_eq!(
        (llm.llm.model.as_str(), llm.llm.temperature),
        ("small", Some(0.2))
    );
    assert!(matches!(llm.output, Some(Output::Value(_))));
    assert!(llm.tools[1].continue_on_error);
    assert_eq!(llm.memory.as_ref().unwrap().scope, MemoryScope::Agent);
}

#[test]
fn routes_loops_maps_and_conditions_on_edges() {
    let head = "schema_version: '1.0'\nflow: {name: w}\nstate: {fields: {q: {type: str}, ok: {type: bool}, l: {type: list}, r: {type: list}}}\nnodes:\n  - {id: a, kind: transform, jq: .}\n  - {id: b, kind: transform, jq: .}\n  - {id: c, kind: transform, jq: .}\n";
    let edges = |edges: &str| {
        let text = format!("{head}edges:\n  - {{from: START, to: a}}\n{edges}");
        load(&text).definition.edges
    };
    let read = edges(
        "  - {from: a, to: b, condition: \"state.q == 'x'\"}\n  - {from: a, to: c}\n  - from: b\n    loop: {condition_field: ok}\n  - {from: c, to: END}\n",
    );
    assert!(read.iter().any(|edge| edge.from == "a"
        && matches!(&edge.route, Route::Routes { cases, default } if cases.len() == 1 && default == "c")));
    assert!(read.iter().any(|edge| edge.route
        == Route::Loop {
            until: "ok".to_owned(),
            max_iterations: 10,
            exit_to: "END".to_owned()
        }));
    let read = edges(
        "  - from: a\n    parallel: {items_field: l, target_node: c, collect_field: r}\n  - from: c\n    routes:\n      - {condition: {logic: \"state.ok\"}, to: b}\n      - {condition: default, to: END}\n  - {from: b, to: END}\n",
    );
    assert!(
        read.iter()
            .any(|edge| matches!(&edge.route, Route::Map { node, .. } if node == "c"))
    );
    assert!(
        read.iter()
            .any(|edge| matches!(&edge.route, Route::Routes { default, .. } if default == "END"))
    );
    let read = edges("  - {from: a, parallel: [b, c], join: END}\n");
    assert_eq!(read.len(), 4);
    let item = format!(
        "{}edges:\n  - {{from: START, parallel: {{items_field: l, target_node: a, collect_field: r}}}}\n  - {{from: a, to: [b, c]}}\n  - {{from: b, to: END}}\n  - {{from: c, to: END}}\n",
        head
    );
    load(&item.replace("{id: a, ", "{id: a, inputs: {x: '{item} {index}'}, "));
    assert!(
        refusal(&item.replace("{id: b, ", "{id: b, inputs: {x: '{item}'}, ")).contains("`item`")
    );
}

#[test]
fn triggers_and_webhooks() {
    let text = with_node("kind: transform\njq: .")
        + "triggers:\n  - webhook: {source: github, filter: .ref, map: '{a: .x}'}\n  - webhook: slack\n  - schedule: '*/5 * * * *'\n  - schedule: {cron: '0 9 * * MON-FRI', timezone: Europe/Berlin}\n  - event: order.*\nwebhooks:\n  - {url: 'https://example.com/h', events: [workflow.*]}\n";
    let definition = load(&text).definition;
    assert_eq!(definition.triggers.len(), 5);
    assert!(
        matches!(&definition.triggers[2], TriggerSpec::Schedule { timezone, .. } if timezone == "UTC")
    );
    assert_eq!(definition.webhooks.len(), 1);
}

#[test]
fn json_is_read_as_a_file_is() {
    let config = json!({"nodes": [{"name": "a", "prompt": "{x}"}], "state": {"type": "object", "properties": {"x": {"type": "string"}}}});
    let loaded = file::read_json("From the API", &config).unwrap();
    assert_eq!(loaded.definition.name, "From the API");
    let found = file::read_json("w", &json!({"nods": []})).unwrap_err();
    assert_eq!(
        found[0].render("config", ""),
        "config: error[key.unknown]: there is no key `nods` here\n  = at: nods\n  = help: did you mean `nodes`?"
    );
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    assert_eq!(
        file::read_json("w", &deep).unwrap_err()[0].code,
        "yaml.too_deep"
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    insta::assert_snapshot!(refusal(include_str!("workflow_files/many_faults.yaml")));
}

#[test]
fn what_the_graph_lacks_is_told() {
    insta::assert_snapshot!(refusal(include_str!("workflow_files/graph_faults.yaml")));
}

#[test]
fn single_faults() {
    let cases = [
        (
            "a node of another kind",
            with_node("url: https://example.com"),
        ),
        (
            "an output that is no field",
            with_node("prompt: x\noutputs: [bb]\noutput_schema: {type: str}"),
        ),
        (
            "another type",
            with_node("prompt: x\noutputs: [b]\noutput_schema: {type: int}"),
        ),
        (
            "fields and outputs",
            with_node(
                "prompt: x\noutputs: [b]\noutput_schema: {type: object, fields: [{name: c, type: str}]}",
            ),
        ),
        (
            "a name in a long prompt",
            with_node(
                "prompt: |\n  Hello\n  and {topci} there\noutputs: [b]\noutput_schema: {type: str}",
            ),
        ),
        (
            "waits for two things",
            with_node("kind: wait\nduration: 1h\ncallback: true"),
        ),
        ("not long enough", with_node("kind: wait\nduration: soon")),
        (
            "a header with a line break",
            with_node("kind: http\nurl: https://example.com\nheaders: {X: \"a\\r\\nb\"}"),
        ),
        ("a word", with_node("kind: htpp\nurl: https://example.com")),
        (
            "a number for a text",
            with_node("prompt: 5\noutputs: [b]\noutput_schema: {type: str}"),
        ),
        (
            "a key of a model",
            with_node(
                "prompt: x\noutputs: [b]\noutput_schema: {type: str}\nllm: {api_key: secret}",
            ),
        ),
        (
            "cron",
            with_node("kind: transform\njq: .") + "triggers: [{schedule: 'every day'}]\n",
        ),
        (
            "two ways",
            with_node("kind: transform\njq: .")
                .replace("- {from: n, to: END}", "- {from: n, to: END, routes: []}"),
        ),
        (
            "no way",
            with_node("kind: transform\njq: .").replace("- {from: n, to: END}", ""),
        ),
        (
            "a list of one",
            with_node("kind: transform\njq: .").replace("to: END}", "to: [END]}"),
        ),
        (
            "an older version",
            with_node("kind: transform\njq: .").replace("\"1.0\"", "\"2.0\""),
        ),
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|(what, text)| format!("# {what}\n{}", refusal(text)))
        .collect();
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn hostile_files_end_as_expected() {
    let Some(folder) = shared("corpora/yaml-hostile") else {
        return;
    };
    let expected: Value =
        serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let mut told = String::new();
    for (name, text) in files("corpora/yaml-hostile", "yaml") {
        let wanted = expected[&name].as_str().unwrap_or_else(|| panic!("{name}"));
        let read = file::read(&text);
        match wanted {
            _ if wanted == "accept" => assert!(read.is_ok(), "{name}: {read:?}"),
            _ if wanted.starts_with("reject") && !wanted.contains(" or accept") => {
                assert!(read.is_err(), "{name}");
            }
            _ => {}
        }
        if let Err(found) = &read {
            let first = found
                .iter()
                .find(|one| one.severity == Severity::Error)
                .unwrap();
            told.push_str(&format!(
                "{name}:{}: {}: {}\n",
                first.span.line, first.code, first.message
            ));
            if wanted.contains("line number") {
                assert!(first.span.line > 0, "{name}");
            }
            if name == "cycle-nodes" {
                assert!(
                    found.iter().any(|one| one.message.contains("a → b → a")),
                    "{found:?}"
                );
            }
        }
    }
    insta::assert_snapshot!(told);
}

#[test]
fn the_yaml_test_suite_does_no_harm() {
    for (name, text) in files("corpora/yaml-test-suite", "yaml") {
        let _ = file::read(&text);
        // Each file holds cases as texts: every one is read too, whole and cut off.
        let text = String::from_utf8_lossy(&text)
            .replace("␣", " ")
            .replace('→', "\t");
        for at in 0..text.len().min(400) {
            if text.is_char_boundary(at) {
                let _ = file::read(&text.as_bytes()[at..]);
            }
        }
        assert!(!name.is_empty());
    }
}

#[test]
fn scalars_are_those_of_yaml_1_2() {
    let value = |text: &str| {
        let text = with_node("kind: emit\nevent: a.b\ndata: {x: VALUE}").replace("VALUE", text);
        match load(&text).definition.nodes.remove(0).kind {
            NodeKind::Emit {
                data: Some(data), ..
            } => data["x"].clone(),
            other => panic!("{other:?}"),
        }
    };
    for (text, read) in [
        ("no", json!("no")),
        ("on", json!("on")),
        ("true", json!(true)),
        ("0755", json!(755)),
        ("0o755", json!(493)),
        ("0x1F", json!(31)),
        ("12:30:45", json!("12:30:45")),
        ("2026-02-04", json!("2026-02-04")),
        ("~", json!(null)),
        ("1e3", json!(1000.0)),
        ("-17", json!(-17)),
        ("18446744073709551615", json!(u64::MAX)),
        (".inf", json!(".inf")),
        ("'5'", json!("5")),
        ("1.2.3", json!("1.2.3")),
    ] {
        assert_eq!(value(text), read, "{text}");
    }
}

#[test]
fn the_published_schema_is_that_of_the_types() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/workflow.schema.json"
    );
    let schema = file::schema::schema();
    let text = serde_json::to_string_pretty(schema).unwrap() + "\n";
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(path, &text).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == text,
        "docs/workflow.schema.json is out of date: run just generate"
    );
    let validator = jsonschema::validator_for(schema).unwrap();
    // What the reader takes, an editor that knows the schema takes, and what has a wrong shape
    // neither does.
    for (value, fits) in [
        (json!({"name": "w"}), true),
        (json!({"flow": {}}), false),
        (json!({"nodes": [{"kind": "llmm"}]}), false),
        (json!({"nodes": [{"llm": {"temperature": 1.5}}]}), false),
        (json!({"noodes": []}), false),
        (json!({"nodes": [{"timeout": "5m"}]}), true),
        (json!({"edges": [{"from": "a", "to": ["b", "c"]}]}), true),
        (json!({"edges": [{"to": "b"}]}), false),
    ] {
        assert_eq!(validator.is_valid(&value), fits, "{value}");
        let shape = ["shape.type", "shape.word", "shape.range", "key.unknown"];
        let found = file::read_json("w", &value).err().unwrap_or_default();
        let misshapen = found.iter().any(|one| shape.contains(&one.code))
            || found.iter().any(|one| {
                one.message.ends_with("`flow` has no `name`")
                    || one.message.ends_with("has no `from`")
            });
        assert_eq!(!misshapen, fits, "{value}: {found:?}");
    }
}

#[test]
fn large_files_are_bounded() {
    let many = "- {a: 1}\n".repeat(60_000);
    let found = file::read(many.as_bytes()).unwrap_err();
    assert_eq!(found[0].code, "file.too_large");
    let wide = format!("name: w\nstate: [{}]", "1,".repeat(60_000));
    let found = file::read(wide.as_bytes()).unwrap_err();
    assert_eq!(found[0].code, "yaml.too_many_values");
    let faults = format!(
        "name: w\n{}",
        (0..5_000).map(|n| format!("k{n}: 1\n")).collect::<String>()
    );
    let found = file::read(faults.as_bytes()).unwrap_err();
    assert_eq!(found.len(), file::diagnostic::DIAGNOSTICS_MAX);
    assert_eq!(found.last().unwrap().code, "file.more");
}
