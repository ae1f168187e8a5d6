//! The server that is measured when none is given: this program's own `serve`, as a child process.
//!
//! A process of its own, because only then are CPU time and memory the server's alone. It gets a new
//! data folder, which is removed with it. However the run ends, dropping [`Child`] stops it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// The server must have printed its address after this long.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// The server must have ended this long after it was asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Lines of its output kept for an error message.
const LINES_KEPT: usize = 20;

/// How to start the server.
#[derive(Clone)]
pub(super) struct Launch {
    /// Program to run.
    pub(super) program: PathBuf,
    /// Folder to make the data folder in.
    pub(super) data_parent: PathBuf,
    /// Set in its environment: arguments can be read by everybody on the machine.
    pub(super) environment: Vec<(&'static str, String)>,
    /// Passed as they are.
    pub(super) further: Vec<String>,
}

/// A running server.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    address: String,
    output: Output,
    // Behind `process`: removed once that has ended.
    _data: TempDir,
    fsync: Option<Duration>,
}

impl Child {
    /// Starts a server and waits for the address it prints.
    ///
    /// # Errors
    /// When it cannot be started, ends, or prints no address in time; with what it printed instead.
    pub(super) fn start(launch: &Launch) -> Result<Self> {
        let data = tempfile::Builder::new()
            .prefix("signpost-bench-")
            .tempdir_in(&launch.data_parent)
            .with_context(|| {
                format!(
                    "failed to make a data folder in {}",
                    launch.data_parent.display()
                )
            })?;
        let fsync = fsync_time(data.path());
        let mut command = Command::new(&launch.program);
        command
            .args(["serve", "--host", "127.0.0.1", "--port", "0", "--data-dir"])
            .arg(data.path());
        // What steers another server must not steer this one, least of all into its database.
        for (name, _) in std::env::vars_os() {
            if name == "DATABASE_URL" || name.as_encoded_bytes().starts_with(b"SIGNPOST_") {
                command.env_remove(name);
            }
        }
        let mut process = command
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .args(&launch.further)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {}", launch.program.display()))?;
        let output = Output::default();
        let (found, address) = mpsc::channel();
        let stdout = output.follow(process.stdout.take().expect("piped"), Some(found));
        let stderr = output.follow(process.stderr.take().expect("piped"), None);
        // From here on dropping it stops the process.
        let mut child = Self {
            process,
            address: String::new(),
            output,
            _data: data,
            fsync,
        };
        match address.recv_timeout(START_TIMEOUT) {
            Ok(address) => child.address = address,
            Err(reason) => {
                child.end()?;
                if reason == RecvTimeoutError::Disconnected {
                    // It has closed its output; all of its words are on their way.
                    for follower in [stdout, stderr] {
                        follower.join().expect("a follower only reads");
                    }
                }
                bail!(
                    "the server printed no address; its last lines:\n{}",
                    child.last_lines()
                );
            }
        }
        Ok(child)
    }

    /// Its base address, `http://127.0.0.1:…`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How long writing and syncing 4 KiB takes in its data folder (median, measured before it started).
    pub(super) fn fsync(&self) -> Option<Duration> {
        self.fsync
    }

    /// What it printed last, for an error message.
    pub(super) fn last_lines(&self) -> String {
        self.output.last_lines()
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// When it had to be killed or ended with an error.
    pub(super) fn stop(mut self) -> Result<Duration> {
        let asked = Instant::now();
        match self.end()? {
            Some(status) if status.success() => Ok(asked.elapsed()),
            Some(status) => bail!(
                "the server ended with {status}; its last lines:\n{}",
                self.last_lines()
            ),
            None => bail!(
                "the server had not ended {STOP_TIMEOUT:?} after it was asked to, and was killed"
            ),
        }
    }

    /// SIGTERM, patience, SIGKILL. `None`: it had to be killed.
    fn end(&mut self) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.process.try_wait()? {
            return Ok(Some(status));
        }
        terminate(&mut self.process)?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIMEOUT {
            if let Some(status) = self.process.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.process.kill()?;
        self.process.wait()?;
        Ok(None)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // An error here means that it is gone already.
        let _ = self.end();
    }
}

#[cfg(unix)]
fn terminate(process: &mut std::process::Child) -> Result<()> {
    let pid = rustix::process::Pid::from_child(process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)
        .context("failed to stop the server")
}

#[cfg(not(unix))]
fn terminate(process: &mut std::process::Child) -> Result<()> {
    process.kill().context("failed to stop the server")
}

/// The last lines a child printed, on either stream.
#[derive(Debug, Clone, Default)]
struct Output(Arc<Mutex<VecDeque<String>>>);

impl Output {
    /// Reads `stream` to its end, so that the child never blocks on a full pipe, and sends the first
    /// address found to `address`, which is dropped at the latest with the stream.
    fn follow(
        &self,
        stream: impl Read + Send + 'static,
        mut address: Option<Sender<String>>,
    ) -> JoinHandle<()> {
        let lines = Arc::clone(&self.0);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if let (Some(sender), Some(found)) = (&address, address_in(&line)) {
                    // Nobody listens any more when the start has timed out.
                    let _ = sender.send(found.to_owned());
                    address = None;
                }
                let mut lines = lines
                    .lock()
                    .expect("no thread panics while it holds the lines");
                if lines.len() == LINES_KEPT {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        })
    }

