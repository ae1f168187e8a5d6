//! What stands before the router, in the order in which a request meets it:
//!
//! Which of these apply, [`RouteClass`] says by the path alone. What comes in from outside senders
//! is judged by `crate::intake` and passes 2 to 4 by: a provider's credentials are none of ours.
//!
//! 1. in local mode, foreign hosts and origins are refused ([`crate::auth::origin`]);
//! 2. credentials become an [`Identity`] or a problem, which the handler's
//!    [`crate::auth::Access`] hands out; public routes never ask;
//! 3. the caller is metered ([`crate::limits`]), and so are addresses that come with wrong
//!    credentials;
//! 4. a POST with an `Idempotency-Key` is answered once ([`crate::idempotency`]);
//! 5. the router runs; a panic becomes a problem;
//! 6. every answer gets the headers that all answers carry, and is counted.
//!
//! All of it is one function rather than a stack of layers: the publish path runs thousands of
//! times a second, and each boxed layer would cost it an allocation.

use std::{
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Instant,
};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, MatchedPath},
    response::IntoResponse,
};
use domain::{Timestamp, format::HOPS_HEADER};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header, request::Parts};
use tower::ServiceExt;

use crate::{
    SharedApp, api,
    auth::{Authenticated, Identity, Subject, origin},
    idempotency,
    limits::{Address, ApiLimit, Caller, Verdict},
    problem::{Kind, Problem},
};

/// Answers requests: the router with everything that stands before it.
#[derive(Clone)]
pub struct Front {
    app: SharedApp,
    router: Router,
    limit: Option<Arc<ApiLimit>>,
}

impl Front {
    /// The whole HTTP interface of `app`.
    pub fn new(app: SharedApp) -> Self {
        let limit = app
            .config
            .limits
            .requests_per_minute
            .map(|limit| Arc::new(ApiLimit::new(limit)));
        let router = api::router(&app);
        Self { app, router, limit }
    }

    /// The state behind it.
    pub fn app(&self) -> &SharedApp {
        &self.app
    }

