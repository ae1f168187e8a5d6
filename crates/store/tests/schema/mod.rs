//! A schema of its own for each test, in the database of `DATABASE_URL`.

use std::{
    env, process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

static MADE: AtomicU32 = AtomicU32::new(0);

/// A schema that is dropped with this value.
pub struct Schema {
    name: String,
}

impl Schema {
    /// An empty one.
    pub fn new() -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("store_test_{}_{number}", process::id());
        run(&database(), &format!("CREATE SCHEMA {name}"));
        Self { name }
    }

    /// The URL with which everything happens in it.
    pub fn url(&self) -> String {
        let database = database();
        let separator = if database.contains('?') { '&' } else { '?' };
        format!("{database}{separator}options=-csearch_path%3D{}", self.name)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let name = &self.name;
        run(
            &database(),
            &format!("SET client_min_messages = warning; DROP SCHEMA {name} CASCADE"),
        );
    }
}

fn database() -> String {
    env::var("DATABASE_URL").expect("DATABASE_URL names the database for this test")
}

/// Runs SQL on a thread of its own, so that a test's runtime is not in the way.
fn run(url: &str, sql: &str) {
    let (url, sql) = (url.to_owned(), sql.to_owned());
    let done = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
                .await
                .expect("a connection");
            let driver = tokio::spawn(connection);
            client.batch_execute(&sql).await.expect("done");
            drop(client);
            driver.await.expect("no panic").expect("closed");
        });
    });
    done.join().expect("no panic");
}
