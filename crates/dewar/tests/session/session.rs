//! The dictionary: what each verb promises, in one request.

use std::time::Duration;

use dewar::{
    Clock, Keyring, Lifetime, Secret, Session, SessionManager, Value,
    dialect::{CookieSession, ExpressSession, Flask},
    store::{Timestamp, memory::MemoryStore},
    testing::Visitor,
    value::Markup,
};
use http::{HeaderMap, header};

async fn session() -> (SessionManager, Session) {
    let manager = SessionManager::new(Secret::generate()).unwrap();
    let session = manager.open(&HeaderMap::new()).await.unwrap();
    (manager, session)
}

#[tokio::test]
async fn a_value_of_another_type_is_absence_and_try_get_tells_why() {
    let (_, session) = session().await;
    session.insert("cart", "a text");
    assert_eq!(session.get::<Vec<u32>>("cart"), None);
    let error = session.try_get::<Vec<u32>>("cart").unwrap_err();
    assert!(error.is_entry());
    assert_eq!(error.to_string(), "session entry \"cart\": expected a sequence, found text");
    assert_eq!(session.try_get::<Vec<u32>>("nothing").unwrap(), None);
}

#[tokio::test]
async fn an_update_never_overwrites_a_value_of_another_type() {
    let (_, session) = session().await;
    session.insert("count", "three");
    assert!(session.update("count", |count: &mut u32| *count += 1).unwrap_err().is_entry());
    assert_eq!(session.get::<String>("count").as_deref(), Some("three"));
}

#[tokio::test]
async fn an_update_may_use_the_session_and_a_panic_in_it_poisons_nothing() {
    let (_, session) = session().await;
    let inner = session.clone();
    let count = session.update("count", move |count: &mut u32| {
        inner.insert("seen", true);
        *count += 1;
    });
    assert_eq!(count.unwrap(), 1);
    assert!(session.contains("seen"));
    let other = session.clone();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = other.update("count", |_: &mut u32| panic!("as the test says"));
    }));
    assert!(panicked.is_err());
    assert_eq!(session.get::<u32>("count"), Some(1));
}

#[tokio::test]
async fn an_update_that_changes_its_own_entry_ends() {
    let (_, session) = session().await;
    let inner = session.clone();
    let result = session.update("count", move |count: &mut u32| {
        let other: u32 = inner.get("count").unwrap_or(0);
        inner.insert("count", other + 1);
        *count += 1;
    });
    assert!(result.unwrap_err().is_entry());
}

#[tokio::test]
async fn entries_keep_their_order_and_take_pops() {
    let (_, session) = session().await;
    for (name, value) in [("b", 1), ("a", 2), ("c", 3)] {
        session.insert(name, value);
    }
    session.insert("b", 4);
    assert_eq!(session.keys(), ["b", "a", "c"]);
    assert_eq!(session.take("a"), Some(2));
    assert_eq!(session.take::<u32>("a"), None);
    assert_eq!(session.iter().collect::<Vec<_>>(), [("b".into(), Value::from(4)), ("c".into(), Value::from(3))]);
    assert_eq!(format!("{session:?}"), "{\"b\", \"c\"}");
}

#[tokio::test]
async fn remove_needs_no_type_and_says_whether_there_was_something() {
    let (_, session) = session().await;
    const DRAFT: dewar::Key<Vec<u8>> = dewar::Key::new("draft");
    session.insert(DRAFT, vec![1]);
    session.insert("text", "a");
    assert!(session.remove(DRAFT));
    assert!(!session.remove("draft"));
    assert_eq!(session.take::<u8>("text"), None, "it is no number");
    assert!(session.is_empty(), "and is taken out all the same");
}

#[tokio::test]
async fn a_user_may_be_a_number() {
    let (_, session) = session().await;
    session.set_principal(42);
    assert_eq!(session.principal().as_deref(), Some("42"));
    session.insert("cart", 1);
    session.set_principal("42");
    assert!(session.contains("cart"), "the same user");
    session.set_principal(u64::MAX);
    assert!(!session.contains("cart"));
    session.set_principal(dewar::value::Uuid::from_bytes([0xab; 16]));
    assert_eq!(session.principal().as_deref(), Some("abababab-abab-abab-abab-abababababab"));
}

