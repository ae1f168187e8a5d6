//! Decides whether an event passes. Can't fail: all that could was refused by parsing.

use std::{borrow::Cow, cmp::Ordering};

use serde_json::{Number, Value};

use super::{Condition, FilterView, Order, Part, Path, Test};
use crate::Timestamp;

impl Condition {
    pub(super) fn holds(&self, view: &FilterView<'_>) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|one| one.holds(view)),
            Self::Any(conditions) => conditions.iter().any(|one| one.holds(view)),
            Self::Not(condition) => !condition.holds(view),
            Self::At(path, tests) => {
                let found = path.find(view);
                let as_time = matches!(path, Path::Timestamp);
                tests
                    .iter()
                    .all(|test| test.holds(found.as_deref(), as_time))
            }
        }
    }
}

impl Path {
    fn find<'a>(&self, view: &FilterView<'a>) -> Option<Cow<'a, Value>> {
        let text = |text: &str| Some(Cow::Owned(Value::String(text.to_owned())));
        match self {
            Self::Id => text(view.id),
            Self::Event => text(view.event),
            Self::Timestamp => text(&view.timestamp.to_string()),
            Self::Data(parts) => parts
                .iter()
                .try_fold(view.data, |value, part| part.of(value))
                .map(Cow::Borrowed),
        }
    }
}

impl Part {
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match value {
            Value::Object(fields) => fields.get(&self.name),
            Value::Array(items) => items.get(self.index?),
            _ => None,
        }
    }
}

impl Test {
    fn holds(&self, found: Option<&Value>, as_time: bool) -> bool {
        let equal = |wanted: &Value| found.is_some_and(|value| same(value, wanted, as_time));
        match self {
            Self::Equal(wanted) => equal(wanted),
            Self::Differ(wanted) => !equal(wanted),
            Self::OneOf(values) => values.iter().any(equal),
            Self::NoneOf(values) => !values.iter().any(equal),
            Self::Exists(wanted) => found.is_some() == *wanted,
            Self::Not(tests) => !tests.iter().all(|test| test.holds(found, as_time)),
            Self::Compare(order, wanted) => found
                .and_then(|value| compare(value, wanted, as_time))
                .is_some_and(|ordering| order.fits(ordering)),
            Self::StartsWith(start) => found
                .and_then(Value::as_str)
                .is_some_and(|text| text.starts_with(start.as_str())),
            Self::EndsWith(end) => found
                .and_then(Value::as_str)
                .is_some_and(|text| text.ends_with(end.as_str())),
            Self::Contains(wanted) => match (found, wanted) {
                (Some(Value::String(text)), Value::String(piece)) => text.contains(piece.as_str()),
                (Some(Value::Array(items)), _) => {
                    items.iter().any(|item| same(item, wanted, false))
                }
                _ => false,
            },
        }
    }
}

impl Order {
    const fn fits(self, ordering: Ordering) -> bool {
        match self {
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
        }
    }
}

/// Deep equality in which numbers are equal by value (`1` and `1.0`) and the order of an
/// object's fields does not count.
fn same(a: &Value, b: &Value, as_time: bool) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => compare(a, b, false) == Some(Ordering::Equal),
        (Value::String(_), Value::String(_)) if as_time => {
            compare(a, b, true) == Some(Ordering::Equal)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, false))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same(a, b, false)))
        }
        _ => a == b,
    }
}

/// The order of two numbers or two texts (by code point); of two times where `as_time`.
fn compare(a: &Value, b: &Value, as_time: bool) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
        (Value::String(a), Value::String(b)) if as_time => {
            Some(Timestamp::parse(a).ok()?.cmp(&Timestamp::parse(b).ok()?))
        }
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Whole numbers exactly, others as doubles.
fn compare_numbers(a: &Number, b: &Number) -> Option<Ordering> {
    let whole = |number: &Number| {
        number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from))
    };
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}
