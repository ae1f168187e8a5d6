//! The worker processes for jq: a few, started when they are needed.
//!
//! A worker answers one request at a time. One that overruns or crashes is killed and not
//! replaced before somebody asks again; one that has answered [`REQUESTS_MAX`] is retired, so
//! that its limit on processor time is never met by honest work.

use std::{io, path::PathBuf, process::Stdio, time::Duration};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Semaphore,
    time::timeout,
};

use crate::{
    SandboxError,
    child::{JQ, MESSAGE_BYTES_MAX, Request, Response, SANDBOX},
};

/// The most workers.
const WORKERS_MAX: usize = 4;
/// How long an expression may take.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long a worker may take to start.
const START_MAX: Duration = Duration::from_secs(10);
/// After how many requests a worker is retired.
const REQUESTS_MAX: u32 = 50;

#[derive(Debug)]
pub(crate) struct Pool {
    program: PathBuf,
    places: Semaphore,
    idle: Mutex<Vec<Worker>>,
}

/// A worker; it is killed when this is dropped.
#[derive(Debug)]
struct Worker {
    child: Child,
    requests: ChildStdin,
    responses: ChildStdout,
    answered: u32,
}

impl Pool {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self {
            program,
            places: Semaphore::new(WORKERS_MAX),
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(crate) async fn run(
        &self,
        expression: &str,
        input: &Value,
    ) -> Result<Vec<Value>, SandboxError> {
        let request = serde_json::to_vec(&Request { expression, input })
            .map_err(|error| SandboxError::Failed(error.to_string()))?;
        if request.len() > MESSAGE_BYTES_MAX {
            let message = format!("an input may have {MESSAGE_BYTES_MAX} bytes");
            return Err(SandboxError::Limit(message));
        }
        let _place = self
            .places
            .acquire()
            .await
            .map_err(|_| SandboxError::Unavailable("it is closed".to_owned()))?;
        let idle = self.idle.lock().pop();
        let mut worker = match idle {
            Some(worker) => worker,
            None => Worker::start(&self.program).await?,
        };
        let response = match timeout(DEADLINE, worker.ask(&request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(worker.crashed(&error).await),
            Err(_) => {
                let _ = worker.child.start_kill();
                let message = format!("it took longer than {DEADLINE:?} and was stopped");
                return Err(SandboxError::Limit(message));
            }
        };
        worker.answered += 1;
        if worker.answered < REQUESTS_MAX {
            self.idle.lock().push(worker);
        }
        response.map_err(SandboxError::Failed)
    }
}

impl Worker {
    async fn start(program: &PathBuf) -> Result<Self, SandboxError> {
        let unavailable = |what: String| SandboxError::Unavailable(what);
        let mut child = Command::new(program)
            .args([SANDBOX, JQ])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| unavailable(error.to_string()))?;
        let (Some(requests), Some(responses)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(unavailable("it has no pipes".to_owned()));
        };
        let mut worker = Self {
            child,
            requests,
            responses,
            answered: 0,
        };
        match timeout(START_MAX, worker.read()).await {
            Ok(Ok(_)) => Ok(worker),
            Ok(Err(error)) => Err(unavailable(format!("it ended at once ({error})"))),
            Err(_) => Err(unavailable("it did not start in time".to_owned())),
        }
    }

    async fn ask(&mut self, request: &[u8]) -> io::Result<Response> {
        let length = u32::try_from(request.len()).map_err(io::Error::other)?;
        self.requests.write_all(&length.to_be_bytes()).await?;
        self.requests.write_all(request).await?;
        self.requests.flush().await?;
        let response = self.read().await?;
        Ok(serde_json::from_slice(&response)?)
    }

    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let length = self.responses.read_u32().await? as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; length];
        self.responses.read_exact(&mut message).await?;
        Ok(message)
    }

    /// What to say of a worker that gave no answer.
    async fn crashed(mut self, error: &io::Error) -> SandboxError {
        let _ = self.child.start_kill();
        let status = self.child.wait().await;
        tracing::debug!(?status, %error, "a worker for jq gave no answer");
        SandboxError::Limit(
            "it took too much memory or nested too deeply, and was stopped".to_owned(),
        )
    }
}
