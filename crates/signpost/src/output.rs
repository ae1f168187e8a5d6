//! What the program prints when it succeeds: tables and lines for people, JSON for programs.
//!
//! Everything goes through [`Out`], which reports a reader that went away as an error instead of
//! a panic. Colours are written always and taken out again where standard output is no terminal
//! or `NO_COLOR` is set (anstream). Text from outside passes [`crate::terminal`] first.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

use anstyle::{AnsiColor, Style};
use anyhow::{Context as _, Result};
use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::Value;

use crate::terminal;

/// Went well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Went wrong.
pub const BAD: Style = AnsiColor::Red.on_default();
/// What matters in a line.
pub const BOLD: Style = Style::new().bold();
/// What matters less.
pub const DIM: Style = Style::new().dimmed();

/// `text` in `style`.
pub fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Standard output, for people or for programs.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    json: bool,
    terminal: bool,
}

impl Out {
    /// Prints JSON if `json`, else for people.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            terminal: io::stdout().is_terminal(),
        }
    }

    /// Whether a program reads.
    pub const fn is_json(self) -> bool {
        self.json
    }

    /// Whether a person can be asked: standard input and output are terminals, and no program reads.
    pub fn is_interactive(self) -> bool {
        !self.json && self.terminal && io::stdin().is_terminal()
    }

    /// Prints a line.
    #[expect(clippy::unused_self, reason = "whoever prints was handed where to")]
    pub fn line(self, text: impl Display) -> Result<()> {
        let mut stdout = anstream::stdout().lock();
        writeln!(stdout, "{text}")
            .and_then(|()| stdout.flush())
            .context("failed to print")
    }

    /// Prints a table, or what stands for an empty one.
    pub fn table(self, mut table: Table, empty: &str) -> Result<()> {
        if table.is_empty() {
            return self.line(styled(DIM, empty));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let text = table.to_string();
        let lines: Vec<String> = text.lines().map(without_tail).collect();
        self.line(lines.join("\n"))
    }

    /// Prints one JSON document: indented on a terminal, else in one line.
    pub fn document(self, value: &impl Serialize) -> Result<()> {
        if self.terminal {
            self.line(serde_json::to_string_pretty(value).context("failed to print JSON")?)
        } else {
            self.record(value)
        }
    }

    /// Prints one JSON document of several, in one line.
    pub fn record(self, value: &impl Serialize) -> Result<()> {
        self.line(serde_json::to_string(value).context("failed to print JSON")?)
    }

    /// Says something beside the output, on standard error; nothing where a program reads.
    pub fn note(self, text: impl Display) {
        if !self.json {
            // A note that nobody can read is no failure.
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }

    /// A progress bar over `total` steps on standard error; hidden where that is no terminal.
    pub fn progress(self, total: u64, noun: &'static str) -> indicatif::ProgressBar {
        if self.json {
            return indicatif::ProgressBar::hidden();
        }
        let template = format!(
            "{{bar:32.green}} {{human_pos}} of {{human_len}} {noun}  {{per_sec}}  {{elapsed}}"
        );
        let style = indicatif::ProgressStyle::with_template(&template)
            .expect("the template is fixed and tested");
        indicatif::ProgressBar::new(total).with_style(style.progress_chars("━╸─"))
    }
}

/// An empty table with these headings.
pub fn table<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = bare_table();
    table.set_header(headings.map(|text| Cell::new(text).add_attribute(Attribute::Dim)));
    table
}

/// A table of names and values.
pub fn card<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> Table {
    let mut table = bare_table();
    for (name, value) in rows {
        table.add_row([
            Cell::new(name).add_attribute(Attribute::Dim),
            Cell::new(value),
        ]);
    }
    table
}

fn bare_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    // Whether colours reach the reader is anstream's decision.
    table.enforce_styling();
    table
}

/// A table's line without the spaces that fill its last column, coloured or not.
fn without_tail(line: &str) -> String {
    const RESET: &str = "\u{1b}[0m";
    match line.trim_end().strip_suffix(RESET) {
        Some(styled) => format!("{}{RESET}", styled.trim_end()),
        None => line.trim_end().to_owned(),
    }
}

/// A cell of text from outside, coloured.
pub fn cell(text: &str, color: Option<comfy_table::Color>) -> Cell {
    let cell = Cell::new(terminal::line(text));
    match color {
        Some(color) => cell.fg(color),
        None => cell,
    }
}

/// The value at `path` (keys separated by `/`) as a person reads it: text bare, missing as `–`.
pub fn show(value: &Value, path: &str) -> String {
    match value.pointer(&format!("/{path}")) {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::String(text)) => terminal::line(text).into_owned(),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            let texts: Vec<_> = items
                .iter()
                .filter_map(Value::as_str)
                .map(terminal::line)
                .collect();
            texts.join(", ")
        }
        Some(other) => terminal::line(&other.to_string()).into_owned(),
    }
}

/// A count and what is counted, in the number that it asks for.
pub fn counted(count: &str, one: &str, many: &str) -> String {
    let noun = if count == "1" { one } else { many };
    format!("{count} {noun}")
}

/// The text at `path`, if it is text.
pub fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    value.pointer(&format!("/{path}")).and_then(Value::as_str)
}

/// Asks a person a question that is answered with yes or no; no is the default.
pub fn confirm(question: &str) -> Result<bool> {
    let mut stderr = anstream::stderr();
    write!(stderr, "{} [y/N] ", terminal::line(question)).context("failed to ask")?;
    stderr.flush().context("failed to ask")?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .context("failed to read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_shown_as_a_person_reads_them() {
        let value = json!({"a": {"b": "x\u{1b}[0m"}, "n": 3, "list": ["p", "q"], "none": null});
        assert_eq!(show(&value, "a/b"), "x\\x1b[0m");
        assert_eq!(show(&value, "n"), "3");
        assert_eq!(show(&value, "list"), "p, q");
        assert_eq!(show(&value, "none"), "–");
        assert_eq!(show(&value, "missing"), "–");
    }

    #[test]
    fn one_thing_is_counted_in_the_singular() {
        let told = ["0", "1", "2", "11"].map(|count| counted(count, "delivery", "deliveries"));
        assert_eq!(
            told,
            [
                "0 deliveries",
                "1 delivery",
                "2 deliveries",
                "11 deliveries"
            ]
        );
    }

    #[test]
    fn a_table_is_plain_text_in_columns() {
        let mut rows = table(["id", "state"]);
        rows.add_row(["whk_1", "active"]);
        rows.add_row(["whk_2", "inactive"]);
        let text = anstream::adapter::strip_str(&rows.to_string()).to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [" id     state", " whk_1  active", " whk_2  inactive"]
        );
    }

    #[test]
    fn lines_end_where_their_text_does() {
        assert_eq!(without_tail("a  b   "), "a  b");
        assert_eq!(
            without_tail("\u{1b}[2ma  \u{1b}[0m "),
            "\u{1b}[2ma\u{1b}[0m"
        );
    }

    #[test]
    fn the_progress_bar_has_a_valid_template() {
        let bar = Out {
            json: false,
            terminal: false,
        }
        .progress(3, "events");
        bar.inc(3);
        assert_eq!(bar.position(), 3);
    }
}
