//! `signpost webhooks`: who gets which events, and how it goes.
//!
//! [`fields`] turns flags into the document that the server takes; this calls and prints.

mod fields;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use comfy_table::Color;
use http::Method;
use serde_json::{Value, json};

use self::fields::Fields;
use super::{
    connection::Connection,
    deliveries,
    events::{more, path_part},
};
use crate::{
    client::Client,
    edge,
    output::{self, BAD, BOLD, DIM, GOOD, Out, cell, show, styled, text},
    problem::Problem,
    terminal,
    when::When,
};

/// Create webhooks, change them, test them, see how they do
#[derive(Debug, Args)]
pub struct WebhooksArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: WebhooksCommand,
}

#[derive(Debug, Subcommand)]
enum WebhooksCommand {
    List(ListArgs),
    Create(CreateArgs),
    Show(ShowArgs),
    Update(UpdateArgs),
    Delete(DeleteArgs),
    Enable(EnableArgs),
    Disable(DisableArgs),
    Test(TestArgs),
    RotateSecret(RotateArgs),
    Deliveries(WebhookDeliveriesArgs),
    Stats(StatsArgs),
}

/// List webhooks
#[derive(Debug, Args)]
struct ListArgs {
    /// At most this many
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Create a webhook: from now on it gets the events that it subscribes to
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost webhooks create https://example.com/hook --events workflow.completed,workflow.failed
  signpost webhooks create https://example.com/hook --events 'agent.*' --format agent-factory
  signpost webhooks create https://example.com/hook --schedule 5s,1m,10m --timeout 5s -H 'X-Team: a'

The signing secret is shown once, here. Keep it; `webhooks rotate-secret` makes a new one.")]
struct CreateArgs {
    /// Where deliveries go
    #[arg(value_name = "TARGET_URL")]
    target_url: String,

    #[command(flatten)]
    fields: Fields,
}

/// Show one webhook and its counts
#[derive(Debug, Args)]
struct ShowArgs {
    /// The webhook's id
    id: String,
}

/// Change a webhook; what is not named stays
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost webhooks update whk_… --events 'workflow.*'
  signpost webhooks update whk_… --url https://example.com/new --rate 50")]
struct UpdateArgs {
    /// The webhook's id
    id: String,

    /// Where deliveries go from now on
    #[arg(long = "url", value_name = "TARGET_URL")]
    target_url: Option<String>,

    #[command(flatten)]
    fields: Fields,
}

/// Delete a webhook; deliveries that still wait are given up
#[derive(Debug, Args)]
struct DeleteArgs {
    /// The webhook's id
    id: String,

    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

/// Switch a webhook on again, also one that Signpost has disabled
#[derive(Debug, Args)]
struct EnableArgs {
    /// The webhook's id
    id: String,
}

/// Switch a webhook off; deliveries that wait stay
#[derive(Debug, Args)]
struct DisableArgs {
    /// The webhook's id
    id: String,
}

/// Send a webhook.test event to one webhook now, and say what its receiver answered
#[derive(Debug, Args)]
struct TestArgs {
    /// The webhook's id
    id: String,
}

/// Make a new signing secret; the old one signs as well for a while
#[derive(Debug, Args)]
struct RotateArgs {
    /// The webhook's id
    id: String,

    /// The new secret [default: the server makes one]; @file reads one, - reads standard input
    #[arg(long, hide_env_values = true, value_name = "SECRET|@FILE|-")]
    secret: Option<String>,

    /// How long the old secret still signs [default: 24h]
    #[arg(long, value_name = "SPAN", value_parser = crate::when::span)]
    overlap: Option<std::time::Duration>,
}

/// List a webhook's deliveries, newest first
#[derive(Debug, Args)]
struct WebhookDeliveriesArgs {
    /// The webhook's id
    id: String,

    #[command(flatten)]
    filter: deliveries::FilterArgs,
}

/// Show a webhook's counts and durations
#[derive(Debug, Args)]
struct StatsArgs {
    /// The webhook's id
    id: String,

