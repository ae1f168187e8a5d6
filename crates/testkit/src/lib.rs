//! What tests share: a clock that stands still, ids and randomness from a seed, and receivers
//! that do as they are told. A failure is reproduced by its seed.

pub mod edge;
pub mod receiver;

pub use edge::{FakeClock, SeededEntropy, SeededIds, edge};
pub use receiver::{Answer, Received, Receiver};
