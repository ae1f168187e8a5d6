//! Workflows and their versions as they are shown.

use domain::{Timestamp, WorkflowId, workflow::file::Diagnostic};
use serde::Serialize;
use serde_json::Value;
use store::{Workflow, WorkflowVersion};
use utoipa::ToSchema;
use workflow::registry::Registered;

use super::{webhooks::BroughtWebhook, word};

/// A workflow.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Workflow)]
pub(super) struct WorkflowView {
    /// Its id.
    #[schema(value_type = String, example = "wfl_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    pub id: WorkflowId,
    /// Its name, unique in the workspace.
    #[schema(example = "slack_notification")]
    pub name: String,
    /// What it is for.
    description: String,
    /// Its newest version: 1 for the first.
    version: u32,
    /// What its author calls that version.
    #[schema(example = "1.0.0")]
    label: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it got its newest version.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Workflow> for WorkflowView {
    fn from(workflow: Workflow) -> Self {
        Self {
            id: workflow.id,
            name: workflow.name,
            description: workflow.description,
            version: workflow.version,
            label: workflow.label,
            created_at: workflow.created_at,
            updated_at: workflow.updated_at,
        }
    }
}

/// A workflow with its newest version.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorkflowDetail {
    /// The workflow.
    #[serde(flatten)]
    workflow: WorkflowView,
    /// The file as it was given.
    source: String,
    /// The same in its normal form.
    #[schema(value_type = Object)]
    definition: Value,
}

impl WorkflowDetail {
    pub fn new(workflow: Workflow, version: &WorkflowVersion) -> Self {
        Self {
            workflow: workflow.into(),
            source: source(version),
            definition: definition(version),
        }
    }
}

/// A workflow that was registered.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RegisteredWorkflow)]
pub(super) struct RegisteredView {
    /// The workflow.
    #[serde(flatten)]
    pub workflow: WorkflowView,
    /// What became of it: `created`, `updated`, or `unchanged`: its newest version is the same.
    #[schema(example = "created")]
    outcome: &'static str,
    /// What in it does not do what it seems to.
    warnings: Vec<DiagnosticView>,
    /// The webhooks that were made with it.
    webhooks: Vec<BroughtWebhook>,
}

impl RegisteredView {
    /// Renders a workflow with the webhooks that were made with it.
    pub fn new(registered: Registered, webhooks: Vec<BroughtWebhook>) -> Self {
        Self {
            workflow: registered.workflow.into(),
            outcome: word(registered.outcome),
            warnings: registered.warnings.into_iter().map(Into::into).collect(),
            webhooks,
        }
    }
}

/// Something about a definition.
#[derive(Serialize, ToSchema)]
#[schema(as = Diagnostic)]
pub(super) struct DiagnosticView {
    /// Which rule says so.
    #[schema(example = "key.ignored")]
    code: &'static str,
    /// Where in the definition; empty: the whole.
    #[schema(example = "nodes[2].outputs[0]")]
    path: String,
    /// What is wrong, and what is expected.
    message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    /// The line, from 1; left out where there was no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    /// The column, from 1; left out where there was no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
}

impl From<Diagnostic> for DiagnosticView {
    fn from(found: Diagnostic) -> Self {
        let place = |number: u32| (number > 0).then_some(number);
        Self {
            code: found.code,
            path: found.path,
            message: found.message,
            help: found.help,
            line: place(found.span.line),
            column: place(found.span.column),
        }
    }
}

/// A version of a workflow.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WorkflowVersion)]
pub(super) struct VersionView {
    /// Its number: 1 for the first.
    number: u32,
    /// What its author calls it.
    #[schema(example = "1.0.0")]
    label: String,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<&WorkflowVersion> for VersionView {
    fn from(version: &WorkflowVersion) -> Self {
        Self {
            number: version.number,
            label: version.label.clone(),
            created_at: version.created_at,
        }
    }
}

/// A version of a workflow, with what it says.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WorkflowVersionDetail)]
pub(super) struct VersionDetail {
    /// The version.
    #[serde(flatten)]
    version: VersionView,
    /// The file as it was given.
    source: String,
    /// The same in its normal form.
    #[schema(value_type = Object)]
    definition: Value,
}

impl VersionDetail {
    pub fn new(version: &WorkflowVersion) -> Self {
        Self {
            version: version.into(),
            source: source(version),
            definition: definition(version),
        }
    }
}

fn source(version: &WorkflowVersion) -> String {
    String::from_utf8_lossy(&version.source).into_owned()
}

fn definition(version: &WorkflowVersion) -> Value {
    serde_json::from_slice(&version.definition).unwrap_or_default()
}
