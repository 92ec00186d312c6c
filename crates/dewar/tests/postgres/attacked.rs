//! What somebody tried who wanted to read, keep or end other people's sessions: by the database, by the application's pool, by an address.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use crate::support::{
    hang_ups::{Dropped, everybody_gets_their_own},
    pgbouncer::Pooler,
    postgres::{client, number, open, run, with},
    postgres_proxy::Proxy,
    postgres_server::Server,
    stores::{NOW, create, ended, key, later, lives, of, record, version},
};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use dewar::store::{
    Cap, Load, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError, postgres::PostgresStore,
    postgres_deadpool0_14,
};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

fn pool(url: &str, size: usize, recycling_method: RecyclingMethod) -> Pool {
    let manager = Manager::from_config(url.parse().unwrap(), NoTls, ManagerConfig { recycling_method });
    Pool::builder(manager).max_size(size).build().unwrap()
}

fn as_user(server: &Server, user: &str) -> String {
    server.url().replace("live@", &format!("{user}@"))
}

fn one_at_most() -> Cap {
    Cap { most: 1.try_into().unwrap(), end_oldest: Some(ended(1)) }
}

/// A few calls of every kind; nothing is left.
async fn works(store: &PostgresStore) -> Result<(), StoreError> {
    store.ping(NOW).await?;
    for number in 1..=3 {
        store.create(&key(number), version(number), of("ada", number), Some(&one_at_most()), NOW).await?;
        store.create(&key(number + 10), version(number), record(b"x"), None, NOW).await?;
    }
    assert!(lives(store, &key(3), NOW).await && !lives(store, &key(2), NOW).await);
    let (from, to, cap) = (key(3), key(4), one_at_most());
    let renamed = store.rename(&from, None, &to, version(4), of("ada", 3), ended(1), Some(&cap), NOW).await?;
    assert!(matches!(renamed, Rename::Renamed(_)));
    store.touch(&key(4), version(4), later(9), NOW).await?;
    store.replace(&key(4), version(4), version(5), of("ada", 3), NOW).await?;
    assert_eq!(
        store.replace(&key(11), version(1), version(2), of("eve", 9), NOW).await?,
        Replace::Replaced(version(2))
    );
    assert_eq!(store.list(Some("ada"), None, 9, NOW).await?.len(), 1);
    assert_eq!(store.list(None, None, 99, NOW).await?.len(), 4);
    assert_eq!(store.count(NOW).await?, 4);
    store.epoch(Some("ada")).await?;
    assert_eq!(store.revoke("ada", Revoke::All, ended(1), NOW).await?, 1);
    store.delete(&key(77), None, ended(1), NOW).await?;
    store.delete(&key(12), None, ended(1), NOW).await?;
    assert_eq!(store.revoke_everyone(ended(1), NOW).await?, 2);
    store.claim_purge(NOW).await?;
    store.purge(100, later(9_000)).await?;
    assert_eq!(store.list(None, None, 99, NOW).await?, []);
    Ok(())
}

// Other users of the database.

