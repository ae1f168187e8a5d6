//! Who asks, and what they may do.
//!
//! [`Gatekeeper`] turns a request's credentials into an [`Identity`]: a token of a person
//! ([`token`]), an API key, or nobody at all in local mode. [`crate::front`] asks it once for each
//! request; handlers take the answer as [`Access`] and name the scope that they need. [`login`]
//! makes tokens, [`password`] hashes and checks, [`origin`] keeps web pages out of local mode.
//!
//! People and keys are looked up in the store and kept in memory for a few seconds. Changes made
//! here are seen at once, those made by other nodes once [`watch`] is told of them.

pub mod login;
pub mod origin;
pub mod password;
pub mod remembered;
pub mod token;
pub mod watch;

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::extract::{FromRequestParts, MatchedPath};
use domain::{
    ApiKeyId, Timestamp, UserId, WorkspaceId,
    access::{ApiKey, Role, Scope},
};
use http::{HeaderMap, header, request::Parts};
use ring::digest::{SHA256, digest};
use store::{SharedStore, StoreError};

use crate::{
    SharedApp,
    limits::{Address, Buckets},
    problem::Problem,
};
use login::LoginLimits;
use password::Passwords;
use remembered::Remembered;
use token::Tokens;

/// The header that chooses a workspace where the caller belongs to several.
pub const WORKSPACE_HEADER: &str = "x-workspace";
/// What every API key begins with.
pub const KEY_PREFIX: &str = "sp_";
/// For how long a look-up is believed.
const REMEMBER: Duration = Duration::from_secs(5);
/// How many look-ups are kept.
const REMEMBERED_MAX: usize = 10_000;
/// Requests with wrong credentials that one address may make, and per second after that.
const FAILURES: (u32, f64) = (100, 1.0);

/// Who a request comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// Whoever sits at this machine: local mode.
    Local,
    /// A person.
    User {
        /// Their id.
        id: UserId,
        /// What they log in with.
        login: Arc<str>,
    },
    /// A program that holds an API key.
    Key {
        /// The key's id.
        id: ApiKeyId,
    },
}

/// What an identity may do: a set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant(u8);

impl Grant {
    /// What a role covers.
    pub fn of_role(role: Role) -> Self {
        Self::of_scopes(Scope::ALL.into_iter().filter(|scope| role.allows(*scope)))
    }

    /// These scopes; `admin` covers all.
    pub fn of_scopes(scopes: impl IntoIterator<Item = Scope>) -> Self {
        let all = Self(Self::bit(Scope::Admin) * 2 - 1);
        scopes
            .into_iter()
            .fold(Self(0), |grant, scope| match scope {
                Scope::Admin => all,
                scope => Self(grant.0 | Self::bit(scope)),
            })
    }

    /// Whether `scope` is among them.
    pub fn covers(self, scope: Scope) -> bool {
        self.0 & Self::bit(scope) != 0
    }

    /// The scopes, from the narrowest.
    pub fn scopes(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.covers(*scope))
    }

    const fn bit(scope: Scope) -> u8 {
        match scope {
            Scope::EventsWrite => 1,
            Scope::Read => 2,
            Scope::Write => 4,
            Scope::Admin => 8,
        }
    }
}

/// Who a request comes from, where they act and what they may do there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The workspace that they act in.
    pub workspace: WorkspaceId,
    /// What they may do there.
    pub grant: Grant,
    /// Their role there, if they are a person.
    pub role: Option<Role>,
    /// Who they are.
    pub subject: Subject,
}

/// What [`crate::front`] found out about a request, kept in its extensions.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// Who asks, or why that is not known.
    pub identity: Result<Arc<Identity>, Problem>,
    /// Where the request comes from.
    pub from: IpAddr,
    /// Which route answers, once that is known.
    pub route: Arc<OnceLock<MatchedPath>>,
}

/// An authenticated caller. Taking it as an argument refuses everyone else.
#[derive(Clone, Debug)]
pub struct Access(Arc<Identity>);

