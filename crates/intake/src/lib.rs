//! Webhooks in: receive → verify → dedupe → map → start.
