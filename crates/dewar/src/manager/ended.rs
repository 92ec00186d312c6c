//! Who waits for the end of a session: one task looks after all of them. The store tells it, or is asked.

use std::{
    collections::{BTreeSet, HashMap},
    future::{Future, poll_fn},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_channel::oneshot;

use super::{Inner, PAGE};
use crate::{
    runtime::{Runtime, Task},
    session::Session,
    state::Origin,
    store::{Ending, ErasedStore, Load, StoreError, StoreKey, Why},
    telemetry,
};

/// How often a store is asked that does not tell, or that cannot just now.
const ASKED_EVERY: Duration = Duration::from_millis(500);

/// Of those moments, how many pass until one is asked that tells: what it told may have got lost, and nobody tells of what expires.
const ASKED_BEHIND: u32 = 20;

/// How often a session that was renewed is looked for, each time a moment later: a list may miss what moves while it is read.
const LOOKED_FOR: u32 = 3;

const LOOKED_AGAIN: Duration = Duration::from_millis(20);

/// Ends when a session has ended: [`Session::ended`](crate::Session::ended).
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Ended(Waits);

#[derive(Debug)]
enum Waits {
    ForEver,
    Over,
    For(oneshot::Receiver<()>),
}

impl Ended {
    pub(crate) const NEVER: Self = Self(Waits::ForEver);
}

impl Future for Ended {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Waits::ForEver => Poll::Pending,
            Waits::Over => Poll::Ready(()),
            // Also where the manager is no more: the server stops.
            Waits::For(end) => Pin::new(end).poll(context).map(drop),
        }
    }
}

/// The sessions whose end is waited for. Where it is dropped, the server stops, and nobody waits any more.
#[derive(Default)]
pub(super) struct Watched(Arc<Shared>);

#[derive(Default)]
pub(super) struct Shared(Mutex<Watching>);

#[derive(Default)]
struct Watching {
    waiting: HashMap<StoreKey, Vec<Waiter>>,
    /// Those that are said to have ended.
    told: BTreeSet<StoreKey>,
    /// Those that are to be looked at anyway, after these.
    due: BTreeSet<StoreKey>,
    /// Whether all are to be looked at once more after that.
    again: bool,
    /// Of the task, while it has nothing to do.
    waker: Option<Waker>,
    runs: bool,
}

struct Waiter {
    lineage: u64,
    principal: Option<Box<str>>,
    /// Whether it is in a cookie as yet: nothing stands under its key then.
    may_be_missing: bool,
    end: oneshot::Sender<()>,
}

impl Waiter {
    /// Whether the session can be found by its user.
    fn is_named(&self) -> bool {
        self.lineage != 0 && self.principal.is_some()
    }
}

impl std::ops::Deref for Watched {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let waiting = mem::take(&mut self.lock().waiting);
        self.lock().wake();
        drop(waiting);
    }
}

impl Shared {
    /// Whether a task has to be started.
    fn add(&self, key: StoreKey, waiter: Waiter) -> bool {
        let mut watching = self.lock();
        let waiters = watching.waiting.entry(key.clone()).or_default();
        // Those who gave up take no room while others come.
        if waiters.len() == waiters.capacity() {
            waiters.retain(|waiter| !waiter.end.is_canceled());
        }
        waiters.push(waiter);
        // It may have ended since it was opened.
        watching.look_at(key);
        !mem::replace(&mut watching.runs, true)
    }

    /// A hint. What nobody waits for is forgotten here.
    pub(super) fn told(&self, ending: Ending) {
        let mut watching = self.lock();
        match ending {
            Ending::Of(key) if watching.waiting.contains_key(&key) => watching.look_at(key),
            Ending::Of(_) => {}
            Ending::Any => watching.look_at_all(),
        }
    }

    /// A hint that sessions of this user ended.
    pub(super) fn told_of(&self, principal: &str) {
        let mut watching = self.lock();
        let is_theirs = |waiter: &Waiter| waiter.principal.as_deref() == Some(principal);
        let theirs = watching.waiting.iter().filter(|(_, waiters)| waiters.iter().any(is_theirs));
        let theirs: Vec<_> = theirs.map(|(key, _)| key.clone()).collect();
        theirs.into_iter().for_each(|key| watching.look_at(key));
    }

