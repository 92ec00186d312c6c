//! What is promised of every framework's dialect whose cookie holds the session.

use dewar::{
    Refusal,
    dialect::{Body, Contents, Dialect, Jar, Steps, Token},
};

use crate::{NOW, by_name, limits, random};

/// The name of the cookie.
pub const COOKIE: &str = "app";

/// What a dialect reads in a cookie's value.
///
/// # Errors
///
/// Why it is no session.
pub fn read(dialect: &dyn Dialect, value: &str) -> Result<Contents, Refusal> {
    match dialect.read(&Jar::of(COOKIE, &[("", value)]), &limits(), &mut Steps::off())? {
        Token::Data { contents, .. } => Ok(contents),
        Token::Id { .. } => panic!("it keeps data"),
    }
}

/// What opens, written again, opens to the same entries from then on.
///
/// # Panics
///
/// Where it does not. A session that the format refuses to write is none of that.
pub fn opens_again(dialect: &dyn Dialect, value: &str) {
    let Ok(contents) = read(dialect, value) else { return };
    let Some(once) = written(dialect, &contents) else { return };
    let twice = written(dialect, &once).expect("what was written once can be written again");
    assert_eq!(by_name(&once.data), by_name(&twice.data));
}

fn written(dialect: &dyn Dialect, contents: &Contents) -> Option<Contents> {
    let cookies = dialect.write(Body::Data(contents), COOKIE, NOW, &mut random(1)).ok()?;
    let whole = cookies.iter().find(|cookie| cookie.suffix.is_empty())?;
    Some(read(dialect, &whole.value).expect("what was written opens"))
}

/// Nobody without a secret makes a session.
///
/// # Panics
///
/// Where somebody did.
pub fn is_refused(dialect: &dyn Dialect, value: &str) {
    assert!(read(dialect, value).is_err(), "nobody made this");
}

/// One character changed is no session: in the text of every part, each has one spelling.
///
/// # Panics
///
/// Where it is one.
pub fn changed_is_refused(dialect: &dyn Dialect, value: &str, at: usize) {
    let mut changed = value.as_bytes().to_vec();
    let Some(byte) = (!changed.is_empty()).then(|| at % value.len()).and_then(|at| changed.get_mut(at)) else { return };
    *byte = if *byte == b'A' { b'B' } else { b'A' };
    is_refused(dialect, std::str::from_utf8(&changed).expect("a cookie is ASCII"));
}
