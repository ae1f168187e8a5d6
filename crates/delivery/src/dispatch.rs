//! Starts attempts: as many as each lane allows, under one cap for all.
//!
//! A slot is one attempt in flight. It runs on from delivery to delivery of its lane as long as
//! nobody else waits; a lane that finds no free slot queues in [`Waiting`], and each freed slot
//! goes to the one that has waited longest. So no lane can fill the cap for good.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use domain::{DeliveryId, Timestamp, WorkspaceId};
use parking_lot::Mutex;
use store::{Claim, Lease};

use crate::{
    Shared,
    endpoint::Endpoint,
    fan_out::Loaded,
    lane::{Lane, Ready, Step},
};

/// A lane loads more from disk once fewer than this are ready.
const LOW_WATER: usize = 64;
/// The most deliveries that one load takes: a transaction that others wait behind.
const LOAD_MAX: usize = 200;
/// The most deliveries that one transaction gives back, for the same reason.
const RELEASE_MAX: usize = 100;
/// How long a lane waits for what another node holds up.
const HELD_UP: std::time::Duration = std::time::Duration::from_millis(250);

/// How long a node that drains tries to say so.
const SAY_SO: std::time::Duration = std::time::Duration::from_secs(2);

/// Lanes that wait for a free slot, each once, longest first.
#[derive(Default)]
pub(crate) struct Waiting {
    lanes: Mutex<VecDeque<Arc<Lane>>>,
    count: AtomicUsize,
}

impl Waiting {
    fn push(&self, lane: &Arc<Lane>) {
        let mut lanes = self.lanes.lock();
        if !lanes.iter().any(|other| Arc::ptr_eq(other, lane)) {
            lanes.push_back(Arc::clone(lane));
            self.count.store(lanes.len(), Ordering::Release);
        }
    }

    fn pop(&self) -> Option<Arc<Lane>> {
        if self.is_empty() {
            return None;
        }
        let mut lanes = self.lanes.lock();
        let lane = lanes.pop_front();
        self.count.store(lanes.len(), Ordering::Release);
        lane
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }
}

/// A slot in use. It frees itself when it is dropped, also by a panic or the runtime's end; what
/// starts others in its place is [`Slot::pass_on`].
struct Slot {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    /// What is being attempted; taken once it is recorded.
    attempting: Option<(WorkspaceId, DeliveryId, Lease)>,
}

