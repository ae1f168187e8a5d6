//! Sealing: how secrets are kept on disk, so that a copy of the database alone opens nothing.
//!
//! AES-256-GCM under a key that lives in a file beside the database. What is sealed is bound to
//! its record ([`record_context`]): a sealed value that is moved to another record does not open.
//! One master key, and a key of its own for each use ([`SealingKey::derive`], HKDF-SHA256).
//! Where the file lies, and where nonces come from, is decided at the edge.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{aead, hkdf};
use zeroize::{Zeroize as _, Zeroizing};

use crate::WorkspaceId;
pub use crate::webhook::Sealed;

/// The bytes of a nonce: random, a new one for each sealing.
pub const NONCE_BYTES: usize = 12;
/// The bytes of a key.
pub const KEY_BYTES: usize = 32;
/// The first byte of what this version seals: version, nonce, ciphertext and tag follow.
const VERSION: u8 = 1;

/// The installation's master key. Wiped when dropped, never shown by `Debug`.
pub struct SealingKey {
    master: Zeroizing<[u8; KEY_BYTES]>,
    aead: aead::LessSafeKey,
}

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not base64 at all.
    #[error("a key is written in standard base64 (44 characters for {KEY_BYTES} bytes)")]
    Base64,
    /// Base64 of something else.
    #[error("a key has {KEY_BYTES} bytes, this one {0}")]
    Length(usize),
}

/// Why sealed bytes do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not bytes that any version of this program sealed.
    #[error("these are not sealed bytes of a known version")]
    Malformed,
    /// Sealed with another key or for another record, or altered since.
    #[error("the key is not the one it was sealed with, or it was altered or moved")]
    Wrong,
}

/// What a sealed value is bound to: its workspace, its record's printed id, and which of the
/// record's fields it is.
pub fn record_context(workspace: WorkspaceId, record: &str, field: &str) -> String {
    format!("{workspace}/{record}/{field}")
}

impl SealingKey {
    /// Wraps 32 random bytes.
    pub fn new(mut bytes: [u8; KEY_BYTES]) -> Self {
        let master = Zeroizing::new(bytes);
        bytes.zeroize();
        let sealing = Zeroizing::new(expand(&master, "seal"));
        let aead = aead::UnboundKey::new(&aead::AES_256_GCM, &*sealing)
            .expect("AES-256 takes any 32 bytes");
        Self {
            master,
            aead: aead::LessSafeKey::new(aead),
        }
    }

    /// Reads the key file's text; space around it is passed over.
    ///
    /// # Errors
    /// If it is not the base64 of exactly 32 bytes.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| KeyError::Base64)?);
        let key: [u8; KEY_BYTES] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| KeyError::Length(bytes.len()))?;
        Ok(Self::new(key))
    }

    /// The key file's text, without a line end.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.master.as_slice()))
    }

    /// Sixteen hex digits by which a key is recognised, from which it can't be learnt: kept in
    /// the database to tell a wrong key file from damage.
    pub fn fingerprint(&self) -> String {
        hex::encode(&expand(&self.master, "fingerprint")[..8])
    }

    /// The key for another use, named by `label`; the same each time.
    pub fn derive(&self, label: &str) -> Zeroizing<[u8; KEY_BYTES]> {
        Zeroizing::new(expand(&self.master, &format!("derive/{label}")))
    }

    /// Seals `plaintext` for the record that `context` names. `nonce` is random and used once.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], plaintext: &[u8], context: &[u8]) -> Sealed {
        let mut out = Vec::with_capacity(1 + NONCE_BYTES + plaintext.len() + aead::MAX_TAG_LEN);
        out.push(VERSION);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plaintext);
        let tag = self
            .aead
            .seal_in_place_separate_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(context),
                &mut out[1 + NONCE_BYTES..],
            )
            .expect("a secret is far smaller than what one nonce may cover");
        out.extend_from_slice(tag.as_ref());
        Sealed(out)
    }

    /// Opens what [`SealingKey::seal`] sealed for the same `context`.
    ///
    /// # Errors
    /// If the bytes are not of a known version, or key, context or bytes are not the same.
    pub fn open(&self, sealed: &Sealed, context: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (&VERSION, rest) = sealed.0.split_first().ok_or(SealError::Malformed)? else {
            return Err(SealError::Malformed);
        };
        let (nonce, ciphertext) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(SealError::Malformed)?;
        let mut bytes = Zeroizing::new(ciphertext.to_vec());
        let plain = self
            .aead
            .open_in_place(
                aead::Nonce::assume_unique_for_key(*nonce),
                aead::Aad::from(context),
                &mut bytes,
            )
            .map_err(|_| SealError::Wrong)?;
        let length = plain.len();
        bytes.truncate(length);
        Ok(bytes)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.fingerprint())
    }
}

