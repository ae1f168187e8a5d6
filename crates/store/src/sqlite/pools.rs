//! Pools of resources: units taken all or none, given back, waited for.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Timestamp, WorkspaceId, execution::StepKey};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::writer::Batch;
use crate::{Pool, Record, Recorded, StoreError, Take};

/// How long after it left its holder an execution looks again for units of a pool that has some
/// free, in milliseconds.
const LOOK_AGAIN_MS: i64 = 1_000;

/// What each run wants of each pool, by name.
pub(super) type Wanted<'t> = BTreeMap<&'t str, BTreeMap<&'t StepKey, u32>>;

/// What a record takes.
pub(super) fn wanted(takes: &[Take]) -> Wanted<'_> {
    let mut wanted = Wanted::new();
    for take in takes {
        let units = wanted
            .entry(&take.pool)
            .or_default()
            .entry(&take.step)
            .or_default();
        *units = units.saturating_add(take.units);
    }
    wanted
}

/// The column `item`.
fn item(step: &StepKey) -> i64 {
    step.item.map_or(-1, i64::from)
}

/// The first pool that has too few units for what the execution in this row wants.
pub(super) fn short(
    conn: &Connection,
    execution: i64,
    record: &Record,
    wanted: &Wanted<'_>,
) -> Result<Option<Recorded>, StoreError> {
    for (pool, runs) in wanted {
        let short = |free| {
            Ok(Some(Recorded::Short {
                pool: (*pool).to_owned(),
                free,
            }))
        };
        let sum: i64 = runs.values().map(|units| i64::from(*units)).sum();
        let Some(free) = free(conn, record.workspace, pool)? else {
            return short(None);
        };
        if sum > free.of {
            return short(None);
        }
        // What it gives back with this, or takes anew, is free for it.
        let mut again = 0;
        for step in record
            .gives
            .iter()
            .chain(runs.keys().copied())
            .collect::<BTreeSet<_>>()
        {
            again += has(conn, record.workspace, pool, execution, step)?;
        }
        let left = (free.of - free.taken + again).max(0);
        if sum > left {
            return short(u32::try_from(left).ok());
        }
    }
    Ok(None)
}

struct Free {
    of: i64,
    taken: i64,
}

fn free(conn: &Connection, workspace: WorkspaceId, pool: &str) -> Result<Option<Free>, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT units, (SELECT coalesce(sum(units), 0) FROM pool_units WHERE workspace = ?1 AND pool = ?2)
         FROM pools WHERE workspace = ?1 AND name = ?2",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Free {
            of: row.get(0)?,
            taken: row.get(1)?,
        })
    };
    Ok(find
        .query_row(params![workspace.number(), pool], read)
        .optional()?)
}

/// How many units of a pool a run has.
fn has(
    conn: &Connection,
    workspace: WorkspaceId,
    pool: &str,
    execution: i64,
    step: &StepKey,
) -> Result<i64, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT units FROM pool_units
         WHERE workspace = ?1 AND pool = ?2 AND execution = ?3 AND node = ?4 AND iteration = ?5 AND item = ?6",
    )?;
    let values = params![
        workspace.number(),
        pool,
        execution,
        step.node,
        step.iteration,
        item(step)
    ];
    Ok(find
        .query_row(values, |row| row.get(0))
        .optional()?
        .unwrap_or(0))
}

/// Gives back what the record gives back, takes what it takes, and replaces what it waits for.
/// Answers the pools that units came back to.
pub(super) fn settle(
    conn: &Connection,
    execution: i64,
    record: &Record,
    wanted: &Wanted<'_>,
) -> Result<BTreeSet<String>, StoreError> {
    let mut given = BTreeSet::new();
    let mut give = conn.prepare_cached(
        "DELETE FROM pool_units WHERE execution = ?1 AND node = ?2 AND iteration = ?3 AND item = ?4
         RETURNING pool",
    )?;
    for step in &record.gives {
        let values = params![execution, step.node, step.iteration, item(step)];
        for pool in give.query_map(values, |row| row.get(0))? {
            given.insert(pool?);
        }
    }
    let mut take = conn.prepare_cached(
        "INSERT OR REPLACE INTO pool_units (workspace, pool, execution, node, iteration, item, units)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (pool, runs) in wanted {
        for (step, units) in runs {
            if has(conn, record.workspace, pool, execution, step)? > i64::from(*units) {
                given.insert((*pool).to_owned());
            }
            take.execute(params![
                record.workspace.number(),
                pool,
                execution,
                step.node,
                step.iteration,
                item(step),
                units
            ])?;
        }
    }
    conn.prepare_cached("DELETE FROM pool_waits WHERE execution = ?1")?
        .execute([execution])?;
    let mut wait = conn.prepare_cached(
        "INSERT OR IGNORE INTO pool_waits (workspace, pool, execution) VALUES (?1, ?2, ?3)",
    )?;
    for pool in &record.waits_for {
        wait.execute(params![record.workspace.number(), pool, execution])?;
    }
    Ok(given)
}

