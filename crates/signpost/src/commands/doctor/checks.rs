//! One function per thing that can be wrong. Each looks and judges; none repairs.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use domain::{
    Timestamp,
    seal::{KEY_BYTES, KeyError, SealingKey},
};
use egress::{Resolve as _, SystemResolver};
use serde_json::Value;
use server::lifecycle::KEY_FILE;
use store::{Node, SharedStore, StoreError};

use super::{Check, Verdict};
use crate::{
    client::Client,
    edge,
    local::{self, DataDir, IfMissing},
    output::{counted, show},
};

/// Less free space than this is too little to go on.
const FREE_BYTES_MIN: u64 = 64 << 20;
/// Less free space than this wants attention.
const FREE_BYTES_WARN: u64 = 1 << 30;
/// When this version was written: no clock can rightly be before it.
const WRITTEN: Timestamp = Timestamp::from_ms(1_767_225_600_000);
/// How far ahead of that a clock is believed to be right.
const YEARS_AHEAD_MAX: u64 = 20;
/// Fewer open files than this are too few for many connections.
const OPEN_FILES_WARN: u64 = 4_096;

fn ok(name: &'static str, found: impl Into<String>) -> Check {
    Check {
        name,
        verdict: Verdict::Ok,
        found: found.into(),
        advice: None,
    }
}

fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
    Check {
        name,
        verdict: Verdict::Warn,
        found: found.into(),
        advice: Some(advice.into()),
    }
}

fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
    Check {
        name,
        verdict: Verdict::Fail,
        found: found.into(),
        advice: Some(advice.into()),
    }
}

/// The data folder and the key in it: there, and closed to others.
pub fn folder(data_dir: &DataDir) -> Vec<Check> {
    let path = data_dir.path();
    let shown = path.display().to_string();
    let Ok(facts) = fs::metadata(path) else {
        let advice =
            "`signpost serve` makes it on its first start; or name another with --data-dir";
        return vec![warn(
            "data folder",
            format!("{shown} does not exist"),
            advice,
        )];
    };
    if !facts.is_dir() {
        return vec![fail(
            "data folder",
            format!("{shown} is no folder"),
            "name another with --data-dir",
        )];
    }
    let mode = facts.permissions().mode() & 0o777;
    let folder = if is_private(mode) {
        ok("data folder", shown)
    } else {
        let advice = format!("chmod 700 {}", path.display());
        warn(
            "data folder",
            format!("{shown} is open to others (mode {mode:03o})"),
            advice,
        )
    };
    let shared = data_dir.database_url().is_some();
    vec![
        folder,
        key_file(path, !shared && data_dir.has_database(), data_dir.key()),
    ]
}

/// Whether only the owner may read, write or enter.
#[expect(clippy::verbose_bit_mask, reason = "modes are read as octal masks")]
const fn is_private(mode: u32) -> bool {
    mode & 0o077 == 0
}

/// The key: `given` in the environment, which counts before the file, else in the file.
fn key_file(folder: &Path, has_database: bool, given: Option<&str>) -> Check {
    let path = folder.join(KEY_FILE);
    if let Some(error) = given.and_then(damage) {
        let advice = "set it to the text of a key file, or to 64 hexadecimal digits; where the data folder has its own key, unset it";
        return fail(
            "key file",
            format!("the sealing key in SIGNPOST_KEY is damaged: {error}"),
            advice,
        );
    }
    let Ok(facts) = fs::metadata(&path) else {
        return if given.is_some() {
            ok(
                "key file",
                "the key is in SIGNPOST_KEY; keep a copy of it elsewhere",
            )
        } else if has_database {
            let advice = "restore it from a backup, or keep it in SIGNPOST_KEY: without it no secret can be opened";
            warn("key file", format!("{} is missing", path.display()), advice)
        } else {
            ok("key file", "none yet: made on the first start")
        };
    };
    let mode = facts.permissions().mode() & 0o777;
    if is_private(mode) {
        ok(
            "key file",
            format!(
                "{} (mode {mode:03o}); keep a copy of it elsewhere",
                path.display()
            ),
        )
    } else {
        let advice = format!(
            "chmod 600 {}; whoever read it can read your secrets: rotate them",
            path.display()
        );
        fail(
            "key file",
            format!("{} can be read by others (mode {mode:03o})", path.display()),
            advice,
        )
    }
}

/// What is wrong with a key's text.
fn damage(text: &str) -> Option<String> {
    read_key(text).err().map(|error| error.to_string())
}

/// Reads a key's text. The server takes the same two forms.
fn read_key(text: &str) -> Result<SealingKey, KeyError> {
    let mut bytes = [0; KEY_BYTES];
    match hex::decode_to_slice(text.trim(), &mut bytes) {
        Ok(()) => Ok(SealingKey::new(bytes)),
        Err(_) => SealingKey::parse(text),
    }
}

