//! Points in time, to the millisecond. The clock itself is read at the edge ([`Clock`]).

use std::{fmt, ops::Add, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Tells the time. The program's is the system's; a test's stands still until it is moved.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(i64);

/// A text that is no RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a time as in RFC 3339, such as 2026-01-31T09:30:00Z")]
pub struct TimestampError;

impl Timestamp {
    /// Later than any time that occurs.
    pub const FAR_FUTURE: Self = Self(i64::MAX);

    /// From milliseconds since the Unix epoch.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn unix_s(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long it is from `earlier` to here; zero if it is later than this.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This much earlier.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span_ms(span)))
    }

    /// Reads RFC 3339, with any offset, to the millisecond.
    ///
    /// # Errors
    /// If `text` is not of that form or lies outside the years 0000–9999.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let at: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        Ok(Self(at.as_millisecond()))
    }
}

fn span_ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span_ms(span)))
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-01-31T09:30:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clamped = self.0.clamp(-62_167_219_200_000, 253_402_207_200_000);
        let at = jiff::Timestamp::from_millisecond(clamped).expect("clamped to the years 0–9999");
        write!(f, "{at:.3}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_milliseconds_and_reads_back() {
        let at = Timestamp::parse("2025-05-21T23:27:09.442+02:00").unwrap();
        assert_eq!(at.to_string(), "2025-05-21T21:27:09.442Z");
        assert_eq!(
            Timestamp::from_ms(0).to_string(),
            "1970-01-01T00:00:00.000Z"
        );
        assert!(Timestamp::parse("yesterday").is_err());
        assert_eq!(
            Timestamp::FAR_FUTURE.to_string(),
            "9999-12-30T22:00:00.000Z"
        );
    }
}
