//! Which database a command works on: the file in the data folder, or one on a PostgreSQL server.

use clap::Args;
use server::config::DatabaseUrl;

/// Where many programs look for their database, if nothing else names one.
const VARIABLE: &str = "DATABASE_URL";

/// The flag of every command that opens the database itself.
#[derive(Clone, Debug, Args)]
pub struct DatabaseArgs {
    /// A PostgreSQL database (14 or newer) to use instead of the file in the data folder; also taken
    /// from `DATABASE_URL` (better set by environment than on the command line: it may hold a password)
    #[arg(
        long,
        global = true,
        help_heading = "Database",
        env = "SIGNPOST_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub database_url: Option<DatabaseUrl>,
}

impl DatabaseArgs {
    /// The database that was named: by the flag, by its variable, else by `DATABASE_URL`. An empty
    /// one is none.
    pub fn url(&self) -> Option<DatabaseUrl> {
        let named = self.database_url.clone().or_else(|| {
            let text = std::env::var(VARIABLE).ok()?;
            text.parse().ok()
        });
        named.filter(|url| !url.expose().trim().is_empty())
    }
}
