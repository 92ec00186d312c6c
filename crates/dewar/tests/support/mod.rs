//! What several tests share.
#![allow(dead_code, unreachable_pub)]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

pub mod browser;
pub mod certificates;
pub mod directory;
pub mod endings;
pub mod faulty;
pub mod hang_ups;
pub mod histories;
pub mod http;
pub mod moves;
pub mod mysql_proxy;
pub mod mysql_server;
pub mod pgbouncer;
pub mod postgres;
pub mod postgres_proxy;
pub mod postgres_server;
pub mod races;
pub mod redis;
pub mod redis_cluster;
pub mod redis_group;
pub mod redis_proxy;
pub mod redis_server;
pub mod site;
pub mod stores;
pub mod tables;
pub mod typed;
pub mod yielding;

/// The vectors of one framework: sessions that it wrote, with what they hold.
pub fn vectors(file: &str) -> serde_json::Value {
    let path = format!("{}/../../vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).expect("the vectors are JSON")
}

/// Fails where the file's own `counts` are not what is in it, or where it has a kind that no test of its framework runs.
pub fn assert_counted(file: &serde_json::Value, kinds: &[&str]) {
    let vectors = file["vectors"].as_array().expect("a list");
    let stranger = vectors.iter().find(|vector| !kinds.iter().any(|kind| vector["kind"] == *kind));
    assert!(stranger.is_none(), "no test runs {}", stranger.unwrap()["id"]);
    let count = |is_it: fn(&serde_json::Value) -> bool| vectors.iter().filter(|it| is_it(&it["expect"])).count();
    let counts = serde_json::json!({
        "valid": count(|expect| expect["outcome"] == "valid" && expect["lenient"] != true),
        "lenient": count(|expect| expect["outcome"] == "valid" && expect["lenient"] == true),
        "invalid": count(|expect| expect["outcome"] == "invalid"),
    });
    assert_eq!(file["counts"], counts);
}

/// Whether Flask takes this cookie though it never writes it, and we do not: base64 has one spelling.
pub fn is_spelled_otherwise(vector: &serde_json::Value) -> bool {
    let mut parts = vector["cookie_value"].as_str().unwrap_or_default().split('.');
    vector["expect"]["lenient"] == true && parts.any(|part| URL_SAFE_NO_PAD.decode(part).is_err())
}
