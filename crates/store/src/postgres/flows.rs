//! The traits of workflows, executions and intake, method by method.
//!
//! Each transition is a transaction of its own on a connection of the pool. One that stores events
//! needs their partitions, and is made anew where others store the same id at the same time. One
//! that holds something under this node's lease locks the lease's row of claims; where it cannot
//! be found out whether it was committed, the lease is given up, and with it what may be held.

use async_trait::async_trait;
use domain::{
    ExecutionId, ReceiptId, SourceId, Timestamp, TriggerId, WorkflowId, WorkspaceId,
    execution::{Execution, Signal, Step},
    intake::{Receipt, Source, Trigger},
};

use super::{
    PostgresStore, accept, executions,
    lease::fence,
    pools, receipts, record, signals, sources, steps,
    transact::{look, transact},
    triggers, workflows,
};
use crate::{
    Accepted, ClaimedExecution, ExecutionFilter, Executions, HeldSignal, Hint, Intake, Lease,
    NewEvent, Page, Pool, PutWorkflow, ReceiptFilter, Receive, Received, Record, Recorded,
    Signalled, Start, Started, StoreError, Workflow, WorkflowVersion, Workflows, columns::id_ms,
};

/// How often a transition is tried whose ids or names others store at the same time.
const CONFLICTS_MAX: u32 = 5;

/// Evaluates `$body` in a transaction that stores `$events`; again where others were storing the
/// same, or a partition has gone.
macro_rules! storing {
    ($store:expr, $events:expr, |$tx:ident| $body:expr) => {{
        let mut conflicts = 0;
        loop {
            $store.cover($events).await?;
            match transact!($store, |$tx| $body) {
                Err(StoreError::Busy) if conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    $store.partitions.forget_all();
                }
                outcome => break outcome,
            }
        }
    }};
}

/// What is to be held, and under which lease.
struct Holding {
    lease: Lease,
    wanted: bool,
    unknown: u64,
}

impl PostgresStore {
    /// Sees to it that there are partitions for events.
    async fn cover(&self, events: &[NewEvent]) -> Result<(), StoreError> {
        let made = events.iter().map(|new| id_ms(new.event.key.uuid()));
        match (made.clone().min(), made.max()) {
            (Some(first), Some(last)) => self.partitions.cover(first, last).await,
            _ => Ok(()),
        }
    }

    /// Under the present lease, if any of it is to be held.
    fn holding(&self, starts: &[Start], events: &[NewEvent]) -> Holding {
        let deliveries = events.iter().flat_map(|new| &new.deliveries);
        Holding {
            lease: self.lease.current(),
            wanted: starts.iter().any(|start| start.held)
                || deliveries.into_iter().any(|delivery| delivery.held),
            unknown: self.link.unknown_commits(),
        }
    }

    /// What a transition came to that may have held something: `alive` tells whether the lease
    /// still ran. Before anybody hears that something is held, it must be known here if it is not.
    fn held<T>(
        &self,
        holding: &Holding,
        outcome: Result<(T, bool), StoreError>,
    ) -> Result<T, StoreError> {
        let alive = match &outcome {
            Ok((_, alive)) => *alive,
            Err(_) => self.link.unknown_commits() == holding.unknown,
        };
        if holding.wanted && !alive {
            self.lease.abandon(holding.lease);
        }
        outcome.map(|(value, _)| value)
    }

    /// Tells the other nodes that something is due, or waits for what one of them holds.
    fn tell_of_executions(&self, stirs: bool) {
        if stirs {
            self.hints.send(Hint::Executions);
        }
    }
}

impl Holding {
    /// The lease, if something is to be held and it has not ended.
    async fn fenced(
        &self,
        tx: &deadpool_postgres::Transaction<'_>,
    ) -> Result<Option<Lease>, StoreError> {
        if self.wanted && fence(tx, self.lease).await? {
            Ok(Some(self.lease))
        } else {
            Ok(None)
        }
    }

    /// Whether all that was to be held is, given the lease that was there.
    const fn kept(&self, lease: Option<Lease>) -> bool {
        !self.wanted || lease.is_some()
    }
}

