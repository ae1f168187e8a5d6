//! A cursor over one request body, for envelopes such as `{"event":…,"data":…}`.
//!
//! The reader checks as it goes, so a handler makes one pass: small members are read, the large
//! one is canonicalised where it stands, the rest is skipped. A body that has been read to
//! [`Reader::finish`] was valid JSON throughout.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::canonical::{Scratch, Style, Writer, kind_at};
use super::error::{Fault, path_to};
use super::scan::{self, Check, space_end, word_end};
use super::{Canonical, JsonError, Kind, Limits, Numbers, number, text};

/// A position in a JSON text, always before a value that is to be read.
///
/// A read that fails leaves the reader before the value, so it can be read in another way: a
/// handler that meets `data` before `"numbers": "verbatim"` canonicalises it exactly, keeps the
/// error if there is one, takes the value with [`Reader::raw`], and decides at the end.
///
/// Paths in errors begin at the root of the text: `events[12].data.count`.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    pos: usize,
    depth: usize,
    depth_max: usize,
    scratch: Scratch,
}

impl<'a> Reader<'a> {
    /// A reader at the root value of `input`.
    ///
    /// # Errors
    /// [`JsonError::TooLarge`] and [`JsonError::NotUtf8`].
    pub fn new(input: &'a [u8], limits: &Limits) -> Result<Self, JsonError> {
        if input.len() > limits.bytes_max {
            return Err(JsonError::TooLarge {
                bytes: input.len(),
                bytes_max: limits.bytes_max,
            });
        }
        let text = std::str::from_utf8(input).map_err(|error| JsonError::NotUtf8 {
            offset: error.valid_up_to(),
        })?;
        Ok(Self {
            text,
            pos: space_end(input, 0),
            depth: 0,
            depth_max: limits.depth_max.min(scan::DEPTH_MAX),
            scratch: Scratch::default(),
        })
    }

    /// What the next value can only be, going by its first byte.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] if no value can begin here.
    pub fn kind(&self) -> Result<Kind, JsonError> {
        kind_at(self.text, self.pos).map_err(|fault| self.explain(fault))
    }

    /// The path of the next value.
    pub fn path(&self) -> String {
        path_to(self.text, self.pos)
    }

