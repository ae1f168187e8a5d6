//! A schema of its own in a database, for a benchmark or a test, and what measures the server.
//!
//! Nothing here is part of the store.

use std::fs;

use tokio_postgres::Client;
use url::Url;

use super::connect::Link;
use crate::StoreError;

/// A new schema. It is there until [`Scratch::remove`].
#[derive(Debug)]
pub struct Scratch {
    base: String,
    url: String,
    schema: String,
}

impl Scratch {
    /// Makes the schema `name` in the database at `url`.
    ///
    /// # Errors
    /// If `name` is anything but lower-case letters, digits and `_`, the database cannot be
    /// reached, or there is such a schema.
    pub async fn create(url: &str, name: &str) -> Result<Self, StoreError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(StoreError::Failed(format!("`{name}` is no schema's name")));
        }
        let own = with_search_path(url, name)?;
        let statement = format!("CREATE SCHEMA {name}");
        on_connection(url, async |client| {
            Ok(client.batch_execute(&statement).await?)
        })
        .await?;
        Ok(Self {
            base: url.to_owned(),
            url: own,
            schema: name.to_owned(),
        })
    }

    /// The URL with which a store is opened in it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Removes the schema with all that is in it.
    ///
    /// # Errors
    /// If the database cannot be reached, or somebody keeps it in use.
    pub async fn remove(&self) -> Result<(), StoreError> {
        let statement = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
        on_connection(&self.base, async |client| {
            Ok(client.batch_execute(&statement).await?)
        })
        .await
    }
}

/// The process id of the PostgreSQL server behind `url`, the parent of all its others, if it runs
/// on this machine and `/proc` shows it.
///
/// # Errors
/// If the database cannot be reached.
pub async fn postmaster(url: &str) -> Result<Option<u32>, StoreError> {
    on_connection(url, async |client| {
        let row = client.query_one("SELECT pg_backend_pid()", &[]).await?;
        let backend: i32 = row.get(0);
        Ok(parent_of_postgres(backend))
    })
    .await
}

/// The parent of process `backend`, if that is one of PostgreSQL's: on another machine, or outside
/// of this container, the number means something else.
fn parent_of_postgres(backend: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{backend}/stat")).ok()?;
    let (head, fields) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let parent = fields.split_ascii_whitespace().nth(1)?;
    name.starts_with("postgres")
        .then(|| parent.parse().ok())
        .flatten()
}

/// Does something on a connection of its own.
async fn on_connection<T, F>(url: &str, work: F) -> Result<T, StoreError>
where
    F: AsyncFnOnce(&Client) -> Result<T, StoreError>,
{
    let link = Link::new(url, 1)?;
    let mut own = link.own_connection().await?;
    tokio::select! {
        done = work(&own.client) => done,
        ended = &mut own.connection => {
            Err(ended.err().map_or(StoreError::Closed, StoreError::from))
        }
    }
}

/// `url` with a schema before all others.
fn with_search_path(url: &str, schema: &str) -> Result<String, StoreError> {
    let mut url = Url::parse(url)
        .map_err(|error| StoreError::Failed(format!("the database URL cannot be used: {error}")))?;
    let mut rest = Vec::new();
    let mut options = Vec::new();
    for (name, value) in url.query_pairs() {
        if name == "options" {
            options.push(value.into_owned());
        } else {
            rest.push((name.into_owned(), value.into_owned()));
        }
    }
    options.push(format!("-csearch_path={schema}"));
    rest.push(("options".to_owned(), options.join(" ")));
    url.query_pairs_mut().clear().extend_pairs(rest);
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_comes_first_and_the_rest_stays() {
        let url = with_search_path(
            "postgres://ann@db.example/x?sslmode=require&options=-cjit%3Doff",
            "bench_1",
        )
        .unwrap();
        let pairs: Vec<_> = Url::parse(&url)
            .unwrap()
            .query_pairs()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(
            pairs,
            [
                "sslmode: require",
                "options: -cjit=off -csearch_path=bench_1"
            ]
        );
    }

    #[tokio::test]
    async fn only_plain_names_are_taken() {
        for name in ["", "a b", "A", "x;y", "\"x\""] {
            let made = Scratch::create("postgres://127.0.0.1:1/x", name).await;
            assert!(matches!(made, Err(StoreError::Failed(_))), "{name}");
        }
    }

    #[test]
    fn another_process_is_not_postgresql_s() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(parent_of_postgres(own), None);
        assert_eq!(parent_of_postgres(i32::MAX), None);
    }
}
