//! The bytes on the wire: publish requests built once and patched, answers and deliveries parsed in
//! place.
//!
//! HTTP/1.1 with `Content-Length` only, which is what Signpost speaks on both sides; a chunked
//! message is malformed here. Nothing is copied out of the caller's buffer and no JSON is parsed:
//! an event's `data` begins with `seq` and `sent_ns` in a fixed width, so that a request keeps its
//! length when they change and a delivery of any format can be searched for them.

use std::mem::MaybeUninit;

use ring::hmac;

use super::args::Shape;

/// Head fields looked at in one message; more make it malformed.
const HEADERS_MAX: usize = 64;
/// Added to sequence numbers so that all have ten digits.
const SEQUENCE_BASE: u64 = 1_000_000_000;
/// Added to instants so that all have sixteen digits, and stay below 2^53 for 92 days.
const SENT_BASE: u64 = 1_000_000_000_000_000;
/// Name of the event type the benchmark publishes.
pub(super) const EVENT_NAME: &str = "bench.event";

/// The peer sent something that is not HTTP/1.1 as expected here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Where one event's fields are in a request.
#[derive(Debug, Clone, Copy)]
struct Slot {
    sequence_at: usize,
    sent_at: usize,
}

/// A publish request of one event or a batch, ready to be written.
#[derive(Debug, Clone)]
pub(super) struct PublishRequest {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    signed: Option<Signed>,
}

/// A request that carries a signature of its body, made anew whenever that changes.
#[derive(Debug, Clone)]
struct Signed {
    key: hmac::Key,
    signature_at: usize,
    body_at: usize,
}

/// Name of the workflow that webhooks start.
pub(super) const WORKFLOW_NAME: &str = "bench";
/// Hexadecimal digits of a signature.
const SIGNATURE_DIGITS: usize = 64;

/// What a request is made of that starts a workflow.
#[derive(Debug, Clone, Copy)]
pub(super) struct TriggerShape<'a> {
    /// `Host` header.
    pub(super) host: &'a str,
    /// What it is signed with.
    pub(super) secret: &'a str,
    /// Whether it asks to be answered before the workflow has ended.
    pub(super) respond_async: bool,
    /// Size of the event's `data`, in bytes of JSON.
    pub(super) payload_bytes: usize,
    /// How the rest of `data` is filled.
    pub(super) shape: Shape,
}

/// What a publish request is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublishShape<'a> {
    /// `Host` header.
    pub(super) host: &'a str,
    /// Bearer token, if the server wants one.
    pub(super) token: Option<&'a str>,
    /// Size of an event's `data`, in bytes of JSON; at least what the two fields need.
    pub(super) payload_bytes: usize,
    /// How the rest of `data` is filled.
    pub(super) shape: Shape,
    /// Events per request; 1 uses the route for single events.
    pub(super) batch: u32,
}

impl PublishRequest {
    /// Builds the request.
    pub(super) fn new(shape: &PublishShape<'_>) -> Self {
        let event = format!(
            r#"{{"event":"{EVENT_NAME}","data":{}}}"#,
            data(shape.payload_bytes, shape.shape)
        );
        let (path, body) = if shape.batch == 1 {
            ("/api/v1/events", event)
        } else {
            let events = vec![event; shape.batch as usize].join(",");
            (
                "/api/v1/events/batch",
                format!(r#"{{"events":[{events}]}}"#),
            )
        };
        let authorization = shape.token.map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            shape.host,
            body.len()
        );
        let bytes = [head.as_bytes(), body.as_bytes()].concat();
        let slots = slots_of(&bytes);
        Self {
            bytes,
            slots,
            signed: None,
        }
    }

