//! The rules of Signpost: pure functions and values.
//!
//! Nothing here is async, does I/O, reads a clock or makes randomness: whatever a rule needs to
//! know (the time, jitter, an id) is an argument. So each rule can be tested as a table.
//!
//! In the order in which an event meets them: [`json`] makes the published body canonical,
//! [`catalogue`] knows the event types, [`pattern`] and [`filter`] say which [`webhook`]s want
//! it, [`mod@format`] renders its bodies, [`signature`] signs them, [`schedule`] decides what follows
//! an [`attempt`], [`breaker`] how much a failing webhook is asked, [`share`] how much of it each
//! node does.

pub mod access;
pub mod attempt;
pub mod breaker;
pub mod catalogue;
pub mod delivery;
pub mod edge;
pub mod event;
pub mod execution;
pub mod filter;
pub mod format;
pub mod header;
pub mod id;
pub mod intake;
pub mod jq;
pub mod json;
pub mod nearest;
pub mod pattern;
pub mod replay;
pub mod schedule;
pub mod seal;
pub mod share;
pub mod signature;
pub mod time;
pub mod webhook;
pub mod workflow;

pub use id::{
    ApiKeyId, DeliveryId, EventId, EventKey, ExecutionId, ReceiptId, ReplayId, SourceId, TriggerId,
    UserId, WebhookId, WorkflowId, WorkspaceId,
};
pub use time::Timestamp;
