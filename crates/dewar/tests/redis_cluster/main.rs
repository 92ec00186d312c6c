//! The store in a Redis Cluster, each test with a cluster of its own: `cargo xtask live redis-cluster`.

#[path = "../support/mod.rs"]
mod support;

mod attacked;
mod faults;
mod races;
mod store;
