//! What the operator sets. The binary fills it from flags and environment; the defaults stand
//! here, each with its reason.

use std::{convert::Infallible, fmt, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use ipnet::IpNet;
use store::NodeRole;
use url::Url;
use zeroize::Zeroizing;

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the setting `{setting}` {message}")]
pub struct ConfigError {
    /// Which, as it is named in the environment without its prefix, in lower case.
    pub setting: &'static str,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl ConfigError {
    fn new(setting: &'static str, message: impl Into<String>) -> Self {
        Self {
            setting,
            message: message.into(),
        }
    }
}

/// How long a lease runs where nothing else is said.
const LEASE: Duration = Duration::from_secs(10);
/// The shortest lease: renewing it must leave time to spare.
const LEASE_MIN: Duration = Duration::from_secs(1);
/// The longest lease: what a dead node held waits for its end.
const LEASE_MAX: Duration = Duration::from_mins(10);
/// The fewest connections of the pool: look-ups must not wait for each other.
const CONNECTIONS_MIN: usize = 4;
/// The most connections of the pool that are not asked for.
const CONNECTIONS_BY_CORES_MAX: usize = 32;
/// The longest name of a node, in characters.
const NAME_CHARS_MAX: usize = 100;

/// The address of a PostgreSQL database. It may hold a password, so neither its `Debug` nor its
/// `Display` shows that.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The whole of it, for whoever connects.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatabaseUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for DatabaseUrl {
    /// Scheme, user, host, port and name of the database: no password, and no options, among
    /// which there may be another.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(mut url) = Url::parse(&self.0) else {
            return f.write_str("a URL that cannot be read");
        };
        url.set_query(None);
        url.set_fragment(None);
        if url.password().is_some() && url.set_password(Some("***")).is_err() {
            return f.write_str("a URL that cannot be shown");
        }
        f.write_str(url.as_str())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// Everything that a server is started with.
#[derive(Clone)]
pub struct ServerConfig {
    /// The address to bind: an IP address, or `localhost`.
    pub host: String,
    /// The port to bind; 0 picks a free one.
    pub port: u16,
    /// The folder that holds everything: the database (unless that is PostgreSQL), the sealing
    /// key, which installation this is, the lock.
    pub data_dir: PathBuf,
    /// A PostgreSQL database to use instead of the file.
    pub database_url: Option<DatabaseUrl>,
    /// What this process is among the others on the same database.
    pub node: NodeConfig,
    /// The sealing key, in base64 or as 64 hexadecimal digits, where it is not to be kept in the data folder.
    pub key: Option<String>,
    /// Networks that webhooks may target beside public addresses.
    pub allow_targets: Vec<IpNet>,
    /// Never call anything but loopback addresses and `allow_targets`.
    pub offline: bool,
    /// Where others reach this server, for links.
    pub public_url: Option<Url>,
    /// How long finished events are kept.
    pub retention: Duration,
    /// Who may come in.
    pub access: AccessConfig,
    /// Bounds of what is taken in.
    pub limits: LimitsConfig,
    /// This very program: sandboxes run in it, started anew.
    pub program: PathBuf,
    /// Whether nodes may run code although others than the owner may write workflows.
    pub allow_code: bool,
    /// Keys of models, what their tools may use.
    pub models: models::Settings,
    /// The secrets of `/webhooks/generic`.
    pub webhook_secrets: Vec<Zeroizing<String>>,
    /// The folder below which `config_path` names workflow files; without one, such requests are
    /// refused.
    pub workflows_dir: Option<PathBuf>,
}

impl fmt::Debug for ServerConfig {
    /// Everything but the sealing key and the models' keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("data_dir", &self.data_dir)
            .field("database_url", &self.database_url)
            .field("node", &self.node)
            .field("allow_targets", &self.allow_targets)
            .field("offline", &self.offline)
            .field("public_url", &self.public_url)
            .field("retention", &self.retention)
            .field("access", &self.access)
            .field("limits", &self.limits)
            .field("program", &self.program)
            .field("workflows_dir", &self.workflows_dir)
            .finish_non_exhaustive()
    }
}

/// One process among any number on the same database.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// What people call it.
    pub name: String,
    /// What it does. Anything but everything needs a database that others share.
    pub role: NodeRole,
    /// How long its lease runs after it was renewed: whoever stops for longer loses what it holds
    /// to the others, and whoever is cut off stops sending within it.
    pub lease: Duration,
    /// How long it goes on serving after `/readyz` has said no, so that load balancers notice.
    pub drain_delay: Duration,
    /// How many connections to the database its pool has; `None` leaves it to the number of cores.
    pub connections: Option<usize>,
}