impl Slot {
    /// Frees the slot for whoever waits for one.
    fn pass_on(self) {
        let shared = Arc::clone(&self.shared);
        drop(self);
        shared.serve_waiting();
        shared.idle_bell.notify_waiters();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(unfinished) = self.attempting.take() {
            self.lane.ended();
            self.shared.give_back_ids(&self.lane, vec![unfinished]);
        }
        self.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    /// Starts whatever may start in `lane` now. Answers whether anything did (an attempt, or a
    /// load from disk).
    pub(crate) fn kick(self: &Arc<Self>, lane: &Arc<Lane>) -> bool {
        let started = self.start(lane);
        self.serve_waiting();
        started
    }

    /// Gives free slots to the lanes that wait for one.
    fn serve_waiting(self: &Arc<Self>) {
        while self.in_flight.load(Ordering::Acquire) < self.settings.in_flight_max
            && let Some(lane) = self.waiting.pop()
        {
            self.start(&lane);
        }
    }

    fn start(self: &Arc<Self>, lane: &Arc<Lane>) -> bool {
        let mut started = false;
        while !self.is_draining() {
            let Some(slot) = self.take_slot(lane) else {
                self.waiting.push(lane);
                break;
            };
            let Some((ready, endpoint, more)) = self.next(lane, &mut started) else {
                break;
            };
            started = true;
            tokio::spawn(work(slot, ready, endpoint));
            if !more {
                break;
            }
        }
        started
    }

    fn take_slot(self: &Arc<Self>, lane: &Arc<Lane>) -> Option<Slot> {
        let most = self.settings.in_flight_max;
        self.in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < most).then_some(n + 1)
            })
            .ok()?;
        Some(Slot {
            shared: Arc::clone(self),
            lane: Arc::clone(lane),
            attempting: None,
        })
    }

    /// The lane's next attempt, with alarms set and loads started as it asks.
    fn next(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        loads: &mut bool,
    ) -> Option<(Ready, Arc<Endpoint>, bool)> {
        match lane.step(self.now(), LOW_WATER) {
            Step::Start {
                ready,
                endpoint,
                more,
                load,
            } => {
                self.ready.fetch_sub(1, Ordering::Relaxed);
                if load {
                    self.spawn_load(lane);
                }
                if !self.store.holds(ready.lease) {
                    lane.ended();
                    self.lapsed(lane);
                    return None;
                }
                Some((ready, endpoint, more))
            }
            Step::Load => {
                *loads = true;
                self.spawn_load(lane);
                None
            }
            Step::Wait(at) => {
                self.set_alarm(lane, at);
                None
            }
            Step::Nothing => None,
        }
    }

    /// Forgets what the lane holds under a lease that was lost: it is on disk, and others may
    /// hold it by now. The lane looks again a moment later.
    fn lapsed(&self, lane: &Arc<Lane>) {
        let forgotten = self.forget(lane) + 1;
        tracing::warn!(webhook = %lane.webhook, forgotten, "the lease was lost; what waited in memory is left to whoever claims it");
        self.look_later(lane);
    }

    /// Forgets what the lane holds under leases that were lost, and answers how much that was.
    pub(crate) fn forget(&self, lane: &Lane) -> usize {
        let forgotten = lane.forget(|lease| self.store.holds(lease));
        self.ready.fetch_sub(forgotten, Ordering::Relaxed);
        forgotten
    }

    fn spawn_load(self: &Arc<Self>, lane: &Arc<Lane>) {
        let loading = DiskWork {
            shared: Arc::clone(self),
            lane: Arc::clone(lane),
            _busy: Busy::new(self),
            load: true,
        };
        tokio::spawn(async move {
            loading.shared.load_lane(&loading.lane).await;
            loading.end();
        });
    }

    /// Claims what is due in `lane` and puts it into memory.
    async fn load_lane(self: &Arc<Self>, lane: &Arc<Lane>) {
        if !self.shares_stand() {
            // As below: what the lane may do is counted anew first.
            tokio::time::sleep(HELD_UP).await;
            return;
        }
        let Some(load) = lane.begin_load(self.settings.lane_ready_max.min(LOAD_MAX)) else {
            return;
        };
        let now = self.now();
        let claim = Claim {
            workspace: lane.workspace,
            webhook: lane.webhook,
            ordered: load.ordered,
            now,
            limit: load.room.min(LOAD_MAX),
        };
        let (claimed, exhausted) = match self.store.claim(claim).await {
            Ok(claimed) => {
                let exhausted = claimed.len() < claim.limit;
                (claimed, exhausted)
            }
            Err(error) => {
                tracing::warn!(webhook = %lane.webhook, %error, "failed to claim deliveries; trying again");
                // Here, not by an alarm: the end of a load looks at the lane again at once.
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                (Vec::new(), false)
            }
        };
        let ready = claimed
            .into_iter()
            .map(|claimed| Ready {
                delivery: claimed.delivery.id,
                attempts: claimed.delivery.attempts,
                created_at: claimed.delivery.created_at,
                not_before: claimed
                    .delivery
                    .next_attempt_at
                    .filter(|_| load.ordered)
                    .unwrap_or_default(),
                lease: claimed.lease,
                event: Arc::new(Loaded::new(claimed.event, self)),
            })
            .collect::<Vec<_>>();
        self.ready.fetch_add(ready.len(), Ordering::Relaxed);
        let too_late = lane.loaded(&load, ready, exhausted, now);
        self.give_back(lane, &too_late);
        if exhausted {
            match self.store.next_due(lane.workspace, lane.webhook).await {
                // What is due and yet was not given out is held up by another node: it will hint.
                Ok(Some(at)) if self.among_nodes => self.set_alarm(lane, at.max(now + HELD_UP)),
                Ok(Some(at)) => self.set_alarm(lane, at),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "failed to read when a retry is due; polling will");
                }
            }
        }
    }

    /// Gives up what a lane held in memory; the disk has it again.
    pub(crate) fn give_back(self: &Arc<Self>, lane: &Arc<Lane>, ready: &[Ready]) {
        if ready.is_empty() {
            return;
        }
        self.ready.fetch_sub(ready.len(), Ordering::Relaxed);
        let ids = ready
            .iter()
            .map(|ready| (lane.workspace, ready.delivery, ready.lease))
            .collect();
        self.give_back_ids(lane, ids);
    }

    /// Releases leases; the lane learns that there is work on disk once that is written.
    pub(crate) fn give_back_ids(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        ids: Vec<(WorkspaceId, DeliveryId, Lease)>,
    ) {
        self.release_later(lane, ids, false);
    }

    /// Releases what may have been stored as held, nobody knows whether, and under which lease if
    /// it changed meanwhile.
    pub(crate) fn give_back_unknown(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        delivery: DeliveryId,
        lease: Lease,
    ) {
        self.release_later(lane, vec![(lane.workspace, delivery, lease)], true);
    }

    fn release_later(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        mut ids: Vec<(WorkspaceId, DeliveryId, Lease)>,
        unknown: bool,
    ) {
        lane.leave_on_disk();
        let loading = DiskWork {
            shared: Arc::clone(self),
            lane: Arc::clone(lane),
            _busy: Busy::new(self),
            load: false,
        };
        tokio::spawn(async move {
            let shared = &loading.shared;
            if !shared.release(&ids).await {
                return;
            }
            let lease = shared.store.lease();
            ids.retain(|(_, _, before)| unknown && *before != lease);
            for id in &mut ids {
                id.2 = lease;
            }
            if !shared.release(&ids).await {
                return;
            }
            loading.lane.leave_on_disk();
            shared.leave_to_others(&loading.lane);
            loading.end();
        });
    }

    /// Releases leases, however long that takes; `false` once the store or the pipeline has ended.
    async fn release(&self, ids: &[(WorkspaceId, DeliveryId, Lease)]) -> bool {
        for some in ids.chunks(RELEASE_MAX) {
            while let Err(error) = self.store.release(some.to_vec(), self.now()).await {
                if matches!(error, store::StoreError::Closed) || *self.stop.borrow() {
                    return false;
                }
                tracing::warn!(%error, "failed to give deliveries back; trying again");
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
        }
        true
    }

    pub(crate) fn set_alarm(&self, lane: &Arc<Lane>, at: Timestamp) {
        if lane.set_alarm(at) && self.alarms.lock().push(at, Arc::clone(lane)) {
            self.alarm_bell.notify_one();
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Waits until nothing is in flight, loading or about to start.
    pub(crate) async fn quiet(&self) {
        loop {
            let mut bell = std::pin::pin!(self.idle_bell.notified());
            bell.as_mut().enable();
            let busy =
                self.in_flight.load(Ordering::Acquire) + self.loading.load(Ordering::Acquire);
            if busy == 0 && (self.waiting.is_empty() || self.is_draining()) {
                return;
            }
            bell.await;
        }
    }

    /// See [`crate::Pipeline::drain`].
    pub(crate) async fn drain(self: &Arc<Self>, patience: std::time::Duration) {
        self.draining.store(true, Ordering::Release);
        // Others see it before it takes effect, unless the store cannot be reached.
        let _ = tokio::time::timeout(SAY_SO, crate::nodes::announce(self)).await;
        if tokio::time::timeout(patience, self.quiet()).await.is_err() {
            let in_flight = self.in_flight.load(Ordering::Acquire);
            tracing::warn!(
                in_flight,
                "attempts did not end in time; they will be made again"
            );
        }
        for lane in self.subscriptions.lanes() {
            let ready = lane.take_ready();
            self.give_back(&lane, &ready);
        }
        let _ = tokio::time::timeout(patience, self.quiet_loads()).await;
        self.hints.send(&self.store);
        let _ = self.stop.send(true);
    }

    async fn quiet_loads(&self) {
        loop {
            let mut bell = std::pin::pin!(self.idle_bell.notified());
            bell.as_mut().enable();
            if self.loading.load(Ordering::Acquire) == 0 {
                return;
            }
            bell.await;
        }
    }
}

/// Counts as work that the pipeline's rest waits for, until it is dropped.
pub(crate) struct Busy(Arc<Shared>);

impl Busy {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.loading.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(shared))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.loading.fetch_sub(1, Ordering::AcqRel);
        self.0.idle_bell.notify_waiters();
    }
}

