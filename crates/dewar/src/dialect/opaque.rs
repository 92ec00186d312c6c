//! base64url(256 random bits)
//!
//! `Opaque`: the cookie holds a random id and nothing else; the session is in a store, under the
//! SHA-256 of the id. There is nothing in it to sign: an id that is not in the store is worth nothing,
//! and 256 bits cannot be guessed. Entries are MessagePack.

use super::{Body, Cookies, Dialect, Keeps, Limits, Policy, Random, Refusal, SessionId, Timestamp, Token};
use crate::error::Error;

/// Our own dialect for sessions on a store: the cookie is a random id.
#[derive(Debug)]
pub struct Opaque {
    policy: Policy,
}

impl Opaque {
    /// The dialect. It needs no secret.
    pub fn new() -> Self {
        Self { policy: Policy::own(Keeps::Id) }
    }
}

impl Default for Opaque {
    fn default() -> Self {
        Self::new()
    }
}

impl Dialect for Opaque {
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn read(&self, cookies: &Cookies<'_>, _limits: &Limits) -> Result<Token, Refusal> {
        let id = SessionId::parse(cookies.value()).ok_or(Refusal::Malformed)?;
        Ok(Token::Id { id, outdated: false })
    }

    fn write(&self, body: Body<'_>, _cookie: &str, _now: Timestamp, _random: Random<'_>) -> Result<Vec<String>, Error> {
        match body {
            Body::Id(id) => Ok(vec![id.reveal().to_owned()]),
            Body::Data(_) => {
                Err(Error::setting("the dialect Opaque needs a store: add .store(...) to the SessionLayer"))
            }
        }
    }
}
