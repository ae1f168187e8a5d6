//! YAML text → [`Tree`]: one document, without what could make it larger than it looks.
//!
//! The parser is granit-parser, an event parser; what is built of its events, and what is refused
//! (aliases, merge keys, tags, keys that are no scalars, duplicate keys), is decided here, so
//! that memory is bounded by the text's own size.

use std::collections::HashSet;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError};
use serde_json::Value;

use super::{
    diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Span},
    tree::{self, DEPTH_MAX, Entry, Node, Tree, VALUES_MAX},
};
use crate::workflow::definition::FILE_BYTES_MAX;

/// The text of a file: UTF-8, a byte order mark is dropped, no control characters.
///
/// # Errors
/// What is wrong with it.
pub fn text(bytes: &[u8]) -> Result<&str, Diagnostic> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Diagnostic::error(
            "file.too_large",
            format!(
                "the file has {} bytes; a workflow file has at most {FILE_BYTES_MAX}",
                bytes.len()
            ),
        ));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(encoding("the file is UTF-16", Span::default()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = &bytes[..error.valid_up_to()];
        let before = std::str::from_utf8(valid).unwrap_or_default();
        encoding("the file is not UTF-8", place(before))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let control = text.char_indices().find(|(_, letter)| {
        letter.is_control() && !matches!(letter, '\n' | '\r' | '\t' | '\u{85}')
    });
    if let Some((at, letter)) = control {
        let code = u32::from(letter);
        return Err(Diagnostic::error(
            "yaml.control_character",
            format!("the file has a control character (U+{code:04X})"),
        )
        .help("write it as an escape in double quotes, such as \"\\u0007\", or leave it out")
        .at("", place(&text[..at])));
    }
    Ok(text)
}

fn encoding(message: &str, span: Span) -> Diagnostic {
    Diagnostic::error("file.encoding", message)
        .help("save it as UTF-8")
        .at("", span)
}

/// The place after a stretch of text.
fn place(before: &str) -> Span {
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |rest| rest.chars().count())
        + 1;
    point(line, column)
}

fn point(line: usize, column: usize) -> Span {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Span {
        line: narrow(line),
        column: narrow(column),
        end_line: narrow(line),
        end_column: narrow(column + 1),
    }
}

/// Reads a document.
///
/// # Errors
/// All that is wrong with it up to where it cannot be read on.
pub fn parse(text: &str) -> Result<Tree, Vec<Diagnostic>> {
    let mut builder = Builder::default();
    for next in Parser::new_from_str(text) {
        let taken = match next {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => Err(syntax(&error)),
        };
        if let Err(fatal) = taken {
            builder.found.push(fatal);
            return Err(builder.found);
        }
        if builder.found.len() > DIAGNOSTICS_MAX {
            return Err(builder.found);
        }
    }
    match builder.root {
        Some(root) if builder.found.is_empty() => Ok(root),
        None if builder.found.is_empty() => Err(vec![
            Diagnostic::error("file.empty", "the file is empty")
                .help("a workflow begins with `schema_version`, `flow` and `nodes`"),
        ]),
        _ => Err(builder.found),
    }
}

fn syntax(error: &ScanError) -> Diagnostic {
    let mark = error.marker();
    Diagnostic::error("yaml.syntax", format!("this is no YAML: {}", error.info()))
        .at("", point(mark.line().max(1), mark.col() + 1))
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Tree>,
    documents: usize,
    values: usize,
    found: Vec<Diagnostic>,
}

enum Open {
    Sequence(Span, Vec<Tree>),
    Mapping {
        span: Span,
        entries: Vec<Entry>,
        keys: HashSet<String>,
        key: Option<(String, Span)>,
    },
}

