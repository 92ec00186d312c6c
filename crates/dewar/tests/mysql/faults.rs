//! A MySQL or MariaDB server that loses answers, stands still, is full, only reads or is elsewhere; and callers who do not wait.

use std::{
    process::Command,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::support::{
    hang_ups::{Dropped, everybody_gets_their_own},
    mysql_proxy::Proxy,
    mysql_server::{Server, is_mariadb},
    stores::{NOW, create, ended, key, later, of, record, version},
};
use dewar::store::{
    Cap, Create, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError, Tombstone,
    mysql::MysqlStore, mysql_async0_37,
};
use futures_util::future::join_all;
use mysql_async::{Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, prelude::Queryable};
use tokio::time::sleep;

async fn lives(store: &MysqlStore, number: u64) -> bool {
    matches!(store.load(&key(number), NOW).await.unwrap(), Load::Found(..))
}

// Answers that get lost.

/// What is asked again where the connection was lost.
#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn what_only_reads_or_may_be_done_twice_is_asked_again_when_its_answer_got_lost() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(server.port()).await;
    let store = MysqlStore::open(&server.url_at(proxy.port())).unwrap();
    create(&store, 1, &of("ann", 1)).await;
    macro_rules! survives {
        ($call:expr) => {{
            $call.await.unwrap();
            proxy.loses_the_answer_after(0);
            $call.await.unwrap();
            assert!(proxy.has_lost_it());
        }};
    }
    survives!(store.ping(NOW));
    survives!(store.load(&key(1), NOW));
    survives!(store.touch(&key(1), version(1), later(60), NOW));
    survives!(store.count(NOW));
    survives!(store.list(Some("ann"), None, 9, NOW));
    survives!(store.list(None, None, 9, NOW));
    survives!(store.epoch(Some("ann")));
    survives!(store.purge(9, NOW));
}

