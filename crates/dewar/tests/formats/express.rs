//! What holds in both of Express's forms beyond its own vectors.

use std::time::Duration;

use bytes::Bytes;
use dewar::{
    Clock, Keyring, Lifetime, Reissue, SameSite, Session, SessionLayer, SessionManager,
    dialect::{CookieSession, ExpressSession},
    store::{Load, Record, SessionStore, StoreKey, Timestamp, Version, memory::MemoryStore},
    testing::Visitor,
};
use http::{HeaderMap, HeaderValue, header};

const SECRET: &str = "main-express-key-current";
/// The cookie that Express sets for the id `MainExpressSid_0123456789-abcdef`.
const COOKIE: &str = "connect.sid=s%3AMainExpressSid_0123456789-abcdef.K6eoFFkyQRARQbmqsy5wAOz%2FMyBw7pOBUbu%2F9iNbj9w";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn cookie_layer() -> SessionLayer {
    SessionLayer::new(SECRET).unwrap().dialect(CookieSession::new).clock(Clock::at(NOW))
}

fn store_layer(store: &MemoryStore) -> SessionLayer {
    SessionLayer::new(SECRET).unwrap().dialect(ExpressSession::new).store(store.clone()).clock(Clock::at(NOW))
}

fn key() -> StoreKey {
    StoreKey::foreign("sess:MainExpressSid_0123456789-abcdef")
}

/// A store with a record that Express wrote.
async fn store_of(json: &'static str, left: Duration) -> MemoryStore {
    let record = Record {
        data: Bytes::from_static(json.as_bytes()),
        created: NOW,
        idle_seconds: 86_400,
        idle_expires: NOW.after(left),
        absolute_expires: None,
        persistent: false,
        principal: None,
        label: None,
        lineage: 0,
        epoch: None,
        guarded_until: None,
        extra: Bytes::new(),
    };
    let store = MemoryStore::new();
    store.create(&key(), Version::from_bits(1), record, None, NOW).await.unwrap();
    store
}

/// The record's JSON and the seconds it has left.
async fn stored(store: &MemoryStore, key: &StoreKey) -> (String, u64) {
    let Load::Found(record, _) = store.load(key, NOW).await.unwrap() else { panic!("{key}") };
    (String::from_utf8(record.data.to_vec()).unwrap(), record.expires().since(NOW).as_secs())
}

