//! (being written)
use std::sync::Arc;
use super::{PostgresOptions, connect::Link};
use crate::{Lease, StoreError};
pub(super) struct LeaseKeeper;
impl LeaseKeeper {
    pub(super) async fn start(_link: Arc<Link>, _options: &PostgresOptions) -> Result<Arc<Self>, StoreError> { unimplemented!() }
    /// The present lease.
    pub(super) fn current(&self) -> Lease { unimplemented!() }
}
