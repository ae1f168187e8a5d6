//! Look-ups that are believed for a short time: bounded in number and age.

use std::{hash::Hash, time::Duration};

use domain::Timestamp;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// Values by key, each for a limited time.
pub struct Remembered<K, V> {
    entries: Mutex<FxHashMap<K, (V, Timestamp)>>,
    lasts: Duration,
    entries_max: usize,
}

impl<K: Hash + Eq, V: Clone> Remembered<K, V> {
    /// Remembers up to `entries_max` values, each for as long as it `lasts`.
    pub fn new(lasts: Duration, entries_max: usize) -> Self {
        Self {
            entries: Mutex::default(),
            lasts,
            entries_max,
        }
    }

    /// The value that was remembered not too long before `now`.
    pub fn recall(&self, key: &K, now: Timestamp) -> Option<V> {
        let entries = self.entries.lock();
        let (value, at) = entries.get(key)?;
        (now.since(*at) < self.lasts && *at <= now).then(|| value.clone())
    }

    /// Remembers a value. Once there are too many, all others are forgotten: they are looked up
    /// again when they are needed.
    pub fn remember(&self, key: K, value: V, now: Timestamp) {
        let mut entries = self.entries.lock();
        if entries.len() >= self.entries_max && !entries.contains_key(&key) {
            entries.clear();
        }
        entries.insert(key, (value, now));
    }

    /// Forgets one value.
    pub fn forget(&self, key: &K) {
        self.entries.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_ms(1_000_000);

    #[test]
    fn a_value_is_believed_until_it_is_too_old_or_forgotten() {
        let remembered = Remembered::new(Duration::from_secs(5), 10);
        remembered.remember("a", 1, T0);
        assert_eq!(
            remembered.recall(&"a", T0 + Duration::from_millis(4_999)),
            Some(1)
        );
        assert_eq!(remembered.recall(&"a", T0 + Duration::from_secs(5)), None);
        assert_eq!(
            remembered.recall(&"a", T0.before(Duration::from_secs(1))),
            None,
            "a clock set back"
        );
        remembered.forget(&"a");
        assert_eq!(remembered.recall(&"a", T0), None);
    }

    #[test]
    fn there_are_never_more_than_allowed() {
        let remembered = Remembered::new(Duration::from_secs(5), 10);
        for key in 0..1_000 {
            remembered.remember(key, key, T0);
            assert!(remembered.entries.lock().len() <= 10);
            assert_eq!(remembered.recall(&key, T0), Some(key));
        }
    }
}