    /// Builds a signed webhook that starts the workflow.
    pub(super) fn trigger(shape: &TriggerShape<'_>) -> Self {
        let body = format!(
            r#"{{"workflow_name":"{WORKFLOW_NAME}","inputs":{{"event":{}}}}}"#,
            data(shape.payload_bytes, shape.shape)
        );
        let prefer = if shape.respond_async {
            "Prefer: respond-async\r\n"
        } else {
            ""
        };
        let head = format!(
            "POST /webhooks/generic HTTP/1.1\r\nHost: {}\r\n{prefer}Content-Type: application/json\r\nContent-Length: {}\r\nX-Webhook-Signature: ",
            shape.host,
            body.len()
        );
        let signature = "0".repeat(SIGNATURE_DIGITS);
        let signed = Signed {
            key: hmac::Key::new(hmac::HMAC_SHA256, shape.secret.as_bytes()),
            signature_at: head.len(),
            body_at: head.len() + SIGNATURE_DIGITS + 4,
        };
        let bytes = format!("{head}{signature}\r\n\r\n{body}").into_bytes();
        let slots = slots_of(&bytes);
        Self {
            bytes,
            slots,
            signed: Some(signed),
        }
    }

    /// Numbers its events from `first` on and stamps all of them with `sent_ns`.
    pub(super) fn patch(&mut self, first: u64, sent_ns: u64) {
        for (sequence, slot) in (first..).zip(&self.slots) {
            write_digits(
                &mut self.bytes[slot.sequence_at..slot.sequence_at + 10],
                SEQUENCE_BASE + sequence,
            );
            write_digits(
                &mut self.bytes[slot.sent_at..slot.sent_at + 16],
                SENT_BASE + sent_ns,
            );
        }
        if let Some(signed) = &self.signed {
            let tag = hmac::sign(&signed.key, &self.bytes[signed.body_at..]);
            let place = signed.signature_at..signed.signature_at + SIGNATURE_DIGITS;
            hex::encode_to_slice(tag, &mut self.bytes[place])
                .expect("as many digits as SHA-256 has");
        }
    }

    /// What to write.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// An event's `data`, `bytes` long (or as short as it can be).
fn data(bytes: usize, shape: Shape) -> String {
    let mut data = format!(r#"{{"seq":{SEQUENCE_BASE},"sent_ns":{SENT_BASE}"#);
    if shape == Shape::Fields {
        // 40 bytes each: a text, a number and a flag, as application events have them.
        for field in 0.. {
            let field = format!(
                r#","f{field:03}":["value-{field:05}",{},true]"#,
                1_000_000 + field
            );
            if data.len() + field.len() + r#","pad":""}"#.len() > bytes {
                break;
            }
            data.push_str(&field);
        }
    }
    let framing = r#","pad":""}"#.len();
    if let Some(pad) = bytes.checked_sub(data.len() + framing) {
        data.push_str(r#","pad":""#);
        data.extend(('a'..='z').cycle().take(pad));
        data.push('"');
    }
    data.push('}');
    data
}

/// Finds every event's fields in a request.
fn slots_of(bytes: &[u8]) -> Vec<Slot> {
    let mut slots = Vec::new();
    let mut from = 0;
    while let Some(sequence_at) = end_of(bytes, from, br#""seq":"#) {
        let sent_at = end_of(bytes, sequence_at, br#""sent_ns":"#)
            .expect("data has both fields, in this order");
        slots.push(Slot {
            sequence_at,
            sent_at,
        });
        from = sent_at;
    }
    slots
}

/// Where the first `needle` at or after `from` ends.
fn end_of(bytes: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    let found = bytes
        .get(from..)?
        .windows(needle.len())
        .position(|window| window == needle)?;
    Some(from + found + needle.len())
}

fn write_digits(target: &mut [u8], mut value: u64) {
    for digit in target.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).expect("a digit");
        value /= 10;
    }
}

/// The digits that `bytes` begins with, as a number.
fn leading_number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()
}

/// The sequence number and the instant of sending in a delivery's body.
pub(super) fn fields_of(body: &[u8]) -> Option<(u64, u64)> {
    let sequence_at = end_of(body, 0, br#""seq":"#)?;
    let sent_at = end_of(body, sequence_at, br#""sent_ns":"#)?;
    let sequence = leading_number(&body[sequence_at..])?.checked_sub(SEQUENCE_BASE)?;
    let sent_ns = leading_number(&body[sent_at..])?.checked_sub(SENT_BASE)?;
    Some((sequence, sent_ns))
}

/// The values of the `"id"` members in a publish answer, in order.
pub(super) fn ids_in(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = end_of(body, from, br#""id":""#)?;
        let length = body[start..].iter().position(|byte| *byte == b'"')?;
        from = start + length;
        Some(&body[start..from])
    })
}

/// A complete answer at the start of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    /// The status.
    pub(super) status: u16,
    /// Whether the connection ends with it.
    pub(super) close: bool,
    /// Its body.
    pub(super) body: &'a [u8],
    /// Bytes it takes in the buffer, head and body.
    pub(super) bytes: usize,
}

