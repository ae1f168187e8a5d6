//! Which server a command talks to, and as whom.

use clap::Args;

/// The address of a server on this machine.
pub const SERVER_DEFAULT: &str = "http://127.0.0.1:8000";

/// What these flags stand under in the help.
const HEADING: &str = "Connection";

/// Flags that every command has that talks to a server.
#[derive(Clone, Debug, Args)]
pub struct Connection {
    /// The server's address [default: `http://127.0.0.1:8000`]
    #[arg(long, global = true, help_heading = HEADING, env = "SIGNPOST_URL", value_name = "URL")]
    pub server: Option<String>,

    /// An API key (`sp_…`) or a token of `signpost token`; a server in local mode needs none
    #[arg(
        long,
        global = true,
        help_heading = HEADING,
        env = "SIGNPOST_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub token: Option<String>,
}

impl Connection {
    /// The server's address as it was given, else the one on this machine.
    pub fn address(&self) -> &str {
        self.server.as_deref().unwrap_or(SERVER_DEFAULT)
    }
}