/// Who may come in.
#[derive(Clone, Debug)]
pub struct AccessConfig {
    /// Makes this user the owner of the default workspace on start, if there is no user yet.
    pub first_owner: Option<FirstOwner>,
    /// How long a token counts.
    pub token_lifetime: Duration,
    /// Further host names under which local mode may be asked.
    pub trusted_hosts: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// The first owner, made on start.
#[derive(Clone)]
pub struct FirstOwner {
    /// What they log in with.
    pub login: String,
    /// Their password.
    pub password: String,
}

impl std::fmt::Debug for FirstOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstOwner")
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

/// Bounds of what is taken in.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// The largest body, in bytes.
    pub body_bytes_max: usize,
    /// The buffer for a request's header section, in bytes: what does not fit is refused.
    pub header_bytes_max: usize,
    /// How long the header section of a request may take to arrive; also how long a connection
    /// may be idle.
    pub header_timeout: Duration,
    /// The most connections at once; more wait to be accepted.
    pub connections_max: usize,
    /// How long requests in progress may take to end on shutdown.
    pub drain_timeout: Duration,
    /// API requests per minute for each caller (publishing does not count); `None` is no limit.
    /// Never applies in local mode.
    pub requests_per_minute: Option<u32>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8000,
            data_dir: PathBuf::from("signpost-data"),
            database_url: None,
            node: NodeConfig::default(),
            key: None,
            allow_targets: Vec::new(),
            offline: false,
            public_url: None,
            // A month: long enough to replay what a receiver lost over holidays.
            retention: Duration::from_hours(30 * 24),
            access: AccessConfig::default(),
            limits: LimitsConfig::default(),
            program: PathBuf::from("signpost"),
            models: models::Settings::default(),
            allow_code: false,
            webhook_secrets: Vec::new(),
            workflows_dir: None,
        }
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: "signpost".to_owned(),
            role: NodeRole::All,
            lease: LEASE,
            drain_delay: Duration::ZERO,
            connections: None,
        }
    }
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            first_owner: None,
            // A working day.
            token_lifetime: Duration::from_hours(12),
            trusted_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            header_bytes_max: 32 << 10,
            header_timeout: Duration::from_secs(30),
            connections_max: 4_096,
            drain_timeout: Duration::from_secs(10),
            // Generous: a dashboard that polls ten lists a second stays below it.
            requests_per_minute: Some(6_000),
        }
    }
}

impl ServerConfig {
    /// Checks each setting and how they go together.
    ///
    /// # Errors
    /// The first that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.bind_address()?;
        if self.node.role != NodeRole::All && self.database_url.is_none() {
            return Err(ConfigError::new(
                "only",
                "needs --database-url: without a PostgreSQL database that it shares with others, one process does everything",
            ));
        }
        self.node.validate()?;
        if self.retention < Duration::from_hours(1) {
            return Err(ConfigError::new("retention", "must be at least one hour"));
        }
        if let Some(url) = &self.public_url
            && (!matches!(url.scheme(), "http" | "https") || url.host().is_none())
        {
            return Err(ConfigError::new(
                "public_url",
                "must be an http or https URL",
            ));
        }
        self.access.validate()?;
        self.limits.validate()
    }

    /// The address to bind.
    ///
    /// # Errors
    /// If `host` is neither an IP address nor `localhost`.
    pub fn bind_address(&self) -> Result<IpAddr, ConfigError> {
        if self.host.eq_ignore_ascii_case("localhost") {
            return Ok(IpAddr::from([127, 0, 0, 1]));
        }
        let bare = self
            .host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        bare.unwrap_or(&self.host).parse().map_err(|_| {
            ConfigError::new(
                "host",
                format!("is `{}`: give an IP address or `localhost`", self.host),
            )
        })
    }
}

impl NodeConfig {
    /// Checks the section.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(LEASE_MIN..=LEASE_MAX).contains(&self.lease) {
            return Err(ConfigError::new(
                "lease",
                "must be at least one second and at most ten minutes",
            ));
        }
        if self
            .connections
            .is_some_and(|count| count < CONNECTIONS_MIN)
        {
            return Err(ConfigError::new(
                "database_connections",
                format!("must be at least {CONNECTIONS_MIN}"),
            ));
        }
        let fits = (1..=NAME_CHARS_MAX).contains(&self.name.chars().count());
        if !fits || self.name.chars().any(char::is_control) {
            return Err(ConfigError::new(
                "node_name",
                format!("must have 1 to {NAME_CHARS_MAX} printable characters"),
            ));
        }
        Ok(())
    }

    /// How many connections the pool has, on a machine with so many cores where nothing was set.
    pub fn pool_size(&self, cores: usize) -> usize {
        let by_cores = (2 * cores + 2).clamp(CONNECTIONS_MIN, CONNECTIONS_BY_CORES_MAX);
        self.connections.unwrap_or(by_cores)
    }
}

