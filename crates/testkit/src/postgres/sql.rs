//! Says SQL to a server, from wherever a test is: inside a runtime, outside of one, or in one
//! whose time stands still.

use std::{thread, time::Duration};

use tokio_postgres::{Config, NoTls};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs statements, separated by semicolons, in a connection of their own.
///
/// # Errors
/// What the server or the driver said.
pub(super) fn run(url: &str, statements: &str) -> Result<(), String> {
    let told = |error: tokio_postgres::Error| {
        error
            .as_db_error()
            .map_or_else(|| chain(&error), ToString::to_string)
    };
    let mut config: Config = url.parse().map_err(told)?;
    config.connect_timeout(CONNECT_TIMEOUT);
    let statements = statements.to_owned();
    let speaking = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let (client, connection) = config.connect(NoTls).await.map_err(told)?;
            let connection = tokio::spawn(connection);
            let ran = client.batch_execute(&statements).await.map_err(told);
            drop(client);
            let _ = connection.await;
            ran
        })
    });
    speaking
        .join()
        .unwrap_or_else(|_| Err("the thread that spoke to the server broke".to_owned()))
}

/// An error with what lies behind it.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
