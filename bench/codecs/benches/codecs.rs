//! `open` is authenticate, decode, cut into entries; `commit` is encode and protect. Floors do with the same bytes what
//! the format asks for and nothing else: MAC or AEAD, base64, inflate or deflate, and one walk through the entries.

use std::{hint::black_box, io::Write, time::Duration};

use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cookie::{Cookie, CookieJar, Key};
use cpu_time::ThreadTime;
use criterion::{
    criterion_group, criterion_main,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use dewar::{
    Keyring, Secret,
    dialect::{
        Body, Contents, Dialect, Django, ExpressSession, Flask, Iron, Jar, Laravel, Limits, Phoenix, Php, Rails, Sealed, Steps, Symfony,
        Timestamp, Token,
    },
    layout::Attributes,
};
use hmac::{Hmac, Mac};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use sha1::Sha1;

type Criterion = criterion::Criterion<CpuTime>;

/// What else runs on the machine does not count.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = ThreadTime;
    type Value = Duration;

    fn start(&self) -> ThreadTime {
        ThreadTime::now()
    }

    fn end(&self, start: ThreadTime) -> Duration {
        start.elapsed()
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const NAME: &str = "session";

fn dialect(c: &mut Criterion, name: &str, dialect: &dyn Dialect) {
    let encoding = dialect.profile().encoding;
    let mut contents = Contents::new(NOW, 86_400, None, false);
    for (name, value) in peers::session() {
        contents.data.insert(name.as_bytes(), encoding.write(&value).unwrap());
    }
    // Any bytes serve: what random numbers cost is measured with the whole request.
    let mut random = |bytes: &mut [u8]| bytes.fill(7);
    let token = dialect.write(Body::Data(&contents), NAME, NOW, &mut random).unwrap().remove(0).value;
    let limits = Limits::new(NOW, 86_400);
    let open = || match dialect.read(&Jar::of(NAME, &[("", black_box(&token))]), &limits, &mut Steps::off()) {
        Ok(Token::Data { contents, .. }) => contents,
        other => panic!("{other:?}"),
    };
    // Rails names a session that has no name yet.
    assert!(open().data.len() >= contents.data.len());
    c.bench_function(&format!("dewar/open/{name}"), |b| b.iter(open));
    c.bench_function(&format!("dewar/commit/{name}"), |b| {
        b.iter(|| dialect.write(Body::Data(black_box(&contents)), NAME, NOW, &mut random))
    });
}

/// The same where the cookie holds an id and the entries are in a record: both of them.
fn stored(c: &mut Criterion, name: &str, dialect: &dyn Dialect) {
    let layout = dialect.layout().unwrap();
    let mut contents = Contents::new(NOW, 86_400, None, false);
    for (name, value) in peers::session() {
        contents.data.insert(name.as_bytes(), layout.encoding().write(&value).unwrap());
    }
    let mut random = |bytes: &mut [u8]| bytes.fill(7);
    let (id, cookie) = (dialect.new_id(&mut random), Attributes::new(NAME));
    let limits = Limits::new(NOW, 86_400);
    let mut commit = || {
        let record = layout.write(black_box(&contents), &cookie).unwrap();
        (dialect.write(Body::Id(&id), NAME, NOW, &mut random).unwrap().remove(0).value, record)
    };
    let (token, record) = commit();
    let open = || match dialect.read(&Jar::of(NAME, &[("", black_box(&token))]), &limits, &mut Steps::off()) {
        Ok(Token::Id { .. }) => layout.read(black_box(&record), &mut Steps::off()).unwrap().data,
        other => panic!("{other:?}"),
    };
    assert_eq!(open().len(), contents.data.len());
    c.bench_function(&format!("dewar/open/{name}"), |b| b.iter(open));
    c.bench_function(&format!("dewar/commit/{name}"), |b| b.iter(&mut commit));
}

/// AES-256-GCM over the MessagePack, with 77 bytes of header in front and 33 of facts, as `Sealed` has them.
fn floor_sealed(c: &mut Criterion) {
    let cipher = Aes256Gcm::new(&[1; 32].into());
    let packed = rmp_serde::to_vec(&peers::session()).unwrap();
    let mut plain = vec![7; 33];
    plain.extend_from_slice(&packed);
    plain.resize(plain.len().next_multiple_of(64), 0);
    let commit = || {
        let mut token = Vec::with_capacity(1024);
        token.extend_from_slice(&[1; 77]);
        token.extend_from_slice(black_box(&plain));
        let tag = cipher.encrypt_inout_detached(&[7; 12].into(), b"purpose", (&mut token[77..]).into()).unwrap();
        token.extend_from_slice(&tag);
        URL_SAFE_NO_PAD_FAST.with(|engine| engine.encode(&token))
    };
    let token = commit();
    c.bench_function("floor/commit/sealed", |b| b.iter(commit));
    c.bench_function("floor/open/sealed", |b| {
        b.iter(|| {
            let mut token = URL_SAFE_NO_PAD_FAST.with(|engine| engine.decode(black_box(&token)).unwrap());
            let (text, tag) = token[77..].split_last_chunk_mut::<16>().unwrap();
            cipher.decrypt_inout_detached(&[7; 12].into(), b"purpose", (&mut *text).into(), &(*tag).into()).unwrap();
            rmp_serde::from_slice::<IgnoredAny>(&text[33..33 + packed.len()]).unwrap();
            token
        })
    });
}

/// HMAC-SHA1 over base64url of the JSON and a time.
fn floor_flask(c: &mut Criterion, name: &str, compressed: bool) {
    let mac = Hmac::<Sha1>::new_from_slice(&[1; 20]).unwrap();
    let json = serde_json::to_vec(&peers::session()).unwrap();
    let sign = |text: &str| mac.clone().chain_update(text).finalize().into_bytes();
    let commit = || {
        let packed = compressed.then(|| {
            let mut packer = flate2::write::ZlibEncoder::new(Vec::with_capacity(512), flate2::Compression::new(6));
            packer.write_all(black_box(&json)).unwrap();
            packer.finish().unwrap()
        });
        let mut token = String::with_capacity(600);
        URL_SAFE_NO_PAD_FAST
            .with(|engine| engine.encode_string(packed.as_ref().unwrap_or(black_box(&json)), &mut token));
        token.push_str(".a0nSAA");
        let signature = sign(&token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    };
    let token = commit();
    c.bench_function(&format!("floor/commit/{name}"), |b| b.iter(commit));
    c.bench_function(&format!("floor/open/{name}"), |b| {
        b.iter(|| {
            let (value, signature) = black_box(&token).rsplit_once('.').unwrap();
            assert_eq!(URL_SAFE_NO_PAD.decode(signature).unwrap(), sign(value)[..]);
            let (payload, _) = value.rsplit_once('.').unwrap();
            let mut text = URL_SAFE_NO_PAD_FAST.with(|engine| engine.decode(payload).unwrap());
            if compressed {
                let mut plain = Vec::with_capacity(512);
                flate2::Decompress::new(true)
                    .decompress_vec(&text, &mut plain, flate2::FlushDecompress::Finish)
                    .unwrap();
                text = plain;
            }
            serde_json::from_slice::<IgnoredAny>(&text).unwrap();
            text
        })
    });
}

thread_local! {
    /// The engine that `dewar` uses too, so that the floor is no straw man.
    static URL_SAFE_NO_PAD_FAST: base64::engine::Simd =
        base64::engine::Simd::url_safe(base64::engine::general_purpose::NO_PAD);
}

fn jars(c: &mut Criterion) {
    let key = Key::generate();
    let session = peers::session();
    type Protect = fn(&Key, Cookie<'static>) -> String;
    let protect: [(&str, Protect); 2] = [
        ("private-jar", |key, cookie| {
            let mut jar = CookieJar::new();
            jar.private_mut(key).add(cookie);
            jar.get(NAME).unwrap().value().to_owned()
        }),
        ("signed-jar", |key, cookie| {
            let mut jar = CookieJar::new();
            jar.signed_mut(key).add(cookie);
            jar.get(NAME).unwrap().value().to_owned()
        }),
    ];
    for (name, protect) in protect {
        let commit = || {
            let text = serde_json::to_string(black_box(&session)).unwrap();
            protect(&key, Cookie::new(NAME, text))
        };
        let token = commit();
        c.bench_function(&format!("cookie/commit/{name}"), |b| b.iter(commit));
        c.bench_function(&format!("cookie/open/{name}"), |b| {
            b.iter(|| {
                let cookie = Cookie::new(NAME, black_box(token.clone()));
                let jar = CookieJar::new();
                let opened = match name {
                    "private-jar" => jar.private(&key).decrypt(cookie),
                    _ => jar.signed(&key).verify(cookie),
                };
                serde_json::from_str::<Map<String, Value>>(opened.unwrap().value()).unwrap()
            })
        });
    }
}

fn codecs(c: &mut Criterion) {
    let keyring = Keyring::new(Secret::generate());
    dialect(c, "sealed", &Sealed::new(&keyring));
    floor_sealed(c);
    for (name, compressed) in [("plain", false), ("compressed", true)] {
        dialect(c, name, &Flask::new(&keyring).compression(compressed));
        floor_flask(c, name, compressed);
    }
    dialect(c, "django", &Django::new(&keyring));
    dialect(c, "rails", &Rails::new(&keyring));
    dialect(c, "iron", &Iron::new(&keyring));
    dialect(c, "phoenix", &Phoenix::new(&keyring).signing_salt("pepper"));
    stored(c, "php", &Php::new());
    stored(c, "symfony", &Symfony::new());
    let app_key = Secret::new("base64:a2V5IG9mIDMyIGJ5dGVzLCBmb3IgYW4gZXhhbXBsZSE=").unwrap();
    stored(c, "laravel", &Laravel::new(&Keyring::new(app_key)));
    stored(c, "express-session", &ExpressSession::new(&keyring));
    jars(c);
}

criterion_group!(
    name = benches;
    config = criterion::Criterion::default()
        .with_measurement(CpuTime)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500));
    targets = codecs
);
criterion_main!(benches);
