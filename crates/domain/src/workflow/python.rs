//! Values as Python's `str()` writes them, which is how they appear in a filled-in template:
//! `['a']`, `True`, `None`, `{'a': 1}`, `1e-05`.

use std::fmt::Write;

use serde_json::{Number, Value};

/// There is more than was allowed, or it is nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// How deep a value may be nested.
const DEPTH_MAX: usize = 128;

/// Appends a value to `text`, which grows to no more than about `bytes_max`.
pub(super) fn write_str(value: &Value, text: &mut String, bytes_max: usize) -> Result<(), TooLong> {
    match value {
        Value::String(string) if text.len() + string.len() <= bytes_max => text.push_str(string),
        Value::String(_) => return Err(TooLong),
        other => write_repr(other, text, bytes_max, 0)?,
    }
    Ok(())
}

fn write_repr(
    value: &Value,
    text: &mut String,
    bytes_max: usize,
    depth: usize,
) -> Result<(), TooLong> {
    if text.len() > bytes_max || depth > DEPTH_MAX {
        return Err(TooLong);
    }
    match value {
        Value::Null => text.push_str("None"),
        Value::Bool(true) => text.push_str("True"),
        Value::Bool(false) => text.push_str("False"),
        Value::Number(number) => write_number(number, text),
        Value::String(string) if text.len() + string.len() > bytes_max => return Err(TooLong),
        Value::String(string) => write_quoted(string, text),
        Value::Array(list) => {
            text.push('[');
            for (at, item) in list.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                write_repr(item, text, bytes_max, depth + 1)?;
            }
            text.push(']');
        }
        Value::Object(object) => {
            text.push('{');
            for (at, (key, value)) in object.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                write_quoted(key, text);
                text.push_str(": ");
                write_repr(value, text, bytes_max, depth + 1)?;
            }
            text.push('}');
        }
    }
    if text.len() > bytes_max {
        return Err(TooLong);
    }
    Ok(())
}

fn write_number(number: &Number, text: &mut String) {
    match number.as_f64() {
        Some(float) if number.is_f64() => write_float(float, text),
        _ => {
            let _ = write!(text, "{number}");
        }
    }
}

/// The shortest digits that read back as the same number; with an exponent below 1e-4 and from
/// 1e16 on.
fn write_float(float: f64, text: &mut String) {
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{float}");
        text.push_str(&plain);
        text.push_str(if plain.contains('.') { "" } else { ".0" });
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(text, "{digits}e{sign}{:02}", exponent.abs());
    }
}

fn write_quoted(string: &str, text: &mut String) {
    let quote = if string.contains('\'') && !string.contains('"') {
        '"'
    } else {
        '\''
    };
    text.push(quote);
    for c in string.chars() {
        let _ = match c {
            '\\' => write!(text, "\\\\"),
            '\n' => write!(text, "\\n"),
            '\r' => write!(text, "\\r"),
            '\t' => write!(text, "\\t"),
            c if c == quote => write!(text, "\\{c}"),
            c if is_printable(c) => write!(text, "{c}"),
            c if u32::from(c) <= 0xff => write!(text, "\\x{:02x}", u32::from(c)),
            c if u32::from(c) <= 0xffff => write!(text, "\\u{:04x}", u32::from(c)),
            c => write!(text, "\\U{:08x}", u32::from(c)),
        };
    }
    text.push(quote);
}

/// Whether Python's `repr` shows a character as it is.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // The standard library escapes what is not printable, and what combines with nothing: hence
    // the letter before it.
    let mut buffer = [b'a'; 5];
    let length = 1 + c.encode_utf8(&mut buffer[1..]).len();
    let shown = std::str::from_utf8(&buffer[..length]).unwrap_or("a");
    !shown.escape_debug().any(|c| c == '\\')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn str_of(value: &Value) -> String {
        let mut text = String::new();
        write_str(value, &mut text, 10_000).unwrap();
        text
    }

    #[test]
    fn values_look_as_python_writes_them() {
        for (value, text) in [
            (json!("it's"), "it's"),
            (json!(["it's"]), "[\"it's\"]"),
            (json!(["a", "\"", "'\""]), r#"['a', '"', '\'"']"#),
            (
                json!({"a": 1, "b": [true, null]}),
                "{'a': 1, 'b': [True, None]}",
            ),
            (json!([]), "[]"),
            (json!({}), "{}"),
            (json!(["a\n\t\\\u{7}é\u{ad}"]), r"['a\n\t\\\x07é\xad']"),
            (json!(["\u{200b}\u{e000}"]), r"['\u200b\ue000']"),
            (json!(["\u{f0000}🎉e\u{301}"]), "['\\U000f0000🎉e\u{301}']"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(-7), "-7"),
            (json!(1.0), "1.0"),
            (json!(0.1), "0.1"),
            (json!(-0.0), "-0.0"),
            (json!(1e15), "1000000000000000.0"),
            (json!(1e16), "1e+16"),
            (json!(1.5e300), "1.5e+300"),
            (json!(0.0001), "0.0001"),
            (json!(0.000_01), "1e-05"),
            (json!(123_456.789), "123456.789"),
        ] {
            assert_eq!(str_of(&value), text);
        }
    }

    #[test]
    fn too_much_is_refused() {
        let mut text = String::new();
        let long = json!([["x".repeat(60)], "y".repeat(60)]);
        assert_eq!(write_str(&long, &mut text, 100), Err(TooLong));
        let mut deep = json!(1);
        for _ in 0..200 {
            deep = Value::Array(vec![deep]);
        }
        assert_eq!(write_str(&deep, &mut String::new(), 10_000), Err(TooLong));
    }
}
