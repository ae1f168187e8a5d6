//! Pools of resources: units taken, given back, waited for.
//!
//! Whoever takes units, gives some back or begins to wait for some locks the pool's row before all
//! executions. So between a take that found too few and the wait for more no units come back
//! unseen: the take leaves a row in `pool_waits`, and who gives units back marks it as woken.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::{Client, Transaction};
use domain::{ExecutionId, Timestamp, WorkspaceId, execution::StepKey};
use uuid::Uuid;

use super::{
    codes::{int, unsigned_32},
    row::{get, stored, text},
};
use crate::{Pool, Record, Recorded, StoreError};

/// `pool_units.item` of a node that is not a list's.
const NO_ITEM: i32 = -1;

/// A pool whose row is locked.
struct Locked {
    units: i64,
    /// Taken by everybody.
    taken: i64,
}

/// The pools that a record has to do with, and the units that its execution has.
#[derive(Default)]
pub(super) struct Units {
    pools: BTreeMap<String, Locked>,
    own: BTreeMap<(String, StepKey), i64>,
    given: Vec<(String, StepKey)>,
}

impl Units {
    /// Locks the pools by name, and reads how things stand there.
    pub(super) async fn lock(
        tx: &Transaction<'_>,
        record: &Record,
        ends: bool,
    ) -> Result<Self, StoreError> {
        let mut units = Self::default();
        let touches = !(record.takes.is_empty() && record.gives.is_empty());
        if !ends && !touches && record.waits_for.is_empty() {
            return Ok(units);
        }
        units.own = own(tx, record.workspace, record.execution).await?;
        let given = units
            .own
            .keys()
            .filter(|(_, step)| ends || record.gives.contains(step));
        units.given = given.cloned().collect();
        let names: BTreeSet<&str> = (record.takes.iter().map(|take| take.pool.as_str()))
            .chain(units.given.iter().map(|(pool, _)| pool.as_str()))
            .chain(record.waits_for.iter().map(String::as_str))
            .collect();
        if !names.is_empty() {
            units.pools = lock(tx, record.workspace, &names).await?;
        }
        Ok(units)
    }

    /// Gives back and takes what the record says; what is free then in the pools concerned, by
    /// name. Where a pool has too few, nothing is written but that the execution found it so.
    pub(super) async fn change(
        &mut self,
        tx: &Transaction<'_>,
        record: &Record,
    ) -> Result<Result<Vec<(String, u32)>, Recorded>, StoreError> {
        let before: BTreeMap<_, _> = (self.pools.iter())
            .map(|(name, pool)| (name.clone(), free(pool)))
            .collect();
        let mut concerned = BTreeSet::new();
        for given in &self.given {
            let units = self.own.remove(given).unwrap_or_default();
            if let Some(pool) = self.pools.get_mut(&given.0) {
                pool.taken -= units;
                concerned.insert(given.0.clone());
            }
        }
        for take in &record.takes {
            let key = (take.pool.clone(), take.step.clone());
            let asked = i64::from(take.units);
            // A run that is made anew after a crash has its units already.
            let more = asked - self.own.get(&key).copied().unwrap_or_default();
            let Some(pool) = (self.pools.get_mut(&take.pool)).filter(|pool| pool.units >= asked)
            else {
                return Ok(Err(Recorded::Short {
                    pool: take.pool.clone(),
                    free: None,
                }));
            };
            if more > 0 && pool.taken + more > pool.units {
                found_short(tx, record, &take.pool).await?;
                return Ok(Err(Recorded::Short {
                    pool: take.pool.clone(),
                    free: before.get(&take.pool).copied(),
                }));
            }
            pool.taken += more;
            self.own.insert(key, asked);
            concerned.insert(take.pool.clone());
        }
        self.write(tx, record).await?;
        let free = concerned
            .into_iter()
            .filter_map(|name| Some((self.pools.get(&name).map(free)?, name)));
        Ok(Ok(free.map(|(units, name)| (name, units)).collect()))
    }

    /// Writes what was given back, then what was taken.
    async fn write(&self, tx: &Transaction<'_>, record: &Record) -> Result<(), StoreError> {
        let (workspace, execution) = (record.workspace.number(), record.execution.uuid());
        if !self.given.is_empty() {
            let give = tx
                .prepare_cached(
                    "DELETE FROM pool_units WHERE workspace = $1 AND execution = $2
                     AND node = $3 AND iteration = $4 AND item = $5 AND pool = $6",
                )
                .await?;
            for (pool, step) in &self.given {
                let (node, iteration, item) = step_columns(step);
                tx.execute(
                    &give,
                    &[
                        &workspace,
                        &execution,
                        &node,
                        &iteration,
                        &item,
                        &stored(pool),
                    ],
                )
                .await?;
            }
        }
        if !record.takes.is_empty() {
            let take = tx
                .prepare_cached(
                    "INSERT INTO pool_units (workspace, execution, node, iteration, item, pool, units)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)
                     ON CONFLICT (workspace, execution, node, iteration, item, pool)
                     DO UPDATE SET units = excluded.units",
                )
                .await?;
            for taken in &record.takes {
                let (node, iteration, item) = step_columns(&taken.step);
                tx.execute(
                    &take,
                    &[
                        &workspace,
                        &execution,
                        &node,
                        &iteration,
                        &item,
                        &stored(&taken.pool),
                        &int(taken.units),
                    ],
                )
                .await?;
            }
        }
        Ok(())
    }

