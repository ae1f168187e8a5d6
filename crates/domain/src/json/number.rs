//! Numbers: finding their end, and printing them as JavaScript does.

use super::error::{Fault, Unsafe, What};

/// The largest magnitude up to which every integer is a double: 2^53.
const INTEGER_MAX: u64 = 1 << 53;

/// Decimals of at most this many digits each have a double of their own, so the shortest digits
/// that give that double back are the decimal's own.
const DIGITS_KEPT: usize = 15;

/// A number as found in the input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    /// The position behind it.
    pub end: usize,
    /// Digits before the point.
    whole: usize,
    /// Digits after the point; 0 if there is no point.
    fraction: usize,
    /// It has an exponent.
    exponent: bool,
}

/// Finds the end of the number that begins at `start`.
#[inline]
pub(super) fn scan(bytes: &[u8], start: usize) -> Result<Number, Fault> {
    let whole_at = start + usize::from(bytes.get(start) == Some(&b'-'));
    let mut end = digits_end(bytes, whole_at)?;
    let whole = end - whole_at;
    if whole > 1 && bytes[whole_at] == b'0' {
        return Err(Fault::expected(whole_at + 1, "no digit after a leading 0"));
    }
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        let point = end;
        end = digits_end(bytes, point + 1)?;
        fraction = end - point - 1;
    }
    let exponent = matches!(bytes.get(end), Some(b'e' | b'E'));
    if exponent {
        let sign = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
        end = digits_end(bytes, end + 1 + usize::from(sign))?;
    }
    Ok(Number {
        end,
        whole,
        fraction,
        exponent,
    })
}

/// The end of the one or more digits at `start`.
#[inline]
fn digits_end(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    let mut end = start;
    while bytes.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    if end == start {
        return Err(Fault::expected(start, "a digit"));
    }
    Ok(end)
}

/// How JavaScript prints a literal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Printed {
    /// Its first bytes, this many.
    Prefix(usize),
    /// Whatever prints this double.
    Double(f64),
    /// As this double, which is another number.
    Lossy(f64, Unsafe),
}

/// Decides how JavaScript prints `literal`, which [`scan`] found to be `number`.
#[inline]
pub(super) fn printed(literal: &str, number: Number) -> Printed {
    if number.exponent || number.whole + number.fraction > DIGITS_KEPT {
        return by_value(literal, number);
    }
    let text = literal.as_bytes();
    let mut end = text.len();
    if number.fraction > 0 {
        while text[end - 1] == b'0' {
            end -= 1;
        }
        if text[end - 1] == b'.' {
            end -= 1;
        } else if is_small(&text[text.len() - number.fraction..end]) {
            return by_value(literal, number);
        }
    }
    if end == 2 && text[..2] == *b"-0" {
        return Printed::Double(0.0);
    }
    Printed::Prefix(end)
}

/// Whether a fraction may belong to a number below 1e-6, which is printed with an exponent.
fn is_small(fraction: &[u8]) -> bool {
    fraction.starts_with(b"000000")
}

/// [`printed`] for literals that have to be read as a double.
#[cold]
fn by_value(literal: &str, number: Number) -> Printed {
    let double: f64 = literal
        .parse()
        .expect("every JSON number reads as a double, if only as infinity");
    if !double.is_finite() {
        return Printed::Lossy(double, Unsafe::Overflow);
    }
    let integer = !number.exponent && number.fraction == 0;
    if integer {
        let digits = literal.trim_start_matches('-');
        if digits.parse().is_ok_and(|it: u64| it <= INTEGER_MAX) {
            return Printed::Prefix(literal.len());
        }
        // Without decimals Rust prints a double's exact value.
        if format!("{double:.0}") != literal {
            return Printed::Lossy(double, Unsafe::Integer);
        }
    }
    Printed::Double(double)
}

/// The fault of a number at `at`.
pub(super) fn refused(at: usize, why: Unsafe) -> Fault {
    Fault {
        at,
        what: What::Unsafe(why),
    }
}

/// Appends `number` to `out` as `JSON.stringify` does: ECMAScript's `Number::toString`, `-0` as
/// `0`, and `null` for infinities and NaN.
pub fn write_number(number: f64, out: &mut Vec<u8>) {
    if number.is_finite() {
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(number).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Appends `integer` to `out`.
///
/// # Panics
/// If it is beyond ±2^53, where JavaScript would print another number: a bug in the caller.
pub fn write_integer(integer: i64, out: &mut Vec<u8>) {
    assert!(
        integer.unsigned_abs() <= INTEGER_MAX,
        "{integer} is beyond 2^53"
    );
    out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
}
