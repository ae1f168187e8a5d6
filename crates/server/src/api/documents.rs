//! What is read rather than called: the OpenAPI document, its page, the pages of the problem
//! types, and where `/` leads.

use std::sync::LazyLock;

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

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

/// The document, and the page made of it: rendered when they are first asked for, since an idle
/// server should be small.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let document = super::document();
    serde_json::to_vec_pretty(&document)
        .expect("a document is JSON")
        .into()
});
static REFERENCE: LazyLock<Bytes> = LazyLock::new(|| page::reference(&super::document()).into());

/// The routes.
pub fn routes() -> Router<SharedApp> {
    const HTML: &str = "text/html; charset=utf-8";
    let style = Bytes::from_static(include_bytes!("../openapi/style.css"));
    Router::new()
        .route(
            openapi::DOCUMENT_PATH,
            get(async || document_response("application/json", DOCUMENT.clone())),
        )
        .route(
            "/api/docs",
            get(async || document_response(HTML, REFERENCE.clone())),
        )
        .route(
            STYLE_PATH,
            get(async || document_response("text/css; charset=utf-8", style)),
        )
        .route(
            "/errors",
            get(async || document_response(HTML, errors::index().into())),
        )
        .route("/errors/{slug}", get(error_page))
        .route(
            "/",
            get(async || (StatusCode::SEE_OTHER, [(header::LOCATION, "/api/docs")])),
        )
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
