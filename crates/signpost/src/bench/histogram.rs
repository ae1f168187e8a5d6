//! Latencies in a fixed few kilobytes, however many there are.
//!
//! Log-linear buckets: values below [`LINEAR`] have a bucket each; above, every power of two is cut
//! into [`LINEAR`] / 2 equal buckets, so a reported value is never more than 1/64 (1.6 %) above the
//! true one. It keeps no single measurement and knows no units: the callers count nanoseconds.

/// Values below this are exact.
const LINEAR: u64 = 128;
/// log2 of [`LINEAR`].
const LINEAR_BITS: u32 = LINEAR.trailing_zeros();
/// Values at or above 2^`VALUE_BITS_MAX` (18 minutes in nanoseconds) share the last bucket.
const VALUE_BITS_MAX: u32 = 40;
/// Buckets in all: the linear part, then half as many for each further power of two.
#[expect(clippy::cast_possible_truncation, reason = "a few thousand")]
const BUCKETS: usize = (LINEAR + (VALUE_BITS_MAX - LINEAR_BITS) as u64 * (LINEAR / 2)) as usize;

/// Counts of values, by size.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    max: u64,
}

impl Histogram {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS].into_boxed_slice(),
            total: 0,
            max: 0,
        }
    }

    /// Counts one value.
    pub(super) fn record(&mut self, value: u64) {
        self.counts[bucket_of(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// How many values were counted.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The largest value, exactly; 0 when there is none.
    pub(super) fn max(&self) -> u64 {
        self.max
    }

    /// The value that `per_mille` thousandths of all values do not exceed (nearest rank, rounded up
    /// to its bucket's end, never above the largest value); `None` when nothing was counted.
    pub(super) fn quantile(&self, per_mille: u64) -> Option<u64> {
        if self.total == 0 {
            return None;
        }
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(bucket_end(bucket).min(self.max));
            }
        }
        Some(self.max)
    }
}

/// The bucket that counts `value`.
fn bucket_of(value: u64) -> usize {
    let value = value.min((1 << VALUE_BITS_MAX) - 1);
    if value < LINEAR {
        return usize::try_from(value).expect("below 128");
    }
    let shift = u64::from(value.ilog2() - LINEAR_BITS + 1);
    let within = (value >> shift) - LINEAR / 2;
    usize::try_from(LINEAR + (shift - 1) * (LINEAR / 2) + within).expect("below BUCKETS")
}

/// The largest value that `bucket` counts.
fn bucket_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < LINEAR {
        return bucket;
    }
    let shift = (bucket - LINEAR) / (LINEAR / 2) + 1;
    let within = (bucket - LINEAR) % (LINEAR / 2);
    ((within + LINEAR / 2 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_ends_at_most_a_64th_above_it() {
        for bits in 0..VALUE_BITS_MAX {
            for offset in [0, 1, 2, (1_u64 << bits) / 3] {
                let value = (1_u64 << bits) + offset.min((1 << bits) - 1);
                let end = bucket_end(bucket_of(value));
                assert!(end >= value, "{value} is in a bucket that ends at {end}");
                assert!(end - value <= value / 64, "{value} is reported as {end}");
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_of(0), 0);
    }

    #[test]
    fn buckets_follow_each_other_without_gap() {
        for bucket in 1..BUCKETS {
            assert_eq!(bucket_of(bucket_end(bucket - 1) + 1), bucket);
        }
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(500), None);
        for value in 1..=100 {
            histogram.record(value);
        }
        assert_eq!(histogram.quantile(500), Some(50));
        assert_eq!(histogram.quantile(990), Some(99));
        assert_eq!(histogram.quantile(1000), Some(100));
        assert_eq!(histogram.quantile(0), Some(1));
        assert_eq!((histogram.total(), histogram.max()), (100, 100));
    }

    #[test]
    fn a_quantile_never_exceeds_the_largest_value() {
        let mut histogram = Histogram::new();
        histogram.record(1_000_001);
        assert_eq!(histogram.quantile(999), Some(1_000_001));
    }
}
