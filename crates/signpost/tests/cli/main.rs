//! The real program, started as a person or a script starts it.
//!
//! [`offline`] needs no server, [`online`] and [`streams`] start one on a free port with a folder
//! of its own, as does [`workflows`] in part, [`people`] changes between the two, [`nodes`] is about several, [`demo`] brings its own.

#![expect(
    clippy::unwrap_used,
    clippy::similar_names,
    reason = "a test fails by panicking, and names what it looks at"
)]

mod demo;
mod nodes;
mod offline;
mod online;
mod people;
mod program;
mod streams;
mod workflows;
