//! The `snake_case` view of a body, for receivers of the `agent-factory` format.

use super::canonical::{Scratch, Style, Writer};
use super::{Numbers, scan};

/// Canonical text with every object key in `snake_case`, at every depth; numbers stay as they are.
///
/// `agentId` becomes `agent_id`, `HTTPStatus` `http_status`, `userID` `user_id`. A key keeps its
/// name if
/// - it is not made of ASCII letters, digits and `_`, or begins with a digit (`Content-Type`);
/// - it has no lower-case letter (`USD`, `MAX_SIZE`): such keys are codes, not names;
/// - the object has a key of the new name already, its own or that of an earlier member.
///
/// Order and values stay, and the result is canonical again. What is not JSON comes back unchanged.
pub fn snake_case_keys(canonical: &[u8]) -> Vec<u8> {
    let style = Style {
        numbers: Numbers::Verbatim,
        snake_case: true,
    };
    let mut out = Vec::with_capacity(canonical.len() + canonical.len() / 16);
    let mut scratch = Scratch::default();
    if let Ok(text) = std::str::from_utf8(canonical) {
        let mut writer = Writer::new(text, 0, style, &mut scratch, &mut out);
        if let Ok(end) = scan::walk(canonical, 0, scan::DEPTH_MAX, &mut writer)
            && end == canonical.len()
        {
            writer.finish(end);
            return out;
        }
    }
    canonical.to_vec()
}

/// Whether [`write_snake_case`] would change `key`.
pub(super) fn differs(key: &[u8]) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    key.iter().any(u8::is_ascii_uppercase)
        && key.iter().any(u8::is_ascii_lowercase)
        && !key[0].is_ascii_digit()
        && key.iter().all(word)
}

/// Appends `key` in `snake_case`: a word begins at a capital that follows a small letter or a digit,
/// and at the last of several capitals if a small letter follows it.
pub(super) fn write_snake_case(key: &[u8], out: &mut Vec<u8>) {
    for (at, byte) in key.iter().enumerate() {
        if byte.is_ascii_uppercase() && at > 0 {
            let before = key[at - 1];
            let small_next = key.get(at + 1).is_some_and(u8::is_ascii_lowercase);
            let begins = before.is_ascii_lowercase()
                || before.is_ascii_digit()
                || (before.is_ascii_uppercase() && small_next);
            if begins {
                out.push(b'_');
            }
        }
        out.push(byte.to_ascii_lowercase());
    }
}