    fn last_lines(&self) -> String {
        let lines = self
            .0
            .lock()
            .expect("no thread panics while it holds the lines");
        lines.iter().flat_map(|line| ["  ", line, "\n"]).collect()
    }
}

/// The `http://host:port` in a line for people or programs.
fn address_in(line: &str) -> Option<&str> {
    const SCHEME: &str = "http://";
    let address = &line[line.find(SCHEME)?..];
    let authority = &address[SCHEME.len()..];
    let is_end =
        |character: char| !(character.is_ascii_alphanumeric() || "[].:-".contains(character));
    let authority = &authority[..authority.find(is_end).unwrap_or(authority.len())];
    let (_, port) = authority.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    (port > 0).then_some(&address[..SCHEME.len() + authority.len()])
}

/// Median time to append 4 KiB to a file in `folder` and sync it: without knowing the disk, numbers
/// of a durable server say little.
fn fsync_time(folder: &Path) -> Option<Duration> {
    let path = folder.join("fsync-probe");
    let mut file = File::create(&path).ok()?;
    let mut times = Vec::new();
    for _ in 0..15 {
        let started = Instant::now();
        file.write_all(&[1; 4096])
            .and_then(|()| file.sync_data())
            .ok()?;
        times.push(started.elapsed());
    }
    std::fs::remove_file(path).ok()?;
    times.sort_unstable();
    Some(times[times.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_text_and_json() {
        assert_eq!(
            address_in("Signpost is ready on http://127.0.0.1:8000/dashboard"),
            Some("http://127.0.0.1:8000")
        );
        assert_eq!(
            address_in(r#"{"address": "http://[::1]:80"}"#),
            Some("http://[::1]:80")
        );
        assert_eq!(
            address_in("http://localhost:99 "),
            Some("http://localhost:99")
        );
        assert_eq!(address_in("see http://example.com/docs"), None);
        assert_eq!(address_in("http://127.0.0.1:99999"), None);
        assert_eq!(address_in("listening"), None);
    }

    /// Keeps one test's child from inheriting the script that another is writing, which could then
    /// not be run.
    #[cfg(unix)]
    fn alone() -> std::sync::MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A launch of `sh` with `script`, which gets `serve …` as its arguments.
    #[cfg(unix)]
    fn shell(folder: &TempDir, script: &str) -> Launch {
        use std::os::unix::fs::PermissionsExt;
        let program = folder.path().join("server.sh");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        Launch {
            program,
            data_parent: folder.path().to_owned(),
            environment: Vec::new(),
            further: vec!["--x".to_owned()],
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_child_is_started_with_its_folder_stopped_by_sigterm_and_cleaned_up() {
        let _alone = alone();
        let folder = TempDir::new().unwrap();
        let script = r#"trap 'exit 0' TERM; echo "$*" > "$(dirname "$0")/arguments"; echo http://127.0.0.1:1; while :; do sleep 0.005; done"#;
        let child = Child::start(&shell(&folder, script)).unwrap();
        assert_eq!(child.address(), "http://127.0.0.1:1");
        assert!(child.fsync().is_some());
        child.stop().unwrap();
        let arguments = std::fs::read_to_string(folder.path().join("arguments")).unwrap();
        let data = arguments
            .split_whitespace()
            .find(|argument| argument.contains("signpost-bench-"))
            .unwrap();
        assert!(
            arguments.ends_with(&format!(
                "--host 127.0.0.1 --port 0 --data-dir {data} --x\n"
            )),
            "{arguments}"
        );
        assert!(!Path::new(data).exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_child_that_fails_is_reported_with_its_words() {
        let _alone = alone();
        let folder = TempDir::new().unwrap();
        let error = Child::start(&shell(&folder, "echo 'port in use' >&2; exit 3")).unwrap_err();
        assert!(
            error.to_string().ends_with("last lines:\n  port in use\n"),
            "{error}"
        );
        let script = "trap 'exit 3' TERM; echo http://127.0.0.1:1; while :; do sleep 0.005; done";
        let error = Child::start(&shell(&folder, script))
            .unwrap()
            .stop()
            .unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }
}
