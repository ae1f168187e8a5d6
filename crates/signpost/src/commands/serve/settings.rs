//! The settings of `signpost serve` that stand under headings of their own: who may come in, and
//! how much is taken in. Flags become the sections of a `server::ServerConfig`.

use std::time::Duration;

use clap::Args;
use server::config::{AccessConfig, FirstOwner, LimitsConfig};

use crate::when;

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
        access: AccessArgs,
        #[command(flatten)]
        limits: LimitsArgs,
    }

    #[test]
    fn what_is_not_said_is_what_the_server_thinks_best() {
        let line = Line::parse_from(["x"]);
        let (limits, best) = (line.limits.config(), LimitsConfig::default());
        assert_eq!(format!("{limits:?}"), format!("{best:?}"));
        let (access, best) = (line.access.config(), AccessConfig::default());
        assert_eq!(format!("{access:?}"), format!("{best:?}"));
    }

    #[test]
    fn no_limit_can_be_asked_for() {
        let line = Line::parse_from(["x", "--requests-per-minute", "0"]);
        assert_eq!(line.limits.config().requests_per_minute, None);
    }
}
