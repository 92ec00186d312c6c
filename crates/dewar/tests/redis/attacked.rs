//! What an attack on the store in Redis tried, as the right answer.

use crate::support::{
    hang_ups::{Dropped, everybody_gets_their_own},
    redis::{client, open, order},
    redis_group::Group,
    redis_server::Server,
    stores::{NOW, create, ended, key, lives, of},
};
use dewar::store::{SessionAdmin, SessionStore, conformance, redis::RedisStore};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn whoever_hangs_up_leaves_no_answer_to_another() {
    let server = Server::start(&[]);
    everybody_gets_their_own(open(&server), Dropped::MayBeDoneLate).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_strange_key_between_ours_keeps_nobody_logged_in_and_stops_no_list() {
    for strange in [
        "LPUSH dewar:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA x",
        "SET dewar:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA hello",
        "LPUSH dewar:x y",
        "LPUSH dewar-sessions:ada z",
        "SET dewar-sessions:ada z",
        "SADD dewar:xyz a",
    ] {
        let server = Server::start(&[]);
        let store = open(&server);
        for number in 0..30 {
            create(&store, number, &of("bob", number + 1)).await;
        }
        order(&mut client(&server).await, strange).await;
        assert_eq!(store.count(NOW).await.unwrap(), 30, "{strange}");
        assert_eq!(store.list(None, None, 100, NOW).await.unwrap().len(), 30, "{strange}");
        store.purge(100, NOW).await.unwrap();
        assert!(store.revoke_everyone(ended(1), NOW).await.unwrap() >= 30, "{strange}");
        for number in 0..30 {
            assert!(!lives(&store, &key(number), NOW).await, "{strange}: {number}");
        }
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_record_of_a_later_release_is_logged_out_with_everybody() {
    let server = Server::start(&[]);
    let store = open(&server);
    let name = key(1).to_string();
    order(&mut client(&server).await, &format!("SET {name} {}", "\u{3}later")).await;
    let error = store.load(&key(1), NOW).await.unwrap_err().to_string();
    assert!(error.contains("format"), "{error}");
    assert_eq!(store.revoke_everyone(ended(1), NOW).await.unwrap(), 1);
    assert!(!lives(&store, &key(1), NOW).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn scripts_that_are_flushed_between_two_calls_are_loaded_again() {
    let server = Server::start(&[]);
    let mut connection = client(&server).await;
    let store = open(&server);
    for number in 0..50 {
        order(&mut connection, "SCRIPT FLUSH").await;
        create(&store, number, &of("ada", number)).await;
        order(&mut connection, "SCRIPT FLUSH").await;
        store.delete(&key(number), None, ended(1), NOW).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_start_is_refused_where_nothing_could_be_written() {
    let group = Group::with(&[], &[], "").await;
    group.is_whole("").await;
    let said = async |address: &str| RedisStore::open(address).unwrap().ping(NOW).await.unwrap_err().to_string();
    let replica = said(&group.servers[1].url()).await;
    assert!(replica.contains("is a replica and only reads"), "{replica}");
    let first = group.url().split(",").next().unwrap().to_owned();
    let sentinel = said(&first.replace("redis+sentinel://", "redis://").replace("/live", "/")).await;
    assert!(sentinel.contains("redis+sentinel://"), "{sentinel}");
    let waits = said(&format!("{}/?wait=3&wait_timeout=100", group.servers[0].url().trim_end_matches('/'))).await;
    assert!(waits.contains("2 of 3 replicas"), "{waits}");
    let mut primary = client(&group.servers[0]).await;
    order(&mut primary, "ACL SETUSER eve on nopass ~* +@read +@connection +info").await;
    let reads = said(&group.servers[0].url().replace("redis://", "redis://eve:x@")).await;
    assert!(reads.contains("lists what a user needs"), "{reads}");
    RedisStore::open(&group.servers[0].url()).unwrap().ping(NOW).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn the_promises_hold_with_the_former_protocol() {
    let server = Server::start(&[]);
    let address = format!("{}/?protocol=resp2", server.url().trim_end_matches('/'));
    conformance::check_sessions(|| async { RedisStore::open(&address).unwrap() }).await;
}
