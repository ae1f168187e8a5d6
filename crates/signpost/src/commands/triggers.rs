//! `signpost triggers`: what starts a workflow.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    connection::Connection,
    events::{more, path_part},
};
use crate::{
    client::Client,
    output::{self, DIM, GOOD, Out, cell, show, styled},
    terminal,
};

/// Create and list triggers of workflows, rotate their keys
#[derive(Debug, Args)]
pub struct TriggersArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: TriggersCommand,
}

#[derive(Debug, Subcommand)]
enum TriggersCommand {
    List(ListArgs),
    Create(CreateArgs),
    Show(ShowArgs),
    Delete(DeleteArgs),
    RotateKey(RotateArgs),
}

/// List triggers
#[derive(Debug, Args)]
struct ListArgs {
    /// Only those of this workflow, by id
    #[arg(long, value_name = "WORKFLOW")]
    workflow: Option<String>,

    /// At most this many
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Create a trigger: a source's requests start a workflow, or a URL and key of its own do
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost triggers create wfl_… --source github --filter '.action == \"opened\"'
  signpost triggers create wfl_… --source stripe --map '{amount: .data.object.amount}'
  signpost triggers create wfl_… --json | jq .key > trigger-key.json")]
struct CreateArgs {
    /// The workflow's id
    workflow: String,

    /// The source that fires it, by name or id [default: none, it gets a URL and key of its own]
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,

    /// Which payloads start the workflow: a jq condition
    #[arg(long, value_name = "JQ")]
    filter: Option<String>,

    /// What makes the inputs of the payload: a jq expression that gives one object
    #[arg(long, value_name = "JQ")]
    map: Option<String>,
}

/// Show one trigger, without its key
#[derive(Debug, Args)]
struct ShowArgs {
    /// The trigger's id
    id: String,
}

/// Delete a trigger
#[derive(Debug, Args)]
struct DeleteArgs {
    /// The trigger's id
    id: String,
}

/// Make a new key for a trigger with a URL of its own; the old one is void at once
#[derive(Debug, Args)]
struct RotateArgs {
    /// The trigger's id
    id: String,
}

/// Runs `signpost triggers`.
pub async fn run(args: TriggersArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match args.command {
        TriggersCommand::List(args) => list(&client, &args, out).await?,
        TriggersCommand::Create(args) => create(&client, &args, out).await?,
        TriggersCommand::Show(args) => {
            let trigger = client.get(&path_of(&args.id), &[]).await?;
            print(&trigger, out)?;
        }
        TriggersCommand::Delete(args) => {
            client
                .send(Method::DELETE, &path_of(&args.id), None)
                .await?;
            if out.is_json() {
                out.document(&json!({ "id": args.id, "deleted": true }))?;
            } else {
                let id = terminal::line(&args.id);
                out.line(format_args!("{} {id} deleted", styled(GOOD, "✓")))?;
            }
        }
        TriggersCommand::RotateKey(args) => {
            let path = format!("{}/rotate-key", path_of(&args.id));
            let answer = client.send(Method::POST, &path, None).await?;
            if out.is_json() {
                out.document(&answer.body)?;
            } else {
                print_key(&answer.body, out)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path_of(id: &str) -> String {
    format!("/api/v1/triggers/{}", path_part(id))
}

async fn list(client: &Client, args: &ListArgs, out: Out) -> Result<()> {
    let path = match &args.workflow {
        Some(id) => format!("/api/v1/workflows/{}/triggers", path_part(id)),
        None => "/api/v1/triggers".to_owned(),
    };
    let listing = client.list(&path, &[], args.limit as usize).await?;
    if out.is_json() {
        return out.document(&listing);
    }
    let mut table = output::table(["ID", "KIND", "WORKFLOW", "SOURCE", "ACTIVE", "ENDPOINT"]);
    for trigger in &listing.data {
        let fields = ["id", "kind", "workflowId", "sourceId", "active", "endpoint"];
        table.add_row(
            fields
                .map(|field| cell(&show(trigger, field), None))
                .to_vec(),
        );
    }
    out.table(
        table,
        "no triggers yet: signpost triggers create WORKFLOW --source SOURCE",
    )?;
    more(listing.next_cursor.as_deref(), out);
    Ok(())
}

fn print(trigger: &Value, out: Out) -> Result<()> {
    if out.is_json() {
        return out.document(trigger);
    }
    let fields = [
        "id",
        "kind",
        "workflowId",
        "sourceId",
        "endpoint",
        "config",
        "nextAt",
        "active",
        "createdAt",
        "updatedAt",
    ];
    let rows = fields.iter().filter_map(|field| {
        let shown = show(trigger, field);
        (!["–", ""].contains(&shown.as_str())).then_some((*field, shown))
    });
    out.table(output::card(rows), "")
}

async fn create(client: &Client, args: &CreateArgs, out: Out) -> Result<()> {
    let given = [
        ("source", &args.source),
        ("filter", &args.filter),
        ("map", &args.map),
    ];
    let body: Map<String, Value> = given
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())))
        .collect();
    let path = format!("/api/v1/workflows/{}/triggers", path_part(&args.workflow));
    let body = Some(Value::Object(body).to_string());
    let answer = client.send(Method::POST, &path, body).await?;
    if out.is_json() {
        return out.document(&answer.body);
    }
    out.line(format_args!("{} trigger created", styled(GOOD, "✓")))?;
    print(&answer.body, out)?;
    match answer.body.get("key") {
        Some(key) if key.is_object() => print_key(key, out),
        _ => Ok(()),
    }
}

/// Prints the key file that senders need.
fn print_key(key: &Value, out: Out) -> Result<()> {
    out.line("")?;
    let fields = ["endpoint", "privateKey", "header", "algorithm"];
    out.table(
        output::card(fields.map(|field| (field, show(key, field)))),
        "",
    )?;
    let note = "Shown this once. Senders sign the body with the key; --json prints it as a file.";
    out.line(styled(DIM, note))
}
