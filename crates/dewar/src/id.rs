//! [`SessionId`], the value only the browser has, and [`StoreKey`], what a store sees of it.

use std::{
    fmt,
    hash::{DefaultHasher, Hasher},
};

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::encoding::base64;

/// Characters of an id of ours.
const LENGTH: usize = 43;

/// The value only the browser has, and the [`StoreKey`] it leads to.
///
/// Ours are 256 random bits; another framework's are what that framework makes. The id itself
/// never reaches a store and never prints, so that a copy of the database is no bunch of working cookies.
#[derive(Clone)]
pub struct SessionId {
    text: Text,
    key: StoreKey,
}

#[derive(Clone)]
enum Text {
    Own([u8; LENGTH]),
    Foreign(Box<str>),
}

impl Drop for Text {
    fn drop(&mut self) {
        match self {
            Self::Own(text) => text.zeroize(),
            Self::Foreign(text) => text.zeroize(),
        }
    }
}

impl SessionId {
    /// A fresh id from 32 bytes of a cryptographic random source.
    pub fn from_random(mut bytes: [u8; 32]) -> Self {
        let mut text = [0; LENGTH];
        base64::encode_url_into(&bytes, &mut text);
        let id = Self::own(text, &bytes);
        bytes.zeroize();
        id
    }

    /// Reads an id of ours back from a cookie: 43 characters of base64url, in their one canonical form.
    pub fn parse(text: &str) -> Option<Self> {
        let text: &[u8; LENGTH] = text.as_bytes().try_into().ok()?;
        let mut bytes = Zeroizing::new([0; 32]);
        base64::decode_url_into(text, bytes.as_mut())?;
        Some(Self::own(*text, &bytes))
    }

    /// The id of another framework. Under which name the record stands is its layout's business.
    pub fn foreign(text: &str) -> Self {
        Self { text: Text::Foreign(text.into()), key: StoreKey::foreign(text) }
    }

    /// The same id, with a record of this name.
    pub(crate) fn named(&self, record: impl Into<Box<str>>) -> Self {
        Self { text: Text::Foreign(self.reveal().into()), key: StoreKey::foreign(record) }
    }

    fn own(text: [u8; LENGTH], bytes: &[u8; 32]) -> Self {
        let digest = Sha256::new().chain_update(b"dewar session id\0").chain_update(bytes).finalize();
        Self { text: Text::Own(text), key: StoreKey(Inner::Own(digest.into())) }
    }

    /// The id as a cookie carries it.
    pub fn reveal(&self) -> &str {
        match &self.text {
            Text::Own(text) => std::str::from_utf8(text).expect("base64 is ASCII"),
            Text::Foreign(text) => text,
        }
    }

    /// The name under which a store keeps this session.
    pub fn key(&self) -> &StoreKey {
        &self.key
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(hidden)")
    }
}
/// The name of a record in a store.
///
/// Our own sessions are named by the SHA-256 of their id: nothing that a cookie could be made of. A session that another framework
/// shares has the name which that framework gives it ([`StoreKey::foreign`]), and that may say its id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreKey(Inner);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Inner {
    Own([u8; 32]),
    Foreign(Box<str>),
}

impl StoreKey {
    /// What stands before the digest in [`StoreKey`]'s text form.
    pub const PREFIX: &'static str = "dewar:";

    /// The name that another framework gives a record it shares with us, `sess:…` for example.
    pub fn foreign(name: impl Into<Box<str>>) -> Self {
        Self(Inner::Foreign(name.into()))
    }

    /// Whether another framework reads and writes this record too. Such a record is its data and
    /// nothing else: no version, no mark, no principal beside it.
    pub fn is_foreign(&self) -> bool {
        matches!(self.0, Inner::Foreign(_))
    }

    /// 32 bytes that name the record: the digest of the id, or of the foreign name.
    pub fn digest(&self) -> [u8; 32] {
        match &self.0 {
            Inner::Own(digest) => *digest,
            Inner::Foreign(name) => Sha256::digest(name.as_bytes()).into(),
        }
    }

    /// For the queues of commits. A digest is one already, and under a foreign name somebody commits only where there is a record of it.
    pub(crate) fn hash64(&self) -> u64 {
        match &self.0 {
            Inner::Own(digest) => u64::from_le_bytes(*digest.first_chunk().expect("a digest has 32 bytes")),
            Inner::Foreign(name) => {
                let mut hasher = DefaultHasher::new();
                hasher.write(name.as_bytes());
                hasher.finish()
            }
        }
    }

    /// Reads back what [`Display`](fmt::Display) wrote; any other text is a foreign name.
    pub fn parse(text: &str) -> Self {
        let own = text.strip_prefix(Self::PREFIX).and_then(|digest| {
            let mut bytes = [0; 32];
            let decoded = base64::decode_url_into(digest.as_bytes(), &mut bytes)?.len();
            (decoded == bytes.len()).then_some(bytes)
        });
        match own {
            Some(digest) => Self(Inner::Own(digest)),
            None => Self::foreign(text),
        }
    }

    /// Our own key with this digest, as [`StoreKey::digest`] gave it.
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self(Inner::Own(digest))
    }
}

/// Not a foreign name: it may say an id.
impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Own(_) => write!(f, "StoreKey({self})"),
            Inner::Foreign(_) => f.write_str("StoreKey(of another framework)"),
        }
    }
}

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Own(digest) => {
                let mut text = [0; LENGTH];
                base64::encode_url_into(digest, &mut text);
                f.write_str(Self::PREFIX)?;
                f.write_str(std::str::from_utf8(&text).expect("base64 is ASCII"))
            }
            Inner::Foreign(name) => f.write_str(name),
        }
    }
}
