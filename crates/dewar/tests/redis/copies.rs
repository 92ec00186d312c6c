//! The copies of records that a framework has in Redis, Django's with `cached_db`: they go with every write, and once more.

use std::time::Duration;

use crate::support::{directory::Directory, redis_server::Server};
use dewar::{
    Keyring, SessionLayer, SessionManager, dialect::DjangoSession, store::sqlite::SqliteStore, testing::Visitor,
};
use redis::Commands;
use rusqlite::Connection;
use tokio::time::sleep;

/// As Django's migration makes it.
const MADE: &str = "CREATE TABLE django_session (session_key varchar(40) NOT NULL PRIMARY KEY, session_data text NOT NULL, expire_date datetime NOT NULL)";

/// Twice the time after which a copy is removed once more.
const LATER: Duration = Duration::from_millis(6500);

fn manager(directory: &Directory, cache: String) -> SessionManager {
    Connection::open(directory.file()).unwrap().execute_batch(MADE).unwrap();
    let dialect = move |secrets: &Keyring| DjangoSession::new(secrets).cached_db(cache.clone()).key_prefix("shop");
    let store = SqliteStore::open(directory.file()).unwrap();
    SessionLayer::new("w98fw9ef8hwe98fhwef").unwrap().dialect(dialect).store(store).manager().unwrap()
}

/// The name of the visitor's copy.
fn copy(visitor: &Visitor) -> String {
    let cookie = visitor.cookie();
    let id = cookie.to_str().unwrap().strip_prefix("sessionid=").unwrap().to_owned();
    format!("shop:1:django.contrib.sessions.cached_db{id}")
}

fn connection(server: &Server) -> redis::Connection {
    redis::Client::open(server.url()).unwrap().get_connection().unwrap()
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_copy_goes_with_every_write_and_once_more() {
    let (server, directory) = (Server::start(&[]), Directory::new());
    let manager = manager(&directory, server.url());
    let mut django = connection(&server);
    let mut visitor = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
    let name = copy(&visitor);
    django.set::<_, _, ()>(&name, "of before").unwrap();
    visitor.edit(|session| session.insert("b", 2)).await.unwrap();
    assert!(!django.exists::<_, bool>(&name).unwrap());
    // Django had read the row of before, and caches it now.
    django.set::<_, _, ()>(&name, "of before").unwrap();
    sleep(LATER).await;
    assert!(!django.exists::<_, bool>(&name).unwrap());
    // What is only looked at keeps its copy.
    django.set::<_, _, ()>(&name, "of now").unwrap();
    visitor.edit(|session| session.contains("a")).await.unwrap();
    sleep(LATER).await;
    assert!(django.exists::<_, bool>(&name).unwrap());
    visitor.edit(|session| session.clear()).await.unwrap();
    assert!(!django.exists::<_, bool>(&name).unwrap());
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_cache_that_is_down_fails_no_write_and_is_asked_until_it_answers() {
    let (mut server, directory) = (Server::start(&[]), Directory::new());
    let manager = manager(&directory, server.url());
    let mut visitor = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
    let name = copy(&visitor);
    server.kill();
    visitor.edit(|session| session.insert("b", 2)).await.unwrap();
    assert!(visitor.session().await.unwrap().contains("b"));
    server.restart();
    connection(&server).set::<_, _, ()>(&name, "of before").unwrap();
    for _ in 0..20 {
        sleep(Duration::from_secs(1)).await;
        if !connection(&server).exists::<_, bool>(&name).unwrap() {
            return;
        }
    }
    panic!("the copy of before stays");
}
