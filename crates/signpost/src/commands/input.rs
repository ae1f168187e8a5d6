//! What an argument points at: itself, a file (`@path`), or standard input (`-`).

use std::{
    fs::File,
    io::{self, Read},
};

use anyhow::Result;
use serde_json::value::RawValue;

use crate::problem::Problem;

/// The most that is read of a file or of standard input.
const BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The bytes that `argument` means.
///
/// # Errors
/// If the file can't be read, or is larger than 32 MiB.
pub fn bytes(argument: &str) -> Result<Vec<u8>> {
    if argument == "-" {
        return capped(io::stdin().lock(), "standard input");
    }
    match argument.strip_prefix('@') {
        Some(path) => {
            let file = File::open(path).map_err(|error| {
                Problem::failed("failed to open the file")
                    .at(path)
                    .because(error)
            })?;
            capped(file, path)
        }
        None => Ok(argument.as_bytes().to_vec()),
    }
}

fn capped(source: impl Read, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source
        .take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Problem::failed("failed to read").at(name).because(error))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Problem::failed("it is larger than 32 MiB").at(name).into());
    }
    Ok(bytes)
}

/// The JSON document that `argument` means, digit for digit as it was written.
///
/// # Errors
/// As for [`bytes()`], and if it is not JSON.
pub fn json(argument: &str) -> Result<Box<RawValue>> {
    let bytes = bytes(argument)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let place = match argument {
            "-" => "standard input",
            file if file.starts_with('@') => &file[1..],
            _ => "the argument",
        };
        Problem::misuse("that is not JSON")
            .at(format!(
                "{place}, line {} column {}",
                error.line(),
                error.column()
            ))
            .detail(error.to_string())
            .advice(
                "quote it for the shell, as in -d '{\"a\": 1}', or read a file with -d @file.json",
            )
            .into()
    })
}

/// A line of text that `argument` means, such as a secret: without the line end of a file.
///
/// # Errors
/// As for [`bytes()`], and if it is not UTF-8.
pub fn text(argument: &str) -> Result<String> {
    let text = String::from_utf8(bytes(argument)?)
        .map_err(|_| Problem::failed("it is not UTF-8 text").at(argument))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn an_argument_is_itself_or_a_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"{\"n\": 10000000000000000000001}\n")
            .unwrap();
        let at = format!("@{}", file.path().display());
        assert_eq!(json(&at).unwrap().get(), "{\"n\": 10000000000000000000001}");
        assert_eq!(text(&at).unwrap(), "{\"n\": 10000000000000000000001}");
        assert_eq!(bytes("[1]").unwrap(), b"[1]");
        assert!(bytes("@/no/such/file").is_err());
    }

    #[test]
    fn what_is_not_json_says_where() {
        let error = json("{\"a\": }").unwrap_err();
        let block = crate::problem::render(&error).unwrap();
        let block = anstream::adapter::strip_str(&block).to_string();
        assert!(block.contains("the argument, line 1 column 7"), "{block}");
    }
}
