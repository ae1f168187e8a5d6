//! What an execution has come to: written whole, under the lease that holds it.

use std::collections::BTreeSet;

use domain::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::{
    events::accept,
    executions::put_step,
    pools,
    row::integer,
    signals,
    turns::{admit, begin},
    writer::Batch,
};
use crate::{
    ExecutionChange, Record, Recorded, StoreError,
    run_columns::{execution_state_number, to_json},
};

/// See [`crate::Executions::record`].
pub(super) fn record(batch: &mut Batch<'_, '_>, record: &Record) -> Result<Recorded, StoreError> {
    let Some((row, has_more)) = held(batch, record)? else {
        return Ok(Recorded::LeaseLost);
    };
    let wanted = pools::wanted(&record.takes);
    if let Some(short) = pools::short(batch.conn, row, record, &wanted)? {
        return Ok(short);
    }
    for step in &record.steps {
        put_step(batch, row, step)?;
    }
    signals::take_up(batch.conn, row, &record.signals)?;
    let gets_more = !record.takes.is_empty() || !record.waits_for.is_empty();
    let mut touched: BTreeSet<String> = wanted.keys().map(|pool| (*pool).to_owned()).collect();
    let mut given = BTreeSet::new();
    if has_more || gets_more {
        given = pools::settle(batch.conn, row, record, &wanted)?;
    }
    if gets_more && !has_more {
        batch
            .conn
            .prepare_cached("UPDATE executions SET has_more = 1 WHERE row = ?1")?
            .execute([row])?;
    }
    if let Some(change) = &record.change {
        let more = has_more || gets_more;
        if more && change.state.is_final() {
            signals::drop_all(batch.conn, row)?;
            given.extend(pools::give_all(batch.conn, row)?);
        }
        apply(batch, row, record, change, more)?;
    }
    for pool in &given {
        pools::wake(batch, record.workspace, pool, record.now)?;
    }
    touched.append(&mut given);
    follow(batch, record, &touched)
}

/// What follows from it for others.
fn follow(
    batch: &mut Batch<'_, '_>,
    record: &Record,
    touched: &BTreeSet<String>,
) -> Result<Recorded, StoreError> {
    let ends = record
        .change
        .as_ref()
        .is_some_and(|change| change.state.is_final());
    if let Some((workflow, max)) = record.limit
        && ends
    {
        admit(batch, record.workspace, workflow, max, record.now)?;
    }
    let mut started = Vec::with_capacity(record.starts.len());
    for start in &record.starts {
        started.push(begin(batch, start)?);
    }
    for (execution, signal) in &record.tells {
        signals::signal(batch, record.workspace, *execution, signal, record.now)?;
    }
    Ok(Recorded::Written {
        accepted: accept(batch, &record.events)?,
        started,
        free: pools::free_of(batch.conn, record.workspace, touched)?,
    })
}

/// The row of the execution and whether it has more, if the record's lease holds it.
fn held(batch: &mut Batch<'_, '_>, record: &Record) -> Result<Option<(i64, bool)>, StoreError> {
    if record.lease.0 != batch.epoch {
        return Ok(None);
    }
    let id = record.execution.uuid();
    let key = params![record.workspace.number(), id.as_bytes(), batch.epoch];
    Ok(batch
        .hot
        .held_execution
        .query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

fn apply(
    batch: &mut Batch<'_, '_>,
    row: i64,
    record: &Record,
    change: &ExecutionChange,
    more: bool,
) -> Result<(), StoreError> {
    let ended = change.state.is_final();
    let held = change.held && !ended;
    let due = match (ended, held) {
        (true, _) => None,
        (_, true) => Some(record.now),
        _ => due(batch, row, record.now, change.due_at, more)?,
    };
    let error = change
        .error
        .as_ref()
        .map(|error| to_json(error, "an execution's error"))
        .transpose()?;
    batch.hot.change_execution.execute(params![
        row,
        execution_state_number(change.state),
        if held { batch.epoch } else { 0 },
        due.map(Timestamp::ms),
        change.started_at.map(Timestamp::ms),
        change.ended_at.map(Timestamp::ms),
        change.steps,
        integer(change.usage.tokens_in),
        integer(change.usage.tokens_out),
        integer(change.usage.cost_nanos),
        error,
        change.result.as_deref(),
    ])?;
    Ok(())
}

/// When an execution that leaves its holder is due.
fn due(
    batch: &Batch<'_, '_>,
    row: i64,
    now: Timestamp,
    due_at: Option<Timestamp>,
    more: bool,
) -> Result<Option<Timestamp>, StoreError> {
    if !more {
        return Ok(due_at);
    }
    let by_signal = signals::any(batch.conn, row)?.then_some(now);
    let by_units = pools::look_again(batch.conn, row, now)?;
    Ok([due_at, by_signal, by_units].into_iter().flatten().min())
}
