//! HMAC, of whatever hash function: what several frameworks' signatures are made of.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

/// The hash function of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Digest {
    /// The default of itsdangerous, Flask and Keygrip.
    #[default]
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// An HMAC that has absorbed its key.
#[derive(Clone)]
pub(super) enum Key {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

/// Bytes of the longest MAC.
pub(super) const LONGEST: usize = 64;

macro_rules! with_mac {
    ($key:expr, $mac:ident => $body:expr) => {
        match $key {
            Key::Sha1($mac) => $body,
            Key::Sha256($mac) => $body,
            Key::Sha384($mac) => $body,
            Key::Sha512($mac) => $body,
        }
    };
}

impl Key {
    pub(super) fn new(secret: &[u8], digest: Digest) -> Key {
        const ANY: &str = "HMAC takes a key of any length";
        match digest {
            Digest::Sha1 => Key::Sha1(Hmac::new_from_slice(secret).expect(ANY)),
            Digest::Sha256 => Key::Sha256(Hmac::new_from_slice(secret).expect(ANY)),
            Digest::Sha384 => Key::Sha384(Hmac::new_from_slice(secret).expect(ANY)),
            Digest::Sha512 => Key::Sha512(Hmac::new_from_slice(secret).expect(ANY)),
        }
    }

    /// The MAC of a message, in the part of the buffer that it fills.
    pub(super) fn mac<'a>(&self, message: &[u8], buffer: &'a mut [u8; LONGEST]) -> &'a [u8] {
        with_mac!(self, mac => {
            let mut mac = mac.clone();
            mac.update(message);
            fill(&mac.finalize().into_bytes(), buffer)
        })
    }
}

/// Copies a digest to the front of the buffer, and returns that part.
pub(super) fn fill<'a>(bytes: &[u8], buffer: &'a mut [u8; LONGEST]) -> &'a [u8] {
    buffer[..bytes.len()].copy_from_slice(bytes);
    &buffer[..bytes.len()]
}
