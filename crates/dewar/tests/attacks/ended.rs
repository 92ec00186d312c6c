//! What waits for the end of a session, attacked: by traffic, by those who give up, by runtimes and stores that go away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::support::{
    faulty::{Fault, Faulty, Verb},
    http::secret,
    site::{BEGIN, Request, after_ms, builder, log_in, manager, principal_at, visit},
    stores::{Directory, key},
};
use dewar::{
    Clock, Lifetime, SessionManager,
    runtime::Task,
    store::{
        Cap, Create, Delete, Ending, GONE_FOR, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore,
        StoreError, StoreKey, TellEnding, Timestamp, Tombstone, Touch, Version, memory::MemoryStore,
        sqlite::SqliteStore,
    },
    testing::Visitor,
};
use futures_util::poll;

async fn soon(what: &str, ended: impl Future<Output = ()>) {
    let waited = tokio::time::timeout(Duration::from_millis(2_500), ended).await;
    assert!(waited.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_known_soon_while_others_come_and_wait() {
    let directory = Directory::new();
    let open = || manager(SqliteStore::open(directory.file()).unwrap());
    let (here, there) = (open(), open());
    let ann = log_in(&here, "ann").await;
    let bob = log_in(&here, "bob").await;
    let ended = Request::begin(&ann, &here).await.session.ended();
    let stops = Arc::new(AtomicBool::new(false));
    // Every tenth of a second somebody opens a page that waits.
    let traffic = tokio::spawn({
        let (here, stops) = (here.clone(), Arc::clone(&stops));
        async move {
            let mut waiting = Vec::new();
            while !stops.load(SeqCst) {
                waiting.push(Request::begin(&bob, &here).await.session.ended());
                after_ms(100).await;
            }
        }
    });
    after_ms(1_000).await;
    there.revoke_all("ann").await.unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(5), ended).await;
    stops.store(true, SeqCst);
    traffic.await.unwrap();
    assert!(waited.is_ok(), "five seconds after the log-out nobody has asked the store");
}

#[test]
fn a_runtime_that_is_dropped_takes_nobody_elses_wait_along() {
    let store = MemoryStore::new();
    let (here, there) = (manager(store.clone()), manager(store));
    let make = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (first, second) = (make(), make());
    let ann = first.block_on(log_in(&here, "ann"));
    let waits = first.block_on(async {
        let waits = Request::begin(&ann, &here).await.session.ended();
        after_ms(50).await;
        [waits]
    });
    drop(first);
    second.block_on(async {
        let again = Request::begin(&ann, &here).await.session.ended();
        there.revoke_all("ann").await.unwrap();
        soon("who waits in the runtime that lives is told nothing", again).await;
        let [waits] = waits;
        soon("who waited before", waits).await;
    });
}

/// The store in memory, which tells of endings as the test says.
#[derive(Clone)]
struct Tells {
    store: MemoryStore,
    how: Arc<dyn Fn(TellEnding, u32) -> Option<Task> + Send + Sync>,
    times: Arc<AtomicU32>,
}

impl Tells {
    fn new(how: impl Fn(TellEnding, u32) -> Option<Task> + Send + Sync + 'static) -> Self {
        Self { store: MemoryStore::new(), how: Arc::new(how), times: Arc::default() }
    }
}

impl SessionStore for Tells {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        self.store.load(key, now).await
    }

    async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        self.store.create(key, version, record, cap, now).await
    }

    async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        self.store.replace(key, at, version, record, now).await
    }

    async fn touch(&self, key: &StoreKey, at: Version, idle: Timestamp, now: Timestamp) -> Result<Touch, StoreError> {
        self.store.touch(key, at, idle, now).await
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        self.store.delete(key, at, tombstone, now).await
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
        self.store.rename(from, at, to, version, record, tombstone, cap, now).await
    }

    fn endings(&self, tell: TellEnding) -> Option<Task> {
        (self.how)(tell, self.times.fetch_add(1, SeqCst))
    }
}

