//! A lane: one webhook's own queue in memory, with everything that says whether its next attempt
//! may start now. So one webhook never waits for another.
//!
//! What is in `ready` is held under this process's lease. What did not fit, or waits for a retry,
//! lies on disk; `on_disk` says that some of it may be due, `next_due` when the next will be.
//! A lane does no I/O: it answers what is to be done ([`Step`]), [`crate::dispatch`] does it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use domain::{
    DeliveryId, Timestamp, WebhookId, WorkspaceId,
    attempt::Outcome,
    breaker::{Allowance, Breaker, BreakerState, is_overload},
    webhook::Webhook,
};
use parking_lot::Mutex;
use store::Lease;

use crate::{endpoint::Endpoint, fan_out::Loaded};

/// A delivery that is held in memory, to be sent.
#[derive(Debug)]
pub(crate) struct Ready {
    pub delivery: DeliveryId,
    /// Attempts made so far.
    pub attempts: u32,
    pub created_at: Timestamp,
    /// Not before this time (matters to ordered lanes, which also hold what is not yet due).
    pub not_before: Timestamp,
    pub event: Arc<Loaded>,
    pub lease: Lease,
}

/// What is to be done for a lane.
pub(crate) enum Step {
    /// Start this attempt. `more`: another may start as well; `load`: the queue runs low.
    Start {
        ready: Ready,
        endpoint: Arc<Endpoint>,
        more: bool,
        load: bool,
    },
    /// Take up from disk.
    Load,
    /// Nothing before this time.
    Wait(Timestamp),
    /// Nothing until something changes.
    Nothing,
}

/// One webhook's queue.
pub struct Lane {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The webhook.
    pub webhook: WebhookId,
    state: Mutex<State>,
}

struct State {
    /// `None` while the webhook is inactive or gone: nothing starts.
    endpoint: Option<Arc<Endpoint>>,
    ready: VecDeque<Ready>,
    /// Places kept for deliveries whose commit is under way.
    reserved: usize,
    running: u32,
    breaker: Breaker,
    rate: Bucket,
    failing_since: Option<Timestamp>,
    on_disk: bool,
    /// Counts what was left on disk, so that a load can tell that more came meanwhile.
    left_on_disk: u64,
    loading: bool,
    /// An ordered lane's failed head: nothing starts before it is due again.
    held_until: Timestamp,
    /// Attempts that a person asked for and that even an open breaker lets through.
    forced: u32,
    alarm: Timestamp,
}

/// A token bucket: `rate` per second, at most one second's worth at once.
#[derive(Default)]
struct Bucket {
    tokens: f64,
    filled_at: Option<Timestamp>,
}

impl Bucket {
    /// Takes a token at `now`, or says when the next is there.
    fn take(&mut self, rate: f64, now: Timestamp) -> Result<(), Timestamp> {
        let most = rate.max(1.0);
        let elapsed = self
            .filled_at
            .map_or(most, |at| now.since(at).as_secs_f64() * rate);
        self.tokens = (self.tokens + elapsed).min(most);
        self.filled_at = Some(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            Ok(())
        } else {
            let wait = Duration::from_secs_f64((1.0 - self.tokens) / rate);
            Err(now + wait.max(Duration::from_millis(1)))
        }
    }
}

/// What a person sees of a lane.
#[derive(Clone, Copy, Debug)]
pub struct LaneStatus {
    /// Attempts in flight.
    pub in_flight: u32,
    /// Deliveries held in memory.
    pub ready: usize,
    /// The circuit breaker's state.
    pub breaker: BreakerState,
    /// Until when the open breaker holds deliveries.
    pub held_until: Option<Timestamp>,
    /// Since when every attempt failed.
    pub failing_since: Option<Timestamp>,
}

impl Lane {
    pub(crate) fn new(webhook: &Webhook) -> Self {
        Self {
            workspace: webhook.workspace,
            webhook: webhook.id,
            state: Mutex::new(State {
                endpoint: None,
                ready: VecDeque::new(),
                reserved: 0,
                running: 0,
                breaker: Breaker::new(webhook.config.concurrency),
                rate: Bucket::default(),
                failing_since: webhook.failing_since,
                on_disk: false,
                left_on_disk: 0,
                loading: false,
                held_until: Timestamp::default(),
                forced: 0,
                alarm: Timestamp::FAR_FUTURE,
            }),
        }
    }

    /// Takes up a changed webhook, or stops the lane (`None`).
    pub(crate) fn set_endpoint(&self, endpoint: Option<Arc<Endpoint>>) {
        let mut state = self.state.lock();
        if let Some(endpoint) = &endpoint {
            let config = &endpoint.webhook.config;
            // A webhook that was switched on again, or changed, starts with a clean slate.
            if state
                .endpoint
                .as_ref()
                .is_none_or(|old| old.webhook.config != *config)
            {
                state.breaker = Breaker::new(config.concurrency);
                state.held_until = Timestamp::default();
                state.failing_since = endpoint.webhook.failing_since;
            }
        }
        state.endpoint = endpoint;
    }

