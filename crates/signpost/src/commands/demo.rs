//! `signpost demo`: the whole of it in a minute, from a signed webhook in, through a workflow, to a
//! verified webhook out.
//!
//! Starts a server in this process and a [`receiver`] on loopback, makes what is needed ([`setting`]),
//! then tells the [`story`]: what the [`sender`] sends, what runs, what arrives, what is checked.
//! Models are the offline stand-in, and are marked so. Everything goes over real sockets and
//! through the same routes as anybody's. The server stays up afterwards, to be played with.

mod receiver;
mod sender;
mod setting;
mod story;

use std::{
    env,
    ffi::OsStr,
    net::TcpListener,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;
use server::ServerConfig;
use tempfile::TempDir;

use self::{receiver::Receiver, story::Story};
use super::{
    connection::Connection,
    serve::{self, Stop},
    sign::quoted,
};
use crate::{
    cli,
    client::Client,
    output::{BOLD, DIM, GOOD, Out, styled},
    surroundings,
};

/// The port that everybody expects.
const PORT: u16 = 8000;

/// See it work: a signed webhook in, a workflow, a verified webhook out
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost demo
  signpost demo --data-dir ./signpost-data     keep what it makes, to go on with it
  signpost demo --exit                         end after the story

Without --data-dir everything lies in a temporary folder that is removed at the end.")]
pub struct DemoArgs {
    /// Port to listen on [default: 8000, or a free one where that is taken]
    #[arg(short, long)]
    port: Option<u16>,

    /// Keep the data in this folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// End after the story instead of staying up
    #[arg(long)]
    exit: bool,
}

/// Runs `signpost demo`.
pub fn run(args: DemoArgs, out: Out) -> Result<ExitCode> {
    let runtime = serve::runtime(None)?;
    runtime.block_on(demo(args, out))
}

/// Where the demo's data lies, and whether it is removed.
enum Folder {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Folder {
    fn new(chosen: Option<PathBuf>) -> Result<Self> {
        match chosen {
            Some(path) => Ok(Self::Kept(path)),
            None => tempfile::Builder::new()
                .prefix("signpost-demo-")
                .tempdir()
                .map(Self::Temporary)
                .context("failed to make a temporary folder"),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Kept(path) => path.clone(),
            Self::Temporary(folder) => folder.path().to_owned(),
        }
    }
}

async fn demo(args: DemoArgs, out: Out) -> Result<ExitCode> {
    let mut stop = Stop::new()?;
    let folder = Folder::new(args.data_dir)?;
    let (port, is_other) = match args.port {
        Some(port) => (port, false),
        None => free_port(),
    };
    let config = ServerConfig {
        port,
        data_dir: folder.path(),
        program: surroundings::program(),
        models: surroundings::models(true),
        webhook_secrets: surroundings::webhook_secrets(),
        ..ServerConfig::default()
    };
    let running = serve::start(config).await?;
    let url = format!("http://{}", running.address());
    if !out.is_json() {
        introduce(&url, &folder, is_other, out)?;
    }
    let connection = Connection {
        server: Some(url.clone()),
        token: None,
    };
    let client = Client::new(&connection)?;
    let receiver = Receiver::start().await?;
    let story = Story {
        client: &client,
        receiver: &receiver,
        out,
    };
    let told = tokio::select! {
        told = story.tell() => told,
        () = stop.wait() => {
            running.stop().await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let well = match told {
        Ok(outcome) => {
            if out.is_json() {
                let mut outcome = json!(outcome);
                outcome["address"] = json!(url);
                out.record(&outcome)?;
            }
            outcome.is_good()
        }
        Err(error) => {
            running.stop().await;
            return Err(error);
        }
    };
    if !args.exit {
        if !out.is_json() {
            invite(&url, &receiver.url(), out)?;
        }
        stop.wait().await;
    }
    tokio::select! {
        () = running.stop() => {}
        () = stop.wait() => {}
    }
    Ok(cli::done(well))
}

/// 8000 where it is free; else 0, for which the system picks one.
fn free_port() -> (u16, bool) {
    match TcpListener::bind(("127.0.0.1", PORT)) {
        Ok(_) => (PORT, false),
        Err(_) => (0, true),
    }
}

fn introduce(url: &str, folder: &Folder, is_other: bool, out: Out) -> Result<()> {
    out.line(format_args!(
        "{} Signpost is ready at {}",
        styled(GOOD, "●"),
        styled(BOLD, url)
    ))?;
    if is_other {
        out.line(styled(
            DIM,
            format_args!("  (port {PORT} is taken by another program)"),
        ))?;
    }
    let fate = match folder {
        Folder::Kept(_) => "kept",
        Folder::Temporary(_) => "temporary: removed when the demo ends",
    };
    out.line(styled(
        DIM,
        format_args!("  data in {} ({fate})", folder.path().display()),
    ))
}

/// How this program is called in a shell: `signpost` where that finds one, else as it was started.
fn own_call(arg0: Option<&OsStr>, path: Option<&OsStr>) -> String {
    let folders = path.map(env::split_paths);
    let is_found = folders.is_some_and(|mut folders| {
        folders.any(|folder| folder.is_absolute() && folder.join("signpost").is_file())
    });
    match arg0 {
        Some(arg0) if !is_found && !arg0.is_empty() => {
            let arg0 = Path::new(arg0).to_string_lossy();
            quoted(&arg0)
        }
        _ => "signpost".to_owned(),
    }
}

fn invite(url: &str, receiver: &str, out: Out) -> Result<()> {
    let server = if url.ends_with(":8000") {
        String::new()
    } else {
        format!(" --server {url}")
    };
    out.line(format_args!(
        "\nThe server is still up at {}, and so is the receiver. In another terminal, try:",
        styled(BOLD, url)
    ))?;
    let own = own_call(
        env::args_os().next().as_deref(),
        env::var_os("PATH").as_deref(),
    );
    for line in [
        format!("{own} executions list{server}"),
        format!("{own} receipts list{server}"),
        format!("{own} workflows show demo{server}"),
        format!("{own} workflows run demo -i 'order={{\"items\":[]}}' --wait 5{server}"),
        format!("{own} events send workflow.completed -d '{{\"workflowId\":\"w2\"}}'{server}"),
        format!("{own} logs --follow{server}"),
        format!("{own} webhooks create {receiver} --events 'agent.*'{server}"),
    ] {
        out.line(format_args!("  {line}"))?;
    }
    out.line(format_args!(
        "or open {}. Ctrl-C ends the demo.",
        styled(BOLD, format_args!("{url}/api/docs"))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_call_the_program_as_it_can_be_called() {
        let folder = tempfile::tempdir().unwrap();
        let arg0 = OsStr::new("./target/release/signpost");
        let path = Some(folder.path().as_os_str());
        assert_eq!(own_call(Some(arg0), path), "./target/release/signpost");
        assert_eq!(
            own_call(Some(OsStr::new("./my builds/x")), path),
            "'./my builds/x'"
        );
        assert_eq!(own_call(None, path), "signpost");
        std::fs::write(folder.path().join("signpost"), "").unwrap();
        assert_eq!(own_call(Some(arg0), path), "signpost");
    }
}
