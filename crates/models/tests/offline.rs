//! The offline stand-in through [`Models::turn`]: deterministic, typed, and strict about keys.

mod support;

use domain::workflow::definition::{FieldType, Output, OutputField, Tool};
use models::{Models, Settings, Turn};
use serde_json::{Map, json};
use support::{llm, models_with_keys, silent, tool};

fn field(name: &str, kind: FieldType) -> OutputField {
    OutputField {
        name: name.to_owned(),
        kind,
        description: String::new(),
    }
}

fn offline<'a>(
    llm: &'a domain::workflow::definition::Llm,
    output: Option<&'a Output>,
    tools: &'a [Tool],
) -> Turn<'a> {
    Turn {
        llm,
        prompt: "Write about tea. Keep it short.".to_owned(),
        output,
        tools,
        offline: true,
    }
}

#[tokio::test]
async fn text_is_the_prompts_first_sentence_marked() {
    let models = Models::new(Settings::default(), egress::Egress::default());
    let llm = llm();
    let end = models
        .turn(offline(&llm, None, &[]), &silent)
        .await
        .unwrap();
    assert_eq!(end.output, json!("[offline] Write about tea."));
    assert_eq!(end.usage.tokens_in, 8);
    assert_eq!(end.usage.tokens_out, 7);
    assert_eq!(end.usage.cost_nanos, 0);
    assert_eq!(end.detail["offline"], json!(true));
    assert_eq!(end.detail["provider"], json!("google"));
}

#[tokio::test]
async fn every_type_is_filled_the_same_each_time() {
    let models = Models::new(Settings::default(), egress::Egress::default());
    let llm = llm();
    let output = Output::Fields(vec![
        field("text", FieldType::Str),
        field("int", FieldType::Int),
        field("float", FieldType::Float),
        field("bool", FieldType::Bool),
        field("list", FieldType::List),
        field("ints", FieldType::ListOf(Box::new(FieldType::Int))),
        field("dict", FieldType::Dict),
        field("dicts", FieldType::DictOf(Box::new(FieldType::Float))),
        field(
            "object",
            FieldType::Object(vec![("a".to_owned(), FieldType::Str)]),
        ),
        field("any", FieldType::Object(Vec::new())),
    ]);
    let turn = || models.turn(offline(&llm, Some(&output), &[]), &silent);
    let first = turn().await.unwrap();
    assert_eq!(first, turn().await.unwrap());
    let answer = &first.output;
    assert_eq!(answer["text"], json!("[offline] text: Write about tea."));
    assert!(answer["int"].is_u64() && answer["float"].is_f64() && answer["bool"].is_boolean());
    assert_eq!(answer["list"].as_array().unwrap().len(), 2);
    assert!(answer["ints"][1].is_u64() && answer["dicts"]["offline"].is_f64());
    assert_eq!(
        answer["object"]["a"],
        json!("[offline] object.a: Write about tea.")
    );
    assert!(answer["dict"].is_object() && answer["any"].is_object());
}

#[tokio::test]
async fn an_installation_that_is_offline_never_asks_a_model() {
    let settings = Settings {
        offline: true,
        ..Settings::default()
    };
    let models = Models::new(settings, egress::Egress::default());
    let llm = llm();
    let turn = Turn {
        offline: false,
        ..offline(&llm, None, &[])
    };
    let end = models.turn(turn, &silent).await.unwrap();
    assert_eq!(end.detail["offline"], json!(true));
}

#[tokio::test]
async fn a_tool_without_its_key_fails_naming_it_unless_the_node_goes_on() {
    let llm = llm();
    let models = models_with_keys(&[]);
    for name in ["web_search", "serper_search"] {
        let tools = [tool(name, false)];
        let error = models
            .turn(offline(&llm, None, &tools), &silent)
            .await
            .unwrap_err();
        assert_eq!(error.kind, "tool_key_missing");
        assert!(error.message.contains("SERPER_API_KEY"), "{error}");
        let tools = [tool(name, true)];
        models
            .turn(offline(&llm, None, &tools), &silent)
            .await
            .unwrap();
    }
    let tools = [tool("web_search", false)];
    let models = models_with_keys(&[("SERPER_API_KEY", "k")]);
    models
        .turn(offline(&llm, None, &tools), &silent)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_unknown_tool_is_named_with_the_nearest() {
    let llm = llm();
    let models = models_with_keys(&[]);
    let tools = [tool("web_serch", true)];
    let error = models
        .turn(offline(&llm, None, &tools), &silent)
        .await
        .unwrap_err();
    assert_eq!(error.kind, "tool_unknown");
    assert!(
        error.message.contains("did you mean `web_search`"),
        "{error}"
    );
    let mut config = Map::new();
    config.insert("mcp".to_owned(), json!({"url": "http://127.0.0.1:1/mcp"}));
    let tools = [Tool {
        config,
        ..tool("anything", false)
    }];
    models
        .turn(offline(&llm, None, &tools), &silent)
        .await
        .unwrap();
}
