//! Generated sessions and damaged cookies: Flask and `dewar` must not differ.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dewar::{
    Value,
    dialect::wire::{
        inflate::inflate,
        itsdangerous::{Derivation, Digest, Signer},
    },
};

use super::LESSON;
use crate::{
    generate::{self, Dice},
    peer::{
        oracle::{NOW, Opened, Oracle, opened, to_read, to_write, written},
        ours::{self, Direct},
    },
    suite::{Part, note, scenarios},
    tools::{PYTHON, Tools},
    typed,
};

pub(crate) static PART: Part = Part {
    name: "differential",
    about: "generated sessions and damaged cookies, Flask beside dewar",
    needs: &[&PYTHON],
    scenarios: scenarios![
        what_one_writes_the_other_reads_and_writes_alike,
        an_entry_that_one_adds_leaves_what_the_other_wrote,
        a_damaged_cookie_is_refused_by_both,
        a_signed_payload_that_is_no_session_is_refused,
        both_find_the_session_in_the_same_cookie,
    ],
};

pub(crate) const BATCH: usize = 250;

fn what_one_writes_the_other_reads_and_writes_alike(tools: &Tools) {
    let (mut flask, ours, mut dice) = peers(tools);
    let (count, mut compressed, mut otherwise) = (sessions(), 0, 0);
    for batch in 0..count.div_ceil(BATCH) {
        let sessions: Vec<Value> =
            (batch * BATCH..count.min((batch + 1) * BATCH)).map(|_| generate::session(&mut dice)).collect();
        let cookies: Vec<Option<String>> = sessions.iter().map(|session| write(&ours, session)).collect();
        let questions = sessions.iter().zip(&cookies).flat_map(|(session, cookie)| {
            [to_write(&typed::text(session)), to_read(&header(cookie.as_deref().unwrap_or_default()))]
        });
        let answers = flask.ask(&questions.collect::<Vec<_>>());
        let theirs: Vec<_> = answers.iter().step_by(2).map(written).collect();
        let back = flask.ask(&theirs.iter().map(|theirs| to_read(&header(&theirs.cookie))).collect::<Vec<_>>());
        for (at, session) in sessions.iter().enumerate() {
            let (theirs, which) = (&theirs[at], || {
                format!("session {} of seed {}: {}", batch * BATCH + at, seed(), typed::text(session))
            });
            let expected = opened(&back[at]);
            assert_eq!(
                ours.read(&header(&theirs.cookie)),
                expected,
                "we read what Flask wrote otherwise than Flask, {}",
                which()
            );
            let Some(cookie) = &cookies[at] else { continue };
            assert_eq!(opened(&answers[at * 2 + 1]), expected, "Flask reads what we wrote otherwise, {}", which());
            assert_eq!(ours.read(&header(cookie)), expected, "we read what we wrote otherwise, {}", which());
            assert_eq!(text(cookie), theirs.text, "the JSON differs, {}", which());
            match (cookie.starts_with('.'), theirs.cookie.starts_with('.')) {
                (false, false) => assert_eq!(*cookie, theirs.cookie, "the cookie differs, {}", which()),
                (true, true) => compressed += 1,
                _ => otherwise += 1,
            }
        }
    }
    note(&format!("{count} sessions both ways, none different; seed {}", seed()));
    note(&format!("compressed by both {compressed}, by one of them only {otherwise}"));
}

fn an_entry_that_one_adds_leaves_what_the_other_wrote(tools: &Tools) {
    const ADDED: &str = "\u{10ffff}added";
    let (mut flask, ours, mut dice) = peers(tools);
    let sessions: Vec<Value> = (0..1000).map(|_| generate::session(&mut dice)).collect();
    let questions = sessions.iter().flat_map(|session| {
        let Value::Map(mut entries) = session.clone() else { panic!("a session is a map") };
        entries.push((ADDED.into(), true.into()));
        [to_write(&typed::text(session)), to_write(&typed::text(&Value::Map(entries)))]
    });
    let answers: Vec<_> = flask.ask(&questions.collect::<Vec<_>>()).iter().map(written).collect();
    for pair in answers.chunks(2) {
        let added = ours.respond(&header(&pair[0].cookie), |session| session.insert(ADDED, true));
        let Some(cookies) = fits(added) else { continue };
        assert_eq!(text(value_of(&cookies[0])), pair[1].text, "seed {}", seed());
    }
}

