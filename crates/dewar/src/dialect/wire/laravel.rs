//! Laravel's encrypter, and what it puts before a cookie's value: `Illuminate\Encryption` 8.83 and 13.31.
//!
//! ```text
//! sealed        = base64( {"iv":base64( iv ),"value":base64( ciphertext ),"mac":mac,"tag":base64( tag )} )
//! AES-*-CBC       iv[16], PKCS#7; mac = hex( HMAC-SHA256( key, base64( iv ) base64( ciphertext ) ) ), tag ""
//! AES-*-GCM       iv[12], tag[16], no associated data; mac ""
//! cookie prefix = hex( HMAC-SHA1( key, name of the cookie "v2" ) ) "|"
//! ```
//!
//! The key encrypts and signs as it is. Base64 is padded and has one spelling here, and the JSON has no
//! other members; where there is no `tag` it is an empty one, as in Laravel.

use std::{borrow::Cow, fmt};

use aes::{Aes128, Aes256};
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit, aead::AeadInOut};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    dialect::Refusal,
    encoding::base64::{decode_standard, encode_standard},
    secret::hex,
};

const TAG: usize = 16;

/// The cipher of an application: `config('app.cipher')`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cipher {
    /// AES-256 in CBC mode with HMAC-SHA256: Laravel's default.
    #[default]
    Aes256Cbc,
    /// AES-256 in GCM mode.
    Aes256Gcm,
    /// AES-128 in CBC mode with HMAC-SHA256.
    Aes128Cbc,
    /// AES-128 in GCM mode.
    Aes128Gcm,
}

impl Cipher {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Aes256Cbc, Self::Aes256Gcm, Self::Aes128Cbc, Self::Aes128Gcm];

    /// As Laravel calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Cbc => "AES-256-CBC",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::Aes128Cbc => "AES-128-CBC",
            Self::Aes128Gcm => "AES-128-GCM",
        }
    }

    /// Bytes of a key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes256Cbc | Self::Aes256Gcm => 32,
            Self::Aes128Cbc | Self::Aes128Gcm => 16,
        }
    }

    const fn iv_len(self) -> usize {
        if self.is_authenticated() { 12 } else { 16 }
    }

    /// Whether the cipher itself authenticates, so that there is no MAC.
    const fn is_authenticated(self) -> bool {
        matches!(self, Self::Aes256Gcm | Self::Aes128Gcm)
    }

    /// The ciphertext, and the tag where the mode has one. `None`: the message is longer than the cipher takes.
    fn encrypt(self, key: &[u8], iv: &[u8; Encrypter::IV], message: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        fn gcm<C: KeyInit + AeadInOut>(key: &[u8], nonce: &[u8], message: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
            let mut text = message.to_vec();
            let nonce = nonce.try_into().ok()?;
            let cipher = C::new_from_slice(key).ok()?;
            let tag = cipher.encrypt_inout_detached(nonce, &[], text.as_mut_slice().into()).ok()?;
            Some((text, tag.to_vec()))
        }
        let nonce = &iv[..self.iv_len()];
        match self {
            Self::Aes256Gcm => gcm::<Aes256Gcm>(key, nonce, message),
            Self::Aes128Gcm => gcm::<Aes128Gcm>(key, nonce, message),
            Self::Aes256Cbc => {
                let cipher = cbc::Encryptor::<Aes256>::new_from_slices(key, iv).ok()?;
                Some((cipher.encrypt_padded_vec::<Pkcs7>(message), Vec::new()))
            }
            Self::Aes128Cbc => {
                let cipher = cbc::Encryptor::<Aes128>::new_from_slices(key, iv).ok()?;
                Some((cipher.encrypt_padded_vec::<Pkcs7>(message), Vec::new()))
            }
        }
    }

    fn decrypt(self, key: &[u8], iv: &[u8], mut text: Vec<u8>, tag: &[u8]) -> Option<Vec<u8>> {
        fn gcm<C: KeyInit + AeadInOut>(key: &[u8], nonce: &[u8], text: &mut [u8], tag: &[u8]) -> Option<()> {
            let (nonce, tag) = (nonce.try_into().ok()?, tag.try_into().ok()?);
            C::new_from_slice(key).ok()?.decrypt_inout_detached(nonce, &[], text.into(), tag).ok()
        }
        match self {
            Self::Aes256Gcm => gcm::<Aes256Gcm>(key, iv, &mut text, tag)?,
            Self::Aes128Gcm => gcm::<Aes128Gcm>(key, iv, &mut text, tag)?,
            Self::Aes256Cbc => {
                let cipher = cbc::Decryptor::<Aes256>::new_from_slices(key, iv).ok()?;
                return cipher.decrypt_padded_vec::<Pkcs7>(&text).ok();
            }
            Self::Aes128Cbc => {
                let cipher = cbc::Decryptor::<Aes128>::new_from_slices(key, iv).ok()?;
                return cipher.decrypt_padded_vec::<Pkcs7>(&text).ok();
            }
        }
        Some(text)
    }
}

/// Seals and opens messages under an application's keys: the first seals, all open.
///
/// ```
/// use dewar::dialect::wire::laravel::{Cipher, Encrypter};
///
/// let encrypter = Encrypter::new(Cipher::Aes256Cbc, &[b"k".repeat(32)]).expect("keys of the cipher's length");
/// let sealed = encrypter.seal(b"message", &[7; Encrypter::IV]).expect("a short message");
/// assert_eq!(encrypter.open(&sealed), Ok((b"message".to_vec(), 0)));
/// ```
#[derive(Clone)]
pub struct Encrypter {
    cipher: Cipher,
    keys: Vec<Zeroizing<Vec<u8>>>,
}

