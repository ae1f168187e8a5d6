//! Text from outside, made safe to print: a payload must not move the cursor, set the title, or
//! reorder what a person reads.
//!
//! Does not judge meaning, and leaves letters of every script as they are.

use std::{borrow::Cow, fmt::Write as _};

/// Whether a terminal could act on the character, or a reader be misled by it.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}'..='\u{200f}' // zero width, direction marks
            | '\u{2028}'..='\u{202e}' // line separators, direction overrides
            | '\u{2060}'..='\u{206f}' // invisible operators, direction isolates
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

fn escape(text: &str, keep: fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| is_hostile(c) && !keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !is_hostile(c) || keep(c) => clean.push(c),
            '\n' => clean.push_str("\\n"),
            '\r' => clean.push_str("\\r"),
            '\t' => clean.push_str("\\t"),
            c => {
                let code = u32::from(c);
                let written = if code < 0x80 {
                    write!(clean, "\\x{code:02x}")
                } else {
                    write!(clean, "\\u{{{code:x}}}")
                };
                written.expect("writing to a String cannot fail");
            }
        }
    }
    Cow::Owned(clean)
}

/// One line: everything that is not plain text is escaped, line ends too.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// Several lines: line feeds and tabs stay.
pub fn block(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

/// The first `max` characters of one line, with an ellipsis where something is left off.
pub fn brief(text: &str, max: usize) -> String {
    let clean = line(text);
    if clean.chars().count() <= max {
        return clean.into_owned();
    }
    let mut short: String = clean.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_direction_overrides_are_shown() {
        assert_eq!(line("a\u{1b}]0;x\u{7}b\r\n"), "a\\x1b]0;x\\x07b\\r\\n");
        assert_eq!(line("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(line("abc\u{202e}fdp"), "abc\\u{202e}fdp");
        assert_eq!(block("a\n\tb\u{8}"), "a\n\tb\\x08");
    }

    #[test]
    fn letters_of_every_script_stay() {
        for text in ["grüße", "日本語", "🙂", "مرحبا"] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(brief("abcdef", 4), "abc…");
        assert_eq!(brief("abcd", 4), "abcd");
    }

    #[test]
    fn no_naughty_string_gets_through() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/corpora/naughty-strings/blns.json"
        );
        let Ok(text) = std::fs::read_to_string(path) else {
            eprintln!("skipped: no corpora beside this checkout");
            return;
        };
        let strings: Vec<String> = serde_json::from_str(&text).unwrap();
        for string in &strings {
            assert!(!line(string).chars().any(is_hostile), "{string:?}");
        }
    }
}
