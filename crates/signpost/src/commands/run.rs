//! `signpost run`: a workflow file, run here and now, without a server: an engine in this process
//! on a store of its own. What it does is told as it happens, on standard error; what it came to
//! goes to standard output.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Args;
use delivery::{Pipeline, Settings};
use domain::{
    ExecutionId, WorkspaceId,
    execution::{Cause, Execution, ExecutionState, Signal, Step, StepKey, StepState, Usage},
    workflow::definition::FILE_BYTES_MAX,
};
use serde_json::{Map, Value, json};
use server::{
    ServerConfig, engine,
    lifecycle::{self, Installation},
};
use tempfile::TempDir;
use workflow::{
    Engine,
    follow::{Notice, What},
    registry::{RegisterError, Source, Target},
    start::{Begun, Request, StartError, WorkflowRef},
};

use crate::{
    cli::done,
    edge,
    output::{self, BAD, BOLD, DIM, GOOD, Out, styled},
    problem::Problem,
    surroundings, terminal,
};

/// How long the end is waited for at a time.
const PATIENCE: Duration = Duration::from_hours(24);
/// How long what runs may take to be recorded once the command is interrupted.
const DRAIN: Duration = Duration::from_secs(5);
/// Nanodollars in a dollar.
const NANOS: f64 = 1e9;

/// Run a workflow file here and now, without a server
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost run flow.yaml -i topic=webhooks
  signpost run flow.yaml -i count=3 -i 'tags=[\"a\",\"b\"]' --offline
  signpost run flow.yaml --json | jq .result

Keys of models come from the environment (OPENAI_API_KEY, …); with --offline no model is asked, and
a stand-in answers. Nothing is kept unless --data-dir says where.

Exit codes: 0 completed, 1 failed or stopped, 2 used wrongly.")]
pub struct RunArgs {
    /// The workflow file; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// An input: JSON where it is that, else text; repeat it
    #[arg(short, long = "input", value_name = "NAME=VALUE", value_parser = input)]
    inputs: Vec<(String, Value)>,

    /// Models are the offline stand-in, and nothing beyond this machine is called
    #[arg(long)]
    offline: bool,

    /// Keep workflow and execution in this folder, as a server does
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Reads `name=value`.
pub fn input(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("expected NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

/// Runs `signpost run`.
pub async fn run(args: RunArgs, out: Out) -> Result<ExitCode> {
    let text = read(&args.file)?;
    let place = Place::new(args.data_dir)?;
    let local = Local::open(&place, args.offline).await?;
    let ended = local.run(&args.file, text, args.inputs, out).await;
    local.close().await;
    let execution = ended?;
    print(&execution, out)?;
    Ok(done(execution.state == ExecutionState::Completed))
}

/// A workflow file's bytes, one more than is allowed at most.
pub fn read(path: &Path) -> Result<Bytes> {
    let mut text = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    let found = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text))
    };
    found.map_err(|error| {
        Problem::misuse("failed to read the workflow file")
            .at(path.display().to_string())
            .because(error)
            .advice("name a file that exists and can be read")
    })?;
    Ok(text.into())
}

/// Where the run is kept: a folder that is removed at the end, unless one was named.
enum Place {
    Named(PathBuf),
    Passing(TempDir),
}

impl Place {
    fn new(named: Option<PathBuf>) -> Result<Self> {
        match named {
            Some(folder) => Ok(Self::Named(folder)),
            None => tempfile::tempdir()
                .map(Self::Passing)
                .context("failed to make a folder for the run"),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Named(folder) => folder,
            Self::Passing(folder) => folder.path(),
        }
    }
}

/// An engine in this process.
struct Local {
    engine: Engine,
    store: store::SharedStore,
    offline: bool,
}

impl Local {
    async fn open(place: &Place, offline: bool) -> Result<Self> {
        let config = ServerConfig {
            data_dir: place.path().to_owned(),
            offline,
            program: surroundings::program(),
            models: surroundings::models(offline),
            ..ServerConfig::default()
        };
        let edge = edge::system();
        let opened = Installation::visit(&config, &edge).await;
        let Installation { store, sealing, .. } = opened.map_err(|error| {
            Problem::failed("the store for the run could not be opened")
                .at(place.path().display().to_string())
                .because(error)
        })?;
        // As a server in local mode: public addresses, unless offline, and this machine.
        let egress = lifecycle::egress(&config, true);
        let kept = std::sync::Arc::clone(&store);
        // It plans the events that the run causes; it sends nothing.
        let pipeline = Pipeline::load(kept, egress, edge, sealing, Settings::default()).await?;
        let engine = engine::build(&config, &pipeline, "127.0.0.1", true).engine;
        engine.spawn();
        Ok(Self {
            engine,
            store,
            offline,
        })
    }

