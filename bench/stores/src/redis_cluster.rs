//! A Redis Cluster beside one server, and beside the cluster's own client alone: `GET` of the same bytes, and the store's script with the same arguments.

use std::rc::Rc;

use dewar::store::redis::RedisStore;
use redis::{Script, cluster::ClusterClient};

use crate::{NOW, TURNS, fill, key, of_store, redis_store::REPLACE, report, turn, until};

const SESSIONS: u64 = 10_000;

/// `hosts`: `127.0.0.1:7000,127.0.0.1:7001`
pub(crate) async fn measure(url: &str, hosts: &str) {
    let one = RedisStore::open(url).expect("a URL");
    let store = RedisStore::open(&format!("redis+cluster://{hosts}")).expect("a URL");
    let keys = fill(&one, SESSIONS).await;
    fill(&store, SESSIONS).await;
    let nodes: Vec<String> = hosts.split(',').map(|host| format!("redis://{host}")).collect();
    let client = ClusterClient::new(nodes).expect("addresses").get_async_connection().await.expect("a cluster");
    let names: Rc<Vec<_>> = Rc::new(keys.iter().map(ToString::to_string).collect());
    let script = Rc::new(Script::new(REPLACE));
    for in_flight in [1, 32] {
        let [mut load, mut load_one, mut get, mut replace, mut replace_one, mut raw] = [const { Vec::new() }; 6];
        for _ in 0..TURNS {
            load.push(of_store!(loads, store, keys, in_flight));
            load_one.push(of_store!(loads, one, keys, in_flight));
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
            replace_one.push(of_store!(replaces, one, keys, in_flight));
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
        }
        report("redis cluster: load", in_flight, load);
        report("redis, in the same run: load", in_flight, load_one);
        report("redis cluster client: GET", in_flight, get);
        report("redis cluster: replace", in_flight, replace);
        report("redis, in the same run: replace", in_flight, replace_one);
        report("redis cluster client: a script", in_flight, raw);
    }
}
