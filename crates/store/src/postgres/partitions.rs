//! (being written)
use std::{sync::Arc, time::Duration};
use super::connect::Link;
use crate::StoreError;
/// Spans of time that have partitions.
pub(super) struct Partitions;
impl Partitions {
    pub(super) fn new(_link: Arc<Link>, _span: Duration) -> Self { Self }
    /// Sees to it that events with keys made from `first_ms` to `last_ms` have partitions.
    pub(super) async fn cover(&self, _first_ms: i64, _last_ms: i64) -> Result<(), StoreError> { unimplemented!() }
}