/// Gives back all that an execution has, and has it wait for nothing. Answers the pools.
pub(super) fn give_all(conn: &Connection, execution: i64) -> Result<Vec<String>, StoreError> {
    conn.prepare_cached("DELETE FROM pool_waits WHERE execution = ?1")?
        .execute([execution])?;
    let mut give =
        conn.prepare_cached("DELETE FROM pool_units WHERE execution = ?1 RETURNING pool")?;
    let pools = give.query_map([execution], |row| row.get(0))?;
    Ok(pools.collect::<Result<_, _>>()?)
}

/// When an execution that waits for units is to look again, since one of its pools has some.
pub(super) fn look_again(
    conn: &Connection,
    execution: i64,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT 1 FROM pool_waits w JOIN pools p ON p.workspace = w.workspace AND p.name = w.pool
         WHERE w.execution = ?1 AND p.units > (
             SELECT coalesce(sum(units), 0) FROM pool_units u
             WHERE u.workspace = w.workspace AND u.pool = w.pool)",
    )?;
    let again = Timestamp::from_ms(now.ms().saturating_add(LOOK_AGAIN_MS));
    Ok(find.exists([execution])?.then_some(again))
}

/// Makes what waits for a pool due.
pub(super) fn wake(
    batch: &Batch<'_, '_>,
    workspace: WorkspaceId,
    pool: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut wake = batch.conn.prepare_cached(
        "UPDATE executions SET due_ms = min(coalesce(due_ms, ?3), ?3)
         WHERE row IN (SELECT execution FROM pool_waits WHERE workspace = ?1 AND pool = ?2)
           AND held_by <> ?4",
    )?;
    wake.execute(params![workspace.number(), pool, now.ms(), batch.epoch])?;
    Ok(())
}

/// Units free in each of these pools that there is.
pub(super) fn free_of(
    conn: &Connection,
    workspace: WorkspaceId,
    pools: &BTreeSet<String>,
) -> Result<Vec<(String, u32)>, StoreError> {
    let mut all = Vec::with_capacity(pools.len());
    for pool in pools {
        if let Some(free) = free(conn, workspace, pool)? {
            let left = u32::try_from(free.of - free.taken).unwrap_or(0);
            all.push((pool.clone(), left));
        }
    }
    Ok(all)
}

/// See [`crate::Executions::put_pool`].
pub(super) fn put(
    batch: &Batch<'_, '_>,
    workspace: WorkspaceId,
    name: &str,
    units: u32,
) -> Result<(), StoreError> {
    let before = free(batch.conn, workspace, name)?.map_or(0, |free| free.of);
    let mut put = batch.conn.prepare_cached(
        "INSERT INTO pools (workspace, name, units) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET units = ?3",
    )?;
    put.execute(params![workspace.number(), name, units])?;
    if i64::from(units) > before {
        wake(batch, workspace, name, Timestamp::from_ms(0))?;
    }
    Ok(())
}

/// See [`crate::Executions::delete_pool`].
pub(super) fn delete(
    batch: &Batch<'_, '_>,
    workspace: WorkspaceId,
    name: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = params![workspace.number(), name];
    let conn = batch.conn;
    let removed = conn
        .prepare_cached("DELETE FROM pools WHERE workspace = ?1 AND name = ?2")?
        .execute(key)?;
    if removed == 0 {
        return Ok(false);
    }
    wake(batch, workspace, name, now)?;
    for table in ["pool_units", "pool_waits"] {
        conn.prepare_cached(&format!(
            "DELETE FROM {table} WHERE workspace = ?1 AND pool = ?2"
        ))?
        .execute(key)?;
    }
    Ok(true)
}

/// See [`crate::Executions::pools`].
pub(super) fn list(conn: &Connection, workspace: WorkspaceId) -> Result<Vec<Pool>, StoreError> {
    let mut find = conn.prepare_cached(
        "SELECT name, units, (SELECT coalesce(sum(u.units), 0) FROM pool_units u
                              WHERE u.workspace = p.workspace AND u.pool = p.name)
         FROM pools p WHERE workspace = ?1 ORDER BY name",
    )?;
    let pools = find.query_map([workspace.number()], |row| {
        Ok(Pool {
            name: row.get(0)?,
            units: row.get(1)?,
            taken: row.get(2)?,
        })
    })?;
    Ok(pools.collect::<Result<_, _>>()?)
}
