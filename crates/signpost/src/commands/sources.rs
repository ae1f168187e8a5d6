//! `signpost sources`: where signed webhooks of others come in.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Args, Subcommand};
use comfy_table::Color;
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    connection::Connection,
    events::{more, path_part},
    input,
};
use crate::{
    client::Client,
    output::{self, BOLD, DIM, GOOD, Out, cell, show, styled, text},
    problem::Problem,
    terminal, when,
};

/// Create sources of incoming webhooks, change them, rotate their secrets
#[derive(Debug, Args)]
pub struct SourcesArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: SourcesCommand,
}

#[derive(Debug, Subcommand)]
enum SourcesCommand {
    List(ListArgs),
    Create(CreateArgs),
    Show(ShowArgs),
    Update(UpdateArgs),
    Delete(DeleteArgs),
    RotateSecret(RotateArgs),
}

/// List sources
#[derive(Debug, Args)]
struct ListArgs {
    /// At most this many
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Create a source: from now on /webhooks/NAME takes what its provider sends
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost sources create github --preset github
  signpost sources create stripe --preset stripe --secret @stripe-secret.txt
  signpost sources create crm --preset hmac -d '{\"hmac\": {\"header\": \"X-Sig\", \"algorithm\": \"sha512\"}}'

Presets: github, stripe, slack, shopify, twilio, linear, telegram, whatsapp, zoom,
standard-webhooks, generic, hmac, basic, api-key, none. A secret that is made here is shown once.")]
struct CreateArgs {
    /// The last part of its URL: a–z, 0–9, - and _
    name: String,

    #[command(flatten)]
    settings: Settings,
}

/// What can be set of a source.
#[derive(Debug, Args)]
struct Settings {
    /// Who sends, or how it signs [default: generic]
    #[arg(long, value_name = "PRESET")]
    preset: Option<String>,

    /// The secret; @file reads one, - reads standard input
    #[arg(long, hide_env_values = true, value_name = "SECRET|@FILE|-")]
    secret: Option<String>,

    /// Further settings as JSON, as the API takes them; @file reads them, - reads standard input
    #[arg(short, long, value_name = "JSON|@FILE|-")]
    data: Option<String>,
}

/// Show one source, without its secrets
#[derive(Debug, Args)]
struct ShowArgs {
    /// The source's id
    id: String,
}

/// Change a source; what is not named stays
#[derive(Debug, Args)]
struct UpdateArgs {
    /// The source's id
    id: String,

    #[command(flatten)]
    settings: Settings,
}

/// Delete a source and the triggers that it fires
#[derive(Debug, Args)]
struct DeleteArgs {
    /// The source's id
    id: String,

    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

/// Give a source a new secret; the old one counts as well for a while
#[derive(Debug, Args)]
struct RotateArgs {
    /// The source's id
    id: String,

    /// The new secret [default: the server makes one]; @file reads one, - reads standard input
    #[arg(long, hide_env_values = true, value_name = "SECRET|@FILE|-")]
    secret: Option<String>,

