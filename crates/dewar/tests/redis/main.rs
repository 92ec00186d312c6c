//! The store in Redis and Valkey, each test with a server of its own: `cargo xtask live redis redis-servers`.

#[path = "../support/mod.rs"]
mod support;

mod attacked;
mod copies;
mod faults;
mod index;
mod races;
mod sentinel;
mod store;
mod tls;
