//! A PostgreSQL that closes connections, starts again, stands still, is full or only reads; and one behind a pooler.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

use crate::support::{
    http::secret,
    pgbouncer::Pooler,
    postgres::{both, client, is_streaming, number, open, run, with},
    postgres_proxy::Proxy,
    postgres_server::{Server, directory, give},
    races,
    site::visit,
    stores::{NOW, create, ended, key, later, of, record, version},
};
use dewar::{
    SessionLayer, SessionManager,
    store::{
        Load, Record, Replace, Revoke, SessionAdmin, SessionStore, StoreError, Touch, conformance,
        postgres::PostgresStore,
    },
    testing::Visitor,
};
use tokio::{task::JoinSet, time::sleep};

fn manager(store: PostgresStore) -> SessionManager {
    SessionLayer::new(secret()).unwrap().store(store).manager().unwrap()
}

fn message<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    answer.unwrap_err().to_string()
}

// Behind a pooler.

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and PgBouncer; cargo xtask live"]
async fn every_promise_is_kept_behind_pgbouncer_in_transaction_mode() {
    let server = Server::start(&[]);
    let pooler = Pooler::start(&server);
    let stores: Vec<_> = (0..3).map(|_| PostgresStore::open(&pooler.url()).unwrap()).collect();
    let turn = AtomicUsize::new(0);
    conformance::check(async || stores[turn.fetch_add(1, SeqCst) % 3].clone()).await;
    // Many clients on three connections: nothing of anybody's is left on them.
    let asked = (0..600_u64).map(|number| {
        let store = stores[number as usize % 3].clone();
        async move {
            let mine = Record { data: number.to_string().into_bytes().into(), ..record(b"") };
            store.create(&key(number), version(number), mine, None, NOW).await.unwrap();
            let Load::Found(found, at) = store.load(&key(number), NOW).await.unwrap() else { panic!("missing") };
            assert_eq!((found.data, at), (number.to_string().into_bytes().into(), version(number)));
        }
    });
    asked.collect::<JoinSet<_>>().join_all().await;
    let connections = number(&server, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'live'").await;
    assert!(connections < 10, "{connections} connections to the server");
}

#[tokio::test]
#[ignore = "needs PostgreSQL and PgBouncer; cargo xtask live"]
async fn statements_are_prepared_on_the_server_itself_and_never_behind_a_pooler() {
    let server = Server::start(&["log_statement=all"]);
    let pooler = Pooler::start(&server);
    let log = || std::fs::read_to_string(server.path().join("log")).unwrap();
    for (url, prepares) in [(pooler.url(), false), (server.url(), true)] {
        let before = log().len();
        let store = PostgresStore::open(&url).unwrap();
        for _ in 0..5 {
            store.load(&key(1), NOW).await.unwrap();
        }
        sleep(Duration::from_millis(200)).await;
        let lines = log()[before..]
            .lines()
            .filter(|line| line.contains("FROM \"dewar\".session WHERE key"))
            .map(String::from)
            .collect::<Vec<_>>();
        assert_eq!(lines.len(), 5, "{lines:?}");
        let unnamed = lines.iter().filter(|line| line.contains("execute <unnamed>")).count();
        assert_eq!(unnamed, if prepares { 0 } else { 5 }, "{lines:?}");
    }
}

// Connections.

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn after_the_server_started_again_the_first_call_is_answered() {
    let mut server = Server::start(&[]);
    let store = open(&server);
    create(&store, 1, &of("ada", 1)).await;
    for news in [Duration::ZERO, Duration::from_millis(100)] {
        // Several idle connections, each of which is dead then.
        let warm = (0..8).map(|_| {
            let store = store.clone();
            async move { store.load(&key(1), NOW).await.unwrap() }
        });
        warm.collect::<JoinSet<_>>().join_all().await;
        server.kill();
        server.restart();
        sleep(news).await;
        assert!(matches!(store.load(&key(1), NOW).await.unwrap(), Load::Found(..)));
    }
}

/// Of those that may be done twice the answer comes; of the others an error, and a load tells what was done.
#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn whatever_answer_is_lost_nobody_is_told_what_is_not_so() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(&server).await;
    let store = PostgresStore::open(&proxy.url()).unwrap();
    let loaded = async |at: u64| store.load(&key(at), NOW).await.unwrap();
    for round in [0_u64, 100] {
        let (one, two) = (key(round + 1), key(round + 2));
        let principal = format!("ada {round}");
        let mine = of(&principal, 1);
        create(&store, round + 50, &record(b"warm")).await;

        proxy.loses_an_answer();
        let lost = store.create(&one, version(1), mine.clone(), None, NOW).await;
        assert!(proxy.has_lost_it() && lost.is_err());
        assert!(matches!(loaded(round + 1).await, Load::Found(_, at) if at == version(1)) || round == 0);
        if round == 0 {
            store.create(&one, version(1), mine.clone(), None, NOW).await.unwrap();
        }
        proxy.loses_an_answer();
        assert!(matches!(store.load(&one, NOW).await.unwrap(), Load::Found(..)), "asked again");
        store.replace(&key(round + 50), version(round + 50), version(7), record(b"warm"), NOW).await.unwrap();
        proxy.loses_an_answer();
        store.replace(&one, version(1), version(2), mine.clone(), NOW).await.unwrap_err();
        assert!(matches!(loaded(round + 1).await, Load::Found(..)));
        let Load::Found(_, at) = loaded(round + 1).await else { panic!() };
        proxy.loses_an_answer();
        assert_eq!(store.touch(&one, at, later(9_000), NOW).await.unwrap(), Touch::Touched, "asked again");
        proxy.loses_an_answer();
        assert_eq!(store.count(NOW).await.unwrap(), store.count(NOW).await.unwrap(), "asked again");
        proxy.loses_an_answer();
        let renamed = store.rename(&one, None, &two, version(3), mine.clone(), ended(1), None, NOW).await;
        renamed.unwrap_err();
        match (loaded(round + 1).await, loaded(round + 2).await) {
            (Load::Gone(tombstone), Load::Found(_, at)) => assert_eq!((tombstone.nonce, at), (1, version(3))),
            (Load::Found(..), Load::Missing) => {
                store.rename(&one, None, &two, version(3), mine.clone(), ended(1), None, NOW).await.unwrap();
            }
            half => panic!("{half:?}"),
        }
        let epoch = store.epoch(Some(&principal)).await.unwrap();
        proxy.loses_an_answer();
        assert_eq!(store.revoke(&principal, Revoke::AllBut { lineage: 1, epoch }, ended(2), NOW).await.unwrap(), 0);
        assert!(matches!(loaded(round + 2).await, Load::Found(..)), "whoever asks stays, also where it is asked again");
        proxy.loses_an_answer();
        store.delete(&two, None, ended(3), NOW).await.unwrap_err();
        store.delete(&two, None, ended(4), NOW).await.unwrap();
        assert!(matches!(loaded(round + 2).await, Load::Gone(tombstone) if [3, 4].contains(&tombstone.nonce)));
        proxy.loses_an_answer();
        store.revoke_everyone(ended(5), NOW).await.unwrap();
        assert_eq!(store.count(NOW).await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_server_that_stands_still_costs_the_time_limit_and_its_connections() {
    let server = Server::start(&[]);
    let store = with(&server, "pool=4").time_limit(Duration::from_millis(700));
    create(&store, 1, &record(b"x")).await;
    server.signal("STOP");
    let start = Instant::now();
    let asked = (0..12).map(|_| {
        let store = store.clone();
        async move { message(store.load(&key(1), NOW).await) }
    });
    for error in asked.collect::<JoinSet<_>>().join_all().await {
        assert!(error.contains("700ms") || error.contains("no answer"), "{error}");
    }
    assert!(start.elapsed() < Duration::from_millis(1_500), "{:?}", start.elapsed());
    server.signal("CONT");
    let start = Instant::now();
    while store.load(&key(1), NOW).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    store.replace(&key(1), version(1), version(2), record(b"y"), NOW).await.unwrap();
}

/// One who waits for a lock too long gives it up on the server, too.
#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn what_nobody_waits_for_any_more_is_not_done_later() {
    let server = Server::start(&[]);
    let store = open(&server).time_limit(Duration::from_millis(400));
    create(&store, 1, &record(b"x")).await;
    let mut holder = client(&server.url()).await;
    let transaction = holder.transaction().await.unwrap();
    transaction.execute("SELECT FROM dewar.session FOR UPDATE", &[]).await.unwrap();
    let error = message(store.replace(&key(1), version(1), version(2), record(b"y"), NOW).await);
    assert!(error.contains("cannot replace: no answer within 400ms"), "{error}");
    sleep(Duration::from_millis(300)).await;
    assert_eq!(number(&server, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").await, 0);
    drop(transaction);
    assert!(matches!(store.load(&key(1), NOW).await.unwrap(), Load::Found(_, at) if at == version(1)));
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_server_without_a_free_connection_says_so_and_is_asked_again() {
    let server = Server::start(&["max_connections=10", "superuser_reserved_connections=0"]);
    create(&open(&server), 1, &record(b"x")).await;
    sleep(Duration::from_millis(200)).await;
    let mut others = Vec::new();
    while let Ok((client, connection)) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await {
        tokio::spawn(connection);
        others.push(client);
    }
    let store = open(&server);
    let error = message(store.load(&key(1), NOW).await);
    assert!(error.contains("too many clients") && error.contains("53300"), "{error}");
    drop(others);
    sleep(Duration::from_millis(300)).await;
    assert!(matches!(store.load(&key(1), NOW).await.unwrap(), Load::Found(..)));
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_statement_that_the_server_gave_up_is_an_error_and_leaves_the_connection_in_order() {
    let server = Server::start(&["max_connections=10"]);
    let store = with(&server, "pool=1&options=-c%20statement_timeout%3D200");
    create(&store, 1, &record(b"x")).await;
    let mut holder = client(&server.url()).await;
    let transaction = holder.transaction().await.unwrap();
    transaction.execute("SELECT FROM dewar.session FOR UPDATE", &[]).await.unwrap();
    let error = message(store.replace(&key(1), version(1), version(2), record(b"y"), NOW).await);
    assert!(error.contains("statement timeout") && error.contains("57014"), "{error}");
    drop(transaction);
    assert_eq!(
        store.replace(&key(1), version(1), version(2), record(b"y"), NOW).await.unwrap(),
        Replace::Replaced(version(2))
    );
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn steps_that_wait_for_each_other_are_begun_again() {
    let server = Server::start(&["deadlock_timeout=50"]);
    let store = open(&server);
    for number in 1..=2 {
        create(&store, number, &of("ada", number)).await;
    }
    // Somebody who takes rows in the other order than an end of all does.
    let mut first = [key(1).digest(), key(2).digest()];
    first.sort_unstable();
    let mut other = client(&server.url()).await;
    let transaction = other.transaction().await.unwrap();
    let lock = "SELECT FROM dewar.session WHERE key = $1 FOR UPDATE";
    transaction.execute(lock, &[&first[1].to_vec()]).await.unwrap();
    let ending = tokio::spawn({
        let store = store.clone();
        async move { store.revoke("ada", Revoke::All, ended(1), NOW).await }
    });
    sleep(Duration::from_millis(10)).await;
    transaction.execute("SET LOCAL deadlock_timeout = '10s'", &[]).await.unwrap();
    transaction.execute(lock, &[&first[0].to_vec()]).await.unwrap();
    drop(transaction);
    assert_eq!(ending.await.unwrap().unwrap(), 2);
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_schema_that_was_dropped_under_it_is_made_again() {
    let server = Server::start(&[]);
    let store = open(&server);
    create(&store, 1, &record(b"x")).await;
    run(&server, "DROP SCHEMA dewar CASCADE").await;
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Missing);
    create(&store, 1, &record(b"x")).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_full_disk_is_an_error_and_what_was_confirmed_is_there_when_there_is_room() {
    let server = Server::start(&[]);
    let small = directory();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(small.path()).status().unwrap();
    assert!(mounted.success(), "this needs root, and a tmpfs");
    give(small.path());
    struct Unmounts<'a>(&'a std::path::Path);
    impl Drop for Unmounts<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0).status();
        }
    }
    let _unmounts = Unmounts(small.path());
    run(&server, &format!("CREATE TABLESPACE small LOCATION '{}'", small.path().display())).await;
    let store = open(&server);
    store.count(NOW).await.unwrap();
    run(&server, "ALTER TABLE dewar.session SET TABLESPACE small").await;
    run(&server, "ALTER TABLE dewar.session ALTER COLUMN data SET STORAGE EXTERNAL").await;
    let big = Record { data: vec![7; 200_000].into(), ..of("ada", 1) };
    let mut confirmed = Vec::new();
    let error = loop {
        let number = confirmed.len() as u64;
        match store
            .create(&key(number), version(number), Record { lineage: number + 1, ..big.clone() }, None, NOW)
            .await
        {
            Ok(_) => confirmed.push(number),
            Err(error) => break error.to_string(),
        }
        assert!(number < 1_000);
    };
    assert!(error.contains("No space left on device") && error.contains("53100"), "{error}");
    for number in &confirmed {
        assert!(
            matches!(store.load(&key(*number), NOW).await.unwrap(), Load::Found(record, _) if record.data == big.data)
        );
    }
    run(&server, "ALTER TABLE dewar.session SET TABLESPACE pg_default").await;
    assert_eq!(store.revoke("ada", Revoke::All, ended(1), NOW).await.unwrap(), confirmed.len() as u64);
}

// Several servers.

#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_replica_is_left_for_the_server_that_is_written_to() {
    let primary = Server::start(&[]);
    create(&open(&primary), 1, &record(b"x")).await;
    let replica = primary.replica(&[]);
    create(&both(&replica, &primary), 2, &record(b"x")).await;
    let error = message(open(&replica).load(&key(1), NOW).await);
    assert!(error.contains("does not allow writes"), "{error}");
}

/// It keeps its connections, and refuses what writes.
#[tokio::test]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_server_that_only_reads_from_now_on_is_left_by_the_write_that_meets_it() {
    let old = Server::start(&[]);
    let store_on_old = open(&old);
    create(&store_on_old, 1, &record(b"x")).await;
    let new = old.replica(&[]);
    is_streaming(&old).await;
    let store = both(&old, &new);
    store.load(&key(1), NOW).await.unwrap();
    new.promote();
    run(&old, "ALTER SYSTEM SET default_transaction_read_only = on").await;
    run(&old, "SELECT pg_reload_conf()").await;
    sleep(Duration::from_millis(300)).await;
    store.replace(&key(1), version(1), version(2), record(b"y"), NOW).await.unwrap();
    assert!(matches!(open(&new).load(&key(1), NOW).await.unwrap(), Load::Found(_, at) if at == version(2)));
    assert!(message(store_on_old.touch(&key(1), version(1), later(9), NOW).await).contains("does not allow writes"));
}

/// A process of its own, in the way of which the others are.
const CHILD: &str = "DEWAR_TEST_POSTGRES";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process of another test; needs PostgreSQL; cargo xtask live"]
async fn a_process_that_adds_to_a_session() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let (url, cookie) = url.split_once(' ').unwrap();
    let manager = manager(PostgresStore::open(url).unwrap());
    let mut visitor = Visitor::new(&manager);
    visitor.receive(&http::HeaderMap::from_iter([(http::header::SET_COOKIE, cookie.parse().unwrap())]));
    let tasks = (0..8).map(|_| {
        let (mut visitor, manager) = (visitor.clone(), manager.clone());
        async move {
            for _ in 0..25 {
                visit(&mut visitor, &manager, |session| {
                    session.update("n", |n: &mut u32| *n += 1).unwrap();
                })
                .await;
            }
        }
    });
    tasks.collect::<JoinSet<_>>().join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn processes_that_write_to_one_session_lose_nothing() {
    let server = Server::start(&[]);
    let manager = manager(open(&server));
    let mut visitor = Visitor::new(&manager);
    visit(&mut visitor, &manager, |session| session.insert("n", 0_u32)).await;
    let children: Vec<_> = (0..3)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["faults::a_process_that_adds_to_a_session", "--exact", "--ignored", "--quiet"])
                .env(CHILD, format!("{} {}", server.url(), visitor.cookie().to_str().unwrap()))
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap().success());
    }
    assert_eq!(visitor.session().await.unwrap().get::<u32>("n"), Some(600));
}

// Many at once.

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and PgBouncer; cargo xtask live"]
async fn racing_requests_behind_a_pooler_lose_nothing() {
    let server = Server::start(&[]);
    let pooler = Pooler::start(&server);
    races::crowd(races::manager(PostgresStore::open(&pooler.url()).unwrap()), 500).await;
}
