//! What an attacker found in the cookies of Rails, Django, iron-session and Phoenix, and in moving out of them.

use std::time::Duration;

use dewar::{
    Clock, Error, Login, Secret, Session, SessionManager, SessionManagerBuilder, Value,
    dialect::{CookieSession, Django, Iron, Phoenix, Rails, Timestamp},
    store::memory::MemoryStore,
    testing::Visitor,
    value::Bytes,
};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const SECRET: &str = "a3f1c2b4d5e6978810293847566574839201a3f1c2b4d5e69788102938475665";
const DAY: Duration = Duration::from_secs(86_400);

fn builder(clock: &Clock) -> SessionManagerBuilder {
    SessionManager::builder(Secret::new(SECRET).unwrap()).unwrap().clock(clock.clone())
}

fn clock() -> Clock {
    Clock::at(NOW)
}

fn until() -> Timestamp {
    NOW.after(DAY * 300)
}

fn rails(clock: &Clock) -> SessionManager {
    let rails = |keys: &dewar::Keyring| Rails::new(keys).principal_entry("user_id");
    builder(clock).dialect(rails).cookie_name("_shop_session").build().unwrap()
}

fn phoenix(clock: &Clock) -> SessionManager {
    let phoenix =
        |keys: &dewar::Keyring| Phoenix::new(keys).signing_salt("s").encryption_salt("e").principal_entry("user_id");
    builder(clock).dialect(phoenix).cookie_name("_shop_key").build().unwrap()
}

/// A visitor of one manager, whom another meets.
async fn arrives(at: &SessionManager, from: &SessionManager, did: impl Fn(&Session) + Send + Sync) -> Visitor {
    let there = Visitor::prepared(from, did).await.unwrap();
    bring(at, &there)
}

fn bring(at: &SessionManager, visitor: &Visitor) -> Visitor {
    let mut here = Visitor::new(at);
    for pair in visitor.cookie().to_str().unwrap().split("; ") {
        here.receive_cookie(pair.as_bytes());
    }
    here
}

/// Lists around a number.
fn nest(levels: usize) -> Value {
    (0..levels).fold(Value::Integer(1), |inner, _| Value::List(vec![inner]))
}

#[tokio::test]
async fn a_log_out_is_final_for_as_long_as_a_cookie_without_a_date_could_come_back() {
    for source in [rails, phoenix] {
        let clock = clock();
        let source = source(&clock);
        let store = builder(&clock).cookie_name("s").store(MemoryStore::new()).reads_also(source.clone(), until());
        let store = store.build().unwrap();
        let there = Visitor::prepared(&source, |session: &Session| session.set_principal(7)).await.unwrap();
        let mut ada = bring(&store, &there);
        ada.edit(|session| session.insert("k", 1)).await.unwrap();
        ada.edit(|session| session.clear()).await.unwrap();
        for _ in 0..40 {
            clock.advance(DAY * 7);
            assert_eq!(bring(&store, &there).session().await.unwrap().principal(), None, "{:?}", clock.now());
        }
    }
}

#[tokio::test]
async fn messages_that_wait_move_from_each_format_to_each() {
    let clock = clock();
    type Make = fn(&Clock) -> SessionManagerBuilder;
    let formats: [(&str, Make); 6] = [
        ("sealed", |clock| builder(clock).cookie_name("sealed")),
        ("express", |clock| builder(clock).dialect(CookieSession::new).cookie_name("express")),
        ("rails", |clock| builder(clock).dialect(Rails::new).cookie_name("rails")),
        ("django", |clock| builder(clock).dialect(Django::new).cookie_name("django")),
        ("iron", |clock| {
            builder(clock).dialect(Iron::new).cookie_name("iron").lifetime(dewar::Lifetime::browser().idle(DAY * 14))
        }),
        ("phoenix", |clock| {
            builder(clock).dialect(|keys: &dewar::Keyring| Phoenix::new(keys).signing_salt("s")).cookie_name("phoenix")
        }),
    ];
    for (from, source) in &formats {
        let source = source(&clock).build().unwrap();
        for (to, target) in formats.iter().filter(|(to, _)| to != from) {
            let target = target(&clock).reads_also(source.clone(), until()).build().unwrap();
            let ada = arrives(&target, &source, |session| {
                session.flash_as("one", "info");
                session.flash_as("two", "info");
            });
            let session = ada.await.session().await;
            let Ok(session) = session else {
                // Which of both outlives the browser is said by the layer.
                assert!([from, to].contains(&&"django"), "{from} to {to}: {session:?}");
                continue;
            };
            let shown: Vec<_> = session.take_flashes().iter().map(|flash| flash.text().to_owned()).collect();
            assert_eq!(shown, ["one", "two"], "{from} to {to}");
        }
    }
}

