//! Workflows: what a file says ([`mod@file`], [`definition`]), and what follows from what has happened so far
//! ([`run`], [`decide`]).
//!
//! A definition is read once, from either dialect of the file, into one form; nothing after the
//! reader knows which dialect it was.

pub mod condition;
pub mod decide;
pub mod definition;
pub mod file;
pub mod program;
mod python;
pub mod run;
pub mod scope;
pub mod template;
