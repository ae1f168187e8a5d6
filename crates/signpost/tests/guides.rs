//! The commands of the README and the guides do what is said: they run, in order, with `bash`.
//!
//! Each document gets a new server, an empty folder to work in and a receiver. Run is every block
//! whose info string is `sh`; a block that cannot run here is marked `sh norun`, with the reason
//! in a comment above it. A block such as `python file=receiver.py` is written to that file first.
//! Where a document says `http://127.0.0.1:8000`, the server answers; where it says
//! `http://127.0.0.1:3000`, the receiver, unless the document brings one of its own.
//!
//! A comment `<!-- check: COMMAND -->` below a block is a command that must succeed soon after it.
//!
//! The receivers that a guide shows are run by [`receivers`].
//!
//! Links between documents and the pictures are looked up here too.

#[path = "guides/receivers.rs"]
mod receivers;

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use testkit::{Answer, Receiver};

/// What the documents call the server.
const SERVER: &str = "http://127.0.0.1:8000";
/// What they call the receiver.
const RECEIVER: &str = "http://127.0.0.1:3000";
/// A document that brings its receiver has it in this file.
const OWN_RECEIVER: &str = "receiver.py";
/// What precedes a document's own lines: how a reader's shell differs, and how checks are made.
/// `SIGNPOST_URL` stands for the port 8000 of the documents, and a reader who names a data folder
/// has not set it.
const PRELUDE: &str = r#"set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || :' EXIT
check() {
    for _ in {1..200}; do
        if (eval "$1") >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "this does not come true: $1" >&2
    return 1
}
"#;
/// What comes before and after a check.
const CHECK: (&str, &str) = ("<!-- check: ", " -->");
/// Programs that the documents use, beside a POSIX system's.
const TOOLS: [&str; 3] = ["bash", "curl", "openssl"];

/// A fenced block of a document.
struct Block {
    /// The line on which its content begins, from 1.
    line: usize,
    info: String,
    text: String,
}

impl Block {
    fn is_run(&self) -> bool {
        self.info == "sh" || self.is_check()
    }

    /// Whether it is the command of a check.
    fn is_check(&self) -> bool {
        self.info == "check"
    }

    /// The file that it is the content of.
    fn file(&self) -> Option<&str> {
        self.info
            .split_whitespace()
            .find_map(|word| word.strip_prefix("file="))
    }
}

/// The blocks of a document, each with the text line above its fence.
fn blocks(markdown: &str) -> Vec<(Block, String)> {
    let mut found = Vec::new();
    let mut above = String::new();
    let mut open: Option<Block> = None;
    for (index, line) in markdown.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block {
                    line: index + 2,
                    info: info.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some("")) => found.push((open.take().expect("it is open"), above.clone())),
            (Some(block), _) => writeln!(block.text, "{line}").expect("a text takes any line"),
            (None, None) if line.starts_with(CHECK.0) => {
                let command = line
                    .strip_prefix(CHECK.0)
                    .and_then(|line| line.strip_suffix(CHECK.1));
                let block = Block {
                    line: index + 1,
                    info: "check".to_owned(),
                    text: command.expect("a check is one line").to_owned(),
                };
                found.push((block, above.clone()));
            }
            (None, None) if !line.trim().is_empty() => line.clone_into(&mut above),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// README and guides, by their path from the root.
fn documents() -> Vec<String> {
    let mut documents = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    for entry in fs::read_dir(root().join("docs/guides")).expect("there are guides") {
        let name = entry.expect("it can be listed").file_name();
        documents.push(format!("docs/guides/{}", name.display()));
    }
    documents.sort();
    documents
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).expect("a document can be read")
}

fn is_installed(tool: &str) -> bool {
    Command::new(tool)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// A child that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error here means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server on an empty data folder.
struct Server {
    _child: Running,
    address: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut child = signpost(folder)
            .args(["serve", "--port", "0", "--json", "--offline"])
            .args(["--log", "warn", "--threads", "2"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("the server says where it is");
        let ready: Value = serde_json::from_str(&line).expect("the server says it as JSON");
        let address = ready["address"]
            .as_str()
            .expect("it has an address")
            .to_owned();
        Self {
            _child: Running(child),
            address,
        }
    }

    fn port(&self) -> &str {
        self.address.rsplit(':').next().expect("it has a port")
    }
}

/// The program, knowing nothing of the caller's environment.
fn signpost(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signpost"));
    without_settings(&mut command);
    command.current_dir(folder);
    command
}

/// What steers another server must not steer this one.
fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name == "DATABASE_URL" || name.as_encoded_bytes().starts_with(b"SIGNPOST_") {
            command.env_remove(name);
        }
    }
}

