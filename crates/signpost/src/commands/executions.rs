//! `signpost executions`: what runs and ran on a server, step by step.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use comfy_table::Color;
use http::Method;
use serde_json::{Value, json};

use super::{
    connection::Connection,
    events::{more, path_part},
};
use crate::{
    cli::done,
    client::{Client, Followed},
    output::{self, BAD, BOLD, DIM, Out, cell, show, styled, text},
    terminal,
};

/// Look at executions, follow them, stop them, have them go on
#[derive(Debug, Args)]
pub struct ExecutionsArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: ExecutionsCommand,
}

#[derive(Debug, Subcommand)]
enum ExecutionsCommand {
    List(ListArgs),
    Show(OneArgs),
    Follow(FollowArgs),
    Stop(StopArgs),
    Retry(RetryArgs),
    Approve(ApproveArgs),
}

/// List executions, newest first
#[derive(Debug, Args)]
struct ListArgs {
    /// Only of this workflow, by its id
    #[arg(long, value_name = "ID")]
    workflow: Option<String>,

    /// Only in this state: pending, running, waiting, completed, failed or stopped
    #[arg(long)]
    state: Option<String>,

    /// At most this many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Show an execution and its steps in order
#[derive(Debug, Args)]
struct OneArgs {
    /// The execution's id
    id: String,
}

/// Follow an execution until it has ended; exits with 1 unless it completed
#[derive(Debug, Args)]
struct FollowArgs {
    /// The execution's id
    id: String,
}

/// Stop an execution
#[derive(Debug, Args)]
struct StopArgs {
    /// The execution's id
    id: String,
}

/// Have a failed or stopped execution go on where that happened
#[derive(Debug, Args)]
struct RetryArgs {
    /// The execution's id
    id: String,
}

/// Answer an approval that an execution waits for
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost executions approve exe_…
  signpost executions approve exe_… --deny --comment 'not before Monday'")]
struct ApproveArgs {
    /// The execution's id
    id: String,

    /// Do not approve
    #[arg(long)]
    deny: bool,

    /// The number of the step, where several wait
    #[arg(long, value_name = "N")]
    step: Option<u32>,

