//! Look-ups that are believed for a short time: bounded in number and age.

use std::{hash::Hash, time::Duration};

use domain::Timestamp;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// Values by key, each for a limited time.
pub struct Remembered<K, V> {
    inner: Mutex<Inner<K, V>>,
    lasts: Duration,
    entries_max: usize,
}

struct Inner<K, V> {
    entries: FxHashMap<K, (V, Timestamp)>,
    /// How often something was forgotten because it had changed.
    changes: u64,
}

/// The moment before a look-up: what changes after it must not be overlooked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Before(u64);

impl<K: Hash + Eq, V: Clone> Remembered<K, V> {
    /// Remembers up to `entries_max` values, each for as long as it `lasts`.
    pub fn new(lasts: Duration, entries_max: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                entries: FxHashMap::default(),
                changes: 0,
            }),
            lasts,
            entries_max,
        }
    }

    /// The value that was remembered not too long before `now`; else the moment to hand to
    /// [`Remembered::remember`] with what is looked up instead.
    ///
    /// # Errors
    /// If nothing is remembered.
    pub fn recall(&self, key: &K, now: Timestamp) -> Result<V, Before> {
        let inner = self.inner.lock();
        match inner.entries.get(key) {
            Some((value, at)) if now.since(*at) < self.lasts && *at <= now => Ok(value.clone()),
            _ => Err(Before(inner.changes)),
        }
    }

    /// Remembers a value that was looked up at `now`, unless something was forgotten since
    /// `before`: it may be what was looked up. Once there are too many, all others are forgotten:
    /// they are looked up again when they are needed.
    pub fn remember(&self, key: K, value: V, now: Timestamp, before: Before) {
        let mut inner = self.inner.lock();
        if inner.changes != before.0 {
            return;
        }
        if inner.entries.len() >= self.entries_max && !inner.entries.contains_key(&key) {
            inner.entries.clear();
        }
        inner.entries.insert(key, (value, now));
    }

    /// Forgets one value.
    pub fn forget(&self, key: &K) {
        let mut inner = self.inner.lock();
        inner.changes += 1;
        inner.entries.remove(key);
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        let mut inner = self.inner.lock();
        inner.changes += 1;
        inner.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_ms(1_000_000);

    #[test]
    fn a_value_is_believed_until_it_is_too_old_or_forgotten() {
        let remembered = Remembered::new(Duration::from_secs(5), 10);
        let before = remembered.recall(&"a", T0).unwrap_err();
        remembered.remember("a", 1, T0, before);
        let recall = |at| remembered.recall(&"a", at).ok();
        assert_eq!(recall(T0 + Duration::from_millis(4_999)), Some(1));
        assert_eq!(recall(T0 + Duration::from_secs(5)), None);
        let set_back = T0.before(Duration::from_secs(1));
        assert_eq!(recall(set_back), None, "a clock set back");
        remembered.forget(&"a");
        assert_eq!(recall(T0), None);
    }

    #[test]
    fn what_changed_while_it_was_looked_up_is_not_remembered() {
        type Change = fn(&Remembered<&'static str, u32>);
        let changes: [Change; 2] = [|them| them.forget(&"a"), Remembered::forget_all];
        for change in changes {
            let remembered = Remembered::new(Duration::from_secs(5), 10);
            let before = remembered.recall(&"a", T0).unwrap_err();
            change(&remembered);
            remembered.remember("a", 1, T0, before);
            let before = remembered.recall(&"a", T0).unwrap_err();
            remembered.remember("a", 2, T0, before);
            assert_eq!(remembered.recall(&"a", T0), Ok(2));
        }
    }

    #[test]
    fn there_are_never_more_than_allowed() {
        let remembered = Remembered::new(Duration::from_secs(5), 10);
        for key in 0..1_000 {
            let before = remembered.recall(&key, T0).unwrap_err();
            remembered.remember(key, key, T0, before);
            assert!(remembered.inner.lock().entries.len() <= 10);
            assert_eq!(remembered.recall(&key, T0), Ok(key));
        }
    }
}
