//! Where the program meets the wall clock and the system's randomness.
//!
//! Everything below takes them as arguments (`delivery::Edge`); this is the one place that makes
//! them. It decides nothing.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use delivery::{Edge, Entropy};
use domain::{Timestamp, id::IdSource, time::Clock};
use ring::rand::{SecureRandom as _, SystemRandom};
use uuid::Uuid;

/// The system's clock, ids made by it, and the system's randomness.
pub fn system() -> Edge {
    Edge {
        clock: Arc::new(System),
        ids: Arc::new(System),
        entropy: Arc::new(System),
    }
}

/// The time now; before 1970 it is 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge: everything else takes the time as an argument"
)]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// A new id, greater than all that this process made before.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge: everything else takes ids as arguments"
)]
pub fn id() -> Uuid {
    // The library's shared context counts within a millisecond and never steps back.
    Uuid::now_v7()
}

/// What this machine calls itself.
pub fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let printable: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    if printable.is_empty() {
        "signpost".to_owned()
    } else {
        printable
    }
}

/// `N` random bytes, fit for secrets.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    System.fill(&mut bytes);
    bytes
}

struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        now()
    }
}

impl IdSource for System {
    fn next_id(&self) -> Uuid {
        id()
    }
}

impl Entropy for System {
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge: everything else takes randomness as an argument"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        SystemRandom::new()
            .fill(bytes)
            .expect("the system has randomness once it is booted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_carry_the_time() {
        let ids: Vec<Uuid> = (0..10_000).map(|_| id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert_eq!(ids[0].get_version_num(), 7);
    }

    #[test]
    fn randomness_differs_and_its_unit_is_in_range() {
        assert_ne!(random::<32>(), random::<32>());
        let edge = system();
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&edge.entropy.unit())));
    }
}
