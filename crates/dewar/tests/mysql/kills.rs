//! `kill -9` of a MySQL or MariaDB server, again and again. With `KILLS=200` as often.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{
    mysql_server::Server,
    stores::{NOW, ended, key, of, record, version},
};
use dewar::store::{Create, Delete, Load, Rename, Replace, Revoke, SessionAdmin, SessionStore, Why};
use tokio::task::JoinSet;

const WRITERS: u64 = 16;

/// What a writer was told, by the number of its session.
#[derive(Clone, Copy)]
enum Told {
    Holds(u64),
    Ended,
}

fn kills() -> u64 {
    std::env::var("KILLS").map_or(5, |text| text.parse().expect("KILLS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB or MySQL; cargo xtask live"]
async fn what_was_confirmed_survives_kill_9_and_what_was_ended_stays_ended() {
    let mut server = Server::start(&["--innodb-flush-log-at-trx-commit=1"]).await;
    let told = Arc::new(Mutex::new(HashMap::new()));
    let (mut confirmed, mut endings) = (0, 0);
    for round in 0..kills() {
        let store = server.store();
        store.ping(NOW).await.unwrap();
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (store, told) = (store.clone(), Arc::clone(&told));
            writers.spawn(async move {
                let tell = |number: u64, what: Told| {
                    told.lock().unwrap().insert(number, what);
                };
                for visit in 0.. {
                    let number = ((round * WRITERS + writer) << 20) + visit * 2;
                    let user = format!("user {number}");
                    let created = store.create(&key(number), version(0), of(&user, 1), None, NOW).await;
                    let Ok(Create::Created(_)) = created else { return };
                    for count in 1..=5_u64 {
                        let next = dewar::store::Record { data: count.to_le_bytes().to_vec().into(), ..of(&user, 1) };
                        let replaced = store.replace(&key(number), version(count - 1), version(count), next, NOW).await;
                        let Ok(Replace::Replaced(_)) = replaced else { return };
                        tell(number, Told::Holds(count));
                    }
                    // It ends in one of three ways.
                    match visit % 3 {
                        0 => {
                            let Ok(Delete::Deleted) = store.delete(&key(number), None, ended(1), NOW).await else {
                                return;
                            };
                        }
                        1 => {
                            let ends = store.revoke(&user, Revoke::All, ended(1), NOW).await;
                            let Ok(1) = ends else { return };
                        }
                        _ => {
                            let (from, to) = (key(number), key(number + 1));
                            let data = record(&7_u64.to_le_bytes());
                            let renamed = store.rename(&from, None, &to, version(7), data, ended(1), None, NOW).await;
                            let Ok(Rename::Renamed(_)) = renamed else { return };
                            tell(number + 1, Told::Holds(7));
                        }
                    }
                    tell(number, Told::Ended);
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(300 + round % 7 * 50)).await;
        server.kill();
        writers.join_all().await;
        server.restart().await;
        let store = server.store();
        let told: Vec<_> = told.lock().unwrap().drain().collect();
        for (number, told) in told {
            let found = store.load(&key(number), NOW).await.unwrap();
            match (told, found) {
                (Told::Ended, Load::Gone(tombstone)) => {
                    assert_eq!(tombstone.why, Why::Ended);
                    endings += 1;
                }
                (Told::Holds(count), Load::Found(found, _)) => {
                    let holds = u64::from_le_bytes((*found.data).try_into().unwrap());
                    // The one in flight may or may not have arrived.
                    assert!(holds == count || holds == count + 1, "{count} was confirmed, {holds} is there");
                    confirmed += 1;
                }
                // Its end was in flight: it was done, and nobody heard of it.
                (Told::Holds(5), Load::Gone(_)) => {}
                (Told::Holds(count), found) => panic!("round {round}: {count} was confirmed, and there is {found:?}"),
                (Told::Ended, found) => panic!("round {round}: it was ended, and there is {found:?}"),
            }
        }
        assert_eq!(store.epoch(None).await.unwrap(), 0);
    }
    assert!(confirmed >= kills() && endings >= kills());
    eprintln!("{} kills: {confirmed} confirmed sessions and {endings} endings stand", kills());
}
