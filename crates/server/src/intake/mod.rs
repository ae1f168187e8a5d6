//! The doors: `/webhooks/generic`, `/webhooks/{source}`, `/triggers/{id}`, and S0's
//! `/api/v1/webhooks/receive`.
//!
//! What a door does is in the crate of the same name; here requests become its values and its
//! answers become HTTP ([`answer`]). A request's size is limited by its door, before it is read.

pub mod answer;
mod call;

use std::sync::Arc;

use ::intake::{
    Edge, Intake, Parts, Settings,
    map::Jq,
    receive::{self, Address, Reply},
    start::Starter,
};
use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use domain::{TriggerId, intake::Headers, seal::SealingKey};
use http::{HeaderMap, HeaderValue, Request, header};
use serde_json::{Value, json};
use store::{NodeRole, Store, StoreError};
use url::Url;
use utoipa_axum::{router::OpenApiRouter, routes};
use zeroize::Zeroizing;

use crate::{
    App, SharedApp,
    extract::{Json, read_body},
    front::ClientAddress,
    problem::{Kind, Problem},
};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(generic, generic_usage))
        .routes(routes!(source, source_handshake))
        .routes(routes!(trigger))
        .routes(routes!(call::receive))
}

/// Opens the doors of a server: loads sources and triggers from its store, and has `starter` start
/// what they start. `secrets` are those of the generic door ([`Settings::generic_secret`]). A
/// worker node, which takes no requests, opens none.
///
/// # Errors
/// If the store fails.
pub async fn open_doors(
    app: &App,
    starter: Arc<dyn Starter>,
    jq: Arc<dyn Jq>,
    secrets: Vec<Zeroizing<String>>,
) -> Result<(), StoreError> {
    if app.role() == NodeRole::Worker {
        return Ok(());
    }
    let edge = app.edge();
    let entropy = Arc::clone(&edge.entropy);
    let sealing = SealingKey::parse(&app.sealing().to_text());
    let parts = Parts {
        records: Arc::<dyn Store>::clone(app.store()),
        workflows: Arc::<dyn Store>::clone(app.store()),
        starter,
        jq,
        sealing: Arc::new(sealing.expect("a key reads its own text")),
        edge: Edge {
            clock: Arc::clone(&edge.clock),
            ids: Arc::clone(&edge.ids),
            random: Arc::new(move |bytes: &mut [u8]| entropy.fill(bytes)),
        },
    };
    let settings = Settings {
        generic_secrets: secrets,
        generic_workspace: None,
    };
    app.set_intake(Intake::load(parts, settings).await?);
    Ok(())
}

/// Whether the door that a request asks for lets only verified ones in.
pub fn is_verified(app: &App, request: &Request<Body>) -> bool {
    let path = request.uri().path();
    let Ok(intake) = app.intake() else {
        return false;
    };
    match path.split('/').collect::<Vec<_>>()[..] {
        ["", "webhooks", "generic"] => intake.is_verified(Address::Generic),
        ["", "webhooks", name] => intake.is_verified(Address::Source(name)),
        ["", "triggers", _] => true,
        _ => false,
    }
}

/// Where others reach a path of this server: below the public URL, if one is set.
pub fn public_url(app: &App, path: &str) -> String {
    match &app.config.public_url {
        Some(base) => below(base, path),
        None => path.to_owned(),
    }
}

fn below(base: &Url, path: &str) -> String {
    format!("{}{path}", base.as_str().trim_end_matches('/'))
}

/// Start a workflow by its name
///
/// Waits up to 30 seconds for the end: 200 with the result, or 500 with `status: "error"` if the
/// run failed. A run that takes longer, and any with `Prefer: respond-async`, is answered with 202
/// and the execution's URL. A repeated `webhook_id` (or `id`, or `Idempotency-Key`) starts nothing:
/// 200 with the first execution. Where the server has a secret for this door, `X-Webhook-Signature`
/// or `X-Signature` is the hexadecimal HMAC-SHA256 of the body, with or without `sha256=`.
#[utoipa::path(
    post, path = "/webhooks/generic", tag = "Doors", operation_id = "receiveGeneric",
    request_body(content = inline(call::GenericBody), description = "Which workflow, with what", content_type = "application/json"),
    responses(
        (status = 200, description = "It has ended, or it is a duplicate", body = Value),
        (status = 202, description = "It was started, and has not ended", body = Value),
    ),
    security(()),
)]
async fn generic(
    State(app): State<SharedApp>,
    ClientAddress(peer): ClientAddress,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let accepted = match take(&app, Address::Generic, peer, request).await? {
        Reply::Accepted(accepted) => accepted,
        Reply::Challenge(handshake) => return Ok(answer::challenge(handshake)),
    };
    Ok(answer::generic(&app, &accepted))
}

/// How to start a workflow
///
/// Says how the generic door is used: to see that it is there.
#[utoipa::path(
    get, path = "/webhooks/generic", tag = "Doors", operation_id = "describeGeneric",
    responses((status = 200, description = "How it is used", body = Value)),
    security(()),
)]
async fn generic_usage(State(app): State<SharedApp>) -> Json<Value> {
    let signed = app
        .intake()
        .is_ok_and(|intake| intake.is_verified(Address::Generic));
    Json(json!({
        "status": "ok",
        "method": "POST",
        "url": public_url(&app, "/webhooks/generic"),
        "contentType": "application/json",
        "signature": if signed { "required" } else { "none is set" },
        "signatureHeaders": ["X-Webhook-Signature", "X-Signature"],
        "signatureScheme": "hexadecimal HMAC-SHA256 of the body, `sha256=` before it or not",
        "body": {
            "workflow_name": "the name of a registered workflow",
            "inputs": { "name": "value" },
            "webhook_id": "optional: a second request with the same id starts nothing",
        },
        "headers": { "Prefer": "respond-async, to be answered before the workflow has ended" },
    }))
}

