//! A server for one test.

use std::fs::File;

use tempfile::TempDir;

use super::{
    programs::Programs,
    server::{Durability, Server},
};

/// A PostgreSQL server for one test, with the durability of production. It ends, and its data
/// are removed, when this value is dropped or the process ends in any way.
#[derive(Debug)]
pub struct Cluster {
    server: Server,
    url: String,
    _users: File,
    // Last: it is removed when the server has ended.
    _folder: TempDir,
}

impl Cluster {
    /// Makes and starts one. Blocks for a second or two.
    ///
    /// # Panics
    /// If that fails: the text says what to install, or what PostgreSQL said.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("signpost-cluster-")
            .tempdir()
            .expect("the system's folder for temporary files can be written to");
        let server = Server::in_folder(Programs::find(), folder.path())
            .expect("a folder just made can be given away");
        let locked = |name| server.lock_file(name).expect("the folder is ours");
        let lock = locked("lock");
        lock.lock().expect("nobody else knows the file");
        let users = locked("users");
        users.lock_shared().expect("nobody else knows the file");
        // First, so that a process that is killed from here on leaves nothing running.
        server.watch(0);
        let url = server.make(Durability::Real);
        Self {
            server,
            url,
            _users: users,
            _folder: folder,
        }
    }

    /// The URL of its one database. The server's address stays the same for its life.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends the server as a crash does: connections break, nothing is finished, and the next
    /// start recovers from the log. Answers when it has ended.
    ///
    /// # Panics
    /// If it does not run.
    pub fn stop_immediately(&self) {
        if let Err(why) = self.server.stop("immediate") {
            panic!("PostgreSQL does not stop: {why}");
        }
    }

    /// Starts the stopped server at the same address. Answers when it takes connections.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&self) {
        if let Err(why) = self.server.start() {
            panic!("PostgreSQL does not start again: {why}");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.server.stop("immediate");
    }
}
