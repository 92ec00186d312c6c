//! Visitors who hang up, on any store.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use dewar::store::{Cap, Load, Record, Revoke, SessionAdmin, SessionStore};
use tokio::{task::JoinSet, time::sleep};

use super::stores::{NOW, create, ended, key, later, of, version};

/// Polls so many times, and drops it.
async fn polled<T>(times: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Visitors who hang up at every point of every call, on few connections; each asks for their own session after that.
pub(crate) async fn everybody_gets_their_own<S: SessionStore + SessionAdmin + Clone>(store: S) {
    let mut visitors = JoinSet::new();
    for visitor in 0..12_u64 {
        let store = store.clone();
        visitors.spawn(async move {
            let name = format!("visitor {visitor}");
            let own = Record { data: name.clone().into(), ..of(&name, 1) };
            let cap = Cap { most: 3.try_into().unwrap(), end_oldest: Some(ended(1)) };
            let mut number = visitor * 1_000_000;
            create(&store, number, &own).await;
            let mut at = version(number);
            for round in 0..240_u32 {
                let (times, next) = (round / 6, number + 1);
                match round % 6 {
                    0 => drop(polled(times, store.load(&key(number), NOW)).await),
                    1 => drop(polled(times, store.replace(&key(number), at, version(next), own.clone(), NOW)).await),
                    2 => drop(polled(times, store.touch(&key(number), at, later(60), NOW)).await),
                    3 => {
                        let (from, to) = (key(number), key(next));
                        let renames =
                            store.rename(&from, None, &to, version(next), own.clone(), ended(1), Some(&cap), NOW);
                        drop(polled(times, renames).await);
                    }
                    4 => drop(polled(times, store.revoke(&name, Revoke::Lineage(9), ended(1), NOW)).await),
                    _ => drop(polled(times, store.list(Some(&name), None, 9, NOW)).await),
                }
                // A call that was sent may be done late.
                let mut found_at = None;
                for _ in 0..100 {
                    for candidate in [number, next] {
                        match store.load(&key(candidate), NOW).await.unwrap() {
                            Load::Found(found, at) => {
                                assert_eq!(found.data, name.as_bytes(), "another visitor's session");
                                found_at = Some((candidate, at));
                            }
                            Load::Gone(_) | Load::Missing => {}
                            Load::Malformed => panic!("malformed"),
                        }
                    }
                    if found_at.is_some() {
                        break;
                    }
                    sleep(Duration::from_millis(10)).await;
                }
                (number, at) = found_at.expect("the session is lost");
                let listed = store.list(Some(&name), None, 9, NOW).await.unwrap();
                assert!(listed.iter().all(|(_, found, _)| found.data == name.as_bytes()), "another visitor's session");
                assert!(listed.len() <= 1, "round {round}: one lives: {listed:?}");
            }
        });
    }
    visitors.join_all().await;
}
