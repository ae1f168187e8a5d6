//! What a receiver's `Retry-After` asks for (RFC 9110, section 10.2.3).

use jiff::{civil::DateTime, tz::TimeZone};

use crate::Timestamp;

/// A receiver can put a retry off by at most a day.
pub const RETRY_AFTER_S_MAX: u64 = 24 * 3600;

/// The three forms of an HTTP date after its weekday, each with what stands between: the one to
/// write, and two that must still be read.
const DATE_FORMS: [(&str, &str); 3] = [
    (", ", "%d %b %Y %H:%M:%S GMT"),
    (", ", "%d-%b-%y %H:%M:%S GMT"),
    (" ", "%b %e %H:%M:%S %Y"),
];

/// The seconds from `now` that a `Retry-After` asks to wait, at most [`RETRY_AFTER_S_MAX`].
///
/// It counts on 429 and 503 alone. Seconds may have a fraction, which is rounded up though the
/// RFC has none; a date that has passed is 0. Anything else (signs, exponents, other texts) is
/// passed over.
pub fn retry_after_seconds(status: u16, value: &str, now: Timestamp) -> Option<u64> {
    if !matches!(status, 429 | 503) {
        return None;
    }
    let value = value.trim_matches([' ', '\t']);
    if value.len() > 64 {
        return None;
    }
    let seconds = delay(value).or_else(|| until_date(value, now))?;
    Some(seconds.min(RETRY_AFTER_S_MAX))
}

fn delay(value: &str) -> Option<u64> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let round_up = fraction.bytes().any(|b| b != b'0');
    Some(
        whole
            .parse()
            .unwrap_or(u64::MAX)
            .saturating_add(u64::from(round_up)),
    )
}

/// The weekday is not checked against the date: those that are written by hand are often wrong.
fn until_date(value: &str, now: Timestamp) -> Option<u64> {
    let date = DATE_FORMS.iter().find_map(|(separator, form)| {
        let (weekday, rest) = value.split_once(separator)?;
        let is_weekday = !weekday.is_empty() && weekday.bytes().all(|b| b.is_ascii_alphabetic());
        if is_weekday {
            DateTime::strptime(form, rest).ok()
        } else {
            None
        }
    })?;
    let at = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let wait = Timestamp::from_ms(at.as_millisecond()).since(now);
    Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}
