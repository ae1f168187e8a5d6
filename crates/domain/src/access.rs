//! Who may do what: roles, scopes, and the records behind a credential.

use serde::{Deserialize, Serialize};

use crate::{ApiKeyId, Timestamp, UserId, WorkspaceId};

/// What a member of a workspace may do. Each role includes those below it but for
/// [`Role::Publisher`], which stands apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, people and keys included.
    Owner,
    /// Everything but people, keys and settings.
    Editor,
    /// Reads; never sees a secret.
    Viewer,
    /// Publishes events, nothing else.
    Publisher,
}

/// What a request does, and so what a role or a key's scope must cover.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Scope {
    /// Publish events.
    #[serde(rename = "events:write")]
    EventsWrite,
    /// Read anything of the workspace but secrets.
    #[serde(rename = "read")]
    Read,
    /// Create, change, remove webhooks; retry, replay, test.
    #[serde(rename = "write")]
    Write,
    /// Manage users, API keys and settings.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// All of them, from the narrowest.
    pub const ALL: [Self; 4] = [Self::EventsWrite, Self::Read, Self::Write, Self::Admin];

    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventsWrite => "events:write",
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Editor, Self::Viewer, Self::Publisher];

    /// Whether the role covers `scope`.
    pub const fn allows(self, scope: Scope) -> bool {
        match self {
            Self::Owner => true,
            Self::Editor => !matches!(scope, Scope::Admin),
            Self::Viewer => matches!(scope, Scope::Read),
            Self::Publisher => matches!(scope, Scope::EventsWrite),
        }
    }

    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Editor => "editor",
            Self::Viewer => "viewer",
            Self::Publisher => "publisher",
        }
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// A person who can log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// What they log in with: an e-mail address or a name, lower case, unique.
    pub login: String,
    /// The password as an Argon2id PHC string.
    pub password_hash: String,
    /// When they were added.
    pub created_at: Timestamp,
}

/// A workspace, and what its member may do there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The member.
    pub user: UserId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// What they may do.
    pub role: Role,
}

/// A workspace's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An API key's record; the key itself is shown once and kept only as a SHA-256 hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The workspace that it opens.
    pub workspace: WorkspaceId,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the key's text.
    pub hash: [u8; 32],
    /// The first characters of the key, to recognise it by.
    pub hint: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether the key opens anything at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}
