//! `/api/v1/sources`: where signed webhooks of others come in.

#![expect(
    clippy::option_option,
    reason = "tells `null` from a field that is not there"
)]

use std::time::Duration;

use ::intake::sources::{ManageError, SourceInput, WithSecret};
use axum::{extract::State, response::IntoResponse};
use domain::{
    SourceId, Timestamp,
    access::Scope,
    intake::{Preset, Source, SourceConfig, SourceSecret},
};
use http::{StatusCode, header};
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use zeroize::Zeroizing;

use super::fields::{self, Fields, given};
use crate::{
    SharedApp,
    auth::Access,
    extract::{BodyBytes, Id, Json, List, PageQuery, Query},
    intake::public_url,
    problem::{FieldError, Problem},
};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, change, delete))
        .routes(routes!(rotate_secret))
}

/// What a source is to be. On a change, what is not named stays; null takes the default.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SourceInput)]
struct SourceBody {
    /// Its name, unique in the installation: the last part of its URL.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[a-z0-9_-]+$",
        example = "github"
    )]
    name: Option<String>,
    /// Who sends, or how it signs: `github`, `stripe`, `slack`, `shopify`, `twilio`, `linear`,
    /// `telegram`, `whatsapp`, `zoom`, `standard-webhooks`, `generic`, `hmac`, `basic`,
    /// `api-key`, `none`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "github")]
    preset: Option<Option<Value>>,
    /// How it signs, with preset `hmac`: `algorithm` (`sha1`, `sha256`, `sha512`), `header`,
    /// `encoding` (`hex`, `base64`), `prefix`, `timestampHeader`, `idHeader`, and `content`, such
    /// as `{timestamp}.{body}`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    hmac: Option<Option<Value>>,
    /// The header that holds the key, with preset `api-key`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    header: Option<Option<Value>>,
    /// How far a signed time may lie from now, in seconds.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 3600, default = 300)]
    tolerance_seconds: Option<Option<Value>>,
    /// Whether a signature over the body as JavaScript would write it counts too.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    canonical_fallback: Option<Option<Value>>,
    /// What `hub.verify_token` must be, with preset `whatsapp`. Kept as a hash.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    verify_token: Option<Option<String>>,
    /// Where the event's id is: `{"header": …}`, `{"json": "data.id"}`, or `"none"`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    event_id: Option<Option<Value>>,
    /// How much is taken: `bodyBytesMax`, `concurrency`, `ratePerSecond`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    limits: Option<Option<Value>>,
    /// What is answered: `waitMs`, `status`, `body`, `contentType`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    response: Option<Option<Value>>,
    /// The secret. Made here where the provider takes one of ours; without one the source takes
    /// nothing.
    #[schema(min_length = 1, max_length = 1024)]
    secret: Option<String>,
    /// Whether it takes requests.
    active: Option<bool>,
}

impl Fields for SourceBody {
    const KNOWN: &'static [&'static str] = &[
        "name",
        "preset",
        "hmac",
        "header",
        "toleranceSeconds",
        "canonicalFallback",
        "verifyToken",
        "eventId",
        "limits",
        "response",
        "secret",
        "active",
    ];
    const IGNORED: &'static [&'static str] = &["id", "url", "secrets", "createdAt", "updatedAt"];
}

impl SourceBody {
    /// What is asked for, over what there is.
    fn into_input(self, present: Option<&Source>) -> Result<SourceInput, Problem> {
        let mut config = match present.map(|source| &source.config) {
            Some(Value::Object(config)) => config.clone(),
            _ => Map::new(),
        };
        let mut put = |name: &str, value: Option<Option<Value>>| match value {
            None => {}
            Some(None) => {
                config.remove(name);
            }
            Some(Some(value)) => {
                config.insert(name.to_owned(), value);
            }
        };
        put("preset", self.preset);
        put("hmac", self.hmac);
        put("header", self.header);
        put("toleranceSeconds", self.tolerance_seconds);
        put("canonicalFallback", self.canonical_fallback);
        put("eventId", self.event_id);
        put("limits", self.limits);
        put("response", self.response);
        let hash = |token: String| {
            let hash = digest::digest(&digest::SHA256, token.as_bytes());
            Value::String(hex::encode(hash))
        };
        put(
            "verifyTokenHash",
            self.verify_token.map(|token| token.map(hash)),
        );
        let config: SourceConfig = serde_path_to_error::deserialize(Value::Object(config))
            .map_err(|error| {
                let path = error.path().to_string();
                Problem::field(path, error.inner().to_string())
            })?;
        Ok(SourceInput {
            name: self.name,
            config: Some(config),
            secret: self.secret.map(Zeroizing::new),
            active: self.active,
        })
    }
}

