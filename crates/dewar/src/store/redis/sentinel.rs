//! The primary of a service, found by its sentinels, and found again after a fail-over.
//!
//! All sentinels are asked at once, and the newest of their answers counts: one that missed a fail-over still names the former primary, which may be back
//! as one. What they name says itself that it is a primary, on each connection, before it is used. The client's own way of doing this takes the first answer, and
//! its errors do not say what is wrong.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, FromRedisValue, PushInfo, PushKind, RedisError, RedisResult,
    aio::MultiplexedConnection, cmd,
};
use tokio::task::JoinSet;

use super::{
    address::{Service, Wait, at},
    connection::{CONNECTION_LIMIT, PIPELINE, Request},
    failure::Failure,
    tls::{self, Certificates},
    wait::Lines,
};

/// How long a sentinel may take for its answer.
const SENTINEL_LIMIT: Duration = Duration::from_millis(500);

/// The sentinels are asked at most this often.
const ASKED_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Sentinels {
    service: Service,
    certificates: Option<Certificates>,
    wait: Option<Wait>,
    found: Mutex<Found>,
    /// One asks, and whoever waits meanwhile takes what that found.
    asking: tokio::sync::Mutex<()>,
}

/// What the sentinels were asked for last.
struct Found {
    /// Which time this was; zero: not yet.
    number: u64,
    since: Option<Instant>,
    lines: Option<Result<Lines<MultiplexedConnection>, Failure>>,
    /// Whether the primary has to be looked for again.
    is_left: Arc<AtomicBool>,
}

/// How far a call has come when its time is over.
#[derive(Default)]
pub(super) struct Progress {
    number: u64,
    pub(super) failure: Option<Failure>,
}

/// What a sentinel says.
struct Named {
    host: String,
    port: u16,
    /// Each fail-over has a higher one.
    epoch: u64,
}

impl Sentinels {
    pub(super) fn new(service: Service, certificates: Option<Certificates>, wait: Option<Wait>) -> Self {
        let found = Found { number: 0, since: None, lines: None, is_left: Arc::default() };
        Self { service, certificates, wait, found: Mutex::new(found), asking: tokio::sync::Mutex::default() }
    }

