//! Visits that move from one store to another under load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::SystemTime,
};

use dewar::{
    SessionManager,
    store::{SessionAdmin, Timestamp, moving::Moving},
    testing::Visitor,
};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{http::secret, site::Request};

/// As many as ask at the same moment.
const AT_ONCE: usize = 32;

fn manager(store: impl SessionAdmin) -> SessionManager {
    SessionManager::builder(secret()).unwrap().store(store).build().unwrap()
}

async fn count(visitor: &Visitor, manager: &SessionManager) -> Option<u32> {
    Request::begin(visitor, manager).await.session.get("n")
}

/// A thousand visits, of 300 users, each with racing requests at servers that move sessions and at one that does not yet. Nobody is logged out, no write is
/// lost, and all of them are in the new store at the end.
pub async fn a_thousand_visits<Old, New>(old: Old, new: New)
where
    Old: SessionAdmin + Clone,
    New: SessionAdmin + Clone,
{
    let before = manager(old.clone());
    let mut visitors = Vec::new();
    for number in 0..1_000u32 {
        let user = format!("user-{}", number % 300);
        let visitor = Visitor::prepared(&before, |session| {
            session.insert("n", 0u32);
            session.set_principal(&user);
        });
        visitors.push(visitor.await.unwrap());
    }
    let servers = [
        manager(Moving::prepare(old.clone(), new.clone())),
        manager(Moving::start(old.clone(), new.clone())),
        manager(Moving::start(old.clone(), new.clone())),
    ];
    let (logged_out, turns) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(AT_ONCE)));
    let mut tasks = JoinSet::new();
    for (number, mut visitor) in visitors.into_iter().enumerate() {
        let (servers, logged_out, turns) = (servers.clone(), Arc::clone(&logged_out), Arc::clone(&turns));
        tasks.spawn(async move {
            let _turn = turns.acquire().await;
            for round in 0..4 {
                // Two requests of one page, at two servers.
                let one = Request::begin(&visitor, &servers[(number + round) % servers.len()]).await;
                let two = Request::begin(&visitor, &servers[(number + round + 1) % servers.len()]).await;
                for request in [&one, &two] {
                    if request.session.principal().is_none() {
                        logged_out.fetch_add(1, SeqCst);
                    }
                    request.session.update("n", |n: &mut u32| *n += 1).unwrap();
                }
                let (one, two) = tokio::join!(one.end(), two.end());
                visitor.receive(&one.unwrap());
                visitor.receive(&two.unwrap());
            }
            visitor
        });
    }
    let visitors = tasks.join_all().await;
    assert_eq!(logged_out.load(SeqCst), 0);
    for visitor in &visitors {
        assert_eq!(count(visitor, &servers[0]).await, Some(8));
    }
    let now = Timestamp::from(SystemTime::now());
    // Each has met a server that moves.
    assert_eq!((old.count(now).await.unwrap(), new.count(now).await.unwrap()), (0, 1_000));
    let after = manager(new);
    for visitor in &visitors {
        assert_eq!(count(visitor, &after).await, Some(8));
    }
}
