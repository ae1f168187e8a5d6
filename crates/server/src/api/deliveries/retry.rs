//! `POST /api/v1/deliveries/{id}/retry`: one delivery attempted now, whatever its schedule says.

use axum::extract::State;
use domain::{DeliveryId, access::Scope};
use http::StatusCode;
use store::Retried;

use super::{DeliveryDetail, detail, find};
use crate::{
    SharedApp,
    api::webhooks,
    auth::Access,
    extract::{Id, Json},
    problem::Problem,
};

/// Retry a delivery
///
/// It is attempted next, before all others of its webhook. One that was given up gets one more
/// attempt; one that had arrived is sent once more.
#[utoipa::path(
    post, path = "/api/v1/deliveries/{id}/retry", tag = "Deliveries", operation_id = "retryDelivery",
    params(("id" = String, Path, description = "The delivery's id", example = "dlv_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 202, description = "It is due", body = DeliveryDetail)),
)]
pub(super) async fn retry(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<DeliveryId>,
) -> Result<(StatusCode, Json<DeliveryDetail>), Problem> {
    let workspace = access.require(Scope::Write)?;
    let delivery = find(&app, workspace, id).await?;
    // What is due to a webhook that is not sent to would wait, or be given up again.
    let webhook = webhooks::find(&app, workspace, delivery.webhook).await;
    let webhook = webhook.map_err(|_| Problem::conflict("The delivery's webhook is gone."))?;
    if !webhook.is_active() {
        return Err(Problem::conflict(
            "The delivery's webhook is not active: switch it on first.",
        ));
    }
    match app.pipeline.retry(workspace, id).await? {
        Retried::Due(_) => {
            let delivery = find(&app, workspace, id).await?;
            Ok((
                StatusCode::ACCEPTED,
                Json(detail(&app, workspace, delivery).await?),
            ))
        }
        Retried::InFlight(_) => Err(Problem::conflict(
            "An attempt of the delivery runs at this moment.",
        )),
        Retried::Unknown => Err(Problem::not_found("delivery")),
    }
}
