//! What a batch adds to counts, gathered while it is applied and written once before its commit:
//! one row per webhook and ten minutes instead of one per transition.

use domain::{Timestamp, WebhookId, WorkspaceId};
use rusqlite::params;

use super::{
    hot::Hot,
    row::{Counts, slot},
};
use crate::StoreError;

type Slot = (WorkspaceId, WebhookId, i64);

/// A batch's additions.
#[derive(Default)]
pub(super) struct Tally {
    /// Deliveries that became pending, less those that no longer are.
    pub(super) pending: i64,
    /// Pending deliveries that this process took, less those that it gave back or finished.
    pub(super) held: i64,
    counts: Vec<(Slot, Counts)>,
}

/// A point to go back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    pending: i64,
    held: i64,
    counts: usize,
}

impl Tally {
    /// Adds to a webhook's counts in the slot of `at`.
    pub(super) fn add(
        &mut self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        at: Timestamp,
        counts: Counts,
    ) {
        self.counts.push(((workspace, webhook, slot(at)), counts));
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            pending: self.pending,
            held: self.held,
            counts: self.counts.len(),
        }
    }

    pub(super) fn back_to(&mut self, mark: Mark) {
        self.pending = mark.pending;
        self.held = mark.held;
        self.counts.truncate(mark.counts);
    }

    pub(super) fn clear(&mut self) {
        self.back_to(Mark {
            pending: 0,
            held: 0,
            counts: 0,
        });
    }

    /// Writes what was gathered.
    pub(super) fn write(&mut self, hot: &mut Hot<'_>) -> Result<(), StoreError> {
        if self.pending != 0 {
            hot.add_pending.execute([self.pending])?;
        }
        self.counts.sort_unstable_by_key(|(slot, _)| *slot);
        for same in self.counts.chunk_by(|(one, _), (other, _)| one == other) {
            let (workspace, webhook, slot) = same[0].0;
            let sum = same
                .iter()
                .fold(Counts::default(), |sum, (_, more)| sum.plus(*more));
            hot.add_counts.execute(params![
                workspace.number(),
                webhook.uuid().as_bytes(),
                slot,
                sum.made,
                sum.delivered,
                sum.dead,
                sum.attempts,
                sum.attempts_failed,
            ])?;
        }
        Ok(())
    }
}
