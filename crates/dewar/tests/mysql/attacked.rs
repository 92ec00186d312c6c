//! What was tried on the store in MySQL and MariaDB, by a visitor, a user of the server, or a setting that nobody thought of.

use std::time::Duration;

use crate::support::{
    mysql_server::{PASSWORD, Server, is_mariadb},
    stores::{NOW, create, ended, key, later, lives, of, record, version},
};
use dewar::store::{
    Cap, Create, Delete, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError, StoreKey,
    conformance, mysql::MysqlStore, mysql_async0_37,
};
use futures_util::future::join_all;
use mysql_async::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, prelude::Queryable};
use tokio::time::sleep;

/// A pool of the application's own, with one connection.
fn pool(server: &Server, settle: impl FnOnce(OptsBuilder) -> OptsBuilder) -> Pool {
    let opts = OptsBuilder::from_opts(Opts::from_url(&server.url()).unwrap()).prefer_socket(false);
    let one = PoolOpts::new().with_constraints(PoolConstraints::new(1, 1).unwrap());
    Pool::new(settle(opts.pool_opts(one)))
}

// Addresses.

#[tokio::test]
async fn no_part_of_a_password_is_in_a_message() {
    for address in [
        "mysql://ada:p?s3cret@127.0.0.1:1/app",
        "mysql://ada:p?s3cret=@127.0.0.1:1/app",
        "mysql://ada:p?ssl-ca=s3cret@127.0.0.1:1/app",
        "mysql://ada:1/x?ssl-ca=s3cret@127.0.0.1:1/app",
        "mysql://ada:p@1/x?ssl-key=s3cret@127.0.0.1:1/app",
        "mysql://ada:p/s3cret@127.0.0.1:1/app",
        "mysql://ada:12/s3cret@127.0.0.1:1/app",
        "mysql://ada:p#s3cret@127.0.0.1:1/app",
        "mysql://ada:1/x#s3cret@127.0.0.1:1/app",
        "mysql://ada:1/x#s3cret",
        "mysql://ada:p@s3cret@127.0.0.1:1/app",
        "mysql://ada:p@1/s3cret@127.0.0.1:1/app",
        "mysql://ada@127.0.0.1:1/app?password=s3cret",
        "mysql://ada@127.0.0.1:1/app?s3cret",
    ] {
        let error = match MysqlStore::open(address) {
            Err(error) => error,
            Ok(store) => store.ping(NOW).await.unwrap_err(),
        };
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{address}: {error} {error:?}");
    }
    let error = MysqlStore::open("mysql://ada:p?s3cret@127.0.0.1/app").unwrap_err().to_string();
    assert!(error.contains("write / as %2F and ? as %3F"), "{error}");
}