impl Access {
    /// The workspace that the caller acts in, if their role or key covers `scope`.
    ///
    /// # Errors
    /// [`crate::problem::Kind::Forbidden`] otherwise.
    pub fn require(&self, scope: Scope) -> Result<WorkspaceId, Problem> {
        if self.0.grant.covers(scope) {
            Ok(self.0.workspace)
        } else {
            Err(Problem::forbidden(format!(
                "This needs the scope `{}`, which these credentials do not cover in workspace {}.",
                scope.as_str(),
                self.0.workspace,
            )))
        }
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.0
    }
}

impl FromRequestParts<SharedApp> for Access {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &SharedApp) -> Result<Self, Problem> {
        match parts.extensions.get::<Authenticated>() {
            Some(known) => known.identity.clone().map(Self),
            None => Err(no_credentials()),
        }
    }
}

/// A person as the gate remembers them.
#[derive(Clone)]
struct Person {
    login: Arc<str>,
    password_mark: [u8; 8],
    memberships: Vec<(WorkspaceId, Role)>,
}

/// Turns credentials into identities.
pub struct Gatekeeper {
    /// Makes and reads tokens.
    pub tokens: Tokens,
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// How often somebody may try to log in.
    pub login_limits: LoginLimits,
    /// How often an address may come with wrong credentials.
    pub failures: Buckets<Address>,
    people: Remembered<UserId, Person>,
    keys: Remembered<[u8; 32], ApiKey>,
    loopback: bool,
    has_users: AtomicBool,
    /// Held while people change, so that the last owner cannot be removed twice over.
    pub people_lock: tokio::sync::Mutex<()>,
}

impl Gatekeeper {
    /// A gate for a server that is bound to loopback or not and has users or not.
    pub fn new(tokens: Tokens, passwords: Passwords, loopback: bool, has_users: bool) -> Self {
        Self {
            tokens,
            passwords,
            login_limits: LoginLimits::default(),
            failures: Buckets::new(FAILURES.0, FAILURES.1),
            people: Remembered::new(REMEMBER, REMEMBERED_MAX),
            keys: Remembered::new(REMEMBER, REMEMBERED_MAX),
            loopback,
            has_users: AtomicBool::new(has_users),
            people_lock: tokio::sync::Mutex::new(()),
        }
    }

    /// Whether requests without credentials act as the owner: bound to loopback, no users yet.
    pub fn is_local(&self) -> bool {
        self.loopback && !self.has_users.load(Ordering::Acquire)
    }

    /// Whether the server is bound to loopback.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// A first user was made: local mode ends.
    pub fn end_local_mode(&self) {
        self.has_users.store(true, Ordering::Release);
    }

    /// A person's record or memberships changed.
    pub fn forget_person(&self, id: UserId) {
        self.people.forget(&id);
    }

    /// A key was revoked.
    pub fn forget_key(&self, hash: &[u8; 32]) {
        self.keys.forget(hash);
    }

    /// Somebody's record changed elsewhere: everybody is looked up again.
    pub fn forget_all(&self) {
        self.people.forget_all();
        self.keys.forget_all();
    }

