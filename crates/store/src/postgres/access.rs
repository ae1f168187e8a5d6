//! Users, memberships, workspaces, API keys.

use deadpool_postgres::{Client, Transaction};
use domain::{
    ApiKeyId, Timestamp, UserId, WorkspaceId,
    access::{ApiKey, Membership, Role, User, Workspace},
};
use tokio_postgres::Row;

use super::{
    changes,
    row::{
        corrupt, get, number, role, role_number, scope_bits, scopes, small, stored, text, time,
        time_or_null, unsigned,
    },
};
use crate::{Change, StoreError};

const USER_COLUMNS: &str = "u.id, u.login, u.password_hash, u.created_ms";
const KEY_COLUMNS: &str =
    "id, workspace, name, hash, hint, scopes, created_ms, expires_ms, revoked_ms";

fn read_user(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: UserId::new(get(row, 0)?),
        login: text(row, 1)?,
        password_hash: get(row, 2)?,
        created_at: time(row, 3)?,
    })
}

/// Records that access was changed if rows were, and answers whether.
async fn changed(tx: &Transaction<'_>, rows: u64) -> Result<bool, StoreError> {
    if rows > 0 {
        changes::record(tx, &Change::Access).await?;
    }
    Ok(rows > 0)
}

/// See [`crate::Store::user_count`].
pub(super) async fn user_count(conn: &Client) -> Result<u64, StoreError> {
    let sum = conn.prepare_cached("SELECT count(*) FROM users").await?;
    unsigned(&conn.query_one(&sum, &[]).await?, 0)
}

/// See [`crate::Store::create_user`].
pub(super) async fn create_user(
    tx: &Transaction<'_>,
    user: &User,
    membership: &Membership,
) -> Result<bool, StoreError> {
    let insert = tx
        .prepare_cached(
            "INSERT INTO users (id, login, password_hash, created_ms) VALUES ($1, $2, $3, $4)
             ON CONFLICT (login) DO NOTHING",
        )
        .await?;
    let inserted = tx
        .execute(
            &insert,
            &[
                &user.id.uuid(),
                &stored(&user.login),
                &user.password_hash,
                &user.created_at.ms(),
            ],
        )
        .await?;
    if inserted > 0 {
        put_role(tx, user.id, membership.workspace, membership.role).await?;
    }
    changed(tx, inserted).await
}

/// See [`crate::Store::set_password`].
pub(super) async fn set_password(
    tx: &Transaction<'_>,
    user: UserId,
    hash: &str,
) -> Result<bool, StoreError> {
    let set = tx
        .prepare_cached("UPDATE users SET password_hash = $2 WHERE id = $1")
        .await?;
    let updated = tx.execute(&set, &[&user.uuid(), &hash]).await?;
    changed(tx, updated).await
}

/// See [`crate::Store::delete_user`].
pub(super) async fn delete_user(tx: &Transaction<'_>, user: UserId) -> Result<bool, StoreError> {
    let delete = tx.prepare_cached("DELETE FROM users WHERE id = $1").await?;
    let deleted = tx.execute(&delete, &[&user.uuid()]).await?;
    changed(tx, deleted).await
}

/// See [`crate::Store::user_by_login`].
pub(super) async fn user_by_login(conn: &Client, login: &str) -> Result<Option<User>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {USER_COLUMNS} FROM users u WHERE login = $1"
        ))
        .await?;
    let row = conn.query_opt(&find, &[&stored(login)]).await?;
    row.as_ref().map(read_user).transpose()
}

/// See [`crate::Store::user`].
pub(super) async fn user(conn: &Client, id: UserId) -> Result<Option<User>, StoreError> {
    let find = conn
        .prepare_cached(&format!("SELECT {USER_COLUMNS} FROM users u WHERE id = $1"))
        .await?;
    let row = conn.query_opt(&find, &[&id.uuid()]).await?;
    row.as_ref().map(read_user).transpose()
}

/// See [`crate::Store::members`].
pub(super) async fn members(
    conn: &Client,
    workspace: WorkspaceId,
) -> Result<Vec<(User, Membership)>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {USER_COLUMNS}, m.role FROM memberships m JOIN users u ON u.id = m.member
             WHERE m.workspace = $1 ORDER BY u.login COLLATE \"C\""
        ))
        .await?;
    let rows = conn.query(&find, &[&workspace.number()]).await?;
    rows.iter()
        .map(|row| {
            let user = read_user(row)?;
            let membership = Membership {
                user: user.id,
                workspace,
                role: role(number(row, 4)?)?,
            };
            Ok((user, membership))
        })
        .collect()
}

/// See [`crate::Store::set_role`].
pub(super) async fn set_role(
    tx: &Transaction<'_>,
    user: UserId,
    workspace: WorkspaceId,
    role: Option<Role>,
) -> Result<(), StoreError> {
    if let Some(role) = role {
        put_role(tx, user, workspace, role).await?;
    } else {
        let delete = tx
            .prepare_cached("DELETE FROM memberships WHERE workspace = $1 AND member = $2")
            .await?;
        tx.execute(&delete, &[&workspace.number(), &user.uuid()])
            .await?;
    }
    changes::record(tx, &Change::Access).await
}

