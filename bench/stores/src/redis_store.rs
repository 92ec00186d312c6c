//! Redis beside its client alone: `GET` of the same bytes, and the store's own script with the same arguments.

use std::rc::Rc;

use dewar::store::redis::RedisStore;
use redis::Script;

use crate::{NOW, TURNS, fill, key, of_store, report, turn, until};

const SESSIONS: u64 = 10_000;

/// The store's script, for a record whose version is not asked for: the raw writer has nobody beside it.
pub(crate) const REPLACE: &str = "
    local now = tonumber(ARGV[1])
    local head = redis.call('GETRANGE', KEYS[1], 0, 25)
    if #head < 26 then return 0 end
    if string.byte(head) > 2 then return redis.error_reply('DEWAR a record has an unknown format') end
    local idle, absolute = struct.unpack('>I8I8', head, 11)
    if idle <= now or absolute <= now then return 0 end
    if ARGV[2] ~= '' and string.sub(head, 3, 10) ~= ARGV[2] then return 1 end
    local principal = ARGV[5]
    if principal ~= '' and redis.call('GETRANGE', KEYS[1], 38, 37 + #principal) ~= principal then return 3 end
    redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
    return 2
";

pub(crate) async fn measure(url: &str) {
    let store = RedisStore::open(url).expect("a URL");
    let keys = fill(&store, SESSIONS).await;
    let client = redis::Client::open(url).expect("a URL").get_connection_manager().await.expect("a server");
    let names: Rc<Vec<_>> = Rc::new(keys.iter().map(ToString::to_string).collect());
    let script = Rc::new(Script::new(REPLACE));
    for in_flight in [1, 32] {
        let (mut load, mut get, mut replace, mut raw, mut touch) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TURNS {
            load.push(of_store!(loads, store, keys, in_flight));
            get.push(
                turn(in_flight, |task, end| {
                    let (mut client, names) = (client.clone(), Rc::clone(&names));
                    async move {
                        until(end, async |i| {
                            let at = (i * 7_919 + task * 104_729) as usize % names.len();
                            let found: Vec<u8> = redis::cmd("GET").arg(&names[at]).query_async(&mut client).await?;
                            assert!(found.len() > 240);
                            Ok::<_, redis::RedisError>(())
                        })
                        .await
                    }
                })
                .await,
            );
            replace.push(of_store!(replaces, store, keys, in_flight));
            raw.push(
                turn(in_flight, |task, end| {
                    let (mut client, script) = (client.clone(), Rc::clone(&script));
                    async move {
                        let name = key(task).to_string();
                        let record: Vec<u8> =
                            redis::cmd("GET").arg(&name).query_async(&mut client).await.expect("it is there");
                        until(end, async |_| {
                            let mut call = script.key(&name);
                            call.arg(NOW.as_millis()).arg("").arg(&record[..]).arg(86_400_000).arg(&[0_u8; 4][..]);
                            let done: i64 = call.invoke_async(&mut client).await?;
                            assert_eq!(done, 2);
                            Ok::<_, redis::RedisError>(())
                        })
                        .await
                    }
                })
                .await,
            );
            touch.push(of_store!(touches, store, keys, in_flight));
        }
        report("redis: load", in_flight, load);
        report("redis client: GET", in_flight, get);
        report("redis: replace", in_flight, replace);
        report("redis client: the same script", in_flight, raw);
        report("redis: touch", in_flight, touch);
    }
}

/// The same server over TCP, over TLS and with a replica that confirms each write: `name=address`, one a word.
pub(crate) async fn measure_ways(ways: &str) {
    let mut stores = Vec::new();
    for way in ways.split_whitespace() {
        let (name, url) = way.split_once('=').expect("name=address");
        stores.push((name, RedisStore::open(url).expect("a URL")));
    }
    let keys = fill(&stores[0].1, SESSIONS).await;
    for in_flight in [1, 32] {
        let mut found: Vec<_> = stores.iter().map(|_| (Vec::new(), Vec::new())).collect();
        for _ in 0..TURNS {
            for ((_, store), (load, replace)) in stores.iter().zip(&mut found) {
                load.push(of_store!(loads, store, keys, in_flight));
                replace.push(of_store!(replaces, store, keys, in_flight));
            }
        }
        for ((name, _), (load, replace)) in stores.iter().zip(found) {
            report(&format!("redis, {name}: load"), in_flight, load);
            report(&format!("redis, {name}: replace"), in_flight, replace);
        }
    }
}
