//! The servers of the crate's own tests, for the parts here, too.
#![allow(dead_code)] // What only the crate's own tests do with them.

#[path = "../../../crates/dewar/tests/support/directory.rs"]
pub(crate) mod directory;
#[path = "../../../crates/dewar/tests/support/mysql_server.rs"]
pub(crate) mod mysql_server;
#[path = "../../../crates/dewar/tests/support/postgres_server.rs"]
pub(crate) mod postgres_server;
