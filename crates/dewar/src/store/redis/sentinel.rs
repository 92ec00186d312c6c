//! The primary of a service, found by its sentinels, and found again after a fail-over.
//!
//! All sentinels are asked at once, and the newest of their answers counts: one that missed a fail-over still names the former primary, which may be back
//! as one. What they name says itself that it is a primary, before it is used.
//!
//! A primary that hung comes back as one, and for about ten seconds nobody tells it that there is another. So its answers count only where the sentinels have named it
//! within the last second.
//!
//! The client's own way takes the first sentinel's answer, and its errors do not say what is wrong.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, FromRedisValue, PushInfo, PushKind, RedisError,
    RedisResult, aio::MultiplexedConnection, cmd, pipe,
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

/// How old what the sentinels said may be when the primary answers.
const FRESH: Duration = Duration::from_secs(1);

/// When most sentinels have answered, the others have this long.
const REST_LIMIT: Duration = Duration::from_millis(20);

pub(super) struct Sentinels {
    service: Service,
    sentinels: Vec<Arc<Sentinel>>,
    certificates: Option<Certificates>,
    wait: Option<Wait>,
    /// What the sentinels were asked for last.
    last: Mutex<Last>,
    /// One asks, and whoever waits meanwhile takes what that found.
    asking: tokio::sync::Mutex<()>,
}

struct Sentinel {
    client: Client,
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
}

