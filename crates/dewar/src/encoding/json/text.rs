//! Text in JSON: escapes, and lone surrogates, which UTF-8 cannot hold. Names that hold one are kept as WTF-8.

use super::flavour::Escapes;
use super::scan::{ordinary, unit};
use std::borrow::Cow;

/// Decoded text.
#[derive(Debug, PartialEq)]
pub(super) enum Text<'a> {
    Utf8(Cow<'a, str>),
    /// With a lone surrogate.
    Units(Vec<u16>),
}

/// Decodes what is between the quotes of a well-formed string. Nothing where it is not UTF-8.
pub(super) fn unescape(escaped: &[u8]) -> Option<Text<'_>> {
    let text = std::str::from_utf8(escaped).ok()?;
    let Some(first) = text.find('\\') else {
        return Some(Text::Utf8(text.into()));
    };
    let mut decoded = String::with_capacity(text.len());
    let mut units: Option<Vec<u16>> = None;
    let mut rest = text;
    let mut next = Some(first);
    while let Some(at) = next {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let (c, len) = match rest.as_bytes().get(1)? {
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'n' => ('\n', 2),
            b'r' => ('\r', 2),
            b't' => ('\t', 2),
            b'u' => match pair(rest.as_bytes())? {
                (Ok(c), len) => (c, len),
                (Err(lone), len) => {
                    let units = units.get_or_insert_default();
                    units.extend(decoded.encode_utf16());
                    units.push(lone);
                    decoded.clear();
                    rest = &rest[len..];
                    next = rest.find('\\');
                    continue;
                }
            },
            other => (char::from(*other), 2),
        };
        decoded.push(c);
        rest = rest.get(len..)?;
        next = rest.find('\\');
    }
    decoded.push_str(rest);
    Some(match units {
        None => Text::Utf8(decoded.into()),
        Some(mut units) => {
            units.extend(decoded.encode_utf16());
            Text::Units(units)
        }
    })
}

/// The character of one `\uxxxx`, or of two that are a pair, or a lone surrogate; and the length read.
fn pair(text: &[u8]) -> Option<(Result<char, u16>, usize)> {
    let first = unit(text.get(..6)?)?;
    if let 0xd800..=0xdbff = first
        && let Some(second @ 0xdc00..=0xdfff) = text.get(6..12).and_then(unit)
    {
        let c = 0x10000 + (u32::from(first - 0xd800) << 10) + u32::from(second - 0xdc00);
        return Some((Ok(char::from_u32(c)?), 12));
    }
    Some((char::from_u32(first.into()).ok_or(first), 6))
}

/// The ASCII that no flavour escapes.
const PRINTABLE: [bool; 256] = {
    let mut printable = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        printable[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    printable
};

const HEX: &[u8; 16] = b"0123456789abcdef";

fn escape_unit(unit: u16, out: &mut Vec<u8>) {
    let digit = |shift: u16| HEX[usize::from(unit >> shift & 0xf)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// Appends text as a string.
pub(super) fn write(text: &str, escapes: Escapes, out: &mut Vec<u8>) {
    out.push(b'"');
    write_inside(text, escapes, out);
    out.push(b'"');
}

/// Appends text with lone surrogates as a string.
pub(super) fn write_units(units: &[u16], escapes: Escapes, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut buffer = [0; 4];
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok(c) => write_inside(c.encode_utf8(&mut buffer), escapes, out),
            Err(lone) => escape_unit(lone.unpaired_surrogate(), out),
        }
    }
    out.push(b'"');
}

/// Appends a name, UTF-8 or WTF-8, as a string.
pub(super) fn write_name(name: &[u8], escapes: Escapes, out: &mut Vec<u8>) {
    let is_plain = |byte: u8| match escapes {
        Escapes::Html => !HTML.contains(&byte),
        Escapes::Slashes => byte != b'/',
        Escapes::Nothing | Escapes::NonAscii => true,
    };
    if name.iter().all(|byte| PRINTABLE[usize::from(*byte)] && is_plain(*byte)) {
        out.push(b'"');
        out.extend_from_slice(name);
        out.push(b'"');
        return;
    }
    match std::str::from_utf8(name) {
        Ok(name) => write(name, escapes, out),
        Err(_) => write_units(&from_wtf8(name), escapes, out),
    }
}

fn write_inside(text: &str, escapes: Escapes, out: &mut Vec<u8>) {
    match escapes {
        Escapes::Nothing => write_utf8(text, out),
        Escapes::NonAscii => write_ascii(text, out),
        Escapes::Slashes => write_slashes(text, out),
        Escapes::Html => write_html(text, out),
    }
}

fn write_utf8(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    loop {
        let len = ordinary(rest);
        out.extend_from_slice(&rest[..len]);
        let Some(byte) = rest.get(len) else { return };
        write_escape(*byte, out);
        rest = &rest[len + 1..];
    }
}

/// What Rails escapes of ASCII, because its JSON may stand in a page: `ActiveSupport::JSON::Encoding.escape_html_entities_in_json`.
const HTML: &[u8] = b"<>&";

fn write_html(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        let (before, from) = rest.split_at(at);
        write_utf8(before, out);
        let mut letters = from.chars();
        if let Some(letter) = letters.next() {
            escape_unit(letter.encode_utf16(&mut [0; 2])[0], out);
        }
        rest = letters.as_str();
    }
    write_utf8(rest, out);
}

fn write_ascii(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        let len = rest.bytes().take_while(|b| PRINTABLE[usize::from(*b)]).count();
        out.extend_from_slice(&rest.as_bytes()[..len]);
        rest = &rest[len..];
        let Some(c) = rest.chars().next() else { return };
        if c.is_ascii() {
            write_escape(c as u8, out);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escape_unit(*unit, out);
            }
        }
        rest = &rest[c.len_utf8()..];
    }
}

/// As PHP does, which leaves U+007F as it is.
fn write_slashes(text: &str, out: &mut Vec<u8>) {
    for part in text.split_inclusive(['/', '\u{7f}']) {
        let (before, last): (_, &[u8]) = match part.as_bytes() {
            [.., b'/'] => (&part[..part.len() - 1], br"\/"),
            [.., 0x7f] => (&part[..part.len() - 1], b"\x7f"),
            _ => (part, b""),
        };
        write_ascii(before, out);
        out.extend_from_slice(last);
    }
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => return escape_unit(byte.into(), out),
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// WTF-8 of UTF-16: UTF-8, with a lone surrogate as the three bytes its code point would have.
pub(super) fn to_wtf8(units: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(units.len() + 8);
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(lone) => {
                let lone = lone.unpaired_surrogate();
                bytes.extend([0xed, 0x80 | (lone >> 6 & 0x3f) as u8, 0x80 | (lone & 0x3f) as u8]);
            }
        }
    }
    bytes
}

/// Undoes [`to_wtf8`]. What is neither becomes U+FFFD.
pub(super) fn from_wtf8(bytes: &[u8]) -> Vec<u16> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        let valid = match std::str::from_utf8(rest) {
            Ok(_) => rest.len(),
            Err(error) => error.valid_up_to(),
        };
        let (text, after) = rest.split_at(valid);
        units.extend(String::from_utf8_lossy(text).encode_utf16());
        rest = match after {
            [] => return units,
            [0xed, high @ 0xa0..=0xbf, low @ 0x80..=0xbf, rest @ ..] => {
                units.push(0xd000 | u16::from(high & 0x3f) << 6 | u16::from(low & 0x3f));
                rest
            }
            [_, rest @ ..] => {
                units.push(0xfffd);
                rest
            }
        };
    }
}
