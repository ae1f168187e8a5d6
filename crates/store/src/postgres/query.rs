//! A query that is put together of conditions, with its values.

use tokio_postgres::types::ToSql;

/// SQL and what its `$1`, `$2`, … stand for.
#[derive(Default)]
pub(super) struct Query {
    values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Query {
    /// Takes a value; answers what stands for it in the SQL.
    pub(super) fn value(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.values.push(Box::new(value));
        format!("${}", self.values.len())
    }

    /// The values, as a statement takes them.
    pub(super) fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as _).collect()
    }
}
