//! Rails' message encryptor and verifier, the keys of both, and the metadata around a message: Active Support 6.1 and 7.2.
//!
//! ```text
//! encrypted  = base64( ciphertext ) "--" base64( iv[12] ) "--" base64( tag[16] )       AES-256-GCM, no associated data
//! older      = X "--" hex( HMAC-SHA1( sign key, X ) )
//!              X = base64( base64( ciphertext ) "--" base64( iv[16] ) )                AES-256-CBC, PKCS#7
//! signed     = X "--" hex( HMAC( key, X ) ), X = base64( message )
//! key( salt ) = PBKDF2-HMAC( secret_key_base, salt, 1000 iterations )
//! metadata   = {"_rails":{"message":"base64","exp":"2023-11-14T23:13:20.000Z" or null,"pur":"cookie._app_session"}}
//! ```
//!
//! The base64 is padded and has one spelling.

use std::{
    borrow::Cow,
    fmt,
    time::{Duration, SystemTime},
};

use aes::Aes256;
use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use pbkdf2::pbkdf2_hmac;
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::mac::{Digest, Key, LONGEST};
use crate::{
    dialect::{Refusal, Timestamp},
    encoding::base64::{decode_standard, encode_standard},
    secret::hex,
    value::DateTime,
};

const SEPARATOR: &str = "--";
const TAG: usize = 16;
/// Rails' key generator: how often the function is applied to itself.
const ITERATIONS: u32 = 1000;

/// Derives a key from a `secret_key_base`, whose text is taken as it is, for what this salt names. It fills the slice.
pub fn derive_key(secret_key_base: &[u8], salt: &str, digest: Digest, key: &mut [u8]) {
    let derive = match digest {
        Digest::Sha1 => pbkdf2_hmac::<Sha1>,
        Digest::Sha256 => pbkdf2_hmac::<Sha256>,
        Digest::Sha384 => pbkdf2_hmac::<Sha384>,
        Digest::Sha512 => pbkdf2_hmac::<Sha512>,
    };
    derive(secret_key_base, salt.as_bytes(), ITERATIONS, key);
}

/// Encrypts and opens messages with AES-256-GCM: what Rails does since 5.2.
#[derive(Clone)]
pub struct Encryptor {
    cipher: Aes256Gcm,
}

impl Encryptor {
    /// Bytes of a nonce.
    pub const IV: usize = 12;

    /// With a derived key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { cipher: Aes256Gcm::new(key.into()) }
    }

    /// The message, sealed with a nonce that is drawn for it alone. `None`: it is longer than the cipher takes.
    pub fn seal(&self, mut message: Vec<u8>, iv: [u8; Self::IV]) -> Option<String> {
        let tag = self.cipher.encrypt_inout_detached(&iv.into(), &[], message.as_mut_slice().into()).ok()?;
        Some([base64(&message), base64(&iv), base64(&tag)].join(SEPARATOR))
    }

    /// The message that was sealed.
    ///
    /// # Errors
    ///
    /// Where it has not its form, or its tag is not of this key.
    pub fn open(&self, sealed: &str) -> Result<Vec<u8>, Refusal> {
        let mut parts = sealed.split(SEPARATOR);
        let (Some(message), Some(iv), Some(tag), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Malformed);
        };
        let (iv, tag) = (decoded::<{ Self::IV }>(iv)?, decoded::<TAG>(tag)?);
        let mut message = decode_standard(message.as_bytes()).ok_or(Refusal::Malformed)?;
        self.cipher
            .decrypt_inout_detached(&iv.into(), &[], message.as_mut_slice().into(), &tag.into())
            .map_err(|_| Refusal::BadSignature)?;
        Ok(message)
    }
}

/// Encrypts and opens messages with AES-256-CBC and HMAC-SHA1, as Rails does without `use_authenticated_cookie_encryption`.
#[derive(Clone)]
pub struct OlderEncryptor {
    key: Zeroizing<[u8; 32]>,
    verifier: Verifier,
}

impl OlderEncryptor {
    /// Bytes of an initialization vector.
    pub const IV: usize = 16;

    /// With two derived keys: one encrypts, one signs.
    pub fn new(key: &[u8; 32], sign_key: &[u8; 64]) -> Self {
        Self { key: Zeroizing::new(*key), verifier: Verifier::new(sign_key, Digest::Sha1) }
    }

    /// The message, sealed with an initialization vector that is drawn for it alone.
    pub fn seal(&self, message: &[u8], iv: [u8; Self::IV]) -> String {
        let cipher = cbc::Encryptor::<Aes256>::new((&*self.key).into(), &iv.into());
        let sealed = [base64(&cipher.encrypt_padded_vec::<Pkcs7>(message)), base64(&iv)].join(SEPARATOR);
        self.verifier.sign(sealed.as_bytes())
    }

    /// The message that was sealed. The signature is looked at before anything is decrypted.
    ///
    /// # Errors
    ///
    /// Where it has not its form, or its signature is not of this key.
    pub fn open(&self, sealed: &str) -> Result<Vec<u8>, Refusal> {
        let sealed = self.verifier.verify(sealed)?;
        let sealed = std::str::from_utf8(&sealed).map_err(|_| Refusal::Malformed)?;
        let (message, iv) = sealed.split_once(SEPARATOR).ok_or(Refusal::Malformed)?;
        let message = decode_standard(message.as_bytes()).ok_or(Refusal::Malformed)?;
        let cipher = cbc::Decryptor::<Aes256>::new((&*self.key).into(), &decoded::<{ Self::IV }>(iv)?.into());
        cipher.decrypt_padded_vec::<Pkcs7>(&message).map_err(|_| Refusal::Malformed)
    }
}

