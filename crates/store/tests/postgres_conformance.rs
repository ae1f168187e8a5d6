//! The conformance cases on PostgreSQL, each in a schema of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use domain::Timestamp;
use store::{
    SharedStore,
    conformance::Backend,
    postgres::{PostgresOptions, PostgresStore},
};

/// How much time a partition covers: the cases pass time by minutes.
const SPAN: Duration = Duration::from_mins(1);

static MADE: AtomicU32 = AtomicU32::new(0);

/// A schema in the database of `DATABASE_URL`.
struct Schema {
    name: String,
}

impl Schema {
    fn new() -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Self {
            name: format!("conformance_{}_{number}", std::process::id()),
        }
    }

    fn database() -> String {
        std::env::var("DATABASE_URL").expect("a database")
    }
}

async fn run(sql: &str) {
    let (client, connection) = tokio_postgres::connect(&Schema::database(), tokio_postgres::NoTls)
        .await
        .expect("a connection");
    let driver = tokio::spawn(connection);
    client.batch_execute(sql).await.expect("done");
    drop(client);
    driver.await.expect("no panic").expect("closed");
}

#[async_trait]
impl Backend for Schema {
    async fn open(&self) -> SharedStore {
        run(&format!("CREATE SCHEMA IF NOT EXISTS {}", self.name)).await;
        let separator = if Self::database().contains('?') {
            '&'
        } else {
            '?'
        };
        let url = format!(
            "{}{separator}options=-csearch_path%3D{}",
            Self::database(),
            self.name
        );
        let mut options = PostgresOptions::new(Timestamp::from_ms(0));
        options.partition_span = SPAN;
        Arc::new(PostgresStore::open(&url, options).await.expect("opened"))
    }

    async fn restart(&self, store: SharedStore) -> SharedStore {
        store.close().await;
        self.open().await
    }

    fn span_ms(&self) -> i64 {
        i64::try_from(SPAN.as_millis()).expect("a minute")
    }
}

store::store_conformance!(Schema::new());
