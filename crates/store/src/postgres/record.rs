//! What an execution has come to, written in one transaction.

use deadpool_postgres::Transaction;
use domain::{ExecutionId, Timestamp};

use super::{
    accept,
    codes::{execution_state_number, int, json_or_null, usage_columns},
    executions::{limited, start_in_turn},
    lease::fence,
    pools::{self, Units},
    row::get,
    signals, steps, turns,
};
use crate::{ExecutionChange, Record, Recorded, Signalled, Started, StoreError};

/// How soon an execution looks again for units that came while it did not wait yet, or that are
/// too few for it, in milliseconds.
const LOOK_AGAIN_MS: i64 = 1_000;

/// What became of a record.
pub(super) struct Outcome {
    pub(super) recorded: Recorded,
    /// Whether the lease had not ended.
    pub(super) alive: bool,
    /// Whether something is due, or is to hear something, that another node may hold or take up.
    pub(super) stirs: bool,
}

impl Outcome {
    /// Nothing was written.
    const fn unwritten(recorded: Recorded) -> Self {
        Self {
            recorded,
            alive: true,
            stirs: false,
        }
    }
}

/// See [`crate::Executions::record`].
pub(super) async fn record(tx: &Transaction<'_>, record: &Record) -> Result<Outcome, StoreError> {
    if !fence(tx, record.lease).await? {
        return Ok(Outcome {
            alive: false,
            ..Outcome::unwritten(Recorded::LeaseLost)
        });
    }
    let ends = record
        .change
        .as_ref()
        .is_some_and(|change| change.state.is_final());
    let mut units = Units::lock(tx, record, ends).await?;
    let turn = record.limit.filter(|_| ends);
    let workflows = limited(&record.starts).chain(turn.map(|(workflow, _)| workflow));
    turns::lock(tx, workflows).await?;
    if !lock_rows(tx, record).await? {
        return Ok(Outcome::unwritten(Recorded::LeaseLost));
    }
    let free = match units.change(tx, record).await? {
        Ok(free) => free,
        Err(short) => return Ok(Outcome::unwritten(short)),
    };
    steps::write(tx, record.workspace, record.execution, &record.steps).await?;
    signals::remove(tx, record.workspace, record.execution, &record.signals).await?;
    let mut stirs = apply(tx, record, ends, &units).await?;
    stirs |= units.wake(tx, record).await?;
    let started = start_in_turn(tx, &record.starts, Some(record.lease)).await?;
    stirs |= (record.starts.iter().zip(&started))
        .any(|(start, started)| !start.held && *started == Started::Running);
    stirs |= tell(tx, record).await?;
    if let Some((workflow, max)) = turn {
        stirs |= turns::pass_on(tx, record.workspace, workflow, max, record.now).await? > 0;
    }
    let accepted = accept::store_under(tx, &record.events, Some(record.lease)).await?;
    let recorded = Recorded::Written {
        accepted,
        started,
        free,
    };
    Ok(Outcome {
        recorded,
        alive: true,
        stirs,
    })
}

/// Locks the execution's row and those of the executions that it tells something, in the order of
/// their ids; answers whether the first is held under the record's lease.
async fn lock_rows(tx: &Transaction<'_>, record: &Record) -> Result<bool, StoreError> {
    let mut ids = vec![record.execution.uuid()];
    ids.extend(record.tells.iter().map(|(id, _)| id.uuid()));
    let lock = tx
        .prepare_cached(
            "SELECT id, held_by FROM executions WHERE workspace = $1 AND id = ANY($2)
             ORDER BY id FOR NO KEY UPDATE",
        )
        .await?;
    let rows = tx.query(&lock, &[&record.workspace.number(), &ids]).await?;
    for row in &rows {
        if ExecutionId::new(get(row, 0)?) == record.execution {
            return Ok(get::<i64>(row, 1)? == record.lease.0);
        }
    }
    Ok(false)
}

/// Writes what changes of the execution itself; answers whether it is due at once.
async fn apply(
    tx: &Transaction<'_>,
    record: &Record,
    ends: bool,
    units: &Units,
) -> Result<bool, StoreError> {
    if ends {
        forget(tx, record).await?;
    } else {
        pools::wait(tx, record).await?;
    }
    let Some(change) = &record.change else {
        return Ok(false);
    };
    let held = change.held && !ends;
    let (mut due, mut at_once) = (None, false);
    if held {
        due = Some(record.now);
    } else if !ends {
        due = change.due_at;
        if units.has_some(record) {
            let soon = Timestamp::from_ms(record.now.ms().saturating_add(LOOK_AGAIN_MS));
            due = Some(due.map_or(soon, |at| at.min(soon)));
        }
        at_once = has_signals(tx, record).await?;
        if at_once {
            due = Some(due.map_or(record.now, |at| at.min(record.now)));
        }
    }
    update(tx, record, change, held, due).await?;
    Ok(at_once)
}

async fn update(
    tx: &Transaction<'_>,
    record: &Record,
    change: &ExecutionChange,
    held: bool,
    due: Option<Timestamp>,
) -> Result<(), StoreError> {
    let update = tx
        .prepare_cached(
            "UPDATE executions
             SET state = $3, held_by = $4, due_ms = $5, started_ms = coalesce(started_ms, $6), ended_ms = $7,
                 result = $8, error = $9, steps = $10, tokens_in = $11, tokens_out = $12, cost_nanos = $13
             WHERE workspace = $1 AND id = $2",
        )
        .await?;
    let (tokens_in, tokens_out, cost_nanos) = usage_columns(change.usage);
    tx.execute(
        &update,
        &[
            &record.workspace.number(),
            &record.execution.uuid(),
            &execution_state_number(change.state),
            &if held { record.lease.0 } else { 0 },
            &due.map(Timestamp::ms),
            &change.started_at.map(Timestamp::ms),
            &change.ended_at.map(Timestamp::ms),
            &change.result.as_deref(),
            &json_or_null(change.error.as_ref())?,
            &int(change.steps),
            &tokens_in,
            &tokens_out,
            &cost_nanos,
        ],
    )
    .await?;
    Ok(())
}

/// Whether signals wait that were not taken up. The execution's row is locked, so none can come
/// meanwhile.
async fn has_signals(tx: &Transaction<'_>, record: &Record) -> Result<bool, StoreError> {
    let look = tx
        .prepare_cached("SELECT 1 FROM signals WHERE workspace = $1 AND execution = $2 LIMIT 1")
        .await?;
    let found = tx
        .query_opt(
            &look,
            &[&record.workspace.number(), &record.execution.uuid()],
        )
        .await?;
    Ok(found.is_some())
}

/// Forgets what an execution that has ended would still have heard of or waited for.
async fn forget(tx: &Transaction<'_>, record: &Record) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM signals WHERE workspace = $1 AND execution = $2",
        "DELETE FROM pool_waits WHERE workspace = $1 AND execution = $2",
    ] {
        let forget = tx.prepare_cached(sql).await?;
        tx.execute(
            &forget,
            &[&record.workspace.number(), &record.execution.uuid()],
        )
        .await?;
    }
    Ok(())
}

/// Leaves the signals for other executions; those that have ended need none. Answers whether any
/// is due or held elsewhere.
async fn tell(tx: &Transaction<'_>, record: &Record) -> Result<bool, StoreError> {
    let mut stirs = false;
    for (id, signal) in &record.tells {
        let told =
            signals::leave(tx, record.workspace, *id, signal, record.now, record.lease).await?;
        stirs |= matches!(told, Signalled::Due | Signalled::Held { here: false });
    }
    Ok(stirs)
}
