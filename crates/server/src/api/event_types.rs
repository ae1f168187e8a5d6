//! `/api/v1/event-types`: the catalogue, and types that a workspace registers for itself.

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::IntoResponse,
};
use delivery::types::TypeError;
use domain::{
    Timestamp, WorkspaceId,
    access::Scope,
    catalogue::{self, CatalogueEntry},
    event::EventType,
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::CustomEventType;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::fields::{self, Fields};
use crate::{
    SharedApp,
    auth::Access,
    extract::{BodyBytes, Json, List, PAGE_MAX, PageQuery, Query},
    problem::Problem,
};

/// The heading of types that are registered.
const CUSTOM_GROUP: &str = "Custom";
/// The longest description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 2_000;

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, replace, delete))
}

/// An event type.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventType)]
struct TypeView {
    /// Its name.
    #[schema(example = "workflow.completed")]
    name: String,
    /// When it is emitted.
    description: String,
    /// The heading under which it is shown.
    #[schema(example = "Workflows")]
    group: String,
    /// The JSON Schema of its `data`.
    #[schema(required, value_type = Option<Object>)]
    schema: Option<Box<RawValue>>,
    /// An example of its `data`.
    #[schema(required, value_type = Option<serde_json::Value>)]
    example: Option<Box<RawValue>>,
    /// Whether this workspace registered it; else it is of the catalogue.
    custom: bool,
    /// Whether published events of the type have to fit the schema.
    enforce: bool,
}

impl TypeView {
    fn of_catalogue(entry: &CatalogueEntry) -> Self {
        let raw =
            |value| serde_json::value::to_raw_value(value).expect("a JSON value is always JSON");
        Self {
            name: entry.name.to_owned(),
            description: entry.description.to_owned(),
            group: entry.group.to_owned(),
            schema: Some(raw(&entry.schema)),
            example: Some(raw(&entry.example)),
            custom: false,
            enforce: false,
        }
    }
}

impl From<CustomEventType> for TypeView {
    fn from(record: CustomEventType) -> Self {
        let raw = |text: String| RawValue::from_string(text).ok();
        Self {
            name: record.name.to_string(),
            description: record.description,
            group: CUSTOM_GROUP.to_owned(),
            schema: record.schema.and_then(raw),
            example: record.example.and_then(raw),
            custom: true,
            enforce: record.enforce,
        }
    }
}

/// What an event type is to be.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventTypeInput)]
struct TypeBody {
    /// Its name: parts of letters, digits, `_` and `-`, separated by full stops. Needed to create.
    #[schema(max_length = 128, example = "invoice.paid")]
    name: Option<String>,
    /// When it is emitted.
    #[schema(max_length = 2000, example = "An invoice was paid in full.")]
    description: Option<String>,
    /// The JSON Schema of its `data` (2020-12 unless `$schema` says otherwise).
    #[schema(value_type = Option<Object>)]
    schema: Option<Box<RawValue>>,
    /// An example of its `data`, which has to fit the schema.
    #[schema(value_type = Option<serde_json::Value>)]
    example: Option<Box<RawValue>>,
    /// Whether published events of the type have to fit the schema.
    enforce: Option<bool>,
}

impl Fields for TypeBody {
    const KNOWN: &'static [&'static str] = &["name", "description", "schema", "example", "enforce"];
    const IGNORED: &'static [&'static str] = &["group", "custom"];
}

impl TypeBody {
    fn record(
        self,
        workspace: WorkspaceId,
        name: EventType,
        created_at: Timestamp,
    ) -> Result<CustomEventType, Problem> {
        let description = self.description.unwrap_or_default();
        if description.chars().count() > DESCRIPTION_CHARS_MAX {
            return Err(Problem::field(
                "description",
                format!("has at most {DESCRIPTION_CHARS_MAX} characters"),
            ));
        }
        let text = |value: Box<RawValue>| value.get().to_owned();
        Ok(CustomEventType {
            workspace,
            name,
            description,
            schema: self.schema.map(text),
            example: self.example.map(text),
            enforce: self.enforce.unwrap_or_default(),
            created_at,
        })
    }
}

impl From<TypeError> for Problem {
    fn from(error: TypeError) -> Self {
        match error {
            TypeError::Taken(name) => {
                Self::conflict(format!("There is an event type `{name}` already."))
            }
            TypeError::Unknown(_) => Self::not_found("event type of your own"),
            TypeError::Invalid { path, message } => Self::field(path, message),
            TypeError::Store(error) => error.into(),
        }
    }
}

/// List event types
///
/// The catalogue in its groups, then the workspace's own by name.
#[utoipa::path(
    get, path = "/api/v1/event-types", tag = "Event types", operation_id = "listEventTypes",
    params(PageQuery),
    responses((status = 200, description = "A page of event types, up to 250 where nothing is said", body = List<TypeView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
    Query(mut page): Query<PageQuery>,
) -> Result<Json<List<TypeView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    // Whoever asks wants to choose among all of them.
    page.limit.get_or_insert(PAGE_MAX);
    let page = page.page::<String>()?;
    let own = app.store().event_types(workspace).await?;
    let all = catalogue::all()
        .iter()
        .map(TypeView::of_catalogue)
        .chain(own.into_iter().map(TypeView::from));
    let mut types: Vec<_> = all.collect();
    if let Some(after) = &page.after {
        let at = types.iter().position(|known| known.name == *after);
        let at = at.ok_or_else(|| {
            Problem::field(
                "cursor",
                "is none of this list: pass on the nextCursor of the page before",
            )
        })?;
        types.drain(..=at);
    }
    Ok(Json(List::new(
        &page,
        types,
        |known| known.name.clone(),
        |known| known,
    )))
}

