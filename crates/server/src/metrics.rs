//! What `/metrics` shows, in the `OpenMetrics` text format.
//!
//! Counters and histograms are kept where things happen; what can be asked for (queue depth, the
//! store's size) is asked for when somebody looks.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use store::{CommitObserver, SharedStore, StoreError};
use tokio::time::timeout;

use crate::{SharedApp, problem::Problem};

/// The media type of the `OpenMetrics` text format.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long the store may take to answer before the metrics are shown without it.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// The route of an answer that no route gave.
const NO_ROUTE: &str = "none";

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Route {
    route: String,
}

/// The server's metrics.
pub struct Metrics {
    registry: Registry,
    answers: Family<Answer, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    commits: Arc<Commits>,
    queue_pending: Gauge,
    queue_held: Gauge,
    store_bytes: Gauge,
    store_free_bytes: Gauge,
    store_up: Gauge,
}

/// Watches the store's commits.
struct Commits {
    sizes: Histogram,
    seconds: Histogram,
}

impl CommitObserver for Commits {
    fn committed(&self, transitions: usize, took: Duration) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a batch is far smaller than 2^52"
        )]
        self.sizes.observe(transitions as f64);
        self.seconds.observe(took.as_secs_f64());
    }
}

fn seconds_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let answers = Family::default();
        registry.register(
            "signpost_http_requests",
            "Requests answered",
            answers.clone(),
        );
        let durations = Family::new_with_constructor(seconds_histogram as fn() -> Histogram);
        registry.register(
            "signpost_http_request_duration_seconds",
            "Time from a request's headers to its answer's headers",
            durations.clone(),
        );
        let commits = Arc::new(Commits {
            sizes: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            seconds: seconds_histogram(),
        });
        registry.register(
            "signpost_store_commit_transitions",
            "Transitions committed together",
            commits.sizes.clone(),
        );
        registry.register(
            "signpost_store_commit_seconds",
            "Time that a commit took, its fsync included",
            commits.seconds.clone(),
        );
        let gauge = |registry: &mut Registry, name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let queue_pending = gauge(
            &mut registry,
            "signpost_queue_pending",
            "Deliveries that are not delivered yet",
        );
        let queue_held = gauge(
            &mut registry,
            "signpost_queue_held",
            "Pending deliveries that are held in memory",
        );
        let store_bytes = gauge(
            &mut registry,
            "signpost_store_bytes",
            "Size of the store on disk",
        );
        let store_free_bytes = gauge(
            &mut registry,
            "signpost_store_free_bytes",
            "Free space where the store lies",
        );
        let store_up = gauge(
            &mut registry,
            "signpost_store_up",
            "Whether the store answers: 1, or 0",
        );
        Self {
            registry,
            answers,
            durations,
            commits,
            queue_pending,
            queue_held,
            store_bytes,
            store_free_bytes,
            store_up,
        }
    }
}

impl Metrics {
    /// What the store tells of its commits.
    pub fn commit_observer(&self) -> Arc<dyn CommitObserver> {
        Arc::clone(&self.commits) as Arc<dyn CommitObserver>
    }

    /// Adds further metrics, before the server starts.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Counts an answer.
    pub fn answered(
        &self,
        method: &Method,
        route: Option<&str>,
        status: StatusCode,
        took: Duration,
    ) {
        let route = route.unwrap_or(NO_ROUTE).to_owned();
        let seconds = self.durations.get_or_create(&Route {
            route: route.clone(),
        });
        seconds.observe(took.as_secs_f64());
        drop(seconds);
        let answer = Answer {
            method: method_label(method),
            route,
            status: status.as_u16(),
        };
        self.answers.get_or_create(&answer).inc();
    }

    /// Asks what can be asked for and renders everything. Where the store does not answer, what
    /// it said last stands, and `signpost_store_up` is 0.
    ///
    /// # Errors
    /// If the text cannot be made.
    pub async fn render(&self, app: &SharedApp) -> Result<String, Problem> {
        let asked = timeout(ANSWER_MAX, self.ask(app.store())).await;
        self.store_up.set(i64::from(matches!(asked, Ok(Ok(())))));
        let mut text = String::with_capacity(16 << 10);
        encode(&mut text, &self.registry).map_err(|error| Problem::internal(&error))?;
        Ok(text)
    }
}

impl Metrics {
    /// Takes over what the store says of itself.
    async fn ask(&self, store: &SharedStore) -> Result<(), StoreError> {
        let as_gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let depth = store.queue_depth().await?;
        self.queue_pending.set(as_gauge(depth.pending));
        self.queue_held.set(as_gauge(depth.held));
        let facts = store.facts().await?;
        self.store_bytes.set(as_gauge(facts.size_bytes));
        if let Some(free) = facts.free_bytes {
            self.store_free_bytes.set(as_gauge(free));
        }
        Ok(())
    }
}

/// Methods that are not HTTP's own count together: anybody can make up more.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
