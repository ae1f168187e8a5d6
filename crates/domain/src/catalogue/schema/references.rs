//! Which references a user's schema may have: local ones, and not so many that they multiply.
//!
//! A reference stands for a whole schema. Thirty definitions, each of which refers to the next
//! one twice, would be checked a billion times. So each schema is measured with its references
//! followed (one that leads back into itself counts once): how many schemas it stands for, and
//! how deep they lie in each other. Over [`WEIGHT_MAX`] or [`DEPTH_MAX`] it is refused. Recursion over the depth of a value is not measured.

use std::{borrow::Cow, collections::HashMap};

use serde_json::{Map, Value};

use super::SchemaError;

/// The most schemas that a schema may stand for.
const WEIGHT_MAX: u64 = 20_000;
/// The most schemas that may lie in each other.
const DEPTH_MAX: u32 = 200;

/// Keywords whose members are schemas under names that the user chose.
const NAMED: [&str; 5] = [
    "$defs",
    "definitions",
    "dependentSchemas",
    "patternProperties",
    "properties",
];
/// Keywords whose values are no schemas.
const PLAIN: [&str; 4] = ["const", "default", "enum", "examples"];

/// Checks the references of a whole schema.
///
/// # Errors
/// If one leads elsewhere or nowhere, or together they multiply.
pub(super) fn check(schema: &Value) -> Result<(), SchemaError> {
    let mut scale = Scale {
        root: schema,
        anchors: HashMap::new(),
        sizes: HashMap::new(),
        depth: 0,
    };
    scale.find_anchors(schema, "");
    let size = scale.weigh(schema, "")?;
    if size.weight > WEIGHT_MAX {
        return refuse(
            "",
            format!("its references multiply to more than {WEIGHT_MAX} schemas"),
        );
    }
    Ok(())
}

fn refuse<T>(path: &str, message: impl Into<String>) -> Result<T, SchemaError> {
    Err(SchemaError::Invalid {
        path: path.to_owned(),
        message: message.into(),
    })
}

/// What a schema amounts to.
#[derive(Clone, Copy, Default)]
struct Size {
    /// How many schemas it stands for.
    weight: u64,
    /// How deep they lie in each other.
    depth: u32,
}

impl Size {
    /// This beside another.
    fn beside(self, other: Self) -> Self {
        Self {
            weight: self.weight.saturating_add(other.weight),
            depth: self.depth.max(other.depth),
        }
    }
}

struct Scale<'a> {
    root: &'a Value,
    /// Where each `$anchor` stands.
    anchors: HashMap<&'a str, String>,
    /// The sizes of the references' targets; `None` while one is being measured.
    sizes: HashMap<String, Option<Size>>,
    /// How deep the schema lies that is being measured.
    depth: u32,
}

impl<'a> Scale<'a> {
    fn find_anchors(&mut self, value: &'a Value, path: &str) {
        if let Some(anchor) = value.get("$anchor").and_then(Value::as_str) {
            self.anchors.insert(anchor, path.to_owned());
        }
        match value {
            Value::Object(fields) => {
                for (key, below) in fields {
                    self.find_anchors(below, &child(path, key));
                }
            }
            Value::Array(items) => {
                for (at, below) in items.iter().enumerate() {
                    self.find_anchors(below, &format!("{path}/{at}"));
                }
            }
            _ => {}
        }
    }

    fn weigh(&mut self, schema: &'a Value, path: &str) -> Result<Size, SchemaError> {
        if !schema.is_object() && !schema.is_array() {
            return Ok(Size::default());
        }
        self.depth += 1;
        let mut size = Size::default();
        match schema {
            Value::Object(keywords) => {
                size.weight = 1;
                for (keyword, value) in keywords {
                    size =
                        size.beside(self.weigh_keyword(keyword, value, &child(path, keyword))?);
                }
            }
            Value::Array(schemas) => {
                for (at, one) in schemas.iter().enumerate() {
                    size = size.beside(self.weigh(one, &format!("{path}/{at}"))?);
                }
            }
            _ => {}
        }
        size.depth += 1;
        if self.depth.max(size.depth) > DEPTH_MAX {
            return refuse(
                path,
                format!("more than {DEPTH_MAX} schemas lie in each other"),
            );
        }
        self.depth -= 1;
        Ok(size)
    }

    fn weigh_keyword(
        &mut self,
        keyword: &str,
        value: &'a Value,
        path: &str,
    ) -> Result<Size, SchemaError> {
        match (keyword, value) {
            ("$ref", Value::String(reference)) => self.follow(reference, path),
            ("$dynamicRef" | "$recursiveRef", _) => {
                refuse(path, format!("`{keyword}` is not taken here: use `$ref`"))
            }
            ("$id", _) if path != "/$id" => refuse(path, "only the whole schema may have an `$id`"),
            (_, Value::Object(named)) if NAMED.contains(&keyword) => self.weigh_named(named, path),
            _ if PLAIN.contains(&keyword) => Ok(Size::default()),
            _ => self.weigh(value, path),
        }
    }

    fn weigh_named(
        &mut self,
        named: &'a Map<String, Value>,
        path: &str,
    ) -> Result<Size, SchemaError> {
        named
            .iter()
            .try_fold(Size::default(), |size, (name, schema)| {
                Ok(size.beside(self.weigh(schema, &child(path, name))?))
            })
    }

    fn follow(&mut self, reference: &str, path: &str) -> Result<Size, SchemaError> {
        let Some(fragment) = reference.strip_prefix('#') else {
            return refuse(
                path,
                format!(
                    "`{}` refers to another document: only references within the schema, such as `#/$defs/item`, are followed",
                    reference.chars().take(120).collect::<String>()
                ),
            );
        };
        let decoded = percent_decoded(fragment);
        let pointer = match self.anchors.get(&*decoded) {
            Some(at) => at.clone(),
            None => decoded.into_owned(),
        };
        let Some(target) = self.root.pointer(&pointer) else {
            return refuse(
                path,
                format!(
                    "`{}` leads nowhere",
                    reference.chars().take(120).collect::<String>()
                ),
            );
        };
        match self.sizes.get(&pointer) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => {
                return Ok(Size {
                    weight: 1,
                    depth: 1,
                });
            }
            None => {}
        }
        if self.depth > DEPTH_MAX {
            return refuse(
                path,
                format!("more than {DEPTH_MAX} schemas lie in each other"),
            );
        }
        self.sizes.insert(pointer.clone(), None);
        let size = self.weigh(target, &pointer)?;
        self.sizes.insert(pointer, Some(size));
        Ok(size)
    }
}

/// The pointer one step down.
fn child(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Undoes `%xx`; what is not of that form stays as it is.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let mut decoded = [0];
        match after.split_at_checked(2) {
            Some((digits, beyond))
                if first == b'%' && hex::decode_to_slice(digits, &mut decoded).is_ok() =>
            {
                bytes.push(decoded[0]);
                rest = beyond;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}
