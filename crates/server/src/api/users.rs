//! `/api/v1/users`: the people of a workspace.

use axum::extract::State;
use domain::{
    Timestamp, UserId, WorkspaceId,
    access::{Membership, Role, Scope, User},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    SharedApp,
    auth::{Access, Subject, login::normal_login},
    extract::{Id, Json, List},
    problem::Problem,
};

/// The longest login, in characters.
const LOGIN_CHARS_MAX: usize = 200;

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, change, remove))
}

/// A member of the workspace.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
struct UserView {
    /// Their id.
    #[schema(value_type = String, example = "usr_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: UserId,
    /// What they log in with.
    #[schema(example = "ann@example.com")]
    login: String,
    /// What they may do in this workspace.
    #[schema(value_type = String, example = "editor")]
    role: Role,
    /// When they were added to the installation.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<(User, Membership)> for UserView {
    fn from((user, membership): (User, Membership)) -> Self {
        Self {
            id: user.id,
            login: user.login,
            role: membership.role,
            created_at: user.created_at,
        }
    }
}

/// List users
///
/// The members of the workspace.
#[utoipa::path(
    get, path = "/api/v1/users", tag = "Access", operation_id = "listUsers",
    responses((status = 200, description = "The members, on one page", body = List<UserView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
) -> Result<Json<List<UserView>>, Problem> {
    let workspace = access.require(Scope::Admin)?;
    let members = app.store().members(workspace).await?;
    Ok(Json(List::whole(
        members.into_iter().map(UserView::from).collect(),
    )))
}

/// A person to be added to the workspace.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// What they log in with; case does not matter. `username` and `email` are taken for it.
    #[serde(alias = "username", alias = "email")]
    #[schema(min_length = 1, max_length = 200, example = "ann@example.com")]
    login: String,
    /// Their first password, of at least 8 characters. Leave it out to add somebody who is a
    /// user of the installation already.
    #[serde(default)]
    #[schema(format = Password, min_length = 8, max_length = 1024)]
    password: Option<String>,
    /// What they may do: `owner`, `editor`, `viewer` or `publisher`.
    #[schema(example = "editor")]
    role: String,
}

/// Add a user
///
/// Makes a new user, or adds one of the installation to this workspace. The first user of all has
/// to be an owner, and ends local mode.
#[utoipa::path(
    post, path = "/api/v1/users", tag = "Access", operation_id = "createUser",
    request_body = NewUser,
    responses((status = 201, description = "The member", body = UserView)),
)]
async fn create(
    State(app): State<SharedApp>,
    access: Access,
    Json(new): Json<NewUser>,
) -> Result<impl axum::response::IntoResponse, Problem> {
    let workspace = access.require(Scope::Admin)?;
    let login = check_login(&new.login)?;
    let role = check_role(&new.role)?;
    let hash = match &new.password {
        Some(password) => Some(app.gatekeeper.passwords.hash(password, "password").await?),
        None => None,
    };
    let _people = app.gatekeeper.people_lock.lock().await;
    let view: UserView = match hash {
        Some(hash) => add_new(&app, workspace, login, hash, role).await?,
        None => add_known(&app, &access, workspace, &login, role).await?,
    };
    let location = format!("/api/v1/users/{}", view.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(view),
    ))
}

async fn add_new(
    app: &SharedApp,
    workspace: WorkspaceId,
    login: String,
    password_hash: String,
    role: Role,
) -> Result<UserView, Problem> {
    if role != Role::Owner && app.store().user_count().await? == 0 {
        return Err(Problem::field(
            "role",
            "must be `owner` for the first user: nobody could add others",
        ));
    }
    let id = UserId::new(app.edge().ids.next_id());
    let user = User {
        id,
        login,
        password_hash,
        created_at: app.now(),
    };
    let membership = Membership {
        user: id,
        workspace,
        role,
    };
    if !app
        .store()
        .create_user(user.clone(), membership.clone())
        .await?
    {
        return Err(Problem::conflict(
            "There is a user with this login already.",
        ));
    }
    app.gatekeeper.end_local_mode();
    Ok((user, membership).into())
}

async fn add_known(
    app: &SharedApp,
    access: &Access,
    workspace: WorkspaceId,
    login: &str,
    role: Role,
) -> Result<UserView, Problem> {
    let user = app.store().user_by_login(login).await?;
    let user = user.ok_or_else(|| {
        Problem::field(
            "password",
            "is required: there is no user with this login yet",
        )
    })?;
    let theirs = app.store().memberships(user.id).await?;
    if theirs.iter().any(|member| member.workspace == workspace) {
        return Err(Problem::conflict("This user is a member already."));
    }
    require_same_default(app, access, workspace, &theirs).await?;
    app.store().set_role(user.id, workspace, Some(role)).await?;
    app.gatekeeper.forget_person(user.id);
    let membership = Membership {
        user: user.id,
        workspace,
        role,
    };
    Ok((user, membership).into())
}

/// Show a user
#[utoipa::path(
    get, path = "/api/v1/users/{id}", tag = "Access", operation_id = "getUser",
    params(("id" = String, Path, description = "The user's id", example = "usr_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 200, description = "The member", body = UserView)),
)]
async fn show(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<UserId>,
) -> Result<Json<UserView>, Problem> {
    let workspace = access.require(Scope::Admin)?;
    Ok(Json(member(&app, workspace, id).await?.into()))
}

/// What is to be changed of a member. What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    /// What they may do in this workspace from now on.
    #[serde(default)]
    #[schema(example = "viewer")]
    role: Option<String>,
    /// A new password; ends their tokens.
    #[serde(default)]
    #[schema(format = Password, min_length = 8, max_length = 1024)]
    password: Option<String>,
}

