//! In a file of its own, for the workspaces that cannot share the rest of this crate.

use serde_json::{Map, Value};

/// A person who is logged in and shops: 292 bytes as compact JSON.
pub fn session() -> Map<String, Value> {
    let session = serde_json::from_str(include_str!("session.json")).expect("JSON");
    let Value::Object(session) = session else { unreachable!("it is an object") };
    session
}
