//! `signpost receipts`: what came in, and what became of it.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use comfy_table::Color;
use http::Method;

use super::{
    connection::Connection,
    events::{more, path_part},
};
use crate::{
    client::Client,
    output::{self, GOOD, Out, cell, show, styled, text},
    terminal,
};

/// List what came in, look at it, replay it
#[derive(Debug, Args)]
pub struct ReceiptsArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: ReceiptsCommand,
}

#[derive(Debug, Subcommand)]
enum ReceiptsCommand {
    List(ListArgs),
    Show(ShowArgs),
    Replay(ReplayArgs),
}

/// List receipts, newest first
#[derive(Debug, Args)]
struct ListArgs {
    /// Only what came in at this source, by id
    #[arg(long, value_name = "SOURCE", conflicts_with = "trigger")]
    source: Option<String>,

    /// Only what came in at this trigger's URL, by id
    #[arg(long, value_name = "TRIGGER")]
    trigger: Option<String>,

    /// Only with this outcome: started, ignored, challenge, refused, failed
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,

    /// At most this many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Show one receipt with its headers and its body
#[derive(Debug, Args)]
struct ShowArgs {
    /// The receipt's id
    id: String,
}

/// Run a request once more, as its door's triggers are now
#[derive(Debug, Args)]
struct ReplayArgs {
    /// The receipt's id
    id: String,
}

/// Runs `signpost receipts`.
pub async fn run(args: ReceiptsArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match args.command {
        ReceiptsCommand::List(args) => list(&client, &args, out).await?,
        ReceiptsCommand::Show(args) => show_one(&client, &args.id, out).await?,
        ReceiptsCommand::Replay(args) => replay(&client, &args.id, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn path_of(id: &str) -> String {
    format!("/api/v1/receipts/{}", path_part(id))
}

async fn list(client: &Client, args: &ListArgs, out: Out) -> Result<()> {
    let filter = [
        ("source", &args.source),
        ("trigger", &args.trigger),
        ("outcome", &args.outcome),
    ];
    let query: Vec<(&str, &str)> = filter
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect();
    let listing = client
        .list("/api/v1/receipts", &query, args.limit as usize)
        .await?;
    if out.is_json() {
        return out.document(&listing);
    }
    let mut table = output::table([
        "ID",
        "OUTCOME",
        "RECEIVED",
        "DOOR",
        "EVENT",
        "EXECUTIONS",
        "REASON",
    ]);
    for receipt in &listing.data {
        let outcome = text(receipt, "outcome").unwrap_or_default();
        let color = match outcome {
            "started" => Color::Green,
            "refused" | "failed" => Color::Red,
            _ => Color::Yellow,
        };
        table.add_row(vec![
            cell(&show(receipt, "id"), None),
            cell(outcome, Some(color)),
            cell(&show(receipt, "receivedAt"), None),
            cell(&show(receipt, "door"), None),
            cell(&terminal::brief(&show(receipt, "eventId"), 40), None),
            cell(&show(receipt, "executions"), None),
            cell(&terminal::brief(&show(receipt, "reason"), 60), None),
        ]);
    }
    out.table(table, "nothing came in yet")?;
    more(listing.next_cursor.as_deref(), out);
    Ok(())
}

async fn show_one(client: &Client, id: &str, out: Out) -> Result<()> {
    let receipt = client.get(&path_of(id), &[]).await?;
    if out.is_json() {
        return out.document(&receipt);
    }
    let fields = [
        "id",
        "outcome",
        "reason",
        "door",
        "sourceId",
        "triggerId",
        "receivedAt",
        "peer",
        "eventId",
        "executions",
        "replayOf",
        "bodyBytes",
    ];
    let rows = fields.iter().filter_map(|field| {
        let shown = show(&receipt, field);
        (!["–", ""].contains(&shown.as_str())).then_some((*field, shown))
    });
    out.table(output::card(rows), "")?;
    out.line("")?;
    for header in receipt["headers"].as_array().into_iter().flatten() {
        let part = |index: usize| {
            header[index]
                .as_str()
                .map(terminal::line)
                .unwrap_or_default()
        };
        out.line(format_args!("{}: {}", part(0), part(1)))?;
    }
    out.line("")?;
    let body = text(&receipt, "body").or_else(|| text(&receipt, "bodyBase64"));
    for line in body.unwrap_or_default().lines() {
        out.line(terminal::line(line))?;
    }
    Ok(())
}

async fn replay(client: &Client, id: &str, out: Out) -> Result<()> {
    let path = format!("{}/replay", path_of(id));
    let answer = client.send(Method::POST, &path, None).await?;
    if out.is_json() {
        return out.document(&answer.body);
    }
    let executions = answer.body["executions"].as_array().map_or(0, Vec::len);
    out.line(format_args!(
        "{} replayed as {}: {executions} execution(s) started",
        styled(GOOD, "✓"),
        show(&answer.body, "receiptId")
    ))?;
    for execution in answer.body["executions"].as_array().into_iter().flatten() {
        let id = execution.as_str().unwrap_or_default();
        out.line(format_args!("  {}", terminal::line(id)))?;
    }
    Ok(())
}
