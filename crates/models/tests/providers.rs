//! Every adapter against a stand-in that speaks its provider's wire protocol.

mod support;

use std::{sync::Mutex, time::Duration};

use domain::workflow::definition::{FieldType, Llm, Output, OutputField, Provider, Tool};
use models::{Models, Patience, Progress, Settings, Turn, TurnEnd, TurnError};
use serde_json::{Value, json};
use support::{egress, keys, silent, tool};
use testkit::models::{Anthropic, Gemini, KEY, ModelServer, Ollama, OpenAi, Reply};

const PROVIDERS: [Provider; 4] = [
    Provider::Google,
    Provider::Openai,
    Provider::Anthropic,
    Provider::Ollama,
];

async fn server(provider: Provider, replies: Vec<Reply>) -> ModelServer {
    match provider {
        Provider::Google => Gemini::start(replies).await,
        Provider::Openai => OpenAi::start(replies).await,
        Provider::Anthropic => Anthropic::start(replies).await,
        Provider::Ollama => Ollama::start(replies).await,
    }
}

fn settings() -> Settings {
    Settings {
        keys: keys(&[
            ("GEMINI_API_KEY", KEY),
            ("OPENAI_API_KEY", KEY),
            ("ANTHROPIC_API_KEY", KEY),
        ]),
        key_hosts: vec!["127.0.0.1".to_owned()],
        ..Settings::default()
    }
}

fn llm(provider: Provider, server: &ModelServer) -> Llm {
    Llm {
        provider,
        model: match provider {
            Provider::Google => "gemini-2.5-flash-lite",
            Provider::Openai => "gpt-4.1",
            Provider::Anthropic => "claude-sonnet-4-5-20250929",
            Provider::Ollama => "llama3",
        }
        .to_owned(),
        temperature: Some(0.5),
        max_tokens: Some(100),
        api_base: Some(server.base()),
    }
}

struct Ask<'a> {
    settings: Settings,
    output: Option<&'a Output>,
    tools: &'a [Tool],
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            settings: settings(),
            output: None,
            tools: &[],
        }
    }
}

impl Ask<'_> {
    async fn of(
        self,
        llm: &Llm,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<TurnEnd, TurnError> {
        let models = Models::new(self.settings, egress());
        let turn = Turn {
            llm,
            prompt: "Say hello.".to_owned(),
            output: self.output,
            tools: self.tools,
            offline: false,
        };
        models.turn(turn, progress).await
    }
}

/// A turn with one scripted answer.
async fn one(provider: Provider, reply: Reply) -> Result<TurnEnd, TurnError> {
    let server = server(provider, vec![reply]).await;
    Ask::default().of(&llm(provider, &server), &silent).await
}

fn scored() -> Output {
    let field = |name: &str, kind| OutputField {
        name: name.to_owned(),
        kind,
        description: String::new(),
    };
    Output::Fields(vec![
        field("title", FieldType::Str),
        field("score", FieldType::Int),
    ])
}

#[tokio::test]
async fn text_comes_in_pieces_with_tokens_and_their_cost() {
    for provider in PROVIDERS {
        let server = server(
            provider,
            vec![Reply::text("hello dear world").tokens(1_000, 500)],
        )
        .await;
        let told = Mutex::new(Vec::new());
        let progress = |progress| told.lock().unwrap().push(progress);
        let end = Ask::default()
            .of(&llm(provider, &server), &progress)
            .await
            .unwrap();
        assert_eq!(end.output, json!("hello dear world"), "{provider:?}");
        let pieces = ["hello ", "dear ", "world"].map(|text| Progress::Text(text.to_owned()));
        assert_eq!(*told.lock().unwrap(), pieces, "{provider:?}");
        let cost = match provider {
            Provider::Google => 300_000,
            Provider::Openai => 6_000_000,
            Provider::Anthropic => 10_500_000,
            Provider::Ollama => 0,
        };
        assert_eq!(
            (
                end.usage.tokens_in,
                end.usage.tokens_out,
                end.usage.cost_nanos
            ),
            (1_000, 500, cost),
            "{provider:?}"
        );
        assert_eq!(end.detail["offline"], json!(false));
        assert_eq!(end.detail["rounds"], json!(1));
    }
}

