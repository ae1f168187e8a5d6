//! From JSON's values to jaq's and back: the order of keys and whole numbers up to 64 bits stay.

use jaq_json::{Map, Num, Val};
use serde_json::{Number, Value};

/// How deep a result may be nested.
const DEPTH_MAX: usize = 128;

/// A value for jaq.
pub(super) fn to_jaq(value: Value) -> Val {
    match value {
        Value::Null => Val::Null,
        Value::Bool(boolean) => Val::Bool(boolean),
        Value::Number(number) => Val::Num(match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Num::from_integral(integer),
            (_, Some(integer)) => Num::from_integral(integer),
            _ => Num::Float(number.as_f64().unwrap_or(f64::NAN)),
        }),
        Value::String(text) => Val::utf8_str(text.into_bytes()),
        Value::Array(list) => list.into_iter().map(to_jaq).collect(),
        Value::Object(object) => {
            let fields = object
                .into_iter()
                .map(|(key, value)| (Val::utf8_str(key.into_bytes()), to_jaq(value)));
            Val::obj(fields.collect::<Map>())
        }
    }
}

/// A result as JSON, of no more than `budget` bytes, which it takes from it.
pub(super) fn from_jaq(value: &Val, budget: &mut usize) -> Result<Value, String> {
    nested(value, budget, 0)
}

fn nested(value: &Val, budget: &mut usize, depth: usize) -> Result<Value, String> {
    if depth > DEPTH_MAX {
        return Err(format!("a result may be nested {DEPTH_MAX} deep"));
    }
    spend(budget, 2)?;
    Ok(match value {
        Val::Null => Value::Null,
        Val::Bool(boolean) => Value::Bool(*boolean),
        Val::Num(number) => number_of(number),
        Val::BStr(bytes) | Val::TStr(bytes) => Value::String(text(bytes, budget)?),
        Val::Arr(list) => Value::Array(
            list.iter()
                .map(|item| nested(item, budget, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Val::Obj(object) => {
            let mut fields = serde_json::Map::with_capacity(object.len().min(*budget));
            for (key, value) in object.iter() {
                let (Val::BStr(key) | Val::TStr(key)) = key else {
                    return Err("an object's key must be a text".to_owned());
                };
                let key = text(key, budget)?;
                fields.insert(key, nested(value, budget, depth + 1)?);
            }
            Value::Object(fields)
        }
    })
}

fn text(bytes: &[u8], budget: &mut usize) -> Result<String, String> {
    spend(budget, bytes.len())?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// As jq prints it: what is no number is null.
fn number_of(number: &Num) -> Value {
    let float = |float: f64| Number::from_f64(float).map_or(Value::Null, Value::Number);
    match number {
        Num::Int(integer) => Value::from(*integer),
        Num::Float(value) => float(*value),
        Num::BigInt(integer) => {
            let digits = integer.to_string();
            match digits.parse::<u64>() {
                Ok(integer) => Value::from(integer),
                Err(_) => float(digits.parse().unwrap_or(f64::NAN)),
            }
        }
        Num::Dec(digits) => float(digits.parse().unwrap_or(f64::NAN)),
    }
}

fn spend(budget: &mut usize, bytes: usize) -> Result<(), String> {
    *budget = budget
        .checked_sub(bytes)
        .ok_or("more than 4 MiB come of this expression")?;
    Ok(())
}
