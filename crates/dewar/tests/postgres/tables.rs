//! A framework's table in PostgreSQL, beside the framework.

use std::sync::Arc;

use crate::support::{
    postgres::{client, open, run},
    postgres_server::Server,
    tables::{Database, every_promise_is_kept},
};
use deadpool_postgres::{Manager, Pool};
use dewar::{
    layout::Shape,
    store::{Engine, SessionStore, postgres::PostgresStore, postgres_deadpool0_14},
};
use tokio_postgres::{NoTls, SimpleQueryMessage};

struct Site {
    server: Server,
    store: PostgresStore,
}

impl Database for Site {
    const MADE: [&'static str; 2] = [
        r#"CREATE TABLE "sessions" ("id" varchar(255) NOT NULL PRIMARY KEY, "user_id" bigint NULL, "ip_address" varchar(45) NULL,
           "user_agent" text NULL, "payload" text NOT NULL, "last_activity" integer NOT NULL)"#,
        r#"CREATE TABLE "django_session" ("session_key" varchar(80) NOT NULL PRIMARY KEY, "session_data" text NOT NULL,
           "expire_date" timestamp with time zone NOT NULL)"#,
    ];

    fn engine(&self, shape: Shape) -> Arc<dyn Engine> {
        self.store.engine(shape).unwrap()
    }

    async fn run(&self, sql: &str) {
        run(&self.server, sql).await;
    }

    async fn text(&self, sql: &str) -> Option<String> {
        let client = client(&self.server.url()).await;
        client.batch_execute("SET TIME ZONE 'UTC'").await.unwrap();
        client.simple_query(sql).await.unwrap().into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_frameworks_table_is_shared_with_the_framework() {
    let server = Server::start(&[]);
    let store = open(&server);
    every_promise_is_kept(&Site { server, store }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_frameworks_table_is_shared_on_a_pool_of_the_applications_too() {
    let server = Server::start(&[]);
    let manager = Manager::new(server.url().parse().unwrap(), NoTls);
    let store = postgres_deadpool0_14::store(Pool::builder(manager).max_size(8).build().unwrap());
    every_promise_is_kept(&Site { server, store }).await;
}
