//! Stores for tests: SQLite in a folder, or a schema in PostgreSQL where `SIGNPOST_TEST_STORE`
//! says `postgresql`. The same tests run on both.

use std::{env, path::Path, sync::Arc};

use domain::Timestamp;
use store::{
    CommitObserver, SharedStore,
    postgres::{PostgresOptions, PostgresStore},
    sqlite::{SqliteOptions, SqliteStore},
};
use tempfile::TempDir;

use crate::postgres::{self, Database};

/// Which store tests work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file in a folder of its own.
    Sqlite,
    /// A schema of its own.
    Postgresql,
}

impl Kind {
    /// What `SIGNPOST_TEST_STORE` says: `sqlite` (also when it is not set) or `postgresql`.
    ///
    /// # Panics
    /// If it says something else.
    pub fn chosen() -> Self {
        match env::var("SIGNPOST_TEST_STORE").as_deref() {
            Ok("" | "sqlite") | Err(_) => Self::Sqlite,
            Ok("postgresql") => Self::Postgresql,
            Ok(other) => panic!("SIGNPOST_TEST_STORE is `{other}`: it may be sqlite or postgresql"),
        }
    }
}

/// A schema to work in where tests are to run on PostgreSQL; `None` where they run on SQLite.
pub fn chosen_database() -> Option<Database> {
    (Kind::chosen() == Kind::Postgresql).then(postgres::database)
}

/// Where a test's store is. It can be opened, closed and opened again; what it has is removed
/// with this value.
#[derive(Debug)]
pub struct TestStore {
    // First: it goes before the folder's files do.
    database: Option<Database>,
    folder: TempDir,
}

impl TestStore {
    /// A place for a store of the kind that `SIGNPOST_TEST_STORE` says; nothing is in it.
    pub fn chosen() -> Self {
        Self {
            database: chosen_database(),
            ..Self::sqlite()
        }
    }

    /// A place for a store in SQLite, whatever is chosen: for a test that is about it.
    pub fn sqlite() -> Self {
        Self {
            database: None,
            folder: tempfile::tempdir()
                .expect("the system's folder for temporary files can be written to"),
        }
    }

    /// Opens it; `now` is when it was made, if it is opened for the first time.
    ///
    /// # Panics
    /// If that fails.
    pub async fn open(&self, now: Timestamp) -> SharedStore {
        self.open_with(now, None).await
    }

    /// Opens it likewise, with somebody who is told of commits.
    ///
    /// # Panics
    /// If that fails.
    pub async fn open_observed(
        &self,
        now: Timestamp,
        observer: Arc<dyn CommitObserver>,
    ) -> SharedStore {
        self.open_with(now, Some(observer)).await
    }

    async fn open_with(
        &self,
        now: Timestamp,
        observer: Option<Arc<dyn CommitObserver>>,
    ) -> SharedStore {
        if let Some(database) = &self.database {
            let mut options = PostgresOptions::new(now);
            if let Some(observer) = observer {
                options.observer = observer;
            }
            let opened = PostgresStore::open(&database.url(), options).await;
            return Arc::new(opened.unwrap_or_else(|error| panic!("PostgreSQL: {error}")));
        }
        let mut options = SqliteOptions::new(now);
        if let Some(observer) = observer {
            options.observer = observer;
        }
        let opened = SqliteStore::open(&self.folder().join("signpost.db"), options);
        Arc::new(opened.unwrap_or_else(|error| panic!("SQLite: {error}")))
    }

    /// A folder of the test's own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of the schema, where the store is in PostgreSQL.
    pub fn database_url(&self) -> Option<String> {
        self.database.as_ref().map(Database::url)
    }
}
