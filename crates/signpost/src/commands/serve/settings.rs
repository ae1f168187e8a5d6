//! The settings of `signpost serve` that stand under headings of their own: who may come in, and
//! how much is taken in. Flags become the sections of a `server::ServerConfig`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use server::config::{AccessConfig, FirstOwner, LimitsConfig, NodeConfig};
use store::NodeRole;

use crate::{commands::database::DatabaseArgs, edge, when};

/// What this process is among the others on the same database.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Database")]
pub struct NodeArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// Do only a part of the work; needs --database-url [default: all of it]
    #[arg(long, value_enum, env = "SIGNPOST_ONLY", value_name = "PART")]
    pub only: Option<Part>,

    /// What people call this node [default: the machine's host name]
    #[arg(long, env = "SIGNPOST_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,

    /// How long this node's lease runs: for so long a node that stops keeps what it holds
    #[arg(long, env = "SIGNPOST_LEASE", default_value = "10s", value_name = "SPAN", value_parser = when::span)]
    pub lease: Duration,

    /// How long to go on serving after /readyz says no on the way down, for load balancers
    #[arg(long, env = "SIGNPOST_DRAIN_DELAY", default_value = "0s", value_name = "SPAN", value_parser = when::span)]
    pub drain_delay: Duration,

    /// Connections of the pool [default: twice the cores and 2, from 4 to 32]
    #[arg(long, env = "SIGNPOST_DATABASE_CONNECTIONS", value_name = "N")]
    pub database_connections: Option<usize>,
}

/// A part of a node's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Take requests; deliver nothing
    Api,
    /// Deliver; take no requests but those about its health
    Worker,
}

impl NodeArgs {
    /// The section of the server's settings.
    pub fn config(self) -> NodeConfig {
        NodeConfig {
            name: self.node_name.unwrap_or_else(edge::host_name),
            role: match self.only {
                None => NodeRole::All,
                Some(Part::Api) => NodeRole::Api,
                Some(Part::Worker) => NodeRole::Worker,
            },
            lease: self.lease,
            drain_delay: self.drain_delay,
            connections: self.database_connections,
        }
    }
}

/// Who may come in, and from where.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Access")]
pub struct AccessArgs {
    /// Where others reach this server, for links
    #[arg(long, env = "SIGNPOST_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<url::Url>,

    /// The key that seals secrets, as a key file has it, where it is not to lie in the data folder
    #[arg(long, env = "SIGNPOST_KEY", hide_env_values = true, value_name = "KEY")]
    pub key: Option<String>,

    /// Make this user the owner on start if there is no user yet; with --admin-password
    #[arg(
        long,
        env = "SIGNPOST_ADMIN_LOGIN",
        value_name = "LOGIN",
        requires = "admin_password"
    )]
    pub admin_login: Option<String>,

    /// The first owner's password (better set by environment than on the command line)
    #[arg(
        long,
        env = "SIGNPOST_ADMIN_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    pub admin_password: Option<String>,

    /// How long a login's token counts
    #[arg(long, env = "SIGNPOST_TOKEN_LIFETIME", default_value = "12h", value_name = "SPAN", value_parser = when::span)]
    pub token_lifetime: Duration,

    /// A further host name under which local mode may be asked; repeat it or use commas
    #[arg(
        long,
        env = "SIGNPOST_TRUSTED_HOST",
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub trusted_host: Vec<String>,

    /// A proxy whose X-Forwarded-For is believed; repeat it or use commas
    #[arg(
        long,
        env = "SIGNPOST_TRUSTED_PROXY",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub trusted_proxy: Vec<ipnet::IpNet>,
}

impl AccessArgs {
    /// The section of the server's settings.
    pub fn config(self) -> AccessConfig {
        AccessConfig {
            first_owner: self
                .admin_login
                .zip(self.admin_password)
                .map(|(login, password)| FirstOwner { login, password }),
            token_lifetime: self.token_lifetime,
            trusted_hosts: self.trusted_host,
            trusted_proxies: self.trusted_proxy,
        }
    }
}

/// Bounds of what is taken in.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitsArgs {
    /// The largest body that is taken, in bytes
    #[arg(
        long,
        env = "SIGNPOST_BODY_BYTES_MAX",
        default_value_t = 1_048_576,
        value_name = "BYTES"
    )]
    pub body_bytes_max: usize,

    /// The largest header section that is taken, in bytes
    #[arg(
        long,
        env = "SIGNPOST_HEADER_BYTES_MAX",
        default_value_t = 32_768,
        value_name = "BYTES"
    )]
    pub header_bytes_max: usize,

    /// How long a header section may take to arrive, and a connection may be idle
    #[arg(long, env = "SIGNPOST_HEADER_TIMEOUT", default_value = "30s", value_name = "SPAN", value_parser = when::span)]
    pub header_timeout: Duration,

    /// The most connections at once; more wait to be accepted
    #[arg(
        long,
        env = "SIGNPOST_CONNECTIONS_MAX",
        default_value_t = 4_096,
        value_name = "N"
    )]
    pub connections_max: usize,

    /// How long requests and attempts in progress may take to end on shutdown
    #[arg(long, env = "SIGNPOST_DRAIN_TIMEOUT", default_value = "10s", value_name = "SPAN", value_parser = when::span)]
    pub drain_timeout: Duration,

    /// API requests per minute for each caller, publishing apart; 0 is no limit
    #[arg(
        long,
        env = "SIGNPOST_REQUESTS_PER_MINUTE",
        default_value_t = 6_000,
        value_name = "N"
    )]
    pub requests_per_minute: u32,
}

impl LimitsArgs {
    /// The section of the server's settings.
    pub fn config(&self) -> LimitsConfig {
        LimitsConfig {
            body_bytes_max: self.body_bytes_max,
            header_bytes_max: self.header_bytes_max,
            header_timeout: self.header_timeout,
            connections_max: self.connections_max,
            drain_timeout: self.drain_timeout,
            requests_per_minute: (self.requests_per_minute > 0).then_some(self.requests_per_minute),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        access: AccessArgs,
        #[command(flatten)]
        limits: LimitsArgs,
    }

    #[test]
    fn what_is_not_said_is_what_the_server_thinks_best() {
        let line = Line::parse_from(["x"]);
        let (limits, best) = (line.limits.config(), LimitsConfig::default());
        assert_eq!(format!("{limits:?}"), format!("{best:?}"));
        let best = NodeConfig {
            name: edge::host_name(),
            ..NodeConfig::default()
        };
        assert_eq!(format!("{:?}", line.node.config()), format!("{best:?}"));
        let (access, best) = (line.access.config(), AccessConfig::default());
        assert_eq!(format!("{access:?}"), format!("{best:?}"));
    }

    #[test]
    fn the_database_s_password_is_not_shown() {
        let line = Line::parse_from(["x", "--database-url", "postgres://ann:hunter2@db/x"]);
        let shown = format!("{:?}", line.node);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(line.node.database.url().is_some());
        let none = Line::parse_from(["x", "--database-url", ""]);
        assert_eq!(none.node.database.url(), None);
    }

    #[test]
    fn no_limit_can_be_asked_for() {
        let line = Line::parse_from(["x", "--requests-per-minute", "0"]);
        assert_eq!(line.limits.config().requests_per_minute, None);
    }
}
