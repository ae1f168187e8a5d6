//! `signpost logs`: attempts as they happen.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::{attempt_log::outcome, connection::Connection, deliveries::took};
use crate::{
    client::{Client, Followed},
    output::{BAD, DIM, Out, counted, show, styled, text},
};

/// Print the latest deliveries, and follow attempts as they happen
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost logs
  signpost logs --follow --failed
  signpost logs --follow --json | jq 'select(.status >= 500)'")]
pub struct LogsArgs {
    #[command(flatten)]
    connection: Connection,

    /// Stay, and print each attempt as it happens, until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    /// Only to this webhook
    #[arg(long, value_name = "ID")]
    webhook: Option<String>,

    /// Only what failed
    #[arg(long)]
    failed: bool,

    /// Print this many of the past first
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    lines: u32,

    /// End after this many attempts
    #[arg(long, value_name = "N", requires = "follow")]
    max: Option<u64>,
}

/// Runs `signpost logs`.
pub async fn run(args: LogsArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    // The stream is opened before the past is read: what happens between shows twice, not never.
    let query: Vec<(&str, &str)> = args
        .webhook
        .iter()
        .map(|id| ("webhookId", id.as_str()))
        .collect();
    let follow = if args.follow {
        let failed = args.failed.then_some(("failed", "true"));
        let query: Vec<_> = query.iter().copied().chain(failed).collect();
        Some(client.follow("/api/v1/deliveries/stream", &query).await?)
    } else {
        None
    };
    past(&client, &args, &query, out).await?;
    let Some(mut follow) = follow else {
        return Ok(ExitCode::SUCCESS);
    };
    let mut printed = 0;
    while args.max.is_none_or(|max| printed < max) {
        let next = tokio::select! {
            next = follow.next() => next?,
            _ = tokio::signal::ctrl_c() => break,
        };
        match next {
            Followed::Message(message) => {
                let Ok(told) = serde_json::from_str::<Value>(&message.data) else {
                    continue;
                };
                match message.event.as_str() {
                    "attempt" => {
                        print(&told, out)?;
                        printed += 1;
                    }
                    "lagged" => out.note(styled(
                        BAD,
                        format_args!(
                            "{} missed: they came too fast",
                            counted(&show(&told, "count"), "attempt was", "attempts were")
                        ),
                    )),
                    _ => {}
                }
            }
            Followed::Lost(why) => out.note(styled(
                BAD,
                format_args!("connection lost ({why}); connecting again…"),
            )),
            Followed::Back => out.note(styled(DIM, "connected again")),
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn past(client: &Client, args: &LogsArgs, query: &[(&str, &str)], out: Out) -> Result<()> {
    if args.lines == 0 {
        return Ok(());
    }
    // Failures are picked here, since a delivery can have failed and be pending, dead, or arrived.
    let look_at = if args.failed {
        250.max(args.lines)
    } else {
        args.lines
    };
    let listing = client
        .list("/api/v1/deliveries", query, look_at as usize)
        .await?;
    let picked = listing
        .data
        .iter()
        .filter(|delivery| !args.failed || is_failed_delivery(delivery));
    let mut latest: Vec<&Value> = picked.take(args.lines as usize).collect();
    latest.reverse();
    for delivery in latest {
        if out.is_json() {
            out.record(delivery)?;
        } else {
            out.line(delivery_line(delivery))?;
        }
    }
    Ok(())
}

fn is_failed_delivery(delivery: &Value) -> bool {
    text(delivery, "state") == Some("dead")
        || text(delivery, "lastError").is_some()
        || delivery
            .get("lastStatus")
            .and_then(Value::as_u64)
            .is_some_and(|status| !(200..300).contains(&status))
}

fn print(attempt: &Value, out: Out) -> Result<()> {
    if out.is_json() {
        out.record(attempt)
    } else {
        out.line(attempt_line(attempt))
    }
}

fn attempt_line(attempt: &Value) -> String {
    format!(
        "{}  {}  {:>8}  {}  {} → {}  {}",
        styled(DIM, show(attempt, "startedAt")),
        outcome(attempt),
        took(attempt),
        show(attempt, "event"),
        show(attempt, "eventId"),
        show(attempt, "webhookId"),
        styled(DIM, format_args!("attempt {}", show(attempt, "number"))),
    )
}

fn delivery_line(delivery: &Value) -> String {
    let last = serde_json::json!({
        "status": delivery.get("lastStatus"),
        "error": delivery.get("lastError"),
    });
    format!(
        "{}  {}  {:>9}  {}  {} → {}  {}",
        styled(DIM, show(delivery, "createdAt")),
        outcome(&last),
        show(delivery, "state"),
        show(delivery, "event"),
        show(delivery, "eventId"),
        show(delivery, "webhookId"),
        styled(
            DIM,
            counted(&show(delivery, "attemptCount"), "attempt", "attempts")
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_failed_is_told_from_what_went_well() {
        assert!(is_failed_delivery(
            &json!({"state": "pending", "lastStatus": 500})
        ));
        assert!(!is_failed_delivery(
            &json!({"state": "delivered", "lastStatus": 200})
        ));
        assert!(!is_failed_delivery(
            &json!({"state": "pending", "lastStatus": null})
        ));
    }
}
