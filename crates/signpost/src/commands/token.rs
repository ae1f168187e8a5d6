//! `signpost token`: a token for a person, from a running server or, for admins, from its data
//! folder.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use http::Method;
use serde_json::json;

use super::{connection::Connection, password::PasswordArgs};
use crate::{
    client::Client,
    local::{self, DataDir},
    output::{DIM, Out, styled, text},
    problem::Problem,
};

/// Get a token: log in, or make one from the data folder
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  export SIGNPOST_TOKEN=$(signpost token --login ann@example.com)
  printf %s \"$PASSWORD\" | signpost token --login ci --password-stdin
  signpost token --login ann --data-dir /var/lib/signpost    no password: whoever reads the folder may

For programs that run for long, an API key is better: signpost keys create NAME")]
pub struct TokenArgs {
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    data_dir: DataDir,

    /// Whose token
    #[arg(short, long, value_name = "LOGIN")]
    login: String,

    #[command(flatten)]
    password: PasswordArgs,
}

/// Runs `signpost token`. The token stands alone on standard output.
pub async fn run(args: TokenArgs, out: Out) -> Result<ExitCode> {
    let (token, expires_at) = if args.data_dir.is_given() && args.connection.server.is_none() {
        local::token(&args.data_dir, &args.login).await?
    } else {
        log_in(&args).await?
    };
    if out.is_json() {
        out.document(&json!({ "token": token, "expiresAt": expires_at }))?;
    } else {
        out.line(&token)?;
        out.note(styled(
            DIM,
            format_args!("counts until {expires_at}; use it with --token or SIGNPOST_TOKEN"),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn log_in(args: &TokenArgs) -> Result<(String, String)> {
    // The old token, if one is set, has no part in getting a new one.
    let connection = Connection {
        token: None,
        ..args.connection.clone()
    };
    let client = Client::new(&connection)?;
    let password = args.password.read()?;
    let body = json!({ "login": args.login, "password": password }).to_string();
    let answer = client
        .send(Method::POST, "/api/v1/auth/login", Some(body))
        .await?;
    let field = |name| text(&answer.body, name).map(str::to_owned);
    let token = field("token").ok_or_else(|| Problem::failed("the answer has no token"))?;
    Ok((token, field("expiresAt").unwrap_or_default()))
}