/// How much time one partition of events covers, by how long they are kept: few partitions, and
/// little that is kept longer than was asked for.
pub fn partition_span(retention: Duration) -> Duration {
    const DAY: Duration = Duration::from_hours(24);
    if retention <= 2 * DAY {
        Duration::from_hours(1)
    } else if retention <= 90 * DAY {
        DAY
    } else {
        7 * DAY
    }
}

impl AccessConfig {
    /// Checks the section.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.token_lifetime < Duration::from_mins(1) {
            return Err(ConfigError::new(
                "token_lifetime",
                "must be at least one minute",
            ));
        }
        if self
            .first_owner
            .as_ref()
            .is_some_and(|owner| owner.login.trim().is_empty())
        {
            return Err(ConfigError::new("admin_login", "must not be empty"));
        }
        Ok(())
    }
}

impl LimitsConfig {
    /// Checks the section.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let at_least = |setting, value: usize, min: usize| {
            if value < min {
                Err(ConfigError::new(
                    setting,
                    format!("is {value}: it must be at least {min}"),
                ))
            } else {
                Ok(())
            }
        };
        at_least("body_bytes_max", self.body_bytes_max, 1_024)?;
        at_least("header_bytes_max", self.header_bytes_max, 8_192)?;
        at_least("connections_max", self.connections_max, 1)?;
        if self.requests_per_minute == Some(0) {
            return Err(ConfigError::new(
                "requests_per_minute",
                "must not be 0: leave it out for no limit",
            ));
        }
        if self.header_timeout.is_zero() {
            return Err(ConfigError::new("header_timeout", "must not be 0"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_stay_on_this_machine() {
        let config = ServerConfig::default();
        assert_eq!(config.validate(), Ok(()));
        assert!(config.bind_address().unwrap().is_loopback());
    }

    #[test]
    fn a_setting_that_cannot_work_is_named() {
        type Spoil = fn(&mut ServerConfig);
        let cases: [(&str, Spoil); 10] = [
            ("only", |config| config.node.role = NodeRole::Worker),
            ("lease", |config| {
                config.node.lease = Duration::from_millis(999);
            }),
            ("lease", |config| {
                config.node.lease = Duration::from_hours(1);
            }),
            ("node_name", |config| config.node.name = String::new()),
            ("database_connections", |config| {
                config.node.connections = Some(3);
            }),
            ("host", |config| config.host = "example.com".to_owned()),
            ("retention", |config| config.retention = Duration::ZERO),
            ("requests_per_minute", |config| {
                config.limits.requests_per_minute = Some(0);
            }),
            ("connections_max", |config| {
                config.limits.connections_max = 0;
            }),
            ("public_url", |config| {
                config.public_url = Url::parse("ftp://example.com").ok();
            }),
        ];
        for (setting, spoil) in cases {
            let mut config = ServerConfig::default();
            spoil(&mut config);
            assert_eq!(config.validate().unwrap_err().setting, setting);
        }
    }

    #[test]
    fn a_part_of_the_work_needs_a_database_that_others_share() {
        let mut config = ServerConfig::default();
        config.node.role = NodeRole::Api;
        let refused = config.validate().unwrap_err();
        assert!(refused.to_string().contains("--database-url"), "{refused}");
        config.database_url = "postgres://db.example/signpost".parse().ok();
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn the_pool_follows_the_cores_unless_it_is_set() {
        let node = NodeConfig::default();
        let sizes = [1, 2, 8, 64].map(|cores| node.pool_size(cores));
        assert_eq!(sizes, [4, 6, 18, 32]);
        let set = NodeConfig {
            connections: Some(50),
            ..node
        };
        assert_eq!(set.pool_size(2), 50);
    }

    #[test]
    fn partitions_are_short_where_little_is_kept() {
        let hours = |days: u64| partition_span(Duration::from_hours(24 * days)).as_secs() / 3_600;
        assert_eq!(
            [1, 2, 3, 30, 90, 91, 365].map(hours),
            [1, 1, 24, 24, 24, 168, 168]
        );
    }

    #[test]
    fn the_database_s_password_is_never_printed() {
        for url in [
            "postgres://ann:hunter2@db.example:5432/signpost?sslmode=require",
            "postgres://db.example/signpost?password=hunter2",
            "postgres://ann:hunter2@",
            "hunter2",
        ] {
            let config = ServerConfig {
                database_url: url.parse().ok(),
                key: Some("hunter2".to_owned()),
                ..ServerConfig::default()
            };
            let printed = format!("{config:?} {}", config.database_url.as_ref().unwrap());
            assert!(!printed.contains("hunter2"), "{printed}");
        }
        let url: DatabaseUrl = "postgres://ann:hunter2@db.example/x".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://ann:***@db.example/x");
        assert!(url.expose().contains("hunter2"));
    }

    #[test]
    fn a_password_is_never_printed() {
        let owner = FirstOwner {
            login: "ann".to_owned(),
            password: "hunter2hunter2".to_owned(),
        };
        assert!(!format!("{owner:?}").contains("hunter2"));
    }
}
