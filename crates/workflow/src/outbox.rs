//! Events that a transition of this crate causes, written in the transaction that makes it.
//!
//! Who plays in it: whoever changes something asks the [`Outbox`] to plan the events that say so,
//! hands the records to the store with the transition, and tells the plan how that ended. What
//! becomes of them then (deliveries, listeners) is none of this crate's business: the server
//! adapts the delivery pipeline to these traits.

use bytes::Bytes;
use domain::{WorkspaceId, event::EventType};
use store::{Accepted, NewEvent};

/// Something that happened, to be told as an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// What kind of thing.
    pub event_type: EventType,
    /// The payload, as canonical JSON ([`domain::json`]).
    pub data: Bytes,
    /// How many Signposts what caused it has passed through.
    pub hops: u8,
}

/// Where events are planned.
pub trait Outbox: Send + Sync {
    /// Whether somebody in the workspace wants events of this type now; what nobody wants may be
    /// left out where the catalogue calls it noise.
    fn wants(&self, workspace: WorkspaceId, event_type: &EventType) -> bool;

    /// Plans events that another transition stores, in order. They are not stored yet.
    fn plan(&self, workspace: WorkspaceId, occurrences: Vec<Occurrence>) -> Box<dyn Planned>;
}

/// Events that are planned. One of [`Planned::stored`] and [`Planned::left_out`] has to follow;
/// dropping it means that nobody knows, and their deliveries are looked for on disk.
pub trait Planned: Send {
    /// The records to be stored, once: a second call answers none.
    fn take_events(&mut self) -> Vec<NewEvent>;

    /// They were stored: their deliveries may start. What the store answered, in the same order.
    fn stored(self: Box<Self>, accepted: Vec<Accepted>);

    /// They were certainly not stored.
    fn left_out(self: Box<Self>);
}