#[tokio::test]
async fn what_is_too_deep_to_be_read_is_never_written() {
    let clock = clock();
    for manager in [rails(&clock), phoenix(&clock)] {
        for levels in 90..135 {
            let said: [&(dyn Fn(&Session) + Send + Sync); 3] =
                [&|session| session.insert("deep", nest(levels)), &|session| session.flash(nest(levels)), &|session| {
                    session.flash(nest(levels));
                    session.flash(nest(levels));
                }];
            for (which, said) in said.iter().enumerate() {
                let mut ada = Visitor::prepared(&manager, |session: &Session| session.set_principal(7)).await.unwrap();
                let done = ada.edit(|session| said(session)).await;
                assert_eq!(
                    ada.session().await.unwrap().principal().as_deref(),
                    Some("7"),
                    "{which}, {levels}: {done:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn rails_is_given_nothing_that_ruby_s_parser_does_not_take() {
    let manager = rails(&clock());
    for (levels, fits) in [(98, true), (99, true), (100, false), (101, false)] {
        let done = Visitor::prepared(&manager, |session: &Session| session.insert("deep", nest(levels))).await;
        assert_eq!(done.is_ok(), fits, "{levels}");
    }
}

#[tokio::test]
async fn two_users_whose_ids_are_no_text_are_two() {
    let clock = clock();
    let source = phoenix(&clock);
    let user = |byte: u8| move |session: &Session| session.insert("user_id", Bytes(vec![byte; 16]));
    let [one, other] = [
        Visitor::prepared(&source, user(0xff)).await.unwrap().session().await.unwrap().principal().unwrap(),
        Visitor::prepared(&source, user(0xfe)).await.unwrap().session().await.unwrap().principal().unwrap(),
    ];
    assert_ne!(one, other);
    let store = builder(&clock).store(MemoryStore::new()).cookie_name("s").reads_also(source.clone(), until());
    let error = arrives(&store.build().unwrap(), &source, user(0xff)).await.session().await.unwrap_err();
    assert!(error.to_string().contains("no text"), "{error}");
}

#[tokio::test]
async fn an_entry_that_meant_nothing_logs_nobody_in_where_it_means_something() {
    let clock = clock();
    let source = builder(&clock).dialect(CookieSession::new).cookie_name("express").build().unwrap();
    let target = builder(&clock).dialect(Django::new).reads_also(source.clone(), until()).build().unwrap();
    let stranger = arrives(&target, &source, |session| session.insert("_auth_user_id", "1")).await;
    assert!(stranger.session().await.is_err());
}

#[tokio::test]
async fn django_takes_no_log_in_that_is_tied_to_nothing() {
    let manager = builder(&clock()).dialect(Django::new).build().unwrap();
    let refused = |done: Result<(), Error>| done.unwrap_err().to_string().contains("password");
    let mut ada = Visitor::prepared(&manager, |session: &Session| {
        session.insert("_auth_user_id", "7");
        session.insert("_auth_user_hash", ());
    })
    .await
    .unwrap();
    assert!(refused(ada.edit(|session| session.set_principal("7")).await));
    assert!(refused(ada.edit(|session| session.set_principal(Login::new("8").auth_hash(""))).await));
}

#[tokio::test]
async fn a_session_of_django_ends_when_django_ends_it_whatever_it_says_of_itself() {
    let manager = builder(&clock()).dialect(Django::new).build().unwrap();
    let ada = Visitor::prepared(&manager, |session: &Session| session.insert("_session_expiry", 5_000_000)).await;
    assert_eq!(ada.unwrap().session().await.unwrap().expires_at(), Some(NOW.after(DAY * 14)));
}

#[tokio::test]
async fn a_lifetime_of_one_session_moves_from_django_to_django_as_it_is() {
    let clock = clock();
    let source = builder(&clock).dialect(Django::new).cookie_name("old").build().unwrap();
    let target = builder(&clock).dialect(Django::new).reads_also(source.clone(), until()).build().unwrap();
    for expiry in
        [Value::Integer(3600), Value::Integer(5_000_000), Value::from("2023-11-24T22:13:20+00:00"), Value::Bool(true)]
    {
        let ada = arrives(&target, &source, |session| session.insert("_session_expiry", &expiry)).await;
        assert_eq!(ada.session().await.unwrap().get::<Value>("_session_expiry").as_ref(), Some(&expiry));
    }
}

#[tokio::test]
async fn a_flash_of_rails_with_nothing_in_it_keeps_nobody_from_leaving_a_message() {
    let manager = rails(&clock());
    for odd in ["{}", r#"{"discard":null,"flashes":{"a":"b"}}"#, r#"{"flashes":null}"#] {
        let odd: serde_json::Value = serde_json::from_str(odd).unwrap();
        let mut ada = Visitor::prepared(&manager, |session: &Session| session.insert("flash", &odd)).await.unwrap();
        ada.edit(|session| session.flash("hello")).await.unwrap();
        let shown = ada.session().await.unwrap().take_flashes();
        assert_eq!(shown.last().map(|flash| flash.text()), Some("hello"), "{odd}");
    }
}

#[tokio::test]
async fn an_empty_name_is_nobody() {
    let manager = rails(&clock());
    let stranger = Visitor::prepared(&manager, |session: &Session| session.insert("user_id", "")).await.unwrap();
    assert_eq!(stranger.session().await.unwrap().principal(), None);
}

#[tokio::test]
async fn an_entry_that_says_no_is_nobody() {
    let manager = rails(&clock());
    for no in [Value::Bool(false), Value::List(Vec::new()), Value::Null] {
        let stranger = Visitor::prepared(&manager, |session: &Session| session.insert("user_id", &no)).await.unwrap();
        assert_eq!(stranger.session().await.unwrap().principal(), None, "{no:?}");
    }
}

#[test]
fn keys_that_nobody_waits_for_are_refused_at_start_up() {
    let with = |change: fn(Phoenix) -> Phoenix| {
        builder(&clock()).dialect(move |keys: &dewar::Keyring| change(Phoenix::new(keys).signing_salt("s"))).build()
    };
    assert!(with(|phoenix| phoenix.key_length(usize::MAX / 2)).is_err());
    assert!(with(|phoenix| phoenix.key_iterations(u32::MAX)).is_err());
}
