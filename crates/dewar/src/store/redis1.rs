//! A store on a connection of the application's own, through [`redis`] 1.

use redis::aio::ConnectionManager;

use super::redis::RedisStore;

/// Keeps sessions through the application's own [`ConnectionManager`], and so with its settings:
/// its time limits hold beside [the store's](RedisStore::time_limit).
///
/// It connects again where the connection was lost, and only there: where a primary became a replica and kept its connections, writes are errors until the
/// application makes another. A store that was [opened](RedisStore::open) does that by itself, asks sentinels, and has replicas confirm its writes (`?wait=1`):
/// this one does none of it, and tells of no [endings](super::SessionStore::endings). TLS is the client's, as the application set it up.
///
/// ```no_run
/// use dewar::store::redis1;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> redis::RedisResult<()> {
/// let client = redis::Client::open("redis://127.0.0.1/")?;
/// let store = redis1::store(client.get_connection_manager().await?);
/// # Ok(())
/// # }
/// ```
pub fn store(manager: ConnectionManager) -> RedisStore {
    RedisStore::with_manager(manager)
}
