//! Answers kept for an `Idempotency-Key` of a request other than a publish.

use domain::WorkspaceId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{row::time, writer::Batch};
use crate::{KeptAnswer, StoreError};

/// See [`crate::Store::kept_answer`].
pub(super) fn find(
    conn: &Connection,
    workspace: WorkspaceId,
    key: &str,
) -> Result<Option<KeptAnswer>, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT request_hash, status, body, created_ms FROM kept_answers WHERE workspace = ?1 AND key = ?2",
    )?;
    let answer = find
        .query_row(params![workspace.number(), key], |row| {
            Ok(KeptAnswer {
                request_hash: row.get(0)?,
                status: row.get(1)?,
                body: row.get(2)?,
                created_at: time(row, 3)?,
            })
        })
        .optional()?;
    Ok(answer)
}

/// See [`crate::Store::keep_answer`].
pub(super) fn keep(
    batch: &mut Batch<'_, '_>,
    workspace: WorkspaceId,
    key: &str,
    answer: &KeptAnswer,
) -> Result<bool, StoreError> {
    let mut insert = batch.conn.prepare_cached(
        "INSERT INTO kept_answers (workspace, key, request_hash, status, body, created_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    )?;
    let inserted = insert.execute(params![
        workspace.number(),
        key,
        answer.request_hash,
        answer.status,
        answer.body,
        answer.created_at.ms(),
    ])?;
    Ok(inserted > 0)
}