    /// Asks the primary, and the next one where it is surely safe to ask again, for as long as it is polled.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        request: &Request<'_>,
        progress: &mut Progress,
    ) -> Result<T, Failure> {
        let mut left = self.left();
        loop {
            let (number, lines) = self.primary(left).await;
            progress.number = number;
            let (failure, again) = match lines {
                Ok(lines) => match request.send(&lines).await {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => {
                        let is_elsewhere = failure.is_out_of_service();
                        if is_elsewhere || failure.is_of_the_connection() {
                            self.leave(number);
                        }
                        let again = is_elsewhere || request.can_be_repeated_after(&failure);
                        (failure, again)
                    }
                },
                Err(failure) => {
                    let again = failure.passes_by();
                    (failure, again)
                }
            };
            if !again {
                return Err(failure);
            }
            left = number;
            progress.failure = Some(failure);
        }
    }

    /// The primary did not answer in time: whoever asks next asks the sentinels before.
    pub(super) fn doubt(&self, progress: &Progress) {
        self.leave(progress.number);
    }

    fn leave(&self, number: u64) {
        let found = self.lock();
        if found.number == number {
            found.is_left.store(true, SeqCst);
        }
    }

    /// The last that is of no use.
    fn left(&self) -> u64 {
        let found = self.lock();
        match &found.lines {
            Some(Ok(_)) if !found.is_left.load(SeqCst) => found.number - 1,
            _ => found.number,
        }
    }

    fn newer(&self, left: u64) -> Option<(u64, Result<Lines<MultiplexedConnection>, Failure>)> {
        let found = self.lock();
        let lines = found.lines.as_ref().filter(|_| found.number > left && !found.is_left.load(SeqCst))?;
        Some((found.number, lines.clone()))
    }

    /// What was found later than the last that is of no use.
    async fn primary(&self, left: u64) -> (u64, Result<Lines<MultiplexedConnection>, Failure>) {
        if let Some(newer) = self.newer(left) {
            return newer;
        }
        let _asking = self.asking.lock().await;
        if let Some(newer) = self.newer(left) {
            return newer;
        }
        let since = self.lock().since;
        if let Some(pause) = since.and_then(|since| ASKED_EVERY.checked_sub(since.elapsed())) {
            tokio::time::sleep(pause).await;
        }
        let is_left = Arc::default();
        let lines = self.look_up(&is_left).await;
        let mut found = self.lock();
        *found = Found { number: found.number + 1, since: Some(Instant::now()), lines: Some(lines.clone()), is_left };
        (found.number, lines)
    }

    async fn look_up(&self, is_left: &Arc<AtomicBool>) -> Result<Lines<MultiplexedConnection>, Failure> {
        let mut asked = JoinSet::new();
        for sentinel in &self.service.sentinels {
            let client = tls::client(sentinel.clone(), self.certificates.as_ref())?;
            asked.spawn(named_by(client, self.service.name.clone()));
        }
        let (mut newest, mut refused): (Option<Named>, Option<RedisError>) = (None, None);
        while let Some(answer) = asked.join_next().await {
            match answer.unwrap_or_else(|_| Err(no_answer())) {
                Ok(named) if newest.as_ref().is_none_or(|newest| newest.epoch < named.epoch) => newest = Some(named),
                Ok(_) => {}
                // Whoever is there says more than whoever is not.
                Err(error) if refused.as_ref().is_none_or(RedisError::is_io_error) => refused = Some(error),
                Err(_) => {}
            }
        }
        match (newest, refused) {
            (Some(named), _) => self.connect(&named, is_left).await,
            (None, Some(error)) if error.to_string().contains("No such master with that name") => {
                Err(Failure::UnknownService(self.service.name.clone()))
            }
            (None, error) => Err(Failure::NoSentinel(error.unwrap_or_else(no_answer))),
        }
    }

    async fn connect(&self, named: &Named, is_left: &Arc<AtomicBool>) -> Result<Lines<MultiplexedConnection>, Failure> {
        let addr = at(self.service.primary.addr(), named.host.clone(), named.port);
        let place = addr.to_string();
        let no_primary = |error| Failure::NoPrimary { at: place.clone(), error };
        match self.connected(addr, is_left).await.map_err(no_primary)? {
            Some(lines) => Ok(lines),
            None => Err(Failure::NotPrimary { at: place }),
        }
    }

    /// `None`: it is a replica.
    async fn connected(
        &self,
        addr: ConnectionAddr,
        is_left: &Arc<AtomicBool>,
    ) -> RedisResult<Option<Lines<MultiplexedConnection>>> {
        let info = self.service.primary.clone().set_addr(addr);
        let hears = info.redis_settings().protocol() != redis::ProtocolVersion::RESP2;
        let client = tls::client(info, self.certificates.as_ref())?;
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTION_LIMIT))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        if hears {
            // A lost connection is known before anybody asks.
            let is_left = Arc::clone(is_left);
            config = config.set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    is_left.store(true, SeqCst);
                }
                Ok::<_, redis::aio::SendError>(())
            });
        }
        let connect = async || client.get_multiplexed_async_connection_with_config(&config).await;
        let mut first = connect().await?;
        let role = cmd("INFO").arg("replication").take();
        let role = tokio::time::timeout(CONNECTION_LIMIT, role.query_async::<String>(&mut first));
        if !role.await.map_err(|_| no_answer())??.lines().any(|line| line == "role:master") {
            return Ok(None);
        }
        let mut writers = Vec::new();
        for _ in 1..Lines::<MultiplexedConnection>::count(self.wait) {
            writers.push(connect().await?);
        }
        Ok(Some(Lines::new(first, writers, self.wait)))
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn named_by(sentinel: Client, service: String) -> RedisResult<Named> {
    let asks = async {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(SENTINEL_LIMIT)).set_response_timeout(None);
        let mut connection = sentinel.get_multiplexed_async_connection_with_config(&config).await?;
        cmd("SENTINEL").arg("MASTER").arg(service).query_async::<HashMap<String, String>>(&mut connection).await
    };
    let says = tokio::time::timeout(SENTINEL_LIMIT, asks).await.map_err(|_| no_answer())??;
    let field = |name: &str| says.get(name).map(String::as_str).unwrap_or_default();
    match (field("port").parse(), field("config-epoch").parse()) {
        (Ok(port), Ok(epoch)) => Ok(Named { host: field("ip").to_owned(), port, epoch }),
        _ => Err((ErrorKind::UnexpectedReturnType, "a sentinel gave an unknown answer").into()),
    }
}

fn no_answer() -> RedisError {
    RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
}
