//! What is read rather than called: the OpenAPI document, its page, the pages of the problem
//! types, and where `/` leads.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::{
    SharedApp,
    openapi::{self, errors, page},
    problem::{Kind, Problem},
};

/// What a page may load: its own style, nothing else, from nowhere.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Where the pages' style is served.
const STYLE_PATH: &str = "/api/docs/style.css";
/// How long documents may be kept by a browser.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The routes. All pages are rendered once, here.
pub fn routes(document: &Value) -> Router<SharedApp> {
    let json = serde_json::to_vec_pretty(document).expect("a document is JSON");
    let json = fixed("application/json", Bytes::from(json));
    let docs = fixed("text/html; charset=utf-8", page::reference(document).into());
    let style = fixed(
        "text/css; charset=utf-8",
        Bytes::from_static(include_bytes!("../openapi/style.css")),
    );
    let error_index = fixed("text/html; charset=utf-8", errors::index().into());
    Router::new()
        .route(openapi::DOCUMENT_PATH, json)
        .route("/api/docs", docs)
        .route(STYLE_PATH, style)
        .route("/errors", error_index)
        .route("/errors/{slug}", get(error_page))
        .route(
            "/",
            get(async || (StatusCode::SEE_OTHER, [(header::LOCATION, "/api/docs")])),
        )
}

fn fixed(media_type: &'static str, body: Bytes) -> axum::routing::MethodRouter<SharedApp> {
    let body = Arc::new(body);
    get(async move |_: Request| document_response(media_type, Bytes::clone(&body)))
}

fn document_response(media_type: &'static str, body: Bytes) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, CACHE);
    if media_type.starts_with("text/html") {
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(PAGE_POLICY),
        );
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        );
        headers.insert(
            "cross-origin-opener-policy",
            HeaderValue::from_static("same-origin"),
        );
    }
    response
}

async fn error_page(Path(slug): Path<String>) -> Result<Response, Problem> {
    let kind = Kind::ALL.iter().find(|kind| kind.slug() == slug);
    let kind = kind.ok_or_else(|| Problem::not_found("type of problem"))?;
    Ok(document_response(
        "text/html; charset=utf-8",
        errors::page(*kind).into(),
    ))
}
