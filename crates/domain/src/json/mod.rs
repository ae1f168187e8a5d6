//! The canonical form of published JSON, and the reader of request bodies that hold it.
//!
//! Receivers verify a signature over `JSON.stringify(JSON.parse(body))`, so every body that leaves
//! is a fixed point of that expression ([`canonicalize`]). What an object looks like to JavaScript
//! is not what it looks like to an ordinary parser: keys that read as array indices come first and
//! ascend, a repeated key keeps its first place and takes its last value, numbers are doubles, and
//! a string may hold half of a surrogate pair. Hence this hand-written scanner.
//!
//! Players, in the order of the flow:
//!
//! - [`Reader`]: a cursor over one request body. It reads the envelope, and canonicalises a value
//!   in place without cutting it out first. [`members`] and [`elements`] are its simple forms.
//! - `scan`: the grammar (RFC 8259, strict). One pass over the bytes, telling a `Sink` what it meets.
//! - `canonical`: the sink that writes. Input that is canonical already is copied in whole runs;
//!   only what differs is rewritten, and an object is put in order only if it needs it.
//! - `number`, `text`: numbers and strings, both for published JSON and for bodies of our own.
//! - `case`: the `snake_case` view of a body.
//! - `error`: what is wrong with the input, where, and at which path.
//!
//! Not here: JSON Schema, pointers, values as a tree. Nothing here keeps or interprets a document.

mod canonical;
mod case;
mod error;
mod number;
mod reader;
mod scan;
mod text;

use bytes::Bytes;

pub use case::snake_case_keys;
pub use error::{JsonError, Unsafe};
pub use number::{write_integer, write_number};
pub use reader::{Members, Reader, elements, members};
pub use text::write_string;

/// What becomes of published numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbers {
    /// As JavaScript prints them, and only those that a double carries. Refused are an integer
    /// literal (no fraction, no exponent) whose exact value is not that of its double, such as
    /// `9007199254740993`, and a number that overflows, such as `1e309`. What a double rounds in
    /// the ordinary way is allowed: `0.1`, decimals of many digits, underflow to 0, and `-0`.
    ///
    /// An integer that is a double is printed with the shortest digits that give that double back,
    /// as JavaScript does: `35660868323851848` as `35660868323851850`.
    #[default]
    Exact,
    /// As JavaScript prints them, whatever is lost: `9007199254740993` as `9007199254740992`,
    /// `1e309` as `null`. For checking what a JavaScript sender has signed.
    JavaScript,
    /// Digit for digit as published, after a check of the syntax. The result is then not always a
    /// fixed point of JavaScript's: the publisher has asked for it (`"numbers": "verbatim"`).
    Verbatim,
}

/// How much input is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Arrays and objects inside one another; `[[1]]` has 2. Above 1,024 it counts as 1,024.
    pub depth_max: usize,
    /// Bytes of input.
    pub bytes_max: usize,
}

impl Default for Limits {
    /// 128 levels, 1 MiB.
    fn default() -> Self {
        Self {
            depth_max: 128,
            bytes_max: 1024 * 1024,
        }
    }
}

/// The kind of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// `-1.5e3`
    Number,
    /// `true` or `false`
    Boolean,
    /// `null`
    Null,
}

impl Kind {
    /// What a value that begins with `first` can only be.
    const fn starting(first: u8) -> Option<Self> {
        match first {
            b'{' => Some(Self::Object),
            b'[' => Some(Self::Array),
            b'"' => Some(Self::String),
            b'-' | b'0'..=b'9' => Some(Self::Number),
            b't' | b'f' => Some(Self::Boolean),
            b'n' => Some(Self::Null),
            _ => None,
        }
    }

    /// The kind with its article, for messages: `an object`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Null => "null",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// JSON text in canonical form. Only this module makes one, so holding it is proof.
///
/// Clones share the bytes. `Debug` shows the kind and the size, never the content.
#[derive(Clone, PartialEq, Eq)]
pub struct Canonical(Bytes);

impl Canonical {
    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("canonical text is made of checked UTF-8")
    }

    /// The kind of the outermost value.
    pub fn kind(&self) -> Kind {
        Kind::starting(self.0[0]).expect("canonical text begins with a value")
    }

    /// The text as shared bytes, for a request body.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The same with every key in `snake_case`: see [`snake_case_keys`].
    #[must_use]
    pub fn snake_case(&self) -> Self {
        Self(snake_case_keys(&self.0).into())
    }
}

impl AsRef<[u8]> for Canonical {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Canonical {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Canonical({}, {} bytes)", self.kind(), self.0.len())
    }
}

/// The canonical text of `input`: what `JSON.stringify(JSON.parse(input))` gives in JavaScript.
///
/// No whitespace. Keys that are array indices (0 to 4294967294, no leading zero) first, ascending,
/// then the others as they first appeared; of a repeated key the last value at the first place.
/// Numbers by `numbers`. In strings only `"`, `\`, U+0000 to U+001F and lone surrogates are
/// escaped. `__proto__` is a key like any other, as it is to `JSON.parse`. Unless numbers are
/// verbatim the result is a fixed point of that expression.
///
/// # Errors
/// The input is not JSON (a byte order mark is not), exceeds `limits`, or holds a number that
/// `numbers` refuses; its path starts at the root of `input`. To name where `input` came from, see
/// [`JsonError::within`].
pub fn canonicalize(
    input: &[u8],
    numbers: Numbers,
    limits: &Limits,
) -> Result<Canonical, JsonError> {
    let mut out = Vec::new();
    append(input, numbers, limits, &mut out)?;
    Ok(Canonical(out.into()))
}

/// [`canonicalize`], written behind what `out` holds already; returns the outermost value's kind.
///
/// # Errors
/// Those of [`canonicalize`]; `out` is then as it was.
pub fn append(
    input: &[u8],
    numbers: Numbers,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Result<Kind, JsonError> {
    let before = out.len();
    let mut reader = Reader::new(input, limits)?;
    out.reserve(input.len());
    let kind = reader.append(numbers, out)?;
    reader.finish().inspect_err(|_| out.truncate(before))?;
    Ok(kind)
}

/// Whether `input` is a fixed point of JavaScript's `JSON.stringify(JSON.parse(input))`.
pub fn is_canonical(input: &[u8]) -> bool {
    let limits = Limits {
        depth_max: scan::DEPTH_MAX,
        bytes_max: usize::MAX,
    };
    canonicalize(input, Numbers::JavaScript, &limits).is_ok_and(|it| it.as_bytes() == input)
}