    /// Count since: a time or a span ago [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    since: Option<When>,
}

/// Runs `signpost webhooks`.
pub async fn run(args: WebhooksArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match args.command {
        WebhooksCommand::List(args) => list(&client, args.limit as usize, out).await?,
        WebhooksCommand::Create(args) => create(&client, &args, out).await?,
        WebhooksCommand::Show(args) => show_one(&client, &args.id, out).await?,
        WebhooksCommand::Update(args) => update(&client, &args, out).await?,
        WebhooksCommand::Delete(args) => delete(&client, &args, out).await?,
        WebhooksCommand::Enable(args) => switch(&client, &args.id, true, out).await?,
        WebhooksCommand::Disable(args) => switch(&client, &args.id, false, out).await?,
        WebhooksCommand::Test(args) => return test(&client, &args.id, out).await,
        WebhooksCommand::RotateSecret(args) => rotate(&client, &args, out).await?,
        WebhooksCommand::Deliveries(args) => {
            let path = format!("{}/deliveries", path_of(&args.id));
            deliveries::list(&client, &path, None, &args.filter, out).await?;
        }
        WebhooksCommand::Stats(args) => stats(&client, &args, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn path_of(id: &str) -> String {
    format!("/api/v1/webhooks/{}", path_part(id))
}

async fn list(client: &Client, limit: usize, out: Out) -> Result<()> {
    let listing = client.list("/api/v1/webhooks", &[], limit).await?;
    if out.is_json() {
        return out.document(&listing);
    }
    let mut table = output::table(["ID", "STATE", "NAME", "EVENTS", "FORMAT", "URL"]);
    for webhook in &listing.data {
        let (state, color) = state(webhook);
        table.add_row(vec![
            cell(&show(webhook, "id"), None),
            cell(state, Some(color)),
            cell(&terminal::brief(&show(webhook, "name"), 32), None),
            cell(&terminal::brief(&show(webhook, "events"), 60), None),
            cell(&show(webhook, "format"), None),
            cell(&show(webhook, "targetUrl"), None),
        ]);
    }
    out.table(
        table,
        "no webhooks yet: signpost webhooks create URL --events TYPE",
    )?;
    more(listing.next_cursor.as_deref(), out);
    Ok(())
}

/// In one word, whether a webhook is sent to.
fn state(webhook: &Value) -> (&str, Color) {
    match text(webhook, "state") {
        Some("active") => ("active", Color::Green),
        Some("disabled") => ("disabled", Color::Red),
        Some(other) => (other, Color::Yellow),
        None if webhook.get("isActive") == Some(&Value::Bool(true)) => ("active", Color::Green),
        None => ("inactive", Color::Yellow),
    }
}

fn print_card(webhook: &Value, out: Out) -> Result<()> {
    let fields = [
        "id",
        "name",
        "description",
        "targetUrl",
        "events",
        "format",
        "filter",
        "schedule",
        "headers",
        "timeoutMs",
        "concurrency",
        "ratePerSecond",
        "ordered",
        "signaturePrefix",
        "disabledReason",
        "failingSince",
        "disabledAt",
        "createdAt",
        "updatedAt",
    ];
    let mut rows = vec![("state", state(webhook).0.to_owned())];
    rows.extend(fields.iter().filter_map(|field| {
        let shown = match *field {
            "schedule" => schedule(&webhook["schedule"]),
            field => show(webhook, field),
        };
        (!["–", "", "{}"].contains(&shown.as_str())).then_some((*field, shown))
    }));
    rows.swap(0, 1);
    out.table(output::card(rows), "")
}

/// A retry schedule in words.
fn schedule(schedule: &Value) -> String {
    let delays = schedule.get("delays").and_then(Value::as_array);
    match (delays.map(Vec::len), show(schedule, "within").as_str()) {
        (None, _) => schedule
            .as_str()
            .map_or_else(String::new, |name| terminal::line(name).into_owned()),
        (Some(0), _) => "one attempt, no retry".to_owned(),
        (Some(_), "–") => format!("retries after {}", show(schedule, "delays")),
        (Some(_), within) => format!(
            "retries after {}, within {within}",
            show(schedule, "delays")
        ),
    }
}

/// Prints a secret that the server shows this once.
fn print_secret(answer: &Value, out: Out) -> Result<()> {
    if let Some(secret) = text(answer, "secret") {
        out.line(format_args!(
            "\nsecret  {}",
            styled(BOLD, terminal::line(secret))
        ))?;
        out.line(styled(
            DIM,
            "        Shown this once. The receiver verifies deliveries with it.",
        ))?;
    }
    Ok(())
}

async fn create(client: &Client, args: &CreateArgs, out: Out) -> Result<()> {
    let mut body = args.fields.document()?;
    body.insert("targetUrl".to_owned(), args.target_url.clone().into());
    if !body.contains_key("name") {
        body.insert("name".to_owned(), fields::name_of(&args.target_url).into());
    }
    let body = Value::Object(body).to_string();
    let answer = client
        .send(Method::POST, "/api/v1/webhooks", Some(body))
        .await?;
    if out.is_json() {
        return out.document(&answer.body);
    }
    out.line(format_args!("{} webhook created", styled(GOOD, "✓")))?;
    print_card(&answer.body, out)?;
    print_secret(&answer.body, out)?;
    out.note(styled(
        DIM,
        format_args!(
            "try it: signpost webhooks test {}",
            show(&answer.body, "id")
        ),
    ));
    Ok(())
}

async fn show_one(client: &Client, id: &str, out: Out) -> Result<()> {
    let webhook = client.get(&path_of(id), &[]).await?;
    if out.is_json() {
        return out.document(&webhook);
    }
    print_card(&webhook, out)
}

async fn update(client: &Client, args: &UpdateArgs, out: Out) -> Result<()> {
    let mut body = args.fields.document()?;
    if let Some(url) = &args.target_url {
        body.insert("targetUrl".to_owned(), url.clone().into());
    }
    if body.is_empty() {
        return Err(Problem::misuse("nothing to change was named")
            .advice("see what can be: signpost webhooks update --help")
            .into());
    }
    let body = Value::Object(body).to_string();
    let answer = client
        .send(Method::PATCH, &path_of(&args.id), Some(body))
        .await?;
    if out.is_json() {
        return out.document(&answer.body);
    }
    out.line(format_args!("{} webhook changed", styled(GOOD, "✓")))?;
    print_card(&answer.body, out)
}

async fn delete(client: &Client, args: &DeleteArgs, out: Out) -> Result<()> {
    if !args.yes && out.is_interactive() {
        let webhook = client.get(&path_of(&args.id), &[]).await?;
        let question = format!(
            "Delete {} ({})?",
            show(&webhook, "id"),
            show(&webhook, "targetUrl")
        );
        if !output::confirm(&question)? {
            return Err(Problem::failed("nothing was deleted").into());
        }
    }
    let answer = client
        .send(Method::DELETE, &path_of(&args.id), None)
        .await?;
    if out.is_json() {
        let gone = json!({ "id": args.id, "deleted": true });
        return out.document(if answer.body.is_null() {
            &gone
        } else {
            &answer.body
        });
    }
    out.line(format_args!(
        "{} {} deleted",
        styled(GOOD, "✓"),
        terminal::line(&args.id)
    ))
}

async fn switch(client: &Client, id: &str, on: bool, out: Out) -> Result<()> {
    let body = json!({ "isActive": on }).to_string();
    let answer = client.send(Method::PATCH, &path_of(id), Some(body)).await?;
    if out.is_json() {
        return out.document(&answer.body);
    }
    let word = if on { "enabled" } else { "disabled" };
    out.line(format_args!(
        "{} {} {word}",
        styled(GOOD, "✓"),
        show(&answer.body, "id")
    ))
}

async fn test(client: &Client, id: &str, out: Out) -> Result<ExitCode> {
    let answer = client
        .send(Method::POST, &format!("{}/test", path_of(id)), None)
        .await?;
    let well = answer
        .body
        .get("success")
        .and_then(Value::as_bool)
        .unwrap_or(true);
    if out.is_json() {
        out.document(&answer.body)?;
    } else {
        let mark = if well {
            styled(GOOD, "✓")
        } else {
            styled(BAD, "✗")
        };
        let status = show(&answer.body, "statusCode");
        out.line(format_args!("{mark} {}", show(&answer.body, "message")))?;
        if status != "–" {
            out.line(format_args!("  status {status}"))?;
        }
    }
    Ok(crate::cli::done(well))
}

async fn rotate(client: &Client, args: &RotateArgs, out: Out) -> Result<()> {
    let mut body = serde_json::Map::new();
    if let Some(secret) = &args.secret {
        body.insert("secret".to_owned(), super::input::text(secret)?.into());
    }
    if let Some(overlap) = args.overlap {
        body.insert("overlapSeconds".to_owned(), overlap.as_secs().into());
    }
    let path = format!("{}/rotate-secret", path_of(&args.id));
    let answer = client
        .send(Method::POST, &path, Some(Value::Object(body).to_string()))
        .await?;
    if out.is_json() {
        return out.document(&answer.body);
    }
    out.line(format_args!(
        "{} the new secret signs from now on",
        styled(GOOD, "✓")
    ))?;
    print_secret(&answer.body, out)
}

async fn stats(client: &Client, args: &StatsArgs, out: Out) -> Result<()> {
    let since = args.since.map(|when| when.instant(edge::now()).to_string());
    let query: Vec<(&str, &str)> = since
        .iter()
        .map(|since| ("since", since.as_str()))
        .collect();
    let stats = client
        .get(&format!("{}/stats", path_of(&args.id)), &query)
        .await?;
    if out.is_json() {
        return out.document(&stats);
    }
    let rows: Vec<(&str, String)> = stats
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != "webhookId")
        .map(|(name, _)| (name.as_str(), show(&stats, name)))
        .collect();
    out.table(output::card(rows), "no counts")
}
