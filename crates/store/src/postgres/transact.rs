//! Look-ups and single transactions, over connections that may break.
//!
//! A connection that breaks while a COMMIT is under way leaves open whether it was made. It is
//! found out, not guessed: each transaction stores a token of its own. To store the token again
//! waits for the first transaction, if that still runs, and then succeeds or not.

use std::{ops::ControlFlow, time::Duration};

use deadpool_postgres::{ClientWrapper, GenericClient as _, Transaction};
use tokio::time::Instant;
use uuid::Uuid;

use super::{connect::Link, row::is_conflict};
use crate::StoreError;

/// How long a call goes on trying while the database cannot be reached.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// A link by itself, for [`look!`] and [`transact!`] where there is no store yet, or no need of it.
pub(super) struct Over<'l> {
    pub(super) link: &'l Link,
}

/// One call's tries.
pub(super) struct Trial<'l> {
    pub(super) link: &'l Link,
    end: Instant,
    pause: Duration,
    token: Option<Uuid>,
}

impl<'l> Trial<'l> {
    pub(super) fn new(link: &'l Link) -> Self {
        Self {
            link,
            end: Instant::now() + PATIENCE,
            pause: PAUSE,
            token: None,
        }
    }

    /// Begins a transaction that leaves a token.
    pub(super) async fn begin<'c>(
        &mut self,
        conn: &'c mut ClientWrapper,
    ) -> Result<Transaction<'c>, StoreError> {
        self.token = None;
        let tx = conn.transaction().await?;
        let leave = tx
            .prepare_cached(
                "INSERT INTO commits (token) VALUES (gen_random_uuid()) RETURNING token",
            )
            .await?;
        let token = tx.query_one(&leave, &[]).await?.get(0);
        self.token = Some(token);
        Ok(tx)
    }

    /// What a look-up came to: an answer, or another try after a pause.
    pub(super) async fn judge<T>(
        &mut self,
        outcome: Result<T, StoreError>,
    ) -> ControlFlow<Result<T, StoreError>> {
        match outcome {
            Err(StoreError::Unavailable(why)) => {
                if Instant::now() + self.pause >= self.end {
                    return ControlFlow::Break(Err(StoreError::Unavailable(why)));
                }
                tokio::time::sleep(self.pause).await;
                self.pause = (self.pause * 2).min(Duration::from_millis(500));
                ControlFlow::Continue(())
            }
            outcome => ControlFlow::Break(outcome),
        }
    }

    /// What a transaction came to, whose COMMIT ended as `committed` says.
    pub(super) async fn judge_commit<T>(
        &mut self,
        outcome: Result<(T, Result<(), StoreError>), StoreError>,
    ) -> ControlFlow<Result<T, StoreError>> {
        let outcome = match outcome {
            Ok((value, Ok(()))) => Ok(value),
            Ok((value, Err(error))) => match self.was_committed(&error).await {
                Ok(true) => Ok(value),
                Ok(false) => Err(error),
                Err(error) => {
                    self.link.count_unknown_commit();
                    return ControlFlow::Break(Err(error));
                }
            },
            Err(error) => Err(error),
        };
        self.judge(outcome).await
    }

    /// Whether a transaction whose COMMIT ended in `error` was made after all.
    async fn was_committed(&mut self, error: &StoreError) -> Result<bool, StoreError> {
        let (StoreError::Unavailable(_), Some(token)) = (error, self.token) else {
            // The database itself said that it was not.
            return Ok(false);
        };
        loop {
            let looked = async {
                let conn = self.link.connection().await?;
                match conn
                    .execute("INSERT INTO commits (token) VALUES ($1)", &[&token])
                    .await
                {
                    Ok(_) => Ok(false),
                    Err(error) if is_conflict(&error) => Ok(true),
                    Err(error) => Err(StoreError::from(error)),
                }
            };
            let looked = looked.await;
            if let ControlFlow::Break(answer) = self.judge(looked).await {
                return answer;
            }
        }
    }
}

/// Evaluates `$body` with a connection `$conn`; again, where that turns out to be broken.
macro_rules! look {
    ($store:expr, |$conn:ident| $body:expr) => {{
        let mut trial = $crate::postgres::transact::Trial::new(&$store.link);
        loop {
            let outcome = async {
                let $conn = trial.link.connection().await?;
                let $conn: &deadpool_postgres::Client = &$conn;
                $body.await
            }
            .await;
            if let std::ops::ControlFlow::Break(answer) = trial.judge(outcome).await {
                break answer;
            }
        }
    }};
}

/// Evaluates `$body` in a transaction `$tx` and commits it; again, where it is known that it was
/// not committed because the database could not be reached.
macro_rules! transact {
    ($store:expr, |$tx:ident| $body:expr) => {{
        let mut trial = $crate::postgres::transact::Trial::new(&$store.link);
        loop {
            let outcome = async {
                let mut conn = trial.link.connection().await?;
                let tx = trial.begin(&mut conn).await?;
                let value = {
                    let $tx = &tx;
                    $body.await?
                };
                let committed = tx.commit().await.map_err($crate::StoreError::from);
                Ok((value, committed))
            }
            .await;
            if let std::ops::ControlFlow::Break(answer) = trial.judge_commit(outcome).await {
                break answer;
            }
        }
    }};
}

pub(super) use {look, transact};