    /// Finds out who a request comes from.
    ///
    /// # Errors
    /// If credentials are missing where some are needed, or wrong, or the workspace that was
    /// asked for is not theirs.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        store: &SharedStore,
        now: Timestamp,
    ) -> Result<Identity, Problem> {
        // Told only to those who may come in.
        let asked = asked_workspace(headers);
        match bearer(headers)? {
            Some(key) if key.starts_with(KEY_PREFIX) => self.by_key(key, asked, store, now).await,
            Some(token) => self.by_token(token, asked, store, now).await,
            None if self.is_local() => local(asked?, store).await,
            None => Err(no_credentials()),
        }
    }

    async fn by_key(
        &self,
        key: &str,
        asked: Result<Option<WorkspaceId>, Problem>,
        store: &SharedStore,
        now: Timestamp,
    ) -> Result<Identity, Problem> {
        let hash = key_hash(key);
        let record = match self.keys.recall(&hash, now) {
            Ok(record) => record,
            Err(before) => {
                let found = store.api_key_by_hash(hash).await?;
                let record = found.ok_or_else(|| refused("The API key is not known."))?;
                self.keys.remember(hash, record.clone(), now, before);
                record
            }
        };
        if !record.is_live(now) {
            return Err(refused("The API key was revoked or has expired."));
        }
        if asked?.is_some_and(|asked| asked != record.workspace) {
            return Err(Problem::not_found("workspace"));
        }
        Ok(Identity {
            workspace: record.workspace,
            grant: Grant::of_scopes(record.scopes.iter().copied()),
            role: None,
            subject: Subject::Key { id: record.id },
        })
    }

    async fn by_token(
        &self,
        token: &str,
        asked: Result<Option<WorkspaceId>, Problem>,
        store: &SharedStore,
        now: Timestamp,
    ) -> Result<Identity, Problem> {
        let claims = self
            .tokens
            .read(token, now)
            .map_err(|error| refused(error.to_string()))?;
        let id: UserId = claims
            .sub
            .parse()
            .map_err(|_| refused("The token is for nobody here."))?;
        let person = match self.people.recall(&id, now) {
            Ok(person) => person,
            Err(before) => {
                let person = look_up(store, id).await?;
                let person = person.ok_or_else(|| refused("The token's user is gone."))?;
                self.people.remember(id, person.clone(), now, before);
                person
            }
        };
        if claims.pwm.as_deref() != Some(hex::encode(person.password_mark).as_str()) {
            return Err(refused("The password was changed since: log in again."));
        }
        let asked = asked?;
        let (workspace, role) = match asked {
            Some(asked) => person
                .memberships
                .iter()
                .find(|(workspace, _)| *workspace == asked),
            None => person.memberships.first(),
        }
        .copied()
        .ok_or_else(|| match asked {
            Some(_) => Problem::not_found("workspace"),
            None => Problem::forbidden("You are no member of any workspace."),
        })?;
        Ok(Identity {
            workspace,
            grant: Grant::of_role(role),
            role: Some(role),
            subject: Subject::User {
                id,
                login: person.login,
            },
        })
    }
}

async fn local(asked: Option<WorkspaceId>, store: &SharedStore) -> Result<Identity, Problem> {
    let workspace = asked.unwrap_or(WorkspaceId::DEFAULT);
    let exists = workspace == WorkspaceId::DEFAULT
        || store
            .workspaces()
            .await?
            .iter()
            .any(|known| known.id == workspace);
    if !exists {
        return Err(Problem::not_found("workspace"));
    }
    Ok(Identity {
        workspace,
        grant: Grant::of_role(Role::Owner),
        role: Some(Role::Owner),
        subject: Subject::Local,
    })
}

async fn look_up(store: &SharedStore, id: UserId) -> Result<Option<Person>, StoreError> {
    let Some(user) = store.user(id).await? else {
        return Ok(None);
    };
    let memberships = store.memberships(id).await?;
    Ok(Some(Person {
        login: user.login.into(),
        password_mark: password::mark(&user.password_hash),
        memberships: memberships
            .iter()
            .map(|member| (member.workspace, member.role))
            .collect(),
    }))
}

/// SHA-256 of a key's text: what the store knows of it.
pub fn key_hash(key: &str) -> [u8; 32] {
    digest(&SHA256, key.as_bytes())
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes")
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return Err(refused("There is more than one Authorization header."));
    }
    first
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, credentials)| Some(credentials.trim()))
        .ok_or_else(|| refused("Send `Authorization: Bearer <token or API key>`."))
}

fn asked_workspace(headers: &HeaderMap) -> Result<Option<WorkspaceId>, Problem> {
    let Some(asked) = headers.get(WORKSPACE_HEADER) else {
        return Ok(None);
    };
    let workspace = asked.to_str().ok().and_then(|text| text.parse().ok());
    workspace
        .map(Some)
        .ok_or_else(|| Problem::not_found("workspace"))
}

fn no_credentials() -> Problem {
    Problem::unauthenticated("Send `Authorization: Bearer <token or API key>`.")
}

fn refused(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::unauthenticated(detail)
}