/// Anything but one spelling of base64 is refused by ours, and so is what Flask answers with 500.
fn a_damaged_cookie_is_refused_by_both(tools: &Tools) {
    let (mut flask, ours, mut dice) = peers(tools);
    let headers: Vec<String> = (0..2000).map(|_| damaged(&mut dice, &ours)).collect();
    let answers = flask.ask(&headers.iter().map(|header| to_read(header)).collect::<Vec<_>>());
    let (mut refused, mut respelled) = (0, 0);
    for (header, answer) in headers.iter().zip(&answers) {
        let (theirs, ours) = (opened(answer), ours.read(header));
        match (theirs == ours, &ours) {
            (true, _) => refused += usize::from(is_empty(&ours)),
            (false, ours) if is_empty(ours) && is_respelled(header) => respelled += 1,
            _ => panic!("seed {}: Flask opens {theirs:?}, ours {ours:?}: Cookie: {header}", seed()),
        }
    }
    note(&format!(
        "of {} damaged cookies both refuse {refused}; ours alone {respelled}, for another spelling of base64",
        headers.len()
    ));
}

/// Flask answers many of them with 500; ours is an empty session. What Flask itself would have spelled otherwise, ours
/// may refuse, and what is nearly a date may be one to the one and nothing to the other.
fn a_signed_payload_that_is_no_session_is_refused(tools: &Tools) {
    let (mut flask, ours, mut dice) = peers(tools);
    let cookies: Vec<String> = (0..2000).map(|_| resigned(&mut dice, &ours)).collect();
    let answers = flask.ask(&cookies.iter().map(|cookie| to_read(&header(cookie))).collect::<Vec<_>>());
    let (mut alike, mut broken, mut respelled) = (0, 0, 0);
    for (cookie, answer) in cookies.iter().zip(&answers) {
        let (theirs, ours) = (opened(answer), ours.read(&header(cookie)));
        match &theirs {
            _ if theirs == ours => alike += 1,
            Opened::Broken(_) if is_empty(&ours) => broken += 1,
            Opened::Session(session)
                if is_empty(&ours) || differ_in_dates_only(&typed::parse(session), &typed::parse(ours.session())) =>
            {
                let rewritten = written(&flask.ask(&[to_write(session)])[0]).text;
                assert_ne!(rewritten, text(cookie), "seed {}: Flask opens {theirs:?}, ours {ours:?}", seed());
                respelled += 1;
            }
            _ => panic!("seed {}: Flask opens {theirs:?}, ours {ours:?}: {}", seed(), text(cookie)),
        }
    }
    let all = cookies.len();
    note(&format!(
        "of {all} signed payloads both open {alike} alike; {broken} that Flask answers with 500 are empty sessions"
    ));
    note(&format!("{respelled} are spelled as Flask never would, and ours does not guess"));
}

