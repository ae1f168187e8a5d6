//! Workflows, their tasks and what surrounds a run: S0's `workflow.…` and all of S2's.

use serde_json::{Value, json};

use super::{CatalogueEntry, constant, count, object, text, time};

const START: &str = "2025-05-21T21:26:58.211Z";
const END: &str = "2025-05-21T21:27:09.442Z";

pub(super) fn entries() -> Vec<CatalogueEntry> {
    [
        ended(),
        definitions(),
        executions(),
        tasks(),
        progress(),
        resources(),
        joins(),
    ]
    .concat()
}

/// S0: the end of a workflow execution.
fn ended() -> Vec<CatalogueEntry> {
    let entry = |name, description, status: &str, outcome: Option<(&str, Value, Value)>| {
        let mut required = vec!["workflowId", "executionId", "status"];
        let mut properties = json!({
            "workflowId": text("The workflow."),
            "executionId": text("The execution that ended."),
            "status": constant(status),
        });
        let mut example = json!({
            "workflowId": "workflow-id",
            "executionId": "execution-id",
            "status": status,
        });
        if let Some((field, schema, value)) = outcome {
            required.push(field);
            properties[field] = schema;
            example[field] = value;
        }
        CatalogueEntry {
            name,
            group: "Workflows",
            description,
            schema: object(&required, &properties),
            example,
        }
    };
    let result = json!({ "description": "What the workflow returned: any JSON." });
    vec![
        entry(
            "workflow.completed",
            "A workflow execution completed successfully.",
            "completed",
            Some((
                "result",
                result,
                json!({ "summary": "Quarterly report", "pages": 12 }),
            )),
        ),
        entry(
            "workflow.failed",
            "A workflow execution failed.",
            "failed",
            Some(("error", text("Why, for a person."), json!("Error message"))),
        ),
        entry(
            "workflow.stopped",
            "A workflow execution was stopped by hand.",
            "stopped",
            None,
        ),
    ]
}

/// S2: versions of a workflow come and go.
fn definitions() -> Vec<CatalogueEntry> {
    [
        (
            "workflow.definition.created",
            "A workflow definition was registered.",
        ),
        (
            "workflow.definition.updated",
            "A workflow definition got a new version.",
        ),
        (
            "workflow.definition.deleted",
            "A workflow definition was removed.",
        ),
    ]
    .into_iter()
    .map(|(name, description)| CatalogueEntry {
        name,
        group: "Workflow definitions",
        description,
        schema: object(
            &["id", "name", "version"],
            &json!({
                "id": text("The definition."),
                "name": text("What people call it."),
                "version": text("The version this is about."),
            }),
        ),
        example: json!({ "id": "1", "name": "Order processing", "version": "1.0.1" }),
    })
    .collect()
}

/// S2: the same ends as S0's, and the start, in S2's shape.
fn executions() -> Vec<CatalogueEntry> {
    [
        (
            "workflow.execution.started",
            "A workflow execution started.",
            "RUNNING",
        ),
        (
            "workflow.execution.completed",
            "A workflow execution completed successfully.",
            "COMPLETED",
        ),
        (
            "workflow.execution.failed",
            "A workflow execution failed.",
            "FAILED",
        ),
        (
            "workflow.execution.cancelled",
            "A workflow execution was cancelled.",
            "CANCELLED",
        ),
    ]
    .into_iter()
    .map(|(name, description, status)| {
        let mut required = vec!["id", "workflowDefinitionId", "status", "startTime"];
        let mut properties = json!({
            "id": text("The execution."),
            "workflowDefinitionId": text("The definition that it runs."),
            "status": constant(status),
            "startTime": time("When it started."),
        });
        let mut example = json!({
            "id": "1",
            "workflowDefinitionId": "1",
            "status": status,
            "startTime": START,
        });
        if status != "RUNNING" {
            required.push("endTime");
            properties["endTime"] = time("When it ended.");
            example["endTime"] = json!(END);
        }
        CatalogueEntry {
            name,
            group: "Workflow executions",
            description,
            schema: object(&required, &properties),
            example,
        }
    })
    .collect()
}

/// S2: the nodes of a workflow.
fn tasks() -> Vec<CatalogueEntry> {
    [
        ("task.execution.started", "A node of a workflow started.", "RUNNING"),
        ("task.execution.completed", "A node of a workflow completed successfully.", "COMPLETED"),
        ("task.execution.failed", "A node of a workflow failed.", "FAILED"),
        ("task.execution.cancelled", "A node of a workflow was cancelled.", "CANCELLED"),
    ]
    .into_iter()
    .map(|(name, description, status)| {
        let mut required = vec!["id", "executionId", "taskId", "status", "attempts"];
        let mut properties = json!({
            "id": text("This run of the node."),
            "executionId": text("The workflow execution."),
            "taskId": text("The node."),
            "status": constant(status),
            "attempts": json!({ "type": "integer", "minimum": 1, "description": "How often it was tried, this time included." }),
        });
        let mut example = json!({
            "id": "task-execution-7",
            "executionId": "1",
            "taskId": "charge-card",
            "status": status,
            "attempts": 1,
        });
        if status == "FAILED" {
            required.push("error");
            properties["error"] = text("Why, for a person.");
            example["error"] = json!("the payment provider answered 502");
        }
        CatalogueEntry {
            name,
            group: "Tasks",
            description,
            schema: object(&required, &properties),
            example,
        }
    })
    .collect()
}

