//! A framework's table in an SQLite file, beside the framework.

use std::sync::Arc;

use crate::support::{
    stores::Directory,
    tables::{Database, every_promise_is_kept},
};
use dewar::{
    layout::Shape,
    store::{Engine, SessionStore, sqlite::SqliteStore},
};
use rusqlite::{Connection, OptionalExtension, types::Value};

struct File {
    directory: Directory,
    store: SqliteStore,
}

impl Database for File {
    const MADE: [&'static str; 2] = [
        r#"CREATE TABLE "sessions" ("id" varchar NOT NULL, "user_id" integer, "ip_address" varchar, "user_agent" text, "payload" text NOT NULL,
           "last_activity" integer NOT NULL, PRIMARY KEY ("id"))"#,
        r#"CREATE TABLE "django_session" ("session_key" varchar(40) NOT NULL PRIMARY KEY, "session_data" text NOT NULL, "expire_date" datetime NOT NULL)"#,
    ];

    fn engine(&self, shape: Shape) -> Arc<dyn Engine> {
        self.store.engine(shape).unwrap()
    }

    async fn run(&self, sql: &str) {
        Connection::open(self.directory.file()).unwrap().execute_batch(sql).unwrap();
    }

    async fn text(&self, sql: &str) -> Option<String> {
        let found = Connection::open(self.directory.file()).unwrap().query_row(sql, [], |row| row.get(0)).optional();
        match found.unwrap()? {
            Value::Text(text) => Some(text),
            Value::Integer(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frameworks_table_is_shared_with_the_framework() {
    let directory = Directory::new();
    let store = SqliteStore::open(directory.file()).unwrap();
    every_promise_is_kept(&File { directory, store }).await;
}