/// A piece of disk work. Where it is broken off (a panic, the runtime's end), the lane's
/// alarm looks again; nothing is started from a drop.
struct DiskWork {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    load: bool,
    _busy: Busy,
}

impl DiskWork {
    /// Ends it and looks at the lane again.
    fn end(self) {
        if self.load {
            self.lane.load_ended();
        }
        self.shared.kick(&self.lane);
    }
}

impl Drop for DiskWork {
    fn drop(&mut self) {
        if self.load && self.lane.load_ended() {
            self.shared.set_alarm(
                &self.lane,
                self.shared.now() + std::time::Duration::from_secs(1),
            );
        }
    }
}

/// Attempts deliveries of one lane, one after the other, for as long as it may keep its slot.
async fn work(mut slot: Slot, mut ready: Ready, mut endpoint: Arc<Endpoint>) {
    let shared = Arc::clone(&slot.shared);
    let lane = Arc::clone(&slot.lane);
    loop {
        slot.attempting = Some((lane.workspace, ready.delivery, ready.lease));
        shared.attempt(&lane, &endpoint, ready).await;
        slot.attempting = None;
        lane.ended();
        if shared.is_draining() {
            break;
        }
        shared.leave_to_others(&lane);
        if !shared.waiting.is_empty() {
            // Somebody waits for a slot: this one goes to them, the lane queues behind.
            shared.waiting.push(&lane);
            break;
        }
        let Some((next_ready, next_endpoint, more)) = shared.next(&lane, &mut false) else {
            break;
        };
        (ready, endpoint) = (next_ready, next_endpoint);
        if more {
            shared.kick(&lane);
        }
    }
    slot.pass_on();
}
