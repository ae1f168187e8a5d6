//! What was published, what arrived, and what follows from comparing the two.
//!
//! The generator *issues* sequence numbers, writes them into its events and notes what the server
//! answered (*accepted* or not); the receiver notes every delivery. Both do so under one lock that
//! is held for well under a microsecond. Per event the ledger keeps eight bytes and a bit, per
//! endpoint and event two bits more; latencies go into histograms. It reads no clock: instants come
//! in as nanoseconds since the run began. It sends nothing; what a delivery is to be answered is
//! returned to the receiver.

use std::collections::BTreeMap;

use super::histogram::Histogram;

/// How an endpoint behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Answers 200 at once (or 500 to the first attempt of the failing share).
    Healthy,
    /// Answers 200, late.
    Slow,
    /// Takes the request and never answers.
    Dead,
    /// Answers 500, always.
    Failing,
}

/// What the receiver answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// 200, now.
    Taken,
    /// 200, after the slow endpoints' delay.
    TakenLate,
    /// 500.
    Refused,
    /// Nothing, ever.
    Silence,
}

/// What checking a delivery's signature showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    /// It was checked and holds.
    Good,
    /// It is missing or does not hold.
    Bad,
    /// It is outside the sample and was not looked at.
    Unchecked,
}

/// How a publish request ended, other than with a 2xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PublishError {
    /// The server answered this status.
    Status(u16),
    /// The connection was refused, broke, or carried no HTTP.
    Connection,
    /// No answer had come when the run was over.
    Unanswered,
}

/// One delivery, as received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receipt {
    /// Number of the endpoint, out of the request's path.
    pub(super) endpoint: usize,
    /// Sequence number of the event, out of its data.
    pub(super) sequence: u64,
    /// [`id_mark`] of the `webhook-id` header.
    pub(super) id: u32,
    /// When the event was (to be) sent, out of its data.
    pub(super) sent_ns: u64,
    /// When the delivery was read.
    pub(super) now_ns: u64,
    /// Whether its signature holds.
    pub(super) signature: Signature,
}

/// A bit per event, growing as they come.
#[derive(Debug, Default)]
struct Bitmap(Vec<u64>);

impl Bitmap {
    /// Sets the bit and says whether it was set before.
    fn set(&mut self, index: u64) -> bool {
        let word = usize::try_from(index / 64).expect("events fit in memory");
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let bit = 1 << (index % 64);
        let before = self.0[word] & bit != 0;
        self.0[word] |= bit;
        before
    }

    /// How many bits are set here and not in `other`.
    fn count_without(&self, other: &Bitmap) -> u64 {
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        self.0
            .iter()
            .zip(others)
            .map(|(mine, theirs)| u64::from((mine & !theirs).count_ones()))
            .sum()
    }
}

/// One endpoint's side of the ledger.
#[derive(Debug)]
struct Endpoint {
    kind: Kind,
    received: Bitmap,
    refused: Bitmap,
}

/// Latencies of one kind of endpoint, in nanoseconds.
#[derive(Debug, Clone)]
pub(super) struct Latencies {
    /// From the instant an event was sent (open loop: scheduled) to its receipt.
    pub(super) from_send: Histogram,
    /// From the 202 to the receipt; 0 for a delivery that came before the 202 was read.
    pub(super) from_accept: Histogram,
}

impl Latencies {
    fn new() -> Self {
        Self {
            from_send: Histogram::new(),
            from_accept: Histogram::new(),
        }
    }
}

/// Running totals, cheap to copy out while the run goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Sequence numbers handed out.
    pub(super) issued: u64,
    /// Events answered with a 2xx.
    pub(super) accepted: u64,
    /// First receipts at healthy endpoints.
    pub(super) delivered: u64,
    /// First receipts at slow, dead and failing endpoints.
    pub(super) delivered_to_others: u64,
    /// Requests the receiver read, of whatever worth.
    pub(super) requests: u64,
    /// Deliveries of the failing share that were answered 500 once.
    pub(super) refused: u64,
    /// Receipts at healthy endpoints beyond the first that was answered 200.
    pub(super) duplicated: u64,
    /// Requests to no known endpoint or about no issued event.
    pub(super) unknown: u64,
    /// Deliveries whose `webhook-id` is not the id that publishing answered.
    pub(super) wrong_ids: u64,
    /// Signatures checked.
    pub(super) verified: u64,
    /// Signatures missing or wrong.
    pub(super) bad_signatures: u64,
    /// When the last first receipt at a healthy endpoint came.
    pub(super) last_receipt_ns: u64,
}

