//! What a request's body says, and where in it something is.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest;
use serde_json::{Map, Value, json};

use super::{
    config::{Location, SourceConfig},
    preset::Preset,
    verify::Headers,
};

/// The longest event id that is kept as it is, in bytes; a longer one is kept as its hash.
pub const EVENT_ID_BYTES_MAX: usize = 255;
/// The longest event type that is kept, in characters.
const EVENT_TYPE_CHARS_MAX: usize = 200;
/// The most fields of a form.
const FIELDS_MAX: usize = 1_000;

/// A body as a value: JSON as it is; a form as an object of its fields (several of one name as a
/// list); other text as a string; anything else as `{"base64": …}`; nothing as null. Slack's forms
/// with a JSON `payload` are that JSON.
///
/// # Errors
/// If it says that it is JSON, and is not; the message says where it breaks.
pub fn read(preset: Preset, content_type: Option<&str>, body: &[u8]) -> Result<Value, String> {
    let essence = content_type
        .and_then(|text| text.split(';').next())
        .map(|text| text.trim().to_ascii_lowercase())
        .unwrap_or_default();
    if essence == "application/x-www-form-urlencoded" {
        return Ok(form(preset, body));
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let says_json = essence == "application/json" || essence.ends_with("+json");
    if says_json
        || (essence.is_empty() || essence == "text/plain") && matches!(first, Some(b'{' | b'['))
    {
        match serde_json::from_slice(body) {
            Ok(value) => return Ok(value),
            Err(error) if says_json => return Err(format!("the body is not JSON: {error}")),
            Err(_) => {}
        }
    }
    Ok(match std::str::from_utf8(body) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => json!({ "base64": STANDARD.encode(body) }),
    })
}

fn form(preset: Preset, body: &[u8]) -> Value {
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(body).take(FIELDS_MAX) {
        let value = Value::String(value.into_owned());
        match fields.get_mut(name.as_ref()) {
            None => {
                fields.insert(name.into_owned(), value);
            }
            Some(Value::Array(list)) => list.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    if preset == Preset::Slack
        && let Some(Value::String(inner)) = fields.get("payload")
        && let Ok(inner) = serde_json::from_str(inner)
    {
        return inner;
    }
    Value::Object(fields)
}

/// What the sender deduplicates by.
pub fn event_id(config: &SourceConfig, headers: &Headers, payload: &Value) -> Option<String> {
    let text = match &config.event_id {
        Some(location) => at(location, headers, payload),
        None => first(&config.preset.event_ids(), headers, payload),
    }?;
    Some(bounded_id(text))
}

/// An event id as it is kept: cut by its hash where it is too long.
pub fn bounded_id(text: String) -> String {
    if text.len() <= EVENT_ID_BYTES_MAX {
        return text;
    }
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    format!("sha256:{}", hex::encode(hash))
}

/// What the sender says has happened.
pub fn event_type(config: &SourceConfig, headers: &Headers, payload: &Value) -> Option<String> {
    let text = first(&config.preset.event_types(), headers, payload)?;
    Some(text.chars().take(EVENT_TYPE_CHARS_MAX).collect())
}

fn first(locations: &[Location], headers: &Headers, payload: &Value) -> Option<String> {
    locations
        .iter()
        .find_map(|location| at(location, headers, payload))
}

/// What is at a place: a text that is not empty, or a number as text.
fn at(location: &Location, headers: &Headers, payload: &Value) -> Option<String> {
    let text = match location {
        Location::Header(name) => headers.get(name)?.to_owned(),
        Location::Json(path) => match by_path(payload, path)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        },
        Location::None => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// The part of a value that a path such as `data.items[0].id` names.
pub fn by_path<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path_steps(path)?
        .into_iter()
        .try_fold(value, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        })
}

/// One step of a path.
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The steps of a path; none if it is no path.
pub(super) fn path_steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (key, mut indices) = match part.find('[') {
            Some(at) => part.split_at(at),
            None => (part, ""),
        };
        if key.is_empty() && (indices.is_empty() || !steps.is_empty()) {
            return None;
        }
        if !key.is_empty() {
            steps.push(Step::Key(key));
        }
        while !indices.is_empty() {
            let (index, rest) = indices.strip_prefix('[')?.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            indices = rest;
        }
    }
    Some(steps)
}
