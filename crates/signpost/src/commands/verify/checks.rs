//! Tries each signature that a message carries, and finds out why one does not fit.
//!
//! Pure: time, secret and message are arguments. The checks themselves are
//! [`domain::signature`]'s; here are the guesses at what went wrong (a clock, a line end, a body
//! that was written anew, a secret that was decoded or was not).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    Timestamp,
    json::{self, Limits, Numbers},
    signature::{SECRET_PREFIX, Secret, StandardHeaders, VerifyError, verify_hex, verify_standard},
};
use ring::hmac;

use crate::{commands::headers::Headers, when};

/// What was received, and how it is checked.
pub struct Message<'a> {
    /// The secret that both sides hold.
    pub secret: &'a Secret,
    /// What headers came.
    pub headers: &'a Headers,
    /// The body's bytes.
    pub body: &'a [u8],
    /// The time of the check.
    pub now: Timestamp,
    /// How far the signed time may be from it.
    pub tolerance: Duration,
}

/// How one signature fared.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How it is made.
    pub scheme: &'static str,
    /// Where it stood.
    pub header: String,
    /// What is wrong; `None`: it matches.
    pub why_not: Option<String>,
    /// What would have fitted.
    pub hints: Vec<String>,
}

/// All verdicts, the deciding one first.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// One for each signature that was found.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// Whether the first verdict is good: Standard Webhooks covers more (id and time) than the
    /// hex forms do, so where it is there it decides.
    pub fn is_genuine(&self) -> bool {
        self.verdicts
            .first()
            .is_some_and(|verdict| verdict.why_not.is_none())
    }
}

const STANDARD_NAMES: [[&str; 3]; 2] = [
    ["webhook-id", "webhook-timestamp", "webhook-signature"],
    ["svix-id", "svix-timestamp", "svix-signature"],
];

/// Checks every signature that `message` carries.
pub fn check(message: &Message<'_>) -> Report {
    let mut verdicts: Vec<Verdict> = STANDARD_NAMES
        .iter()
        .filter_map(|names| standard(message, names))
        .collect();
    let hex_headers = message.headers.iter().filter(|(name, _)| {
        (name.ends_with("-signature") || name.ends_with("-signature-256"))
            && !STANDARD_NAMES.iter().any(|names| names.contains(name))
    });
    verdicts.extend(hex_headers.map(|(name, value)| hex(message, name, value)));
    Report { verdicts }
}

fn standard(message: &Message<'_>, [id, timestamp, signature]: &[&str; 3]) -> Option<Verdict> {
    let given = message.headers.get(signature)?;
    let verdict = |why_not: Option<String>, hints| Verdict {
        scheme: "Standard Webhooks",
        header: (*signature).to_owned(),
        why_not,
        hints,
    };
    let (Some(id_given), Some(timestamp_given)) =
        (message.headers.get(id), message.headers.get(timestamp))
    else {
        let why =
            format!("{id} and {timestamp} are signed too, and at least one of them is missing");
        return Some(verdict(Some(why), vec![]));
    };
    let headers = StandardHeaders {
        id: id_given,
        timestamp: timestamp_given,
        signature: given,
    };
    let fits = |body: &[u8], tolerance_s| {
        let secrets = std::slice::from_ref(message.secret);
        verify_standard(secrets, headers, body, message.now.unix_s(), tolerance_s)
    };
    let error = match fits(message.body, message.tolerance.as_secs()) {
        Ok(()) => return Some(verdict(None, vec![])),
        Err(error) => error,
    };
    // The range of timestamps that are told apart at all.
    let any_time = |body: &[u8]| fits(body, u64::MAX).is_ok();
    let mut hints = Vec::new();
    let why = match error {
        VerifyError::TooOld | VerifyError::TooNew => {
            let genuine = if any_time(message.body) {
                "; the signature itself is right"
            } else {
                ""
            };
            format!(
                "{}{genuine}",
                skew(message.now, timestamp_given, error, message.tolerance)
            )
        }
        VerifyError::Timestamp => format!("{timestamp} is not a whole number of Unix seconds"),
        VerifyError::Malformed => format!("{signature} holds no `v1,<base64>`"),
        VerifyError::Mismatch => {
            hints = body_hints(message.body, any_time);
            hints.extend(standard_key_hint(message, headers));
            mismatch(&hints)
        }
    };
    Some(verdict(Some(why), hints))
}

