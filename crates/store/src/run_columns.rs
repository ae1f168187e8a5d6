//! How the values of receipts, executions and their steps stand in columns: enumerations as small
//! integers, doors and lists of ids as bytes, what is seldom asked for as JSON.

use domain::{
    ExecutionId, SourceId, TriggerId,
    execution::{ExecutionState, Signal, StepState},
    intake::{Door, Outcome},
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{StoreError, columns::corrupt};

const EXECUTION_STATES: [ExecutionState; 6] = [
    ExecutionState::Pending,
    ExecutionState::Running,
    ExecutionState::Waiting,
    ExecutionState::Completed,
    ExecutionState::Failed,
    ExecutionState::Stopped,
];

/// An execution's state as a column: what has not ended is at most 2, what went wrong at least 4.
pub(crate) const fn execution_state_number(state: ExecutionState) -> i64 {
    match state {
        ExecutionState::Pending => 0,
        ExecutionState::Running => 1,
        ExecutionState::Waiting => 2,
        ExecutionState::Completed => 3,
        ExecutionState::Failed => 4,
        ExecutionState::Stopped => 5,
    }
}

/// An execution's state, read.
pub(crate) fn execution_state(number: i64) -> Result<ExecutionState, StoreError> {
    named(&EXECUTION_STATES, number, "an execution's state")
}

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

/// A step's state as a column.
pub(crate) const fn step_state_number(state: StepState) -> i64 {
    match state {
        StepState::Waiting => 0,
        StepState::Blocked => 1,
        StepState::Completed => 2,
        StepState::Failed => 3,
        StepState::Cancelled => 4,
        StepState::Skipped => 5,
        StepState::Retried => 6,
        StepState::Resumed => 7,
    }
}

/// A step's state, read.
pub(crate) fn step_state(number: i64) -> Result<StepState, StoreError> {
    named(&STEP_STATES, number, "a step's state")
}

const OUTCOMES: [Outcome; 6] = [
    Outcome::Started,
    Outcome::Ignored,
    Outcome::Duplicate,
    Outcome::Challenge,
    Outcome::Refused,
    Outcome::Failed,
];

/// A request's outcome as a column: those that deduplicate are at most 1.
pub(crate) const fn outcome_number(outcome: Outcome) -> i64 {
    match outcome {
        Outcome::Started => 0,
        Outcome::Ignored => 1,
        Outcome::Duplicate => 2,
        Outcome::Challenge => 3,
        Outcome::Refused => 4,
        Outcome::Failed => 5,
    }
}

/// A request's outcome, read.
pub(crate) fn outcome(number: i64) -> Result<Outcome, StoreError> {
    named(&OUTCOMES, number, "a request's outcome")
}

fn named<T: Copy>(all: &[T], number: i64, what: &str) -> Result<T, StoreError> {
    usize::try_from(number)
        .ok()
        .and_then(|index| all.get(index).copied())
        .ok_or_else(|| corrupt(what))
}

/// Where a request came in, as a column: its kind, and its id.
pub(crate) fn door_bytes(door: Door) -> Vec<u8> {
    let (kind, id) = match door {
        Door::Generic => (0, None),
        Door::Source(id) => (1, Some(id.uuid())),
        Door::Trigger(id) => (2, Some(id.uuid())),
    };
    let mut bytes = vec![kind];
    bytes.extend(id.iter().flat_map(Uuid::as_bytes));
    bytes
}

/// Where a request came in, read.
pub(crate) fn door(bytes: &[u8]) -> Result<Door, StoreError> {
    let unreadable = || corrupt("where a request came in");
    let (kind, id) = bytes.split_first().ok_or_else(unreadable)?;
    match (kind, Uuid::from_slice(id)) {
        (0, _) if id.is_empty() => Ok(Door::Generic),
        (1, Ok(id)) => Ok(Door::Source(SourceId::new(id))),
        (2, Ok(id)) => Ok(Door::Trigger(TriggerId::new(id))),
        _ => Err(unreadable()),
    }
}

/// Ids one behind the other.
pub(crate) fn id_bytes(ids: &[ExecutionId]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.uuid().into_bytes()).collect()
}

/// Ids, read.
pub(crate) fn ids(bytes: &[u8]) -> Result<Vec<ExecutionId>, StoreError> {
    let (ids, rest) = bytes.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(corrupt("ids of executions"));
    }
    let id = |bytes: &[u8; 16]| ExecutionId::new(Uuid::from_bytes(*bytes));
    Ok(ids.iter().map(id).collect())
}

/// A signal's kind as a column, with the number of the step that it answers.
pub(crate) const fn signal_kind(signal: &Signal) -> (i64, Option<u32>) {
    match signal {
        Signal::Stop { .. } => (0, None),
        Signal::Retry { .. } => (1, None),
        Signal::Approval { step, .. } | Signal::Callback { step, .. } => (2, Some(*step)),
        Signal::Ended { .. } => (3, None),
    }
}

/// A value as JSON.
pub(crate) fn to_json<T: Serialize>(value: &T, what: &str) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Failed(format!("{what} that is no JSON: {error}")))
}

/// A value, read from JSON.
pub(crate) fn from_json<T: DeserializeOwned>(json: &str, what: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|_| corrupt(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        for state in EXECUTION_STATES {
            assert_eq!(execution_state(execution_state_number(state)), Ok(state));
            assert_eq!(execution_state_number(state) > 2, state.is_final());
        }
        for state in STEP_STATES {
            assert_eq!(step_state(step_state_number(state)), Ok(state));
        }
        for one in OUTCOMES {
            assert_eq!(outcome(outcome_number(one)), Ok(one));
        }
        assert!(execution_state(6).is_err() && step_state(-1).is_err() && outcome(6).is_err());
    }

    #[test]
    fn doors_read_back_and_others_are_refused() {
        let id = Uuid::from_u128(7);
        for one in [
            Door::Generic,
            Door::Source(SourceId::new(id)),
            Door::Trigger(TriggerId::new(id)),
        ] {
            assert_eq!(door(&door_bytes(one)), Ok(one));
        }
        for bytes in [&b""[..], b"\x01", b"\x03", b"\x00\x01"] {
            assert!(door(bytes).is_err(), "{bytes:?}");
        }
        assert!(ids(&[0; 17]).is_err());
    }
}