    /// Keeps a place in memory for a delivery that is about to be stored; `false` if it has to
    /// lie on disk first: the queue is full, or (so that order and fairness hold) others that
    /// came before lie there already, or nothing may be sent now.
    pub(crate) fn reserve(&self, now: Timestamp, ready_max: usize) -> bool {
        let mut state = self.state.lock();
        let room = state.ready.len() + state.reserved < ready_max;
        let flows = state.endpoint.is_some()
            && !state.on_disk
            && !state.loading
            && state.held_until <= now
            && !state.is_open(now);
        if room && flows {
            state.reserved += 1;
        } else {
            state.leave_on_disk();
        }
        room && flows
    }

    /// Gives a reserved place back, unused.
    pub(crate) fn unreserve(&self) {
        self.state.lock().reserved -= 1;
    }

    /// Puts a stored delivery into the place that was kept for it. Answers it back if the lane
    /// has stopped flowing since the place was reserved: it must wait on disk with the others.
    pub(crate) fn push_reserved(&self, ready: Ready, now: Timestamp) -> Option<Ready> {
        let mut state = self.state.lock();
        state.reserved -= 1;
        let ordered = state.is_ordered();
        let behind_others = ordered && (state.on_disk || state.loading || state.held_until > now);
        if behind_others || state.endpoint.is_none() || state.is_open(now) {
            state.leave_on_disk();
            return Some(ready);
        }
        state.push(ready);
        None
    }

    /// Notes that due deliveries lie on disk.
    pub(crate) fn leave_on_disk(&self) {
        self.state.lock().leave_on_disk();
    }

    /// Lets one attempt through even if the breaker is open.
    pub(crate) fn force(&self) {
        let mut state = self.state.lock();
        state.forced = state.forced.saturating_add(1).min(1_000);
        state.held_until = Timestamp::default();
        state.leave_on_disk();
    }

    /// What is to be done now. `Start` counts the attempt as running, `Load` the load.
    pub(crate) fn step(&self, now: Timestamp, low_water: usize) -> Step {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(endpoint) = state.endpoint.clone() else {
            return Step::Nothing;
        };
        let config = &endpoint.webhook.config;
        let cap = match state.breaker.allowance(now) {
            Allowance::OpenUntil(_) if state.forced > 0 => state.running + 1,
            Allowance::OpenUntil(until) => return Step::Wait(until),
            Allowance::Limit(_) if config.ordered => 1,
            Allowance::Limit(limit) => limit.min(config.concurrency),
        };
        if state.running >= cap {
            return Step::Nothing;
        }
        if state.held_until > now {
            return Step::Wait(state.held_until);
        }
        let Some(head) = state.ready.front() else {
            return if state.on_disk && !state.loading {
                state.loading = true;
                Step::Load
            } else {
                Step::Nothing
            };
        };
        if head.not_before > now {
            return Step::Wait(head.not_before);
        }
        if let Some(rate) = config.rate_per_s
            && let Err(at) = state.rate.take(rate, now)
        {
            return Step::Wait(at);
        }
        let ready = state.ready.pop_front().expect("the head was just seen");
        state.running += 1;
        state.forced = state.forced.saturating_sub(1);
        // An ordered lane loads when it is empty: the store gives out only what nobody holds before.
        let load =
            !config.ordered && state.on_disk && !state.loading && state.ready.len() < low_water;
        state.loading |= load;
        let more = state.running < cap && !state.ready.is_empty();
        Step::Start {
            ready,
            endpoint,
            more,
            load,
        }
    }

    /// Counts an attempt as ended.
    pub(crate) fn ended(&self) {
        self.state.lock().running -= 1;
    }

    /// Tells the breaker how an attempt ended. Answers whether the failing mark changes (as
    /// [`store::FinishAttempt::failing_since`]), since when it fails now, and, if the breaker
    /// has opened, what was ready and must be given back.
    pub(crate) fn record(&self, outcome: Outcome, now: Timestamp, jitter: f64) -> Recorded {
        let success = outcome.is_success();
        let mut state = self.state.lock();
        match outcome {
            Outcome::Answered { status, .. } if is_overload(status) => {
                state.breaker.record_overload(now, jitter);
            }
            _ => state.breaker.record(success, now, jitter),
        }
        let mark = match (success, state.failing_since) {
            (true, Some(_)) => Some(None),
            (false, None) => Some(Some(now)),
            _ => None,
        };
        if let Some(mark) = mark {
            state.failing_since = mark;
        }
        let given_back = if state.is_open(now) {
            state.take_ready()
        } else {
            Vec::new()
        };
        Recorded {
            mark,
            failing_since: state.failing_since,
            given_back,
        }
    }

