//! The outside world of a test: time stands still until it is moved, ids and randomness follow
//! from a seed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use delivery::{Edge, Entropy};
use domain::{Timestamp, id::IdSource, time::Clock};
use parking_lot::Mutex;
use uuid::Uuid;

/// A clock that stands still.
#[derive(Debug)]
pub struct FakeClock(AtomicI64);

impl FakeClock {
    /// Stands at `now`.
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now.ms())))
    }

    /// Moves on.
    pub fn advance(&self, span: Duration) {
        let ms = i64::try_from(span.as_millis()).expect("a test's span is short");
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }
}

/// Ids that count up, with the clock's time in front as in UUIDs of version 7.
#[derive(Debug)]
pub struct SeededIds {
    clock: Arc<FakeClock>,
    next: AtomicU64,
}

impl SeededIds {
    /// Starts at 1.
    pub fn new(clock: Arc<FakeClock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            next: AtomicU64::new(1),
        })
    }
}

impl IdSource for SeededIds {
    fn next_id(&self) -> Uuid {
        let ms = u128::try_from(self.clock.now().ms()).expect("a test's clock is past 1970");
        let count = u128::from(self.next.fetch_add(1, Ordering::SeqCst));
        Uuid::from_u128((ms << 80) | (0x7 << 76) | (0b10 << 62) | count)
    }
}

/// Randomness from a seed (`SplitMix64`).
#[derive(Debug)]
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(seed)))
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A test's edge: `clock`, and ids and randomness from `seed`.
pub fn edge(clock: &Arc<FakeClock>, seed: u64) -> Edge {
    Edge {
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        ids: SeededIds::new(Arc::clone(clock)),
        entropy: SeededEntropy::new(seed),
    }
}
