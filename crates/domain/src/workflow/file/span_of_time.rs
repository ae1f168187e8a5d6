//! Spans of time as files write them: seconds, or `30s`, `5m`, `1h30m`, `2d`.

use super::model::Duration;

/// The longest span: 366 days, in milliseconds.
pub const MS_MAX: u64 = 366 * 24 * 3_600_000;

/// Milliseconds, more than none.
///
/// # Errors
/// What is wrong, and what is expected.
pub fn milliseconds(duration: &Duration) -> Result<u64, String> {
    let ms = match duration {
        Duration::Seconds(seconds) => whole(*seconds * 1_000.0),
        Duration::Text(text) => parse(text.trim()),
    };
    match ms {
        Some(1..=MS_MAX) => Ok(ms.unwrap_or_default()),
        Some(0) => Err("a span of time is longer than nothing".to_owned()),
        Some(_) => Err("a span of time is at most 366 days".to_owned()),
        None => Err(
            "a span of time is a number of seconds, or such as `30s`, `5m`, `1h`, `2d`".to_owned(),
        ),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be within what u64 holds"
)]
fn whole(ms: f64) -> Option<u64> {
    (ms.is_finite() && ms >= 0.0).then(|| ms.min(1e15).ceil() as u64)
}

fn parse(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return whole(seconds * 1_000.0);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .filter(|digits| *digits > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_and_rest = &rest[digits..];
        let letters = unit_and_rest
            .find(|letter: char| !letter.is_ascii_alphabetic())
            .unwrap_or(unit_and_rest.len());
        let factor = match &unit_and_rest[..letters] {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" | "min" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return None,
        };
        total += number * factor;
        rest = unit_and_rest[letters..].trim_start();
    }
    (!text.is_empty()).then_some(total).and_then(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        for (text, ms) in [
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5h", Some(5_400_000)),
            ("2d", Some(172_800_000)),
            ("250ms", Some(250)),
            ("45", Some(45_000)),
            ("", None),
            ("s", None),
            ("1 week", None),
            ("-1s", None),
            ("0s", None),
            ("400d", None),
            ("1e999", None),
            ("5µ", None),
        ] {
            let read = milliseconds(&Duration::Text(text.to_owned()));
            assert_eq!(read.ok(), ms, "{text}");
        }
        assert_eq!(milliseconds(&Duration::Seconds(0.5)), Ok(500));
        assert!(milliseconds(&Duration::Seconds(f64::NAN)).is_err());
    }
}
