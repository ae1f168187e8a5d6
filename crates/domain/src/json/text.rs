//! Strings: finding their end, writing them as JavaScript does, decoding them.
//!
//! A JSON string can hold half of a surrogate pair (`"\ud83d"`), which no UTF-8 text can. So
//! canonical strings are made from escaped text, never by way of a `str`.

use std::borrow::Cow;

use super::error::Fault;

/// A string as found in the input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    /// The position behind the closing quote.
    pub end: usize,
    /// It holds an escape that canonical text may write otherwise (`\/`, `\u…`).
    pub rewrite: bool,
}

/// Finds the end of the string whose opening quote is at `start`, and checks its escapes.
#[inline]
pub(super) fn scan(bytes: &[u8], start: usize) -> Result<Text, Fault> {
    let end = plain_end(bytes, start + 1);
    if bytes.get(end) == Some(&b'"') {
        return Ok(Text {
            end: end + 1,
            rewrite: false,
        });
    }
    scan_escaped(bytes, end)
}

/// Goes on from `pos`, the first place in the string that is not plain.
fn scan_escaped(bytes: &[u8], mut pos: usize) -> Result<Text, Fault> {
    let mut rewrite = false;
    loop {
        match bytes.get(pos) {
            Some(b'"') => {
                return Ok(Text {
                    end: pos + 1,
                    rewrite,
                });
            }
            Some(b'\\') => match bytes.get(pos + 1) {
                Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => pos += 2,
                Some(b'/') => {
                    rewrite = true;
                    pos += 2;
                }
                Some(b'u') => {
                    rewrite = true;
                    if hex_unit(bytes, pos).is_none() {
                        return Err(Fault::expected(pos, "four hex digits after `\\u`"));
                    }
                    pos += 6;
                }
                _ => {
                    return Err(Fault::expected(
                        pos,
                        "an escape (one of `\"\\/bfnrtu` after `\\`)",
                    ));
                }
            },
            Some(_) => {
                return Err(Fault::expected(
                    pos,
                    "no unescaped control character in a string",
                ));
            }
            None => return Err(Fault::expected(pos, "`\"` at the end of the string")),
        }
        pos = plain_end(bytes, pos);
    }
}

/// The first position from `pos` on that holds a quote, a backslash or a control character, or
/// the end of the input.
///
/// Eight bytes at a time: subtracting borrows into the top bit of each byte that is below the
/// bound (0x20, or 1 where the byte was made 0 by the xor). A borrow can run on into higher bytes,
/// so only the lowest mark counts, and bytes above 0x7f are masked out.
#[inline]
fn plain_end(bytes: &[u8], mut pos: usize) -> usize {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    while let Some(chunk) = bytes.get(pos..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(EACH * 0x20);
        let quote = (word ^ (EACH * 0x22)).wrapping_sub(EACH);
        let backslash = (word ^ (EACH * 0x5c)).wrapping_sub(EACH);
        let marks = (control | quote | backslash) & !word & (EACH * 0x80);
        if marks != 0 {
            return pos + (marks.trailing_zeros() / 8) as usize;
        }
        pos += 8;
    }
    while let Some(0x20 | 0x21 | 0x23..=0x5b | 0x5d..) = bytes.get(pos) {
        pos += 1;
    }
    pos
}

/// The value of each byte as a hex digit, [`NO_DIGIT`] for the others.
const HEX: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        values[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    values
};
const NO_DIGIT: u8 = 0xff;

/// The UTF-16 unit of the escape `\uXXXX` at `pos`.
#[inline]
fn hex_unit(bytes: &[u8], pos: usize) -> Option<u16> {
    let [b'\\', b'u', digits @ ..] = bytes.get(pos..)?.first_chunk::<6>()? else {
        return None;
    };
    let [a, b, c, d] = digits.map(|digit| HEX[usize::from(digit)]);
    if (a | b | c | d) & 0xf0 != 0 {
        return None;
    }
    Some(u16::from_be_bytes([a << 4 | b, c << 4 | d]))
}

/// What an escape stands for.
enum Escaped {
    /// One character; a surrogate pair is one.
    Character(char),
    /// Half of a surrogate pair without its other half.
    Lone(u16),
}

/// Reads the escape at `pos` of text that [`scan`] has passed; returns also the position behind it.
fn unescape(bytes: &[u8], pos: usize) -> (Escaped, usize) {
    let short = match bytes[pos + 1] {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = hex_unit(bytes, pos).expect("the scan has checked the digits");
            if let Some(character) = char::from_u32(u32::from(first)) {
                return (Escaped::Character(character), pos + 6);
            }
            let second = hex_unit(bytes, pos + 6);
            let pair = [first, second.unwrap_or_default()];
            return match char::decode_utf16(pair).next() {
                Some(Ok(character)) => (Escaped::Character(character), pos + 12),
                _ => (Escaped::Lone(first), pos + 6),
            };
        }
        other => char::from(other),
    };
    (Escaped::Character(short), pos + 2)
}

/// Writes the inside of a scanned string in canonical form, without quotes.
pub(super) fn rewrite(inside: &[u8], out: &mut Vec<u8>) {
    let mut pos = 0;
    loop {
        // Within a scanned string only a backslash can stop the search.
        let plain = plain_end(inside, pos);
        out.extend_from_slice(&inside[pos..plain]);
        if plain == inside.len() {
            return;
        }
        let (escaped, next) = unescape(inside, plain);
        match escaped {
            Escaped::Character(character @ ('"' | '\\' | '\0'..='\u{1f}')) => {
                write_escape(character as u8, out);
            }
            Escaped::Character(character) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Escaped::Lone(unit) => write_unit(unit, out),
        }
        pos = next;
    }
}

/// The text of a scanned string's inside. Each lone surrogate becomes U+FFFD, and the flag is set.
pub(super) fn decode(inside: &str) -> (Cow<'_, str>, bool) {
    if !inside.contains('\\') {
        return (Cow::Borrowed(inside), false);
    }
    let mut decoded = String::with_capacity(inside.len());
    let mut lone = false;
    let mut pos = 0;
    while let Some(found) = inside[pos..].find('\\') {
        decoded.push_str(&inside[pos..pos + found]);
        let (escaped, next) = unescape(inside.as_bytes(), pos + found);
        decoded.push(match escaped {
            Escaped::Character(character) => character,
            Escaped::Lone(_) => {
                lone = true;
                char::REPLACEMENT_CHARACTER
            }
        });
        pos = next;
    }
    decoded.push_str(&inside[pos..]);
    (Cow::Owned(decoded), lone)
}

/// Appends `string` to `out` as a canonical JSON string, quotes included: only `"`, `\` and U+0000
/// to U+001F are escaped, as `JSON.stringify` does.
pub fn write_string(string: &str, out: &mut Vec<u8>) {
    let bytes = string.as_bytes();
    out.push(b'"');
    let mut pos = 0;
    loop {
        let plain = plain_end(bytes, pos);
        out.extend_from_slice(&bytes[pos..plain]);
        let Some(special) = bytes.get(plain) else {
            break;
        };
        write_escape(*special, out);
        pos = plain + 1;
    }
    out.push(b'"');
}

/// Writes a quote, a backslash or a control character.
fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => return write_unit(u16::from(byte), out),
    };
    out.extend_from_slice(&[b'\\', letter]);
}

/// Writes `\uXXXX`, in lower case.
fn write_unit(unit: u16, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(br"\u");
    out.extend([12, 8, 4, 0].map(|shift| DIGITS[usize::from(unit >> shift & 0xf)]));
}
