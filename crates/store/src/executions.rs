//! Executions and their steps: started, claimed, recorded, told.
//!
//! An execution that runs is *held* by a process, under its lease, as deliveries are. What that
//! process finds out is written by [`Executions::record`], fenced by the lease, in one transaction
//! with every event that it causes. What runs has no row of its own: after a crash, it is decided
//! anew from the steps that were recorded.

use async_trait::async_trait;
use bytes::Bytes;
use domain::{
    ExecutionId, Timestamp, WorkflowId, WorkspaceId,
    execution::{Execution, ExecutionError, ExecutionState, Signal, Step, StepKey, Usage},
    workflow::definition::OnConflict,
};

use crate::{Accepted, Lease, NewEvent, Page, StoreError};

/// Transitions and look-ups of executions.
#[async_trait]
pub trait Executions: Send + Sync {
    /// Starts an execution, with the events that say so, which are stored only if it starts at
    /// once: no answers to them stand beside [`Started::Queued`] and [`Started::Skipped`]. Whoever
    /// takes up one that was queued tells of its start.
    async fn start(
        &self,
        start: Start,
        events: Vec<NewEvent>,
    ) -> Result<(Started, Vec<Accepted>), StoreError>;

    /// Writes what an execution has come to, all of it or nothing. See [`Record`].
    async fn record(&self, record: Record) -> Result<Recorded, StoreError>;

    /// Takes up to `limit` executions that are due at `now` and that nobody holds, earliest due
    /// first, with their steps and the signals that wait for them. What a process that is gone
    /// has held is due at once.
    async fn claim_executions(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<ClaimedExecution>, StoreError>;

    /// Gives up executions that are held and were not recorded since: they are due at `now`.
    async fn release_executions(
        &self,
        executions: Vec<(WorkspaceId, ExecutionId, Lease)>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// The earliest time at which an execution that nobody holds is due.
    async fn next_execution_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Leaves a signal for an execution, which is due at `now` if nobody holds it and it was not
    /// due before. Signals that an execution has not taken up when it ends are dropped. Their
    /// numbers grow and are never used again.
    ///
    /// [`Signal::Retry`] is for one that failed or was stopped: it is running again, whatever its
    /// workflow's concurrency, and what it ended with (`ended_at`, `error`, `result`) is cleared.
    /// All others are for one that has not ended, [`Signal::Stop`] also for one that waits for its
    /// turn; an answer to an approval or a callback only for a step that waits
    /// ([`domain::execution::StepState::Waiting`], without `ended_at`) and for which no answer of either kind waits
    /// to be taken up.
    async fn signal(
        &self,
        workspace: WorkspaceId,
        execution: ExecutionId,
        signal: Signal,
        now: Timestamp,
    ) -> Result<Signalled, StoreError>;

    /// Signals that wait for executions which this process holds, oldest first.
    async fn held_signals(&self, limit: usize) -> Result<Vec<HeldSignal>, StoreError>;

    /// One execution.
    async fn execution(
        &self,
        workspace: WorkspaceId,
        id: ExecutionId,
    ) -> Result<Option<Execution>, StoreError>;

    /// Executions, newest first. `due_at` says nothing of one that is held.
    async fn executions(
        &self,
        workspace: WorkspaceId,
        filter: ExecutionFilter,
        page: Page<ExecutionId>,
    ) -> Result<Vec<Execution>, StoreError>;

    /// An execution's steps, in order.
    async fn steps(
        &self,
        workspace: WorkspaceId,
        execution: ExecutionId,
    ) -> Result<Vec<Step>, StoreError>;

    /// Makes a pool or changes how many units it has; what is taken stays taken. If it gets more
    /// units than it had, what waits for it is due at once.
    async fn put_pool(
        &self,
        workspace: WorkspaceId,
        name: &str,
        units: u32,
    ) -> Result<(), StoreError>;

    /// Removes a pool, and what is taken of it; `false` if there is none. What waits for it is
    /// due at `now`.
    async fn delete_pool(
        &self,
        workspace: WorkspaceId,
        name: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// A workspace's pools, by name.
    async fn pools(&self, workspace: WorkspaceId) -> Result<Vec<Pool>, StoreError>;

    /// Removes, in one short transaction, up to `limit` executions that ended before `before`,
    /// with their steps, up to `limit` receipts received before `before` whose executions are all
    /// removed or ended before it, and up to `limit` versions of removed workflows that no
    /// execution names. Answers how many executions, receipts and versions it removed; 0: there
    /// is nothing more.
    async fn prune_executions(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError>;
}

/// An execution to be started.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its record: state `Running`, `created_at` and `started_at` now.
    pub execution: Execution,
    /// Whether this process runs it at once, under its own lease; otherwise it is due at once.
    pub held: bool,
    /// Its workflow's concurrency.
    pub limit: Option<Limit>,
}

/// How many executions of a workflow run at once.
///
/// Those count that have begun and not ended: running and waiting ones, and of the pending ones
/// those whose turn it is (due or held). They are counted and one more is stored as one step: of
/// starts at the same moment, no more run than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The most that have begun and not ended.
    pub max: u32,
    /// What becomes of one more. With [`OnConflict::Cancel`] it runs at once, and as many of the
    /// oldest that have begun as make room for it are left a [`Signal::Stop`] by `a newer
    /// execution`; those for which one waits already make room too.
    pub on_conflict: OnConflict,
}

/// What became of an execution that was to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It runs.
    Running,
    /// It waits for its turn: `Pending`, not held, not due, without `started_at`.
    Queued,
    /// Another one runs, and it was not stored.
    Skipped,
}

/// What an execution has come to.
#[derive(Clone, Debug)]
pub struct Record {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Which.
    pub execution: ExecutionId,
    /// The lease under which it is held.
    pub lease: Lease,
    /// The time now.
    pub now: Timestamp,
    /// Steps; one whose number is taken replaces that one (a wait that has ended).
    pub steps: Vec<Step>,
    /// What changes of the execution itself; none: it goes on, held as before.
    pub change: Option<ExecutionChange>,
    /// Numbers of its signals that are taken up with this; others are passed over.
    pub signals: Vec<i64>,
    /// Units that are taken, once `gives` are given back. If a pool has too few, nothing of the
    /// record is written and the answer is [`Recorded::Short`]. What a run takes of a pool of
    /// which it has units replaces those: after a crash it is begun anew.
    pub takes: Vec<Take>,
    /// Steps whose units are given back. The end of an execution gives back all that it has.
    pub gives: Vec<StepKey>,
    /// Pools that the execution now waits for, all of them: any record replaces what it waited
    /// for before. When units are given back to one and nobody holds the execution, it falls due.
    /// If one of them has units free when the execution leaves its holder (they came meanwhile,
    /// or are too few), it is due a second later at the latest.
    pub waits_for: Vec<String>,
    /// Executions that it starts.
    pub starts: Vec<Start>,
    /// Signals for other executions (that of its end, for the one that waits for it), left as
    /// [`Executions::signal`] does; one that does not fit is dropped.
    pub tells: Vec<(ExecutionId, Signal)>,
    /// Its workflow and that one's concurrency now: when the execution ends, the oldest that wait
    /// for their turn are due at `now`, as many as there is room for. They stay `Pending` until
    /// whoever takes them up records otherwise.
    pub limit: Option<(WorkflowId, u32)>,
    /// Events that this causes; stored whatever becomes of `starts`.
    pub events: Vec<NewEvent>,
}

/// What changes of an execution.
#[derive(Clone, Debug)]
pub struct ExecutionChange {
    /// Where it stands now.
    pub state: ExecutionState,
    /// Whether this process goes on holding it; never of one that has ended.
    pub held: bool,
    /// When it is due, if it is not held; none: when a signal or a unit comes. It is due at once
    /// if a signal has come that was not taken up.
    pub due_at: Option<Timestamp>,
    /// When it began, where that was not known before; none leaves it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it came to.
    pub result: Option<Bytes>,
    /// Why it failed.
    pub error: Option<ExecutionError>,
    /// How many steps it has.
    pub steps: u32,
    /// What its model calls used.
    pub usage: Usage,
}

/// Units of a pool for one run of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// The pool.
    pub pool: String,
    /// How many.
    pub units: u32,
    /// For which run of which node.
    pub step: StepKey,
}

