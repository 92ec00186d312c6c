//! Writes that replicas confirm, and the connections that they wait on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use redis::{
    Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisFuture, RedisResult, ScriptInvocation, Value,
    aio::ConnectionLike, pipe,
};

use super::{address::Wait, failure::Failure};

/// Until its replicas have answered, the server does nothing else that comes over the same connection. So writes that wait have connections of their
/// own, which they share.
const WRITERS: usize = 8;

const CHANNEL: &str = "dewar-wait";

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
        let wait = writers.wait;
        let turn = writers.turn.fetch_add(1, Relaxed) % writers.lines.len();
        let mut line = Confirming { line: writers.lines[turn].clone(), wait, confirmed: Ok(0) };
        match script.invoke_async(&mut line).await {
            Ok(answer) => match line.confirmed {
                Ok(confirmed) if confirmed >= i64::from(wait.replicas) => Ok(answer),
                Ok(confirmed) => Err(Failure::Unconfirmed { confirmed, wait }),
                Err(error) => Err(Failure::Lost(error)),
            },
            Err(error) if error.is_io_error() && !error.is_connection_refusal() => Err(Failure::Lost(error)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends a `WAIT` with each command, in the same round trip.
///
/// A newer server looks at what this very connection has written. An answer may rest on what another one wrote, a tombstone that is there already; so something is
/// written in any case: a message that nobody hears.
struct Confirming<C> {
    line: C,
    wait: Wait,
    /// How many replicas have confirmed all that was written until the last command was done.
    confirmed: RedisResult<i64>,
}

impl<C: ConnectionLike + Send> ConnectionLike for Confirming<C> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let limit = u64::try_from(self.wait.limit.as_millis()).unwrap_or(u64::MAX);
            let mut all = pipe();
            all.add_command(command.clone()).cmd("PUBLISH").arg(CHANNEL).arg("");
            all.cmd("WAIT").arg(self.wait.replicas).arg(limit);
            let answers = self.line.req_packed_commands(&all, 0, 3).await?;
            let [answer, published, confirmed] = <[Value; 3]>::try_from(answers)
                .map_err(|_| RedisError::from((ErrorKind::UnexpectedReturnType, "not every command was answered")))?;
            let confirmed = published.extract_error().and_then(|_| confirmed.extract_error());
            self.confirmed = confirmed.and_then(|confirmed| Ok(i64::from_redis_value(confirmed)?));
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
