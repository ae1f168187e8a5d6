//! Reads a filter and checks all of it: paths, operators, types of operands, limits.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    BYTES_MAX, CONDITIONS_MAX, Condition, DEPTH_MAX, FilterError, Order, Part, Path, Test,
    VALUES_MAX,
};
use crate::{Timestamp, nearest};

const COMBINERS: [&str; 3] = ["$and", "$or", "$not"];
const OPERATORS: [&str; 13] = [
    "$eq",
    "$ne",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$exists",
    "$startsWith",
    "$endsWith",
    "$contains",
    "$not",
];
const ROOTS: [&str; 4] = ["id", "event", "timestamp", "data"];
/// The most parts of a path.
const PARTS_MAX: usize = 32;

pub(super) fn parse(source: &Value) -> Result<Condition, FilterError> {
    let Value::Object(fields) = source else {
        let message = match source {
            Value::String(_) => {
                "expected an object of conditions, such as {\"data.amount\": {\"$gte\": 100}}; a text is not read as a filter"
            }
            _ => "expected an object of conditions, such as {\"data.amount\": {\"$gte\": 100}}",
        };
        return Err(FilterError {
            path: String::new(),
            message: message.into(),
        });
    };
    if source.to_string().len() > BYTES_MAX {
        let message = format!("a filter has at most {BYTES_MAX} bytes");
        return Err(FilterError {
            path: String::new(),
            message,
        });
    }
    let mut reader = Reader {
        place: Vec::new(),
        conditions: 0,
    };
    reader.all_of(fields)
}

/// Knows where in the filter it is, for messages, and how much it has read.
struct Reader<'a> {
    place: Vec<Cow<'a, str>>,
    conditions: usize,
}

impl<'a> Reader<'a> {
    fn refuse<T>(&self, message: impl Into<String>) -> Result<T, FilterError> {
        let path = self
            .place
            .iter()
            .flat_map(|key| ["/".to_owned(), key.replace('~', "~0").replace('/', "~1")])
            .collect();
        Err(FilterError {
            path,
            message: message.into(),
        })
    }

    /// Goes one step down.
    fn at<T>(
        &mut self,
        key: impl Into<Cow<'a, str>>,
        read: impl FnOnce(&mut Self) -> Result<T, FilterError>,
    ) -> Result<T, FilterError> {
        self.place.push(key.into());
        if self.place.len() > 2 * DEPTH_MAX {
            return self.refuse(format!("a filter is nested at most {DEPTH_MAX} deep"));
        }
        let value = read(self)?;
        self.place.pop();
        Ok(value)
    }

    fn count(&mut self) -> Result<(), FilterError> {
        self.conditions += 1;
        if self.conditions > CONDITIONS_MAX {
            return self.refuse(format!("a filter has at most {CONDITIONS_MAX} conditions"));
        }
        Ok(())
    }

    fn all_of(&mut self, fields: &'a Map<String, Value>) -> Result<Condition, FilterError> {
        let conditions: Result<Vec<_>, _> = fields
            .iter()
            .map(|(key, value)| self.at(key.as_str(), |reader| reader.condition(key, value)))
            .collect();
        conditions.map(Condition::All)
    }

    fn condition(&mut self, key: &str, value: &'a Value) -> Result<Condition, FilterError> {
        self.count()?;
        match key {
            "$and" => self.list_of(value).map(Condition::All),
            "$or" => self.list_of(value).map(Condition::Any),
            "$not" => match value {
                Value::Object(fields) => Ok(Condition::Not(Box::new(self.all_of(fields)?))),
                _ => self.refuse("`$not` takes an object of conditions"),
            },
            _ if key.starts_with('$') => {
                let hint = nearest::hint(key, COMBINERS.into_iter().chain(OPERATORS));
                self.refuse(format!(
                    "`{key}` does not stand here{hint}: expected a path such as `data.amount`, `$and`, `$or` or `$not`"
                ))
            }
            _ => {
                let path = self.path(key)?;
                let tests = self.tests(&path, value)?;
                Ok(Condition::At(path, tests))
            }
        }
    }

    fn list_of(&mut self, value: &'a Value) -> Result<Vec<Condition>, FilterError> {
        let Value::Array(items) = value else {
            return self.refuse("expected a list of objects of conditions");
        };
        if items.is_empty() {
            return self.refuse("expected at least one object of conditions");
        }
        items
            .iter()
            .enumerate()
            .map(|(at, item)| {
                self.at(at.to_string(), |reader| {
                    reader.count()?;
                    match item {
                        Value::Object(fields) => reader.all_of(fields),
                        _ => reader.refuse("expected an object of conditions"),
                    }
                })
            })
            .collect()
    }

    fn path(&self, text: &str) -> Result<Path, FilterError> {
        let Some(mut parts) = split(text) else {
            return self.refuse(
                "a path has parts between full stops; write `\\.` for a full stop inside a name and `\\\\` for a backslash",
            );
        };
        if parts.len() > PARTS_MAX {
            return self.refuse(format!("a path has at most {PARTS_MAX} parts"));
        }
        let below: Vec<Part> = parts.split_off(1).into_iter().map(Part::new).collect();
        match (parts[0].as_str(), below.is_empty()) {
            ("data", _) => Ok(Path::Data(below)),
            ("id", true) => Ok(Path::Id),
            ("event", true) => Ok(Path::Event),
            ("timestamp", true) => Ok(Path::Timestamp),
            (root @ ("id" | "event" | "timestamp"), false) => {
                self.refuse(format!("`{root}` is a text: nothing lies below it"))
            }
            (root, _) => {
                let meant = match nearest::nearest(root, ROOTS) {
                    Some(near) => text.replacen(root, near, 1),
                    None => format!("data.{text}"),
                };
                self.refuse(format!(
                    "a path begins with `id`, `event`, `timestamp` or `data` (did you mean `{meant}`?)"
                ))
            }
        }
    }

