//! The real program, run as a person or a script would, with nothing of the caller's environment.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io::{BufRead, BufReader, Write as _},
    net::TcpListener,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// The program's file.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_signpost");

/// How a run ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The JSON document on standard output.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    /// Panics, with what was printed, unless the exit code is this.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }
}

/// A command that knows nothing of the caller's environment.
pub fn command() -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Runs the program to its end.
pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ended {
    finish(command().args(args), "")
}

/// Runs a prepared command to its end, with this on standard input.
pub fn finish(command: &mut Command, stdin: &str) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A server of this program, on a free port, with a folder that goes with it.
pub struct Server {
    child: Child,
    /// Where it answers.
    pub address: String,
    /// Its data folder.
    pub folder: Arc<TempDir>,
}

impl Server {
    /// Starts one on a new folder, and waits until it says that it is ready.
    pub fn start() -> Self {
        Self::start_on(Arc::new(tempfile::tempdir().unwrap()))
    }

    /// Starts one on a folder that is there.
    pub fn start_on(folder: Arc<TempDir>) -> Self {
        Self::start_at(folder, "0")
    }

    /// Starts one on a folder that is there, on this port.
    pub fn start_at(folder: Arc<TempDir>, port: &str) -> Self {
        let mut child = command()
            .args([
                "serve",
                "--json",
                "--log",
                "warn",
                "--threads",
                "1",
                "--port",
                port,
                "--data-dir",
            ])
            .arg(folder.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let ready = read_line(&mut BufReader::new(child.stdout.take().unwrap()));
        let address = ready["address"].as_str().unwrap().to_owned();
        Self {
            child,
            address,
            folder,
        }
    }

    /// A command that talks to it.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = command();
        command.args(args).env("SIGNPOST_URL", &self.address);
        command
    }

    /// Runs a command that talks to it.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ended {
        finish(&mut self.command(args), "")
    }

    /// Runs a command that talks to it, which must succeed, and reads its JSON.
    #[track_caller]
    pub fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Value {
        finish(self.command(args).arg("--json"), "")
            .expect(0)
            .json()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        terminate(&self.child);
    }

    /// Sends SIGTERM and waits; answers the exit code and the folder.
    pub fn stop(mut self) -> (Option<i32>, Arc<TempDir>) {
        terminate(&self.child);
        let code = self.child.wait().unwrap().code();
        (code, Arc::clone(&self.folder))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been stopped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends SIGTERM.
fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

/// Reads one line of JSON.
fn read_line(lines: &mut impl BufRead) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// A command that keeps printing lines of JSON.
pub struct Streaming {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Streaming {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line.
    pub fn next(&mut self) -> Value {
        read_line(&mut self.lines)
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        terminate(&self.child);
    }

    /// Waits for its end.
    pub fn code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A receiver that answers each request with the next of its statuses, then 200.
pub struct Receiver {
    /// Where it listens.
    pub url: String,
    received: mpsc::Receiver<(String, String)>,
}

impl Receiver {
    /// Starts one.
    pub fn start(statuses: impl IntoIterator<Item = u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let mut statuses: VecDeque<u16> = statuses.into_iter().collect();
        let (told, received) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let Some((head, body)) = read_request(&mut stream) else {
                    continue;
                };
                let status = statuses.pop_front().unwrap_or(200);
                let answer = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
                );
                let _ = stream.get_mut().write_all(answer.as_bytes());
                let _ = told.send((head, body));
            }
        });
        Self { url, received }
    }

    /// The next request's head and body.
    pub fn next(&self) -> (String, String) {
        self.received
            .recv_timeout(Duration::from_secs(20))
            .expect("a delivery arrives")
    }
}

fn read_request(stream: &mut impl BufRead) -> Option<(String, String)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}
