//! How values of workflows, executions and receipts stand in columns: small numbers and JSON.

use domain::{
    ExecutionId, SourceId, TriggerId,
    execution::{ExecutionState, Signal, StepState, Usage},
    intake::{Door, Outcome},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_postgres::Row;
use uuid::Uuid;

use super::row::{corrupt, get, integer, number, small, unsigned};
use crate::{StoreError, run_columns};

const GENERIC: i16 = 0;
const SOURCE: i16 = 1;
const TRIGGER: i16 = 2;

/// The column `executions.state`.
pub(super) fn execution_state_number(state: ExecutionState) -> i16 {
    small(run_columns::execution_state_number(state))
}

/// The column `executions.state`, read.
pub(super) fn execution_state(row: &Row, column: usize) -> Result<ExecutionState, StoreError> {
    run_columns::execution_state(number(row, column)?)
}

/// The column `steps.state`.
pub(super) fn step_state_number(state: StepState) -> i16 {
    small(run_columns::step_state_number(state))
}

/// The column `steps.state`, read.
pub(super) fn step_state(row: &Row, column: usize) -> Result<StepState, StoreError> {
    run_columns::step_state(number(row, column)?)
}

/// The column `receipts.outcome`.
pub(super) fn outcome_number(outcome: Outcome) -> i16 {
    small(run_columns::outcome_number(outcome))
}

/// The column `receipts.outcome`, read.
pub(super) fn outcome(row: &Row, column: usize) -> Result<Outcome, StoreError> {
    run_columns::outcome(number(row, column)?)
}

/// The columns `receipts.door` and `receipts.door_id`.
pub(super) const fn door_columns(door: Door) -> (i16, Uuid) {
    match door {
        Door::Generic => (GENERIC, Uuid::nil()),
        Door::Source(id) => (SOURCE, id.uuid()),
        Door::Trigger(id) => (TRIGGER, id.uuid()),
    }
}

/// The columns `receipts.door` and `receipts.door_id`, read.
pub(super) fn door(row: &Row, column: usize) -> Result<Door, StoreError> {
    let id = get(row, column + 1)?;
    match get(row, column)? {
        GENERIC => Ok(Door::Generic),
        SOURCE => Ok(Door::Source(SourceId::new(id))),
        TRIGGER => Ok(Door::Trigger(TriggerId::new(id))),
        _ => Err(corrupt("a receipt's door")),
    }
}

/// `signals.kind` of a stop.
pub(super) const STOP: i16 = 0;

/// The columns `signals.kind` and `signals.step`.
pub(super) fn signal_columns(signal: &Signal) -> (i16, Option<i32>) {
    let (kind, step) = run_columns::signal_kind(signal);
    (small(kind), step.map(int))
}

/// A value as JSON text. (JSON writes U+0000 as an escape, so a column can hold it.)
pub(super) fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    run_columns::to_json(value, "a record")
}

/// A value as JSON text, if there is one.
pub(super) fn json_or_null<T: Serialize>(value: Option<&T>) -> Result<Option<String>, StoreError> {
    value.map(json).transpose()
}

/// Reads JSON text.
pub(super) fn from_json<T: DeserializeOwned>(
    row: &Row,
    column: usize,
    what: &str,
) -> Result<T, StoreError> {
    run_columns::from_json(get(row, column)?, what)
}

/// Reads JSON text that may be missing.
pub(super) fn from_json_or_null<T: DeserializeOwned>(
    row: &Row,
    column: usize,
    what: &str,
) -> Result<Option<T>, StoreError> {
    get::<Option<&str>>(row, column)?
        .map(|json| run_columns::from_json(json, what))
        .transpose()
}

/// A count for an `INTEGER` column.
pub(super) fn int(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Reads a count from an `INTEGER` column.
pub(super) fn unsigned_32(row: &Row, column: usize) -> Result<u32, StoreError> {
    u32::try_from(get::<i32>(row, column)?).map_err(|_| corrupt("a number"))
}

/// Reads a count that may be missing.
pub(super) fn unsigned_32_or_null(row: &Row, column: usize) -> Result<Option<u32>, StoreError> {
    get::<Option<i32>>(row, column)?
        .map(u32::try_from)
        .transpose()
        .map_err(|_| corrupt("a number"))
}

/// The columns `tokens_in`, `tokens_out` and `cost_nanos`.
pub(super) fn usage_columns(usage: Usage) -> (i64, i64, i64) {
    (
        integer(usage.tokens_in),
        integer(usage.tokens_out),
        integer(usage.cost_nanos),
    )
}

/// The three columns of usage, read.
pub(super) fn usage(row: &Row, column: usize) -> Result<Usage, StoreError> {
    Ok(Usage {
        tokens_in: unsigned(row, column)?,
        tokens_out: unsigned(row, column + 1)?,
        cost_nanos: unsigned(row, column + 2)?,
    })
}

/// Ids as a column of an array.
pub(super) fn uuids(ids: &[ExecutionId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}
