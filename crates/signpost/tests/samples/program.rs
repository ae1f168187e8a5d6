//! The real binary, serving, as a child process.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use serde_json::Value;
use testkit::TestStore;

/// The server has printed its address after this long, or never will.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Lines of its log that a failed test prints.
const LOG_LINES_MAX: usize = 60;

/// A running `signpost serve`. Killed when dropped; a test that panics shows its log.
pub struct Program {
    child: Child,
    address: String,
    log: Log,
}

impl Program {
    /// Serves `data` on a free port with these further arguments, calling nothing but loopback.
    pub fn start(data: &Path, further: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signpost"));
        command.args([
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--json",
            "--offline",
        ]);
        command.arg("--data-dir").arg(data).args(further);
        without_settings(&mut command);
        Self::started_by(&mut command)
    }

    /// A server that this command starts, which prints its address as JSON.
    pub fn started_by(command: &mut Command) -> Self {
        let (child, first, log) = spawn(command);
        let address = first.recv_timeout(START_TIMEOUT).ok().and_then(|line| {
            Some(
                serde_json::from_str::<Value>(&line).ok()?["address"]
                    .as_str()?
                    .to_owned(),
            )
        });
        let mut program = Self {
            child,
            address: String::new(),
            log,
        };
        program.address = address.expect("the server prints its address as JSON");
        program
    }

    /// Serves what is in `place`, which says on which store.
    pub fn start_in(place: &TestStore, further: &[&str]) -> Self {
        let url = place.database_url();
        let mut arguments = further.to_vec();
        if let Some(url) = &url {
            arguments.extend(["--database-url", url]);
        }
        Self::start(place.folder(), &arguments)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends it a signal by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .expect("kill can be run");
        assert!(sent.success(), "SIG{name} could not be sent");
    }

    /// Waits until it has ended by itself; answers whether it says that all went well.
    pub fn wait(mut self) -> bool {
        let status = self.child.wait().expect("a child can be waited for");
        status.success()
    }

    /// What it said last.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Ends it at once, as a power cut does (`SIGKILL`).
    pub fn kill(mut self) {
        self.child.kill().expect("it runs until it is killed");
        self.child.wait().expect("a killed child can be waited for");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error here means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the last lines of the server's log:\n{}", self.log.text());
        }
    }
}

/// A place for a store and the server on it.
pub struct Installation {
    program: Program,
    // Behind `program`: removed once that has ended.
    _place: TestStore,
}

impl Installation {
    /// A new, empty one.
    pub fn start(further: &[&str]) -> Self {
        let place = TestStore::chosen();
        Self {
            program: Program::start_in(&place, further),
            _place: place,
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.program.address()
    }
}

/// What steers another server must not steer this one, least of all into its data; nor must the
/// keys of whoever runs the tests.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let bytes = name.as_encoded_bytes();
        let is_setting = bytes.starts_with(b"SIGNPOST_") || bytes.ends_with(b"_API_KEY");
        if is_setting || name == "DATABASE_URL" || name == "WEBHOOK_SECRET" {
            command.env_remove(name);
        }
    }
}

/// Starts a child whose output is gathered. Also gives the first line of its standard output that
/// is a JSON object.
pub fn spawn(command: &mut Command) -> (Child, mpsc::Receiver<String>, Log) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "failed to start {}: {error}",
                command.get_program().display()
            )
        });
    let (sender, first) = mpsc::channel();
    let log = Log::default();
    log.follow(child.stdout.take().expect("it is piped"), Some(sender));
    log.follow(child.stderr.take().expect("it is piped"), None);
    (child, first, log)
}

/// The last lines of a child's output, on either stream.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    /// Reads `stream` to its end, so that the child never blocks on a full pipe.
    fn follow(&self, stream: impl Read + Send + 'static, mut first: Option<mpsc::Sender<String>>) {
        let lines = Arc::clone(&self.0);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if line.starts_with('{')
                    && let Some(first) = first.take()
                {
                    // Nobody listens any more where the start has timed out.
                    let _ = first.send(line.clone());
                }
                let mut lines = lines.lock().expect("nobody panics while holding it");
                if lines.len() == LOG_LINES_MAX {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        });
    }

    /// What was said last.
    pub fn text(&self) -> String {
        let lines = self.0.lock().expect("nobody panics while holding it");
        lines.iter().flat_map(|line| ["  ", line, "\n"]).collect()
    }
}
