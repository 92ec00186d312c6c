//! payload ":" time ":" base64url( HMAC-SHA256( K, payload ":" time ) ), as Django's `signing.dumps` writes it: a cookie of `signed_cookies`, and the text
//! of a row.
//!
//! ```text
//! payload = [ "." ] base64url( JSON, or with the dot zlib( JSON ) )
//! time    = Unix seconds in base 62, digits 0-9 A-Z a-z
//! K       = SHA-256( salt "signer" secret )
//! ```
//!
//! The JSON is Python's: ASCII, names in the order they came in, nothing beyond JSON but NaN and the infinities. Base64 has one spelling here, and other bytes than
//! ASCII are refused (Django also takes padding and noise, and reads UTF-8 as Latin-1; it writes none of them).

use super::{
    Digest,
    inflate::Deflate,
    itsdangerous::{Derivation, Signer},
};
use crate::{
    data::Data,
    dialect::{Limits, Timestamp},
    encoding::{Encoding, Json},
    error::Refusal,
    explain::{Steps, signed_by},
    secret::Secret,
};

pub(crate) const JSON: Encoding = Encoding::Json(Json::PYTHON);

/// Between the fields.
const COLON: u8 = b':';

/// Signs entries and opens what is signed, with one salt.
#[derive(Clone, Debug)]
pub(crate) struct Signing {
    secrets: Vec<Secret>,
    salt: String,
    digest: Digest,
    signer: Signer,
    deflate: Deflate,
}

/// A text whose signature was found good. Nothing in it was decoded yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened<'a> {
    payload: &'a [u8],
    pub(crate) signed_at: Timestamp,
    /// Which secret signed it: 0 is the one that signs.
    pub(crate) secret: usize,
}

impl Signing {
    /// Under these secrets; what is compressed inflates to so many bytes at most.
    pub(crate) fn new(secrets: &[Secret], salt: &str, largest: usize) -> Self {
        let digest = Digest::Sha256;
        Self {
            signer: signer(secrets, salt, digest),
            secrets: secrets.to_vec(),
            salt: salt.to_owned(),
            digest,
            deflate: Deflate { enabled: true, largest },
        }
    }

    pub(crate) fn set_salt(&mut self, salt: String) {
        self.signer = signer(&self.secrets, &salt, self.digest);
        self.salt = salt;
    }

    pub(crate) fn set_digest(&mut self, digest: Digest) {
        self.signer = signer(&self.secrets, &self.salt, digest);
        self.digest = digest;
    }

    /// Whether entries are compressed where that makes them shorter.
    pub(crate) fn set_compression(&mut self, compression: bool) {
        self.deflate.enabled = compression;
    }

    pub(crate) fn set_largest(&mut self, bytes: usize) {
        self.deflate.largest = bytes;
    }

    pub(crate) fn salt(&self) -> &str {
        &self.salt
    }

    pub(crate) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// Authenticates a text.
    pub(crate) fn open<'a>(&self, text: &'a [u8]) -> Result<Opened<'a>, Refusal> {
        let signed = self.signer.unsign(text).map_err(|_| Refusal::BadSignature)?;
        let (payload, time) = split(signed.value).ok_or(Refusal::Malformed)?;
        let signed_at = moment(time).ok_or(Refusal::Malformed)?;
        Ok(Opened { payload, signed_at, secret: signed.secret })
    }

    /// The entries in it.
    pub(crate) fn entries(&self, opened: Opened<'_>) -> Result<Data, Refusal> {
        Data::parse(JSON, &self.decode(opened.payload)?.into()).ok_or(Refusal::Malformed)
    }

    /// These entries, signed at this moment.
    pub(crate) fn write(&self, data: &Data, now: Timestamp) -> String {
        let mut json = Vec::with_capacity(512);
        data.write(JSON, &mut json);
        let mut text = String::with_capacity(json.len() / 3 * 4 + 64);
        self.deflate.push(&json, &mut text);
        text.push(char::from(COLON));
        push_base62(now.as_secs(), &mut text);
        self.signer.sign_into(&mut text);
        text
    }

    /// What stands in a text, whether it is authentic or not. With limits, how old it is.
    pub(crate) fn explain(&self, text: &[u8], limits: Option<&Limits>, steps: &mut Steps<'_>) {
        let mut parts = text.rsplitn(3, |byte| *byte == COLON);
        let (Some(signature), Some(time), Some(payload)) = (parts.next(), parts.next(), parts.next()) else { return };
        steps.note("payload", || Deflate::describe(payload, self.decode(payload)));
        steps.note("issued", || match (moment(time), limits) {
            (None, _) => "no time".into(),
            (Some(at), Some(limits)) => limits.age(at),
            (Some(at), None) => at.to_string(),
        });
        steps.note("signature", || {
            let secret = self.signer.unsign(text).ok().map(|signed| signed.secret);
            format!("{} characters, {}", signature.len(), signed_by(secret, self.secrets.len()))
        });
    }

    fn decode(&self, payload: &[u8]) -> Result<Vec<u8>, Refusal> {
        let text = self.deflate.read(payload)?;
        // Django would read other bytes as Latin-1, and writes none.
        if text.is_ascii() { Ok(text) } else { Err(Refusal::Malformed) }
    }
}

fn signer(secrets: &[Secret], salt: &str, digest: Digest) -> Signer {
    let secrets: Vec<&[u8]> = secrets.iter().map(Secret::reveal).collect();
    let signer = Signer::new(&secrets, salt.as_bytes(), digest, Derivation::DjangoConcat);
    signer.and_then(|signer| signer.separator(COLON)).expect("a keyring has a secret, and a colon separates")
}

fn split(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memrchr(COLON, value)?;
    Some((&value[..at], &value[at + 1..]))
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn push_base62(number: u64, out: &mut String) {
    let (mut digits, mut at, mut rest) = ([b'0'; 11], 11, number);
    loop {
        at -= 1;
        digits[at] = BASE62[(rest % 62) as usize];
        rest /= 62;
        if rest == 0 {
            break;
        }
    }
    out.extend(digits[at..].iter().copied().map(char::from));
}

/// The moment that a token's timestamp says.
fn moment(digits: &[u8]) -> Option<Timestamp> {
    if digits.is_empty() {
        return None;
    }
    let seconds = digits.iter().try_fold(0_u64, |seconds, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'Z' => digit - b'A' + 10,
            b'a'..=b'z' => digit - b'a' + 36,
            _ => return None,
        };
        seconds.checked_mul(62)?.checked_add(u64::from(digit))
    })?;
    Some(Timestamp::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_base_62() {
        for (seconds, text) in [
            (0, "0"),
            (61, "z"),
            (62, "10"),
            (1_700_000_000, "1r31eq"),
            (1 << 32, "4gfFC4"),
            (u64::MAX / 1000, "L5rkdKKxYN"),
        ] {
            let mut written = String::new();
            push_base62(seconds, &mut written);
            assert_eq!(moment(written.as_bytes()), Some(Timestamp::from_secs(seconds)), "{written}");
            if seconds < 1 << 33 {
                assert_eq!(written, text);
            }
        }
        let mut longest = String::new();
        push_base62(u64::MAX, &mut longest);
        assert_eq!(longest.len(), 11);
        for none in ["", "-1", "1r31e!", "zzzzzzzzzzz", "000000000000000000000000zzzzzzzzzzzz"] {
            assert_eq!(moment(none.as_bytes()), None, "{none}");
        }
    }
}