/// Whether the key that is here is the one that the nodes' database was sealed with.
fn shared_key(data_dir: &DataDir, expected: Option<&str>) -> Check {
    const NAME: &str = "sealing key";
    const ADVICE: &str = "copy signpost.key from a node that runs, or set SIGNPOST_KEY to the same value on all nodes";
    let Some(expected) = expected else {
        return ok(NAME, "the database has none yet: the first node makes it");
    };
    let text = match data_dir.key() {
        Some(text) => Some(text.to_owned()),
        None => fs::read_to_string(data_dir.path().join(KEY_FILE)).ok(),
    };
    match text.as_deref().map(read_key) {
        Some(Ok(key)) if key.fingerprint() == expected => {
            ok(NAME, format!("the database's (fingerprint {expected})"))
        }
        Some(_) => {
            let found = format!("another than the database's (fingerprint {expected})");
            fail(NAME, found, ADVICE)
        }
        None => {
            let found = format!("none here; the database's has fingerprint {expected}");
            fail(NAME, found, ADVICE)
        }
    }
}

/// The database and the disk it lies on. Where a server runs on the data folder it holds the
/// lock, and is asked instead.
pub async fn database(data_dir: &DataDir, server_runs: bool) -> Vec<Check> {
    let shared = data_dir.database_url().is_some();
    if !shared && !data_dir.has_database() {
        return vec![ok("database", "none yet: made on the first start")];
    }
    match local::open(data_dir, IfMissing::Fail).await {
        Ok(store) => {
            let looked = look(data_dir, &store).await;
            store.close().await;
            looked.unwrap_or_else(|error| {
                vec![fail("database", error.to_string(), "restore a backup")]
            })
        }
        Err(_) if server_runs && !shared => vec![ok("database", "open in the running server")],
        Err(error) => {
            let found = error
                .chain()
                .last()
                .map(ToString::to_string)
                .unwrap_or_default();
            let advice = if shared {
                "check the URL, and whether PostgreSQL runs and lets this machine in"
            } else {
                "stop what has it open; if it is damaged, restore a backup"
            };
            vec![fail("database", found, advice)]
        }
    }
}

/// What an open store says of itself.
async fn look(data_dir: &DataDir, store: &SharedStore) -> Result<Vec<Check>, StoreError> {
    let facts = store.facts().await?;
    let depth = store.queue_depth().await?;
    let found = format!(
        "{} {}, schema version {}, {}, {}",
        facts.kind,
        facts.version,
        facts.schema_version,
        bytes(facts.size_bytes),
        counted(
            &depth.pending.to_string(),
            "delivery waits",
            "deliveries wait"
        )
    );
    let mut checks = vec![ok("database", found)];
    if !store.is_shared() {
        checks.push(disk(facts.free_bytes));
        return Ok(checks);
    }
    if !facts.unsafe_settings.is_empty() {
        checks.push(warn(
            "durability",
            format!("PostgreSQL runs with {}", facts.unsafe_settings.join(", ")),
            "switch it on: what was accepted can be lost in a power cut",
        ));
    }
    checks.push(nodes(&store.nodes().await?));
    let fingerprint = store.sealed_with(None).await?;
    checks.push(shared_key(data_dir, fingerprint.as_deref()));
    Ok(checks)
}

/// The nodes that share the database, without this command, which is one for a moment.
fn nodes(all: &[Node]) -> Check {
    let others: Vec<&Node> = all.iter().filter(|node| !node.is_self).collect();
    let named: Vec<String> = others
        .iter()
        .map(|node| format!("{} ({})", node.name, node.version))
        .collect();
    let count = counted(&others.len().to_string(), "node runs", "nodes run");
    if others.iter().any(|node| node.role.delivers()) {
        return ok("nodes", format!("{count}: {}", named.join(", ")));
    }
    let found = match named.as_slice() {
        [] => count,
        named => format!("{count}, none delivers: {}", named.join(", ")),
    };
    warn(
        "nodes",
        found,
        "start one: signpost serve --database-url URL",
    )
}

fn disk(free: Option<u64>) -> Check {
    match free {
        None => warn("disk", "the free space can't be told", "look with df"),
        Some(free) if free < FREE_BYTES_MIN => fail(
            "disk",
            format!("{} free", bytes(free)),
            "free some space: no event is taken on a full disk",
        ),
        Some(free) if free < FREE_BYTES_WARN => warn(
            "disk",
            format!("{} free", bytes(free)),
            "free some space, or shorten --retention-days",
        ),
        Some(free) => ok("disk", format!("{} free", bytes(free))),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..1_048_576 => format!("{} KiB", count / 1_024),
        1_048_576..1_073_741_824 => format!("{} MiB", count / 1_048_576),
        _ => format!(
            "{}.{} GiB",
            count / 1_073_741_824,
            count % 1_073_741_824 * 10 / 1_073_741_824
        ),
    }
}

/// Whether the clock can be right: receivers refuse signatures that are five minutes off.
pub fn clock() -> Check {
    judge_clock(edge::now())
}

fn judge_clock(now: Timestamp) -> Check {
    let latest = WRITTEN + Duration::from_secs(YEARS_AHEAD_MAX * 365 * 86_400);
    if (WRITTEN..latest).contains(&now) {
        ok("clock", now.to_string())
    } else {
        let advice =
            "set it (NTP): receivers refuse signatures that are more than five minutes off";
        fail("clock", format!("{now} can't be right"), advice)
    }
}

