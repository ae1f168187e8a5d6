//! A webhook: one receiver's URL, what it subscribes to, and how it is sent to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Timestamp, WebhookId, WorkspaceId, filter::Filter, format::Format, pattern::EventPattern,
    schedule::RetrySchedule,
};

/// The whole of an exchange may take this long where nothing else is said (S0).
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The shortest timeout that can be set.
pub const TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// The longest timeout that can be set.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// How many attempts at one webhook run at once where nothing else is said.
pub const CONCURRENCY_DEFAULT: u32 = 10;
/// The largest concurrency that can be set.
pub const CONCURRENCY_MAX: u32 = 1_000;
/// The highest rate that can be set, in attempts per second.
pub const RATE_MAX: f64 = 10_000.0;
/// How long an old secret still signs after a rotation, where nothing else is said.
pub const ROTATION_OVERLAP_DEFAULT: Duration = Duration::from_hours(24);
/// The most secrets that sign at once.
pub const SECRETS_MAX: usize = 5;
/// A webhook that has failed this long without one success is disabled.
pub const FAILING_MAX: Duration = Duration::from_hours(120);
/// The most event patterns of one webhook.
pub const PATTERNS_MAX: usize = 100;
/// The most custom headers of one webhook.
pub const HEADERS_MAX: usize = 32;

/// What a person sets of a webhook. Stored as JSON, so a new field needs a serde default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookConfig {
    /// What people call it.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Where deliveries go; checked by `egress` when it was saved.
    pub target_url: String,
    /// What it subscribes to; at least one pattern.
    pub events: Vec<EventPattern>,
    /// Which bodies and headers it gets.
    #[serde(default)]
    pub format: Format,
    /// Only events whose rendered body passes are delivered.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// What stands before the hex of this format's own signature header, such as `sha256=`.
    #[serde(default)]
    pub signature_prefix: String,
    /// When a failed delivery is tried again.
    #[serde(default)]
    pub schedule: RetrySchedule,
    /// How long a whole exchange may take, in milliseconds.
    pub timeout_ms: u64,
    /// How many attempts may run at once.
    pub concurrency: u32,
    /// Attempts per second, if limited.
    #[serde(default)]
    pub rate_per_s: Option<f64>,
    /// Whether deliveries go one at a time in the order of acceptance.
    #[serde(default)]
    pub ordered: bool,
}

impl WebhookConfig {
    /// How long a whole exchange may take.
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// Whether a webhook is sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum WebhookState {
    /// It is.
    Active,
    /// A person switched it off. Deliveries that were pending wait.
    Inactive,
    /// Signpost switched it off; a person can switch it on again.
    Disabled {
        /// Why.
        reason: DisabledReason,
        /// When.
        at: Timestamp,
    },
}

/// Why Signpost stopped sending to a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// The receiver answered 410 Gone.
    Gone,
    /// No attempt succeeded for [`FAILING_MAX`].
    Failing,
}

/// Bytes that only the holder of the installation's key can read ([`crate::seal`]).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sealed(pub Vec<u8>);

/// One of a webhook's signing secrets, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSecret {
    /// The secret's text, sealed.
    pub sealed: Sealed,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops signing; `None` for the newest.
    pub expires_at: Option<Timestamp>,
}

/// A webhook's record.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Its id.
    pub id: WebhookId,
    /// What a person set.
    pub config: WebhookConfig,
    /// Custom headers: a JSON object of strings, sealed, since they carry credentials.
    pub headers: Option<Sealed>,
    /// The secrets that sign, newest first; none: the webhook is unsigned (S2 only).
    pub secrets: Vec<WebhookSecret>,
    /// Whether it is sent to.
    pub state: WebhookState,
    /// Since when every attempt failed; `None` while the last one succeeded.
    pub failing_since: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a person last changed it.
    pub updated_at: Timestamp,
}

impl Webhook {
    /// Whether deliveries are made and sent.
    pub const fn is_active(&self) -> bool {
        matches!(self.state, WebhookState::Active)
    }
}