    async fn run(
        &self,
        file: &Path,
        text: Bytes,
        inputs: Vec<(String, Value)>,
        out: Out,
    ) -> Result<Execution> {
        let workspace = WorkspaceId::DEFAULT;
        let shown = file.display().to_string();
        let registered = self
            .engine
            .register(workspace, Target::ByName, Source::File(text.clone()))
            .await
            .map_err(|error| not_registered(error, &shown, &text))?;
        for warning in &registered.warnings {
            out.note(styled(
                DIM,
                warning.render(&shown, &String::from_utf8_lossy(&text)),
            ));
        }
        let request = Request {
            workspace,
            workflow: WorkflowRef::Id(registered.workflow.id),
            version: Some(registered.workflow.version),
            input: inputs.into_iter().collect::<Map<_, _>>(),
            cause: Cause::Api,
            offline: self.offline,
        };
        let notices = self.engine.follow();
        let begun = self.engine.start(request).await.map_err(not_started)?;
        out.note(format_args!(
            "{} {}{}",
            styled(BOLD, terminal::line(&registered.workflow.name)),
            styled(DIM, begun.id),
            if self.offline { " (offline model)" } else { "" },
        ));
        self.watch(begun, notices, out).await
    }

    /// Tells what happens until it has ended.
    async fn watch(
        &self,
        begun: Begun,
        mut notices: tokio::sync::broadcast::Receiver<std::sync::Arc<Notice>>,
        out: Out,
    ) -> Result<Execution> {
        let id = begun.id;
        let mut teller = Teller { out, inside: false };
        let ended = self.engine.wait(begun, PATIENCE);
        tokio::pin!(ended);
        let execution = loop {
            tokio::select! {
                biased;
                notice = notices.recv() => match notice {
                    Ok(notice) if notice.execution == id => {
                        teller.tell(&notice.what);
                        if let What::Recorded(step) = &notice.what {
                            self.answer(id, step, out).await?;
                        }
                    }
                    // Of executions that it started, and of what came too fast, nothing is told.
                    Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => break ended.await?,
                },
                execution = &mut ended => break execution?,
                _ = tokio::signal::ctrl_c() => {
                    let by = "the command line".to_owned();
                    self.engine.signal(WorkspaceId::DEFAULT, id, Signal::Stop { by }).await?;
                }
            }
        };
        while let Ok(notice) = notices.try_recv() {
            if notice.execution == id {
                teller.tell(&notice.what);
            }
        }
        teller.close();
        match execution {
            Some(execution) => Ok(execution),
            None => Err(Problem::failed("the run has not ended within a day").into()),
        }
    }

    /// Answers a step that waits for a person; what waits for anybody else would wait for ever.
    async fn answer(&self, id: ExecutionId, step: &Step, out: Out) -> Result<()> {
        if step.state != StepState::Waiting || step.ended_at.is_some() {
            return Ok(());
        }
        let detail: Value = step
            .detail
            .as_ref()
            .and_then(|detail| serde_json::from_slice(detail).ok())
            .unwrap_or_default();
        let needs_server = |what: &str| {
            Problem::failed(format!("the node {} waits for {what}", step.key.node)).advice(
                "run it on a server: signpost workflows add FILE, signpost workflows run NAME",
            )
        };
        match detail["for"].as_str() {
            Some("approval") if out.is_interactive() => {
                let message = detail["message"].as_str().unwrap_or("approve?").to_owned();
                let asked = tokio::task::spawn_blocking(move || output::confirm(&message));
                let signal = Signal::Approval {
                    step: step.number,
                    approved: asked.await.context("failed to ask")??,
                    by: "the command line".to_owned(),
                    comment: None,
                };
                self.engine.signal(WorkspaceId::DEFAULT, id, signal).await?;
                Ok(())
            }
            Some("approval") => Err(needs_server("an approval, and nobody is here").into()),
            Some("callback") => Err(needs_server("a callback").into()),
            _ => Ok(()),
        }
    }

    async fn close(self) {
        self.engine.drain(DRAIN).await;
        self.store.close().await;
    }
}

/// Tells what happens, on standard error.
struct Teller {
    out: Out,
    /// Whether the line that was written last has not ended.
    inside: bool,
}

impl Teller {
    fn tell(&mut self, what: &What) {
        match what {
            What::Text { text, .. } => self.piece(text),
            What::Tool { key, tool } => {
                let line = format!("  {} calls {}", label(key), terminal::line(tool));
                self.line(&styled(DIM, line));
            }
            What::Started { key, attempt } if *attempt > 1 => {
                self.line(&format!(
                    "↻ {} {}",
                    label(key),
                    styled(DIM, format_args!("attempt {attempt}"))
                ));
            }
            What::Started { key, .. } => self.line(&styled(DIM, format_args!("▸ {}", label(key)))),
            What::Recorded(step) => {
                if let Some(line) = step_line(step) {
                    self.line(&line);
                }
            }
            What::State(_) => {}
        }
    }

