//! Header lines as people type them: `Name: value`.

use anyhow::Result;
use http::{HeaderName, HeaderValue};

use crate::problem::Problem;

/// Headers in the order given; names in lower case.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Reads `Name: value` lines, as from `-H` flags.
    ///
    /// # Errors
    /// If one has no colon, or a character that no header may have.
    pub fn parse(lines: &[String]) -> Result<Self> {
        lines
            .iter()
            .map(|line| parse_line(line))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The first value of a header; `name` in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<A: Into<String>, B: Into<String>> FromIterator<(A, B)> for Headers {
    fn from_iter<T: IntoIterator<Item = (A, B)>>(pairs: T) -> Self {
        let lower = |(name, value): (A, B)| (name.into().to_ascii_lowercase(), value.into());
        Self(pairs.into_iter().map(lower).collect())
    }
}

fn parse_line(line: &str) -> Result<(String, String)> {
    let bad = |why: &str| {
        Problem::misuse(format!("`{line}` is no header: {why}"))
            .advice("write it as 'Name: value', in quotes")
    };
    let (name, value) = line.split_once(':').ok_or_else(|| bad("it has no colon"))?;
    let name = HeaderName::try_from(name.trim()).map_err(|_| bad("the name is not valid"))?;
    let value = value.trim();
    HeaderValue::from_str(value).map_err(|_| bad("the value is not valid"))?;
    Ok((name.as_str().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_at_the_first_colon() {
        let lines = ["Webhook-Id:  a:b ".to_owned(), "x-y:".to_owned()];
        let headers = Headers::parse(&lines).unwrap();
        assert_eq!(headers.get("webhook-id"), Some("a:b"));
        assert_eq!(headers.get("x-y"), Some(""));
        for bad in ["none", "bad name: x", "x: a\nb"] {
            assert!(Headers::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
