//! Rows that are truly signed and values of a cache, so that the fuzzer reaches what is inside: JSON, compressed or not, and what it says of its lifetime.
//!
//! What is read is written again and reads the same; what nobody signed never opens; an id is one that Django could have made.

#![no_main]

use std::sync::{Arc, LazyLock};

use dewar::{
    Keyring, Secret,
    dialect::{
        Attributes, Contents, Dialect, DjangoSession, Jar, Steps, Token,
        wire::{
            inflate::deflate_if_shorter,
            itsdangerous::{Derivation, Digest, Signer},
        },
    },
    encoding::base64::push_url,
    layout::{Layout, Stored},
};
use dewar_fuzz::{NOW, limits};
use libfuzzer_sys::fuzz_target;

const KEY: &str = "dewar fuzz, a secret of Django's";

static DJANGO: LazyLock<DjangoSession> =
    LazyLock::new(|| DjangoSession::new(&Keyring::new(Secret::new(KEY).expect("a secret"))));
static ROW: LazyLock<Arc<dyn Layout>> = LazyLock::new(|| DJANGO.row().expect("it has one"));
static VALUE: LazyLock<Arc<dyn Layout>> = LazyLock::new(|| DJANGO.layout().expect("it has one"));
static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let salt = b"django.contrib.sessions.SessionStore";
    let signer = Signer::new(&[KEY.as_bytes()], salt, Digest::Sha256, Derivation::DjangoConcat).expect("a secret");
    signer.separator(b':').expect("it separates")
});

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    match how % 8 {
        0 => assert!(read(&**ROW, rest).is_none(), "nobody signed this"),
        1 => id(&String::from_utf8_lossy(rest)),
        2 => {
            let mut text = signed(&payload(rest), "1r31eq").into_bytes();
            let at =
                rest.iter().fold(usize::from(*how), |sum, byte| (sum * 31 + usize::from(*byte)) % 65_521) % text.len();
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            assert!(read(&**ROW, &text).is_none(), "a changed row opened");
        }
        3 => record(&**ROW, signed(&String::from_utf8_lossy(rest), "1r31eq").as_bytes()),
        4 => record(&**ROW, signed("e30", &String::from_utf8_lossy(rest)).as_bytes()),
        5 => {
            let mut text = String::from(".");
            push_url(&deflate_if_shorter(rest).unwrap_or_else(|| rest.to_vec()), &mut text);
            record(&**ROW, signed(&text, "1r31eq").as_bytes());
        }
        6 => record(&**ROW, signed(&payload(rest), "1r31eq").as_bytes()),
        _ => record(&**VALUE, rest),
    }
});

fn payload(json: &[u8]) -> String {
    let mut text = String::new();
    push_url(json, &mut text);
    text
}

fn signed(payload: &str, time: &str) -> String {
    let mut text = format!("{payload}:{time}");
    SIGNER.sign_into(&mut text);
    text
}

fn id(cookie: &str) {
    match DJANGO.read(&Jar::of("sessionid", &[("", cookie)]), &limits(), &mut Steps::off()) {
        Ok(Token::Id { id, .. }) => {
            let id = id.reveal();
            assert!((8..=40).contains(&id.len()), "{id}");
            assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{id}");
        }
        Ok(Token::Data { .. }) => panic!("there is only an id"),
        Err(_) => {}
    }
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn read(layout: &dyn Layout, record: &[u8]) -> Option<Entries> {
    let kept = layout.read(&Stored::Blob(record.to_vec().into()), &mut Steps::off()).ok()?;
    // However long, it is a time.
    let _ = layout.lasts(&kept.data, NOW);
    Some(kept.data.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect())
}

fn record(layout: &dyn Layout, record: &[u8]) {
    let Some(entries) = read(layout, record) else { return };
    let kept = layout.read(&Stored::Blob(record.to_vec().into()), &mut Steps::off()).expect("it was read before");
    let mut contents = Contents::new(NOW, 7200, None, true);
    contents.data = kept.data;
    let written = layout.write(&contents, &Attributes::new("sessionid")).expect("what was read can be written");
    let twice = layout.write(&contents, &Attributes::new("sessionid")).expect("what was read can be written");
    assert_eq!(written, twice, "the same record has the same bytes");
    let again = read(layout, written.body()).expect("what was written reads");
    assert_eq!(again, entries);
}
