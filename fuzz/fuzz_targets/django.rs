//! Correctly signed payloads, so that the fuzzer reaches base62, base64, zlib and JSON behind Django's signature.

#![no_main]

use std::{io::Write, sync::LazyLock};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL};
use dewar::dialect::{
    Django,
    wire::itsdangerous::{Derivation, Digest, Signer},
};
use dewar_fuzz::{
    foreign::{changed_is_refused, is_refused, opens_again},
    keyring, secret,
};
use libfuzzer_sys::fuzz_target;

static DJANGO: LazyLock<Django> = LazyLock::new(|| Django::new(&keyring()));
static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let salt = b"django.contrib.sessions.backends.signed_cookies";
    let signer = Signer::new(&[secret()], salt, Digest::Sha256, Derivation::DjangoConcat).expect("a secret");
    signer.separator(b':').expect("a colon separates")
});

/// 1,700,000,000 in Django's base 62.
const NOW: &str = "1r31eq";

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    let mut value = match how % 5 {
        0 => format!(".{}:{NOW}", URL.encode(compressed(rest))),
        1 => format!("{}:{NOW}", URL.encode(rest)),
        // Not necessarily zlib.
        2 => format!(".{}:{NOW}", URL.encode(rest)),
        // Not necessarily base64, with a moment of its own.
        3 => String::from_utf8_lossy(rest).into_owned(),
        _ => return is_refused(&*DJANGO, &String::from_utf8_lossy(rest)),
    };
    SIGNER.sign_into(&mut value);
    opens_again(&*DJANGO, &value);
    if value.is_ascii() {
        changed_is_refused(&*DJANGO, &value, usize::from(*how) * 7);
    }
});

fn compressed(text: &[u8]) -> Vec<u8> {
    let mut deflater = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    deflater.write_all(text).expect("a Vec takes all");
    deflater.finish().expect("a Vec takes all")
}
