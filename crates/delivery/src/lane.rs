//! A lane: one webhook's own queue in memory, with everything that says whether its next attempt
//! may start now. So one webhook never waits for another.
//!
//! What is in `ready` is held under this process's lease. What did not fit, or waits for a retry,
//! lies on disk; `on_disk` says that some of it may be due, `next_due` when the next will be.
//! A lane does no I/O: it answers what is to be done ([`Step`]), [`crate::dispatch`] does it.
//!
//! Of what the webhook allows, a lane uses this node's [`Share`]: everything, unless other nodes
//! work on the same store. There, a strictly ordered webhook's deliveries never go into memory as
//! they are accepted: they are claimed, and the claims of all nodes keep the order.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use domain::{
    DeliveryId, Timestamp, WebhookId, WorkspaceId,
    attempt::Outcome,
    breaker::{Allowance, Breaker, BreakerState, is_overload},
    share::Share,
    webhook::Webhook,
};
use parking_lot::Mutex;
use store::Lease;

use crate::{endpoint::Endpoint, fan_out::Loaded, nodes::Members};

/// How often a success is told to the store anew where other nodes may have failed meanwhile.
const CLEAR_EVERY: Duration = Duration::from_mins(1);

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
    /// Whether other nodes may send to it too.
    among_nodes: bool,
    state: Mutex<State>,
}

struct State {
    /// `None` while the webhook is inactive or gone: nothing starts.
    endpoint: Option<Arc<Endpoint>>,
    /// This node's part of what the webhook allows.
    share: Share,
    ready: VecDeque<Ready>,
    /// Whether `ready` was filled while the webhook was not ordered, and now it is.
    out_of_order: bool,
    /// Places kept for deliveries whose commit is under way.
    reserved: usize,
    running: u32,
    breaker: Breaker,
    rate: Bucket,
    failing_since: Option<Timestamp>,
    /// When the store was last told that the webhook does not fail.
    cleared_at: Timestamp,
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
    /// One that has to fill first: others may just have used theirs.
    fn empty(now: Timestamp) -> Self {
        Self {
            tokens: 0.0,
            filled_at: Some(now),
        }
    }

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
    /// What of the webhook is this node's to send.
    pub share: Share,
}

impl Lane {
    /// An idle lane; `among_nodes`: other nodes may send to the webhook too.
    pub(crate) fn new(webhook: &Webhook, among_nodes: bool) -> Self {
        Self {
            workspace: webhook.workspace,
            webhook: webhook.id,
            among_nodes,
            state: Mutex::new(State {
                endpoint: None,
                share: Share::NONE,
                ready: VecDeque::new(),
                out_of_order: false,
                reserved: 0,
                running: 0,
                breaker: Breaker::new(webhook.config.concurrency),
                rate: Bucket::default(),
                failing_since: webhook.failing_since,
                cleared_at: Timestamp::default(),
                on_disk: false,
                left_on_disk: 0,
                loading: false,
                held_until: Timestamp::default(),
                forced: 0,
                alarm: Timestamp::FAR_FUTURE,
            }),
        }
    }

    /// Takes up a changed webhook, or stops the lane (`None`). What may no longer be in memory
    /// then, [`Lane::take_misplaced`] takes out.
    pub(crate) fn set_endpoint(&self, endpoint: Option<Arc<Endpoint>>, members: &Members) {
        let mut state = self.state.lock();
        if let Some(endpoint) = &endpoint {
            let config = &endpoint.webhook.config;
            let becomes_ordered = config.ordered && !state.is_ordered();
            state.out_of_order |= becomes_ordered && !state.ready.is_empty();
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
        let share = endpoint.as_ref().map_or(Share::NONE, |endpoint| {
            members.share(self.webhook, &endpoint.webhook.config)
        });
        let goes_on = state.endpoint.is_some() && endpoint.is_some();
        if goes_on && self.among_nodes {
            state.take_share(share);
        } else {
            state.share = share;
        }
        state.endpoint = endpoint;
    }

    /// Takes this node's share as `members` has it now. Answers whether it has grown: then there
    /// may be more to do. What may no longer be in memory, [`Lane::take_misplaced`] takes out.
    pub(crate) fn set_share(&self, members: &Members, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        let Some(endpoint) = &state.endpoint else {
            return false;
        };
        let share = members.share(self.webhook, &endpoint.webhook.config);
        if state.share.is_none() && !members.starts_alone() {
            state.rate = Bucket::empty(now);
        }
        state.take_share(share)
    }

    /// Whether this node sends nothing to the webhook, but another may.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let state = self.state.lock();
        state.endpoint.is_some() && state.share.is_none()
    }

    /// Whether this node does what exactly one has to do for the webhook.
    pub(crate) fn leads(&self) -> bool {
        self.state.lock().share.leads
    }

