//! The rest of the store of a node of a test: nothing here runs workflows, so all of it is the
//! database's own.

#![allow(clippy::wildcard_imports, reason = "it names what three traits name")]

use async_trait::async_trait;
use domain::{
    ExecutionId, ReceiptId, SourceId, Timestamp, TriggerId, WorkflowId, WorkspaceId,
    execution::{Execution, Signal, Step},
    intake::{Receipt, Source, Trigger},
};
use store::*;

use super::cluster::Member;

#[async_trait]
impl Workflows for Member {
    async fn put_workflow(&self, put: PutWorkflow) -> Result<Option<Vec<Accepted>>, StoreError> {
        Workflows::put_workflow(self.store(), put).await
    }
    async fn delete_workflow(
        &self,
        workspace: WorkspaceId,
        id: WorkflowId,
        events: Vec<NewEvent>,
    ) -> Result<Option<Vec<Accepted>>, StoreError> {
        Workflows::delete_workflow(self.store(), workspace, id, events).await
    }
    async fn workflow(
        &self,
        workspace: WorkspaceId,
        id: WorkflowId,
    ) -> Result<Option<Workflow>, StoreError> {
        Workflows::workflow(self.store(), workspace, id).await
    }
    async fn workflow_by_name(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<Option<Workflow>, StoreError> {
        Workflows::workflow_by_name(self.store(), workspace, name).await
    }
    async fn workflows(
        &self,
        workspace: WorkspaceId,
        page: Page<WorkflowId>,
    ) -> Result<Vec<Workflow>, StoreError> {
        Workflows::workflows(self.store(), workspace, page).await
    }
    async fn workflow_version(
        &self,
        workspace: WorkspaceId,
        workflow: WorkflowId,
        number: u32,
    ) -> Result<Option<WorkflowVersion>, StoreError> {
        Workflows::workflow_version(self.store(), workspace, workflow, number).await
    }
    async fn workflow_versions(
        &self,
        workspace: WorkspaceId,
        workflow: WorkflowId,
        page: Page<u32>,
    ) -> Result<Vec<WorkflowVersion>, StoreError> {
        Workflows::workflow_versions(self.store(), workspace, workflow, page).await
    }
    async fn create_trigger(&self, trigger: Trigger) -> Result<(), StoreError> {
        Workflows::create_trigger(self.store(), trigger).await
    }
    async fn update_trigger(
        &self,
        trigger: Trigger,
        expected: Timestamp,
    ) -> Result<bool, StoreError> {
        Workflows::update_trigger(self.store(), trigger, expected).await
    }
    async fn delete_trigger(
        &self,
        workspace: WorkspaceId,
        id: TriggerId,
    ) -> Result<bool, StoreError> {
        Workflows::delete_trigger(self.store(), workspace, id).await
    }
    async fn triggers(
        &self,
        workspace: WorkspaceId,
        workflow: Option<WorkflowId>,
        page: Page<TriggerId>,
    ) -> Result<Vec<Trigger>, StoreError> {
        Workflows::triggers(self.store(), workspace, workflow, page).await
    }
    async fn all_triggers(&self) -> Result<Vec<Trigger>, StoreError> {
        Workflows::all_triggers(self.store()).await
    }
    async fn due_triggers(&self, now: Timestamp, limit: usize) -> Result<Vec<Trigger>, StoreError> {
        Workflows::due_triggers(self.store(), now, limit).await
    }
    async fn next_trigger_due(&self) -> Result<Option<Timestamp>, StoreError> {
        Workflows::next_trigger_due(self.store()).await
    }
    async fn fire_trigger(
        &self,
        workspace: WorkspaceId,
        id: TriggerId,
        expected: Timestamp,
        next: Option<Timestamp>,
        start: Start,
    ) -> Result<Option<Started>, StoreError> {
        Workflows::fire_trigger(self.store(), workspace, id, expected, next, start).await
    }
}

#[async_trait]
impl Executions for Member {
    async fn start(
        &self,
        start: Start,
        events: Vec<NewEvent>,
    ) -> Result<(Started, Vec<Accepted>), StoreError> {
        Executions::start(self.store(), start, events).await
    }
    async fn record(&self, record: Record) -> Result<Recorded, StoreError> {
        Executions::record(self.store(), record).await
    }
    async fn claim_executions(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<ClaimedExecution>, StoreError> {
        Executions::claim_executions(self.store(), now, limit).await
    }
    async fn release_executions(
        &self,
        executions: Vec<(WorkspaceId, ExecutionId, Lease)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        Executions::release_executions(self.store(), executions, now).await
    }
    async fn next_execution_due(&self) -> Result<Option<Timestamp>, StoreError> {
        Executions::next_execution_due(self.store()).await
    }
    async fn signal(
        &self,
        workspace: WorkspaceId,
        execution: ExecutionId,
        signal: Signal,
        now: Timestamp,
    ) -> Result<Signalled, StoreError> {
        Executions::signal(self.store(), workspace, execution, signal, now).await
    }
    async fn held_signals(&self, limit: usize) -> Result<Vec<HeldSignal>, StoreError> {
        Executions::held_signals(self.store(), limit).await
    }
    async fn execution(
        &self,
        workspace: WorkspaceId,
        id: ExecutionId,
    ) -> Result<Option<Execution>, StoreError> {
        Executions::execution(self.store(), workspace, id).await
    }
    async fn executions(
        &self,
        workspace: WorkspaceId,
        filter: ExecutionFilter,
        page: Page<ExecutionId>,
    ) -> Result<Vec<Execution>, StoreError> {
        Executions::executions(self.store(), workspace, filter, page).await
    }
    async fn steps(
        &self,
        workspace: WorkspaceId,
        execution: ExecutionId,
    ) -> Result<Vec<Step>, StoreError> {
        Executions::steps(self.store(), workspace, execution).await
    }
    async fn put_pool(
        &self,
        workspace: WorkspaceId,
        name: &str,
        units: u32,
    ) -> Result<(), StoreError> {
        Executions::put_pool(self.store(), workspace, name, units).await
    }
    async fn delete_pool(
        &self,
        workspace: WorkspaceId,
        name: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        Executions::delete_pool(self.store(), workspace, name, now).await
    }
    async fn pools(&self, workspace: WorkspaceId) -> Result<Vec<Pool>, StoreError> {
        Executions::pools(self.store(), workspace).await
    }
    async fn prune_executions(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        Executions::prune_executions(self.store(), before, limit).await
    }
}

#[async_trait]
impl Intake for Member {
    async fn create_source(&self, source: Source) -> Result<bool, StoreError> {
        Intake::create_source(self.store(), source).await
    }
    async fn update_source(&self, source: Source, expected: Timestamp) -> Result<bool, StoreError> {
        Intake::update_source(self.store(), source, expected).await
    }
    async fn delete_source(
        &self,
        workspace: WorkspaceId,
        id: SourceId,
    ) -> Result<bool, StoreError> {
        Intake::delete_source(self.store(), workspace, id).await
    }
    async fn source(
        &self,
        workspace: WorkspaceId,
        id: SourceId,
    ) -> Result<Option<Source>, StoreError> {
        Intake::source(self.store(), workspace, id).await
    }
    async fn sources(
        &self,
        workspace: WorkspaceId,
        page: Page<SourceId>,
    ) -> Result<Vec<Source>, StoreError> {
        Intake::sources(self.store(), workspace, page).await
    }
    async fn all_sources(&self) -> Result<Vec<Source>, StoreError> {
        Intake::all_sources(self.store()).await
    }
    async fn receive(&self, receive: Receive) -> Result<Received, StoreError> {
        Intake::receive(self.store(), receive).await
    }
    async fn receipt(
        &self,
        workspace: WorkspaceId,
        id: ReceiptId,
    ) -> Result<Option<Receipt>, StoreError> {
        Intake::receipt(self.store(), workspace, id).await
    }
    async fn receipts(
        &self,
        workspace: WorkspaceId,
        filter: ReceiptFilter,
        page: Page<ReceiptId>,
    ) -> Result<Vec<Receipt>, StoreError> {
        Intake::receipts(self.store(), workspace, filter, page).await
    }
}
