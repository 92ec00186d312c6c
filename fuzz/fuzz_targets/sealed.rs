//! `Sealed`: bytes of anybody's, tokens that were tampered with, and arbitrary sessions behind good encryption.
//!
//! Never a panic; only an authentic token opens; a session that was written opens to the same one.

#![no_main]

use std::sync::LazyLock;

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use arbitrary::{Arbitrary, Unstructured};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL};
use bytes::Bytes;
use dewar::{
    dialect::{Body, Contents, Data, Dialect, Jar, Refusal, Sealed, Steps, Timestamp, Token},
    encoding::Encoding,
};
use dewar_fuzz::{NOW, keyring, limits, old_keyring, random};
use hkdf::Hkdf;
use libfuzzer_sys::fuzz_target;
use sha2::Sha256;

const NAME: &str = "__Host-Http-session";

static SEALED: LazyLock<Sealed> = LazyLock::new(|| Sealed::new(&keyring()));
static FORMER: LazyLock<Sealed> = LazyLock::new(|| Sealed::new(&old_keyring()));

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// Whatever somebody sends.
    Text(&'a str),
    /// Bytes in the right base64.
    Token(&'a [u8]),
    /// A session that was written, and what became of its token.
    Tampered { session: Written<'a>, name: bool, changes: Vec<Change<'a>> },
    /// Anything at all behind good encryption.
    Plaintext { text: &'a [u8], salt: u8 },
}

#[derive(Arbitrary, Debug)]
struct Written<'a> {
    data: &'a [u8],
    created: u64,
    age: u32,
    at: bool,
    idle: u32,
    absolute: Option<u32>,
    persistent: bool,
    principal: Option<&'a str>,
    label: Option<&'a str>,
    former: bool,
    seed: u16,
}

#[derive(Arbitrary, Debug)]
enum Change<'a> {
    Flip {
        at: u16,
        bit: u8,
    },
    Cut {
        from: u16,
        to: u16,
    },
    Insert {
        at: u16,
        bytes: &'a [u8],
    },
    /// Another token's bytes from here on.
    Splice {
        at: u16,
        seed: u16,
    },
    Character {
        at: u16,
        byte: u8,
    },
    Append(&'a str),
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(bytes)) else { return };
    match input {
        Input::Text(text) => assert!(read(NAME, text).is_err()),
        Input::Token(token) => assert!(read(NAME, &URL.encode(token)).is_err()),
        Input::Tampered { session, name, changes } => tampered(&session, name, &changes),
        Input::Plaintext { text, salt } => plaintext(text, salt),
    }
});

fn read(name: &str, text: &str) -> Result<(Contents, bool), Refusal> {
    match SEALED.read(&Jar::of(name, &[("", text)]), &limits(), &mut Steps::off())? {
        Token::Data { contents, outdated, .. } => Ok((contents, outdated)),
        Token::Id { .. } => panic!("Sealed keeps data"),
    }
}

fn tampered(session: &Written<'_>, rename: bool, changes: &[Change<'_>]) {
    let contents = contents(session);
    let written = token(session, &contents);
    let mut authentic = vec![written.clone()];
    let mut bytes = URL.decode(&written).expect("a token is base64");
    for change in changes {
        let at = |at: u16, len: usize| usize::from(at) % (len + 1);
        match change {
            Change::Flip { at: place, bit } => {
                let place = usize::from(*place) % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Change::Cut { from, to } => {
                let (from, to) = (at(*from, bytes.len()), at(*to, bytes.len()));
                bytes.drain(from.min(to)..from.max(to));
            }
            Change::Insert { at: place, bytes: more } => {
                let place = at(*place, bytes.len());
                bytes.splice(place..place, more.iter().copied());
            }
            Change::Splice { at: place, seed } => {
                let other = token(&Written { seed: *seed, data: b"\x81\xa1a\x01", ..*session }, &contents);
                authentic.push(other.clone());
                let other = URL.decode(other).expect("a token is base64");
                let place = at(*place, bytes.len().min(other.len()));
                bytes.truncate(place);
                bytes.extend_from_slice(&other[place..]);
            }
            Change::Character { .. } | Change::Append(_) => {}
        }
    }
    let mut text = URL.encode(&bytes);
    for change in changes {
        match change {
            Change::Character { at, byte } if !text.is_empty() && byte.is_ascii() => {
                let at = usize::from(*at) % text.len();
                if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
                    text.replace_range(at..=at, &char::from(*byte).to_string());
                }
            }
            Change::Append(more) => text.push_str(more),
            _ => {}
        }
    }
    let opened = read(if rename { "session" } else { NAME }, &text);
    if rename {
        assert!(opened.is_err(), "a token opened under another name");
    }
    match opened {
        Ok((opened, outdated)) => {
            // A splice from the beginning puts a whole other token in its place.
            assert!(authentic.contains(&text), "a changed token opened");
            assert_eq!(outdated, session.former);
            assert_same(&opened, &contents);
            assert!(opened.issued <= NOW && opened.expires() > NOW);
        }
        Err(refusal) if text == written && !rename => {
            let due = if contents.issued > NOW { Refusal::Future } else { Refusal::Expired };
            assert_eq!(refusal, due);
            assert!(contents.issued > NOW || contents.expires() <= NOW);
        }
        Err(_) => {}
    }
}