/// Parses the answer that `buffer` starts with; `None` when it is not complete yet.
pub(super) fn parse_answer(buffer: &[u8]) -> Result<Option<Answer<'_>>, Malformed> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, buffer, &mut headers)
        .map_err(|_| Malformed)?;
    let httparse::Status::Complete(head_bytes) = parsed else {
        return Ok(None);
    };
    let status = response.code.ok_or(Malformed)?;
    let mut length = if status == 204 { Some(0) } else { None };
    let mut close = false;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = Some(content_length(header.value)?);
        } else if header.name.eq_ignore_ascii_case("connection") {
            close = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let bytes = head_bytes
        .checked_add(length.ok_or(Malformed)?)
        .ok_or(Malformed)?;
    Ok(buffer.get(head_bytes..bytes).map(|body| Answer {
        status,
        close,
        body,
        bytes,
    }))
}

/// A complete delivery at the start of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery<'a> {
    /// Number of the endpoint: `n` of `POST /hook/<n>`.
    pub(super) endpoint: Option<usize>,
    /// `webhook-id`, empty when missing; so are the next two.
    pub(super) id: &'a [u8],
    /// `webhook-timestamp`.
    pub(super) timestamp: &'a [u8],
    /// `webhook-signature`.
    pub(super) signature: &'a [u8],
    /// Its body.
    pub(super) body: &'a [u8],
    /// Bytes it takes in the buffer, head and body.
    pub(super) bytes: usize,
}

/// Parses the delivery that `buffer` starts with; `None` when it is not complete yet.
pub(super) fn parse_delivery(buffer: &[u8]) -> Result<Option<Delivery<'_>>, Malformed> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request
        .parse_with_uninit_headers(buffer, &mut headers)
        .map_err(|_| Malformed)?;
    let httparse::Status::Complete(head_bytes) = parsed else {
        return Ok(None);
    };
    let (mut id, mut timestamp, mut signature) = (&b""[..], &b""[..], &b""[..]);
    let mut length = None;
    for header in request.headers.iter() {
        // The lengths tell the four apart from each other and from nearly all else.
        match header.name.len() {
            10 if header.name.eq_ignore_ascii_case("webhook-id") => id = header.value,
            14 if header.name.eq_ignore_ascii_case("content-length") => {
                length = Some(content_length(header.value)?);
            }
            17 if header.name.eq_ignore_ascii_case("webhook-timestamp") => timestamp = header.value,
            17 if header.name.eq_ignore_ascii_case("webhook-signature") => signature = header.value,
            _ => {}
        }
    }
    let endpoint = request
        .path
        .filter(|_| request.method == Some("POST"))
        .and_then(|path| path.strip_prefix("/hook/"))
        .and_then(|number| number.parse().ok());
    let bytes = head_bytes
        .checked_add(length.ok_or(Malformed)?)
        .ok_or(Malformed)?;
    Ok(buffer.get(head_bytes..bytes).map(|body| Delivery {
        endpoint,
        id,
        timestamp,
        signature,
        body,
        bytes,
    }))
}

