//! `signpost completions`: lets the shell complete commands and flags.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::output::Out;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost completions bash > ~/.local/share/bash-completion/completions/signpost
  signpost completions zsh > ~/.zfunc/_signpost
  signpost completions fish > ~/.config/fish/completions/signpost.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs `signpost completions` for the program as it is named in `command_line`.
pub fn run(args: &CompletionsArgs, mut command_line: Command, out: Out) -> Result<ExitCode> {
    let name = command_line.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command_line, name, &mut script);
    out.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
