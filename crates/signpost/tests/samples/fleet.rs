//! Several nodes of the real program over one PostgreSQL.

use std::{path::Path, sync::Arc, time::Duration};

use parking_lot::RwLock;
use tempfile::TempDir;

use super::{api::Api, program::Program};

/// How long a lease runs here.
pub const LEASE: Duration = Duration::from_secs(2);

/// Nodes that share a database and a sealing key, each with a data folder of its own.
pub struct Fleet {
    nodes: Vec<Option<Program>>,
    folders: Vec<TempDir>,
    urls: Vec<String>,
    /// Where publishers find them.
    pub addresses: Arc<RwLock<Vec<String>>>,
}

impl Fleet {
    /// Starts a node for each URL.
    pub fn start(urls: Vec<String>) -> Self {
        let mut fleet = Self {
            nodes: Vec::new(),
            folders: Vec::new(),
            urls,
            addresses: Arc::default(),
        };
        for number in 0..fleet.urls.len() {
            let folder = TempDir::new().expect("a temporary folder can be made");
            if let Some(first) = fleet.folders.first() {
                copy_key(first.path(), folder.path());
            }
            fleet.folders.push(folder);
            fleet.nodes.push(None);
            fleet.addresses.write().push(String::new());
            fleet.start_node(number);
        }
        fleet
    }

    /// Starts one that does not run.
    pub fn start_node(&mut self, number: usize) {
        let lease = format!("{}s", LEASE.as_secs());
        let name = format!("node-{number}");
        let program = Program::start(
            self.folders[number].path(),
            &[
                "--database-url",
                &self.urls[number],
                "--lease",
                &lease,
                "--node-name",
                &name,
            ],
        );
        program
            .address()
            .clone_into(&mut self.addresses.write()[number]);
        self.nodes[number] = Some(program);
    }

    /// One that runs.
    pub fn node(&self, number: usize) -> &Program {
        self.nodes[number].as_ref().expect("it runs")
    }

    /// One that runs, which is no longer the fleet's to end.
    pub fn take(&mut self, number: usize) -> Program {
        self.nodes[number].take().expect("it runs")
    }

    /// A client of one that runs.
    pub fn api(&self, number: usize) -> Api {
        Api::new(self.node(number).address())
    }

    /// Waits until every node that runs knows of `count` nodes and shares the work with them, and
    /// for the second within which what was changed on one reaches the others.
    pub async fn has_settled(&self, count: usize) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for number in 0..self.nodes.len() {
            if self.nodes[number].is_some() {
                self.api(number)
                    .until("/api/v1/nodes", |nodes| {
                        nodes["data"]
                            .as_array()
                            .is_some_and(|nodes| nodes.len() == count)
                    })
                    .await;
            }
        }
    }
}

fn copy_key(from: &Path, to: &Path) {
    std::fs::copy(from.join("signpost.key"), to.join("signpost.key"))
        .expect("the first node has made a key");
}
