//! Correctly signed payloads, so that the fuzzer reaches base64, zlib and JSON behind the signature.
//!
//! What opens is written again and opens to the same entries; nothing inflates beyond the bound; what is not signed never opens.

#![no_main]

use std::{io::Write, sync::LazyLock};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL};
use dewar::{
    Value,
    dialect::{
        Body, Contents, Dialect, Flask, Jar, Refusal, Steps, Token,
        wire::itsdangerous::{Derivation, Digest, Signer},
    },
    encoding::{Encoding, Json},
};
use dewar_fuzz::{NOW, by_name, keyring, limits, random, survives};
use libfuzzer_sys::fuzz_target;

const BOUND: usize = 1000;

static FLASK: LazyLock<Flask> = LazyLock::new(|| Flask::new(&keyring()));
static BOUNDED: LazyLock<Flask> = LazyLock::new(|| Flask::new(&keyring()).largest_inflated(BOUND));
static PLAIN: LazyLock<Flask> = LazyLock::new(|| Flask::new(&keyring()).compression(false));
static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let keyring = keyring();
    let secrets: Vec<&[u8]> = keyring.secrets().iter().map(|secret| secret.reveal()).collect();
    Signer::new(&secrets, b"cookie-session", Digest::Sha1, Derivation::Hmac).expect("two secrets")
});

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    let payload = match how % 5 {
        // Compressed, so that most inputs are JSON text.
        0 => format!(".{}", URL.encode(compressed(rest))),
        1 => URL.encode(rest),
        // Not necessarily zlib.
        2 => format!(".{}", URL.encode(rest)),
        // Not necessarily base64, with a timestamp of its own.
        3 => {
            let mut token = String::from_utf8_lossy(rest).into_owned();
            SIGNER.sign_into(&mut token);
            return if let Ok(contents) = read(&FLASK, &token) {
                round(&contents);
            };
        }
        _ => {
            let Ok(token) = std::str::from_utf8(rest) else { return };
            let forged = read(&FLASK, token).is_ok();
            assert!(!forged, "nobody signed this");
            return;
        }
    };
    let mut token = payload;
    SIGNER.sign_at_into(&mut token, NOW.as_secs());
    let opened = read(&FLASK, &token);
    let bounded = read(&BOUNDED, &token);
    if let Ok(contents) = &opened {
        round(contents);
        if token.starts_with('.') && how % 5 == 0 {
            assert_eq!(bounded.is_ok(), rest.len() <= BOUND, "the bound is exact");
        }
    }
    if how % 5 == 0 && rest.len() > BOUND {
        assert_eq!(bounded.unwrap_err(), Refusal::Oversize);
    }
    // One character of the token changed is no token.
    let mut changed = token.into_bytes();
    let at = usize::from(*how) * 7 % changed.len();
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).expect("ASCII");
    assert!(read(&FLASK, &changed).is_err(), "a changed token opened");
});

fn compressed(text: &[u8]) -> Vec<u8> {
    let mut deflater = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    deflater.write_all(text).expect("a Vec takes all");
    deflater.finish().expect("a Vec takes all")
}

fn read(flask: &Flask, token: &str) -> Result<Contents, Refusal> {
    match flask.read(&Jar::of("session", &[("", token)]), &limits(), &mut Steps::off())? {
        Token::Data { contents, .. } => Ok(contents),
        Token::Id { .. } => panic!("Flask keeps data"),
    }
}

fn write(flask: &Flask, contents: &Contents) -> String {
    flask
        .write(Body::Data(contents), "session", NOW, &mut random(1))
        .expect("what opened can be written")
        .remove(0)
        .value
}

fn round(contents: &Contents) {
    let token = write(&FLASK, contents);
    let again = read(&FLASK, &token).expect("what was written opens");
    assert_eq!(by_name(&again.data), by_name(&contents.data));
    assert_eq!(again.persistent, contents.persistent);
    assert_eq!(write(&FLASK, &again), token);
    let bounded = read(&BOUNDED, &write(&BOUNDED, contents)).expect("nothing is written that is too long to be read");
    assert_eq!(by_name(&bounded.data), by_name(&contents.data));
    let plain = read(&PLAIN, &write(&PLAIN, contents)).expect("what was written opens");
    assert_eq!(by_name(&plain.data), by_name(&contents.data));
    let encoding = Encoding::Json(Json::FLASK);
    for (_, entry) in contents.data.iter() {
        survives(encoding, &encoding.read::<Value>(entry).expect("an accepted entry can be read"));
    }
}
