//! The sink that writes canonical text.
//!
//! What is canonical already is not copied token by token: `run` marks the first byte of the input
//! that has not been copied, and the run ends only where the output has to differ (whitespace, a
//! `\u` escape, `1.0`). While a run is open, the place of an input byte in the output is known
//! all the same, see [`Writer::place`].
//!
//! Objects are written as they come, and each key leaves a mark: where it stands and a 64-bit
//! print of it. An object is put in order at its end, and only if one of its keys was out of
//! place or two prints were alike.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::case;
use super::error::Fault;
use super::number::{self, Number, Printed};
use super::scan::Sink;
use super::text::{self, Text};
use super::{Kind, Numbers};

/// Up to this many keys, each is compared with all before it; beyond, the prints are sorted.
const PAIRWISE_MAX: usize = 64;

/// A member of an object that is open, or was just closed.
#[derive(Debug, Clone, Copy)]
struct Member {
    /// Place of the opening quote of its key in the output.
    from: usize,
    /// Place behind the closing quote.
    key_end: usize,
}

/// An open object.
#[derive(Debug, Clone, Copy, Default)]
struct Object {
    /// Place in the output behind its brace.
    body: usize,
    /// Its first entry in `members` and `prints`.
    first: usize,
    /// What the next array index must reach to be in order; none can after another kind of key.
    index_min: u64,
    /// A key is out of place.
    disordered: bool,
    /// Two keys may be the same.
    suspect: bool,
    /// A key is to be renamed.
    renamed: bool,
}

/// Working memory, worth keeping from one value to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    outer: Vec<Object>,
    members: Vec<Member>,
    prints: Vec<u64>,
    sorted: Vec<u64>,
    order: Vec<Kept>,
    body: Vec<u8>,
}

/// A member that stays.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// The array index that its key is, or what is above them all.
    index: u64,
    /// Its place among the published members.
    rank: usize,
    /// The member whose text to take.
    member: usize,
}

/// How text is rendered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub numbers: Numbers,
    pub snake_case: bool,
}

/// Writes the canonical form of a walked value behind what `out` holds.
pub(super) struct Writer<'a> {
    input: &'a str,
    out: &'a mut Vec<u8>,
    run: usize,
    style: Style,
    open: Object,
    scratch: &'a mut Scratch,
}

impl<'a> Writer<'a> {
    /// A writer for the value that begins at `start` of `input`.
    pub(super) fn new(
        input: &'a str,
        start: usize,
        style: Style,
        scratch: &'a mut Scratch,
        out: &'a mut Vec<u8>,
    ) -> Self {
        scratch.outer.clear();
        scratch.members.clear();
        scratch.prints.clear();
        Self {
            input,
            out,
            run: start,
            style,
            open: Object::default(),
            scratch,
        }
    }

    /// Copies what is left before `end`, where the value ends.
    pub(super) fn finish(mut self, end: usize) {
        self.flush(end);
    }

    /// Ends the run before `upto`.
    #[inline]
    fn flush(&mut self, upto: usize) {
        self.out
            .extend_from_slice(&self.input.as_bytes()[self.run..upto]);
        self.run = upto;
    }

    /// Where in the output the input's byte at `pos`, which is in the run, will stand.
    #[inline]
    fn place(&self, pos: usize) -> usize {
        self.out.len() + (pos - self.run)
    }

    /// Ends the run before `from`, writes the canonical form of the string there, goes on at `to`.
    fn rewrite(&mut self, from: usize, to: usize) {
        self.flush(from);
        self.out.push(b'"');
        let inside = &self.input.as_bytes()[from + 1..to - 1];
        text::rewrite(inside, self.out);
        self.out.push(b'"');
        self.run = to;
    }
}

impl Sink for Writer<'_> {
    #[inline]
    fn space(&mut self, from: usize, to: usize) {
        self.flush(from);
        self.run = to;
    }

    #[inline]
    fn object(&mut self, at: usize) {
        self.scratch.outer.push(self.open);
        self.open = Object {
            body: self.place(at) + 1,
            first: self.scratch.members.len(),
            ..Object::default()
        };
    }

    #[inline]
    fn key(&mut self, from: usize, key: Text) {
        let start = self.place(from);
        let canonical = if key.rewrite {
            self.rewrite(from, key.end);
            &self.out[start..]
        } else {
            &self.input.as_bytes()[from..key.end]
        };
        let print = print(canonical);
        let inside = &canonical[1..canonical.len() - 1];
        self.scratch.members.push(Member {
            from: start,
            key_end: start + canonical.len(),
        });

        let open = &mut self.open;
        if inside.first().is_some_and(u8::is_ascii_digit)
            && let Some(index) = array_index(inside)
        {
            open.disordered |= index < open.index_min;
            open.index_min = open.index_min.max(index + 1);
        } else {
            open.index_min = u64::MAX;
            open.renamed |= self.style.snake_case && case::differs(inside);
        }
        let before = &self.scratch.prints[open.first..];
        open.suspect |= before.len() < PAIRWISE_MAX && before.contains(&print);
        self.scratch.prints.push(print);
    }

    #[inline]
    fn object_end(&mut self, at: usize) {
        let first = self.open.first;
        if self.scratch.prints.len() - first > PAIRWISE_MAX && !self.open.suspect {
            self.open.suspect = self.scratch.has_twins(first);
        }
        if self.open.suspect || self.open.disordered || self.open.renamed {
            self.flush(at);
            self.scratch.put_in_order(self.open, self.out);
        }
        self.scratch.members.truncate(first);
        self.scratch.prints.truncate(first);
        self.open = self.scratch.outer.pop().unwrap_or_default();
    }

    #[inline]
    fn string(&mut self, from: usize, string: Text) {
        if string.rewrite {
            self.rewrite(from, string.end);
        }
    }

    #[inline]
    fn number(&mut self, from: usize, number: Number) -> Result<(), Fault> {
        if self.style.numbers == Numbers::Verbatim {
            return Ok(());
        }
        let double = match number::printed(&self.input[from..number.end], number) {
            Printed::Prefix(length) if from + length == number.end => return Ok(()),
            Printed::Prefix(length) => {
                self.flush(from + length);
                self.run = number.end;
                return Ok(());
            }
            Printed::Lossy(_, why) if self.style.numbers == Numbers::Exact => {
                return Err(number::refused(from, why));
            }
            Printed::Double(double) | Printed::Lossy(double, _) => double,
        };
        self.flush(from);
        number::write_number(double, self.out);
        self.run = number.end;
        Ok(())
    }
}

