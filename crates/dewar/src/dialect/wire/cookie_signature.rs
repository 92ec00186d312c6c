//! value "." base64( HMAC-SHA256( secret, value ) ), without padding: cookie-signature 1.0.7 and 1.2.2.
//!
//! In a cookie `s:` stands before it, and the whole is percent-encoded: express-session's id, and Express's signed cookies
//! (cookie-parser 1.4), where what is signed may be JSON after a `j:`.

use super::mac::{Digest, Key, LONGEST};
use crate::encoding::base64::encode_standard;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::{borrow::Cow, fmt};
use subtle::ConstantTimeEq;

/// Signs with the first of several secrets, accepts all of them.
///
/// ```
/// use dewar::dialect::wire::cookie_signature::CookieSigner;
///
/// let signer = CookieSigner::new(&[b"main-express-key-current"]).unwrap();
/// assert_eq!(signer.sign("hello"), "hello.9yn3ZMH9AXyEOpEBjwGhns1vMd5EqckNA2KFGkjFqrM");
/// assert_eq!(signer.unsign("hello.9yn3ZMH9AXyEOpEBjwGhns1vMd5EqckNA2KFGkjFqrM"), Some(("hello", 0)));
/// assert_eq!(signer.unsign("hello.9yn3ZMH9AXyEOpEBjwGhns1vMd5EqckNA2KFGkjFqrN"), None);
/// ```
#[derive(Clone)]
pub struct CookieSigner {
    keys: Vec<Key>,
}

impl CookieSigner {
    /// A signer with these secrets. Nothing without any.
    pub fn new(secrets: &[&[u8]]) -> Option<CookieSigner> {
        let keys: Vec<_> = secrets.iter().map(|secret| Key::new(secret, Digest::Sha256)).collect();
        (!keys.is_empty()).then_some(CookieSigner { keys })
    }

    /// The value with its signature.
    pub fn sign(&self, value: &str) -> String {
        format!("{value}.{}", signature(&self.keys[0], value))
    }

    /// The value before the last full stop and which secret signed it: 0 is the one that signs. Nothing where none did.
    ///
    /// Compares the spelling, in constant time, as cookie-signature does.
    pub fn unsign<'a>(&self, text: &'a str) -> Option<(&'a str, usize)> {
        let (value, signed) = text.rsplit_once('.')?;
        let by = self.keys.iter().position(|key| signature(key, value).as_bytes().ct_eq(signed.as_bytes()).into())?;
        Some((value, by))
    }
}

fn signature(key: &Key, value: &str) -> String {
    let mut padded = Vec::with_capacity(44);
    encode_standard(key.mac(value.as_bytes(), &mut [0; LONGEST]), &mut padded);
    let mut text = String::from_utf8(padded).expect("base64 is ASCII");
    text.truncate(text.trim_end_matches('=').len());
    text
}

/// Never the secrets.
impl fmt::Debug for CookieSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CookieSigner({} secrets)", self.keys.len())
    }
}

/// What `encodeURIComponent` escapes (ECMA-262, 19.2.6.4).
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// Escapes a cookie's value as `encodeURIComponent` does.
pub fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}

/// Undoes it; a `%` that begins no escape stays. Nothing where the escaped bytes are not UTF-8.
pub fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}
