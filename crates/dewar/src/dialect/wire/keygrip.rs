//! base64url( HMAC( key, text ) ): Keygrip 1.1, whose text is `name=value` where it signs cookies (`cookies` 0.9).

use super::mac::{Digest, Key, LONGEST};
use crate::encoding::base64::push_url;
use std::fmt;
use subtle::ConstantTimeEq;

/// Signs with the first of several keys, accepts all of them.
///
/// ```
/// use dewar::dialect::wire::{Digest, keygrip::Keygrip};
///
/// let keys = Keygrip::new(&[b"main-express-key-current", b"main-express-key-previous"], Digest::Sha1).unwrap();
/// let signature = keys.sign(b"session=eyJ1c2VyIjoiYWxpY2UifQ==");
/// assert_eq!(signature, "_8TcDQFhhqthQW8-gQwJgfvjbkw");
/// assert_eq!(keys.index(b"session=eyJ1c2VyIjoiYWxpY2UifQ==", &signature), Some(0));
/// ```
#[derive(Clone)]
pub struct Keygrip {
    keys: Vec<Key>,
}

impl Keygrip {
    /// A signer with these keys. Nothing without any.
    pub fn new(keys: &[&[u8]], digest: Digest) -> Option<Keygrip> {
        let keys: Vec<_> = keys.iter().map(|key| Key::new(key, digest)).collect();
        (!keys.is_empty()).then_some(Keygrip { keys })
    }

    /// The signature of a text.
    pub fn sign(&self, text: &[u8]) -> String {
        signature(&self.keys[0], text)
    }

    /// Which key made the signature: 0 is the one that signs. Compares the spelling, in constant time, as Keygrip does.
    pub fn index(&self, text: &[u8], signed: &str) -> Option<usize> {
        self.keys.iter().position(|key| signature(key, text).as_bytes().ct_eq(signed.as_bytes()).into())
    }
}

fn signature(key: &Key, text: &[u8]) -> String {
    let mut signature = String::new();
    push_url(key.mac(text, &mut [0; LONGEST]), &mut signature);
    signature
}

/// Never the keys.
impl fmt::Debug for Keygrip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keygrip({} keys)", self.keys.len())
    }
}