/// How many files and connections the process may have open.
pub fn open_files() -> Check {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    match soft {
        Some(soft) if soft < OPEN_FILES_WARN => warn(
            "open files",
            format!("at most {soft}"),
            "raise it for many connections: ulimit -n 65536",
        ),
        Some(soft) => ok("open files", format!("at most {soft}")),
        None => ok("open files", "no limit is known"),
    }
}

/// Whether the port is free, or Signpost's already.
pub fn port(host: &str, port: u16, server_runs: bool) -> Check {
    let host = if host.eq_ignore_ascii_case("localhost") {
        "127.0.0.1"
    } else {
        host
    };
    let address = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    match TcpListener::bind(&address) {
        Ok(_) => ok("port", format!("{address} is free")),
        Err(_) if server_runs => ok("port", format!("{address} is in use, and Signpost runs")),
        Err(error) => fail(
            "port",
            format!("{address}: {error}"),
            "choose another: signpost serve --port 0",
        ),
    }
}

/// Whether a server answers and is ready. One that was not named need not run.
pub async fn server(client: &Client, named: bool) -> Check {
    let address = client.address().to_owned();
    if !client.is_reachable().await {
        let found = format!("nobody answers at {address}");
        return if named {
            fail("server", found, "start it, or check --server")
        } else {
            warn("server", found, "start it: signpost serve")
        };
    }
    let state: anyhow::Result<Value> = client.get("/readyz", &[]).await;
    match state {
        Ok(state) => ok(
            "server",
            format!("{address} is ready (version {})", show(&state, "version")),
        ),
        Err(error) => {
            let found = format!("{address} answers, and is not ready: {error}");
            fail("server", found, "look at its log")
        }
    }
}

/// Whether names resolve.
pub async fn dns(name: &str) -> Check {
    let resolved = tokio::time::timeout(
        Duration::from_secs(5),
        SystemResolver::default().resolve(name, 443),
    )
    .await;
    let advice = "check /etc/resolv.conf; without DNS only addresses and local names can be called";
    match resolved {
        Ok(Ok(addresses)) if !addresses.is_empty() => ok(
            "DNS",
            format!(
                "{name} resolves to {}",
                counted(&addresses.len().to_string(), "address", "addresses")
            ),
        ),
        Ok(Ok(_)) => warn("DNS", format!("{name} has no address"), advice),
        Ok(Err(error)) => warn("DNS", format!("{name}: {error}"), advice),
        Err(_) => warn("DNS", format!("{name} did not resolve within 5 s"), advice),
    }
}

/// Whether the system says which certificates to trust.
pub fn tls_roots() -> Check {
    let system = rustls_native_certs::load_native_certs();
    match system.certs.len() {
        0 => warn(
            "TLS roots",
            "the system has none; the ones built in are used",
            "install ca-certificates, so that they stay up to date",
        ),
        count => ok("TLS roots", format!("{count} certificates of the system")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_another_age_fails() {
        assert_eq!(judge_clock(Timestamp::from_ms(0)).verdict, Verdict::Fail);
        assert_eq!(
            judge_clock(WRITTEN + Duration::from_hours(24)).verdict,
            Verdict::Ok
        );
        assert_eq!(judge_clock(Timestamp::FAR_FUTURE).verdict, Verdict::Fail);
    }

    #[test]
    fn little_space_warns_and_none_fails() {
        let verdicts = [None, Some(0), Some(FREE_BYTES_MIN), Some(FREE_BYTES_WARN)]
            .map(|free| disk(free).verdict);
        assert_eq!(
            verdicts,
            [Verdict::Warn, Verdict::Fail, Verdict::Warn, Verdict::Ok]
        );
    }

    #[test]
    fn a_key_that_others_can_read_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KEY_FILE);
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(key_file(folder.path(), true, None).verdict, Verdict::Fail);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(key_file(folder.path(), true, None).verdict, Verdict::Ok);
    }

    #[test]
    fn a_key_in_the_environment_stands_for_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let base64 = SealingKey::new([7; KEY_BYTES]).to_text();
        let hexadecimal = "0f".repeat(KEY_BYTES);
        let judged = |given| key_file(folder.path(), true, given);
        assert_eq!(judged(None).verdict, Verdict::Warn);
        assert_eq!(judged(Some(&base64)).verdict, Verdict::Ok);
        assert_eq!(judged(Some(&hexadecimal)).verdict, Verdict::Ok);
        for text in ["", "banana", "AAAA"] {
            let check = judged(Some(text));
            assert_eq!(check.verdict, Verdict::Fail, "{text}");
            assert!(check.found.contains("damaged"), "{}", check.found);
        }
    }

    #[test]
    fn a_port_in_use_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().port();
        assert_eq!(port("127.0.0.1", taken, false).verdict, Verdict::Fail);
        assert_eq!(port("localhost", taken, true).verdict, Verdict::Ok);
    }

    #[test]
    fn sizes_are_read_easily() {
        assert_eq!(
            [10 << 10, 10 << 20, 5 << 29].map(bytes),
            ["10 KiB", "10 MiB", "2.5 GiB"]
        );
    }
}