    /// How long the old secret still counts [default: 24h]
    #[arg(long, value_name = "SPAN", value_parser = when::span)]
    overlap: Option<Duration>,
}

/// Runs `signpost sources`.
pub async fn run(args: SourcesArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match args.command {
        SourcesCommand::List(args) => list(&client, args.limit as usize, out).await?,
        SourcesCommand::Create(args) => create(&client, &args, out).await?,
        SourcesCommand::Show(args) => {
            let source = client.get(&path_of(&args.id), &[]).await?;
            print(&source, out)?;
        }
        SourcesCommand::Update(args) => {
            let body = args.settings.document()?;
            let body = Some(Value::Object(body).to_string());
            let answer = client.send(Method::PATCH, &path_of(&args.id), body).await?;
            print(&answer.body, out)?;
        }
        SourcesCommand::Delete(args) => delete(&client, &args, out).await?,
        SourcesCommand::RotateSecret(args) => rotate(&client, &args, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Settings {
    fn document(&self) -> Result<Map<String, Value>> {
        let mut body = match &self.data {
            None => Map::new(),
            Some(data) => serde_json::from_str(input::json(data)?.get()).map_err(|_| {
                Problem::misuse("settings are a JSON object")
                    .advice("such as {\"limits\": {\"bodyBytesMax\": 5000000}}")
            })?,
        };
        if let Some(preset) = &self.preset {
            body.insert("preset".to_owned(), preset.clone().into());
        }
        if let Some(secret) = &self.secret {
            body.insert("secret".to_owned(), secret_of(secret)?.into());
        }
        Ok(body)
    }
}

/// A secret as a flag has it: itself, or where it is read from.
fn secret_of(argument: &str) -> Result<String> {
    if argument == "-" || argument.starts_with('@') {
        Ok(input::text(argument)?
            .trim_end_matches(['\r', '\n'])
            .to_owned())
    } else {
        Ok(argument.to_owned())
    }
}

fn path_of(id: &str) -> String {
    format!("/api/v1/sources/{}", path_part(id))
}

async fn list(client: &Client, limit: usize, out: Out) -> Result<()> {
    let listing = client.list("/api/v1/sources", &[], limit).await?;
    if out.is_json() {
        return out.document(&listing);
    }
    let mut table = output::table(["ID", "STATE", "NAME", "PRESET", "URL"]);
    for source in &listing.data {
        let (state, color) = state(source);
        table.add_row(vec![
            cell(&show(source, "id"), None),
            cell(state, Some(color)),
            cell(&show(source, "name"), None),
            cell(&show(source, "preset"), None),
            cell(&show(source, "url"), None),
        ]);
    }
    out.table(
        table,
        "no sources yet: signpost sources create NAME --preset PRESET",
    )?;
    more(listing.next_cursor.as_deref(), out);
    Ok(())
}

/// In one word, whether a source takes anything.
fn state(source: &Value) -> (&'static str, Color) {
    let unset = source["secrets"].as_array().is_some_and(Vec::is_empty);
    match (source["active"].as_bool(), text(source, "preset")) {
        (Some(false), _) => ("inactive", Color::Yellow),
        (_, Some("none")) => ("open", Color::Yellow),
        _ if unset => ("no secret", Color::Red),
        _ => ("active", Color::Green),
    }
}

fn print(source: &Value, out: Out) -> Result<()> {
    if out.is_json() {
        return out.document(source);
    }
    let fields = [
        "id",
        "name",
        "url",
        "preset",
        "hmac",
        "header",
        "toleranceSeconds",
        "eventId",
        "limits",
        "response",
        "secrets",
        "createdAt",
        "updatedAt",
    ];
    let mut rows = vec![("state", state(source).0.to_owned())];
    rows.extend(fields.iter().filter_map(|field| {
        let shown = show(source, field);
        (!["–", "", "{}"].contains(&shown.as_str())).then_some((*field, shown))
    }));
    out.table(output::card(rows), "")
}

async fn create(client: &Client, args: &CreateArgs, out: Out) -> Result<()> {
    let mut body = args.settings.document()?;
    body.insert("name".to_owned(), args.name.clone().into());
    let body = Some(Value::Object(body).to_string());
    let answer = client.send(Method::POST, "/api/v1/sources", body).await?;
    if out.is_json() {
        return out.document(&answer.body);
    }
    out.line(format_args!("{} source created", styled(GOOD, "✓")))?;
    print(&answer.body, out)?;
    print_secret(&answer.body, out)?;
    if state(&answer.body).0 == "no secret" {
        let id = show(&answer.body, "id");
        out.note(styled(
            DIM,
            format_args!(
                "it takes nothing before it has the provider's secret: signpost sources rotate-secret {id} --secret -"
            ),
        ));
    }
    Ok(())
}

/// Prints a secret that the server shows this once.
fn print_secret(answer: &Value, out: Out) -> Result<()> {
    let Some(secret) = text(answer, "secret") else {
        return Ok(());
    };
    let secret = styled(BOLD, terminal::line(secret));
    out.line(format_args!("\nsecret  {secret}"))?;
    let note = "        Shown this once. Enter it where the provider asks for one.";
    out.line(styled(DIM, note))
}

async fn delete(client: &Client, args: &DeleteArgs, out: Out) -> Result<()> {
    if !args.yes && !output::confirm(&format!("Delete {} and its triggers?", args.id))? {
        return Err(Problem::failed("nothing was deleted").into());
    }
    client
        .send(Method::DELETE, &path_of(&args.id), None)
        .await?;
    if out.is_json() {
        return out.document(&json!({ "id": args.id, "deleted": true }));
    }
    let id = terminal::line(&args.id);
    out.line(format_args!("{} {id} deleted", styled(GOOD, "✓")))
}

async fn rotate(client: &Client, args: &RotateArgs, out: Out) -> Result<()> {
    let mut body = Map::new();
    if let Some(secret) = &args.secret {
        body.insert("secret".to_owned(), secret_of(secret)?.into());
    }
    if let Some(overlap) = args.overlap {
        body.insert("overlapSeconds".to_owned(), overlap.as_secs().into());
    }
    let path = format!("{}/rotate-secret", path_of(&args.id));
    let body = Some(Value::Object(body).to_string());
    let answer = client.send(Method::POST, &path, body).await?;
    if out.is_json() {
        return out.document(&answer.body);
    }
    out.line(format_args!(
        "{} the source has a new secret",
        styled(GOOD, "✓")
    ))?;
    print_secret(&answer.body, out)
}
