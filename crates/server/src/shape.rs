//! JSON of another shape than was asked for: serde's words as ours, each with its path.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_path_to_error::{Path, Segment};

use crate::problem::{Kind, Problem};

/// Reads `bytes` as a `T`: not JSON at all is one problem, JSON of another shape another.
///
/// # Errors
/// [`Kind::InvalidJson`] with the place, or [`Kind::ValidationFailed`] with the path.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize(&mut deserializer) {
        Ok(value) => {
            deserializer.end().map_err(|error| not_json(&error))?;
            Ok(value)
        }
        Err(error) if error.inner().is_data() => {
            // What comes after the wrong field may not even be JSON: that is said first.
            serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| not_json(&error))?;
            let path = javascript(error.path());
            Err(explain(path, &error.into_inner().to_string()))
        }
        Err(error) => Err(not_json(error.inner())),
    }
}

/// Reads a JSON object as a `T`. serde would take an array for a struct as well.
///
/// # Errors
/// As [`parse_json`]; also if it is JSON but no object.
pub fn parse_object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes
        .trim_ascii_start()
        .first()
        .is_some_and(|first| *first != b'{')
    {
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| not_json(&error))?;
        return Err(Problem::field("", "The body must be a JSON object."));
    }
    parse_json(bytes)
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::new(Kind::InvalidJson, format!("{error}."))
}

/// The path as in JavaScript: `list[1].count`.
fn javascript(path: &Path) -> String {
    path.iter().fold(String::new(), |mut text, segment| {
        match segment {
            Segment::Seq { index } => text.extend(["[", &index.to_string(), "]"]),
            Segment::Map { key } => text = join(&text, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
        text
    })
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// The path of a field that serde's message names; serde's own path may end with it already.
fn of_field(path: &str, field: &str) -> String {
    let ends_with_it = path
        .strip_suffix(field)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if ends_with_it {
        path.to_owned()
    } else {
        join(path, field)
    }
}

/// serde's message, which ends with the place in the text, as a sentence without its subject.
fn explain(path: String, text: &str) -> Problem {
    let text = text.rfind(" at line ").map_or(text, |at| &text[..at]);
    let quoted = |rest: &str| rest.split('`').next().unwrap_or_default().to_owned();
    if let Some(field) = text.strip_prefix("missing field `") {
        return Problem::field(of_field(&path, &quoted(field)), "is required");
    }
    if let Some(field) = text.strip_prefix("duplicate field `") {
        return Problem::field(of_field(&path, &quoted(field)), "is given twice");
    }
    if let Some(field) = text.strip_prefix("unknown field `") {
        let known = field
            .split_once("expected ")
            .map_or("no field", |(_, known)| known);
        return Problem::field(
            of_field(&path, &quoted(field)),
            format!("is not known; known are {known}"),
        );
    }
    for kind in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some((found, expected)) = text
            .strip_prefix(kind)
            .and_then(|rest| rest.split_once(", expected "))
        {
            let expected = if expected.starts_with("struct ") {
                "an object"
            } else {
                expected
            };
            return Problem::field(path, format!("must be {expected}, not {found}"));
        }
    }
    Problem::field(path, text)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Outer {
        target_url: String,
        list: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Inner {
        count: u8,
    }

    fn error(text: &str) -> (String, String) {
        let problem = parse_object::<Outer>(text.as_bytes()).unwrap_err();
        let error = problem
            .errors()
            .first()
            .unwrap_or_else(|| panic!("{problem:?}"));
        (error.path.clone(), error.message.clone())
    }

    #[test]
    fn each_error_names_its_field_and_says_what_is_wrong() {
        let cases = [
            (r"{}", "targetUrl", "is required"),
            (
                r#"{"targetUrl":1,"list":[]}"#,
                "targetUrl",
                "must be a string, not integer `1`",
            ),
            (
                r#"{"targetUrl":"","list":[{"count":1},{}]}"#,
                "list[1].count",
                "is required",
            ),
            (
                r#"{"targetUrl":"","list":[{"count":300}]}"#,
                "list[0].count",
                "must be u8, not integer `300`",
            ),
            (
                r#"{"targetUrl":"","list":[3]}"#,
                "list[0]",
                "must be an object, not integer `3`",
            ),
            (
                r#"{"targetUrl":"","targetUrl":""}"#,
                "targetUrl",
                "is given twice",
            ),
            (
                r#"{"target":""}"#,
                "target",
                "is not known; known are `targetUrl` or `list`",
            ),
            (r#"["u",[]]"#, "", "The body must be a JSON object."),
        ];
        for (text, path, message) in cases {
            assert_eq!(error(text), (path.to_owned(), message.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_of_another_shape() {
        for text in [
            "",
            "{",
            "[",
            "nul",
            "{} x",
            r#"{"targetUrl":1,}"#,
            "\u{feff}{}",
        ] {
            let problem = parse_object::<Outer>(text.as_bytes()).unwrap_err();
            assert_eq!(problem.kind(), Kind::InvalidJson, "{text}: {problem:?}");
        }
    }
}
