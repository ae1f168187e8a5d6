//! `signpost event-types`: which events there are, and types of one's own.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{connection::Connection, events::path_part, input};
use crate::{
    client::Client,
    output::{self, DIM, GOOD, Out, cell, show, styled},
    terminal,
};

/// See which events there are, and register types of your own
#[derive(Debug, Args)]
pub struct EventTypesArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: EventTypesCommand,
}

#[derive(Debug, Subcommand)]
enum EventTypesCommand {
    List(ListArgs),
    Create(CreateArgs),
    Show(ShowArgs),
    Delete(DeleteArgs),
}

/// List event types: the catalogue's and your own
#[derive(Debug, Args)]
struct ListArgs {}

/// Register an event type of your own
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost event-types create order.paid --description 'An order was paid'
  signpost event-types create order.paid --schema @order.schema.json --enforce")]
struct CreateArgs {
    /// Its name, such as order.paid
    name: String,

    /// What it says
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    description: String,

    /// A JSON Schema for its data (JSON, @file, or -)
    #[arg(long, value_name = "JSON|@FILE|-")]
    schema: Option<String>,

    /// An example of its data (JSON, @file, or -)
    #[arg(long, value_name = "JSON|@FILE|-")]
    example: Option<String>,

    /// Refuse published events that do not fit the schema
    #[arg(long, requires = "schema")]
    enforce: bool,
}

/// Show one event type, its schema and its example
#[derive(Debug, Args)]
struct ShowArgs {
    /// Its name
    name: String,
}

/// Remove an event type of your own
#[derive(Debug, Args)]
struct DeleteArgs {
    /// Its name
    name: String,
}

/// Runs `signpost event-types`.
pub async fn run(args: EventTypesArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match args.command {
        EventTypesCommand::List(ListArgs {}) => list(&client, out).await?,
        EventTypesCommand::Create(args) => create(&client, &args, out).await?,
        EventTypesCommand::Show(args) => show_one(&client, &args.name, out).await?,
        EventTypesCommand::Delete(args) => delete(&client, &args.name, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, out: Out) -> Result<()> {
    let listing = client.list("/api/v1/event-types", &[], 10_000).await?;
    if out.is_json() {
        return out.document(&listing);
    }
    let mut table = output::table(["NAME", "GROUP", "DESCRIPTION"]);
    for event_type in &listing.data {
        let name = show(event_type, "name");
        table.add_row(vec![
            cell(&name, None),
            cell(&show(event_type, "group"), None),
            cell(&show(event_type, "description"), None),
        ]);
    }
    out.table(table, "no event types")
}

async fn create(client: &Client, args: &CreateArgs, out: Out) -> Result<()> {
    let mut body = Map::new();
    body.insert("name".to_owned(), args.name.clone().into());
    body.insert("description".to_owned(), args.description.clone().into());
    for (field, argument) in [("schema", &args.schema), ("example", &args.example)] {
        if let Some(argument) = argument {
            let value: Value = serde_json::from_str(input::json(argument)?.get())?;
            body.insert(field.to_owned(), value);
        }
    }
    body.insert("enforce".to_owned(), args.enforce.into());
    let body = Value::Object(body).to_string();
    let answer = client
        .send(Method::POST, "/api/v1/event-types", Some(body))
        .await?;
    if out.is_json() {
        return out.document(&answer.body);
    }
    out.line(format_args!(
        "{} {} registered",
        styled(GOOD, "✓"),
        terminal::line(&args.name)
    ))
}

async fn show_one(client: &Client, name: &str, out: Out) -> Result<()> {
    let event_type = client
        .get(&format!("/api/v1/event-types/{}", path_part(name)), &[])
        .await?;
    if out.is_json() {
        return out.document(&event_type);
    }
    let fields = ["name", "group", "description", "enforce"];
    out.table(
        output::card(fields.map(|field| (field, show(&event_type, field)))),
        "",
    )?;
    for part in ["schema", "example"] {
        if let Some(value) = event_type.get(part).filter(|value| !value.is_null()) {
            let json = serde_json::to_string_pretty(value)?;
            out.line(format_args!(
                "\n{}\n{}",
                styled(DIM, part),
                terminal::block(&json)
            ))?;
        }
    }
    Ok(())
}

async fn delete(client: &Client, name: &str, out: Out) -> Result<()> {
    let path = format!("/api/v1/event-types/{}", path_part(name));
    let answer = client.send(Method::DELETE, &path, None).await?;
    if out.is_json() {
        let gone = json!({ "name": name, "deleted": true });
        return out.document(if answer.body.is_null() {
            &gone
        } else {
            &answer.body
        });
    }
    out.line(format_args!(
        "{} {} removed",
        styled(GOOD, "✓"),
        terminal::line(name)
    ))
}
