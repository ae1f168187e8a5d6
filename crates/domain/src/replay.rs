//! A replay: a durable job that sends past events to a webhook again.

use serde::{Deserialize, Serialize};

use crate::{EventKey, ReplayId, Timestamp, WebhookId, WorkspaceId};

/// Which deliveries a replay makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum ReplayScope {
    /// One event.
    Event {
        /// Which.
        event: EventKey,
    },
    /// Every event that was accepted in a time range and that the webhook subscribes to.
    Range {
        /// The first instant that counts.
        since: Timestamp,
        /// The first instant that no longer counts.
        until: Timestamp,
    },
    /// Every delivery of the webhook that died at or after a time.
    FailedSince {
        /// The first instant that counts.
        since: Timestamp,
    },
}

/// Where a replay stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    /// Deliveries are being made; survives a restart.
    Running,
    /// All of them are made (and are delivered as any other).
    Completed,
    /// The webhook was removed meanwhile.
    Cancelled,
}

/// A replay's record, its progress included.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Its id.
    pub id: ReplayId,
    /// Where to.
    pub webhook: WebhookId,
    /// What is sent again.
    pub scope: ReplayScope,
    /// Where it stands.
    pub state: ReplayState,
    /// How many candidates (events or dead deliveries) were looked at so far.
    pub examined: u64,
    /// How many candidates there were when it was made.
    pub total: u64,
    /// How many deliveries were made so far.
    pub created: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}
