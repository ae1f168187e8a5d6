//! Retention of executions, receipts and versions: removes what is old in short steps.
//!
//! Each step looks at what was made before the limit, from the oldest on, workspace by workspace:
//! ids sort by time, so what is younger is never walked through. What must stay among the old
//! (what has not ended, and its receipts) is passed by each time: there is little of it.

use domain::{ExecutionId, Timestamp};
use rusqlite::{Connection, params};

use super::{
    executions::step_rows,
    row::{latest_id, limit},
    workflows::prune_versions,
};
use crate::{StoreError, run_columns::ids};

/// See [`crate::Executions::prune_executions`].
pub(super) fn prune(
    conn: &Connection,
    before: Timestamp,
    most: usize,
) -> Result<usize, StoreError> {
    let workspaces = conn
        .prepare_cached("SELECT id FROM workspaces ORDER BY id")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    let (mut executions, mut receipts) = (0, 0);
    for workspace in workspaces {
        executions += prune_executions(conn, workspace, before, most - executions)?;
        receipts += prune_receipts(conn, workspace, before, most - receipts)?;
    }
    match executions + receipts {
        // They are looked for once a pass, at its end.
        0 => prune_versions(conn, most),
        removed => Ok(removed),
    }
}

fn prune_executions(
    conn: &Connection,
    workspace: i64,
    before: Timestamp,
    most: usize,
) -> Result<usize, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT row FROM executions INDEXED BY executions_by_id
         WHERE workspace = ?1 AND id < ?2 AND ended_ms < ?3 ORDER BY id LIMIT ?4",
    )?;
    let end = latest_id(before);
    let old = find
        .query_map(
            params![workspace, end.as_bytes(), before.ms(), limit(most)],
            |row| row.get(0),
        )?
        .collect::<Result<Vec<i64>, _>>()?;
    let mut remove_steps = conn.prepare_cached("DELETE FROM steps WHERE row BETWEEN ?1 AND ?2")?;
    let mut remove = conn.prepare_cached("DELETE FROM executions WHERE row = ?1")?;
    for row in &old {
        let (first, last) = step_rows(*row);
        remove_steps.execute([first, last])?;
        remove.execute([row])?;
    }
    Ok(old.len())
}

fn prune_receipts(
    conn: &Connection,
    workspace: i64,
    before: Timestamp,
    most: usize,
) -> Result<usize, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT row, executions FROM receipts INDEXED BY receipts_by_id
         WHERE workspace = ?1 AND id < ?2 AND received_ms < ?3 ORDER BY id",
    )?;
    let end = latest_id(before);
    let mut rows = find.query(params![workspace, end.as_bytes(), before.ms()])?;
    let mut old: Vec<i64> = Vec::new();
    while old.len() < most
        && let Some(row) = rows.next()?
    {
        let bytes: Option<Vec<u8>> = row.get(1)?;
        let started = bytes.map_or(Ok(Vec::new()), |bytes| ids(&bytes))?;
        if are_old(conn, workspace, &started, before)? {
            old.push(row.get(0)?);
        }
    }
    let mut remove = conn.prepare_cached("DELETE FROM receipts WHERE row = ?1")?;
    for row in &old {
        remove.execute([row])?;
    }
    Ok(old.len())
}

/// Whether each of these executions is removed, or ended long ago.
fn are_old(
    conn: &Connection,
    workspace: i64,
    executions: &[ExecutionId],
    before: Timestamp,
) -> Result<bool, StoreError> {
    let mut young = conn.prepare_cached(
        "SELECT 1 FROM executions
         WHERE workspace = ?1 AND id = ?2 AND (ended_ms IS NULL OR ended_ms >= ?3)",
    )?;
    for id in executions {
        if young.exists(params![workspace, id.uuid().as_bytes(), before.ms()])? {
            return Ok(false);
        }
    }
    Ok(true)
}
