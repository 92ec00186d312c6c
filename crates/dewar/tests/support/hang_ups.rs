//! Visitors who hang up, on any store.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use dewar::store::{Cap, Load, Record, Replace, Revoke, SessionAdmin, SessionStore, Version};
use tokio::{task::JoinSet, time::sleep};

use super::stores::{NOW, create, ended, key, later, of, version};

/// What becomes of a call whose future is dropped.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Dropped {
    /// It is done, or it is not, before the next call of the same visitor.
    IsDoneOrNot,
    /// What was sent may be done after that.
    MayBeDoneLate,
}

/// Polls so many times, and drops it.
async fn polled<T>(times: u32, future: impl Future<Output = T>) {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Pending if left > 0 => {
            left -= 1;
            Poll::Pending
        }
        _ => Poll::Ready(()),
    })
    .await;
}

/// Where this visitor's session is, the later of the candidates.
async fn found(store: &impl SessionStore, name: &str, candidates: [u64; 2], dropped: Dropped) -> (u64, Version) {
    let looks = if dropped == Dropped::MayBeDoneLate { 100 } else { 1 };
    for look in 0..looks {
        if look > 0 {
            sleep(Duration::from_millis(10)).await;
        }
        let mut found_at = None;
        for candidate in candidates {
            match store.load(&key(candidate), NOW).await.unwrap() {
                Load::Found(found, at) => {
                    assert_eq!(found.data, name.as_bytes(), "another visitor's session");
                    found_at = Some((candidate, at));
                }
                Load::Gone(_) | Load::Missing => {}
                Load::Malformed => panic!("malformed"),
            }
        }
        if let Some(found_at) = found_at {
            return found_at;
        }
    }
    panic!("the session of {name} is lost");
}

/// Visitors who hang up at every point of every call, on few connections; each asks for their own session after that.
pub(crate) async fn everybody_gets_their_own<S: SessionStore + SessionAdmin + Clone>(store: S, dropped: Dropped) {
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
                let (from, to) = (key(number), key(next));
                match round % 6 {
                    0 => polled(times, store.load(&from, NOW)).await,
                    1 => polled(times, store.replace(&from, at, version(next), own.clone(), NOW)).await,
                    2 => polled(times, store.touch(&from, at, later(60), NOW)).await,
                    3 => {
                        let renames =
                            store.rename(&from, None, &to, version(next), own.clone(), ended(1), Some(&cap), NOW);
                        polled(times, renames).await;
                    }
                    4 => polled(times, store.revoke(&name, Revoke::Lineage(9), ended(1), NOW)).await,
                    _ => polled(times, store.list(Some(&name), None, 9, NOW)).await,
                }
                (number, at) = found(&store, &name, [number, next], dropped).await;
                let listed = store.list(Some(&name), None, 9, NOW).await.unwrap();
                assert!(listed.iter().all(|(_, found, _)| found.data == name.as_bytes()), "another visitor's session");
                let least = usize::from(dropped == Dropped::IsDoneOrNot);
                assert!((least..=1).contains(&listed.len()), "round {round}: one lives: {listed:?}");
                let newer = version(number + 500_000);
                let replaced = store.replace(&key(number), at, newer, own.clone(), NOW).await.unwrap();
                // What was dropped may have been done in between.
                if replaced == Replace::Replaced(newer) {
                    at = newer;
                }
            }
        });
    }
    visitors.join_all().await;
}
