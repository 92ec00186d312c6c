//! value sep signature, or value sep timestamp sep signature, as itsdangerous 2.2 writes them.
//!
//! ```text
//! signature = base64url( HMAC( K, everything before the separator ) )
//! timestamp = base64url( Unix seconds, big-endian, no leading zero bytes )
//! ```
//!
//! Base64 has one spelling here: itsdangerous also takes padding, spare bits and noise in a signature, which it never writes.

use super::mac::{Key, LONGEST, fill};
use crate::encoding::base64::{decode_url_into, encode_url, push_url};
use sha1::{Digest as _, Sha1};
use sha2::{Sha256, Sha384, Sha512};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use super::mac::Digest;

/// How the key K is made of secret and salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Derivation {
    /// HMAC(secret, salt): Flask's.
    Hmac,
    /// H(salt secret).
    Concat,
    /// H(salt "signer" secret): the default of itsdangerous, and Django's.
    #[default]
    DjangoConcat,
    /// The secret itself.
    None,
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No signature, or one that none of the secrets made.
    BadSignature,
    /// Signed longer ago than allowed.
    Expired,
    /// Signed later than now.
    Future,
    /// Signed, but its timestamp is none.
    Malformed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::BadSignature => "bad signature",
            Refusal::Expired => "expired",
            Refusal::Future => "signed in the future",
            Refusal::Malformed => "malformed timestamp",
        })
    }
}

impl std::error::Error for Refusal {}

/// A token's content, once its signature was found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// What was signed.
    pub value: &'a [u8],
    /// Which secret signed it: 0 is the one that signs.
    pub secret: usize,
}

/// The same with the time it was signed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed<'a> {
    /// What was signed.
    pub value: &'a [u8],
    /// When, in Unix seconds.
    pub signed_at: u64,
    /// Which secret signed it: 0 is the one that signs.
    pub secret: usize,
}

/// Signs with the first of several secrets, accepts all of them. Keys are derived once.
#[derive(Clone)]
pub struct Signer {
    keys: Vec<Key>,
    separator: u8,
}

macro_rules! with_hash {
    ($digest:expr, $hash:ident => $body:expr) => {
        match $digest {
            Digest::Sha1 => {
                type $hash = Sha1;
                $body
            }
            Digest::Sha256 => {
                type $hash = Sha256;
                $body
            }
            Digest::Sha384 => {
                type $hash = Sha384;
                $body
            }
            Digest::Sha512 => {
                type $hash = Sha512;
                $body
            }
        }
    };
}

/// The key K.
fn derive(secret: &[u8], salt: &[u8], digest: Digest, derivation: Derivation) -> Key {
    let mut buffer = Zeroizing::new([0; LONGEST]);
    let derived = match derivation {
        Derivation::None => return Key::new(secret, digest),
        Derivation::Hmac => Key::new(secret, digest).mac(salt, &mut buffer),
        Derivation::Concat => with_hash!(digest, Hash => {
            let hash = Hash::new().chain_update(salt).chain_update(secret).finalize();
            fill(&hash, &mut buffer)
        }),
        Derivation::DjangoConcat => with_hash!(digest, Hash => {
            let hash = Hash::new().chain_update(salt).chain_update(b"signer").chain_update(secret).finalize();
            fill(&hash, &mut buffer)
        }),
    };
    Key::new(derived, digest)
}

impl Signer {
    /// A signer with a full stop between the fields. Nothing without any secret.
    ///
    /// ```
    /// use dewar::dialect::wire::itsdangerous::{Derivation, Digest, Signer};
    ///
    /// let signer = Signer::new(&[b"secret"], b"cookie-session", Digest::Sha1, Derivation::Hmac).unwrap();
    /// let mut token = String::from("e30");
    /// signer.sign_at_into(&mut token, 1_700_000_000);
    /// assert_eq!(signer.unsign_at(token.as_bytes(), 1_700_000_060, Some(60)).unwrap().value, b"e30");
    /// ```
    pub fn new(secrets: &[&[u8]], salt: &[u8], digest: Digest, derivation: Derivation) -> Option<Signer> {
        let keys: Vec<_> = secrets.iter().map(|secret| derive(secret, salt, digest, derivation)).collect();
        (!keys.is_empty()).then_some(Signer { keys, separator: b'.' })
    }

    /// The same with another separator. Nothing where that is one of base64's characters or not ASCII.
    pub fn separator(self, separator: u8) -> Option<Signer> {
        let usable = separator.is_ascii() && !separator.is_ascii_alphanumeric() && !b"-_=".contains(&separator);
        usable.then_some(Signer { separator, ..self })
    }

    /// The signature of a value, appended as text.
    pub fn signature_into(&self, value: &[u8], out: &mut Vec<u8>) {
        let mut buffer = [0; LONGEST];
        encode_url(self.keys[0].mac(value, &mut buffer), out);
    }

    /// Appends separator and signature to the value that is there.
    pub fn sign_into(&self, token: &mut String) {
        let mut buffer = [0; LONGEST];
        let mac = self.keys[0].mac(token.as_bytes(), &mut buffer);
        token.push(char::from(self.separator));
        push_url(mac, token);
    }

    /// Appends separator, timestamp (Unix seconds), separator and signature to the value that is there.
    pub fn sign_at_into(&self, token: &mut String, now: u64) {
        let bytes = now.to_be_bytes();
        token.push(char::from(self.separator));
        push_url(&bytes[now.leading_zeros() as usize / 8..], token);
        self.sign_into(token);
    }

    /// The value and signature of a token, if one of the secrets signed it. Compares in constant time.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadSignature`].
    pub fn unsign<'a>(&self, token: &'a [u8]) -> Result<Signed<'a>, Refusal> {
        let (value, signature) = self.split(token).ok_or(Refusal::BadSignature)?;
        let mut buffer = [0; LONGEST];
        let signature = decode_url_into(signature, &mut buffer).ok_or(Refusal::BadSignature)?;
        let mut expected = [0; LONGEST];
        let secret = self.keys.iter().position(|key| key.mac(value, &mut expected).ct_eq(signature).into());
        secret.map(|secret| Signed { value, secret }).ok_or(Refusal::BadSignature)
    }

    /// The same for a token with a timestamp. With a greatest age (seconds) it must not be older, nor from the future.
    ///
    /// # Errors
    ///
    /// Any [`Refusal`]; a signature is looked at before a timestamp.
    pub fn unsign_at<'a>(&self, token: &'a [u8], now: u64, max_age: Option<u64>) -> Result<Timed<'a>, Refusal> {
        let Signed { value, secret } = self.unsign(token)?;
        let (value, timestamp) = self.split(value).ok_or(Refusal::BadSignature)?;
        let signed_at = moment(timestamp).ok_or(Refusal::Malformed)?;
        match max_age {
            Some(_) if signed_at > now => Err(Refusal::Future),
            Some(max_age) if now - signed_at > max_age => Err(Refusal::Expired),
            _ => Ok(Timed { value, signed_at, secret }),
        }
    }

    fn split<'a>(&self, token: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let at = memchr::memrchr(self.separator, token)?;
        Some((&token[..at], &token[at + 1..]))
    }
}

/// The Unix seconds that a token's timestamp says.
pub(crate) fn moment(timestamp: &[u8]) -> Option<u64> {
    let mut buffer = [0; 9];
    let bytes = decode_url_into(timestamp, &mut buffer).filter(|bytes| bytes.len() <= 8)?;
    Some(bytes.iter().fold(0, |seconds, byte| seconds << 8 | u64::from(*byte)))
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} secrets)", self.keys.len())
    }
}