/// Change a user
///
/// Their role in this workspace, or their password. A password can be set by somebody who owns
/// every workspace that the user is a member of.
#[utoipa::path(
    patch, path = "/api/v1/users/{id}", tag = "Access", operation_id = "updateUser",
    params(("id" = String, Path, description = "The user's id", example = "usr_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    request_body = UserChange,
    responses((status = 200, description = "The member as it is now", body = UserView)),
)]
async fn change(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<UserId>,
    Json(change): Json<UserChange>,
) -> Result<Json<UserView>, Problem> {
    let workspace = access.require(Scope::Admin)?;
    let role = change.role.as_deref().map(check_role).transpose()?;
    let hash = match &change.password {
        Some(password) => Some(app.gatekeeper.passwords.hash(password, "password").await?),
        None => None,
    };
    let _people = app.gatekeeper.people_lock.lock().await;
    let (user, mut membership) = member(&app, workspace, id).await?;
    if hash.is_some() {
        require_all_owned(&app, &access, id).await?;
    }
    if let Some(role) = role.filter(|role| *role != membership.role) {
        require_other_owner(&app, workspace, &membership).await?;
        app.store().set_role(id, workspace, Some(role)).await?;
        membership.role = role;
    }
    if let Some(hash) = hash {
        app.store().set_password(id, &hash).await?;
    }
    app.gatekeeper.forget_person(id);
    Ok(Json((user, membership).into()))
}

/// Remove a user
///
/// From this workspace; somebody who is in no other one any more is no user any more. The last
/// owner cannot be removed.
#[utoipa::path(
    delete, path = "/api/v1/users/{id}", tag = "Access", operation_id = "removeUser",
    params(("id" = String, Path, description = "The user's id", example = "usr_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 204, description = "They are no member any more")),
)]
async fn remove(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<UserId>,
) -> Result<StatusCode, Problem> {
    let workspace = access.require(Scope::Admin)?;
    let _people = app.gatekeeper.people_lock.lock().await;
    let (_, membership) = member(&app, workspace, id).await?;
    require_other_owner(&app, workspace, &membership).await?;
    if app.store().memberships(id).await?.len() == 1 {
        app.store().delete_user(id).await?;
    } else {
        app.store().set_role(id, workspace, None).await?;
    }
    app.gatekeeper.forget_person(id);
    Ok(StatusCode::NO_CONTENT)
}

async fn member(
    app: &SharedApp,
    workspace: WorkspaceId,
    id: UserId,
) -> Result<(User, Membership), Problem> {
    let members = app.store().members(workspace).await?;
    let found = members.into_iter().find(|(user, _)| user.id == id);
    found.ok_or_else(|| Problem::not_found("user"))
}

/// Refuses to take the last owner away from a workspace.
async fn require_other_owner(
    app: &SharedApp,
    workspace: WorkspaceId,
    leaving: &Membership,
) -> Result<(), Problem> {
    if leaving.role != Role::Owner {
        return Ok(());
    }
    let members = app.store().members(workspace).await?;
    let others = members
        .iter()
        .any(|(user, member)| user.id != leaving.user && member.role == Role::Owner);
    if others {
        Ok(())
    } else {
        Err(Problem::conflict(
            "This is the workspace's last owner: make another user an owner first.",
        ))
    }
}

/// Refuses to add somebody to a workspace in which their requests would then act where they name
/// none, unless the caller owns the one in which they act now: what they publish would go astray.
async fn require_same_default(
    app: &SharedApp,
    access: &Access,
    workspace: WorkspaceId,
    theirs: &[Membership],
) -> Result<(), Problem> {
    let moved = theirs.first().filter(|first| first.workspace > workspace);
    match moved {
        Some(first) if !owns(app, access, first.workspace).await? => Err(Problem::forbidden(
            "This user's requests act in a workspace that you do not own, and would act in this one instead: \
             ask somebody who owns both to add them.",
        )),
        _ => Ok(()),
    }
}

/// Whether the caller owns `workspace`, be it another than the one that they act in.
async fn owns(app: &SharedApp, access: &Access, workspace: WorkspaceId) -> Result<bool, Problem> {
    Ok(match access.identity().subject {
        Subject::Local => true,
        Subject::Key { .. } => access.identity().workspace == workspace,
        Subject::User { id, .. } => {
            let own = app.store().memberships(id).await?;
            own.iter()
                .any(|member| member.workspace == workspace && member.role == Role::Owner)
        }
    })
}

/// Refuses to set the password of somebody who is also in workspaces of others: it would open
/// those as well.
async fn require_all_owned(app: &SharedApp, access: &Access, id: UserId) -> Result<(), Problem> {
    let mut all_owned = true;
    for member in app.store().memberships(id).await? {
        all_owned &= owns(app, access, member.workspace).await?;
    }
    if all_owned {
        Ok(())
    } else {
        Err(Problem::forbidden(
            "This user is also in workspaces that you do not own: only they can change their password.",
        ))
    }
}

fn check_login(text: &str) -> Result<String, Problem> {
    let login = normal_login(text);
    let fits = (1..=LOGIN_CHARS_MAX).contains(&login.chars().count())
        && !login.chars().any(char::is_control);
    if fits {
        Ok(login)
    } else {
        Err(Problem::field(
            "login",
            format!("must have 1 to {LOGIN_CHARS_MAX} printable characters"),
        ))
    }
}

fn check_role(text: &str) -> Result<Role, Problem> {
    Role::parse(text).ok_or_else(|| {
        let known: Vec<_> = Role::ALL.into_iter().map(Role::as_str).collect();
        Problem::field("role", format!("is not one of {}", known.join(", ")))
    })
}
