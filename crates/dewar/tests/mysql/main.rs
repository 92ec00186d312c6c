//! The store in MySQL and MariaDB, each test with a server of its own: `cargo xtask live mysql`.

#[path = "../support/mod.rs"]
mod support;

mod attacked;
mod faults;
mod kills;
mod races;
mod store;
mod tables;
mod tls;
