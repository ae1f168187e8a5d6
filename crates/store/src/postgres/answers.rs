//! Answers kept for an `Idempotency-Key` of a request other than a publish.

use deadpool_postgres::{Client, Transaction};
use domain::WorkspaceId;

use super::row::{corrupt, get, small, status, stored, time};
use crate::{KeptAnswer, StoreError};

/// See [`crate::Store::kept_answer`].
pub(super) async fn find(
    conn: &Client,
    workspace: WorkspaceId,
    key: &str,
) -> Result<Option<KeptAnswer>, StoreError> {
    let find = conn
        .prepare_cached(
            "SELECT request_hash, status, body, created_ms FROM kept_answers WHERE workspace = $1 AND key = $2",
        )
        .await?;
    let row = conn
        .query_opt(&find, &[&workspace.number(), &stored(key)])
        .await?;
    row.map(|row| {
        Ok(KeptAnswer {
            request_hash: get::<&[u8]>(&row, 0)?
                .try_into()
                .map_err(|_| corrupt("a hash"))?,
            status: status(&row, 1)?.ok_or_else(|| corrupt("a status"))?,
            body: get(&row, 2)?,
            created_at: time(&row, 3)?,
        })
    })
    .transpose()
}

/// See [`crate::Store::keep_answer`].
pub(super) async fn keep(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    key: &str,
    answer: &KeptAnswer,
) -> Result<bool, StoreError> {
    let insert = tx
        .prepare_cached(
            "INSERT INTO kept_answers (workspace, key, request_hash, status, body, created_ms)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .await?;
    let inserted = tx
        .execute(
            &insert,
            &[
                &workspace.number(),
                &stored(key),
                &&answer.request_hash[..],
                &small(answer.status.into()),
                &answer.body,
                &answer.created_at.ms(),
            ],
        )
        .await?;
    Ok(inserted > 0)
}