/// Each of them tells that it was called, and by whom.
const THEIRS: &[(&str, &str, &str)] = &[
    // Closer than the server's own to what is written without casts.
    ("FUNCTION public.hashtextextended(a text, b integer)", "bigint", "1"),
    ("FUNCTION public.cardinality(a bytea[])", "integer", "0"),
    ("FUNCTION public.array_agg(a bytea)", "bytea[]", "ARRAY[a]"),
    ("FUNCTION public.pg_notify(a text, b text)", "void", "NULL"),
    ("FUNCTION public.current_setting(a text)", "text", "'read committed'"),
    ("FUNCTION public.get_byte(a bytea, b integer)", "integer", "0"),
    ("FUNCTION public.encode(a bytea, b text)", "text", "''"),
    ("FUNCTION public.clock_timestamp()", "timestamptz", "'2000-01-01'"),
    ("FUNCTION public.to_regclass(a text)", "regclass", "NULL"),
    ("FUNCTION public.has_table_privilege(a text, b text)", "boolean", "true"),
    ("FUNCTION public.transaction_timestamp()", "timestamptz", "'2000-01-01'"),
    ("FUNCTION public.pg_backend_pid()", "integer", "0"),
    ("FUNCTION public.same(a bytea, b bytea)", "boolean", "true"),
    ("FUNCTION public.same(a bigint, b bigint)", "boolean", "true"),
    ("FUNCTION public.same(a text, b text)", "boolean", "true"),
    ("FUNCTION public.same(a bigint, b integer)", "boolean", "true"),
    ("FUNCTION public.times(a bigint, b interval)", "interval", "'1 second'"),
];

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_function_of_a_stranger_in_public_is_never_called_by_the_store() {
    let server = Server::start(&[]);
    let roles = "CREATE ROLE mallory LOGIN; CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app; \
                 GRANT CREATE ON SCHEMA public TO mallory";
    run(&server, roles).await;
    let mallory = client(&as_user(&server, "mallory")).await;
    let caught = "CREATE TABLE public.caught (who text, what text); GRANT INSERT ON public.caught TO public";
    mallory.batch_execute(caught).await.unwrap();
    for (what, returns, answer) in THEIRS {
        let function = format!(
            "CREATE {what} RETURNS {returns} LANGUAGE plpgsql AS $f$ BEGIN \
             INSERT INTO public.caught VALUES (current_user, $w${what}$w$); {} END $f$",
            if *returns == "void" { "RETURN;".to_owned() } else { format!("RETURN {answer};") }
        );
        mallory.batch_execute(&function).await.unwrap_or_else(|error| panic!("{function}: {error:?}"));
    }
    for (name, function, left, right) in [
        ("=", "same", "bytea", "bytea"),
        (">", "same", "bytea", "bytea"),
        ("=", "same", "bigint", "bigint"),
        (">", "same", "bigint", "bigint"),
        ("<=", "same", "bigint", "integer"),
        ("=", "same", "text", "text"),
        ("<>", "same", "text", "text"),
        ("*", "times", "bigint", "interval"),
    ] {
        let operator = format!(
            "CREATE OPERATOR public.{name} (FUNCTION = public.{function}, LEFTARG = {left}, RIGHTARG = {right})"
        );
        mallory.batch_execute(&operator).await.unwrap_or_else(|error| panic!("{operator}: {error:?}"));
    }
    // Of the same name as a type that is no word of SQL's own.
    mallory.batch_execute("CREATE DOMAIN public.bytea AS text; CREATE DOMAIN public.text AS integer").await.unwrap();
    for path in ["DEFAULT", "public, pg_catalog"] {
        run(&server, &format!("ALTER ROLE app SET search_path = {path}; DROP SCHEMA IF EXISTS dewar CASCADE")).await;
        let store = PostgresStore::open(&as_user(&server, "app")).unwrap();
        works(&store).await.unwrap();
        let pooled = postgres_deadpool0_14::store(pool(&as_user(&server, "app"), 2, RecyclingMethod::Fast));
        works(&pooled).await.unwrap();
        let caught = client(&server.url()).await.query("SELECT DISTINCT what FROM public.caught", &[]).await.unwrap();
        let caught: Vec<String> = caught.iter().map(|row| row.get(0)).collect();
        assert!(caught.is_empty(), "with the path {path} the stranger's code ran: {caught:#?}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_role_without_any_right_keeps_nobody_from_starting_and_from_logging_in_and_out() {
    let server = Server::start(&[]);
    run(&server, "CREATE ROLE mallory LOGIN").await;
    let mut mallory = client(&as_user(&server, "mallory")).await;
    // Whatever she could know to be a lock of ours: the hashes of these words, and of everybody's name.
    let locks = "SELECT pg_advisory_lock(hashtextextended(word, 0)) FROM unnest(ARRAY['dewar:schema', 'dewar:everybody', \
                 'dewar:listen', 'dewar:principal' || encode(sha256('ada'), 'hex')]) word";
    mallory.batch_execute(locks).await.unwrap();
    let store = open(&server).time_limit(Duration::from_secs(2));
    create(&store, 1, &of("ada", 1)).await;
    for attempt in [
        "LOCK TABLE dewar.turn IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE dewar.schema IN ACCESS SHARE MODE",
        "SELECT FROM dewar.turn FOR UPDATE",
        "SELECT dewar.lock_1(sha256('ada'), true)",
    ] {
        let transaction = mallory.transaction().await.unwrap();
        let denied = transaction.batch_execute(attempt).await.unwrap_err();
        assert_eq!(denied.code().map(|code| code.code()), Some("42501"), "{attempt}");
    }
    let heard = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let hears = std::sync::Arc::clone(&heard);
    let tell = move |_| hears.store(true, std::sync::atomic::Ordering::SeqCst);
    let listening = tokio::spawn(store.endings(std::sync::Arc::new(tell)).unwrap());
    let start = Instant::now();
    while !heard.load(std::sync::atomic::Ordering::SeqCst) {
        assert!(start.elapsed() < Duration::from_secs(4), "nobody can listen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store.delete(&key(1), None, ended(1), NOW).await.unwrap();
    store.create(&key(2), version(2), of("ada", 2), Some(&one_at_most()), NOW).await.unwrap();
    store.revoke_everyone(ended(2), NOW).await.unwrap();
    works(&with(&server, "schema=another").time_limit(Duration::from_secs(2))).await.unwrap();
    listening.abort();
    // It has none of them.
    assert_eq!(number(&server, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").await, 4, "hers alone");
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_right_that_is_missing_is_found_by_ping_and_named_by_every_call() {
    let server = Server::start(&[]);
    let roles = "CREATE ROLE app LOGIN; ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; \
                 ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC";
    run(&server, roles).await;
    let owner = open(&server);
    create(&owner, 1, &of("ada", 1)).await;
    let app = PostgresStore::open(&as_user(&server, "app")).unwrap();
    let mut missing = 0;
    for grant in [
        "USAGE ON SCHEMA dewar",
        "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dewar",
        "EXECUTE ON ALL FUNCTIONS IN SCHEMA dewar",
    ] {
        let pinged = app.ping(NOW).await.unwrap_err().to_string();
        let deleted = app.delete(&key(1), None, ended(1), NOW).await.unwrap_err().to_string();
        for error in [pinged, deleted] {
            let named = grant.replace("dewar", "\"dewar\"");
            assert!(error.contains(&format!("GRANT {named}")), "{grant}: {error}");
        }
        missing += 1;
        run(&server, &format!("GRANT {grant} TO app")).await;
    }
    assert_eq!(missing, 3);
    owner.delete(&key(1), None, ended(1), NOW).await.unwrap();
    owner.purge(9, later(9_000)).await.unwrap();
    works(&app).await.unwrap();
    for one in ["DELETE ON dewar.session", "UPDATE ON dewar.epoch", "UPDATE ON dewar.turn", "SELECT ON dewar.schema"] {
        run(&server, &format!("REVOKE {one} FROM app")).await;
        let error = app.ping(NOW).await.unwrap_err().to_string();
        assert!(error.contains("GRANT"), "{one}: {error}");
        run(&server, &format!("GRANT {one} TO app")).await;
        app.ping(NOW).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn the_settings_of_a_role_do_not_matter() {
    let server = Server::start(&[]);
    for (number, setting) in [
        "plpgsql.extra_errors = 'all'",
        "plpgsql.variable_conflict = 'use_column'",
        "plpgsql.variable_conflict = 'use_variable'",
        "search_path = ''",
        "search_path = public, pg_catalog",
        "standard_conforming_strings = off",
        "bytea_output = escape",
        "default_transaction_deferrable = on",
        "enable_seqscan = off",
        "transform_null_equals = on",
        "array_nulls = off",
        "intervalstyle = sql_standard",
        "timezone = 'Asia/Kolkata'",
        "xmloption = document",
        "row_security = off",
        "quote_all_identifiers = on",
        "plan_cache_mode = force_generic_plan",
        "plan_cache_mode = force_custom_plan",
        "check_function_bodies = off",
        "client_encoding = latin1",
    ]
    .into_iter()
    .enumerate()
    {
        run(&server, &format!("ALTER ROLE live RESET ALL; ALTER ROLE live SET {setting}")).await;
        let store = with(&server, &format!("schema=s{number}"));
        works(&store).await.unwrap_or_else(|error| panic!("{setting}: {error}"));
    }
}

// The schema.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_schema_of_the_version_before_is_brought_up_to_date_by_who_starts_first() {
    let server = Server::start(&[]);
    create(&open(&server), 1, &of("ada", 1)).await;
    let before = "DROP TABLE dewar.turn; DROP FUNCTION dewar.epoch_1; UPDATE dewar.schema SET version = 1; \
                  CREATE OR REPLACE FUNCTION dewar.lock_1(p_owner bytea, p_alone boolean) RETURNS void LANGUAGE plpgsql AS \
                  'BEGIN PERFORM pg_advisory_xact_lock_shared(1); END'";
    run(&server, before).await;
    run(&server, "CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA dewar TO app; GRANT SELECT ON dewar.schema TO app")
        .await;
    let error = PostgresStore::open(&as_user(&server, "app")).unwrap().ping(NOW).await.unwrap_err().to_string();
    assert!(error.contains("schema_sql"), "who may not is told what its owner runs: {error}");
    let stores: Vec<_> = (0..16).map(|_| with(&server, "pool=1")).collect();
    let asked = stores.into_iter().map(|store| async move { store.ping(NOW).await });
    for answer in asked.collect::<JoinSet<_>>().join_all().await {
        answer.unwrap();
    }
    let store = open(&server);
    assert!(lives(&store, &key(1), NOW).await);
    assert_eq!(store.revoke_everyone(ended(1), NOW).await.unwrap(), 1);
    works(&store).await.unwrap();
    assert_eq!(number(&server, "SELECT version::bigint FROM dewar.schema").await, 2);
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_lock_that_was_removed_is_said_to_be_and_made_again_by_the_schemas_sql() {
    let server = Server::start(&[]);
    let store = open(&server);
    create(&store, 1, &of("ada", 1)).await;
    run(&server, "DELETE FROM dewar.turn").await;
    let error = store.revoke("ada", Revoke::All, ended(1), NOW).await.unwrap_err().to_string();
    assert!(error.contains("schema_sql"), "{error}");
    assert!(lives(&store, &key(1), NOW).await);
    run(&server, &store.schema_sql()).await;
    assert_eq!(store.revoke("ada", Revoke::All, ended(1), NOW).await.unwrap(), 1);
}

// The application's own pool.

#[tokio::test]
#[ignore = "needs PostgreSQL and PgBouncer; cargo xtask live"]
async fn a_connection_that_is_given_back_in_the_middle_of_a_transaction_is_refused_and_nothing_is_written() {
    let server = Server::start(&[]);
    let pooler = Pooler::start(&server);
    for url in [server.url(), pooler.url()] {
        let pool = pool(&url, 1, RecyclingMethod::Fast);
        let store = postgres_deadpool0_14::store(pool.clone());
        create(&store, 1, &of("ada", 1)).await;
        for begun in [
            "BEGIN",
            "BEGIN; SELECT 1",
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1",
            "BEGIN; CREATE TEMP TABLE a ()",
        ] {
            for call in 0..6 {
                // A handler of the application returned early, in the middle of its transaction.
                pool.get().await.unwrap().batch_execute(begun).await.unwrap();
                let error = match call {
                    0 => store.delete(&key(1), None, ended(1), NOW).await.map(drop),
                    1 => store.create(&key(2), version(2), of("ada", 2), None, NOW).await.map(drop),
                    2 => store
                        .rename(&key(1), None, &key(3), version(3), of("ada", 1), ended(1), None, NOW)
                        .await
                        .map(drop),
                    3 => store.replace(&key(1), version(1), version(9), record(b"y"), NOW).await.map(drop),
                    4 => store.revoke("ada", Revoke::All, ended(1), NOW).await.map(drop),
                    _ => store.load(&key(1), NOW).await.map(drop),
                };
                let error = error.expect_err(begun).to_string();
                assert!(error.contains("in the middle of a transaction") && error.contains("COMMIT"), "{error}");
                // Whoever comes next has another connection, where nothing is begun.
                pool.get().await.unwrap().batch_execute("COMMIT").await.unwrap();
                assert!(matches!(store.load(&key(1), NOW).await.unwrap(), Load::Found(_, at) if at == version(1)));
                assert_eq!(store.count(NOW).await.unwrap(), 1, "{begun}, then the call {call}");
            }
        }
        // One in which something failed is one, too.
        pool.get().await.unwrap().batch_execute("BEGIN; SELECT 1/0").await.unwrap_err();
        let error = store.delete(&key(1), None, ended(1), NOW).await.unwrap_err().to_string();
        assert!(error.contains("in the middle of a transaction"), "{error}");
        store.delete(&key(1), None, ended(1), NOW).await.unwrap();
        pool.get().await.unwrap().batch_execute("ROLLBACK").await.unwrap();
        assert!(!lives(&store, &key(1), NOW).await, "what was confirmed is committed");
        store.purge(9, later(9_000)).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn the_first_call_on_a_connection_in_the_middle_of_a_transaction_makes_no_schema_that_is_lost() {
    let server = Server::start(&[]);
    let pool = pool(&server.url(), 1, RecyclingMethod::Fast);
    let store = postgres_deadpool0_14::store(pool.clone());
    for begun in ["BEGIN", "BEGIN; SELECT 1/0"] {
        let _ = pool.get().await.unwrap().batch_execute(begun).await;
        let error = store.create(&key(1), version(1), of("ada", 1), None, NOW).await.unwrap_err().to_string();
        assert!(error.contains("in the middle of a transaction"), "{begun}: {error}");
        assert_eq!(number(&server, "SELECT count(*) FROM pg_namespace WHERE nspname = 'dewar'").await, 0, "{begun}");
    }
    create(&store, 1, &of("ada", 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_call_on_the_applications_pool_is_one_round_trip_and_never_taken_for_a_part_of_a_transaction() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(&server).await;
    let store = postgres_deadpool0_14::store(pool(proxy.url().split('?').next().unwrap(), 1, RecyclingMethod::Fast));
    create(&store, 1, &of("ada", 1)).await;
    lives(&store, &key(1), NOW).await;
    store.count(NOW).await.unwrap();
    // What it is asked for is written at once, unless the scheduler comes between: more often it does not.
    let mut fewest = u64::MAX;
    for _ in 0..20 {
        proxy.round_trips();
        store.load(&key(1), NOW).await.unwrap();
        fewest = fewest.min(proxy.round_trips());
    }
    assert_eq!(fewest, 1);
    let busy = postgres_deadpool0_14::store(pool(&server.url(), 4, RecyclingMethod::Fast));
    let asked = (0..3_000_u64).map(|number| {
        let store = busy.clone();
        async move {
            if number % 3 == 0 {
                store.create(&key(number + 10), version(1), of("eve", number), None, NOW).await.map(drop)
            } else {
                store.load(&key(1), NOW).await.map(drop)
            }
        }
    });
    for answer in asked.collect::<JoinSet<_>>().join_all().await {
        answer.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_pool_that_discards_all_between_two_users_keeps_its_connections() {
    let server = Server::start(&[]);
    let pool = pool(&server.url(), 3, RecyclingMethod::Custom("DISCARD ALL".into()));
    let store = postgres_deadpool0_14::store(pool.clone());
    create(&store, 1, &of("ada", 1)).await;
    let mut processes = HashSet::new();
    for _ in 0..20 {
        let one = pool.get().await.unwrap();
        let two = pool.get().await.unwrap();
        for client in [&one, &two] {
            let process: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
            processes.insert(process);
        }
        drop((one, two));
        assert!(lives(&store, &key(1), NOW).await);
        store.replace(&key(1), version(1), version(1), of("ada", 1), NOW).await.unwrap();
    }
    assert!(processes.len() <= 3, "{} connections for 40 calls", processes.len());
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_column_that_changes_under_what_was_prepared_costs_no_call_and_no_connection() {
    let server = Server::start(&[]);
    let stores = [with(&server, "pool=1"), postgres_deadpool0_14::store(pool(&server.url(), 1, RecyclingMethod::Fast))];
    create(&stores[0], 1, &of("ada", 1)).await;
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%dewar%session WHERE key%' AND pid <> pg_backend_pid()";
    for store in &stores {
        assert!(lives(store, &key(1), NOW).await);
    }
    assert_eq!(number(&server, connections).await, 2);
    for column in ["varchar(99)", "text"] {
        run(&server, &format!("ALTER TABLE dewar.session ALTER COLUMN label TYPE {column}")).await;
        for store in &stores {
            for _ in 0..2 {
                assert!(lives(store, &key(1), NOW).await, "{column}");
            }
        }
        assert_eq!(number(&server, connections).await, 2);
    }
}

// Visitors.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL and PgBouncer; cargo xtask live"]
async fn whoever_hangs_up_in_the_middle_leaves_nothing_to_another() {
    let server = Server::start(&[]);
    everybody_gets_their_own(with(&server, "pool=3"), Dropped::MayBeDoneLate).await;
    let pool = pool(&server.url(), 3, RecyclingMethod::Fast);
    let theirs = postgres_deadpool0_14::store(pool).schema("theirs").unwrap();
    everybody_gets_their_own(theirs, Dropped::MayBeDoneLate).await;
    let pooler = Pooler::start(&server);
    let url = format!("{}?pool=3&schema=pooled", pooler.url());
    everybody_gets_their_own(PostgresStore::open(&url).unwrap(), Dropped::MayBeDoneLate).await;
}