    /// Keeps a place in memory for a delivery that is about to be stored; `false` if it has to
    /// lie on disk first: the queue is full, or (so that order and fairness hold) others that
    /// came before lie there already, or nothing may be sent now.
    pub(crate) fn reserve(&self, now: Timestamp, ready_max: usize) -> bool {
        let mut state = self.state.lock();
        let room = state.ready.len() + state.reserved < ready_max;
        let only_claimed = self.among_nodes && state.is_ordered();
        let stopped = state.endpoint.is_none() || state.share.is_none() || only_claimed;
        let flows = !stopped
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
        let behind_others = ordered
            && (self.among_nodes || state.on_disk || state.loading || state.held_until > now);
        let stopped = state.endpoint.is_none() || state.share.is_none() || state.is_open(now);
        if behind_others || stopped {
            state.leave_on_disk();
            return Some(ready);
        }
        state.push(ready, ordered);
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
        let share = state.share;
        if share.is_none() {
            return Step::Nothing;
        }
        let config = &endpoint.webhook.config;
        let cap = match state.breaker.allowance(now) {
            Allowance::OpenUntil(_) if state.forced > 0 => state.running + 1,
            Allowance::OpenUntil(until) => return Step::Wait(until),
            Allowance::Limit(_) if config.ordered => 1,
            Allowance::Limit(limit) => limit.min(config.concurrency).min(share.concurrency),
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
        if let Some(rate) = share.rate_per_s
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
        // Other nodes may have set the mark in the store since this one looked.
        let outdated = self.among_nodes && now.since(state.cleared_at) >= CLEAR_EVERY;
        let mark = match (success, state.failing_since) {
            (true, since) if since.is_some() || outdated => {
                state.cleared_at = now;
                Some(None)
            }
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

    /// Takes out of memory what may not be there since the webhook or the share has changed, to
    /// be given back to the disk.
    pub(crate) fn take_misplaced(&self) -> Vec<Ready> {
        let mut state = self.state.lock();
        let mixed = std::mem::take(&mut state.out_of_order) && self.among_nodes;
        if mixed || state.endpoint.is_none() || state.share.is_none() {
            return state.take_ready();
        }
        Vec::new()
    }

    /// Forgets what is in memory under a lease that is not `held` any more: it lies on disk, for
    /// whoever claims it. Answers how many deliveries that were.
    pub(crate) fn forget(&self, held: impl Fn(Lease) -> bool) -> usize {
        let mut state = self.state.lock();
        let before = state.ready.len();
        state.ready.retain(|ready| held(ready.lease));
        state.held_until = Timestamp::default();
        state.leave_on_disk();
        before - state.ready.len()
    }

    /// Takes the failing mark as the store has it.
    pub(crate) fn set_failing_since(&self, since: Option<Timestamp>) {
        self.state.lock().failing_since = since;
    }

    /// How much a load may take, and the mark to be handed to [`Lane::loaded`]; `None` if nothing
    /// is sent to the webhook (from here) by now: the load is off.
    pub(crate) fn begin_load(&self, ready_max: usize) -> Option<Load> {
        let state = self.state.lock();
        let endpoint = state.endpoint.as_ref()?;
        if state.share.is_none() {
            return None;
        }
        Some(Load {
            ordered: endpoint.webhook.config.ordered,
            room: ready_max
                .saturating_sub(state.ready.len() + state.reserved)
                .max(1),
            mark: state.left_on_disk,
        })
    }

    /// Ends a load. `exhausted`: nothing more was due. Answers what came too late: the webhook
    /// became inactive, its breaker opened or other nodes took over meanwhile.
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
        if state.share.is_none() || (state.is_ordered() && self.among_nodes && !load.ordered) {
            state.leave_on_disk();
            return claimed;
        }
        // What is being stored as held would hide what lies behind it from an ordered claim.
        let hidden = load.ordered && state.reserved > 0;
        state.on_disk = !exhausted || hidden || state.left_on_disk != load.mark;
        if state.is_open(now) && state.forced == 0 {
            state.leave_on_disk();
            return claimed;
        }
        // Clocks of nodes differ, and so do their ids: the store's order is the one that counts.
        let by_id = state.is_ordered() && !self.among_nodes;
        for ready in claimed {
            state.push(ready, by_id);
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
            share: state.share,
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
    /// Answers whether the share has grown.
    fn take_share(&mut self, share: Share) -> bool {
        let before = std::mem::replace(&mut self.share, share);
        if share.is_none() {
            // What its head waited for is another node's business from now on.
            self.held_until = Timestamp::default();
            self.forced = 0;
        }
        let grew = share.concurrency > before.concurrency;
        if grew {
            self.leave_on_disk();
        }
        grew
    }

    /// Queues at the back; where one process orders all, by id, which is the order of acceptance.
    fn push(&mut self, ready: Ready, by_id: bool) {
        let mut at = self.ready.len();
        if by_id {
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
