//! Comparisons and truth, as Python has them.

use std::cmp::Ordering;

use serde_json::Value;

use super::Op;
use crate::workflow::scope::kind;

/// How deep values are compared.
const DEPTH_MAX: usize = 128;

/// Whether a value counts as true: not null, false, zero or empty.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(boolean) => *boolean,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

/// Whether `left op right` holds; a message if the two cannot be compared so.
pub(super) fn holds(left: &Value, op: Op, right: &Value) -> Result<bool, String> {
    match op {
        Op::Eq => Ok(equal(left, right, 0)),
        Op::Ne => Ok(!equal(left, right, 0)),
        Op::In => is_in(left, right),
        Op::NotIn => is_in(left, right).map(|found| !found),
        Op::Lt => order(left, right, 0).map(Ordering::is_lt),
        Op::Le => order(left, right, 0).map(Ordering::is_le),
        Op::Gt => order(left, right, 0).map(Ordering::is_gt),
        Op::Ge => order(left, right, 0).map(Ordering::is_ge),
    }
}

fn is_in(item: &Value, within: &Value) -> Result<bool, String> {
    match (item, within) {
        (Value::String(part), Value::String(text)) => Ok(text.contains(part.as_str())),
        (_, Value::Array(list)) => Ok(list.iter().any(|other| equal(item, other, 0))),
        (Value::String(key), Value::Object(object)) => Ok(object.contains_key(key)),
        (_, Value::Object(_)) => Ok(false),
        _ => Err(format!(
            "{} cannot be looked for in {}: a list, an object or a text is expected after `in`",
            kind(item),
            kind(within)
        )),
    }
}

/// A number, which a boolean is too.
#[derive(Clone, Copy)]
enum Numeric {
    Whole(i128),
    Float(f64),
}

fn numeric(value: &Value) -> Option<Numeric> {
    match value {
        Value::Bool(boolean) => Some(Numeric::Whole(i128::from(*boolean))),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Some(Numeric::Whole(integer.into())),
            (_, Some(integer)) => Some(Numeric::Whole(integer.into())),
            _ => number.as_f64().map(Numeric::Float),
        },
        _ => None,
    }
}

fn number_order(left: Numeric, right: Numeric) -> Option<Ordering> {
    match (left, right) {
        (Numeric::Whole(left), Numeric::Whole(right)) => Some(left.cmp(&right)),
        (Numeric::Float(left), Numeric::Float(right)) => left.partial_cmp(&right),
        (Numeric::Whole(left), Numeric::Float(right)) => whole_to_float(left, right),
        (Numeric::Float(left), Numeric::Whole(right)) => {
            whole_to_float(right, left).map(Ordering::reverse)
        }
    }
}

/// Compares exactly: not every whole number is a float.
#[expect(
    clippy::cast_possible_truncation,
    reason = "beyond the range of JSON's whole numbers, the cast saturates"
)]
fn whole_to_float(whole: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    let floor = float.floor();
    Some(match whole.cmp(&(floor as i128)) {
        Ordering::Equal if float > floor => Ordering::Less,
        other => other,
    })
}

fn equal(left: &Value, right: &Value, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    if let (Some(left), Some(right)) = (numeric(left), numeric(right)) {
        return number_order(left, right) == Some(Ordering::Equal);
    }
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::String(left), Value::String(right)) => left == right,
        (Value::Array(left), Value::Array(right)) => {
            let mut pairs = left.iter().zip(right);
            left.len() == right.len() && pairs.all(|(a, b)| equal(a, b, depth + 1))
        }
        (Value::Object(left), Value::Object(right)) => {
            let mut fields = left.iter();
            let same = |(key, a): (&String, &Value)| {
                right.get(key).is_some_and(|b| equal(a, b, depth + 1))
            };
            left.len() == right.len() && fields.all(same)
        }
        _ => false,
    }
}

fn order(left: &Value, right: &Value, depth: usize) -> Result<Ordering, String> {
    let refused = || {
        Err(format!(
            "{} and {} have no order: two numbers, two texts or two lists are expected",
            kind(left),
            kind(right)
        ))
    };
    if depth > DEPTH_MAX {
        return refused();
    }
    if let (Some(left), Some(right)) = (numeric(left), numeric(right)) {
        return number_order(left, right).map_or_else(refused, Ok);
    }
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        (Value::Array(left), Value::Array(right)) => {
            for (a, b) in left.iter().zip(right) {
                if !equal(a, b, 0) {
                    return order(a, b, depth + 1);
                }
            }
            Ok(left.len().cmp(&right.len()))
        }
        _ => refused(),
    }
}
