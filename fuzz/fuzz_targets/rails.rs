//! Correctly sealed payloads, so that the fuzzer reaches the metadata and the JSON behind the cipher.
//!
//! What opens is written again and opens to the same entries; what nobody sealed never opens.

#![no_main]

use std::sync::LazyLock;

use dewar::{
    Value,
    dialect::{
        Body, Contents, Dialect, Jar, Rails, Refusal, Steps, Token,
        wire::{
            Digest,
            rails::{Encryptor, Message, derive_key},
        },
    },
    encoding::{Encoding, Json},
};
use dewar_fuzz::{NOW, by_name, keyring, limits, random, survives};
use libfuzzer_sys::fuzz_target;

const NAME: &str = "_app_session";

static RAILS: LazyLock<Rails> = LazyLock::new(|| Rails::new(&keyring()));
static BARE: LazyLock<Rails> = LazyLock::new(|| Rails::new(&keyring()).metadata(false));
static ENCRYPTOR: LazyLock<Encryptor> = LazyLock::new(|| {
    let mut key = [0; 32];
    derive_key(keyring().secrets()[0].reveal(), "authenticated encrypted cookie", Digest::Sha256, &mut key);
    Encryptor::new(&key)
});

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    let text = match how % 3 {
        // A session in Rails' own metadata.
        0 => Message::wrap(rest, None, "cookie._app_session"),
        // Not necessarily metadata.
        1 => rest.to_vec(),
        _ => {
            let forged = read(&String::from_utf8_lossy(rest)).is_ok();
            assert!(!forged, "nobody sealed this");
            return;
        }
    };
    let sealed = ENCRYPTOR.seal(text, [*how; Encryptor::IV]).expect("it is short");
    let cookie = sealed.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    if let Ok(contents) = read(&cookie) {
        round(&contents);
    }
    // One character of the cookie changed is no cookie.
    let mut changed = cookie.into_bytes();
    let at = usize::from(*how) * 7 % changed.len();
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).expect("ASCII");
    assert!(read(&changed).is_err(), "a changed cookie opened");
});

fn read(cookie: &str) -> Result<Contents, Refusal> {
    match RAILS.read(&Jar::of(NAME, &[("", cookie)]), &limits(), &mut Steps::off())? {
        Token::Data { contents, .. } => Ok(contents),
        Token::Id { .. } => panic!("Rails keeps data"),
    }
}

fn round(contents: &Contents) {
    for rails in [&RAILS, &BARE] {
        let Ok(cookies) = rails.write(Body::Data(contents), NAME, NOW, &mut random(1)) else {
            assert!(contents.data.get(b"_rails").is_some(), "what opened can be written");
            continue;
        };
        let again = read(&cookies[0].value).expect("what was written opens");
        let mut names = by_name(&again.data);
        if contents.data.get(b"session_id").is_none() {
            names.retain(|(name, _)| name != b"session_id");
        }
        assert_eq!(names, by_name(&contents.data));
    }
    let encoding = Encoding::Json(Json::RAILS);
    for (_, entry) in contents.data.iter() {
        survives(encoding, &encoding.read::<Value>(entry).expect("an accepted entry can be read"));
    }
}
