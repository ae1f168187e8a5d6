//! Ollama's `/api/chat`: JSON at once, or one JSON value in each line.
//!
//! It needs no key. A schema (`format`) would keep a model from calling tools: with tools, the
//! prompt asks for it.

use http::{HeaderName, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::{
    Adapter, Ask, Call, Fault, Framing, Message, Reply, Tokens, append, extend, number, with_schema,
};

pub(crate) struct Ollama;

impl Adapter for Ollama {
    fn key_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// Only where the settings name no other: see [`crate::Settings::ollama_base`].
    fn base(&self) -> &'static str {
        "http://127.0.0.1:11434/api"
    }

    fn path(&self, _ask: &Ask<'_>) -> String {
        "/chat".to_owned()
    }

    fn key_header(&self) -> (HeaderName, &'static str) {
        (AUTHORIZATION, "Bearer ")
    }

    fn framing(&self) -> Framing {
        Framing::Lines
    }

    fn enforces(&self, ask: &Ask<'_>, _own: bool) -> bool {
        ask.tools.is_empty()
    }

    fn body(&self, ask: &Ask<'_>, own: bool) -> Value {
        let enforced = self.enforces(ask, own);
        let messages: Vec<Value> = ask
            .messages
            .iter()
            .flat_map(|message| said(message, ask, enforced))
            .collect();
        let mut body = json!({
            "model": ask.llm.model,
            "messages": messages,
            "stream": ask.stream,
        });
        let mut options = json!({});
        if let Some(temperature) = ask.llm.temperature {
            options["temperature"] = json!(temperature);
        }
        if let Some(tokens) = ask.llm.max_tokens {
            options["num_predict"] = json!(tokens);
        }
        if options.as_object().is_some_and(|map| !map.is_empty()) {
            body["options"] = options;
        }
        if let Some(schema) = ask.schema
            && enforced
        {
            body["format"] = schema.clone();
        }
        if ask.may_call && !ask.tools.is_empty() {
            let function = |tool: &super::Offer| {
                json!({"type": "function", "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                }})
            };
            body["tools"] = ask.tools.iter().map(function).collect();
        }
        body
    }

    fn fold(&self, whole: &mut Value, mut event: Value) -> Result<Option<String>, Fault> {
        if event["error"].is_string() {
            return Err(self.fault(500, &event));
        }
        if whole.is_null() {
            *whole = json!({"message": {"role": "assistant", "content": ""}});
        }
        let piece = event["message"].take();
        extend(
            &mut whole["message"]["tool_calls"],
            piece["tool_calls"].clone(),
        );
        for field in ["done", "done_reason", "prompt_eval_count", "eval_count"] {
            if let Some(value) = event.get_mut(field) {
                whole[field] = value.take();
            }
        }
        let Some(text) = piece["content"].as_str().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        append(&mut whole["message"]["content"], text);
        Ok(Some(text.to_owned()))
    }

    fn is_complete(&self, whole: &Value) -> bool {
        whole["done"] == json!(true)
    }

    fn reply(&self, mut whole: Value) -> Result<Reply, Fault> {
        let tokens = Tokens {
            sent: number(&whole["prompt_eval_count"]),
            cached: 0,
            received: number(&whole["eval_count"]),
        };
        let cut = whole["done_reason"] == "length";
        let mut message = whole["message"].take();
        let Some(fields) = message.as_object_mut() else {
            return Err(Fault::shape("message"));
        };
        fields.remove("thinking");
        if fields.get("tool_calls").is_some_and(Value::is_null) {
            fields.remove("tool_calls");
        }
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        let calls = calls
            .map(|call| Call {
                id: String::new(),
                name: call["function"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                arguments: call["function"]["arguments"].clone(),
            })
            .collect();
        Ok(Reply {
            text: message["content"].as_str().unwrap_or_default().to_owned(),
            calls,
            message,
            tokens,
            cut,
        })
    }
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
                json!({"role": "tool", "tool_name": result.name, "content": result.content})
            })
            .collect(),
    }
}
