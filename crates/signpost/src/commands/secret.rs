//! Where a signing secret comes from: a flag, a file, or the environment.

use anyhow::Result;
use clap::Args;
use domain::signature::Secret;

use super::input;
use crate::problem::Problem;

/// Flags of commands that work with signing secrets.
#[derive(Clone, Debug, Args)]
pub struct SecretArgs {
    /// The signing secret, as `webhooks create` showed it; `-` reads it from standard input
    #[arg(
        long,
        env = "SIGNPOST_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    secret: Option<String>,

    /// A file that holds the secret (and does not end up in the shell's history)
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    secret_file: Option<String>,
}

impl SecretArgs {
    /// The secret.
    ///
    /// # Errors
    /// If there is none, or it is not one.
    pub fn read(&self) -> Result<Secret> {
        let text = match (&self.secret_file, &self.secret) {
            (Some(path), _) => input::text(&format!("@{path}"))?,
            (None, Some(secret)) if secret == "-" => input::text("-")?,
            (None, Some(secret)) => secret.clone(),
            (None, None) => {
                return Err(Problem::misuse("no secret was given")
                    .advice("use --secret-file FILE, --secret SECRET, or set SIGNPOST_SECRET")
                    .into());
            }
        };
        Secret::parse(&text).map_err(|error| {
            Problem::misuse("that can't be a signing secret")
                .detail(error.to_string())
                .advice("copy it again from where it was shown, without quotes and spaces")
                .into()
        })
    }
}
