//! Logging in: a name and a password for a token.

use std::{net::IpAddr, time::Duration};

use domain::{Timestamp, access::User};
use ring::digest::{SHA256, digest};

use crate::{
    SharedApp,
    limits::{Address, Buckets},
    problem::{Kind, Problem},
};

use super::password;

/// Attempts at one login from one address at once, and one more every so many seconds.
const PER_LOGIN: (u32, f64) = (10, 1.0 / 30.0);
/// Attempts from one address at once, at whatever logins, and one more every so many seconds.
const PER_ADDRESS: (u32, f64) = (60, 1.0 / 5.0);

/// How often somebody may try.
pub struct LoginLimits {
    per_login: Buckets<([u8; 16], Address)>,
    per_address: Buckets<Address>,
}

impl Default for LoginLimits {
    fn default() -> Self {
        Self {
            per_login: Buckets::new(PER_LOGIN.0, PER_LOGIN.1),
            per_address: Buckets::new(PER_ADDRESS.0, PER_ADDRESS.1),
        }
    }
}

impl LoginLimits {
    /// Counts one attempt.
    ///
    /// # Errors
    /// [`Kind::RateLimited`] with the time to wait.
    pub fn take(&self, login: &str, from: IpAddr, now: Timestamp) -> Result<(), Problem> {
        let from = Address::from(from);
        let hash = digest(&SHA256, login.as_bytes());
        let login = hash.as_ref()[..16]
            .try_into()
            .expect("SHA-256 has 32 bytes");
        for verdict in [
            self.per_address.take(from, now),
            self.per_login.take((login, from), now),
        ] {
            if !verdict.allowed {
                return Err(too_often(verdict.wait));
            }
        }
        Ok(())
    }
}

fn too_often(wait: Duration) -> Problem {
    Problem::new(
        Kind::RateLimited,
        "Too many attempts to log in. Wait, then try again.",
    )
    .retry_after(wait)
}

/// A token and what it stands for.
pub struct Session {
    /// The token.
    pub token: String,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Whose it is.
    pub user: User,
}

/// Trades a login and its password for a token.
///
/// # Errors
/// [`Kind::Unauthenticated`], the same whether there is such a user or not, or
/// [`Kind::RateLimited`].
pub async fn log_in(
    app: &SharedApp,
    login: &str,
    password: &str,
    from: IpAddr,
) -> Result<Session, Problem> {
    let now = app.now();
    let login = normal_login(login);
    app.gatekeeper.login_limits.take(&login, from, now)?;
    let user = app.store().user_by_login(&login).await?;
    let hash = user.as_ref().map(|user| user.password_hash.as_str());
    let matches = app.gatekeeper.passwords.verify(password, hash).await?;
    let Some(user) = user.filter(|_| matches) else {
        return Err(Problem::unauthenticated(
            "The login or the password is wrong.",
        ));
    };
    Ok(session(app, user))
}

/// A token for `user`.
pub fn session(app: &SharedApp, user: User) -> Session {
    let now = app.now();
    let lifetime = app.config.access.token_lifetime;
    let lifetime_s = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX / 2);
    let mark = password::mark(&user.password_hash);
    let token = app
        .gatekeeper
        .tokens
        .issue(&user.id.to_string(), mark, now, lifetime_s);
    Session {
        token,
        expires_at: now + lifetime,
        user,
    }
}

/// A login as it is kept: without spaces around it, in lower case.
pub fn normal_login(text: &str) -> String {
    text.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_ms(1_000_000);

    #[test]
    fn guessing_one_login_is_slowed_down_and_others_are_not() {
        let limits = LoginLimits::default();
        let from = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..10 {
            assert!(limits.take("ann", from, T0).is_ok());
        }
        assert_eq!(
            limits.take("ann", from, T0).unwrap_err().kind(),
            Kind::RateLimited
        );
        assert!(limits.take("bob", from, T0).is_ok());
        assert!(limits.take("ann", IpAddr::from([192, 0, 2, 2]), T0).is_ok());
        assert!(
            limits
                .take("ann", from, T0 + Duration::from_secs(30))
                .is_ok()
        );
    }

    #[test]
    fn guessing_many_logins_from_one_address_is_slowed_down() {
        let limits = LoginLimits::default();
        let from = IpAddr::from([192, 0, 2, 1]);
        let passed = (0..100)
            .filter(|n| limits.take(&format!("user{n}"), from, T0).is_ok())
            .count();
        assert_eq!(passed, 60);
    }
}
