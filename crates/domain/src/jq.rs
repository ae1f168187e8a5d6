//! jq expressions: parsed here; run here if they are plain, else in a process of their own.
//!
//! An expression sees its input and nothing else: what reads the environment, the clock, further
//! inputs or ends the process is not offered. [`plain`] says which expressions certainly end;
//! nothing here stops one that does not.

mod plain;
mod reads;
mod value;

use std::sync::Arc;

use jaq_core::{
    Compiler, Ctx, Vars,
    data::JustLut,
    load::{self, Arena, File, Loader},
    native::{bome, run, v},
    unwrap_valr,
};
use jaq_json::{Num, Val};
use serde_json::Value;

type Filter = jaq_core::Filter<JustLut<Val>>;

/// A parsed expression.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    filter: Arc<Filter>,
    plain: bool,
    reads: Option<Arc<[Vec<String>]>>,
}

/// Why an expression cannot be used, or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JqError {
    /// Where in the text, in bytes, if that is known.
    pub offset: Option<usize>,
    /// What is wrong, and what is expected.
    pub message: String,
}

/// The most outputs.
pub const OUTPUTS_MAX: usize = 1_000;
/// The largest outputs together, in bytes, about as JSON.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// How deep brackets may be nested.
const BRACKETS_MAX: usize = 100;
/// The most words that take what follows them as a part, such as `if` and `-`.
const PREFIXES_MAX: usize = 400;
/// The stack for reading an expression, in bytes: its reader nests as the expression does.
const STACK_BYTES: usize = 64 << 20;
/// The longest message of an expression that failed, in characters: it may quote its input.
const MESSAGE_CHARS_MAX: usize = 300;

/// What jq has and is not offered here: it reads or ends the process, or reads the clock.
const REMOVED: [&str; 18] = [
    "halt",
    "halt_error",
    "env",
    "$ENV",
    "input",
    "inputs",
    "debug",
    "stderr",
    "input_filename",
    "input_line_number",
    "$__loc__",
    "$__prog_args",
    "now",
    "localtime",
    "strflocaltime",
    "debug_empty",
    "stderr_empty",
    "get_search_list",
];

impl Expression {
    /// The longest expression, in bytes.
    pub const LEN_MAX: usize = 8 << 10;

    /// Reads an expression.
    ///
    /// # Errors
    /// If it is no jq, or uses what is not offered here.
    pub fn parse(text: &str) -> Result<Self, JqError> {
        check_shape(text)?;
        let (filter, plain, reads) = std::thread::scope(|scope| {
            std::thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || compile(text))
                .map_err(|_| refuse(None, "no memory is left to read the expression"))?
                .join()
                .unwrap_or_else(|_| Err(refuse(None, "this is no jq expression")))
        })?;
        Ok(Self {
            text: text.into(),
            filter: Arc::new(filter),
            plain,
            reads: reads.map(Into::into),
        })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it certainly ends, soon, with an output no larger than a small multiple of its
    /// input: then it may run in this process.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// The beginnings of the paths that it reads, at most two keys each; `None` if it may read all
    /// of its input. Whatever else the input has makes no difference to it.
    pub fn reads(&self) -> Option<&[Vec<String>]> {
        self.reads.as_deref()
    }

