//! Phoenix's cookie and real Erlang: its terms, its crypto. Plug itself, which is had from hex.pm alone, is not among those that CI can run.

use dewar::{
    Keyring, Secret, Value,
    dialect::{Body, Contents, Data, Dialect, Jar, Limits, Phoenix, Steps, Timestamp, Token},
    value::BigInteger,
};

use crate::{
    generate::Dice,
    peer::erlang::{self, ENCRYPTION_SALT, SECRET, SIGNING_SALT},
    suite::{Part, note, scenarios},
    tools::{ERLANG, Tools},
};

pub(crate) static PART: Part = Part {
    name: "phoenix",
    about: "Phoenix's cookie as real Erlang reads and writes it, signed and in both encrypted forms",
    needs: &[&ERLANG],
    scenarios: scenarios![
        what_ours_writes_erlang_opens_and_would_write_just_so,
        what_erlang_writes_ours_opens_and_would_write_just_so,
        a_cookie_with_one_letter_changed_opens_at_neither,
    ],
};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn signed() -> Phoenix {
    let secret = Secret::new(SECRET).expect("the secret is accepted");
    let dialect = Phoenix::new(&Keyring::new(secret)).signing_salt(SIGNING_SALT);
    // Debian's Erlang is of that release.
    dialect.otp_25(true)
}

/// Encrypted, in the older form, and signed: as Erlang prints them.
fn every() -> [Phoenix; 3] {
    let encrypted = || signed().encryption_salt(ENCRYPTION_SALT);
    [encrypted(), encrypted().plug_crypto_1(true), signed()]
}

fn what_ours_writes_erlang_opens_and_would_write_just_so(tools: &Tools) {
    const EACH: usize = 1500;
    let (mut dice, mut cookies, mut sessions) = (Dice::new(18), Vec::new(), Vec::new());
    for dialect in every() {
        for _ in 0..EACH {
            let session = session(&mut dice);
            cookies.push(written(&dialect, &data(&dialect, &session), &mut dice));
            sessions.push(session);
        }
    }
    let said = erlang::check(tools, &cookies);
    assert_eq!(said.len(), cookies.len());
    for (said, session) in said.iter().zip(&sessions) {
        assert_eq!(said, "same", "{session:?}");
    }
    note(&format!("{} sessions", sessions.len()));
}

fn what_erlang_writes_ours_opens_and_would_write_just_so(tools: &Tools) {
    let (dialects, mut dice) = (every(), Dice::new(19));
    let made = erlang::make(tools, 1500, 20);
    for cookies in &made {
        for (dialect, cookie) in dialects.iter().zip(cookies) {
            let found = read(dialect, cookie).unwrap_or_else(|| panic!("{cookie} does not open"));
            let encoding = dialect.profile().encoding;
            // Every entry by way of its value.
            let mut again = Data::default();
            for (name, encoded) in found.iter() {
                let value: Value = encoding.read(encoded).expect("it reads");
                again.insert(name, encoding.write(&value).unwrap_or_else(|why| panic!("{value:?}: {why}")));
            }
            assert_eq!(written(&dialects[2], &again, &mut dice), cookies[2]);
        }
    }
    note(&format!("{} sessions", made.len() * dialects.len()));
}

fn a_cookie_with_one_letter_changed_opens_at_neither(tools: &Tools) {
    let (mut dice, mut forged) = (Dice::new(21), Vec::new());
    let dialects = every();
    for cookies in erlang::make(tools, 200, 22) {
        for (dialect, cookie) in dialects.iter().zip(cookies) {
            let mut bytes = cookie.into_bytes();
            // Not the last letter of a part, which has bits that mean nothing to Erlang.
            let inner: Vec<usize> = (0..bytes.len() - 1).filter(|at| bytes[at + 1] != b'.').collect();
            let at = *dice.pick(&inner);
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let cookie = String::from_utf8(bytes).expect("it is ASCII");
            assert!(read(dialect, &cookie).is_none(), "{cookie}");
            forged.push(cookie);
        }
    }
    assert!(erlang::check(tools, &forged).iter().all(|said| said == "refused"));
}