/// A source, without its secrets.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Source)]
struct SourceView {
    /// Its id.
    #[schema(value_type = String, example = "src_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: SourceId,
    /// Its name.
    #[schema(example = "github")]
    name: String,
    /// Where to send: below this server's public URL, if one is set.
    #[schema(example = "https://hooks.example.com/webhooks/github")]
    url: String,
    /// Who sends, or how it signs.
    #[schema(value_type = String, example = "github")]
    preset: Preset,
    /// Everything else that was set.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    config: Map<String, Value>,
    /// Its secrets, newest first, without the secrets themselves.
    secrets: Vec<SecretView>,
    /// Whether it takes requests.
    active: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// That there is a secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SourceSecret)]
struct SecretView {
    /// Greater for each later one.
    number: u32,
    /// When it was set.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Until when it counts; null: until it is replaced.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

impl From<&SourceSecret> for SecretView {
    fn from(secret: &SourceSecret) -> Self {
        Self {
            number: secret.number,
            created_at: secret.created_at,
            expires_at: secret.expires_at,
        }
    }
}

impl SourceView {
    fn new(app: &SharedApp, source: Source) -> Self {
        let read: SourceConfig = serde_json::from_value(source.config.clone()).unwrap_or_default();
        let mut config = match source.config {
            Value::Object(config) => config,
            _ => Map::new(),
        };
        config.remove("preset");
        // Short tokens could be guessed from it.
        config.remove("verifyTokenHash");
        Self {
            id: source.id,
            url: public_url(app, &format!("/webhooks/{}", source.name)),
            name: source.name,
            preset: read.preset,
            config,
            secrets: source.secrets.iter().map(SecretView::from).collect(),
            active: source.active,
            created_at: source.created_at,
            updated_at: source.updated_at,
        }
    }
}

/// A source whose secret was just made: the only time that it is shown.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SourceWithSecret {
    /// The record.
    #[serde(flatten)]
    record: SourceView,
    /// The secret that was made here; null if you gave it yourself, or there is none.
    #[schema(required)]
    secret: Option<String>,
}

impl SourceWithSecret {
    fn new(app: &SharedApp, made: WithSecret) -> Self {
        Self {
            record: SourceView::new(app, made.source),
            secret: made.secret.map(|secret| secret.to_string()),
        }
    }
}

/// The refusal of a change.
pub fn refused(error: ManageError) -> Problem {
    match error {
        ManageError::Invalid(faults) => Problem::fields(
            faults
                .into_iter()
                .map(|fault| FieldError {
                    path: fault.path,
                    message: fault.message,
                })
                .collect(),
        ),
        ManageError::NotFound(what) => Problem::not_found(what),
        error @ (ManageError::NameTaken | ManageError::Changed) => {
            Problem::conflict(error.to_string())
        }
        ManageError::Store(error) => error.into(),
    }
}

/// List sources
///
/// Oldest first, without their secrets.
#[utoipa::path(
    get, path = "/api/v1/sources", tag = "Sources", operation_id = "listSources",
    params(PageQuery),
    responses((status = 200, description = "A page of sources", body = List<SourceView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<SourceView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let page = page.page()?;
    let sources = app.intake()?.sources(workspace, page).await?;
    Ok(Json(List::new(
        &page,
        sources,
        |source| source.id.to_string(),
        |source| SourceView::new(&app, source),
    )))
}

/// Create a source
///
/// From now on `/webhooks/{name}` takes what its provider sends. A secret that is made here is in
/// this answer and in that of a rotation, nowhere else: keep it now.
#[utoipa::path(
    post, path = "/api/v1/sources", tag = "Sources", operation_id = "createSource",
    request_body = SourceBody,
    responses((status = 201, description = "The source, with its secret", body = SourceWithSecret)),
)]
async fn create(
    State(app): State<SharedApp>,
    access: Access,
    BodyBytes(body): BodyBytes,
) -> Result<impl IntoResponse, Problem> {
    let workspace = access.require(Scope::Write)?;
    let input = fields::parse::<SourceBody>(&body)?.into_input(None)?;
    if input.name.is_none() {
        let message = "is required: the last part of the source's URL";
        return Err(Problem::field("name", message));
    }
    let made = app.intake()?.create_source(workspace, input).await;
    let made = made.map_err(refused)?;
    let location = format!("/api/v1/sources/{}", made.source.id);
    let body = SourceWithSecret::new(&app, made);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(body),
    ))
}

