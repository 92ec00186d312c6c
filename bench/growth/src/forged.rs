//! Cookies that a stranger makes, beside one that is ours: what opening each costs.

use std::{hint::black_box, io::Write, time::Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use dewar::{SessionManager, dialect::Flask};
use flate2::{Compression, write::ZlibEncoder};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, header};
use sha1::Sha1;

use crate::{SECRET, layer};

const ROUNDS: u32 = 2_000;

pub(crate) async fn measure() {
    let sealed = layer().dangerously_allow_http().manager().expect("settings");
    let name = sealed.cookie_name().to_owned();
    let valid = cookie_of(&sealed, "Ada").await;
    let value = valid.split_once('=').expect("a pair").1.to_owned();
    let head: String = value.chars().take(80).collect();
    let long = format!("{name}={head}{}", "A".repeat(12_000));
    compare(
        "sealed",
        &sealed,
        &[
            ("valid", valid.clone()),
            ("its last character changed", format!("{}!", &valid[..valid.len() - 1])),
            ("12 KB behind its head", long.clone()),
            ("four of those", [&*long; 4].join("; ")),
            ("four of 4,000 bytes", vec![format!("{name}={head}{}", "A".repeat(3_900)); 4].join("; ")),
        ],
    )
    .await;
    let flask = layer().dialect(Flask::new).manager().expect("settings");
    let valid = cookie_of(&flask, "Ada").await;
    compare(
        "flask",
        &flask,
        &[
            ("valid", valid),
            ("compressed, 4 KB of entries", signed(4 << 10)),
            ("compressed, 60 KB of entries", signed(60 << 10)),
            ("compressed, 1 MiB of entries", signed(1 << 20)),
        ],
    )
    .await;
}

async fn cookie_of(manager: &SessionManager, name: &str) -> String {
    let session = manager.open(&HeaderMap::new()).await.expect("it opens");
    session.insert("firstName", name);
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).expect("it is written");
    let text = response[header::SET_COOKIE].to_str().expect("text");
    text.split(';').next().expect("a pair").to_owned()
}

async fn compare(dialect: &str, manager: &SessionManager, cookies: &[(&str, String)]) {
    let mut first = None;
    for (what, cookie) in cookies {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_str(cookie).expect("a header"));
        let mut least = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            for _ in 0..ROUNDS {
                black_box(manager.open(black_box(&headers)).await.expect("a hostile cookie is an empty session"));
            }
            least = least.min(start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
        }
        let times = least / *first.get_or_insert(least);
        println!("{dialect}: opening a cookie, {what}\t{}\t{least:.3}\t{times:.2}", cookie.len());
    }
}

/// As itsdangerous signs, of Flask's key derivation: whoever has the secret can make it.
fn signed(bytes: usize) -> String {
    let json = format!("{{\"a\":\"{}\"}}", "a".repeat(bytes));
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(json.as_bytes()).expect("memory");
    let payload = format!(".{}", BASE64.encode(encoder.finish().expect("memory")));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() as u32;
    let signed = format!("{payload}.{}", BASE64.encode(now.to_be_bytes()));
    let key = mac(SECRET.as_bytes(), b"cookie-session");
    format!("session={signed}.{}", BASE64.encode(mac(&key, signed.as_bytes())))
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}
