//! Times and spans as people type them: `2h`, `1d12h`, `2026-01-31T09:30:00Z`.

use std::time::Duration;

use domain::Timestamp;

const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// Reads a span such as `90s`, `1h30m` or `2d`.
///
/// # Errors
/// If it has no unit, an unknown one, or is longer than the calendar.
pub fn span(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no span of time: write one as 30s, 15m, 2h, 1d12h or 2w");
    let mut rest = text.trim();
    let mut total_ms: u64 = 0;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, unit_ms) = UNITS
            .iter()
            .find(|(name, _)| *name == &rest[..letters])
            .ok_or_else(bad)?;
        rest = &rest[letters..];
        total_ms = number
            .checked_mul(*unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .filter(|ms| *ms <= 100 * 365 * 86_400_000)
            .ok_or_else(bad)?;
    }
    Ok(Duration::from_millis(total_ms))
}

/// A point in time: absolute, or so long before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// As in RFC 3339.
    At(Timestamp),
    /// This long ago.
    Ago(Duration),
}

impl When {
    /// Reads RFC 3339, a date (its start in UTC), Unix milliseconds, or a span that lies behind.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(at) = Timestamp::parse(text) {
            return Ok(Self::At(at));
        }
        if let Ok(at) = Timestamp::parse(&format!("{text}T00:00:00Z")) {
            return Ok(Self::At(at));
        }
        if text.len() >= 12
            && let Ok(ms) = text.parse()
        {
            return Ok(Self::At(Timestamp::from_ms(ms)));
        }
        span(text.strip_suffix(" ago").unwrap_or(text)).map(Self::Ago).map_err(|_| {
            format!(
                "`{text}` is no time: write one as 2026-01-31T09:30:00Z, 2026-01-31, or 2h (two hours ago)"
            )
        })
    }

    /// The instant that is meant.
    pub fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(span) => now.before(span),
        }
    }
}

/// A span in the largest units that tell it exactly enough: `850 ms`, `4.2 s`, `3 m 20 s`.
pub fn show(span: Duration) -> String {
    let ms = span.as_millis();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", span.as_secs_f64()),
        60_000..3_600_000 => format!("{} m {} s", ms / 60_000, ms % 60_000 / 1_000),
        3_600_000..172_800_000 => format!("{} h {} m", ms / 3_600_000, ms % 3_600_000 / 60_000),
        _ => format!("{} d {} h", ms / 86_400_000, ms % 86_400_000 / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_add_up() {
        assert_eq!(span("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(span("2d"), Ok(Duration::from_hours(48)));
        for text in [
            "",
            "5",
            "h",
            "5 apples",
            "99999999999w",
            "-1h",
            "1.5h",
            "1ħ",
        ] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_is_absolute_or_so_long_ago() {
        let now = Timestamp::parse("2026-01-31T12:00:00Z").unwrap();
        let read = |text: &str| When::parse(text).unwrap().instant(now).to_string();
        assert_eq!(read("2h"), "2026-01-31T10:00:00.000Z");
        assert_eq!(read("2026-01-30"), "2026-01-30T00:00:00.000Z");
        assert_eq!(
            read("2026-01-30T01:00:00+01:00"),
            "2026-01-30T00:00:00.000Z"
        );
        assert_eq!(read("1769860800000"), "2026-01-31T12:00:00.000Z");
        assert!(When::parse("yesterday").is_err());
    }

    #[test]
    fn spans_print_in_fitting_units() {
        let shown = [3, 850, 4_200, 200_000, 7_260_000, 200_000_000]
            .map(|ms| show(Duration::from_millis(ms)));
        assert_eq!(
            shown,
            ["3 ms", "850 ms", "4.2 s", "3 m 20 s", "2 h 1 m", "2 d 7 h"]
        );
    }
}