    /// Makes due what waits for units of the pools that some were given back to; answers whether
    /// anything did.
    pub(super) async fn wake(
        &self,
        tx: &Transaction<'_>,
        record: &Record,
    ) -> Result<bool, StoreError> {
        let mut names: Vec<&str> = self.given.iter().map(|(pool, _)| pool.as_str()).collect();
        names.dedup();
        if names.is_empty() {
            return Ok(false);
        }
        wake(tx, record.workspace, &names, Some(record.now)).await
    }
}

fn free(pool: &Locked) -> u32 {
    u32::try_from((pool.units - pool.taken).max(0)).unwrap_or(u32::MAX)
}

fn step_columns(step: &StepKey) -> (std::borrow::Cow<'_, str>, i32, i32) {
    let item = step.item.map_or(NO_ITEM, int);
    (stored(&step.node), int(step.iteration), item)
}

/// The units that an execution has.
async fn own(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    execution: ExecutionId,
) -> Result<BTreeMap<(String, StepKey), i64>, StoreError> {
    let find = tx
        .prepare_cached(
            "SELECT pool, node, iteration, item, units FROM pool_units WHERE workspace = $1 AND execution = $2",
        )
        .await?;
    let rows = tx
        .query(&find, &[&workspace.number(), &execution.uuid()])
        .await?;
    rows.iter()
        .map(|row| {
            let step = StepKey {
                node: text(row, 1)?,
                iteration: unsigned_32(row, 2)?,
                item: u32::try_from(get::<i32>(row, 3)?).ok(),
            };
            Ok(((text(row, 0)?, step), get::<i32>(row, 4)?.into()))
        })
        .collect()
}

/// Locks pools by name; those that there are, and how much of each is taken.
async fn lock(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    names: &BTreeSet<&str>,
) -> Result<BTreeMap<String, Locked>, StoreError> {
    let names: Vec<_> = names.iter().map(|name| stored(name)).collect();
    let lock = tx
        .prepare_cached(
            "SELECT name, units FROM pools WHERE workspace = $1 AND name = ANY($2) ORDER BY name FOR UPDATE",
        )
        .await?;
    // In a statement of its own, which sees all that was committed before the lock was had.
    let count = tx
        .prepare_cached(
            "SELECT pool, sum(units)::bigint FROM pool_units WHERE workspace = $1 AND pool = ANY($2) GROUP BY pool",
        )
        .await?;
    let mut pools = BTreeMap::new();
    for row in tx.query(&lock, &[&workspace.number(), &names]).await? {
        let units = get::<i32>(&row, 1)?.into();
        pools.insert(text(&row, 0)?, Locked { units, taken: 0 });
    }
    for row in tx.query(&count, &[&workspace.number(), &names]).await? {
        if let Some(pool) = pools.get_mut(&text(&row, 0)?) {
            pool.taken = get(&row, 1)?;
        }
    }
    Ok(pools)
}

