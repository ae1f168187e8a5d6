//! Receivers in other languages: Node and Python processes that run samples or public libraries.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::program::{Log, spawn};

/// A peer listens after this long, or never will.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Where the peers' packages are, as `./test` sets it.
pub struct Runtimes {
    node_modules: PathBuf,
    python: PathBuf,
}

impl Runtimes {
    /// `None` (which is said) where they are not installed.
    pub fn find() -> Option<Self> {
        let named = |name: &str| {
            let path = std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.exists());
            if path.is_none() {
                eprintln!("skipped: {name} names nothing; ./test installs what it should name");
            }
            path
        };
        Some(Self {
            node_modules: named("SIGNPOST_TEST_NODE_MODULES")?,
            python: named("SIGNPOST_TEST_PYTHON")?,
        })
    }

    /// Where Python is.
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// Runs a script of this folder in Node, on a free port.
    pub fn node_script(&self, script: &str, args: &[&str]) -> Peer {
        self.node(&folder().join(script), args)
    }

    /// Runs any file in Node, on a free port whatever port it asks for.
    pub fn node(&self, file: &Path, args: &[&str]) -> Peer {
        let mut command = Command::new("node");
        command
            .env("NODE_PATH", &self.node_modules)
            .env("NODE_ENV", "production");
        Peer::start(
            command
                .arg("-r")
                .arg(folder().join("on_free_port.js"))
                .arg(file)
                .args(args),
        )
    }

    /// Runs a script of this folder in Python.
    pub fn python_script(&self, script: &str, args: &[&str]) -> Peer {
        let mut command = Command::new(&self.python);
        command
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Peer::start(command.arg(folder().join(script)).args(args))
    }
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples"))
}

/// A running receiver. Killed when dropped; a test that panics shows its output.
pub struct Peer {
    child: Child,
    port: u16,
    log: Log,
}

impl Peer {
    fn start(command: &mut Command) -> Self {
        let (child, first, log) = spawn(command);
        let mut peer = Self {
            child,
            port: 0,
            log,
        };
        let line = first
            .recv_timeout(START_TIMEOUT)
            .expect("the receiver prints its port");
        let told: Value = serde_json::from_str(&line).expect("it prints its port as JSON");
        peer.port = told["port"]
            .as_u64()
            .and_then(|port| port.try_into().ok())
            .expect("a port is a number");
        peer
    }

    /// `http://127.0.0.1:PORT` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!(
                "the last lines of a receiver's output:\n{}",
                self.log.text()
            );
        }
    }
}

/// Files made of the documents' code, for as long as a test runs.
pub struct Extracted(TempDir);

impl Extracted {
    /// None yet.
    pub fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder can be made"))
    }

    /// A file of this name with this code, unchanged.
    pub fn file(&self, name: &str, code: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, code).expect("a temporary file can be written");
        path.into_os_string()
            .into_string()
            .expect("temporary folders have plain names")
    }
}