fn read(dialect: &Phoenix, cookie: &str) -> Option<Data> {
    let values = [("", cookie)];
    match dialect.read(&Jar::of("_app_key", &values), &Limits::new(NOW, 3600), &mut Steps::off()) {
        Ok(Token::Data { contents, .. }) => Some(contents.data),
        _ => None,
    }
}

fn written(dialect: &Phoenix, data: &Data, dice: &mut Dice) -> String {
    let mut contents = Contents::new(NOW, 3600, None, false);
    contents.data = data.clone();
    let mut random = |bytes: &mut [u8]| bytes.iter_mut().for_each(|byte| *byte = dice.below(256) as u8);
    let written = dialect.write(Body::Data(&contents), "_app_key", NOW, &mut random);
    written.expect("it is written").remove(0).value
}

fn data(dialect: &Phoenix, session: &[(String, Value)]) -> Data {
    let mut data = Data::default();
    for (name, value) in session {
        let encoded = dialect.profile().encoding.write(value);
        data.insert(name.as_bytes(), encoded.unwrap_or_else(|why| panic!("{value:?}: {why}")));
    }
    data
}

fn session(dice: &mut Dice) -> Vec<(String, Value)> {
    (0..dice.below(12)).map(|_| (text(dice), term(dice, 3))).collect()
}

/// A value of any kind that Erlang has.
fn term(dice: &mut Dice, depth: usize) -> Value {
    let inner = depth.saturating_sub(1);
    match dice.below(if depth == 0 { 10 } else { 15 }) {
        0 => Value::Null,
        1 => Value::Bool(dice.one_in(2)),
        2 => Value::Integer(dice.below(300) as i64 - 20),
        3 => Value::Integer(dice.next() as i64 >> dice.below(64)),
        4 => {
            let digits: String = (0..20 + dice.below(200)).map(|_| char::from(b'1' + dice.below(9) as u8)).collect();
            let integer: BigInteger = digits.parse().expect("digits are an integer");
            Value::BigInteger(integer)
        }
        5 => Value::Float((dice.next() as i64 as f64) * 10f64.powi(dice.below(200) as i32 - 100)),
        6 => Value::Bytes((0..dice.below(20)).map(|_| dice.below(256) as u8).collect()),
        7 => Value::Atom((*dice.pick(&["ok", "error", "Elixir.My.Module", "äö", "", "中"])).into()),
        8 => Value::Atom(format!("a{}", dice.below(20))),
        9 => text(dice).into(),
        10 => Value::List((0..dice.below(6)).map(|_| term(dice, inner)).collect()),
        11 => Value::Tuple((0..dice.below(6)).map(|_| term(dice, inner)).collect()),
        12 => Value::List((0..dice.below(40)).map(|_| Value::Integer(dice.below(256) as i64)).collect()),
        13 => map(dice, inner, |dice| text(dice).into()),
        _ => map(dice, inner, |dice| term(dice, 1)),
    }
}

/// Of different keys: text that is the same as bytes is the same in Erlang.
fn map(dice: &mut Dice, depth: usize, key: impl Fn(&mut Dice) -> Value) -> Value {
    let mut members: Vec<(Value, Value)> = Vec::new();
    for _ in 0..dice.below(8) {
        let (key, value) = (key(dice), term(dice, depth));
        let is_there = |other: &Value| match (other, &key) {
            (Value::Text(text), Value::Bytes(bytes)) | (Value::Bytes(bytes), Value::Text(text)) => {
                text.as_bytes() == bytes
            }
            _ => *other == key,
        };
        if !members.iter().any(|(other, _)| is_there(other)) {
            members.push((key, value));
        }
    }
    Value::Map(members)
}

fn text(dice: &mut Dice) -> String {
    (0..dice.below(7)).map(|_| *dice.pick(&['a', 'b', 'Z', '_', '.', 'é', '中', '🧪'])).collect()
}
