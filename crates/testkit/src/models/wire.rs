//! The wire formats: what a request must have, a whole answer, a stream's events, an error.

use serde_json::{Value, json};

use super::{Asked, KEY, Protocol, Reply};

type Refusal = (u16, String);

/// What the real servers refuse.
pub(super) fn check(protocol: Protocol, asked: &Asked) -> Result<(), Refusal> {
    let refuse = |status: u16, message: &str| Err((status, message.to_owned()));
    let header = |name: &str| {
        let value = asked.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    };
    if asked.path.contains(KEY) {
        return refuse(400, "a key must not stand in the URL");
    }
    if header("content-type") != "application/json" || !asked.body.is_object() {
        return refuse(400, "the body must be JSON");
    }
    let (key, path) = match protocol {
        Protocol::Gemini => (header("x-goog-api-key"), "/v1beta/models/"),
        Protocol::OpenAi => (
            header("authorization")
                .strip_prefix("Bearer ")
                .unwrap_or(""),
            "/v1/chat/completions",
        ),
        Protocol::Anthropic => (header("x-api-key"), "/v1/messages"),
        Protocol::Ollama => (KEY, "/api/chat"),
    };
    if !asked.path.starts_with(path) {
        return refuse(404, "no such path");
    }
    if key != KEY {
        // Like some real ones, it repeats what it got.
        return Err((401, format!("the key {key:?} is not valid")));
    }
    if protocol == Protocol::Anthropic && header("anthropic-version") != "2023-06-01" {
        return refuse(400, "anthropic-version: header is required");
    }
    let model = match protocol {
        Protocol::Gemini => asked.path[path.len()..].split(':').next().unwrap_or(""),
        _ => asked.body["model"].as_str().unwrap_or(""),
    };
    if model.starts_with("unknown") {
        return Err((404, format!("the model {model} does not exist")));
    }
    check_body(protocol, &asked.body).map_err(|message| (400, message.to_owned()))
}

fn check_body(protocol: Protocol, body: &Value) -> Result<(), &'static str> {
    let messages = match protocol {
        Protocol::Gemini => "contents",
        _ => "messages",
    };
    let messages = body[messages].as_array().ok_or("messages are required")?;
    match protocol {
        Protocol::Gemini => {
            let wants_json = body["generationConfig"]["responseMimeType"] == "application/json";
            if wants_json && body["tools"].is_array() {
                return Err("Function calling with a response mime type is unsupported");
            }
        }
        Protocol::Anthropic => {
            body["max_tokens"]
                .as_u64()
                .ok_or("max_tokens: Field required")?;
            for pair in messages.windows(2) {
                check_tool_results(&pair[0], &pair[1])?;
            }
        }
        Protocol::OpenAi => {
            let calls = messages
                .iter()
                .filter_map(|message| message["tool_calls"].as_array())
                .flatten();
            for call in calls {
                let answered = messages
                    .iter()
                    .any(|message| message["tool_call_id"] == call["id"]);
                if !answered {
                    return Err("a tool call is not followed by its result");
                }
            }
        }
        Protocol::Ollama => {}
    }
    Ok(())
}

fn check_tool_results(said: &Value, next: &Value) -> Result<(), &'static str> {
    for block in said["content"].as_array().into_iter().flatten() {
        let answered = || {
            let results = next["content"].as_array().into_iter().flatten();
            results
                .filter(|result| result["type"] == "tool_result")
                .any(|result| result["tool_use_id"] == block["id"])
        };
        if block["type"] == "tool_use" && !answered() {
            return Err("`tool_use` ids were found without `tool_result` blocks");
        }
    }
    Ok(())
}

pub(super) fn wants_stream(protocol: Protocol, asked: &Asked) -> bool {
    match protocol {
        Protocol::Gemini => asked.path.contains(":streamGenerateContent?alt=sse"),
        Protocol::OpenAi | Protocol::Anthropic => asked.body["stream"] == json!(true),
        Protocol::Ollama => asked.body["stream"] != json!(false),
    }
}

