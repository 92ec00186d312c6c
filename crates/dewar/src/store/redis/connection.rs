//! Asking Redis, within a time limit, and once more where that is safe.

use std::{fmt, time::Duration};

use redis::{
    Client, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo, Pipeline, RedisError, RedisResult,
    ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::runtime::Handle;

use crate::store::StoreError;

/// How long making a connection may take.
const CONNECTION_LIMIT: Duration = Duration::from_secs(1);

/// How many commands may wait for the socket; more of them wait for room.
const PIPELINE: usize = 1_024;

#[derive(Clone)]
pub(super) struct Connection {
    manager: ConnectionManager,
    limit: Duration,
}

/// What is asked for.
pub(super) enum Request<'a> {
    /// It changes nothing, so it may be sent twice.
    Read(&'a Cmd),
    Reads(&'a Pipeline),
    Script(&'a ScriptInvocation<'a>),
}

impl Connection {
    pub(super) fn new(manager: ConnectionManager, limit: Duration) -> Self {
        Self { manager, limit }
    }

    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Connects at the first request, and again whenever the connection was lost.
    pub(super) fn open(url: &str, limit: Duration) -> Result<Self, StoreError> {
        if Handle::try_current().is_err() {
            return Err(StoreError::new("redis: a store is opened within a tokio runtime"));
        }
        let info = connection_info(url, limit).map_err(failed("read the URL"))?;
        let client = Client::open(info).map_err(failed("read the URL"))?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECTION_LIMIT))
            .set_response_timeout(None)
            .set_number_of_retries(0)
            .set_pipeline_buffer_size(PIPELINE);
        let manager = ConnectionManager::new_lazy_with_config(client, config).map_err(failed("connect"))?;
        Ok(Self::new(manager, limit))
    }

    /// # Errors
    ///
    /// Where there is no connection, no answer in time, or the server refused.
    pub(super) async fn ask<T: FromRedisValue>(&self, what: &str, request: Request<'_>) -> Result<T, StoreError> {
        let attempts = async {
            let mut manager = self.manager.clone();
            match request.send(&mut manager).await {
                // What is known of the server may be old: a lost connection is noticed by who asks next.
                Err(error) if request.can_be_repeated_after(&error) => request.send(&mut manager).await,
                answer => answer,
            }
        };
        match tokio::time::timeout(self.limit, attempts).await {
            Ok(answer) => answer.map_err(failed(what)),
            Err(_) => Err(StoreError::new(format!("redis: cannot {what}: no answer within {:?}", self.limit))),
        }
    }
}

impl Request<'_> {
    async fn send<T: FromRedisValue>(&self, manager: &mut ConnectionManager) -> RedisResult<T> {
        match self {
            Self::Read(command) => command.query_async(manager).await,
            Self::Reads(pipeline) => pipeline.query_async(manager).await,
            Self::Script(script) => script.invoke_async(manager).await,
        }
    }

    /// A write is repeated only where it was surely never sent: done twice, it would meet itself.
    fn can_be_repeated_after(&self, error: &RedisError) -> bool {
        match self {
            Self::Read(_) | Self::Reads(_) => error.is_connection_dropped(),
            Self::Script(_) => error.is_connection_refusal(),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("limit", &self.limit).finish_non_exhaustive()
    }
}

fn connection_info(url: &str, limit: Duration) -> RedisResult<ConnectionInfo> {
    let probes = TcpKeepalive::new().with_time(Duration::from_secs(30));
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(probes);
    // A server that vanished without a word is given up within twice the limit.
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(2 * limit);
    #[cfg(not(target_os = "linux"))]
    let _ = limit;
    Ok(url.into_connection_info()?.set_tcp_settings(settings))
}

fn failed(what: &str) -> impl FnOnce(RedisError) -> StoreError + '_ {
    move |error| StoreError::new(format!("redis: cannot {what}")).because(error)
}
