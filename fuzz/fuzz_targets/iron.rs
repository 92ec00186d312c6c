//! Correctly sealed texts, so that the fuzzer reaches the JSON behind iron-session's seal. The sealing follows the words at the top of `iron.rs`, not its code.

#![no_main]

use std::sync::LazyLock;

use aes::Aes256;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL};
use cbc::cipher::{BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use dewar::dialect::Iron;
use dewar_fuzz::{
    NOW,
    foreign::{changed_is_refused, is_refused, opens_again},
    keyring, secret,
};
use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use sha1::Sha1;
use sha2::Sha256;

static IRON: LazyLock<Iron> = LazyLock::new(|| Iron::new(&keyring()));

const SALT: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    let value = match how % 4 {
        0 => sealed(rest, "~2"),
        // As releases before 8 wrote them.
        1 => sealed(rest, ""),
        // Authentic, and what is encrypted is anything.
        2 => finished(format!("Fe26.2*2*{SALT}*{}", String::from_utf8_lossy(rest)), "~2"),
        _ => return is_refused(&*IRON, &String::from_utf8_lossy(rest)),
    };
    opens_again(&*IRON, &value);
    if value.is_ascii() && how % 4 == 0 {
        // The two characters at the end are no part of the seal.
        changed_is_refused(&*IRON, &value, usize::from(*how) * 7 % (value.len() - 2));
    }
});

fn key(salt: &str) -> [u8; 32] {
    let mut key = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha1>(secret(), salt.as_bytes(), 1, &mut key);
    key
}

/// Of two secrets the one that seals has the id 2.
fn sealed(text: &[u8], suffix: &str) -> String {
    let cipher = cbc::Encryptor::<Aes256>::new(&key(SALT).into(), &[7; 16].into());
    let sealed = cipher.encrypt_padded_vec::<Pkcs7>(text);
    let until = (NOW.as_secs() + 3600) * 1000;
    finished(format!("Fe26.2*2*{SALT}*{}*{}*{until}", URL.encode([7; 16]), URL.encode(sealed)), suffix)
}

fn finished(base: String, suffix: &str) -> String {
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key(SALT))
        .expect("HMAC takes any key")
        .chain_update(&base)
        .finalize();
    format!("{base}*{SALT}*{}{suffix}", URL.encode(mac.into_bytes()))
}