pub(super) fn error(protocol: Protocol, status: u16, message: &str) -> Value {
    match protocol {
        Protocol::Gemini => json!({"error": {
            "code": status,
            "message": message,
            "status": if status == 429 { "RESOURCE_EXHAUSTED" } else { "INVALID_ARGUMENT" },
        }}),
        Protocol::OpenAi => json!({"error": {
            "message": message, "type": "invalid_request_error", "param": null, "code": null,
        }}),
        Protocol::Anthropic => json!({"type": "error", "error": {
            "type": anthropic_type(status), "message": message,
        }}),
        Protocol::Ollama => json!({"error": message}),
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// The text of a reply; an answer is one, except for Anthropic, where it is a call.
fn text(reply: &Reply) -> String {
    match &reply.answer {
        Some(answer) => answer.to_string(),
        None => reply.text.clone(),
    }
}

pub(super) fn whole(protocol: Protocol, reply: &Reply) -> Value {
    let (sent, received) = reply.tokens;
    match protocol {
        Protocol::Gemini => {
            let mut parts = Vec::new();
            if !text(reply).is_empty() {
                parts.push(json!({"text": text(reply)}));
            }
            parts.extend(reply.calls.iter().map(|(name, arguments)| {
                json!({"functionCall": {"name": name, "args": arguments}, "thoughtSignature": "c2ln"})
            }));
            json!({
                "candidates": [{
                    "content": {"parts": parts, "role": "model"},
                    "finishReason": if reply.length { "MAX_TOKENS" } else { "STOP" },
                    "index": 0,
                }],
                "usageMetadata": {
                    "promptTokenCount": sent,
                    "candidatesTokenCount": received,
                    "totalTokenCount": sent + received,
                },
                "modelVersion": "gemini-2.5-flash-lite",
            })
        }
        Protocol::OpenAi => json!({
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "choices": [{
                "index": 0,
                "message": openai_message(reply),
                "finish_reason": openai_reason(reply),
            }],
            "usage": openai_usage(reply),
        }),
        Protocol::Anthropic => json!({
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": anthropic_blocks(reply),
            "stop_reason": anthropic_reason(reply),
            "usage": {"input_tokens": sent, "output_tokens": received},
        }),
        Protocol::Ollama => {
            let mut message = json!({"role": "assistant", "content": text(reply)});
            if !reply.calls.is_empty() {
                message["tool_calls"] = ollama_calls(reply);
            }
            json!({
                "model": "llama3",
                "message": message,
                "done": true,
                "done_reason": if reply.length { "length" } else { "stop" },
                "prompt_eval_count": sent,
                "eval_count": received,
            })
        }
    }
}

fn openai_message(reply: &Reply) -> Value {
    let mut message = json!({"role": "assistant", "content": text(reply), "refusal": null});
    if !reply.calls.is_empty() {
        message["content"] = Value::Null;
        let calls = reply.calls.iter().enumerate();
        message["tool_calls"] = calls
            .map(|(n, (name, arguments))| {
                json!({"id": format!("call_{n}"), "type": "function", "function": {
                    "name": name, "arguments": arguments.to_string(),
                }})
            })
            .collect();
    }
    message
}

fn openai_reason(reply: &Reply) -> &'static str {
    if reply.length {
        "length"
    } else if reply.calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    }
}

fn openai_usage(reply: &Reply) -> Value {
    let (sent, received) = reply.tokens;
    json!({
        "prompt_tokens": sent,
        "completion_tokens": received,
        "total_tokens": sent + received,
        "prompt_tokens_details": {"cached_tokens": 0},
    })
}

fn anthropic_blocks(reply: &Reply) -> Vec<Value> {
    let mut blocks = Vec::new();
    if !reply.text.is_empty() {
        blocks.push(json!({"type": "text", "text": reply.text}));
    }
    let answer = reply.answer.iter().map(|answer| ("answer", answer));
    let calls = reply.calls.iter().map(|(name, input)| (&**name, input));
    for (n, (name, input)) in calls.chain(answer).enumerate() {
        blocks.push(json!({
            "type": "tool_use", "id": format!("toolu_{n}"), "name": name, "input": input,
        }));
    }
    blocks
}

fn anthropic_reason(reply: &Reply) -> &'static str {
    if reply.length {
        "max_tokens"
    } else if reply.calls.is_empty() && reply.answer.is_none() {
        "end_turn"
    } else {
        "tool_use"
    }
}

fn ollama_calls(reply: &Reply) -> Value {
    reply
        .calls
        .iter()
        .map(|(name, arguments)| json!({"function": {"name": name, "arguments": arguments}}))
        .collect()
}

/// The pieces that a text comes in: words, with the space after each.
fn words(text: &str) -> Vec<&str> {
    text.split_inclusive(' ').collect()
}

fn sse(event: &Value) -> String {
    format!("data: {event}\n\n")
}

