//! A runtime without threads: tasks wait in a queue, and go on whenever the program waits for something.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use dewar::{
    Clock,
    runtime::{Runtime, Task},
};

#[derive(Clone)]
pub(crate) struct Queue {
    clock: Clock,
    tasks: Arc<Mutex<VecDeque<Task>>>,
}

impl Queue {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, tasks: Arc::default() }
    }

    /// Runs a future to its end, and all tasks in between.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            self.turn(&mut context);
        }
    }

    /// Each task gets on as far as it can.
    pub(crate) fn turn(&self, context: &mut Context<'_>) {
        let tasks = mem::take(&mut *self.tasks());
        // Nothing is locked now: a task may spawn another one.
        for mut task in tasks {
            if task.as_mut().poll(context).is_pending() {
                self.tasks().push_back(task);
            }
        }
    }

    fn tasks(&self) -> MutexGuard<'_, VecDeque<Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runtime for Queue {
    fn spawn(&self, task: Task) {
        self.tasks().push_back(task);
    }

    fn sleep(&self, time: Duration) -> Task {
        let clock = self.clock.clone();
        let end = clock.now().after(time);
        Box::pin(poll_fn(move |_| if clock.now() < end { Poll::Pending } else { Poll::Ready(()) }))
    }
}