    /// What there is to say about it
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

/// Runs `signpost executions`.
pub async fn run(args: ExecutionsArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match args.command {
        ExecutionsCommand::List(args) => list(&client, &args, out).await?,
        ExecutionsCommand::Show(args) => {
            print(&client.get(&path_of(&args.id), &[]).await?, out)?;
        }
        ExecutionsCommand::Follow(args) => return follow(&client, &args.id, out).await,
        ExecutionsCommand::Stop(args) => tell(&client, &args.id, "stop", None, out).await?,
        ExecutionsCommand::Retry(args) => tell(&client, &args.id, "retry", None, out).await?,
        ExecutionsCommand::Approve(args) => {
            let mut body = json!({ "approved": !args.deny });
            if let Some(step) = args.step {
                body["step"] = step.into();
            }
            if let Some(comment) = args.comment {
                body["comment"] = comment.into();
            }
            tell(&client, &args.id, "approve", Some(body.to_string()), out).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path_of(id: &str) -> String {
    format!("/api/v1/executions/{}", path_part(id))
}

async fn list(client: &Client, args: &ListArgs, out: Out) -> Result<()> {
    let query: Vec<(&str, &str)> = [("workflowId", &args.workflow), ("state", &args.state)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect();
    let listing = client
        .list("/api/v1/executions", &query, args.limit as usize)
        .await?;
    if out.is_json() {
        return out.document(&listing);
    }
    let mut table = output::table(["ID", "STATE", "WORKFLOW", "VERSION", "STEPS", "CREATED"]);
    for execution in &listing.data {
        table.add_row(vec![
            cell(&show(execution, "id"), None),
            cell(&show(execution, "state"), Some(color(execution))),
            cell(&show(execution, "workflowId"), None),
            cell(&show(execution, "version"), None),
            cell(&show(execution, "steps"), None),
            cell(&show(execution, "createdAt"), None),
        ]);
    }
    out.table(table, "no executions: signpost workflows run NAME")?;
    more(listing.next_cursor.as_deref(), out);
    Ok(())
}

fn color(record: &Value) -> Color {
    match text(record, "state") {
        Some("completed") => Color::Green,
        Some("failed") => Color::Red,
        _ => Color::Yellow,
    }
}

async fn tell(client: &Client, id: &str, what: &str, body: Option<String>, out: Out) -> Result<()> {
    let path = format!("{}/{what}", path_of(id));
    let answer = client.send(Method::POST, &path, body).await?;
    if out.is_json() {
        return out.document(&answer.body);
    }
    out.line(format_args!(
        "{} is {}",
        show(&answer.body, "id"),
        show(&answer.body, "state")
    ))
}

/// Prints an execution with its timeline.
pub fn print(execution: &Value, out: Out) -> Result<()> {
    if out.is_json() {
        return out.document(execution);
    }
    let fields = [
        "id",
        "state",
        "workflowId",
        "version",
        "createdAt",
        "endedAt",
    ];
    let rows = fields.map(|field| (field, show(execution, field)));
    out.table(output::card(rows), "")?;
    let mut table = output::table(["#", "NODE", "ATTEMPT", "STATE", "STARTED", "ENDED", "WHY"]);
    for step in execution["timeline"].as_array().into_iter().flatten() {
        table.add_row(vec![
            cell(&show(step, "number"), None),
            cell(&show(step, "node"), None),
            cell(&show(step, "attempt"), None),
            cell(&show(step, "state"), Some(color(step))),
            cell(&show(step, "startedAt"), None),
            cell(&show(step, "endedAt"), None),
            cell(
                &terminal::brief(text(step, "error/message").unwrap_or_default(), 60),
                None,
            ),
        ]);
    }
    out.table(table, "no steps yet")?;
    for running in execution["running"].as_array().into_iter().flatten() {
        out.line(format_args!("▸ {} runs", show(running, "node")))?;
    }
    if let Some(message) = text(execution, "error/message") {
        out.line(styled(BAD, terminal::line(message)))?;
    }
    if let Some(result) = execution.get("result").filter(|result| !result.is_null()) {
        let pretty = serde_json::to_string_pretty(result)?;
        out.line(terminal::block(&pretty))?;
    }
    Ok(())
}

async fn follow(client: &Client, id: &str, out: Out) -> Result<ExitCode> {
    let path = format!("{}/events", path_of(id));
    let mut follow = client.follow(&path, &[]).await?;
    loop {
        let next = tokio::select! {
            next = follow.next() => next?,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        };
        let message = match next {
            Followed::Message(message) => message,
            Followed::Lost(why) => {
                let why = terminal::line(&why).into_owned();
                out.note(styled(BAD, format_args!("connection lost ({why})")));
                continue;
            }
            Followed::Back => continue,
        };
        let Ok(told) = serde_json::from_str::<Value>(&message.data) else {
            continue;
        };
        if out.is_json() {
            out.record(&json!({ "event": message.event, "data": told }))?;
        } else if let Some(line) = line(&message.event, &told) {
            out.line(line)?;
        }
        if message.event == "end" {
            return Ok(done(text(&told, "state") == Some("completed")));
        }
    }
}

/// What a message of the stream says, in a line.
fn line(event: &str, told: &Value) -> Option<String> {
    let node = show(told, "node");
    match event {
        "started" => Some(styled(DIM, format_args!("▸ {node}"))),
        "step" => Some(match text(told, "error/message") {
            Some(why) => format!("{node} {}: {}", show(told, "state"), terminal::line(why)),
            None => format!("{node} {}", show(told, "state")),
        }),
        "tool" => Some(styled(
            DIM,
            format_args!("  {node} calls {}", show(told, "tool")),
        )),
        "state" => Some(styled(DIM, format_args!("it is {}", show(told, "state")))),
        "end" => Some(match text(told, "error/message") {
            Some(why) => format!("{} {}", styled(BAD, "failed:"), terminal::line(why)),
            None => format!(
                "{} {}",
                styled(BOLD, show(told, "state")),
                show(told, "result")
            ),
        }),
        _ => None,
    }
}
