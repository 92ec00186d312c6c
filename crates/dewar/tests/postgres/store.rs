//! What the store in PostgreSQL promises.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{
    postgres::{client, number, open, run, with},
    postgres_proxy::Proxy,
    postgres_server::Server,
    stores::{NOW, create, ended, key, later, of, record, version},
};
use deadpool_postgres::{Manager, Pool};
use dewar::store::{
    Cap, Create, Delete, Ending, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreKey, Touch,
    Why, conformance, postgres::PostgresStore, postgres_deadpool0_14,
};
use tokio::task::JoinSet;
use tokio_postgres::{AsyncMessage, NoTls};

fn on_a_pool(server: &Server) -> PostgresStore {
    let manager = Manager::new(server.url().parse().unwrap(), NoTls);
    postgres_deadpool0_14::store(Pool::builder(manager).max_size(8).build().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn the_store_keeps_every_promise_of_the_contract() {
    let server = Server::start(&[]);
    let store = open(&server);
    conformance::check(async || store.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn the_store_keeps_every_promise_on_a_pool_of_the_applications_and_in_a_schema_of_another_name() {
    let server = Server::start(&[]);
    let store = on_a_pool(&server).schema("app_sessions").unwrap();
    conformance::check(async || store.clone()).await;
    assert_eq!(number(&server, "SELECT count(*) FROM pg_namespace WHERE nspname = 'dewar'").await, 0);
}

// Names.

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn names_of_any_length_and_with_any_character_are_kept() {
    let server = Server::start(&[]);
    let store = open(&server);
    let names = ["CORP\\ada", "a\0b", "\0", "\\0", "é\u{10ffff}", &"long".repeat(3_000), "' OR true --"];
    for (number, name) in names.into_iter().enumerate() {
        let number = number as u64;
        let written = Record { label: Some(name.into()), ..of(name, number + 1) };
        create(&store, number, &written).await;
        let Load::Found(found, _) = store.load(&key(number), NOW).await.unwrap() else { panic!("{name}") };
        assert_eq!((found.principal, found.label), (written.principal, written.label));
        assert_eq!(store.list(Some(name), None, 10, NOW).await.unwrap().len(), 1);

        let (foreign, next) = (StoreKey::foreign(format!("sess:{name}")), StoreKey::foreign(format!("next:{name}")));
        let created = store.create(&foreign, version(1), record(b"theirs"), None, NOW).await.unwrap();
        assert!(matches!(created, Create::Created(_)));
        let mut renewed = ended(number);
        renewed.why = Why::Renewed { successor: Some(next.clone()) };
        let renamed =
            store.rename(&foreign, None, &next, version(2), record(b"theirs"), renewed.clone(), None, NOW).await;
        assert!(matches!(renamed.unwrap(), Rename::Renamed(_)));
        assert_eq!(store.load(&foreign, NOW).await.unwrap(), Load::Gone(renewed));
        let listed = store.list(None, None, 100, NOW).await.unwrap();
        assert!(listed.iter().any(|(key, ..)| *key == next), "{name}");
    }
}

// The schema.

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn of_many_who_start_at_once_nobody_fails() {
    let server = Server::start(&[]);
    let stores: Vec<_> = (0..20).map(|_| with(&server, "pool=2")).collect();
    let asked = stores.into_iter().map(|store| async move { store.count(NOW).await });
    for answer in asked.collect::<JoinSet<_>>().join_all().await {
        assert_eq!(answer.unwrap(), 0);
    }
    assert_eq!(number(&server, "SELECT count(*) FROM dewar.schema").await, 1);
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn who_may_not_make_the_schema_is_told_what_to_run_and_may_use_it_then() {
    let server = Server::start(&[]);
    run(&server, "CREATE ROLE app LOGIN").await;
    let url = server.url().replace("live@", "app@");
    let store = PostgresStore::open(&url).unwrap();
    let error = store.count(NOW).await.unwrap_err().to_string();
    assert!(error.contains("permission denied") && error.contains("schema_sql") && error.contains("GRANT"), "{error}");
    let grants =
        "GRANT USAGE ON SCHEMA \"dewar\"; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \"dewar\"";
    assert!(error.contains(grants), "{error}");
    // As psql does it with a file.
    for _ in 0..2 {
        run(&server, &store.schema_sql()).await;
    }
    run(&server, &grants.replace("SCHEMA \"dewar\"", "SCHEMA dewar TO app")).await;
    conformance::check(async || store.clone()).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_version_that_is_not_known_is_refused_unless_it_says_that_this_one_may_go_on() {
    let server = Server::start(&[]);
    create(&open(&server), 1, &of("ada", 1)).await;
    // As a later release would migrate it, while this one goes on: columns, tables and functions are only added.
    let running = open(&server);
    assert_eq!(running.count(NOW).await.unwrap(), 1);
    run(&server, "ALTER TABLE dewar.session ADD COLUMN country text DEFAULT 'nowhere', ADD COLUMN seen bigint").await;
    run(&server, "CREATE FUNCTION dewar.create_2() RETURNS void LANGUAGE sql AS ''").await;
    run(&server, "UPDATE dewar.schema SET version = 3").await;
    conformance::check(async || running.clone()).await;
    assert_eq!(create(&open(&server), 2, &of("eve", 2)).await, open(&server).epoch(Some("eve")).await.unwrap());
    run(&server, "UPDATE dewar.schema SET version = 4, oldest = 4").await;
    let error = open(&server).count(NOW).await.unwrap_err().to_string();
    assert!(error.contains("a later release") && error.contains("version 4"), "{error}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn tables_of_somebody_elses_are_refused_and_left_alone() {
    for theirs in [
        "CREATE SCHEMA dewar CREATE TABLE session (id text)",
        "CREATE SCHEMA dewar CREATE VIEW epoch AS SELECT 1",
        "CREATE SCHEMA dewar CREATE TABLE schema (version integer)",
        "CREATE SCHEMA dewar CREATE VIEW schema AS SELECT 1 AS version",
    ] {
        let server = Server::start(&[]);
        run(&server, theirs).await;
        let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'dewar'::regnamespace";
        let before = number(&server, tables).await;
        let error = open(&server).count(NOW).await.unwrap_err().to_string();
        assert!(error.contains("not made by this library") && error.contains("?schema=NAME"), "{theirs}: {error}");
        assert_eq!(number(&server, tables).await, before, "{theirs}");
        assert_eq!(with(&server, "schema=other").count(NOW).await.unwrap(), 0, "{theirs}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn an_empty_schema_that_was_made_for_the_application_is_filled() {
    let server = Server::start(&[]);
    run(&server, "CREATE ROLE app LOGIN; CREATE SCHEMA dewar AUTHORIZATION app").await;
    let store = PostgresStore::open(&server.url().replace("live@", "app@")).unwrap();
    assert_eq!(store.count(NOW).await.unwrap(), 0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn unlogged_is_a_choice_that_two_processes_cannot_make_differently() {
    let server = Server::start(&[]);
    let persistence = "SELECT count(*) FROM pg_class WHERE oid = 'dewar.session'::regclass AND relpersistence = 'u'";
    let unlogged = with(&server, "unlogged=true");
    assert_eq!(unlogged.count(NOW).await.unwrap(), 0);
    assert_eq!(number(&server, persistence).await, 1);
    assert_eq!(open(&server).unlogged().count(NOW).await.unwrap(), 0);
    let error = open(&server).count(NOW).await.unwrap_err().to_string();
    assert!(error.contains("SET LOGGED"), "{error}");
    run(&server, "ALTER TABLE dewar.session SET LOGGED").await;
    assert_eq!(open(&server).count(NOW).await.unwrap(), 0);
    let error = open(&server).unlogged().count(NOW).await.unwrap_err().to_string();
    assert!(error.contains("SET UNLOGGED"), "{error}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_database_that_is_not_fit_is_refused_with_what_to_do() {
    let server = Server::start(&[]);
    run(&server, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").await;
    let latin = PostgresStore::open(&server.url().replace("/postgres", "/latin")).unwrap();
    let error = latin.count(NOW).await.unwrap_err().to_string();
    assert!(error.contains("ENCODING 'UTF8'"), "{error}");

    let store = open(&server);
    create(&store, 1, &of("ada", 1)).await;
    run(&server, "CREATE ROLE strict SUPERUSER LOGIN").await;
    run(&server, "ALTER ROLE strict SET default_transaction_isolation = 'repeatable read'").await;
    let strict = PostgresStore::open(&server.url().replace("live@", "strict@")).unwrap();
    assert!(matches!(strict.load(&key(1), NOW).await.unwrap(), Load::Found(..)));
    let error = strict.revoke("ada", Revoke::All, ended(1), NOW).await.unwrap_err().to_string();
    assert!(error.contains("default_transaction_isolation"), "{error}");
    let error = strict.create(&key(2), version(2), of("ada", 2), None, NOW).await.unwrap_err().to_string();
    assert!(error.contains("default_transaction_isolation"), "{error}");
}

// Statements.

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn each_call_is_one_round_trip() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(&server).await;
    let store = PostgresStore::open(&proxy.url()).unwrap();
    // The first of each is prepared before.
    for round in [0_u64, 100] {
        let (one, two, three) = (key(round + 1), key(round + 2), key(round + 3));
        let is_warm = round > 0;
        let counts = async |what: &str| {
            let asked = proxy.round_trips();
            assert!(asked == 1 || !is_warm, "{what}: {asked} round trips");
        };
        proxy.round_trips();
        let cap = Cap { most: NonZeroU32::new(5).unwrap(), end_oldest: Some(ended(9)) };
        store.create(&one, version(1), of("ada", round + 1), Some(&cap), NOW).await.unwrap();
        counts("create").await;
        store.load(&one, NOW).await.unwrap();
        counts("load").await;
        store.replace(&one, version(1), version(2), of("ada", round + 1), NOW).await.unwrap();
        counts("replace").await;
        store.touch(&one, version(2), later(4_000), NOW).await.unwrap();
        counts("touch").await;
        store.rename(&one, None, &two, version(3), of("ada", round + 1), ended(1), Some(&cap), NOW).await.unwrap();
        counts("rename").await;
        store.delete(&two, None, ended(2), NOW).await.unwrap();
        counts("delete").await;
        store.create(&three, version(1), of("ada", round + 1), None, NOW).await.unwrap();
        counts("create").await;
        store.revoke("ada", Revoke::All, ended(3), NOW).await.unwrap();
        counts("revoke").await;
        store.list(Some("ada"), None, 10, NOW).await.unwrap();
        counts("list").await;
        store.count(NOW).await.unwrap();
        counts("count").await;
        store.epoch(Some("ada")).await.unwrap();
        counts("epoch").await;
        store.ping(NOW).await.unwrap();
        counts("ping").await;
    }
}

/// The plans of whatever this runs, the statements within functions, too.
async fn plans(server: &Server, sql: &str) -> String {
    let (client, mut connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    let told = Arc::<Mutex<String>>::default();
    let hears = Arc::clone(&told);
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message {
                *hears.lock().unwrap() += notice.message();
            }
        }
    });
    let settings = "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; \
                    SET client_min_messages = log;";
    client.batch_execute(settings).await.unwrap();
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    told.lock().unwrap().clone()
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn no_call_of_a_request_looks_at_every_row() {
    let server = Server::start(&[]);
    let store = open(&server);
    create(&store, 1, &of("ada", 1)).await;
    run(
        &server,
        "INSERT INTO dewar.session (key, version, gone, expires, created, idle_seconds, idle_expires, persistent, owner,
            principal, lineage, epoch, data)
         SELECT sha256(i::text::bytea), i, false, 1800003600000, i, 3600, 1800003600000, false,
            sha256((i % 5000)::text::bytea), i % 5000, i, 0, '' FROM generate_series(1, 50000) i;
         INSERT INTO dewar.epoch SELECT sha256(i::text::bytea), i, NULL FROM generate_series(1, 5000) i;
         ANALYZE",
    )
    .await;
    let record = "ROW(NULL, 1800003600000, 0, 3600, 1800003600000, NULL, false, sha256('7'), '7', NULL, 99, NULL, NULL, 'x')::dewar.record_1";
    let dead = "ROW(0, 1, 0, 1800000120000, NULL, NULL)::dewar.tombstone_1";
    let (now, one) = ("1800000000000", "sha256('1')");
    for (call, index) in [
        (
            format!("SELECT * FROM dewar.session WHERE key = {one} AND (expires > {now} OR guarded_until > {now})"),
            "session_pkey",
        ),
        (format!("SELECT * FROM dewar.create_1('a', 1, {record}, NULL, NULL, {now})"), "epoch_pkey"),
        (format!("SELECT * FROM dewar.create_1('b', 1, {record}, 3, {dead}, {now})"), "session_owner"),
        (format!("SELECT * FROM dewar.replace_1({one}, 1, 2, {record}, {now})"), "session_pkey"),
        (format!("SELECT * FROM dewar.touch_1({one}, 2, 1800003700000, {now})"), "session_pkey"),
        (
            format!("SELECT * FROM dewar.rename_1({one}, NULL, 'c', 1, {record}, {dead}, 3, {dead}, {now})"),
            "session_owner",
        ),
        (format!("SELECT * FROM dewar.delete_1(sha256('2'), NULL, NULL, {dead}, {now})"), "session_pkey"),
        (format!("SELECT dewar.revoke_1(sha256('8'), NULL, 3, 9, {dead}, {now})"), "session_owner"),
        (format!("SELECT dewar.revoke_1(sha256('9'), 9, NULL, 0, {dead}, {now})"), "session_owner"),
        (
            format!(
                "SELECT * FROM dewar.session WHERE owner = sha256('5') AND key > '' AND NOT gone AND expires > {now} ORDER BY key LIMIT 10"
            ),
            "session_owner",
        ),
        (
            format!(
                "SELECT * FROM dewar.session WHERE key > '' AND NOT gone AND expires > {now} ORDER BY key LIMIT 10"
            ),
            "session_pkey",
        ),
        ("SELECT dewar.epoch_1(sha256('5'))".to_owned(), "epoch_pkey"),
        (format!("SELECT * FROM dewar.purge_1(100, {now})"), "session_due"),
        (format!("SELECT * FROM dewar.purge_1(100, {now})"), "session_guarded"),
    ] {
        // The first plans of a function are made for their values, the later ones for any.
        let plans = plans(&server, &format!("SET plan_cache_mode = force_generic_plan; {call}")).await;
        assert!(plans.contains(index), "{call}\n{plans}");
        let scans = plans
            .lines()
            .filter(|line| line.contains("Seq Scan") && !line.contains("on schema") && !line.contains("on turn"));
        assert_eq!(scans.collect::<Vec<_>>(), [""; 0], "{call}\n{plans}");
    }
    assert!(plans(&server, &format!("SELECT dewar.count_1({now})")).await.contains("session_due"));
}

// Time and space.

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_purge_leaves_what_somebody_is_writing_and_one_of_many_is_told_to_purge() {
    let server = Server::start(&[]);
    let store = open(&server);
    for number in 0..2_500 {
        create(&store, number, &record(b"x")).await;
    }
    let mut writer = client(&server.url()).await;
    let transaction = writer.transaction().await.unwrap();
    let held = key(7).digest().to_vec();
    transaction.execute("SELECT FROM dewar.session WHERE key = $1 FOR UPDATE", &[&held]).await.unwrap();
    let asked = tokio::time::timeout(Duration::from_secs(3), store.purge(10_000, later(5_000))).await;
    assert_eq!(asked.expect("nobody waits").unwrap(), 2_499);
    transaction.rollback().await.unwrap();
    assert_eq!(store.purge(10_000, later(5_000)).await.unwrap(), 1);

    let processes: Vec<_> = (0..8).map(|_| open(&server)).collect();
    for minute in 0..3 {
        let now = later(60 * minute);
        let claims = processes.iter().cloned().map(|store| async move { store.claim_purge(now).await.unwrap() });
        let told = claims.collect::<JoinSet<_>>().join_all().await;
        assert_eq!(told.into_iter().filter(|told| *told).count(), 1, "in minute {minute}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn the_callers_clock_decides_and_not_the_servers() {
    let server = Server::start(&[]);
    let store = open(&server);
    let long_ago = dewar::store::Timestamp::from_secs(1_000);
    let old = Record { idle_expires: dewar::store::Timestamp::from_secs(2_000), ..record(b"x") };
    store.create(&key(1), version(1), old, None, long_ago).await.unwrap();
    assert!(matches!(store.load(&key(1), long_ago).await.unwrap(), Load::Found(..)));
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Missing);
}

// Many at once.

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn of_64_log_ins_at_once_never_more_live_than_the_cap_allows() {
    let server = Server::start(&[]);
    let store = open(&server);
    for (round, end_oldest) in [(0, None), (1, Some(ended(5)))] {
        let refuses = end_oldest.is_none();
        let cap = Arc::new(Cap { most: NonZeroU32::new(5).unwrap(), end_oldest });
        let principal = format!("ada {round}");
        let log_ins = (1..=64).map(|number| {
            let (store, cap, record) = (store.clone(), Arc::clone(&cap), of(&principal, number));
            let (from, to) = (key(10_000 * round + number), key(10_000 * round + 5_000 + number));
            async move {
                if number % 2 == 0 {
                    return store.create(&to, version(1), record, Some(&cap), NOW).await.unwrap() == Create::Full;
                }
                let nobodys = Record { principal: None, lineage: 0, ..record.clone() };
                store.create(&from, version(1), nobodys, None, NOW).await.unwrap();
                let renamed = store.rename(&from, None, &to, version(2), record, ended(number), Some(&cap), NOW).await;
                renamed.unwrap() == Rename::Full
            }
        });
        let watch = tokio::spawn({
            let (store, principal) = (store.clone(), principal.clone());
            async move {
                loop {
                    let live = store.list(Some(&principal), None, 100, NOW).await.unwrap().len();
                    assert!(live <= 5, "{live} live");
                }
            }
        });
        let refused = log_ins.collect::<JoinSet<_>>().join_all().await.into_iter().filter(|refused| *refused).count();
        watch.abort();
        assert!(watch.await.unwrap_err().is_cancelled());
        assert_eq!(store.list(Some(&principal), None, 100, NOW).await.unwrap().len(), 5);
        assert_eq!(refused, if refuses { 59 } else { 0 });
    }
}

/// What is not yet committed is on no list.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn no_log_in_and_no_renewal_outruns_the_end_of_all_sessions() {
    let server = Server::start(&[]);
    let store = open(&server);
    for round in 0..40_u64 {
        let principal = format!("user {round}");
        let epoch = create(&store, 100_000 + round * 100, &of(&principal, 1)).await;
        let tasks = (1..=12_u64).map(|number| {
            let (store, principal) = (store.clone(), principal.clone());
            let (first, to) = (key(100_000 + round * 100), key(100_000 + round * 100 + number));
            async move {
                let mut record = of(&principal, if number == 1 { 1 } else { number });
                record.epoch = Some(epoch);
                match number {
                    1 => drop(
                        store.rename(&first, None, &to, version(2), record, ended(number), None, NOW).await.unwrap(),
                    ),
                    6 if round % 2 == 0 => {
                        assert!(store.revoke(&principal, Revoke::All, ended(number), NOW).await.is_ok())
                    }
                    6 => assert!(store.revoke_everyone(ended(number), NOW).await.is_ok()),
                    _ => drop(store.create(&to, version(1), record, None, NOW).await.unwrap()),
                }
            }
        });
        tasks.collect::<JoinSet<_>>().join_all().await;
        assert_eq!(store.list(Some(&principal), None, 100, NOW).await.unwrap(), [], "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn one_lineage_that_is_revoked_while_it_is_renewed_is_dead_under_either_key() {
    let server = Server::start(&[]);
    let store = open(&server);
    for round in 0..60_u64 {
        let (from, to) = (key(2 * round), key(2 * round + 1));
        store.create(&from, version(1), of("ada", round + 1), None, NOW).await.unwrap();
        let renewing = {
            let (store, from, to) = (store.clone(), from.clone(), to.clone());
            tokio::spawn(async move {
                let record = Record { epoch: Some(0), ..of("ada", round + 1) };
                store.rename(&from, None, &to, version(2), record, ended(1), None, NOW).await.unwrap()
            })
        };
        store.revoke("ada", Revoke::Lineage(round + 1), ended(2), NOW).await.unwrap();
        renewing.await.unwrap();
        assert!(store.list(Some("ada"), None, 10, NOW).await.unwrap().is_empty(), "round {round}");
    }
}

/// A visitor who goes away leaves an answer behind, which nobody else reads.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn nobody_reads_the_answer_of_a_visitor_who_went_away() {
    let server = Server::start(&[]);
    for store in [with(&server, "pool=2"), on_a_pool(&server).schema("other").unwrap()] {
        for number in 0..50 {
            let mine = Record { data: number.to_string().into_bytes().into(), ..record(b"") };
            store.create(&key(number), version(number), mine, None, NOW).await.unwrap();
        }
        let visitors = (0..2_000_u64).map(|visitor| {
            let store = store.clone();
            async move {
                let number = visitor % 50;
                let key = key(number);
                let asked = store.load(&key, NOW);
                if visitor % 3 == 0 {
                    // At whatever moment.
                    let patience = Duration::from_micros(visitor % 700);
                    let _ = tokio::time::timeout(patience, asked).await;
                    return;
                }
                let Load::Found(record, at) = asked.await.unwrap() else { panic!("missing") };
                assert_eq!((record.data, at), (number.to_string().into_bytes().into(), version(number)));
            }
        });
        visitors.collect::<JoinSet<_>>().join_all().await;
    }
}

// Endings.

async fn told(heard: &Mutex<Vec<Ending>>, count: usize) -> Vec<Ending> {
    for _ in 0..500 {
        if heard.lock().unwrap().len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    std::mem::take(&mut *heard.lock().unwrap())
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn endings_are_told_to_every_process_as_soon_as_they_are_committed() {
    let mut server = Server::start(&[]);
    let (store, other) = (open(&server), open(&server));
    let heard = Arc::<Mutex<Vec<Ending>>>::default();
    let hears = Arc::clone(&heard);
    let task = other.endings(Arc::new(move |ending| hears.lock().unwrap().push(ending))).unwrap();
    let listening = tokio::spawn(task);
    assert_eq!(told(&heard, 1).await, [Ending::Any], "it has begun to listen");

    let foreign = StoreKey::foreign("sess:\0a");
    store.create(&foreign, version(1), record(b"x"), None, NOW).await.unwrap();
    for number in 1..=4 {
        create(&store, number, &of("ada", number)).await;
    }
    store.replace(&key(1), version(1), version(9), of("ada", 1), NOW).await.unwrap();
    store.delete(&key(99), None, ended(1), NOW).await.unwrap();
    store.delete(&foreign, None, ended(1), NOW).await.unwrap();
    store.delete(&key(1), None, ended(1), NOW).await.unwrap();
    store.rename(&key(2), None, &key(5), version(1), of("ada", 2), ended(1), None, NOW).await.unwrap();
    let cap = Cap { most: NonZeroU32::new(3).unwrap(), end_oldest: Some(ended(2)) };
    store.create(&key(6), version(1), of("ada", 6), Some(&cap), NOW).await.unwrap();
    store.revoke("ada", Revoke::All, ended(3), NOW).await.unwrap();
    let mut heard_of = told(&heard, 7).await;
    let ends_of =
        |heard: &[Ending], key: &StoreKey| heard.iter().filter(|ending| **ending == Ending::Of(key.clone())).count();
    assert_eq!(heard_of[..3], [Ending::Of(foreign), Ending::Of(key(1)), Ending::Of(key(2))]);
    heard_of.drain(..3);
    assert_eq!(heard_of.len(), 4, "one gave way, three were ended: {heard_of:?}");
    for number in [3, 4, 5, 6] {
        assert_eq!(ends_of(&heard_of, &key(number)), 1, "{heard_of:?}");
    }

    for number in 200..400 {
        create(&store, number, &record(b"x")).await;
    }
    store.revoke_everyone(ended(4), NOW).await.unwrap();
    assert_eq!(told(&heard, 1).await, [Ending::Any], "too many to name");

    server.kill();
    server.restart();
    assert_eq!(told(&heard, 1).await, [Ending::Any], "it listens again");
    create(&store, 500, &record(b"x")).await;
    store.delete(&key(500), None, ended(1), NOW).await.unwrap();
    assert_eq!(told(&heard, 1).await, [Ending::Of(key(500))]);
    listening.abort();
    assert!(on_a_pool(&server).endings(Arc::new(drop)).is_none());
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn whoever_begins_to_listen_misses_nothing_that_is_under_way() {
    let server = Server::start(&[]);
    let store = open(&server);
    create(&store, 1, &record(b"x")).await;
    // A log-out that has looked for listeners, and is not committed.
    let mut slow = client(&server.url()).await;
    let transaction = slow.transaction().await.unwrap();
    let key = key(1).digest().to_vec();
    let delete = "SELECT * FROM dewar.delete_1($1, NULL, NULL, ROW(0, 1, 0, 1900000000000, NULL, NULL)::dewar.tombstone_1, 1800000000000)";
    transaction.execute(delete, &[&key]).await.unwrap();
    let heard = Arc::<Mutex<Vec<Ending>>>::default();
    let hears = Arc::clone(&heard);
    let listening = tokio::spawn(store.endings(Arc::new(move |ending| hears.lock().unwrap().push(ending))).unwrap());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(heard.lock().unwrap().is_empty(), "it has not begun: what is under way would not be told");
    transaction.commit().await.unwrap();
    assert_eq!(told(&heard, 1).await, [Ending::Any]);
    listening.abort();
}

// What is told to nobody.

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn the_answers_of_writes_that_meet_nothing_are_as_the_contract_says() {
    let server = Server::start(&[]);
    let store = open(&server);
    let nothing = key(1);
    assert_eq!(store.replace(&nothing, version(1), version(2), record(b"x"), NOW).await.unwrap(), Replace::Gone(None));
    assert_eq!(store.touch(&nothing, version(1), later(9), NOW).await.unwrap(), Touch::Gone(None));
    assert_eq!(store.delete(&nothing, Some(version(1)), ended(1), NOW).await.unwrap(), Delete::Gone(None));
    let error = {
        create(&store, 2, &record(b"x")).await;
        create(&store, 3, &record(b"x")).await;
        store.rename(&key(2), None, &key(3), version(9), record(b"x"), ended(1), None, NOW).await.unwrap_err()
    };
    assert!(error.to_string().contains("something stands under the new key"), "{error}");
    assert!(matches!(store.load(&key(2), NOW).await.unwrap(), Load::Found(..)), "nothing was written");
    assert!(!format!("{store:?}").contains("live@"), "{store:?}");
}