    /// Answers one request that came from `peer`. Never fails: what goes wrong is an answer.
    pub async fn handle(&self, request: Request<Body>, peer: SocketAddr) -> Response<Body> {
        let began = Instant::now();
        let method = request.method().clone();
        let class = RouteClass::of(request.uri().path());
        let route = Arc::new(OnceLock::new());
        let answer = self.answer(request, class, peer, Arc::clone(&route));
        let answer = AssertUnwindSafe(answer).catch_unwind().await;
        let mut response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(problem)) => problem.into_response(),
            Err(panic) => Problem::internal(&panic_text(&*panic)).into_response(),
        };
        if class.is_message()
            && let Some(problem) = response.extensions_mut().remove::<Problem>()
        {
            let headers = std::mem::take(response.headers_mut());
            response = problem.into_message_response();
            keep_headers(headers, response.headers_mut());
        }
        finish(response.headers_mut());
        if self.app.is_draining() {
            // Whoever keeps the connection would find it closed on the next request.
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let route = route.get().map(MatchedPath::as_str);
        self.app
            .metrics
            .answered(&method, route, response.status(), began.elapsed());
        response
    }

    async fn answer(
        &self,
        mut request: Request<Body>,
        class: RouteClass,
        peer: SocketAddr,
        route: Arc<OnceLock<MatchedPath>>,
    ) -> Result<Response<Body>, Problem> {
        let app = &self.app;
        let now = app.now();
        let local = app.gatekeeper.is_local();
        let guarded = class != RouteClass::Intake || !crate::intake::is_verified(app, &request);
        if local && guarded {
            origin::check(
                request.headers(),
                request.uri(),
                &app.config.access.trusted_hosts,
            )?;
        }
        let headers = request.headers();
        let is_own =
            headers.contains_key(HOPS_HEADER) && !headers.contains_key(header::AUTHORIZATION);
        if local && class.is_for_people() && is_own {
            return Err(origin::own_request());
        }
        let from = self.client_address(request.headers(), peer.ip());
        if class == RouteClass::Intake {
            return self.take_in(request, from, route).await;
        }
        let identity = self.identify(request.headers(), from, now).await?;
        let verdict = match &identity {
            Ok(identity) if !local && class.is_metered(request.method()) => {
                self.meter(identity, from, now)?
            }
            _ => None,
        };
        let repeatable = class.keeps_answers() && idempotency::applies(&request);
        let asked_by = identity.as_ref().ok().cloned();
        request.extensions_mut().insert(Authenticated {
            identity,
            from,
            route,
        });
        let mut response = match asked_by {
            Some(identity) if repeatable => {
                let router = self.router.clone();
                idempotency::answer_once(app.clone(), &identity, request, router).await?
            }
            _ => match self.router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
        };
        if let (Some(limit), Some(verdict)) = (&self.limit, verdict) {
            limit.describe(verdict, response.headers_mut());
        }
        Ok(response)
    }

    /// Passes on what outside senders send. Nobody is identified.
    async fn take_in(
        &self,
        mut request: Request<Body>,
        from: IpAddr,
        route: Arc<OnceLock<MatchedPath>>,
    ) -> Result<Response<Body>, Problem> {
        request.extensions_mut().insert(Authenticated {
            identity: Err(Problem::unauthenticated("Nobody is identified here.")),
            from,
            route,
        });
        match self.router.clone().oneshot(request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }

    async fn identify(
        &self,
        headers: &HeaderMap,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Result<Arc<Identity>, Problem>, Problem> {
        let gate = &self.app.gatekeeper;
        // Behind a proxy of the same machine all callers have its address.
        let tries = headers.contains_key(header::AUTHORIZATION) && !from.is_loopback();
        let identity = gate.authenticate(headers, self.app.store(), now).await;
        // Good credentials pass from wherever: many share an address (a proxy's, an office's), and
        // one client with an expired token must not shut out the others. Keys and tokens are too
        // long to be guessed at any rate.
        if tries && matches!(&identity, Err(problem) if problem.kind() == Kind::Unauthenticated) {
            let verdict = gate.failures.take(Address::from(from), now);
            if !verdict.allowed {
                let problem = Problem::new(
                    Kind::RateLimited,
                    "Too many wrong credentials from your address.",
                );
                return Err(problem.retry_after(verdict.wait));
            }
        }
        Ok(identity.map(Arc::new))
    }

    fn meter(
        &self,
        identity: &Identity,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<Option<Verdict>, Problem> {
        let Some(limit) = &self.limit else {
            return Ok(None);
        };
        let caller = match identity.subject {
            Subject::User { id, .. } => Caller::User(id),
            Subject::Key { id } => Caller::Key(id),
            Subject::Local => Caller::Address(from.into()),
        };
        let verdict = limit.take(caller, now);
        if verdict.allowed {
            return Ok(Some(verdict));
        }
        let mut headers = HeaderMap::new();
        limit.describe(verdict, &mut headers);
        Err(Problem::new(
            Kind::RateLimited,
            "You have used up your requests. Wait, then try again.",
        )
        .retry_after(verdict.wait)
        .with_headers(headers))
    }

    /// Where a request comes from: the peer, or what a trusted proxy says of it.
    fn client_address(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let trusted = &self.app.config.access.trusted_proxies;
        let is_trusted = |ip: &IpAddr| trusted.iter().any(|network| network.contains(ip));
        if trusted.is_empty() || !is_trusted(&peer) {
            return peer;
        }
        let forwarded: Vec<IpAddr> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|address| address.trim().parse().ok())
            .collect();
        forwarded
            .into_iter()
            .rev()
            .find(|ip| !is_trusted(ip))
            .unwrap_or(peer)
    }
}

/// How requests of a path are treated, before anything else of them is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteClass {
    /// `/webhooks/…` and `/triggers/…`: outside senders, whose signatures are checked there.
    Intake,
    /// Publishing: metered by the store's queue, and idempotent in a way of its own.
    Publish,
    /// A login: no answer is kept, since each makes a new token.
    Login,
    /// S2's login.
    MessageLogin,
    /// The rest of S2's interface, whose refusals are `{"message": …}`.
    Message,
    /// The rest of the API.
    Api,
    /// Pages, documents, health.
    Page,
}

