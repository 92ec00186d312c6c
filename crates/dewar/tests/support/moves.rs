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
    store::{
        Cap, Create, Delete, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError, StoreKey,
        Timestamp, Tombstone, Touch, Version, Why, memory::MemoryStore, moving::Moving,
    },
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

/// Two servers side by side, of which the one moves sessions and the other does not yet: each call goes to either. The old store counts its epochs faster.
#[derive(Clone)]
pub struct SideBySide {
    old: MemoryStore,
    prepared: Moving<MemoryStore, MemoryStore>,
    moving: Moving<MemoryStore, MemoryStore>,
    calls: Arc<AtomicUsize>,
}

impl SideBySide {
    pub fn new() -> Self {
        let (old, new) = (MemoryStore::new(), MemoryStore::new());
        let (prepared, moving) = (Moving::prepare(old.clone(), new.clone()), Moving::start(old.clone(), new.clone()));
        Self { old, prepared, moving, calls: Arc::default() }
    }

    fn any(&self) -> &Moving<MemoryStore, MemoryStore> {
        // Neither in turns, nor by any clock.
        let call = self.calls.fetch_add(1, SeqCst);
        if call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 < 2 { &self.prepared } else { &self.moving }
    }

    async fn count_on(&self, now: Timestamp) -> Result<(), StoreError> {
        for _ in 0..3 {
            self.old.revoke("somebody", Revoke::All, Tombstone::new(Why::Ended, 1, now), now).await?;
        }
        Ok(())
    }
}

impl SessionStore for SideBySide {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        self.any().load(key, now).await
    }

    async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        self.any().create(key, version, record, cap, now).await
    }

    async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        self.any().replace(key, at, version, record, now).await
    }

    async fn touch(&self, key: &StoreKey, at: Version, idle: Timestamp, now: Timestamp) -> Result<Touch, StoreError> {
        self.any().touch(key, at, idle, now).await
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        self.any().delete(key, at, tombstone, now).await
    }

    async fn rename(
        &self,
        from: &StoreKey,
        at: Option<Version>,
        to: &StoreKey,
        version: Version,
        record: Record,
        tombstone: Tombstone,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Rename, StoreError> {
        self.any().rename(from, at, to, version, record, tombstone, cap, now).await
    }
}

impl SessionAdmin for SideBySide {
    async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.any().count(now).await
    }

    async fn list(
        &self,
        principal: Option<&str>,
        after: Option<&StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        self.any().list(principal, after, limit, now).await
    }

    async fn epoch(&self, principal: Option<&str>) -> Result<u64, StoreError> {
        self.any().epoch(principal).await
    }

    async fn revoke(&self, user: &str, which: Revoke, left: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        self.count_on(now).await?;
        self.any().revoke(user, which, left, now).await
    }

    async fn revoke_everyone(&self, left: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        self.count_on(now).await?;
        self.any().revoke_everyone(left, now).await
    }

    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        self.any().purge(limit, now).await
    }
}
