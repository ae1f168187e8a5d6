//! What is wrong with some JSON, and where.
//!
//! The scanner reports a [`Fault`]: a position and a reason, cheap to pass along. Lines, columns
//! and paths are worked out from the text only when a fault becomes a [`JsonError`].

use std::fmt::Write as _;

use super::scan::space_end;
use super::{Kind, number, text};

/// Why a body is refused. The messages are for the publisher and quote only numbers and keys.
///
/// Offsets are in bytes from the start of the input, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON as RFC 8259 defines it.
    #[error("not JSON at line {line}, column {column}: expected {expected}")]
    Syntax {
        /// Where something else was found.
        offset: usize,
        /// The line of that place, counted from 1.
        line: usize,
        /// Its place in the line in characters, counted from 1.
        column: usize,
        /// What could have stood there.
        expected: &'static str,
    },
    /// Not UTF-8.
    #[error("not UTF-8 at byte {offset}")]
    NotUtf8 {
        /// The first byte that is not part of a character.
        offset: usize,
    },
    /// More arrays and objects inside one another than the limit.
    #[error("nested deeper than {depth_max} levels at {}", place(.path))]
    TooDeep {
        /// The value that is too deep.
        path: String,
        /// The limit.
        depth_max: usize,
    },
    /// A number that a double cannot carry.
    #[error("{} is {literal}, {why}", place(.path))]
    UnsafeNumber {
        /// Where it is, from the root of the input: `data.items[3].id`, `[0]["odd key"]`, and the
        /// empty string for the root itself.
        path: String,
        /// The number as published, cut after 40 characters.
        literal: String,
        /// What a double would do to it.
        why: Unsafe,
    },
    /// A value of another kind than the reader asked for.
    #[error("{} must be {expected}, not {found}", place(.path))]
    WrongKind {
        /// Where it is, as in [`JsonError::UnsafeNumber`].
        path: String,
        /// What was asked for.
        expected: Kind,
        /// What is there.
        found: Kind,
    },
    /// A string that is to be read as text holds half of a surrogate pair.
    #[error("{} holds half of a surrogate pair, which is not text", place(.path))]
    LoneSurrogate {
        /// Where it is, as in [`JsonError::UnsafeNumber`].
        path: String,
    },
    /// More bytes than the limit.
    #[error("{bytes} bytes, more than {bytes_max}")]
    TooLarge {
        /// The size of the input.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A complete value, and then more than whitespace.
    #[error("something follows the end of the JSON value at byte {offset}")]
    TrailingData {
        /// Where it begins.
        offset: usize,
    },
}

/// What a double would do to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// An integer beyond 2^53 whose nearest double is another integer.
    #[error("an integer that a double cannot hold exactly")]
    Integer,
    /// Beyond the largest double, about 1.8e308.
    #[error("beyond the largest double")]
    Overflow,
}

impl JsonError {
    /// The same error when the input was only the part at `prefix` of something larger: paths then
    /// begin with it. Offsets still count from the start of the part.
    #[must_use]
    pub fn within(mut self, prefix: &str) -> Self {
        if let Self::TooDeep { path, .. }
        | Self::UnsafeNumber { path, .. }
        | Self::WrongKind { path, .. }
        | Self::LoneSurrogate { path } = &mut self
        {
            let joint = if prefix.is_empty() || path.is_empty() || path.starts_with('[') {
                ""
            } else {
                "."
            };
            *path = format!("{prefix}{joint}{path}");
        }
        self
    }

    /// The path that the error names, if it names one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::TooDeep { path, .. }
            | Self::UnsafeNumber { path, .. }
            | Self::WrongKind { path, .. }
            | Self::LoneSurrogate { path } => Some(path),
            _ => None,
        }
    }
}

/// A path for a sentence.
fn place(path: &str) -> &str {
    if path.is_empty() {
        "the outermost value"
    } else {
        path
    }
}

/// What stopped a scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    /// The position in the input.
    pub at: usize,
    /// The reason.
    pub what: What,
}