/// Whether any of these started and is not held here.
fn starts_elsewhere(starts: &[Start], started: &[Started]) -> bool {
    (starts.iter().zip(started)).any(|(start, started)| {
        let made_room = start.limit.is_some();
        *started == Started::Running && (!start.held || made_room)
    })
}

#[async_trait]
impl Workflows for PostgresStore {
    async fn put_workflow(&self, put: PutWorkflow) -> Result<Option<Vec<Accepted>>, StoreError> {
        let accepted = storing!(self, &put.events, |tx| workflows::put(tx, &put))?;
        self.tell_of_change(accepted.is_some());
        Ok(accepted)
    }

    async fn delete_workflow(
        &self,
        workspace: WorkspaceId,
        id: WorkflowId,
        events: Vec<NewEvent>,
    ) -> Result<Option<Vec<Accepted>>, StoreError> {
        let accepted = storing!(self, &events, |tx| workflows::delete(
            tx, workspace, id, &events
        ))?;
        self.tell_of_change(accepted.is_some());
        Ok(accepted)
    }

    async fn workflow(
        &self,
        workspace: WorkspaceId,
        id: WorkflowId,
    ) -> Result<Option<Workflow>, StoreError> {
        look!(self, |conn| workflows::by_id(conn, workspace, id))
    }

