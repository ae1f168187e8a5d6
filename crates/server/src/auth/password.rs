//! Passwords: Argon2id (RFC 9106), salted, with a bounded number of computations at once.

use std::sync::Arc;

use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use delivery::Entropy;
use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// The shortest password that is taken, in characters (NIST SP 800-63B).
pub const CHARS_MIN: usize = 8;
/// The longest, in bytes.
pub const BYTES_MAX: usize = 1_024;
/// Computations at once; each takes 19 MiB.
const AT_ONCE: usize = 2;

/// Hashes and checks passwords.
pub struct Passwords {
    permits: Arc<Semaphore>,
    entropy: Arc<dyn Entropy>,
    nobody: tokio::sync::OnceCell<String>,
}

impl Passwords {
    /// Salts come from `entropy`.
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            entropy,
            nobody: tokio::sync::OnceCell::new(),
        }
    }

    /// Hashes a password to a PHC string.
    ///
    /// # Errors
    /// If it is too short or too long; `path` names the field in the answer.
    pub async fn hash(&self, password: &str, path: &str) -> Result<String, Problem> {
        check(password, path)?;
        self.hash_unchecked(password.to_owned()).await
    }

    async fn hash_unchecked(&self, password: String) -> Result<String, Problem> {
        let salt = salt(&*self.entropy);
        self.compute(move || hash_with(&password, &salt)).await
    }

    /// Whether `password` is the one that was hashed. Without a hash (no such user) it takes as
    /// long and answers `false`, so that nobody learns who exists.
    ///
    /// # Errors
    /// If the computation broke off.
    pub async fn verify(&self, password: &str, hash: Option<&str>) -> Result<bool, Problem> {
        if password.len() > BYTES_MAX {
            return Ok(false);
        }
        let known = hash.is_some();
        let hash = if let Some(hash) = hash {
            hash.to_owned()
        } else {
            let nobody = || self.hash_unchecked("nobody's password".to_owned());
            self.nobody.get_or_try_init(nobody).await?.clone()
        };
        let password = password.to_owned();
        let same = self.compute(move || matches(&password, &hash)).await?;
        Ok(same && known)
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|error| Problem::internal(&error))?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        done.await.map_err(|error| Problem::internal(&error))
    }
}

/// Hashes a password without a runtime: for the command line and the first start.
///
/// # Errors
/// If it is too short or too long.
pub fn hash_now(password: &str, entropy: &dyn Entropy) -> Result<String, Problem> {
    check(password, "password")?;
    Ok(hash_with(password, &salt(entropy)))
}

/// A mark of a password hash, to tell whether the password was changed since.
pub fn mark(hash: &str) -> [u8; 8] {
    let digest = digest(&SHA256, hash.as_bytes());
    digest.as_ref()[..8]
        .try_into()
        .expect("SHA-256 has 32 bytes")
}

fn check(password: &str, path: &str) -> Result<(), Problem> {
    if password.chars().count() < CHARS_MIN {
        return Err(Problem::field(
            path,
            format!("must have at least {CHARS_MIN} characters"),
        ));
    }
    if password.len() > BYTES_MAX {
        return Err(Problem::field(
            path,
            format!("must have at most {BYTES_MAX} bytes"),
        ));
    }
    Ok(())
}

fn salt(entropy: &dyn Entropy) -> [u8; 16] {
    let mut salt = [0; 16];
    entropy.fill(&mut salt);
    salt
}

fn hash_with(password: &str, salt: &[u8; 16]) -> String {
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), salt);
    hash.expect("length and salt are within Argon2's bounds")
        .to_string()
}

fn matches(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else {
        tracing::error!("a stored password hash is malformed");
        return false;
    };
    Argon2::default()
        .verify_password(password.as_bytes(), &hash)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting;
    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for (n, byte) in (0..).zip(bytes) {
                *byte = n;
            }
        }
    }

    #[tokio::test]
    async fn a_password_is_recognised_and_nobody_has_one() {
        let passwords = Passwords::new(Arc::new(Counting));
        let hash = passwords.hash("correct horse", "password").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$"), "{hash}");
        assert!(
            passwords
                .verify("correct horse", Some(&hash))
                .await
                .unwrap()
        );
        assert!(!passwords.verify("correct hors", Some(&hash)).await.unwrap());
        assert!(!passwords.verify("nobody's password", None).await.unwrap());
        assert!(
            !passwords
                .verify("correct horse", Some("garbage"))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(&"x".repeat(2_000), Some(&hash))
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn short_and_endless_passwords_are_refused() {
        let passwords = Passwords::new(Arc::new(Counting));
        for password in ["", "1234567", &"x".repeat(1_025)] {
            let problem = passwords.hash(password, "password").await.unwrap_err();
            assert_eq!(problem.errors()[0].path, "password");
        }
    }
}
