//! `signpost users`: the people of an installation, on a running server or on its data folder.
//!
//! The first owner has to be made before a server may listen beyond this machine, so this works
//! without one: [`offline`] opens the data folder itself (which a running server has locked),
//! [`online`] asks the server. [`run`] finds out which.

mod offline;
mod online;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use domain::access::Role;
use serde_json::{Value, json};

use self::{offline::Offline, online::Online};
use super::{connection::Connection, password::PasswordArgs};
use crate::{
    client::Client,
    local::DataDir,
    output::{self, DIM, GOOD, Out, show, styled, text},
    terminal,
};

/// Add, list and remove users, set passwords and roles
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost users add ann@example.com                     the first one becomes an owner
  printf %s \"$PASSWORD\" | signpost users add ci --role publisher --password-stdin
  signpost users add ann --data-dir /var/lib/signpost    on the folder, while no server runs

With --server (or where one answers on this machine) the server is asked; with --data-dir, or where
none answers, the data folder is changed itself; with --database-url, the database.")]
pub struct UsersArgs {
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    data_dir: DataDir,
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Debug, Subcommand)]
enum UsersCommand {
    Add(AddArgs),
    List(ListArgs),
    Remove(RemoveArgs),
    SetPassword(SetPasswordArgs),
    Role(RoleArgs),
}

/// Add a user; the password is asked for without echo
#[derive(Debug, Args)]
struct AddArgs {
    /// What they log in with: an e-mail address or a name
    login: String,

    /// What they may do [default: owner for the first user, else editor]
    #[arg(long, value_enum, value_name = "ROLE")]
    role: Option<RoleName>,

    #[command(flatten)]
    password: PasswordArgs,
}

/// List users
#[derive(Debug, Args)]
struct ListArgs {}

/// Remove a user
#[derive(Debug, Args)]
struct RemoveArgs {
    /// Their login
    login: String,
}

/// Set a user's password; their tokens end
#[derive(Debug, Args)]
struct SetPasswordArgs {
    /// Their login
    login: String,

    #[command(flatten)]
    password: PasswordArgs,
}

/// Set what a user may do
#[derive(Debug, Args)]
struct RoleArgs {
    /// Their login
    login: String,

    /// What they may do from now on
    #[arg(value_enum)]
    role: RoleName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleName {
    /// Everything, people and keys included
    Owner,
    /// Everything but people, keys and settings
    Editor,
    /// Reads; never sees a secret
    Viewer,
    /// Publishes events, nothing else
    Publisher,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Owner => Self::Owner,
            RoleName::Editor => Self::Editor,
            RoleName::Viewer => Self::Viewer,
            RoleName::Publisher => Self::Publisher,
        }
    }
}

/// Where the people are kept, as far as this command goes. Users are JSON as the API shows them:
/// `id login role createdAt`.
enum People {
    Offline(Offline),
    Online(Online),
}

/// Runs `signpost users`.
pub async fn run(args: UsersArgs, out: Out) -> Result<ExitCode> {
    let people = find(&args, out).await?;
    let done = match (args.command, &people) {
        (UsersCommand::Add(args), _) => add(&people, &args, out).await,
        (UsersCommand::List(ListArgs {}), _) => list(&people, out).await,
        (UsersCommand::Remove(args), _) => remove(&people, &args.login, out).await,
        (UsersCommand::SetPassword(args), _) => set_password(&people, &args, out).await,
        (UsersCommand::Role(args), _) => set_role(&people, &args, out).await,
    };
    if let People::Offline(offline) = people {
        offline.close().await;
    }
    done.map(|()| ExitCode::SUCCESS)
}

