//! Opening the file: whose it is, its schema, its settings, and the new lease.

use std::{
    fs::{DirBuilder, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use domain::{Timestamp, WorkspaceId};
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use rusqlite_migration::{M, Migrations};

use super::SqliteOptions;
use crate::StoreError;

/// What tells our files from other SQLite databases: `SPst`.
const APPLICATION_ID: i32 = 0x5350_7374;

/// The schema, one step after the other; a step that was released is never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_key_fingerprint.sql"),
    include_str!("migrations/0003_workflows.sql"),
];

/// The schema's version that this program writes.
pub(super) fn schema_version() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// Bytes of a page; measured (see the crate's benchmark).
const PAGE_BYTES: u32 = 4_096;
/// The writer's page cache, in KiB (negative: KiB rather than pages).
const CACHE_KIB: i64 = -65_536;
/// The log keeps at most this much of its file when it begins anew.
const LOG_KEPT_BYTES: i64 = 128 * 1024 * 1024;

/// What was found and set.
pub(super) struct Opened {
    pub(super) conn: Connection,
    pub(super) epoch: i64,
    pub(super) pending: i64,
    pub(super) next_attempt: i64,
}

/// Opens or makes the database at `path`, whose lock is held.
pub(super) fn open(path: &Path, options: &SqliteOptions) -> Result<Opened, StoreError> {
    let mut conn = connect(path).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => not_ours(path),
        _ => error.into(),
    })?;
    if is_new(&conn)? {
        conn.pragma_update(None, "page_size", options.page_bytes.unwrap_or(PAGE_BYTES))?;
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    check_schema_version(&conn)?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Failed(format!(
            "the file system does not allow a write-ahead log (journal mode {mode})"
        )));
    }
    Migrations::new(MIGRATIONS.iter().map(|sql| M::up(sql)).collect())
        .to_latest(&mut conn)
        .map_err(|error| {
            StoreError::Failed(format!(
                "the schema could not be brought up to date: {error}"
            ))
        })?;
    conn.pragma_update(None, "cache_size", CACHE_KIB)?;
    conn.pragma_update(None, "journal_size_limit", LOG_KEPT_BYTES)?;
    conn.set_prepared_statement_cache_capacity(256);
    let (epoch, pending) = next_lease(&conn, options.now)?;
    let next_attempt = conn.query_row(
        "SELECT coalesce(max(row), 0) + 1 FROM attempts",
        [],
        |row| row.get(0),
    )?;
    if let Some(pages) = options.pages_max {
        conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    Ok(Opened {
        conn,
        epoch,
        pending,
        next_attempt,
    })
}

/// Makes the folder of `path` where it is missing, for its owner only.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| StoreError::Failed(format!("{}: {error}", folder.display())))
}

/// Makes an empty file where there is none, for its owner only; SQLite gives the files that it
/// makes beside it the same mode.
pub(super) fn make_file(path: &Path) -> Result<(), StoreError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|error| StoreError::Failed(format!("{}: {error}", path.display())))
}

/// A connection with the settings that belong to each connection that writes.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // Checkpoints are made on purpose only.
    conn.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(()))?;
    Ok(conn)
}

/// Whether the file is still empty.
fn is_new(conn: &Connection) -> Result<bool, StoreError> {
    let id: i32 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let objects: i64 =
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match id {
        APPLICATION_ID => Ok(false),
        0 if objects == 0 => Ok(true),
        _ => Err(not_ours(Path::new(conn.path().unwrap_or_default()))),
    }
}

fn not_ours(path: &Path) -> StoreError {
    let path = path.display();
    StoreError::Failed(format!(
        "{path} is not a Signpost database: move it away or name another file"
    ))
}

fn check_schema_version(conn: &Connection) -> Result<(), StoreError> {
    let found: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = schema_version();
    match u32::try_from(found) {
        Ok(found) if found <= known => Ok(()),
        _ => Err(StoreError::Newer {
            found: u32::try_from(found).unwrap_or(u32::MAX),
            known,
        }),
    }
}

/// Makes this process the holder: the lease is the number of times that the file was opened.
fn next_lease(conn: &Connection, now: Timestamp) -> Result<(i64, i64), StoreError> {
    let tx = conn.unchecked_transaction()?;
    let lease = tx.query_row(
        "UPDATE installation SET epoch = epoch + 1 RETURNING epoch, pending",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    tx.execute(
        "INSERT INTO workspaces (id, name, created_ms) VALUES (?1, 'default', ?2) ON CONFLICT DO NOTHING",
        params![WorkspaceId::DEFAULT.number(), now.ms()],
    )?;
    tx.commit()?;
    Ok(lease)
}
