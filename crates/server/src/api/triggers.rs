//! `/api/v1/triggers`, `/api/v1/workflows/{id}/triggers`: what starts a workflow.

#![expect(
    clippy::option_option,
    reason = "tells `null` from a field that is not there"
)]

use ::intake::triggers::{TriggerInput, WithKey};
use axum::{extract::State, response::IntoResponse};
use domain::{SourceId, Timestamp, TriggerId, WorkflowId, access::Scope, intake::Trigger};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    fields::{self, Fields, given},
    sources::refused,
};
use crate::{
    SharedApp,
    auth::Access,
    extract::{BodyBytes, Id, Json, List, PageQuery, Query},
    intake::public_url,
    problem::Problem,
};

/// How a request to a trigger's own URL is signed (S4).
const ALGORITHM: &str = "HMAC-SHA256";
/// The header that holds the signature (S4).
const HEADER: &str = "x-signature";

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(list_of_workflow, create))
        .routes(routes!(show, change, delete))
        .routes(routes!(rotate_key))
}

/// What a trigger is to be. On a change, what is not named stays; null removes it.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(as = TriggerInput)]
struct TriggerBody {
    /// The source whose requests start the workflow, by name or id. Without one the trigger gets
    /// a URL and a key of its own.
    #[schema(example = "github")]
    source: Option<String>,
    /// Which payloads start it: a jq condition that gives `true`.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 8192, example = ".action == \"opened\"")]
    filter: Option<Option<String>>,
    /// What makes the workflow's inputs of the payload: a jq expression that gives one object.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 8192, example = "{title: .issue.title}")]
    map: Option<Option<String>>,
    /// Whether it fires.
    active: Option<bool>,
}

impl Fields for TriggerBody {
    const KNOWN: &'static [&'static str] = &["source", "filter", "map", "active"];
    const IGNORED: &'static [&'static str] = &[
        "id",
        "workflowId",
        "kind",
        "sourceId",
        "endpoint",
        "config",
        "nextAt",
        "ofDefinition",
        "createdAt",
        "updatedAt",
    ];
}

impl From<TriggerBody> for TriggerInput {
    fn from(body: TriggerBody) -> Self {
        Self {
            source: body.source,
            filter: body.filter,
            map: body.map,
            active: body.active,
        }
    }
}

/// A trigger, without its key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Trigger)]
struct TriggerView {
    /// Its id.
    #[schema(value_type = String, example = "trg_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: TriggerId,
    /// What it starts.
    #[schema(value_type = String)]
    workflow_id: WorkflowId,
    /// `webhook` (a source's requests), `request` (its own URL), `schedule`, `event`.
    #[schema(example = "webhook")]
    kind: String,
    /// The source that fires it.
    #[schema(required, value_type = Option<String>)]
    source_id: Option<SourceId>,
    /// Its own URL.
    #[schema(required)]
    endpoint: Option<String>,
    /// Everything that was set.
    #[schema(value_type = Object)]
    config: Value,
    /// When it fires next, by the clock.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
    /// Whether it came with its workflow's file, and goes with it.
    of_definition: bool,
    /// Whether it fires.
    active: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl TriggerView {
    fn new(app: &SharedApp, trigger: Trigger) -> Self {
        let kind = trigger.config.get("on").and_then(Value::as_str);
        Self {
            id: trigger.id,
            workflow_id: trigger.workflow,
            kind: kind.unwrap_or("webhook").to_owned(),
            source_id: trigger.source,
            endpoint: trigger.key.is_some().then(|| endpoint(app, trigger.id)),
            config: trigger.config,
            next_at: trigger.next_at,
            of_definition: trigger.of_definition,
            active: trigger.active,
            created_at: trigger.created_at,
            updated_at: trigger.updated_at,
        }
    }
}

fn endpoint(app: &SharedApp, id: TriggerId) -> String {
    public_url(app, &format!("/triggers/{id}"))
}

/// What a sender needs to sign: the key file that S4's users download. Its fields are our own.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TriggerKey {
    /// The trigger.
    #[schema(value_type = String)]
    trigger_id: TriggerId,
    /// Where to send.
    #[schema(example = "https://hooks.example.com/triggers/trg_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    endpoint: String,
    /// The key: a shared secret. It is not shown again.
    private_key: String,
    /// How it signs.
    #[schema(example = "HMAC-SHA256")]
    algorithm: &'static str,
    /// The header that holds the signature, in hexadecimal.
    #[schema(example = "x-signature")]
    header: &'static str,
    /// When the key was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl TriggerKey {
    fn new(app: &SharedApp, made: &WithKey) -> Option<Self> {
        let key = made.key.as_ref()?;
        Some(Self {
            trigger_id: made.trigger.id,
            endpoint: endpoint(app, made.trigger.id),
            private_key: key.to_string(),
            algorithm: ALGORITHM,
            header: HEADER,
            created_at: made.trigger.updated_at,
        })
    }
}

/// A trigger that was just made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TriggerWithKey {
    /// The record.
    #[serde(flatten)]
    record: TriggerView,
    /// What its senders need, if it has a URL of its own; shown this once.
    #[schema(required)]
    key: Option<TriggerKey>,
}