fn skew(now: Timestamp, signed: &str, error: VerifyError, tolerance: Duration) -> String {
    let signed = Timestamp::from_ms(
        signed
            .parse::<i64>()
            .unwrap_or_default()
            .saturating_mul(1000),
    );
    let (distance, direction) = match error {
        VerifyError::TooOld => (now.since(signed), "ago: too old"),
        _ => (signed.since(now), "ahead: a clock is wrong"),
    };
    format!(
        "it was signed {} {direction} (at most {} are accepted)",
        when::show(distance),
        when::show(tolerance)
    )
}

fn hex(message: &Message<'_>, header: &str, given: &str) -> Verdict {
    let fits = |body: &[u8]| verify_hex(std::slice::from_ref(message.secret), given, body);
    let (why_not, hints) = match fits(message.body) {
        Ok(()) => (None, vec![]),
        Err(VerifyError::Mismatch) => {
            let mut hints = body_hints(message.body, |body| fits(body).is_ok());
            hints.extend(hex_key_hint(message, given));
            (Some(mismatch(&hints)), hints)
        }
        Err(_) if STANDARD.decode(given).is_ok_and(|tag| tag.len() == 32) => (
            Some("it is base64, not the 64 hex digits of an HMAC-SHA256".to_owned()),
            vec![],
        ),
        Err(_) => (
            Some("it is not the 64 hex digits of an HMAC-SHA256".to_owned()),
            vec![],
        ),
    };
    Verdict {
        scheme: "hex HMAC-SHA256",
        header: header.to_owned(),
        why_not,
        hints,
    }
}

fn mismatch(hints: &[String]) -> String {
    if hints.is_empty() {
        "the secret is another one, or the body was altered".to_owned()
    } else {
        "it does not match".to_owned()
    }
}

/// Variants of the body that would fit.
fn body_hints(body: &[u8], fits: impl Fn(&[u8]) -> bool) -> Vec<String> {
    let mut hints = Vec::new();
    let trimmed = body
        .strip_suffix(b"\n")
        .map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest));
    if trimmed.is_some_and(&fits) {
        hints
            .push("it fits without the line end: something added one (an editor, echo)".to_owned());
    }
    if fits(&[body, b"\n"].concat()) {
        hints.push("it fits with a line end behind the body: something took it off".to_owned());
    }
    if let Ok(canonical) = json::canonicalize(body, Numbers::default(), &Limits::default())
        && canonical.as_bytes() != body
        && fits(canonical.as_bytes())
    {
        hints.push(
            "it fits the same JSON written as JavaScript writes it: the body was parsed and written anew on its way; check the raw bytes".to_owned(),
        );
    }
    hints
}

fn hmac_tag(key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    context.sign()
}

/// Whether the sender took the text of a `whsec_…` secret for the key, where it is to be decoded.
fn standard_key_hint(message: &Message<'_>, headers: StandardHeaders<'_>) -> Option<String> {
    let text = message.secret.expose();
    let bare = text.strip_prefix(SECRET_PREFIX)?;
    let fits = |key: &str| {
        let parts = [headers.id, ".", headers.timestamp, "."].map(str::as_bytes);
        let tag = hmac_tag(key.as_bytes(), &[&parts.concat(), message.body]);
        let encoded = STANDARD.encode(tag);
        headers
            .signature
            .split(' ')
            .any(|part| part.strip_prefix("v1,") == Some(&encoded))
    };
    (fits(text) || fits(bare)).then(|| {
        "it fits the secret's text: the sender did not decode the base64 behind `whsec_`".to_owned()
    })
}

