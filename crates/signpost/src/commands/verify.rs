//! `signpost verify`: says whether a received webhook is genuine, offline, and if not, why.
//!
//! [`checks`] decides; this reads what was received and prints the verdicts.

mod checks;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Args;
use serde_json::json;

use self::checks::{Message, Report, Verdict};
use super::{headers::Headers, input, secret::SecretArgs};
use crate::{
    cli, edge,
    output::{BAD, BOLD, DIM, GOOD, Out, styled},
    problem::Problem,
    when::{self, When},
};

/// Check the signature of a received webhook offline, and say why it does not fit
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost verify --secret-file secret.txt --body @body.json \\
    -H 'webhook-id: evt_…' -H 'webhook-timestamp: 1769860800' -H 'webhook-signature: v1,…'
  signpost verify --secret whsec_… --body @body.json -H 'X-Webhook-Signature: 5f2c…'

Understood are Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature) and headers
that hold a hex HMAC-SHA256 of the body, with or without `sha256=`. Where a message carries both,
Standard Webhooks decides. Exit code 0: genuine; 1: not, or too old.")]
pub struct VerifyArgs {
    #[command(flatten)]
    secret: SecretArgs,

    /// The body as it was received, byte for byte: the text itself, @file, or - for standard input
    #[arg(short, long, value_name = "TEXT|@FILE|-")]
    body: String,

    /// A received header, as 'Name: value'; repeat it for each
    #[arg(short = 'H', long = "header", value_name = "HEADER", required = true)]
    headers: Vec<String>,

    /// How far the signed time may be from now
    #[arg(long, default_value = "5m", value_name = "SPAN", value_parser = when::span)]
    tolerance: Duration,

    /// Check as if it were this time
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    now: Option<When>,
}

/// Runs `signpost verify`.
pub fn run(args: &VerifyArgs, out: Out) -> Result<ExitCode> {
    let secret = args.secret.read()?;
    let body = input::bytes(&args.body)?;
    let headers = Headers::parse(&args.headers)?;
    let now = edge::now();
    let message = Message {
        secret: &secret,
        headers: &headers,
        body: &body,
        now: args.now.map_or(now, |at| at.instant(now)),
        tolerance: args.tolerance,
    };
    let report = checks::check(&message);
    if report.verdicts.is_empty() {
        return Err(Problem::misuse("no header holds a signature")
            .detail("looked for webhook-signature (with webhook-id and webhook-timestamp), and for headers that end in -signature or -signature-256")
            .advice("pass the received headers with -H, such as -H 'X-Webhook-Signature: …'")
            .into());
    }
    print(&report, out)?;
    Ok(cli::done(report.is_genuine()))
}

fn print(report: &Report, out: Out) -> Result<()> {
    if out.is_json() {
        let checks: Vec<_> = report.verdicts.iter().map(as_json).collect();
        return out.document(&json!({ "genuine": report.is_genuine(), "checks": checks }));
    }
    for verdict in &report.verdicts {
        let mark = if verdict.why_not.is_none() {
            styled(GOOD, "✓")
        } else {
            styled(BAD, "✗")
        };
        let scheme = verdict.scheme;
        let header = styled(DIM, format_args!("({})", verdict.header));
        match &verdict.why_not {
            None => out.line(format_args!("{mark} {scheme} {header}: matches"))?,
            Some(why) => out.line(format_args!("{mark} {scheme} {header}: {why}"))?,
        }
        for hint in &verdict.hints {
            out.line(format_args!("    {hint}"))?;
        }
    }
    let (style, text) = if report.is_genuine() {
        (
            GOOD,
            "genuine: signed with this secret, and the body is unaltered",
        )
    } else {
        (BAD, "not accepted")
    };
    out.line(format_args!("{style}{BOLD}{text}{BOLD:#}{style:#}"))
}

fn as_json(verdict: &Verdict) -> serde_json::Value {
    json!({
        "scheme": verdict.scheme,
        "header": verdict.header,
        "matches": verdict.why_not.is_none(),
        "why": verdict.why_not,
        "hints": verdict.hints,
    })
}
