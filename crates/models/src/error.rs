//! The kinds of failures, each made in one place. None of them holds a key.

use std::time::Duration;

use domain::execution::Usage;

use crate::TurnError;

impl TurnError {
    pub(crate) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retryable: false,
            retry_after: None,
            usage: Usage::default(),
        }
    }

    pub(crate) fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    pub(crate) fn after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    pub(crate) fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    pub(crate) fn key_missing(model: &str, names: &[&str]) -> Self {
        Self::new(
            "model_key_missing",
            format!(
                "the model {model} needs a key: set the environment variable {}, or run with --offline",
                names.join(" or ")
            ),
        )
    }

    pub(crate) fn output_invalid(message: impl Into<String>) -> Self {
        Self::new("model_output_invalid", message).retryable()
    }
}

/// `text` in one line of at most `chars_max` characters, control characters as spaces.
pub(crate) fn trimmed(text: &str, chars_max: usize) -> String {
    let mut line = String::new();
    for (count, word) in text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .enumerate()
    {
        if count > 0 {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > chars_max * 4 {
            break;
        }
    }
    cut(&line, chars_max)
}

/// `text`, cut after `chars_max` characters with a mark.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
