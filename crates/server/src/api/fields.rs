//! Bodies of changes: an unknown field is refused, and the known one that may have been meant is
//! named, since a setting that is silently dropped is found out too late.

#![expect(
    clippy::option_option,
    reason = "tells `null` from a field that is not there"
)]

use std::collections::BTreeMap;

use domain::nearest;
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::IgnoredAny};

use crate::{
    extract::parse_json,
    problem::{FieldError, Problem},
};

/// The most characters of an unknown field's name that a refusal repeats.
const NAME_CHARS_MAX: usize = 80;

/// A body whose fields are known by name.
pub trait Fields: DeserializeOwned {
    /// The fields that are taken.
    const KNOWN: &'static [&'static str];
    /// Fields that only answers have. They are taken and ignored, so that a record that was read
    /// can be sent back with what is to change.
    const IGNORED: &'static [&'static str] = &[];
}

/// Reads a body.
///
/// # Errors
/// If it is not JSON, no object, has a field that is not known, or one of the wrong type.
pub fn parse<T: Fields>(body: &[u8]) -> Result<T, Problem> {
    #[expect(
        clippy::zero_sized_map_values,
        reason = "serde reads an object's keys into a map, not a set"
    )]
    let given: BTreeMap<String, IgnoredAny> = parse_json(body)?;
    let names = given.keys().map(String::as_str);
    let unknown: Vec<FieldError> = names
        .filter(|name| !T::KNOWN.contains(name) && !T::IGNORED.contains(name))
        .map(|name| unknown(name, T::KNOWN))
        .collect();
    if !unknown.is_empty() {
        return Err(Problem::fields(unknown));
    }
    parse_json(body)
}

/// [`parse`], for routes whose body may be left out.
///
/// # Errors
/// As [`parse`].
pub fn parse_or_empty<T: Fields>(body: &[u8]) -> Result<T, Problem> {
    parse(if body.trim_ascii().is_empty() {
        b"{}"
    } else {
        body
    })
}

/// The refusal of a field that is none of `known`.
pub fn unknown(name: &str, known: &[&str]) -> FieldError {
    let hint = nearest::hint(name, known.iter().copied());
    FieldError {
        path: name.chars().take(NAME_CHARS_MAX).collect(),
        message: format!("is not a field that is known here{hint}"),
    }
}

/// Where a JSON Pointer into the field `base` leads, as paths are told: `/items/0/sku` into `data`
/// as `data.items[0].sku`.
pub fn path_into(base: &str, pointer: &str) -> String {
    let mut path = base.to_owned();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if part.parse::<usize>().is_ok() {
            path.push('[');
            path.push_str(&part);
            path.push(']');
        } else {
            path.push('.');
            path.push_str(&part);
        }
    }
    path
}

/// Tells `null` (`Some(None)`) from a field that is not there (`None`, by `serde(default)`).
///
/// # Errors
/// If the value is of the wrong type.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug)]
    struct Body {
        #[serde(default, deserialize_with = "given")]
        note: Option<Option<String>>,
    }

    impl Fields for Body {
        const KNOWN: &'static [&'static str] = &["note"];
        const IGNORED: &'static [&'static str] = &["id"];
    }

    #[test]
    fn null_is_told_from_nothing() {
        assert_eq!(parse::<Body>(b"{}").unwrap().note, None);
        assert_eq!(parse_or_empty::<Body>(b" \n").unwrap().note, None);
        assert_eq!(parse::<Body>(br#"{"note":null}"#).unwrap().note, Some(None));
        assert_eq!(
            parse::<Body>(br#"{"id":1,"note":"x"}"#).unwrap().note,
            Some(Some("x".to_owned()))
        );
    }

    #[test]
    fn a_pointer_becomes_a_path() {
        assert_eq!(path_into("data", ""), "data");
        assert_eq!(
            path_into("events[2].data", "/items/0/a~1b"),
            "events[2].data.items[0].a/b"
        );
    }

    #[test]
    fn an_unknown_field_is_refused_and_the_nearest_named() {
        let problem = parse::<Body>(br#"{"nota":"x"}"#).unwrap_err();
        assert_eq!(problem.errors()[0].path, "nota");
        assert_eq!(
            problem.errors()[0].message,
            "is not a field that is known here (did you mean `note`?)"
        );
        assert_eq!(parse::<Body>(b"[]").unwrap_err().errors()[0].path, "");
    }
}
