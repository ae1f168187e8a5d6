//! What senders are answered.

use ::intake::{
    receive::{Accepted, ReceiveError},
    start::{Standing, StartError},
};
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use domain::{execution::ExecutionState, intake::handshake};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use std::time::Duration;
use utoipa::ToResponse;

use super::{public_url, respond, value};
use crate::{
    App,
    problem::{FieldError, Kind, Problem},
};

/// Only handshakes come as GET.
#[derive(ToResponse)]
#[response(description = "The source takes POST only")]
pub(super) struct OnlyPost;

/// A handshake's answer.
pub fn challenge(answer: handshake::Answer) -> Response {
    let headers = [(header::CONTENT_TYPE, answer.content_type)];
    (headers, answer.body).into_response()
}

/// What a source or a trigger answers: what it started, or what a person set.
pub fn source(accepted: &Accepted) -> Response {
    let response = &accepted.response;
    let ended = accepted.waited && accepted.executions.iter().all(has_ended);
    let usual = if accepted.duplicate || ended {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let status = response
        .status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(usual);
    if let Some(body) = &response.body {
        let media_type = response.content_type.as_deref().and_then(value);
        let mut answer = Response::new(Body::from(body.clone()));
        *answer.status_mut() = status;
        answer.headers_mut().insert(
            header::CONTENT_TYPE,
            media_type.unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8")),
        );
        return answer;
    }
    respond(status, &taken(accepted))
}

/// `{receiptId, duplicate, executions}`, with `results` where the answer waited.
pub fn taken(accepted: &Accepted) -> Value {
    let ids: Vec<String> = accepted
        .executions
        .iter()
        .map(|execution| execution.id.to_string())
        .collect();
    let mut body = json!({
        "receiptId": accepted.receipt,
        "duplicate": accepted.duplicate,
        "executions": ids,
    });
    if accepted.waited {
        body["results"] = accepted.executions.iter().map(result_of).collect();
    }
    body
}

fn result_of(execution: &Standing) -> Value {
    let mut result = json!({
        "executionId": execution.id,
        "workflow": execution.workflow,
        "state": execution.state,
    });
    if let Some(value) = &execution.result {
        result["result"] = parsed(value);
    }
    if let Some(error) = &execution.error {
        result["error"] = json!(error);
    }
    result
}

/// What the generic door answers (S3).
pub fn generic(app: &App, accepted: &Accepted) -> Response {
    let Some(execution) = accepted.executions.first() else {
        // Its workflow runs already and skips another, or retention has removed the first.
        let mut body = json!({ "status": "skipped", "receipt_id": accepted.receipt });
        body["duplicate"] = json!(accepted.duplicate);
        return respond(StatusCode::OK, &body);
    };
    let path = format!("/api/v1/executions/{}", execution.id);
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| {
        body.insert(name.to_owned(), value);
    };
    let (status, word) = match execution.state {
        ExecutionState::Completed => (StatusCode::OK, "success"),
        ExecutionState::Failed | ExecutionState::Stopped => {
            (StatusCode::INTERNAL_SERVER_ERROR, "error")
        }
        _ => (StatusCode::ACCEPTED, "accepted"),
    };
    put("status", json!(word));
    put("workflow_name", json!(execution.workflow));
    if let Some(result) = &execution.result {
        put("result", parsed(result));
    }
    match (&execution.error, execution.state) {
        (Some(error), _) => {
            put("error", json!(error.message));
            put("error_type", json!(error.kind));
        }
        (None, ExecutionState::Stopped) => put("error", json!("the execution was stopped")),
        _ => {}
    }
    put("execution_id", json!(execution.id));
    put("execution_url", json!(public_url(app, &path)));
    if accepted.duplicate {
        put("duplicate", json!(true));
    }
    // A duplicate is answered well whatever became of the first, so that its sender stops.
    let status = if accepted.duplicate {
        StatusCode::OK
    } else {
        status
    };
    let mut answer = respond(status, &Value::Object(body));
    if status == StatusCode::ACCEPTED
        && let Some(location) = value(&path)
    {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}

fn has_ended(execution: &Standing) -> bool {
    execution.state.is_final()
}

fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_default()
}

/// The refusal that a sender gets.
pub fn refused(error: ReceiveError) -> Problem {
    match error {
        ReceiveError::Unknown => Problem::new(
            Kind::NotFound,
            "Nothing takes requests here: there is no such source or trigger, or it is switched off.",
        ),
        ReceiveError::Method => {
            let mut headers = HeaderMap::new();
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            Problem::new(Kind::MethodNotAllowed, "Only POST is taken here.").with_headers(headers)
        }
        ReceiveError::Full(wait) => Problem::new(
            Kind::RateLimited,
            "This door takes no more requests at the moment. Send it again later.",
        )
        .retry_after(wait),
        ReceiveError::Refused(refusal) => {
            Problem::new(Kind::SignatureRefused, sentence(&refusal.message))
        }
        ReceiveError::Body(message) => Problem::new(Kind::InvalidJson, sentence(&message)),
        ReceiveError::Shape(faults) => Problem::fields_of(
            Kind::BadRequest,
            faults
                .into_iter()
                .map(|fault| FieldError {
                    path: fault.path,
                    message: fault.message,
                })
                .collect(),
        ),
        ReceiveError::Map(message) => Problem::new(Kind::NotMapped, sentence(&message)),
        ReceiveError::Unavailable(cause) => {
            tracing::error!(cause, "an inbound request's expression could not be run");
            Problem::new(
                Kind::Overloaded,
                "The request's expressions cannot be run at the moment. Send it again later.",
            )
            .retry_after(Duration::from_secs(5))
        }
        ReceiveError::Start(error) => not_started(error),
        error @ ReceiveError::NotReplayable(_) => Problem::conflict(sentence(&error.to_string())),
        ReceiveError::Store(error) => error.into(),
    }
}

fn not_started(error: StartError) -> Problem {
    match error {
        error @ StartError::UnknownWorkflow { .. } => {
            Problem::new(Kind::NotFound, sentence(&error.to_string()))
        }
        StartError::Invalid(faults) if faults.is_empty() => {
            Problem::field("inputs", "cannot be used by this workflow")
        }
        StartError::Invalid(faults) => Problem::fields(
            faults
                .into_iter()
                .map(|fault| FieldError {
                    path: within_inputs(&fault.path),
                    message: fault.message,
                })
                .collect(),
        ),
        StartError::Overloaded(detail) => {
            Problem::new(Kind::Overloaded, sentence(&detail)).retry_after(Duration::from_secs(1))
        }
        StartError::Store(error) => error.into(),
    }
}

fn within_inputs(path: &str) -> String {
    match path {
        "" => "inputs".to_owned(),
        path if path.starts_with('[') => format!("inputs{path}"),
        path => format!("inputs.{path}"),
    }
}

/// A message as a sentence of its own.
fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    let Some(first) = chars.next() else {
        return String::new();
    };
    let end = if message.ends_with(['.', '?', '!']) {
        ""
    } else {
        "."
    };
    format!("{}{}{end}", first.to_uppercase(), chars.as_str())
}