#[tokio::test]
async fn an_output_is_asked_for_as_a_schema_and_checked() {
    let output = scored();
    for provider in PROVIDERS {
        let good = json!({"title": "Tea", "score": 7});
        let server = server(provider, vec![Reply::answer(good.clone())]).await;
        let ask = Ask {
            output: Some(&output),
            ..Ask::default()
        };
        let end = ask.of(&llm(provider, &server), &silent).await.unwrap();
        assert_eq!(end.output, good, "{provider:?}");
        assert_eq!(end.detail["repaired"], json!(false));
        let body = &server.asked()[0].body;
        let schema = match provider {
            Provider::Google => &body["generationConfig"]["responseJsonSchema"],
            Provider::Openai => &body["response_format"]["json_schema"]["schema"],
            Provider::Anthropic => &body["tools"][0]["input_schema"],
            Provider::Ollama => &body["format"],
        };
        assert_eq!(
            schema["properties"]["score"]["type"],
            json!("integer"),
            "{provider:?}"
        );
    }
}

#[tokio::test]
async fn a_misfit_is_repaired_once_and_no_more() {
    let output = scored();
    let bad = || Reply::answer(json!({"title": "Tea", "score": "high"}));
    for provider in PROVIDERS {
        let repaired = Reply::answer(json!({"title": "Tea", "score": 7}));
        let first = server(provider, vec![bad(), repaired]).await;
        let ask = Ask {
            output: Some(&output),
            ..Ask::default()
        };
        let end = ask.of(&llm(provider, &first), &silent).await.unwrap();
        assert_eq!(end.output["score"], json!(7), "{provider:?}");
        assert_eq!(end.detail["repaired"], json!(true));
        assert_eq!(end.usage.tokens_in, 20);
        let said = first.asked()[1].body.to_string();
        assert!(said.contains("`score` must be a whole number"), "{said}");

        let never = server(provider, vec![bad()]).await;
        let ask = Ask {
            output: Some(&output),
            ..Ask::default()
        };
        let error = ask.of(&llm(provider, &never), &silent).await.unwrap_err();
        assert_eq!(error.kind, "model_output_invalid", "{provider:?}");
        assert_eq!(never.asked().len(), 2);
        assert_eq!(error.usage.tokens_in, 20, "what was used is told");
    }
}

#[tokio::test]
async fn tools_are_called_and_their_results_sent_back() {
    let tools = [tool("json_parse", false)];
    for provider in PROVIDERS {
        for output in [None, Some(scored())] {
            let call = Reply::call(
                "json_parse",
                json!({"text": "{\"a\": [1, 2]}", "pointer": "/a"}),
            )
            .and_call("json_parse", json!({"text": "oops"}));
            let last = match output {
                None => Reply::text("done"),
                Some(_) => Reply::answer(json!({"title": "T", "score": 1})),
            };
            let server = server(provider, vec![call, last]).await;
            let told = Mutex::new(Vec::new());
            let progress = |progress| told.lock().unwrap().push(progress);
            let ask = Ask {
                output: output.as_ref(),
                tools: &tools,
                ..Ask::default()
            };
            let end = ask.of(&llm(provider, &server), &progress).await.unwrap();
            assert_eq!(end.detail["rounds"], json!(2), "{provider:?}");
            assert_eq!(end.detail["toolCalls"][0]["name"], json!("json_parse"));
            assert_eq!(end.detail["toolCalls"][0].get("error"), None);
            assert!(
                end.detail["toolCalls"][1]["error"]
                    .as_str()
                    .unwrap()
                    .contains("no JSON")
            );
            let called = Progress::Tool("json_parse".to_owned());
            assert!(told.lock().unwrap().contains(&called));
            let said = server.asked()[1].body.to_string();
            assert!(said.contains("[1,2]"), "{provider:?}: {said}");
        }
    }
}

#[tokio::test]
async fn calls_end_after_ten_rounds() {
    let tools = [tool("json_parse", false)];
    for provider in PROVIDERS {
        let server = server(
            provider,
            vec![Reply::call("json_parse", json!({"text": "1"}))],
        )
        .await;
        let ask = Ask {
            tools: &tools,
            ..Ask::default()
        };
        let error = ask.of(&llm(provider, &server), &silent).await.unwrap_err();
        assert_eq!(error.kind, "model_output_invalid");
        assert_eq!(server.asked().len(), 11, "{provider:?}");
    }
}

#[tokio::test]
async fn a_failing_tool_ends_the_turn_unless_the_node_goes_on() {
    for go_on in [false, true] {
        let tools = [tool("file_read", go_on)];
        let call = Reply::call("file_read", json!({"path": "/etc/hostname"}));
        let server = server(Provider::Openai, vec![call, Reply::text("ok")]).await;
        let ask = Ask {
            tools: &tools,
            ..Ask::default()
        };
        let end = ask.of(&llm(Provider::Openai, &server), &silent).await;
        if go_on {
            assert_eq!(end.unwrap().output, json!("ok"));
        } else {
            let error = end.unwrap_err();
            assert_eq!(error.kind, "tool_failed");
            assert!(error.message.contains("ALLOWED_PATHS"), "{error}");
        }
    }
}

