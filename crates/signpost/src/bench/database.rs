//! The database of a run with `--database-url`: a schema of its own, removed afterwards, and the
//! PostgreSQL server's processes, where they run on this machine.

use std::process;

use anyhow::{Context, Result};
use store::postgres::scratch::{Scratch, postmaster};
use tokio::runtime::{Builder, Runtime};

use super::procfs::Process;
use crate::edge;

/// A schema for one run. Dropping it removes it with all that is in it.
pub(super) struct Database {
    runtime: Runtime,
    scratch: Scratch,
    process: Option<Process>,
}

impl Database {
    /// Makes a new schema in the database at `url`.
    ///
    /// # Errors
    /// When the database cannot be reached, or lets no schema be made.
    pub(super) fn create(url: &str) -> Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to make a runtime")?;
        let name = format!("bench_{}_{}", process::id(), edge::now().ms());
        let scratch = runtime
            .block_on(Scratch::create(url, &name))
            .context("failed to make a schema for the benchmark")?;
        // From here on dropping it removes the schema.
        let mut database = Self {
            runtime,
            scratch,
            process: None,
        };
        database.process = database
            .runtime
            .block_on(postmaster(url))
            .context("failed to ask the database for its process")?
            .map(Process::Family);
        Ok(database)
    }

    /// Where the server finds it.
    pub(super) fn url(&self) -> &str {
        self.scratch.url()
    }

    /// PostgreSQL's processes, if they run on this machine.
    pub(super) fn process(&self) -> Option<Process> {
        self.process
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Err(error) = self.runtime.block_on(self.scratch.remove()) {
            eprintln!("the benchmark's schema could not be removed: {error}");
        }
    }
}
