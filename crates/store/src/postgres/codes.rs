//! How values of workflows, executions and receipts stand in columns: small numbers and JSON.

use domain::{
    ExecutionId, SourceId, TriggerId,
    execution::{ExecutionState, Signal, StepState, Usage},
    intake::{Door, Outcome},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_postgres::Row;
use uuid::Uuid;

use super::row::{corrupt, get, integer, limit, small, unsigned};
use crate::StoreError;

/// In the order of their numbers.
const EXECUTION_STATES: [ExecutionState; 6] = [
    ExecutionState::Pending,
    ExecutionState::Running,
    ExecutionState::Waiting,
    ExecutionState::Completed,
    ExecutionState::Failed,
    ExecutionState::Stopped,
];
const STEP_STATES: [StepState; 8] = [
    StepState::Waiting,
    StepState::Blocked,
    StepState::Completed,
    StepState::Failed,
    StepState::Cancelled,
    StepState::Skipped,
    StepState::Retried,
    StepState::Resumed,
];
const OUTCOMES: [Outcome; 6] = [
    Outcome::Started,
    Outcome::Ignored,
    Outcome::Duplicate,
    Outcome::Challenge,
    Outcome::Refused,
    Outcome::Failed,
];

const GENERIC: i16 = 0;
const SOURCE: i16 = 1;
const TRIGGER: i16 = 2;

fn number_of<T: PartialEq>(all: &[T], one: &T) -> i16 {
    all.iter()
        .position(|other| other == one)
        .map_or(-1, |index| small(limit(index)))
}

fn one_of<T: Copy>(all: &[T], number: i16, what: &str) -> Result<T, StoreError> {
    usize::try_from(number)
        .ok()
        .and_then(|index| all.get(index).copied())
        .ok_or_else(|| corrupt(what))
}

/// The column `executions.state`.
pub(super) fn execution_state_number(state: ExecutionState) -> i16 {
    number_of(&EXECUTION_STATES, &state)
}

/// The column `executions.state`, read.
pub(super) fn execution_state(row: &Row, column: usize) -> Result<ExecutionState, StoreError> {
    one_of(&EXECUTION_STATES, get(row, column)?, "an execution's state")
}

/// The column `steps.state`.
pub(super) fn step_state_number(state: StepState) -> i16 {
    number_of(&STEP_STATES, &state)
}

/// The column `steps.state`, read.
pub(super) fn step_state(row: &Row, column: usize) -> Result<StepState, StoreError> {
    one_of(&STEP_STATES, get(row, column)?, "a step's state")
}

/// The column `receipts.outcome`.
pub(super) fn outcome_number(outcome: Outcome) -> i16 {
    number_of(&OUTCOMES, &outcome)
}

/// The column `receipts.outcome`, read.
pub(super) fn outcome(row: &Row, column: usize) -> Result<Outcome, StoreError> {
    one_of(&OUTCOMES, get(row, column)?, "a receipt's outcome")
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
pub(super) const fn signal_columns(signal: &Signal) -> (i16, Option<u32>) {
    match signal {
        Signal::Stop { .. } => (STOP, None),
        Signal::Retry { .. } => (1, None),
        Signal::Approval { step, .. } => (2, Some(*step)),
        Signal::Callback { step, .. } => (3, Some(*step)),
        Signal::Ended { .. } => (4, None),
    }
}

/// A value as JSON text. (JSON writes U+0000 as an escape, so a column can hold it.)
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Failed(format!("a record that is no JSON: {error}")))
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
    serde_json::from_str(get(row, column)?).map_err(|error| corrupt(&format!("{what} ({error})")))
}

/// Reads JSON text that may be missing.
pub(super) fn from_json_or_null<T: DeserializeOwned>(
    row: &Row,
    column: usize,
    what: &str,
) -> Result<Option<T>, StoreError> {
    get::<Option<&str>>(row, column)?
        .map(serde_json::from_str)
        .transpose()
        .map_err(|error| corrupt(&format!("{what} ({error})")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_that_the_schema_names() {
        let schema = include_str!("migrations/0002_workflows.sql");
        let listed = |names: &[&str]| {
            let numbered: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(number, name)| format!("{number} {name}"))
                .collect();
            schema.contains(&format!("-- {}\n", numbered.join(", ")))
                || schema.contains(&format!(" {}\n", numbered.join(", ")))
        };
        assert!(listed(&EXECUTION_STATES.map(ExecutionState::as_str)));
        assert!(listed(&STEP_STATES.map(StepState::as_str)));
        assert!(listed(&OUTCOMES.map(Outcome::as_str)));
    }
}
