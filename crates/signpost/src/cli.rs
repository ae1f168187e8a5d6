//! The command line: what can be asked, how it is read, and how the program ends.
//!
//! Reading goes: the program's own name decides the dialect ([`configurable_agents_lines`]), clap
//! parses, [`run()`] hands over to the command. Every flag has an environment variable
//! ([`with_environment`]). Exit codes: 0 done, 1 failed, 2 used wrongly.

use std::{
    ffi::{OsStr, OsString},
    future::Future,
    io::Write as _,
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{
    ArgAction, ArgMatches, Args, Command as Clap, CommandFactory as _, FromArgMatches as _, Parser,
    Subcommand, builder::FalseyValueParser, parser::ValueSource,
};

use crate::{
    bench,
    commands::{
        completions, deliveries, demo, doctor, event_types, events, executions, keys, listen, logs,
        migrate, nodes, openapi, pools, receipts, replay, run, schema, serve, sign, sources, token,
        triggers, users, validate, verify, webhooks, workflows,
    },
    output::Out,
    problem,
};

/// The other name under which the program may be started (S3).
const CONFIGURABLE_AGENTS: &str = "configurable-agents";

/// Signed POSTs, in and out, for AI agents.
///
/// Signpost delivers your events to webhooks so that none is lost: each is on disk before it is
/// accepted, signed, sent, retried on a schedule, and logged attempt by attempt. One program, one
/// SQLite file; or any number of them on a PostgreSQL database.
#[derive(Debug, Parser)]
#[command(
    name = "signpost",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = EXAMPLES
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  signpost demo                                   see it work, from publish to verified receipt
  signpost serve                                  start the server on http://127.0.0.1:8000
  signpost webhooks create https://example.com/hook --events 'workflow.*'
  signpost events send workflow.completed -d '{\"workflowId\":\"w1\"}'
  signpost listen --forward-to http://127.0.0.1:3000/hook
  signpost validate flow.yaml                     check a workflow file
  signpost doctor                                 find out what is wrong

Exit codes: 0 done, 1 failed, 2 used wrongly. Add --json to read the output by program.";

#[derive(Clone, Debug, Args)]
struct Global {
    /// Print JSON instead of tables and prose
    #[arg(long, global = true, env = "SIGNPOST_JSON", display_order = 900)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(visible_alias = "dashboard")]
    Serve(serve::ServeArgs),
    Demo(demo::DemoArgs),
    Events(events::EventsArgs),
    EventTypes(event_types::EventTypesArgs),
    Webhooks(webhooks::WebhooksArgs),
    Deliveries(deliveries::DeliveriesArgs),
    Logs(logs::LogsArgs),
    Listen(listen::ListenArgs),
    Replay(replay::ReplayArgs),
    Run(run::RunArgs),
    Workflows(workflows::WorkflowsArgs),
    Executions(executions::ExecutionsArgs),
    Pools(pools::PoolsArgs),
    Validate(validate::ValidateArgs),
    Sources(sources::SourcesArgs),
    Triggers(triggers::TriggersArgs),
    Receipts(receipts::ReceiptsArgs),
    Sign(sign::SignArgs),
    Verify(verify::VerifyArgs),
    Token(token::TokenArgs),
    Keys(keys::KeysArgs),
    Users(users::UsersArgs),
    Nodes(nodes::NodesArgs),
    Doctor(doctor::DoctorArgs),
    Migrate(migrate::MigrateArgs),
    Bench(bench::BenchArgs),
    Openapi(openapi::OpenapiArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
}

/// Reads the command line, runs the command, says what failed.
pub fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let name = program_name(args.first().map(OsString::as_os_str));
    if name == CONFIGURABLE_AGENTS {
        args = configurable_agents_lines(args);
    }
    let parsed = command(name)
        .try_get_matches_from(args)
        .and_then(|matches| read(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; a reader that went away is no failure.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let out = Out::new(cli.global.json);
    match run(cli.command, out, name) {
        Ok(code) => code,
        Err(error) => {
            report(&error, out);
            problem::exit_code(&error)
        }
    }
}

/// The flags and command that clap found. A data folder or database named on the command line
/// counts more than a server that only the environment names.
fn read(matches: &ArgMatches) -> clap::error::Result<Cli> {
    let mut cli = Cli::from_arg_matches(matches)?;
    let Some((_, flags)) = matches.subcommand() else {
        return Ok(cli);
    };
    let connection = match &mut cli.command {
        Command::Users(args) => &mut args.connection,
        Command::Token(args) => &mut args.connection,
        _ => return Ok(cli),
    };
    let is_from = |flag, source| flags.value_source(flag) == Some(source);
    let data_named = ["data_dir", "database_url"]
        .into_iter()
        .any(|flag| is_from(flag, ValueSource::CommandLine));
    if data_named && is_from("server", ValueSource::EnvVariable) {
        connection.server = None;
    }
    Ok(cli)
}

fn report(error: &anyhow::Error, out: Out) {
    let text = if out.is_json() {
        problem::render_json(error).map(|value| value.to_string())
    } else {
        problem::render(error)
    };
    if let Some(text) = text {
        // Standard error may be closed; the exit code still tells.
        let _ = writeln!(anstream::stderr(), "{text}");
    }
}

fn run(command: Command, out: Out, name: &'static str) -> Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(args, out),
        Command::Demo(args) => demo::run(args, out),
        Command::Bench(args) => bench::run(args).map(done),
        Command::Events(args) => wait_for(events::run(args, out)),
        Command::EventTypes(args) => wait_for(event_types::run(args, out)),
        Command::Webhooks(args) => wait_for(webhooks::run(args, out)),
        Command::Deliveries(args) => wait_for(deliveries::run(args, out)),
        Command::Logs(args) => wait_for(logs::run(args, out)),
        Command::Listen(args) => wait_for(listen::run(args, out)),
        Command::Replay(args) => wait_for(replay::run(args, out)),
        Command::Sources(args) => wait_for(sources::run(args, out)),
        Command::Triggers(args) => wait_for(triggers::run(args, out)),
        Command::Receipts(args) => wait_for(receipts::run(args, out)),
        Command::Sign(args) => sign::run(&args, out),
        Command::Verify(args) => verify::run(&args, out),
        Command::Token(args) => wait_for(token::run(args, out)),
        Command::Keys(args) => wait_for(keys::run(args, out)),
        Command::Users(args) => wait_for(users::run(args, out)),
        Command::Run(args) => wait_for(run::run(args, out)),
        Command::Workflows(args) => wait_for(workflows::run(args, out)),
        Command::Executions(args) => wait_for(executions::run(args, out)),
        Command::Pools(args) => wait_for(pools::run(args, out)),
        Command::Nodes(args) => wait_for(nodes::run(args, out)),
        Command::Doctor(args) => wait_for(doctor::run(args, out)),
        Command::Migrate(args) => wait_for(migrate::run(args, out)),
        Command::Openapi(args) => openapi::run(&args, out),
        Command::Schema(args) => schema::run(&args, out),
        Command::Validate(args) => validate::run(&args, out),
        Command::Completions(args) => completions::run(&args, command_line(name), out),
    }
}

/// The exit code of a command that answers whether all is well.
pub fn done(well: bool) -> ExitCode {
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs a command that mostly waits for a server, on this one thread.
fn wait_for(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?
        .block_on(command)
}

/// The dialect: `configurable-agents` where the program is started by that name.
fn program_name(arg0: Option<&OsStr>) -> &'static str {
    let stem = arg0.map(Path::new).and_then(Path::file_stem);
    if stem == Some(OsStr::new(CONFIGURABLE_AGENTS)) {
        CONFIGURABLE_AGENTS
    } else {
        "signpost"
    }
}

/// S3's lines, where they mean something else than ours: its `webhooks [--host] [--port]` starts
/// the server, ours manages webhooks and always has a word behind it.
fn configurable_agents_lines(mut args: Vec<OsString>) -> Vec<OsString> {
    let starts_server = args.get(1).is_some_and(|word| word == "webhooks")
        && args.get(2).is_none_or(|next| {
            next.to_str().is_some_and(|next| {
                ["--host", "--port"].iter().any(|flag| {
                    next.strip_prefix(flag)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
                })
            })
        });
    if starts_server {
        args[1] = "serve".into();
    }
    args
}

/// The whole command line under the name the program was started by.
pub fn command_line(name: &'static str) -> Clap {
    command(name)
}

fn command(name: &'static str) -> Clap {
    with_environment(Cli::command().name(name).bin_name(name), "SIGNPOST")
}

/// Gives every flag that names none the environment variable `SIGNPOST_<COMMAND>_<FLAG>`, and
/// keeps the values of all out of the help (they may be secrets).
fn with_environment(command: Clap, prefix: &str) -> Clap {
    let own = prefix.to_owned();
    let command = command.mut_args(|arg| {
        let arg = arg.hide_env_values(true);
        let arg = if matches!(arg.get_action(), ArgAction::SetTrue) {
            arg.value_parser(FalseyValueParser::new())
        } else {
            arg
        };
        match arg.get_long() {
            Some(long) if arg.get_env().is_none() && takes_environment(&arg) => {
                let name = format!("{own}_{}", shouted(long));
                // Leaked once per flag and process: clap keeps names for the program's life.
                arg.env(&*name.leak()).hide_env(true)
            }
            _ => arg,
        }
    });
    command.mut_subcommands(|sub| {
        let prefix = format!("{prefix}_{}", shouted(sub.get_name()));
        with_environment(sub, &prefix)
    })
}

fn takes_environment(arg: &clap::Arg) -> bool {
    matches!(
        arg.get_action(),
        ArgAction::Set | ArgAction::Append | ArgAction::SetTrue
    )
}

fn shouted(name: &str) -> String {
    name.replace('-', "_").to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_sound() {
        command("signpost").debug_assert();
    }

    #[test]
    fn the_other_name_is_known_however_it_is_called() {
        for name in [
            "configurable-agents",
            "/usr/local/bin/configurable-agents",
            "./configurable-agents.exe",
        ] {
            assert_eq!(
                program_name(Some(OsStr::new(name))),
                CONFIGURABLE_AGENTS,
                "{name}"
            );
        }
        for name in ["signpost", "configurable-agents-2", ""] {
            assert_eq!(program_name(Some(OsStr::new(name))), "signpost", "{name}");
        }
        assert_eq!(program_name(None), "signpost");
    }

    #[test]
    fn its_webhooks_starts_the_server_and_ours_stays() {
        let server = [
            vec!["ca", "webhooks"],
            vec!["ca", "webhooks", "--port", "9000"],
            vec!["ca", "webhooks", "--host=0.0.0.0"],
        ];
        for words in server {
            assert_eq!(
                configurable_agents_lines(line(&words))[1],
                "serve",
                "{words:?}"
            );
        }
        for words in [
            vec!["ca", "webhooks", "list"],
            vec!["ca", "webhooks", "--help"],
            vec!["ca"],
        ] {
            assert_eq!(configurable_agents_lines(line(&words)), line(&words));
        }
    }

    #[test]
    fn s3_s_lines_are_taken_as_they_are_written() {
        for words in [
            ["configurable-agents", "dashboard", "--port", "8000"].as_slice(),
            &["configurable-agents", "logs", "--follow"],
        ] {
            let parsed = command(CONFIGURABLE_AGENTS).try_get_matches_from(line(words));
            assert!(parsed.is_ok(), "{words:?}");
        }
    }

    #[test]
    fn help_of_the_whole_is_one_screen() {
        let mut command = command("signpost").term_width(100);
        insta::assert_snapshot!(command.render_help().to_string());
    }
}
