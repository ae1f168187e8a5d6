//! `signpost doctor`: looks at everything that Signpost depends on, and says what to do.
//!
//! [`checks`] has a function per thing that can be wrong; each looks, none changes anything but
//! that the database is opened for a moment (and so locked, unless it is PostgreSQL's) where no
//! server runs on the data folder.

mod checks;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use comfy_table::Color;
use serde_json::json;

use super::connection::Connection;
use crate::{
    cli,
    client::Client,
    local::DataDir,
    output::{self, Out, cell},
    terminal,
};

/// Check data folder, database, nodes, disk, clock, port, server, DNS and TLS, and say what to do
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost doctor
  signpost doctor --data-dir /var/lib/signpost --port 8443
  signpost doctor --server https://signpost.example.com --json
  signpost doctor --database-url postgres://…      the database, its nodes, the key

Exit code 1 if anything failed; warnings alone are 0.")]
pub struct DoctorArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    data_dir: DataDir,

    /// The address on which `serve` is to listen
    #[arg(
        long,
        env = "SIGNPOST_HOST",
        default_value = "127.0.0.1",
        value_name = "ADDRESS"
    )]
    host: String,

    /// The port on which `serve` is to listen
    #[arg(short, long, env = "SIGNPOST_PORT", default_value_t = 8000)]
    port: u16,

    /// A name that must resolve
    #[arg(long, default_value = "example.com", value_name = "NAME")]
    resolve: String,

    /// Ask nothing of the network
    #[arg(long, env = "SIGNPOST_OFFLINE")]
    offline: bool,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and may not for long.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    const fn color(self) -> Color {
        match self {
            Self::Ok => Color::Green,
            Self::Warn => Color::Yellow,
            Self::Fail => Color::Red,
        }
    }
}

/// One check.
#[derive(Debug)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// Runs `signpost doctor`.
pub async fn run(args: DoctorArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let server = checks::server(&client, args.connection.server.is_some()).await;
    let runs = server.verdict == Verdict::Ok;
    let mut all = checks::folder(&args.data_dir);
    all.extend(checks::database(&args.data_dir, runs).await);
    all.push(checks::clock());
    all.push(checks::open_files());
    all.push(checks::port(&args.host, args.port, runs));
    all.push(server);
    if !args.offline {
        all.push(checks::dns(&args.resolve).await);
    }
    all.push(checks::tls_roots());
    print(&all, out)?;
    let worst = all
        .iter()
        .map(|check| check.verdict)
        .max()
        .unwrap_or(Verdict::Ok);
    Ok(cli::done(worst < Verdict::Fail))
}

fn print(all: &[Check], out: Out) -> Result<()> {
    if out.is_json() {
        let checks: Vec<_> = all
            .iter()
            .map(|check| {
                json!({
                    "check": check.name, "verdict": check.verdict.as_str(),
                    "found": check.found, "try": check.advice,
                })
            })
            .collect();
        return out.document(&json!({ "checks": checks }));
    }
    let mut table = output::table(["CHECK", "", "FOUND"]);
    for check in all {
        let mut found = terminal::line(&check.found).into_owned();
        if let Some(advice) = &check.advice {
            found.push_str("\n→ ");
            found.push_str(&terminal::line(advice));
        }
        table.add_row(vec![
            cell(check.name, None),
            cell(check.verdict.as_str(), Some(check.verdict.color())),
            comfy_table::Cell::new(found),
        ]);
    }
    out.table(table, "")
}
