//! What a person sets of a webhook, as S0 and S1 write it.

#![expect(
    clippy::option_option,
    reason = "tells `null` from a field that is not there"
)]

use delivery::webhooks::{SecretChoice, WebhookInput};
use domain::{format::Format, header};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    api::fields::{Fields, given},
    problem::{FieldError, Problem},
};

/// What is set of a webhook. On a change, what is not named stays as it is, and `null` takes the
/// default back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(as = WebhookInput)]
pub struct WebhookBody {
    /// What people call it; the URL's host where nothing is said.
    #[schema(max_length = 200, example = "My Webhook")]
    name: Option<String>,
    /// What it is for.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 2000)]
    description: Option<Option<String>>,
    /// Where deliveries are sent: http or https. Needed to create.
    #[schema(example = "https://example.com/webhook")]
    target_url: Option<String>,
    /// The same as `targetUrl`.
    url: Option<String>,
    /// What it subscribes to: event types, `prefix.*`, or `*`. Needed to create.
    #[schema(min_items = 1, max_items = 100, example = json!(["workflow.completed", "agent.*"]))]
    events: Option<Vec<String>>,
    /// The signing secret. Made where none is given; on a change it replaces the old one at once.
    #[schema(min_length = 1, max_length = 256)]
    secret: Option<String>,
    /// Which bodies and headers it gets: `default`, `agent-factory`, `orchestration` or
    /// `cloudevents`.
    #[schema(example = "default")]
    format: Option<String>,
    /// Conditions on the event; only events that meet them are delivered.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<Object>, example = json!({"data.amount": {"$gte": 100}}))]
    filter: Option<Option<Value>>,
    /// Headers that each delivery carries beside Signpost's own; all of them, by name. A value
    /// of `***`, as answers show it, keeps the one that is set.
    #[serde(deserialize_with = "headers")]
    #[schema(value_type = Option<std::collections::HashMap<String, String>>, example = json!({"X-Custom-Header": "custom-value"}))]
    headers: Option<Vec<(String, String)>>,
    /// What stands before the hexadecimal signature in the format's own header, such as `sha256=`.
    #[schema(max_length = 32)]
    signature_prefix: Option<String>,
    /// When a failed delivery is tried again: a preset's name (`default`, `agent-factory`) or the
    /// delays before each retry.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<Value>, example = json!({"delays": ["5s", "5m", "2h"], "within": "24h"}))]
    schedule: Option<Option<Value>>,
    /// How long a whole exchange may take, in milliseconds.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<u64>, minimum = 1000, maximum = 30000, example = 10000)]
    timeout_ms: Option<Option<u64>>,
    /// How many attempts may be in flight at once.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000, example = 10)]
    concurrency: Option<Option<u32>>,
    /// Attempts per second; null for no limit.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<f64>, minimum = 0.01, maximum = 10000)]
    rate_per_second: Option<Option<f64>>,
    /// Whether deliveries go one at a time, in the order of acceptance.
    ordered: Option<bool>,
    /// Whether it is sent to.
    is_active: Option<bool>,
    /// The same as `isActive`.
    active: Option<bool>,
}

impl Fields for WebhookBody {
    const KNOWN: &'static [&'static str] = &[
        "name",
        "description",
        "targetUrl",
        "url",
        "events",
        "secret",
        "format",
        "filter",
        "headers",
        "signaturePrefix",
        "schedule",
        "timeoutMs",
        "concurrency",
        "ratePerSecond",
        "ordered",
        "isActive",
        "active",
    ];
    const IGNORED: &'static [&'static str] = &[
        "id",
        "state",
        "disabledReason",
        "disabledAt",
        "failingSince",
        "createdAt",
        "updatedAt",
    ];
}

/// Reads an object of strings, in its order.
fn headers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<(String, String)>>, D::Error> {
    let Some(map) = Option::<serde_json::Map<String, Value>>::deserialize(deserializer)? else {
        return Ok(Some(Vec::new()));
    };
    let pairs = map.into_iter().map(|(name, value)| match value {
        Value::String(value) => Ok((name, value)),
        _ => Err(de::Error::custom(format!(
            "the value of header `{name}` must be a string"
        ))),
    });
    pairs.collect::<Result<_, _>>().map(Some)
}

/// What a webhook that is to be changed says now, as far as a change is read by it.
#[derive(Debug)]
pub struct Present {
    /// Its target.
    pub target_url: String,
    /// Whether it is sent to.
    pub is_active: bool,
    /// Its custom headers in clear.
    pub headers: Vec<(String, String)>,
}

impl WebhookBody {
    /// What the pipeline is asked for. `present` is the webhook that is to be changed.
    ///
    /// # Errors
    /// If two names of one field say different things, or the format is not known.
    pub fn into_input(self, present: Option<&Present>) -> Result<WebhookInput, Problem> {
        let mut errors = Vec::new();
        let target_url = either(
            ("targetUrl", self.target_url),
            ("url", self.url),
            present.map(|present| &present.target_url),
            &mut errors,
        );
        let active = either(
            ("isActive", self.is_active),
            ("active", self.active),
            present.map(|present| &present.is_active),
            &mut errors,
        );
        let headers = present.map_or(&[][..], |present| &present.headers);
        let format = self.format.and_then(|text| {
            let parsed = Format::parse(&text);
            parsed
                .map_err(|error| errors.push(field("format", error.to_string())))
                .ok()
        });
        if !errors.is_empty() {
            return Err(Problem::fields(errors));
        }
        Ok(WebhookInput {
            name: self.name,
            description: self.description,
            target_url,
            events: self.events,
            format,
            filter: self.filter,
            headers: self.headers.map(|given| unmask(given, headers)),
            signature_prefix: self.signature_prefix,
            schedule: self.schedule,
            timeout_ms: self.timeout_ms,
            concurrency: self.concurrency,
            rate_per_s: self.rate_per_second,
            ordered: self.ordered,
            active,
            secret: self
                .secret
                .map_or(SecretChoice::Unsaid, SecretChoice::Given),
        })
    }
}

