//! Makes an event's deliveries: one for each active webhook that wants it.

use std::sync::{Arc, OnceLock, atomic::Ordering};

use bytes::Bytes;
use domain::{
    DeliveryId,
    event::Event,
    filter::{FilterView, parse_data},
    format::{self, Format},
};
use store::NewDelivery;

use crate::{Shared, endpoint::Endpoint};

/// An event in memory, with its bodies: each is rendered once, whoever sends it first.
pub(crate) struct Loaded {
    pub event: Event,
    bodies: [OnceLock<Bytes>; 4],
    /// Counts this event's bytes as held until it is dropped.
    _held: Option<Held>,
}

struct Held {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared
            .ready_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("event", &self.event.id)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    pub fn new(event: Event, shared: &Arc<Shared>) -> Self {
        let bytes = event.data.len();
        shared.ready_bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = Held {
            shared: Arc::clone(shared),
            bytes,
        };
        Self {
            event,
            bodies: Default::default(),
            _held: Some(held),
        }
    }

    /// The body that webhooks of this format get.
    pub fn body(&self, format: Format) -> Bytes {
        let slot = match format {
            Format::Default => 0,
            Format::AgentFactory => 1,
            Format::Orchestration => 2,
            Format::CloudEvents => 3,
        };
        self.bodies[slot]
            .get_or_init(|| format::render(format, &self.event))
            .clone()
    }
}

/// A delivery on its way into the store, with the webhook it goes to.
pub(crate) struct Planned {
    pub delivery: NewDelivery,
    pub endpoint: Arc<Endpoint>,
}

impl Shared {
    /// The deliveries of `event`. For each that a lane has room for, a place is reserved: it must
    /// be filled or given back.
    pub(crate) fn fan_out(&self, event: &Event) -> Vec<Planned> {
        let endpoints = self
            .subscriptions
            .matching(event.workspace, &event.event_type);
        if endpoints.is_empty() {
            return Vec::new();
        }
        let mut view = None;
        endpoints
            .into_iter()
            .filter(|endpoint| passes(endpoint, event, &mut view))
            .map(|endpoint| self.plan(event, endpoint))
            .collect()
    }

    pub(crate) fn plan(&self, event: &Event, endpoint: Arc<Endpoint>) -> Planned {
        let held = self.has_room(event.data.len())
            && self.shares_stand()
            && !(self.among_nodes && self.is_draining())
            && endpoint
                .lane
                .reserve(event.accepted_at, self.settings.lane_ready_max);
        if held {
            self.ready.fetch_add(1, Ordering::Relaxed);
        } else {
            endpoint.lane.leave_on_disk();
        }
        let delivery = NewDelivery {
            id: DeliveryId::new(self.edge.ids.next_id()),
            event: event.key,
            webhook: endpoint.webhook.id,
            held,
            ordered: endpoint.webhook.config.ordered,
            replay: None,
        };
        Planned { delivery, endpoint }
    }

    /// Whether another delivery fits into the memory of all lanes together.
    fn has_room(&self, bytes: usize) -> bool {
        self.ready.load(Ordering::Relaxed) < self.settings.ready_max
            && self.ready_bytes.load(Ordering::Relaxed) + bytes <= self.settings.ready_bytes_max
    }
}

/// Whether the webhook's filter lets the event through. The payload is parsed once, and only if
/// some webhook has a filter.
pub(crate) fn passes(
    endpoint: &Endpoint,
    event: &Event,
    view: &mut Option<serde_json::Value>,
) -> bool {
    let Some(filter) = &endpoint.webhook.config.filter else {
        return true;
    };
    let data = view.get_or_insert_with(|| parse_data(&event.data));
    filter.matches(&FilterView::new(event, data))
}