    /// Reads an object: `member` is called for each member in the order of the text, with its key
    /// and the reader before its value. What `member` does not read is skipped.
    ///
    /// A repeated key is met each time; the last one counts in JSON, so a handler overwrites. In a
    /// key each lone surrogate is read as U+FFFD.
    ///
    /// # Errors
    /// [`JsonError::WrongKind`] if it is not an object, what is wrong with its text, and whatever
    /// `member` returns.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(&str, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.object_by_key(|key, reader| member(&key, reader))
    }

    /// [`Reader::object`], giving the keys away.
    fn object_by_key<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(Cow<'a, str>, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.nested(Kind::Object, |reader| {
            let mut more = reader.opens(b'}');
            while more {
                let key = reader.key()?;
                reader.each(|reader| member(key, reader))?;
                more = reader.goes_on(b'}', "`,` or `}`")?;
            }
            Ok(())
        })
    }

    /// Reads an array: `element` is called for each element with its index, counted from 0, and
    /// the reader before it. What `element` does not read is skipped.
    ///
    /// # Errors
    /// [`JsonError::WrongKind`] if it is not an array, what is wrong with its text, and whatever
    /// `element` returns.
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut element: impl FnMut(usize, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.nested(Kind::Array, |reader| {
            let mut index = 0;
            let mut more = reader.opens(b']');
            while more {
                reader.each(|reader| element(index, reader))?;
                index += 1;
                more = reader.goes_on(b']', "`,` or `]`")?;
            }
            Ok(())
        })
    }

    /// Reads a string as text.
    ///
    /// # Errors
    /// [`JsonError::WrongKind`], [`JsonError::Syntax`], and [`JsonError::LoneSurrogate`].
    pub fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.expect(Kind::String)?;
        let scanned = text::scan(self.text.as_bytes(), self.pos);
        let end = scanned.map_err(|fault| self.explain(fault))?.end;
        let (decoded, lone) = text::decode(&self.text[self.pos + 1..end - 1]);
        if lone {
            return Err(JsonError::LoneSurrogate { path: self.path() });
        }
        self.pos = end;
        Ok(decoded)
    }

    /// Reads a number as its literal.
    ///
    /// # Errors
    /// [`JsonError::WrongKind`] and [`JsonError::Syntax`].
    pub fn number(&mut self) -> Result<&'a str, JsonError> {
        self.expect(Kind::Number)?;
        let start = self.pos;
        let scanned = number::scan(self.text.as_bytes(), start);
        self.pos = scanned.map_err(|fault| self.explain(fault))?.end;
        Ok(&self.text[start..self.pos])
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    /// [`JsonError::WrongKind`] and [`JsonError::Syntax`].
    pub fn boolean(&mut self) -> Result<bool, JsonError> {
        self.expect(Kind::Boolean)?;
        let value = self.text.as_bytes()[self.pos] == b't';
        let word = if value { "true" } else { "false" };
        let end = word_end(self.text.as_bytes(), self.pos, word);
        self.pos = end.map_err(|fault| self.explain(fault))?;
        Ok(value)
    }

    /// Takes any value as it is written, checked but not interpreted.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] and [`JsonError::TooDeep`].
    pub fn raw(&mut self) -> Result<&'a str, JsonError> {
        let start = self.pos;
        let depth_max = self.depth_max - self.depth;
        let end = scan::walk(self.text.as_bytes(), start, depth_max, &mut Check);
        self.pos = end.map_err(|fault| self.explain(fault))?;
        Ok(&self.text[start..self.pos])
    }

    /// Passes any value: [`Reader::raw`] without its text. Reads `null`, for one.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] and [`JsonError::TooDeep`].
    pub fn skip(&mut self) -> Result<(), JsonError> {
        self.raw().map(|_| ())
    }

    /// Appends any value to `out` in canonical form, see [`canonicalize`](super::canonicalize),
    /// and returns its kind.
    ///
    /// # Errors
    /// [`JsonError::Syntax`], [`JsonError::TooDeep`], [`JsonError::UnsafeNumber`]; `out` is then as
    /// it was.
    pub fn append(&mut self, numbers: Numbers, out: &mut Vec<u8>) -> Result<Kind, JsonError> {
        let kind = self.kind()?;
        let before = out.len();
        let style = Style {
            numbers,
            snake_case: false,
        };
        let mut writer = Writer::new(self.text, self.pos, style, &mut self.scratch, out);
        let depth_max = self.depth_max - self.depth;
        match scan::walk(self.text.as_bytes(), self.pos, depth_max, &mut writer) {
            Ok(end) => {
                writer.finish(end);
                self.pos = end;
                Ok(kind)
            }
            Err(fault) => {
                out.truncate(before);
                Err(self.explain(fault))
            }
        }
    }

    /// Reads any value in canonical form: [`Reader::append`] to bytes of its own.
    ///
    /// # Errors
    /// Those of [`Reader::append`].
    pub fn canonical(&mut self, numbers: Numbers) -> Result<Canonical, JsonError> {
        const CAPACITY_MAX: usize = 1024;
        let mut out = Vec::with_capacity(CAPACITY_MAX.min(self.text.len() - self.pos));
        self.append(numbers, &mut out)?;
        Ok(Canonical(out.into()))
    }

    /// Ends the reading, after the root value.
    ///
    /// # Errors
    /// [`JsonError::TrailingData`] if more than whitespace follows.
    pub fn finish(self) -> Result<(), JsonError> {
        let offset = space_end(self.text.as_bytes(), self.pos);
        if offset < self.text.len() {
            return Err(JsonError::TrailingData { offset });
        }
        Ok(())
    }

    #[cold]
    fn explain(&self, fault: Fault) -> JsonError {
        fault.explain(self.text, self.depth_max)
    }

    fn expect(&self, expected: Kind) -> Result<(), JsonError> {
        let found = self.kind()?;
        if found == expected {
            return Ok(());
        }
        Err(JsonError::WrongKind {
            path: self.path(),
            expected,
            found,
        })
    }

    /// Reads an object or array with `inside`, which begins behind the first bracket and ends
    /// behind the last. Goes back on an error.
    fn nested<E: From<JsonError>>(
        &mut self,
        kind: Kind,
        inside: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(kind)?;
        let start = self.pos;
        if self.depth == self.depth_max {
            return Err(E::from(JsonError::TooDeep {
                path: self.path(),
                depth_max: self.depth_max,
            }));
        }
        self.depth += 1;
        self.pos += 1;
        let result = inside(self);
        self.depth -= 1;
        if result.is_err() {
            self.pos = start;
        }
        result
    }

    /// After the opening bracket: whether there is anything before `closing`.
    fn opens(&mut self, closing: u8) -> bool {
        let bytes = self.text.as_bytes();
        self.pos = space_end(bytes, self.pos);
        let more = bytes.get(self.pos) != Some(&closing);
        self.pos += usize::from(!more);
        more
    }

    /// Reads a key and its colon.
    fn key(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let bytes = self.text.as_bytes();
        let start = self.pos;
        if bytes.get(start) != Some(&b'"') {
            return Err(self.explain(Fault::expected(start, "a key")));
        }
        let key = text::scan(bytes, start).map_err(|fault| self.explain(fault))?;
        let colon = space_end(bytes, key.end);
        if bytes.get(colon) != Some(&b':') {
            return Err(self.explain(Fault::expected(colon, "`:`")));
        }
        self.pos = space_end(bytes, colon + 1);
        Ok(text::decode(&self.text[start + 1..key.end - 1]).0)
    }

    /// Has `read` read the value here, or skips it.
    fn each<E: From<JsonError>>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.pos;
        read(self)?;
        if self.pos == start {
            self.skip()?;
        }
        Ok(())
    }

    /// After a value: passes a comma (true) or `closing` (false).
    fn goes_on(&mut self, closing: u8, expected: &'static str) -> Result<bool, JsonError> {
        let bytes = self.text.as_bytes();
        self.pos = space_end(bytes, self.pos);
        match bytes.get(self.pos) {
            Some(b',') => {
                self.pos = space_end(bytes, self.pos + 1);
                Ok(true)
            }
            Some(byte) if *byte == closing => {
                self.pos += 1;
                Ok(false)
            }
            _ => Err(self.explain(Fault::expected(self.pos, expected))),
        }
    }
}

