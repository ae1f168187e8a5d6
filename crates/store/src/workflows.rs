//! Workflows, their versions and their triggers: what can be run, and what starts it.

use async_trait::async_trait;
use bytes::Bytes;
use domain::{Timestamp, TriggerId, WorkflowId, WorkspaceId, intake::Trigger};

use crate::{Accepted, NewEvent, Page, Start, Started, StoreError};

/// Transitions and look-ups of workflows and triggers.
#[async_trait]
pub trait Workflows: Send + Sync {
    /// Stores a workflow with its first version, or its next one, and replaces the triggers that
    /// its file brought along (those with [`Trigger::of_definition`]; others stay); events
    /// included, all in one transaction. A trigger that was there with the same `config` stays
    /// the same, with its id, key, `next_at`, `active` and `created_at`: only its `source` and
    /// `updated_at` become those of the new one.
    ///
    /// Where `expected` is given, its newest version must be that one still; where not, there
    /// must be none of this id. The name must be free in the workspace, or its own. Otherwise
    /// nothing is written and the answer is `None`.
    async fn put_workflow(&self, put: PutWorkflow) -> Result<Option<Vec<Accepted>>, StoreError>;

    /// Removes a workflow and all its triggers, and stores `events`. Its versions stay for as long as
    /// executions name them ([`crate::Executions::prune_executions`]); executions that run go on.
    /// `None` if there is none.
    async fn delete_workflow(
        &self,
        workspace: WorkspaceId,
        id: WorkflowId,
        events: Vec<NewEvent>,
    ) -> Result<Option<Vec<Accepted>>, StoreError>;

    /// One workflow.
    async fn workflow(
        &self,
        workspace: WorkspaceId,
        id: WorkflowId,
    ) -> Result<Option<Workflow>, StoreError>;

    /// The workflow of this name.
    async fn workflow_by_name(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<Option<Workflow>, StoreError>;

    /// A workspace's workflows, oldest first.
    async fn workflows(
        &self,
        workspace: WorkspaceId,
        page: Page<WorkflowId>,
    ) -> Result<Vec<Workflow>, StoreError>;

    /// One version, also of a workflow that was removed.
    async fn workflow_version(
        &self,
        workspace: WorkspaceId,
        workflow: WorkflowId,
        number: u32,
    ) -> Result<Option<WorkflowVersion>, StoreError>;

    /// A workflow's versions, newest first.
    async fn workflow_versions(
        &self,
        workspace: WorkspaceId,
        workflow: WorkflowId,
        page: Page<u32>,
    ) -> Result<Vec<WorkflowVersion>, StoreError>;

    /// Stores a new trigger.
    async fn create_trigger(&self, trigger: Trigger) -> Result<(), StoreError>;

    /// Replaces a trigger, if the record is still the one whose `updated_at` was `expected`;
    /// `false` if it is not, or is gone. That it fired meanwhile does not count as a change, so
    /// `next_at` is to be worked out anew, never carried over.
    async fn update_trigger(
        &self,
        trigger: Trigger,
        expected: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Removes a trigger; `false` if there is none.
    async fn delete_trigger(
        &self,
        workspace: WorkspaceId,
        id: TriggerId,
    ) -> Result<bool, StoreError>;

    /// A workspace's triggers, of one workflow or of all, oldest first.
    async fn triggers(
        &self,
        workspace: WorkspaceId,
        workflow: Option<WorkflowId>,
        page: Page<TriggerId>,
    ) -> Result<Vec<Trigger>, StoreError>;

    /// Every trigger of every workspace, for the index in memory.
    async fn all_triggers(&self) -> Result<Vec<Trigger>, StoreError>;

    /// Active triggers whose `next_at` has come, earliest first, then by id.
    async fn due_triggers(&self, now: Timestamp, limit: usize) -> Result<Vec<Trigger>, StoreError>;

    /// When the next active trigger is due.
    async fn next_trigger_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Starts the execution of an active trigger that is due and moves its `next_at`, atomically,
    /// if that still is `expected`; `None` if it is not, or the trigger is no longer active:
    /// somebody else has fired it or switched it off. Its time is over also where the execution
    /// is queued or skipped.
    async fn fire_trigger(
        &self,
        workspace: WorkspaceId,
        id: TriggerId,
        expected: Timestamp,
        next: Option<Timestamp>,
        start: Start,
    ) -> Result<Option<Started>, StoreError>;
}

/// A workflow's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Its id.
    pub id: WorkflowId,
    /// Its name, unique in the workspace.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its newest version: 1 for the first.
    pub version: u32,
    /// What its author calls that version.
    pub label: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it got its newest version.
    pub updated_at: Timestamp,
}

/// One version of a workflow. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowVersion {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Of which workflow.
    pub workflow: WorkflowId,
    /// Its number: 1 for the first.
    pub number: u32,
    /// What its author calls it.
    pub label: String,
    /// The file as it was given.
    pub source: Bytes,
    /// Its normal form ([`domain::workflow::definition::Definition`]), as JSON.
    pub definition: Bytes,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// A workflow's new version.
#[derive(Clone, Debug)]
pub struct PutWorkflow {
    /// The record as it shall stand.
    pub workflow: Workflow,
    /// The version that was the newest; none: the workflow is new.
    pub expected: Option<u32>,
    /// The version.
    pub version: WorkflowVersion,
    /// The triggers that its file brings along.
    pub triggers: Vec<Trigger>,
    /// Events that say so.
    pub events: Vec<NewEvent>,
}
