//! Reads a condition's words.

use serde_json::{Number, Value};

use super::{ConditionError, Expr, Op, lexer::Token, refuse};

/// How deep parentheses, lists and negations may be nested.
const DEPTH_MAX: usize = 32;

pub(super) struct Parser {
    words: Vec<(usize, Token)>,
    at: usize,
    /// The text's length: the offset of what is missing at its end.
    end: usize,
    depth: usize,
}

impl Parser {
    pub(super) fn new(words: Vec<(usize, Token)>, end: usize) -> Self {
        Self {
            words,
            at: 0,
            end,
            depth: 0,
        }
    }

    /// Reads all words as one condition.
    pub(super) fn read(mut self) -> Result<Expr, ConditionError> {
        let expr = self.either()?;
        match self.words.get(self.at) {
            None => Ok(expr),
            Some(_) => Err(self.refuse("`and`, `or`, a comparison or the end is expected here")),
        }
    }

    fn refuse(&self, message: &str) -> ConditionError {
        refuse(self.offset(), message)
    }

    fn offset(&self) -> usize {
        self.words
            .get(self.at)
            .map_or(self.end, |(offset, _)| *offset)
    }

    fn peek(&self) -> Option<&Token> {
        self.words.get(self.at).map(|(_, token)| token)
    }

    fn take(&mut self, sign: &'static str) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Name(name)) if name == word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), ConditionError> {
        if self.take(sign) {
            return Ok(());
        }
        Err(self.refuse(&format!("`{sign}` is expected here")))
    }

    /// Reads something that may hold the same again, within bounds.
    fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, ConditionError>,
    ) -> Result<T, ConditionError> {
        if self.depth == DEPTH_MAX {
            return Err(self.refuse(&format!("a condition may be nested {DEPTH_MAX} deep")));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn either(&mut self) -> Result<Expr, ConditionError> {
        let mut all = vec![self.both()?];
        while self.take("||") || self.take_word("or") {
            all.push(self.both()?);
        }
        Ok(one_or(all, Expr::Or))
    }

    fn both(&mut self) -> Result<Expr, ConditionError> {
        let mut all = vec![self.negation()?];
        while self.take("&&") || self.take_word("and") {
            all.push(self.negation()?);
        }
        Ok(one_or(all, Expr::And))
    }

    fn negation(&mut self) -> Result<Expr, ConditionError> {
        if self.take("!") || self.take_word("not") {
            let inner = self.nested(Self::negation)?;
            return Ok(Expr::Not(Box::new(inner)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, ConditionError> {
        let first = self.operand()?;
        let mut rest = Vec::new();
        let mut offset = self.offset();
        while let Some(op) = self.operator()? {
            rest.push((offset, op, self.operand()?));
            offset = self.offset();
        }
        if rest.is_empty() {
            return Ok(first);
        }
        Ok(Expr::Compare(Box::new(first), rest))
    }

    fn operator(&mut self) -> Result<Option<Op>, ConditionError> {
        if self.take_word("in") {
            return Ok(Some(Op::In));
        }
        if self.take_word("not") {
            if self.take_word("in") {
                return Ok(Some(Op::NotIn));
            }
            return Err(self.refuse("`in` is expected after `not` here"));
        }
        if self.take_word("is") {
            let negated = self.take_word("not");
            return Ok(Some(if negated { Op::Ne } else { Op::Eq }));
        }
        let signs = [
            ("==", Op::Eq),
            ("!=", Op::Ne),
            ("<=", Op::Le),
            (">=", Op::Ge),
            ("<", Op::Lt),
            (">", Op::Gt),
        ];
        let found = signs.into_iter().find(|(sign, _)| self.take(sign));
        Ok(found.map(|(_, op)| op))
    }

    fn operand(&mut self) -> Result<Expr, ConditionError> {
        if self.take("(") {
            let inner = self.nested(Self::either)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.take("[") {
            return self.nested(Self::list);
        }
        if self.take("{") {
            let path = self.path()?;
            self.expect("}")?;
            return Ok(path);
        }
        let negative = self.take("-");
        if let Some(Token::Literal(value)) = self.peek().cloned() {
            let value = if negative {
                negate(&value).ok_or_else(|| self.refuse("a number is expected after `-`"))?
            } else {
                value
            };
            self.at += 1;
            return Ok(Expr::Literal(value));
        }
        if negative {
            return Err(self.refuse("a number is expected after `-`"));
        }
        self.path()
    }

    fn list(&mut self) -> Result<Expr, ConditionError> {
        let mut items = Vec::new();
        while !self.take("]") {
            items.push(self.either()?);
            if !self.take(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(Expr::List(items))
    }

    /// A literal that is a word, or a path.
    fn path(&mut self) -> Result<Expr, ConditionError> {
        let offset = self.offset();
        let Some(Token::Name(name)) = self.peek().cloned() else {
            return Err(self.refuse("a name, a literal or `(` is expected here"));
        };
        let literal = match name.as_str() {
            "True" | "true" => Some(Value::Bool(true)),
            "False" | "false" => Some(Value::Bool(false)),
            "None" | "null" => Some(Value::Null),
            "and" | "or" | "not" | "in" | "is" => {
                return Err(
                    self.refuse(&format!("a name or a literal is expected before `{name}`"))
                );
            }
            _ => None,
        };
        self.at += 1;
        if let Some(literal) = literal {
            return Ok(Expr::Literal(literal));
        }
        let mut path = vec![name];
        loop {
            if self.take(".") {
                path.push(self.part()?);
            } else if self.take("[") {
                path.push(self.key()?);
                self.expect("]")?;
            } else {
                return Ok(Expr::Path { offset, path });
            }
        }
    }

    fn part(&mut self) -> Result<String, ConditionError> {
        let Some(Token::Name(name)) = self.peek().cloned() else {
            return Err(self.refuse("a name is expected after `.`"));
        };
        self.at += 1;
        Ok(name)
    }

    fn key(&mut self) -> Result<String, ConditionError> {
        let key = match self.peek() {
            Some(Token::Literal(Value::String(key))) => key.clone(),
            Some(Token::Literal(Value::Number(index))) if index.is_u64() => index.to_string(),
            _ => return Err(self.refuse("a quoted key or an index is expected after `[`")),
        };
        self.at += 1;
        Ok(key)
    }
}

fn one_or(mut all: Vec<Expr>, many: fn(Vec<Expr>) -> Expr) -> Expr {
    match all.pop() {
        Some(only) if all.is_empty() => only,
        Some(last) => {
            all.push(last);
            many(all)
        }
        None => many(all),
    }
}

fn negate(value: &Value) -> Option<Value> {
    let number = value.as_number()?;
    let negative = match number.as_i64() {
        Some(integer) => Number::from(-integer),
        None if number.is_u64() && number.as_u64() == Some(i64::MIN.unsigned_abs()) => {
            Number::from(i64::MIN)
        }
        None => Number::from_f64(-number.as_f64()?)?,
    };
    Some(Value::Number(negative))
}
