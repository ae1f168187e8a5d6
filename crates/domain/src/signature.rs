//! Signing secrets, and the signatures that outgoing deliveries carry.
//!
//! Two schemes over one secret (CONTRACTS: wire formats). *Standard Webhooks* signs
//! `id.timestamp.body` and writes `v1,<base64>`, once for each active secret. The *hex* headers
//! of the seeds sign the body alone and carry the newest secret's lower-case hex. Both are
//! HMAC-SHA256. Keys are prepared once per webhook ([`Signer`]), since signing is on the hot
//! path. Checking what others signed ([`verify_standard`], [`verify_hex`]) is in constant time.
//! Where secrets come from and how they are kept is [`crate::seal`]'s and the store's business.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;
use zeroize::{Zeroize as _, Zeroizing};

/// What stands before the base64 of a secret that Standard Webhooks libraries understand.
pub const SECRET_PREFIX: &str = "whsec_";
/// How far a signed timestamp may be from now, in seconds (Standard Webhooks).
pub const TOLERANCE_S_DEFAULT: u64 = 300;
/// The bytes of a SHA-256 tag.
const TAG_BYTES: usize = 32;
/// The most signatures of one header that are compared.
const SIGNATURES_MAX: usize = 32;

/// A signing secret. Wiped from memory when dropped, and never shown by `Debug`.
#[derive(Clone)]
pub struct Secret {
    /// The text as its owner holds it; the key of the hex signatures.
    text: Zeroizing<String>,
    /// The key of `webhook-signature`.
    standard_key: Zeroizing<Vec<u8>>,
}

/// Why a text can't be a signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Too little or too much of it.
    #[error("a secret has {min} to {max} bytes", min = Secret::TEXT_BYTES_MIN, max = Secret::TEXT_BYTES_MAX)]
    Length,
    /// A slip of copy and paste.
    #[error("a secret has no control characters, such as line ends")]
    Characters,
    /// `whsec_` promises base64.
    #[error("after `whsec_` a secret is standard base64 with its `=` padding")]
    Base64,
    /// The key behind `whsec_` is too short or too long.
    #[error("the base64 after `whsec_` holds {min} to {max} bytes", min = Secret::KEY_BYTES_MIN, max = Secret::KEY_BYTES_MAX)]
    KeyLength,
}

impl Secret {
    /// The shortest text: any, since receivers come with the secret they have ([`Self::is_weak`]).
    pub const TEXT_BYTES_MIN: usize = 1;
    /// The longest text.
    pub const TEXT_BYTES_MAX: usize = 256;
    /// The shortest key behind `whsec_`. Standard Webhooks asks for 24, older senders made 16.
    pub const KEY_BYTES_MIN: usize = 16;
    /// The longest key behind `whsec_` (one block of SHA-256, as in Standard Webhooks).
    pub const KEY_BYTES_MAX: usize = 64;

    /// Takes a secret's text. One that starts with `whsec_` is decoded for Standard Webhooks and
    /// stays literal text for hex; any other is its UTF-8 text for both.
    ///
    /// # Errors
    /// If it is too short or long, has characters that were hardly meant, or breaks the promise
    /// of `whsec_`.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if !(Self::TEXT_BYTES_MIN..=Self::TEXT_BYTES_MAX).contains(&text.len()) {
            return Err(SecretError::Length);
        }
        if text.chars().any(char::is_control) {
            return Err(SecretError::Characters);
        }
        let standard_key = match text.strip_prefix(SECRET_PREFIX) {
            Some(encoded) => {
                let key =
                    Zeroizing::new(STANDARD.decode(encoded).map_err(|_| SecretError::Base64)?);
                if !(Self::KEY_BYTES_MIN..=Self::KEY_BYTES_MAX).contains(&key.len()) {
                    return Err(SecretError::KeyLength);
                }
                key
            }
            None => Zeroizing::new(text.as_bytes().to_vec()),
        };
        Ok(Self {
            text: Zeroizing::new(text.to_owned()),
            standard_key,
        })
    }

    /// The secret `whsec_…` over random bytes that the caller drew.
    pub fn generate(mut random: [u8; 32]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(SECRET_PREFIX.len() + 44));
        text.push_str(SECRET_PREFIX);
        STANDARD.encode_string(random, &mut text);
        let standard_key = Zeroizing::new(random.to_vec());
        random.zeroize();
        Self { text, standard_key }
    }

    /// Whether it is so short (less than 16 bytes) that it could be guessed from a signed body:
    /// worth a warning.
    pub fn is_weak(&self) -> bool {
        self.standard_key.len() < Self::KEY_BYTES_MIN
    }

    /// The text, to be shown once or sealed.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// The prepared keys of one webhook.
#[derive(Clone)]
pub struct Signer {
    /// One for each active secret, newest first; empty: unsigned.
    standard: Vec<hmac::Key>,
    /// The newest secret's.
    hex: Option<hmac::Key>,
}

impl Signer {
    /// Prepares the keys of `secrets`, newest first. None at all makes an unsigned webhook.
    pub fn new(secrets: &[Secret]) -> Self {
        Self {
            standard: secrets
                .iter()
                .map(|secret| key(&secret.standard_key))
                .collect(),
            hex: secrets.first().map(|secret| key(secret.text.as_bytes())),
        }
    }

