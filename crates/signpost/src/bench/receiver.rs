//! The endpoints: read a delivery, check it, enter it into the ledger, answer.
//!
//! A task per connection with one reused buffer; one read and one write per delivery. The signature
//! is checked against Standard Webhooks' definition with code of its own, not the server's, so that
//! the two can disagree. Latency is taken before the signature is checked: the check is the
//! receiver's time, not the server's.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::ledger::{Answer, Receipt, Signature, id_mark, spread};
use super::traffic::Shared;
use super::wire::{self, Delivery};

const BUFFER_BYTES: usize = 8 * 1024;
/// A delivery may be this long, head and body.
const BUFFER_BYTES_MAX: usize = 8 * 1024 * 1024;

const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const REFUSED: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
const MALFORMED: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Takes deliveries for all endpoints of a run.
#[derive(Debug)]
pub(super) struct Receiver {
    shared: Arc<Shared>,
    /// Each endpoint's key, by its number.
    keys: Vec<hmac::Key>,
    /// Share of the signatures to check, as parts of 2^32.
    verify_share: u64,
    /// How late the slow endpoints answer.
    slow: Duration,
}

impl Receiver {
    /// A receiver for as many endpoints as there are keys.
    pub(super) fn new(
        shared: Arc<Shared>,
        keys: Vec<hmac::Key>,
        verify_share: u64,
        slow: Duration,
    ) -> Self {
        Self {
            shared,
            keys,
            verify_share,
            slow,
        }
    }

    /// Serves every connection that comes in.
    pub(super) async fn listen(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(Arc::clone(&self).serve(stream));
                }
                // Out of file descriptors, or the peer is gone already: others may do better.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        // Without it the kernel may hold an answer back; where it can't be set, all still works.
        let _ = stream.set_nodelay(true);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut filled = 0;
        loop {
            let (answer, used) = match wire::parse_delivery(&buffer[..filled]) {
                Ok(Some(delivery)) => (self.take(&delivery), delivery.bytes),
                Ok(None) if filled == buffer.len() && filled >= BUFFER_BYTES_MAX => break,
                Ok(None) => {
                    if filled == buffer.len() {
                        buffer.resize(filled * 2, 0);
                    }
                    match stream.read(&mut buffer[filled..]).await {
                        Ok(0) | Err(_) => return,
                        Ok(read) => filled += read,
                    }
                    continue;
                }
                Err(wire::Malformed) => break,
            };
            buffer.copy_within(used..filled, 0);
            filled -= used;
            let bytes = match answer {
                Answer::Taken => TAKEN,
                Answer::Refused => REFUSED,
                Answer::TakenLate => {
                    tokio::time::sleep(self.slow).await;
                    TAKEN
                }
                // The read that follows ends when the server gives up.
                Answer::Silence => continue,
            };
            if stream.write_all(bytes).await.is_err() {
                return;
            }
        }
        self.shared.ledger().receive_unknown();
        let _ = stream.write_all(MALFORMED).await;
    }

    fn take(&self, delivery: &Delivery<'_>) -> Answer {
        let now_ns = self.shared.now_ns();
        let known = delivery
            .endpoint
            .and_then(|endpoint| Some((endpoint, self.keys.get(endpoint)?)));
        let (Some((endpoint, key)), Some((sequence, sent_ns))) =
            (known, wire::fields_of(delivery.body))
        else {
            self.shared.ledger().receive_unknown();
            return Answer::Taken;
        };
        let signature = if spread(sequence, endpoint) >= self.verify_share {
            Signature::Unchecked
        } else if is_signed(key, delivery) {
            Signature::Good
        } else {
            Signature::Bad
        };
        let id = id_mark(delivery.id);
        self.shared.ledger().receive(Receipt {
            endpoint,
            sequence,
            id,
            sent_ns,
            now_ns,
            signature,
        })
    }
}

/// Whether one of the delivery's signatures is `v1,` and the base64 of the HMAC-SHA256 under `key`
/// of `id.timestamp.body` (Standard Webhooks).
fn is_signed(key: &hmac::Key, delivery: &Delivery<'_>) -> bool {
    let mut context = hmac::Context::with_key(key);
    for part in [delivery.id, b".", delivery.timestamp, b".", delivery.body] {
        context.update(part);
    }
    let mut expected = [0; 44];
    let written = STANDARD
        .encode_slice(context.sign(), &mut expected)
        .expect("44 bytes hold 32 in base64");
    delivery
        .signature
        .split(|byte| *byte == b' ')
        .any(|signature| signature.strip_prefix(b"v1,") == Some(&expected[..written]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's reference libraries.
    #[test]
    fn the_published_example_verifies_and_a_changed_one_does_not() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let delivery = Delivery {
            endpoint: Some(0),
            id: b"msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp: b"1614265330",
            signature: b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            body: br#"{"test": 2432232314}"#,
            bytes: 0,
        };
        assert!(is_signed(&key, &delivery));
        let among_others = b"v1,AAAA v1a,BBBB v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert!(is_signed(
            &key,
            &Delivery {
                signature: among_others,
                ..delivery
            }
        ));
        assert!(!is_signed(
            &key,
            &Delivery {
                timestamp: b"1614265331",
                ..delivery
            }
        ));
        assert!(!is_signed(
            &key,
            &Delivery {
                body: br#"{"test": 2432232315}"#,
                ..delivery
            }
        ));
        assert!(!is_signed(
            &key,
            &Delivery {
                signature: b"",
                ..delivery
            }
        ));
    }
}
