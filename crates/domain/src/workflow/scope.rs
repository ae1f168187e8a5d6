//! What templates and conditions can name.

use serde_json::{Map, Value};

/// The values that a node sees.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Its own inputs, which stand before the state's fields of the same name.
    pub inputs: &'a Map<String, Value>,
    /// The state.
    pub state: &'a Map<String, Value>,
    /// The last node's output, which an undeclared name gives in the loose dialect.
    pub last: Option<&'a Value>,
}
