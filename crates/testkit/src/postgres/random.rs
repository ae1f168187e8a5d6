//! Names and passwords that nobody guesses and no other process makes.

use std::{fmt::Write as _, fs::File, io::Read as _};

/// Random bytes of the system.
pub(super) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .unwrap_or_else(|error| panic!("/dev/urandom: {error}"));
    bytes
}

/// As many random bytes, as lower-case hexadecimal digits.
pub(super) fn hex<const N: usize>() -> String {
    bytes::<N>().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