fn content_length(value: &[u8]) -> Result<usize, Malformed> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|value| value.parse().ok())
        .ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(payload_bytes: usize, shape: Shape, batch: u32) -> PublishRequest {
        PublishRequest::new(&PublishShape {
            host: "127.0.0.1:8000",
            token: Some("sp_x"),
            payload_bytes,
            shape,
            batch,
        })
    }

    fn body(request: &PublishRequest) -> serde_json::Value {
        let text = std::str::from_utf8(request.bytes()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Authorization: Bearer sp_x\r\n"), "{head}");
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn data_is_json_of_the_size_asked_for_whatever_its_shape() {
        for shape in [Shape::Text, Shape::Fields] {
            for bytes in [64, 65, 100, 1024, 65_536] {
                let data = data(bytes, shape);
                assert_eq!(data.len(), bytes, "{data}");
                serde_json::from_str::<serde_json::Value>(&data).unwrap();
            }
            assert_eq!(fields_of(data(0, shape).as_bytes()), Some((0, 0)));
        }
    }

    #[test]
    fn a_patched_request_keeps_its_length_and_says_what_was_patched() {
        let mut one = request(256, Shape::Text, 1);
        let length = one.bytes().len();
        one.patch(299_999, 123_456_789_012);
        assert_eq!(one.bytes().len(), length);
        assert!(one.bytes().starts_with(b"POST /api/v1/events HTTP/1.1\r\n"));
        let data = body(&one)["data"].to_string();
        assert_eq!(fields_of(data.as_bytes()), Some((299_999, 123_456_789_012)));
    }

    #[test]
    fn a_batch_numbers_its_events_in_order() {
        let mut batch = request(128, Shape::Fields, 3);
        batch.patch(30, 5);
        assert!(
            batch
                .bytes()
                .starts_with(b"POST /api/v1/events/batch HTTP/1.1\r\n")
        );
        let sequences: Vec<_> = body(&batch)["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| fields_of(event["data"].to_string().as_bytes()))
            .collect();
        assert_eq!(sequences, [Some((30, 5)), Some((31, 5)), Some((32, 5))]);
    }

    #[test]
    fn an_answer_is_complete_only_with_its_whole_body() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 12\r\n\r\n{\"id\":\"e_1\"}HTTP";
        for end in 0..whole.len() - 4 {
            assert_eq!(parse_answer(&whole[..end]), Ok(None));
        }
        let answer = parse_answer(whole).unwrap().unwrap();
        assert_eq!(
            (answer.status, answer.close, answer.bytes),
            (202, false, whole.len() - 4)
        );
        assert_eq!(ids_in(answer.body).collect::<Vec<_>>(), [b"e_1"]);
    }

    #[test]
    fn answers_without_a_length_or_not_http_are_malformed() {
        assert_eq!(
            parse_answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(Malformed)
        );
        assert_eq!(parse_answer(b"SSH-2.0-OpenSSH\r\n\r\n"), Err(Malformed));
        assert!(
            parse_answer(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                .unwrap()
                .unwrap()
                .close
        );
    }

    #[test]
    fn ids_of_a_batch_come_in_order() {
        let body = br#"{"data":[{"id":"evt_1"},{"id":"evt_2"}]}"#;
        assert_eq!(ids_in(body).collect::<Vec<_>>(), [b"evt_1", b"evt_2"]);
        assert_eq!(ids_in(br#"{"id":"evt_"#).count(), 0);
    }

    #[test]
    fn a_delivery_gives_up_its_parts_in_any_case() {
        let bytes = b"POST /hook/12 HTTP/1.1\r\nWebhook-Id: evt_1\r\nwebhook-timestamp: 17\r\nwebhook-signature: v1,AA\r\ncontent-length: 2\r\n\r\n{}rest";
        let delivery = parse_delivery(bytes).unwrap().unwrap();
        assert_eq!(
            (delivery.endpoint, delivery.bytes),
            (Some(12), bytes.len() - 4)
        );
        assert_eq!(
            (delivery.id, delivery.timestamp),
            (&b"evt_1"[..], &b"17"[..])
        );
        assert_eq!(
            (delivery.signature, delivery.body),
            (&b"v1,AA"[..], &b"{}"[..])
        );
        assert_eq!(parse_delivery(&bytes[..bytes.len() - 5]), Ok(None));
    }

    #[test]
    fn a_request_to_somewhere_else_names_no_endpoint() {
        let get = b"GET /hook/1 HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(parse_delivery(get).unwrap().unwrap().endpoint, None);
        assert_eq!(
            parse_delivery(b"POST /hook/1 HTTP/1.1\r\n\r\n"),
            Err(Malformed)
        );
        assert_eq!(fields_of(br#"{"data":{"seq":"1"}}"#), None);
    }
}
