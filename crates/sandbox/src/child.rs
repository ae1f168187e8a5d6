//! The other side: this program, started as `<program> sandbox …`.
//!
//! It first sets limits on itself and then becomes, by `exec`, what works under them, so that
//! nothing was allocated before. Limits once lowered cannot be raised again.

use std::{
    collections::HashMap,
    ffi::OsString,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use domain::jq::Expression;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The first argument of a program that is to be a sandbox.
pub(crate) const SANDBOX: &str = "sandbox";
/// A worker for jq, before and after it has set its limits.
pub(crate) const JQ: &str = "jq";
const JQ_LIMITED: &str = "jq-limited";
/// Python, before it is started; followed by its memory in bytes, its processor time in seconds,
/// and the command.
pub(crate) const PYTHON: &str = "python";

/// The memory of a worker for jq, in bytes: 256 MiB for what it computes, and the stack on which
/// expressions are read (64 MiB).
const JQ_MEMORY_BYTES: u64 = 320 << 20;
/// The address space of a worker for jq, in bytes: beside its memory, the program itself with its
/// libraries, which is some 100 MiB where it was built for debugging.
const JQ_ADDRESSES_BYTES: u64 = 768 << 20;
/// The processor time of a worker for jq, all its requests together, in seconds.
const JQ_CPU_S: u64 = 60;
/// The largest message between the processes, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// The most expressions that a worker keeps compiled.
const COMPILED_MAX: usize = 32;

/// What a worker for jq is asked.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request<T, V> {
    /// The expression.
    pub(crate) expression: T,
    /// Its input.
    pub(crate) input: V,
}

/// What a worker for jq answers.
pub(crate) type Response = Result<Vec<Value>, String>;

/// Does what `args` (the first is the program's own name) ask for, if that is to be a sandbox:
/// the program calls this before it does anything else, and exits with what is answered.
pub fn run_if_asked(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    if args.next()? != SANDBOX {
        return None;
    }
    let done = match args.next()?.to_str()? {
        JQ => limit_jq(),
        JQ_LIMITED => work(),
        PYTHON => become_python(&args.collect::<Vec<_>>()),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "failed to be a sandbox: {error}");
            ExitCode::FAILURE
        }
    })
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(setrlimit(resource, limit)?)
}

fn limit_jq() -> io::Result<()> {
    limit(Resource::As, JQ_ADDRESSES_BYTES)?;
    limit(Resource::Data, JQ_MEMORY_BYTES)?;
    limit(Resource::Cpu, JQ_CPU_S)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    let program = std::env::current_exe()?;
    Err(Command::new(program)
        .args([SANDBOX, JQ_LIMITED])
        .env_clear()
        .exec())
}

fn become_python(args: &[OsString]) -> io::Result<()> {
    let [memory, cpu, program, rest @ ..] = args else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let number = |text: &OsString| text.to_str().and_then(|text| text.parse().ok());
    let memory: u64 = number(memory).ok_or(io::ErrorKind::InvalidInput)?;
    let cpu: u64 = number(cpu).ok_or(io::ErrorKind::InvalidInput)?;
    limit(Resource::As, memory)?;
    limit(Resource::Data, memory)?;
    limit(Resource::Cpu, cpu)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, memory)?;
    limit(Resource::Nofile, 64)?;
    Err(Command::new(program).args(rest).env_clear().exec())
}

/// Answers requests until there are no more.
fn work() -> io::Result<()> {
    // From here on nothing is opened: the three standard streams are all there is.
    limit(Resource::Nofile, 3)?;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut compiled: HashMap<String, Expression> = HashMap::new();
    // Says that it is ready: the clock of a request does not count the start.
    write_message(&mut output, b"")?;
    while let Some(message) = read_message(&mut input)? {
        let request: Request<String, Value> = serde_json::from_slice(&message)?;
        let response = answer(request, &mut compiled);
        write_message(&mut output, &serde_json::to_vec(&response)?)?;
    }
    Ok(())
}

fn answer(request: Request<String, Value>, compiled: &mut HashMap<String, Expression>) -> Response {
    let expression = match compiled.get(&request.expression) {
        Some(expression) => expression.clone(),
        None => Expression::parse(&request.expression).map_err(|error| error.to_string())?,
    };
    if compiled.len() == COMPILED_MAX {
        compiled.clear();
    }
    compiled.insert(request.expression, expression.clone());
    expression
        .run(request.input)
        .map_err(|error| error.to_string())
}

fn write_message(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(message)?;
    to.flush()
}

fn read_message(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}
