//! `signpost keys`: API keys, for programs.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Color;
use http::Method;
use serde_json::{Value, json};

use super::{connection::Connection, events::path_part};
use crate::{
    client::Client,
    edge,
    output::{self, BOLD, DIM, GOOD, Out, cell, show, styled, text},
    terminal, when,
};

/// Create, list and revoke API keys
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    List(ListArgs),
    Create(CreateArgs),
    Revoke(RevokeArgs),
}

/// List API keys (never the keys themselves)
#[derive(Debug, Args)]
struct ListArgs {}

/// Create an API key; it is shown once
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost keys create ci --scopes events:write --expires-in 90d
  export SIGNPOST_TOKEN=$(signpost keys create me --scopes read,write --json | jq -r .key)")]
struct CreateArgs {
    /// What people call it
    name: String,

    /// What it may do, separated by commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "events:write",
        value_name = "SCOPES"
    )]
    scopes: Vec<KeyScope>,

    /// When it stops working: a span from now [default: never]
    #[arg(long, value_name = "SPAN", value_parser = when::span)]
    expires_in: Option<Duration>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeyScope {
    /// Publish events
    #[value(name = "events:write")]
    EventsWrite,
    /// Read everything but secrets
    Read,
    /// Create, change, remove webhooks; retry, replay, test
    Write,
    /// Manage users, keys and settings
    Admin,
}

impl KeyScope {
    const fn as_str(self) -> &'static str {
        match self {
            Self::EventsWrite => "events:write",
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Revoke an API key: it stops working at once
#[derive(Debug, Args)]
struct RevokeArgs {
    /// The key's id (key_…, not the key itself)
    id: String,
}

/// Runs `signpost keys`.
pub async fn run(args: KeysArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match args.command {
        KeysCommand::List(ListArgs {}) => list(&client, out).await?,
        KeysCommand::Create(args) => create(&client, &args, out).await?,
        KeysCommand::Revoke(args) => revoke(&client, &args.id, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, out: Out) -> Result<()> {
    let listing = client.list("/api/v1/keys", &[], 1_000).await?;
    if out.is_json() {
        return out.document(&listing);
    }
    let mut table = output::table(["ID", "NAME", "KEY", "SCOPES", "CREATED", "EXPIRES", "STATE"]);
    for key in &listing.data {
        let (state, color) = state(key);
        table.add_row(vec![
            cell(&show(key, "id"), None),
            cell(&show(key, "name"), None),
            cell(&format!("{}…", show(key, "hint")), None),
            cell(&show(key, "scopes"), None),
            cell(&show(key, "createdAt"), None),
            cell(&show(key, "expiresAt"), None),
            cell(state, Some(color)),
        ]);
    }
    out.table(table, "no keys yet: signpost keys create NAME")
}

fn state(key: &Value) -> (&'static str, Color) {
    let now = edge::now();
    let expired = text(key, "expiresAt")
        .and_then(|at| domain::Timestamp::parse(at).ok())
        .is_some_and(|at| at <= now);
    match (text(key, "revokedAt"), expired) {
        (Some(_), _) => ("revoked", Color::Red),
        (None, true) => ("expired", Color::Yellow),
        (None, false) => ("live", Color::Green),
    }
}

async fn create(client: &Client, args: &CreateArgs, out: Out) -> Result<()> {
    let scopes: Vec<&str> = args.scopes.iter().map(|scope| scope.as_str()).collect();
    let mut body = json!({ "name": args.name, "scopes": scopes });
    if let Some(span) = args.expires_in {
        body["expiresAt"] = json!(edge::now() + span);
    }
    let answer = client
        .send(Method::POST, "/api/v1/keys", Some(body.to_string()))
        .await?;
    if out.is_json() {
        return out.document(&answer.body);
    }
    let key = text(&answer.body, "key").unwrap_or_default();
    out.line(format_args!(
        "{} {} created",
        styled(GOOD, "✓"),
        show(&answer.body, "id")
    ))?;
    out.line(format_args!("\nkey  {}", styled(BOLD, terminal::line(key))))?;
    out.line(styled(
        DIM,
        "     Shown this once. Use it with --token or SIGNPOST_TOKEN.",
    ))
}

async fn revoke(client: &Client, id: &str, out: Out) -> Result<()> {
    let path = format!("/api/v1/keys/{}", path_part(id));
    let answer = client.send(Method::DELETE, &path, None).await?;
    if out.is_json() {
        let gone = json!({ "id": id, "revoked": true });
        return out.document(if answer.body.is_null() {
            &gone
        } else {
            &answer.body
        });
    }
    out.line(format_args!(
        "{} {} revoked",
        styled(GOOD, "✓"),
        terminal::line(id)
    ))
}