/// Runs this with each of its answers lost in turn, until none is: what it said then.
async fn with_each_answer_lost<T>(
    proxy: &Proxy,
    mut once: impl AsyncFnMut(u64) -> (Result<T, StoreError>, bool),
) -> u64 {
    for answer in 0..20 {
        proxy.loses_the_answer_after(answer);
        let (said, was_done) = once(answer as u64).await;
        if !proxy.has_lost_it() {
            assert!(was_done, "no answer was lost, and it was not done: {:?}", said.err());
            said.expect("no answer was lost");
            return answer as u64;
        }
        assert!(said.is_err() || was_done, "it was said to be done, and was not: answer {answer}");
    }
    panic!("it never ends");
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_write_whose_answer_got_lost_is_done_or_not_and_never_in_part() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(server.port()).await;
    let store = MysqlStore::open(&server.url_at(proxy.port())).unwrap();
    let direct = server.store();
    let next = AtomicU64::new(1);
    let fresh = || next.fetch_add(1, Relaxed);
    store.ping(NOW).await.unwrap();
    let cap = Cap { most: 2.try_into().unwrap(), end_oldest: Some(ended(1)) };

    let lost = with_each_answer_lost(&proxy, async |_| {
        let number = fresh();
        let said = store.create(&key(number), version(number), record(b"x"), None, NOW).await;
        (said, lives(&direct, number).await)
    });
    assert!(lost.await >= 1);
    let lost = with_each_answer_lost(&proxy, async |_| {
        let number = fresh();
        create(&direct, number, &record(b"x")).await;
        let said = store.replace(&key(number), version(number), version(0), record(b"y"), NOW).await;
        let Load::Found(found, at) = direct.load(&key(number), NOW).await.unwrap() else { panic!("it is gone") };
        assert_eq!(at == version(0), &*found.data == b"y");
        (said, at == version(0))
    });
    assert!(lost.await >= 1);
    let lost = with_each_answer_lost(&proxy, async |_| {
        let number = fresh();
        create(&direct, number, &record(b"x")).await;
        let said = store.delete(&key(number), None, ended(1), NOW).await;
        (said, !lives(&direct, number).await)
    });
    assert!(lost.await >= 1);
    let lost = with_each_answer_lost(&proxy, async |_| {
        // Where nothing stood.
        let number = fresh();
        let said = store.delete(&key(number), None, ended(1), NOW).await;
        (said, matches!(direct.load(&key(number), NOW).await.unwrap(), Load::Gone(_)))
    });
    assert!(lost.await >= 1);
    let lost = with_each_answer_lost(&proxy, async |attempt| {
        let (from, to, user) = (fresh(), fresh(), format!("ann {attempt}"));
        create(&direct, from, &record(b"x")).await;
        let said = store.rename(&key(from), None, &key(to), version(to), of(&user, 1), ended(1), None, NOW).await;
        let (old, new) = (lives(&direct, from).await, lives(&direct, to).await);
        assert!(old != new, "old: {old}, new: {new}");
        (said, new)
    });
    assert!(lost.await >= 3);
    let lost = with_each_answer_lost(&proxy, async |attempt| {
        let (user, oldest, number) = (format!("bob {attempt}"), fresh(), fresh());
        create(&direct, oldest, &of(&user, 1)).await;
        let newer = Record { created: later(5), ..of(&user, 2) };
        create(&direct, fresh(), &newer).await;
        let said = store.create(&key(number), version(number), of(&user, 3), Some(&cap), NOW).await;
        let (old, new) = (lives(&direct, oldest).await, lives(&direct, number).await);
        assert!(old != new, "old: {old}, new: {new}");
        (said, new)
    });
    assert!(lost.await >= 3);
    let lost = with_each_answer_lost(&proxy, async |attempt| {
        let (user, one, two) = (format!("eve {attempt}"), fresh(), fresh());
        create(&direct, one, &of(&user, 1)).await;
        create(&direct, two, &of(&user, 2)).await;
        let before = direct.epoch(Some(&user)).await.unwrap();
        let said = store.revoke(&user, Revoke::All, ended(1), NOW).await;
        let raised = direct.epoch(Some(&user)).await.unwrap() > before;
        let live = [lives(&direct, one).await, lives(&direct, two).await];
        assert_eq!(live, [!raised, !raised]);
        (said, raised)
    });
    assert!(lost.await >= 2);
    let lost = with_each_answer_lost(&proxy, async |_| {
        let number = fresh();
        create(&direct, number, &record(b"x")).await;
        let said = store.revoke_everyone(ended(1), NOW).await;
        let lived = lives(&direct, number).await;
        direct.revoke_everyone(ended(1), NOW).await.unwrap();
        (said, !lived)
    });
    assert!(lost.await >= 4);
}