#[tokio::test]
async fn errors_have_stable_kinds() {
    for provider in PROVIDERS {
        for (status, kind, retryable) in [
            (400, "model_request_refused", false),
            (403, "model_key_refused", false),
            (404, "model_unknown", false),
            (429, "model_rate_limited", true),
            (500, "model_overloaded", true),
            (529, "model_overloaded", true),
        ] {
            let error = one(provider, Reply::error(status, "because\nso"))
                .await
                .unwrap_err();
            assert_eq!(
                (error.kind, error.retryable),
                (kind, retryable),
                "{provider:?}"
            );
            assert!(error.message.contains("because so"), "{error}");
        }
        let error = one(provider, Reply::rate_limited(7)).await.unwrap_err();
        assert_eq!(
            error.retry_after,
            Some(Duration::from_secs(7)),
            "{provider:?}"
        );
    }
}

#[tokio::test]
async fn broken_answers_are_no_answers() {
    let output = scored();
    for provider in PROVIDERS {
        for (reply, is_stream) in [
            (Reply::text("hello dear world").cut(), true),
            (Reply::text("hello dear world").unfinished(), true),
            (Reply::text("hello").malformed(), true),
            (
                Reply::answer(json!({"title": "T", "score": 1})).cut(),
                false,
            ),
            (
                Reply::answer(json!({"title": "T", "score": 1})).malformed(),
                false,
            ),
        ] {
            let server = server(provider, vec![reply.clone()]).await;
            let ask = Ask {
                output: Some(&output).filter(|_| !is_stream),
                ..Ask::default()
            };
            let error = ask.of(&llm(provider, &server), &silent).await.unwrap_err();
            assert_eq!(
                error.kind, "model_unreachable",
                "{provider:?} {reply:?}: {error}"
            );
            assert!(error.retryable);
        }
    }
}

