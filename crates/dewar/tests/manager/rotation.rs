//! A secret changes while sessions live: on several servers, one after another, and from one that is no secret.

use std::time::Duration;

use dewar::{
    Clock, Keyring, Secret, SessionManager, SessionManagerBuilder, dialect::Flask, store::Timestamp, testing::Visitor,
};
use http::{HeaderMap, header};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);

/// How a server keeps sessions.
type Keeps = fn(SessionManagerBuilder) -> SessionManagerBuilder;

const EACH: [(&str, Keeps); 2] = [("Sealed", |builder| builder), ("Flask", |builder| builder.dialect(Flask::new))];

fn server(keyring: &Keyring, keeps: Keeps) -> SessionManager {
    keeps(SessionManager::builder(keyring.clone()).unwrap()).build().unwrap()
}

/// One visitor whose requests go to one server and the other in turn, each counting on from what it finds. How many of the requests were lost.
async fn bounces(visitor: &mut Visitor, servers: [&SessionManager; 2]) -> u32 {
    let mut lost = 0;
    let mut expected = visited(servers[0], visitor, None).await.max(visited(servers[1], visitor, None).await);
    for server in servers.into_iter().cycle().take(6) {
        let found = visited(server, visitor, Some(expected + 1)).await;
        lost += u32::from(found != expected);
        expected += 1;
    }
    lost
}

/// What the count is at this server, and what it is to be.
async fn visited(server: &SessionManager, visitor: &mut Visitor, next: Option<u32>) -> u32 {
    let request = HeaderMap::from_iter([(header::COOKIE, visitor.cookie())]);
    let session = server.open(&request).await.unwrap();
    let found = session.get("count").unwrap_or(0);
    if let Some(next) = next {
        session.insert("count", next);
        let mut response = HeaderMap::new();
        server.commit(&session).await.apply(&mut response).unwrap();
        visitor.receive(&response);
    }
    found
}

#[tokio::test]
async fn a_secret_that_is_accepted_everywhere_before_it_protects_loses_no_visit() {
    for (name, keeps) in EACH {
        let (old, new) = (Secret::generate(), Secret::generate());
        let steps = [
            Keyring::new(old.clone()),
            Keyring::new(old.clone()).fallback(new.clone()),
            Keyring::new(new.clone()).fallback(old.clone()),
            Keyring::new(new),
        ];
        let mut visitor = Visitor::new(&server(&steps[0], keeps));
        for (step, deployed) in steps.windows(2).enumerate() {
            let [before, after] = [&deployed[0], &deployed[1]].map(|keyring| server(keyring, keeps));
            // One server has the next step, the other has not; then both have.
            assert_eq!(bounces(&mut visitor, [&before, &after]).await, 0, "{name}, in step {}", step + 1);
            assert_eq!(bounces(&mut visitor, [&after, &after]).await, 0, "{name}, after step {}", step + 1);
        }
    }
}

/// Why the order is as it is.
#[tokio::test]
async fn a_secret_that_protects_at_once_is_refused_by_the_server_that_has_not_got_it() {
    for (name, keeps) in EACH {
        let (old, new) = (Secret::generate(), Secret::generate());
        let before = server(&Keyring::new(old.clone()), keeps);
        let after = server(&Keyring::new(new).fallback(old), keeps);
        let mut visitor = Visitor::with(&before, std::collections::BTreeMap::from([("count", 1)])).await.unwrap();
        assert_eq!(bounces(&mut visitor, [&after, &before]).await, 3, "{name}");
    }
}

/// What `docs/coming-from-flask.md` says for a secret that is short and not public.
#[tokio::test]
async fn a_short_secret_is_read_until_its_date_and_writes_nothing() {
    let clock = Clock::at(NOW);
    let short = || SessionManager::builder(Secret::dangerously_weak("x7!kQz")).unwrap().clock(clock.clone());
    let until = Timestamp::from_secs(NOW.as_secs() + 31 * DAY.as_secs());
    let flask = short().dialect(Flask::new).build().unwrap();
    let new = Secret::generate();
    let builder = SessionManager::builder(new.clone()).unwrap().clock(clock.clone()).dialect(Flask::new);
    let manager = builder.reads_also(short().dialect(Flask::new).build().unwrap(), until).build().unwrap();
    let alone = SessionManager::builder(new).unwrap().clock(clock.clone()).dialect(Flask::new).build().unwrap();

    let prepared = Visitor::prepared(&flask, |session| {
        session.set_principal("ada");
        session.insert("cart", 2);
        session.set_lifetime(dewar::Lifetime::persistent());
    });
    let mut ada = prepared.await.unwrap();
    let kept = ada.clone();
    let request = HeaderMap::from_iter([(header::COOKIE, ada.cookie())]);
    let session = manager.open(&request).await.unwrap();
    assert_eq!((session.principal().as_deref(), session.get("cart")), (Some("ada"), Some(2)));
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    assert_eq!(response.get_all(header::SET_COOKIE).iter().count(), 1, "one cookie, which is not removed again");
    ada.receive(&response);
    let request = HeaderMap::from_iter([(header::COOKIE, ada.cookie())]);
    let session = alone.open(&request).await.unwrap();
    assert_eq!((session.principal().as_deref(), session.get("cart")), (Some("ada"), Some(2)), "reading is enough");
    assert!(response[header::SET_COOKIE].to_str().unwrap().contains("Expires="), "`permanent` goes along");

    clock.set(until);
    let fresh = Visitor::prepared(&flask, |session| session.set_principal("eve")).await.unwrap();
    for visitor in [&kept, &fresh] {
        let request = HeaderMap::from_iter([(header::COOKIE, visitor.cookie())]);
        assert!(manager.open(&request).await.unwrap().is_empty(), "whoever guessed it can do nothing with it now");
    }
}

#[tokio::test]
async fn a_log_out_removes_a_session_of_the_short_secret_as_well() {
    let flask =
        SessionManager::builder(Secret::dangerously_weak("x7!kQz")).unwrap().dialect(Flask::new).build().unwrap();
    let until = Timestamp::from_secs(Timestamp::from(std::time::SystemTime::now()).as_secs() + 86_400);
    let manager = SessionManager::builder(Secret::generate()).unwrap().dialect(Flask::new);
    let manager = manager.reads_also(flask.clone(), until).build().unwrap();
    let mut ada = Visitor::prepared(&flask, |session| session.set_principal("ada")).await.unwrap();
    let session = manager.open(&HeaderMap::from_iter([(header::COOKIE, ada.cookie())])).await.unwrap();
    session.clear();
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    ada.receive(&response);
    assert_eq!(ada.cookie(), "");
}
