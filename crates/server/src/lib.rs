//! Signpost over HTTP: what the outside sees, rendered and parsed.
//!
//! The players, in the order in which a request meets them:
//!
//! - [`lifecycle`] builds everything from a [`config::ServerConfig`], on an open
//!   [`installation`], and takes it down again; [`serve`] accepts connections, bounded in number, headers and time.
//! - [`front`] stands before the router: it refuses foreign hosts and origins, finds out who asks
//!   ([`auth`]), meters ([`limits`]), answers repeated requests from the kept answer
//!   ([`idempotency`]), catches panics, and puts on the headers that every answer carries.
//! - [`api`] has a file per resource: each parses ([`extract`], [`shape`]), calls a function of the pipeline
//!   or the store, and renders.
//! - [`engine`] puts the engine of executions beside the delivery pipeline.
//! - [`problem`] is how every refusal looks; [`openapi`] is what all of this says of itself.
//!
//! Nothing is decided here: rules live in `domain`, flows in `delivery` and `workflow`, transitions in `store`.
//! The clock, ids and randomness come in through [`Edge`].

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by it"))]

pub mod api;
pub mod auth;
pub mod callbacks;
pub mod config;
mod descriptors;
pub mod engine;
pub mod extract;
pub mod front;
pub mod idempotency;
pub mod installation;
pub mod intake;
pub mod lifecycle;
pub mod limits;
pub mod metrics;
mod offline;
pub mod openapi;
mod outbox;
pub mod problem;
pub mod serve;
pub mod shape;
pub mod starter;
pub mod state;
mod unstalled;

pub use config::ServerConfig;
pub use delivery::{Edge, Entropy};
pub use lifecycle::{Running, StartError, start};
pub use problem::Problem;
pub use state::{App, SharedApp};
