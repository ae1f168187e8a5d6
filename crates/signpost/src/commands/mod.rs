//! A file per command, in the order in which a newcomer meets them.
//!
//! Each has its arguments (clap) and a `run`. What several share: [`connection`] names the server, [`database`] the database,
//! [`input`] reads what `-d`, `--body` and the like point at, [`headers`] reads `-H`,
//! [`print`](attempt_log) renders the attempt log.

pub mod attempt_log;
pub mod connection;
pub mod database;
pub mod headers;
pub mod input;
pub mod password;
pub mod secret;

pub mod completions;
pub mod deliveries;
pub mod demo;
pub mod doctor;
pub mod event_types;
pub mod events;
pub mod executions;
pub mod keys;
pub mod listen;
pub mod logs;
pub mod migrate;
pub mod nodes;
pub mod openapi;
pub mod pools;
pub mod receipts;
pub mod replay;
pub mod run;
pub mod schema;
pub mod serve;
pub mod sign;
pub mod sources;
pub mod token;
pub mod triggers;
pub mod users;
pub mod validate;
pub mod verify;
pub mod webhooks;
pub mod workflows;
