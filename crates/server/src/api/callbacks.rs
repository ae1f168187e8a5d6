//! `POST /callbacks/{execution}/{node}/{signature}`: an outside system's answer to a node that
//! waits for it. Whoever holds the address may answer, once; [`crate::callbacks`] makes it.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    response::IntoResponse,
};
use bytes::Bytes;
use domain::{ExecutionId, execution::Signal};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use store::Signalled;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::executions::waits_for;
use crate::{
    SharedApp,
    extract::{Json, Path, read_body},
    problem::{Kind, Problem},
};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new().routes(routes!(answer))
}

/// That an answer is kept.
#[derive(Serialize, ToSchema)]
struct KeptCallback {
    /// Always `accepted`.
    #[schema(example = "accepted")]
    status: &'static str,
    /// The execution that it is for.
    #[schema(value_type = String)]
    execution_id: ExecutionId,
}

/// Answer a node that waits for a callback
///
/// The address comes from Signpost: workflows show it as `{callbacks.<node>}`, and the timeline of
/// the execution has it as `callbackUrl`. A body that is not JSON counts as text. Works once: later
/// answers are refused with 409.
#[utoipa::path(
    post, path = "/callbacks/{execution}/{node}/{signature}", tag = "Executions", operation_id = "answerCallback",
    security(()),
    params(
        ("execution" = String, Path, description = "The execution's id"),
        ("node" = String, Path, description = "The node that waits"),
        ("signature" = String, Path, description = "What shows that the address was made here"),
    ),
    request_body(content = Value, description = "Any JSON, or any text", content_type = "application/json"),
    responses((status = 202, description = "The answer is kept", body = KeptCallback)),
)]
async fn answer(
    State(app): State<SharedApp>,
    Path((execution, node, token)): Path<(String, String, String)>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let unknown = || Problem::not_found("callback");
    let id: ExecutionId = execution.parse().map_err(|_| unknown())?;
    let workspace = app.callbacks.check(id, &node, &token).ok_or_else(unknown)?;
    let body = read(&read_body(request, app.config.limits.body_bytes_max).await?);
    let steps = app.store().steps(workspace, id).await?;
    let begun = steps.iter().any(|step| step.key.node == node);
    let open = steps
        .iter()
        .filter(|step| step.key.node == node && waits_for(step, "callback"));
    for step in open {
        let signal = Signal::Callback {
            step: step.number,
            body: body.clone(),
        };
        match app.engine.signal(workspace, id, signal).await? {
            Signalled::Held { .. } | Signalled::Due => {
                let kept = KeptCallback {
                    status: "accepted",
                    execution_id: id,
                };
                return Ok((StatusCode::ACCEPTED, Json(kept)));
            }
            // Answered already; in a map, another item may wait.
            Signalled::Refused(_) => {}
            Signalled::Unknown => return Err(unknown()),
        }
    }
    let Some(execution) = app.store().execution(workspace, id).await? else {
        return Err(unknown());
    };
    if !execution.state.is_final() && !begun {
        // It may be about to: whoever was asked answers before the asking is on disk.
        let early = "The node does not wait for the callback yet. Send it again in a moment.";
        return Err(Problem::new(Kind::Overloaded, early).retry_after(Duration::from_secs(1)));
    }
    Err(Problem::conflict(
        "The node does not wait for a callback: it has been answered, its time has passed, or it has not begun to wait.",
    ))
}

/// A body as a value: JSON, else text; nothing is null.
fn read(body: &Bytes) -> Value {
    if body.trim_ascii().is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_that_is_not_json_is_text() {
        for (body, value) in [
            ("", json!(null)),
            (r#"{"a":1}"#, json!({ "a": 1 })),
            ("status=ok", json!("status=ok")),
        ] {
            assert_eq!(read(&Bytes::from(body)), value);
        }
    }
}
