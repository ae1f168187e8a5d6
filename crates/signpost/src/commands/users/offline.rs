//! The people in a data folder that no server has open, or in a PostgreSQL database.

use anyhow::Result;
use domain::{
    UserId, WorkspaceId,
    access::{Membership, Role, User},
};
use serde_json::{Value, json};
use server::auth::{login::normal_login, password::hash_now};
use store::SharedStore;

use crate::{
    edge,
    local::{self, DataDir, IfMissing},
    problem::Problem,
};

/// An open data folder.
pub struct Offline {
    store: SharedStore,
    place: String,
}

impl Offline {
    /// Opens it; `creates` makes it where it is missing.
    pub async fn open(data_dir: &DataDir, creates: bool) -> Result<Self> {
        let if_missing = if creates {
            IfMissing::Create
        } else {
            IfMissing::Fail
        };
        let store = local::open(data_dir, if_missing).await?;
        Ok(Self {
            store,
            place: data_dir.place(),
        })
    }

    /// Commits and closes.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Whether there is no user at all.
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(self.store.user_count().await? == 0)
    }

    /// All users of the default workspace.
    pub async fn list(&self) -> Result<Vec<Value>> {
        let members = self.store.members(WorkspaceId::DEFAULT).await?;
        Ok(members
            .iter()
            .map(|(user, membership)| view(user, membership.role))
            .collect())
    }

    /// Adds one to the default workspace.
    pub async fn add(&self, login: &str, password: &str, role: Role) -> Result<Value> {
        if role != Role::Owner && self.is_empty().await? {
            return Err(Problem::misuse(
                "the first user must be an owner: nobody could add others",
            )
            .into());
        }
        let user = User {
            id: UserId::new(edge::id()),
            login: normal_login(login),
            password_hash: hash(password)?,
            created_at: edge::now(),
        };
        let membership = Membership {
            user: user.id,
            workspace: WorkspaceId::DEFAULT,
            role,
        };
        if user.login.is_empty() || user.login.chars().any(char::is_control) {
            return Err(Problem::misuse("a login has printable characters").into());
        }
        if !self.store.create_user(user.clone(), membership).await? {
            let problem = Problem::failed(format!("there is a user `{}` already", user.login));
            return Err(problem.at(&self.place).into());
        }
        Ok(view(&user, role))
    }

    /// Removes one, unless nobody could manage the installation then.
    pub async fn remove(&self, login: &str) -> Result<()> {
        let user = self.user(login).await?;
        self.require_other_owner(user.id).await?;
        self.store.delete_user(user.id).await?;
        Ok(())
    }

    /// Sets a password.
    pub async fn set_password(&self, login: &str, password: &str) -> Result<()> {
        let user = self.user(login).await?;
        self.store.set_password(user.id, &hash(password)?).await?;
        Ok(())
    }

    /// Sets a role in the default workspace.
    pub async fn set_role(&self, login: &str, role: Role) -> Result<()> {
        let user = self.user(login).await?;
        if role != Role::Owner {
            self.require_other_owner(user.id).await?;
        }
        self.store
            .set_role(user.id, WorkspaceId::DEFAULT, Some(role))
            .await?;
        Ok(())
    }

    async fn user(&self, login: &str) -> Result<User> {
        let user = self.store.user_by_login(&normal_login(login)).await?;
        user.ok_or_else(|| {
            Problem::failed(format!("there is no user `{login}`"))
                .at(&self.place)
                .advice("see who there is: signpost users list")
                .into()
        })
    }

    /// # Errors
    /// If `leaving` is the last owner: nobody could add others then.
    async fn require_other_owner(&self, leaving: UserId) -> Result<()> {
        let members = self.store.members(WorkspaceId::DEFAULT).await?;
        let is_owner = |id| {
            members
                .iter()
                .any(|(user, m)| user.id == id && m.role == Role::Owner)
        };
        let others = members
            .iter()
            .any(|(user, m)| user.id != leaving && m.role == Role::Owner);
        if is_owner(leaving) && !others {
            return Err(Problem::failed("this is the last owner")
                .at(&self.place)
                .advice("make another user an owner first: signpost users role LOGIN owner")
                .into());
        }
        Ok(())
    }
}

fn hash(password: &str) -> Result<String> {
    hash_now(password, &*edge::system().entropy).map_err(|problem| {
        Problem::failed("that password is refused")
            .detail(problem.detail())
            .into()
    })
}

fn view(user: &User, role: Role) -> Value {
    json!({ "id": user.id, "login": user.login, "role": role, "createdAt": user.created_at })
}
