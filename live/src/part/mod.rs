//! The parts of the suite, one file each.

mod browser;
mod differential;
mod django;
mod django_store;
mod express;
mod flask;
mod flask_session;
mod histories;
mod iron;
mod laravel;
mod moves;
mod mysql;
mod pages;
mod phoenix;
mod php;
mod postgres;
mod procfile;
mod prometheus;
mod rails;
mod redis;
mod redis_cluster;
mod redis_servers;
mod set_cookie;
mod symfony;
mod wasm;

use crate::suite::Part;

pub(crate) const ALL: &[&Part] = &[
    &flask::PART,
    &flask_session::PART,
    &set_cookie::PART,
    &differential::PART,
    &redis::PART,
    &mysql::PART,
    &postgres::PART,
    &redis_servers::PART,
    &redis_cluster::PART,
    &moves::PART,
    &prometheus::PART,
    &express::PART,
    &rails::PART,
    &iron::PART,
    &laravel::PART,
    &phoenix::PART,
    &php::PART,
    &symfony::PART,
    &django::PART,
    &django_store::PART,
    &pages::PART,
    &browser::PART,
    &procfile::PART,
    &wasm::PART,
];

/// What `--long` runs, too. CI runs a share of each: in `cargo test`, and in the other parts.
pub(crate) const LONG: &[&Part] = &[
    &histories::PART,
    &django::LONG,
    &flask_session::LONG,
    &laravel::LONG,
    &php::LONG,
    &symfony::LONG,
    &mysql::LONG,
    &postgres::LONG,
    &rails::LONG,
    &redis_cluster::KILLS,
    &redis_servers::LONG,
];

/// The secret of the lesson that this project began with.
const LESSON: &str = "w98fw9ef8hwe98fhwef";

/// A secret that is nobody else's, for hosts where others could come.
const OWN: &str = "kq3v8zs0d1jw7m2x";
