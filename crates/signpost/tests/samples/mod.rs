//! What the whole-program tests share: the real binary ([`program`]), its API as any client sees
//! it ([`api`]), the code in the seed documents ([`seeds`]), servers that run that code
//! ([`peers`]), recorded payloads ([`corpora`]), a table of webhooks ([`subscriber`]), a ledger of
//! what arrived ([`ledger`]), several nodes over one database ([`fleet`]), and what tests of
//! workflows need ([`workflows`]).
//!
//! Nothing of the seeds or corpora is kept here: both are read where they exist, and a test that
//! needs them says so and ends where they do not.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

pub mod api;
pub mod corpora;
pub mod fleet;
pub mod ledger;
pub mod peers;
pub mod program;
pub mod seeds;
pub mod subscriber;
pub mod workflows;
