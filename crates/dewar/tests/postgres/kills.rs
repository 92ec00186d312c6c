//! A PostgreSQL that is killed in the middle of writes: what it confirmed is there afterwards, on itself or on its replica.
#![allow(clippy::print_stdout)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use crate::support::{
    postgres::{both, is_streaming, open, run},
    postgres_server::Server,
    stores::{NOW, create, ended, key, of, record, version},
};
use dewar::store::{Create, Delete, Load, Rename, Replace, SessionStore, StoreError, postgres::PostgresStore};
use tokio::{task::JoinSet, time::sleep};

/// What was confirmed of one session.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Confirmed {
    Lives(u64),
    Ended,
    /// A call failed: nobody knows.
    Unknown,
}

fn rounds() -> u64 {
    std::env::var("ROUNDS").map_or(2, |text| text.parse().expect("it is a number"))
}

/// Writers until the primary is killed and the replica has taken over; how long writes failed, and what was confirmed.
async fn kill_round(
    store: &PostgresStore,
    round: u64,
    primary: &mut Server,
    replica: &Server,
) -> (Duration, Duration, Vec<(u64, Confirmed)>) {
    let stops = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..8_u64 {
        let (store, stops) = (store.clone(), Arc::clone(&stops));
        writers.spawn(async move {
            let mut all = Vec::new();
            for step in 0.. {
                if stops.load(SeqCst) {
                    break;
                }
                let number = (round << 32) + (writer << 24) + step;
                let known = async {
                    let Create::Created(_) =
                        store.create(&key(number), version(1), of("ada", number), None, NOW).await?
                    else {
                        return Ok(Confirmed::Unknown);
                    };
                    for at in 1..3 {
                        match store.replace(&key(number), version(at), version(at + 1), of("ada", number), NOW).await? {
                            Replace::Replaced(_) => {}
                            other => panic!("{other:?}"),
                        }
                    }
                    if step % 2 == 1 {
                        assert_eq!(store.delete(&key(number), None, ended(number), NOW).await?, Delete::Deleted);
                        return Ok(Confirmed::Ended);
                    }
                    if step % 4 == 2 {
                        let (from, to) = (key(number), key(number + (1 << 23)));
                        let renamed =
                            store.rename(&from, None, &to, version(9), of("ada", number), ended(1), None, NOW);
                        assert!(matches!(renamed.await?, Rename::Renamed(_)));
                        return Ok(Confirmed::Ended);
                    }
                    Ok::<_, StoreError>(Confirmed::Lives(3))
                };
                all.push((number, known.await.unwrap_or(Confirmed::Unknown)));
            }
            all
        });
    }
    sleep(Duration::from_millis(300 + 70 * (round % 7))).await;
    primary.kill();
    let start = Instant::now();
    tokio::task::block_in_place(|| replica.promote());
    let promoted = start.elapsed();
    let mut probe = (round << 32) + (1 << 31);
    while store.create(&key(probe), version(1), record(b"x"), None, NOW).await.is_err() {
        probe += 1;
        assert!(start.elapsed() < Duration::from_secs(30), "writes do not come back");
    }
    let back = start.elapsed();
    sleep(Duration::from_millis(200)).await;
    stops.store(true, SeqCst);
    (promoted, back, writers.join_all().await.into_iter().flatten().collect())
}

async fn lost(store: &PostgresStore, confirmed: &[(u64, Confirmed)]) -> usize {
    let mut lost = 0;
    for (number, known) in confirmed {
        let found = store.load(&key(*number), NOW).await.unwrap();
        let is_there = match (known, &found) {
            (Confirmed::Lives(at), Load::Found(_, found)) => *found == version(*at),
            (Confirmed::Ended, Load::Gone(_)) | (Confirmed::Unknown, _) => true,
            _ => false,
        };
        lost += usize::from(!is_there);
    }
    lost
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn nothing_that_was_confirmed_is_lost_where_the_replica_has_it_before_anybody_is_told() {
    let (mut confirmed_in_all, mut slowest) = (0, Duration::ZERO);
    let mut primary = Server::start(&[]);
    create(&open(&primary), 1, &record(b"x")).await;
    for round in 1..=rounds() {
        let replica = primary.replica(&[]);
        is_streaming(&primary).await;
        run(&primary, "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
        run(&primary, "SELECT pg_reload_conf()").await;
        sleep(Duration::from_millis(200)).await;
        let store = both(&primary, &replica);
        let (promoted, back, confirmed) = kill_round(&store, round, &mut primary, &replica).await;
        let known = confirmed.iter().filter(|(_, known)| *known != Confirmed::Unknown).count();
        assert!(known > 3, "round {round}: {known} confirmed");
        assert_eq!(lost(&store, &confirmed).await, 0, "round {round}");
        assert!(
            back < promoted + Duration::from_secs(3),
            "round {round}: promoted after {promoted:?}, written to after {back:?}"
        );
        confirmed_in_all += known;
        slowest = slowest.max(back.saturating_sub(promoted));
        primary = replica;
    }
    println!(
        "{} rounds, {confirmed_in_all} sessions confirmed, none lost; writes were back {slowest:?} after the promotion at most",
        rounds()
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_replica_that_is_behind_loses_what_it_had_not_received_and_nothing_is_half_there() {
    let mut primary = Server::start(&[]);
    create(&open(&primary), 1, &record(b"x")).await;
    let replica = primary.replica(&[]);
    is_streaming(&primary).await;
    let store = both(&primary, &replica);
    let (_, back, confirmed) = kill_round(&store, 1, &mut primary, &replica).await;
    let lost = lost(&store, &confirmed).await;
    println!("asynchronous: {lost} of {} confirmed sessions lost; writes were back after {back:?}", confirmed.len());
    // The last that each of eight writers did, at most, and what was on its way.
    assert!(lost < 200, "{lost} of {}", confirmed.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL; cargo xtask live"]
async fn a_server_that_is_killed_and_starts_again_has_what_it_confirmed() {
    let mut server = Server::start(&["fsync=on"]);
    let store = open(&server);
    for round in 1..=rounds() {
        let mut writers = JoinSet::new();
        for writer in 0..8_u64 {
            let store = store.clone();
            writers.spawn(async move {
                let mut confirmed = Vec::new();
                for step in 0.. {
                    let number = (round << 32) + (writer << 24) + step;
                    if store.create(&key(number), version(1), of("ada", number), None, NOW).await.is_err() {
                        return confirmed;
                    }
                    match step % 2 == 0 || store.delete(&key(number), None, ended(1), NOW).await.is_ok() {
                        true => confirmed.push(number),
                        false => return confirmed,
                    }
                }
                confirmed
            });
        }
        sleep(Duration::from_millis(200 + 31 * (round % 9))).await;
        server.kill();
        let confirmed: Vec<u64> = writers.join_all().await.into_iter().flatten().collect();
        server.restart();
        assert!(confirmed.len() > 3, "{}", confirmed.len());
        for number in confirmed {
            match store.load(&key(number), NOW).await.unwrap() {
                Load::Found(..) if number % 2 == 0 => {}
                Load::Gone(_) if number % 2 == 1 => {}
                other => panic!("round {round}, session {number}: {other:?}"),
            }
        }
    }
}
