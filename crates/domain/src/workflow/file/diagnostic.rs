//! What is wrong with a workflow file, and where: for people at a terminal, editors and programs.

use std::fmt::{self, Write as _};

use serde::Serialize;

/// The most diagnostics that are told of one file; the last one says how many were left out.
pub const DIAGNOSTICS_MAX: usize = 100;
/// The longest stretch of a source line that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 160;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken; something in it does not do what it seems to.
    Warning,
}

impl Severity {
    /// As it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place in a file. Lines and columns count from 1, columns in characters; all are 0 where there
/// is no text (a definition that came as JSON values).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// The line where it begins.
    pub line: u32,
    /// The column where it begins.
    pub column: u32,
    /// The line where it ends.
    pub end_line: u32,
    /// The column after its last character.
    pub end_column: u32,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Which rule it breaks. Stays the same from version to version.
    pub code: &'static str,
    /// What is wrong, and what is expected.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Where in the definition: `nodes[2].outputs[0]`; empty: the whole.
    pub path: String,
    /// Where in the text.
    #[serde(flatten)]
    pub span: Span,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            help: None,
            path: String::new(),
            span: Span::default(),
        }
    }

    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message)
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds where it is.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>, span: Span) -> Self {
        self.path = path.into();
        self.span = span;
        self
    }

    /// Whether the file is refused for it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// As plain text: `file:line:column: error[code]: message`, the line, a caret, the help.
    /// Characters that a terminal would act on are shown as escapes.
    pub fn render(&self, file: &str, source: &str) -> String {
        let mut text = String::new();
        self.write(&mut text, file, source)
            .expect("writing to a String cannot fail");
        text
    }

    fn write(&self, out: &mut String, file: &str, source: &str) -> fmt::Result {
        out.push_str(file);
        let Span { line, column, .. } = self.span;
        if line > 0 {
            write!(out, ":{line}:{column}")?;
        }
        write!(out, ": {}[{}]: ", self.severity.as_str(), self.code)?;
        escape(&self.message, out);
        if line > 0 {
            self.write_excerpt(out, source)?;
        } else if !self.path.is_empty() {
            write!(out, "\n  = at: ")?;
            escape(&self.path, out);
        }
        if let Some(help) = &self.help {
            let gutter = if line > 0 { line.to_string().len() } else { 1 };
            write!(out, "\n{:gutter$} = help: ", "")?;
            escape(help, out);
        }
        Ok(())
    }

    fn write_excerpt(&self, out: &mut String, source: &str) -> fmt::Result {
        let Span {
            line,
            column,
            end_line,
            end_column,
        } = self.span;
        let text = source.lines().nth(line as usize - 1).unwrap_or_default();
        let column = column.max(1) as usize;
        let first = if column > SHOWN_CHARS_MAX {
            column - 40
        } else {
            1
        };
        let mut before = String::new();
        let mut marked = String::new();
        let mut shown = String::new();
        let end = if end_line == line {
            (end_column as usize).max(column + 1)
        } else {
            usize::MAX
        };
        for (index, letter) in text
            .chars()
            .enumerate()
            .skip(first - 1)
            .take(SHOWN_CHARS_MAX)
        {
            let place = index + 1;
            let from = shown.len();
            escape(letter.encode_utf8(&mut [0; 4]), &mut shown);
            let width = shown[from..].chars().count();
            if place < column {
                before.extend(std::iter::repeat_n(' ', width));
            } else if place < end {
                marked.extend(std::iter::repeat_n('^', width));
            }
        }
        if marked.is_empty() {
            marked.push('^');
        }
        let cut = if first > 1 { "…" } else { "" };
        let gutter = line.to_string().len();
        write!(
            out,
            "\n{:gutter$} |\n{line} | {cut}{shown}\n{:gutter$} | {}{before}{marked}",
            "",
            "",
            if cut.is_empty() { "" } else { " " },
        )
    }
}

/// Appends a text; control characters and those that turn the direction of writing as escapes.
fn escape(text: &str, out: &mut String) {
    for letter in text.chars() {
        match letter {
            '\t' => out.push(' '),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(letter.escape_unicode());
            }
            _ if letter.is_control() => out.extend(letter.escape_default()),
            _ => out.push(letter),
        }
    }
}

/// Sorts by place, drops repetitions, and keeps at most [`DIAGNOSTICS_MAX`]; errors first in line
/// where they would be cut off.
pub(super) fn tidy(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    found.sort_by_key(|one| (one.span.line, one.span.column));
    found.dedup();
    let mistyped: Vec<(String, String)> = found.iter().filter_map(mistyped).collect();
    found.retain(|one| {
        !mistyped
            .iter()
            .any(|(of, key)| one.path == *of && is_missing(one, key))
    });
    if found.len() <= DIAGNOSTICS_MAX {
        return found;
    }
    let total = found.len();
    found.sort_by_key(|one| !one.is_error());
    let refused = found.first().is_some_and(Diagnostic::is_error);
    found.truncate(DIAGNOSTICS_MAX - 1);
    found.sort_by_key(|one| (one.span.line, one.span.column));
    let message = format!("{} more are not shown", total - found.len());
    found.push(if refused {
        Diagnostic::error("file.more", message)
    } else {
        Diagnostic::warning("file.more", message)
    });
    found
}

/// Where a mistyped key stands, and the key that it was probably meant to be.
fn mistyped(one: &Diagnostic) -> Option<(String, String)> {
    if one.code != "key.unknown" {
        return None;
    }
    let meant = one.help.as_deref()?.strip_prefix("did you mean `")?;
    let meant = meant.strip_suffix("`?")?;
    let of = one.path.rsplit_once('.').map_or("", |(of, _)| of);
    Some((of.to_owned(), meant.to_owned()))
}

/// Whether it says that this key is missing.
fn is_missing(one: &Diagnostic, key: &str) -> bool {
    one.code == "key.missing" && one.message.contains(&format!("no `{key}`"))
}
