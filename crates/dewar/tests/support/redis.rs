//! What the tests of the Redis store have in common.

use std::{fmt::Display, time::Duration};

use dewar::store::{Create, Record, SessionStore, Timestamp, Tombstone, Version, Why, redis::RedisStore};
use redis::aio::MultiplexedConnection;

use super::{
    redis_server::Server,
    stores::{NOW, key, record},
};

pub(crate) async fn client(server: &Server) -> MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

pub(crate) fn open(server: &Server) -> RedisStore {
    RedisStore::open(&server.url()).unwrap()
}

/// A command whose answer does not matter: `CONFIG SET timeout 1`.
pub(crate) async fn order(client: &mut MultiplexedConnection, command: &str) {
    let mut words = command.split(' ');
    let mut order = redis::cmd(words.next().unwrap());
    for word in words {
        order.arg(word);
    }
    order.query_async::<redis::Value>(client).await.unwrap();
}

pub(crate) async fn ttl(client: &mut MultiplexedConnection, key: impl Display) -> i64 {
    redis::cmd("TTL").arg(key.to_string()).query_async(client).await.unwrap()
}

pub(crate) fn version(bits: u64) -> Version {
    Version::from_bits(bits)
}

pub(crate) fn ended(nonce: u64) -> Tombstone {
    Tombstone::new(Why::Ended, nonce, NOW)
}

pub(crate) fn later(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

pub(crate) fn of(principal: &str, lineage: u64) -> Record {
    Record { principal: Some(principal.into()), lineage, ..record(b"x") }
}

/// Stands in the version of its number; the epoch it carries.
pub(crate) async fn create(store: &RedisStore, number: u64, record: &Record) -> u64 {
    match store.create(&key(number), version(number), record.clone(), None, NOW).await.unwrap() {
        Create::Created(written) => written.epoch,
        other => panic!("{other:?}"),
    }
}