/// Why a scan stopped.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Expected(&'static str),
    TooDeep,
    Unsafe(Unsafe),
}

impl Fault {
    /// Something else than `expected` stands at `at`.
    #[cold]
    pub(super) fn expected(at: usize, expected: &'static str) -> Self {
        Self {
            at,
            what: What::Expected(expected),
        }
    }

    /// The error for the publisher of `text`.
    #[cold]
    pub(super) fn explain(self, text: &str, depth_max: usize) -> JsonError {
        let Self { at, what } = self;
        match what {
            What::Expected(expected) => {
                let before = text
                    .get(..at)
                    .expect("a fault is at the start of a character");
                let line_at = before.rfind('\n').map_or(0, |newline| newline + 1);
                JsonError::Syntax {
                    offset: at,
                    line: before.matches('\n').count() + 1,
                    column: before[line_at..].chars().count() + 1,
                    expected,
                }
            }
            What::TooDeep => JsonError::TooDeep {
                path: path_to(text, at),
                depth_max,
            },
            What::Unsafe(why) => JsonError::UnsafeNumber {
                path: path_to(text, at),
                literal: literal_at(text, at),
                why,
            },
        }
    }
}

/// The number at `at`, shortened for a message.
fn literal_at(text: &str, at: usize) -> String {
    const SHOWN_MAX: usize = 40;
    let end = number::scan(text.as_bytes(), at).map_or(at, |number| number.end);
    match text.get(at..end) {
        Some(literal) if literal.len() > SHOWN_MAX => format!("{}…", &literal[..SHOWN_MAX]),
        literal => literal.unwrap_or_default().to_owned(),
    }
}

/// One step of a path.
enum Step {
    /// A member; where its key stands, quotes included.
    Key(usize, usize),
    /// An element.
    Index(usize),
}

/// The path to the value at `at`. All before `at` must have passed the scanner.
pub(super) fn path_to(text: &str, at: usize) -> String {
    let bytes = text.as_bytes();
    let mut steps: Vec<Step> = Vec::new();
    let mut key_next = false;
    let mut pos = 0;
    while pos < at {
        match bytes[pos] {
            b'{' => {
                steps.push(Step::Key(pos, pos));
                key_next = true;
            }
            b'[' => steps.push(Step::Index(0)),
            b'}' | b']' => {
                steps.pop();
                key_next = false;
            }
            b',' => match steps.last_mut() {
                Some(Step::Index(index)) => *index += 1,
                _ => key_next = true,
            },
            b'"' => {
                let end = text::scan(bytes, pos).map_or(at, |string| string.end);
                if key_next && let Some(step) = steps.last_mut() {
                    *step = Step::Key(pos, end);
                    key_next = false;
                }
                pos = end;
                continue;
            }
            _ => {}
        }
        pos = space_end(bytes, pos + 1);
    }
    write_path(text, &steps)
}

/// `data.items[3]["odd key"]`.
fn write_path(text: &str, steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Index(index) => {
                write!(path, "[{index}]").expect("a string takes all that is written");
            }
            Step::Key(from, to) => {
                let inside = text.get(from + 1..to.saturating_sub(1)).unwrap_or_default();
                write_key(&text::decode(inside).0, &mut path);
            }
        }
    }
    path
}

/// Appends `.key`, or `["the key"]` where that would be hard to read. Long keys are cut.
fn write_key(key: &str, path: &mut String) {
    const SHOWN_MAX: usize = 80;
    let mut shown: String = key.chars().take(SHOWN_MAX).collect();
    if shown.len() < key.len() {
        shown.push('…');
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte);
    if shown.is_empty() || !shown.bytes().all(plain) {
        let mut quoted = Vec::new();
        text::write_string(&shown, &mut quoted);
        write!(path, "[{}]", String::from_utf8_lossy(&quoted))
            .expect("a string takes all that is written");
    } else {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&shown);
    }
}
