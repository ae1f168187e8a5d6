//! PostgreSQL for tests.
//!
//! [`database`] gives a schema of its own on a server that all tests share: the one that
//! `DATABASE_URL` names, else one that the first test starts (`shared`) and that ends by itself
//! once the last test has gone (`warden.sh`), also if the tests were killed. [`Cluster`] is a
//! server for one test, which may stop it and start it again; [`Gate`] stands between a program
//! and its server, and can be shut.
//!
//! `programs` finds what PostgreSQL consists of, `server` runs it in a folder; `sql` says the few
//! words that make and drop schemas. What the tests are about is not spoken here.

mod cluster;
mod database;
mod gate;
mod programs;
mod random;
mod server;
mod shared;
mod sql;

#[cfg(test)]
mod tests;

pub use cluster::Cluster;
pub use database::{Database, database};
pub use gate::Gate;
