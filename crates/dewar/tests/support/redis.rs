//! What the tests of the Redis store have in common.

use std::fmt::Display;

use dewar::store::redis::RedisStore;
use redis::aio::MultiplexedConnection;

use super::redis_server::Server;

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
