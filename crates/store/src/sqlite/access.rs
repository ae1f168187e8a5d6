//! Users, memberships, workspaces, API keys.

use domain::{
    ApiKeyId, Timestamp, UserId, WorkspaceId,
    access::{ApiKey, Membership, Role, User, Workspace},
};
use rusqlite::{Connection, Row, params};

use super::{
    row::{count, role, role_number, scope_bits, scopes, time, time_or_null, uuid},
    writer::Batch,
};
use crate::StoreError;

const USER_COLUMNS: &str = "u.id, u.login, u.password_hash, u.created_ms";
const KEY_COLUMNS: &str =
    "id, workspace, name, hash, hint, scopes, created_ms, expires_ms, revoked_ms";

fn read_user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: UserId::new(uuid(row, 0)?),
        login: row.get(1)?,
        password_hash: row.get(2)?,
        created_at: time(row, 3)?,
    })
}

/// See [`crate::Store::user_count`].
pub(super) fn user_count(conn: &Connection) -> Result<u64, StoreError> {
    Ok(count(conn.query_row(
        "SELECT count(*) FROM users",
        [],
        |row| row.get(0),
    )?))
}

/// See [`crate::Store::create_user`].
pub(super) fn create_user(
    batch: &mut Batch<'_, '_>,
    user: &User,
    membership: &Membership,
) -> Result<bool, StoreError> {
    let inserted = batch
        .conn
        .prepare_cached(
            "INSERT INTO users (id, login, password_hash, created_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (login) DO NOTHING",
        )?
        .execute(params![
            user.id.uuid().as_bytes(),
            user.login,
            user.password_hash,
            user.created_at.ms()
        ])?;
    if inserted > 0 {
        put_role(batch, user.id, membership.workspace, membership.role)?;
    }
    Ok(inserted > 0)
}

/// See [`crate::Store::set_password`].
pub(super) fn set_password(
    batch: &mut Batch<'_, '_>,
    user: UserId,
    hash: &str,
) -> Result<bool, StoreError> {
    let mut set = batch
        .conn
        .prepare_cached("UPDATE users SET password_hash = ?2 WHERE id = ?1")?;
    Ok(set.execute(params![user.uuid().as_bytes(), hash])? > 0)
}

/// See [`crate::Store::delete_user`].
pub(super) fn delete_user(batch: &mut Batch<'_, '_>, user: UserId) -> Result<bool, StoreError> {
    let mut delete = batch
        .conn
        .prepare_cached("DELETE FROM users WHERE id = ?1")?;
    Ok(delete.execute(params![user.uuid().as_bytes()])? > 0)
}

/// See [`crate::Store::user_by_login`].
pub(super) fn user_by_login(conn: &Connection, login: &str) -> Result<Option<User>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {USER_COLUMNS} FROM users u WHERE login = ?1"
    ))?;
    let mut rows = find.query([login])?;
    Ok(rows.next()?.map(read_user).transpose()?)
}

/// See [`crate::Store::user`].
pub(super) fn user(conn: &Connection, id: UserId) -> Result<Option<User>, StoreError> {
    let mut find =
        conn.prepare_cached(&format!("SELECT {USER_COLUMNS} FROM users u WHERE id = ?1"))?;
    let mut rows = find.query([id.uuid().as_bytes()])?;
    Ok(rows.next()?.map(read_user).transpose()?)
}

/// See [`crate::Store::members`].
pub(super) fn members(
    conn: &Connection,
    workspace: WorkspaceId,
) -> Result<Vec<(User, Membership)>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {USER_COLUMNS}, m.role FROM memberships m JOIN users u ON u.id = m.user
         WHERE m.workspace = ?1 ORDER BY u.login"
    ))?;
    let mut rows = find.query([workspace.number()])?;
    let mut members = Vec::new();
    while let Some(row) = rows.next()? {
        let user = read_user(row)?;
        let membership = Membership {
            user: user.id,
            workspace,
            role: role(row.get(4)?)?,
        };
        members.push((user, membership));
    }
    Ok(members)
}

/// See [`crate::Store::set_role`].
pub(super) fn set_role(
    batch: &mut Batch<'_, '_>,
    user: UserId,
    workspace: WorkspaceId,
    role: Option<Role>,
) -> Result<(), StoreError> {
    if let Some(role) = role {
        return put_role(batch, user, workspace, role);
    }
    let mut delete = batch
        .conn
        .prepare_cached("DELETE FROM memberships WHERE workspace = ?1 AND user = ?2")?;
    delete.execute(params![workspace.number(), user.uuid().as_bytes()])?;
    Ok(())
}

