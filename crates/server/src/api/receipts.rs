//! `/api/v1/receipts`: what came in, and what became of it.

use axum::{extract::State, response::IntoResponse};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    ExecutionId, ReceiptId, SourceId, Timestamp, TriggerId,
    access::Scope,
    intake::{Door, Outcome, Receipt},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use store::ReceiptFilter;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    SharedApp,
    auth::Access,
    extract::{Id, Json, List, PageQuery, Query},
    intake::answer,
    problem::Problem,
};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(replay))
}

/// What came in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Receipt)]
struct ReceiptView {
    /// Its id.
    #[schema(value_type = String, example = "rcp_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: ReceiptId,
    /// Where it came in: `generic`, `source`, `trigger`.
    #[schema(example = "source")]
    door: &'static str,
    /// The source, for `source`.
    #[schema(required, value_type = Option<String>)]
    source_id: Option<SourceId>,
    /// The trigger, for `trigger`.
    #[schema(required, value_type = Option<String>)]
    trigger_id: Option<TriggerId>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    /// The sender's address.
    #[schema(required)]
    peer: Option<String>,
    /// `started`, `ignored` (genuine, and nothing wanted it), `challenge` (a handshake),
    /// `refused` (not genuine), `failed` (genuine, and could not be mapped or started).
    #[schema(value_type = String, example = "started")]
    outcome: Outcome,
    /// What its sender deduplicates by.
    #[schema(required)]
    event_id: Option<String>,
    /// What it started.
    #[schema(value_type = Vec<String>)]
    executions: Vec<ExecutionId>,
    /// Why it was refused, or which expression failed.
    #[schema(required)]
    reason: Option<String>,
    /// The receipt that this one repeats.
    #[schema(required, value_type = Option<String>)]
    replay_of: Option<ReceiptId>,
    /// The size of its body, in bytes.
    body_bytes: usize,
}

impl From<&Receipt> for ReceiptView {
    fn from(receipt: &Receipt) -> Self {
        let (door, source_id, trigger_id) = match receipt.door {
            Door::Generic => ("generic", None, None),
            Door::Source(id) => ("source", Some(id), None),
            Door::Trigger(id) => ("trigger", None, Some(id)),
        };
        Self {
            id: receipt.id,
            door,
            source_id,
            trigger_id,
            received_at: receipt.received_at,
            peer: receipt.peer.clone(),
            outcome: receipt.outcome,
            event_id: receipt.event_id.clone(),
            executions: receipt.executions.clone(),
            reason: receipt.reason.clone(),
            replay_of: receipt.replay_of,
            body_bytes: receipt.body.len(),
        }
    }
}

/// What came in, as it was kept.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WholeReceipt {
    /// The record.
    #[serde(flatten)]
    record: ReceiptView,
    /// Its headers, each a name and a value; `***` stands for credentials and signatures.
    headers: Vec<[String; 2]>,
    /// Its body, if that is text.
    #[schema(required)]
    body: Option<String>,
    /// Its body in base64, if that is no text.
    #[schema(required)]
    body_base64: Option<String>,
}

/// Which receipts are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct Filter {
    /// Only what came in at this source, by id.
    #[param(value_type = Option<String>)]
    source: Option<SourceId>,
    /// Only what came in at this trigger's URL.
    #[param(value_type = Option<String>)]
    trigger: Option<TriggerId>,
    /// Only with this outcome: `started`, `ignored`, `challenge`, `refused`, `failed`.
    #[param(value_type = Option<String>)]
    outcome: Option<Outcome>,
    /// Only since this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

/// List receipts
///
/// Newest first, without their bodies. Of refused requests, five per second and door are kept.
#[utoipa::path(
    get, path = "/api/v1/receipts", tag = "Receipts", operation_id = "listReceipts",
    params(Filter, PageQuery),
    responses((status = 200, description = "A page of receipts", body = List<ReceiptView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
    Query(filter): Query<Filter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<ReceiptView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let page = page.page()?;
    let door = match (filter.source, filter.trigger) {
        (Some(_), Some(_)) => {
            return Err(Problem::field("trigger", "goes not together with `source`"));
        }
        (Some(source), None) => Some(Door::Source(source)),
        (None, trigger) => trigger.map(Door::Trigger),
    };
    let filter = ReceiptFilter {
        door,
        outcome: filter.outcome,
        since: filter.since,
    };
    let receipts = app.intake()?.receipts(workspace, filter, page).await?;
    Ok(Json(List::new(
        &page,
        receipts,
        |receipt| receipt.id.to_string(),
        |receipt| ReceiptView::from(&receipt),
    )))
}

/// Show a receipt
///
/// With its headers and its body, byte for byte.
#[utoipa::path(
    get, path = "/api/v1/receipts/{id}", tag = "Receipts", operation_id = "getReceipt",
    params(("id" = String, Path, description = "The receipt's id", example = "rcp_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 200, description = "The receipt", body = WholeReceipt)),
)]
async fn show(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<ReceiptId>,
) -> Result<Json<WholeReceipt>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let found = app.intake()?.find_receipt(workspace, id).await?;
    let receipt = found.ok_or_else(|| Problem::not_found("receipt"))?;
    let text = std::str::from_utf8(&receipt.body).ok().map(str::to_owned);
    let encoded = text.is_none().then(|| STANDARD.encode(&receipt.body));
    Ok(Json(WholeReceipt {
        record: ReceiptView::from(&receipt),
        headers: serde_json::from_str(&receipt.headers).unwrap_or_default(),
        body: text,
        body_base64: encoded,
    }))
}

/// What a replay started.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReplayedReceipt {
    /// The new receipt.
    #[schema(value_type = String)]
    receipt_id: ReceiptId,
    /// What it started, by ids.
    #[schema(value_type = Vec<String>)]
    executions: Vec<ExecutionId>,
}

/// Replay a receipt
///
/// Runs the request once more, as its door's triggers are now. It is not verified again, and is
/// no duplicate of the first. What was refused cannot be replayed.
#[utoipa::path(
    post, path = "/api/v1/receipts/{id}/replay", tag = "Receipts", operation_id = "replayReceipt",
    params(("id" = String, Path, description = "The receipt's id", example = "rcp_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 202, description = "It was started again", body = ReplayedReceipt)),
)]
async fn replay(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<ReceiptId>,
) -> Result<impl IntoResponse, Problem> {
    let workspace = access.require(Scope::Write)?;
    let accepted = app.intake()?.replay(workspace, id).await;
    let accepted = accepted.map_err(answer::refused)?;
    let location = format!("/api/v1/receipts/{}", accepted.receipt);
    let body = ReplayedReceipt {
        receipt_id: accepted.receipt,
        executions: accepted.executions.iter().map(|it| it.id).collect(),
    };
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, location)],
        Json(body),
    ))
}
