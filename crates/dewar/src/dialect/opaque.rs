//! base64url(256 random bits)
//!
//! `Opaque`: the cookie holds a random id and nothing else; the session is in a store, under the
//! SHA-256 of the id. There is nothing in it to sign: an id that is not in the store is worth nothing,
//! and 256 bits cannot be guessed. Entries are MessagePack.

use super::{
    Body, Dialect, Jar, Keeps, Known, Limits, Profile, Random, Refusal, SessionId, SetValue, Steps, Timestamp, Token,
    option,
};
use crate::error::Error;

pub(super) const KNOWN: Known = Known {
    name: "Opaque",
    cookies: &["__Host-Http-session", "__Host-session", "session"],
    on_store: None,
    make: |_, options| option::made("Opaque", Opaque::new(), &[], options),
};

/// Our own dialect for sessions on a store: the cookie is a random id.
#[derive(Debug)]
pub struct Opaque {
    profile: Profile,
}

impl Opaque {
    /// The dialect. It needs no secret.
    pub fn new() -> Self {
        Self { profile: Profile::own(KNOWN.name, Keeps::Id) }
    }
}

impl Default for Opaque {
    fn default() -> Self {
        Self::new()
    }
}

impl Dialect for Opaque {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn read(&self, jar: &Jar<'_>, _limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        let text = jar.value()?;
        steps.note("id", || format!("{} characters", text.len()));
        let id = SessionId::parse(text).ok_or(Refusal::Malformed)?;
        Ok(Token::Id { id, outdated: false })
    }

    fn write(
        &self,
        body: Body<'_>,
        _cookie: &str,
        _now: Timestamp,
        _random: Random<'_>,
    ) -> Result<Vec<SetValue>, Error> {
        Ok(vec![SetValue::new("", body.id("Opaque")?.reveal().to_owned())])
    }
}
