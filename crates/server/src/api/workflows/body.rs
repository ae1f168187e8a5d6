//! Definitions as they come in: JSON with a `config` or a `source`, or a workflow file as the body.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use domain::workflow::{definition::FILE_BYTES_MAX, file::Diagnostic};
use http::header;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use workflow::registry::Source;

use crate::{
    SharedApp,
    api::fields::{self, Fields},
    extract::{BodyBytes, read_body},
    problem::{FieldError, Place, Problem},
};

/// A workflow's definition.
#[derive(Deserialize, ToSchema)]
#[schema(as = WorkflowInput)]
pub(super) struct WorkflowBody {
    /// Its name, whatever the definition says.
    #[schema(example = "slack_notification")]
    name: Option<String>,
    /// The definition as JSON, in the form of a workflow file.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// The definition as the text of a workflow file.
    source: Option<String>,
}

impl Fields for WorkflowBody {
    const KNOWN: &'static [&'static str] = &["name", "config", "source"];
    const IGNORED: &'static [&'static str] = &[
        "id",
        "description",
        "version",
        "label",
        "definition",
        "createdAt",
        "updatedAt",
    ];
}

/// A definition, of whichever form.
pub(super) enum Definition {
    /// The body is a workflow file.
    File(Bytes),
    /// The body is JSON.
    Json(WorkflowBody),
}

impl FromRequest<SharedApp> for Definition {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &SharedApp) -> Result<Self, Problem> {
        if is_yaml(&request) {
            let max = app.config.limits.body_bytes_max.min(FILE_BYTES_MAX);
            return read_body(request, max).await.map(Self::File);
        }
        let BodyBytes(body) = BodyBytes::from_request(request, app).await?;
        fields::parse(&body).map(Self::Json)
    }
}

fn is_yaml(request: &Request) -> bool {
    let media_type = request.headers().get(header::CONTENT_TYPE);
    let essence = media_type
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next())
        .unwrap_or_default()
        .trim();
    [
        "application/yaml",
        "application/x-yaml",
        "text/yaml",
        "text/x-yaml",
    ]
    .iter()
    .any(|yaml| essence.eq_ignore_ascii_case(yaml))
}

impl Definition {
    /// What is to be registered. `kept` is the name where neither body nor definition says one.
    pub fn into_source(self, kept: Option<String>) -> Result<Source, Problem> {
        match self {
            Self::File(text) => Ok(Source::File(text)),
            Self::Json(WorkflowBody {
                name,
                config: Some(config),
                source: None,
            }) => {
                let name = name.or_else(|| named_in(&config)).or(kept);
                let name = name.ok_or_else(|| Problem::field("name", "is required"))?;
                Ok(Source::Json { name, config })
            }
            Self::Json(WorkflowBody {
                name,
                config: None,
                source: Some(text),
            }) => {
                let text = Bytes::from(text);
                Ok(match name {
                    Some(name) => Source::NamedFile { name, text },
                    None => Source::File(text),
                })
            }
            Self::Json(_) => Err(Problem::field(
                "",
                "give one of `config` (the definition as JSON) or `source` (the text of a workflow file)",
            )),
        }
    }
}

/// The name that a definition says, in either dialect.
pub(super) fn named_in(config: &Value) -> Option<String> {
    let name = config
        .get("name")
        .or_else(|| config.get("flow")?.get("name"))?;
    name.as_str().map(str::to_owned)
}

/// All that is wrong with a definition.
pub(super) fn refused(found: Vec<Diagnostic>) -> Problem {
    let found: Vec<_> = found.into_iter().filter(Diagnostic::is_error).collect();
    if found.is_empty() {
        return Problem::internal(&"a definition was refused for nothing");
    }
    let places = found.iter().map(place).collect();
    Problem::fields(found.into_iter().map(error).collect()).at(places)
}

fn place(found: &Diagnostic) -> Place {
    let span = found.span;
    (span.line > 0).then_some((span.line, span.column))
}

fn error(found: Diagnostic) -> FieldError {
    let message = match found.help {
        Some(help) => format!("{}; {help}", found.message),
        None => found.message,
    };
    FieldError {
        path: found.path,
        message,
    }
}
