//! Server-Sent Events, read as they arrive (WHATWG HTML, section 9.2.6).
//!
//! A pure parser: bytes in, messages out. It does not connect or reconnect; [`crate::client`] does.

/// A line or a message beyond this many bytes is a fault of the server's.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Message {
    /// Its `event:` field; `message` where the server gave none.
    pub event: String,
    /// Its `data:` lines, joined by line feeds.
    pub data: String,
    /// The last `id:` seen up to it.
    pub id: String,
}

/// What went wrong with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    event: String,
    data: String,
    id: String,
}

impl Parser {
    /// Takes the next bytes and answers the messages that they complete.
    ///
    /// # Errors
    /// If a message grows beyond 16 MiB.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut messages = Vec::new();
        for &byte in bytes {
            let ends_crlf = byte == b'\n' && std::mem::take(&mut self.after_cr);
            self.after_cr = byte == b'\r';
            if ends_crlf {
                continue;
            }
            if matches!(byte, b'\n' | b'\r') {
                let line = std::mem::take(&mut self.line);
                messages.extend(self.end_line(&String::from_utf8_lossy(&line)));
            } else if self.line.len() + self.data.len() >= MESSAGE_BYTES_MAX {
                return Err(TooLong);
            } else {
                self.line.push(byte);
            }
        }
        Ok(messages)
    }

    fn end_line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            return self.end_message();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            _ => {}
        }
        None
    }

    fn end_message(&mut self) -> Option<Message> {
        let mut event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        // Each line brought a line feed with it; without a line there is nothing to give out.
        data.pop()?;
        if event.is_empty() {
            "message".clone_into(&mut event);
        }
        Some(Message {
            event,
            data,
            id: self.id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&str]) -> Vec<(String, String, String)> {
        let mut parser = Parser::default();
        let mut all = Vec::new();
        for chunk in chunks {
            all.extend(parser.feed(chunk.as_bytes()).unwrap());
        }
        all.into_iter().map(|m| (m.event, m.data, m.id)).collect()
    }

    #[test]
    fn messages_survive_any_cut_and_any_line_end() {
        let text = "\u{feff}: hello\r\nevent: delivery\r\ndata: {\"a\":\r\ndata: 1}\r\nid: 7\r\n\r\ndata:x\n\nretry: 5\n\n: keep-alive\n\ndata\n\n";
        let text = text.trim_start_matches('\u{feff}');
        let expected = vec![
            ("delivery".into(), "{\"a\":\n1}".into(), "7".into()),
            ("message".into(), "x".into(), "7".into()),
            ("message".into(), String::new(), "7".into()),
        ];
        assert_eq!(read(&[text]), expected);
        let bytes: Vec<String> = text.chars().map(String::from).collect();
        let bytes: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(read(&bytes), expected);
    }

    #[test]
    fn a_message_without_its_blank_line_is_not_given_out() {
        assert_eq!(read(&["data: half\n"]), vec![]);
    }

    #[test]
    fn a_message_without_end_is_refused() {
        let mut parser = Parser::default();
        let line = vec![b'x'; MESSAGE_BYTES_MAX];
        assert_eq!(parser.feed(&line), Ok(vec![]));
        assert_eq!(parser.feed(b"x"), Err(TooLong));
    }
}
