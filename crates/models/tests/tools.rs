//! Tools as a model calls them: what it gets back, and what it does not.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::{path::Path, sync::Arc};

use domain::workflow::definition::{Llm, Provider, Tool};
use models::{Models, SearchProvider, Settings, SqlReader, Turn, TurnError};
use serde_json::{Map, Value, json};
use support::{egress, keys, silent, tool};
use testkit::{
    Answer, Receiver,
    models::{KEY, OpenAi, Reply},
};

/// What the model gets for a call of `tool`.
async fn call(settings: Settings, tool: Tool, arguments: Value) -> Result<String, TurnError> {
    let name = tool.name.clone();
    call_named(settings, tool, &name, arguments).await
}

async fn call_named(
    settings: Settings,
    tool: Tool,
    name: &str,
    arguments: Value,
) -> Result<String, TurnError> {
    let server = OpenAi::start([Reply::call(name, arguments), Reply::text("done")]).await;
    let llm = Llm {
        provider: Provider::Openai,
        api_base: Some(server.base()),
        ..support::llm()
    };
    let settings = Settings {
        key_hosts: vec!["127.0.0.1".to_owned()],
        ..settings
    };
    let tools = [tool];
    let turn = Turn {
        llm: &llm,
        prompt: "Go.".to_owned(),
        output: None,
        tools: &tools,
        offline: false,
    };
    Models::new(settings, egress()).turn(turn, &silent).await?;
    let asked = server.asked();
    let messages = asked[1].body["messages"].as_array().unwrap();
    let last = messages.last().unwrap();
    assert_eq!(last["role"], json!("tool"));
    Ok(last["content"].as_str().unwrap().to_owned())
}

fn settings() -> Settings {
    Settings {
        keys: keys(&[
            ("OPENAI_API_KEY", KEY),
            ("SERPER_API_KEY", "serper-1"),
            ("LANG", "C"),
        ]),
        ..Settings::default()
    }
}