impl Builder {
    /// Takes the parser's next event; an error ends the reading.
    fn take(&mut self, event: Event<'_>, span: &granit_parser::Span) -> Result<(), Diagnostic> {
        let at = convert(span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Diagnostic::error(
                        "yaml.several_documents",
                        "the file has more than one document",
                    )
                    .help("one file is one workflow: remove what follows `---`")
                    .at("", at));
                }
            }
            Event::Scalar(text, style, _, tag) => {
                self.check_tag(tag.is_some(), at);
                self.count(at)?;
                self.scalar(&text, style, at)?;
            }
            Event::SequenceStart(_, _, tag) => {
                self.check_tag(tag.is_some(), at);
                self.open(Open::Sequence(at, Vec::new()), at)?;
            }
            Event::MappingStart(_, _, tag) => {
                self.check_tag(tag.is_some(), at);
                let mapping = Open::Mapping {
                    span: at,
                    entries: Vec::new(),
                    keys: HashSet::new(),
                    key: None,
                };
                self.open(mapping, at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return Err(
                    Diagnostic::error("yaml.alias", "aliases (`*name`) are not taken")
                        .help("write the value out where it is used")
                        .at("", at),
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn check_tag(&mut self, tagged: bool, at: Span) {
        if tagged {
            self.found.push(
                Diagnostic::error("yaml.tag", "tags (`!name`) are not taken")
                    .help("remove the tag; quote a value that is to be text")
                    .at("", at),
            );
        }
    }

    fn count(&mut self, at: Span) -> Result<(), Diagnostic> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(tree::too_many().at("", at));
        }
        Ok(())
    }

    fn open(&mut self, open: Open, at: Span) -> Result<(), Diagnostic> {
        if let Some(Open::Mapping { key: None, .. }) = self.open.last() {
            return Err(Diagnostic::error(
                "yaml.complex_key",
                "a key is a list or a mapping; keys are texts",
            )
            .at("", at));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(tree::too_deep().at("", at));
        }
        self.count(at)?;
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self, at: Span) {
        let (node, mut span) = match self.open.pop() {
            Some(Open::Sequence(span, items)) => (Node::Sequence(items), span),
            Some(Open::Mapping { span, entries, .. }) => (Node::Mapping(entries), span),
            None => return,
        };
        span.end_line = at.end_line;
        span.end_column = at.end_column;
        self.add(Tree { node, span });
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, at: Span) -> Result<(), Diagnostic> {
        let is_plain = matches!(style, ScalarStyle::Plain);
        if let Some(Open::Mapping {
            key: key @ None,
            keys,
            ..
        }) = self.open.last_mut()
        {
            if is_plain && text == "<<" {
                return Err(
                    Diagnostic::error("yaml.merge_key", "merge keys (`<<`) are not taken")
                        .help("write the values out where they are used")
                        .at("", at),
                );
            }
            if !keys.insert(text.to_owned()) {
                self.found.push(
                    Diagnostic::error(
                        "yaml.duplicate_key",
                        format!("the key `{}` is here twice", tree::cut(text)),
                    )
                    .help("keep one of them")
                    .at("", at),
                );
            }
            *key = Some((text.to_owned(), at));
            return Ok(());
        }
        let value = if is_plain {
            tree::plain(text).unwrap_or_else(|| Value::from(text))
        } else {
            Value::from(text)
        };
        let raw = text.to_owned();
        self.add(Tree {
            node: Node::Scalar { value, raw },
            span: at,
        });
        Ok(())
    }

    fn add(&mut self, tree: Tree) {
        match self.open.last_mut() {
            None => self.root = Some(tree),
            Some(Open::Sequence(_, items)) => items.push(tree),
            Some(Open::Mapping { entries, key, .. }) => {
                if let Some((key, key_span)) = key.take() {
                    entries.push(Entry {
                        key,
                        key_span,
                        value: tree,
                    });
                }
            }
        }
    }
}

fn convert(span: &granit_parser::Span) -> Span {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let line = |mark: &Marker| narrow(mark.line().max(1));
    let column = |mark: &Marker| narrow(mark.col() + 1);
    Span {
        line: line(&span.start),
        column: column(&span.start),
        end_line: line(&span.end),
        end_column: column(&span.end),
    }
}
