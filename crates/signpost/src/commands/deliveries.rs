//! `signpost deliveries`: where events are on their way, what receivers answered, and once more.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{Color, Table};
use http::Method;
use serde_json::Value;

use super::{
    attempt_log,
    connection::Connection,
    events::{more, path_part},
};
use crate::{
    client::Client,
    edge,
    output::{self, GOOD, Out, cell, show, styled, text},
    when::{self, When},
};

/// List deliveries, read the log of one's attempts, retry one
#[derive(Debug, Args)]
pub struct DeliveriesArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: DeliveriesCommand,
}

#[derive(Debug, Subcommand)]
enum DeliveriesCommand {
    List(ListArgs),
    Show(ShowArgs),
    Retry(RetryArgs),
}

/// List deliveries, newest first
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only to this webhook
    #[arg(long, value_name = "ID")]
    webhook: Option<String>,

    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Which deliveries, beside the webhook.
#[derive(Clone, Debug, Args)]
pub struct FilterArgs {
    /// Only of this event
    #[arg(long, value_name = "ID")]
    event: Option<String>,

    /// Only in this state
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<State>,

    /// Only made since: a time or a span ago
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    since: Option<When>,

    /// At most this many
    #[arg(long, default_value_t = 25, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    /// To be sent, now or at its due time
    Pending,
    /// The receiver answered 2xx
    Delivered,
    /// Given up
    Dead,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// Show one delivery and the log of its attempts: headers, answers, errors
#[derive(Debug, Args)]
struct ShowArgs {
    /// The delivery's id
    id: String,
}

/// Send one delivery again now, whatever its state
#[derive(Debug, Args)]
struct RetryArgs {
    /// The delivery's id
    id: String,
}

/// Runs `signpost deliveries`.
pub async fn run(args: DeliveriesArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match args.command {
        DeliveriesCommand::List(args) => {
            list(
                &client,
                "/api/v1/deliveries",
                args.webhook.as_deref(),
                &args.filter,
                out,
            )
            .await?;
        }
        DeliveriesCommand::Show(args) => show_one(&client, &args.id, out).await?,
        DeliveriesCommand::Retry(args) => retry(&client, &args.id, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists deliveries from `path`.
pub async fn list(
    client: &Client,
    path: &str,
    webhook: Option<&str>,
    filter: &FilterArgs,
    out: Out,
) -> Result<()> {
    let since = filter
        .since
        .map(|when| when.instant(edge::now()).to_string());
    let query: Vec<(&str, &str)> = [
        ("webhookId", webhook),
        ("eventId", filter.event.as_deref()),
        ("state", filter.state.map(State::as_str)),
        ("since", since.as_deref()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect();
    let listing = client.list(path, &query, filter.limit as usize).await?;
    if out.is_json() {
        return out.document(&listing);
    }
    out.table(rows(&listing.data), "no such deliveries")?;
    more(listing.next_cursor.as_deref(), out);
    Ok(())
}

/// Deliveries as a table.
pub fn rows(deliveries: &[Value]) -> Table {
    let mut table = output::table([
        "DELIVERY", "STATE", "ATTEMPTS", "LAST", "EVENT", "EVENT ID", "WEBHOOK", "CREATED",
    ]);
    for delivery in deliveries {
        let state = text(delivery, "state").unwrap_or_default();
        let color = state_color(state);
        let last =
            text(delivery, "lastError").map_or_else(|| show(delivery, "lastStatus"), str::to_owned);
        table.add_row(vec![
            cell(&show(delivery, "id"), None),
            cell(state, color),
            cell(&show(delivery, "attemptCount"), None),
            cell(&last, None),
            cell(&show(delivery, "event"), None),
            cell(&show(delivery, "eventId"), None),
            cell(&show(delivery, "webhookId"), None),
            cell(&show(delivery, "createdAt"), None),
        ]);
    }
    table
}

/// The colour in which a delivery's state is shown.
pub fn state_color(state: &str) -> Option<Color> {
    match state {
        "delivered" => Some(Color::Green),
        "pending" => Some(Color::Yellow),
        "dead" => Some(Color::Red),
        _ => None,
    }
}

async fn show_one(client: &Client, id: &str, out: Out) -> Result<()> {
    let delivery = client
        .get(&format!("/api/v1/deliveries/{}", path_part(id)), &[])
        .await?;
    if out.is_json() {
        return out.document(&delivery);
    }
    let fields = [
        "id",
        "state",
        "event",
        "eventId",
        "webhookId",
        "createdAt",
        "nextAttemptAt",
        "finishedAt",
    ];
    out.table(
        output::card(fields.map(|field| (field, show(&delivery, field)))),
        "",
    )?;
    for attempt in delivery
        .get("attempts")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        out.line("")?;
        out.line(attempt_log::render(attempt))?;
    }
    Ok(())
}

async fn retry(client: &Client, id: &str, out: Out) -> Result<()> {
    let path = format!("/api/v1/deliveries/{}/retry", path_part(id));
    let answer = client.send(Method::POST, &path, None).await?;
    if out.is_json() {
        return out.document(&answer.body);
    }
    out.line(format_args!(
        "{} it is sent again now; see: signpost deliveries show {id}",
        styled(GOOD, "✓")
    ))
}

/// How long an attempt took, as people read it.
pub fn took(attempt: &Value) -> String {
    match attempt.get("durationMs").and_then(Value::as_f64) {
        None => String::new(),
        Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
        Some(ms) => when::show(Duration::try_from_secs_f64(ms / 1_000.0).unwrap_or_default()),
    }
}
