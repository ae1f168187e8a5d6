//! `signpost`: signed POSTs, in and out, for AI agents. The one binary.
//!
//! [`cli`] reads the command line and hands over to a file per command in [`commands`]; those
//! talk to a server through [`client`], or work on the data directory themselves ([`local`]).
//! [`edge`] is where the program meets the wall clock and the system's randomness. What the
//! program prints goes through [`output`], how it fails through [`problem`].

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by it"))]

mod bench;
mod cli;
mod client;
mod commands;
mod edge;
mod local;
mod output;
mod problem;
#[cfg(test)]
mod reference;
mod sse;
mod surroundings;
mod terminal;
mod when;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Started by a server as a sandbox, the program is nothing else.
    if let Some(code) = sandbox::run_if_asked(std::env::args_os()) {
        return code;
    }
    cli::main()
}
