//! base64url( version[1] secret_id[4] salt[16] nonce[12] commitment[32] ciphertext tag[16] )
//!
//! `Sealed`: the session itself, encrypted, in the cookie. Nobody but the application can read or change it.
//!
//! ```text
//! version     1
//! master      of a generated secret, HKDF-Extract(salt "dewar sealed 1 generated", secret); of any other, Argon2id version 1.3
//!             with 19 MiB, 2 passes, 1 lane (secret, salt "dewar sealed 1 passphrase"): 32 bytes, never in the token
//! secret_id   HKDF(master, info "dewar sealed 1 secret id"): which secret of the keyring, in one look
//! salt        random, new every hour of a process
//! key,        HKDF(master, salt, info "dewar sealed 1 key and commitment"): 32 bytes for AES-256-GCM,
//! commitment  and 32 that tie the token to this secret and no other
//! nonce       the first 12 bytes of HMAC-SHA-256 (32 random bytes; a count, the moment, POLYVAL (16 random bytes; associated data,
//!             plaintext)); the random bytes as old as the salt
//! associated  "dewar sealed 1 session" 0 cookie name
//! plaintext   created u64, issued u64 (milliseconds), idle u32, absolute u32 (seconds, 0: none), flags u8 (1: persistent),
//!             principal u16 length + bytes, label u16 length + bytes (0: none), data u32 length + bytes, zeros to a multiple of 64;
//!             integers little-endian, data a MessagePack map
//! ```
//!
//! Reasons. AES-GCM alone lets one ciphertext open under several keys; the commitment, compared in constant time before
//! anything is decrypted, does not. A key that lives for an hour of one process keeps random 96-bit nonces far from their
//! birthday bound (2^32 messages a key) and lets derived keys be cached: a token costs one AES-GCM, not one HKDF. A nonce is drawn without
//! a system call. A forked process, or a machine that was copied while it ran, has the same bytes and the same count, which is why
//! the message goes into it, as into AES-GCM-SIV (RFC 8452): two that differ have nonces as different as random ones. The cookie's
//! name and the purpose are bound, so that a token cannot be moved to another cookie. Padding hides small differences in length.
//! A secret that a person may have made up is stretched once, at start-up, with Argon2id; a generated one has its 256 bits already.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use bytes::{Buf, Bytes};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use polyval::{Polyval, universal_hash::UniversalHash};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    Body, Contents, Data, Dialect, Jar, Keeps, Known, Limits, Profile, Random, Refusal, SetValue, Steps, Timestamp,
    Token, option,
};
use crate::{
    encoding::base64,
    error::Error,
    secret::{Keyring, Secret},
};

pub(super) const KNOWN: Known = Known {
    name: "Sealed",
    cookies: &["__Host-Http-session", "__Host-session", "session"],
    on_store: None,
    make: |keyring, options| option::made("Sealed", Sealed::new(keyring), &[], options),
};

const VERSION: u8 = 1;
const SECRET_ID: usize = 4;
const SALT: usize = 16;
const NONCE: usize = 12;
const COMMITMENT: usize = 32;
const HEAD: usize = 1 + SECRET_ID + SALT + NONCE + COMMITMENT;
const TAG: usize = 16;
const PADDED_TO: usize = 64;

/// How long one process writes under one salt.
const SALT_LIVES: Duration = Duration::from_secs(3600);

/// The most derived keys that are kept: some weeks of hours of some processes, about half a MiB.
const CACHED_KEYS: usize = 512;

type Salt = [u8; SALT];

/// Our own dialect for sessions in the cookie: encrypted and authenticated. The default.
///
/// # Security
///
/// Nobody without the secret can read, make or change a session. A copy of a whole cookie is worth what
/// the cookie is worth until it expires, also after a log-out: only a store can end it before.
pub struct Sealed {
    profile: Profile,
    masters: Vec<Master>,
    current: Mutex<Option<Arc<Current>>>,
    cache: RwLock<HashMap<(usize, Salt), Arc<Derived>>>,
}

