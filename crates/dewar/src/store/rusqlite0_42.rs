//! A store in a database of the application's own, through [`rusqlite`] 0.42.

use rusqlite::Connection;

use super::{StoreError, sqlite::SqliteStore};

/// Keeps sessions in a table `dewar_session` of the application's own database.
///
/// `open` is called once for each thread of the store: five times at most. It is the place for an
/// encryption key or a pragma. The connections are set to `WAL` and `synchronous=FULL`, and the
/// table is made where it is missing; `PRAGMA user_version` remains the application's.
///
/// Where another file stands at the database's path [than the one that is open](super::sqlite#the-file-while-it-is-open), `open` is called again as
/// often. A database that is missing is never made: the store answers with errors until one is there. The application's own connections stay
/// in the file that was lost; and a symbolic link that is turned to another file is not noticed, because SQLite only tells where it led.
///
/// # Errors
///
/// Where `open` fails, the table cannot be made, or the database is not a file.
///
/// ```
/// use dewar::store::rusqlite0_42;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("dewar-doc-own-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let file = directory.join("application.db");
/// let store = rusqlite0_42::store(move || rusqlite::Connection::open(&file))?;
/// # drop(store);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok(())
/// # }
/// ```
pub fn store(open: impl FnMut() -> rusqlite::Result<Connection> + Send + 'static) -> Result<SqliteStore, StoreError> {
    SqliteStore::of_connections(open)
}
