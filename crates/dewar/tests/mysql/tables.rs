//! A framework's table in MySQL and MariaDB, beside the framework.

use std::sync::Arc;

use crate::support::{
    mysql_server::{PASSWORD, Server},
    stores::NOW,
    tables::{Database, every_promise_is_kept, laravel, row},
};
use dewar::{
    layout::Shape,
    store::{Engine, Guard, SessionStore, mysql::MysqlStore, mysql_async0_37},
};
use mysql_async::{OptsBuilder, Pool, Row, prelude::Queryable};

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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_table_without_transactions_is_refused() {
    let server = Server::start(&[]).await;
    let store = server.store();
    let site = Site { server, store };
    // Its keys are shorter.
    site.run(&format!("{} ENGINE=MyISAM", Site::MADE[0].replace("255", "100"))).await;
    let error = site.engine(laravel()).apply("a", Guard::Absent, row("a", None), NOW).await.unwrap_err().to_string();
    assert!(error.contains("ENGINE = InnoDB"), "{error}");
    site.run("ALTER TABLE sessions ENGINE = InnoDB").await;
    site.engine(laravel()).apply("a", Guard::Absent, row("a", None), NOW).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_pool_that_would_cut_a_record_is_refused() {
    let server = Server::start(&["--sql-mode="]).await;
    let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(server.port()).prefer_socket(false);
    let pool = Pool::new(opts.user(Some("dewar")).pass(Some(PASSWORD)).db_name(Some("site")));
    let own = server.store();
    let site = Site { server, store: mysql_async0_37::store(pool) };
    site.run(&Site::MADE[0].replace("longtext", "text")).await;
    let long = "a".repeat(70_000);
    let error = site.engine(laravel()).apply("a", Guard::Absent, row("a", None), NOW).await.unwrap_err().to_string();
    assert!(error.contains("STRICT_TRANS_TABLES"), "{error}");
    // Our own connections are strict: what does not fit is an error.
    let engine = own.engine(laravel()).unwrap();
    engine.apply("a", Guard::Absent, row(&long, None), NOW).await.unwrap_err();
    engine.apply("a", Guard::Absent, row("a", None), NOW).await.unwrap();
}
