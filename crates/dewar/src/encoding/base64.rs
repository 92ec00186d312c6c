//! The two base64 flavours dialects use, both strict: one spelling for each value, so that a changed bit is a changed value.

use base64::Engine;
use base64::engine::general_purpose::{NO_PAD, PAD};
use std::sync::LazyLock;

#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
mod fastest {
    pub(super) use base64::engine::Simd as Base64;

    pub(super) fn standard(config: base64::engine::GeneralPurposeConfig) -> Base64 {
        Base64::standard(config)
    }

    pub(super) fn url(config: base64::engine::GeneralPurposeConfig) -> Base64 {
        Base64::url_safe(config)
    }
}

#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon"))))]
mod fastest {
    pub(super) use base64::engine::GeneralPurpose as Base64;

    pub(super) fn standard(config: base64::engine::GeneralPurposeConfig) -> Base64 {
        Base64::new(&base64::alphabet::STANDARD, config)
    }

    pub(super) fn url(config: base64::engine::GeneralPurposeConfig) -> Base64 {
        Base64::new(&base64::alphabet::URL_SAFE, config)
    }
}

static STANDARD: LazyLock<fastest::Base64> = LazyLock::new(|| fastest::standard(PAD));
static URL: LazyLock<fastest::Base64> = LazyLock::new(|| fastest::url(NO_PAD));

/// Appends `+` `/` base64 with padding.
pub fn encode_standard(bytes: &[u8], out: &mut Vec<u8>) {
    encode(&*STANDARD, bytes, out);
}

/// Reads `+` `/` base64 with padding. Spare bits must be zero.
pub fn decode_standard(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Appends `-` `_` base64 without padding.
pub fn encode_url(bytes: &[u8], out: &mut Vec<u8>) {
    encode(&*URL, bytes, out);
}

/// Writes `-` `_` base64 without padding into a buffer of just that length: the text of so many bytes.
pub(crate) fn encode_url_into(bytes: &[u8], buffer: &mut [u8]) {
    let written = URL.encode_slice(bytes, buffer);
    assert_eq!(written, Ok(buffer.len()), "the buffer has the length of the text");
}

/// Appends `-` `_` base64 without padding to text.
pub fn push_url(bytes: &[u8], out: &mut String) {
    let mut short = [0; 88];
    if let Ok(length) = URL.encode_slice(bytes, &mut short) {
        return out.push_str(std::str::from_utf8(&short[..length]).expect("base64 is ASCII"));
    }
    let mut text = std::mem::take(out).into_bytes();
    encode(&*URL, bytes, &mut text);
    *out = String::from_utf8(text).expect("base64 is ASCII");
}

/// Reads `-` `_` base64 without padding. Spare bits must be zero.
pub fn decode_url(text: &[u8]) -> Option<Vec<u8>> {
    URL.decode(text).ok()
}

/// Reads `-` `_` base64 without padding into a buffer, without allocating: the part that was filled.
pub fn decode_url_into<'a>(text: &[u8], buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let len = URL.decode_slice(text, buffer).ok()?;
    Some(&buffer[..len])
}

fn encode(engine: &impl Engine, bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = engine.encode_slice(bytes, &mut out[start..]).expect("four characters hold three bytes");
    out.truncate(start + written);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back_in_both_flavours() {
        for len in 0..200 {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 37 + len) as u8).collect();
            let (mut standard, mut url, mut text) = (b"x".to_vec(), Vec::new(), String::new());
            encode_standard(&bytes, &mut standard);
            encode_url(&bytes, &mut url);
            push_url(&bytes, &mut text);
            assert_eq!(text.as_bytes(), url);
            assert_eq!(decode_standard(&standard[1..]).unwrap(), bytes);
            assert_eq!(decode_url(&url).unwrap(), bytes);
            assert_eq!(decode_url_into(&url, &mut [0; 200]).unwrap(), bytes);
        }
    }

    #[test]
    #[should_panic(expected = "the buffer has the length of the text")]
    fn an_id_is_never_cut() {
        encode_url_into(&[7; 32], &mut [0; 42]);
    }

    #[test]
    fn another_spelling_is_refused() {
        for text in ["YQ==", "YR", "Y", "Y Q", "YQ\n", "+w", "/w"] {
            assert_eq!(decode_url(text.as_bytes()), None, "{text}");
        }
        for text in ["YQ", "YR==", "YQ=", "-w==", "YQ==="] {
            assert_eq!(decode_standard(text.as_bytes()), None, "{text}");
        }
        assert_eq!(decode_url_into(b"YWJj", &mut [0; 2]), None);
    }
}
