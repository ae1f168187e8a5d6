//! Reads an event's payload for filtering.

use serde_json::Value;

/// The payload as a value that filters look into.
///
/// Canonical JSON can hold two things that a [`Value`] can't: half a surrogate pair, which is
/// read as U+FFFD, and (published verbatim) a number beyond a double. A payload with the latter
/// is read as `null`, so that no path leads anywhere in it.
pub fn parse_data(canonical: &[u8]) -> Value {
    serde_json::from_slice(canonical)
        .or_else(|_| serde_json::from_slice(&without_lone_surrogates(canonical)))
        .unwrap_or(Value::Null)
}

/// In canonical JSON only lone surrogates are written as `\ud8…` to `\udf…`.
fn without_lone_surrogates(canonical: &[u8]) -> Vec<u8> {
    let mut out = canonical.to_vec();
    let mut at = 0;
    while at < out.len() {
        if out[at] != b'\\' {
            at += 1;
            continue;
        }
        // An escape: of two bytes, or of six.
        if let Some(digits) = out.get_mut(at + 1..at + 6)
            && digits.starts_with(b"ud")
            && digits[2] >= b'8'
        {
            digits.copy_from_slice(b"ufffd");
        }
        at += 2;
    }
    out
}
