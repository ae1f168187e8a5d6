//! The numbers that `/metrics` shows of deliveries.

use domain::attempt::ErrorClass;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

/// Upper bounds of the buckets, in seconds.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Counters and histograms; cheap to bump.
#[derive(Debug)]
pub struct Metrics {
    /// Events accepted.
    pub accepted: Counter,
    /// Deliveries that arrived.
    pub delivered: Counter,
    /// Deliveries given up.
    pub dead: Counter,
    /// Attempts that failed and will be followed by another.
    pub retries: Counter,
    /// Results that another node's claim made void.
    pub lease_lost: Counter,
    /// Notes for other nodes that were not told.
    pub notes_dropped: Counter,
    /// Webhooks that were disabled.
    pub disabled: Counter,
    /// Attempts by how they ended: a status class or an error class.
    pub attempts: Family<[(&'static str, &'static str); 1], Counter>,
    /// How long attempts took.
    pub attempt_seconds: Histogram,
    /// From acceptance to arrival.
    pub delivery_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            accepted: Counter::default(),
            delivered: Counter::default(),
            dead: Counter::default(),
            retries: Counter::default(),
            lease_lost: Counter::default(),
            notes_dropped: Counter::default(),
            disabled: Counter::default(),
            attempts: Family::default(),
            attempt_seconds: Histogram::new(SECONDS),
            delivery_seconds: Histogram::new(SECONDS),
        }
    }
}

impl Metrics {
    /// Puts them into the registry that is served.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "signpost_events_accepted",
            "Events accepted",
            self.accepted.clone(),
        );
        registry.register(
            "signpost_deliveries_delivered",
            "Deliveries that arrived",
            self.delivered.clone(),
        );
        registry.register(
            "signpost_deliveries_dead",
            "Deliveries given up",
            self.dead.clone(),
        );
        registry.register(
            "signpost_delivery_retries",
            "Failed attempts that are followed by another",
            self.retries.clone(),
        );
        registry.register(
            "signpost_leases_lost",
            "Results that another node's claim made void",
            self.lease_lost.clone(),
        );
        registry.register(
            "signpost_notes_dropped",
            "Notes to nodes where somebody follows or listens that came too fast, or could not be written",
            self.notes_dropped.clone(),
        );
        registry.register(
            "signpost_webhooks_disabled",
            "Webhooks disabled after 410 or five failing days",
            self.disabled.clone(),
        );
        registry.register(
            "signpost_attempts",
            "Attempts by result",
            self.attempts.clone(),
        );
        registry.register(
            "signpost_attempt_duration_seconds",
            "Duration of attempts",
            self.attempt_seconds.clone(),
        );
        registry.register(
            "signpost_delivery_latency_seconds",
            "From acceptance to arrival",
            self.delivery_seconds.clone(),
        );
    }

    /// Counts an attempt that took `duration_us` and ended with a status or an error.
    pub(crate) fn attempt(&self, duration_us: u64, status: Option<u16>, error: Option<ErrorClass>) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a duration in microseconds is far below 2^52"
        )]
        self.attempt_seconds.observe(duration_us as f64 / 1e6);
        let result = match (status, error) {
            (_, Some(class)) => class.as_str(),
            (Some(200..=299), _) => "2xx",
            (Some(300..=399), _) => "3xx",
            (Some(400..=499), _) => "4xx",
            _ => "5xx",
        };
        self.attempts.get_or_create(&[("result", result)]).inc();
    }
}
