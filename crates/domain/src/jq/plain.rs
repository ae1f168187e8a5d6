//! Which expressions are plain: they certainly end, and what they make is bounded by a small
//! multiple of their input.
//!
//! Each kind of term gets a bound on the total size of its outputs for an input of size `n`:
//! `times * n + plus`. Terms pass bounds on as they pass values, so that what compounds
//! (`[.,.] | [.,.] | …`) is caught. Whatever is not known here, such as definitions, variables,
//! folds, updates and regular expressions, is not plain; it is run where it can be stopped.

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Term},
    },
    ops::Math,
    path::Part,
};

/// The most that an expression may multiply its input.
const TIMES_MAX: f64 = 1_024.0;
/// The most that an expression may add, in bytes.
const PLUS_MAX: f64 = 65_536.0;
/// How deep terms may be nested.
const DEPTH_MAX: usize = 48;
/// By how much a text can grow when it is escaped or encoded.
const ENCODED: f64 = 6.0;

/// Functions without arguments, with one output no larger than their input, or than a number.
const SHRINKING: [&str; 31] = [
    "not",
    "true",
    "false",
    "null",
    "length",
    "utf8bytelength",
    "tonumber",
    "ascii_downcase",
    "ascii_upcase",
    "trim",
    "ltrim",
    "rtrim",
    "keys",
    "keys_unsorted",
    "type",
    "floor",
    "round",
    "ceil",
    "abs",
    "reverse",
    "sort",
    "first",
    "last",
    "min",
    "max",
    "isboolean",
    "isnumber",
    "isstring",
    "isarray",
    "isobject",
    "error",
];
/// Functions without arguments that let their input through, or not.
const SELECTING: [&str; 10] = [
    "empty",
    "values",
    "nulls",
    "booleans",
    "numbers",
    "strings",
    "arrays",
    "objects",
    "iterables",
    "scalars",
];
/// Functions without arguments, and formats, that write their input as text.
const ENCODING: [&str; 7] = [
    "tostring", "tojson", "@text", "@json", "@html", "@uri", "@base64",
];
/// Functions of one argument with one output no larger than their input.
const TESTING: [&str; 5] = ["has", "startswith", "endswith", "ltrimstr", "rtrimstr"];

/// What comes of a term: outputs of `times * n + plus` in all.
#[derive(Clone, Copy)]
struct Bound {
    times: f64,
    plus: f64,
    /// There is at most one output.
    single: bool,
}

impl Bound {
    const SAME: Self = Self {
        times: 1.0,
        plus: 0.0,
        single: true,
    };

    const fn constant(plus: f64) -> Self {
        Self {
            times: 0.0,
            plus,
            single: true,
        }
    }

    /// All outputs of both.
    fn and(self, other: Self) -> Self {
        Self {
            times: self.times + other.times,
            plus: self.plus + other.plus,
            single: self.single && other.single,
        }
    }

    /// What comes of `next` for each output of this.
    fn then(self, next: Self) -> Self {
        let (each, once) = if self.single {
            (0.0, 1.0)
        } else {
            (self.times, self.plus)
        };
        Self {
            times: self.times * next.times + each * next.plus,
            plus: self.plus * next.times + once * next.plus,
            single: self.single && next.single,
        }
    }

    fn single(self) -> Option<Self> {
        self.single.then_some(self)
    }

    fn plus(self, plus: f64) -> Self {
        Self {
            plus: self.plus + plus,
            ..self
        }
    }

    fn scaled(self, by: f64) -> Self {
        Self {
            times: self.times * by,
            plus: (self.plus + 1.0) * by,
            ..self
        }
    }

    fn within_limits(self) -> Option<Self> {
        (self.times <= TIMES_MAX && self.plus <= PLUS_MAX).then_some(self)
    }
}

/// Whether an expression is plain.
pub(super) fn is_plain(term: &Term<&str>) -> bool {
    bound(term, 0).is_some()
}

fn bound(term: &Term<&str>, depth: usize) -> Option<Bound> {
    if depth > DEPTH_MAX {
        return None;
    }
    let of = |term: &Term<&str>| bound(term, depth + 1);
    let bound = match term {
        Term::Id => Bound::SAME,
        Term::Num(digits) => Bound::constant(size(digits)),
        Term::Str(format, parts) => text(*format, parts, depth)?,
        Term::Arr(None) => Bound::constant(2.0),
        Term::Arr(Some(items)) => Bound {
            single: true,
            ..of(items)?.plus(2.0)
        },
        Term::Obj(fields) => object(fields, depth)?,
        Term::Neg(number) => of(number)?,
        Term::BinOp(left, op, right) => binary(left, op, right, depth)?,
        Term::TryCatch(tried, caught) => {
            let tried = of(tried)?;
            match caught {
                None => tried,
                // What is caught is a message that quotes values.
                Some(caught) => tried.and(Bound::SAME.scaled(2.0 * ENCODED).then(of(caught)?)),
            }
        }
        Term::IfThenElse(cases, default) => {
            let mut all = default
                .as_ref()
                .map_or(Some(Bound::SAME), |term| of(term))?;
            for (condition, then) in cases {
                of(condition)?.single()?;
                all = all.and(of(then)?);
            }
            all
        }
        Term::Call(name, args) => call(name, args, depth)?,
        Term::Path(head, path) => {
            let mut all = of(head)?;
            for (part, _) in &path.0 {
                all.single &= part_is_single(part)?;
            }
            all
        }
        _ => return None,
    };
    bound.within_limits()
}

