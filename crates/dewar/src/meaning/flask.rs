//! `_permanent`, and Flask-Login's `_user_id`, `_fresh` and `_id`: Flask 3.1.3, Flask-Session 0.8.0, Flask-Login 0.6.3.

use sha2::{Digest, Sha512};

use super::{Change, Data, Holds, Login, Meaning, Principal};
use crate::{encoding::Encoding, error::Error};

pub(crate) const PERMANENT: &str = "_permanent";
const USER: &str = "_user_id";
/// Whether the user has just proved who they are.
const FRESH: &str = "_fresh";
/// What the user came from when they did.
const CLIENT: &str = "_id";

/// Flask-Login's "remember me" is a cookie beside the session.
pub(crate) const REMEMBER_TOKEN: &str = "remember_token";

/// What Flask and Flask-Login keep in entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flask {
    /// Whether the application uses Flask-Login.
    pub(crate) has_login: bool,
    /// Whether a session begins as one whose cookie outlives the browser: Flask-Session's `SESSION_PERMANENT`.
    pub(crate) begins_permanent: bool,
}

impl Meaning for Flask {
    fn holds(&self) -> Holds {
        Holds { persistent: true, principal: self.has_login, ..Holds::NOTHING }
    }

    fn principal(&self, data: &Data, encoding: Encoding) -> Option<Principal> {
        Principal::read(encoding, data.get(USER.as_bytes())?)
    }

    fn is_principal(&self, entry: &str) -> bool {
        self.has_login && entry == USER
    }

    fn is_persistent(&self, data: &Data, encoding: Encoding) -> bool {
        data.get(PERMANENT.as_bytes()).is_some_and(|encoded| encoding.read(encoded).unwrap_or(false))
    }

    fn is_persistence(&self, entry: &[u8]) -> bool {
        entry == PERMANENT.as_bytes()
    }

    fn set(&self, data: &mut Data, encoding: Encoding, change: Change<'_>) -> Result<(), Error> {
        match change {
            Change::Principal(login) if self.has_login => {
                // What reads the same keeps its bytes: an integer stays one, although Flask-Login asks for text.
                if !self.principal(data, encoding).is_some_and(|former| former.is(&login.id)) {
                    data.insert(USER.as_bytes(), written(encoding, USER, &login.id)?);
                }
                data.insert(FRESH.as_bytes(), written(encoding, FRESH, &true)?);
                if let Some(client) = client(login) {
                    data.insert(CLIENT.as_bytes(), written(encoding, CLIENT, &client)?);
                }
            }
            Change::Lifetime { persistent, .. } => {
                data.insert(PERMANENT.as_bytes(), written(encoding, PERMANENT, &persistent)?);
            }
            Change::Begun(_) if self.begins_permanent && data.get(PERMANENT.as_bytes()).is_none() => {
                // First, as Flask-Session has it.
                let mut begun = Data::default();
                begun.insert(PERMANENT.as_bytes(), written(encoding, PERMANENT, &true)?);
                data.iter().for_each(|(name, value)| begun.insert(name, value));
                *data = begun;
            }
            _ => {}
        }
        Ok(())
    }
}

fn written<T: serde::Serialize + ?Sized>(encoding: Encoding, entry: &str, value: &T) -> Result<Vec<u8>, Error> {
    encoding.write(value).map_err(|why| Error::entry(entry.as_bytes(), why))
}

/// Flask-Login's `_create_identifier`: the digest of address and user agent, in hexadecimal, each as Python shows bytes: `b'127.0.0.1'|b'curl/8'`.
fn client(login: &Login) -> Option<String> {
    let (address, user_agent) = login.client.as_ref()?;
    let address = address.split(',').next().unwrap_or_default().trim();
    let digest = Sha512::digest(format!("{}|{}", shown(address), shown(user_agent)));
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// `repr(header.encode())`, where WSGI gave the bytes of the header as Latin-1.
fn shown(header: &str) -> String {
    let bytes: Vec<u8> = header.bytes().map(char::from).collect::<String>().into_bytes();
    let quote = if header.contains('\'') && !header.contains('"') { '"' } else { '\'' };
    let mut text = format!("b{quote}");
    for byte in bytes {
        match char::from(byte) {
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\\' => text.push_str("\\\\"),
            letter if letter == quote => text.extend(['\\', quote]),
            letter @ ' '..='~' => text.push(letter),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push(quote);
    text
}
