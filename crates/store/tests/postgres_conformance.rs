//! The conformance cases on PostgreSQL, each in a schema of its own.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::Timestamp;
use store::{
    SharedStore,
    conformance::Backend,
    postgres::{PostgresOptions, PostgresStore},
};
use testkit::postgres::{Database, database};

/// How much time a partition covers: the cases pass time by minutes.
const SPAN: Duration = Duration::from_mins(1);

struct Schema(Database);

#[async_trait]
impl Backend for Schema {
    async fn open(&self) -> SharedStore {
        let mut options = PostgresOptions::new(Timestamp::from_ms(0));
        options.partition_span = SPAN;
        Arc::new(
            PostgresStore::open(&self.0.url(), options)
                .await
                .expect("opened"),
        )
    }

    async fn restart(&self, store: SharedStore) -> SharedStore {
        store.close().await;
        self.open().await
    }

    fn span_ms(&self) -> i64 {
        i64::try_from(SPAN.as_millis()).expect("a minute")
    }
}

store::store_conformance!(Schema(database()));