async fn find(args: &UsersArgs, out: Out) -> Result<People> {
    let client = Client::new(&args.connection)?;
    let named = args.connection.server.is_some();
    if named || (!args.data_dir.is_given() && client.is_reachable().await) {
        return Ok(People::Online(Online::new(client)));
    }
    let creates = matches!(args.command, UsersCommand::Add(_));
    let offline = Offline::open(&args.data_dir, creates).await?;
    out.note(styled(DIM, format_args!("{}", where_from(&args.data_dir))));
    Ok(People::Offline(offline))
}

fn where_from(data_dir: &DataDir) -> String {
    let place = data_dir.place();
    match data_dir.database_url() {
        Some(_) => format!("in the database {place}"),
        None => format!("on the data folder {place}"),
    }
}

async fn add(people: &People, args: &AddArgs, out: Out) -> Result<()> {
    let first = match people {
        People::Offline(offline) => offline.is_empty().await?,
        People::Online(online) => online.list().await?.is_empty(),
    };
    let role = args
        .role
        .unwrap_or(if first {
            RoleName::Owner
        } else {
            RoleName::Editor
        })
        .into();
    let password = args.password.read_new()?;
    let user = match people {
        People::Offline(offline) => offline.add(&args.login, &password, role).await?,
        People::Online(online) => online.add(&args.login, &password, role).await?,
    };
    if out.is_json() {
        return out.document(&user);
    }
    let (login, role) = (show(&user, "login"), show(&user, "role"));
    out.line(format_args!(
        "{} {login} was added as {role}",
        styled(GOOD, "✓")
    ))?;
    out.note(styled(
        DIM,
        format_args!("  log in: signpost token --login {login}"),
    ));
    Ok(())
}

async fn list(people: &People, out: Out) -> Result<()> {
    let users = match people {
        People::Offline(offline) => offline.list().await?,
        People::Online(online) => online.list().await?,
    };
    if out.is_json() {
        return out.document(&json!({ "data": users, "nextCursor": null }));
    }
    out.table(rows(&users), "no users yet: signpost users add LOGIN")
}

fn rows(users: &[Value]) -> Table {
    let mut table = output::table(["LOGIN", "ROLE", "ID", "CREATED"]);
    for user in users {
        table.add_row(["login", "role", "id", "createdAt"].map(|field| show(user, field)));
    }
    table
}

async fn remove(people: &People, login: &str, out: Out) -> Result<()> {
    match people {
        People::Offline(offline) => offline.remove(login).await?,
        People::Online(online) => online.remove(login).await?,
    }
    say(
        login,
        "was removed",
        &json!({ "login": login, "removed": true }),
        out,
    )
}

async fn set_password(people: &People, args: &SetPasswordArgs, out: Out) -> Result<()> {
    let password = args.password.read_new()?;
    match people {
        People::Offline(offline) => offline.set_password(&args.login, &password).await?,
        People::Online(online) => {
            online
                .change(&args.login, &json!({ "password": password }))
                .await?;
        }
    }
    let done = json!({ "login": args.login, "passwordSet": true });
    say(
        &args.login,
        "has a new password; their tokens have ended",
        &done,
        out,
    )
}

async fn set_role(people: &People, args: &RoleArgs, out: Out) -> Result<()> {
    let role: Role = args.role.into();
    match people {
        People::Offline(offline) => offline.set_role(&args.login, role).await?,
        People::Online(online) => {
            online
                .change(&args.login, &json!({ "role": role.as_str() }))
                .await?;
        }
    }
    let done = json!({ "login": args.login, "role": role.as_str() });
    say(
        &args.login,
        &format!("is {} from now on", role.as_str()),
        &done,
        out,
    )
}

fn say(login: &str, what: &str, json: &Value, out: Out) -> Result<()> {
    if out.is_json() {
        out.document(json)
    } else {
        out.line(format_args!(
            "{} {} {what}",
            styled(GOOD, "✓"),
            terminal::line(login)
        ))
    }
}

/// Whether a user, as the API shows them, has this login.
fn has_login(user: &Value, login: &str) -> bool {
    text(user, "login") == Some(&server::auth::login::normal_login(login))
}