/// S2: progress, blockers, milestones.
fn progress() -> Vec<CatalogueEntry> {
    let updated = CatalogueEntry {
        name: "progress.updated",
        group: "Progress",
        description: "A node ended and the share of finished nodes changed.",
        schema: object(
            &["executionId", "completedTasks", "totalTasks", "percentage"],
            &json!({
                "executionId": text("The workflow execution."),
                "completedTasks": count("Nodes that have ended."),
                "totalTasks": count("Nodes in all."),
                "percentage": { "type": "number", "minimum": 0, "maximum": 100, "description": "The share of nodes that have ended." },
            }),
        ),
        example: json!({ "executionId": "1", "completedTasks": 3, "totalTasks": 4, "percentage": 75 }),
    };
    let blocker = |name, description| CatalogueEntry {
        name,
        group: "Progress",
        description,
        schema: object(
            &["id", "executionId", "taskId", "kind", "description"],
            &json!({
                "id": text("The blocker: the same when it is detected and when it is resolved."),
                "executionId": text("The workflow execution."),
                "taskId": text("The node that can't go on."),
                "kind": { "enum": ["approval", "resource", "retry"], "description": "What it waits for." },
                "description": text("What it waits for, for a person."),
            }),
        ),
        example: json!({
            "id": "blocker-4",
            "executionId": "1",
            "taskId": "publish",
            "kind": "approval",
            "description": "waiting for an approval by an editor",
        }),
    };
    let milestone = CatalogueEntry {
        name: "milestone.achieved",
        group: "Progress",
        description: "A node that carries a milestone completed.",
        schema: object(
            &["id", "executionId", "name"],
            &json!({
                "id": text("The milestone."),
                "executionId": text("The workflow execution."),
                "name": text("What people call it."),
            }),
        ),
        example: json!({ "id": "first-draft", "executionId": "1", "name": "First draft done" }),
    };
    vec![
        updated,
        blocker(
            "blocker.detected",
            "A node can't go on: it waits for an approval, a resource, or a retry.",
        ),
        blocker(
            "blocker.resolved",
            "A node that could not go on can do so again.",
        ),
        milestone,
    ]
}

/// S2: pools of resources.
fn resources() -> Vec<CatalogueEntry> {
    [
        ("resource.allocated", "A node took units of a resource pool."),
        ("resource.released", "A node gave units of a resource pool back."),
        ("resource.shortage", "A node has to wait for units of a resource pool."),
    ]
    .into_iter()
    .map(|(name, description)| CatalogueEntry {
        name,
        group: "Resources",
        description,
        schema: object(
            &["resource", "units", "executionId", "taskId", "available"],
            &json!({
                "resource": text("The pool."),
                "units": json!({ "type": "number", "exclusiveMinimum": 0, "description": "How many units this is about." }),
                "executionId": text("The workflow execution."),
                "taskId": text("The node."),
                "available": json!({ "type": "number", "minimum": 0, "description": "Units that are free afterwards." }),
            }),
        ),
        example: json!({
            "resource": "model-requests",
            "units": 1,
            "executionId": "1",
            "taskId": "summarize",
            "available": if name == "resource.shortage" { 0 } else { 4 },
        }),
    })
    .collect()
}

/// S2: synchronization points, where branches of a workflow meet.
fn joins() -> Vec<CatalogueEntry> {
    [
        ("synchronization.point.reached", "A branch arrived at a join.", 1),
        ("synchronization.point.completed", "All required branches have arrived at a join.", 2),
        ("synchronization.point.failed", "A join's time is over, or one of its branches failed.", 1),
    ]
    .into_iter()
    .map(|(name, description, arrived)| CatalogueEntry {
        name,
        group: "Synchronization",
        description,
        schema: object(
            &["id", "executionId", "arrived", "required"],
            &json!({
                "id": text("The join."),
                "executionId": text("The workflow execution."),
                "arrived": count("Branches that have arrived."),
                "required": count("Branches that must."),
            }),
        ),
        example: json!({ "id": "all-sources", "executionId": "1", "arrived": arrived, "required": 2 }),
    })
    .collect()
}