/// One secret of the keyring, as the dialect uses it.
struct Master {
    bytes: Zeroizing<[u8; 32]>,
    id: [u8; SECRET_ID],
}

/// The salt under which this process writes at present.
struct Current {
    salt: Salt,
    since: Timestamp,
    derived: Arc<Derived>,
    nonces: Nonces,
}

/// Numbers that are used once, each drawn from a seed and what it is for.
struct Nonces {
    /// Of the message: two that differ have one digest in 2^120 cases once, whoever chose them without this key.
    digest: Polyval,
    keyed: Hmac<Sha256>,
    count: AtomicU64,
}

struct Derived {
    cipher: Aes256Gcm,
    commitment: [u8; COMMITMENT],
}

impl Sealed {
    /// The dialect under these secrets. Takes some tens of milliseconds for each secret that is not a
    /// generated one, to make guessing it expensive.
    pub fn new(keyring: &Keyring) -> Self {
        Self {
            profile: Profile::own(KNOWN.name, Keeps::Data),
            masters: keyring.secrets().iter().map(Master::new).collect(),
            current: Mutex::new(None),
            cache: RwLock::default(),
        }
    }

    /// The keys for writing now: a new salt every hour, also when the clock was turned back.
    fn current(&self, now: Timestamp, random: Random<'_>) -> Arc<Current> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) =
            current.as_ref().filter(|current| now >= current.since && now.since(current.since) < SALT_LIVES)
        {
            return Arc::clone(current);
        }
        let mut salt = [0; SALT];
        random(&mut salt);
        let derived = Arc::new(self.masters[0].derive(&salt));
        self.remember(0, salt, &derived);
        let next = Arc::new(Current { salt, since: now, derived, nonces: Nonces::new(random) });
        *current = Some(Arc::clone(&next));
        next
    }

    fn cached(&self, secret: usize, salt: &Salt) -> Option<Arc<Derived>> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        cache.get(&(secret, *salt)).cloned()
    }

    /// Only for keys under which a token proved authentic: an attacker cannot fill the cache.
    fn remember(&self, secret: usize, salt: Salt, derived: &Arc<Derived>) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED_KEYS {
            cache.clear();
        }
        cache.insert((secret, salt), Arc::clone(derived));
    }

    /// Authenticates and decrypts in place. Returns the plaintext and which secret it was.
    fn unseal(&self, mut token: Vec<u8>, cookie: &str) -> Result<(Bytes, usize), Refusal> {
        if token.len() < HEAD + TAG || token[0] != VERSION {
            return Err(Refusal::Malformed);
        }
        let (head, sealed) = token.split_at_mut(HEAD);
        let (id, rest) = head[1..].split_at(SECRET_ID);
        let (salt, rest) = rest.split_at(SALT);
        let (nonce, commitment) = rest.split_at(NONCE);
        let salt = Salt::try_from(salt).map_err(|_| Refusal::Malformed)?;
        let nonce = <[u8; NONCE]>::try_from(nonce).map_err(|_| Refusal::Malformed)?;
        let mut refusal = Refusal::UnknownSecret;
        for (secret, master) in self.masters.iter().enumerate().filter(|(_, master)| master.id == id) {
            refusal = Refusal::BadSignature;
            let cached = self.cached(secret, &salt);
            let derived = cached.clone().unwrap_or_else(|| Arc::new(master.derive(&salt)));
            if !bool::from(derived.commitment[..].ct_eq(commitment)) {
                continue;
            }
            let (text, tag) = sealed.split_at_mut(sealed.len() - TAG);
            let tag = <[u8; TAG]>::try_from(&*tag).map_err(|_| Refusal::Malformed)?;
            let opened = with_associated(cookie, |associated| {
                derived.cipher.decrypt_inout_detached(&nonce.into(), associated, text.into(), &tag.into())
            });
            if opened.is_err() {
                return Err(Refusal::BadSignature);
            }
            if cached.is_none() {
                self.remember(secret, salt, &derived);
            }
            let end = token.len() - TAG;
            token.truncate(end);
            return Ok((Bytes::from(token).slice(HEAD..), secret));
        }
        Err(refusal)
    }
}

