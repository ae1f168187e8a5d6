//! Tokens: JSON Web Tokens (RFC 7519) under HS256, which only this installation can make.
//!
//! The key is derived from the sealing key, so there is no further secret to keep. One algorithm
//! is known and nothing in a token's header can choose another, or a key (RFC 8725): `kid`, `jwk`,
//! `x5u` are not looked at. The whole of JWT that is needed is small enough to stand here, on
//! `ring`, with the clock as an argument.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{Timestamp, seal::SealingKey};
use ring::hmac;
use serde::{Deserialize, Serialize};

/// How far clocks may disagree.
const LEEWAY_S: i64 = 60;
/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 4_096;
/// What every token begins with: `{"alg":"HS256","typ":"JWT"}`.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// Why a token is refused. The text may be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It is no token of three parts with a JSON header and JSON claims.
    #[error("The token is malformed.")]
    Malformed,
    /// Its header asks for what is not done here.
    #[error("The token is not of the kind that is taken here (HS256).")]
    Algorithm,
    /// It was not made here.
    #[error("The token's signature is wrong.")]
    Signature,
    /// It is for another program, or another purpose.
    #[error("The token is not for this server.")]
    Audience,
    /// Its time is over, or has not come.
    #[error("The token has expired: log in again.")]
    Expired,
}

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Who made it.
    pub iss: String,
    /// Whom it is for.
    pub aud: Audience,
    /// Whom it speaks of: a user's id.
    pub sub: String,
    /// When it was made, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// From when it counts, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Until when it counts, in Unix seconds.
    pub exp: i64,
    /// A mark of the password at the time, so that a new password ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pwm: Option<String>,
}

/// One name or several (RFC 7519 §4.1.3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// Makes and reads the tokens of one installation.
pub struct Tokens {
    key: hmac::Key,
    issuer: String,
    audience: String,
}

impl Tokens {
    /// Tokens under a key that is derived from the installation's.
    pub fn of_installation(sealing: &SealingKey) -> Self {
        Self::new(
            &*sealing.derive("access tokens"),
            "signpost",
            "signpost-api",
        )
    }

    /// Tokens under this very key.
    pub fn new(key: &[u8], issuer: &str, audience: &str) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
        }
    }

    /// Makes a token for `subject` that counts from `now` for `lifetime_s` seconds and only while
    /// the password has this mark.
    pub fn issue(
        &self,
        subject: &str,
        password_mark: [u8; 8],
        now: Timestamp,
        lifetime_s: i64,
    ) -> String {
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: Audience::One(self.audience.clone()),
            sub: subject.to_owned(),
            iat: Some(now.unix_s()),
            nbf: None,
            exp: now.unix_s() + lifetime_s,
            pwm: Some(hex::encode(password_mark)),
        };
        let claims = serde_json::to_vec(&claims).expect("strings and numbers are always JSON");
        let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims));
        let tag = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// If it is not one that [`Tokens::issue`] could have made and that counts at `now`.
    pub fn read(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        if header != HEADER {
            check_header(&decode(header)?)?;
        }
        hmac::verify(&self.key, signed.as_bytes(), &decode(signature)?)
            .map_err(|_| TokenError::Signature)?;
        let claims: Claims =
            serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Malformed)?;
        self.check_claims(&claims, now.unix_s())?;
        Ok(claims)
    }

    fn check_claims(&self, claims: &Claims, now_s: i64) -> Result<(), TokenError> {
        let for_us = match &claims.aud {
            Audience::One(name) => *name == self.audience,
            Audience::Many(names) => names.contains(&self.audience),
        };
        if claims.iss != self.issuer || !for_us || claims.sub.is_empty() {
            return Err(TokenError::Audience);
        }
        let begun = |at: Option<i64>| at.is_none_or(|at| at <= now_s.saturating_add(LEEWAY_S));
        let counts =
            claims.exp.saturating_add(LEEWAY_S) > now_s && begun(claims.nbf) && begun(claims.iat);
        if counts {
            Ok(())
        } else {
            Err(TokenError::Expired)
        }
    }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed)
}

/// Checks a header that is not word for word ours. What it says of keys is not looked at; what
/// must be understood to read the token at all (`crit`, `zip`, `b64`) is refused.
fn check_header(json: &[u8]) -> Result<(), TokenError> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
        typ: Option<String>,
        crit: Option<serde::de::IgnoredAny>,
        zip: Option<serde::de::IgnoredAny>,
        b64: Option<serde::de::IgnoredAny>,
    }
    let header: Header = serde_json::from_slice(json).map_err(|_| TokenError::Malformed)?;
    let plain = header.crit.is_none() && header.zip.is_none() && header.b64.is_none();
    let typed = header.typ.is_none_or(|typ| typ.eq_ignore_ascii_case("jwt"));
    if header.alg == "HS256" && plain && typed {
        Ok(())
    } else {
        Err(TokenError::Algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_781_000_000_000);

    #[test]
    fn a_token_reads_back_until_it_expires() {
        let tokens = Tokens::of_installation(&SealingKey::new([7; 32]));
        let token = tokens.issue("usr_1", [1; 8], NOW, 3_600);
        let claims = tokens.read(&token, NOW).unwrap();
        assert_eq!(claims.sub, "usr_1");
        assert_eq!(claims.pwm.as_deref(), Some("0101010101010101"));
        let after = |s: i64| Timestamp::from_ms(NOW.ms() + s * 1000);
        assert!(tokens.read(&token, after(3_659)).is_ok());
        assert_eq!(tokens.read(&token, after(3_660)), Err(TokenError::Expired));
        assert_eq!(tokens.read(&token, after(-61)), Err(TokenError::Expired));
        assert_eq!(
            Tokens::of_installation(&SealingKey::new([8; 32])).read(&token, NOW),
            Err(TokenError::Signature)
        );
    }

    #[test]
    fn hostile_tokens_get_what_the_corpus_says() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/corpora/jwt-hostile/tokens.json"
        );
        let Ok(text) = std::fs::read(path) else {
            eprintln!("skipped: {path} is not there");
            return;
        };
        let corpus: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let text = |name: &str| corpus[name].as_str().unwrap();
        let tokens = Tokens::new(text("key_utf8").as_bytes(), text("iss"), text("aud"));
        let now = Timestamp::from_ms(corpus["now"].as_i64().unwrap() * 1000);
        let cases = corpus["tokens"].as_array().unwrap();
        assert!(cases.len() > 40);
        for case in cases {
            let (id, why) = (case["id"].as_str().unwrap(), case["why"].as_str().unwrap());
            let read = tokens.read(case["token"].as_str().unwrap(), now);
            match case["expect"].as_str().unwrap() {
                "accept" => assert!(read.is_ok(), "{id} ({why}): {read:?}"),
                "reject" => assert!(read.is_err(), "{id} ({why}): {read:?}"),
                _ => {}
            }
        }
    }
}
