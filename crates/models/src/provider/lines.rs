//! The events of a stream, cut out of its bytes: Server-Sent Events (WHATWG HTML, section 9.2.6;
//! only their data) or one JSON text in each line.

use super::Framing;

/// The largest event.
pub(crate) const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A line or an event is larger than [`EVENT_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

pub(crate) struct Events {
    framing: Framing,
    line: Vec<u8>,
    data: String,
    after_cr: bool,
}

impl Events {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            framing,
            line: Vec::new(),
            data: String::new(),
            after_cr: false,
        }
    }

    /// Takes the next bytes and gives the events that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let ends_crlf = byte == b'\n' && std::mem::take(&mut self.after_cr);
            self.after_cr = byte == b'\r';
            if ends_crlf {
                continue;
            }
            if matches!(byte, b'\n' | b'\r') {
                events.extend(self.end_line());
            } else if self.line.len() + self.data.len() >= EVENT_BYTES_MAX {
                return Err(TooLong);
            } else {
                self.line.push(byte);
            }
        }
        Ok(events)
    }

    /// What stands at the end without a line break: some servers leave the last one out.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        let mut events: Vec<String> = self.end_line().into_iter().collect();
        if !self.data.is_empty() {
            events.extend(self.end_line());
        }
        events
    }

    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        match self.framing {
            Framing::Lines => Some(line.trim().to_owned()).filter(|line| !line.is_empty()),
            Framing::Sse if line.is_empty() => {
                Some(std::mem::take(&mut self.data)).filter(|data| !data.is_empty())
            }
            Framing::Sse => {
                if let Some(data) = line.strip_prefix("data:") {
                    if !self.data.is_empty() {
                        self.data.push('\n');
                    }
                    self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_their_bytes_are_cut() {
        let stream =
            b"event: x\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n: ping\n\ndata:two\n\ndata: end";
        for size in 1..stream.len() {
            let mut events = Events::new(Framing::Sse);
            let mut found = Vec::new();
            for chunk in stream.chunks(size) {
                found.extend(events.feed(chunk).unwrap());
            }
            found.extend(events.finish());
            assert_eq!(found, ["{\"a\":\n1}", "two", "end"], "{size}");
        }
    }

    #[test]
    fn lines_are_events_of_their_own_and_none_is_endless() {
        let mut events = Events::new(Framing::Lines);
        assert_eq!(events.feed(b"{}\n\n{\"a\"").unwrap(), ["{}"]);
        assert_eq!(events.finish(), ["{\"a\""]);
        let much = vec![b'x'; EVENT_BYTES_MAX + 1];
        assert_eq!(events.feed(&much), Err(TooLong));
    }
}