#[tokio::test]
async fn a_user_who_is_a_number_is_one_to_passport_and_text_to_flask_login() {
    let builder = || SessionManager::builder(Secret::generate()).unwrap();
    let passport = |keys: &Keyring| ExpressSession::new(keys).passport();
    let passport = builder().dialect(passport).store(MemoryStore::new()).build().unwrap();
    let flask = builder().dialect(Flask::new).build().unwrap();
    let logged_in = async |manager: &SessionManager| {
        let visitor = Visitor::prepared(manager, |session| session.set_principal(42)).await.unwrap();
        visitor.session().await.unwrap()
    };
    let user: Value = logged_in(&passport).await.get("passport").unwrap();
    assert_eq!(user.get("user"), Some(&Value::from(42)));
    assert_eq!(logged_in(&flask).await.get("_user_id"), Some(Value::from("42")));

    let error = Visitor::prepared(&passport, |session| session.set_principal(u64::MAX)).await.unwrap_err();
    assert!(error.to_string().contains("2^53"), "JavaScript would round it: {error}");
    let user = |session: &Session| session.set_principal(u64::MAX.to_string());
    Visitor::prepared(&passport, user).await.unwrap();
}

/// A manager for each place that a session can be in, with a clock.
fn managers() -> [(SessionManager, Clock); 3] {
    let builder = || {
        let clock = Clock::at(Timestamp::from_secs(1_800_000_000));
        (SessionManager::builder(Secret::generate()).unwrap().clock(clock.clone()), clock)
    };
    let [cookie, store, flask] = [builder(), builder(), builder()];
    let flask = (flask.0.dialect(Flask::new), flask.1);
    let store = (store.0.store(MemoryStore::new()), store.1);
    [cookie, store, flask].map(|(builder, clock)| (builder.build().unwrap(), clock))
}

