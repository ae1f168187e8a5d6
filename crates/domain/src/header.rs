//! Custom headers of a webhook: which are taken, and which values a log must not show.
//!
//! A custom header is added to what Signpost sends and never replaces any of it: framing,
//! hop-by-hop headers, `Host`, and the headers of the formats are refused when a webhook is
//! saved (CONTRACTS: wire formats), so that sending need not ask again.

use std::{borrow::Cow, collections::HashSet};

pub use crate::webhook::HEADERS_MAX;

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 4096;
/// All names and values of a webhook together, in bytes.
pub const TOTAL_BYTES_MAX: usize = 8 * 1024;

/// Owned by HTTP's framing, by a connection, by a proxy, or by Signpost.
const RESERVED: [&str; 31] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-transfer-encoding",
    "content-type",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
    "x-agentfactory-signature",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-webhook-event",
    "x-webhook-id",
    "x-webhook-signature",
    "x-webhook-timestamp",
];
const RESERVED_PREFIXES: [&str; 3] = ["proxy-", "x-forwarded-", "x-signpost-"];

/// What is wrong with one custom header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header `{name}`: {message}")]
pub struct HeaderProblem {
    /// Its name as given, cut to 80 characters.
    pub name: String,
    /// Its place in the list, from 0.
    pub index: usize,
    /// What to change, as a sentence's end.
    pub message: String,
}

/// Checks the custom headers of one webhook.
///
/// # Errors
/// Every header that is refused, with the reason; none that is taken.
pub fn check_custom_headers<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), Vec<HeaderProblem>> {
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    let mut total = 0;
    for (index, (name, value)) in headers.into_iter().enumerate() {
        let mut problem = |message: String| {
            problems.push(HeaderProblem {
                name: name.chars().take(80).collect(),
                index,
                message,
            });
        };
        if index == HEADERS_MAX {
            problem(format!(
                "a webhook has at most {HEADERS_MAX} custom headers"
            ));
            break;
        }
        total += name.len() + value.len();
        if total > TOTAL_BYTES_MAX {
            problem(format!(
                "all custom headers together have at most {TOTAL_BYTES_MAX} bytes"
            ));
            break;
        }
        let lower = name.to_ascii_lowercase();
        if let Some(message) = name_problem(&lower).or_else(|| value_problem(value)) {
            problem(message);
        } else if !seen.insert(lower) {
            problem("it is given twice (upper and lower case are the same here)".into());
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

fn name_problem(lower: &str) -> Option<String> {
    if lower.is_empty() {
        return Some("a header needs a name".into());
    }
    if lower.len() > NAME_BYTES_MAX {
        return Some(format!("a name has at most {NAME_BYTES_MAX} bytes"));
    }
    if !lower.bytes().all(is_token_byte) {
        return Some("a name has only letters, digits and !#$%&'*+-.^_`|~ (RFC 9110)".into());
    }
    let reserved = RESERVED.contains(&lower)
        || RESERVED_PREFIXES
            .iter()
            .any(|prefix| lower.starts_with(prefix));
    reserved.then(|| "this header is set by Signpost or by HTTP itself".into())
}

fn value_problem(value: &str) -> Option<String> {
    if value.len() > VALUE_BYTES_MAX {
        return Some(format!("a value has at most {VALUE_BYTES_MAX} bytes"));
    }
    if !value
        .bytes()
        .all(|b| b == b'\t' || (b' '..=b'~').contains(&b))
    {
        return Some("a value has only visible ASCII characters, spaces and tabs".into());
    }
    let trimmed = value.trim_matches([' ', '\t']);
    (trimmed != value).then(|| "HTTP drops space at a value's ends: leave it out".into())
}

const fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// What a log shows in place of a sensitive value.
pub const MASK: &str = "***";

/// Whether a header's value may be a credential or a signature, so that no log shows it.
pub fn is_sensitive(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let holds = [
        "auth",
        "cookie",
        "token",
        "secret",
        "signature",
        "password",
        "credential",
        "session",
        "api-key",
        "apikey",
        "hmac",
    ];
    lower != "idempotency-key"
        && (lower.ends_with("-key") || holds.iter().any(|part| lower.contains(part)))
}

/// The value as a log may show it.
pub fn mask<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    Cow::Borrowed(if is_sensitive(name) { MASK } else { value })
}