#[derive(Default)]
struct Last {
    /// How often a primary was looked for.
    number: u64,
    /// When the sentinels were asked last, and said something or not.
    asked: Option<Instant>,
    /// What they named when they said something.
    named: Option<ConnectionAddr>,
    /// The newest that they said.
    epoch: u64,
    found: Option<Result<Primary, Failure>>,
    /// Whether another has to be looked for.
    is_left: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Primary {
    at: ConnectionAddr,
    lines: Lines<MultiplexedConnection>,
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
    pub(super) fn new(service: Service, certificates: Option<Certificates>, wait: Option<Wait>) -> RedisResult<Self> {
        let sentinels = service.sentinels.iter().map(|sentinel| {
            let client = tls::client(sentinel.clone(), certificates.as_ref())?;
            Ok(Arc::new(Sentinel { client, connection: tokio::sync::Mutex::default() }))
        });
        let sentinels = sentinels.collect::<RedisResult<_>>()?;
        Ok(Self {
            service,
            sentinels,
            certificates,
            wait,
            last: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    /// Asks the primary, and the next one where it is surely safe to ask again, for as long as it is polled.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        request: &Request<'_>,
        progress: &mut Progress,
    ) -> Result<T, Failure> {
        let mut left = self.left();
        loop {
            let (number, found) = self.primary(left).await;
            progress.number = number;
            let (failure, again) = match found {
                Ok(primary) => match self.answer(request, &primary, number).await {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => {
                        let again = failure.is_out_of_service() || request.can_be_repeated_after(&failure);
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

    /// A client of the present primary.
    pub(super) async fn client(&self) -> RedisResult<Client> {
        let (_, primary) = self.primary(self.left()).await;
        let at = match primary {
            Ok(primary) => primary.at,
            Err(failure) => return Err(std::io::Error::other(failure.of("find the primary").to_string()).into()),
        };
        tls::client(self.service.primary.clone().set_addr(at), self.certificates.as_ref())
    }

    async fn answer<T: FromRedisValue>(
        &self,
        request: &Request<'_>,
        primary: &Primary,
        number: u64,
    ) -> Result<T, Failure> {
        let answer = request.send(&primary.lines).await;
        if let Err(failure) = &answer
            && (failure.is_out_of_service() || failure.is_of_the_connection())
        {
            self.leave(number);
            return answer;
        }
        if self.is_still(primary).await {
            return answer;
        }
        self.leave(number);
        match answer {
            Ok(_) => Err(Failure::Former { at: primary.at.to_string() }),
            Err(failure) => Err(failure),
        }
    }

    /// Whether the sentinels have named this one within the last second, or cannot be asked.
    async fn is_still(&self, primary: &Primary) -> bool {
        let is_fresh = || {
            let last = self.lock();
            let is_fresh = last.asked.is_some_and(|asked| asked.elapsed() < FRESH);
            is_fresh.then(|| last.named.as_ref() == Some(&primary.at))
        };
        if let Some(is_it) = is_fresh() {
            return is_it;
        }
        let _asking = self.asking.lock().await;
        if let Some(is_it) = is_fresh() {
            return is_it;
        }
        let named = self.named().await;
        let mut last = self.lock();
        last.asked = Some(Instant::now());
        if let Ok(named) = named {
            last.named = Some(self.addr(&named));
            last.epoch = named.epoch;
        }
        last.named.as_ref() == Some(&primary.at)
    }

    /// The primary did not answer in time: whoever asks next asks the sentinels before.
    pub(super) fn doubt(&self, progress: &Progress) {
        self.leave(progress.number);
    }

    fn leave(&self, number: u64) {
        let last = self.lock();
        if last.number == number {
            last.is_left.store(true, SeqCst);
        }
    }

    /// The last that is of no use.
    fn left(&self) -> u64 {
        let last = self.lock();
        match &last.found {
            Some(Ok(_)) if !last.is_left.load(SeqCst) => last.number - 1,
            _ => last.number,
        }
    }

    fn newer(&self, left: u64) -> Option<(u64, Result<Primary, Failure>)> {
        let last = self.lock();
        let found = last.found.as_ref().filter(|_| last.number > left && !last.is_left.load(SeqCst))?;
        Some((last.number, found.clone()))
    }

    /// What was found later than the last that is of no use.
    async fn primary(&self, left: u64) -> (u64, Result<Primary, Failure>) {
        if let Some(newer) = self.newer(left) {
            return newer;
        }
        let _asking = self.asking.lock().await;
        if let Some(newer) = self.newer(left) {
            return newer;
        }
        let asked = self.lock().asked;
        if let Some(pause) = asked.and_then(|asked| ASKED_EVERY.checked_sub(asked.elapsed())) {
            tokio::time::sleep(pause).await;
        }
        let (is_left, named) = (Arc::default(), self.named().await);
        let asked = Some(Instant::now());
        let (named, epoch, found) = match named {
            Ok(named) => {
                let at = self.addr(&named);
                (Some(at.clone()), named.epoch, self.connect(at, &is_left).await)
            }
            Err(failure) => (None, self.lock().epoch, Err(failure)),
        };
        let mut last = self.lock();
        let number = last.number + 1;
        *last = Last { number, asked, named, epoch, found: Some(found.clone()), is_left };
        (number, found)
    }

    /// What the sentinels say now.
    async fn named(&self) -> Result<Named, Failure> {
        let mut asked = JoinSet::new();
        for sentinel in &self.sentinels {
            let (sentinel, service) = (Arc::clone(sentinel), self.service.name.clone());
            asked.spawn(async move { sentinel.names(service).await });
        }
        let (mut newest, mut refused): (Option<Named>, Option<RedisError>) = (None, None);
        let (mut answers, mut limit) = (0, SENTINEL_LIMIT);
        while let Ok(Some(answer)) = tokio::time::timeout(limit, asked.join_next()).await {
            match answer.unwrap_or_else(|_| Err(no_answer())) {
                Ok(named) => {
                    answers += 1;
                    if newest.as_ref().is_none_or(|newest| newest.epoch < named.epoch) {
                        newest = Some(named);
                    }
                }
                // Whoever is there says more than whoever is not.
                Err(error) if refused.as_ref().is_none_or(RedisError::is_io_error) => refused = Some(error),
                Err(_) => {}
            }
            if 2 * answers > self.sentinels.len() {
                limit = REST_LIMIT;
            }
        }
        // A few that have missed a fail-over do not lead back.
        let is_old = |named: &Named| 2 * answers <= self.sentinels.len() && named.epoch < self.lock().epoch;
        match (newest.filter(|named| !is_old(named)), refused) {
            (Some(named), _) => Ok(named),
            (None, Some(error)) if error.to_string().contains("No such master with that name") => {
                Err(Failure::UnknownService(self.service.name.clone()))
            }
            (None, error) => Err(Failure::NoSentinel(error.unwrap_or_else(no_answer))),
        }
    }

    fn addr(&self, named: &Named) -> ConnectionAddr {
        at(self.service.primary.addr(), named.host.clone(), named.port)
    }

    async fn connect(&self, at: ConnectionAddr, is_left: &Arc<AtomicBool>) -> Result<Primary, Failure> {
        let no_primary = |error| Failure::NoPrimary { at: at.to_string(), error };
        match self.connected(at.clone(), is_left).await.map_err(no_primary)? {
            Some(lines) => Ok(Primary { at, lines }),
            None => Err(Failure::NotPrimary { at: at.to_string() }),
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
        let mut config = config(CONNECTION_LIMIT);
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

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sentinel {
    /// Its connection is kept where it answers.
    async fn names(&self, service: String) -> RedisResult<Named> {
        let mut kept = self.connection.lock().await;
        let was_kept = kept.is_some();
        let asks = async |connection: Option<MultiplexedConnection>| {
            let mut connection = match connection {
                Some(connection) => connection,
                None => self.client.get_multiplexed_async_connection_with_config(&config(SENTINEL_LIMIT)).await?,
            };
            // In the middle of a fail-over only the first has the new address already. The other has the number of its configuration.
            let mut ask = pipe();
            ask.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&service);
            ask.cmd("SENTINEL").arg("MASTER").arg(&service);
            Ok((ask.query_async::<Says>(&mut connection).await?, connection))
        };
        let within = async |connection| {
            let answer = tokio::time::timeout(SENTINEL_LIMIT, asks(connection)).await;
            answer.unwrap_or_else(|_| Err(no_answer()))
        };
        let mut answer = within(kept.take()).await;
        if was_kept && answer.as_ref().is_err_and(RedisError::is_connection_dropped) {
            answer = within(None).await;
        }
        let ((addr, says), connection) = answer?;
        *kept = Some(connection);
        let epoch = says.get("config-epoch").and_then(|epoch| epoch.parse().ok());
        match (addr, epoch) {
            (Some((host, port)), Some(epoch)) => Ok(Named { host, port, epoch }),
            _ => Err((ErrorKind::UnexpectedReturnType, "a sentinel gave an unknown answer").into()),
        }
    }
}

/// Host and port, and the fields of the service.
type Says = (Option<(String, u16)>, HashMap<String, String>);

fn config(limit: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limit))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(PIPELINE)
}

fn no_answer() -> RedisError {
    RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
}
