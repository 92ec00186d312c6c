//! Arbitrary `Cookie` headers through the manager: for `Sealed`, for `Sealed` over http, for Flask.
//!
//! Never a panic; a session is empty unless exactly what the rules for duplicates say is authentic; reading sets no cookie.
//!
//! A line is a header. Byte 1 and one more stand for an authentic token; byte 2 and three more for one with a byte changed.

#![no_main]

use std::{sync::LazyLock, time::Duration};

use dewar::{Clock, Lifetime, Reissue, SessionLayer, SessionManager, dialect::Flask};
use dewar_fuzz::{
    NOW, keyring, ready,
    tokens::{self, Known, Reader},
};
use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(tokens::all);

static MANAGERS: LazyLock<[(Reader, SessionManager); 3]> = LazyLock::new(|| {
    let layer = || SessionLayer::new(keyring()).expect("good secrets").clock(Clock::at(NOW)).reissue(Reissue::OnWrite);
    let flask = layer().dialect(Flask::new).lifetime(Lifetime::browser().idle(Duration::from_secs(86_400)));
    [
        (Reader::Host, layer().clock_skew(Duration::ZERO)),
        (Reader::Http, layer().clock_skew(Duration::ZERO).dangerously_allow_http()),
        (Reader::Flask, flask),
    ]
    .map(|(reader, layer)| (reader, layer.manager().expect("no contradiction")))
});

fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in expand(bytes).split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(header::COOKIE, value);
        }
    }
    for (reader, manager) in MANAGERS.iter() {
        let session = ready(manager.open(&headers)).expect("no store can fail");
        let expected = expected(*reader, manager.cookie_name(), &headers);
        assert_eq!(session.get::<u8>("who"), expected.map(|known| known.who), "{reader:?}");
        assert_eq!(session.len(), if expected.is_some() { 2 } else { 0 });
        let mut response = HeaderMap::new();
        ready(manager.commit(&session)).apply(&mut response).expect("nothing was written");
        // A session under the former secret is written again.
        assert!(expected.is_some() || !response.contains_key(header::SET_COOKIE));
    }
});

/// Puts tokens in the place of bytes that cannot stand in a header.
fn expand(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return out,
            [1, which, rest @ ..] => {
                out.extend_from_slice(KNOWN[usize::from(*which) % KNOWN.len()].text.as_bytes());
                rest
            }
            [2, which, at, byte, rest @ ..] => {
                let mut text = KNOWN[usize::from(*which) % KNOWN.len()].text.clone().into_bytes();
                let at = usize::from(*at) * text.len() / 256;
                text[at] = *byte;
                out.extend_from_slice(&text);
                rest
            }
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
        };
        // Tokens are long: a few inputs of many placeholders would be most of the time.
        if out.len() > 1 << 16 {
            return out;
        }
    }
}

/// What the rules say, told once more: DESIGN.md, sections 5 and 6, in as few words as they take.
fn expected(reader: Reader, name: &str, headers: &HeaderMap) -> Option<&'static Known> {
    let mut values = Vec::new();
    for header in headers.get_all(header::COOKIE) {
        let text = header.as_bytes();
        for pair in text.split(|byte| *byte == b';') {
            let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
            let (found, value) = (&pair[..equals], &pair[equals + 1..]);
            if found.trim_ascii_start() == name.as_bytes() {
                values.push(value.trim_ascii_end());
            }
        }
    }
    let authentic = |value: &[u8]| {
        KNOWN.iter().find(|known| known.reader == reader && known.opens && known.text.as_bytes() == value)
    };
    match reader {
        Reader::Host if values.len() > 1 => None,
        Reader::Host | Reader::Flask => authentic(values.first()?),
        Reader::Http => {
            values.truncate(4);
            let mut found: Vec<_> = values.into_iter().filter_map(authentic).collect();
            found.sort_by_key(|known| known.who);
            found.dedup_by_key(|known| known.who);
            if found.len() == 1 { found.pop() } else { None }
        }
    }
}
