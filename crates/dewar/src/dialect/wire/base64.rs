//! The two base64 flavours dialects use, both strict: one spelling for each value, so that a changed bit is a changed value.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Appends `+` `/` base64 with padding.
pub fn encode_standard(bytes: &[u8], out: &mut Vec<u8>) {
    encode(&STANDARD, bytes, out);
}

/// Reads `+` `/` base64 with padding. Spare bits must be zero.
pub fn decode_standard(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Appends `-` `_` base64 without padding.
pub fn encode_url(bytes: &[u8], out: &mut Vec<u8>) {
    encode(&URL_SAFE_NO_PAD, bytes, out);
}

/// Appends `-` `_` base64 without padding, to text.
pub fn push_url(bytes: &[u8], out: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, out);
}

/// Reads `-` `_` base64 without padding. Spare bits must be zero.
pub fn decode_url(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Reads `-` `_` base64 without padding into a buffer, without allocating: the part that was filled.
pub fn decode_url_into<'a>(text: &[u8], buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let len = URL_SAFE_NO_PAD.decode_slice(text, buffer).ok()?;
    Some(&buffer[..len])
}

fn encode(engine: &impl Engine, bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = engine.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}
