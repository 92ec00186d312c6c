//! Cookies with a signature and without, and records in both of Flask-Session's formats, whichever is set.
//!
//! What is read is written again and reads the same; what nobody signed never opens, and no pickle is a session.

#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use dewar::{
    Value,
    dialect::{
        Attributes, Contents, Data, Dialect, Digest, FlaskSession, Jar, Refusal, SerializationFormat, Steps, Token,
        wire::itsdangerous::{Derivation, Signer},
    },
    encoding::Encoding,
    layout::{Kept, Layout, Stored},
    meaning::FlashChange,
};
use dewar_fuzz::{NOW, keyring, limits, same, secret};
use libfuzzer_sys::fuzz_target;

const NAME: &str = "session";
const SID: &str = "MainSid_0123456789-abcdefghijklmnopqrstuvwx";

static DIALECTS: LazyLock<[FlaskSession; 2]> =
    LazyLock::new(|| [false, true].map(|use_signer| FlaskSession::new(&keyring()).use_signer(use_signer)));
static LAYOUTS: LazyLock<[Arc<dyn Layout>; 2]> = LazyLock::new(|| {
    [SerializationFormat::MsgPack, SerializationFormat::Json]
        .map(|format| FlaskSession::new(&keyring()).format(format).layout().expect("it has one"))
});
static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    Signer::new(&[secret()], b"flask-session", Digest::Sha1, Derivation::Hmac).expect("there is a secret")
});

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    let [plain, signing] = &*DIALECTS;
    match how % 8 {
        0 => drop(cookie(signing, &String::from_utf8_lossy(rest)).map(|_| panic!("nobody signed this"))),
        1 => {
            let mut text = String::from_utf8_lossy(rest).into_owned();
            let unsigned = cookie(plain, &text);
            SIGNER.sign_into(&mut text);
            assert_eq!(cookie(signing, &text), unsigned, "a signature changes nothing of what an id is");
        }
        2 => {
            let mut signed = SID.to_owned();
            SIGNER.sign_into(&mut signed);
            assert_eq!(cookie(signing, &signed).as_deref(), Ok(SID));
            let mut signed = signed.into_bytes();
            let at =
                rest.iter().fold(usize::from(*how), |sum, byte| sum * 31 % 65_521 + usize::from(*byte)) % signed.len();
            signed[at] = if signed[at] == b'A' { b'B' } else { b'A' };
            assert!(cookie(signing, std::str::from_utf8(&signed).expect("ASCII")).is_err(), "a changed cookie opened");
        }
        _ => record(&LAYOUTS[usize::from(how / 8) % 2], rest),
    }
});

/// The id that a cookie carries.
fn cookie(dialect: &FlaskSession, value: &str) -> Result<String, Refusal> {
    match dialect.read(&Jar::of(NAME, &[("", value)]), &limits(), &mut Steps::off())? {
        Token::Id { id, .. } => {
            let is_of_an_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            assert!(!id.reveal().is_empty() && id.reveal().bytes().all(is_of_an_id), "{}", id.reveal());
            Ok(id.reveal().to_owned())
        }
        Token::Data { .. } => panic!("Flask-Session keeps an id"),
    }
}

fn record(layout: &Arc<dyn Layout>, record: &[u8]) {
    let read = |record: Bytes| layout.read(&Stored::Blob(record), &mut Steps::off());
    let Ok(kept) = read(Bytes::copy_from_slice(record)) else { return };
    assert!(!(record.len() > 1 && record[0] == 0x80), "a pickle, or something after an empty map");
    let write = |data: &Data| {
        let mut contents = Contents::new(NOW, 7200, None, false);
        contents.data = data.clone();
        let written = layout.write(&contents, &Attributes::new(NAME)).expect("what was read can be written");
        written.body().clone()
    };
    let entries =
        |kept: &Kept| kept.data.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect::<Vec<_>>();
    let again = read(write(&kept.data)).expect("what was written reads");
    assert_eq!(entries(&again), entries(&kept));

    let encoding = layout.encoding();
    for (_, value) in kept.data.iter() {
        if let Ok(value) = encoding.read::<Value>(value) {
            survives(encoding, &value);
        }
    }

    // Messages among them are shown, and go.
    let meaning = DIALECTS[0].meaning();
    let Ok(shown) = meaning.flashes(&kept.data, encoding) else { return };
    let mut taken = kept.data.clone();
    if meaning.flash(&mut taken, encoding, &[FlashChange::Take(&shown)]).is_ok() {
        let again = read(write(&taken)).expect("what was written reads");
        let left = meaning.flashes(&again.data, encoding).expect("messages are messages still");
        assert!(left.len() <= shown.len(), "{shown:?} became {left:?}");
    }
}

/// What can be written is what it was, but for parts of a microsecond.
fn survives(encoding: Encoding, value: &Value) {
    let Ok(written) = encoding.write(value) else { return };
    let again: Value = encoding.read(&written).expect("what was written reads");
    assert!(has_date(value) || same(&again, value), "{value:?} became {again:?}");
    assert_eq!(encoding.write(&again).expect("what was read is written"), written, "{value:?}");
}

fn has_date(value: &Value) -> bool {
    match value {
        Value::DateTime(_) => true,
        Value::List(items) => items.iter().any(has_date),
        Value::Map(members) => members.iter().any(|(name, value)| has_date(name) || has_date(value)),
        _ => false,
    }
}