// Callers who do not wait.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn whoever_hangs_up_leaves_no_answer_and_no_transaction_to_another() {
    let server = Server::start(&[]).await;
    let store = MysqlStore::open(&format!("{}?connections=3", server.url())).unwrap();
    everybody_gets_their_own(store, Dropped::IsDoneOrNot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn nor_on_a_pool_of_the_applications_own() {
    for resets in [true, false] {
        let server = Server::start(&[]).await;
        let settings =
            PoolOpts::new().with_constraints(PoolConstraints::new(3, 3).unwrap()).with_reset_connection(resets);
        let opts = OptsBuilder::from_opts(Opts::from_url(&server.url()).unwrap()).pool_opts(settings);
        let store = mysql_async0_37::store(Pool::new(opts.prefer_socket(false)));
        everybody_gets_their_own(store, Dropped::IsDoneOrNot).await;
    }
}

// Others who hold locks.

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_deadlock_is_tried_again() {
    let server = Server::start(&[]).await;
    let store = server.store();
    create(&store, 1, &record(b"x")).await;
    let mut admin = server.admin().await;
    // The server ends the one that has written less.
    admin.query_drop("CREATE TABLE others (number INT PRIMARY KEY)").await.unwrap();
    admin.query_drop("START TRANSACTION").await.unwrap();
    for number in 0..100 {
        admin.query_drop(format!("INSERT INTO others VALUES ({number})")).await.unwrap();
    }
    let insert = "INSERT INTO dewar_session (id, version, gone, expires, created, idle_seconds, idle_expires, persistent, lineage, epoch) \
                  VALUES (?, 1, 1, 0, 0, 0, 0, 0, 0, 0)";
    admin.exec_drop(insert, (key(2).to_string(),)).await.unwrap();
    let renaming = {
        let store = store.clone();
        tokio::spawn(async move {
            store.rename(&key(1), None, &key(2), version(2), record(b"x"), ended(1), None, NOW).await
        })
    };
    sleep(Duration::from_millis(300)).await;
    let select = "SELECT 1 FROM dewar_session WHERE id = ? FOR UPDATE";
    admin.exec_drop(select, (key(1).to_string(),)).await.expect("the store gives way");
    admin.query_drop("ROLLBACK").await.unwrap();
    assert!(matches!(renaming.await.unwrap().unwrap(), Rename::Renamed(_)));
    let deadlocks = if is_mariadb() {
        "SELECT CAST(VARIABLE_VALUE AS UNSIGNED) FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'Innodb_deadlocks'"
    } else {
        "SELECT COUNT FROM information_schema.INNODB_METRICS WHERE NAME = 'lock_deadlocks'"
    };
    let deadlocks: Option<u64> = admin.query_first(deadlocks).await.unwrap();
    assert_eq!(deadlocks, Some(1), "there was none");
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_lock_that_is_held_for_long_is_waited_for_as_long_as_the_time_limit_says() {
    let server = Server::start(&[]).await;
    let store = server.store();
    create(&store, 1, &record(b"x")).await;
    let mut admin = server.admin().await;
    let lock = async |admin: &mut mysql_async::Conn| {
        admin.query_drop("START TRANSACTION").await.unwrap();
        admin.exec_drop("SELECT 1 FROM dewar_session WHERE id = ? FOR UPDATE", (key(1).to_string(),)).await.unwrap();
    };
    lock(&mut admin).await;
    let writes = {
        let store = store.clone();
        tokio::spawn(async move { store.replace(&key(1), version(1), version(2), record(b"y"), NOW).await })
    };
    // Longer than the server waits for it.
    sleep(Duration::from_millis(2_700)).await;
    admin.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(writes.await.unwrap().unwrap(), Replace::Replaced(version(2)));

    lock(&mut admin).await;
    let hasty = MysqlStore::open(&format!("{}?connections=1", server.url())).unwrap();
    hasty.ping(NOW).await.unwrap();
    let hasty = hasty.time_limit(Duration::from_millis(400));
    let (one, two) = (key(1), key(2));
    let (write, read) = tokio::join!(hasty.replace(&one, version(2), version(3), record(b"z"), NOW), async {
        sleep(Duration::from_millis(50)).await;
        hasty.clone().time_limit(Duration::from_millis(200)).load(&two, NOW).await
    });
    assert_eq!(write.unwrap_err().to_string(), "mysql: cannot replace: no answer within 400ms");
    assert!(read.unwrap_err().to_string().contains("no connection within 200ms"));
    admin.query_drop("ROLLBACK").await.unwrap();
    assert!(lives(&hasty.time_limit(Duration::from_secs(5)), 1).await, "its connection came free");
}

// A server that does not answer, or is not there.

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_server_that_stands_still_meets_the_time_limit_and_nobody_remembers_it() {
    let server = Server::start(&[]).await;
    let store = server.store().time_limit(Duration::from_millis(300));
    create(&store.clone().time_limit(Duration::from_secs(5)), 1, &record(b"x")).await;
    server.signal("STOP");
    let start = Instant::now();
    let many = join_all((0..40).map(|_| async { store.load(&key(1), NOW).await.unwrap_err().to_string() })).await;
    let elapsed = start.elapsed();
    server.signal("CONT");
    assert!(
        many.iter()
            .all(|error| error.contains("no answer within 300ms") || error.contains("no connection within 300ms"))
    );
    assert!(elapsed < Duration::from_millis(900), "{elapsed:?}");
    let patient = store.time_limit(Duration::from_secs(5));
    let all = join_all((0..40).map(|_| lives(&patient, 1))).await;
    assert!(all.into_iter().all(|lives| lives));
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_server_that_is_down_is_an_error_at_once_and_its_return_needs_no_hand() {
    let mut server = Server::start(&["--innodb-flush-log-at-trx-commit=1"]).await;
    let store = server.store();
    create(&store, 1, &record(b"kept")).await;
    server.kill();
    for _ in 0..3 {
        let start = Instant::now();
        assert!(store.load(&key(1), NOW).await.is_err());
        assert!(store.replace(&key(1), version(1), version(2), record(b"lost"), NOW).await.is_err());
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    }
    server.restart().await;
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Found(record(b"kept"), version(1)));

    // Down and up again unnoticed: whoever comes first does not pay for it, also where they write.
    join_all((0..10).map(|_| lives(&store, 1))).await;
    server.kill();
    server.restart().await;
    let replaced = store.replace(&key(1), version(1), version(2), record(b"changed"), NOW).await.unwrap();
    assert_eq!(replaced, Replace::Replaced(version(2)));
    // And where the server closes what is idle.
    server.run("SET GLOBAL wait_timeout = 1").await;
    let store = server.store();
    create(&store, 2, &record(b"x")).await;
    sleep(Duration::from_millis(2_500)).await;
    create(&store, 3, &record(b"x")).await;
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_store_may_be_opened_before_its_server_is_there() {
    let mut server = Server::start(&[]).await;
    server.kill();
    let store = server.store();
    let error = store.load(&key(1), NOW).await.unwrap_err().to_string();
    assert!(error.starts_with("mysql: cannot load: "), "{error}");
    server.restart().await;
    create(&store, 1, &record(b"x")).await;
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_server_without_connections_left_says_so() {
    let server = Server::start(&["--max-connections=12"]).await;
    let store = server.store();
    store.ping(NOW).await.unwrap();
    let opts = Opts::from_url(&server.url()).unwrap();
    let mut others = Vec::new();
    while let Ok(other) = mysql_async::Conn::new(OptsBuilder::from_opts(opts.clone()).prefer_socket(false)).await {
        others.push(other);
    }
    let said = join_all((0..5).map(|_| async { store.load(&key(1), NOW).await })).await;
    let errors: Vec<String> = said.into_iter().filter_map(|said| Some(said.err()?.to_string())).collect();
    assert!(!errors.is_empty() && errors.iter().all(|error| error.contains("max_connections")), "{errors:?}");
    for other in others {
        other.disconnect().await.unwrap();
    }
    sleep(Duration::from_millis(200)).await;
    for said in join_all((0..5).map(|_| async { store.load(&key(1), NOW).await })).await {
        said.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_session_larger_than_the_server_takes_is_an_error_that_says_so() {
    let server = Server::start(&["--max-allowed-packet=1M"]).await;
    let store = server.store();
    create(&store, 1, &record(b"x")).await;
    let large = record(&vec![7; 2 << 20]);
    for said in [
        store.create(&key(2), version(2), large.clone(), None, NOW).await.map(drop),
        store.replace(&key(1), version(1), version(2), large, NOW).await.map(drop),
    ] {
        let error = said.unwrap_err().to_string();
        assert!(error.contains("max_allowed_packet"), "{error}");
    }
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Found(record(b"x"), version(1)));
    assert!(!lives(&store, 2).await);
}

// A server that only reads.

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_server_that_became_read_only_is_an_error_until_it_is_none_any_more() {
    let server = Server::start(&[]).await;
    let store = server.store();
    create(&store, 1, &record(b"x")).await;
    server.run("SET GLOBAL read_only = 1").await;
    for _ in 0..2 {
        let error = store.replace(&key(1), version(1), version(2), record(b"y"), NOW).await.unwrap_err().to_string();
        assert!(error.contains("the server only reads"), "{error}");
        assert!(lives(&store, 1).await, "it can be read");
    }
    server.run("SET GLOBAL read_only = 0").await;
    let replaced = store.replace(&key(1), version(1), version(2), record(b"y"), NOW).await.unwrap();
    assert_eq!(replaced, Replace::Replaced(version(2)), "what was refused was not done");
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_fail_over_behind_one_address_is_met_by_the_next_write_without_an_error() {
    let (server, other) = (Server::start(&[]).await, Server::start(&[]).await);
    let proxy = Proxy::start(server.port()).await;
    let store = MysqlStore::open(&server.url_at(proxy.port())).unwrap();
    create(&store, 1, &record(b"x")).await;
    join_all((0..10).map(|_| lives(&store, 1))).await;
    create(&other.store(), 1, &record(b"x")).await;
    server.run("SET GLOBAL read_only = 1").await;
    proxy.puts_in_service(other.port());
    let replaced = store.replace(&key(1), version(1), version(2), record(b"y"), NOW).await.unwrap();
    assert_eq!(replaced, Replace::Replaced(version(2)));
    for number in 10..30 {
        create(&store, number, &record(b"x")).await;
    }
    assert_eq!(other.store().count(NOW).await.unwrap(), 21);
    assert_eq!(server.store().count(NOW).await.unwrap(), 1);
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_server_that_refuses_is_not_connected_to_anew_by_every_request() {
    let server = Server::start(&[]).await;
    let store = server.store();
    create(&store, 1, &record(b"x")).await;
    server.run("SET GLOBAL read_only = 1").await;
    let mut admin = server.admin().await;
    let mut connections = async || {
        let count: Option<(String, u64)> = admin.query_first("SHOW GLOBAL STATUS LIKE 'Connections'").await.unwrap();
        count.unwrap().1
    };
    let before = connections().await;
    for number in 0..100 {
        assert!(store.create(&key(number + 10), version(1), record(b"x"), None, NOW).await.is_err());
    }
    let made = connections().await - before;
    assert!(made <= 5, "{made} connections");
}

// Two processes.

/// What a second process does: it raises a session's number, as others do at the same time.
#[tokio::test]
#[ignore = "a part of the next"]
async fn another_process() {
    let Ok(url) = std::env::var("DEWAR_MYSQL_URL") else { return };
    raise(&MysqlStore::open(&url).unwrap(), 200).await;
}

async fn raise(store: &MysqlStore, times: u64) {
    let nothing = record(&0_u64.to_le_bytes());
    store.create(&key(1), version(0), nothing, None, NOW).await.unwrap();
    for _ in 0..times {
        loop {
            let Load::Found(found, at) = store.load(&key(1), NOW).await.unwrap() else { panic!("it is gone") };
            let number = u64::from_le_bytes((*found.data).try_into().unwrap()) + 1;
            let next = record(&number.to_le_bytes());
            let drawn = dewar::store::Version::from_bits(getrandom::u64().unwrap());
            if let Replace::Replaced(_) = store.replace(&key(1), at, drawn, next, NOW).await.unwrap() {
                break;
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn three_processes_that_begin_at_once_lose_no_write() {
    let server = Server::start(&[]).await;
    let children: Vec<_> = (0..3)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "faults::another_process", "--ignored", "--quiet"])
                .env("DEWAR_MYSQL_URL", server.url())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        assert!(status.success());
    }
    let Load::Found(found, _) = server.store().load(&key(1), NOW).await.unwrap() else { panic!("it is gone") };
    assert_eq!(u64::from_le_bytes((*found.data).try_into().unwrap()), 600);
}

/// A tombstone of a moment that has passed stands no longer.
#[tokio::test]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn a_create_makes_its_way_where_something_expired_stands() {
    let server = Server::start(&[]).await;
    let store = server.store();
    create(&store, 1, &record(b"x")).await;
    store.delete(&key(1), None, Tombstone { until: later(5), ..ended(1) }, NOW).await.unwrap();
    let now = later(6);
    let created = store.create(&key(1), version(2), record(b"y"), None, now).await.unwrap();
    assert!(matches!(created, Create::Created(_)));
    let renamed =
        store.rename(&key(1), None, &key(1_000), version(3), of("ann", 1), ended(1), None, now).await.unwrap();
    assert!(matches!(renamed, Rename::Renamed(_)));
}
