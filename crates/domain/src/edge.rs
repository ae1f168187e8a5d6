//! What the rules' users take from outside: time, ids, randomness. The program's are the system's,
//! a test's are scripted.

use std::sync::Arc;

use crate::{id::IdSource, time::Clock};

/// Randomness for jitter and secrets. The program's is the system's; a test's is seeded.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random ones.
    fn fill(&self, bytes: &mut [u8]);

    /// A number in `0.0..1.0`.
    fn unit(&self) -> f64 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }
}

/// What a pipeline needs of the outside world.
#[derive(Clone)]
pub struct Edge {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn IdSource>,
    /// Makes randomness.
    pub entropy: Arc<dyn Entropy>,
}
