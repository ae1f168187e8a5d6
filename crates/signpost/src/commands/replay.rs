//! `signpost replay`: sends past events again, as a durable job on the server.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{ArgGroup, Args};
use http::Method;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::{connection::Connection, events::path_part};
use crate::{
    client::Client,
    edge,
    output::{BAD, DIM, GOOD, Out, counted, show, styled, text},
    when::When,
};

/// How often a job's progress is asked for.
const POLL: Duration = Duration::from_millis(500);

/// Send past events to a webhook again: one, a time range, or all that failed
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["event", "since", "failed_since"]),
    after_help = "\
Examples:
  signpost replay --webhook whk_… --event evt_…
  signpost replay --webhook whk_… --failed-since 24h --wait
  signpost replay --webhook whk_… --since 2026-01-30 --until 2026-01-31

The job is stored before this command ends, and goes on after a restart of the server. Events
carry their ids again, so a receiver that deduplicates by them is not harmed."
)]
pub struct ReplayArgs {
    #[command(flatten)]
    connection: Connection,

    /// The webhook that gets them
    #[arg(long, value_name = "ID")]
    webhook: String,

    /// Send this one event
    #[arg(long, value_name = "ID")]
    event: Option<String>,

    /// Send every event it subscribes to that was accepted since: a time or a span ago
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    since: Option<When>,

    /// … and before this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = When::parse, requires = "since")]
    until: Option<When>,

    /// Send what was given up since: a time or a span ago
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    failed_since: Option<When>,

    /// Stay until all deliveries are made, and show the progress
    #[arg(long)]
    wait: bool,
}

/// Runs `signpost replay`.
pub async fn run(args: ReplayArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let webhook = format!("/api/v1/webhooks/{}", path_part(&args.webhook));
    let body = scope(&args).to_string();
    let answer = client
        .send(Method::POST, &format!("{webhook}/replay"), Some(body))
        .await?;
    let mut job = answer.body;
    if args.wait {
        job = wait(&client, job, out).await?;
    }
    if out.is_json() {
        out.document(&job)?;
    } else {
        print(&job, args.wait, out)?;
    }
    Ok(crate::cli::done(text(&job, "state") != Some("cancelled")))
}

fn scope(args: &ReplayArgs) -> Value {
    let now = edge::now();
    if let Some(event) = &args.event {
        return json!({ "eventId": event });
    }
    if let Some(since) = args.failed_since {
        return json!({ "failedSince": since.instant(now) });
    }
    let since = args.since.map_or(now, |since| since.instant(now));
    match args.until {
        Some(until) => json!({ "since": since, "until": until.instant(now) }),
        None => json!({ "since": since }),
    }
}

async fn wait(client: &Client, mut job: Value, out: Out) -> Result<Value> {
    let path = format!(
        "/api/v1/replays/{}",
        path_part(text(&job, "id").unwrap_or_default())
    );
    let bar = out.progress(count(&job, "total"), "events");
    advance(&bar, &job);
    while text(&job, "state") == Some("running") {
        tokio::time::sleep(POLL).await;
        job = client.get(&path, &[]).await?;
        advance(&bar, &job);
    }
    bar.finish_and_clear();
    Ok(job)
}

fn count(job: &Value, field: &str) -> u64 {
    job.get(field).and_then(Value::as_u64).unwrap_or_default()
}

fn advance(bar: &ProgressBar, job: &Value) {
    bar.set_length(count(job, "total"));
    bar.set_position(count(job, "examined"));
}

fn print(job: &Value, waited: bool, out: Out) -> Result<()> {
    let id = show(job, "id");
    match text(job, "state") {
        Some("cancelled") => out.line(format_args!(
            "{} {id}: the webhook was removed meanwhile",
            styled(BAD, "✗")
        )),
        Some("completed") => out.line(format_args!(
            "{} {id}: {} made of {}",
            styled(GOOD, "✓"),
            counted(&show(job, "created"), "delivery", "deliveries"),
            counted(&show(job, "examined"), "candidate", "candidates")
        )),
        _ => {
            out.line(format_args!("{} {id} is under way", styled(GOOD, "✓")))?;
            if !waited {
                out.note(styled(DIM, "  --wait stays until it is done"));
            }
            Ok(())
        }
    }
}
