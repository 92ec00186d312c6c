//! A redis-server, and what stands in it.

use std::{cell::RefCell, fs, path::PathBuf};

use dewar::store::redis::RedisStore;

use crate::{
    process::{Process, free_port},
    tools::{REDIS, Tools},
};

/// A server without files that runs until it is dropped.
pub(crate) struct Redis {
    _process: Process,
    folder: PathBuf,
    connection: RefCell<redis::Connection>,
    pub(crate) url: String,
}

impl Redis {
    pub(crate) fn start(tools: &Tools) -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("dewar-live-redis-{port}"));
        fs::create_dir_all(&folder).expect("a folder for redis-server");
        let mut command = tools.command(&REDIS);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]).arg(&folder);
        let mut process = Process::start("redis-server", &mut command);
        process.wait_for_port(port);
        let url = format!("redis://127.0.0.1:{port}");
        let connection = redis::Client::open(&*url).and_then(|client| client.get_connection());
        let connection = RefCell::new(connection.expect("redis-server takes a connection"));
        Self { _process: process, folder, connection, url }
    }

    /// Our store in it. Called within a runtime.
    pub(crate) fn store(&self) -> RedisStore {
        RedisStore::open(&self.url).expect("the address can be read")
    }

    /// The text under a key.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.ask(redis::cmd("GET").arg(key))
    }

    /// The bytes under a key.
    pub(crate) fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        self.ask(redis::cmd("GET").arg(key))
    }

    /// Puts a text or bytes under a key.
    pub(crate) fn set(&self, key: &str, value: impl AsRef<[u8]>) {
        self.ask(redis::cmd("SET").arg(key).arg(value.as_ref()))
    }

    /// Removes a key.
    pub(crate) fn remove(&self, key: &str) {
        self.ask(redis::cmd("DEL").arg(key))
    }

    /// How many seconds the key has left.
    pub(crate) fn ttl(&self, key: &str) -> i64 {
        self.ask(redis::cmd("TTL").arg(key))
    }

    /// Lets the key have so many seconds left.
    pub(crate) fn expire(&self, key: &str, seconds: i64) {
        let is_there: bool = self.ask(redis::cmd("EXPIRE").arg(key).arg(seconds));
        assert!(is_there, "there is no {key}");
    }

    /// All keys but those of our tombstones, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.ask(redis::cmd("KEYS").arg("*"));
        keys.retain(|key| !key.starts_with("dewar-ended"));
        keys.sort();
        keys
    }

    fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        command.query(&mut *self.connection.borrow_mut()).unwrap_or_else(|error| panic!("redis-server: {error}"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
