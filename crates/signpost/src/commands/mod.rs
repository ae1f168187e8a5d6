//! A file per command, in the order in which a newcomer meets them.
//!
//! Each has its arguments (clap) and a `run`. What several share: [`connection`] names the server,
//! [`input`] reads what `-d`, `--body` and the like point at, [`headers`] reads `-H`,
//! [`print`](attempt_log) renders the attempt log.

pub mod attempt_log;
pub mod connection;
pub mod headers;
pub mod input;
pub mod password;
pub mod secret;

pub mod serve;
pub mod demo;
pub mod events;
pub mod event_types;
pub mod webhooks;
pub mod deliveries;
pub mod logs;
pub mod listen;
pub mod replay;
pub mod sign;
pub mod verify;
pub mod token;
pub mod keys;
pub mod users;
pub mod doctor;
pub mod migrate;
pub mod openapi;
pub mod completions;
