//! Asking Redis, within a time limit, and once more where that is safe.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{
    Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ScriptInvocation, ServerErrorKind,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cmd,
};
use tokio::{runtime::Handle, sync::OnceCell};

use super::{
    address::{Address, Place, Wait},
    failure::Failure,
    sentinel::{Progress, Sentinels},
    tls,
    wait::Lines,
};
use crate::store::StoreError;

/// How long making a connection may take.
pub(super) const CONNECTION_LIMIT: Duration = Duration::from_secs(1);

/// How many commands may wait for the socket; more of them wait for room.
pub(super) const PIPELINE: usize = 1_024;

/// A server that refused is connected to anew at most this often.
const REJOINED_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Connection {
    whose: Whose,
    limit: Duration,
    waits: bool,
    /// Once the server has said that it is no node of a cluster.
    is_alone: Arc<OnceCell<()>>,
}

#[derive(Clone)]
enum Whose {
    /// The application's, with its own settings.
    Theirs(ConnectionManager),
    Own(Arc<Own>),
    /// Its address changes.
    Sentinels(Arc<Sentinels>),
}

impl Whose {
    /// What could not be done, with the server that was not reached, where there is one.
    fn way_to<'a>(&self, what: &'a str) -> Cow<'a, str> {
        match self {
            Self::Own(own) => format!("{what}: {}", own.client.get_connection_info().addr()).into(),
            Self::Theirs(_) | Self::Sentinels(_) => what.into(),
        }
    }
}

struct Own {
    client: Client,
    config: ConnectionManagerConfig,
    wait: Option<Wait>,
    joined: Mutex<Joined>,
}

/// A connection manager connects again where a connection was lost. Where a server went out of service and kept it, another manager does.
struct Joined {
    lines: Lines<ConnectionManager>,
    /// Which manager this is, and since when.
    number: u64,
    since: Instant,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    /// It changes nothing, so it may be sent twice.
    Read(&'a Cmd),
    Reads(&'a Pipeline),
    /// Done twice it is as done once.
    Repeatable(&'a ScriptInvocation<'a>),
    /// Done twice it would meet itself.
    Script(&'a ScriptInvocation<'a>),
}

impl Connection {
    pub(super) fn new(manager: ConnectionManager, limit: Duration) -> Self {
        Self { whose: Whose::Theirs(manager), limit, waits: false, is_alone: Arc::default() }
    }

    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Connects at the first request, and again whenever the connection was lost.
    ///
    /// # Errors
    ///
    /// Where the address is of more than one server.
    pub(super) fn open(address: Address, limit: Duration) -> Result<Self, StoreError> {
        let waits = address.wait.is_some();
        let whose = match address.place {
            Place::Server(info) => {
                let client = tls::client(info, address.certificates.as_ref()).map_err(failed("read the address"))?;
                let own = Own::new(client, address.wait).map_err(failed("connect"))?;
                Whose::Own(Arc::new(own))
            }
            Place::Sentinels(service) => {
                let sentinels =
                    Sentinels::new(service, address.certificates, address.wait).map_err(failed("read the address"))?;
                Whose::Sentinels(Arc::new(sentinels))
            }
            Place::Cluster(_) => return Err(StoreError::new("redis: a cluster is no single server")),
        };
        Ok(Self { whose, limit, waits, is_alone: Arc::default() })
    }

    /// # Errors
    ///
    /// Where there is no connection, no answer in time, or the server refused.
    pub(super) async fn ask<T: FromRedisValue>(&self, what: &str, request: Request<'_>) -> Result<T, StoreError> {
        let mut progress = Progress::default();
        let answer = async {
            self.is_alone.get_or_try_init(|| self.check_alone()).await?;
            self.attempts(&request, &mut progress).await
        };
        // What is found at the primary later says nothing about its replicas.
        let is_to_be_confirmed = self.waits && request.writes();
        match tokio::time::timeout(self.limit, answer).await {
            Ok(answer) => answer.map_err(|failure| match failure {
                Failure::Former { .. } if is_to_be_confirmed => failure.of(what).for_good(),
                failure if failure.is_of_the_connection() => failure.of(&self.whose.way_to(what)),
                failure => failure.of(what),
            }),
            Err(_) => {
                if let Whose::Sentinels(sentinels) = &self.whose {
                    sentinels.doubt(&progress);
                }
                let error = Failure::late(progress.failure, &self.whose.way_to(what), self.limit);
                Err(if is_to_be_confirmed { error.for_good() } else { error })
            }
        }
    }

    async fn attempts<T: FromRedisValue>(&self, request: &Request<'_>, progress: &mut Progress) -> Result<T, Failure> {
        match &self.whose {
            Whose::Theirs(manager) => theirs(manager, request).await,
            Whose::Own(own) => own.ask(request).await,
            Whose::Sentinels(sentinels) => sentinels.ask(request, progress).await,
        }
    }

    /// A node of a cluster has a part of the sessions, and would keep the store's promises for some of them.
    async fn check_alone(&self) -> Result<(), Failure> {
        if let Whose::Sentinels(_) = self.whose {
            return Ok(());
        }
        let mut info = cmd("INFO");
        info.arg("server").arg("cluster");
        let request = Request::Read(&info);
        match self.attempts::<String>(&request, &mut Progress::default()).await {
            Ok(info) if info.contains("cluster_enabled:1") => Err(Failure::Server(RedisError::from((
                ErrorKind::InvalidClientConfig,
                "this server is a node of a cluster: write redis+cluster:// in the place of redis://, with one node or several, host:port,host:port",
            )))),
            Ok(info) if info.contains("redis_mode:sentinel") => Err(Failure::Server(RedisError::from((
                ErrorKind::InvalidClientConfig,
                "a sentinel answers there: write redis+sentinel://HOST:26379/SERVICE, with the name after `sentinel monitor`",
            )))),
            Err(Failure::Server(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => Ok(()),
            Err(failure) => Err(failure),
            Ok(_) => Ok(()),
        }
    }

    /// Whether a connection of our own can be had beside this one.
    pub(super) fn is_ours(&self) -> bool {
        !matches!(self.whose, Whose::Theirs(_))
    }

    /// A client for another connection, where this one is our own.
    pub(super) async fn client(&self) -> RedisResult<Option<Client>> {
        match &self.whose {
            Whose::Theirs(_) => Ok(None),
            Whose::Own(own) => Ok(Some(own.client.clone())),
            Whose::Sentinels(sentinels) => sentinels.client().await.map(Some),
        }
    }
}

/// Of a tokio runtime.
pub(super) fn check_runtime() -> Result<(), StoreError> {
    if Handle::try_current().is_err() {
        return Err(StoreError::new("redis: a store is opened within a tokio runtime"));
    }
    if !has_timers() {
        return Err(StoreError::new(
            "redis: this tokio runtime has no timers; call enable_time() or enable_all() on its builder",
        ));
    }
    Ok(())
}

/// Of a connection of ours.
pub(super) fn settings() -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECTION_LIMIT))
        .set_response_timeout(None)
        .set_number_of_retries(0)
        .set_pipeline_buffer_size(PIPELINE)
}

pub(super) fn failed(what: &str) -> impl FnOnce(RedisError) -> StoreError + '_ {
    move |error| Failure::Server(error).of(what)
}