    /// Forgets who waits no more. `false`: nobody does, and the task is over.
    fn goes_on(&self) -> bool {
        let mut watching = self.lock();
        watching.waiting.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.end.is_canceled());
            !waiters.is_empty()
        });
        watching.runs = !watching.waiting.is_empty();
        watching.runs
    }

    /// Ends when there is something to look at.
    async fn something_is_due(&self) {
        poll_fn(|context| {
            let mut watching = self.lock();
            watching.waker = Some(context.waker().clone());
            let is_due = !watching.told.is_empty() || !watching.due.is_empty() || watching.again;
            if is_due { Poll::Ready(()) } else { Poll::Pending }
        })
        .await
    }

    fn next(&self) -> Option<StoreKey> {
        let mut watching = self.lock();
        if watching.due.is_empty() && mem::take(&mut watching.again) {
            watching.look_at_all();
        }
        watching.told.pop_first().or_else(|| watching.due.pop_first())
    }

    /// The task is gone. Whether somebody still waits.
    fn is_left(&self) -> bool {
        let mut watching = self.lock();
        // Whoever comes next starts another, should this one not be run.
        watching.runs = false;
        !watching.waiting.is_empty()
    }

    /// What stands under this key may not be missing any more.
    pub(super) fn is_stored(&self, key: &StoreKey) {
        if let Some(waiters) = self.lock().waiting.get_mut(key) {
            waiters.iter_mut().for_each(|waiter| waiter.may_be_missing = false);
        }
    }

    /// The sessions of users that were under this key: lineage and principal.
    fn named(&self, key: &StoreKey) -> Vec<(u64, Box<str>)> {
        let watching = self.lock();
        let waiters = watching.waiting.get(key).into_iter().flatten();
        let named = waiters.filter(|waiter| waiter.is_named());
        let mut named: Vec<_> = named.filter_map(|waiter| Some((waiter.lineage, waiter.principal.clone()?))).collect();
        named.sort_unstable();
        named.dedup();
        named
    }

    /// They go on under another key.
    fn follow(&self, from: &StoreKey, to: StoreKey, is_meant: impl Fn(&Waiter) -> bool) {
        let mut watching = self.lock();
        let meant = watching.take(from, is_meant);
        if !meant.is_empty() {
            watching.waiting.entry(to.clone()).or_default().extend(meant);
            watching.look_at(to);
        }
    }

    fn end(&self, key: &StoreKey, is_meant: impl Fn(&Waiter) -> bool) {
        let ended = self.lock().take(key, is_meant);
        // Their wakers run here, and may come back.
        ended.into_iter().for_each(|waiter| {
            let _ = waiter.end.send(());
        });
    }

    fn lock(&self) -> MutexGuard<'_, Watching> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watching {
    /// Those of a key who are meant; the others go on waiting.
    fn take(&mut self, key: &StoreKey, is_meant: impl Fn(&Waiter) -> bool) -> Vec<Waiter> {
        let waiters = self.waiting.remove(key).unwrap_or_default();
        let (meant, others): (Vec<_>, Vec<_>) = waiters.into_iter().partition(is_meant);
        if !others.is_empty() {
            self.waiting.insert(key.clone(), others);
        }
        meant
    }

    fn look_at(&mut self, key: StoreKey) {
        self.told.insert(key);
        self.wake();
    }

    fn look_at_all(&mut self) {
        // What is under way is gone through to its end: nobody's turn is put off by the next hint.
        if self.due.is_empty() {
            self.due = self.waiting.keys().cloned().collect();
        } else {
            self.again = true;
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Inner {
    /// The end of a session as it was opened, or as it was committed since.
    pub(super) fn end_of(self: &Arc<Self>, session: &Session) -> Ended {
        let (key, may_be_missing, lineage, principal) = {
            let state = session.lock();
            let (key, may_be_missing) = match &state.origin {
                Origin::Stored(at) => (at.key.clone(), false),
                Origin::Former { id, .. } => (id.key().clone(), true),
                Origin::Late(_) | Origin::Lost(_) => return Ended(Waits::Over),
                Origin::Fresh { .. } | Origin::Unreadable(_) | Origin::Cookie { .. } | Origin::Foreign { .. } => {
                    return Ended::NEVER;
                }
            };
            (key, may_be_missing, state.contents.lineage, state.contents.principal.clone())
        };
        let (Some(store), Some(runtime)) = (&self.store, &self.runtime) else { return Ended::NEVER };
        let (end, ended) = oneshot::channel();
        if self.watched.add(key, Waiter { lineage, principal, may_be_missing, end }) {
            let shared = Arc::clone(&self.watched.0);
            let watch = Watch { manager: Arc::downgrade(self), watched: shared, store: Arc::clone(store) };
            runtime.spawn(Box::pin(watch.run(Arc::clone(runtime))));
        }
        Ended(Waits::For(ended))
    }

    /// Looks whether the session under this key has ended.
    async fn look_after(&self, store: &dyn ErasedStore, key: StoreKey) {
        match store.load(key.clone(), self.clock.now()).await {
            Ok(Load::Found(..)) => self.watched.is_stored(&key),
            Ok(Load::Gone(tombstone)) => match tombstone.why {
                Why::Renewed { successor: Some(successor) } => self.watched.follow(&key, successor, |_| true),
                Why::Renewed { successor: None } => self.look_for_the_renewed(store, &key).await,
                Why::Ended | Why::BegunAgain => self.watched.end(&key, |_| true),
            },
            // Renewed, perhaps, while nobody could ask.
            Ok(Load::Missing) => self.look_for_the_renewed(store, &key).await,
            Ok(Load::Malformed) => self.watched.end(&key, |_| true),
            // It lives as far as anybody knows. It is asked again.
            Err(error) => telemetry::not_known_to_have_ended(&error),
        }
    }

    /// A log-in says to nobody where the session goes on; a user's is found by its lineage.
    async fn look_for_the_renewed(&self, store: &dyn ErasedStore, key: &StoreKey) {
        for (lineage, principal) in self.watched.named(key) {
            let mut found = None;
            for attempt in 0..LOOKED_FOR {
                if attempt > 0 {
                    self.sleep(LOOKED_AGAIN).await;
                }
                found = match self.listed(store, &principal, lineage).await {
                    Ok(found) => found,
                    Err(error) => return telemetry::not_known_to_have_ended(&error),
                };
                if found.is_some() {
                    break;
                }
            }
            match found {
                Some(found) => self.watched.follow(key, found, |waiter| waiter.lineage == lineage),
                None => self.watched.end(key, |waiter| waiter.lineage == lineage && !waiter.may_be_missing),
            }
        }
        self.watched.end(key, |waiter| !waiter.is_named() && !waiter.may_be_missing);
    }

    /// Where this lineage of a user is.
    async fn listed(&self, store: &dyn ErasedStore, user: &str, lineage: u64) -> Result<Option<StoreKey>, StoreError> {
        let mut after = None;
        loop {
            let page = store.list(Some(user), after.as_ref(), PAGE, self.clock.now()).await?;
            if let Some((key, ..)) = page.iter().find(|(_, record, _)| record.lineage == lineage) {
                return Ok(Some(key.clone()));
            }
            match page.last() {
                Some((last, ..)) if page.len() == PAGE => after = Some(last.clone()),
                _ => return Ok(None),
            }
        }
    }
}

/// The task that looks after all who wait.
struct Watch {
    manager: Weak<Inner>,
    watched: Arc<Shared>,
    store: Arc<dyn ErasedStore>,
}

impl Watch {
    /// Ends where nobody waits any more, or the manager is no more.
    async fn run(self, runtime: Arc<dyn Runtime>) {
        let mut running = Running { watch: self, runtime: Arc::clone(&runtime), is_over: false };
        let Watch { manager, watched, store } = &running.watch;
        let mut telling = Telling { watched: Arc::clone(watched), store: Arc::clone(store), task: None, tells: true };
        let mut moments = 0;
        loop {
            // One that ended is begun again after a while, and the store is asked meanwhile.
            if moments % ASKED_BEHIND == 0 {
                telling.begin();
            }
            let mut pause = runtime.sleep(ASKED_EVERY);
            loop {
                while let Some(key) = watched.next() {
                    let Some(inner) = manager.upgrade() else { return };
                    telling.beside(inner.look_after(&**store, key)).await;
                }
                if telling.beside(either(watched.something_is_due(), &mut pause)).await {
                    break;
                }
            }
            if !watched.goes_on() {
                running.is_over = true;
                return;
            }
            moments += 1;
            if telling.task.is_none() || moments % ASKED_BEHIND == 0 {
                watched.told(Ending::Any);
            }
        }
    }
}

/// Begins again where the task goes, or panics, while others wait: its runtime may have been another's, too.
struct Running {
    watch: Watch,
    runtime: Arc<dyn Runtime>,
    is_over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let Watch { manager, watched, store } = &self.watch;
        if self.is_over || !watched.is_left() || manager.strong_count() == 0 {
            return;
        }
        let watch = Watch { manager: manager.clone(), watched: Arc::clone(watched), store: Arc::clone(store) };
        self.runtime.spawn(Box::pin(watch.run(Arc::clone(&self.runtime))));
    }
}

/// The store's own task, as long as it runs.
struct Telling {
    watched: Arc<Shared>,
    store: Arc<dyn ErasedStore>,
    task: Option<Task>,
    tells: bool,
}

impl Telling {
    fn begin(&mut self) {
        if self.task.is_none() && self.tells {
            let watched = Arc::clone(&self.watched);
            self.task = self.store.endings(Arc::new(move |ending| watched.told(ending)));
            self.tells = self.task.is_some();
        }
    }

    /// Runs it while something else is waited for.
    async fn beside<T>(&mut self, waited_for: impl Future<Output = T>) -> T {
        let mut waited_for = pin!(waited_for);
        poll_fn(|context| {
            if let Some(task) = &mut self.task {
                // A panic of the store's is its end, and nobody else's.
                let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context).is_ready()));
                if polled.unwrap_or(true) {
                    self.task = None;
                }
            }
            waited_for.as_mut().poll(context)
        })
        .await
    }
}

/// Whether the second ended first.
async fn either(first: impl Future<Output = ()>, second: &mut Task) -> bool {
    let mut first = pin!(first);
    poll_fn(|context| match first.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(false),
        Poll::Pending => second.as_mut().poll(context).map(|()| true),
    })
    .await
}
