//! The Redis store keeps the promises of a store, beside another framework and through faults.

mod support;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use dewar::store::{
    self, Create, Delete, Load, Record, Replace, SessionAdmin, SessionStore, StoreKey, Timestamp, Touch, conformance,
    redis::RedisStore, redis1,
};
use redis::{AsyncTypedCommands, aio::MultiplexedConnection};
use support::{
    redis_server::Server,
    stores::{NOW, key, record},
};
use tokio::task::JoinSet;

async fn client(server: &Server) -> MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

fn foreign(name: &str) -> StoreKey {
    StoreKey::foreign(format!("sess:{name}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn redis_keeps_every_promise_of_a_store() {
    let server = Server::start(&[]);
    conformance::check(|| async { RedisStore::open(&server.url()).unwrap() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn redis_keeps_them_through_a_connection_of_the_applications_own() {
    let server = Server::start(&[]);
    let client = redis::Client::open(format!("{}?protocol=resp3", server.url())).unwrap();
    let manager = client.get_connection_manager().await.unwrap();
    conformance::check(|| async { redis1::store(manager.clone()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_store_opened_by_its_url_keeps_them() {
    let server = Server::start(&["--requirepass", "s3cret"]);
    let url = server.url().replace("redis://", "redis://:s3cret@");
    conformance::check_sessions(|| async { store::open(&url).unwrap() }).await;
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn the_server_lets_records_and_marks_go_by_itself() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    let mut client = client(&server).await;
    let name = key(1).to_string();

    let absolute = Record { absolute_expires: Some(Timestamp::from_secs(NOW.as_secs() + 600)), ..record(b"x") };
    let Create::Created(version) = store.create(&key(1), absolute.clone(), NOW).await.unwrap() else { panic!() };
    let ttl = async |client: &mut MultiplexedConnection| -> i64 {
        redis::cmd("TTL").arg(&name).query_async(client).await.unwrap()
    };
    assert!((599..=600).contains(&ttl(&mut client).await), "the earlier of the two expiries");
    let touched = store.touch(&key(1), version, Timestamp::from_secs(NOW.as_secs() + 60), NOW).await.unwrap();
    assert_eq!(touched, Touch::Touched);
    assert!((59..=60).contains(&ttl(&mut client).await), "as it was touched");
    let touched = store.touch(&key(1), version, Timestamp::from_secs(NOW.as_secs() + 9_000), NOW).await.unwrap();
    assert_eq!(touched, Touch::Touched);
    assert!((599..=600).contains(&ttl(&mut client).await), "the absolute expiry holds");
    store.delete(&key(1), None, NOW).await.unwrap();
    assert!((119..=120).contains(&ttl(&mut client).await), "the mark");

    let forever = Record { idle_expires: Timestamp::from_millis(u64::MAX), ..record(b"x") };
    store.create(&key(2), forever.clone(), NOW).await.unwrap();
    assert!(matches!(store.load(&key(2), NOW).await.unwrap(), Load::Found(found, _) if found == forever));

    let brief = Record { idle_expires: Timestamp::from_millis(NOW.as_millis() + 300), ..record(b"x") };
    store.create(&key(3), brief, NOW).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!client.exists(key(3).to_string()).await.unwrap());
    assert_eq!(store.count(NOW).await.unwrap(), 1);
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_foreign_record_is_its_data_and_nothing_else() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    let mut client = client(&server).await;

    // The other side writes, we read and change; the other side reads.
    client.set_ex("sess:a", r#"{"n":1}"#, 100).await.unwrap();
    let Load::Found(found, version) = store.load(&foreign("a"), NOW).await.unwrap() else { panic!() };
    assert_eq!(&*found.data, br#"{"n":1}"#);
    assert!(found.idle_expires.since(NOW) > Duration::from_secs(98) && found.idle_seconds <= 100);
    let changed = Record { principal: Some("ann".into()), label: Some("a phone".into()), ..record(br#"{"n":2}"#) };
    let Replace::Replaced(version) = store.replace(&foreign("a"), version, changed, NOW).await.unwrap() else {
        panic!()
    };
    assert_eq!(client.get("sess:a").await.unwrap().as_deref(), Some(r#"{"n":2}"#));
    assert_eq!(redis::cmd("TTL").arg("sess:a").query_async::<i64>(&mut client).await.unwrap(), 3600);

    // It writes between our load and our replace: nothing of it is lost.
    client.set_ex("sess:a", r#"{"n":3}"#, 100).await.unwrap();
    assert_eq!(store.replace(&foreign("a"), version, record(b"late"), NOW).await.unwrap(), Replace::Conflict);
    assert_eq!(store.delete(&foreign("a"), Some(version), NOW).await.unwrap(), Delete::Conflict);
    assert_eq!(client.get("sess:a").await.unwrap().as_deref(), Some(r#"{"n":3}"#));

    // We delete: no key is left, and the other side may use the name again.
    assert_eq!(store.delete(&foreign("a"), None, NOW).await.unwrap(), Delete::Deleted);
    assert!(!client.exists("sess:a").await.unwrap());
    assert_eq!(store.load(&foreign("a"), NOW).await.unwrap(), Load::Missing);
    assert_eq!(client.keys("*").await.unwrap(), Vec::<String>::new());

    // It deletes: our write comes to nothing.
    let Create::Created(version) = store.create(&foreign("b"), record(b"{}"), NOW).await.unwrap() else { panic!() };
    client.del("sess:b").await.unwrap();
    assert_eq!(store.replace(&foreign("b"), version, record(b"{}"), NOW).await.unwrap(), Replace::Gone);
    assert!(!client.exists("sess:b").await.unwrap());

    // Without a TTL it never expires.
    client.set("sess:c", "{}").await.unwrap();
    let Load::Found(found, _) = store.load(&foreign("c"), NOW).await.unwrap() else { panic!() };
    assert_eq!((found.idle_expires, found.idle_seconds), (Timestamp::from_millis(u64::MAX), u32::MAX));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn the_index_of_principals_is_cleaned_when_read_and_when_purged() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap();
    let mut client = client(&server).await;
    let anns = Record { principal: Some("ann".into()), ..record(b"x") };
    for number in 0..10 {
        store.create(&key(number), anns.clone(), NOW).await.unwrap();
    }
    for number in 0..9 {
        client.del(key(number).to_string()).await.unwrap();
    }
    let size = async |client: &mut MultiplexedConnection| client.zcard("dewar-principal:ann").await.unwrap();
    // What was just written may have its record still on the way.
    assert_eq!(store.list(Some("ann"), None, 100, NOW).await.unwrap().len(), 1);
    assert_eq!(size(&mut client).await, 10);
    let later = Timestamp::from_secs(NOW.as_secs() + 121);
    assert_eq!(store.purge(4, later).await.unwrap(), 4);
    assert_eq!(size(&mut client).await, 6);
    assert_eq!(store.list(Some("ann"), None, 100, later).await.unwrap().len(), 1);
    assert_eq!(size(&mut client).await, 1);
    assert_eq!(store.purge(100, later).await.unwrap(), 0);

    // A principal who logs in again and again, and whose list nobody reads.
    for number in 100..400 {
        let now = Timestamp::from_secs(NOW.as_secs() + 130 * number);
        let anns = Record { idle_expires: now.after(Duration::from_secs(60)), ..anns.clone() };
        store.create(&key(number), anns, now).await.unwrap();
    }
    assert!(size(&mut client).await <= 33, "the index grew to {}", size(&mut client).await);
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_server_that_is_down_is_an_error_at_once_and_its_return_needs_no_hand() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = RedisStore::open(&server.url()).unwrap();
    let Create::Created(version) = store.create(&key(1), record(b"kept"), NOW).await.unwrap() else { panic!() };

    server.kill();
    for _ in 0..3 {
        let start = Instant::now();
        assert!(store.load(&key(1), NOW).await.is_err());
        assert!(store.replace(&key(1), version, record(b"lost"), NOW).await.is_err());
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    }
    server.restart();
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Found(record(b"kept"), version));

    // Down and up again unnoticed: the first to come must not pay for it, if it only reads.
    server.kill();
    server.restart();
    assert_eq!(store.load(&key(1), NOW).await.unwrap(), Load::Found(record(b"kept"), version));
    // The scripts went with the server.
    let replaced = store.replace(&key(1), version, record(b"changed"), NOW).await.unwrap();
    assert!(matches!(replaced, Replace::Replaced(_)));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_store_may_be_opened_before_its_server_is_there() {
    let mut server = Server::start(&[]);
    server.kill();
    let store = RedisStore::open(&server.url()).unwrap();
    let error = store.load(&key(1), NOW).await.unwrap_err().to_string();
    assert!(error.starts_with("redis: cannot load: "), "{error}");
    server.restart();
    assert!(matches!(store.create(&key(1), record(b"x"), NOW).await.unwrap(), Create::Created(_)));
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_server_that_stands_still_meets_the_time_limit() {
    let server = Server::start(&[]);
    let store = RedisStore::open(&server.url()).unwrap().time_limit(Duration::from_millis(300));
    store.create(&key(1), record(b"x"), NOW).await.unwrap();
    server.signal("STOP");
    let start = Instant::now();
    let error = store.load(&key(1), NOW).await.unwrap_err().to_string();
    let elapsed = start.elapsed();
    server.signal("CONT");
    assert_eq!(error, "redis: cannot load: no answer within 300ms");
    assert!(elapsed < Duration::from_millis(600), "{elapsed:?}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(matches!(store.load(&key(1), NOW).await.unwrap(), Load::Found(..)), "it does not recover");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server; cargo xtask live"]
async fn what_was_confirmed_survives_kill_9_of_the_server_as_its_setting_says() {
    // `everysec` may lose the last second when the machine dies; a killed process leaves what it
    // wrote to the operating system, so here both keep all.
    for setting in ["always", "everysec"] {
        let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", setting]);
        let store = RedisStore::open(&server.url()).unwrap();
        let confirmed = Arc::new(Mutex::new(HashMap::new()));
        let mut writers = JoinSet::new();
        for task in 0..16_u64 {
            let (store, confirmed) = (store.clone(), Arc::clone(&confirmed));
            writers.spawn(async move {
                let Ok(Create::Created(mut version)) = store.create(&key(task), record(&[0; 8]), NOW).await else {
                    return;
                };
                for count in 1_u64.. {
                    let next = store.replace(&key(task), version, record(&count.to_le_bytes()), NOW).await;
                    let Ok(Replace::Replaced(next)) = next else { return };
                    version = next;
                    confirmed.lock().unwrap().insert(task, count);
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.kill();
        writers.join_all().await;
        server.restart();
        let confirmed = confirmed.lock().unwrap().clone();
        assert_eq!(confirmed.len(), 16);
        for (task, count) in confirmed {
            let Load::Found(found, _) = store.load(&key(task), NOW).await.unwrap() else { panic!("{task} is lost") };
            let stored = u64::from_le_bytes((*found.data).try_into().unwrap());
            // The one in flight may or may not have arrived.
            assert!(stored == count || stored == count + 1, "{setting}: {count} was confirmed, {stored} is stored");
        }
    }
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_full_server_is_an_error_and_never_a_false_success() {
    let server = Server::start(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let store = RedisStore::open(&server.url()).unwrap();
    let mut confirmed = Vec::new();
    let mut refused = 0;
    for number in 0..100 {
        match store.create(&key(number), record(&[7; 100_000]), NOW).await {
            Ok(_) => confirmed.push(number),
            Err(error) => {
                assert!(error.to_string().contains("OOM"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && !confirmed.is_empty());
    for number in confirmed {
        assert!(matches!(store.load(&key(number), NOW).await.unwrap(), Load::Found(..)));
    }
}
