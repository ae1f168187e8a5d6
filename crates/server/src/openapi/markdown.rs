//! The little Markdown that our own pages use, as HTML: headings, paragraphs, lists, fenced code and
//! `code`. Everything else is text, and all text is escaped.

use std::fmt::Write;

/// Escapes text for HTML, in elements and quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Renders blocks.
pub fn render(markdown: &str) -> String {
    let mut out = String::with_capacity(markdown.len() * 2);
    let mut paragraph: Vec<&str> = Vec::new();
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        let begins_block = line.is_empty()
            || line.starts_with('#')
            || line.starts_with("- ")
            || line.starts_with("```");
        if !begins_block {
            paragraph.push(line);
            continue;
        }
        flush(&mut out, &mut paragraph);
        if line.starts_with("```") {
            let code: Vec<_> = lines
                .by_ref()
                .take_while(|line| !line.starts_with("```"))
                .collect();
            push(
                &mut out,
                format_args!("<pre><code>{}</code></pre>\n", escape(&code.join("\n"))),
            );
        } else if let Some(first) = line.strip_prefix("- ") {
            out.push_str("<ul>\n");
            push(&mut out, format_args!("<li>{}</li>\n", inline(first)));
            while let Some(item) = lines.next_if(|line| line.starts_with("- ")) {
                push(&mut out, format_args!("<li>{}</li>\n", inline(&item[2..])));
            }
            out.push_str("</ul>\n");
        } else if let Some((marks, text)) = line.split_once(' ') {
            let level = marks.len().clamp(1, 6);
            push(
                &mut out,
                format_args!("<h{level}>{}</h{level}>\n", inline(text)),
            );
        }
    }
    flush(&mut out, &mut paragraph);
    out
}

/// Renders what stands inside a line: text and `code`.
pub fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for (at, part) in text.split('`').enumerate() {
        // An odd number of marks leaves the last part as text.
        let is_code = at % 2 == 1 && text.matches('`').count() > at;
        if is_code {
            push(&mut out, format_args!("<code>{}</code>", escape(part)));
        } else {
            out.push_str(&escape(part));
        }
    }
    out
}

fn flush(out: &mut String, paragraph: &mut Vec<&str>) {
    if !paragraph.is_empty() {
        push(
            out,
            format_args!("<p>{}</p>\n", inline(&paragraph.join(" "))),
        );
        paragraph.clear();
    }
}

/// Appends formatted text.
pub(super) fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_code_are_rendered_and_text_is_escaped() {
        let html = render(
            "# A <b>\n\nSome `x < y`\ntext.\n\n- one\n- two & `three`\n\n```\na\n<b>\n```\nEnd",
        );
        assert_eq!(
            html,
            "<h1>A &lt;b&gt;</h1>\n<p>Some <code>x &lt; y</code> text.</p>\n<ul>\n<li>one</li>\n\
             <li>two &amp; <code>three</code></li>\n</ul>\n<pre><code>a\n&lt;b&gt;</code></pre>\n<p>End</p>\n"
        );
    }

    #[test]
    fn an_unclosed_mark_is_text() {
        assert_eq!(inline("a `b"), "a b");
    }
}
