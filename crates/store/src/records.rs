//! Records as columns, the same in every database: what a webhook and a replay are written as.

use domain::{
    EventKey, Timestamp,
    replay::{ReplayScope, ReplayState},
    webhook::{DisabledReason, Webhook, WebhookConfig, WebhookSecret, WebhookState},
};
use uuid::Uuid;

use crate::{StoreError, columns::corrupt};

const ACTIVE: i64 = 0;
const INACTIVE: i64 = 1;
const DISABLED: i64 = 2;

const GONE: i64 = 0;
const FAILING: i64 = 1;

/// A webhook's record as columns, written out before its transaction begins.
pub(crate) struct WebhookRecord {
    pub(crate) webhook: Webhook,
    pub(crate) config: String,
    pub(crate) secrets: String,
}

impl WebhookRecord {
    pub(crate) fn new(webhook: Webhook) -> Result<Self, StoreError> {
        let unwritable = |error: serde_json::Error| {
            StoreError::Failed(format!("a webhook that is no JSON: {error}"))
        };
        let config = serde_json::to_string(&webhook.config).map_err(unwritable)?;
        let secrets = serde_json::to_string(&webhook.secrets).map_err(unwritable)?;
        Ok(Self {
            webhook,
            config,
            secrets,
        })
    }

    /// The sealed headers.
    pub(crate) fn headers(&self) -> Option<&[u8]> {
        self.webhook.headers.as_ref().map(|headers| &headers.0[..])
    }

    /// The columns `state`, `disabled_reason` and `disabled_ms`.
    pub(crate) fn state(&self) -> (i64, Option<i64>, Option<i64>) {
        match self.webhook.state {
            WebhookState::Active => (ACTIVE, None, None),
            WebhookState::Inactive => (INACTIVE, None, None),
            WebhookState::Disabled { reason, at } => {
                (DISABLED, Some(reason_number(reason)), Some(at.ms()))
            }
        }
    }
}

/// The column `disabled_reason`.
pub(crate) const fn reason_number(reason: DisabledReason) -> i64 {
    match reason {
        DisabledReason::Gone => GONE,
        DisabledReason::Failing => FAILING,
    }
}

/// A webhook's state, read from its three columns.
pub(crate) fn webhook_state(
    state: i64,
    reason: Option<i64>,
    disabled_ms: Option<i64>,
) -> Result<WebhookState, StoreError> {
    match (state, reason, disabled_ms) {
        (ACTIVE, ..) => Ok(WebhookState::Active),
        (INACTIVE, ..) => Ok(WebhookState::Inactive),
        (DISABLED, Some(reason), Some(at)) => Ok(WebhookState::Disabled {
            reason: if reason == GONE {
                DisabledReason::Gone
            } else {
                DisabledReason::Failing
            },
            at: Timestamp::from_ms(at),
        }),
        _ => Err(corrupt("a webhook state")),
    }
}

/// The column `config`, read.
pub(crate) fn webhook_config(json: &str) -> Result<WebhookConfig, StoreError> {
    serde_json::from_str(json)
        .map_err(|error| corrupt(&format!("a webhook's configuration ({error})")))
}

/// The column `secrets`, read.
pub(crate) fn webhook_secrets(json: &str) -> Result<Vec<WebhookSecret>, StoreError> {
    serde_json::from_str(json).map_err(|_| corrupt("a webhook's secrets"))
}

const ONE_EVENT: i64 = 0;
const RANGE: i64 = 1;
const FAILED_SINCE: i64 = 2;

/// A replay's scope as columns.
pub(crate) struct ScopeColumns {
    pub(crate) scope: i64,
    pub(crate) event: Option<Uuid>,
    pub(crate) since_ms: Option<i64>,
    pub(crate) until_ms: Option<i64>,
}

impl ScopeColumns {
    pub(crate) fn new(scope: ReplayScope) -> Self {
        let (scope, event, since, until) = match scope {
            ReplayScope::Event { event } => (ONE_EVENT, Some(event.uuid()), None, None),
            ReplayScope::Range { since, until } => (RANGE, None, Some(since), Some(until)),
            ReplayScope::FailedSince { since } => (FAILED_SINCE, None, Some(since), None),
        };
        Self {
            scope,
            event,
            since_ms: since.map(Timestamp::ms),
            until_ms: until.map(Timestamp::ms),
        }
    }

    pub(crate) fn read(&self) -> Result<ReplayScope, StoreError> {
        let unreadable = || corrupt("a replay's scope");
        let since = self.since_ms.map(Timestamp::from_ms).ok_or_else(unreadable);
        match self.scope {
            ONE_EVENT => Ok(ReplayScope::Event {
                event: EventKey::new(self.event.ok_or_else(unreadable)?),
            }),
            RANGE => Ok(ReplayScope::Range {
                since: since?,
                until: Timestamp::from_ms(self.until_ms.ok_or_else(unreadable)?),
            }),
            FAILED_SINCE => Ok(ReplayScope::FailedSince { since: since? }),
            _ => Err(unreadable()),
        }
    }
}

const RUNNING: i64 = 0;
const COMPLETED: i64 = 1;
const CANCELLED: i64 = 2;

/// A replay's state as a column.
pub(crate) const fn replay_state_number(state: ReplayState) -> i64 {
    match state {
        ReplayState::Running => RUNNING,
        ReplayState::Completed => COMPLETED,
        ReplayState::Cancelled => CANCELLED,
    }
}

/// A replay's state, read.
pub(crate) fn replay_state(number: i64) -> Result<ReplayState, StoreError> {
    match number {
        RUNNING => Ok(ReplayState::Running),
        COMPLETED => Ok(ReplayState::Completed),
        CANCELLED => Ok(ReplayState::Cancelled),
        _ => Err(corrupt("a replay's state")),
    }
}
