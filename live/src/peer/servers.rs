//! The servers of the crate's own tests, for the parts here, too.
#![allow(dead_code)] // What only the crate's own tests do with them.

#[path = "../../../crates/dewar/tests/support/directory.rs"]
pub(crate) mod directory;
#[path = "../../../crates/dewar/tests/support/mysql_server.rs"]
pub(crate) mod mysql_server;
#[path = "../../../crates/dewar/tests/support/postgres_server.rs"]
pub(crate) mod postgres_server;

use directory::Directory;

/// A database, for an application of a framework and ours.
pub(crate) enum Server {
    Sqlite(Directory),
    Postgres(postgres_server::Server),
    MariaDb(mysql_server::Server),
}

impl Server {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(Directory::new())
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(postgres_server::Server::start(&[]))
    }

    pub(crate) fn mariadb() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        Self::MariaDb(runtime.block_on(mysql_server::Server::start(&[])))
    }

    /// `SESSION_STORE`.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite:{}", folder.file().display()),
            Self::Postgres(server) => server.url(),
            Self::MariaDb(server) => server.url(),
        }
    }
}