    fn tests(&mut self, path: &Path, value: &'a Value) -> Result<Vec<Test>, FilterError> {
        match value {
            Value::Object(fields) if fields.keys().any(|key| key.starts_with('$')) => {
                self.operators(path, fields)
            }
            Value::Object(fields) if fields.is_empty() => self.refuse(
                "an empty condition; write {\"$eq\": {}} for an empty object, {\"$exists\": true} for anything",
            ),
            _ => Ok(vec![Test::Equal(self.operand(path, value)?)]),
        }
    }

    fn operators(
        &mut self,
        path: &Path,
        fields: &'a Map<String, Value>,
    ) -> Result<Vec<Test>, FilterError> {
        fields
            .iter()
            .map(|(operator, value)| {
                self.at(operator.as_str(), |reader| {
                    reader.count()?;
                    reader.test(path, operator, value)
                })
            })
            .collect()
    }

    fn test(&mut self, path: &Path, operator: &str, value: &'a Value) -> Result<Test, FilterError> {
        Ok(match operator {
            "$eq" => Test::Equal(self.operand(path, value)?),
            "$ne" => Test::Differ(self.operand(path, value)?),
            "$gt" => Test::Compare(Order::Greater, self.ordered(path, value)?),
            "$gte" => Test::Compare(Order::GreaterOrEqual, self.ordered(path, value)?),
            "$lt" => Test::Compare(Order::Less, self.ordered(path, value)?),
            "$lte" => Test::Compare(Order::LessOrEqual, self.ordered(path, value)?),
            "$in" => Test::OneOf(self.values(path, value)?),
            "$nin" => Test::NoneOf(self.values(path, value)?),
            "$exists" => match value {
                Value::Bool(wanted) => Test::Exists(*wanted),
                _ => return self.refuse("`$exists` takes true or false"),
            },
            "$startsWith" => Test::StartsWith(self.text(operator, value)?),
            "$endsWith" => Test::EndsWith(self.text(operator, value)?),
            "$contains" => Test::Contains(value.clone()),
            "$not" => match value {
                Value::Object(fields) if !fields.is_empty() => {
                    Test::Not(self.operators(path, fields)?)
                }
                _ => return self.refuse("`$not` takes an object of operators here"),
            },
            _ if operator.starts_with('$') => {
                let hint = nearest::hint(operator, OPERATORS);
                let known = OPERATORS.join(", ");
                return self.refuse(format!(
                    "unknown operator `{operator}`{hint}; known: {known}"
                ));
            }
            _ => {
                return self.refuse(
                    "operators and names are mixed; to equal an object, put it under `$eq`",
                );
            }
        })
    }

    /// A value to be equal to.
    fn operand(&self, path: &Path, value: &Value) -> Result<Value, FilterError> {
        let fits = match path {
            Path::Timestamp => value
                .as_str()
                .is_some_and(|text| Timestamp::parse(text).is_ok()),
            Path::Id | Path::Event => value.is_string(),
            Path::Data(_) => true,
        };
        if fits {
            return Ok(value.clone());
        }
        match path {
            Path::Timestamp => {
                self.refuse("`timestamp` is compared with a time as in RFC 3339, such as \"2026-01-31T09:30:00Z\"")
            }
            _ => self.refuse("`id` and `event` are texts"),
        }
    }

    /// A value to be greater or less than.
    fn ordered(&self, path: &Path, value: &Value) -> Result<Value, FilterError> {
        if value.is_number() || value.is_string() {
            self.operand(path, value)
        } else {
            self.refuse("expected a number or a text")
        }
    }

    fn values(&self, path: &Path, value: &Value) -> Result<Vec<Value>, FilterError> {
        match value {
            Value::Array(values) if (1..=VALUES_MAX).contains(&values.len()) => values
                .iter()
                .map(|value| self.operand(path, value))
                .collect(),
            _ => self.refuse(format!("expected a list of 1 to {VALUES_MAX} values")),
        }
    }

    fn text(&self, operator: &str, value: &Value) -> Result<String, FilterError> {
        match value {
            Value::String(text) => Ok(text.clone()),
            _ => self.refuse(format!("`{operator}` takes a text")),
        }
    }
}

impl Part {
    fn new(name: String) -> Self {
        let is_index = name == "0"
            || (!name.starts_with('0')
                && !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_digit()));
        let index = if is_index { name.parse().ok() } else { None };
        Self { name, index }
    }
}

/// Splits at full stops that no backslash precedes. `None` if a part is empty or a backslash
/// stands before anything else.
fn split(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '.' => parts.push(String::new()),
            '\\' => match chars.next()? {
                escaped @ ('.' | '\\') => parts.last_mut()?.push(escaped),
                _ => return None,
            },
            _ => parts.last_mut()?.push(c),
        }
    }
    parts.iter().all(|part| !part.is_empty()).then_some(parts)
}
