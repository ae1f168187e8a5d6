//! The text of an HTML page: small, bounded, and forgiving. No parser of the whole language.

/// Elements whose content is no text to read.
const LEFT_OUT: [&str; 7] = [
    "script", "style", "noscript", "template", "svg", "head", "iframe",
];
/// Elements that begin a new line.
const LINES: [&str; 18] = [
    "p",
    "br",
    "div",
    "li",
    "tr",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "section",
    "article",
    "ul",
    "ol",
    "table",
    "pre",
    "blockquote",
];
/// Named characters that texts commonly use.
const ENTITIES: [(&str, &str); 10] = [
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("ndash", "–"),
    ("mdash", "—"),
    ("hellip", "…"),
    ("copy", "©"),
];

/// The page's title and text, a line for each block.
pub(super) fn text(html: &str) -> String {
    let mut text = String::new();
    if let Some(title) = title(html) {
        text.push_str(&decoded(title));
        text.push('\n');
    }
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(&decoded(before));
        if let Some(comment) = tag.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let (inside, after) = tag.split_once('>').unwrap_or((tag, ""));
        let name: String = inside
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        rest = after;
        if LEFT_OUT.contains(&&*name) && !inside.starts_with('/') && !inside.ends_with('/') {
            rest = behind_end_of(&name, after);
        } else if LINES.contains(&&*name) {
            text.push('\n');
        } else {
            text.push(' ');
        }
    }
    text.push_str(&decoded(rest));
    tidy(&text)
}

fn title(html: &str) -> Option<&str> {
    let at = find(html, "<title")?;
    let (_, inside) = html[at..].split_once('>')?;
    inside.split_once('<').map(|(title, _)| title)
}

/// What follows an element's end; nothing if it never ends.
fn behind_end_of<'a>(name: &str, html: &'a str) -> &'a str {
    let end = format!("</{name}");
    find(html, &end)
        .and_then(|at| html[at..].split_once('>'))
        .map_or("", |(_, after)| after)
}

/// Where `needle`, lower case and ASCII, stands in any case.
fn find(text: &str, needle: &str) -> Option<usize> {
    let needle = needle.as_bytes();
    text.as_bytes()
        .windows(needle.len())
        .position(|window| window.eq_ignore_ascii_case(needle))
}

fn decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        decoded.push_str(before);
        let named = after
            .char_indices()
            .take(10)
            .find(|(_, c)| *c == ';')
            .and_then(|(end, _)| Some((entity(&after[..end])?, &after[end + 1..])));
        if let Some((character, behind)) = named {
            decoded.push_str(&character);
            rest = behind;
        } else {
            decoded.push('&');
            rest = after;
        }
    }
    decoded.push_str(rest);
    decoded
}

fn entity(name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).map(String::from);
    }
    ENTITIES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| (*text).to_owned())
}

/// One space between words, no empty lines.
fn tidy(text: &str) -> String {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn markup_goes_and_blocks_become_lines() {
        let html = "<!doctype html><html><head><TITLE>A &amp; B</TITLE><style>p {}</style></head>\
            <body><!-- no <b> --><h1>Tea</h1><p>Green&nbsp;tea is <b>fine</b>.<br>So&#8230; \
            &unknown; a &lt; b</p><script>if (a < b) { x() }</script><ul><li>one<li>two</ul>";
        assert_eq!(
            text(html),
            "A & B\nTea\nGreen tea is fine .\nSo… &unknown; a < b\none\ntwo"
        );
    }

    #[test]
    fn broken_pages_end() {
        for html in [
            "<",
            "<script>never ends",
            "<!-- neither",
            "a <b",
            "&",
            "<title",
            "</",
        ] {
            let _ = text(html);
        }
        assert_eq!(text("plain"), "plain");
    }
}
