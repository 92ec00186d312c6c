//! What a site on Redis promises when its server fails.

mod support;

use std::{collections::BTreeMap, time::Duration};

use dewar::{SessionLayer, SessionManager, store::redis::RedisStore, testing::Visitor};
use redis::aio::MultiplexedConnection;
use support::{
    http::secret,
    redis_server::Server,
    site::{Request, visit},
};

async fn client(server: &Server) -> MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

fn manager(server: &Server) -> SessionManager {
    SessionLayer::new(secret()).unwrap().store(RedisStore::open(&server.url()).unwrap()).manager().unwrap()
}

/// Closes every connection but this one.
async fn hang_up(client: &mut MultiplexedConnection) {
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").query_async::<i64>(client).await.unwrap();
}


#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn probe() {
    let server = Server::start(&["--timeout", "1"]);
    let clock = dewar::Clock::at(std::time::SystemTime::now());
    let manager = SessionLayer::new(secret()).unwrap().clock(clock.clone()).store(RedisStore::open(&server.url()).unwrap()).manager().unwrap();
    let express = SessionLayer::new(secret()).unwrap().dialect(dewar::dialect::ExpressSession::new).store(RedisStore::open(&server.url()).unwrap()).manager().unwrap();
    let mut ada = Visitor::prepared(&manager, |s| { s.insert("n", 1); s.set_principal("ada"); }).await.unwrap();
    let mut bob = Visitor::with(&express, BTreeMap::from([("n", 1)])).await.unwrap();
    for what in ["create", "update", "touch", "express", "express create", "revoke", "everyone", "list"] {
        let request = Request::begin(&ada, &manager).await;
        let bobs = Request::begin(&bob, &express).await;
        let new = Request::begin(&Visitor::new(&manager), &manager).await;
        let new2 = Request::begin(&Visitor::new(&express), &express).await;
        clock.advance(Duration::from_secs(86400/4));
        let toucher = Request::begin(&ada, &manager).await;
        tokio::time::sleep(Duration::from_millis(3500)).await;
        let answer = match what {
            "create" => { new.session.insert("n", 1); new.end().await.map(|_| ()) }
            "update" => { request.session.insert("n", 2); request.end().await.map(|_| ()) }
            "touch" => toucher.end().await.map(|_| ()),
            "express" => { bobs.session.insert("n", 2); bobs.end().await.map(|_| ()) }
            "express create" => { new2.session.insert("n", 2); new2.end().await.map(|_| ()) }
            "revoke" => manager.revoke_all("ada").await.map(|_| ()),
            "everyone" => manager.revoke_everyone().await.map(|_| ()),
            _ => manager.sessions_of("ada").await.map(|_| ()),
        };
        eprintln!("{what}: {answer:?}");
    }
}