impl Encrypter {
    /// Bytes that are drawn for each message; GCM takes the first twelve.
    pub const IV: usize = 16;

    /// Under these keys. `None` where there is none, or one has not the cipher's length.
    pub fn new(cipher: Cipher, keys: &[impl AsRef<[u8]>]) -> Option<Self> {
        let fits = !keys.is_empty() && keys.iter().all(|key| key.as_ref().len() == cipher.key_len());
        fits.then(|| Self { cipher, keys: keys.iter().map(|key| Zeroizing::new(key.as_ref().to_vec())).collect() })
    }

    /// The message, sealed: `encryptString`. `None`: it is longer than the cipher takes.
    pub fn seal(&self, message: &[u8], iv: &[u8; Self::IV]) -> Option<String> {
        let key = &self.keys[0];
        let (text, tag) = self.cipher.encrypt(key, iv, message)?;
        let (iv, text, tag) = (base64(&iv[..self.cipher.iv_len()]), base64(&text), base64(&tag));
        let mac = if self.cipher.is_authenticated() { String::new() } else { hex(&mac(key, &iv, &text)) };
        Some(base64(format!(r#"{{"iv":"{iv}","value":"{text}","mac":"{mac}","tag":"{tag}"}}"#).as_bytes()))
    }

    /// The message that was sealed, and which of the keys opened it: `decryptString`. What authenticates it is looked at before anything is decrypted.
    ///
    /// # Errors
    ///
    /// Where it has not its form, or no key made it.
    pub fn open(&self, sealed: &str) -> Result<(Vec<u8>, usize), Refusal> {
        let json = decode_standard(sealed.as_bytes()).ok_or(Refusal::Malformed)?;
        let payload: Payload<'_> = serde_json::from_slice(&json).map_err(|_| Refusal::Malformed)?;
        let decode = |text: &str| decode_standard(text.as_bytes()).ok_or(Refusal::Malformed);
        let (iv, text) = (decode(&payload.iv)?, decode(&payload.value)?);
        let tag = payload.tag.as_deref().map_or(Ok(Vec::new()), decode)?;
        let tag_len = if self.cipher.is_authenticated() { TAG } else { 0 };
        if iv.len() != self.cipher.iv_len() || tag.len() != tag_len {
            return Err(Refusal::Malformed);
        }
        if self.cipher.is_authenticated() {
            let mut opened = self.keys.iter().enumerate();
            let opened = opened.find_map(|(at, key)| Some((self.cipher.decrypt(key, &iv, text.clone(), &tag)?, at)));
            return opened.ok_or(Refusal::BadSignature);
        }
        let is_of = |key: &[u8]| hex(&mac(key, &payload.iv, &payload.value)).as_bytes().ct_eq(payload.mac.as_bytes());
        let at = self.keys.iter().position(|key| is_of(key).into()).ok_or(Refusal::BadSignature)?;
        let message = self.cipher.decrypt(&self.keys[at], &iv, text, &tag).ok_or(Refusal::Malformed)?;
        Ok((message, at))
    }

    /// The value of a cookie with what ties it to the cookie's name before it, to be sealed.
    pub fn tie(&self, cookie: &str, value: &str) -> String {
        [&prefix(&self.keys[0], cookie), "|", value].concat()
    }

    /// Takes that off again; `None` where it ties the value to another name, or no key made it. Compares in constant time.
    pub fn untie<'a>(&self, cookie: &str, message: &'a str) -> Option<&'a str> {
        let (found, value) = message.split_once('|')?;
        let is_of = |key: &[u8]| bool::from(prefix(key, cookie).as_bytes().ct_eq(found.as_bytes()));
        self.keys.iter().any(|key| is_of(key)).then_some(value)
    }

    /// 16 bytes that follow from these: for what has to be sealed alike twice, and otherwise than anything else.
    pub(crate) fn derive_iv(&self, parts: &[&[u8]]) -> [u8; Self::IV] {
        let mut mac = hmac::<Hmac<Sha256>>(&self.keys[0]);
        mac.update(b"dewar laravel iv\0");
        parts.iter().for_each(|part| mac.update(part));
        *mac.finalize().into_bytes().first_chunk().expect("a digest has 32 bytes")
    }

    /// How many keys there are.
    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }

    pub(crate) const fn cipher(&self) -> Cipher {
        self.cipher
    }
}

/// What is in the base64. Laravel passes over members of other names, and writes none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload<'a> {
    #[serde(borrow)]
    iv: Cow<'a, str>,
    #[serde(borrow)]
    value: Cow<'a, str>,
    #[serde(borrow)]
    mac: Cow<'a, str>,
    #[serde(borrow, default)]
    tag: Option<Cow<'a, str>>,
}

fn mac(key: &[u8], iv: &str, text: &str) -> [u8; 32] {
    hmac::<Hmac<Sha256>>(key).chain_update(iv).chain_update(text).finalize().into_bytes().into()
}

fn prefix(key: &[u8], cookie: &str) -> String {
    hex(&hmac::<Hmac<Sha1>>(key).chain_update(cookie).chain_update("v2").finalize().into_bytes())
}

fn hmac<M: Mac + KeyInit>(key: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn base64(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    encode_standard(bytes, &mut text);
    String::from_utf8(text).expect("base64 is ASCII")
}

/// Never the keys.
impl fmt::Debug for Encrypter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encrypter({}, {} keys)", self.cipher.name(), self.keys.len())
    }
}
