//! Correctly signed terms, so that the fuzzer reaches Erlang's external term format behind Phoenix's signature; and any bytes as one value.

#![no_main]

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL};
use dewar::{
    Value,
    dialect::Phoenix,
    encoding::{Encoding, Erlang},
};
use dewar_fuzz::{
    foreign::{changed_is_refused, is_refused, opens_again},
    keyring, secret, survives,
};
use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use sha2::Sha256;

const ERLANG: Encoding = Encoding::Erlang(Erlang::OTP_26);
static PHOENIX: LazyLock<Phoenix> = LazyLock::new(|| Phoenix::new(&keyring()).signing_salt("pepper"));
static MAC: LazyLock<Hmac<Sha256>> = LazyLock::new(|| {
    let mut key = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(secret(), b"pepper", 1000, &mut key);
    <Hmac<Sha256> as KeyInit>::new_from_slice(&key).expect("HMAC takes any key")
});

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    let term = match how % 4 {
        0 => rest.to_vec(),
        // A map of one entry, whose value is anything.
        1 => [b"\x83t\0\0\0\x01m\0\0\0\x01a", rest].concat(),
        2 => {
            if let Ok(value) = ERLANG.read::<Value>(rest) {
                survives(ERLANG, &value);
            }
            return;
        }
        _ => return is_refused(&*PHOENIX, &String::from_utf8_lossy(rest)),
    };
    let text = format!("SFMyNTY.{}", URL.encode(term));
    let value = format!("{text}.{}", URL.encode(MAC.clone().chain_update(&text).finalize().into_bytes()));
    opens_again(&*PHOENIX, &value);
    changed_is_refused(&*PHOENIX, &value, usize::from(*how) * 7);
});
