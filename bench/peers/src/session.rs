//! In a file of its own, for the workspaces that cannot share the rest of this crate.

use serde_json::{Map, Value, json};

/// A person who is logged in and shops: 292 bytes as compact JSON.
pub fn session() -> Map<String, Value> {
    let session = json!({
        "firstName": "Ada", "lastName": "Lovelace", "favoriteColor": "moss green", "visits": 41,
        "cart": [{ "article": 4711, "amount": 2, "note": "gift wrapping" }, { "article": 815, "amount": 1, "note": "" }],
        "next": "/account/orders?page=2", "csrf": "4f1c2d5e6f708192a3b4c5d6e7f80912", "locale": "en-GB", "seen": true,
    });
    let Value::Object(session) = session else { unreachable!("an object stands above") };
    session
}