    /// A piece of a model's answer.
    fn piece(&mut self, text: &str) {
        if self.out.is_json() || text.is_empty() {
            return;
        }
        // What nobody can read is no failure.
        let _ = write!(anstream::stderr(), "{}", styled(DIM, terminal::block(text)));
        self.inside = !text.ends_with('\n');
    }

    fn line(&mut self, text: &str) {
        self.close();
        self.out.note(text);
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.inside) {
            self.out.note("");
        }
    }
}

/// A run of a node in one word.
fn label(key: &StepKey) -> String {
    let node = terminal::line(&key.node);
    match (key.iteration, key.item) {
        (0, None) => node.into_owned(),
        (0, Some(item)) => format!("{node}[{item}]"),
        (iteration, None) => format!("{node} (round {})", iteration + 1),
        (iteration, Some(item)) => format!("{node}[{item}] (round {})", iteration + 1),
    }
}

/// A step in one line; marks have none.
fn step_line(step: &Step) -> Option<String> {
    let took = step.ended_at.map(|end| end.since(step.started_at));
    let mut notes: Vec<String> = took
        .map(|took| format!("{:.1} s", took.as_secs_f64()))
        .into_iter()
        .collect();
    notes.extend(used(step.usage));
    let notes = styled(DIM, notes.join(" · "));
    let label = label(&step.key);
    let why = || {
        let message = step.error.as_ref().map(|error| error.message.as_str());
        terminal::line(message.unwrap_or_default()).into_owned()
    };
    match step.state {
        StepState::Completed => Some(format!("{} {label}  {notes}", styled(GOOD, "✓"))),
        StepState::Failed => Some(format!("{} {label}  {}  {notes}", styled(BAD, "✗"), why())),
        StepState::Skipped => Some(styled(DIM, format_args!("– {label} (left out)"))),
        StepState::Cancelled => Some(styled(DIM, format_args!("– {label} (cut off)"))),
        StepState::Waiting if step.ended_at.is_none() => Some(format!("… {label} waits")),
        StepState::Blocked if step.ended_at.is_none() => {
            Some(format!("… {label} waits for a pool"))
        }
        _ => None,
    }
}

/// Tokens and cost, where there are any.
#[expect(
    clippy::cast_precision_loss,
    reason = "a cost is shown, not reckoned with"
)]
fn used(usage: Usage) -> Option<String> {
    let tokens = usage.tokens_in + usage.tokens_out;
    (tokens > 0).then(|| match usage.cost_nanos {
        0 => format!("{tokens} tokens"),
        cost => format!("{tokens} tokens, ${:.4}", cost as f64 / NANOS),
    })
}

/// What it came to.
fn print(execution: &Execution, out: Out) -> Result<()> {
    let result: Option<Value> = execution
        .result
        .as_ref()
        .and_then(|result| serde_json::from_slice(result).ok());
    if out.is_json() {
        return out.document(&json!({
            "id": execution.id,
            "state": execution.state,
            "result": result,
            "error": execution.error,
            "offline": execution.offline,
            "usage": execution.usage,
        }));
    }
    if let Some(error) = &execution.error {
        let node = error.node.as_deref().unwrap_or("the workflow");
        out.note(format_args!(
            "{} {} failed: {} {}",
            styled(BAD, "✗"),
            styled(BOLD, terminal::line(node)),
            terminal::line(&error.message),
            styled(DIM, format_args!("[{}]", error.kind)),
        ));
        return Ok(());
    }
    if execution.state == ExecutionState::Stopped {
        out.note("stopped");
        return Ok(());
    }
    if let Some(used) = used(execution.usage) {
        out.note(styled(DIM, used));
    }
    let result = result.unwrap_or_default();
    let pretty = serde_json::to_string_pretty(&result).context("failed to print the result")?;
    out.line(terminal::block(&pretty))
}

fn not_registered(error: RegisterError, file: &str, text: &[u8]) -> anyhow::Error {
    let RegisterError::Invalid(found) = error else {
        return error.into();
    };
    let source = String::from_utf8_lossy(text);
    let all: Vec<String> = found.iter().map(|one| one.render(file, &source)).collect();
    Problem::failed("the workflow file has errors")
        .at(file)
        .detail(all.join("\n"))
        .into()
}

fn not_started(error: StartError) -> anyhow::Error {
    let StartError::Inputs(wrong) = error else {
        return error.into();
    };
    let lines: Vec<String> = wrong
        .into_iter()
        .map(|(path, message)| format!("{path}: {message}"))
        .collect();
    Problem::misuse("the inputs do not fit the workflow")
        .detail(lines.join("\n"))
        .advice("give each as -i NAME=VALUE")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_json_where_it_can_be() {
        for (text, value) in [
            ("n=3", json!(3)),
            ("n=three", json!("three")),
            ("n=[1]", json!([1])),
            ("n=a=b", json!("a=b")),
            ("n=", json!("")),
        ] {
            assert_eq!(input(text).unwrap(), ("n".to_owned(), value));
        }
        assert!(input("n").is_err());
        assert!(input("=1").is_err());
    }
}