async fn put_role(
    tx: &Transaction<'_>,
    user: UserId,
    workspace: WorkspaceId,
    role: Role,
) -> Result<(), StoreError> {
    let put = tx
        .prepare_cached(
            "INSERT INTO memberships (workspace, member, role) VALUES ($1, $2, $3)
             ON CONFLICT (workspace, member) DO UPDATE SET role = $3",
        )
        .await?;
    tx.execute(
        &put,
        &[&workspace.number(), &user.uuid(), &small(role_number(role))],
    )
    .await?;
    Ok(())
}

/// See [`crate::Store::memberships`].
pub(super) async fn memberships(
    conn: &Client,
    user: UserId,
) -> Result<Vec<Membership>, StoreError> {
    let find = conn
        .prepare_cached(
            "SELECT workspace, role FROM memberships WHERE member = $1 ORDER BY workspace",
        )
        .await?;
    let rows = conn.query(&find, &[&user.uuid()]).await?;
    rows.iter()
        .map(|row| {
            Ok(Membership {
                user,
                workspace: WorkspaceId::new(get(row, 0)?),
                role: role(number(row, 1)?)?,
            })
        })
        .collect()
}

/// See [`crate::Store::create_workspace`].
pub(super) async fn create_workspace(
    tx: &Transaction<'_>,
    name: &str,
    now: Timestamp,
) -> Result<Workspace, StoreError> {
    let insert = tx
        .prepare_cached("INSERT INTO workspaces (name, created_ms) VALUES ($1, $2) RETURNING id")
        .await?;
    let row = tx.query_one(&insert, &[&stored(name), &now.ms()]).await?;
    Ok(Workspace {
        id: WorkspaceId::new(get(&row, 0)?),
        name: name.to_owned(),
        created_at: now,
    })
}

/// See [`crate::Store::workspaces`].
pub(super) async fn workspaces(conn: &Client) -> Result<Vec<Workspace>, StoreError> {
    let find = conn
        .prepare_cached("SELECT id, name, created_ms FROM workspaces ORDER BY id")
        .await?;
    let rows = conn.query(&find, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Workspace {
                id: WorkspaceId::new(get(row, 0)?),
                name: text(row, 1)?,
                created_at: time(row, 2)?,
            })
        })
        .collect()
}

fn read_key(row: &Row) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        id: ApiKeyId::new(get(row, 0)?),
        workspace: WorkspaceId::new(get(row, 1)?),
        name: text(row, 2)?,
        hash: get::<&[u8]>(row, 3)?
            .try_into()
            .map_err(|_| corrupt("a hash"))?,
        hint: text(row, 4)?,
        scopes: scopes(get(row, 5)?),
        created_at: time(row, 6)?,
        expires_at: time_or_null(row, 7)?,
        revoked_at: time_or_null(row, 8)?,
    })
}

/// See [`crate::Store::create_api_key`].
pub(super) async fn create_key(tx: &Transaction<'_>, key: &ApiKey) -> Result<(), StoreError> {
    let insert = tx
        .prepare_cached(&format!(
            "INSERT INTO api_keys ({KEY_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        ))
        .await?;
    tx.execute(
        &insert,
        &[
            &key.id.uuid(),
            &key.workspace.number(),
            &stored(&key.name),
            &&key.hash[..],
            &stored(&key.hint),
            &scope_bits(&key.scopes),
            &key.created_at.ms(),
            &key.expires_at.map(Timestamp::ms),
            &key.revoked_at.map(Timestamp::ms),
        ],
    )
    .await?;
    Ok(())
}

/// See [`crate::Store::api_key_by_hash`].
pub(super) async fn key_by_hash(
    conn: &Client,
    hash: [u8; 32],
) -> Result<Option<ApiKey>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {KEY_COLUMNS} FROM api_keys WHERE hash = $1"
        ))
        .await?;
    let row = conn.query_opt(&find, &[&&hash[..]]).await?;
    row.as_ref().map(read_key).transpose()
}

/// See [`crate::Store::api_keys`].
pub(super) async fn keys(conn: &Client, workspace: WorkspaceId) -> Result<Vec<ApiKey>, StoreError> {
    let find = conn
        .prepare_cached(&format!(
            "SELECT {KEY_COLUMNS} FROM api_keys WHERE workspace = $1 ORDER BY id DESC"
        ))
        .await?;
    let rows = conn.query(&find, &[&workspace.number()]).await?;
    rows.iter().map(read_key).collect()
}

/// See [`crate::Store::revoke_api_key`].
pub(super) async fn revoke_key(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let revoke = tx
        .prepare_cached(
            "UPDATE api_keys SET revoked_ms = $3 WHERE workspace = $1 AND id = $2 AND revoked_ms IS NULL",
        )
        .await?;
    let revoked = tx
        .execute(&revoke, &[&workspace.number(), &id.uuid(), &now.ms()])
        .await?;
    changed(tx, revoked).await
}