/// Signs and verifies messages.
///
/// ```
/// use dewar::dialect::wire::{Digest, rails::{Verifier, derive_key}};
///
/// let mut key = [0; 64];
/// derive_key("3f".repeat(64).as_bytes(), "signed cookie", Digest::Sha256, &mut key);
/// let verifier = Verifier::new(&key, Digest::Sha1);
/// let signed = verifier.sign(br#"{"_rails":{"message":"IiI=","exp":null,"pur":"cookie.pref"}}"#);
/// assert!(signed.ends_with("--dba0c9278b539d87885cc47dc784395b500375fe"));
/// assert!(verifier.verify(&signed).is_ok());
/// ```
#[derive(Clone)]
pub struct Verifier {
    key: Key,
}

impl Verifier {
    /// With a derived key.
    pub fn new(key: &[u8; 64], digest: Digest) -> Self {
        Self { key: Key::new(key, digest) }
    }

    /// The message, signed: anybody can read it.
    pub fn sign(&self, message: &[u8]) -> String {
        let text = base64(message);
        let signature = self.signature(&text);
        [text, signature].join(SEPARATOR)
    }

    /// The message that was signed. Compares the spelling, in constant time, as Rails does.
    ///
    /// # Errors
    ///
    /// Where it has not its form, or its signature is not of this key.
    pub fn verify(&self, signed: &str) -> Result<Vec<u8>, Refusal> {
        let (text, signature) = signed.rsplit_once(SEPARATOR).ok_or(Refusal::Malformed)?;
        if text.is_empty() || !bool::from(self.signature(text).as_bytes().ct_eq(signature.as_bytes())) {
            return Err(Refusal::BadSignature);
        }
        decode_standard(text.as_bytes()).ok_or(Refusal::Malformed)
    }

    fn signature(&self, text: &str) -> String {
        hex(self.key.mac(text.as_bytes(), &mut [0; LONGEST]))
    }
}

/// What Rails puts around a message, so that it serves one purpose and for some time.
#[derive(Debug)]
pub struct Message<'a> {
    /// The message itself.
    pub body: Cow<'a, [u8]>,
    /// From when on it is worth nothing.
    pub expires: Option<Timestamp>,
    /// What it is for: `cookie._app_session`.
    pub purpose: Option<String>,
    /// Whether there is anything around it.
    pub has_metadata: bool,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "_rails")]
    rails: Metadata<'a>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(default)]
    exp: Option<String>,
    #[serde(default)]
    pur: Option<String>,
}

impl<'a> Message<'a> {
    /// Takes off what is around a message, if anything is. Rails 7 tells by these first bytes, in this spelling; so it is here.
    ///
    /// # Errors
    ///
    /// Where it begins as one and is none.
    pub fn read(text: &'a [u8]) -> Result<Self, Refusal> {
        if !text.starts_with(br#"{"_rails":{"message":"#) {
            return Ok(Self { body: text.into(), expires: None, purpose: None, has_metadata: false });
        }
        let Envelope { rails } = serde_json::from_slice(text).map_err(|_| Refusal::Malformed)?;
        let expires = match rails.exp {
            Some(text) => Some(moment(&text).ok_or(Refusal::Malformed)?),
            None => None,
        };
        let body = decode_standard(rails.message.as_bytes()).ok_or(Refusal::Malformed)?;
        Ok(Self { body: body.into(), expires, purpose: rails.pur, has_metadata: true })
    }

    /// Whether it may be used for this, now. One that names no purpose serves every one, as in Rails.
    ///
    /// # Errors
    ///
    /// Where it is for something else (it is as good as forged), or its time is over.
    pub fn check(&self, purpose: &str, now: Timestamp) -> Result<(), Refusal> {
        if self.purpose.as_deref().is_some_and(|other| other != purpose) {
            return Err(Refusal::BadSignature);
        }
        if self.expires.is_some_and(|expires| expires <= now) {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    /// Puts metadata around a message, as Rails spells it.
    pub fn wrap(body: &[u8], expires: Option<Timestamp>, purpose: &str) -> Vec<u8> {
        let expires = expires.map_or_else(|| "null".to_owned(), |expires| format!("\"{}\"", date(expires)));
        let purpose = serde_json::Value::from(purpose);
        format!(r#"{{"_rails":{{"message":"{}","exp":{expires},"pur":{purpose}}}}}"#, base64(body)).into_bytes()
    }
}

/// `2023-11-14T23:13:20.000Z`
fn date(moment: Timestamp) -> String {
    let whole = DateTime::from(SystemTime::from(Timestamp::from_secs(moment.as_secs()))).to_string();
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), moment.as_millis() % 1000)
}

fn moment(text: &str) -> Option<Timestamp> {
    let moment: DateTime = text.parse().ok()?;
    let whole = u64::try_from(moment.seconds()).ok()?;
    Some(Timestamp::from_secs(whole).after(Duration::from_nanos(moment.nanos().into())))
}

fn base64(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    encode_standard(bytes, &mut text);
    String::from_utf8(text).expect("base64 is ASCII")
}

fn decoded<const N: usize>(text: &str) -> Result<[u8; N], Refusal> {
    decode_standard(text.as_bytes()).and_then(|bytes| bytes.try_into().ok()).ok_or(Refusal::Malformed)
}

macro_rules! never_the_key {
    ($($Type:ident)*) => {$(
        impl fmt::Debug for $Type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($Type), "(a key)"))
            }
        }
    )*};
}

never_the_key!(Encryptor OlderEncryptor Verifier);
