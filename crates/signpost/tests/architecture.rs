//! Holds ARCHITECTURE.md's invariants that can be read off the sources: which way dependencies
//! run, who may speak SQL, who may open connections, and that each dependency has its reason.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each crate may depend on, of ours.
const MAY_USE: [(&str, &[&str]); 11] = [
    ("domain", &[]),
    ("egress", &[]),
    ("store", &["domain"]),
    ("delivery", &["domain", "egress", "store"]),
    ("sandbox", &["domain"]),
    ("models", &["domain", "egress"]),
    ("intake", &["domain", "sandbox", "store"]),
    (
        "workflow",
        &["domain", "egress", "models", "sandbox", "store"],
    ),
    (
        "server",
        &[
            "delivery", "domain", "egress", "intake", "models", "sandbox", "store", "workflow",
        ],
    ),
    (
        "signpost",
        &[
            "delivery", "domain", "egress", "intake", "models", "sandbox", "server", "store",
            "workflow",
        ],
    ),
    ("testkit", &["delivery", "domain", "store"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A crate's dependencies outside tests, by name.
fn dependencies(krate: &str, section: &str) -> BTreeSet<String> {
    let manifest =
        fs::read_to_string(root().join("crates").join(krate).join("Cargo.toml")).unwrap();
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == section;
        } else if inside
            && !line.starts_with('#')
            && let Some((name, _)) = line.split_once(['.', ' ', '='])
        {
            names.insert(name.to_owned());
        }
    }
    names
}

/// The sources of a crate, without its tests.
fn sources(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
}

fn crate_sources(krate: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    sources(&root().join("crates").join(krate).join("src"), &mut found);
    found
}

#[test]
fn dependencies_run_one_way() {
    let ours: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    for (krate, may_use) in MAY_USE {
        for used in dependencies(krate, "[dependencies]") {
            assert!(
                !ours.contains(used.as_str()) || may_use.contains(&used.as_str()),
                "{krate} must not depend on {used}"
            );
        }
    }
    let crates = fs::read_dir(root().join("crates")).unwrap();
    for entry in crates.map(|entry| entry.unwrap().file_name()) {
        assert!(
            ours.contains(entry.to_str().unwrap()),
            "{} has no place in the order above yet",
            entry.display()
        );
    }
}

#[test]
fn only_the_store_speaks_sql() {
    // Testkit makes schemas for tests to work in, and drops them.
    let drivers = [
        ("rusqlite", &["store"][..]),
        ("tokio-postgres", &["store", "testkit"]),
        ("deadpool-postgres", &["store"]),
    ];
    for (driver, users) in drivers {
        for (krate, _) in MAY_USE {
            assert_eq!(
                users.contains(&krate),
                dependencies(krate, "[dependencies]").contains(driver),
                "{krate} and the database's driver {driver}"
            );
        }
    }
}

#[test]
fn only_egress_opens_connections() {
    // The benchmark is a load generator: it speaks to the server that it measures.
    let opens = [
        "TcpStream::connect",
        "TcpSocket::connect",
        "UdpSocket::bind",
    ];
    for krate in [
        "domain", "store", "delivery", "models", "server", "signpost",
    ] {
        for (path, source) in crate_sources(krate) {
            let bench = path.components().any(|part| part.as_os_str() == "bench");
            // A file's own tests come last in it, and may call what they test.
            let source = source.split("#[cfg(test)]").next().unwrap();
            for open in opens {
                assert!(
                    bench || !source.contains(open),
                    "{} opens a connection of its own: go through egress",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut users: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (krate, _) in MAY_USE {
        for section in ["[dependencies]", "[dev-dependencies]"] {
            for name in dependencies(krate, section) {
                users.entry(name).or_default().push(krate);
            }
        }
    }
    let table = page.split("## Dependencies").nth(1).unwrap();
    let named: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|line| line.split(" | ").next())
        .flat_map(|names| names.split(", "))
        .collect();
    for (name, users) in users {
        let ours = MAY_USE.iter().any(|(krate, _)| *krate == name);
        assert!(
            ours || named.contains(name.as_str()),
            "{name} (of {users:?}) has no line in ARCHITECTURE.md"
        );
    }
}

#[test]
fn no_unsafe_code_anywhere() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    for (krate, _) in MAY_USE {
        let manifest =
            fs::read_to_string(root().join("crates").join(krate).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{krate}");
    }
}
