//! What the program says when it fails: what failed, where, why, and what to do about it.
//!
//! Commands return [`anyhow::Error`]. A [`Problem`] anywhere in its chain gives the block that is
//! printed its `at` and `try` lines and its exit code; other errors are printed as their chain.

use std::{error::Error, fmt, io, process::ExitCode};

use serde_json::{Value, json};

use crate::terminal;

/// A failure that a person can act on.
#[derive(Debug)]
pub struct Problem {
    what: String,
    at: Option<String>,
    details: Vec<String>,
    advice: Option<String>,
    misuse: bool,
    source: Option<anyhow::Error>,
}

impl Problem {
    /// Something failed: exit code 1.
    pub fn failed(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            at: None,
            details: Vec::new(),
            advice: None,
            misuse: false,
            source: None,
        }
    }

    /// The command was used wrongly: exit code 2.
    pub fn misuse(what: impl Into<String>) -> Self {
        Self {
            misuse: true,
            ..Self::failed(what)
        }
    }

    /// Where: a URL, a file, a field.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.at = Some(place.into());
        self
    }

    /// One more thing to know, on a line of its own.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// What to do.
    #[must_use]
    pub fn advice(mut self, line: impl Into<String>) -> Self {
        self.advice = Some(line.into());
        self
    }

    /// Why, as the layer below put it.
    #[must_use]
    pub fn because(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| source.as_ref() as &(dyn Error + 'static))
    }
}

fn problem_in(error: &anyhow::Error) -> Option<&Problem> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Problem>())
}

/// Whether the reader of our output went away (`signpost logs | head`): no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// 0 done, 1 failed, 2 used wrongly (CONTRACTS: commands).
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        ExitCode::SUCCESS
    } else if problem_in(error).is_some_and(|problem| problem.misuse) {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

/// The causes below the first, without those that only repeat what stands above them.
fn causes(error: &anyhow::Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut above = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        if !above.contains(&text) {
            causes.push(text.clone());
        }
        above = text;
    }
    causes
}

/// The block that a person reads on standard error; `None` where there is nothing to say.
pub fn render(error: &anyhow::Error) -> Option<String> {
    use std::fmt::Write as _;

    if is_broken_pipe(error) {
        return None;
    }
    let red = anstyle::AnsiColor::BrightRed.on_default().bold();
    let dim = anstyle::Style::new().dimmed();
    let mut block = format!("{red}error:{red:#} {}", terminal::block(&error.to_string()));
    let mut line = |label: &str, text: &str| {
        let text = terminal::block(text).replace('\n', "\n       ");
        write!(block, "\n{dim}{label:>5}:{dim:#} {text}").expect("writing to a String cannot fail");
    };
    let problem = problem_in(error);
    if let Some(at) = problem.and_then(|problem| problem.at.as_deref()) {
        line("at", at);
    }
    for cause in causes(error) {
        line("why", &cause);
    }
    for detail in problem
        .map(|problem| problem.details.as_slice())
        .unwrap_or_default()
    {
        line("why", detail);
    }
    if let Some(advice) = problem.and_then(|problem| problem.advice.as_deref()) {
        line("try", advice);
    }
    Some(block)
}

/// The same for programs.
pub fn render_json(error: &anyhow::Error) -> Option<Value> {
    if is_broken_pipe(error) {
        return None;
    }
    let problem = problem_in(error);
    let mut why = causes(error);
    why.extend(
        problem
            .iter()
            .flat_map(|problem| problem.details.iter().cloned()),
    );
    Some(json!({
        "error": {
            "what": error.to_string(),
            "at": problem.and_then(|problem| problem.at.as_deref()),
            "why": why,
            "try": problem.and_then(|problem| problem.advice.as_deref()),
        }
    }))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn plain(error: &anyhow::Error) -> String {
        anstream::adapter::strip_str(&render(error).unwrap()).to_string()
    }

    #[test]
    fn the_block_says_what_where_why_and_what_to_do() {
        let error: anyhow::Error = Problem::failed("the server could not be reached")
            .at("GET http://127.0.0.1:8000/api/v1/events")
            .detail("connection refused")
            .advice("start it with `signpost serve`")
            .into();
        insta::assert_snapshot!(plain(&error), @r"
        error: the server could not be reached
           at: GET http://127.0.0.1:8000/api/v1/events
          why: connection refused
          try: start it with `signpost serve`
        ");
    }

    #[test]
    fn a_chain_is_one_block_and_control_characters_are_shown_not_obeyed() {
        let error = Err::<(), _>(io::Error::other("no such\u{1b}[2J thing"))
            .context("failed to read the body")
            .unwrap_err();
        insta::assert_snapshot!(plain(&error), @r"
        error: failed to read the body
          why: no such\x1b[2J thing
        ");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let error = Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe))
            .context("failed to print")
            .unwrap_err();
        assert!(render(&error).is_none());
        assert_eq!(
            format!("{:?}", exit_code(&error)),
            format!("{:?}", ExitCode::SUCCESS)
        );
    }
}
