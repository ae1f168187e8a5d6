//! What can be set of a webhook, from flags to the document that the server takes.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use domain::format::Format;
use serde_json::{Map, Value, json};
use url::Url;

use crate::{
    commands::{headers::Headers, input, sign::parse_format},
    problem::Problem,
    when,
};

/// Flags of `create` and `update` alike.
#[derive(Clone, Debug, Args)]
pub struct Fields {
    /// What it subscribes to, separated by commas: exact types, `prefix.*`, or `*`
    #[arg(short, long, value_name = "TYPES", value_delimiter = ',')]
    events: Vec<String>,

    /// What people call it [default on create: the host of its URL]
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Which bodies and headers it gets: default, agent-factory, orchestration or cloudevents
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,

    /// Its signing secret [default on create: the server makes one]; @file reads one, - reads
    /// standard input
    #[arg(long, hide_env_values = true, value_name = "SECRET|@FILE|-")]
    secret: Option<String>,

    /// A header that each delivery carries, as 'Name: value'; repeat it for each
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,

    /// Only events whose body passes this filter (JSON, @file, or -)
    #[arg(long, value_name = "JSON|@FILE|-")]
    filter: Option<String>,

    /// When a failed delivery is tried again: spans such as 5s,5m,2h, a preset (default,
    /// agent-factory), or JSON
    #[arg(long, value_name = "SPANS")]
    schedule: Option<String>,

    /// How long a whole exchange may take, 1s to 30s
    #[arg(long, value_name = "SPAN", value_parser = when::span)]
    timeout: Option<Duration>,

    /// How many deliveries may be in flight at once
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,

    /// Attempts per second at most; 0 takes the limit off
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,

    /// Whether deliveries go strictly in order, one at a time
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ordered: Option<bool>,

    /// What stands before the hex signature, such as `sha256=`
    #[arg(long, value_name = "PREFIX")]
    signature_prefix: Option<String>,

    /// Further fields, or all of them, as the API takes them (JSON, @file, or -)
    #[arg(short, long, value_name = "JSON|@FILE|-")]
    data: Option<String>,
}

impl Fields {
    /// The fields that were named, as the server takes them. Flags win over `--data`.
    ///
    /// # Errors
    /// If a file can't be read, or something is not of its form.
    pub fn document(&self) -> Result<Map<String, Value>> {
        let mut body = match &self.data {
            Some(data) => object(data)?,
            None => Map::new(),
        };
        let secret = self.secret.as_deref().map(input::text).transpose()?;
        let named = [
            ("name", self.name.clone().map(Value::from)),
            ("description", self.description.clone().map(Value::from)),
            ("format", self.format.map(|format| format.as_str().into())),
            ("secret", secret.map(Value::from)),
            (
                "filter",
                self.filter.as_deref().map(json_value).transpose()?,
            ),
            (
                "schedule",
                self.schedule.as_deref().map(schedule).transpose()?,
            ),
            (
                "timeoutMs",
                self.timeout.map(|timeout| json!(timeout.as_millis())),
            ),
            ("concurrency", self.concurrency.map(Value::from)),
            (
                "ratePerSecond",
                self.rate
                    .map(|rate| if rate > 0.0 { json!(rate) } else { Value::Null }),
            ),
            ("ordered", self.ordered.map(Value::from)),
            (
                "signaturePrefix",
                self.signature_prefix.clone().map(Value::from),
            ),
        ];
        for (field, value) in named {
            if let Some(value) = value {
                body.insert(field.to_owned(), value);
            }
        }
        if !self.events.is_empty() {
            body.insert("events".to_owned(), json!(self.events));
        }
        if !self.headers.is_empty() {
            let headers = Headers::parse(&self.headers)?;
            let headers: Map<String, Value> = headers
                .iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect();
            body.insert("headers".to_owned(), Value::Object(headers));
        }
        Ok(body)
    }
}

fn json_value(argument: &str) -> Result<Value> {
    Ok(serde_json::from_str(input::json(argument)?.get())?)
}

