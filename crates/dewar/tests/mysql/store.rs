//! The store in MySQL and MariaDB keeps the promises of a store: its tables, its addresses, its rights.

use std::time::Duration;

use crate::support::{
    mysql_proxy::Proxy,
    mysql_server::{PASSWORD, Server, is_mariadb},
    stores::{NOW, create, ended, key, later, of, record, version},
};
use dewar::store::{
    Cap, Create, Load, Record, Revoke, SessionAdmin, SessionStore, StoreKey, Timestamp, Touch, conformance,
    mysql::{self, MysqlStore},
    mysql_async0_37,
};
use futures_util::future::join_all;
use mysql_async::{OptsBuilder, Pool, PoolOpts, Row, prelude::Queryable};

/// A pool of the application's own.
fn pool(server: &Server, settle: impl FnOnce(OptsBuilder) -> OptsBuilder) -> Pool {
    let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(server.port()).prefer_socket(false);
    Pool::new(settle(opts.user(Some("dewar")).pass(Some(PASSWORD)).db_name(Some("site"))))
}

// The contract.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn it_keeps_every_promise_of_a_store() {
    let server = Server::start(&[]).await;
    conformance::check(|| async { server.store() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn it_keeps_them_whatever_the_server_is_set_to() {
    let modes = "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,HIGH_NOT_PRECEDENCE";
    let server = Server::start(&[
        modes,
        "--transaction-isolation=SERIALIZABLE",
        "--autocommit=0",
        "--default-time-zone=+05:30",
        "--character-set-server=latin1",
    ])
    .await;
    conformance::check(|| async { server.store() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn it_keeps_them_through_a_pool_of_the_applications_own() {
    let modes = if is_mariadb() { "ORACLE" } else { "ANSI,IGNORE_SPACE" };
    for resets in [true, false] {
        let server = Server::start(&[&format!("--sql-mode={modes}"), "--transaction-isolation=REPEATABLE-READ"]).await;
        let pool = pool(&server, |opts| {
            let settings = PoolOpts::new().with_reset_connection(resets);
            opts.client_found_rows(true).stmt_cache_size(Some(0)).pool_opts(settings)
        });
        let store = mysql_async0_37::store(pool);
        conformance::check(|| async { store.clone() }).await;
    }
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_pool_that_would_keep_nothing_or_change_what_is_written_is_refused() {
    let server = Server::start(&[]).await;
    let without = pool(&server, |opts| opts.setup(vec!["SET autocommit = 0"]));
    let error = mysql_async0_37::store(without).ping(NOW).await.unwrap_err().to_string();
    assert!(error.contains("SET autocommit = 1"), "{error}");
    let translating = pool(&server, |opts| opts.setup(vec!["SET character_set_connection = latin1"]));
    let error = mysql_async0_37::store(translating).ping(NOW).await.unwrap_err().to_string();
    assert!(error.contains("SET NAMES utf8mb4"), "{error}");
    if is_mariadb() {
        let emptying = pool(&server, |opts| opts.setup(vec!["SET sql_mode = 'EMPTY_STRING_IS_NULL'"]));
        let error = mysql_async0_37::store(emptying).ping(NOW).await.unwrap_err().to_string();
        assert!(error.contains("EMPTY_STRING_IS_NULL"), "{error}");
    }
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn names_that_differ_in_case_or_in_a_space_are_others() {
    let server = Server::start(&[]).await;
    let store = server.store();
    let names = ["sess:a", "sess:A", "sess:a ", "sess:a\0", "sess:ä", "sess:a\u{308}", "sess:'; --", "sess:?"];
    for (number, name) in names.into_iter().enumerate() {
        let data = record(name.as_bytes());
        let created = store.create(&StoreKey::foreign(name), version(number as u64), data, None, NOW).await.unwrap();
        assert!(matches!(created, Create::Created(_)), "{name:?}: {created:?}");
    }
    for name in names {
        let Load::Found(found, _) = store.load(&StoreKey::foreign(name), NOW).await.unwrap() else { panic!("{name}") };
        assert_eq!(found.data, name.as_bytes());
    }
    for (number, principal) in ["ann", "Ann", "ann ", "änn", "", "'ann", "everybody"].into_iter().enumerate() {
        create(&store, number as u64, &of(principal, 1)).await;
        assert_eq!(store.list(Some(principal), None, 9, NOW).await.unwrap().len(), 1, "{principal:?}");
    }
    assert_eq!(store.revoke("ann", Revoke::All, ended(1), NOW).await.unwrap(), 1);
    assert_eq!(store.epoch(Some("Ann")).await.unwrap(), 0);
    assert_eq!(store.epoch(None).await.unwrap(), 0, "nobody's name is everybody's");
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_name_that_is_too_long_is_nowhere_and_is_never_cut() {
    let server = Server::start(&["--sql-mode="]).await;
    let store = server.store();
    let long = "x".repeat(20_000);
    let (key, principal) = (StoreKey::foreign(long.as_str()), of(&long, 1));
    assert_eq!(store.load(&key, NOW).await.unwrap(), Load::Missing);
    assert_eq!(store.touch(&key, version(1), later(60), NOW).await.unwrap(), Touch::Gone(None));
    for (key, record) in [(key, record(b"x")), (crate::support::stores::key(1), principal)] {
        let error = store.create(&key, version(1), record, None, NOW).await.unwrap_err().to_string();
        assert!(error.contains("bytes") && !error.contains("xxx"), "{error}");
    }
    assert_eq!(store.count(NOW).await.unwrap(), 0);
    let longest = of(&"p".repeat(1_024), 1);
    create(&store, 2, &longest).await;
    let name = StoreKey::foreign("k".repeat(768));
    assert!(matches!(store.create(&name, version(1), longest, None, NOW).await.unwrap(), Create::Created(_)));
    assert_eq!(store.list(Some(&"p".repeat(1_024)), None, 9, NOW).await.unwrap().len(), 2);
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn the_end_of_time_and_every_byte_come_back() {
    let server = Server::start(&[]).await;
    let store = server.store();
    let all: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let forever = Timestamp::from_millis(u64::MAX);
    let written = Record {
        idle_expires: forever,
        absolute_expires: Some(forever),
        idle_seconds: u32::MAX,
        persistent: true,
        label: Some("Füße 👣 'x'".into()),
        guarded_until: Some(forever),
        epoch: Some(0),
        lineage: u64::MAX,
        ..Record { data: all.into(), ..of("ann", 1) }
    };
    create(&store, 1, &written).await;
    let Load::Found(found, _) = store.load(&key(1), NOW).await.unwrap() else { panic!() };
    assert_eq!(found, written);
    create(&store, 2, &record(b"")).await;
    assert_eq!(store.load(&key(2), NOW).await.unwrap(), Load::Found(record(b""), version(2)));
}

// What it costs.

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn each_verb_takes_as_few_round_trips_as_the_page_says() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(server.port()).await;
    let store = MysqlStore::open(&format!("{}?connections=1", server.url_at(proxy.port()))).unwrap();
    let anns = |lineage| Record { epoch: Some(0), ..of("ann", lineage) };
    let cap = Cap { most: 2.try_into().unwrap(), end_oldest: Some(ended(1)) };
    // The first time, statements are prepared.
    for round in [0_u64, 100] {
        let mut counts = Vec::new();
        macro_rules! counts {
            ($verb:literal, $call:expr) => {{
                proxy.round_trips();
                $call.await.unwrap();
                counts.push(($verb, proxy.round_trips()));
            }};
        }
        let (key, version) = (|number: u64| key(round + number), |number: u64| version(round + number));
        counts!("ping", store.ping(NOW));
        counts!("create", store.create(&key(1), version(1), record(b"x"), None, NOW));
        counts!("load", store.load(&key(1), NOW));
        counts!("replace", store.replace(&key(1), version(1), version(2), record(b"y"), NOW));
        counts!("touch", store.touch(&key(1), version(2), later(60), NOW));
        counts!("rename", store.rename(&key(1), None, &key(2), version(3), record(b"x"), ended(1), None, NOW));
        counts!("delete", store.delete(&key(2), None, ended(1), NOW));
        counts!("create of a user's", store.create(&key(3), version(3), of("ann", 7), None, NOW));
        counts!("the same again", store.create(&key(4), version(4), anns(8), None, NOW));
        counts!("replace that gives it", store.replace(&key(4), version(4), version(8), of("ann", 8), NOW));
        counts!("under a cap", store.create(&key(5), version(5), of("ann", 9), Some(&cap), NOW));
        counts!("log-in", store.rename(&key(5), None, &key(6), version(6), of("ann", 9), ended(1), Some(&cap), NOW));
        counts!("list", store.list(Some("ann"), None, 9, NOW));
        counts!("epoch", store.epoch(Some("ann")));
        counts!("revoke", store.revoke("ann", Revoke::Lineage(9), ended(1), NOW));
        counts!("count", store.count(NOW));
        counts!("claim_purge", store.claim_purge(NOW));
        counts!("purge", store.purge(9, later(100_000)));
        if round > 0 {
            let expected = [
                ("ping", 1),
                ("create", 1),
                ("load", 1),
                ("replace", 1),
                ("touch", 1),
                ("rename", 3),
                ("delete", 1),
                ("create of a user's", 1),
                ("the same again", 1),
                ("replace that gives it", 3),
                ("under a cap", 3),
                ("log-in", 3),
                ("list", 1),
                ("epoch", 1),
                ("revoke", 2),
                ("count", 1),
                ("claim_purge", 1),
                ("purge", 2),
            ];
            assert_eq!(counts, expected);
        }
    }
}

/// The statements that the server was given meanwhile about this table, with their values.
async fn statements_about(server: &Server, table: &str, run: impl Future<Output = ()>) -> Vec<String> {
    let mut admin = server.admin().await;
    admin.query_drop("SET GLOBAL log_output = 'TABLE'").await.unwrap();
    admin.query_drop("SET GLOBAL general_log = 1").await.unwrap();
    run.await;
    admin.query_drop("SET GLOBAL general_log = 0").await.unwrap();
    let logged =
        "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE command_type IN ('Query', 'Execute')";
    let statements: Vec<String> = admin.query(logged).await.unwrap();
    // Some servers log a script as a whole.
    let each = statements.iter().flat_map(|logged| logged.split("; "));
    each.filter(|statement| statement.contains(table) && !statement.contains("general_log"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn no_verb_but_the_end_of_everybodys_sessions_looks_at_every_row() {
    let server = Server::start(&[]).await;
    let store = server.store();
    let numbers: Vec<u64> = (0..6_000).collect();
    for some in numbers.chunks(100) {
        join_all(some.iter().map(|number| {
            let principal = format!("user {}", number % 500);
            let record = Record { idle_expires: later(number + 100), ..of(&principal, number + 1) };
            let store = &store;
            async move { create(store, *number, &record).await }
        }))
        .await;
    }
    server.run("ANALYZE TABLE site.dewar_session").await;
    let cap = Cap { most: 3.try_into().unwrap(), end_oldest: Some(ended(1)) };
    let everything = async {
        store.ping(NOW).await.unwrap();
        store.load(&key(1), NOW).await.unwrap();
        store.replace(&key(1), version(1), version(9_001), of("user 1", 2), NOW).await.unwrap();
        store.touch(&key(2), version(2), later(60), NOW).await.unwrap();
        store.delete(&key(3), None, ended(1), NOW).await.unwrap();
        store.delete(&key(9_000), None, ended(1), NOW).await.unwrap();
        store.create(&key(9_002), version(9_002), of("user 7", 1), Some(&cap), NOW).await.unwrap();
        store.rename(&key(4), None, &key(9_003), version(1), of("user 4", 5), ended(1), None, NOW).await.unwrap();
        store.list(Some("user 7"), None, 9, NOW).await.unwrap();
        store.list(None, Some(&key(5)), 9, NOW).await.unwrap();
        store.count(NOW).await.unwrap();
        store.revoke("user 8", Revoke::All, ended(1), NOW).await.unwrap();
        store.revoke("user 9", Revoke::Lineage(9), ended(1), NOW).await.unwrap();
        store.purge(20, later(110)).await.unwrap();
    };
    let statements = statements_about(&server, "dewar_session", everything).await;
    let mut admin = server.admin().await;
    let mut explained = 0;
    for statement in statements.iter().filter(|statement| !statement.starts_with("INSERT")) {
        let statement = statement.trim_end_matches(';');
        let explain = format!("EXPLAIN FORMAT=TRADITIONAL {statement}");
        let rows: Vec<Row> = admin.query(&explain).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        for mut row in rows {
            let named = |row: &mut Row, name: &str| row.take_opt::<Option<String>, _>(name).unwrap().unwrap_or(None);
            let (kind, index) = (named(&mut row, "type"), named(&mut row, "key"));
            let extra = named(&mut row, "Extra").unwrap_or_default();
            let nothing = extra.contains("Impossible WHERE") || extra.contains("no matching row");
            let is_counted = statement.starts_with("SELECT 1") || statement.starts_with("SELECT COUNT");
            let walks = kind.as_deref() == Some("ALL") || (kind.as_deref() == Some("index") && !is_counted);
            assert!(nothing || (index.is_some() && !walks), "{statement}: {kind:?} {index:?} {extra}");
            explained += 1;
        }
    }
    assert!(explained >= 15, "only {explained} statements were logged");
}

// The tables.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn many_who_come_at_once_make_the_tables_once() {
    let server = Server::start(&[]).await;
    let stores: Vec<_> = (0..16).map(|_| server.store()).collect();
    for said in join_all(stores.iter().map(|store| store.ping(NOW))).await {
        said.unwrap();
    }
    let versions: Vec<i64> = server.admin().await.query("SELECT version FROM site.dewar_schema").await.unwrap();
    assert_eq!(versions, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_user_with_the_rights_that_are_listed_can_do_everything_once_the_tables_are_there() {
    let page = include_str!("../../src/store/mysql.rs");
    let rights = page.lines().find_map(|line| line.strip_prefix("//! GRANT ")).expect("the line with the rights");
    let rights = rights.split(" TO ").next().unwrap();
    let server = Server::start(&[]).await;
    server.grant_only(&[rights]).await;
    let store = server.store();
    let error = store.ping(NOW).await.unwrap_err().to_string();
    assert!(error.contains("schema_sql()"), "{error}");

    let mut admin = server.admin().await;
    for _ in 0..2 {
        admin.query_drop(mysql::schema_sql()).await.unwrap();
    }
    server.grant_only(&["SELECT ON site.*"]).await;
    let error = server.store().ping(NOW).await.unwrap_err().to_string();
    assert!(error.contains("lists what it needs") && error.contains("INSERT"), "{error}");
    server.grant_only(&[rights]).await;
    conformance::check(|| async { store.clone() }).await;
    assert!(store.claim_purge(NOW).await.unwrap());
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_table_of_somebody_elses_is_refused_and_nothing_is_put_beside_it() {
    let server = Server::start(&[]).await;
    let mut admin = server.admin().await;
    admin.query_drop("CREATE TABLE dewar_session (id INT PRIMARY KEY, data TEXT)").await.unwrap();
    let error = server.store().ping(NOW).await.unwrap_err().to_string();
    assert!(error.contains("dewar_session is not this store's") && error.contains("another database"), "{error}");
    let tables: Vec<String> = admin.query("SHOW TABLES").await.unwrap();
    assert_eq!(tables, ["dewar_session"]);

    // One that would cut names short.
    admin.query_drop("DROP TABLE dewar_session").await.unwrap();
    admin.query_drop(mysql::schema_sql()).await.unwrap();
    admin.query_drop("ALTER TABLE dewar_session MODIFY principal VARBINARY(20)").await.unwrap();
    let error = server.store().ping(NOW).await.unwrap_err().to_string();
    assert!(error.contains("principal varbinary(1024)"), "{error}");
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn an_engine_without_transactions_is_refused() {
    let server = Server::start(&[]).await;
    let store = server.store();
    let mut admin = server.admin().await;
    admin.query_drop(mysql::schema_sql()).await.unwrap();
    admin.query_drop("ALTER TABLE dewar_schema ENGINE = MyISAM").await.unwrap();
    let error = store.ping(NOW).await.unwrap_err().to_string();
    assert!(error.contains("ALTER TABLE dewar_schema ENGINE = InnoDB"), "{error}");
    admin.query_drop("ALTER TABLE dewar_schema ENGINE = InnoDB").await.unwrap();
    store.ping(NOW).await.unwrap();
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn the_tables_of_a_later_release_are_refused_and_what_it_added_beside_ours_is_not() {
    let server = Server::start(&[]).await;
    let mut admin = server.admin().await;
    admin.query_drop(mysql::schema_sql()).await.unwrap();
    admin.query_drop("ALTER TABLE dewar_session ADD COLUMN later BIGINT").await.unwrap();
    let store = server.store();
    create(&store, 1, &record(b"x")).await;
    admin.query_drop("INSERT INTO dewar_schema (version, purged) VALUES (2, 0)").await.unwrap();
    create(&store, 2, &record(b"who runs goes on")).await;
    let error = server.store().ping(NOW).await.unwrap_err().to_string();
    assert!(error.contains("unknown version 2") && error.contains("later release"), "{error}");
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn tables_that_somebody_dropped_are_made_again() {
    let server = Server::start(&[]).await;
    let store = server.store();
    create(&store, 1, &record(b"x")).await;
    server.run("DROP TABLE site.dewar_session, site.dewar_epoch, site.dewar_schema").await;
    assert!(store.load(&key(1), NOW).await.is_err());
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Missing);
}

// Purging.

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_purge_passes_over_what_somebody_has_locked_and_keeps_nobody_waiting() {
    let server = Server::start(&[]).await;
    let store = server.store().time_limit(Duration::from_secs(1));
    for number in 0..1_200 {
        create(&store, number, &record(b"x")).await;
    }
    let guarded = Record { guarded_until: Some(later(9_000)), ..of("ann", 1) };
    create(&store, 2_000, &guarded).await;
    let mut admin = server.admin().await;
    admin.query_drop("START TRANSACTION").await.unwrap();
    admin.exec_drop("SELECT 1 FROM dewar_session WHERE id = ? FOR UPDATE", (key(7).to_string(),)).await.unwrap();
    let now = later(4_000);
    assert_eq!(store.purge(10_000, now).await.unwrap(), 1_199);
    admin.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(store.purge(10_000, now).await.unwrap(), 1);
    assert_eq!(store.purge(10_000, now).await.unwrap(), 0);
    // What it held is gone, and its guard stands.
    let left: Vec<(bool, Option<String>)> = admin.query("SELECT gone, data FROM dewar_session").await.unwrap();
    assert_eq!(left, [(true, None)]);
    assert!(matches!(store.load(&key(2_000), now).await.unwrap(), Load::Gone(_)));
    assert_eq!(store.purge(10_000, later(9_000)).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn of_several_processes_one_is_told_to_purge() {
    let server = Server::start(&[]).await;
    let stores: Vec<_> = (0..8).map(|_| server.store()).collect();
    for minute in 0..3 {
        let now = later(60 * minute);
        let claimed = join_all(stores.iter().map(|store| store.claim_purge(now))).await;
        assert_eq!(claimed.into_iter().filter(|claimed| *claimed.as_ref().unwrap()).count(), 1);
    }
    // A clock that was wrong keeps nobody from it.
    assert!(stores[0].claim_purge(NOW).await.unwrap());
}

// Addresses.

#[tokio::test]
async fn an_address_that_says_too_little_or_too_much_is_refused_with_what_to_write() {
    let refused = [
        ("mysql://ann:s3cret@db.example", "mysql://user@host/DATABASE"),
        ("mysql://ann:s3cret@db.example/", "mysql://user@host/DATABASE"),
        ("mysql:ann:s3cret@db.example/site", "mysql://[user[:password]@]host[:port]/database"),
        ("mysql:///site?s3cret", "ssl-mode"),
        ("mysql://ann:s3cret@db.example:port/site", "mysql://[user"),
        ("mysql://ann:s3cret@db.example/site/more", "mysql://[user"),
        ("mysql://ann:s3cret@db.example/site?ssl-mode=required", "ssl-mode=verify-identity"),
        ("mysql://ann:s3cret@db.example/site?ssl-mode=verify-ca", "ssl-name=NAME"),
        ("mysql://ann:s3cret@db.example/site?ssl-mode=maybe", "disabled or verify-identity"),
        ("mysql://ann:s3cret@db.example/site?ssl-ca=/no/such/file", "/no/such/file"),
        ("mysql://ann:s3cret@db.example/site?ssl-ca=Cargo.toml", "BEGIN CERTIFICATE"),
        ("mysql://ann:s3cret@db.example/site?ssl-mode=disabled&ssl-ca=Cargo.toml", "leave one or the others out"),
        ("mysql://ann:s3cret@db.example/site?connections=0", "?connections=10"),
        ("mysql://ann:s3cret@db.example/site?connections=many", "?connections=10"),
        ("mysql://ann:s3cret@db.example/site?pool_max=5", "there is no setting \"pool_max\""),
    ];
    for (address, expected) in refused {
        let error = MysqlStore::open(address).unwrap_err().to_string();
        assert!(error.contains(expected), "{address}: {error}");
        assert!(!error.contains("s3cret") || address.contains("?s3cret"), "{address}: {error}");
    }
    for address in [
        "mysql://ann:s3cret@db.example/site",
        "mariadb://ann:s3cret@db.example:3307/site?connections=3",
        "mysql://[::1]/site?ssl-mode=VERIFY_IDENTITY",
    ] {
        let store = MysqlStore::open(address).unwrap();
        assert!(!format!("{store:?}").contains("s3cret"));
    }
}

#[test]
fn a_runtime_without_timers_is_refused_at_the_start() {
    let error = MysqlStore::open("mysql://127.0.0.1/site").unwrap_err().to_string();
    assert!(error.contains("within a tokio runtime"), "{error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let error = runtime.block_on(async { MysqlStore::open("mysql://127.0.0.1/site") }).unwrap_err();
    assert!(error.to_string().contains("enable_time()"), "{error}");
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn who_is_not_let_in_is_told_so_without_the_password() {
    let server = Server::start(&[]).await;
    let wrong = server.url().replace(PASSWORD, "wr0ng%3F");
    for (address, expected) in [
        (wrong.as_str(), "Access denied"),
        (&server.url().replace("/site", "/elsewhere"), "elsewhere"),
        (&server.url().replace(&server.port().to_string(), "1"), "127.0.0.1:1"),
    ] {
        let error = MysqlStore::open(address).unwrap().ping(NOW).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.starts_with("mysql: cannot ping"), "{error}");
        assert!(!error.contains(PASSWORD) && !error.contains("wr0ng"), "{error}");
    }
    // What a URL has no room for is written in it as URLs have it.
    server.run("CREATE USER 'a@b'@'%' IDENTIFIED BY 'p/w:?#'").await;
    server.run("GRANT ALL ON site.* TO 'a@b'@'%'").await;
    let address = format!("mariadb://a%40b:p%2Fw%3A%3F%23@localhost:{}/site", server.port());
    MysqlStore::open(&address).unwrap().ping(NOW).await.unwrap();
}
