//! Anthropic's messages API (version 2023-06-01).
//!
//! A schema travels as a tool named `answer` that the model has to call; its arguments are the
//! answer.

use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{Adapter, Ask, Call, Fault, Message, Reply, Tokens, append, arguments, number, take};

pub(crate) struct Anthropic;

/// The tool that stands for the answer.
const ANSWER: &str = "answer";
/// The most tokens of an answer where nothing is set: the API wants a number.
const MAX_TOKENS: u32 = 8_192;
/// The same for the models that cannot write more.
const MAX_TOKENS_OLD: u32 = 4_096;
/// The most blocks that a stream may bring in one answer.
const BLOCKS_MAX: usize = 1_024;

impl Adapter for Anthropic {
    fn key_names(&self) -> &'static [&'static str] {
        &["ANTHROPIC_API_KEY"]
    }

    fn base(&self) -> &'static str {
        "https://api.anthropic.com/v1"
    }

    fn path(&self, _ask: &Ask<'_>) -> String {
        "/messages".to_owned()
    }

    fn key_header(&self) -> (HeaderName, &'static str) {
        (HeaderName::from_static("x-api-key"), "")
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        vec![(
            HeaderName::from_static("anthropic-version"),
            HeaderValue::from_static("2023-06-01"),
        )]
    }

    fn enforces(&self, _ask: &Ask<'_>, _own: bool) -> bool {
        true
    }

    fn body(&self, ask: &Ask<'_>, _own: bool) -> Value {
        let mut messages: Vec<Value> = Vec::new();
        for message in ask.messages {
            let said = said(message, messages.last());
            messages.push(said);
        }
        let mut body = json!({
            "model": ask.llm.model,
            "max_tokens": ask.llm.max_tokens.unwrap_or_else(|| tokens_max(&ask.llm.model)),
            "messages": messages,
        });
        if let Some(temperature) = ask.llm.temperature {
            body["temperature"] = json!(temperature);
        }
        let offer = |tool: &super::Offer| {
            json!({
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.parameters,
            })
        };
        let mut tools: Vec<Value> = ask.tools.iter().map(offer).collect();
        if let Some(schema) = ask.schema {
            tools.push(json!({
                "name": ANSWER,
                "description": "Gives the answer. Call it once, when the answer is complete.",
                "input_schema": schema,
            }));
            body["tool_choice"] = if ask.tools.is_empty() || !ask.may_call {
                json!({"type": "tool", "name": ANSWER})
            } else {
                json!({"type": "any"})
            };
        } else if !ask.may_call && !tools.is_empty() {
            body["tool_choice"] = json!({"type": "none"});
        }
        if !tools.is_empty() {
            body["tools"] = Value::Array(tools);
        }
        if ask.stream {
            body["stream"] = json!(true);
        }
        body
    }

    fn fold(&self, whole: &mut Value, mut event: Value) -> Result<Option<String>, Fault> {
        let at = usize::try_from(number(&event["index"])).unwrap_or(usize::MAX);
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => {
                *whole = event["message"].take();
                if !whole.is_object() || !whole["usage"].is_object() {
                    return Err(Fault::shape("message"));
                }
            }
            "content_block_start" => {
                let Some(blocks) = whole["content"].as_array_mut() else {
                    return Err(Fault::shape("list of blocks"));
                };
                if blocks.len() >= BLOCKS_MAX {
                    return Err(Fault::new(
                        super::SHAPE,
                        "more than 1,024 blocks in an answer",
                    ));
                }
                let block = event["content_block"].take();
                if !block.is_object() {
                    return Err(Fault::shape("block"));
                }
                blocks.push(block);
            }
            "content_block_delta" => {
                let Some(block) = whole["content"].get_mut(at) else {
                    return Err(Fault::shape("block that a piece belongs to"));
                };
                return Ok(fold_delta(block, &event["delta"]));
            }
            "content_block_stop" => {
                if let Some(block) = whole["content"].get_mut(at)
                    && let Some(text) = block.as_object_mut().and_then(|map| map.remove(PIECES))
                {
                    block["input"] = arguments(text.as_str().unwrap_or_default());
                }
            }
            "message_delta" => {
                if !whole["usage"].is_object() {
                    return Err(Fault::shape("message"));
                }
                whole["stop_reason"] = take(&mut event, "/delta/stop_reason");
                if let Value::Object(usage) = event["usage"].take() {
                    for (name, count) in usage {
                        whole["usage"][name] = count;
                    }
                }
            }
            "message_stop" => whole[STOPPED] = json!(true),
            "error" => return Err(self.fault(status(&event), &event)),
            _ => {}
        }
        Ok(None)
    }

    fn is_complete(&self, whole: &Value) -> bool {
        whole[STOPPED] == json!(true)
    }

    fn reply(&self, mut whole: Value) -> Result<Reply, Fault> {
        let usage = &whole["usage"];
        let read = number(&usage["cache_read_input_tokens"]);
        let tokens = Tokens {
            sent: number(&usage["input_tokens"])
                + number(&usage["cache_creation_input_tokens"])
                + read,
            cached: read,
            received: number(&usage["output_tokens"]),
        };
        let reason = whole["stop_reason"].as_str().unwrap_or_default();
        if reason == "refusal" {
            return Err(Fault::refused("the model refused to answer"));
        }
        let cut = reason == "max_tokens";
        let content = whole["content"].take();
        let Some(blocks) = content.as_array() else {
            return Err(Fault::shape("content"));
        };
        let mut text = String::new();
        let mut calls = Vec::new();
        let mut answer = None;
        for block in blocks {
            match block["type"].as_str().unwrap_or_default() {
                "text" => text.push_str(block["text"].as_str().unwrap_or_default()),
                "tool_use" if block["name"] == ANSWER => answer = Some(block["input"].to_string()),
                "tool_use" => calls.push(Call {
                    id: block["id"].as_str().unwrap_or_default().to_owned(),
                    name: block["name"].as_str().unwrap_or_default().to_owned(),
                    arguments: block["input"].clone(),
                }),
                _ => {}
            }
        }
        Ok(Reply {
            // Calls first: an answer that was given before their results is not one yet.
            text: answer.filter(|_| calls.is_empty()).unwrap_or(text),
            calls,
            message: json!({"role": "assistant", "content": content}),
            tokens,
            cut,
        })
    }
}

