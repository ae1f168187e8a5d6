//! How much one door takes: requests at once and per second, and how many refused ones are kept.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{Timestamp, intake::Door};
use parking_lot::Mutex;

/// Refused requests of one door that are kept per second; the rest is counted.
pub const REFUSED_PER_S: f64 = 5.0;
/// Bodies that are read at once at one door.
const READING_MAX: u32 = 1_024;
/// The most doors whose use is remembered; doors are made by people only.
const GATES_MAX: usize = 100_000;

/// The gates of all doors that were used.
#[derive(Default)]
pub(crate) struct Gates(Mutex<HashMap<Door, Arc<Gate>>>);

/// What is under way at one door.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Requests whose bodies are being read.
    reading: AtomicU32,
    at_once: AtomicU32,
    rate: Bucket,
    refused: Bucket,
    unkept: AtomicU64,
}

/// A place at a door; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Gate>);

/// A place among those whose bodies are being read; given back when dropped.
#[derive(Debug)]
pub(crate) struct ReadingPlace(Arc<Gate>);

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Too many at once.
    AtOnce,
    /// Too many per second: one more after this long.
    Rate(Duration),
}

impl Gates {
    pub fn of(&self, door: Door) -> Arc<Gate> {
        let mut gates = self.0.lock();
        if gates.len() >= GATES_MAX && !gates.contains_key(&door) {
            // Those in use live on in their places.
            gates.clear();
        }
        Arc::clone(gates.entry(door).or_default())
    }
}

impl Gate {
    pub fn enter(self: &Arc<Self>, concurrency: u32) -> Result<Place, Full> {
        let before = self.at_once.fetch_add(1, Ordering::AcqRel);
        let place = Place(Arc::clone(self));
        if before >= concurrency {
            return Err(Full::AtOnce);
        }
        Ok(place)
    }

    /// A place to read a body in. Strangers can take these, by sending slowly: so they are many,
    /// and none of those that genuine requests need.
    pub fn read(self: &Arc<Self>) -> Result<ReadingPlace, Full> {
        let before = self.reading.fetch_add(1, Ordering::AcqRel);
        let place = ReadingPlace(Arc::clone(self));
        if before >= READING_MAX {
            return Err(Full::AtOnce);
        }
        Ok(place)
    }

    /// Counts a genuine request against the door's rate.
    pub fn pass(&self, rate: Option<f64>, now: Timestamp) -> Result<(), Full> {
        match rate {
            Some(per_s) => self.rate.take(per_s, now).map_err(Full::Rate),
            None => Ok(()),
        }
    }

    /// Whether a refused request is kept; then, how many before it were not.
    pub fn keeps_refused(&self, now: Timestamp) -> Option<u64> {
        if self.refused.take(REFUSED_PER_S, now).is_ok() {
            Some(self.unkept.swap(0, Ordering::AcqRel))
        } else {
            self.unkept.fetch_add(1, Ordering::AcqRel);
            None
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for ReadingPlace {
    fn drop(&mut self) {
        self.0.reading.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A token bucket that holds one second's worth, and one at least.
#[derive(Debug, Default)]
struct Bucket(Mutex<Option<(f64, Timestamp)>>);

impl Bucket {
    fn take(&self, per_s: f64, now: Timestamp) -> Result<(), Duration> {
        let burst = per_s.max(1.0);
        let mut state = self.0.lock();
        let (level, at) = state.unwrap_or((burst, now));
        let level = (level + now.since(at).as_secs_f64() * per_s).min(burst);
        let allowed = level >= 1.0;
        *state = Some((if allowed { level - 1.0 } else { level }, now.max(at)));
        if allowed {
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - level) / per_s))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back() {
        let gate = Arc::new(Gate::default());
        let first = gate.enter(1).unwrap();
        assert_eq!(gate.enter(1).err(), Some(Full::AtOnce));
        drop(first);
        assert!(gate.enter(1).is_ok());
    }

    #[test]
    fn those_who_send_slowly_take_no_place_of_the_genuine() {
        let gate = Arc::new(Gate::default());
        let slow: Vec<_> = (0..READING_MAX).map(|_| gate.read().unwrap()).collect();
        assert!(gate.enter(1).is_ok());
        assert_eq!(gate.read().err(), Some(Full::AtOnce));
        drop(slow);
        assert!(gate.read().is_ok());
    }

    #[test]
    fn a_rate_fills_up_again() {
        let gate = Arc::new(Gate::default());
        let mut now = Timestamp::from_ms(0);
        assert!(gate.pass(Some(0.5), now).is_ok());
        let full = gate.pass(Some(0.5), now).err();
        assert_eq!(full, Some(Full::Rate(Duration::from_secs(2))));
        now = now + Duration::from_secs(2);
        assert!(gate.pass(Some(0.5), now).is_ok());
    }

    #[test]
    fn refused_ones_beyond_the_rate_are_counted() {
        let gate = Gate::default();
        let now = Timestamp::from_ms(0);
        let kept: Vec<_> = (0..8).map(|_| gate.keeps_refused(now)).collect();
        assert_eq!(kept[4..], [Some(0), None, None, None]);
        assert_eq!(gate.keeps_refused(now + Duration::from_secs(1)), Some(3));
    }
}