/// One request of the visitor who has Express's cookie: the `Set-Cookie` headers of its response.
async fn request(manager: &SessionManager, cookie: &str, handle: impl FnOnce(&Session)) -> Vec<String> {
    let mut request = HeaderMap::new();
    request.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
    let session = manager.open(&request).await.unwrap();
    handle(&session);
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    response.get_all(header::SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_entry_that_express_would_drop_is_refused_by_name() {
    let store = MemoryStore::new();
    let managers = [cookie_layer(), store_layer(&store)].map(|layer| layer.manager().unwrap());
    for (manager, names) in managers.iter().zip([&["isNew", "_ctx"][..], &["cookie", "id", "save"]]) {
        for name in names.iter().chain(&["constructor", "__proto__", "toString"]) {
            let error = Visitor::prepared(manager, |session| session.insert(*name, 1)).await.unwrap_err();
            assert!(error.is_entry() && error.to_string().contains(&format!("{name:?}")), "{error}");
        }
    }
    assert_eq!(store.stats().entries, 0);
    // The one form's names are free in the other.
    Visitor::prepared(&managers[0], |session| session.insert("cookie", 1)).await.unwrap();
    Visitor::prepared(&managers[1], |session| session.insert("isNew", 1)).await.unwrap();
}

#[tokio::test]
async fn an_entry_that_cannot_be_written_harms_nothing_that_was() {
    let store = store_of(r#"{"cookie":{},"a":1}"#, HOUR).await;
    let manager = store_layer(&store).manager().unwrap();
    let mut request = HeaderMap::new();
    request.insert(header::COOKIE, HeaderValue::from_static(COOKIE));
    let session = manager.open(&request).await.unwrap();
    session.insert("id", 1);
    assert!(session.commit().await.unwrap_err().is_entry());
    session.remove("id");
    session.insert("b", 2);
    session.commit().await.unwrap();
    assert_eq!(stored(&store, &key()).await.0, r#"{"cookie":{},"a":1,"b":2}"#);
}

#[tokio::test]
async fn a_cookie_that_carries_no_time_has_no_idle_timeout() {
    let error = cookie_layer().lifetime(Lifetime::browser().idle(HOUR)).manager().unwrap_err();
    assert!(error.is_setting() && error.to_string().contains("idle timeout"), "{error}");

    let clock = Clock::at(NOW);
    let layer = cookie_layer().clock(clock.clone()).lifetime(Lifetime::persistent().idle(HOUR));
    let visitor = Visitor::prepared(&layer.manager().unwrap(), |session| session.insert("a", 1)).await.unwrap();
    clock.advance(100 * HOUR);
    assert_eq!(visitor.session().await.unwrap().get("a"), Some(1), "the browser alone forgets it");
}

#[tokio::test]
async fn a_persistent_cookie_stays_persistent_whatever_is_written() {
    let layer = cookie_layer().lifetime(Lifetime::persistent().idle(HOUR));
    let expires = "path=/; expires=Tue, 14 Nov 2023 23:13:20 GMT; httponly";
    let manager = layer.manager().unwrap();
    let visitor = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
    let cookie = visitor.cookie().to_str().unwrap().to_owned();
    let changes: [fn(&Session); 2] = [
        |session| session.insert("b", 2),
        |session| {
            session.clear();
            session.insert("b", 2);
        },
    ];
    for change in changes {
        for set in request(&manager, &cookie, change).await {
            assert!(set.ends_with(expires), "{set}");
        }
    }
    // Nobody knows how old it is: only Reissue::EveryRequest issues it again.
    assert!(request(&manager, &cookie, |_| ()).await.is_empty());
    let every = layer.reissue(Reissue::EveryRequest).manager().unwrap();
    assert_eq!(request(&every, &cookie, |_| ()).await.len(), 2);
}

#[tokio::test]
async fn an_unsigned_session_is_one_cookie_that_anybody_can_write() {
    let layer = cookie_layer().dialect(|keys: &Keyring| CookieSession::new(keys).dangerously_unsigned());
    let manager = layer.manager().unwrap();
    let visitor = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
    assert_eq!(visitor.cookie(), "session=eyJhIjoxfQ==");
    let set = request(&manager, "session=eyJhIjoyfQ==", |session| assert_eq!(session.get("a"), Some(2))).await;
    assert!(set.is_empty());
    let removed = request(&manager, "session=eyJhIjoyfQ==", Session::clear).await;
    assert_eq!(removed, ["session=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT; httponly"]);
}

#[tokio::test]
async fn a_records_max_age_is_its_lifetime_and_its_end_moves_with_every_write() {
    let store = store_of(
        r#"{"cookie":{"originalMaxAge":90500,"priority":"high","expires":"2023-11-14T22:13:21.000Z","path":"/"},"a":1}"#,
        Duration::from_secs(89),
    )
    .await;
    let set = request(&store_layer(&store).manager().unwrap(), COOKIE, |session| session.insert("b", 2)).await;
    let moved = r#"{"cookie":{"originalMaxAge":90500,"priority":"high","expires":"2023-11-14T22:14:50.500Z","path":"/"},"a":1,"b":2}"#;
    assert_eq!(stored(&store, &key()).await, (moved.to_owned(), 91));
    assert_eq!(set, [format!("{COOKIE}; Path=/; Expires=Tue, 14 Nov 2023 22:14:51 GMT; HttpOnly")]);
}

#[tokio::test]
async fn remember_me_is_the_records_max_age() {
    let store = store_of(r#"{"cookie":{"originalMaxAge":null,"expires":null,"secure":false},"a":1}"#, HOUR).await;
    let manager = store_layer(&store).manager().unwrap();
    let set = request(&manager, COOKIE, |session| session.set_lifetime(Lifetime::persistent())).await;
    let remembered =
        r#"{"cookie":{"originalMaxAge":86400000,"expires":"2023-11-15T22:13:20.000Z","secure":false},"a":1}"#;
    assert_eq!(stored(&store, &key()).await, (remembered.to_owned(), 86_400));
    assert_eq!(set, [format!("{COOKIE}; Path=/; Expires=Wed, 15 Nov 2023 22:13:20 GMT; HttpOnly")]);

    let set = request(&manager, COOKIE, |session| session.set_lifetime(Lifetime::browser())).await;
    assert_eq!(set, [format!("{COOKIE}; Path=/; HttpOnly")], "the browser forgets it when it closes");
    let forgotten = r#"{"cookie":{"originalMaxAge":null,"expires":null,"secure":false},"a":1}"#;
    assert_eq!(stored(&store, &key()).await, (forgotten.to_owned(), 86_400));
}

#[tokio::test]
async fn a_new_record_tells_express_which_cookie_to_set() {
    let store = MemoryStore::new();
    let layer = store_layer(&store).secure(true).domain("h.example").same_site(SameSite::Strict).path("/a");
    let manager = layer.manager().unwrap();
    let visitor = Visitor::prepared(&manager, |session| session.insert("7", "b")).await.unwrap();
    let sid = visitor.cookie().to_str().unwrap()["connect.sid=s%3A".len()..].split_once('.').unwrap().0.to_owned();
    assert_eq!(sid.len(), 32);
    let expected = r#"{"7":"b","cookie":{"originalMaxAge":null,"expires":null,"secure":true,"httpOnly":true,"domain":"h.example","path":"/a","sameSite":"strict"}}"#;
    assert_eq!(stored(&store, &StoreKey::foreign(format!("sess:{sid}"))).await, (expected.to_owned(), 86_400));
}

#[tokio::test]
async fn renewing_keeps_what_stands_beside_the_entries_and_clearing_does_not() {
    let json = r#"{"cookie":{"path":"/","custom":[1.50]},"a":1}"#;
    for (change, expected) in [
        (Session::renew as fn(&Session), json),
        (Session::clear, r#"{"cookie":{"originalMaxAge":null,"expires":null,"httpOnly":true,"path":"/"},"a":1}"#),
    ] {
        let store = store_of(json, HOUR).await;
        let manager = store_layer(&store).manager().unwrap();
        let set = request(&manager, COOKIE, |session| {
            change(session);
            session.insert("a", 1);
        })
        .await;
        let sid = set[0]["connect.sid=s%3A".len()..].split_once('.').unwrap().0;
        assert_eq!(stored(&store, &StoreKey::foreign(format!("sess:{sid}"))).await.0, expected);
        assert!(matches!(store.load(&key(), NOW).await.unwrap(), Load::Gone(_)));
    }
}

#[tokio::test]
async fn reading_a_record_without_entries_leaves_its_expiry_alone() {
    let store = store_of(r#"{"cookie":{"originalMaxAge":null,"expires":null}}"#, HOUR).await;
    let set = request(&store_layer(&store).manager().unwrap(), COOKIE, |session| assert!(session.is_empty())).await;
    assert!(set.is_empty());
    assert_eq!(stored(&store, &key()).await.1, 3600);
}

#[tokio::test]
async fn no_cookie_makes_either_form_panic() {
    let store = MemoryStore::new();
    let managers = [cookie_layer(), store_layer(&store)].map(|layer| layer.manager().unwrap());
    let cookies =
        ["", "s%3A", "s%3A.", "s%3A..", "s:a.b", "s%", "s%3", "s%zz.%zz", "%ff%fe.a", "=", "==", "e30=", "\"\"", "."];
    for manager in &managers {
        for value in cookies {
            let name = manager.cookie_name();
            let cookie = format!("{name}={value}; {name}.sig={value}");
            let set = request(manager, &cookie, |session| assert!(session.is_empty())).await;
            assert!(set.is_empty(), "{cookie}");
        }
    }
}