/// The members of an object by their decoded keys, each with its value as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a [u8])>);

impl<'a> Members<'a> {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| *value)
    }

    /// All members, in the order in which the keys first appeared.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a [u8])> {
        self.0.iter().map(|(key, value)| (key.as_ref(), *value))
    }
}

/// Splits the object `input` into its members without copying the values. Of a repeated key the
/// last value counts, at the first place.
///
/// # Errors
/// Those of [`Reader::object`], [`Reader::raw`] and [`Reader::finish`]: all of `input` is checked.
pub fn members<'a>(input: &'a [u8], limits: &Limits) -> Result<Members<'a>, JsonError> {
    let mut places: BTreeMap<Cow<'a, str>, usize> = BTreeMap::new();
    let mut members: Vec<(Cow<'a, str>, &'a [u8])> = Vec::new();
    let mut reader = Reader::new(input, limits)?;
    reader.object_by_key(|key, reader| {
        let value = reader.raw()?.as_bytes();
        if let Some(place) = places.get(&key) {
            members[*place].1 = value;
        } else {
            places.insert(key.clone(), members.len());
            members.push((key, value));
        }
        Ok::<(), JsonError>(())
    })?;
    reader.finish()?;
    Ok(Members(members))
}

/// Splits the array `input` into its elements without copying them.
///
/// # Errors
/// Those of [`Reader::array`], [`Reader::raw`] and [`Reader::finish`]: all of `input` is checked.
pub fn elements<'a>(input: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>, JsonError> {
    let mut elements = Vec::new();
    let mut reader = Reader::new(input, limits)?;
    reader.array(|_, reader| {
        elements.push(reader.raw()?.as_bytes());
        Ok::<(), JsonError>(())
    })?;
    reader.finish()?;
    Ok(elements)
}
