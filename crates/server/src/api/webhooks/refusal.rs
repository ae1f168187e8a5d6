//! How the pipeline's refusals of a webhook look.

use delivery::webhooks::{Fault, FieldError as Refused, WebhookError};

use crate::{
    api::fields,
    problem::{FieldError, Kind, Problem},
};

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Invalid(errors) => refused(errors),
            WebhookError::NotFound => Self::not_found("webhook"),
            WebhookError::Changed => Self::conflict(
                "The webhook was changed meanwhile: read it again and repeat the change.",
            ),
            WebhookError::Store(error) => error.into(),
        }
    }
}

/// The refusal of some fields. It has a type of its own where all of them have the same fault.
///
/// # Panics
/// If `errors` is empty: nothing would be wrong then.
pub fn refused(errors: Vec<Refused>) -> Problem {
    let first = errors
        .first()
        .map(|error| error.fault)
        .expect("a refusal names what is refused");
    let kind = if errors.iter().all(|error| error.fault == first) {
        kind(first)
    } else {
        Kind::ValidationFailed
    };
    let errors = errors.into_iter().map(|error| FieldError {
        path: path(error.path),
        message: error.message,
    });
    Problem::fields_of(kind, errors.collect())
}

/// Filters and schedules say with a JSON Pointer where in them it is.
fn path(path: String) -> String {
    ["filter", "schedule"]
        .into_iter()
        .find_map(|base| {
            Some(fields::path_into(
                base,
                path.strip_prefix(base)
                    .filter(|rest| rest.starts_with('/'))?,
            ))
        })
        .unwrap_or(path)
}

const fn kind(fault: Fault) -> Kind {
    match fault {
        Fault::Invalid => Kind::ValidationFailed,
        Fault::UnknownEvent => Kind::UnknownEventType,
        Fault::UnsafeTarget => Kind::UnsafeTarget,
        Fault::ForbiddenHeader => Kind::ForbiddenHeader,
    }
}
