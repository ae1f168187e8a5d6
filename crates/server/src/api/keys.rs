//! `/api/v1/keys`: API keys of programs. A key is shown once, and kept as a hash.

use axum::extract::State;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{
    ApiKeyId, Timestamp,
    access::{ApiKey, Scope},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    SharedApp,
    auth::{Access, KEY_PREFIX, key_hash},
    extract::{Id, Json, List},
    problem::Problem,
};

/// The longest name, in characters.
const NAME_CHARS_MAX: usize = 100;
/// Random bytes in a key.
const KEY_BYTES: usize = 24;
/// Characters of a key by which it is recognised.
const HINT_CHARS: usize = 7;

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

/// An API key, without the key itself.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKey)]
struct KeyView {
    /// Its id.
    #[schema(value_type = String, example = "key_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: ApiKeyId,
    /// What people call it.
    name: String,
    /// The key's first characters, to recognise it by.
    #[schema(example = "sp_x7Qa")]
    hint: String,
    /// What it may do.
    #[schema(value_type = Vec<String>, example = json!(["events:write"]))]
    scopes: Vec<Scope>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it stops working; null for never.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was revoked; null if it was not.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            hint: key.hint,
            scopes: key.scopes,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
        }
    }
}

/// List API keys
///
/// All keys of the workspace, newest first, revoked ones included.
#[utoipa::path(
    get, path = "/api/v1/keys", tag = "Access", operation_id = "listApiKeys",
    responses((status = 200, description = "The keys, on one page", body = List<KeyView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
) -> Result<Json<List<KeyView>>, Problem> {
    let workspace = access.require(Scope::Admin)?;
    let keys = app.store().api_keys(workspace).await?;
    Ok(Json(List::whole(
        keys.into_iter().map(KeyView::from).collect(),
    )))
}

/// What a new key is to be.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewApiKey)]
struct NewKey {
    /// What people call it.
    #[schema(min_length = 1, max_length = 100, example = "checkout service")]
    name: String,
    /// What it may do: `events:write`, `read`, `write`, `admin` (which covers all).
    #[schema(value_type = Vec<String>, min_items = 1, example = json!(["events:write"]))]
    scopes: Vec<String>,
    /// When it stops working; never where nothing is said.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<String>,
}

/// A key that was just made: the only time that it is shown.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CreatedApiKey)]
struct CreatedKey {
    /// The record.
    #[serde(flatten)]
    record: KeyView,
    /// The key. It is not shown again.
    #[schema(example = "sp_x7QaN0kX1tTgJ2vJt9yqS6pWbF3hZc8d")]
    key: String,
}

/// Create an API key
///
/// The key itself is in this answer and nowhere else: keep it now.
#[utoipa::path(
    post, path = "/api/v1/keys", tag = "Access", operation_id = "createApiKey",
    request_body = NewKey,
    responses((status = 201, description = "The key, shown this once", body = CreatedKey)),
)]
async fn create(
    State(app): State<SharedApp>,
    access: Access,
    Json(new): Json<NewKey>,
) -> Result<impl axum::response::IntoResponse, Problem> {
    let workspace = access.require(Scope::Admin)?;
    let now = app.now();
    let mut random = [0; KEY_BYTES];
    app.edge().entropy.fill(&mut random);
    let key = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let record = ApiKey {
        id: ApiKeyId::new(app.edge().ids.next_id()),
        workspace,
        name: check_name(&new.name)?,
        hash: key_hash(&key),
        hint: key[..HINT_CHARS].to_owned(),
        scopes: check_scopes(&new.scopes)?,
        created_at: now,
        expires_at: new
            .expires_at
            .as_deref()
            .map(|text| check_expiry(text, now))
            .transpose()?,
        revoked_at: None,
    };
    app.store().create_api_key(record.clone()).await?;
    let location = format!("/api/v1/keys/{}", record.id);
    let body = CreatedKey {
        record: record.into(),
        key,
    };
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(body),
    ))
}

fn check_name(name: &str) -> Result<String, Problem> {
    let name = name.trim();
    if (1..=NAME_CHARS_MAX).contains(&name.chars().count()) {
        Ok(name.to_owned())
    } else {
        Err(Problem::field(
            "name",
            format!("must have 1 to {NAME_CHARS_MAX} characters"),
        ))
    }
}

fn check_scopes(texts: &[String]) -> Result<Vec<Scope>, Problem> {
    if texts.is_empty() {
        return Err(Problem::field("scopes", "must name at least one scope"));
    }
    let mut scopes = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let scope = Scope::parse(text).ok_or_else(|| {
            let known: Vec<_> = Scope::ALL.into_iter().map(Scope::as_str).collect();
            Problem::field(
                format!("scopes[{index}]"),
                format!("is not one of {}", known.join(", ")),
            )
        })?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(scopes)
}

fn check_expiry(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let at =
        Timestamp::parse(text).map_err(|error| Problem::field("expiresAt", error.to_string()))?;
    if at > now {
        Ok(at)
    } else {
        Err(Problem::field("expiresAt", "must be in the future"))
    }
}

/// Revoke an API key
///
/// It stops working at once, and stays in the list.
#[utoipa::path(
    delete, path = "/api/v1/keys/{id}", tag = "Access", operation_id = "revokeApiKey",
    params(("id" = String, Path, description = "The key's id", example = "key_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 204, description = "It is revoked")),
)]
async fn revoke(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<ApiKeyId>,
) -> Result<StatusCode, Problem> {
    let workspace = access.require(Scope::Admin)?;
    let keys = app.store().api_keys(workspace).await?;
    let key = keys
        .into_iter()
        .find(|key| key.id == id)
        .ok_or_else(|| Problem::not_found("API key"))?;
    app.store().revoke_api_key(workspace, id, app.now()).await?;
    app.gatekeeper.forget_key(&key.hash);
    Ok(StatusCode::NO_CONTENT)
}