    /// Holds an ordered lane until its failed head is due again; answers what was ready.
    pub(crate) fn hold_until(&self, until: Timestamp) -> Vec<Ready> {
        let mut state = self.state.lock();
        state.held_until = until;
        state.take_ready()
    }

    /// Takes everything out of memory, to be given back to the disk.
    pub(crate) fn take_ready(&self) -> Vec<Ready> {
        self.state.lock().take_ready()
    }

    /// How much a load may take, and the mark to be handed to [`Lane::loaded`]; `None` if the
    /// webhook is inactive by now (the load is off).
    pub(crate) fn begin_load(&self, ready_max: usize) -> Option<Load> {
        let state = self.state.lock();
        let endpoint = state.endpoint.as_ref()?;
        Some(Load {
            ordered: endpoint.webhook.config.ordered,
            room: ready_max
                .saturating_sub(state.ready.len() + state.reserved)
                .max(1),
            mark: state.left_on_disk,
        })
    }

    /// Ends a load. `exhausted`: nothing more was due. Answers what came too late: the webhook
    /// became inactive or its breaker opened meanwhile.
    pub(crate) fn loaded(
        &self,
        load: &Load,
        claimed: Vec<Ready>,
        exhausted: bool,
        now: Timestamp,
    ) -> Vec<Ready> {
        let mut state = self.state.lock();
        if state.endpoint.is_none() {
            return claimed;
        }
        // What is being stored as held would hide what lies behind it from an ordered claim.
        let hidden = load.ordered && state.reserved > 0;
        state.on_disk = !exhausted || hidden || state.left_on_disk != load.mark;
        if state.is_open(now) && state.forced == 0 {
            state.leave_on_disk();
            return claimed;
        }
        for ready in claimed {
            state.push(ready);
        }
        Vec::new()
    }

    /// Marks a load as over, however it ended; `false` if it was already.
    pub(crate) fn load_ended(&self) -> bool {
        std::mem::take(&mut self.state.lock().loading)
    }

    /// Sets the lane's alarm to `at` if that is earlier than the one set; `false` if it is not.
    pub(crate) fn set_alarm(&self, at: Timestamp) -> bool {
        let mut state = self.state.lock();
        let earlier = at < state.alarm;
        if earlier {
            state.alarm = at;
        }
        earlier
    }

    /// Takes the alarm if it is the one set for `at`.
    pub(crate) fn take_alarm(&self, at: Timestamp) -> bool {
        let mut state = self.state.lock();
        let mine = state.alarm == at;
        if mine {
            state.alarm = Timestamp::FAR_FUTURE;
        }
        mine
    }

    /// What a person sees of it at `now`.
    pub(crate) fn status(&self, now: Timestamp) -> LaneStatus {
        let state = self.state.lock();
        LaneStatus {
            in_flight: state.running,
            ready: state.ready.len(),
            breaker: state.breaker.state(now),
            held_until: match state.breaker.allowance(now) {
                Allowance::OpenUntil(until) => Some(until),
                Allowance::Limit(_) => None,
            },
            failing_since: state.failing_since,
        }
    }
}

/// What [`Lane::record`] found.
pub(crate) struct Recorded {
    #[expect(
        clippy::option_option,
        reason = "left, cleared or set: as the store's transition says it"
    )]
    pub mark: Option<Option<Timestamp>>,
    pub failing_since: Option<Timestamp>,
    pub given_back: Vec<Ready>,
}

/// A load under way.
pub(crate) struct Load {
    pub ordered: bool,
    pub room: usize,
    mark: u64,
}

impl State {
    /// Queues at the back; in an ordered lane, by id, which is the order of acceptance.
    fn push(&mut self, ready: Ready) {
        let mut at = self.ready.len();
        if self.is_ordered() {
            at -= self
                .ready
                .iter()
                .rev()
                .take_while(|other| other.delivery > ready.delivery)
                .count();
        }
        self.ready.insert(at, ready);
    }

    fn is_ordered(&self) -> bool {
        self.endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.webhook.config.ordered)
    }

    /// Whether the breaker holds everything back.
    fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.breaker.allowance(now), Allowance::OpenUntil(_))
    }

    fn leave_on_disk(&mut self) {
        self.on_disk = true;
        self.left_on_disk += 1;
    }

    fn take_ready(&mut self) -> Vec<Ready> {
        if self.ready.is_empty() {
            return Vec::new();
        }
        self.leave_on_disk();
        std::mem::take(&mut self.ready).into()
    }
}
