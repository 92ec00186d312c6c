//! Stores, and raw clients beside them, interleaved in one run: load, replace and touch at 1 and 32 in flight.

use std::{fmt::Debug, pin::Pin, sync::Arc};

use dewar::store::{SessionStore, StoreKey};

use crate::{Each, TURNS, of_store, report, spread, turn, until};

/// How many sessions there are.
pub(crate) const SESSIONS: u64 = 10_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Load,
    Replace,
    Touch,
}

/// Whoever has a turn.
pub(crate) trait Side {
    /// What the table calls it, where it does this at all.
    fn row(&self, verb: Verb) -> Option<String>;

    fn turn(&self, verb: Verb, in_flight: u64) -> Pin<Box<dyn Future<Output = Each> + '_>>;
}

pub(crate) async fn interleave(sides: &[&dyn Side]) {
    for in_flight in [1, 32] {
        for verb in [Verb::Load, Verb::Replace, Verb::Touch] {
            let mut rows: Vec<_> =
                sides.iter().filter_map(|side| Some((side, side.row(verb)?, Vec::with_capacity(TURNS)))).collect();
            for _ in 0..TURNS {
                for (side, _, turns) in &mut rows {
                    turns.push(side.turn(verb, in_flight).await);
                }
            }
            for (_, row, turns) in rows {
                report(&row, in_flight, turns);
            }
        }
    }
}

/// A store of this library.
pub(crate) struct Ours<S> {
    pub(crate) name: String,
    pub(crate) store: S,
    pub(crate) keys: Arc<Vec<StoreKey>>,
}

impl<S: SessionStore + Clone + 'static> Side for Ours<S> {
    fn row(&self, verb: Verb) -> Option<String> {
        let verb = match verb {
            Verb::Load => "load",
            Verb::Replace => "replace",
            Verb::Touch => "touch",
        };
        Some(format!("{}: {verb}", self.name))
    }

    fn turn(&self, verb: Verb, in_flight: u64) -> Pin<Box<dyn Future<Output = Each> + '_>> {
        Box::pin(async move {
            match verb {
                Verb::Load => of_store!(loads, self.store, self.keys, in_flight),
                Verb::Replace => of_store!(replaces, self.store, self.keys, in_flight),
                Verb::Touch => of_store!(touches, self.store, self.keys, in_flight),
            }
        })
    }
}

/// A client that runs a store's commands by itself, on the sessions that the store has made.
pub(crate) trait Client: Clone + 'static {
    type Error: Debug;
    /// What it keeps from one write to the next.
    type Writer;

    async fn load(&mut self, at: usize) -> Result<(), Self::Error>;

    /// Of a session of its own.
    async fn writer(&mut self, task: u64) -> Self::Writer;

    async fn write(&mut self, writer: &mut Self::Writer) -> Result<(), Self::Error>;
}

pub(crate) struct Raw<C> {
    pub(crate) client: C,
    /// What the table calls its two commands.
    pub(crate) load: String,
    pub(crate) replace: String,
}

impl<C: Client> Side for Raw<C> {
    fn row(&self, verb: Verb) -> Option<String> {
        match verb {
            Verb::Load => Some(self.load.clone()),
            Verb::Replace => Some(self.replace.clone()),
            Verb::Touch => None,
        }
    }

    fn turn(&self, verb: Verb, in_flight: u64) -> Pin<Box<dyn Future<Output = Each> + '_>> {
        Box::pin(turn(in_flight, move |task, end| {
            let mut client = self.client.clone();
            async move {
                if verb == Verb::Load {
                    return until(end, async |i| client.load(spread(i, task, SESSIONS)).await).await;
                }
                let mut writer = client.writer(task).await;
                until(end, async |_| client.write(&mut writer).await).await
            }
        }))
    }
}
