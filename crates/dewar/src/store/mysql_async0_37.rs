//! A store on a pool of the application's own, through [`mysql_async`] 0.37.

use mysql_async::Pool;

use super::mysql::MysqlStore;

/// Keeps sessions through the application's own [`Pool`], in the database that its address or options name (whatever a connection uses
/// meanwhile), and so with its settings: its number of connections, TLS, and how long a lock is waited for.
///
/// `autocommit` has to be on, as it is unless somebody turned it off, and `character_set_client` and `character_set_connection` the same
/// (`SET NAMES`): otherwise the store answers with errors. A pool that [resets](mysql_async::PoolOpts::with_reset_connection) its
/// connections, as it does unless it is told otherwise, forgets prepared statements: each call takes a round trip more.
///
/// Where a server became read-only and kept its connections, writes are errors until the application makes another pool. A store that was
/// [opened](MysqlStore::open) does that by itself.
///
/// ```no_run
/// use dewar::store::mysql_async0_37;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> mysql_async::Result<()> {
/// let pool = mysql_async::Pool::from_url("mysql://site:s3cret@127.0.0.1/site")?;
/// let store = mysql_async0_37::store(pool.clone());
/// # Ok(())
/// # }
/// ```
pub fn store(pool: Pool) -> MysqlStore {
    MysqlStore::of_pool(pool)
}
