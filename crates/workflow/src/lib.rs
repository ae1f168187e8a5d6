//! Durable executions: claim → decide → step → record.
