//! Metering: token buckets, a bounded number of them.
//!
//! The API's own limit is kept per caller and told in the headers of every metered answer
//! (`RateLimit-Policy` and `RateLimit` as in the IETF draft, `X-RateLimit-*` as S1's clients read
//! them). Publishing is not metered here: it is bounded by the store's queue, which answers 503.

use std::{hash::Hash, net::IpAddr, time::Duration};

use domain::{ApiKeyId, Timestamp, UserId};
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// The most buckets of one kind.
const BUCKETS_MAX: usize = 10_000;

/// Whose requests are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Caller {
    /// A person, from wherever.
    User(UserId),
    /// An API key.
    Key(ApiKeyId),
    /// Nobody known: by where they call from.
    Address(Address),
}

/// An address as it is metered: IPv6 by its /64, which is one customer's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Address(u64);

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(v4.to_bits())),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self(
                    [a, b, c, d]
                        .into_iter()
                        .fold(0, |bits, part| bits << 16 | u64::from(part)),
                )
            }
        }
    }
}

/// What a bucket says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Verdict {
    /// Whether the request may go on.
    pub allowed: bool,
    /// How many more may at once.
    pub remaining: u32,
    /// When one more may (if refused), or the bucket is full again (if allowed).
    pub wait: Duration,
}

#[derive(Clone, Copy)]
struct Bucket {
    level: f64,
    at: Timestamp,
}

/// Token buckets, one for each key: `burst` at once, then `per_s` a second.
pub struct Buckets<K> {
    burst: f64,
    per_s: f64,
    by_key: Mutex<FxHashMap<K, Bucket>>,
}

impl<K: Hash + Eq + Copy> Buckets<K> {
    /// Buckets that hold `burst` and fill by `per_s` each second.
    ///
    /// # Panics
    /// If either is not positive: nothing could ever pass.
    pub fn new(burst: u32, per_s: f64) -> Self {
        assert!(burst > 0 && per_s > 0.0, "a bucket lets something through");
        Self {
            burst: f64::from(burst),
            per_s,
            by_key: Mutex::default(),
        }
    }

    /// Takes one from the bucket of `key`, if there is one.
    pub fn take(&self, key: K, now: Timestamp) -> Verdict {
        let mut buckets = self.by_key.lock();
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&key) {
            self.make_room(&mut buckets, now);
        }
        let bucket = buckets.entry(key).or_insert(Bucket {
            level: self.burst,
            at: now,
        });
        let level = self.level(*bucket, now);
        let allowed = level >= 1.0;
        let level = if allowed { level - 1.0 } else { level };
        *bucket = Bucket {
            level,
            at: now.max(bucket.at),
        };
        let missing = if allowed {
            self.burst - level
        } else {
            1.0 - level
        };
        Verdict {
            allowed,
            remaining: whole(level),
            wait: Duration::from_secs_f64(missing / self.per_s),
        }
    }

    fn level(&self, bucket: Bucket, now: Timestamp) -> f64 {
        let filled = now.since(bucket.at).as_secs_f64() * self.per_s;
        (bucket.level + filled).min(self.burst)
    }

    /// Drops the buckets that are full anyway; if there are none, an eighth of all.
    fn make_room(&self, buckets: &mut FxHashMap<K, Bucket>, now: Timestamp) {
        buckets.retain(|_, bucket| self.level(*bucket, now) < self.burst);
        if buckets.len() >= BUCKETS_MAX {
            let some: Vec<K> = buckets.keys().take(BUCKETS_MAX / 8).copied().collect();
            for key in some {
                buckets.remove(&key);
            }
        }
    }
}

/// The API's limit.
pub struct ApiLimit {
    per_minute: u32,
    policy: HeaderValue,
    buckets: Buckets<Caller>,
}

impl ApiLimit {
    /// So many requests a minute for each caller.
    pub fn new(per_minute: u32) -> Self {
        let policy = format!("\"default\";q={per_minute};w=60");
        Self {
            per_minute,
            policy: HeaderValue::from_str(&policy).expect("a number makes a header"),
            buckets: Buckets::new(per_minute, f64::from(per_minute) / 60.0),
        }
    }

    /// Counts one request.
    pub fn take(&self, caller: Caller, now: Timestamp) -> Verdict {
        self.buckets.take(caller, now)
    }

    /// Tells the caller where they stand.
    pub fn describe(&self, verdict: Verdict, headers: &mut HeaderMap) {
        let wait_s = verdict.wait.as_secs() + u64::from(verdict.wait.subsec_nanos() > 0);
        let state = format!("\"default\";r={};t={wait_s}", verdict.remaining);
        if let Ok(state) = HeaderValue::from_str(&state) {
            headers.insert("ratelimit", state);
        }
        headers.insert("ratelimit-policy", self.policy.clone());
        headers.insert("x-ratelimit-limit", self.per_minute.into());
        headers.insert("x-ratelimit-remaining", verdict.remaining.into());
        headers.insert("x-ratelimit-reset", wait_s.into());
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and a u32"
)]
fn whole(level: f64) -> u32 {
    level as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_ms(1_000_000);

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_what_flows_in() {
        let buckets = Buckets::new(3, 0.5);
        let left: Vec<_> = (0..3).map(|_| buckets.take(1, T0).remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = buckets.take(1, T0);
        assert!(!refused.allowed);
        assert_eq!(refused.wait, Duration::from_secs(2));
        assert!(buckets.take(2, T0).allowed, "each key has its own");
        assert!(buckets.take(1, T0 + Duration::from_secs(2)).allowed);
        assert!(!buckets.take(1, T0 + Duration::from_secs(2)).allowed);
        assert_eq!(buckets.take(1, T0 + Duration::from_hours(1)).remaining, 2);
    }

    #[test]
    fn the_number_of_buckets_is_bounded() {
        let buckets = Buckets::new(2, 1.0);
        for key in 0..(BUCKETS_MAX as u64 * 2) {
            assert!(buckets.take(key, T0).allowed);
        }
        assert!(buckets.by_key.lock().len() <= BUCKETS_MAX);
    }

    #[test]
    fn ipv6_is_metered_by_its_network_and_mapped_ipv4_as_ipv4() {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(address("2001:db8:1:2::3"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::3"), address("2001:db8:1:3::3"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    }
}