impl Nonces {
    fn new(random: Random<'_>) -> Self {
        let mut seed = Zeroizing::new([0; 16 + 32]);
        random(seed.as_mut());
        let digest = Polyval::new_from_slice(&seed[..16]).expect("the key has 16 bytes");
        let keyed = Hmac::new_from_slice(&seed[16..]).expect("HMAC takes a key of any length");
        Self { digest, keyed, count: AtomicU64::new(0) }
    }

    fn draw(&self, now: Timestamp, associated: &[u8], message: &[u8]) -> [u8; NONCE] {
        let mut digest = self.digest.clone();
        digest.update_padded(associated);
        digest.update_padded(message);
        let mut lengths = [0; 16];
        lengths[..8].copy_from_slice(&(associated.len() as u64).to_le_bytes());
        lengths[8..].copy_from_slice(&(message.len() as u64).to_le_bytes());
        digest.update_padded(&lengths);
        let mut keyed = self.keyed.clone();
        keyed.update(&self.count.fetch_add(1, Relaxed).to_le_bytes());
        keyed.update(&now.as_millis().to_le_bytes());
        keyed.update(&digest.finalize());
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&keyed.finalize().into_bytes()[..NONCE]);
        nonce
    }
}

impl Master {
    fn new(secret: &Secret) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        if secret.is_generated() {
            let (whole, _) = Hkdf::<Sha256>::extract(Some(b"dewar sealed 1 generated"), secret.reveal());
            bytes.copy_from_slice(&whole);
        } else {
            argon2::Argon2::default()
                .hash_password_into(secret.reveal(), b"dewar sealed 1 passphrase", bytes.as_mut())
                .expect("Argon2id with its default parameters takes any secret");
        }
        let mut id = [0; SECRET_ID];
        Hkdf::<Sha256>::new(None, bytes.as_ref())
            .expand(b"dewar sealed 1 secret id", &mut id)
            .expect("HKDF gives 4 bytes");
        Self { bytes, id }
    }

    fn derive(&self, salt: &Salt) -> Derived {
        let mut both = Zeroizing::new([0; 32 + COMMITMENT]);
        Hkdf::<Sha256>::new(Some(salt), self.bytes.as_ref())
            .expand(b"dewar sealed 1 key and commitment", both.as_mut())
            .expect("HKDF gives 64 bytes");
        let mut commitment = [0; COMMITMENT];
        commitment.copy_from_slice(&both[32..]);
        let cipher = Aes256Gcm::new_from_slice(&both[..32]).expect("the key has 32 bytes");
        Derived { cipher, commitment }
    }
}

