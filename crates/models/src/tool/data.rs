//! `json_parse`, `yaml_parse`, `dataframe_to_csv`: data from one form into another.

use serde_json::Value;

use super::{Arguments, ToolError, failed};

/// The largest text that is parsed.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// The most columns of a table.
const COLUMNS_MAX: usize = 256;

/// `json_parse`.
pub(super) fn json(arguments: &Arguments<'_>) -> Result<String, ToolError> {
    let text = bounded(arguments.text("text")?)?;
    let value: Value = serde_json::from_str(text)
        .map_err(|error| ToolError::Arguments(format!("`text` is no JSON: {error}")))?;
    let pointer = arguments.text_or_none("pointer")?.unwrap_or_default();
    value
        .pointer(pointer)
        .map(Value::to_string)
        .ok_or_else(|| ToolError::Arguments(format!("nothing stands at {pointer:?}")))
}

/// `yaml_parse`.
pub(super) fn yaml(arguments: &Arguments<'_>) -> Result<String, ToolError> {
    let text = bounded(arguments.text("text")?)?;
    let value: Value = serde_saphyr::from_str(text)
        .map_err(|error| ToolError::Arguments(format!("`text` is no YAML: {error}")))?;
    Ok(value.to_string())
}

fn bounded(text: &str) -> Result<&str, ToolError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ToolError::Arguments(
            "`text` is larger than 1 MiB".to_owned(),
        ));
    }
    Ok(text)
}

/// `dataframe_to_csv`: RFC 4180, with the columns in the order in which they first occur.
pub(super) fn csv(arguments: &Arguments<'_>) -> Result<String, ToolError> {
    let rows = arguments
        .value("data")
        .and_then(Value::as_array)
        .ok_or_else(|| ToolError::Arguments("`data` must be a list of objects".to_owned()))?;
    let mut columns: Vec<&str> = Vec::new();
    for row in rows {
        let Some(row) = row.as_object() else {
            return Err(ToolError::Arguments(
                "`data` must be a list of objects".to_owned(),
            ));
        };
        for name in row.keys() {
            if !columns.contains(&&**name) {
                columns.push(name);
            }
        }
        if columns.len() > COLUMNS_MAX {
            return Err(failed("more than 256 columns"));
        }
    }
    let mut table: Vec<String> = vec![line(columns.iter().map(|name| (*name).to_owned()))];
    for row in rows {
        table.push(line(columns.iter().map(|name| match &row[*name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })));
    }
    Ok(table.concat())
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let quoted = cells.map(|cell| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell
        }
    });
    quoted.collect::<Vec<_>>().join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(
        tool: fn(&Arguments<'_>) -> Result<String, ToolError>,
        arguments: Value,
    ) -> Result<String, ToolError> {
        tool(&Arguments::of(&arguments)?)
    }

    #[test]
    fn json_and_what_stands_in_it() {
        let text = r#"{"a": [1, {"b": "x"}]}"#;
        assert_eq!(
            call(json, json!({"text": text, "pointer": "/a/1/b"})),
            Ok("\"x\"".to_owned())
        );
        for wrong in [
            json!({}),
            json!({"text": 1}),
            json!({"text": "{"}),
            json!({"text": "1", "pointer": "/a"}),
            json!("text"),
        ] {
            assert!(matches!(call(json, wrong), Err(ToolError::Arguments(_))));
        }
    }

    #[test]
    fn yaml_becomes_json_and_a_bomb_does_not() {
        let text = "a: [1, two]\nb: {c: true}";
        assert_eq!(
            call(yaml, json!({"text": text})),
            Ok(r#"{"a":[1,"two"],"b":{"c":true}}"#.to_owned())
        );
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..10 {
            let last = format!("*a{}, ", n - 1).repeat(10);
            bomb.push_str(&format!("a{n}: &a{n} [{last}]\n"));
        }
        assert!(matches!(
            call(yaml, json!({"text": bomb})),
            Err(ToolError::Arguments(_))
        ));
    }

    #[test]
    fn tables_have_all_columns_and_quotes_where_they_must() {
        let data = json!({"data": [{"a": 1, "b": "x,\"y\""}, {"c": null, "a": "z"}]});
        assert_eq!(
            call(csv, data),
            Ok("a,b,c\r\n1,\"x,\"\"y\"\"\",\r\nz,,\r\n".to_owned())
        );
    }
}