    /// Whether there is a secret.
    pub const fn is_signed(&self) -> bool {
        self.hex.is_some()
    }

    /// The value of `webhook-signature`: `v1,<base64>` for each secret, separated by spaces.
    /// `unix_s` is the value of `webhook-timestamp`. `None` without a secret.
    pub fn standard(&self, id: &str, unix_s: i64, body: &[u8]) -> Option<String> {
        if self.standard.is_empty() {
            return None;
        }
        let mut value = String::with_capacity(self.standard.len() * 48);
        for key in &self.standard {
            value.push_str(if value.is_empty() { "v1," } else { " v1," });
            let tag = standard_tag(key, id, itoa::Buffer::new().format(unix_s), body);
            STANDARD.encode_string(tag, &mut value);
        }
        Some(value)
    }

    /// The newest secret's signature of `body`. `None` without a secret.
    pub fn hex(&self, body: &[u8]) -> Option<HexSignature> {
        self.hex.as_ref().map(|key| {
            let mut text = [0; 2 * TAG_BYTES];
            hex::encode_to_slice(hmac::sign(key, body), &mut text)
                .expect("a SHA-256 tag has half as many bytes");
            HexSignature(text)
        })
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} secrets)", self.standard.len())
    }
}

/// A lower-case hex HMAC-SHA256, kept on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HexSignature([u8; 2 * TAG_BYTES]);

impl HexSignature {
    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

impl fmt::Debug for HexSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HexSignature(***)")
    }
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The timestamp is no whole number of seconds.
    #[error("the timestamp is not a whole number of Unix seconds")]
    Timestamp,
    /// The timestamp lies too far back: a delayed or replayed message.
    #[error("the timestamp is too old")]
    TooOld,
    /// The timestamp lies ahead: a clock is wrong.
    #[error("the timestamp is in the future")]
    TooNew,
    /// The header has no signature of the expected form.
    #[error("there is no signature of the expected form")]
    Malformed,
    /// No signature fits.
    #[error("the signature does not match")]
    Mismatch,
}

/// What the three headers of a Standard Webhooks message said.
#[derive(Clone, Copy, Debug)]
pub struct StandardHeaders<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`.
    pub timestamp: &'a str,
    /// `webhook-signature`: any number of `v1,<base64>`; other versions are passed over.
    pub signature: &'a str,
}

/// Checks a Standard Webhooks message against each secret.
///
/// `now_unix_s` and `tolerance_s` are seconds; the timestamp may lie that far on either side.
///
/// # Errors
/// Says what is wrong; time never tells how much of a signature was right.
pub fn verify_standard(
    secrets: &[Secret],
    headers: StandardHeaders<'_>,
    body: &[u8],
    now_unix_s: i64,
    tolerance_s: u64,
) -> Result<(), VerifyError> {
    if headers.id.is_empty() {
        return Err(VerifyError::Malformed);
    }
    let digits = headers.timestamp;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(VerifyError::Timestamp);
    }
    let signed_at: i64 = digits.parse().map_err(|_| VerifyError::Timestamp)?;
    if now_unix_s.abs_diff(signed_at) > tolerance_s {
        return Err(if signed_at < now_unix_s {
            VerifyError::TooOld
        } else {
            VerifyError::TooNew
        });
    }
    let tags: Vec<Vec<u8>> = headers
        .signature
        .split(' ')
        .filter_map(|part| part.strip_prefix("v1,"))
        .filter_map(|encoded| STANDARD.decode(encoded).ok())
        .take(SIGNATURES_MAX)
        .collect();
    if tags.is_empty() {
        return Err(VerifyError::Malformed);
    }
    let fits = secrets.iter().any(|secret| {
        let key = key(&secret.standard_key);
        let ours = standard_tag(&key, headers.id, digits, body);
        tags.iter().any(|theirs| same(&key, &ours, theirs))
    });
    if fits {
        Ok(())
    } else {
        Err(VerifyError::Mismatch)
    }
}

/// Checks a hex HMAC-SHA256 of `body`, with or without `sha256=` before it, against each secret.
///
/// # Errors
/// [`VerifyError::Malformed`] if it is not 64 hex digits, [`VerifyError::Mismatch`] if it does
/// not fit.
pub fn verify_hex(secrets: &[Secret], signature: &str, body: &[u8]) -> Result<(), VerifyError> {
    let digits = signature.strip_prefix("sha256=").unwrap_or(signature);
    let mut tag = [0; TAG_BYTES];
    hex::decode_to_slice(digits, &mut tag).map_err(|_| VerifyError::Malformed)?;
    let fits = secrets
        .iter()
        .any(|secret| hmac::verify(&key(secret.text.as_bytes()), body, &tag).is_ok());
    if fits {
        Ok(())
    } else {
        Err(VerifyError::Mismatch)
    }
}

fn key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

fn standard_tag(key: &hmac::Key, id: &str, timestamp: &str, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        context.update(part);
    }
    context.sign()
}

/// Compares two tags by their own tags under the secret's key, in constant time.
fn same(key: &hmac::Key, ours: &hmac::Tag, theirs: &[u8]) -> bool {
    hmac::verify(key, ours.as_ref(), hmac::sign(key, theirs).as_ref()).is_ok()
}
