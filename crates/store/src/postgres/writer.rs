//! (being written)
use std::sync::Arc;
use super::{connect::Link, lease::LeaseKeeper, partitions::Partitions};
use crate::CommitObserver;
pub(super) struct Writers;
impl Writers {
    pub(super) fn start(_link: Arc<Link>, _lease: Arc<LeaseKeeper>, _partitions: Arc<Partitions>, _observer: Arc<dyn CommitObserver>) -> Self { Self }
}
