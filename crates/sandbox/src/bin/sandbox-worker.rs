//! The sandbox's own program, for this crate's tests: what `signpost sandbox …` is elsewhere.

use std::process::ExitCode;

fn main() -> ExitCode {
    sandbox::run_if_asked(std::env::args_os()).unwrap_or(ExitCode::FAILURE)
}
