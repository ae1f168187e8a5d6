//! What tests share: a clock that stands still, ids and randomness from a seed, receivers and
//! model servers that do as they are told, and stores to work on: SQLite in a folder, or a PostgreSQL that the tests
//! start themselves. A failure is reproduced by its seed.

pub mod edge;
pub mod models;
pub mod postgres;
pub mod receiver;
pub mod store;

pub use self::store::TestStore;
pub use edge::{FakeClock, SeededEntropy, SeededIds, edge};
pub use receiver::{Answer, Received, Receiver};
