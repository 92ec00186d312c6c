//! Writes that replicas confirm, and the connections that they wait on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use redis::{Cmd, FromRedisValue, Pipeline, RedisFuture, ScriptInvocation, Value, aio::ConnectionLike, pipe};

use super::{address::Wait, failure::Failure};

/// Until its replicas have answered, the server does nothing else that comes over the same connection. So writes that wait have connections of their
/// own, which they share.
const WRITERS: usize = 8;

/// The connections to one server.
#[derive(Clone)]
pub(super) struct Lines<C> {
    first: C,
    writers: Option<Writers<C>>,
}

#[derive(Clone)]
struct Writers<C> {
    wait: Wait,
    lines: Arc<[C]>,
    turn: Arc<AtomicUsize>,
}

impl<C: ConnectionLike + Clone + Send> Lines<C> {
    pub(super) fn one(line: C) -> Self {
        Self { first: line, writers: None }
    }

    /// How many connections it takes.
    pub(super) fn count(wait: Option<Wait>) -> usize {
        1 + wait.map_or(0, |_| WRITERS)
    }

    /// The first is for what does not wait.
    pub(super) fn new(first: C, writers: Vec<C>, wait: Option<Wait>) -> Self {
        let writers = wait.map(|wait| Writers { wait, lines: writers.into(), turn: Arc::default() });
        Self { first, writers }
    }

    pub(super) fn first(&self) -> C {
        self.first.clone()
    }

    pub(super) async fn write<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Failure> {
        let Some(writers) = &self.writers else { return Ok(script.invoke_async(&mut self.first()).await?) };
        let turn = writers.turn.fetch_add(1, Relaxed) % writers.lines.len();
        let mut line = Confirming { line: writers.lines[turn].clone(), wait: writers.wait, confirmed: 0 };
        let answer = script.invoke_async(&mut line).await?;
        match line.confirmed >= i64::from(writers.wait.replicas) {
            true => Ok(answer),
            false => Err(Failure::Unconfirmed { confirmed: line.confirmed, wait: writers.wait }),
        }
    }
}

/// Sends a `WAIT` with each command, in the same round trip.
struct Confirming<C> {
    line: C,
    wait: Wait,
    /// How many replicas have confirmed the last command.
    confirmed: i64,
}

impl<C: ConnectionLike + Send> ConnectionLike for Confirming<C> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let mut both = pipe();
            both.add_command(command.clone()).cmd("WAIT").arg(self.wait.replicas);
            both.arg(u64::try_from(self.wait.limit.as_millis()).unwrap_or(u64::MAX));
            let mut answers = self.line.req_packed_commands(&both, 0, 2).await?.into_iter();
            let answer = answers.next().unwrap_or(Value::Nil);
            self.confirmed = i64::from_redis_value(answers.next().unwrap_or(Value::Int(0)).extract_error()?)?;
            Ok(answer)
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.line.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.line.get_db()
    }
}