#[tokio::test]
async fn a_session_says_when_it_ends_and_then_it_does() {
    for (manager, clock) in managers() {
        let mut ada = Visitor::new(&manager);
        assert_eq!(ada.session().await.unwrap().expires_at(), None, "there is nothing that could end");
        let promised = ada.edit(|session| {
            session.insert("a", 1);
            session.expires_at().unwrap()
        });
        let promised = promised.await.unwrap();
        assert!(promised > clock.now());
        assert_eq!(ada.session().await.unwrap().expires_at(), Some(promised));

        clock.advance(Duration::from_secs(600));
        assert_eq!(ada.session().await.unwrap().expires_at(), Some(promised), "reading so early moves nothing");
        let later = ada.edit(|session| {
            session.insert("a", 2);
            session.expires_at().unwrap()
        });
        let later = later.await.unwrap();
        assert_eq!(later, promised.after(Duration::from_secs(600)));

        clock.advance(later.since(clock.now()) / 8);
        let promised = ada.edit(|session| session.expires_at().unwrap()).await.unwrap();
        assert_eq!(ada.session().await.unwrap().expires_at(), Some(promised), "reading may move it, and says so");
        assert_eq!(promised > later, manager.cookie_name() != "session", "Flask moves it with what is written alone");

        let later = promised;
        clock.set(Timestamp::from_millis(later.as_millis() - 1000));
        assert!(ada.session().await.unwrap().contains("a"));
        clock.set(later.after(Duration::from_secs(1)));
        assert!(ada.session().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_absolute_timeout_ends_a_session_however_busy_it_is() {
    let (manager, clock) = managers().into_iter().next().unwrap();
    let mut ada = Visitor::prepared(&manager, |session| session.set_principal("ada")).await.unwrap();
    for _ in 0..29 {
        clock.advance(Duration::from_secs(86_000));
        ada.edit(|session| session.insert("a", 1)).await.unwrap();
    }
    clock.advance(Duration::from_secs(86_000));
    let session = ada.session().await.unwrap();
    let end = session.authenticated_at().unwrap().after(Duration::from_secs(30 * 86_400));
    session.insert("a", 2);
    assert_eq!(session.expires_at(), Some(end));
}

#[tokio::test]
async fn a_format_that_says_nothing_of_time_says_not_when_a_session_ends() {
    let manager = SessionManager::builder(Secret::generate()).unwrap().dialect(CookieSession::new);
    let ada = Visitor::prepared(&manager.build().unwrap(), |session| session.insert("a", 1)).await.unwrap();
    assert_eq!(ada.session().await.unwrap().expires_at(), None);
}

#[tokio::test]
async fn a_session_is_new_until_it_is_saved_and_again_after_its_end() {
    for (manager, clock) in managers() {
        let mut ada = Visitor::new(&manager);
        assert!(ada.session().await.unwrap().is_new());
        ada.edit(|session| session.insert("a", 1)).await.unwrap();
        let session = ada.session().await.unwrap();
        assert!(!session.is_new());
        session.renew();
        assert!(!session.is_new(), "the same session under another id");
        session.clear();
        assert!(session.is_new());
        session.insert("b", 2);
        session.commit().await.unwrap();
        assert!(!session.is_new());
        clock.advance(Duration::from_secs(40 * 86_400));
        assert!(ada.session().await.unwrap().is_new(), "the one before is over");
    }
}

#[tokio::test]
async fn flashes_are_shown_once_in_order_with_their_categories() {
    let (_, session) = session().await;
    session.flash("saved");
    session.flash_as(Markup("<b>no</b>".into()), "error");
    let flashes = session.take_flashes();
    assert_eq!((flashes[0].category.as_str(), flashes[0].text()), ("message", "saved"));
    assert_eq!((flashes[1].category.as_str(), flashes[1].text()), ("error", "<b>no</b>"));
    assert!(session.take_flashes().is_empty());
    assert!(session.is_empty(), "nothing is left of them");
}

#[tokio::test]
async fn another_user_finds_nothing_of_the_former_and_the_same_one_everything() {
    let (_, session) = session().await;
    session.insert("cart", 1);
    session.set_principal("ada");
    assert!(session.contains("cart"), "what was there before the log-in stays");
    session.set_principal("ada");
    assert!(session.contains("cart"));
    session.set_principal("eve");
    assert!(!session.contains("cart"));
    assert_eq!(session.principal().as_deref(), Some("eve"));
    session.clear();
    assert_eq!(session.principal(), None);
}

#[tokio::test]
async fn the_principal_label_and_lifetime_survive_in_the_cookie() {
    let manager = SessionManager::new(Secret::generate()).unwrap();
    let visitor = Visitor::prepared(&manager, |session| {
        session.set_principal("ada");
        session.set_label("Firefox on Linux");
        session.set_lifetime(Lifetime::persistent());
    });
    let visitor = visitor.await.unwrap();
    let session = visitor.session().await.unwrap();
    assert_eq!(session.principal().as_deref(), Some("ada"));
    session.insert("a", 1);
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    assert!(response[header::SET_COOKIE].to_str().unwrap().contains("; Max-Age=86400;"), "still persistent");
}

#[tokio::test]
async fn untouched_entries_keep_their_bytes() {
    let (manager, session) = session().await;
    session.insert("pair", dewar::value::Tuple((1, "a")));
    session.insert("when", dewar::value::DateTime::from(std::time::SystemTime::UNIX_EPOCH));
    let before: Vec<_> = session.iter().collect();
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    let mut visitor = Visitor::new(&manager);
    visitor.receive(&response);
    let session = visitor.session().await.unwrap();
    session.insert("other", 1);
    session.remove("other");
    assert_eq!(session.iter().collect::<Vec<_>>(), before);
}

#[tokio::test]
async fn nobody_is_told_what_is_in_a_session_or_a_secret() {
    let (manager, session) = session().await;
    session.insert("password", "correct horse");
    let shown = format!("{session:?} {manager:?}");
    assert!(!shown.contains("correct horse"), "{shown}");
}
