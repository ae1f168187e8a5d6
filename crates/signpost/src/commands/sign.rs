//! `signpost sign`: signs a body as a webhook of ours would be, offline.

use std::process::ExitCode;

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use domain::{
    EventId, EventKey, Timestamp, WorkspaceId,
    event::{Event, EventType},
    format::{self, Format, Outgoing},
    signature::Signer,
};
use serde_json::{Map, Value, json};

use super::{input, secret::SecretArgs};
use crate::{
    edge,
    output::{DIM, Out, styled},
    problem::Problem,
    terminal,
    when::When,
};

/// Sign a body offline: the headers a webhook of this secret gets, and a curl line that sends them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost sign --secret-file secret.txt --body @event.json
  signpost sign --secret whsec_… --body '{\"event\":\"workflow.completed\"}' --url http://127.0.0.1:3000/hook
  cat event.json | signpost sign --secret-file secret.txt --body - --json")]
pub struct SignArgs {
    #[command(flatten)]
    secret: SecretArgs,

    /// What is signed, byte for byte: the text itself, @file, or - for standard input
    #[arg(short, long, value_name = "TEXT|@FILE|-")]
    body: String,

    /// Whose headers: default, agent-factory, orchestration or cloudevents
    #[arg(long, default_value = "default", value_name = "FORMAT", value_parser = parse_format)]
    format: Format,

    /// The message's id [default: the body's `id`, else a new one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,

    /// The event's type [default: the body's `event`]
    #[arg(long, value_name = "TYPE")]
    event: Option<String>,

    /// When it is signed: a time or a span ago [default: now]
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    at: Option<When>,

    /// What stands before the hex signature, such as `sha256=`
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "PREFIX"
    )]
    signature_prefix: String,

    /// The receiver that the curl line names
    #[arg(
        long,
        default_value = "http://127.0.0.1:3000/webhook",
        value_name = "URL"
    )]
    url: String,
}

/// Reads a format's name.
pub fn parse_format(text: &str) -> Result<Format, domain::format::FormatError> {
    Format::parse(text)
}

/// Runs `signpost sign`.
pub fn run(args: &SignArgs, out: Out) -> Result<ExitCode> {
    let secret = args.secret.read()?;
    let body = input::bytes(&args.body)?;
    let now = edge::now();
    let (event, has_type) = described_event(args, &body, now)?;
    let signer = Signer::new(&[secret]);
    let mut headers = vec![(
        "content-type".to_owned(),
        args.format.content_type().to_owned(),
    )];
    let outgoing = Outgoing {
        format: args.format,
        event: &event,
        body: &body,
        attempt_unix_s: args.at.map_or(now, |at| at.instant(now)).unix_s(),
        signer: &signer,
        signature_prefix: &args.signature_prefix,
    };
    format::webhook_headers(&outgoing, |name, value| {
        let stands = name != format::HOPS_HEADER && (has_type || name != "x-webhook-event");
        if stands {
            headers.push((name.to_owned(), value.to_owned()));
        }
    });
    let curl = curl_line(args, &headers);
    if out.is_json() {
        let headers: Map<String, Value> = headers
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        out.document(&json!({ "headers": headers, "curl": curl }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for (name, value) in &headers {
        out.line(format_args!(
            "{}: {}",
            terminal::line(name),
            terminal::line(value)
        ))?;
    }
    out.line(format_args!(
        "\n{}\n{}",
        styled(DIM, "Send it:"),
        terminal::block(&curl)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The event that the headers speak of, and whether its type is known.
fn described_event(args: &SignArgs, body: &[u8], now: Timestamp) -> Result<(Event, bool)> {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let told = |names: &[&str]| names.iter().find_map(|name| told.get(name)?.as_str());
    let key = EventKey::new(edge::id());
    let id = match (&args.id, told(&["id"])) {
        (Some(id), _) => {
            EventId::parse(id).map_err(|error| Problem::misuse(error.to_string()).at("--id"))?
        }
        (None, Some(id)) => EventId::parse(id).unwrap_or_else(|_| EventId::from_key(key)),
        (None, None) => EventId::from_key(key),
    };
    let named = args.event.as_deref().or_else(|| told(&["event", "type"]));
    let event_type = match (named.map(EventType::parse), &args.event) {
        (Some(Err(error)), Some(_)) => {
            return Err(Problem::misuse(error.to_string()).at("--event").into());
        }
        (parsed, _) => parsed.and_then(Result::ok),
    };
    let has_type = event_type.is_some();
    let placeholder = || EventType::parse("webhook.test").expect("it is well formed");
    let timestamp = told(&["timestamp", "time"])
        .and_then(|text| Timestamp::parse(text).ok())
        .unwrap_or_else(|| args.at.map_or(now, |at| at.instant(now)));
    let event = Event {
        workspace: WorkspaceId::DEFAULT,
        key,
        id,
        event_type: event_type.unwrap_or_else(placeholder),
        timestamp,
        accepted_at: now,
        data: Bytes::new(),
        hops: 0,
    };
    Ok((event, has_type))
}

fn curl_line(args: &SignArgs, headers: &[(String, String)]) -> String {
    let mut line = format!("curl -sS -X POST {}", quoted(&args.url));
    for (name, value) in headers {
        line.push_str(" \\\n  -H ");
        line.push_str(&quoted(&format!("{name}: {value}")));
    }
    let body = match args.body.as_str() {
        "-" => "@-".to_owned(),
        // A body that starts with @ is a file here and to curl alike.
        body => quoted(body),
    };
    line.push_str(" \\\n  --data-binary ");
    line.push_str(&body);
    line
}

/// `text` as one word of a POSIX shell.
pub fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("http://127.0.0.1:3000/x"), "http://127.0.0.1:3000/x");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