fn both_find_the_session_in_the_same_cookie(tools: &Tools) {
    let (mut flask, ours, _) = peers(tools);
    let one = write(&ours, &typed::parse(r#"{"a": 1}"#)).expect("it fits");
    let two = write(&ours, &typed::parse(r#"{"b": 2}"#)).expect("it fits");
    let headers = [
        format!("session={one}; session={two}"),
        format!("session={two};session={one}"),
        format!("session=; session={one}"),
        format!("session=garbage; session={one}"),
        format!("a=1; xsession={one}; session={two}; sessionx={one}"),
        format!("Session={one}"),
        format!("%73ession={one}"),
        format!(" session={one}"),
        format!("session={one};"),
        format!(";;session={one}"),
        format!("session==; session={one}"),
        format!("session={one}, session={two}"),
        "session".into(),
        "session=".into(),
        "=".into(),
    ];
    let answers = flask.ask(&headers.iter().map(|header| to_read(header)).collect::<Vec<_>>());
    for (header, answer) in headers.iter().zip(&answers) {
        assert_eq!(ours.read(header), opened(answer), "Cookie: {header}");
    }
    // No browser spells a cookie so. Werkzeug takes it all the same.
    for header in [format!("session ={one}"), format!("session= {one}"), format!("session=\"{one}\"")] {
        assert!(is_empty(&ours.read(&header)), "Cookie: {header}");
    }
}

/// Whether the two are the same, or differ only in that one has nothing where the other read a date.
fn differ_in_dates_only(theirs: &Value, ours: &Value) -> bool {
    let all = |theirs: &[Value], ours: &[Value]| {
        theirs.len() == ours.len() && theirs.iter().zip(ours).all(|(theirs, ours)| differ_in_dates_only(theirs, ours))
    };
    match (theirs, ours) {
        (Value::DateTime(_), Value::Null) | (Value::Null, Value::DateTime(_)) => true,
        (Value::List(theirs), Value::List(ours)) | (Value::Tuple(theirs), Value::Tuple(ours)) => all(theirs, ours),
        (Value::Map(theirs), Value::Map(ours)) => {
            let parts = |members: &[(Value, Value)]| members.iter().cloned().unzip::<_, _, Vec<_>, Vec<_>>();
            let ((their_names, theirs), (our_names, ours)) = (parts(theirs), parts(ours));
            their_names == our_names && all(&theirs, &ours)
        }
        (theirs, ours) => typed::text(theirs) == typed::text(ours),
    }
}

fn peers(tools: &Tools) -> (Oracle, Direct, Dice) {
    (Oracle::start(tools, LESSON), Direct::new(ours::flask(LESSON)), Dice::new(seed()))
}

/// `LIVE_SEED`, or another one in every run.
pub(super) fn seed() -> u64 {
    use std::sync::OnceLock;
    static SEED: OnceLock<u64> = OnceLock::new();
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    *SEED.get_or_init(|| number("LIVE_SEED").unwrap_or_else(clock))
}

pub(super) fn sessions() -> usize {
    number("LIVE_SESSIONS").map_or(20_000, |count| count as usize)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn header(cookie: &str) -> String {
    format!("session={cookie}")
}

/// The cookie, unless browsers would not keep it: then Flask writes it all the same, and ours is an error.
fn write(ours: &Direct, session: &Value) -> Option<String> {
    fits(ours.write(session))
}

pub(crate) fn fits<T>(written: Result<T, dewar::Error>) -> Option<T> {
    match written {
        Ok(written) => Some(written),
        Err(error) if error.is_too_large() => None,
        Err(error) => panic!("seed {}: {error}", seed()),
    }
}

fn value_of(set_cookie: &str) -> &str {
    let pair = set_cookie.split(';').next().unwrap_or_default();
    pair.split_once('=').map_or("", |(_, value)| value)
}

/// The JSON in a cookie.
fn text(cookie: &str) -> String {
    let payload = cookie.rsplitn(3, '.').nth(2).expect("three fields");
    let (payload, compressed) = payload.strip_prefix('.').map_or((payload, false), |payload| (payload, true));
    let data = URL_SAFE_NO_PAD.decode(payload).expect("base64");
    let text = if compressed { inflate(&data, 1 << 20).expect("a zlib stream") } else { data };
    String::from_utf8(text).expect("ASCII")
}

fn is_empty(opened: &Opened) -> bool {
    *opened == Opened::Session("{}".into())
}

/// Whether a field is not the one spelling of base64, or the value is in quotation marks.
fn is_respelled(header: &str) -> bool {
    let cookie = header.strip_prefix("session=").unwrap_or(header);
    cookie.trim_start_matches('.').split('.').any(|field| URL_SAFE_NO_PAD.decode(field).is_err())
}

/// A good cookie with one or two things wrong.
fn damaged(dice: &mut Dice, ours: &Direct) -> String {
    let mut cookie: Vec<u8> = good(dice, ours).into_bytes();
    for _ in 0..=dice.below(2) {
        if cookie.is_empty() {
            break;
        }
        let at = dice.below(cookie.len());
        let other = *dice.pick(b"ABab01-_.=~!+/%* ");
        match dice.below(8) {
            0 => cookie[at] = other,
            1 => cookie.insert(at, other),
            2 => drop(cookie.remove(at)),
            3 => cookie.truncate(at),
            4 => drop(cookie.drain(..at)),
            5 => cookie.push(other),
            6 => {
                let last = cookie.len() - 1;
                cookie[last] = *dice.pick(b"AEIMQUYcgkosw048");
            }
            _ => cookie.swap(at, 0),
        }
    }
    header(&String::from_utf8(cookie).expect("only ASCII was put in"))
}

fn good(dice: &mut Dice, ours: &Direct) -> String {
    loop {
        if let Some(cookie) = write(ours, &generate::session(dice)) {
            return cookie;
        }
    }
}

/// A good session's text with something wrong, truly signed.
fn resigned(dice: &mut Dice, ours: &Direct) -> String {
    let mut json = text(&good(dice, ours)).into_bytes();
    for _ in 0..=dice.below(2) {
        let at = dice.below(json.len());
        match dice.below(4) {
            0 => json[at] = *dice.pick(b"{}[]\",:\\0123456789eE+-. tfnubdimNI\n\x00\x7f"),
            1 => json.insert(at, *dice.pick(b"{}[]\",:\\0 -\t")),
            2 if json.len() > 1 => drop(json.remove(at)),
            _ => json.truncate(at.max(1)),
        }
    }
    sign(&URL_SAFE_NO_PAD.encode(json))
}

fn sign(payload: &str) -> String {
    let signer =
        Signer::new(&[LESSON.as_bytes()], b"cookie-session", Digest::Sha1, Derivation::Hmac).expect("one secret");
    let mut token = payload.to_owned();
    signer.sign_at_into(&mut token, NOW);
    token
}
