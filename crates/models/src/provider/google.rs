//! Gemini: `generateContent`, `streamGenerateContent` (API v1beta).
//!
//! The key travels in `x-goog-api-key`, never in the URL. A schema and tools cannot be had
//! together: with tools, the prompt asks for the schema.

use std::{fmt::Write as _, time::Duration};

use http::HeaderName;
use serde_json::{Value, json};

use super::{
    Adapter, Ask, Call, Fault, Message, Reply, Tokens, error_message, number, take, with_schema,
};

pub(crate) struct Google;

impl Adapter for Google {
    fn key_names(&self) -> &'static [&'static str] {
        &["GOOGLE_API_KEY", "GEMINI_API_KEY"]
    }

    fn base(&self) -> &'static str {
        "https://generativelanguage.googleapis.com/v1beta"
    }

    fn path(&self, ask: &Ask<'_>) -> String {
        let model = ask.llm.model.as_str();
        let model = encoded(model.strip_prefix("models/").unwrap_or(model));
        if ask.stream {
            format!("/models/{model}:streamGenerateContent?alt=sse")
        } else {
            format!("/models/{model}:generateContent")
        }
    }

    fn key_header(&self) -> (HeaderName, &'static str) {
        (HeaderName::from_static("x-goog-api-key"), "")
    }

    fn enforces(&self, ask: &Ask<'_>, _own: bool) -> bool {
        ask.tools.is_empty()
    }

    fn body(&self, ask: &Ask<'_>, own: bool) -> Value {
        let enforced = self.enforces(ask, own);
        let contents: Vec<Value> = ask
            .messages
            .iter()
            .map(|message| content(message, ask, enforced))
            .collect();
        let mut body = json!({"contents": contents});
        let mut generation = json!({});
        if let Some(temperature) = ask.llm.temperature {
            generation["temperature"] = json!(temperature);
        }
        if let Some(tokens) = ask.llm.max_tokens {
            generation["maxOutputTokens"] = json!(tokens);
        }
        if let Some(schema) = ask.schema
            && enforced
        {
            generation["responseMimeType"] = json!("application/json");
            generation["responseJsonSchema"] = schema.clone();
        }
        if generation.as_object().is_some_and(|map| !map.is_empty()) {
            body["generationConfig"] = generation;
        }
        if !ask.tools.is_empty() {
            let declare = |tool: &super::Offer| {
                json!({
                    "name": tool.name,
                    "description": tool.description,
                    "parametersJsonSchema": tool.parameters,
                })
            };
            let declared: Vec<Value> = ask.tools.iter().map(declare).collect();
            body["tools"] = json!([{"functionDeclarations": declared}]);
            if !ask.may_call {
                body["toolConfig"] = json!({"functionCallingConfig": {"mode": "NONE"}});
            }
        }
        body
    }

    fn fold(&self, whole: &mut Value, mut event: Value) -> Result<Option<String>, Fault> {
        if event.get("error").is_some() {
            let status = u16::try_from(number(&event["error"]["code"])).unwrap_or(500);
            return Err(self.fault(status, &event));
        }
        if whole.is_null() {
            *whole = json!({"candidates": [{"content": {"role": "model", "parts": []}}]});
        }
        let parts = take(&mut event, "/candidates/0/content/parts");
        let text = text(&parts);
        let reason = take(&mut event, "/candidates/0/finishReason");
        if reason.is_string() {
            whole["candidates"][0]["finishReason"] = reason;
        }
        super::extend(&mut whole["candidates"][0]["content"]["parts"], parts);
        for field in ["usageMetadata", "promptFeedback"] {
            if let Some(value) = event.get_mut(field) {
                whole[field] = value.take();
            }
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn is_complete(&self, whole: &Value) -> bool {
        whole["candidates"][0]["finishReason"].is_string()
            || whole["promptFeedback"]["blockReason"].is_string()
    }

    fn reply(&self, mut whole: Value) -> Result<Reply, Fault> {
        if let Some(reason) = whole["promptFeedback"]["blockReason"].as_str() {
            return Err(Fault::refused(format!("the prompt was blocked: {reason}")));
        }
        let usage = &whole["usageMetadata"];
        let tokens = Tokens {
            sent: number(&usage["promptTokenCount"]) + number(&usage["toolUsePromptTokenCount"]),
            cached: number(&usage["cachedContentTokenCount"]),
            received: number(&usage["candidatesTokenCount"]) + number(&usage["thoughtsTokenCount"]),
        };
        let mut candidate = take(&mut whole, "/candidates/0");
        if !candidate.is_object() {
            return Err(Fault::shape("candidate"));
        }
        let reason = candidate["finishReason"].as_str().unwrap_or("STOP");
        let cut = reason == "MAX_TOKENS";
        if !cut && reason != "STOP" {
            return Err(Fault::refused(format!("the model stopped: {reason}")));
        }
        let message = candidate["content"].take();
        let parts = &message["parts"];
        Ok(Reply {
            text: text(parts),
            calls: calls(parts),
            tokens,
            cut,
            message,
        })
    }

    fn fault(&self, status: u16, body: &Value) -> Fault {
        let mut fault = Fault::new(status, error_message(body));
        for detail in body["error"]["details"].as_array().into_iter().flatten() {
            if detail["reason"] == "API_KEY_INVALID" {
                fault.status = 401;
            }
            if let Some(delay) = detail["retryDelay"].as_str() {
                fault.retry_after = delay
                    .strip_suffix('s')
                    .and_then(|seconds| seconds.parse::<f64>().ok())
                    .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            }
        }
        fault
    }
}

fn content(message: &Message, ask: &Ask<'_>, enforced: bool) -> Value {
    match message {
        Message::User(text) => {
            json!({"role": "user", "parts": [{"text": with_schema(text, ask, enforced)}]})
        }
        Message::Assistant(said) => said.clone(),
        Message::Results(results) => {
            let part = |result: &super::CallResult| {
                let key = if result.failed { "error" } else { "result" };
                let mut response = json!({
                    "name": result.name,
                    "response": {key: result.content},
                });
                if !result.id.is_empty() {
                    response["id"] = json!(result.id);
                }
                json!({"functionResponse": response})
            };
            let parts: Vec<Value> = results.iter().map(part).collect();
            json!({"role": "user", "parts": parts})
        }
    }
}

/// What was said, without thoughts.
fn text(parts: &Value) -> String {
    parts
        .as_array()
        .into_iter()
        .flatten()
        .filter(|part| part["thought"] != json!(true))
        .filter_map(|part| part["text"].as_str())
        .collect()
}

fn calls(parts: &Value) -> Vec<Call> {
    parts
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|part| part.get("functionCall"))
        .map(|call| Call {
            id: call["id"].as_str().unwrap_or_default().to_owned(),
            name: call["name"].as_str().unwrap_or_default().to_owned(),
            arguments: call.get("args").cloned().unwrap_or_else(|| json!({})),
        })
        .collect()
}

/// A model's name as one segment of a path.
fn encoded(name: &str) -> String {
    name.bytes().fold(String::new(), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
        path
    })
}