impl SessionAdmin for Tells {
    async fn list(
        &self,
        principal: Option<&str>,
        after: Option<&StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        self.store.list(principal, after, limit, now).await
    }

    async fn revoke(
        &self,
        principal: &str,
        which: Revoke,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.store.revoke(principal, which, tombstone, now).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_the_store_that_panics_takes_nobodys_wait_along() {
    let store = Tells::new(|_, _| Some(Box::pin(async { panic!("the test's") })));
    let (here, there) = (manager(store.clone()), manager(store.store.clone()));
    let ann = log_in(&here, "ann").await;
    let ended = Request::begin(&ann, &here).await.session.ended();
    after_ms(50).await;
    let again = Request::begin(&ann, &here).await.session.ended();
    there.revoke_all("ann").await.unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(12), ended).await;
    assert!(waited.is_ok(), "nobody watches any more");
    soon("who came later", again).await;
}

#[tokio::test]
async fn where_the_task_of_the_store_ends_the_store_is_asked() {
    let store = Tells::new(|_, _| Some(Box::pin(async {})));
    let (here, there) = (manager(store.clone()), manager(store.store.clone()));
    let ann = log_in(&here, "ann").await;
    let ended = Request::begin(&ann, &here).await.session.ended();
    after_ms(50).await;
    there.revoke_all("ann").await.unwrap();
    soon("a store that tells nothing just now is to be asked twice a second", ended).await;
}

#[tokio::test]
async fn where_the_task_of_the_store_ends_it_begins_again_at_once() {
    // The first one ends after a while; the second one is the store's own.
    let memory = MemoryStore::new();
    let tells = memory.clone();
    let store = Tells::new(move |tell, times| match times {
        0 => Some(Box::pin(after_ms(100))),
        _ => tells.endings(tell),
    });
    let store = Tells { store: memory.clone(), ..store };
    let (here, there) = (manager(store), manager(memory));
    let ann = log_in(&here, "ann").await;
    let ended = Request::begin(&ann, &here).await.session.ended();
    after_ms(300).await;
    there.revoke_all("ann").await.unwrap();
    soon("its connection was lost for a moment, and nobody listens any more", ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_hints_keeps_nobody_from_being_looked_at() {
    let store = Tells::new(|tell, _| {
        Some(Box::pin(async move {
            loop {
                tell(Ending::Any);
                tell(Ending::Of(key(77)));
                tokio::task::yield_now().await;
            }
        }))
    });
    let (here, there) = (manager(store.clone()), manager(store.store.clone()));
    let mut waiting = Vec::new();
    for user in 0..20 {
        let visitor = log_in(&here, &format!("user-{user}")).await;
        waiting.push(Request::begin(&visitor, &here).await.session.ended());
    }
    after_ms(200).await;
    for ended in &mut waiting {
        assert!(poll!(ended).is_pending(), "it lives");
    }
    // Half of them stay, under keys that are asked about before those of the others.
    for user in 0..10 {
        there.revoke_all(&format!("user-{user}")).await.unwrap();
    }
    waiting.truncate(10);
    let all = futures_util::future::join_all(waiting);
    soon("some are never looked at", async { drop(all.await) }).await;
}

#[tokio::test]
async fn a_session_renewed_while_the_store_was_out_of_reach_has_not_ended() {
    let faulty = Faulty::default();
    let memory = faulty.store.clone();
    let clock = Clock::at(BEGIN);
    let here = builder(faulty.clone()).clock(clock.clone()).build().unwrap();
    let there = builder(memory).clock(clock.clone()).build().unwrap();
    let mut visitor = log_in(&here, "ann").await;
    let mut ended = Request::begin(&visitor, &here).await.session.ended();
    after_ms(50).await;
    faulty.always(Verb::Load, Fault::NotDone);
    visit(&mut visitor, &there, dewar::Session::renew).await;
    after_ms(100).await;
    clock.advance(GONE_FOR + Duration::from_secs(1));
    faulty.heal();
    assert_eq!(principal_at(&visitor, &there).await.as_deref(), Some("ann"));
    let waited = tokio::time::timeout(Duration::from_secs(11), &mut ended).await;
    assert!(waited.is_err(), "it counts as ended, and lives");
}

#[tokio::test]
async fn log_ins_again_and_again_never_end_a_wait() {
    let store = MemoryStore::new();
    let (here, there) = (manager(store.clone()), manager(store));
    let mut visitor = log_in(&here, "ann").await;
    let mut waiting = Vec::new();
    for _ in 0..300 {
        waiting.push(Request::begin(&visitor, &here).await.session.ended());
        visit(&mut visitor, &there, |session| session.set_principal("ann")).await;
        visit(&mut visitor, &there, dewar::Session::renew).await;
    }
    after_ms(300).await;
    for (number, ended) in waiting.iter_mut().enumerate() {
        assert!(poll!(ended).is_pending(), "{number}: it counts as ended, and lives");
    }
    visit(&mut visitor, &there, |session| session.clear()).await;
    let all = futures_util::future::join_all(waiting);
    soon("after the log-out", async { drop(all.await) }).await;
}

/// The same with log-ins that follow each other closely, on two processors.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn log_ins_close_after_another_never_end_a_wait() {
    let store = MemoryStore::new();
    let (here, there) = (manager(store.clone()), manager(store));
    let mut tasks = tokio::task::JoinSet::new();
    for user in 0..4 {
        let (here, there) = (here.clone(), there.clone());
        tasks.spawn(async move {
            let mut visitor = log_in(&here, &format!("user-{user}")).await;
            let mut waiting = Vec::new();
            let mut over = Vec::new();
            for round in 0..1_500 {
                waiting.push(Request::begin(&visitor, &here).await.session.ended());
                visit(&mut visitor, &there, |session| session.set_principal(format!("user-{user}"))).await;
                visit(&mut visitor, &there, |session| session.set_principal(format!("user-{user}"))).await;
                if round % 50 == 49 {
                    after_ms(20).await;
                    for (number, ended) in waiting.iter_mut().enumerate() {
                        if poll!(ended).is_ready() {
                            over.push(round - 49 + number);
                        }
                    }
                    waiting.clear();
                }
            }
            (over, principal_at(&visitor, &here).await)
        });
    }
    let done = tasks.join_all().await;
    assert!(done.iter().all(|(_, principal)| principal.is_some()));
    let over: Vec<_> = done.iter().map(|(over, _)| over).collect();
    assert!(over.iter().all(|over| over.is_empty()), "in these rounds it counts as ended, and lives: {over:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_who_gave_up_do_not_keep_the_last_one_waiting() {
    let store = MemoryStore::new();
    let (here, there) = (manager(store.clone()), manager(store));
    let visitor = log_in(&here, "ann").await;
    let waiting: Vec<_> = futures_util::future::join_all((0..10_000).map(|_| Request::begin(&visitor, &here))).await;
    let mut waiting: Vec<_> = waiting.into_iter().map(|request| request.session.ended()).collect();
    let last = waiting.pop().unwrap();
    drop(waiting);
    there.revoke_all("ann").await.unwrap();
    soon("the last one", last).await;
}

#[cfg(target_os = "linux")]
fn resident_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4 / 1024
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn those_who_gave_up_take_no_memory_while_others_come_and_wait() {
    let directory = Directory::new();
    let here = manager(SqliteStore::open(directory.file()).unwrap());
    let visitor = log_in(&here, "ann").await;
    let session = Request::begin(&visitor, &here).await.session;
    let kept = session.ended();
    let before = resident_mib();
    for _ in 0..50 {
        // Each of them gives up at once.
        (0..20_000).for_each(|_| drop(session.ended()));
        after_ms(100).await;
    }
    let grown = resident_mib().saturating_sub(before);
    drop(kept);
    // Of half a second at most a hundred thousand are there.
    assert!(grown < 80, "{grown} MiB for a million who gave up, over five seconds");
}

#[test]
fn whoever_is_told_of_an_event_may_begin_to_wait() {
    let slot: Arc<std::sync::Mutex<Option<dewar::Session>>> = Arc::default();
    let hears = Arc::clone(&slot);
    let here = builder(MemoryStore::new()).on_event(move |_| {
        let session = hears.lock().unwrap().clone();
        drop(session.map(|session| session.ended()));
    });
    let here = here.build().unwrap();
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut visitor = Visitor::new(&here);
            for act in [
                |session: &dewar::Session| session.insert("n", 1),
                |session: &dewar::Session| session.set_principal("ann"),
                dewar::Session::renew,
                |session: &dewar::Session| session.set_principal("bob"),
                dewar::Session::clear,
            ] {
                let request = Request::begin(&visitor, &here).await;
                *slot.lock().unwrap() = Some(request.session.clone());
                act(&request.session);
                visitor.receive(&request.end().await.unwrap());
            }
            here.revoke_all("ann").await.unwrap();
        });
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(5)).expect("it stands still");
}

