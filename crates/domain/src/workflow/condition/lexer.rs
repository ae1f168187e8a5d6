//! The words that a condition is made of.

use serde_json::{Number, Value};

use super::{ConditionError, refuse};
use crate::workflow::template::is_name;

/// A word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name, which `and`, `or`, `not`, `in` and literals are too.
    Name(String),
    /// A text or a number.
    Literal(Value),
    /// An operator, a bracket, a comma or a dot.
    Sign(&'static str),
}

/// Signs, the longer ones before what they begin with.
const SIGNS: [&str; 18] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ",", ".", "{", "}", "-",
];

/// Cuts a condition into words with their offsets; a name right after a dot is one part.
pub(super) fn words(text: &str) -> Result<Vec<(usize, Token)>, ConditionError> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let after_dot = matches!(words.last(), Some((_, Token::Sign("."))));
        let (token, length) = if c == '"' || c == '\'' {
            quoted(rest, c, at)?
        } else if c.is_ascii_digit() && !after_dot {
            number(rest, at)?
        } else if is_name(c) {
            let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            (Token::Name(rest[..length].to_owned()), length)
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), sign.len())
        } else if c == '=' {
            return Err(refuse(at, "`=` compares nothing: write `==`"));
        } else {
            return Err(refuse(at, format!("`{c}` is not expected here")));
        };
        words.push((at, token));
        at += length;
    }
    Ok(words)
}

fn quoted(rest: &str, quote: char, at: usize) -> Result<(Token, usize), ConditionError> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        if c == quote {
            return Ok((Token::Literal(Value::String(text)), index + 1));
        }
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some((_, 'n')) => text.push('\n'),
            Some((_, 't')) => text.push('\t'),
            Some((_, 'r')) => text.push('\r'),
            Some((_, c @ ('\\' | '\'' | '"'))) => text.push(c),
            Some((_, other)) => text.extend(['\\', other]),
            None => break,
        }
    }
    Err(refuse(
        at,
        format!("the text that begins here has no closing {quote}"),
    ))
}

fn number(rest: &str, at: usize) -> Result<(Token, usize), ConditionError> {
    let mut before = ' ';
    let length = rest
        .find(|c: char| {
            let exponent = matches!(before, 'e' | 'E') && matches!(c, '+' | '-');
            before = c;
            !(is_name(c) || c == '.' || exponent)
        })
        .unwrap_or(rest.len());
    let digits = &rest[..length];
    let number = if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok().map(u64::into)
    } else {
        None
    };
    let float = || {
        let well_formed = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
        well_formed
            .then(|| digits.parse().ok().and_then(Number::from_f64))
            .flatten()
    };
    match number.or_else(float) {
        Some(number) => Ok((Token::Literal(Value::Number(number)), length)),
        None => Err(refuse(at, format!("`{digits}` is no number"))),
    }
}