/// One bash program of the blocks that run. It says, on standard error, which line it is at.
fn script(document: &str, blocks: &[(Block, String)], server: &str, receiver: &str) -> String {
    let mut script = PRELUDE.to_owned();
    for (block, _) in blocks.iter().filter(|(block, _)| block.is_run()) {
        let text = block
            .text
            .replace(SERVER, server)
            .replace(RECEIVER, receiver);
        let text = if block.is_check() {
            format!("check '{}'\n", text.replace('\'', r"'\''"))
        } else {
            text
        };
        write!(
            script,
            "echo '== {document}, line {}' >&2\n{text}",
            block.line
        )
        .expect("a text takes any line");
    }
    script
}

/// A port at which nothing listens at this moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

/// Runs a document's blocks; a text that says what happened if one fails.
async fn run(document: &str) -> Result<(), String> {
    let blocks = blocks(&read(document));
    if !blocks.iter().any(|(block, _)| block.is_run()) {
        return Ok(());
    }
    let folder = TempDir::new().expect("a temporary folder can be made");
    let own = blocks
        .iter()
        .any(|(block, _)| block.file() == Some(OWN_RECEIVER));
    if own && !is_installed("python3") {
        eprintln!("skipped: {document} has a receiver in Python, and there is no python3");
        return Ok(());
    }
    let server = Server::start(folder.path());
    let stand_in = Receiver::start(|_, _| Answer::status(200)).await;
    let port = if own {
        free_port()
    } else {
        stand_in.address().port()
    };
    for (block, _) in &blocks {
        if let Some(file) = block.file() {
            let text = block.text.replace(", 3000)", &format!(", {port})"));
            fs::write(folder.path().join(file), text).expect("the folder takes files");
        }
    }
    let receiver = format!("http://127.0.0.1:{port}");
    let mut bash = Command::new("bash");
    without_settings(&mut bash);
    let programs = Path::new(env!("CARGO_BIN_EXE_signpost"))
        .parent()
        .expect("a program lies in a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path));
    bash.arg("-c")
        .arg(script(document, &blocks, &server.address, &receiver))
        .env(
            "PATH",
            std::env::join_paths(path).expect("it was one before"),
        )
        .env("SIGNPOST_URL", &server.address)
        .env("SIGNPOST_PORT", server.port())
        .current_dir(folder.path())
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || bash.output())
        .await
        .expect("waiting does not panic")
        .expect("bash is there");
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{document}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_a_guide_does_what_it_says() {
    if let Some(missing) = TOOLS.into_iter().find(|tool| !is_installed(tool)) {
        eprintln!("skipped: there is no {missing}");
        return;
    }
    let mut running = tokio::task::JoinSet::new();
    for document in documents() {
        running.spawn(async move { run(&document).await });
    }
    let failures: Vec<String> = running
        .join_all()
        .await
        .into_iter()
        .filter_map(Result::err)
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn a_command_that_is_not_run_says_why() {
    for document in documents() {
        for (block, above) in blocks(&read(&document)) {
            let shell = block.info.split_whitespace().next() == Some("sh");
            assert!(
                !shell
                    || block.is_run()
                    || (block.info == "sh norun" && above.starts_with("<!-- not run")),
                "{document}:{}: `{}` needs a comment above it that begins with `not run`",
                block.line,
                block.info
            );
        }
    }
}

/// The targets of Markdown links and pictures, without those to other hosts.
fn links(markdown: &str) -> impl Iterator<Item = &str> {
    markdown
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

#[test]
fn links_lead_somewhere() {
    let further = ["CHANGELOG.md".to_owned()];
    for document in documents().into_iter().chain(further) {
        let text = read(&document);
        let path = root().join(&document);
        let folder = path.parent().expect("a document lies in a folder");
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                folder.join(file)
            };
            assert!(target.exists(), "{document}: {link} leads nowhere");
            if !anchor.is_empty() && target.extension().is_some_and(|kind| kind == "md") {
                let text = fs::read_to_string(&target).expect("a document can be read");
                assert!(
                    text.lines()
                        .any(|line| heading_anchor(line).as_deref() == Some(anchor)),
                    "{document}: {link} names no heading"
                );
            }
        }
    }
}

/// The anchor that a heading gets when Markdown is shown as a page.
fn heading_anchor(line: &str) -> Option<String> {
    let title = line
        .strip_prefix('#')?
        .trim_start_matches('#')
        .strip_prefix(' ')?;
    let kept = title
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}