impl RouteClass {
    /// Whether only people and their programs ask for it: events and doors are also for webhooks
    /// and workflows.
    const fn is_for_people(self) -> bool {
        !matches!(self, Self::Intake | Self::Publish | Self::Page)
    }

    /// The class of a path.
    pub fn of(path: &str) -> Self {
        match path {
            "/api/v1/events" | "/api/v1/events/batch" => Self::Publish,
            "/api/v1/auth/login" => Self::Login,
            "/api/auth/login" => Self::MessageLogin,
            _ if path.starts_with("/webhooks/") || path.starts_with("/triggers/") => Self::Intake,
            _ if is_message_path(path) => Self::Message,
            _ if path.starts_with("/api/") => Self::Api,
            _ => Self::Page,
        }
    }

    /// Whether refusals are `{"message": …}` rather than RFC 9457.
    const fn is_message(self) -> bool {
        matches!(self, Self::Message | Self::MessageLogin)
    }

    /// Whether requests count against the caller's limit.
    fn is_metered(self, method: &Method) -> bool {
        self != Self::Publish || method != Method::POST
    }

    /// Whether an answer is kept for its `Idempotency-Key`.
    const fn keeps_answers(self) -> bool {
        matches!(self, Self::Message | Self::Api)
    }
}

/// Whether a path belongs to S2's interface, whose refusals are `{"message": …}`.
pub fn is_message_path(path: &str) -> bool {
    path.strip_prefix("/api/").is_some_and(|rest| {
        !matches!(
            rest.split('/').next(),
            None | Some("" | "v1" | "docs" | "openapi.json")
        )
    })
}

/// Takes over what describes the refusal rather than its body.
fn keep_headers(from: HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if let Some(name) = name
            && name != header::CONTENT_TYPE
            && name != header::CONTENT_LENGTH
        {
            to.insert(name, value);
        }
    }
}

fn finish(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a handler panicked: {}", text.unwrap_or("no message"))
}

/// Where a request comes from, as far as that can be told.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

impl FromRequestParts<SharedApp> for ClientAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &SharedApp) -> Result<Self, Problem> {
        let known = parts.extensions.get::<Authenticated>();
        known
            .map(|known| Self(known.from))
            .ok_or_else(|| Problem::internal(&"a request did not pass the front"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_s_class_follows_from_its_beginning() {
        for (path, class) in [
            ("/webhooks/generic", RouteClass::Intake),
            ("/triggers/trg_1", RouteClass::Intake),
            ("/api/v1/webhooks/receive", RouteClass::Api),
            ("/api/v1/events", RouteClass::Publish),
            ("/api/v1/events/evt_1", RouteClass::Api),
            ("/api/v1/auth/login", RouteClass::Login),
            ("/api/auth/login", RouteClass::MessageLogin),
            ("/api/webhooks", RouteClass::Message),
            ("/healthz", RouteClass::Page),
            ("/webhooksx", RouteClass::Page),
        ] {
            assert_eq!(RouteClass::of(path), class, "{path}");
        }
        assert!(RouteClass::MessageLogin.is_message());
        assert!(!RouteClass::MessageLogin.keeps_answers());
        assert!(RouteClass::Publish.is_metered(&Method::GET));
    }

    #[test]
    fn only_the_second_interface_answers_with_a_message() {
        for path in [
            "/api/webhooks",
            "/api/webhooks/x",
            "/api/auth/login",
            "/api/workflows",
        ] {
            assert!(is_message_path(path), "{path}");
        }
        for path in [
            "/api/v1/webhooks",
            "/api/v1",
            "/api/docs/style.css",
            "/api/openapi.json",
            "/api/",
            "/healthz",
            "/",
            "/apix",
            "/webhooks/generic",
        ] {
            assert!(!is_message_path(path), "{path}");
        }
    }
}
