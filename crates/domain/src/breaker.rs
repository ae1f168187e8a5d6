//! The circuit breaker of one webhook: how many attempts a failing receiver is still asked.
//!
//! `delivery` records how each attempt ended ([`Breaker::record`]) and asks, before it starts
//! one, how many may be in flight ([`Breaker::allowance`]). The flow: *closed* (full cap) →
//! after [`FAILURES_TO_OPEN`] failures in a row *open* (none) → when its time is over *half
//! open* (one probe) → if that succeeds *ramping* (1, 2, 4, …) → closed. A failed probe opens it
//! again, for longer. It lives in memory: a restart begins closed. It never fails a delivery,
//! it only holds it.

use std::time::Duration;

use crate::Timestamp;

/// So many failures in a row open a closed breaker.
pub const FAILURES_TO_OPEN: u32 = 10;
/// How long it stays open the first time.
pub const OPEN_MIN: Duration = Duration::from_secs(5);
/// How long it stays open at most, jitter included. Each opening in a row doubles the time.
pub const OPEN_MAX: Duration = Duration::from_mins(10);
/// Jitter lengthens an opening by up to this share, so that webhooks do not probe in step.
const JITTER_SHARE: f64 = 0.2;

/// What may be sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowance {
    /// Nothing before this time.
    OpenUntil(Timestamp),
    /// Attempts may start while fewer than this many are in flight; at least 1.
    Limit(u32),
}

/// Where a breaker stands, for people to see.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BreakerState {
    /// Everything is sent.
    Closed,
    /// Nothing is sent.
    Open,
    /// One attempt probes.
    HalfOpen,
    /// Fewer than the cap are sent.
    Ramping,
}

impl BreakerState {
    /// The text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Ramping => "ramping",
        }
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Breaker {
    cap: u32,
    phase: Phase,
    /// Failures since the last success.
    failures: u32,
    /// Openings since it was last closed.
    openings: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Closed,
    /// Half open once the time has come.
    Open {
        until: Timestamp,
    },
    /// `limit` is below the cap, and at least 1.
    Ramping {
        limit: u32,
    },
}

impl Breaker {
    /// A closed breaker that allows `cap` attempts at once.
    ///
    /// # Panics
    /// If `cap` is 0: a webhook's concurrency is at least 1.
    pub fn new(cap: u32) -> Self {
        assert!(cap > 0, "a webhook's concurrency is at least 1");
        Self {
            cap,
            phase: Phase::Closed,
            failures: 0,
            openings: 0,
        }
    }

    /// Takes a changed concurrency over.
    ///
    /// # Panics
    /// If `cap` is 0.
    pub fn set_cap(&mut self, cap: u32) {
        assert!(cap > 0, "a webhook's concurrency is at least 1");
        self.cap = cap;
    }

    /// How many attempts may be in flight at `now`.
    pub fn allowance(&self, now: Timestamp) -> Allowance {
        match self.phase {
            Phase::Closed => Allowance::Limit(self.cap),
            Phase::Open { until } if now < until => Allowance::OpenUntil(until),
            Phase::Open { .. } => Allowance::Limit(1),
            Phase::Ramping { limit } => Allowance::Limit(limit.min(self.cap)),
        }
    }

    /// Where it stands at `now`.
    pub fn state(&self, now: Timestamp) -> BreakerState {
        match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { until } if now < until => BreakerState::Open,
            Phase::Open { .. } => BreakerState::HalfOpen,
            Phase::Ramping { .. } => BreakerState::Ramping,
        }
    }

    /// Records how an attempt ended at `now`. `jitter` is in `0.0..=1.0`.
    ///
    /// What ends while the breaker is open began before it opened and changes nothing.
    ///
    /// # Panics
    /// If `jitter` is out of range.
    pub fn record(&mut self, success: bool, now: Timestamp, jitter: f64) {
        assert!((0.0..=1.0).contains(&jitter), "jitter is a share");
        if matches!(self.phase, Phase::Open { until } if now < until) {
            return;
        }
        if success {
            self.succeeded();
        } else {
            self.failed(now, jitter);
        }
    }

    /// Records an attempt that failed since the receiver has too much to do
    /// ([`is_overload`]): a failure that also halves what is sent next.
    ///
    /// # Panics
    /// If `jitter` is out of range.
    pub fn record_overload(&mut self, now: Timestamp, jitter: f64) {
        let was_closed = self.phase == Phase::Closed;
        self.record(false, now, jitter);
        if was_closed && self.phase == Phase::Closed && self.cap > 1 {
            self.phase = Phase::Ramping {
                limit: self.cap / 2,
            };
        }
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        let limit = match self.phase {
            Phase::Closed => return,
            Phase::Open { .. } => 1,
            Phase::Ramping { limit } => limit.saturating_mul(2),
        };
        if limit < self.cap {
            self.phase = Phase::Ramping { limit };
        } else {
            self.phase = Phase::Closed;
            self.openings = 0;
        }
    }

    fn failed(&mut self, now: Timestamp, jitter: f64) {
        self.failures = self.failures.saturating_add(1);
        match self.phase {
            Phase::Open { .. } => self.open(now, jitter),
            _ if self.failures >= FAILURES_TO_OPEN => self.open(now, jitter),
            // It has just been open, and even one at a time fails.
            Phase::Ramping { limit: 1 } if self.openings > 0 => self.open(now, jitter),
            Phase::Ramping { limit } => {
                self.phase = Phase::Ramping {
                    limit: (limit / 2).max(1),
                }
            }
            Phase::Closed => {}
        }
    }

    fn open(&mut self, now: Timestamp, jitter: f64) {
        let doublings = self.openings.min(16);
        let span = (OPEN_MIN * (1 << doublings))
            .mul_f64(1.0 + JITTER_SHARE * jitter)
            .min(OPEN_MAX);
        self.phase = Phase::Open { until: now + span };
        self.openings = self.openings.saturating_add(1);
        self.failures = 0;
    }
}

/// Whether a status says that the receiver, or what stands before it, has too much to do.
pub const fn is_overload(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504 | 529)
}