/// The books of one run.
#[derive(Debug)]
pub(super) struct Ledger {
    totals: Totals,
    /// No more than this many events are issued.
    events_max: u64,
    /// Latencies count for events sent at or after this instant.
    measure_from_ns: u64,
    /// Share of (event, healthy endpoint) pairs whose first attempt is refused, as parts of 2^32.
    failing_share: u64,
    accepted: Bitmap,
    /// When each event was accepted, in microseconds; 0 while it is not.
    accepted_us: Vec<u32>,
    /// Mark of each event's id, from the publisher's answer or the first delivery; 0 while unknown.
    ids: Vec<u32>,
    endpoints: Vec<Endpoint>,
    errors: BTreeMap<PublishError, u64>,
    /// From sending (open loop: schedule) to the 2xx.
    acknowledged: Histogram,
    healthy: Latencies,
    slow: Latencies,
    unresponsive: Latencies,
}

impl Ledger {
    /// Opens the books for `endpoints`, which are numbered from 0 in this order.
    ///
    /// `failing_share` is in `0.0..=1.0`.
    pub(super) fn new(
        endpoints: &[Kind],
        events_max: Option<u64>,
        measure_from_ns: u64,
        failing_share: f64,
    ) -> Self {
        let expected = usize::try_from(events_max.unwrap_or(100_000).min(10_000_000)).unwrap_or(0);
        Self {
            totals: Totals::default(),
            events_max: events_max.unwrap_or(u64::MAX),
            measure_from_ns,
            failing_share: parts_of_2_32(failing_share),
            accepted: Bitmap::default(),
            accepted_us: Vec::with_capacity(expected),
            ids: Vec::with_capacity(expected),
            endpoints: endpoints
                .iter()
                .map(|&kind| Endpoint {
                    kind,
                    received: Bitmap::default(),
                    refused: Bitmap::default(),
                })
                .collect(),
            errors: BTreeMap::new(),
            acknowledged: Histogram::new(),
            healthy: Latencies::new(),
            slow: Latencies::new(),
            unresponsive: Latencies::new(),
        }
    }

    /// Hands out `count` sequence numbers and returns the first, or `None` when the run has had all
    /// its events.
    pub(super) fn issue(&mut self, count: u64) -> Option<u64> {
        let first = self.totals.issued;
        if first.saturating_add(count) > self.events_max {
            return None;
        }
        self.totals.issued += count;
        let length = usize::try_from(self.totals.issued).expect("events fit in memory");
        self.accepted_us.resize(length, 0);
        self.ids.resize(length, 0);
        Some(first)
    }

    /// Whether events remain to be issued.
    pub(super) fn has_more(&self) -> bool {
        self.totals.issued < self.events_max
    }

    /// Notes that event `sequence` was accepted under the id with this mark (0: the answer named
    /// none), and how long that took.
    pub(super) fn accept(&mut self, sequence: u64, id: u32, sent_ns: u64, now_ns: u64) {
        let Some(index) = self.index_of(sequence) else {
            return;
        };
        if self.accepted.set(sequence) {
            return;
        }
        self.totals.accepted += 1;
        self.accepted_us[index] = u32::try_from(now_ns / 1000).unwrap_or(u32::MAX).max(1);
        self.match_id(index, id);
        if sent_ns >= self.measure_from_ns {
            self.acknowledged.record(now_ns.saturating_sub(sent_ns));
        }
    }

    /// Notes that a request carrying `events` events was not accepted.
    pub(super) fn publish_failed(&mut self, error: PublishError, events: u64) {
        *self.errors.entry(error).or_default() += events;
    }

    /// Notes a request that is no delivery at all.
    pub(super) fn receive_unknown(&mut self) {
        self.totals.requests += 1;
        self.totals.unknown += 1;
    }

    /// Notes a delivery and decides its answer.
    pub(super) fn receive(&mut self, receipt: Receipt) -> Answer {
        let known = self
            .index_of(receipt.sequence)
            .filter(|_| receipt.endpoint < self.endpoints.len());
        let Some(index) = known else {
            self.receive_unknown();
            return Answer::Taken;
        };
        self.totals.requests += 1;
        match receipt.signature {
            Signature::Good => self.totals.verified += 1,
            Signature::Bad => {
                self.totals.verified += 1;
                self.totals.bad_signatures += 1;
            }
            Signature::Unchecked => {}
        }
        self.match_id(index, receipt.id);
        match self.endpoints[receipt.endpoint].kind {
            Kind::Healthy => self.receive_at_healthy(receipt, index),
            Kind::Slow => {
                self.receive_at_other(receipt, index);
                Answer::TakenLate
            }
            Kind::Dead => {
                self.receive_at_other(receipt, index);
                Answer::Silence
            }
            Kind::Failing => {
                self.receive_at_other(receipt, index);
                Answer::Refused
            }
        }
    }

