//! `signpost events`: publish events, and look at those that were.

use std::{fmt::Write as _, process::ExitCode, time::Instant};

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{connection::Connection, deliveries, input};
use crate::{
    client::{Answer, Client},
    edge,
    output::{self, DIM, GOOD, Out, show, styled},
    terminal,
    when::When,
};

/// How many publishes are under way at once with `--count`.
const IN_FLIGHT: usize = 16;

/// Publish events, list them, look at one
#[derive(Debug, Args)]
pub struct EventsArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Debug, Subcommand)]
enum EventsCommand {
    Send(SendArgs),
    List(ListArgs),
    Show(ShowArgs),
}

/// Publish an event: every webhook that subscribes to its type gets it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost events send workflow.completed -d '{\"workflowId\":\"w1\",\"status\":\"completed\"}'
  signpost events send order.paid -d @order.json --id order-17:paid
  jq .data incoming.json | signpost events send order.paid -d -
  signpost events send load.test --count 10000

The event is on the server's disk before this command ends. Publishing the same --id again is
answered with the first event and sends nothing twice.")]
struct SendArgs {
    /// The event's type, such as workflow.completed
    #[arg(value_name = "TYPE")]
    event: String,

    /// Its data: JSON, @file, or - for standard input
    #[arg(short, long, default_value = "{}", value_name = "JSON|@FILE|-")]
    data: String,

    /// Its id, by which it is deduplicated [default: the server makes one]
    #[arg(long, value_name = "ID", conflicts_with = "count")]
    id: Option<String>,

    /// When it happened: a time or a span ago [default: now]
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    timestamp: Option<When>,

    /// What becomes of numbers that JavaScript can't carry: `verbatim` keeps their digits, else
    /// they are refused
    #[arg(long, value_enum, value_name = "HOW")]
    numbers: Option<Numbers>,

    /// Publish it this many times, each with an id of its own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    count: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Numbers {
    /// Keep every digit
    Verbatim,
}

/// List events, newest first
#[derive(Debug, Args)]
struct ListArgs {
    /// Only of this type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,

    /// Only accepted since: a time or a span ago
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    since: Option<When>,

    /// Only accepted before: a time or a span ago
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    until: Option<When>,

    /// At most this many
    #[arg(long, default_value_t = 25, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Show one event, its data and its deliveries
#[derive(Debug, Args)]
struct ShowArgs {
    /// The event's id
    id: String,
}

/// Runs `signpost events`.
pub async fn run(args: EventsArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match args.command {
        EventsCommand::Send(args) => send(&client, args, out).await?,
        EventsCommand::List(args) => list(&client, args, out).await?,
        EventsCommand::Show(args) => show_one(&client, &args.id, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What is published. `data` keeps its digits: it is never parsed here.
#[derive(Serialize)]
struct Publish<'a> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<domain::Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    numbers: Option<Numbers>,
    data: &'a RawValue,
}

async fn send(client: &Client, args: SendArgs, out: Out) -> Result<()> {
    let data = input::json(&args.data)?;
    let publish = Publish {
        event: &args.event,
        id: args.id.as_deref(),
        timestamp: args.timestamp.map(|at| at.instant(edge::now())),
        numbers: args.numbers,
        data: &data,
    };
    let body = serde_json::to_string(&publish)?;
    if let Some(count) = args.count {
        return send_many(client, &body, count, out).await;
    }
    let answer = publish_once(client, body).await?;
    if out.is_json() {
        return out.document(&answer.body);
    }
    let id = styled(output::BOLD, show(&answer.body, "id"));
    let event = terminal::line(&args.event);
    if answer.status == StatusCode::OK {
        return out.line(format_args!(
            "{id} was published before: nothing is sent twice"
        ));
    }
    let deliveries = match answer.body.get("deliveries").and_then(Value::as_u64) {
        Some(0) => "no webhook subscribes to it".to_owned(),
        Some(1) => "1 delivery is on its way".to_owned(),
        Some(count) => format!("{count} deliveries are on their way"),
        None => String::new(),
    };
    out.line(format_args!(
        "{} {id} {event} accepted; {deliveries}",
        styled(GOOD, "✓")
    ))?;
    for warning in answer
        .body
        .get("warnings")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        out.note(format_args!(
            "  note: {}",
            terminal::line(warning.as_str().unwrap_or_default())
        ));
    }
    Ok(())
}

async fn publish_once(client: &Client, body: String) -> Result<Answer> {
    client
        .send(Method::POST, "/api/v1/events", Some(body))
        .await
}

async fn send_many(client: &Client, body: &str, count: u64, out: Out) -> Result<()> {
    let bar = out.progress(count, "events");
    let started = Instant::now();
    let sent = stream::iter(0..count)
        .map(|_| publish_once(client, body.to_owned()))
        .buffer_unordered(IN_FLIGHT)
        .try_fold(0_u64, |sent, _| {
            bar.inc(1);
            std::future::ready(Ok(sent + 1))
        })
        .await;
    bar.finish_and_clear();
    let sent = sent.map_err(|error| {
        error.context(format!("failed after {} of {count} events", bar.position()))
    })?;
    let seconds = started.elapsed().as_secs_f64();
    if out.is_json() {
        return out.document(&serde_json::json!({ "accepted": sent, "seconds": seconds }));
    }
    out.line(format_args!(
        "{} {sent} events accepted in {seconds:.1} s",
        styled(GOOD, "✓")
    ))
}

async fn list(client: &Client, args: ListArgs, out: Out) -> Result<()> {
    let now = edge::now();
    let at = |when: Option<When>| when.map(|when| when.instant(now).to_string());
    let (since, until) = (at(args.since), at(args.until));
    let query: Vec<(&str, &str)> = [
        ("type", args.event_type.as_deref()),
        ("since", since.as_deref()),
        ("until", until.as_deref()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect();
    let listing = client
        .list("/api/v1/events", &query, args.limit as usize)
        .await?;
    if out.is_json() {
        return out.document(&listing);
    }
    let mut table = output::table(["ID", "EVENT", "TIMESTAMP"]);
    for event in &listing.data {
        table.add_row(["id", "event", "timestamp"].map(|field| show(event, field)));
    }
    out.table(table, "no events yet: signpost events send TYPE -d JSON")?;
    more(listing.next_cursor.as_deref(), out);
    Ok(())
}

/// Says that a list goes on.
pub fn more(next_cursor: Option<&str>, out: Out) {
    if next_cursor.is_some() {
        out.note(styled(DIM, "there are more: ask with a larger --limit"));
    }
}

async fn show_one(client: &Client, id: &str, out: Out) -> Result<()> {
    let path = format!("/api/v1/events/{}", path_part(id));
    let event = client.get(&path, &[]).await?;
    if out.is_json() {
        return out.document(&event);
    }
    let fields = ["id", "event", "timestamp", "acceptedAt"];
    out.table(
        output::card(fields.map(|field| (field, show(&event, field)))),
        "",
    )?;
    if let Some(data) = event.get("data") {
        let data = serde_json::to_string_pretty(data)?;
        out.line(format_args!("\n{}", terminal::block(&data)))?;
    }
    let listing = client
        .list("/api/v1/deliveries", &[("eventId", id)], 100)
        .await?;
    out.line("")?;
    out.table(
        deliveries::rows(&listing.data),
        "no webhook subscribes to it: there are no deliveries",
    )
}

/// `text` as one segment of a path.
pub fn path_part(text: &str) -> String {
    let mut part = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:+=".contains(&byte) {
            part.push(char::from(byte));
        } else {
            write!(part, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    part
}