impl Dialect for Sealed {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&self, jar: &Jar<'_>, limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        let token = base64::decode_url(jar.value()?.as_bytes()).ok_or(Refusal::Malformed)?;
        self.explain(&token, steps);
        let fingerprint = fingerprint(&token);
        let (plaintext, secret) = self.unseal(token, jar.name())?;
        let contents = read_plaintext(plaintext, self.profile.encoding).ok_or(Refusal::Malformed)?;
        steps.note("began", || limits.age(contents.created));
        steps.note("issued", || limits.age(contents.issued));
        if contents.issued > limits.now.after(limits.skew) {
            return Err(Refusal::Future);
        }
        if contents.expires() <= limits.now {
            return Err(Refusal::Expired);
        }
        Ok(Token::Data { contents, outdated: secret != 0, sliding: true, unique: Some(fingerprint) })
    }

    fn write(&self, body: Body<'_>, cookie: &str, now: Timestamp, random: Random<'_>) -> Result<Vec<SetValue>, Error> {
        let contents = body.data("Sealed", "on a store use Opaque")?;
        let current = self.current(now, random);
        let mut token = Vec::with_capacity(1024);
        token.push(VERSION);
        token.extend_from_slice(&self.masters[0].id);
        token.extend_from_slice(&current.salt);
        let at = token.len();
        token.extend_from_slice(&[0; NONCE]);
        token.extend_from_slice(&current.derived.commitment);
        write_plaintext(contents, self.profile.encoding, &mut token)?;
        let tag = with_associated(cookie, |associated| {
            let nonce = current.nonces.draw(now, associated, &token[HEAD..]);
            token[at..at + NONCE].copy_from_slice(&nonce);
            current.derived.cipher.encrypt_inout_detached(&nonce.into(), associated, (&mut token[HEAD..]).into())
        })
        .map_err(|_| Error::setting("the session is too large to be encrypted"))?;
        token.extend_from_slice(&tag);
        let mut text = String::with_capacity(token.len().div_ceil(3) * 4);
        base64::push_url(&token, &mut text);
        Ok(vec![SetValue::new("", text)])
    }
}

impl Sealed {
    /// What stands in a token in the clear, whether it is authentic or not.
    fn explain(&self, token: &[u8], steps: &mut Steps<'_>) {
        steps.note("token", || {
            format!("{} bytes, version {}", token.len(), token.first().map_or(0, |version| *version))
        });
        let Some(id) = token.get(1..=SECRET_ID) else { return };
        steps.note("secret id", || match self.masters.iter().position(|master| master.id == id) {
            Some(at) => format!("of secret {} of {}", at + 1, self.masters.len()),
            None => "of none of the keyring".into(),
        });
    }
}

/// Never the secrets.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("secrets", &self.masters.len()).finish_non_exhaustive()
    }
}

/// The nonce, the salt and the tag: no two tokens of one process have the same. Two copies of a process (a fork) make one token only of the same
/// message with the same count in the same millisecond.
fn fingerprint(token: &[u8]) -> [u8; 32] {
    let mut print = [0; 32];
    if token.len() >= HEAD + TAG {
        let nonce = 1 + SECRET_ID + SALT;
        print[..NONCE].copy_from_slice(&token[nonce..nonce + NONCE]);
        print[NONCE..NONCE + TAG].copy_from_slice(&token[token.len() - TAG..]);
    }
    print
}

/// Runs with the associated data, on the stack for every cookie name that a person would write.
fn with_associated<R>(cookie: &str, run: impl FnOnce(&[u8]) -> R) -> R {
    const PURPOSE: &[u8] = b"dewar sealed 1 session\0";
    let mut buffer = [0; 128];
    let length = PURPOSE.len() + cookie.len();
    if length > buffer.len() {
        return run(&[PURPOSE, cookie.as_bytes()].concat());
    }
    buffer[..PURPOSE.len()].copy_from_slice(PURPOSE);
    buffer[PURPOSE.len()..length].copy_from_slice(cookie.as_bytes());
    run(&buffer[..length])
}