/// Whether the sender decoded the base64 of a `whsec_…` secret, where its text is the key.
fn hex_key_hint(message: &Message<'_>, given: &str) -> Option<String> {
    let bare = message.secret.expose().strip_prefix(SECRET_PREFIX)?;
    let given = given
        .strip_prefix("sha256=")
        .unwrap_or(given)
        .to_ascii_lowercase();
    let fits = |key: &[u8]| hex::encode(hmac_tag(key, &[message.body])) == given;
    if STANDARD.decode(bare).is_ok_and(|key| fits(&key)) {
        return Some(
            "it fits the decoded secret: for hex, the key is the whole text, `whsec_` included"
                .to_owned(),
        );
    }
    fits(bare.as_bytes()).then(|| {
        "it fits the secret without `whsec_`: for hex, the key is the whole text".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use domain::signature::Signer;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_769_860_800_000);
    const BODY: &[u8] = br#"{"event":"a.b","n":1}"#;

    fn secret() -> Secret {
        Secret::generate([7; 32])
    }

    fn signed(body: &[u8], at: Timestamp) -> Headers {
        let signer = Signer::new(&[secret()]);
        [
            ("webhook-id", "evt_1".to_owned()),
            ("webhook-timestamp", at.unix_s().to_string()),
            (
                "webhook-signature",
                signer.standard("evt_1", at.unix_s(), body).unwrap(),
            ),
            (
                "x-webhook-signature",
                signer.hex(body).unwrap().as_str().to_owned(),
            ),
        ]
        .into_iter()
        .collect()
    }

    fn report(headers: &Headers, body: &[u8], now: Timestamp) -> Report {
        let secret = secret();
        check(&Message {
            secret: &secret,
            headers,
            body,
            now,
            tolerance: Duration::from_mins(5),
        })
    }

    fn text(report: &Report) -> String {
        let line =
            |v: &Verdict| format!("{} | {:?} | {}\n", v.header, v.why_not, v.hints.join(" / "));
        report
            .verdicts
            .iter()
            .map(line)
            .collect::<Vec<_>>()
            .concat()
    }

    #[test]
    fn a_genuine_message_matches_in_both_schemes() {
        let report = report(&signed(BODY, NOW), BODY, NOW);
        assert!(report.is_genuine());
        assert_eq!(
            report
                .verdicts
                .iter()
                .filter(|v| v.why_not.is_none())
                .count(),
            2
        );
    }

    #[test]
    fn an_altered_body_is_refused_in_both() {
        let report = report(&signed(BODY, NOW), br#"{"event":"a.b","n":2}"#, NOW);
        assert!(!report.is_genuine());
        insta::assert_snapshot!(text(&report), @r#"
        webhook-signature | Some("the secret is another one, or the body was altered") | 
        x-webhook-signature | Some("the secret is another one, or the body was altered") | 
        "#);
    }

    #[test]
    fn an_old_message_is_refused_and_told_from_a_forged_one() {
        let late = NOW + Duration::from_hours(1);
        let report = report(&signed(BODY, NOW), BODY, late);
        assert!(!report.is_genuine());
        insta::assert_snapshot!(report.verdicts[0].why_not.as_deref().unwrap(), @"it was signed 1 h 0 m ago: too old (at most 5 m 0 s are accepted); the signature itself is right");
    }

    #[test]
    fn what_happened_to_the_body_is_guessed() {
        let with_line_end = [BODY, b"\n"].concat();
        assert!(
            text(&report(&signed(BODY, NOW), &with_line_end, NOW)).contains("without the line end")
        );
        assert!(text(&report(&signed(&with_line_end, NOW), BODY, NOW)).contains("with a line end"));
        let spaced = br#"{"event": "a.b", "n": 1.0}"#;
        assert!(text(&report(&signed(BODY, NOW), spaced, NOW)).contains("written anew"));
    }

    #[test]
    fn a_secret_that_was_decoded_or_not_is_told() {
        let secret = secret();
        let bare = secret.expose().strip_prefix(SECRET_PREFIX).unwrap();
        let decoded = hex::encode(hmac_tag(&[7; 32], &[BODY]));
        let headers: Headers = [("x-webhook-signature", decoded)].into_iter().collect();
        assert!(text(&report(&headers, BODY, NOW)).contains("fits the decoded secret"));
        let prefix = format!("evt_1.{}.", NOW.unix_s());
        let tag = STANDARD.encode(hmac_tag(bare.as_bytes(), &[prefix.as_bytes(), BODY]));
        let headers: Headers = [
            ("webhook-id", "evt_1".to_owned()),
            ("webhook-timestamp", NOW.unix_s().to_string()),
            ("webhook-signature", format!("v1,{tag}")),
        ]
        .into_iter()
        .collect();
        assert!(text(&report(&headers, BODY, NOW)).contains("did not decode"));
    }

    #[test]
    fn where_standard_headers_are_there_the_hex_form_does_not_outvote_them() {
        let headers: Headers = signed(BODY, NOW)
            .iter()
            .map(|(name, value)| (name, if name == "webhook-id" { "evt_2" } else { value }))
            .collect();
        let report = report(&headers, BODY, NOW);
        assert!(report.verdicts[1].why_not.is_none());
        assert!(!report.is_genuine());
    }
}