/// List triggers
///
/// Those of all workflows, oldest first.
#[utoipa::path(
    get, path = "/api/v1/triggers", tag = "Triggers", operation_id = "listTriggers",
    params(PageQuery),
    responses((status = 200, description = "A page of triggers", body = List<TriggerView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<TriggerView>>, Problem> {
    page_of(&app, &access, None, &page).await
}

/// List a workflow's triggers
#[utoipa::path(
    get, path = "/api/v1/workflows/{id}/triggers", tag = "Triggers", operation_id = "listTriggersOfWorkflow",
    params(("id" = String, Path, description = "The workflow's id", example = "wfl_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b"), PageQuery),
    responses((status = 200, description = "A page of triggers", body = List<TriggerView>)),
)]
async fn list_of_workflow(
    State(app): State<SharedApp>,
    access: Access,
    Id(workflow): Id<WorkflowId>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<TriggerView>>, Problem> {
    page_of(&app, &access, Some(workflow), &page).await
}

async fn page_of(
    app: &SharedApp,
    access: &Access,
    workflow: Option<WorkflowId>,
    page: &PageQuery,
) -> Result<Json<List<TriggerView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let page = page.page()?;
    let triggers = app.intake()?.triggers(workspace, workflow, page).await?;
    Ok(Json(List::new(
        &page,
        triggers,
        |trigger| trigger.id.to_string(),
        |trigger| TriggerView::new(app, trigger),
    )))
}

/// Create a trigger
///
/// With a source, that source's requests start the workflow. Without one, the trigger gets a URL
/// of its own, and `key` is what its senders sign with: it is in this answer and in that of a
/// rotation, nowhere else.
#[utoipa::path(
    post, path = "/api/v1/workflows/{id}/triggers", tag = "Triggers", operation_id = "createTrigger",
    params(("id" = String, Path, description = "The workflow's id", example = "wfl_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    request_body = Option<TriggerBody>,
    responses((status = 201, description = "The trigger, with its key", body = TriggerWithKey)),
)]
async fn create(
    State(app): State<SharedApp>,
    access: Access,
    Id(workflow): Id<WorkflowId>,
    BodyBytes(body): BodyBytes,
) -> Result<impl IntoResponse, Problem> {
    let workspace = access.require(Scope::Write)?;
    let input: TriggerBody = fields::parse_or_empty(&body)?;
    let made = app
        .intake()?
        .create_trigger(workspace, workflow, input.into())
        .await
        .map_err(refused)?;
    let location = format!("/api/v1/triggers/{}", made.trigger.id);
    let key = TriggerKey::new(&app, &made);
    let record = TriggerView::new(&app, made.trigger);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(TriggerWithKey { record, key }),
    ))
}

/// Show a trigger
#[utoipa::path(
    get, path = "/api/v1/triggers/{id}", tag = "Triggers", operation_id = "getTrigger",
    params(("id" = String, Path, description = "The trigger's id", example = "trg_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 200, description = "The trigger, without its key", body = TriggerView)),
)]
async fn show(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<TriggerId>,
) -> Result<Json<TriggerView>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let found = app.intake()?.find_trigger(workspace, id).await;
    Ok(Json(TriggerView::new(&app, found.map_err(refused)?)))
}

/// Change a trigger
///
/// What is not named stays as it is. One that came with a workflow's file can only be switched on
/// and off.
#[utoipa::path(
    patch, path = "/api/v1/triggers/{id}", tag = "Triggers", operation_id = "updateTrigger",
    params(("id" = String, Path, description = "The trigger's id", example = "trg_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    request_body = TriggerBody,
    responses((status = 200, description = "The trigger as it is now", body = TriggerView)),
)]
async fn change(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<TriggerId>,
    BodyBytes(body): BodyBytes,
) -> Result<Json<TriggerView>, Problem> {
    let workspace = access.require(Scope::Write)?;
    let input: TriggerBody = fields::parse(&body)?;
    let changed = app
        .intake()?
        .update_trigger(workspace, id, input.into())
        .await;
    Ok(Json(TriggerView::new(&app, changed.map_err(refused)?)))
}

/// Delete a trigger
#[utoipa::path(
    delete, path = "/api/v1/triggers/{id}", tag = "Triggers", operation_id = "deleteTrigger",
    params(("id" = String, Path, description = "The trigger's id", example = "trg_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 422, description = "It came with its workflow's file, and goes with that"),
    ),
)]
async fn delete(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<TriggerId>,
) -> Result<StatusCode, Problem> {
    let workspace = access.require(Scope::Write)?;
    let gone = app.intake()?.delete_trigger(workspace, id).await;
    gone.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a new key for a trigger
///
/// The old key is void at once. This answer is the file that senders need.
#[utoipa::path(
    post, path = "/api/v1/triggers/{id}/rotate-key", tag = "Triggers", operation_id = "rotateTriggerKey",
    params(("id" = String, Path, description = "The trigger's id", example = "trg_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 200, description = "The key, shown this once", body = TriggerKey)),
)]
async fn rotate_key(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<TriggerId>,
) -> Result<Json<TriggerKey>, Problem> {
    let workspace = access.require(Scope::Write)?;
    let made = app.intake()?.rotate_trigger_key(workspace, id).await;
    let made = made.map_err(refused)?;
    TriggerKey::new(&app, &made)
        .map(Json)
        .ok_or_else(|| Problem::internal(&"a rotation made no key"))
}