/// What somebody waits for whose session is in a cookie of before there was a store, and a server with one.
async fn waits_in_a_cookie(clock: &Clock) -> (Visitor, SessionManager, dewar::Ended, Request) {
    let lifetime = || Lifetime::browser().idle(Duration::from_secs(60));
    let in_a_cookie = SessionManager::builder(secret()).unwrap().clock(clock.clone()).lifetime(lifetime());
    let visitor = log_in(&in_a_cookie.build().unwrap(), "ann").await;
    let here = builder(MemoryStore::new()).clock(clock.clone()).lifetime(lifetime()).build().unwrap();
    let request = Request::begin(&visitor, &here).await;
    assert_eq!(request.session.principal().as_deref(), Some("ann"));
    let ended = request.session.ended();
    after_ms(50).await;
    (visitor, here, ended, request)
}

#[tokio::test]
async fn a_session_that_came_from_a_cookie_and_runs_out_has_ended() {
    let clock = Clock::at(BEGIN);
    let (mut visitor, here, ended, request) = waits_in_a_cookie(&clock).await;
    // It is on the store from here on.
    visitor.receive(&request.end().await.unwrap());
    clock.advance(Duration::from_secs(50));
    visit(&mut visitor, &here, |session| session.insert("n", 2u32)).await;
    clock.advance(Duration::from_secs(200));
    assert_eq!(principal_at(&visitor, &here).await, None);
    let waited = tokio::time::timeout(Duration::from_secs(12), ended).await;
    assert!(waited.is_ok(), "it ran out, and nobody learns of it");
}

#[tokio::test]
async fn a_log_out_of_a_session_in_a_cookie_is_known_soon() {
    let (mut visitor, here, ended, _request) = waits_in_a_cookie(&Clock::at(BEGIN)).await;
    visit(&mut visitor, &here, |session| session.clear()).await;
    soon("after the log-out", ended).await;
}

#[test]
fn an_end_is_known_soon_without_an_async_runtime() {
    let store = MemoryStore::new();
    let make = || builder(store.clone()).runtime(dewar::runtime::Blocking).build().unwrap();
    let (here, there) = (make(), make());
    let ann = pollster::block_on(log_in(&here, "ann"));
    let ended = pollster::block_on(Request::begin(&ann, &here)).session.ended();
    let (told, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        pollster::block_on(ended);
        told.send(()).unwrap();
    });
    std::thread::sleep(Duration::from_millis(100));
    pollster::block_on(there.revoke_all("ann")).unwrap();
    hears.recv_timeout(Duration::from_millis(2_500)).expect("nobody is told");
}