/// Register an event type
///
/// Webhooks can then subscribe to it by name. With `enforce`, events of the type whose data does
/// not fit the schema are refused.
#[utoipa::path(
    post, path = "/api/v1/event-types", tag = "Event types", operation_id = "createEventType",
    request_body = TypeBody,
    responses((status = 201, description = "The event type", body = TypeView)),
)]
async fn create(
    State(app): State<SharedApp>,
    access: Access,
    BodyBytes(body): BodyBytes,
) -> Result<impl IntoResponse, Problem> {
    let workspace = access.require(Scope::Write)?;
    let mut body: TypeBody = fields::parse(&body)?;
    let name = body
        .name
        .take()
        .ok_or_else(|| Problem::field("name", "is required"))?;
    let name =
        EventType::parse(&name).map_err(|error| Problem::field("name", error.to_string()))?;
    let record = body.record(workspace, name, app.now())?;
    app.pipeline.create_event_type(record.clone()).await?;
    let location = format!("/api/v1/event-types/{}", record.name);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(TypeView::from(record)),
    ))
}

type Name = Result<Path<String>, PathRejection>;

fn name_in(path: Name) -> Result<EventType, Problem> {
    let name = path
        .ok()
        .and_then(|Path(name)| EventType::parse(&name).ok());
    name.ok_or_else(|| Problem::not_found("event type"))
}

async fn find_own(
    app: &SharedApp,
    workspace: WorkspaceId,
    name: &EventType,
) -> Result<Option<CustomEventType>, Problem> {
    Ok(app
        .store()
        .event_types(workspace)
        .await?
        .into_iter()
        .find(|known| known.name == *name))
}

/// Show an event type
#[utoipa::path(
    get, path = "/api/v1/event-types/{name}", tag = "Event types", operation_id = "getEventType",
    params(("name" = String, Path, description = "The event type's name", example = "workflow.completed")),
    responses((status = 200, description = "The event type", body = TypeView)),
)]
async fn show(
    State(app): State<SharedApp>,
    access: Access,
    path: Name,
) -> Result<Json<TypeView>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let name = name_in(path)?;
    if let Some(entry) = catalogue::find(name.as_str()) {
        return Ok(Json(TypeView::of_catalogue(entry)));
    }
    let own = find_own(&app, workspace, &name).await?;
    own.map(|record| Json(record.into()))
        .ok_or_else(|| Problem::not_found("event type"))
}

/// Replace an event type
///
/// Only one of your own; its name stays.
#[utoipa::path(
    put, path = "/api/v1/event-types/{name}", tag = "Event types", operation_id = "putEventType",
    params(("name" = String, Path, description = "The event type's name", example = "invoice.paid")),
    request_body = TypeBody,
    responses((status = 200, description = "The event type as it is now", body = TypeView)),
)]
async fn replace(
    State(app): State<SharedApp>,
    access: Access,
    path: Name,
    BodyBytes(body): BodyBytes,
) -> Result<Json<TypeView>, Problem> {
    let workspace = access.require(Scope::Write)?;
    let name = own_name(path)?;
    let before = find_own(&app, workspace, &name)
        .await?
        .ok_or_else(|| Problem::not_found("event type"))?;
    let body: TypeBody = fields::parse(&body)?;
    if body
        .name
        .as_deref()
        .is_some_and(|given| given != name.as_str())
    {
        return Err(Problem::field(
            "name",
            "cannot be changed: register a type of the new name",
        ));
    }
    let record = body.record(workspace, name, before.created_at)?;
    app.pipeline.update_event_type(record.clone()).await?;
    Ok(Json(record.into()))
}

/// That an event type is gone.
#[derive(Serialize, ToSchema)]
struct DeletedEventType {
    /// Its name.
    #[schema(example = "invoice.paid")]
    name: String,
    /// Always true.
    deleted: bool,
}

/// Remove an event type
///
/// Only one of your own. Webhooks that subscribe to it by name keep doing so.
#[utoipa::path(
    delete, path = "/api/v1/event-types/{name}", tag = "Event types", operation_id = "deleteEventType",
    params(("name" = String, Path, description = "The event type's name", example = "invoice.paid")),
    responses((status = 200, description = "It is gone", body = DeletedEventType)),
)]
async fn delete(
    State(app): State<SharedApp>,
    access: Access,
    path: Name,
) -> Result<Json<DeletedEventType>, Problem> {
    let workspace = access.require(Scope::Write)?;
    let name = own_name(path)?;
    app.pipeline
        .delete_event_type(workspace, name.as_str())
        .await?;
    Ok(Json(DeletedEventType {
        name: name.to_string(),
        deleted: true,
    }))
}

/// The name of a type that may be changed: none of the catalogue.
fn own_name(path: Name) -> Result<EventType, Problem> {
    let name = name_in(path)?;
    if catalogue::find(name.as_str()).is_some() {
        return Err(Problem::conflict(format!(
            "`{name}` is of the catalogue, which cannot be changed."
        )));
    }
    Ok(name)
}
