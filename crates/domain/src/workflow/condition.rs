//! Conditions: `state.f OP literal`, `and`, `or`, `not`, parentheses.
//!
//! They mean what they would in Python: a bare name is true unless it is null, false, zero or
//! empty; `1 < x < 3` works; `and` and `or` look no further than they must. `&&`, `||` and `!`
//! are understood too, and a path may stand in braces as in a template.

mod compare;
mod lexer;
mod parser;

use std::borrow::Cow;

use serde_json::Value;

use super::scope::Scope;

/// A parsed condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    expr: Expr,
}

#[derive(Clone, Debug, PartialEq)]
enum Expr {
    Literal(Value),
    Path {
        offset: usize,
        path: Vec<String>,
    },
    List(Vec<Expr>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    /// The first operand, and each further one with the operator before it.
    Compare(Box<Expr>, Vec<(usize, Op, Expr)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

/// Why a condition cannot be read or decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionError {
    /// Where in the text, in bytes.
    pub offset: usize,
    /// What is wrong, and what is expected.
    pub message: String,
}

fn refuse(offset: usize, message: impl Into<String>) -> ConditionError {
    ConditionError {
        offset,
        message: message.into(),
    }
}

impl Condition {
    /// The longest condition, in bytes.
    pub const LEN_MAX: usize = 4 << 10;

    /// Reads a condition.
    ///
    /// # Errors
    /// If it is none, or longer than [`Self::LEN_MAX`].
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        if text.len() > Self::LEN_MAX {
            let (max, is) = (Self::LEN_MAX, text.len());
            return Err(refuse(
                max,
                format!("a condition may have {max} bytes, this has {is}"),
            ));
        }
        let expr = parser::Parser::new(lexer::words(text)?, text.len()).read()?;
        Ok(Self { expr })
    }

    /// The names that it uses, as paths, with their offsets.
    pub fn names(&self) -> Vec<(usize, Vec<String>)> {
        let mut names = Vec::new();
        collect_names(&self.expr, &mut names);
        names
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// If a name is missing, or values cannot be compared.
    pub fn holds(&self, scope: &Scope<'_>) -> Result<bool, ConditionError> {
        truth(&self.expr, scope)
    }
}

fn collect_names(expr: &Expr, names: &mut Vec<(usize, Vec<String>)>) {
    match expr {
        Expr::Literal(_) => {}
        Expr::Path { offset, path } => names.push((*offset, path.clone())),
        Expr::Not(inner) => collect_names(inner, names),
        Expr::List(all) | Expr::And(all) | Expr::Or(all) => {
            for expr in all {
                collect_names(expr, names);
            }
        }
        Expr::Compare(first, rest) => {
            collect_names(first, names);
            for (_, _, expr) in rest {
                collect_names(expr, names);
            }
        }
    }
}

fn truth(expr: &Expr, scope: &Scope<'_>) -> Result<bool, ConditionError> {
    match expr {
        Expr::Not(inner) => truth(inner, scope).map(|holds| !holds),
        Expr::And(all) => {
            for part in all {
                if !truth(part, scope)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Expr::Or(all) => {
            for part in all {
                if truth(part, scope)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Expr::Compare(first, rest) => compare_all(first, rest, scope),
        other => value(other, scope).map(|value| compare::is_true(&value)),
    }
}

fn compare_all(
    first: &Expr,
    rest: &[(usize, Op, Expr)],
    scope: &Scope<'_>,
) -> Result<bool, ConditionError> {
    let mut left = value(first, scope)?;
    for (offset, op, expr) in rest {
        let right = value(expr, scope)?;
        let holds = compare::holds(&left, *op, &right);
        if !holds.map_err(|message| refuse(*offset, message))? {
            return Ok(false);
        }
        left = right;
    }
    Ok(true)
}

fn value<'a>(expr: &'a Expr, scope: &Scope<'a>) -> Result<Cow<'a, Value>, ConditionError> {
    match expr {
        Expr::Literal(value) => Ok(Cow::Borrowed(value)),
        Expr::Path { offset, path } => scope.find(path).map_err(|message| refuse(*offset, message)),
        Expr::List(items) => {
            let items = items
                .iter()
                .map(|item| value(item, scope).map(Cow::into_owned));
            Ok(Cow::Owned(Value::Array(items.collect::<Result<_, _>>()?)))
        }
        other => truth(other, scope).map(|holds| Cow::Owned(Value::Bool(holds))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    fn holds(text: &str) -> Result<bool, ConditionError> {
        let state = json!({
            "mood": "positive", "score": 7, "rate": 0.5, "yes": true, "no": false, "none": null,
            "empty": [], "tags": ["a", "b"], "reply": {"status": 200, "x-y": 1, "big": u64::MAX},
        });
        let inputs = Map::new();
        let scope = Scope {
            inputs: &inputs,
            state: state.as_object().unwrap(),
            last: None,
        };
        Condition::parse(text)?.holds(&scope)
    }

    #[test]
    fn what_holds() {
        for text in [
            "state.mood == 'positive'",
            "state.mood == \"positive\" and score > 6",
            "mood != 'negative' && score >= 7 || no",
            "not no",
            "!no and !!yes",
            "not (score < 7 or no)",
            "score == 7.0",
            "yes == 1",
            "yes == True and no == false and none == None and none == null",
            "none is None and mood is not None",
            "1 < score <= 7",
            "score > -1",
            "rate < 1e0",
            "'a' in tags",
            "'c' not in state.tags",
            "'posi' in mood",
            "mood in ['positive', 'neutral',]",
            "'status' in reply",
            "not empty",
            "tags",
            "reply.status == 200",
            "reply['x-y'] == 1",
            "tags[0] == 'a' and tags.1 == 'b'",
            "{state.score} == 7",
            "yes or missing",
            "tags == ['a', 'b'] and tags < ['a', 'c']",
            "(score > 5) == True",
            "reply.big > 18446744073709551614 and reply.big < 1e30",
            "9007199254740993 > 9007199254740992.0",
            "'it\\'s' == \"it's\"",
        ] {
            assert_eq!(holds(text), Ok(true), "{text}");
        }
    }

    #[test]
    fn what_does_not_hold() {
        for text in [
            "state.mood == 'negative'",
            "score == '7'",
            "none",
            "empty",
            "''",
            "0.0",
            "no and missing",
            "1 < score < 7",
            "tags == 'a'",
            "1 in reply",
        ] {
            assert_eq!(holds(text), Ok(false), "{text}");
        }
    }

    #[test]
    fn what_is_refused_says_where_and_why() {
        for (text, offset, says) in [
            ("", 0, "a name, a literal"),
            ("score = 7", 6, "write `==`"),
            ("score ==", 8, "a name, a literal"),
            ("(score", 6, "`)` is expected"),
            ("score 7", 6, "`and`, `or`"),
            ("mood == 'x", 8, "no closing '"),
            ("score > 7x", 8, "`7x` is no number"),
            ("and yes", 0, "before `and`"),
            ("yes not 3", 8, "`in` is expected"),
            ("state.", 6, "after `.`"),
            ("tags[yes]", 5, "after `[`"),
            ("- 'a'", 2, "after `-`"),
            ("a ; b", 2, "`;` is not expected"),
            ("scor > 1", 0, "did you mean `score`?"),
            ("score < 'a'", 6, "have no order"),
            ("1 in score", 2, "after `in`"),
        ] {
            let error = holds(text).unwrap_err();
            assert_eq!(error.offset, offset, "{text}: {error}");
            assert!(error.message.contains(says), "{text}: {error}");
        }
        assert!(holds(&"(".repeat(1_000)).is_err());
        assert!(holds(&"not ".repeat(1_000)).is_err());
        assert!(holds(&"a or ".repeat(1_000)).is_err());
    }

    #[test]
    fn names_are_told_with_their_offsets() {
        let condition = Condition::parse("state.a == b and not c.d in [e]").unwrap();
        let names = condition.names();
        let names: Vec<_> = names
            .iter()
            .map(|(at, path)| (*at, path.join(".")))
            .collect();
        let expected = [(0, "state.a"), (11, "b"), (21, "c.d"), (29, "e")];
        assert_eq!(names, expected.map(|(at, path)| (at, path.to_owned())));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[a-c0-9. ()'\"!<>=&|\\[\\]-]{0,40}|\\PC*") {
            let _ = holds(&text);
        }
    }
}