fn field(path: &str, message: String) -> FieldError {
    FieldError {
        path: path.to_owned(),
        message,
    }
}

/// The value of a field that has two names. Where they say different things, the one that changes
/// something counts: clients read a record, set one of the names, and send all of it back.
fn either<T: PartialEq>(
    a: (&str, Option<T>),
    b: (&str, Option<T>),
    present: Option<&T>,
    errors: &mut Vec<FieldError>,
) -> Option<T> {
    match (a.1, b.1) {
        (Some(first), Some(second)) if first == second || Some(&second) == present => Some(first),
        (Some(first), Some(second)) if Some(&first) == present => Some(second),
        (Some(_), Some(_)) => {
            let message = format!("says something else than `{}`: give one of them", a.0);
            errors.push(field(b.0, message));
            None
        }
        (first, second) => first.or(second),
    }
}

/// Puts the values back that an answer has masked, so that what was read can be sent back.
fn unmask(given: Vec<(String, String)>, present: &[(String, String)]) -> Vec<(String, String)> {
    let restore = |(name, value): (String, String)| {
        let masked = value == header::MASK && header::is_sensitive(&name);
        let known = present
            .iter()
            .find(|(known, _)| masked && known.eq_ignore_ascii_case(&name));
        let value = known.map_or(value, |(_, known)| known.clone());
        (name, value)
    };
    given.into_iter().map(restore).collect()
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::*;
    use crate::api::fields;

    fn input(body: &str) -> Result<WebhookInput, Problem> {
        fields::parse::<WebhookBody>(body.as_bytes())?.into_input(None)
    }

    #[test]
    fn every_documented_field_is_known() {
        let schema = serde_json::to_value(WebhookBody::schema()).unwrap();
        let documented: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(documented.len(), WebhookBody::KNOWN.len());
        for name in documented {
            assert!(WebhookBody::KNOWN.contains(&name.as_str()), "{name}");
        }
    }

    #[test]
    fn a_field_with_two_names_says_one_thing() {
        let url = |body| input(body).unwrap().target_url.unwrap();
        assert_eq!(url(r#"{"url":"https://a.example"}"#), "https://a.example");
        assert_eq!(
            url(r#"{"url":"https://a.example","targetUrl":"https://a.example"}"#),
            "https://a.example"
        );
        let problem = input(r#"{"url":"https://a.example","targetUrl":"https://b.example","isActive":true,"active":false}"#).unwrap_err();
        let paths: Vec<_> = problem
            .errors()
            .iter()
            .map(|error| error.path.as_str())
            .collect();
        assert_eq!(paths, ["url", "active"]);
    }

    fn change(body: &str) -> Result<WebhookInput, Problem> {
        let present = Present {
            target_url: "https://a.example".to_owned(),
            is_active: true,
            headers: vec![("Authorization".to_owned(), "Bearer x".to_owned())],
        };
        fields::parse::<WebhookBody>(body.as_bytes())?.into_input(Some(&present))
    }

    #[test]
    fn a_record_that_comes_back_is_changed_by_either_name() {
        for body in [
            r#"{"url":"https://b.example","targetUrl":"https://a.example","isActive":true,"active":false}"#,
            r#"{"url":"https://a.example","targetUrl":"https://b.example","isActive":false,"active":true}"#,
        ] {
            let input = change(body).unwrap();
            assert_eq!(
                input.target_url.as_deref(),
                Some("https://b.example"),
                "{body}"
            );
            assert_eq!(input.active, Some(false), "{body}");
        }
        let both = change(r#"{"url":"https://b.example","targetUrl":"https://c.example"}"#);
        assert_eq!(both.unwrap_err().errors()[0].path, "url");
    }

    #[test]
    fn a_masked_value_that_comes_back_keeps_the_one_that_is_set() {
        let body = r#"{"headers":{"authorization":"***","X-Note":"***","X-Token":"***"}}"#;
        let headers = change(body).unwrap().headers.unwrap();
        let values: Vec<_> = headers.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["Bearer x", "***", "***"]);
    }

    #[test]
    fn null_takes_the_default_back() {
        let input = input(r#"{"description":null,"timeoutMs":null,"headers":null,"schedule":null,"ratePerSecond":null}"#).unwrap();
        assert_eq!(input.description, Some(None));
        assert_eq!(input.timeout_ms, Some(None));
        assert_eq!(input.headers, Some(Vec::new()));
        assert_eq!(input.schedule, Some(None));
        assert_eq!(input.rate_per_s, Some(None));
        assert_eq!(input.concurrency, None);
    }
}
