//! The traits of workflows, executions and intake, method by method, as in `store`.

use async_trait::async_trait;
use domain::{
    ExecutionId, ReceiptId, SourceId, Timestamp, TriggerId, WorkflowId, WorkspaceId,
    execution::{Execution, Signal, Step},
    intake::{Receipt, Source, Trigger},
};

use super::{
    SqliteStore, claims, executions, expiry, pools, receipts, record, signals, sources, triggers,
    workflows,
};
use crate::{
    Accepted, ClaimedExecution, ExecutionFilter, Executions, HeldSignal, Intake, Lease, NewEvent,
    Page, Pool, PutWorkflow, ReceiptFilter, Receive, Received, Record, Recorded, Signalled, Start,
    Started, StoreError, Workflow, WorkflowVersion, Workflows,
};

#[async_trait]
impl Workflows for SqliteStore {
    async fn put_workflow(&self, put: PutWorkflow) -> Result<Option<Vec<Accepted>>, StoreError> {
        self.apply(move |batch| workflows::put(batch, &put)).await
    }

    async fn delete_workflow(
        &self,
        workspace: WorkspaceId,
        id: WorkflowId,
        events: Vec<NewEvent>,
    ) -> Result<Option<Vec<Accepted>>, StoreError> {
        self.apply(move |batch| workflows::delete(batch, workspace, id, &events))
            .await
    }

    async fn workflow(
        &self,
        workspace: WorkspaceId,
        id: WorkflowId,
    ) -> Result<Option<Workflow>, StoreError> {
        self.read(move |conn| workflows::by_id(conn, workspace, id))
            .await
    }

    async fn workflow_by_name(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<Option<Workflow>, StoreError> {
        let name = name.to_owned();
        self.read(move |conn| workflows::by_name(conn, workspace, &name))
            .await
    }

    async fn workflows(
        &self,
        workspace: WorkspaceId,
        page: Page<WorkflowId>,
    ) -> Result<Vec<Workflow>, StoreError> {
        self.read(move |conn| workflows::list(conn, workspace, page))
            .await
    }

    async fn workflow_version(
        &self,
        workspace: WorkspaceId,
        workflow: WorkflowId,
        number: u32,
    ) -> Result<Option<WorkflowVersion>, StoreError> {
        self.read(move |conn| workflows::version(conn, workspace, workflow, number))
            .await
    }

    async fn workflow_versions(
        &self,
        workspace: WorkspaceId,
        workflow: WorkflowId,
        page: Page<u32>,
    ) -> Result<Vec<WorkflowVersion>, StoreError> {
        self.read(move |conn| workflows::versions(conn, workspace, workflow, page))
            .await
    }

    async fn create_trigger(&self, trigger: Trigger) -> Result<(), StoreError> {
        self.apply(move |batch| triggers::create(batch.conn, &trigger))
            .await
    }

    async fn update_trigger(
        &self,
        trigger: Trigger,
        expected: Timestamp,
    ) -> Result<bool, StoreError> {
        self.apply(move |batch| triggers::update(batch.conn, &trigger, expected))
            .await
    }

    async fn delete_trigger(
        &self,
        workspace: WorkspaceId,
        id: TriggerId,
    ) -> Result<bool, StoreError> {
        self.apply(move |batch| triggers::delete(batch.conn, workspace, id))
            .await
    }

    async fn triggers(
        &self,
        workspace: WorkspaceId,
        workflow: Option<WorkflowId>,
        page: Page<TriggerId>,
    ) -> Result<Vec<Trigger>, StoreError> {
        self.read(move |conn| triggers::list(conn, workspace, workflow, page))
            .await
    }

    async fn all_triggers(&self) -> Result<Vec<Trigger>, StoreError> {
        self.read(triggers::all).await
    }

    async fn due_triggers(&self, now: Timestamp, limit: usize) -> Result<Vec<Trigger>, StoreError> {
        self.read(move |conn| triggers::due(conn, now, limit)).await
    }

    async fn next_trigger_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(triggers::next_due).await
    }

    async fn fire_trigger(
        &self,
        workspace: WorkspaceId,
        id: TriggerId,
        expected: Timestamp,
        next: Option<Timestamp>,
        start: Start,
    ) -> Result<Option<Started>, StoreError> {
        let fire = triggers::Fire {
            workspace,
            id,
            expected,
            next,
            start,
        };
        self.apply(move |batch| triggers::fire(batch, &fire)).await
    }
}

#[async_trait]
impl Executions for SqliteStore {
    async fn start(
        &self,
        start: Start,
        events: Vec<NewEvent>,
    ) -> Result<(Started, Vec<Accepted>), StoreError> {
        self.apply(move |batch| executions::start(batch, &start, &events))
            .await
    }

