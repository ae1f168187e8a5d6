//! Durations as people write them: `500ms`, `30s`, `5m`, `2h`, `7d`.

use std::time::Duration;

/// The units from the largest, each with its milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("ms", 1),
    ("s", 1_000),
];

/// Reads a whole number and its unit: `ms`, `s`, `m`, `h` or `d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let ms = number.parse::<u64>().ok()?.checked_mul(*unit_ms)?;
    Some(Duration::from_millis(ms))
}

/// Writes a duration, cut to milliseconds, in the largest unit that divides it; reads back.
pub fn write_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".into();
    }
    [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ]
    .into_iter()
    .find(|(_, unit_ms)| ms % unit_ms == 0)
    .map_or_else(
        || format!("{ms}ms"),
        |(unit, unit_ms)| format!("{}{unit}", ms / unit_ms),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms, written) in [
            ("500ms", 500, "500ms"),
            ("30s", 30_000, "30s"),
            ("90s", 90_000, "90s"),
            ("60m", 3_600_000, "1h"),
            ("24h", 86_400_000, "1d"),
            ("0s", 0, "0s"),
            ("7d", 604_800_000, "7d"),
        ] {
            let read = parse_duration(text).unwrap();
            assert_eq!(read, Duration::from_millis(ms), "{text}");
            assert_eq!(write_duration(read), written);
        }
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5h",
            "5w",
            "5S",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
