//! Webhooks in: receive → verify → dedupe → map → start.

pub mod start;
