//! A schema for one test.

use std::env;

use super::{random, shared, sql};

/// How often it is tried to drop a schema.
const DROP_TRIES: usize = 3;

/// A schema of its own in a database that all tests share. It is dropped with this value, as far
/// as that is possible.
#[derive(Debug)]
pub struct Database {
    server: String,
    schema: String,
}

/// Makes a schema on the server that `DATABASE_URL` names; where that is not set, on one that the
/// tests start and share. Blocks: for milliseconds, or a few seconds where the server is started.
///
/// # Panics
/// If there is no server to be had: the text says what to install or to set.
pub fn database() -> Database {
    let server = match env::var("DATABASE_URL") {
        Ok(url) if !url.is_empty() => url,
        _ => shared::url(),
    };
    Database::on(server)
}

impl Database {
    /// Makes a schema on a server; `server` is its URL.
    ///
    /// # Panics
    /// If the server cannot be reached or refuses.
    pub fn on(server: impl Into<String>) -> Self {
        let server = server.into();
        let schema = format!("signpost_test_{}", random::hex::<8>());
        if let Err(error) = sql::run(&server, &format!("CREATE SCHEMA {schema}")) {
            panic!("a schema for this test could not be made: {error}");
        }
        Self { server, schema }
    }

    /// The URL with which everything happens in this schema.
    pub fn url(&self) -> String {
        with_option(&self.server, &format!("-csearch_path={}", self.schema))
    }

    /// The schema's name.
    pub fn schema(&self) -> &str {
        &self.schema
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let schema = &self.schema;
        // What a test left open would block this: its transactions end first.
        let drop = format!(
            "SET lock_timeout = '1s';
             SET client_min_messages = warning;
             SELECT pg_terminate_backend(held.pid)
             FROM (SELECT DISTINCT locks.pid
                   FROM pg_locks AS locks
                   JOIN pg_class AS of ON of.oid = locks.relation
                   WHERE locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                     AND of.relnamespace = '{schema}'::regnamespace) AS held
             WHERE held.pid <> pg_backend_pid();
             DROP SCHEMA {schema} CASCADE"
        );
        // Something may have begun in between.
        let _ = (0..DROP_TRIES).any(|_| sql::run(&self.server, &drop).is_ok());
    }
}

/// A database's URL with one more option for the server's session (`options` may have some).
pub(super) fn with_option(url: &str, option: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let option = url::form_urlencoded::byte_serialize(option.as_bytes()).collect::<String>();
    let mut parts: Vec<String> = query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    match parts.iter_mut().find(|part| part.starts_with("options=")) {
        Some(options) => {
            options.push_str("%20");
            options.push_str(&option);
        }
        None => parts.push(format!("options={option}")),
    }
    format!("{base}?{}", parts.join("&"))
}
