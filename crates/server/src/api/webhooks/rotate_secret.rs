//! `POST /api/v1/webhooks/{id}/rotate-secret`.

use std::time::Duration;

use axum::extract::State;
use domain::{WebhookId, access::Scope};
use serde::Deserialize;
use utoipa::ToSchema;

use super::view::WebhookWithSecret;
use crate::{
    SharedApp,
    api::fields::{self, Fields},
    auth::Access,
    extract::{BodyBytes, Id, Json},
    problem::Problem,
};

/// How a secret is rotated.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RotateSecret {
    /// The new secret; made where none is given.
    #[schema(min_length = 1, max_length = 256)]
    secret: Option<String>,
    /// How long the old secret still signs beside the new one, in seconds; 0 ends it at once.
    #[schema(maximum = 2_592_000, default = 86400)]
    overlap_seconds: Option<u64>,
}

impl Fields for RotateSecret {
    const KNOWN: &'static [&'static str] = &["secret", "overlapSeconds"];
}

/// Rotate a webhook's secret
///
/// For a while `webhook-signature` carries a signature of each secret, so that the receiver can
/// change over without losing a delivery; the hexadecimal headers are the new secret's at once.
/// The body may be left out.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{id}/rotate-secret", tag = "Webhooks", operation_id = "rotateWebhookSecret",
    params(("id" = String, Path, description = "The webhook's id", example = "whk_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    request_body = Option<RotateSecret>,
    responses((status = 200, description = "The webhook, with its new secret", body = WebhookWithSecret)),
)]
pub(super) async fn rotate_secret(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<WebhookId>,
    BodyBytes(body): BodyBytes,
) -> Result<Json<WebhookWithSecret>, Problem> {
    let workspace = access.require(Scope::Write)?;
    let RotateSecret {
        secret,
        overlap_seconds,
    } = fields::parse_or_empty(&body)?;
    let overlap = overlap_seconds.map(Duration::from_secs);
    let rotated = app
        .pipeline
        .rotate_secret(workspace, id, secret, overlap)
        .await?;
    Ok(Json(WebhookWithSecret::new(&app, rotated)))
}
