//! `OpenAI`'s chat completions, and the many servers that speak the same (`api_base`).

use http::{HeaderName, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::{
    Adapter, Ask, Call, Fault, Message, Reply, Tokens, append, arguments, error_message, number,
    take, with_schema,
};

pub(crate) struct OpenAi;

/// The most calls that a stream may bring in one answer.
const CALLS_MAX: u64 = 128;

impl Adapter for OpenAi {
    fn key_names(&self) -> &'static [&'static str] {
        &["OPENAI_API_KEY"]
    }

    fn base(&self) -> &'static str {
        "https://api.openai.com/v1"
    }

    fn path(&self, _ask: &Ask<'_>) -> String {
        "/chat/completions".to_owned()
    }

    fn key_header(&self) -> (HeaderName, &'static str) {
        (AUTHORIZATION, "Bearer ")
    }

    /// Other servers often pass over `response_format`: there, the prompt asks as well.
    fn enforces(&self, _ask: &Ask<'_>, own: bool) -> bool {
        own
    }

    fn body(&self, ask: &Ask<'_>, own: bool) -> Value {
        let enforced = self.enforces(ask, own);
        let messages: Vec<Value> = ask
            .messages
            .iter()
            .flat_map(|message| said(message, ask, enforced))
            .collect();
        let mut body = json!({"model": ask.llm.model, "messages": messages});
        if let Some(temperature) = ask.llm.temperature {
            body["temperature"] = json!(temperature);
        }
        if let Some(tokens) = ask.llm.max_tokens {
            // OpenAI's newer models refuse the old name, and other servers don't know the new one.
            let name = if own {
                "max_completion_tokens"
            } else {
                "max_tokens"
            };
            body[name] = json!(tokens);
        }
        if let Some(schema) = ask.schema {
            body["response_format"] = json!({
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": ask.strict},
            });
        }
        if !ask.tools.is_empty() {
            let function = |tool: &super::Offer| {
                json!({"type": "function", "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                }})
            };
            body["tools"] = ask.tools.iter().map(function).collect();
            if !ask.may_call {
                body["tool_choice"] = json!("none");
            }
        }
        if ask.stream {
            body["stream"] = json!(true);
            body["stream_options"] = json!({"include_usage": true});
        }
        body
    }

    fn fold(&self, whole: &mut Value, mut event: Value) -> Result<Option<String>, Fault> {
        if event.get("error").is_some_and(|error| !error.is_null()) {
            let status = u16::try_from(number(&event["error"]["code"])).unwrap_or(500);
            return Err(self.fault(if status < 400 { 500 } else { status }, &event));
        }
        if whole.is_null() {
            *whole = json!({"choices": [{"message": {"role": "assistant", "content": null}}]});
        }
        if event["usage"].is_object() {
            whole["usage"] = event["usage"].take();
        }
        let reason = take(&mut event, "/choices/0/finish_reason");
        if reason.is_string() {
            whole["choices"][0]["finish_reason"] = reason;
        }
        let message = &mut whole["choices"][0]["message"];
        let delta = take(&mut event, "/choices/0/delta");
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            fold_call(message, call)?;
        }
        if let Some(refusal) = delta["refusal"].as_str() {
            append(&mut message["refusal"], refusal);
        }
        let Some(text) = delta["content"].as_str().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        append(&mut message["content"], text);
        Ok(Some(text.to_owned()))
    }

    fn is_complete(&self, whole: &Value) -> bool {
        whole["choices"][0]["finish_reason"].is_string()
    }

    fn reply(&self, mut whole: Value) -> Result<Reply, Fault> {
        let usage = &whole["usage"];
        let tokens = Tokens {
            sent: number(&usage["prompt_tokens"]),
            cached: number(&usage["prompt_tokens_details"]["cached_tokens"]),
            received: number(&usage["completion_tokens"]),
        };
        let choice = take(&mut whole, "/choices/0");
        let message = &choice["message"];
        if !message.is_object() {
            return Err(Fault::shape("choice"));
        }
        if let Some(refusal) = message["refusal"].as_str().filter(|text| !text.is_empty()) {
            return Err(Fault::refused(format!("the model refused: {refusal}")));
        }
        let reason = choice["finish_reason"].as_str().unwrap_or("stop");
        if reason == "content_filter" {
            return Err(Fault::refused("the answer was held back by a filter"));
        }
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        let calls: Vec<Call> = calls
            .map(|call| Call {
                id: call["id"].as_str().unwrap_or_default().to_owned(),
                name: call["function"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                arguments: match &call["function"]["arguments"] {
                    Value::String(text) => arguments(text),
                    other => other.clone(),
                },
            })
            .collect();
        Ok(Reply {
            text: message["content"].as_str().unwrap_or_default().to_owned(),
            message: kept(message),
            calls,
            tokens,
            cut: reason == "length",
        })
    }

    fn fault(&self, status: u16, body: &Value) -> Fault {
        let error = &body["error"];
        Fault {
            permanent: [&error["code"], &error["type"]]
                .iter()
                .any(|code| **code == "insufficient_quota"),
            ..Fault::new(status, error_message(body))
        }
    }
}

/// What of an answer is sent back: servers refuse fields that only answers have.
fn kept(message: &Value) -> Value {
    let mut kept = json!({"role": "assistant", "content": message["content"]});
    if message["tool_calls"]
        .as_array()
        .is_some_and(|calls| !calls.is_empty())
    {
        kept["tool_calls"] = message["tool_calls"].clone();
    }
    kept
}

fn said(message: &Message, ask: &Ask<'_>, enforced: bool) -> Vec<Value> {
    match message {
        Message::User(text) => {
            vec![json!({"role": "user", "content": with_schema(text, ask, enforced)})]
        }
        Message::Assistant(said) => vec![said.clone()],
        Message::Results(results) => results
            .iter()
            .map(|result| {
                json!({"role": "tool", "tool_call_id": result.id, "content": result.content})
            })
            .collect(),
    }
}

/// Adds a piece of a call, which names the call's number.
fn fold_call(message: &mut Value, piece: &Value) -> Result<(), Fault> {
    let number = number(&piece["index"]);
    if number >= CALLS_MAX {
        return Err(Fault::new(
            super::SHAPE,
            "more than 128 calls in one answer",
        ));
    }
    if !message["tool_calls"].is_array() {
        message["tool_calls"] = json!([]);
    }
    let Some(calls) = message["tool_calls"].as_array_mut() else {
        return Ok(());
    };
    let at = usize::try_from(number).unwrap_or_default();
    while calls.len() <= at {
        calls
            .push(json!({"type": "function", "id": "", "function": {"name": "", "arguments": ""}}));
    }
    let call = &mut calls[at];
    if let Some(id) = piece["id"].as_str() {
        append(&mut call["id"], id);
    }
    for field in ["name", "arguments"] {
        if let Some(text) = piece["function"][field].as_str() {
            append(&mut call["function"][field], text);
        }
    }
    Ok(())
}
