//! What the operator sets. The binary fills it from flags and environment; the defaults stand
//! here, each with its reason.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use url::Url;

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

/// Everything that a server is started with.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The address to bind: an IP address, or `localhost`.
    pub host: String,
    /// The port to bind; 0 picks a free one.
    pub port: u16,
    /// The folder that holds everything: the database, the sealing key, the lock.
    pub data_dir: PathBuf,
    /// A PostgreSQL database to use instead of the file.
    pub database_url: Option<String>,
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
            key: None,
            allow_targets: Vec::new(),
            offline: false,
            public_url: None,
            // A month: long enough to replay what a receiver lost over holidays.
            retention: Duration::from_hours(30 * 24),
            access: AccessConfig::default(),
            limits: LimitsConfig::default(),
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
        if self.database_url.is_some() {
            return Err(ConfigError::new(
                "database_url",
                "is not supported by this version: leave it out to use the file in the data folder",
            ));
        }
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
        let cases: [(&str, Spoil); 5] = [
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
    fn a_password_is_never_printed() {
        let owner = FirstOwner {
            login: "ann".to_owned(),
            password: "hunter2hunter2".to_owned(),
        };
        assert!(!format!("{owner:?}").contains("hunter2"));
    }
}
