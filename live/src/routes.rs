//! The routes under `/_test/` that the applications have in common, as a visitor asks for them.

use dewar::Value;

use crate::{http::Visitor, typed};

/// All that an application reads of the session.
pub(crate) fn whole(visitor: &mut Visitor, url: &str) -> Value {
    let answer = visitor.get(&format!("{url}/_test/get"));
    assert_eq!(answer.status, 200, "{url}: {}", answer.body);
    typed::parse(&answer.body)
}

/// Sends what a route writes. The `Set-Cookie` values of the answer.
pub(crate) fn post(visitor: &mut Visitor, url: &str, route: &str, body: &str) -> Vec<String> {
    let answer = visitor.post(&format!("{url}/_test/{route}"), body);
    assert_eq!(answer.status, 204, "{url}, {route}: {}", answer.body);
    answer.set_cookie
}

/// Fails where this is another value than that typed JSON.
#[track_caller]
pub(crate) fn same(found: &Value, expected: &str) {
    assert_eq!(typed::text(found), typed::text(&typed::parse(expected)));
}
