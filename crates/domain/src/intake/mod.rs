//! Webhooks in: how a request is told to be genuine, what its sender deduplicates by, and what is
//! kept of it.
//!
//! - [`record`]: sources, triggers and receipts as they are stored.
//! - [`config`]: what a person sets of a source; [`preset`]: what each known provider does.
//! - [`verify()`]: whether a request is genuine, over its raw bytes, in constant time.
//! - [`payload`]: what a body says, and which part of it is the event's id.
//! - [`handshake`]: the questions that providers ask of a new URL.
//!
//! Not here: secrets at rest ([`crate::seal`]), limits over time, and whatever a request starts.

pub mod config;
pub mod handshake;
mod hmac;
pub mod payload;
pub mod preset;
pub mod record;
mod twilio;
pub mod verify;

pub use config::{Location, SourceConfig};
pub use preset::Preset;
pub use record::{Door, Outcome, Receipt, Source, SourceSecret, Trigger};
pub use verify::{Headers, Refusal, Request, Verified, verify};