    async fn record(&self, record: Record) -> Result<Recorded, StoreError> {
        self.apply(move |batch| record::record(batch, &record))
            .await
    }

    async fn claim_executions(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<ClaimedExecution>, StoreError> {
        self.apply(move |batch| claims::claim(batch, now, limit))
            .await
    }

    async fn release_executions(
        &self,
        executions: Vec<(WorkspaceId, ExecutionId, Lease)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.apply(move |batch| claims::release(batch, &executions, now))
            .await
    }

    async fn next_execution_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let epoch = self.epoch;
        self.read(move |conn| claims::next_due(conn, epoch)).await
    }

    async fn signal(
        &self,
        workspace: WorkspaceId,
        execution: ExecutionId,
        signal: Signal,
        now: Timestamp,
    ) -> Result<Signalled, StoreError> {
        self.apply(move |batch| signals::signal(batch, workspace, execution, &signal, now))
            .await
    }

    async fn held_signals(&self, limit: usize) -> Result<Vec<HeldSignal>, StoreError> {
        let epoch = self.epoch;
        self.read(move |conn| signals::held(conn, epoch, limit))
            .await
    }

    async fn execution(
        &self,
        workspace: WorkspaceId,
        id: ExecutionId,
    ) -> Result<Option<Execution>, StoreError> {
        self.read(move |conn| executions::by_id(conn, workspace, id))
            .await
    }

    async fn executions(
        &self,
        workspace: WorkspaceId,
        filter: ExecutionFilter,
        page: Page<ExecutionId>,
    ) -> Result<Vec<Execution>, StoreError> {
        self.read(move |conn| executions::list(conn, workspace, &filter, page))
            .await
    }

    async fn steps(
        &self,
        workspace: WorkspaceId,
        execution: ExecutionId,
    ) -> Result<Vec<Step>, StoreError> {
        self.read(move |conn| executions::steps(conn, workspace, execution))
            .await
    }

    async fn put_pool(
        &self,
        workspace: WorkspaceId,
        name: &str,
        units: u32,
    ) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.apply(move |batch| pools::put(batch, workspace, &name, units))
            .await
    }

    async fn delete_pool(
        &self,
        workspace: WorkspaceId,
        name: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.apply(move |batch| pools::delete(batch, workspace, &name, now))
            .await
    }

    async fn pools(&self, workspace: WorkspaceId) -> Result<Vec<Pool>, StoreError> {
        self.read(move |conn| pools::list(conn, workspace)).await
    }

    async fn prune_executions(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.apply(move |batch| expiry::prune(batch.conn, before, limit))
            .await
    }
}

#[async_trait]
impl Intake for SqliteStore {
    async fn create_source(&self, source: Source) -> Result<bool, StoreError> {
        self.apply(move |batch| sources::create(batch.conn, &source))
            .await
    }

    async fn update_source(&self, source: Source, expected: Timestamp) -> Result<bool, StoreError> {
        self.apply(move |batch| sources::update(batch.conn, &source, expected))
            .await
    }

    async fn delete_source(
        &self,
        workspace: WorkspaceId,
        id: SourceId,
    ) -> Result<bool, StoreError> {
        self.apply(move |batch| sources::delete(batch.conn, workspace, id))
            .await
    }

    async fn source(
        &self,
        workspace: WorkspaceId,
        id: SourceId,
    ) -> Result<Option<Source>, StoreError> {
        self.read(move |conn| sources::by_id(conn, workspace, id))
            .await
    }

    async fn sources(
        &self,
        workspace: WorkspaceId,
        page: Page<SourceId>,
    ) -> Result<Vec<Source>, StoreError> {
        self.read(move |conn| sources::list(conn, workspace, page))
            .await
    }

    async fn all_sources(&self) -> Result<Vec<Source>, StoreError> {
        self.read(sources::all).await
    }

    async fn receive(&self, receive: Receive) -> Result<Received, StoreError> {
        self.apply(move |batch| receipts::receive(batch, &receive))
            .await
    }

    async fn receipt(
        &self,
        workspace: WorkspaceId,
        id: ReceiptId,
    ) -> Result<Option<Receipt>, StoreError> {
        self.read(move |conn| receipts::by_id(conn, workspace, id))
            .await
    }

    async fn receipts(
        &self,
        workspace: WorkspaceId,
        filter: ReceiptFilter,
        page: Page<ReceiptId>,
    ) -> Result<Vec<Receipt>, StoreError> {
        self.read(move |conn| receipts::list(conn, workspace, filter, page))
            .await
    }
}