impl Scratch {
    /// Whether two members from `first` on have the same print.
    #[cold]
    fn has_twins(&mut self, first: usize) -> bool {
        self.sorted.clear();
        self.sorted.extend_from_slice(&self.prints[first..]);
        self.sorted.sort_unstable();
        self.sorted.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Rewrites the object whose members end at the end of `out`: of each key the last value at
    /// the first place, then array indices to the front, then new names.
    #[cold]
    fn put_in_order(&mut self, object: Object, out: &mut Vec<u8>) {
        let members = &self.members[object.first..];
        let key = |member: usize| &out[members[member].from..members[member].key_end];

        let kept = |member: usize| {
            let quoted = key(member);
            let index = array_index(&quoted[1..quoted.len() - 1]);
            Kept {
                index: index.unwrap_or(u64::MAX),
                rank: member,
                member,
            }
        };
        self.order.clear();
        self.order.extend((0..members.len()).map(kept));
        if object.suspect {
            self.order
                .sort_unstable_by_key(|kept| (key(kept.member), kept.rank));
            self.order.dedup_by(|later, first| {
                let same = key(later.member) == key(first.member);
                if same {
                    first.member = later.member;
                }
                same
            });
        }
        if object.suspect || object.disordered {
            self.order
                .sort_unstable_by_key(|kept| (kept.index, kept.rank));
        }

        let mut names = Names::default();
        if object.renamed {
            names
                .0
                .extend(self.order.iter().map(|it| Cow::Borrowed(key(it.member))));
        }
        self.body.clear();
        for kept in &self.order {
            let member = members[kept.member];
            let end = members
                .get(kept.member + 1)
                .map_or(out.len(), |next| next.from - 1);
            if !self.body.is_empty() {
                self.body.push(b',');
            }
            let quoted = key(kept.member);
            let renamed = object.renamed.then(|| names.rename(quoted)).flatten();
            self.body
                .extend_from_slice(renamed.as_deref().unwrap_or(quoted));
            self.body.extend_from_slice(&out[member.key_end..end]);
        }
        out.truncate(object.body);
        out.extend_from_slice(&self.body);
    }
}

/// The quoted keys that an object has, and those it has got by renaming.
#[derive(Default)]
struct Names<'a>(BTreeSet<Cow<'a, [u8]>>);

impl Names<'_> {
    /// The new name of `quoted`, unless it keeps its own because it has no other or that is taken.
    fn rename(&mut self, quoted: &[u8]) -> Option<Vec<u8>> {
        let inside = &quoted[1..quoted.len() - 1];
        if !case::differs(inside) {
            return None;
        }
        let mut name = Vec::with_capacity(quoted.len() + 4);
        name.push(b'"');
        case::write_snake_case(inside, &mut name);
        name.push(b'"');
        self.0.insert(name.clone().into()).then_some(name)
    }
}

/// A number that is the same for the same key, and seldom the same for two: of a quoted key of up
/// to 8 bytes all of them, of a longer one the first and the last 8 and the length. Keys made to
/// be alike cost a sort, no more.
#[inline]
fn print(quoted: &[u8]) -> u64 {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let length = quoted.len() as u64;
    if let (Some(first), Some(last)) = (quoted.first_chunk::<8>(), quoted.last_chunk::<8>()) {
        let last = u64::from_le_bytes(*last).rotate_left(27);
        return (u64::from_le_bytes(*first) ^ last.wrapping_mul(SPREAD)).wrapping_add(length);
    }
    if let (Some(first), Some(last)) = (quoted.first_chunk::<4>(), quoted.last_chunk::<4>()) {
        let last = u64::from(u32::from_le_bytes(*last));
        return u64::from(u32::from_le_bytes(*first)) | last << 32;
    }
    // `""` or `"x"`: the second byte and the length tell.
    u64::from(quoted[1]) | length << 8
}

/// The array index that a key reads as: 0 to 4294967294 in plain decimal.
#[inline]
fn array_index(key: &[u8]) -> Option<u64> {
    const INDEX_MAX: u64 = 4_294_967_294;
    if key.is_empty() || key.len() > 10 || (key[0] == b'0' && key.len() > 1) {
        return None;
    }
    let mut index = 0;
    for digit in key {
        if !digit.is_ascii_digit() {
            return None;
        }
        index = index * 10 + u64::from(digit - b'0');
    }
    (index <= INDEX_MAX).then_some(index)
}

/// What the value that begins at `start` of `input` can only be.
pub(super) fn kind_at(input: &str, start: usize) -> Result<Kind, Fault> {
    input
        .as_bytes()
        .get(start)
        .and_then(|first| Kind::starting(*first))
        .ok_or_else(|| Fault::expected(start, "a value"))
}