/// Whether what an execution came to was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Recorded {
    /// It was.
    Written {
        /// What became of its events, in order.
        accepted: Vec<Accepted>,
        /// What became of the executions that it starts, in order.
        started: Vec<Started>,
        /// Units free in each pool that was taken from or given back to, by name.
        free: Vec<(String, u32)>,
    },
    /// The execution is no longer this lease's; nothing was written.
    LeaseLost,
    /// A pool has too few units; nothing was written.
    Short {
        /// Which: the first of them by name.
        pool: String,
        /// How many units are free for it; none: there is no such pool, or it never has so many.
        free: Option<u32>,
    },
}

/// An execution that was taken up.
#[derive(Clone, Debug)]
pub struct ClaimedExecution {
    /// Its record; state `Running`, unless it was `Pending`.
    pub execution: Execution,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// Signals that wait for it, oldest first, with their numbers.
    pub signals: Vec<(i64, Signal)>,
    /// The lease under which it is held.
    pub lease: Lease,
}

/// A signal for an execution that this process holds.
#[derive(Clone, Debug)]
pub struct HeldSignal {
    /// Whose the execution is.
    pub workspace: WorkspaceId,
    /// Which.
    pub execution: ExecutionId,
    /// The signal's number.
    pub number: i64,
    /// What it says.
    pub signal: Signal,
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    /// It is on disk, and the execution is held: by this process, or by another.
    Held {
        /// Whether by this one.
        here: bool,
    },
    /// It is on disk, and the execution is due.
    Due,
    /// It does not fit the state that the execution, or the step, is in.
    Refused(ExecutionState),
    /// There is no such execution.
    Unknown,
}

/// Which executions to list.
#[derive(Clone, Debug, Default)]
pub struct ExecutionFilter {
    /// Only of this workflow.
    pub workflow: Option<WorkflowId>,
    /// Only in this state.
    pub state: Option<ExecutionState>,
    /// Only asked for at or after.
    pub since: Option<Timestamp>,
}

/// A pool of resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How many units it has.
    pub units: u32,
    /// How many of them are taken.
    pub taken: u32,
}