fn put_role(
    batch: &Batch<'_, '_>,
    user: UserId,
    workspace: WorkspaceId,
    role: Role,
) -> Result<(), StoreError> {
    let mut put = batch.conn.prepare_cached(
        "INSERT INTO memberships (workspace, user, role) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET role = ?3",
    )?;
    put.execute(params![
        workspace.number(),
        user.uuid().as_bytes(),
        role_number(role)
    ])?;
    Ok(())
}

/// See [`crate::Store::memberships`].
pub(super) fn memberships(conn: &Connection, user: UserId) -> Result<Vec<Membership>, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT workspace, role FROM memberships WHERE user = ?1 ORDER BY workspace",
    )?;
    let mut rows = find.query([user.uuid().as_bytes()])?;
    let mut memberships = Vec::new();
    while let Some(row) = rows.next()? {
        let workspace = WorkspaceId::new(row.get(0)?);
        memberships.push(Membership {
            user,
            workspace,
            role: role(row.get(1)?)?,
        });
    }
    Ok(memberships)
}

/// See [`crate::Store::create_workspace`].
pub(super) fn create_workspace(
    batch: &mut Batch<'_, '_>,
    name: &str,
    now: Timestamp,
) -> Result<Workspace, StoreError> {
    let mut insert = batch
        .conn
        .prepare_cached("INSERT INTO workspaces (name, created_ms) VALUES (?1, ?2) RETURNING id")?;
    let number = insert.query_row(params![name, now.ms()], |row| row.get(0))?;
    Ok(Workspace {
        id: WorkspaceId::new(number),
        name: name.to_owned(),
        created_at: now,
    })
}

/// See [`crate::Store::workspaces`].
pub(super) fn workspaces(conn: &Connection) -> Result<Vec<Workspace>, StoreError> {
    let mut find =
        conn.prepare_cached("SELECT id, name, created_ms FROM workspaces ORDER BY id")?;
    let rows = find.query_map([], |row| {
        Ok(Workspace {
            id: WorkspaceId::new(row.get(0)?),
            name: row.get(1)?,
            created_at: time(row, 2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read_key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        id: ApiKeyId::new(uuid(row, 0)?),
        workspace: WorkspaceId::new(row.get(1)?),
        name: row.get(2)?,
        hash: row.get(3)?,
        hint: row.get(4)?,
        scopes: scopes(row.get(5)?),
        created_at: time(row, 6)?,
        expires_at: time_or_null(row, 7)?,
        revoked_at: time_or_null(row, 8)?,
    })
}

/// See [`crate::Store::create_api_key`].
pub(super) fn create_key(batch: &mut Batch<'_, '_>, key: &ApiKey) -> Result<(), StoreError> {
    let mut insert = batch.conn.prepare_cached(&format!(
        "INSERT INTO api_keys ({KEY_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    ))?;
    insert.execute(params![
        key.id.uuid().as_bytes(),
        key.workspace.number(),
        key.name,
        key.hash,
        key.hint,
        scope_bits(&key.scopes),
        key.created_at.ms(),
        key.expires_at.map(Timestamp::ms),
        key.revoked_at.map(Timestamp::ms),
    ])?;
    Ok(())
}

/// See [`crate::Store::api_key_by_hash`].
pub(super) fn key_by_hash(conn: &Connection, hash: [u8; 32]) -> Result<Option<ApiKey>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {KEY_COLUMNS} FROM api_keys WHERE hash = ?1"
    ))?;
    let mut rows = find.query([hash])?;
    Ok(rows.next()?.map(read_key).transpose()?)
}

/// See [`crate::Store::api_keys`].
pub(super) fn keys(conn: &Connection, workspace: WorkspaceId) -> Result<Vec<ApiKey>, StoreError> {
    let mut find = conn.prepare_cached(&format!(
        "SELECT {KEY_COLUMNS} FROM api_keys WHERE workspace = ?1 ORDER BY id DESC"
    ))?;
    let rows = find.query_map([workspace.number()], read_key)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// See [`crate::Store::revoke_api_key`].
pub(super) fn revoke_key(
    batch: &mut Batch<'_, '_>,
    workspace: WorkspaceId,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut revoke = batch.conn.prepare_cached(
        "UPDATE api_keys SET revoked_ms = ?3 WHERE workspace = ?1 AND id = ?2 AND revoked_ms IS NULL",
    )?;
    Ok(revoke.execute(params![workspace.number(), id.uuid().as_bytes(), now.ms()])? > 0)
}