// Pools of the application's own.

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_log_out_reaches_the_session_whatever_database_the_application_uses_meanwhile() {
    let server = Server::start(&[]).await;
    server.run("CREATE DATABASE tenant").await;
    server.run("GRANT ALL ON tenant.* TO dewar@'%'").await;
    for (number, has_tables) in [(1, false), (2, true)] {
        let pool = pool(&server, |opts| opts);
        // A pool resets its connections, as it does by default: not the database.
        pool.get_conn().await.unwrap().query_drop("USE tenant").await.unwrap();
        let store = mysql_async0_37::store(pool.clone());
        create(&store, number, &of("ada", 1)).await;
        pool.get_conn().await.unwrap().query_drop("USE tenant").await.unwrap();
        assert!(lives(&server.store(), &key(number), NOW).await, "{has_tables}");
        assert_eq!(store.delete(&key(number), None, ended(1), NOW).await.unwrap(), Delete::Deleted);
        assert!(!lives(&server.store(), &key(number), NOW).await);
    }
    let tables: Vec<String> = server.admin().await.query("SHOW TABLES FROM tenant").await.unwrap();
    assert!(tables.is_empty(), "{tables:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn every_verb_names_its_database_whatever_it_is_called() {
    let server = Server::start(&[]).await;
    server.run("CREATE DATABASE tenant").await;
    server.run("CREATE DATABASE `it's ``{db}``.ä?`").await;
    server.run("GRANT ALL ON `it's ``{db}``.ä?`.* TO dewar@'%'").await;
    server.run("GRANT ALL ON tenant.* TO dewar@'%'").await;
    let uses_another = pool(&server, |opts| opts.db_name(Some("it's `{db}`.ä?")).setup(vec!["USE tenant"]));
    let store = mysql_async0_37::store(uses_another);
    conformance::check(|| async { store.clone() }).await;
    let tables: Vec<String> = server.admin().await.query("SHOW TABLES FROM tenant").await.unwrap();
    assert!(tables.is_empty(), "{tables:?}");
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_pool_that_names_no_database_is_refused() {
    let server = Server::start(&[]).await;
    let nowhere = pool(&server, |opts| opts.db_name(None::<String>).setup(vec!["USE site"]));
    let error = mysql_async0_37::store(nowhere).ping(NOW).await.unwrap_err().to_string();
    assert!(error.contains("names no database"), "{error}");
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_log_out_in_the_middle_of_the_applications_transaction_is_an_error_and_nothing_is_lost_with_it() {
    let server = Server::start(&[]).await;
    let keeps_state = pool(&server, |opts| {
        let one = PoolOpts::new().with_constraints(PoolConstraints::new(1, 1).unwrap());
        opts.pool_opts(one.with_reset_connection(false))
    });
    let store = mysql_async0_37::store(keeps_state.clone());
    create(&store, 1, &of("ada", 1)).await;
    keeps_state.get_conn().await.unwrap().query_drop("BEGIN").await.unwrap();
    let error = store.delete(&key(1), None, ended(1), NOW).await.unwrap_err().to_string();
    assert!(error.contains("in the middle of a transaction"), "{error}");
    assert!(lives(&store, &key(1), NOW).await);
    assert_eq!(store.delete(&key(1), None, ended(1), NOW).await.unwrap(), Delete::Deleted);
    assert!(!lives(&server.store(), &key(1), NOW).await);
}

// Settings.

/// A few calls of every kind.
async fn works(store: &impl SessionAdmin) -> Result<(), StoreError> {
    let cap = Cap { most: 2.try_into().unwrap(), end_oldest: Some(ended(1)) };
    for n in 1..=5 {
        store.create(&key(n), version(n), of("ada", n), Some(&cap), NOW).await?;
        store.create(&key(n + 10), version(n), record(b"x"), None, NOW).await?;
    }
    let renamed = store.rename(&key(5), None, &key(6), version(6), of("ada", 5), ended(1), Some(&cap), NOW).await?;
    assert!(matches!(renamed, Rename::Renamed(_)), "{renamed:?}");
    store.touch(&key(6), version(6), later(9), NOW).await?;
    store.replace(&key(6), version(6), version(7), of("ada", 5), NOW).await?;
    assert_eq!(store.list(Some("ada"), None, 9, NOW).await?.len(), 2);
    assert_eq!(store.list(None, None, 99, NOW).await?.len(), 7);
    assert_eq!(store.count(NOW).await?, 7);
    assert_eq!(store.revoke("ada", Revoke::All, ended(1), NOW).await?, 2);
    store.delete(&key(77), None, ended(1), NOW).await?;
    assert_eq!(store.revoke_everyone(ended(1), NOW).await?, 5);
    store.purge(100, later(9_000)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn no_setting_of_the_server_matters() {
    let mut bad = Vec::new();
    let mut taken = 0;
    let server = Server::start(&[]).await;
    for (name, value) in [
        ("sql_select_limit", "1"),
        ("sql_select_limit", "0"),
        ("max_join_size", "1"),
        ("completion_type", "1"),
        ("completion_type", "2"),
        ("sql_safe_updates", "1"),
        ("tx_isolation", "'SERIALIZABLE'"),
        ("transaction_isolation", "'SERIALIZABLE'"),
        ("tx_read_only", "1"),
        ("transaction_read_only", "1"),
        ("sql_auto_is_null", "1"),
        ("unique_checks", "0"),
        ("foreign_key_checks", "0"),
        ("low_priority_updates", "1"),
        ("div_precision_increment", "0"),
        ("old_mode", "'NO_DUP_KEY_WARNINGS_WITH_IGNORE'"),
        ("sql_mode", "'MSSQL'"),
        ("sql_mode", "'ORACLE,EMPTY_STRING_IS_NULL,PAD_CHAR_TO_FULL_LENGTH'"),
        ("sql_mode", "'ANSI,PAD_CHAR_TO_FULL_LENGTH'"),
        ("max_error_count", "0"),
        ("time_zone", "'-11:00'"),
        ("collation_connection", "'utf8mb4_turkish_ci'"),
        ("character_set_client", "'latin1'"),
        ("character_set_connection", "'latin1'"),
        ("character_set_results", "'latin1'"),
        ("big_tables", "1"),
        ("group_concat_max_len", "4"),
        ("max_sort_length", "64"),
        ("optimizer_switch", "'default'"),
        ("optimizer_switch", "'derived_merge=off,index_merge=off,materialization=off'"),
        ("innodb_snapshot_isolation", "1"),
        ("innodb_lock_wait_timeout", "1"),
        ("in_predicate_conversion_threshold", "2"),
        ("lock_wait_timeout", "1"),
        ("max_statement_time", "0.5"),
        ("max_execution_time", "500"),
        ("tmp_memory_table_size", "1024"),
    ] {
        let mut admin = server.admin().await;
        admin.query_drop("DROP TABLE IF EXISTS dewar_session, dewar_epoch, dewar_schema").await.unwrap();
        // Each server has some that the other has not.
        if admin.query_drop(format!("SET GLOBAL {name} = {value}")).await.is_err() {
            continue;
        }
        taken += 1;
        let store = server.store();
        match tokio::spawn(async move { works(&store).await }).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => bad.push(format!("{name} = {value}: {error}")),
            Err(_) => bad.push(format!("{name} = {value}: a wrong answer")),
        }
        // Connections that begin from here on have it; this one has not.
        admin.query_drop(format!("SET GLOBAL {name} = DEFAULT")).await.unwrap();
    }
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(taken >= 25, "the server took {taken} settings");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn what_follows_a_commit_is_no_matter_of_the_server() {
    for how in ["CHAIN", "RELEASE"] {
        let server = Server::start(&[&format!("--completion-type={how}")]).await;
        works(&server.store()).await.unwrap();
        server.run("DROP TABLE site.dewar_session, site.dewar_epoch, site.dewar_schema").await;
        works(&mysql_async0_37::store(pool(&server, |opts| opts))).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_write_waits_as_long_as_the_store_says_whatever_the_server_gives_a_statement() {
    let server = Server::start(&[]).await;
    let name = if is_mariadb() { "max_statement_time = 0.4" } else { "max_execution_time = 400" };
    server.run(&format!("SET GLOBAL {name}")).await;
    let store = server.store();
    create(&store, 1, &of("ada", 1)).await;
    let mut admin = server.admin().await;
    // An administrator has the same, and waits for nothing.
    admin.query_drop("BEGIN").await.unwrap();
    admin.query_drop(format!("SELECT id FROM dewar_session WHERE id = '{}' FOR UPDATE", key(1))).await.unwrap();
    let renames = tokio::spawn({
        let store = store.clone();
        async move { store.rename(&key(1), None, &key(2), version(2), of("ada", 1), ended(1), None, NOW).await }
    });
    sleep(Duration::from_millis(1_200)).await;
    admin.query_drop("ROLLBACK").await.unwrap();
    let renamed = renames.await.unwrap();
    assert!(matches!(renamed, Ok(Rename::Renamed(_))), "{renamed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn what_was_taken_is_given_back_whatever_its_size() {
    let server = Server::start(&["--max-allowed-packet=1M"]).await;
    let store = server.store();
    let mut number = 0;
    for label in [0, 65_000] {
        for less in [70_000, 66_000, 65_000, 10_000, 2_000, 1_000, 500, 200, 100, 60, 40, 20, 10, 5, 1, 0, -1, -1_000] {
            number += 1;
            let data = vec![7; ((1_i64 << 20) - less) as usize];
            let written = Record { label: (label > 0).then(|| "l".repeat(label).into()), ..record(&data) };
            let Ok(made) = store.create(&key(number), version(number), written.clone(), None, NOW).await else {
                continue;
            };
            assert!(matches!(made, Create::Created(_)), "{made:?}");
            assert_eq!(store.load(&key(number), NOW).await.unwrap(), Load::Found(written, version(number)));
        }
    }
}

// Epochs.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_session_that_becomes_a_users_while_all_of_theirs_end_is_of_the_present_epoch_or_ends() {
    let server = Server::start(&[]).await;
    let store = server.store();
    create(&store, 1, &record(b"nobody's")).await;
    create(&store, 2, &of("ada", 7)).await;
    let mut admin = server.admin().await;
    admin.query_drop("BEGIN").await.unwrap();
    admin.query_drop(format!("SELECT id FROM dewar_session WHERE id = '{}' FOR UPDATE", key(1))).await.unwrap();
    let replaces = tokio::spawn({
        let store = store.clone();
        async move { store.replace(&key(1), version(1), version(9), of("ada", 8), NOW).await }
    });
    sleep(Duration::from_millis(400)).await;
    let revokes = tokio::spawn({
        let store = store.clone();
        async move { store.revoke("ada", Revoke::All, ended(1), NOW).await }
    });
    sleep(Duration::from_millis(400)).await;
    admin.query_drop("COMMIT").await.unwrap();
    assert_eq!(replaces.await.unwrap().unwrap(), Replace::Replaced(version(9)));
    let revoked = revokes.await.unwrap().unwrap();
    match store.load(&key(1), NOW).await.unwrap() {
        Load::Found(found, _) => assert_eq!(found.epoch, Some(store.epoch(Some("ada")).await.unwrap())),
        Load::Gone(_) => assert_eq!(revoked, 2),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_record_that_is_given_to_somebody_begins_in_the_present_epoch() {
    let server = Server::start(&[]).await;
    let store = server.store();
    create(&store, 1, &record(b"nobody's")).await;
    store.revoke("ada", Revoke::All, ended(1), NOW).await.unwrap();
    let replaced = store.replace(&key(1), version(1), version(2), of("ada", 8), NOW).await.unwrap();
    assert_eq!(replaced, Replace::Replaced(version(2)));
    let Load::Found(found, _) = store.load(&key(1), NOW).await.unwrap() else { panic!("it is gone") };
    assert_eq!(found.epoch, Some(store.epoch(Some("ada")).await.unwrap()));
    let renamed = store.rename(&key(1), None, &key(3), version(3), found, ended(1), None, NOW).await.unwrap();
    assert!(matches!(renamed, Rename::Renamed(_)), "{renamed:?}");
    // And one that is not there any more is given to nobody, whether or not they have had a session.
    for name in ["ada", "eve"] {
        let replaced = store.replace(&key(1), version(2), version(4), of(name, 8), NOW).await.unwrap();
        assert!(matches!(replaced, Replace::Gone(Some(_))), "{replaced:?}");
        let replaced = store.replace(&key(3), version(2), version(4), of(name, 8), NOW).await.unwrap();
        assert_eq!(replaced, Replace::Conflict);
    }
}

// Names.

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_name_that_is_too_long_has_no_sessions_to_end_and_leaves_no_row_of_anothers() {
    let server = Server::start(&["--sql-mode="]).await;
    for store in [server.store(), mysql_async0_37::store(pool(&server, |opts| opts))] {
        store.ping(NOW).await.unwrap();
        let (long, foreign) = ("x".repeat(2_000), StoreKey::foreign("k".repeat(2_000)));
        for which in [Revoke::All, Revoke::Lineage(1), Revoke::AllBut { lineage: 1, epoch: 0 }] {
            assert_eq!(store.revoke(&long, which, ended(1), NOW).await.unwrap(), 0);
        }
        assert!(store.list(Some(&long), None, 9, NOW).await.unwrap().is_empty());
        assert_eq!(store.epoch(Some(&long)).await.unwrap(), 0);
        assert_eq!(store.delete(&foreign, None, ended(1), NOW).await.unwrap(), Delete::Gone(None));
        let cap = Cap { most: 2.try_into().unwrap(), end_oldest: Some(ended(1)) };
        create(&store, 1, &record(b"x")).await;
        for said in [
            store.create(&key(2), version(2), of(&long, 1), Some(&cap), NOW).await.map(drop),
            store.replace(&key(1), version(1), version(2), of(&long, 1), NOW).await.map(drop),
            store.rename(&key(1), None, &key(2), version(2), of(&long, 1), ended(1), Some(&cap), NOW).await.map(drop),
        ] {
            let error = said.unwrap_err().to_string();
            assert!(error.contains("1024 bytes") && !error.contains("xxx"), "{error}");
        }
        assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Found(record(b"x"), version(1)));
        let rows: Vec<String> = server.admin().await.query("SELECT whose FROM dewar_epoch").await.unwrap();
        assert_eq!(rows, ["everybody"]);
        server.run("TRUNCATE TABLE site.dewar_session").await;
    }
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_table_or_database_whose_name_differs_in_case_is_another_where_the_server_says_so() {
    let server = Server::start(&["--lower-case-table-names=0"]).await;
    server.run("CREATE TABLE site.Dewar_Session (id INT) ENGINE = MyISAM").await;
    server.run("CREATE DATABASE Site").await;
    server.run("CREATE TABLE Site.dewar_session (id INT) ENGINE = MyISAM").await;
    server.store().ping(NOW).await.unwrap();
    // MySQL has to be told when its files are made.
    if is_mariadb() {
        let server = Server::start(&["--lower-case-table-names=1"]).await;
        let store = MysqlStore::open(&server.url().replace("/site", "/SITE")).unwrap();
        create(&store, 1, &record(b"x")).await;
        server.run("ALTER TABLE site.DEWAR_SCHEMA ENGINE = MyISAM").await;
        let other = MysqlStore::open(&server.url().replace("/site", "/Site")).unwrap();
        let error = other.ping(NOW).await.unwrap_err().to_string();
        assert!(error.contains("ALTER TABLE dewar_schema ENGINE = InnoDB"), "{error}");
    }
}

// Other users of the server.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_user_without_any_right_keeps_nobody_from_starting() {
    let server = Server::start(&[]).await;
    server.run(&format!("CREATE USER mallory@'%' IDENTIFIED BY '{PASSWORD}'")).await;
    let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(server.port());
    let opts = opts.user(Some("mallory")).pass(Some(PASSWORD)).prefer_socket(false);
    let mut mallory = Conn::new(opts).await.unwrap();
    let lock = "SELECT GET_LOCK(CONCAT('dewar ', SHA2('site', 224)), 1)";
    assert_eq!(mallory.query_first::<i64, _>(lock).await.unwrap(), Some(1));
    // Nor do those who start at once keep each other from it, also where none waits.
    for _ in 0..5 {
        let stores: Vec<_> = (0..24).map(|_| server.store()).collect();
        for said in join_all(stores.iter().map(|store| store.ping(NOW))).await {
            said.unwrap();
        }
        let versions: Vec<i64> = server.admin().await.query("SELECT version FROM site.dewar_schema").await.unwrap();
        assert_eq!(versions, [1]);
        server.run("DROP TABLE site.dewar_session, site.dewar_epoch, site.dewar_schema").await;
    }
}
