//! Sources and receipts: where requests come in, and what was kept of them.

use async_trait::async_trait;
use domain::{
    ExecutionId, ReceiptId, SourceId, Timestamp, WorkspaceId,
    intake::{Door, Outcome, Receipt, Source},
};

use crate::{Accepted, NewEvent, Page, Start, Started, StoreError};

/// Transitions and look-ups of sources and receipts.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Stores a new source; `false` if its name is taken, in whichever workspace.
    async fn create_source(&self, source: Source) -> Result<bool, StoreError>;

    /// Replaces a source, if the record is still the one whose `updated_at` was `expected` and its
    /// name is free; `false` otherwise.
    async fn update_source(&self, source: Source, expected: Timestamp) -> Result<bool, StoreError>;

    /// Removes a source and the triggers that it fires; its receipts stay. `false` if there is
    /// none.
    async fn delete_source(&self, workspace: WorkspaceId, id: SourceId)
    -> Result<bool, StoreError>;

    /// One source.
    async fn source(
        &self,
        workspace: WorkspaceId,
        id: SourceId,
    ) -> Result<Option<Source>, StoreError>;

    /// A workspace's sources, oldest first.
    async fn sources(
        &self,
        workspace: WorkspaceId,
        page: Page<SourceId>,
    ) -> Result<Vec<Source>, StoreError>;

    /// Every source of every workspace, for the index in memory.
    async fn all_sources(&self) -> Result<Vec<Source>, StoreError>;

    /// Keeps a request and starts what it starts, in one transaction. Where the receipt has an
    /// `event_id` and its outcome is `Started` or `Ignored`, an earlier receipt of the same
    /// workspace, door and event id with one of these outcomes makes it a duplicate: nothing is
    /// written then.
    ///
    /// The receipt that is kept names the executions that were stored: not those that were
    /// skipped. `events` are stored unless there are `starts` and none of them runs at once; then
    /// no answers to them stand in [`Received::New`].
    async fn receive(&self, receive: Receive) -> Result<Received, StoreError>;

    /// One receipt.
    async fn receipt(
        &self,
        workspace: WorkspaceId,
        id: ReceiptId,
    ) -> Result<Option<Receipt>, StoreError>;

    /// Receipts, newest first.
    async fn receipts(
        &self,
        workspace: WorkspaceId,
        filter: ReceiptFilter,
        page: Page<ReceiptId>,
    ) -> Result<Vec<Receipt>, StoreError>;
}

/// A request to be kept, with what it starts.
#[derive(Clone, Debug)]
pub struct Receive {
    /// The request. Its `executions` are those of `starts`.
    pub receipt: Receipt,
    /// What it starts.
    pub starts: Vec<Start>,
    /// Events that say so.
    pub events: Vec<NewEvent>,
}

/// What became of a request that was to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is kept.
    New {
        /// What became of the executions, in order.
        started: Vec<Started>,
        /// What became of the events, in order.
        accepted: Vec<Accepted>,
    },
    /// It repeats an earlier one; nothing was written.
    Duplicate {
        /// The earlier one.
        receipt: ReceiptId,
        /// What that one started.
        executions: Vec<ExecutionId>,
    },
}

/// Which receipts to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReceiptFilter {
    /// Only what came in here.
    pub door: Option<Door>,
    /// Only with this outcome.
    pub outcome: Option<Outcome>,
    /// Only received at or after.
    pub since: Option<Timestamp>,
}