#[tokio::test]
async fn slow_streams_are_waited_for_and_silent_ones_are_not() {
    for provider in PROVIDERS {
        let slow = Reply::text("a b c").slow(Duration::from_millis(5));
        assert_eq!(one(provider, slow).await.unwrap().output, json!("a b c"));
        for (reply, patience) in [
            (
                Reply::never(),
                Patience {
                    head: Duration::from_millis(20),
                    ..Patience::default()
                },
            ),
            (
                Reply::text("a b").slow(Duration::from_secs(600)),
                Patience {
                    idle: Duration::from_millis(20),
                    ..Patience::default()
                },
            ),
            (
                Reply::text("a ".repeat(1_000)).slow(Duration::from_millis(20)),
                Patience {
                    whole: Duration::from_millis(100),
                    ..Patience::default()
                },
            ),
        ] {
            let server = server(provider, vec![reply]).await;
            let ask = Ask {
                settings: Settings {
                    patience,
                    ..settings()
                },
                ..Ask::default()
            };
            let error = ask.of(&llm(provider, &server), &silent).await.unwrap_err();
            assert_eq!(
                (error.kind, error.retryable),
                ("model_timeout", true),
                "{provider:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_at_its_length_is_kept_as_text_and_refused_as_output() {
    let output = scored();
    for provider in PROVIDERS {
        let end = one(provider, Reply::text("half an").at_length())
            .await
            .unwrap();
        assert_eq!(end.detail["cut"], json!(true), "{provider:?}");
        let server = server(provider, vec![Reply::text("{\"title\": ").at_length()]).await;
        let ask = Ask {
            output: Some(&output),
            ..Ask::default()
        };
        let error = ask.of(&llm(provider, &server), &silent).await.unwrap_err();
        assert_eq!(error.kind, "model_output_invalid");
        assert!(error.message.contains("max_tokens"), "{error}");
    }
}

#[tokio::test]
async fn a_missing_key_names_its_variable() {
    for (provider, names) in [
        (Provider::Google, "GOOGLE_API_KEY or GEMINI_API_KEY"),
        (Provider::Openai, "OPENAI_API_KEY"),
        (Provider::Anthropic, "ANTHROPIC_API_KEY"),
    ] {
        let llm = Llm {
            provider,
            ..support::llm()
        };
        let ask = Ask {
            settings: Settings::default(),
            ..Ask::default()
        };
        let error = ask.of(&llm, &silent).await.unwrap_err();
        assert_eq!(error.kind, "model_key_missing");
        assert!(error.message.contains(names), "{error}");
    }
}

#[tokio::test]
async fn a_key_goes_only_where_it_may_and_is_never_shown() {
    for provider in [Provider::Google, Provider::Openai, Provider::Anthropic] {
        let server = server(provider, vec![Reply::text("hello")]).await;
        let ask = Ask {
            settings: Settings {
                key_hosts: Vec::new(),
                ..settings()
            },
            ..Ask::default()
        };
        let error = ask.of(&llm(provider, &server), &silent).await.unwrap_err();
        assert_eq!(error.kind, "model_key_refused", "{provider:?}");
        assert!(error.message.contains("ALLOWED_API_HOSTS"), "{error}");
        let headers = format!("{:?}", server.asked()[0].headers);
        assert!(!headers.contains(KEY), "{headers}");

        let wrong = "sk-wrong-91ab";
        let ask = Ask {
            settings: Settings {
                keys: keys(&[
                    ("GOOGLE_API_KEY", wrong),
                    ("OPENAI_API_KEY", wrong),
                    ("ANTHROPIC_API_KEY", wrong),
                ]),
                ..settings()
            },
            ..Ask::default()
        };
        let error = ask.of(&llm(provider, &server), &silent).await.unwrap_err();
        assert_eq!(error.kind, "model_key_refused");
        assert!(!format!("{error:?} {error}").contains(wrong), "{error}");
    }
}

#[tokio::test]
async fn the_address_policy_decides_where_models_may_be() {
    let server = Ollama::start([Reply::text("hello")]).await;
    let models = Models::new(settings(), ::egress::Egress::default());
    let llm = llm(Provider::Ollama, &server);
    let turn = Turn {
        llm: &llm,
        prompt: String::new(),
        output: None,
        tools: &[],
        offline: false,
    };
    let error = models.turn(turn, &silent).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), ("model_unreachable", false));
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn hostile_answers_are_errors_and_nothing_worse() {
    use testkit::{Answer, Receiver};
    let bodies = [
        "[]",
        "null",
        "\"x\"",
        "{}",
        r#"{"choices": "x", "candidates": "x", "content": 1, "message": "x"}"#,
        r#"{"choices": [], "candidates": [], "content": [1], "message": []}"#,
        r#"{"choices": [1], "candidates": [1], "content": [{"type": "text", "text": 1}], "message": {"content": 1, "tool_calls": 3}}"#,
        r#"{"type": "message_start", "message": "x", "usage": 3, "delta": 4, "error": null}"#,
        r#"{"type": "message_delta", "usage": 3, "delta": []}"#,
        r#"{"type": "content_block_start", "content_block": 3}"#,
        r#"{"type": "content_block_delta", "index": 99999999999}"#,
        r#"{"choices": [{"delta": {"tool_calls": [{"index": 900000000, "id": 3}]}}], "error": {"code": 99999999}}"#,
    ];
    for provider in PROVIDERS {
        for kind in ["application/json", "text/event-stream"] {
            for body in bodies {
                let receiver = Receiver::start(move |_, _| {
                    let body = if kind == "application/json" || provider == Provider::Ollama {
                        format!("{body}\n")
                    } else {
                        format!("data: {body}\n\n")
                    };
                    Answer::status(200).header("content-type", kind).body(body)
                })
                .await;
                let llm = Llm {
                    provider,
                    api_base: Some(format!("http://{}", receiver.address())),
                    ..support::llm()
                };
                let end = Ask::default().of(&llm, &silent).await;
                if let Err(error) = end {
                    assert!(error.kind.starts_with("model_"), "{error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_sent_is_as_each_provider_documents_it() {
    for provider in PROVIDERS {
        let server = server(provider, vec![Reply::text("hello")]).await;
        let tools = [tool("web_scrape", true)];
        let ask = Ask {
            tools: &tools,
            ..Ask::default()
        };
        ask.of(&llm(provider, &server), &silent).await.unwrap();
        let asked = &server.asked()[0];
        let body = &asked.body;
        let expected: &[(&str, Value)] = match provider {
            Provider::Google => &[
                ("/contents/0/parts/0/text", json!("Say hello.")),
                ("/generationConfig/maxOutputTokens", json!(100)),
                ("/tools/0/functionDeclarations/0/name", json!("web_scrape")),
            ],
            Provider::Openai => &[
                ("/messages/0/content", json!("Say hello.")),
                ("/max_tokens", json!(100)),
                ("/tools/0/function/name", json!("web_scrape")),
                ("/stream_options/include_usage", json!(true)),
            ],
            Provider::Anthropic => &[
                ("/messages/0/content", json!("Say hello.")),
                ("/max_tokens", json!(100)),
                ("/tools/0/name", json!("web_scrape")),
            ],
            Provider::Ollama => &[
                ("/messages/0/content", json!("Say hello.")),
                ("/options/num_predict", json!(100)),
                ("/tools/0/function/name", json!("web_scrape")),
            ],
        };
        for (pointer, value) in expected {
            assert_eq!(body.pointer(pointer), Some(value), "{provider:?} {body}");
        }
    }
}
