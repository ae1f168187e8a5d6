//! `docs/cli.md`: every command's help in one page, held to what the program says by a test.
//!
//! `just generate` writes the page anew.

use std::fmt::Write as _;

use clap::Command;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");

const PREAMBLE: &str = "\
# Commands

Generated from the program's own help (`just generate`).

- `--json` prints JSON for programs: one document, or one line for each record of a stream. Errors
  are JSON on standard error then: `{\"error\": {\"what\", \"at\", \"why\", \"try\"}}`.
- Exit codes: 0 done, 1 failed, 2 used wrongly.
- Colours appear on terminals only; `NO_COLOR` turns them off.
- Each flag has an environment variable: the one named beside it, or
  `SIGNPOST_<COMMAND>_<FLAG>`, as in `SIGNPOST_EVENTS_SEND_COUNT`. A flag wins over its variable.
- Where a value is `JSON|@FILE|-`, it is the JSON itself, a file, or standard input.
- Times are RFC 3339 (`2026-01-31T09:30:00Z`), dates, or spans that lie behind (`2h`, `1d12h`).
- Started under the name `configurable-agents`, the program takes the same lines.
";

fn reference() -> String {
    let mut command = crate::cli::command_line("signpost").term_width(100);
    command.build();
    let mut page = PREAMBLE.to_owned();
    describe(&mut command, "signpost", &mut page);
    page
}

fn describe(command: &mut Command, path: &str, page: &mut String) {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    writeln!(page, "\n## {path}\n\n```text\n{}\n```", lines.join("\n")).unwrap();
    for sub in command.get_subcommands_mut() {
        let path = format!("{path} {}", sub.get_name());
        describe(sub, &path, page);
    }
}

#[test]
fn the_reference_is_what_the_program_says() {
    let reference = reference();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(PATH, &reference).unwrap();
    }
    let written = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        written == reference,
        "docs/cli.md is out of date: run just generate"
    );
}

#[test]
fn every_command_has_a_description_and_every_flag_a_help_text() {
    fn check(command: &Command) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for arg in command.get_arguments() {
            assert!(
                arg.get_help().is_some(),
                "{} {}",
                command.get_name(),
                arg.get_id()
            );
        }
        command.get_subcommands().for_each(check);
    }
    let mut command = crate::cli::command_line("signpost");
    command.build();
    check(&command);
}

#[test]
fn every_flag_has_an_environment_variable() {
    fn check(command: &Command) {
        for arg in command
            .get_arguments()
            .filter(|arg| arg.get_long().is_some())
        {
            let is_for_people = matches!(arg.get_id().as_str(), "help" | "version");
            assert!(
                is_for_people || arg.get_env().is_some(),
                "{} {}",
                command.get_name(),
                arg.get_id()
            );
        }
        command.get_subcommands().for_each(check);
    }
    let mut command = crate::cli::command_line("signpost");
    command.build();
    check(&command);
}