/// Leaves word that an execution found too few units: who gives some back from now on wakes it.
async fn found_short(tx: &Transaction<'_>, record: &Record, pool: &str) -> Result<(), StoreError> {
    let leave = tx
        .prepare_cached(
            "INSERT INTO pool_waits (workspace, pool, execution, woken) VALUES ($1, $2, $3, FALSE)
             ON CONFLICT (workspace, pool, execution) DO UPDATE SET woken = FALSE",
        )
        .await?;
    tx.execute(
        &leave,
        &[
            &record.workspace.number(),
            &stored(pool),
            &record.execution.uuid(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes down what an execution waits for from now on, beside what it waited for already; one
/// that is put down (`rests`) waits for nothing else. Answers whether some of it has come.
pub(super) async fn wait(
    tx: &Transaction<'_>,
    record: &Record,
    rests: bool,
) -> Result<bool, StoreError> {
    let (workspace, execution) = (record.workspace.number(), record.execution.uuid());
    let pools: Vec<_> = record.waits_for.iter().map(|name| stored(name)).collect();
    if rests {
        let forget = tx
            .prepare_cached(
                "DELETE FROM pool_waits WHERE workspace = $1 AND execution = $2 AND pool <> ALL($3)",
            )
            .await?;
        tx.execute(&forget, &[&workspace, &execution, &pools])
            .await?;
    }
    if pools.is_empty() {
        return Ok(false);
    }
    let add = tx
        .prepare_cached(
            // Of a pool that is gone it must hear at once.
            "INSERT INTO pool_waits (workspace, pool, execution, woken)
             SELECT $1, w.pool, $2, NOT EXISTS (SELECT 1 FROM pools p WHERE p.workspace = $1 AND p.name = w.pool)
             FROM UNNEST($3::text[]) AS w (pool)
             ON CONFLICT (workspace, pool, execution) DO NOTHING",
        )
        .await?;
    tx.execute(&add, &[&workspace, &execution, &pools]).await?;
    let look = tx
        .prepare_cached(
            "SELECT 1 FROM pool_waits WHERE workspace = $1 AND execution = $2 AND woken LIMIT 1",
        )
        .await?;
    let woken = tx.query_opt(&look, &[&workspace, &execution]).await?;
    Ok(woken.is_some())
}

/// Marks what waits for units of these pools, and makes due at `at` (or long ago) what of it
/// nobody holds; answers whether there was any. The pools are locked.
async fn wake(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    names: &[&str],
    at: Option<Timestamp>,
) -> Result<bool, StoreError> {
    let workspace = workspace.number();
    let names: Vec<_> = names.iter().map(|name| stored(name)).collect();
    let mark = tx
        .prepare_cached(
            "UPDATE pool_waits SET woken = TRUE WHERE workspace = $1 AND pool = ANY($2) AND NOT woken
             RETURNING execution",
        )
        .await?;
    let rows = tx.query(&mark, &[&workspace, &names]).await?;
    let waiting = rows
        .iter()
        .map(|row| get(row, 0))
        .collect::<Result<Vec<Uuid>, _>>()?;
    if waiting.is_empty() {
        return Ok(false);
    }
    let make_due = tx
        .prepare_cached(
            "UPDATE executions e SET due_ms = coalesce($3, e.created_ms)
             FROM (SELECT workspace, id FROM executions
                   WHERE workspace = $1 AND id = ANY($2) AND held_by = 0 AND state IN (1, 2)
                     AND (due_ms IS NULL OR due_ms > $3 OR $3 IS NULL)
                   ORDER BY id FOR UPDATE) w
             WHERE e.workspace = w.workspace AND e.id = w.id",
        )
        .await?;
    let due = tx
        .execute(&make_due, &[&workspace, &waiting, &at.map(Timestamp::ms)])
        .await?;
    Ok(due > 0)
}

/// See [`crate::Executions::put_pool`]; answers whether anything that waited is due.
pub(super) async fn put(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    name: &str,
    units: u32,
) -> Result<bool, StoreError> {
    let put = tx
        .prepare_cached(
            "INSERT INTO pools (workspace, name, units) VALUES ($1, $2, $3)
             ON CONFLICT (workspace, name) DO UPDATE SET units = excluded.units",
        )
        .await?;
    tx.execute(&put, &[&workspace.number(), &stored(name), &int(units)])
        .await?;
    // There may be more now.
    wake(tx, workspace, &[name], None).await
}

/// See [`crate::Executions::delete_pool`].
pub(super) async fn delete(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    name: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let number = workspace.number();
    let delete = tx
        .prepare_cached("DELETE FROM pools WHERE workspace = $1 AND name = $2")
        .await?;
    if tx.execute(&delete, &[&number, &stored(name)]).await? == 0 {
        return Ok(false);
    }
    let free = tx
        .prepare_cached("DELETE FROM pool_units WHERE workspace = $1 AND pool = $2")
        .await?;
    tx.execute(&free, &[&number, &stored(name)]).await?;
    wake(tx, workspace, &[name], Some(now)).await?;
    Ok(true)
}

/// See [`crate::Executions::pools`].
pub(super) async fn list(conn: &Client, workspace: WorkspaceId) -> Result<Vec<Pool>, StoreError> {
    let find = conn
        .prepare_cached(
            "SELECT p.name, p.units, (SELECT coalesce(sum(u.units), 0) FROM pool_units u
                                      WHERE u.workspace = p.workspace AND u.pool = p.name)::bigint
             FROM pools p WHERE p.workspace = $1 ORDER BY p.name COLLATE \"C\"",
        )
        .await?;
    let rows = conn.query(&find, &[&workspace.number()]).await?;
    rows.iter()
        .map(|row| {
            Ok(Pool {
                name: text(row, 0)?,
                units: unsigned_32(row, 1)?,
                taken: u32::try_from(get::<i64>(row, 2)?).unwrap_or(u32::MAX),
            })
        })
        .collect()
}