    fn receive_at_healthy(&mut self, receipt: Receipt, index: usize) -> Answer {
        let endpoint = &mut self.endpoints[receipt.endpoint];
        if spread(receipt.sequence, receipt.endpoint) < self.failing_share
            && !endpoint.refused.set(receipt.sequence)
        {
            self.totals.refused += 1;
            return Answer::Refused;
        }
        if endpoint.received.set(receipt.sequence) {
            self.totals.duplicated += 1;
            return Answer::Taken;
        }
        self.totals.delivered += 1;
        self.totals.last_receipt_ns = receipt.now_ns;
        // A second attempt says when the retry schedule ran, not how fast the server is.
        let first_attempt = spread(receipt.sequence, receipt.endpoint) >= self.failing_share;
        if first_attempt {
            record(
                &mut self.healthy,
                receipt,
                self.measure_from_ns,
                self.accepted_us[index],
            );
        }
        Answer::Taken
    }

    fn receive_at_other(&mut self, receipt: Receipt, index: usize) {
        let endpoint = &mut self.endpoints[receipt.endpoint];
        if endpoint.received.set(receipt.sequence) {
            return;
        }
        let latencies = if endpoint.kind == Kind::Slow {
            &mut self.slow
        } else {
            &mut self.unresponsive
        };
        self.totals.delivered_to_others += 1;
        record(
            latencies,
            receipt,
            self.measure_from_ns,
            self.accepted_us[index],
        );
    }

    /// Where `sequence` is kept, if it was issued.
    fn index_of(&self, sequence: u64) -> Option<usize> {
        usize::try_from(sequence)
            .ok()
            .filter(|_| sequence < self.totals.issued)
    }

    /// Keeps the first mark seen for an event and counts every later one that differs.
    fn match_id(&mut self, index: usize, id: u32) {
        let kept = &mut self.ids[index];
        if *kept == 0 {
            *kept = id;
        } else if id != 0 && *kept != id {
            self.totals.wrong_ids += 1;
        }
    }

    /// Accepted events that a healthy endpoint has not taken, summed over these endpoints. Once the
    /// run is over, this is what was lost.
    pub(super) fn outstanding(&self) -> u64 {
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.kind == Kind::Healthy)
            .map(|endpoint| self.accepted.count_without(&endpoint.received))
            .sum()
    }

    /// Whether nothing is outstanding. Mostly decided by the totals, so it may be asked often.
    pub(super) fn is_drained(&self) -> bool {
        let healthy = self
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.kind == Kind::Healthy)
            .count() as u64;
        self.totals.delivered >= self.totals.accepted * healthy && self.outstanding() == 0
    }

    /// Deliveries to healthy endpoints of events whose publishing was not acknowledged.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.kind == Kind::Healthy)
            .map(|endpoint| endpoint.received.count_without(&self.accepted))
            .sum()
    }

    /// The totals so far.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Events not accepted, by why.
    pub(super) fn errors(&self) -> &BTreeMap<PublishError, u64> {
        &self.errors
    }

    /// From sending to the 2xx.
    pub(super) fn acknowledged(&self) -> &Histogram {
        &self.acknowledged
    }

    /// Latencies of first attempts at endpoints of this kind (dead and failing ones share theirs).
    pub(super) fn latencies(&self, kind: Kind) -> &Latencies {
        match kind {
            Kind::Healthy => &self.healthy,
            Kind::Slow => &self.slow,
            Kind::Dead | Kind::Failing => &self.unresponsive,
        }
    }
}

fn record(latencies: &mut Latencies, receipt: Receipt, measure_from_ns: u64, accepted_us: u32) {
    if receipt.sent_ns < measure_from_ns {
        return;
    }
    latencies
        .from_send
        .record(receipt.now_ns.saturating_sub(receipt.sent_ns));
    let waited = match accepted_us {
        0 => 0,
        accepted_us => receipt.now_ns.saturating_sub(u64::from(accepted_us) * 1000),
    };
    latencies.from_accept.record(waited);
}

/// A short mark of an event id (FNV-1a), never 0. Two ids share one with a chance of one in 4·10⁹.
pub(super) fn id_mark(id: &[u8]) -> u32 {
    let hash = id.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u32::try_from((hash ^ (hash >> 32)) & 0xffff_ffff)
        .expect("masked to 32 bits")
        .max(1)
}

/// `share` (0.0 to 1.0) as parts of 2^32.
pub(super) fn parts_of_2_32(share: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=2^32"
    )]
    let parts = (share.clamp(0.0, 1.0) * 4_294_967_296.0) as u64;
    parts
}

/// A number below 2^32 that looks random but is the same each time for one event and endpoint.
pub(super) fn spread(sequence: u64, endpoint: usize) -> u64 {
    let mixed = (sequence ^ ((endpoint as u64) << 40)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed >> 32
}

#[cfg(test)]
mod tests;
