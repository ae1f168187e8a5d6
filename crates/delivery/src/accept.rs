//! Takes events in: on disk with their deliveries before the publisher hears of it.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use domain::{
    DeliveryId, EventId, EventKey, Timestamp, WorkspaceId,
    event::{Event, EventType, HOPS_MAX},
    filter::parse_data,
};
use store::{Accepted, Lease, NewEvent, StoreError};

use crate::{
    Pipeline, Shared,
    dispatch::Busy,
    fan_out::{Loaded, Planned},
    lane::{Lane, Ready},
};

/// An event as a publisher gives it; syntax already checked.
#[derive(Clone, Debug)]
pub struct Publish {
    /// What kind of thing happened.
    pub event_type: EventType,
    /// The payload as canonical JSON ([`domain::json`]).
    pub data: Bytes,
    /// The publisher's own id: the same id again is the same event.
    pub id: Option<EventId>,
    /// When it happened; now, where it isn't said.
    pub timestamp: Option<Timestamp>,
    /// How many Signposts it has passed through before this one.
    pub hops: u8,
    /// The request's `Idempotency-Key`.
    pub idempotency_key: Option<String>,
}

/// What a publisher is told once the event is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id (the first one's, for a duplicate).
    pub id: EventId,
    /// The store's key of it.
    pub key: EventKey,
    /// Whether it had been accepted before; nothing was stored then.
    pub duplicate: bool,
    /// How many deliveries were made.
    pub deliveries: usize,
    /// When it happened.
    pub timestamp: Timestamp,
}

