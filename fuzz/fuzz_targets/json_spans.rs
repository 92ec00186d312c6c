//! Arbitrary bytes as a whole session, and as one value, in every encoding.
//!
//! What is accepted is cut and joined to the same entries; nothing panics; what was read, once written, reads the same.

#![no_main]

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use dewar::{
    Value,
    dialect::Data,
    encoding::{Encoding, Json},
    value::{DateTime, Markup, Tuple, Uuid},
};
use dewar_fuzz::{by_name, survives};
use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, de::DeserializeOwned};

const ENCODINGS: [Encoding; 5] = [
    Encoding::Json(Json::FLASK),
    Encoding::Json(Json::FLASK.sort_keys(false).ascii(false)),
    Encoding::Json(Json::PYTHON_UTF8),
    Encoding::Json(Json::JAVASCRIPT),
    Encoding::MessagePack,
];

/// What an application's types ask of a reader, serde's own buffers included.
#[derive(Deserialize)]
#[allow(dead_code)]
struct Typed {
    #[serde(default)]
    a: Option<u8>,
    #[serde(default)]
    b: Either,
    #[serde(flatten)]
    rest: HashMap<String, Either>,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
#[allow(dead_code)]
enum Either {
    Integer(i128),
    Float(f32),
    Text(String),
    Pair(char, Box<Either>),
    Named(Variant),
    #[default]
    Nothing,
}

#[derive(Deserialize)]
#[allow(dead_code)]
enum Variant {
    #[serde(rename = "a")]
    Unit,
    #[serde(rename = "b")]
    Newtype(Markup),
    #[serde(rename = "c")]
    Tuple(u64, Uuid),
    #[serde(rename = "d")]
    Struct { a: DateTime },
}

fuzz_target!(|bytes: &[u8]| {
    for encoding in ENCODINGS {
        whole(encoding, bytes);
        value(encoding, bytes);
    }
    if bytes.len() <= 4096 && serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes).is_ok() {
        // Ours takes more than serde_json (lone surrogates, huge numbers), never less.
        assert!(Data::parse(Encoding::Json(Json::JAVASCRIPT), &Bytes::copy_from_slice(bytes)).is_some());
    }
});

fn whole(encoding: Encoding, bytes: &[u8]) {
    let Some(data) = Data::parse(encoding, &Bytes::copy_from_slice(bytes)) else { return };
    let mut joined = Vec::new();
    data.write(encoding, &mut joined);
    let joined = Bytes::from(joined);
    let again = Data::parse(encoding, &joined).expect("what was joined is cut");
    assert_eq!(by_name(&again), by_name(&data));
    let mut twice = Vec::new();
    again.write(encoding, &mut twice);
    assert_eq!(twice, joined);
    for (_, entry) in data.iter() {
        let read = encoding.read::<Value>(entry);
        // MessagePack carries extension types it does not know.
        assert!(read.is_ok() || encoding == Encoding::MessagePack, "an accepted entry cannot be read");
    }
}

fn value(encoding: Encoding, bytes: &[u8]) {
    if let Ok(value) = encoding.read::<Value>(bytes) {
        survives(encoding, &value);
    }
    typed::<Typed>(encoding, bytes);
    typed::<Either>(encoding, bytes);
    typed::<Variant>(encoding, bytes);
    typed::<BTreeMap<u8, Vec<u8>>>(encoding, bytes);
    typed::<Vec<Tuple<(String, Option<bool>)>>>(encoding, bytes);
    typed::<serde_json::Value>(encoding, bytes);
    typed::<()>(encoding, bytes);
}

fn typed<T: DeserializeOwned>(encoding: Encoding, bytes: &[u8]) {
    drop(encoding.read::<T>(bytes));
}