/// Send to a source
///
/// Whatever the source's provider sends, signed as it signs. Taken means that it is on disk.
#[utoipa::path(
    post, path = "/webhooks/{source}", tag = "Doors", operation_id = "receiveSource",
    params(("source" = String, Path, description = "The source's name", example = "github")),
    request_body(content = Value, description = "Anything", content_type = "application/json"),
    responses(
        (status = 200, description = "It has ended, or it is a duplicate, or a handshake's answer", body = Value),
        (status = 202, description = "It was taken", body = Value),
    ),
    security(()),
)]
async fn source(
    State(app): State<SharedApp>,
    ClientAddress(peer): ClientAddress,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    match take(&app, Address::Source(&name), peer, request).await? {
        Reply::Accepted(accepted) => Ok(answer::source(&accepted)),
        Reply::Challenge(handshake) => Ok(answer::challenge(handshake)),
    }
}

/// Answer a provider's question
///
/// Meta asks for `hub.challenge` before it sends to a URL.
#[utoipa::path(
    get, path = "/webhooks/{source}", tag = "Doors", operation_id = "answerHandshake",
    params(
        ("source" = String, Path, description = "The source's name", example = "whatsapp"),
        ("hub.mode" = Option<String>, Query, description = "`subscribe`"),
        ("hub.verify_token" = Option<String>, Query, description = "The token that was set"),
        ("hub.challenge" = Option<String>, Query, description = "What is to be given back"),
    ),
    responses(
        (status = 200, description = "The challenge", body = String, content_type = "text/plain"),
        (status = 405, response = inline(answer::OnlyPost)),
    ),
    security(()),
)]
async fn source_handshake(
    app: State<SharedApp>,
    peer: ClientAddress,
    name: Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    source(app, peer, name, request).await
}

/// Send to a trigger
///
/// `x-signature` is the hexadecimal HMAC-SHA256 of the body under the trigger's key. What
/// JavaScript's `JSON.stringify` makes of the body may be signed instead.
#[utoipa::path(
    post, path = "/triggers/{id}", tag = "Doors", operation_id = "receiveTrigger",
    params(("id" = String, Path, description = "The trigger's id", example = "trg_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    request_body(content = Value, description = "What the workflow gets", content_type = "application/json"),
    responses(
        (status = 200, description = "It is a duplicate", body = Value),
        (status = 202, description = "It was taken", body = Value),
    ),
    security(()),
)]
async fn trigger(
    State(app): State<SharedApp>,
    ClientAddress(peer): ClientAddress,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let id: TriggerId = id
        .parse()
        .map_err(|_| Problem::new(Kind::NotFound, "There is nothing with this id."))?;
    match take(&app, Address::Trigger(id), peer, request).await? {
        Reply::Accepted(accepted) => Ok(answer::source(&accepted)),
        Reply::Challenge(handshake) => Ok(answer::challenge(handshake)),
    }
}

/// The way of one request through its door.
async fn take(
    app: &SharedApp,
    address: Address<'_>,
    peer: std::net::IpAddr,
    request: Request<Body>,
) -> Result<Reply, Problem> {
    let intake = app.intake()?;
    let opened = intake.open(address).map_err(answer::refused)?;
    let (parts, body) = request.into_parts();
    let body = read_body(Request::new(body), opened.body_bytes_max).await?;
    let request = receive::Request {
        method: parts.method.as_str().to_owned(),
        url: called_url(app, &parts.uri, &parts.headers),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: headers(&parts.headers),
        body,
        peer: Some(peer.to_string()),
        respond_async: prefers_async(&parts.headers),
        local: app.gatekeeper.is_local(),
    };
    // A task of its own: a sender that hangs up does not cut off what was begun.
    let intake = intake.clone();
    let work = tokio::spawn(async move { intake.receive(&opened, request).await });
    match work.await {
        Ok(reply) => reply.map_err(answer::refused),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => Err(Problem::internal(&cancelled)),
        },
    }
}

/// The URL as the sender wrote it: the public one, or what the request itself says.
fn called_url(app: &App, uri: &http::Uri, headers: &HeaderMap) -> String {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if let Some(base) = &app.config.public_url {
        return below(base, path);
    }
    let host = uri.authority().map(http::uri::Authority::as_str);
    let host = host.or_else(|| headers.get(header::HOST)?.to_str().ok());
    format!("http://{}{path}", host.unwrap_or_default())
}

fn headers(headers: &HeaderMap) -> Headers {
    Headers::new(headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    }))
}

/// RFC 7240.
fn prefers_async(headers: &HeaderMap) -> bool {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}

/// A JSON answer of some status.
fn respond(status: http::StatusCode, body: &Value) -> Response {
    (status, Json(body)).into_response()
}

/// A header's value of text that is known to be printable; nothing otherwise.
fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}
