//! `signpost workflows`: what a server can run.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    connection::Connection,
    events::{more, path_part},
    executions,
    run::{input, read},
};
use crate::{
    cli::done,
    client::Client,
    output::{self, DIM, Out, cell, show, styled, text},
    terminal,
};

/// Register workflows on a server, look at them, run them
#[derive(Debug, Args)]
pub struct WorkflowsArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: WorkflowsCommand,
}

#[derive(Debug, Subcommand)]
enum WorkflowsCommand {
    Add(AddArgs),
    List(ListArgs),
    Show(ShowArgs),
    Remove(RemoveArgs),
    Run(RunArgs),
}

/// Register a workflow file: a new workflow, or the next version of the one of its name
#[derive(Debug, Args)]
struct AddArgs {
    /// The workflow file; `-` is standard input
    file: PathBuf,

    /// Another name than the file says
    #[arg(long)]
    name: Option<String>,
}

/// List workflows
#[derive(Debug, Args)]
struct ListArgs {
    /// At most this many
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Show a workflow's file
#[derive(Debug, Args)]
struct ShowArgs {
    /// The workflow's name or id
    workflow: String,
}

/// Remove a workflow with its triggers; what runs goes on
#[derive(Debug, Args)]
struct RemoveArgs {
    /// The workflow's name or id
    workflow: String,
}

/// Run a workflow on the server; waits up to 30 seconds for its end where asked to
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost workflows run report -i topic=webhooks
  signpost workflows run report -i topic=webhooks --wait 30")]
struct RunArgs {
    /// The workflow's name or id
    workflow: String,

    /// An input: JSON where it is that, else text; repeat it
    #[arg(short, long = "input", value_name = "NAME=VALUE", value_parser = input)]
    inputs: Vec<(String, Value)>,

    /// Models are the offline stand-in
    #[arg(long)]
    offline: bool,

    /// Wait this many seconds for its end
    #[arg(long, default_value_t = 0, value_name = "SECONDS", value_parser = clap::value_parser!(u8).range(0..=30))]
    wait: u8,
}

/// Runs `signpost workflows`.
pub async fn run(args: WorkflowsArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match args.command {
        WorkflowsCommand::Add(args) => add(&client, &args, out).await?,
        WorkflowsCommand::List(args) => list(&client, args.limit as usize, out).await?,
        WorkflowsCommand::Show(args) => show_one(&client, &args.workflow, out).await?,
        WorkflowsCommand::Remove(args) => {
            let path = path_of(&args.workflow);
            client.send(Method::DELETE, &path, None).await?;
            out.note("removed");
        }
        WorkflowsCommand::Run(args) => return start(&client, args, out).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn path_of(workflow: &str) -> String {
    format!("/api/v1/workflows/{}", path_part(workflow))
}

async fn add(client: &Client, args: &AddArgs, out: Out) -> Result<()> {
    let source = String::from_utf8_lossy(&read(&args.file)?).into_owned();
    let named = match &args.name {
        Some(name) => Some(name.clone()),
        None => domain::workflow::file::read(source.as_bytes())
            .ok()
            .map(|loaded| loaded.definition.name),
    };
    let mut body = json!({ "source": source });
    if let Some(name) = &args.name {
        body["name"] = name.as_str().into();
    }
    let known = client.list("/api/v1/workflows", &[], 100_000).await?;
    let is_known = named.as_deref().is_some_and(|name| {
        let mut all = known.data.iter();
        all.any(|workflow| text(workflow, "name") == Some(name))
    });
    let (method, path) = match named.filter(|_| is_known) {
        Some(name) => (Method::PUT, path_of(&name)),
        None => (Method::POST, "/api/v1/workflows".to_owned()),
    };
    let workflow = client
        .send(method, &path, Some(body.to_string()))
        .await?
        .body;
    if out.is_json() {
        return out.document(&workflow);
    }
    for warning in workflow["warnings"].as_array().into_iter().flatten() {
        out.note(styled(
            DIM,
            format_args!("{}: {}", show(warning, "path"), show(warning, "message")),
        ));
    }
    out.line(format_args!(
        "{} {} version {} ({})",
        show(&workflow, "id"),
        show(&workflow, "name"),
        show(&workflow, "version"),
        show(&workflow, "outcome"),
    ))
}

async fn list(client: &Client, limit: usize, out: Out) -> Result<()> {
    let listing = client.list("/api/v1/workflows", &[], limit).await?;
    if out.is_json() {
        return out.document(&listing);
    }
    let mut table = output::table(["ID", "NAME", "VERSION", "LABEL", "UPDATED"]);
    for workflow in &listing.data {
        table.add_row(
            ["id", "name", "version", "label", "updatedAt"]
                .map(|field| cell(&show(workflow, field), None)),
        );
    }
    out.table(table, "no workflows yet: signpost workflows add FILE")?;
    more(listing.next_cursor.as_deref(), out);
    Ok(())
}

async fn show_one(client: &Client, workflow: &str, out: Out) -> Result<()> {
    let workflow = client.get(&path_of(workflow), &[]).await?;
    if out.is_json() {
        return out.document(&workflow);
    }
    let fields = ["id", "name", "version", "label", "updatedAt"];
    out.table(
        output::card(fields.map(|field| (field, show(&workflow, field)))),
        "",
    )?;
    out.line(terminal::block(
        text(&workflow, "source").unwrap_or_default(),
    ))
}

async fn start(client: &Client, args: RunArgs, out: Out) -> Result<ExitCode> {
    let body = json!({
        "inputs": args.inputs.into_iter().collect::<Map<_, _>>(),
        "offline": args.offline,
        "wait": args.wait,
    });
    let path = format!("{}/run", path_of(&args.workflow));
    let answer = client
        .send(Method::POST, &path, Some(body.to_string()))
        .await?;
    let execution = answer.body;
    executions::print(&execution, out)?;
    let failed = matches!(text(&execution, "state"), Some("failed" | "stopped"));
    Ok(done(!failed))
}
