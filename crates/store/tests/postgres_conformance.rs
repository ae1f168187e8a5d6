//! The conformance cases on PostgreSQL, each in a schema of its own.

mod schema;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::Timestamp;
use schema::Schema;
use store::{
    SharedStore,
    conformance::Backend,
    postgres::{PostgresOptions, PostgresStore},
};

/// How much time a partition covers: the cases pass time by minutes.
const SPAN: Duration = Duration::from_mins(1);

struct Database(Schema);

#[async_trait]
impl Backend for Database {
    async fn open(&self) -> SharedStore {
        let mut options = PostgresOptions::new(Timestamp::from_ms(0));
        options.partition_span = SPAN;
        let store = PostgresStore::open(&self.0.url(), options).await;
        Arc::new(store.expect("opened"))
    }

    async fn restart(&self, store: SharedStore) -> SharedStore {
        store.close().await;
        self.open().await
    }

    fn span_ms(&self) -> i64 {
        i64::try_from(SPAN.as_millis()).expect("a minute")
    }
}

store::store_conformance!(Database(Schema::new()));
