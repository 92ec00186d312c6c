//! Tokens that are authentic, and whose session each opens; made anew in every run, always the same.

use dewar::{
    Keyring,
    dialect::{Body, Contents, Dialect, Flask, Sealed, Timestamp},
    encoding::{Encoding, Json},
};

use crate::{NOW, keyring, old_keyring, random};

/// Who reads a token: the manager that a target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// `Sealed` under its own name, `__Host-Http-session`.
    Host,
    /// `Sealed` under the name `session`, for http.
    Http,
    /// Flask.
    Flask,
}

/// One token.
#[derive(Debug)]
pub struct Known {
    /// The cookie's value.
    pub text: String,
    /// Whose it is.
    pub reader: Reader,
    /// Whether it opens, being neither too old nor of the future.
    pub opens: bool,
    /// What its entry `who` says.
    pub who: u8,
}

/// Some of every kind. An entry `who` says which one it is.
pub fn all() -> Vec<Known> {
    let mut known = Vec::new();
    for (reader, name) in [(Reader::Host, "__Host-Http-session"), (Reader::Http, "session"), (Reader::Flask, "session")]
    {
        for old in [false, true] {
            let keyring = if old { old_keyring() } else { keyring() };
            for (issued, opens) in [(0, true), (-3600, true), (-40 * 86_400, false), (3600, false)] {
                let issued = Timestamp::from_secs(NOW.as_secs().saturating_add_signed(issued));
                // Flask compresses the longer ones.
                let rest = if opens && old { 300 } else { 3 };
                let who = known.len() as u8;
                known.push(Known { text: write(reader, name, &keyring, issued, who, rest), reader, opens, who });
            }
        }
    }
    known
}

fn write(reader: Reader, name: &str, keyring: &Keyring, issued: Timestamp, who: u8, rest: usize) -> String {
    let dialect: Box<dyn Dialect> = match reader {
        Reader::Host | Reader::Http => Box::new(Sealed::new(keyring)),
        Reader::Flask => Box::new(Flask::new(keyring)),
    };
    let encoding = if reader == Reader::Flask { Encoding::Json(Json::FLASK) } else { Encoding::MessagePack };
    let mut contents = Contents::new(issued, 86_400, None, false);
    let mut insert = |name: &str, written: Vec<u8>| contents.data.insert(name.as_bytes(), written);
    insert("who", encoding.write(&who).expect("a number"));
    insert("text", encoding.write(&"x".repeat(rest)).expect("text"));
    let mut random = random(u64::from(who) + 1);
    dialect.write(Body::Data(&contents), name, issued, &mut random).expect("a small session").remove(0).value
}
