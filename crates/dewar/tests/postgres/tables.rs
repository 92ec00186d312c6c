//! A framework's table in PostgreSQL, beside the framework.

use std::sync::Arc;

use crate::support::{
    postgres::{client, number, open, run},
    postgres_server::Server,
    stores::{NOW, ended, later},
    tables::{Database, django, every_promise_is_kept, laravel, row},
};
use deadpool_postgres::{Manager, Pool};
use dewar::{
    layout::Shape,
    store::{Applied, Engine, Found, Guard, SessionStore, Version, postgres::PostgresStore, postgres_deadpool0_14},
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

async fn site() -> (Server, Arc<dyn Engine>) {
    let server = Server::start(&[]);
    let engine = open(&server).engine(laravel()).unwrap();
    run(&server, Site::MADE[0]).await;
    (server, engine)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_purge_leaves_what_the_framework_writes_meanwhile() {
    let (server, _) = site().await;
    run(&server, Site::MADE[1]).await;
    run(&server, "INSERT INTO django_session VALUES ('back', 'old', '2020-01-01')").await;
    let django_itself = client(&server.url()).await;
    let update = "BEGIN; UPDATE django_session SET session_data = 'new', expire_date = '2099-01-01'";
    django_itself.batch_execute(update).await.unwrap();
    let engine = open(&server).engine(django()).unwrap();
    let purge = tokio::spawn(async move { engine.purge(100, NOW).await.unwrap() });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    django_itself.batch_execute("COMMIT").await.unwrap();
    assert_eq!(purge.await.unwrap(), 0);
    assert_eq!(number(&server, "SELECT count(*) FROM django_session").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn an_operator_of_somebody_elses_is_never_called() {
    let (server, engine) = site().await;
    run(
        &server,
        "CREATE FUNCTION public.yes(varchar, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT true'; \
         CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.yes)",
    )
    .await;
    for name in ["mine", "hers"] {
        engine.apply(name, Guard::Absent, row(name, None), NOW).await.unwrap();
    }
    let at = Guard::Is(Version::digest(b"mine"));
    assert!(matches!(engine.apply("mine", at, row("ours", None), NOW).await.unwrap(), Applied::Done));
    assert!(matches!(engine.end("mine", Guard::Any, ended(1), NOW).await.unwrap(), Applied::Done));
    let hers = "SELECT count(*) FROM sessions WHERE payload OPERATOR(pg_catalog.=) 'hers'::text";
    assert_eq!(number(&server, hers).await, 1);
    assert_eq!(number(&server, "SELECT count(*) FROM sessions").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn what_a_policy_or_a_trigger_keeps_from_being_done_is_an_error() {
    let (server, _) = site().await;
    run(
        &server,
        "CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app; GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO app; \
         ALTER TABLE sessions ENABLE ROW LEVEL SECURITY; CREATE POLICY a ON sessions FOR SELECT USING (true); \
         CREATE POLICY b ON sessions FOR INSERT WITH CHECK (true); CREATE POLICY c ON sessions FOR UPDATE USING (true)",
    )
    .await;
    let store = PostgresStore::open(&server.url().replace("live@", "app@")).unwrap();
    let engine = store.engine(laravel()).unwrap();
    engine.apply("kept", Guard::Absent, row("a", None), NOW).await.unwrap();
    let error = engine.end("kept", Guard::Any, ended(1), NOW).await.unwrap_err().to_string();
    assert!(error.contains("policy"), "{error}");
    assert!(matches!(engine.load("kept", NOW).await.unwrap(), Found::Record { .. }), "nor is it said to have ended");
    run(&server, "REVOKE UPDATE ON sessions FROM app").await;
    let at = Guard::Is(Version::digest(b"a"));
    let error = engine.apply("kept", at, row("b", None), NOW).await.unwrap_err().to_string();
    assert!(error.contains("sessions") && error.contains("UPDATE"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_search_path_that_changes_leads_to_no_other_table() {
    let server = Server::start(&[]);
    run(&server, Site::MADE[0]).await;
    run(&server, &format!("CREATE SCHEMA tenant; SET search_path = tenant; {}", Site::MADE[0])).await;
    let manager = Manager::new(server.url().parse().unwrap(), NoTls);
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let engine = postgres_deadpool0_14::store(pool.clone()).engine(laravel()).unwrap();
    engine.apply("x", Guard::Absent, row("a", None), NOW).await.unwrap();
    pool.get().await.unwrap().batch_execute("SET search_path = tenant").await.unwrap();
    assert!(matches!(engine.end("x", Guard::Any, ended(1), NOW).await.unwrap(), Applied::Done));
    pool.get().await.unwrap().batch_execute("RESET search_path").await.unwrap();
    assert!(matches!(engine.load("x", later(3000)).await.unwrap(), Found::Missing));
}
