//! `signpost validate`: what is wrong with workflow files, without a server.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use clap::Args;
use domain::workflow::{
    definition::{Definition, FILE_BYTES_MAX},
    file::{self, Diagnostic, Severity},
};
use serde_json::{Value, json};

use crate::{
    cli::done,
    output::{BAD, BOLD, DIM, GOOD, Out, counted, styled},
    problem::Problem,
    terminal,
};

const WARN: Style = AnsiColor::Yellow.on_default();

/// Check workflow files
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost validate flow.yaml
  signpost validate workflows/*.yaml
  cat flow.yaml | signpost validate -

Exit codes: 0 all can run (there may be warnings), 1 one cannot, 2 one cannot be read.")]
pub struct ValidateArgs {
    /// Workflow files; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Say what is in each file
    #[arg(long, short)]
    verbose: bool,
}

struct Checked {
    file: String,
    text: Vec<u8>,
    definition: Option<Definition>,
    diagnostics: Vec<Diagnostic>,
}

/// Runs `signpost validate`.
pub fn run(args: &ValidateArgs, out: Out) -> Result<ExitCode> {
    let mut all = Vec::new();
    for path in &args.files {
        all.push(check(path)?);
    }
    let valid = all.iter().all(|checked| checked.definition.is_some());
    if out.is_json() {
        let files: Vec<Value> = all.iter().map(document).collect();
        out.document(&json!({ "valid": valid, "files": files }))?;
    } else {
        for checked in &all {
            print(checked, args.verbose, out)?;
        }
    }
    Ok(done(valid))
}

fn check(path: &Path) -> Result<Checked> {
    let is_input = path.as_os_str() == "-";
    let file = if is_input {
        "<input>".to_owned()
    } else {
        path.display().to_string()
    };
    let text = read(path, is_input).map_err(|error| {
        Problem::misuse("failed to read a workflow file")
            .at(&file)
            .because(error)
            .advice("name a file that exists and can be read")
    })?;
    let (definition, diagnostics) = match file::read(&text) {
        Ok(loaded) => (Some(loaded.definition), loaded.warnings),
        Err(found) => (None, found),
    };
    Ok(Checked {
        file,
        text,
        definition,
        diagnostics,
    })
}

/// The file's bytes, one more than is allowed at most.
fn read(path: &Path, is_input: bool) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    if is_input {
        io::stdin().lock().take(limit).read_to_end(&mut text)?;
    } else {
        File::open(path)?.take(limit).read_to_end(&mut text)?;
    }
    Ok(text)
}

fn document(checked: &Checked) -> Value {
    let mut document = json!({
        "file": checked.file,
        "valid": checked.definition.is_some(),
        "diagnostics": checked.diagnostics,
    });
    if let Some(definition) = &checked.definition {
        document["name"] = definition.name.as_str().into();
        document["version"] = definition.version.as_str().into();
        document["nodes"] = definition.nodes.len().into();
    }
    document
}

fn print(checked: &Checked, verbose: bool, out: Out) -> Result<()> {
    let source = String::from_utf8_lossy(&checked.text);
    let source = source.strip_prefix('\u{feff}').unwrap_or(&source);
    let file = terminal::line(&checked.file);
    for diagnostic in &checked.diagnostics {
        out.line(coloured(diagnostic, &diagnostic.render(&file, source)))?;
        out.line("")?;
    }
    let count = |severity| {
        let found = checked.diagnostics.iter();
        found.filter(|one| one.severity == severity).count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let warnings = match warnings {
        0 => String::new(),
        count => format!(", {}", counted(&count.to_string(), "warning", "warnings")),
    };
    let Some(definition) = &checked.definition else {
        let errors = counted(&errors.to_string(), "error", "errors");
        return out.line(format!("{} {file}: {errors}{warnings}", styled(BAD, "✗")));
    };
    out.line(format!(
        "{} {file}: {}{warnings}",
        styled(GOOD, "✓"),
        styled(BOLD, terminal::line(&definition.name)),
    ))?;
    if verbose {
        out.line(summary(definition))?;
    }
    Ok(())
}

/// What is in a file: its fields, nodes and what starts it.
fn summary(definition: &Definition) -> String {
    let mut lines = vec![format!("  version {}", terminal::line(&definition.version))];
    for field in &definition.state {
        let need = match (&field.default, field.required) {
            (_, true) => ", required",
            (Some(_), _) => ", has a default",
            _ => "",
        };
        lines.push(format!("  field {}: {}{need}", field.name, field.kind));
    }
    for node in &definition.nodes {
        let kind = serde_json::to_value(&node.kind).unwrap_or_default();
        let kind = kind["kind"].as_str().unwrap_or("node").to_owned();
        lines.push(format!("  node {} ({kind}), line {}", node.id, node.line));
    }
    let triggers = counted(
        &definition.triggers.len().to_string(),
        "trigger",
        "triggers",
    );
    lines.push(format!("  {triggers}"));
    styled(DIM, lines.join("\n"))
}

/// The rendered text with its severity and carets in colour.
fn coloured(diagnostic: &Diagnostic, rendered: &str) -> String {
    let style = match diagnostic.severity {
        Severity::Error => BAD,
        Severity::Warning => WARN,
    };
    let word = format!("{}[{}]", diagnostic.severity.as_str(), diagnostic.code);
    let mut lines: Vec<String> = rendered.lines().map(str::to_owned).collect();
    if let Some(first) = lines.first_mut() {
        *first = first.replacen(&word, &styled(style, &word), 1);
    }
    for line in lines.iter_mut().skip(1) {
        let is_caret = line
            .split_once('|')
            .is_some_and(|(before, after)| before.trim().is_empty() && after.contains('^'));
        if is_caret && let Some(at) = line.find('^') {
            let carets = line.split_off(at);
            line.push_str(&styled(style, carets));
        }
    }
    lines.join("\n")
}
