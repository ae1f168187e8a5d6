//! `file_read`, `file_write`, `file_glob`, `file_move`, `sql_query`: below `ALLOWED_PATHS`.

use serde_json::{Value, json};

use super::{Arguments, Builtin, ToolError, beneath::Place, failed};
use crate::Settings;

/// The most rows of a query.
const ROWS_MAX: usize = 200;

pub(super) async fn run(
    settings: &Settings,
    tool: Builtin,
    arguments: &Arguments<'_>,
) -> Result<String, ToolError> {
    let place = |name: &str| Place::find(&settings.allowed_paths, arguments.text(name)?);
    match tool {
        Builtin::FileRead => {
            let place = place("path")?;
            blocking(move || place.read()).await
        }
        Builtin::FileWrite => {
            let place = place("path")?;
            let content = arguments.text("content")?.to_owned();
            let append = arguments.value("append").and_then(Value::as_bool) == Some(true);
            blocking(move || {
                place.write(&content, append)?;
                Ok(json!({"path": place.path(), "bytes": content.len()}).to_string())
            })
            .await
        }
        Builtin::FileGlob => {
            let place = place("pattern")?;
            blocking(move || Ok(json!({"files": place.glob()?}).to_string())).await
        }
        _ => {
            let (from, to) = (place("from")?, place("to")?);
            blocking(move || {
                from.move_to(&to)?;
                Ok(json!({"path": to.path()}).to_string())
            })
            .await
        }
    }
}

async fn blocking(
    work: impl FnOnce() -> Result<String, ToolError> + Send + 'static,
) -> Result<String, ToolError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(failed("the work on files broke off")))
}

/// `sql_query`. The reader opens the file read-only; that the statement is a SELECT is checked
/// here for a clear answer, and there for certain.
pub(super) async fn sql(
    settings: &Settings,
    arguments: &Arguments<'_>,
) -> Result<String, ToolError> {
    let query = arguments.text("query")?.trim();
    let first: String = query
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .map(|c| c.to_ascii_uppercase())
        .collect();
    if !matches!(&*first, "SELECT" | "WITH") {
        return Err(ToolError::Arguments("`query` must be a SELECT".to_owned()));
    }
    let place = Place::find(&settings.allowed_paths, arguments.text("database")?)?;
    let Some(reader) = &settings.sql else {
        return Err(failed("databases cannot be read in this installation"));
    };
    let path = place.path();
    blocking(move || place.is_file().map(|()| String::new())).await?;
    let rows = reader
        .select(&path, query, ROWS_MAX)
        .await
        .map_err(ToolError::Failed)?;
    Ok(rows.to_string())
}
