//! Asking Redis, within a time limit, and once more where that is safe.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{
    Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline, ProtocolVersion, RedisError,
    RedisResult, ScriptInvocation, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cmd,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::{runtime::Handle, sync::OnceCell};

use crate::store::StoreError;

/// How long making a connection may take.
pub(super) const CONNECTION_LIMIT: Duration = Duration::from_secs(1);

/// How many commands may wait for the socket; more of them wait for room.
const PIPELINE: usize = 1_024;

/// A server that refused is connected to anew at most this often.
const REJOINED_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Connection {
    whose: Whose,
    limit: Duration,
    /// Once the server has said that it is no node of a cluster.
    is_alone: Arc<OnceCell<()>>,
}

#[derive(Clone)]
enum Whose {
    /// The application's, with its own settings.
    Theirs(ConnectionManager),
    Own(Arc<Own>),
}

struct Own {
    client: Client,
    config: ConnectionManagerConfig,
    joined: Mutex<Joined>,
}

/// A connection manager connects again where a connection was lost. Where a server went out of service and kept it, another manager does.
struct Joined {
    manager: ConnectionManager,
    /// Which manager this is, and since when.
    number: u64,
    since: Instant,
}

/// What is asked for.
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
        Self { whose: Whose::Theirs(manager), limit, is_alone: Arc::default() }
    }

    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Connects at the first request, and again whenever the connection was lost.
    pub(super) fn open(url: &str, limit: Duration) -> Result<Self, StoreError> {
        check_runtime()?;
        let info = connection_info(url, limit).map_err(failed("read the URL"))?;
        let client = Client::open(info).map_err(failed("read the URL"))?;
        let own = Own::new(client, settings()).map_err(failed("connect"))?;
        Ok(Self { whose: Whose::Own(Arc::new(own)), limit, is_alone: Arc::default() })
    }

    /// # Errors
    ///
    /// Where there is no connection, no answer in time, or the server refused.
    pub(super) async fn ask<T: FromRedisValue>(&self, what: &str, request: Request<'_>) -> Result<T, StoreError> {
        let asked = async {
            self.is_alone.get_or_try_init(|| self.check_alone()).await?;
            self.attempts(request).await
        };
        match tokio::time::timeout(self.limit, asked).await {
            Ok(answer) => answer.map_err(failed(what)),
            Err(_) => Err(StoreError::new(format!("redis: cannot {what}: no answer within {:?}", self.limit))),
        }
    }

    /// A client for another connection, where this one is our own.
    pub(super) fn client(&self) -> Option<Client> {
        match &self.whose {
            Whose::Theirs(_) => None,
            Whose::Own(own) => Some(own.client.clone()),
        }
    }

    /// A node of a cluster has a part of the sessions, and would keep the store's promises for some of them.
    async fn check_alone(&self) -> RedisResult<()> {
        let asked = self.attempts::<String>(Request::Read(cmd("INFO").arg("cluster"))).await;
        match asked {
            Ok(info) if info.contains("cluster_enabled:1") => Err(RedisError::from((
                ErrorKind::InvalidClientConfig,
                "this server is a node of a cluster: write redis+cluster:// in the place of redis://, with one node or several, host:port,host:port",
            ))),
            Err(error) if error.kind() != ErrorKind::Server(ServerErrorKind::NoPerm) => Err(error),
            _ => Ok(()),
        }
    }

    async fn attempts<T: FromRedisValue>(&self, request: Request<'_>) -> RedisResult<T> {
        let (mut manager, number) = match &self.whose {
            Whose::Theirs(manager) => (manager.clone(), 0),
            Whose::Own(own) => own.joined(),
        };
        match (request.send(&mut manager).await, &self.whose) {
            // Nothing was done. Another server may be in service by now, at the same address.
            (Err(error), Whose::Own(own)) if is_out_of_service(&error) => match own.rejoin(number)? {
                Some(mut manager) => request.send(&mut manager).await,
                None => Err(error),
            },
            // What is known of the server may be old: a lost connection is noticed by who asks next.
            (Err(error), _) if request.can_be_repeated_after(&error) => request.send(&mut manager).await,
            (answer, _) => answer,
        }
    }
}

impl Own {
    fn new(client: Client, config: ConnectionManagerConfig) -> RedisResult<Self> {
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config.clone())?;
        let joined = Mutex::new(Joined { manager, number: 0, since: Instant::now() });
        Ok(Self { client, config, joined })
    }

    fn joined(&self) -> (ConnectionManager, u64) {
        let joined = self.lock();
        (joined.manager.clone(), joined.number)
    }

    /// A newer connection than this one. `None`: it is new itself.
    fn rejoin(&self, number: u64) -> RedisResult<Option<ConnectionManager>> {
        let mut joined = self.lock();
        if joined.number == number {
            if number > 0 && joined.since.elapsed() < REJOINED_EVERY {
                return Ok(None);
            }
            let manager = ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone())?;
            *joined = Joined { manager, number: number + 1, since: Instant::now() };
        }
        Ok(Some(joined.manager.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Joined> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request<'_> {
    async fn send<T: FromRedisValue>(&self, manager: &mut ConnectionManager) -> RedisResult<T> {
        match self {
            Self::Read(command) => command.query_async(manager).await,
            Self::Reads(pipeline) => pipeline.query_async(manager).await,
            Self::Repeatable(script) | Self::Script(script) => script.invoke_async(manager).await,
        }
    }

    /// What would meet itself is repeated only where it was surely never sent.
    fn can_be_repeated_after(&self, error: &RedisError) -> bool {
        match self {
            Self::Read(_) | Self::Reads(_) | Self::Repeatable(_) => error.is_io_error(),
            Self::Script(_) => error.is_connection_refusal(),
        }
    }
}

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

/// Whether the runtime counts time. Tokio tells by a panic.
fn has_timers() -> bool {
    std::panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_ok()
}

/// Whether the server says that it does not serve this now: it became a replica, lost its own primary, or is still loading. Nothing was done.
fn is_out_of_service(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
    matches!(error.kind(), ErrorKind::Server(ReadOnly | BusyLoading | MasterDown))
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("limit", &self.limit).finish_non_exhaustive()
    }
}

pub(super) fn connection_info(url: &str, limit: Duration) -> RedisResult<ConnectionInfo> {
    let probes = TcpKeepalive::new().with_time(Duration::from_secs(30));
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(probes);
    // A server that vanished without a word is given up within twice the limit.
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(2 * limit);
    #[cfg(not(target_os = "linux"))]
    let _ = limit;
    let info = url.into_connection_info()?.set_tcp_settings(settings);
    if url.contains("protocol=") {
        return Ok(info);
    }
    // With RESP3 a connection that the server closed while nobody asked is noticed at once, and made again.
    let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(login))
}

pub(super) fn failed(what: &str) -> impl FnOnce(RedisError) -> StoreError + '_ {
    move |error| StoreError::new(format!("redis: cannot {what}")).because(error)
}