#[expect(clippy::cast_precision_loss, reason = "expressions are short")]
fn size(text: &str) -> f64 {
    text.len() as f64 + 2.0
}

fn text(format: Option<&str>, parts: &[StrPart<&str, Term<&str>>], depth: usize) -> Option<Bound> {
    if format.is_some_and(|format| !ENCODING.contains(&format)) {
        return None;
    }
    parts.iter().try_fold(Bound::constant(2.0), |all, part| {
        Some(all.and(match part {
            StrPart::Str(text) => Bound::constant(size(text)),
            StrPart::Char(_) => Bound::constant(4.0),
            StrPart::Term(term) => bound(term, depth + 1)?.single()?.scaled(ENCODED),
        }))
    })
}

fn object(fields: &[(Term<&str>, Option<Term<&str>>)], depth: usize) -> Option<Bound> {
    fields
        .iter()
        .try_fold(Bound::constant(2.0), |all, (key, value)| {
            let key_bound = bound(key, depth + 1)?.single()?;
            let value = match value {
                Some(value) => bound(value, depth + 1)?.single()?,
                None => Bound::SAME,
            };
            Some(all.and(key_bound).and(value))
        })
}

/// A step of a path; only literals as indexes, since a list is searched for a list.
fn part_is_single(part: &Part<Term<&str>>) -> Option<bool> {
    let literal = |index: &Option<Term<&str>>| index.as_ref().is_none_or(is_literal);
    match part {
        Part::Index(index) => is_literal(index).then_some(true),
        Part::Range(None, None) => Some(false),
        Part::Range(from, to) => (literal(from) && literal(to)).then_some(true),
    }
}

fn is_literal(term: &Term<&str>) -> bool {
    match term {
        Term::Num(_) => true,
        Term::Neg(number) => matches!(**number, Term::Num(_)),
        Term::Str(None, parts) => parts.iter().all(|part| !matches!(part, StrPart::Term(_))),
        _ => false,
    }
}

/// How much a number literal is, without its sign.
fn literal_number(term: &Term<&str>) -> Option<f64> {
    match term {
        Term::Num(digits) => digits.parse().ok(),
        Term::Neg(number) => literal_number(number),
        _ => None,
    }
}

fn binary(
    left: &Term<&str>,
    op: &BinaryOp<&str>,
    right: &Term<&str>,
    depth: usize,
) -> Option<Bound> {
    let (l, r) = (bound(left, depth + 1)?, bound(right, depth + 1)?);
    let both = || Some(l.single()?.and(r.single()?));
    let factor = literal_number(left).or_else(|| literal_number(right));
    match op {
        BinaryOp::Pipe(None) => Some(l.then(r)),
        BinaryOp::Comma => Some(Bound {
            single: false,
            ..l.and(r)
        }),
        BinaryOp::Alt => Some(l.and(r)),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Cmp(_) => both().map(|_| Bound::constant(5.0)),
        BinaryOp::Math(Math::Add | Math::Rem) => both(),
        // A text is cut into pieces, each with its quotes and comma.
        BinaryOp::Math(Math::Div) => both().map(|both| both.scaled(4.0)),
        // Lists less lists take their lengths' product.
        BinaryOp::Math(Math::Sub) => both().filter(|_| factor.is_some()),
        // A number repeats a text, and objects are merged.
        BinaryOp::Math(Math::Mul) => both().map(|both| both.scaled(factor.unwrap_or(f64::MAX))),
        _ => None,
    }
}

fn call(name: &str, args: &[Term<&str>], depth: usize) -> Option<Bound> {
    let of = |term: &Term<&str>| bound(term, depth + 1);
    match args {
        [] if SHRINKING.contains(&name) => Some(Bound::SAME.plus(24.0)),
        [] if SELECTING.contains(&name) => Some(Bound::SAME),
        [] if ENCODING.contains(&name) => Some(Bound::SAME.scaled(ENCODED)),
        [] if name == "to_entries" => Some(Bound::SAME.scaled(12.0)),
        [] if matches!(name, "any" | "all") => Some(Bound::constant(5.0)),
        [arg] if TESTING.contains(&name) => of(arg)?.single().map(|_| Bound::SAME.plus(5.0)),
        [arg] if name == "contains" && is_literal(arg) => Some(Bound::constant(5.0)),
        [arg] if name == "split" => of(arg)?.single().map(|_| Bound::SAME.scaled(4.0)),
        [arg] if name == "error" => of(arg)?.single(),
        [arg] if matches!(name, "any" | "all") => of(arg)?.single().map(|_| Bound::constant(5.0)),
        [arg] if name == "select" => of(arg)?.single().map(|_| Bound::SAME),
        [arg] if name == "map" => {
            let each = Bound {
                single: false,
                ..Bound::SAME
            };
            let all = each.then(of(arg)?);
            Some(
                Bound {
                    single: true,
                    ..all
                }
                .plus(2.0),
            )
        }
        _ => None,
    }
}
