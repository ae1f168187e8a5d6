//! The HTTP interface: a file per resource, each with its routes, bodies and documentation.
//!
//! A resource's file has a `routes()` that [`router`] merges here. A handler parses with
//! [`crate::extract`], names the scope it needs of [`crate::auth::Access`], calls one function of
//! the pipeline or the store, and renders. Refusals that follow from a route's shape (401, 404,
//! 422, …) are documented by [`crate::openapi`], so handlers document successes only.

mod callbacks;
mod deliveries;
mod documents;
mod event_types;
mod events;
mod executions;
mod fields;
mod keys;
mod listen;
mod nodes;
mod operations;
mod orchestration;
mod pools;
mod receipts;
mod replays;
mod session;
mod sources;
mod sse;
mod triggers;
mod users;
mod webhooks;
mod workflows;
mod workspaces;

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::{Router, body::Body, extract::MatchedPath};
use http::Request;
use store::NodeRole;
use tower::{Layer, Service};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    SharedApp,
    auth::Authenticated,
    intake, openapi,
    problem::{Kind, Problem},
};

/// Every resource with its documentation.
fn resources() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::with_openapi(openapi::preamble())
        .merge(session::routes())
        .merge(users::routes())
        .merge(workspaces::routes())
        .merge(keys::routes())
        .merge(events::routes())
        .merge(event_types::routes())
        .merge(webhooks::routes())
        .merge(deliveries::routes())
        .merge(replays::routes())
        .merge(sources::routes())
        .merge(triggers::routes())
        .merge(receipts::routes())
        .merge(intake::routes())
        .merge(listen::routes())
        .merge(nodes::routes())
        .merge(workflows::routes())
        .merge(executions::routes())
        .merge(callbacks::routes())
        .merge(pools::routes())
        .merge(orchestration::routes())
        .merge(operations::routes())
}

/// The router of everything that this node serves: a worker tells of its health and no more.
pub fn router(app: &SharedApp) -> Router {
    if app.role() == NodeRole::Worker {
        let (router, _) = operations::routes().split_for_parts();
        return router
            .route_layer(NameRoute)
            .fallback(no_api)
            .method_not_allowed_fallback(no_method)
            .with_state(app.clone());
    }
    let (router, _) = resources().split_for_parts();
    router
        .merge(documents::routes())
        .route_layer(NameRoute)
        .fallback(no_path)
        .method_not_allowed_fallback(no_method)
        .with_state(app.clone())
}

/// The OpenAPI document of everything that is served.
pub fn document() -> serde_json::Value {
    openapi::complete(resources().into_openapi())
}

async fn no_path() -> Problem {
    Problem::new(Kind::NotFound, "There is no such path.")
}

async fn no_api() -> Problem {
    Problem::new(
        Kind::NotFound,
        "This node only delivers (`--only worker`): it serves /healthz, /readyz and /metrics. \
         Ask a node that serves the API.",
    )
}

async fn no_method() -> Problem {
    Problem::new(
        Kind::MethodNotAllowed,
        "The Allow header names the methods that the path takes.",
    )
}

/// Tells the front which route answers, for the metrics.
#[derive(Clone, Copy)]
struct NameRoute;

impl<S> Layer<S> for NameRoute {
    type Service = NamedRoute<S>;

    fn layer(&self, inner: S) -> NamedRoute<S> {
        NamedRoute(inner)
    }
}

#[derive(Clone)]
struct NamedRoute<S>(S);

impl<S> Service<Request<Body>> for NamedRoute<S>
where
    S: Service<Request<Body>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        let extensions = request.extensions();
        if let (Some(known), Some(path)) = (
            extensions.get::<Authenticated>(),
            extensions.get::<MatchedPath>(),
        ) {
            // Only one route answers a request, so this is the first and only name.
            let _ = known.route.set(path.clone());
        }
        self.0.call(request)
    }
}
