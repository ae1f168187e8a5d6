//! The grammar of RFC 8259, strictly: one pass over bytes that are known to be UTF-8.
//!
//! [`walk`] goes over one value, however deep, without recursion or allocation, and tells a
//! [`Sink`] what it meets by position. It decodes nothing and writes nothing.

use super::error::{Fault, What};
use super::number::{self, Number};
use super::text::{self, Text};

/// The deepest nesting that any limit can allow: the size of [`walk`]'s stack, in bits.
pub(super) const DEPTH_MAX: usize = 1024;

/// Is told of the tokens of one value, in order. All numbers are positions in the input.
/// What it is not told of is punctuation, `true`, `false` and `null`.
pub(super) trait Sink {
    /// Insignificant whitespace, `from..to`.
    fn space(&mut self, from: usize, to: usize);
    /// The `{` at `at`.
    fn object(&mut self, at: usize);
    /// A member's key, with its opening quote at `from`.
    fn key(&mut self, from: usize, key: Text);
    /// The `}` at `at` of the innermost object.
    fn object_end(&mut self, at: usize);
    /// A string value, with its opening quote at `from`.
    fn string(&mut self, from: usize, string: Text);
    /// A number that begins at `from`.
    fn number(&mut self, from: usize, number: Number) -> Result<(), Fault>;
}

/// Checks, and does nothing else.
pub(super) struct Check;

impl Sink for Check {
    fn space(&mut self, _: usize, _: usize) {}
    fn object(&mut self, _: usize) {}
    fn key(&mut self, _: usize, _: Text) {}
    fn object_end(&mut self, _: usize) {}
    fn string(&mut self, _: usize, _: Text) {}
    fn number(&mut self, _: usize, _: Number) -> Result<(), Fault> {
        Ok(())
    }
}

/// The first position from `pos` on that holds no whitespace.
#[inline]
pub(super) fn space_end(bytes: &[u8], mut pos: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(pos) {
        pos += 1;
    }
    pos
}

/// The end of the word `true`, `false` or `null` at `pos`.
#[inline]
pub(super) fn word_end(bytes: &[u8], pos: usize, word: &'static str) -> Result<usize, Fault> {
    let end = pos + word.len();
    if bytes.get(pos..end) == Some(word.as_bytes()) {
        Ok(end)
    } else {
        Err(Fault::expected(pos, "a value"))
    }
}

/// Which of the open values are objects, the innermost last.
struct Nesting {
    objects: [u64; DEPTH_MAX / 64],
    depth: usize,
    depth_max: usize,
}

impl Nesting {
    #[inline]
    fn enter(&mut self, at: usize, object: bool) -> Result<(), Fault> {
        if self.depth >= self.depth_max {
            return Err(Fault {
                at,
                what: What::TooDeep,
            });
        }
        let bit = 1 << (self.depth % 64);
        let word = &mut self.objects[self.depth / 64];
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        Ok(())
    }

    /// Whether the innermost open value is an object; `None` when nothing is open.
    #[inline]
    fn innermost(&self) -> Option<bool> {
        let top = self.depth.checked_sub(1)?;
        Some(self.objects[top / 64] >> (top % 64) & 1 == 1)
    }
}

/// Goes over the one value that begins at `start` (no whitespace before it) and returns its end.
/// `depth_max` counts from this value.
#[inline]
pub(super) fn walk<S: Sink>(
    bytes: &[u8],
    start: usize,
    depth_max: usize,
    sink: &mut S,
) -> Result<usize, Fault> {
    let mut open = Nesting {
        objects: [0; DEPTH_MAX / 64],
        depth: 0,
        depth_max: depth_max.min(DEPTH_MAX),
    };
    let mut pos = start;
    'value: loop {
        match bytes.get(pos) {
            Some(b'"') => {
                let string = text::scan(bytes, pos)?;
                sink.string(pos, string);
                pos = string.end;
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = number::scan(bytes, pos)?;
                sink.number(pos, number)?;
                pos = number.end;
            }
            Some(b'{') => {
                open.enter(pos, true)?;
                sink.object(pos);
                pos = space(bytes, pos + 1, sink);
                if bytes.get(pos) != Some(&b'}') {
                    pos = key(bytes, pos, "a key or `}`", sink)?;
                    continue 'value;
                }
                sink.object_end(pos);
                open.depth -= 1;
                pos += 1;
            }
            Some(b'[') => {
                open.enter(pos, false)?;
                pos = space(bytes, pos + 1, sink);
                if bytes.get(pos) != Some(&b']') {
                    continue 'value;
                }
                open.depth -= 1;
                pos += 1;
            }
            Some(b't') => pos = word_end(bytes, pos, "true")?,
            Some(b'f') => pos = word_end(bytes, pos, "false")?,
            Some(b'n') => pos = word_end(bytes, pos, "null")?,
            _ => return Err(Fault::expected(pos, "a value")),
        }
        while let Some(in_object) = open.innermost() {
            pos = space(bytes, pos, sink);
            match (in_object, bytes.get(pos)) {
                (true, Some(b',')) => {
                    pos = space(bytes, pos + 1, sink);
                    pos = key(bytes, pos, "a key", sink)?;
                    continue 'value;
                }
                (false, Some(b',')) => {
                    pos = space(bytes, pos + 1, sink);
                    continue 'value;
                }
                (true, Some(b'}')) => sink.object_end(pos),
                (false, Some(b']')) => {}
                (true, _) => return Err(Fault::expected(pos, "`,` or `}`")),
                (false, _) => return Err(Fault::expected(pos, "`,` or `]`")),
            }
            open.depth -= 1;
            pos += 1;
        }
        return Ok(pos);
    }
}

/// Passes the whitespace at `pos`, if any.
#[inline]
fn space<S: Sink>(bytes: &[u8], pos: usize, sink: &mut S) -> usize {
    if bytes.get(pos).is_none_or(|byte| *byte > b' ') {
        return pos;
    }
    let end = space_end(bytes, pos);
    sink.space(pos, end);
    end
}

/// Passes the key at `pos` and its colon; returns where the value begins.
#[inline]
fn key<S: Sink>(
    bytes: &[u8],
    pos: usize,
    expected: &'static str,
    sink: &mut S,
) -> Result<usize, Fault> {
    if bytes.get(pos) != Some(&b'"') {
        return Err(Fault::expected(pos, expected));
    }
    let key = text::scan(bytes, pos)?;
    sink.key(pos, key);
    let pos = space(bytes, key.end, sink);
    if bytes.get(pos) != Some(&b':') {
        return Err(Fault::expected(pos, "`:`"));
    }
    Ok(space(bytes, pos + 1, sink))
}
