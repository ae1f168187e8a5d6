//! Passwords: typed without echo, or read from standard input by a program.

use std::io;

use anyhow::Result;
use clap::Args;
use console::Term;

use crate::problem::Problem;

/// Where a password comes from.
#[derive(Clone, Debug, Args)]
pub struct PasswordArgs {
    /// Read the password from standard input instead of asking for it
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordArgs {
    /// A password that exists.
    ///
    /// # Errors
    /// If there is no terminal to ask on and it does not come on standard input.
    pub fn read(&self) -> Result<String> {
        if self.password_stdin {
            from_stdin()
        } else {
            ask("Password: ")
        }
    }

    /// A new password; a person types it twice.
    ///
    /// # Errors
    /// As for [`PasswordArgs::read`], and if the two differ.
    pub fn read_new(&self) -> Result<String> {
        if self.password_stdin {
            return from_stdin();
        }
        let password = ask("New password: ")?;
        if ask("The same again: ")? != password {
            return Err(Problem::failed("the two passwords differ").into());
        }
        Ok(password)
    }
}

fn from_stdin() -> Result<String> {
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .map_err(|error| Problem::failed("failed to read the password").because(error))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Problem::misuse("there is no password on standard input").into());
    }
    Ok(password.to_owned())
}

fn ask(prompt: &str) -> Result<String> {
    let terminal = Term::stderr();
    if !terminal.is_term() || !console::user_attended() && !console::user_attended_stderr() {
        return Err(
            Problem::misuse("there is no terminal to ask for the password on")
                .advice("pass it on standard input with --password-stdin")
                .into(),
        );
    }
    terminal
        .write_str(prompt)
        .and_then(|()| terminal.read_secure_line())
        .map_err(|error| {
            Problem::failed("failed to read the password")
                .because(error)
                .into()
        })
}
