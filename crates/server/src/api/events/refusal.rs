//! How what is wrong with a published body is told.

use delivery::accept::AcceptError;
use domain::json::JsonError;

use crate::{
    api::fields,
    problem::{FieldError, Kind, Problem},
};

/// The most faults that one answer tells.
const FAULTS_MAX: usize = 20;

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        match &error {
            JsonError::TooDeep { .. }
            | JsonError::UnsafeNumber { .. }
            | JsonError::WrongKind { .. }
            | JsonError::LoneSurrogate { .. } => {
                let mut faults = Faults::default();
                faults.json(&error);
                faults.end().expect_err("a fault was put in")
            }
            JsonError::TooLarge { .. } => {
                Self::new(Kind::BodyTooLarge, format!("The body has {error}."))
            }
            JsonError::TrailingData { offset } => Self::new(
                Kind::InvalidJson,
                format!("Something follows the end of the JSON at byte {offset}."),
            ),
            _ => Self::new(Kind::InvalidJson, format!("The body is {error}.")),
        }
    }
}

/// Whether nothing behind the error can be read.
pub const fn is_fatal(error: &JsonError) -> bool {
    !matches!(
        error,
        JsonError::UnsafeNumber { .. }
            | JsonError::WrongKind { .. }
            | JsonError::LoneSurrogate { .. }
    )
}

/// Gathers what is wrong with the fields of one or many events.
#[derive(Default)]
pub struct Faults {
    errors: Vec<FieldError>,
    /// The type of all of them, while they have the same.
    kind: Option<Kind>,
    count: usize,
}

impl Faults {
    /// How many there were.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// A fault of field `key` of the event at path `at`.
    #[cold]
    pub fn field(&mut self, at: &str, key: &str, message: &str) {
        let path = if at.is_empty() {
            key.to_owned()
        } else {
            format!("{at}.{key}")
        };
        self.push(path, message.to_owned(), Kind::ValidationFailed);
    }

    /// A field that is none of `known`.
    #[cold]
    pub fn unknown(&mut self, at: &str, key: &str, known: &[&str]) {
        let FieldError { path, message } = fields::unknown(key, known);
        self.field(at, &path, &message);
    }

    /// A value that is refused.
    #[cold]
    pub fn json(&mut self, error: &JsonError) {
        let path = error.path().unwrap_or_default().to_owned();
        match error {
            JsonError::UnsafeNumber { literal, why, .. } => {
                let message = format!(
                    "is {literal}, {why}: send it as a string, or say `\"numbers\": \"verbatim\"`"
                );
                self.push(path, message, Kind::UnsafeNumber);
            }
            JsonError::WrongKind {
                expected, found, ..
            } => {
                self.push(
                    path,
                    format!("must be {expected}, not {found}"),
                    Kind::ValidationFailed,
                );
            }
            JsonError::LoneSurrogate { .. } => {
                self.push(
                    path,
                    "holds half of a surrogate pair, which is not text".to_owned(),
                    Kind::ValidationFailed,
                );
            }
            JsonError::TooDeep { depth_max, .. } => {
                self.push(
                    path,
                    format!("is nested deeper than {depth_max} levels"),
                    Kind::ValidationFailed,
                );
            }
            other => self.push(path, other.to_string(), Kind::ValidationFailed),
        }
    }

    fn push(&mut self, path: String, message: String, kind: Kind) {
        let all = self.kind.get_or_insert(kind);
        if *all != kind {
            *all = Kind::ValidationFailed;
        }
        self.count += 1;
        if self.errors.len() < FAULTS_MAX {
            self.errors.push(FieldError { path, message });
        }
    }

    /// The refusal, if there is anything wrong.
    ///
    /// # Errors
    /// The first faults.
    pub fn end(self) -> Result<(), Problem> {
        match self.kind {
            None => Ok(()),
            Some(kind) => Err(Problem::fields_of(kind, self.errors)),
        }
    }
}

/// The refusal of an event by the pipeline. `at` gives the path of the event of that index.
pub fn not_accepted(error: AcceptError, at: impl Fn(usize) -> String) -> Problem {
    match error {
        AcceptError::Loop { .. } => {
            Problem::new(Kind::LoopDetected, capitalised(&error.to_string()))
        }
        AcceptError::Schema {
            index, violations, ..
        } => {
            let at = at(index);
            let data = if at.is_empty() {
                "data".to_owned()
            } else {
                format!("{at}.data")
            };
            let errors = violations.into_iter().map(|(pointer, message)| FieldError {
                path: fields::path_into(&data, &pointer),
                message,
            });
            Problem::fields(errors.collect())
        }
        AcceptError::Store(error) => error.into(),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars
        .next()
        .map(|first| first.to_uppercase().to_string())
        .unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_one_kind_keep_it_and_only_the_first_are_told() {
        let number = JsonError::UnsafeNumber {
            path: "data.n".to_owned(),
            literal: "1e309".to_owned(),
            why: domain::json::Unsafe::Overflow,
        };
        let mut faults = Faults::default();
        faults.json(&number);
        assert_eq!(faults.end().unwrap_err().kind(), Kind::UnsafeNumber);
        let mut faults = Faults::default();
        for _ in 0..FAULTS_MAX {
            faults.json(&number);
        }
        faults.field("", "event", "is required");
        assert_eq!(faults.count(), FAULTS_MAX + 1);
        let problem = faults.end().unwrap_err();
        assert_eq!(problem.kind(), Kind::ValidationFailed);
        assert_eq!(problem.errors().len(), FAULTS_MAX);
    }
}