async fn theirs<T: FromRedisValue>(manager: &ConnectionManager, request: &Request<'_>) -> Result<T, Failure> {
    let lines = Lines::one(manager.clone());
    match request.send(&lines).await {
        Err(failure) if request.can_be_repeated_after(&failure) => request.send(&lines).await,
        answer => answer,
    }
}

impl Own {
    fn new(client: Client, wait: Option<Wait>) -> RedisResult<Self> {
        let config = settings();
        let joined = Joined { lines: connect(&client, &config, wait)?, number: 0, since: Instant::now() };
        Ok(Self { client, config, wait, joined: Mutex::new(joined) })
    }

    async fn ask<T: FromRedisValue>(&self, request: &Request<'_>) -> Result<T, Failure> {
        let (lines, number) = self.joined();
        match request.send(&lines).await {
            // Nothing was done. Another server may be in service by now, at the same address, or it has another password.
            Err(failure) if failure.is_out_of_service() || failure.is_refused() => match self.rejoin(number)? {
                Some(lines) => request.send(&lines).await,
                None => Err(failure),
            },
            // What is known of the server may be old: a lost connection is noticed by who asks next.
            Err(failure) if request.can_be_repeated_after(&failure) => request.send(&lines).await,
            answer => answer,
        }
    }

    fn joined(&self) -> (Lines<ConnectionManager>, u64) {
        let joined = self.lock();
        (joined.lines.clone(), joined.number)
    }

    /// A newer connection than this one. `None`: it is new itself.
    fn rejoin(&self, number: u64) -> RedisResult<Option<Lines<ConnectionManager>>> {
        let mut joined = self.lock();
        if joined.number == number {
            if number > 0 && joined.since.elapsed() < REJOINED_EVERY {
                return Ok(None);
            }
            let lines = connect(&self.client, &self.config, self.wait)?;
            *joined = Joined { lines, number: number + 1, since: Instant::now() };
        }
        Ok(Some(joined.lines.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Joined> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each connects when it is first asked something.
fn connect(
    client: &Client,
    config: &ConnectionManagerConfig,
    wait: Option<Wait>,
) -> RedisResult<Lines<ConnectionManager>> {
    let connect = || ConnectionManager::new_lazy_with_config(client.clone(), config.clone());
    let writers = (1..Lines::<ConnectionManager>::count(wait)).map(|_| connect());
    Ok(Lines::new(connect()?, writers.collect::<RedisResult<_>>()?, wait))
}

impl Request<'_> {
    pub(super) async fn send<T: FromRedisValue, C: ConnectionLike + Clone + Send>(
        &self,
        lines: &Lines<C>,
    ) -> Result<T, Failure> {
        match self {
            Self::Read(command) => Ok(command.query_async(&mut lines.first()).await?),
            Self::Reads(pipeline) => Ok(pipeline.query_async(&mut lines.first()).await?),
            Self::Repeatable(script) | Self::Script(script) => lines.write(script).await,
        }
    }

    fn writes(&self) -> bool {
        matches!(self, Self::Repeatable(_) | Self::Script(_))
    }

    /// What would meet itself is repeated only where it was surely never sent.
    pub(super) fn can_be_repeated_after(&self, failure: &Failure) -> bool {
        match self {
            Self::Read(_) | Self::Reads(_) | Self::Repeatable(_) => failure.is_lost(),
            Self::Script(_) => failure.is_connection_refusal(),
        }
    }
}

/// Whether the runtime counts time. Tokio tells by a panic.
fn has_timers() -> bool {
    std::panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_ok()
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("limit", &self.limit).finish_non_exhaustive()
    }
}
