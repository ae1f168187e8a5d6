//! Durable executions: claim → decide → step → record.

pub mod outbox;
