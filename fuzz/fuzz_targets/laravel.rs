//! Authentic cookies, and records as Laravel nests them, so that the fuzzer reaches what is inside: PHP's arrays and JSON, and messages among the entries.
//!
//! What is read is written again and reads the same; what nobody sealed never opens.

#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use dewar::{
    Keyring, Secret,
    dialect::{
        Attributes, Contents, Dialect, Jar, Laravel, Refusal, Steps, Token,
        wire::laravel::{Cipher, Encrypter},
    },
    layout::{Kept, Layout, Serialization, Stored},
};
use dewar_fuzz::{NOW, limits};
use libfuzzer_sys::fuzz_target;

const NAME: &str = "laravel_session";
const KEY: &str = "dewar fuzz, a key of 32 bytes 01";

fn laravel(serialization: Serialization, encrypt: bool) -> Laravel {
    let keyring = Keyring::new(Secret::new(KEY).expect("a secret"));
    Laravel::new(&keyring).serialization(serialization).encrypt(encrypt)
}

static ALL: LazyLock<Vec<(Laravel, Arc<dyn Layout>)>> = LazyLock::new(|| {
    let forms = [(Serialization::Php, false), (Serialization::Json, false), (Serialization::Php, true)];
    forms
        .into_iter()
        .map(|(serialization, encrypt)| {
            let laravel = laravel(serialization, encrypt);
            let layout = laravel.layout().expect("it has one");
            (laravel, layout)
        })
        .collect()
});
static ENCRYPTER: LazyLock<Encrypter> =
    LazyLock::new(|| Encrypter::new(Cipher::Aes256Cbc, &[KEY.as_bytes()]).expect("32 bytes"));

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    let which = usize::from(how / 8) % ALL.len();
    match how % 8 {
        0 => drop(cookie(&String::from_utf8_lossy(rest)).map(|_| panic!("nobody sealed this"))),
        1 => {
            let sealed = seal(rest);
            if let Ok(id) = cookie(&sealed) {
                assert!(id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
            }
        }
        2 => {
            let id = "MainLaravelId0123456789abcdefghijABCDEFG";
            let mut sealed = seal(ENCRYPTER.tie(NAME, id).as_bytes()).into_bytes();
            assert_eq!(cookie(std::str::from_utf8(&sealed).expect("ASCII")).as_deref(), Ok(id));
            let at =
                rest.iter().fold(usize::from(*how), |sum, byte| sum * 31 % 65_521 + usize::from(*byte)) % sealed.len();
            sealed[at] = if sealed[at] == b'A' { b'B' } else { b'A' };
            assert!(cookie(std::str::from_utf8(&sealed).expect("ASCII")).is_err(), "a changed cookie opened");
        }
        3 => record(which, rest.to_vec()),
        _ => {
            let text = if which == 2 { seal_text(&string(rest)).into_bytes() } else { rest.to_vec() };
            record(which, string(&text));
        }
    }
});

fn seal_text(message: &[u8]) -> String {
    ENCRYPTER.seal(message, &[7; Encrypter::IV]).expect("it is short")
}

fn seal(message: &[u8]) -> String {
    seal_text(message).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

fn string(text: &[u8]) -> Vec<u8> {
    [format!("s:{}:\"", text.len()).as_bytes(), text, b"\";"].concat()
}

/// The id that a cookie carries.
fn cookie(value: &str) -> Result<String, Refusal> {
    match ALL[0].0.read(&Jar::of(NAME, &[("", value)]), &limits(), &mut Steps::off())? {
        Token::Id { id, .. } => Ok(id.reveal().to_owned()),
        Token::Data { .. } => panic!("Laravel keeps an id"),
    }
}

fn record(which: usize, record: Vec<u8>) {
    let (laravel, layout) = &ALL[which];
    let read = |record: Bytes| layout.read(&Stored::Blob(record), &mut Steps::off());
    let Ok(kept) = read(record.into()) else { return };
    let write = |kept: &Kept| {
        let mut contents = Contents::new(NOW, 7200, None, true);
        (contents.data, contents.extra) = (kept.data.clone(), kept.extra.clone());
        let written = layout.write(&contents, &Attributes::new(NAME)).ok()?;
        let twice = layout.write(&contents, &Attributes::new(NAME)).ok();
        assert_eq!(Some(&written), twice.as_ref(), "the same record has the same bytes");
        Some(written.body().clone())
    };
    let entries =
        |kept: &Kept| kept.data.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect::<Vec<_>>();
    let written = write(&kept).expect("what was read can be written");
    assert_eq!(entries(&read(written).expect("what was written reads")), entries(&kept));

    // Messages among them are shown, and go.
    let (meaning, encoding) = (laravel.meaning(), layout.encoding());
    let Ok(shown) = meaning.flashes(&kept.data, encoding) else { return };
    let mut taken = kept.clone();
    let take = dewar::meaning::FlashChange::Take(&shown);
    if meaning.flash(&mut taken.data, encoding, &[take]).is_ok()
        && let Some(written) = write(&taken)
    {
        let again = read(written).expect("what was written reads");
        let left = meaning.flashes(&again.data, encoding).expect("names are names still");
        assert!(left.len() <= shown.len(), "{shown:?} became {left:?}");
    }
}