fn below(folder: &Path) -> Settings {
    Settings {
        allowed_paths: vec![folder.to_owned()],
        ..settings()
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"))
}

#[tokio::test]
async fn http_requests_are_made_and_answers_cut() {
    let receiver = Receiver::start(|_, _| Answer::status(201).body("x".repeat(20_000))).await;
    let arguments = json!({
        "url": receiver.url(), "method": "post", "body": {"a": 1}, "headers": {"x-a": "b"},
    });
    let content = call(settings(), tool("http_client", false), arguments)
        .await
        .unwrap();
    assert!(content.starts_with(r#"{"status":201,"#), "{content}");
    assert_eq!(
        content.chars().count(),
        8_001,
        "8,000 and the mark of the cut"
    );
    let got = &receiver.received()[0];
    assert_eq!(got.header("x-a"), "b");
    assert_eq!(&got.body[..], br#"{"a":1}"#);
    let wrong = json!({"url": "http://169.254.169.254/latest/meta-data"});
    let content = call(settings(), tool("http_client", false), wrong)
        .await
        .unwrap();
    assert!(content.contains("not a public address"), "{content}");
}

#[tokio::test]
async fn pages_become_text_and_redirects_are_checked() {
    let receiver = Receiver::start(|request, _| match &*request.path {
        "/page" => Answer::status(200)
            .header("content-type", "text/html; charset=utf-8")
            .body("<title>T</title><script>no</script><p>Hello <i>you</i></p>"),
        "/away" => Answer::status(302).header("location", "http://10.0.0.1/"),
        _ => Answer::status(302).header("location", "/page"),
    })
    .await;
    let at = |path: &str| json!({"url": format!("http://{}{path}", receiver.address())});
    let content = call(settings(), tool("web_scrape", false), at("/"))
        .await
        .unwrap();
    assert_eq!(content, "T\nHello you");
    let error = call(settings(), tool("web_scrape", false), at("/away"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, "tool_failed");
    assert!(error.message.contains("not a public address"), "{error}");
}

#[tokio::test]
async fn searches_take_the_provider_and_key_that_are_set() {
    let receiver = Receiver::start(|request, _| {
        if request.header("x-api-key") != "serper-1" {
            return Answer::status(403).body(format!("no {}", request.header("authorization")));
        }
        let found = json!({"organic": [{"title": "T", "link": "https://t", "snippet": "S"}]});
        Answer::status(200).body(found.to_string())
    })
    .await;
    let base = format!("http://{}", receiver.address());
    let serper = Settings {
        serper_base: base.clone(),
        ..settings()
    };
    let query = json!({"query": "tea"});
    let content = call(serper, tool("web_search", false), query.clone())
        .await
        .unwrap();
    let found = json!({"results": [{"title": "T", "url": "https://t", "snippet": "S"}]});
    assert_eq!(parsed(&content), found);
    let tavily = Settings {
        search_provider: SearchProvider::Tavily,
        tavily_base: base.clone(),
        ..settings()
    };
    let error = call(tavily.clone(), tool("web_search", false), query.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind, "tool_key_missing");
    let content = call(tavily.clone(), tool("web_search", true), query.clone())
        .await
        .unwrap();
    assert!(content.contains("TAVILY_API_KEY is not set"), "{content}");
    let wrong = Settings {
        keys: keys(&[("OPENAI_API_KEY", KEY), ("TAVILY_API_KEY", "tvly-9")]),
        ..tavily
    };
    let error = call(wrong, tool("web_search", false), query)
        .await
        .unwrap_err();
    assert!(
        error.message.contains("403") && !error.message.contains("tvly-9"),
        "{error}"
    );
}

#[tokio::test]
async fn files_are_written_read_found_and_moved_below_the_allowed_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let write = json!({"path": at("a/b/note.md"), "content": "hello"});
    call(below(folder.path()), tool("file_write", false), write)
        .await
        .unwrap();
    let more = json!({"path": at("a/b/note.md"), "content": " you", "append": true});
    call(below(folder.path()), tool("file_write", false), more)
        .await
        .unwrap();
    let read = json!({"path": "a/b/note.md"});
    let content = call(below(folder.path()), tool("file_read", false), read.clone())
        .await
        .unwrap();
    assert_eq!(content, "hello you");
    let moved = json!({"from": "a/b/note.md", "to": "c/new.md"});
    call(below(folder.path()), tool("file_move", false), moved)
        .await
        .unwrap();
    let glob = json!({"pattern": at("**/*.md")});
    let found = call(below(folder.path()), tool("file_glob", false), glob)
        .await
        .unwrap();
    assert_eq!(parsed(&found)["files"], json!([at("c/new.md")]));
    let shorter = json!({"path": at("c/new.md"), "content": "x"});
    call(below(folder.path()), tool("file_write", false), shorter)
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(at("c/new.md")).unwrap(), "x");
    let error = call(below(folder.path()), tool("file_read", false), read)
        .await
        .unwrap_err();
    assert_eq!(error.kind, "tool_failed");
}

#[tokio::test]
async fn no_path_leads_out_of_the_allowed_folder() {
    let outside = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s3cret").unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("out")).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(outside.path().join("secret"), &link).unwrap();
    std::fs::write(folder.path().join("mine"), "mine").unwrap();
    let secret = outside.path().join("secret").to_str().unwrap().to_owned();
    for path in [
        "out/secret",
        "link",
        "../secret",
        "a/../../x",
        &secret,
        "/etc/passwd",
        "",
    ] {
        for (name, arguments) in [
            ("file_read", json!({"path": path})),
            ("file_write", json!({"path": path, "content": "no"})),
            ("file_move", json!({"from": path, "to": "here"})),
            ("file_move", json!({"from": "mine", "to": path})),
            ("sql_query", json!({"database": path, "query": "SELECT 1"})),
        ] {
            if name == "file_move" && path == "link" {
                continue; // Moving a link moves the link.
            }
            let settings = Settings {
                sql: Some(Arc::new(Rows)),
                ..below(folder.path())
            };
            let content = call(settings, tool(name, true), arguments.clone())
                .await
                .unwrap();
            let refused = content.starts_with("failed:") || content.starts_with("wrong arguments");
            assert!(refused, "{name} {arguments}: {content}");
        }
    }
    let glob = json!({"pattern": "**"});
    let found = call(below(folder.path()), tool("file_glob", false), glob)
        .await
        .unwrap();
    assert!(!found.contains("secret"), "{found}");
    assert_eq!(std::fs::read_to_string(secret).unwrap(), "s3cret");
    assert_eq!(
        std::fs::read_to_string(folder.path().join("mine")).unwrap(),
        "mine"
    );
    let error = call(settings(), tool("file_read", false), json!({"path": "x"}))
        .await
        .unwrap_err();
    assert!(error.message.contains("ALLOWED_PATHS"), "{error}");
}

/// A database that is not one.
struct Rows;

#[async_trait::async_trait]
impl SqlReader for Rows {
    async fn select(&self, file: &Path, query: &str, _rows_max: usize) -> Result<Value, String> {
        Ok(json!([{"file": file.file_name().unwrap().to_str(), "query": query}]))
    }
}

#[tokio::test]
async fn queries_go_to_the_reader_and_only_selects() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.db"), "").unwrap();
    let with = |sql: Option<Arc<dyn SqlReader>>| Settings {
        sql,
        ..below(folder.path())
    };
    let arguments = |query: &str| json!({"database": "a.db", "query": query});
    let select = arguments("select 1");
    let rows = call(
        with(Some(Arc::new(Rows))),
        tool("sql_query", false),
        select.clone(),
    )
    .await;
    assert_eq!(
        parsed(&rows.unwrap()),
        json!([{"file": "a.db", "query": "select 1"}])
    );
    let drop = arguments("DROP TABLE x");
    let content = call(with(Some(Arc::new(Rows))), tool("sql_query", false), drop)
        .await
        .unwrap();
    assert!(content.contains("must be a SELECT"), "{content}");
    let error = call(with(None), tool("sql_query", false), select)
        .await
        .unwrap_err();
    assert!(
        error
            .message
            .contains("cannot be read in this installation"),
        "{error}"
    );
}

#[tokio::test]
async fn only_listed_variables_are_shown_and_never_secrets() {
    let allowed = Settings {
        allowed_env: ["LANG", "OPENAI_API_KEY", "UNSET"]
            .map(String::from)
            .to_vec(),
        ..settings()
    };
    let content = call(allowed.clone(), tool("env_vars", false), json!({}))
        .await
        .unwrap();
    assert_eq!(parsed(&content), json!({"LANG": "C"}));
    let none = json!({"pattern": "PYTHON*"});
    let content = call(allowed, tool("env_vars", false), none).await.unwrap();
    assert_eq!(parsed(&content), json!({}));
    let error = call(settings(), tool("env_vars", false), json!({}))
        .await
        .unwrap_err();
    assert!(error.message.contains("ALLOWED_ENV"), "{error}");
}

#[tokio::test]
async fn only_listed_programs_run_without_a_shell_and_without_our_environment() {
    let folder = tempfile::tempdir().unwrap();
    let allowed = Settings {
        allowed_commands: ["echo", "env"].map(String::from).to_vec(),
        ..below(folder.path())
    };
    let echo = json!({"command": "echo 'a  b' c"});
    let content = call(allowed.clone(), tool("shell", false), echo)
        .await
        .unwrap();
    assert_eq!(
        parsed(&content),
        json!({"exitCode": 0, "stdout": "a  b c\n", "stderr": ""})
    );
    let env = json!({"program": "env", "args": []});
    let content = call(allowed.clone(), tool("process", false), env)
        .await
        .unwrap();
    assert_eq!(
        parsed(&content)["stdout"],
        json!("PATH=/usr/local/bin:/usr/bin:/bin\n")
    );
    let piped = json!({"command": "echo a | sh"});
    let content = call(allowed.clone(), tool("shell", false), piped)
        .await
        .unwrap();
    assert!(content.contains("would need a shell"), "{content}");
    for settings in [settings(), allowed] {
        let other = json!({"program": "cat", "args": ["/etc/passwd"]});
        let error = call(settings, tool("process", false), other)
            .await
            .unwrap_err();
        assert!(error.message.contains("ALLOWED_COMMANDS"), "{error}");
    }
}

fn mcp(config: Value) -> Tool {
    let mut settings = Map::new();
    settings.insert("mcp".to_owned(), config);
    Tool {
        config: settings,
        ..tool("weather", false)
    }
}

/// What an MCP server answers to a request, as JSON-RPC.
fn mcp_answer(request: &Value) -> Option<Value> {
    let result = match request["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "weather", "version": "1"},
        }),
        "tools/list" => json!({"tools": [{
            "name": "forecast",
            "description": "Tells the weather.",
            "inputSchema": {"type": "object", "properties": {"city": {"type": "string"}}},
        }]}),
        "tools/call" => {
            let city = &request["params"]["arguments"]["city"];
            let is_error = city == "Atlantis";
            json!({
                "content": [{"type": "text", "text": format!("sunny in {city}")}],
                "isError": is_error,
            })
        }
        _ => {
            return Some(json!({
                "jsonrpc": "2.0", "id": request["id"],
                "error": {"code": -32601, "message": "Method not found"},
            }));
        }
    };
    Some(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
}

#[tokio::test]
async fn an_mcp_servers_tools_are_called_over_http() {
    for is_stream in [false, true] {
        let receiver = Receiver::start(move |request, _| {
            let message: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            match mcp_answer(&message) {
                Some(answer) if message.get("id").is_some() => {
                    let (kind, body) = if is_stream {
                        (
                            "text/event-stream",
                            format!("event: message\ndata: {answer}\n\n"),
                        )
                    } else {
                        ("application/json", answer.to_string())
                    };
                    Answer::status(200).header("content-type", kind).body(body)
                }
                _ => Answer::status(202),
            }
        })
        .await;
        let config = json!({"url": receiver.url()});
        let paris = json!({"city": "Paris"});
        let content = call_named(settings(), mcp(config.clone()), "forecast", paris)
            .await
            .unwrap();
        assert_eq!(content, "sunny in \"Paris\"");
        let lost = json!({"city": "Atlantis"});
        let error = call_named(settings(), mcp(config), "forecast", lost)
            .await
            .unwrap_err();
        assert_eq!(error.kind, "tool_failed");
        assert!(error.message.contains("sunny in"), "{error}");
    }
}

#[tokio::test]
async fn an_mcp_server_may_be_a_program_that_is_allowed() {
    // A shell that knows three requests stands in for a server.
    let script = r#"while read -r line; do
        id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
        case $line in
            *'"initialize"'*) r='{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}' ;;
            *'"tools/list"'*) r='{"tools":[{"name":"forecast","inputSchema":{"type":"object"}}]}' ;;
            *'"tools/call"'*) r='{"content":[{"type":"text","text":"rain"}]}' ;;
            *'"id"'*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id"; continue ;;
            *) continue ;;
        esac
        printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$r"
    done"#;
    let config = json!({"command": "sh", "args": ["-c", script]});
    let allowed = Settings {
        allowed_commands: vec!["sh".to_owned()],
        ..settings()
    };
    let content = call_named(allowed, mcp(config.clone()), "forecast", json!({}))
        .await
        .unwrap();
    assert_eq!(content, "rain");
    let error = call_named(settings(), mcp(config), "forecast", json!({}))
        .await
        .unwrap_err();
    assert!(error.message.contains("ALLOWED_COMMANDS"), "{error}");
}

#[tokio::test]
async fn an_mcp_server_that_is_none_fails_clearly() {
    let receiver = Receiver::start(|_, _| Answer::status(200).body("<html>")).await;
    for config in [
        json!({"url": receiver.url()}),
        json!({"url": "http://10.0.0.1/mcp"}),
        json!({"address": "x"}),
        json!("x"),
    ] {
        let error = call_named(settings(), mcp(config), "forecast", json!({}))
            .await
            .unwrap_err();
        assert_eq!(error.kind, "tool_failed");
        assert!(error.message.contains("the tool weather failed"), "{error}");
    }
}
