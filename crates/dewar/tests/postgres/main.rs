//! The store in PostgreSQL, each test with a server of its own: `cargo xtask live postgres`.

#[path = "../support/mod.rs"]
mod support;

mod address;
mod attacked;
mod faults;
mod kills;
mod races;
mod store;
mod tables;
