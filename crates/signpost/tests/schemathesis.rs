//! Schemathesis holds the running program to its own OpenAPI document.
//!
//! Bounded in time and examples, and seeded, so that a finding repeats. Streams never end and are
//! left out. What changes who may come in would shut the generator out, and is left to its own
//! tests. Needs Python with schemathesis (`./test` installs it): without it the test says so and
//! passes.
//!
//! `SIGNPOST_SCHEMATHESIS_EXAMPLES` (15) and `SIGNPOST_SCHEMATHESIS_SEED` (1) search longer or
//! elsewhere.

#[path = "samples/mod.rs"]
mod harness;

use std::process::Command;

use tempfile::TempDir;

use harness::{peers::Runtimes, program::Installation};

/// What each answer must be.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
/// Operations that are left out: streams, and what changes who may come in.
const EXCLUDED: &str = "/(stream|tail|listen|live)$|^/api/v1/(users|auth)";

#[test]
fn the_program_answers_as_its_openapi_document_says() {
    let Some(runtimes) = Runtimes::find() else {
        return;
    };
    let program = Installation::start(&[]);
    let folder = TempDir::new().expect("a temporary folder can be made");
    let set =
        |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let output = Command::new(runtimes.python())
        .current_dir(folder.path())
        .args([
            "-m",
            "schemathesis.cli",
            "run",
            &format!("{}/api/openapi.json", program.address()),
        ])
        .args([
            "--checks",
            CHECKS,
            "--exclude-path-regex",
            EXCLUDED,
            "--phases",
            "examples,coverage,fuzzing",
        ])
        .args([
            "--max-examples",
            &set("SIGNPOST_SCHEMATHESIS_EXAMPLES", "15"),
        ])
        .args([
            "--seed",
            &set("SIGNPOST_SCHEMATHESIS_SEED", "1"),
            "--generation-database",
            "none",
        ])
        .args(["--workers", "2", "--request-timeout", "30", "--no-shrink"])
        .args(["--continue-on-failure", "--no-color", "--warnings", "off"])
        .output()
        .expect("schemathesis starts");
    assert!(
        output.status.success(),
        "schemathesis ended with {}:\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
