//! Ten thousand requests at once on one session. A program of its own, because the memory of its process is measured.

#[path = "../support/mod.rs"]
mod support;

mod mysql;
mod one_machine;
mod postgres;
mod redis;
mod redis_cluster;