/// Show a source
#[utoipa::path(
    get, path = "/api/v1/sources/{id}", tag = "Sources", operation_id = "getSource",
    params(("id" = String, Path, description = "The source's id", example = "src_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 200, description = "The source, without its secrets", body = SourceView)),
)]
async fn show(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<SourceId>,
) -> Result<Json<SourceView>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let found = app.intake()?.find_source(workspace, id).await;
    Ok(Json(SourceView::new(&app, found.map_err(refused)?)))
}

/// Change a source
///
/// What is not named stays as it is. A new `secret` replaces all others at once; to have both
/// count for a while, rotate it.
#[utoipa::path(
    patch, path = "/api/v1/sources/{id}", tag = "Sources", operation_id = "updateSource",
    params(("id" = String, Path, description = "The source's id", example = "src_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    request_body = SourceBody,
    responses((status = 200, description = "The source as it is now", body = SourceView)),
)]
async fn change(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<SourceId>,
    BodyBytes(body): BodyBytes,
) -> Result<Json<SourceView>, Problem> {
    let workspace = access.require(Scope::Write)?;
    let intake = app.intake()?;
    let present = intake.find_source(workspace, id).await.map_err(refused)?;
    let input = fields::parse::<SourceBody>(&body)?.into_input(Some(&present))?;
    let changed = intake.update_source(workspace, id, input).await;
    Ok(Json(SourceView::new(&app, changed.map_err(refused)?)))
}

/// Delete a source
///
/// With it go the triggers that it fires. What came in stays among the receipts.
#[utoipa::path(
    delete, path = "/api/v1/sources/{id}", tag = "Sources", operation_id = "deleteSource",
    params(("id" = String, Path, description = "The source's id", example = "src_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 204, description = "It is gone")),
)]
async fn delete(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<SourceId>,
) -> Result<StatusCode, Problem> {
    let workspace = access.require(Scope::Write)?;
    let gone = app.intake()?.delete_source(workspace, id).await;
    gone.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a source's secret is rotated.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
struct RotateSourceSecret {
    /// The new secret; made where none is given and the provider takes one of ours.
    #[schema(min_length = 1, max_length = 1024)]
    secret: Option<String>,
    /// How long the old secret still counts, in seconds; 0 ends it at once.
    #[schema(maximum = 2_592_000, default = 86400)]
    overlap_seconds: Option<u64>,
}

impl Fields for RotateSourceSecret {
    const KNOWN: &'static [&'static str] = &["secret", "overlapSeconds"];
}

/// Rotate a source's secret
///
/// For a while requests that are signed with either count. The body may be left out.
#[utoipa::path(
    post, path = "/api/v1/sources/{id}/rotate-secret", tag = "Sources", operation_id = "rotateSourceSecret",
    params(("id" = String, Path, description = "The source's id", example = "src_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    request_body = Option<RotateSourceSecret>,
    responses((status = 200, description = "The source, with its new secret", body = SourceWithSecret)),
)]
async fn rotate_secret(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<SourceId>,
    BodyBytes(body): BodyBytes,
) -> Result<Json<SourceWithSecret>, Problem> {
    let workspace = access.require(Scope::Write)?;
    let RotateSourceSecret {
        secret,
        overlap_seconds,
    } = fields::parse_or_empty(&body)?;
    let overlap = overlap_seconds.map(Duration::from_secs);
    let secret = secret.map(Zeroizing::new);
    let rotated = app
        .intake()?
        .rotate_source_secret(workspace, id, secret, overlap)
        .await
        .map_err(refused)?;
    Ok(Json(SourceWithSecret::new(&app, rotated)))
}
