//! Sources, triggers and receipts, as they are stored.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    ExecutionId, ReceiptId, SourceId, Timestamp, TriggerId, WorkflowId, WorkspaceId, seal::Sealed,
};

/// A source: a place where requests of one sender come in.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Its id.
    pub id: SourceId,
    /// Its name, unique in the whole installation: the last part of its URL.
    pub name: String,
    /// What a person set, apart from secrets; stored as JSON.
    pub config: serde_json::Value,
    /// Its secrets, newest first; stored as JSON.
    pub secrets: Vec<SourceSecret>,
    /// Whether it takes requests.
    pub active: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A secret that requests are verified with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceSecret {
    /// The secret, sealed for the record and this `number`.
    pub sealed: Sealed,
    /// Greater for each later one of the source.
    pub number: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it counts; none: until it is removed.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// A trigger: what starts a workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Its id.
    pub id: TriggerId,
    /// The workflow that it starts.
    pub workflow: WorkflowId,
    /// The source whose requests start it (kind `webhook`).
    pub source: Option<SourceId>,
    /// When it fires next (kind `schedule`).
    pub next_at: Option<Timestamp>,
    /// What a person or the workflow's file set, apart from secrets; stored as JSON.
    pub config: serde_json::Value,
    /// The key that requests to its own URL are signed with (S4), sealed.
    pub key: Option<Sealed>,
    /// Whether it was made with its workflow's file, and goes with it.
    pub of_definition: bool,
    /// Whether it fires.
    pub active: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// An inbound request as it was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Its id.
    pub id: ReceiptId,
    /// Where it came in.
    pub door: Door,
    /// When.
    pub received_at: Timestamp,
    /// The sender's address.
    pub peer: Option<String>,
    /// Its headers, credentials left out, as JSON: `[["name", "value"], …]`.
    pub headers: String,
    /// Its body, byte for byte.
    pub body: Bytes,
    /// What became of it.
    pub outcome: Outcome,
    /// What the sender deduplicates by, if it says.
    pub event_id: Option<String>,
    /// What it started.
    pub executions: Vec<ExecutionId>,
    /// Why it was refused, or an expression failed; for people.
    pub reason: Option<String>,
    /// The receipt that this one repeats by hand.
    pub replay_of: Option<ReceiptId>,
}

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// `/webhooks/generic`.
    Generic,
    /// `/webhooks/{source}`.
    Source(SourceId),
    /// `/triggers/{id}`.
    Trigger(TriggerId),
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It started what it was to start.
    Started,
    /// It was genuine, and nothing wanted it.
    Ignored,
    /// It repeats an earlier one.
    Duplicate,
    /// It was a handshake, and was answered.
    Challenge,
    /// It was not genuine, or no request of this kind.
    Refused,
    /// It was genuine, and could not be mapped or started.
    Failed,
}

impl Outcome {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ignored => "ignored",
            Self::Duplicate => "duplicate",
            Self::Challenge => "challenge",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}
