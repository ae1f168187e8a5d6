//! A delivery: one event on its way to one webhook.

use serde::{Deserialize, Serialize};

use crate::{DeliveryId, EventKey, ReplayId, Timestamp, WebhookId, WorkspaceId};

/// Where a delivery stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be sent, now or at its due time. `accept` makes it; a manual retry brings it back.
    Pending,
    /// The receiver answered 2xx. Moved here by the attempt; final.
    Delivered,
    /// Given up: attempts used up, or the webhook is gone. A person can retry it.
    Dead,
}

impl DeliveryState {
    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// A delivery's record.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Its id; deliveries of one webhook are ordered by it.
    pub id: DeliveryId,
    /// The event it carries.
    pub event: EventKey,
    /// The webhook it goes to.
    pub webhook: WebhookId,
    /// Where it stands.
    pub state: DeliveryState,
    /// How many attempts were made.
    pub attempts: u32,
    /// When the next attempt may start; `None` once it is delivered or dead.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was delivered or given up.
    pub finished_at: Option<Timestamp>,
    /// The replay that made it, if one did.
    pub replay: Option<ReplayId>,
}

/// What follows an attempt: decided by [`crate::schedule`], written by the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It arrived.
    Delivered,
    /// Once more, not before this time.
    RetryAt(Timestamp),
    /// No more attempts.
    Dead,
}
