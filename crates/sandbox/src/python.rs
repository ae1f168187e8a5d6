//! Python: a process for each program, under its node's limits.
//!
//! The interpreter is started in an empty folder of its own, without environment, site packages
//! or the user's modules (`-I -S`), and without network unless the node has it: in a network
//! namespace of its own where the system allows that, and in any case by an audit hook
//! (`bootstrap.py`), which also refuses processes and files elsewhere. The hook keeps honest code
//! in its place and makes dishonest code hard; it is no wall against who knows the interpreter
//! inside out. The limits on memory and time are the system's, and hold for anybody.

use std::{
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use domain::workflow::definition::CodeNode;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
    sync::{OnceCell, Semaphore},
    time::timeout,
};

use crate::{
    SandboxError,
    child::{PYTHON, SANDBOX},
};

const BOOTSTRAP: &str = include_str!("bootstrap.py");
/// What the interpreter itself needs, in MiB.
const OWN_MIB: u64 = 48;
/// What is added to twice the processor time for the wall clock's deadline.
const START: Duration = Duration::from_secs(5);
/// The largest result, in bytes.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// How much of standard error is kept, from its end.
const STDERR_BYTES_MAX: usize = 2 << 10;
/// The most programs at once.
const PROCESSES_MAX: usize = 8;
/// How long the look for an interpreter may take.
const FIND_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Python {
    program: PathBuf,
    places: Semaphore,
    interpreter: OnceCell<PathBuf>,
    unshare: OnceCell<Option<PathBuf>>,
}

impl Python {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self {
            program,
            places: Semaphore::new(PROCESSES_MAX),
            interpreter: OnceCell::new(),
            unshare: OnceCell::new(),
        }
    }

    pub(crate) async fn run(&self, code: &CodeNode, inputs: &Value) -> Result<Value, SandboxError> {
        let unavailable = |error: io::Error| SandboxError::Unavailable(error.to_string());
        let interpreter = self.interpreter.get_or_try_init(find_interpreter).await?;
        let _place = self
            .places
            .acquire()
            .await
            .map_err(|_| SandboxError::Unavailable("it is closed".to_owned()))?;
        let folder = tempfile::Builder::new()
            .prefix("signpost-code-")
            .tempdir()
            .map_err(unavailable)?;
        let mut command = self.command(code, interpreter, folder.path()).await;
        let mut child = command.spawn().map_err(unavailable)?;
        let group = Group::of(child.id());
        let request = json!({"code": code.code, "inputs": inputs, "network": code.network});
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let exchange = async {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // One that ends early does not read it all: its exit says why.
                    let _ = stdin.write_all(request.to_string().as_bytes()).await;
                }
            };
            let (stdout, stderr, ()) = tokio::join!(head(stdout), tail(stderr), write);
            (stdout, stderr, child.wait().await)
        };
        let deadline = Duration::from_millis(code.cpu_ms.saturating_mul(2)) + START;
        let Ok((stdout, stderr, status)) = timeout(deadline, exchange).await else {
            drop(group);
            let message = format!("the code took longer than {deadline:?} and was stopped");
            return Err(SandboxError::Limit(message));
        };
        group.ended();
        judge(&stdout, &stderr, status.map_err(unavailable)?, code)
    }

    async fn command(&self, code: &CodeNode, interpreter: &Path, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        let memory = (u64::from(code.memory_mib) + OWN_MIB) << 20;
        let cpu_s = code.cpu_ms.div_ceil(1_000).max(1);
        command.args([SANDBOX, PYTHON, &memory.to_string(), &cpu_s.to_string()]);
        if !code.network {
            let unshare = self.unshare.get_or_init(find_unshare).await;
            if let Some(unshare) = unshare {
                command.arg(unshare).args(["-r", "-n", "--"]);
            }
        }
        command
            .arg(interpreter)
            .args(["-I", "-S", "-B", "-X", "utf8", "-c", BOOTSTRAP])
            .env_clear()
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// A group of processes, killed when this is dropped before they ended.
struct Group(Option<Pid>);

impl Group {
    fn of(id: Option<u32>) -> Self {
        let id = id.and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads all, and keeps one byte more than a result may have.
async fn head(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(from) = from {
        let mut from = from.take(OUTPUT_BYTES_MAX as u64 + 1);
        let _ = from.read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut from.into_inner(), &mut tokio::io::sink()).await;
    }
    kept
}

/// Reads all, and keeps the last bytes.
async fn tail(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut from) = from else {
        return kept;
    };
    let mut buffer = [0; 4 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        let excess = kept.len().saturating_sub(STDERR_BYTES_MAX);
        kept.drain(..excess);
    }
    kept
}

/// The exit status by which `bootstrap.py` says that the memory was used up.
const NO_MEMORY: i32 = 4;

fn judge(
    stdout: &[u8],
    stderr: &[u8],
    status: ExitStatus,
    code: &CodeNode,
) -> Result<Value, SandboxError> {
    use std::os::unix::process::ExitStatusExt;

    let said = String::from_utf8_lossy(stderr);
    // After what the code printed, its end is told behind a mark.
    let said = said.rsplit('\0').next().unwrap_or_default().trim();
    let (memory, cpu) = (code.memory_mib, code.cpu_ms);
    if stdout.len() > OUTPUT_BYTES_MAX {
        let message = format!("`result` has more than {OUTPUT_BYTES_MAX} bytes as JSON");
        return Err(SandboxError::Limit(message));
    }
    let cpu_signals = [Signal::XCPU.as_raw(), Signal::KILL.as_raw()];
    match (status.code(), status.signal()) {
        (Some(0), _) => serde_json::from_slice(stdout)
            .map_err(|error| SandboxError::Failed(format!("`result` is no JSON: {error}"))),
        (Some(NO_MEMORY), _) => Err(SandboxError::Limit(format!(
            "{said}: the code may take {memory} MiB"
        ))),
        (_, Some(signal)) if cpu_signals.contains(&signal) => Err(SandboxError::Limit(format!(
            "the code took more than {cpu} ms of processor time and was stopped"
        ))),
        (_, Some(signal)) => Err(SandboxError::Limit(format!(
            "the code crashed (signal {signal}); it may take {memory} MiB"
        ))),
        _ => Err(SandboxError::Failed(said.to_owned())),
    }
}

/// The places of a program in `PATH`.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Python itself: what `PATH` has may be a script that looks for it by the environment.
async fn find_interpreter() -> Result<PathBuf, SandboxError> {
    let missing = || {
        SandboxError::Unavailable(
            "`python3` is not found in PATH: install Python 3 on this machine".to_owned(),
        )
    };
    let found = in_path("python3").ok_or_else(missing)?;
    let asked = Command::new(found)
        .args(["-I", "-S", "-c", "import sys; print(sys.executable)"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let Ok(Ok(output)) = timeout(FIND_MAX, asked).await else {
        return Err(missing());
    };
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && path.is_absolute() {
        return Ok(path);
    }
    Err(missing())
}

/// util-linux's `unshare`, if this system lets us make a network of our own with it.
async fn find_unshare() -> Option<PathBuf> {
    let unshare = in_path("unshare")?;
    let tried = Command::new(&unshare)
        .args(["-r", "-n", "--"])
        .arg(in_path("true")?)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    let worked = matches!(timeout(FIND_MAX, tried).await, Ok(Ok(status)) if status.success());
    if !worked {
        tracing::warn!(
            "no network namespaces here: Python is kept off the network by a hook alone"
        );
    }
    worked.then_some(unshare)
}
