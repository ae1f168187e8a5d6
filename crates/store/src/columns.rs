//! How values stand in columns, the same in every database: times as milliseconds since 1970,
//! enumerations as small integers.

use domain::{
    DeliveryId, Timestamp,
    access::{Role, Scope},
    attempt::ErrorClass,
    delivery::DeliveryState,
};
use uuid::Uuid;

use crate::StoreError;

/// A column that holds what this program never writes.
pub(crate) fn corrupt(what: &str) -> StoreError {
    StoreError::Failed(format!("the database holds {what} that cannot be read"))
}

/// A count from a database column, which is never negative.
pub(crate) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A count for a database column.
pub(crate) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A limit for a `LIMIT` clause.
pub(crate) fn limit(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The least UUID of version 7 that can have been made at `at`: ids of records made at or after
/// that time are not less.
pub(crate) fn least_id(at: Timestamp) -> Uuid {
    let ms = u64::try_from(at.ms()).unwrap_or(0);
    if ms >= 1 << 48 {
        return Uuid::max();
    }
    Uuid::from_u128(u128::from(ms) << 80)
}

pub(crate) const PENDING: i64 = 0;
pub(crate) const DELIVERED: i64 = 1;
pub(crate) const DEAD: i64 = 2;

pub(crate) fn state(number: i64) -> Result<DeliveryState, StoreError> {
    match number {
        PENDING => Ok(DeliveryState::Pending),
        DELIVERED => Ok(DeliveryState::Delivered),
        DEAD => Ok(DeliveryState::Dead),
        _ => Err(corrupt("a delivery state")),
    }
}

pub(crate) fn error_number(class: ErrorClass) -> i64 {
    ErrorClass::ALL
        .iter()
        .position(|other| *other == class)
        .map_or(-1, limit)
}

pub(crate) fn error_class(number: Option<i64>) -> Result<Option<ErrorClass>, StoreError> {
    number
        .map(|number| {
            usize::try_from(number)
                .ok()
                .and_then(|index| ErrorClass::ALL.get(index).copied())
                .ok_or_else(|| corrupt("an error class"))
        })
        .transpose()
}

pub(crate) fn role_number(role: Role) -> i64 {
    Role::ALL
        .iter()
        .position(|other| *other == role)
        .map_or(-1, limit)
}

pub(crate) fn role(number: i64) -> Result<Role, StoreError> {
    usize::try_from(number)
        .ok()
        .and_then(|index| Role::ALL.get(index).copied())
        .ok_or_else(|| corrupt("a role"))
}

pub(crate) fn scope_bits(scopes: &[Scope]) -> i64 {
    Scope::ALL
        .iter()
        .enumerate()
        .filter(|(_, scope)| scopes.contains(scope))
        .fold(0, |bits, (index, _)| bits | 1 << index)
}

pub(crate) fn scopes(bits: i64) -> Vec<Scope> {
    Scope::ALL
        .into_iter()
        .enumerate()
        .filter(|(index, _)| bits & 1 << index != 0)
        .map(|(_, scope)| scope)
        .collect()
}

/// How far an id's time can lie from the time that its record carries (ids never run backward,
/// a clock that is set can), in milliseconds: look-ups by time start this much wider.
const SKEW_MS: i64 = 5_000;

/// No record that carries a time at or after `at` has a lesser id.
pub(crate) fn earliest_id(at: Timestamp) -> Uuid {
    least_id(Timestamp::from_ms(at.ms().saturating_sub(SKEW_MS)))
}

/// No record that carries a time before `at` has this id or a greater one.
pub(crate) fn latest_id(at: Timestamp) -> Uuid {
    least_id(Timestamp::from_ms(at.ms().saturating_add(SKEW_MS)))
}

/// How long one row of `webhook_counts` covers, in milliseconds.
pub(crate) const SLOT_MS: i64 = 600_000;

/// The slot that a time lies in.
pub(crate) const fn slot(at: Timestamp) -> i64 {
    at.ms().div_euclid(SLOT_MS)
}

/// The time in whose slot a delivery is counted: the one in its id, so that no transition has to
/// look it up.
pub(crate) fn made_at(delivery: DeliveryId) -> Timestamp {
    Timestamp::from_ms(id_ms(delivery.uuid()))
}

/// The time in an id, in milliseconds since 1970.
pub(crate) fn id_ms(id: Uuid) -> i64 {
    i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX)
}

/// Counts of one webhook in one slot, to be added.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) made: i64,
    pub(crate) delivered: i64,
    pub(crate) dead: i64,
    pub(crate) attempts: i64,
    pub(crate) attempts_failed: i64,
}

impl Counts {
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            made: self.made + other.made,
            delivered: self.delivered + other.delivered,
            dead: self.dead + other.dead,
            attempts: self.attempts + other.attempts,
            attempts_failed: self.attempts_failed + other.attempts_failed,
        }
    }
}

/// How many deliveries are looked at for the durations of attempts.
pub(crate) const DURATIONS_MAX: i64 = 1_000;

/// The nearest-rank percentile of sorted values.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), Some(50));
        assert_eq!(percentile(&hundred, 95), Some(95));
        assert_eq!(percentile(&[7], 95), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }
}