fn object(argument: &str) -> Result<Map<String, Value>> {
    match json_value(argument)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Problem::misuse("--data is no JSON object")
            .at(argument)
            .into()),
    }
}

/// The schedules that have a name.
const PRESETS: [&str; 2] = ["default", "agent-factory"];

/// Spans, a preset's name, or JSON; the server checks what they say.
fn schedule(argument: &str) -> Result<Value> {
    if argument.starts_with(['{', '[', '@', '"']) || argument == "-" {
        return json_value(argument);
    }
    let spans: Vec<&str> = argument.split(',').map(str::trim).collect();
    if argument == "none" {
        return Ok(json!({ "delays": [] }));
    }
    if spans.iter().all(|text| when::span(text).is_ok()) {
        return Ok(json!({ "delays": spans }));
    }
    if PRESETS.contains(&argument) {
        return Ok(argument.into());
    }
    Err(Problem::misuse(format!("`{argument}` is no schedule"))
        .at("--schedule")
        .advice("name a preset (default, agent-factory), or write the delays before each retry: spans such as 5s,5m,2h, or none")
        .into())
}

/// A name for a webhook of this URL: its host.
pub fn name_of(url: &str) -> String {
    Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_else(|| "webhook".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        fields: Fields,
    }

    fn document(flags: &[&str]) -> Value {
        let line = Line::try_parse_from(std::iter::once("x").chain(flags.iter().copied())).unwrap();
        Value::Object(line.fields.document().unwrap())
    }

    #[test]
    fn flags_become_the_fields_of_the_api() {
        let flags = [
            "-e",
            "a.b,c.*",
            "--format",
            "cloudevents",
            "--timeout",
            "5s",
            "--rate",
            "2.5",
            "--ordered",
            "-H",
            "X-Team: a",
            "--schedule",
            "5s,1m",
            "--secret",
            "s3cret-text",
        ];
        assert_eq!(
            document(&flags),
            json!({
                "format": "cloudevents", "secret": "s3cret-text",
                "schedule": {"delays": ["5s", "1m"]}, "timeoutMs": 5000, "ratePerSecond": 2.5,
                "ordered": true, "events": ["a.b", "c.*"], "headers": {"x-team": "a"},
            })
        );
    }

    #[test]
    fn limits_can_be_taken_off_and_anything_said_in_json() {
        assert_eq!(
            document(&["--rate", "0", "--ordered=false"]),
            json!({"ratePerSecond": null, "ordered": false})
        );
        assert_eq!(
            document(&["-d", r#"{"x": 1, "name": "a"}"#, "--name", "b"]),
            json!({"x": 1, "name": "b"})
        );
        assert_eq!(
            document(&["--schedule", "agent-factory"]),
            json!({"schedule": "agent-factory"})
        );
        assert_eq!(
            document(&["--schedule", "none"]),
            json!({"schedule": {"delays": []}})
        );
        assert_eq!(
            document(&["--schedule", r#"{"within":"1h"}"#]),
            json!({"schedule": {"within": "1h"}})
        );
    }

    #[test]
    fn a_refused_schedule_names_the_forms_that_are_taken() {
        for text in ["banana", "5s,banana", ""] {
            let error = schedule(text).unwrap_err();
            let told = crate::problem::render(&error).unwrap();
            for form in ["default", "agent-factory", "5s,5m,2h", "none"] {
                assert!(told.contains(form), "{told}");
            }
        }
        for preset in PRESETS {
            let read: Result<domain::schedule::RetrySchedule, _> =
                serde_json::from_value(schedule(preset).unwrap());
            assert!(read.is_ok(), "{preset}");
        }
    }

    #[test]
    fn a_webhook_is_called_after_its_host() {
        assert_eq!(
            name_of("https://hooks.example.com:8443/x"),
            "hooks.example.com"
        );
        assert_eq!(name_of("nonsense"), "webhook");
    }
}