fn contents(session: &Written<'_>) -> Contents {
    // Near the present most of the time: what is over would be all that is tried.
    let issued = if session.at { session.created } else { NOW.as_millis() - u64::from(session.age) };
    let data = Data::parse(Encoding::MessagePack, &Bytes::copy_from_slice(session.data)).unwrap_or_default();
    let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(Box::from);
    let absolute = session.absolute.filter(|absolute| *absolute != 0);
    let issued = Timestamp::from_millis(issued);
    let mut contents = Contents::new(issued, session.idle, absolute, session.persistent);
    contents.data = data;
    contents.created = if session.at { Timestamp::from_millis(session.created) } else { issued };
    contents.principal = text(session.principal);
    contents.label = text(session.label);
    contents
}

fn token(session: &Written<'_>, contents: &Contents) -> String {
    let sealed = if session.former { &FORMER } else { &SEALED };
    // Every hour another salt, so that the cache of derived keys turns over.
    let hour = Timestamp::from_secs(u64::from(session.seed) * 3600);
    let written = sealed.write(Body::Data(contents), NAME, hour, &mut random(session.seed.into()));
    written.expect("short texts").remove(0).value
}

fn assert_same(a: &Contents, b: &Contents) {
    let facts = |contents: &Contents| {
        (contents.created, contents.issued, contents.idle, contents.absolute, contents.persistent)
    };
    assert_eq!(facts(a), facts(b));
    assert_eq!((&a.principal, &a.label, &a.extra), (&b.principal, &b.label, &b.extra));
    assert!(a.data.iter().eq(b.data.iter()));
}

/// Seals by the words at the top of `sealed.rs`, not by its code.
fn plaintext(text: &[u8], salt: u8) {
    let (master, _) = Hkdf::<Sha256>::extract(Some(b"dewar sealed 1 generated"), keyring().secrets()[0].reveal());
    let text = seal(&master.into(), [salt; 16], text);
    let Ok((contents, outdated)) = read(NAME, &text) else { return };
    assert!(!outdated);
    let hour = Timestamp::from_secs(u64::from(salt) * 3600);
    let again = SEALED.write(Body::Data(&contents), NAME, hour, &mut random(salt.into()));
    let (again, _) = read(NAME, &again.expect("what was read is written")[0].value).expect("what was written opens");
    assert_same(&again, &contents);
}

fn seal(master: &[u8; 32], salt: [u8; 16], text: &[u8]) -> String {
    let mut id = [0; 4];
    Hkdf::<Sha256>::new(None, master).expand(b"dewar sealed 1 secret id", &mut id).expect("4 bytes");
    let mut both = [0; 64];
    Hkdf::<Sha256>::new(Some(&salt), master).expand(b"dewar sealed 1 key and commitment", &mut both).expect("64 bytes");
    let nonce = [7; 12];
    let mut sealed = text.to_vec();
    let cipher = Aes256Gcm::new_from_slice(&both[..32]).expect("32 bytes");
    let associated = [b"dewar sealed 1 session\0", NAME.as_bytes()].concat();
    let tag = cipher.encrypt_inout_detached(&nonce.into(), &associated, sealed.as_mut_slice().into()).expect("short");
    URL.encode([&[1][..], &id, &salt, &nonce, &both[32..], &sealed, &tag].concat())
}
