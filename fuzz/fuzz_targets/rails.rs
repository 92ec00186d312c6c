//! Correctly sealed and signed messages, so that the fuzzer reaches the envelope and the JSON behind Rails' encryption. The encryption follows the
//! words at the top of `rails.rs`, not its code.

#![no_main]

use std::sync::LazyLock;

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use dewar::dialect::Rails;
use dewar_fuzz::{
    foreign::{is_refused, opens_again},
    keyring, secret,
};
use libfuzzer_sys::fuzz_target;
use sha2::Sha256;

static RAILS: LazyLock<Rails> = LazyLock::new(|| Rails::new(&keyring()));
static CIPHER: LazyLock<Aes256Gcm> = LazyLock::new(|| {
    let mut key = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(secret(), b"authenticated encrypted cookie", 1000, &mut key);
    Aes256Gcm::new(&key.into())
});

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    let plain = match how % 4 {
        // The session's JSON in the envelope of Rails.
        0 => format!(r#"{{"_rails":{{"message":"{}","exp":null,"pur":"cookie.app"}}}}"#, BASE64.encode(rest)).into_bytes(),
        // The JSON of the envelope, or no envelope.
        1 => rest.to_vec(),
        2 => [br#"{"_rails":{"message":"#.as_slice(), rest].concat(),
        _ => return is_refused(&*RAILS, &String::from_utf8_lossy(rest)),
    };
    let value = sealed(plain);
    opens_again(&*RAILS, &value);
    // Each part is standard base64, percent-encoded: one letter less is another message.
    is_refused(&*RAILS, &value[1..]);
});

fn sealed(mut text: Vec<u8>) -> String {
    let tag = CIPHER.encrypt_inout_detached(&[7; 12].into(), b"", (&mut *text).into()).expect("a short text");
    let parts = [BASE64.encode(text), BASE64.encode([7; 12]), BASE64.encode(tag)];
    parts.join("--").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}