/// Why an event was not accepted; nothing of it, or of its batch, was stored.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It has passed through too many Signposts.
    #[error(
        "the event has passed through {hops} Signposts, the most is {HOPS_MAX}: webhooks seem to form a loop"
    )]
    Loop {
        /// Which of the batch.
        index: usize,
        /// How many.
        hops: u8,
    },
    /// Its type's schema is enforced, and it does not fit.
    #[error("the data does not fit the schema of `{event_type}`")]
    Schema {
        /// Which of the batch.
        index: usize,
        /// The type.
        event_type: EventType,
        /// Where and why: paths within `data`.
        violations: Vec<(String, String)>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Pipeline {
    /// Stores an event and its deliveries, starts those that may start, and answers.
    ///
    /// # Errors
    /// See [`AcceptError`]; nothing was stored.
    pub async fn accept(
        &self,
        workspace: WorkspaceId,
        publish: Publish,
    ) -> Result<Receipt, AcceptError> {
        let mut receipts = self.accept_batch(workspace, vec![publish]).await?;
        Ok(receipts.pop().expect("one receipt for one event"))
    }

    /// Stores many events in one transaction, in order.
    ///
    /// # Errors
    /// See [`AcceptError`]; nothing of the batch was stored.
    pub async fn accept_batch(
        &self,
        workspace: WorkspaceId,
        batch: Vec<Publish>,
    ) -> Result<Vec<Receipt>, AcceptError> {
        let shared = &self.shared;
        for (index, publish) in batch.iter().enumerate() {
            shared.check(workspace, index, publish)?;
        }
        let Plan { underway, events } = self.plan(workspace, batch);
        Ok(underway.accept(events).await?)
    }
}

/// Events of this program's own that go into somebody else's transaction: planned, with places in
/// memory reserved, but not stored yet. One of [`Plan::stored`] and [`Plan::left_out`] has to
/// follow; if neither does, their deliveries are looked for on disk, since they may be there.
pub struct Plan {
    underway: Underway,
    events: Vec<NewEvent>,
}

impl Plan {
    /// The records to be stored, once: a second call answers none.
    pub fn take_events(&mut self) -> Vec<NewEvent> {
        std::mem::take(&mut self.events)
    }

    /// They were stored: their deliveries may start.
    pub fn stored(self, accepted: Vec<Accepted>) -> Vec<Receipt> {
        self.underway.committed(accepted)
    }

    /// They were certainly not stored.
    pub fn left_out(mut self) {
        for (_, planned) in self.underway.planned.drain(..) {
            for planned in planned.iter().filter(|planned| planned.delivery.held) {
                planned.endpoint.lane.unreserve();
                self.underway.shared.ready.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Pipeline {
    /// Plans events that another transition stores, in order.
    pub fn plan(&self, workspace: WorkspaceId, batch: Vec<Publish>) -> Plan {
        let shared = &self.shared;
        let now = shared.now();
        let mut underway = Underway::new(shared, batch.len());
        let mut events = Vec::with_capacity(batch.len());
        for publish in batch {
            let (new_event, planned) = shared.plan_event(workspace, publish, now);
            underway.planned.push((new_event.event.clone(), planned));
            events.push(new_event);
        }
        Plan { underway, events }
    }

    /// Whether some webhook or listener of the workspace wants events of this type now.
    pub fn is_wanted(&self, workspace: WorkspaceId, event_type: &EventType) -> bool {
        let shared = &self.shared;
        shared.listeners.any()
            || !shared
                .subscriptions
                .matching(workspace, event_type)
                .is_empty()
    }
}

impl Shared {
    fn check(
        &self,
        workspace: WorkspaceId,
        index: usize,
        publish: &Publish,
    ) -> Result<(), AcceptError> {
        if publish.hops > HOPS_MAX {
            return Err(AcceptError::Loop {
                index,
                hops: publish.hops,
            });
        }
        let Some(known) = self
            .subscriptions
            .known_type(workspace, publish.event_type.as_str())
        else {
            return Ok(());
        };
        let Some(schema) = &known.enforced else {
            return Ok(());
        };
        let violations = schema.validate(&parse_data(&publish.data));
        if violations.is_empty() {
            return Ok(());
        }
        Err(AcceptError::Schema {
            index,
            event_type: publish.event_type.clone(),
            violations: violations
                .into_iter()
                .map(|v| (v.path, v.message))
                .collect(),
        })
    }

    /// The record of an event and its deliveries, places in memory reserved.
    pub(crate) fn plan_event(
        &self,
        workspace: WorkspaceId,
        publish: Publish,
        now: Timestamp,
    ) -> (NewEvent, Vec<Planned>) {
        let key = EventKey::new(self.edge.ids.next_id());
        let id_given = publish.id.is_some();
        let event = Event {
            workspace,
            key,
            id: publish.id.unwrap_or_else(|| EventId::from_key(key)),
            event_type: publish.event_type,
            timestamp: publish.timestamp.unwrap_or(now),
            accepted_at: now,
            data: publish.data,
            hops: publish.hops,
        };
        let planned = self.fan_out(&event);
        let deliveries = planned.iter().map(|planned| planned.delivery).collect();
        let new_event = NewEvent {
            event,
            id_given,
            idempotency_key: publish.idempotency_key,
            deliveries,
        };
        (new_event, planned)
    }
}

/// Events whose commit is under way. If the publisher hangs up meanwhile, the commit is waited for
/// in their place: only once it has ended is it known what is held and has to get into its lane.
struct Underway {
    shared: Arc<Shared>,
    /// The lease before the commit: only if it is still the one after it, what was to be held is.
    lease: Lease,
    planned: Vec<(Event, Vec<Planned>)>,
    /// `None` before it has begun and once it has ended.
    commit: Option<Commit>,
}

type Commit = Pin<Box<dyn Future<Output = Result<Vec<Accepted>, StoreError>> + Send>>;

impl Underway {
    fn new(shared: &Arc<Shared>, events: usize) -> Self {
        Self {
            shared: Arc::clone(shared),
            lease: shared.store.lease(),
            planned: Vec::with_capacity(events),
            commit: None,
        }
    }

    /// Has the events stored, and hands what was to the lanes.
    async fn accept(mut self, events: Vec<NewEvent>) -> Result<Vec<Receipt>, StoreError> {
        let store = Arc::clone(&self.shared.store);
        let commit = Box::pin(async move { store.accept(events).await });
        let accepted = self.commit.insert(commit).await;
        self.commit = None;
        Ok(self.committed(accepted?))
    }

    /// Hands what was stored to the lanes.
    fn committed(mut self, accepted: Vec<Accepted>) -> Vec<Receipt> {
        let lease = self.lease;
        let planned = std::mem::take(&mut self.planned);
        planned
            .into_iter()
            .zip(accepted)
            .map(|((event, planned), accepted)| {
                self.shared.committed(event, planned, accepted, lease)
            })
            .collect()
    }

    /// Waits for the commit in the place of a publisher who has hung up.
    fn go_on(&mut self, commit: Commit) {
        let shared = Arc::clone(&self.shared);
        let rest = Self {
            shared: Arc::clone(&shared),
            lease: self.lease,
            planned: std::mem::take(&mut self.planned),
            commit: None,
        };
        let busy = Busy::new(&shared);
        tokio::spawn(async move {
            match commit.await {
                Ok(accepted) => drop(rest.committed(accepted)),
                Err(error) => {
                    tracing::debug!(%error, "failed to store what a publisher no longer waits for");
                }
            }
            drop(busy);
        });
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(commit) = self.commit.take() {
            self.go_on(commit);
            return;
        }
        // It failed: what was to be held may have been stored all the same, under either lease.
        for (_, planned) in self.planned.drain(..) {
            for planned in planned {
                let lane = &planned.endpoint.lane;
                if planned.delivery.held {
                    lane.unreserve();
                    self.shared.ready.fetch_sub(1, Ordering::Relaxed);
                    let delivery = planned.delivery.id;
                    self.shared.give_back_unknown(lane, delivery, self.lease);
                } else {
                    self.shared.look_later(lane);
                }
            }
        }
    }
}

impl Shared {
    fn committed(
        self: &Arc<Self>,
        event: Event,
        planned: Vec<Planned>,
        accepted: Accepted,
        lease: Lease,
    ) -> Receipt {
        let timestamp = event.timestamp;
        if let Accepted::Duplicate { key, id } = accepted {
            for planned in planned.into_iter().filter(|planned| planned.delivery.held) {
                planned.endpoint.lane.unreserve();
                self.ready.fetch_sub(1, Ordering::Relaxed);
            }
            return Receipt {
                id,
                key,
                duplicate: true,
                deliveries: 0,
                timestamp,
            };
        }
        self.metrics.accepted.inc();
        self.tell_listeners(&event);
        let receipt = Receipt {
            id: event.id.clone(),
            key: event.key,
            duplicate: false,
            deliveries: planned.len(),
            timestamp,
        };
        if planned.is_empty() {
            return receipt;
        }
        let created_at = event.accepted_at;
        let loaded = Arc::new(Loaded::new(event, self));
        for Planned { delivery, endpoint } in planned {
            let lane = &endpoint.lane;
            if !delivery.held {
                lane.leave_on_disk();
                self.leave_to_others(lane);
            } else if self.is_still_held(lease) {
                let ready = fresh(delivery.id, created_at, &loaded, lease);
                let too_late = lane.push_reserved(ready, self.now());
                self.give_back(lane, too_late.as_slice());
            } else {
                lane.unreserve();
                self.ready.fetch_sub(1, Ordering::Relaxed);
                self.held_by_nobody(lane, delivery.id, lease);
            }
            self.kick(lane);
        }
        receipt
    }

    /// Whether what was stored as held since `lease` was read is held under it.
    pub(crate) fn is_still_held(&self, lease: Lease) -> bool {
        self.store.lease() == lease && self.store.holds(lease)
    }

    /// A delivery was stored as held while the lease changed: under the old one, which others may
    /// have taken over, or under the new one. That one gives it up; it never was in memory.
    fn held_by_nobody(self: &Arc<Self>, lane: &Arc<Lane>, delivery: DeliveryId, before: Lease) {
        let lease = self.store.lease();
        if lease != before {
            self.give_back_ids(lane, vec![(lane.workspace, delivery, lease)]);
        }
        lane.leave_on_disk();
        self.look_later(lane);
    }

    /// Has the lane look at the disk a moment from now.
    pub(crate) fn look_later(&self, lane: &Arc<Lane>) {
        self.set_alarm(lane, self.now() + std::time::Duration::from_secs(1));
    }
}

fn fresh(delivery: DeliveryId, created_at: Timestamp, event: &Arc<Loaded>, lease: Lease) -> Ready {
    Ready {
        delivery,
        attempts: 0,
        created_at,
        not_before: Timestamp::default(),
        event: Arc::clone(event),
        lease,
    }
}