    async fn workflow_by_name(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<Option<Workflow>, StoreError> {
        look!(self, |conn| workflows::by_name(conn, workspace, name))
    }

    async fn workflows(
        &self,
        workspace: WorkspaceId,
        page: Page<WorkflowId>,
    ) -> Result<Vec<Workflow>, StoreError> {
        look!(self, |conn| workflows::list(conn, workspace, page))
    }

    async fn workflow_version(
        &self,
        workspace: WorkspaceId,
        workflow: WorkflowId,
        number: u32,
    ) -> Result<Option<WorkflowVersion>, StoreError> {
        look!(self, |conn| workflows::version(
            conn, workspace, workflow, number
        ))
    }

    async fn workflow_versions(
        &self,
        workspace: WorkspaceId,
        workflow: WorkflowId,
        page: Page<u32>,
    ) -> Result<Vec<WorkflowVersion>, StoreError> {
        look!(self, |conn| workflows::versions(
            conn, workspace, workflow, page
        ))
    }

    async fn create_trigger(&self, trigger: Trigger) -> Result<(), StoreError> {
        transact!(self, |tx| triggers::create(tx, &trigger))?;
        self.tell_of_change(true);
        Ok(())
    }

    async fn update_trigger(
        &self,
        trigger: Trigger,
        expected: Timestamp,
    ) -> Result<bool, StoreError> {
        let made = transact!(self, |tx| triggers::update(tx, &trigger, expected))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn delete_trigger(
        &self,
        workspace: WorkspaceId,
        id: TriggerId,
    ) -> Result<bool, StoreError> {
        let made = transact!(self, |tx| triggers::delete(tx, workspace, id))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn triggers(
        &self,
        workspace: WorkspaceId,
        workflow: Option<WorkflowId>,
        page: Page<TriggerId>,
    ) -> Result<Vec<Trigger>, StoreError> {
        look!(self, |conn| triggers::list(conn, workspace, workflow, page))
    }

    async fn all_triggers(&self) -> Result<Vec<Trigger>, StoreError> {
        look!(self, |conn| triggers::all(conn))
    }

    async fn due_triggers(&self, now: Timestamp, limit: usize) -> Result<Vec<Trigger>, StoreError> {
        look!(self, |conn| triggers::due(conn, now, limit))
    }

    async fn next_trigger_due(&self) -> Result<Option<Timestamp>, StoreError> {
        look!(self, |conn| triggers::next_due(conn))
    }

    async fn fire_trigger(
        &self,
        workspace: WorkspaceId,
        id: TriggerId,
        expected: Timestamp,
        next: Option<Timestamp>,
        start: Start,
    ) -> Result<Option<Started>, StoreError> {
        let starts = [start];
        let holding = self.holding(&starts, &[]);
        let outcome = storing!(self, &[], |tx| async {
            let lease = holding.fenced(tx).await?;
            let started = if triggers::move_on(tx, workspace, id, expected, next).await? {
                executions::start_all(tx, &starts, lease).await?
            } else {
                Vec::new()
            };
            Ok::<_, StoreError>((started, holding.kept(lease)))
        });
        let started = self.held(&holding, outcome)?;
        self.tell_of_executions(starts_elsewhere(&starts, &started));
        Ok(started.first().copied())
    }
}

#[async_trait]
impl Executions for PostgresStore {
    async fn start(
        &self,
        start: Start,
        events: Vec<NewEvent>,
    ) -> Result<(Started, Vec<Accepted>), StoreError> {
        let starts = [start];
        let holding = self.holding(&starts, &events);
        let outcome = storing!(self, &events, |tx| async {
            let lease = holding.fenced(tx).await?;
            let started = executions::start_all(tx, &starts, lease).await?;
            let accepted = if started[..] == [Started::Running] {
                accept::store_under(tx, &events, lease).await?
            } else {
                Vec::new()
            };
            Ok::<_, StoreError>(((started, accepted), holding.kept(lease)))
        });
        let (started, accepted) = self.held(&holding, outcome)?;
        self.tell_of_executions(starts_elsewhere(&starts, &started));
        let started = started
            .first()
            .ok_or_else(|| StoreError::Failed("an execution was not started".to_owned()))?;
        Ok((*started, accepted))
    }

    async fn record(&self, record: Record) -> Result<Recorded, StoreError> {
        if record.lease != self.lease.current() {
            return Ok(Recorded::LeaseLost);
        }
        let holding = Holding {
            lease: record.lease,
            wanted: true,
            unknown: self.link.unknown_commits(),
        };
        let outcome = storing!(self, &record.events, |tx| record::record(tx, &record));
        let outcome = outcome.map(|outcome| {
            let alive = outcome.alive;
            (outcome, alive)
        });
        let outcome = self.held(&holding, outcome)?;
        self.tell_of_executions(outcome.stirs);
        Ok(outcome.recorded)
    }

    async fn claim_executions(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<ClaimedExecution>, StoreError> {
        let holding = Holding {
            lease: self.lease.trusted_lease()?,
            wanted: true,
            unknown: self.link.unknown_commits(),
        };
        let outcome = transact!(self, |tx| async {
            match holding.fenced(tx).await? {
                Some(lease) => Ok((executions::claim(tx, now, limit, lease).await?, true)),
                None => Ok::<_, StoreError>((Vec::new(), false)),
            }
        });
        self.held(&holding, outcome)
    }

    async fn release_executions(
        &self,
        executions: Vec<(WorkspaceId, ExecutionId, Lease)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        transact!(self, |tx| executions::release(tx, &executions, now))?;
        self.tell_of_executions(!executions.is_empty());
        Ok(())
    }

    async fn next_execution_due(&self) -> Result<Option<Timestamp>, StoreError> {
        look!(self, |conn| executions::next_due(conn))
    }

    async fn signal(
        &self,
        workspace: WorkspaceId,
        execution: ExecutionId,
        signal: Signal,
        now: Timestamp,
    ) -> Result<Signalled, StoreError> {
        let own = self.lease.current();
        let signalled = transact!(self, |tx| signals::leave(
            tx, workspace, execution, &signal, now, own
        ))?;
        let elsewhere = matches!(signalled, Signalled::Due | Signalled::Held { here: false });
        self.tell_of_executions(elsewhere);
        Ok(signalled)
    }

    async fn held_signals(&self, limit: usize) -> Result<Vec<HeldSignal>, StoreError> {
        let own = self.lease.current();
        look!(self, |conn| signals::held(conn, own, limit))
    }

    async fn execution(
        &self,
        workspace: WorkspaceId,
        id: ExecutionId,
    ) -> Result<Option<Execution>, StoreError> {
        look!(self, |conn| executions::by_id(conn, workspace, id))
    }

    async fn executions(
        &self,
        workspace: WorkspaceId,
        filter: ExecutionFilter,
        page: Page<ExecutionId>,
    ) -> Result<Vec<Execution>, StoreError> {
        look!(self, |conn| executions::list(
            conn, workspace, &filter, page
        ))
    }

    async fn steps(
        &self,
        workspace: WorkspaceId,
        execution: ExecutionId,
    ) -> Result<Vec<Step>, StoreError> {
        look!(self, |conn| steps::list(conn, workspace, execution))
    }

    async fn put_pool(
        &self,
        workspace: WorkspaceId,
        name: &str,
        units: u32,
    ) -> Result<(), StoreError> {
        let stirs = transact!(self, |tx| pools::put(tx, workspace, name, units))?;
        self.tell_of_executions(stirs);
        Ok(())
    }

    async fn delete_pool(
        &self,
        workspace: WorkspaceId,
        name: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let made = transact!(self, |tx| pools::delete(tx, workspace, name, now))?;
        self.tell_of_executions(made);
        Ok(made)
    }

    async fn pools(&self, workspace: WorkspaceId) -> Result<Vec<Pool>, StoreError> {
        look!(self, |conn| pools::list(conn, workspace))
    }

    async fn prune_executions(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        transact!(self, |tx| async {
            let executions = executions::prune(tx, before, limit).await?;
            let receipts = receipts::prune(tx, before, limit).await?;
            let versions = workflows::prune_versions(tx, limit).await?;
            Ok::<_, StoreError>(executions + receipts + versions)
        })
    }
}

#[async_trait]
impl Intake for PostgresStore {
    async fn create_source(&self, source: Source) -> Result<bool, StoreError> {
        let made = transact!(self, |tx| sources::create(tx, &source))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn update_source(&self, source: Source, expected: Timestamp) -> Result<bool, StoreError> {
        let made = storing!(self, &[], |tx| sources::update(tx, &source, expected))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn delete_source(
        &self,
        workspace: WorkspaceId,
        id: SourceId,
    ) -> Result<bool, StoreError> {
        let made = transact!(self, |tx| sources::delete(tx, workspace, id))?;
        self.tell_of_change(made);
        Ok(made)
    }

    async fn source(
        &self,
        workspace: WorkspaceId,
        id: SourceId,
    ) -> Result<Option<Source>, StoreError> {
        look!(self, |conn| sources::by_id(conn, workspace, id))
    }

    async fn sources(
        &self,
        workspace: WorkspaceId,
        page: Page<SourceId>,
    ) -> Result<Vec<Source>, StoreError> {
        look!(self, |conn| sources::list(conn, workspace, page))
    }

    async fn all_sources(&self) -> Result<Vec<Source>, StoreError> {
        look!(self, |conn| sources::all(conn))
    }

    async fn receive(&self, receive: Receive) -> Result<Received, StoreError> {
        let holding = self.holding(&receive.starts, &receive.events);
        let outcome = storing!(self, &receive.events, |tx| async {
            let lease = holding.fenced(tx).await?;
            let received = receipts::receive(tx, &receive, lease).await?;
            Ok::<_, StoreError>((received, holding.kept(lease)))
        });
        let received = self.held(&holding, outcome)?;
        if let Received::New { started, .. } = &received {
            self.tell_of_executions(starts_elsewhere(&receive.starts, started));
        }
        Ok(received)
    }

    async fn receipt(
        &self,
        workspace: WorkspaceId,
        id: ReceiptId,
    ) -> Result<Option<Receipt>, StoreError> {
        look!(self, |conn| receipts::by_id(conn, workspace, id))
    }

    async fn receipts(
        &self,
        workspace: WorkspaceId,
        filter: ReceiptFilter,
        page: Page<ReceiptId>,
    ) -> Result<Vec<Receipt>, StoreError> {
        look!(self, |conn| receipts::list(conn, workspace, &filter, page))
    }
}
