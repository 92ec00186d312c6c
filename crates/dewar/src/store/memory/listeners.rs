//! Who is told of sessions that end.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::Poll,
};

use crate::{
    runtime::Task,
    store::{Ending, StoreKey, TellEnding},
};

#[derive(Default)]
pub(super) struct Listeners {
    /// How many there are: nobody else pays for them.
    count: AtomicU64,
    all: Mutex<Vec<TellEnding>>,
}

impl Listeners {
    /// A task that listens while it is polled.
    pub(super) fn listen(self: &Arc<Self>, tell: TellEnding) -> Task {
        let mut listening: Option<Listening> = None;
        let listeners = Arc::clone(self);
        Box::pin(poll_fn(move |_| {
            listening.get_or_insert_with(|| {
                listeners.lock().push(Arc::clone(&tell));
                listeners.count.fetch_add(1, SeqCst);
                tell(Ending::Any);
                Listening { listeners: Arc::clone(&listeners), tell: Arc::clone(&tell) }
            });
            Poll::Pending
        }))
    }

    /// To be called once the tombstone stands, also under the lock of its shard.
    pub(super) fn ended(&self, key: impl FnOnce() -> StoreKey) {
        if self.count.load(SeqCst) > 0 {
            let ending = Ending::Of(key());
            self.lock().iter().for_each(|tell| tell(ending.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<TellEnding>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Listening {
    listeners: Arc<Listeners>,
    tell: TellEnding,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listeners.lock().retain(|tell| !Arc::ptr_eq(tell, &self.tell));
        self.listeners.count.fetch_sub(1, SeqCst);
    }
}
