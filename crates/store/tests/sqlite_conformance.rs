//! The conformance cases on SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use domain::Timestamp;
use store::{
    SharedStore,
    conformance::Backend,
    sqlite::{SqliteOptions, SqliteStore},
};
use tempfile::TempDir;

/// A file in a folder of its own.
struct File(TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }
}

#[async_trait]
impl Backend for File {
    async fn open(&self) -> SharedStore {
        let path = self.0.path().join("signpost.db");
        let options = SqliteOptions::new(Timestamp::from_ms(0));
        Arc::new(SqliteStore::open(&path, options).expect("opened"))
    }

    async fn restart(&self, store: SharedStore) -> SharedStore {
        store.close().await;
        self.open().await
    }
}

store::store_conformance!(File::new());
