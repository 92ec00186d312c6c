//! The stores that need no server, what finds a broken one, and the way from one to another.

#[path = "../support/mod.rs"]
mod support;

mod conformance_catches;
#[cfg(unix)]
mod files;
mod memory;
mod moving;
mod moving_servers;
mod races_memory;
mod races_sqlite;
mod sqlite;
mod sqlite_faults;
mod sqlite_lost;
mod sqlite_tables;
mod url;