fn write_plaintext(contents: &Contents, encoding: crate::encoding::Encoding, out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    out.extend_from_slice(&contents.created.as_millis().to_le_bytes());
    out.extend_from_slice(&contents.issued.as_millis().to_le_bytes());
    out.extend_from_slice(&contents.idle.to_le_bytes());
    out.extend_from_slice(&contents.absolute.unwrap_or(0).to_le_bytes());
    out.push(u8::from(contents.persistent));
    for (what, text) in [("principal", &contents.principal), ("label", &contents.label)] {
        let text = text.as_deref().unwrap_or_default();
        let length =
            u16::try_from(text.len()).map_err(|_| Error::setting(format!("the {what} is longer than 65535 bytes")))?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    contents.data.write(encoding, out);
    let length = u32::try_from(out.len() - at - 4).map_err(|_| Error::setting("the session is larger than 4 GiB"))?;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    let padded = (out.len() - start).next_multiple_of(PADDED_TO);
    out.resize(start + padded, 0);
    Ok(())
}

fn read_plaintext(mut text: Bytes, encoding: crate::encoding::Encoding) -> Option<Contents> {
    let created = Timestamp::from_millis(text.try_get_u64_le().ok()?);
    let issued = Timestamp::from_millis(text.try_get_u64_le().ok()?);
    let idle = text.try_get_u32_le().ok()?;
    let absolute = text.try_get_u32_le().ok()?;
    let flags = text.try_get_u8().ok()?;
    let principal = read_text(&mut text)?;
    let label = read_text(&mut text)?;
    let length = usize::try_from(text.try_get_u32_le().ok()?).ok()?;
    let data = (length <= text.len()).then(|| text.split_to(length))?;
    Some(Contents {
        data: Data::parse(encoding, &data)?,
        created,
        issued,
        idle,
        absolute: (absolute != 0).then_some(absolute),
        persistent: flags & 1 != 0,
        principal,
        label,
        extra: Bytes::new(),
        stays: false,
        alone: None,
        lineage: 0,
        epoch: None,
        guarded_until: None,
    })
}

fn read_text(text: &mut Bytes) -> Option<Option<Box<str>>> {
    let length = usize::from(text.try_get_u16_le().ok()?);
    if length == 0 {
        return Some(None);
    }
    let bytes = (length <= text.len()).then(|| text.split_to(length))?;
    Some(Some(std::str::from_utf8(&bytes).ok()?.into()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// As a fork makes them, and as a machine is copied: what was drawn, and how often, is the same in both.
    fn copies() -> [Sealed; 2] {
        let keyring = Keyring::from(Secret::generate());
        [(); 2].map(|()| Sealed::new(&keyring))
    }

    fn write(sealed: &Sealed, contents: &Contents, cookie: &str, random: Random<'_>) -> Vec<u8> {
        let written = sealed.write(Body::Data(contents), cookie, NOW, random).unwrap();
        base64::decode_url(written[0].value.as_bytes()).unwrap()
    }

    fn with_entry(value: u16) -> Contents {
        let mut contents = Contents::new(NOW, 3600, None, false);
        let [high, low] = value.to_be_bytes();
        contents.data.insert(b"n", [0xcd, high, low]);
        contents
    }

    #[test]
    fn processes_that_are_copies_of_each_other_never_use_one_nonce_for_two_messages() {
        let copies = copies();
        let mut seen = HashMap::new();
        for round in 0..2000u16 {
            for (copy, sealed) in copies.iter().enumerate() {
                for cookie in ["session", "__Host-Http-session"] {
                    // In each round both copies write, at one moment and with one count, something of their own.
                    let token = write(sealed, &with_entry(2 * round + copy as u16), cookie, &mut |bytes| bytes.fill(7));
                    let (head, sealed) = token.split_at(HEAD);
                    let before = seen.insert(head.to_vec(), sealed.to_vec());
                    assert_eq!(before, None, "round {round}");
                }
            }
        }
    }

    #[test]
    fn copies_that_write_the_same_message_at_the_same_moment_write_the_same_token_and_a_process_never_does() {
        let copies = copies();
        let [one, other] = &copies;
        let written = |sealed| write(sealed, &with_entry(1), "session", &mut |bytes| bytes.fill(7));
        let tokens = [written(one), written(other), written(one)];
        assert_eq!(tokens[0], tokens[1]);
        assert_ne!(tokens[0], tokens[2]);
    }

    #[test]
    fn a_token_costs_no_random_bytes_after_the_first_of_an_hour() {
        let sealed = &copies()[0];
        let mut drawn = 0;
        for _ in 0..3 {
            write(sealed, &with_entry(1), "session", &mut |bytes| drawn += bytes.len());
        }
        assert_eq!(drawn, SALT + 16 + 32);
    }
}
