//! What several tests share.
#![allow(dead_code, unreachable_pub)]

pub mod faulty;
pub mod histories;
pub mod http;
pub mod races;
pub mod redis_server;
pub mod site;
pub mod stores;
pub mod typed;
pub mod yielding;

/// The vectors of one framework: sessions that it wrote, with what they hold.
pub fn vectors(file: &str) -> serde_json::Value {
    let path = format!("{}/../../vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).expect("the vectors are JSON")
}
