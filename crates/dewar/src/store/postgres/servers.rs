//! Making connections: to the server in service, of several.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::BytesMut;
use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use tokio::task::JoinHandle;
use tokio_postgres::{
    Config, Socket, Statement,
    tls::MakeTlsConnect,
    types::{IsNull, ToSql, Type, to_sql_checked},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{address::name, connection::Asked, direct, failure::in_full, rows::Value, tls::Tls};
use crate::store::StoreError;

/// How long making a connection to one host may take, unless the address says `connect_timeout`.
const CONNECTION_LIMIT: Duration = Duration::from_secs(2);

/// The servers of an address, of which one is in service.
pub(super) struct Servers {
    configs: Vec<Config>,
    tls: Tls,
    /// Which is asked first: the one that was in service last.
    first: AtomicUsize,
}

pub(super) type Wire = tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

impl Servers {
    pub(super) fn new(configs: Vec<Config>, tls: Tls) -> Self {
        Self { configs, tls, first: AtomicUsize::new(0) }
    }

    /// A connection to the first that may be written to. Nobody polls it yet.
    pub(super) async fn connect(&self) -> Result<(tokio_postgres::Client, Wire), StoreError> {
        let count = self.configs.len();
        let first = self.first.load(Relaxed);
        let mut failures = Vec::new();
        for number in (0..count).map(|number| (first + number) % count) {
            let config = &self.configs[number];
            let limit = config.get_connect_timeout().copied().unwrap_or(CONNECTION_LIMIT);
            let failure = match tokio::time::timeout(limit, config.connect(self.tls.connector())).await {
                Ok(Ok(connected)) => {
                    self.first.store(number, Relaxed);
                    return Ok(connected);
                }
                Ok(Err(error)) => in_full(&error),
                Err(_) => format!("no answer within {limit:?}"),
            };
            // Whoever comes next does not begin with it, also where this is given up in the middle.
            self.first.store((number + 1) % count, Relaxed);
            failures.push(format!("{}: {failure}", name(config)));
        }
        Err(StoreError::new(failures.join("; ")))
    }
}

/// A connection, and the task that it runs in.
pub(super) struct Link {
    pub(super) client: tokio_postgres::Client,
    task: JoinHandle<()>,
    pub(super) tls: MakeRustlsConnect,
    is_direct: bool,
    prepared: Mutex<HashMap<Box<str>, Statement>>,
}

impl Link {
    /// The statement, prepared once on each connection that leads to the server itself: it is planned once then, which is most of what a short one costs.
    pub(super) async fn prepared(
        &self,
        asked: &Asked,
        values: &[Value<'_>],
    ) -> Result<Option<Statement>, tokio_postgres::Error> {
        if !self.is_direct {
            return Ok(None);
        }
        let lock = || self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(asked.sql.as_str()).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let statement = self.client.prepare_typed(&asked.sql, &types(values)).await?;
        lock().insert(asked.sql.as_str().into(), statement.clone());
        Ok(Some(statement))
    }

    pub(super) fn forget(&self, asked: &Asked) {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).remove(asked.sql.as_str());
    }
}

pub(super) fn types(values: &[Value<'_>]) -> Vec<Type> {
    values.iter().map(|(_, kind)| kind.clone()).collect()
}

/// A value that the client does not log: it may be all that a session holds.
pub(super) struct Hidden<'a>(pub(super) &'a (dyn ToSql + Sync));

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl ToSql for Hidden<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.to_sql_checked(kind, out)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Manager for Servers {
    type Type = Link;
    type Error = StoreError;

    async fn create(&self) -> Result<Link, StoreError> {
        let (client, wire) = self.connect().await?;
        // How it ended, whoever asks next learns.
        let task = tokio::spawn(async move { drop(wire.await) });
        let (tls, prepared) = (self.tls.connector(), Mutex::default());
        let mut link = Link { client, task, tls, is_direct: false, prepared };
        let is_direct = tokio::time::timeout(CONNECTION_LIMIT, direct::is_direct(&link.client)).await;
        link.is_direct = match is_direct {
            Ok(Ok(is_direct)) => is_direct,
            Ok(Err(error)) => return Err(StoreError::new(in_full(&error))),
            Err(_) => return Err(StoreError::new(format!("no answer within {CONNECTION_LIMIT:?}"))),
        };
        Ok(link)
    }

    async fn recycle(&self, link: &mut Link, _: &Metrics) -> RecycleResult<StoreError> {
        match link.client.is_closed() {
            false => Ok(()),
            true => Err(RecycleError::message("the connection is closed")),
        }
    }
}
