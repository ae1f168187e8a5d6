//! `/api/v1/auth`: logging in, and who one is. `/api/auth/login` is S2's form of it.

use axum::{extract::State, response::IntoResponse};
use domain::{
    Timestamp, WorkspaceId,
    access::{Role, Scope},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    SharedApp,
    auth::{
        Access, Subject,
        login::{log_in, session},
    },
    extract::Json,
    front::ClientAddress,
    problem::{FieldError, Problem},
};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(login_by_username))
        .routes(routes!(who_am_i))
        .routes(routes!(change_password))
}

/// A login and its password.
#[derive(Deserialize, ToSchema)]
struct Credentials {
    /// The login; `username` and `email` are taken for it.
    #[serde(alias = "username", alias = "email")]
    #[schema(example = "ann@example.com", max_length = 200)]
    login: String,
    /// The password.
    #[schema(format = Password, max_length = 1024)]
    password: String,
}

/// A token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Token {
    /// To be sent as `Authorization: Bearer …`.
    token: String,
    /// When it expires.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Log in
///
/// Trades a login and its password for a token. Attempts are limited per login and address.
#[utoipa::path(
    post, path = "/api/v1/auth/login", tag = "Access", operation_id = "logIn",
    request_body = Credentials,
    responses((status = 200, description = "A token", body = Token)),
    security(()),
)]
async fn login(
    State(app): State<SharedApp>,
    ClientAddress(from): ClientAddress,
    Json(credentials): Json<Credentials>,
) -> Result<Json<Token>, Problem> {
    let session = log_in(&app, &credentials.login, &credentials.password, from).await?;
    Ok(Json(Token {
        token: session.token,
        expires_at: session.expires_at,
    }))
}

/// A token, as S2's clients read it.
#[derive(Serialize, ToSchema)]
struct BareToken {
    /// To be sent as `Authorization: Bearer …`.
    token: String,
}

/// Log in (workflow orchestration clients)
///
/// The same as `/api/v1/auth/login`, answering the token alone.
#[utoipa::path(
    post, path = "/api/auth/login", tag = "Workflow orchestration clients", operation_id = "logInByUsername",
    request_body = Credentials,
    responses((status = 200, description = "A token", body = BareToken)),
    security(()),
)]
async fn login_by_username(
    State(app): State<SharedApp>,
    ClientAddress(from): ClientAddress,
    Json(credentials): Json<Credentials>,
) -> Result<Json<BareToken>, Problem> {
    let session = log_in(&app, &credentials.login, &credentials.password, from).await?;
    Ok(Json(BareToken {
        token: session.token,
    }))
}

/// Who the credentials belong to and what they may do.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Me {
    /// What kind of credentials they are: `local` without any in local mode.
    #[schema(value_type = String, example = "user")]
    kind: &'static str,
    /// The user's or the key's id; null in local mode.
    #[schema(required, example = "usr_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: Option<String>,
    /// The user's login; null for keys and in local mode.
    #[schema(required)]
    login: Option<String>,
    /// The workspace that they act in.
    #[schema(value_type = String, example = "wsp_1")]
    workspace: WorkspaceId,
    /// The user's role there; null for keys.
    #[schema(required, value_type = Option<String>, example = "owner")]
    role: Option<Role>,
    /// What they may do there.
    #[schema(value_type = Vec<String>, example = json!(["read"]))]
    scopes: Vec<Scope>,
}

/// Who am I?
///
/// Says who the credentials belong to, where they act and what they may do there.
#[utoipa::path(
    get, path = "/api/v1/auth/me", tag = "Access", operation_id = "whoAmI",
    responses((status = 200, description = "The caller", body = Me)),
)]
async fn who_am_i(access: Access) -> Json<Me> {
    let identity = access.identity();
    let (kind, id, login) = match &identity.subject {
        Subject::Local => ("local", None, None),
        Subject::User { id, login } => ("user", Some(id.to_string()), Some(login.to_string())),
        Subject::Key { id } => ("key", Some(id.to_string()), None),
    };
    Json(Me {
        kind,
        id,
        login,
        workspace: identity.workspace,
        role: identity.role,
        scopes: identity.grant.scopes().collect(),
    })
}

/// A change of one's own password.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PasswordChange {
    /// The present password.
    #[schema(format = Password, max_length = 1024)]
    current_password: String,
    /// The new one, of at least 8 characters.
    #[schema(format = Password, min_length = 8, max_length = 1024)]
    new_password: String,
}

/// Change your password
///
/// Ends every token that was made before, and answers a new one.
#[utoipa::path(
    put, path = "/api/v1/auth/password", tag = "Access", operation_id = "changePassword",
    request_body = PasswordChange,
    responses((status = 200, description = "A new token", body = Token)),
)]
async fn change_password(
    State(app): State<SharedApp>,
    ClientAddress(from): ClientAddress,
    access: Access,
    Json(change): Json<PasswordChange>,
) -> Result<impl IntoResponse, Problem> {
    let Subject::User { id, login } = &access.identity().subject else {
        return Err(Problem::forbidden(
            "Only a user has a password: log in as one.",
        ));
    };
    let gate = &app.gatekeeper;
    gate.login_limits.take(login, from, app.now())?;
    let user = app.store().user(*id).await?;
    let mut user = user.ok_or_else(|| Problem::unauthenticated("The token's user is gone."))?;
    if !gate
        .passwords
        .verify(&change.current_password, Some(&user.password_hash))
        .await?
    {
        return Err(Problem::fields(vec![FieldError {
            path: "currentPassword".to_owned(),
            message: "is wrong".to_owned(),
        }]));
    }
    user.password_hash = gate
        .passwords
        .hash(&change.new_password, "newPassword")
        .await?;
    app.store().set_password(*id, &user.password_hash).await?;
    gate.forget_person(*id);
    let session = session(&app, user);
    Ok((
        StatusCode::OK,
        Json(Token {
            token: session.token,
            expires_at: session.expires_at,
        }),
    ))
}
