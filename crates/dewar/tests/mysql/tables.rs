//! A framework's table in MySQL and MariaDB, beside the framework.

use std::sync::Arc;

use crate::support::{
    mysql_server::Server,
    tables::{Database, every_promise_is_kept},
};
use dewar::{
    layout::Shape,
    store::{Engine, SessionStore, mysql::MysqlStore},
};
use mysql_async::{Row, prelude::Queryable};

struct Site {
    server: Server,
    store: MysqlStore,
}

impl Database for Site {
    const MADE: [&'static str; 2] = [
        "CREATE TABLE sessions (id varchar(255) NOT NULL PRIMARY KEY, user_id bigint unsigned NULL, ip_address varchar(45) NULL, \
         user_agent text NULL, payload longtext NOT NULL, last_activity int NOT NULL) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
        "CREATE TABLE django_session (session_key varchar(80) NOT NULL PRIMARY KEY, session_data longtext NOT NULL, \
         expire_date datetime(6) NOT NULL)",
    ];

    fn engine(&self, shape: Shape) -> Arc<dyn Engine> {
        self.store.engine(shape).unwrap()
    }

    async fn run(&self, sql: &str) {
        self.server.run(&format!("USE site; {sql}")).await;
    }

    async fn text(&self, sql: &str) -> Option<String> {
        let mut admin = self.server.admin().await;
        admin.query_drop("USE site").await.unwrap();
        let row: Option<Row> = admin.query_first(sql).await.unwrap();
        row?.get::<Option<String>, _>(0)?
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_frameworks_table_is_shared_with_the_framework() {
    let server = Server::start(&[]).await;
    let store = server.store();
    every_promise_is_kept(&Site { server, store }).await;
}
