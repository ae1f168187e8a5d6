//! Pools of resources: units taken, given back, waited for.
//!
//! Whoever takes units, gives some back or waits for some locks the pool's row before all
//! executions. So who gives units back sees all that wait, and who begins to wait sees whether
//! units have come since it found too few: then it looks again after a while.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::{Client, Transaction};
use domain::{ExecutionId, Timestamp, WorkspaceId, execution::StepKey};

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
    /// name. Where a pool has too few, nothing is written.
    pub(super) async fn change(
        &mut self,
        tx: &Transaction<'_>,
        record: &Record,
    ) -> Result<Result<Vec<(String, u32)>, Recorded>, StoreError> {
        let mut concerned = BTreeSet::new();
        for given in &self.given {
            let units = self.own.remove(given).unwrap_or_default();
            if let Some(pool) = self.pools.get_mut(&given.0) {
                pool.taken -= units;
                concerned.insert(given.0.clone());
            }
        }
        // A run takes of a pool once: after a crash it is begun anew, and has its units already.
        let mut takes: BTreeMap<&str, BTreeMap<&StepKey, i64>> = BTreeMap::new();
        for take in &record.takes {
            let of_pool = takes.entry(&take.pool).or_default();
            *of_pool.entry(&take.step).or_default() += i64::from(take.units);
        }
        for (name, runs) in &takes {
            if let Err(free) = self.take(name, runs) {
                let pool = (*name).to_owned();
                return Ok(Err(Recorded::Short { pool, free }));
            }
            concerned.insert((*name).to_owned());
        }
        self.write(tx, record, &takes).await?;
        let free = concerned
            .into_iter()
            .filter_map(|name| self.pools.get(&name).map(free).map(|units| (name, units)));
        Ok(Ok(free.collect()))
    }

    /// Takes units of one pool for some runs, in place of what these have of it; or tells how many
    /// are free for them, if so many can ever be.
    fn take(&mut self, name: &str, runs: &BTreeMap<&StepKey, i64>) -> Result<(), Option<u32>> {
        let asked: i64 = runs.values().sum();
        let own = (self.own.iter())
            .filter(|((pool, step), _)| pool == name && runs.contains_key(step))
            .map(|(_, units)| units)
            .sum::<i64>();
        let pool = self.pools.get_mut(name).filter(|pool| pool.units >= asked);
        let pool = pool.ok_or(None)?;
        pool.taken -= own;
        if pool.taken + asked > pool.units {
            return Err(Some(free(pool)));
        }
        pool.taken += asked;
        Ok(())
    }

    /// Whether any of the pools that the record waits for has units free, or is no more.
    pub(super) fn has_some(&self, record: &Record) -> bool {
        record
            .waits_for
            .iter()
            .any(|name| self.pools.get(name).is_none_or(|pool| free(pool) > 0))
    }

    /// Writes what was given back, then what was taken.
    async fn write(
        &self,
        tx: &Transaction<'_>,
        record: &Record,
        takes: &BTreeMap<&str, BTreeMap<&StepKey, i64>>,
    ) -> Result<(), StoreError> {
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
        if takes.is_empty() {
            return Ok(());
        }
        let take = tx
            .prepare_cached(
                "INSERT INTO pool_units (workspace, execution, node, iteration, item, pool, units)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (workspace, execution, node, iteration, item, pool)
                 DO UPDATE SET units = excluded.units",
            )
            .await?;
        for (pool, runs) in takes {
            for (step, units) in runs {
                let (node, iteration, item) = step_columns(step);
                let units = i32::try_from(*units).unwrap_or(i32::MAX);
                tx.execute(
                    &take,
                    &[
                        &workspace,
                        &execution,
                        &node,
                        &iteration,
                        &item,
                        &stored(pool),
                        &units,
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

/// Writes down what an execution waits for from now on, in place of what it waited for before.
pub(super) async fn wait(tx: &Transaction<'_>, record: &Record) -> Result<(), StoreError> {
    let (workspace, execution) = (record.workspace.number(), record.execution.uuid());
    let pools: Vec<_> = record.waits_for.iter().map(|name| stored(name)).collect();
    let forget = tx
        .prepare_cached(
            "DELETE FROM pool_waits WHERE workspace = $1 AND execution = $2 AND pool <> ALL($3)",
        )
        .await?;
    tx.execute(&forget, &[&workspace, &execution, &pools])
        .await?;
    if pools.is_empty() {
        return Ok(());
    }
    let add = tx
        .prepare_cached(
            "INSERT INTO pool_waits (workspace, pool, execution)
             SELECT $1, w.pool, $2 FROM UNNEST($3::text[]) AS w (pool)
             ON CONFLICT (workspace, pool, execution) DO NOTHING",
        )
        .await?;
    tx.execute(&add, &[&workspace, &execution, &pools]).await?;
    Ok(())
}

/// Makes due at `at` (or as if long ago) what waits for units of these pools and nobody holds;
/// answers whether there was any. The pools are locked.
async fn wake(
    tx: &Transaction<'_>,
    workspace: WorkspaceId,
    names: &[&str],
    at: Option<Timestamp>,
) -> Result<bool, StoreError> {
    let names: Vec<_> = names.iter().map(|name| stored(name)).collect();
    let make_due = tx
        .prepare_cached(
            "UPDATE executions e SET due_ms = coalesce($3, e.created_ms)
             FROM (SELECT e.workspace, e.id FROM executions e
                   WHERE e.workspace = $1 AND e.held_by = 0 AND e.state IN (1, 2)
                     AND (e.due_ms IS NULL OR e.due_ms > coalesce($3, e.created_ms))
                     AND e.id IN (SELECT w.execution FROM pool_waits w WHERE w.workspace = $1 AND w.pool = ANY($2))
                   ORDER BY e.id FOR UPDATE OF e) waiting
             WHERE e.workspace = waiting.workspace AND e.id = waiting.id",
        )
        .await?;
    let due = tx
        .execute(
            &make_due,
            &[&workspace.number(), &names, &at.map(Timestamp::ms)],
        )
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
    let number = workspace.number();
    let lock = tx
        .prepare_cached("SELECT units FROM pools WHERE workspace = $1 AND name = $2 FOR UPDATE")
        .await?;
    let before = tx.query_opt(&lock, &[&number, &stored(name)]).await?;
    let put = tx
        .prepare_cached(
            "INSERT INTO pools (workspace, name, units) VALUES ($1, $2, $3)
             ON CONFLICT (workspace, name) DO UPDATE SET units = excluded.units",
        )
        .await?;
    tx.execute(&put, &[&number, &stored(name), &int(units)])
        .await?;
    let before: Option<i32> = before.map(|row| get(&row, 0)).transpose()?;
    if before.is_some_and(|before| int(units) <= before) {
        return Ok(false);
    }
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