pub(super) fn stream(protocol: Protocol, reply: &Reply) -> Vec<String> {
    match protocol {
        Protocol::Gemini => gemini_stream(reply),
        Protocol::OpenAi => openai_stream(reply),
        Protocol::Anthropic => anthropic_stream(reply),
        Protocol::Ollama => ollama_stream(reply),
    }
}

fn gemini_stream(reply: &Reply) -> Vec<String> {
    let text = text(reply);
    let part =
        |part: Value| json!({"candidates": [{"content": {"parts": [part], "role": "model"}}]});
    let mut events: Vec<String> = words(&text)
        .into_iter()
        .map(|word| sse(&part(json!({"text": word}))))
        .collect();
    let mut last = whole(Protocol::Gemini, reply);
    if let Some(parts) = last["candidates"][0]["content"]["parts"].as_array_mut() {
        parts.retain(|part| part.get("text").is_none());
    }
    events.push(sse(&last));
    events
}

fn openai_stream(reply: &Reply) -> Vec<String> {
    let chunk = |delta: Value, reason: Value| {
        sse(&json!({
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
            "usage": null,
        }))
    };
    let mut events = vec![chunk(
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    )];
    let text = text(reply);
    for word in words(&text) {
        events.push(chunk(json!({"content": word}), Value::Null));
    }
    for (n, (name, arguments)) in reply.calls.iter().enumerate() {
        let arguments = arguments.to_string();
        let (first, second) = arguments.split_at(arguments.len() / 2);
        events.push(chunk(
            json!({"tool_calls": [{"index": n, "id": format!("call_{n}"), "type": "function",
                "function": {"name": name, "arguments": ""}}]}),
            Value::Null,
        ));
        for piece in [first, second] {
            events.push(chunk(
                json!({"tool_calls": [{"index": n, "function": {"arguments": piece}}]}),
                Value::Null,
            ));
        }
    }
    events.push(chunk(json!({}), json!(openai_reason(reply))));
    events.push(sse(&json!({
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": openai_usage(reply),
    })));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn anthropic_stream(reply: &Reply) -> Vec<String> {
    let event = |value: Value| {
        let name = value["type"].as_str().unwrap_or_default();
        format!("event: {name}\ndata: {value}\n\n")
    };
    let (sent, received) = reply.tokens;
    let mut events = vec![
        event(json!({"type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "content": [],
            "stop_reason": null, "usage": {"input_tokens": sent, "output_tokens": 1},
        }})),
        event(json!({"type": "ping"})),
    ];
    for (n, block) in anthropic_blocks(reply).into_iter().enumerate() {
        let delta = |delta: Value| {
            event(json!({"type": "content_block_delta", "index": n, "delta": delta}))
        };
        let mut start = block.clone();
        let mut deltas = Vec::new();
        if let Some(text) = block["text"].as_str() {
            start["text"] = json!("");
            for word in words(text) {
                deltas.push(delta(json!({"type": "text_delta", "text": word})));
            }
        } else {
            start["input"] = json!({});
            let input = block["input"].to_string();
            let (first, second) = input.split_at(input.len() / 2);
            for piece in [first, second] {
                deltas.push(delta(
                    json!({"type": "input_json_delta", "partial_json": piece}),
                ));
            }
        }
        events.push(event(
            json!({"type": "content_block_start", "index": n, "content_block": start}),
        ));
        events.append(&mut deltas);
        events.push(event(json!({"type": "content_block_stop", "index": n})));
    }
    events.push(event(json!({
        "type": "message_delta",
        "delta": {"stop_reason": anthropic_reason(reply), "stop_sequence": null},
        "usage": {"output_tokens": received},
    })));
    events.push(event(json!({"type": "message_stop"})));
    events
}

fn ollama_stream(reply: &Reply) -> Vec<String> {
    let text = text(reply);
    let line = |message: Value| format!("{}\n", json!({"message": message, "done": false}));
    let mut lines: Vec<String> = words(&text)
        .into_iter()
        .map(|word| line(json!({"role": "assistant", "content": word})))
        .collect();
    if !reply.calls.is_empty() {
        lines.push(line(json!({
            "role": "assistant", "content": "", "tool_calls": ollama_calls(reply),
        })));
    }
    let mut last = whole(Protocol::Ollama, reply);
    last["message"] = json!({"role": "assistant", "content": ""});
    lines.push(format!("{last}\n"));
    lines
}