/// Where the pieces of a call's arguments gather.
const PIECES: &str = "_pieces";
/// What marks a stream that has ended.
const STOPPED: &str = "_stopped";

fn fold_delta(block: &mut Value, delta: &Value) -> Option<String> {
    match delta["type"].as_str()? {
        "text_delta" => {
            let text = delta["text"].as_str()?;
            append(&mut block["text"], text);
            return Some(text.to_owned());
        }
        "input_json_delta" => append(&mut block[PIECES], delta["partial_json"].as_str()?),
        "thinking_delta" => append(&mut block["thinking"], delta["thinking"].as_str()?),
        "signature_delta" => append(&mut block["signature"], delta["signature"].as_str()?),
        _ => {}
    }
    None
}

/// The status that an error within a stream would have had.
fn status(event: &Value) -> u16 {
    match event["error"]["type"].as_str().unwrap_or_default() {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "permission_error" => 403,
        "not_found_error" => 404,
        "rate_limit_error" => 429,
        "overloaded_error" => 529,
        _ => 500,
    }
}

fn tokens_max(model: &str) -> u32 {
    let is_old = ["claude-3-opus", "claude-3-sonnet", "claude-3-haiku"]
        .iter()
        .any(|old| model.starts_with(old));
    if is_old { MAX_TOKENS_OLD } else { MAX_TOKENS }
}

/// A message. Every call before it has to be answered in it: where a person's word follows calls,
/// it becomes their result.
fn said(message: &Message, before: Option<&Value>) -> Value {
    let open: Vec<&Value> = before
        .filter(|said| said["role"] == "assistant")
        .and_then(|said| said["content"].as_array())
        .into_iter()
        .flatten()
        .filter(|block| block["type"] == "tool_use")
        .map(|block| &block["id"])
        .collect();
    let result = |id: &Value, content: &str, failed: bool| {
        json!({
            "type": "tool_result",
            "tool_use_id": id,
            "content": content,
            "is_error": failed,
        })
    };
    match message {
        Message::User(text) if open.is_empty() => json!({"role": "user", "content": text}),
        Message::User(text) => {
            let results: Vec<Value> = open.into_iter().map(|id| result(id, text, true)).collect();
            json!({"role": "user", "content": results})
        }
        Message::Assistant(said) => said.clone(),
        Message::Results(results) => {
            let mut blocks: Vec<Value> = results
                .iter()
                .map(|done| result(&json!(done.id), &done.content, done.failed))
                .collect();
            for id in open {
                if !results.iter().any(|done| *id == done.id.as_str()) {
                    blocks.push(result(
                        id,
                        "Not taken: answer once the tools are done.",
                        true,
                    ));
                }
            }
            json!({"role": "user", "content": blocks})
        }
    }
}
