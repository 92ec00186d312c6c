//! A store on a pool of the application's own, through [`deadpool_postgres`] 0.14.

use deadpool_postgres::Pool;

use super::postgres::PostgresStore;

/// Keeps sessions through the application's own [`Pool`], and so with its settings: its hosts, its certificates, its time limits beside
/// [the store's](PostgresStore::time_limit). Each call takes one connection for one statement.
///
/// The pool has to lead to a server that may be written to (`target_session_attrs=read-write`). A call that the server does not answer closes
/// its connection, and leaves it to the server to notice. A connection that comes in the middle of a transaction, because somebody gave it back after BEGIN,
/// is closed: the call is an error, and what it did is undone. Each call asks for that beside its own statement, in the same round trip. Endings are not told of ([`endings`](super::SessionStore::endings) is `None`), because the pool's
/// connections are the application's.
///
/// ```no_run
/// use deadpool_postgres::{Manager, Pool, tokio_postgres::NoTls};
/// use dewar::store::postgres_deadpool0_14;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = "host=/var/run/postgresql dbname=app target_session_attrs=read-write".parse()?;
/// let pool = Pool::builder(Manager::new(config, NoTls)).max_size(16).build()?;
/// let store = postgres_deadpool0_14::store(pool);
/// # Ok(())
/// # }
/// ```
pub fn store(pool: Pool) -> PostgresStore {
    PostgresStore::with_pool(pool)
}