/// HKDF-SHA256 (RFC 5869) with this program's name as its salt.
fn expand(master: &[u8; KEY_BYTES], label: &str) -> [u8; KEY_BYTES] {
    let mut out = [0; KEY_BYTES];
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"signpost/v1")
        .extract(master)
        .expand(&[label.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out))
        .expect("32 bytes are one block of HKDF-SHA256");
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealingKey {
        SealingKey::new([byte; KEY_BYTES])
    }

    #[test]
    fn what_is_sealed_opens_for_its_record_only() {
        let context = record_context(WorkspaceId::DEFAULT, "whk_1", "secret");
        let sealed = key(1).seal([7; NONCE_BYTES], b"whsec_abc", context.as_bytes());
        assert_eq!(sealed.0.len(), 1 + NONCE_BYTES + 9 + 16);
        assert_eq!(
            key(1).open(&sealed, context.as_bytes()).unwrap().as_slice(),
            b"whsec_abc"
        );
        let elsewhere = record_context(WorkspaceId::DEFAULT, "whk_2", "secret");
        assert_eq!(
            key(1).open(&sealed, elsewhere.as_bytes()),
            Err(SealError::Wrong)
        );
        assert_eq!(
            key(2).open(&sealed, context.as_bytes()),
            Err(SealError::Wrong)
        );
    }

    #[test]
    fn a_changed_or_cut_value_does_not_open() {
        let sealed = key(1).seal([7; NONCE_BYTES], b"secret", b"c");
        for at in 0..sealed.0.len() {
            let mut changed = sealed.clone();
            changed.0[at] ^= 1;
            assert!(key(1).open(&changed, b"c").is_err(), "byte {at}");
            let cut = Sealed(sealed.0[..at].to_vec());
            assert!(key(1).open(&cut, b"c").is_err(), "cut at {at}");
        }
        assert_eq!(
            key(1).open(&Sealed(Vec::new()), b"c"),
            Err(SealError::Malformed)
        );
    }

    #[test]
    fn the_key_file_reads_back_and_a_bad_one_says_why() {
        let text = key(9).to_text();
        let read = SealingKey::parse(&format!("{}\n", *text)).unwrap();
        assert_eq!(read.fingerprint(), key(9).fingerprint());
        assert_ne!(key(8).fingerprint(), key(9).fingerprint());
        assert_eq!(
            SealingKey::parse("not a key!").unwrap_err(),
            KeyError::Base64
        );
        assert_eq!(SealingKey::parse("AAAA").unwrap_err(), KeyError::Length(3));
        assert_eq!(SealingKey::parse("").unwrap_err(), KeyError::Length(0));
    }

    #[test]
    fn derived_keys_differ_by_label_and_stay_the_same() {
        assert_eq!(key(1).derive("jwt"), key(1).derive("jwt"));
        assert_ne!(key(1).derive("jwt"), key(1).derive("other"));
        assert_ne!(key(1).derive("jwt"), key(2).derive("jwt"));
        assert_ne!(*key(1).derive("jwt"), [1; KEY_BYTES]);
    }

    #[test]
    fn nothing_shows_in_debug() {
        let shown = format!("{:?}", key(65));
        assert!(
            !shown.contains("65") && !shown.contains(key(65).to_text().as_str()),
            "{shown}"
        );
    }
}