    /// Runs it here, without limits on time: for plain expressions, and for the worker process.
    ///
    /// # Errors
    /// If it fails by itself, or gives more than [`OUTPUTS_MAX`] or [`OUTPUT_BYTES_MAX`].
    pub fn run(&self, input: Value) -> Result<Vec<Value>, JqError> {
        let context = Ctx::<JustLut<Val>>::new(&self.filter.lut, Vars::new([]));
        let outputs = self.filter.id.run((context, value::to_jaq(input)));
        let mut values = Vec::new();
        let mut budget = OUTPUT_BYTES_MAX;
        for output in outputs.map(unwrap_valr) {
            if values.len() == OUTPUTS_MAX {
                return Err(refuse(
                    None,
                    format!("there are more than {OUTPUTS_MAX} outputs"),
                ));
            }
            let output = output.map_err(failed)?;
            let output = value::from_jaq(&output, &mut budget);
            values.push(output.map_err(|message| refuse(None, message))?);
        }
        Ok(values)
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

fn refuse(offset: Option<usize>, message: impl Into<String>) -> JqError {
    JqError {
        offset,
        message: message.into(),
    }
}

/// What an expression failed with: the text that it gave `error`, or what jaq says.
fn failed(error: jaq_json::Error) -> JqError {
    let message = match error.into_val() {
        Val::TStr(text) => shortened(&String::from_utf8_lossy(&text)),
        other => shortened(&other.to_string()),
    };
    refuse(None, message)
}

fn shortened(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// Refuses what is too long, or nested too deeply to be read safely.
fn check_shape(text: &str) -> Result<(), JqError> {
    if text.len() > Expression::LEN_MAX {
        let (max, is) = (Expression::LEN_MAX, text.len());
        let message = format!("an expression may have {max} bytes, this has {is}");
        return Err(refuse(Some(max), message));
    }
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > BRACKETS_MAX {
            let message = format!("brackets may be nested {BRACKETS_MAX} deep");
            return Err(refuse(Some(at), message));
        }
    }
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let prefixes = [
        "if", "elif", "try", "def", "as", "reduce", "foreach", "label",
    ];
    let prefixes = words.filter(|word| prefixes.contains(word)).count();
    if prefixes + text.matches(['-', '"']).count() > PREFIXES_MAX {
        let message = format!(
            "an expression may have {PREFIXES_MAX} quotes, minus signs and words such as `if`"
        );
        return Err(refuse(None, message));
    }
    Ok(())
}

/// What an expression is compiled to, whether it is plain, and what it reads.
type Compiled = (Filter, bool, Option<Vec<Vec<String>>>);

fn compile(text: &str) -> Result<Compiled, JqError> {
    let tokens = load::lex::Lexer::new(text).lex().map_err(|errors| {
        first(
            text,
            errors
                .first()
                .map(|(expected, at)| (expected.as_str(), *at)),
        )
    })?;
    let parsed = load::parse::Parser::new(&tokens).parse(load::parse::Parser::term);
    let plain = parsed.as_ref().is_ok_and(plain::is_plain);
    let reads = parsed
        .as_ref()
        .ok()
        .filter(|_| plain)
        .and_then(reads::reads);
    let defs = jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs())
        .filter(|def| !REMOVED.contains(&def.name) && def.name != "tonumber");
    let arena = Arena::default();
    let file = File {
        code: text,
        path: (),
    };
    let modules = Loader::new(defs)
        .load(&arena, file)
        .map_err(|errors| not_read(text, &errors))?;
    let funs = jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs())
        .filter(|(name, _, _)| !REMOVED.contains(name))
        .chain([run::<JustLut<Val>>(("tonumber", v(0), |cv| {
            bome(to_number(cv.1))
        }))]);
    let compiled = Compiler::default().with_funs(funs).compile(modules);
    let filter = compiled.map_err(|errors| {
        let undefined = errors.first().and_then(|(_, errors)| errors.first());
        undefined.map_or_else(
            || refuse(None, "this is no jq expression"),
            |(name, what)| unknown(text, name, what.as_str()),
        )
    })?;
    Ok((filter, plain, reads))
}

/// `tonumber`, which reads a text as a number and as nothing else.
fn to_number(value: Val) -> jaq_json::ValR {
    let text = match &value {
        Val::Num(_) => return Ok(value),
        Val::TStr(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    };
    let text = text.map(str::trim).filter(|text| {
        let last = text.bytes().last();
        last.is_some_and(|byte| byte.is_ascii_digit())
            && text.len() <= 400
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
    });
    let number = text.and_then(|text| {
        let whole = Num::from_str_radix(text, 10);
        whole.or_else(|| text.parse().ok().map(Num::Float))
    });
    number
        .map(Val::Num)
        .ok_or_else(|| jaq_json::Error::str("cannot parse as number"))
}

fn first(text: &str, error: Option<(&str, &str)>) -> JqError {
    match error {
        Some((expected, at)) => {
            let offset = at_in(text, at);
            let found = text.get(offset..).and_then(|rest| rest.chars().next());
            let found = found.map_or_else(|| "the end".to_owned(), |c| format!("`{c}`"));
            refuse(
                Some(offset),
                format!("{expected} is expected where {found} is"),
            )
        }
        None => refuse(None, "this is no jq expression"),
    }
}

/// Where a part of the text begins; its end if it is none.
fn at_in(text: &str, part: &str) -> usize {
    let offset = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    if offset <= text.len() {
        offset
    } else {
        text.len()
    }
}

fn not_read(text: &str, errors: &load::Errors<&str, ()>) -> JqError {
    match errors.first() {
        Some((_, load::Error::Io(_))) => refuse(
            None,
            "`import` and `include` are not offered here: write the definitions into the expression",
        ),
        Some((_, load::Error::Lex(errors))) => first(
            text,
            errors
                .first()
                .map(|(expected, at)| (expected.as_str(), *at)),
        ),
        Some((_, load::Error::Parse(errors))) => first(
            text,
            errors
                .first()
                .map(|(expected, at)| (expected.as_str(), *at)),
        ),
        None => first(text, None),
    }
}

fn unknown(text: &str, name: &str, what: &str) -> JqError {
    let offset = Some(at_in(text, name));
    if REMOVED.contains(&name) {
        let message = format!("`{name}` is not offered here: an expression sees its input only");
        return refuse(offset, message);
    }
    let names: Vec<_> = jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs())
        .map(|def| def.name)
        .filter(|name| !REMOVED.contains(name))
        .collect();
    let hint = crate::nearest::hint(name, names.iter().copied().chain(["length", "startswith"]));
    refuse(offset, format!("there is no {what} `{name}`{hint}"))
}

#[cfg(test)]
mod tests;
