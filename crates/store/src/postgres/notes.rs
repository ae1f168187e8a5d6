//! (being written)
#[derive(Default)]
pub(super) struct Notes;
