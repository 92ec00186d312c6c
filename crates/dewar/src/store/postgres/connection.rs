//! Asking PostgreSQL, within a time limit, and once more where that is safe.

use std::{
    error::Error as _,
    fmt,
    num::NonZeroUsize,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use deadpool::managed::{self, Manager, Metrics, Object, RecycleError, RecycleResult};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_postgres::{Config, Row, Socket, error::SqlState, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    address::{Address, name},
    rows::Value,
    schema::Schema,
    tls::{Tls, advice},
};
use crate::store::StoreError;

/// How long making a connection to one host may take, unless the address says `connect_timeout`.
const CONNECTION_LIMIT: Duration = Duration::from_secs(2);

/// How long the server is asked to give up what nobody waits for any more.
const CANCELLATION_LIMIT: Duration = Duration::from_secs(1);

/// How often a step that collided with another is begun again.
const COLLISIONS: u32 = 8;

#[derive(Clone)]
pub(super) struct Connection {
    pool: Pool,
    pub(super) schema: Arc<Schema>,
    limit: Duration,
}

#[derive(Clone)]
enum Pool {
    /// The application's, with its own settings.
    Theirs(deadpool_postgres::Pool),
    Own(managed::Pool<Servers>),
}

/// A connection of the pool, for one step.
enum Client {
    Theirs(deadpool_postgres::Client),
    Own(Object<Servers>),
}

/// A statement with its values.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) what: &'static str,
    pub(super) statement: &'a str,
    pub(super) values: &'a [Value<'a>],
    /// It only reads, or done twice it is as done once.
    pub(super) is_repeatable: bool,
}

impl Connection {
    pub(super) fn new(pool: deadpool_postgres::Pool, limit: Duration) -> Self {
        Self { pool: Pool::Theirs(pool), schema: Arc::default(), limit }
    }

    /// Connects at the first request.
    pub(super) fn open(url: &str, pool: NonZeroUsize, limit: Duration) -> Result<Self, StoreError> {
        if Handle::try_current().is_err() {
            return Err(StoreError::new("postgres: a store is opened within a tokio runtime"));
        }
        if !has_timers() {
            return Err(StoreError::new(
                "postgres: this tokio runtime has no timers; call enable_time() or enable_all() on its builder",
            ));
        }
        let address = Address::parse(url)?;
        let servers = Servers { configs: address.servers, tls: address.tls, first: AtomicUsize::new(0) };
        let size = address.pool.unwrap_or(pool).get();
        let pool = managed::Pool::builder(servers).max_size(size).build();
        let pool = pool.map_err(|error| StoreError::new("postgres: cannot make a pool").because(error.to_string()))?;
        Ok(Self { pool: Pool::Own(pool), schema: Arc::new(address.schema), limit })
    }

    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    pub(super) fn with(self, change: impl FnOnce(Schema) -> Result<Schema, StoreError>) -> Result<Self, StoreError> {
        let schema = change(self.schema.settings())?;
        Ok(Self { schema: Arc::new(schema), ..self })
    }

    /// What makes connections of our own. `None`: the application does.
    pub(super) fn servers(&self) -> Option<managed::Pool<Servers>> {
        match &self.pool {
            Pool::Own(pool) => Some(pool.clone()),
            Pool::Theirs(_) => None,
        }
    }

    pub(super) async fn ask_one(&self, request: Request<'_>) -> Result<Row, StoreError> {
        self.ask(request).await?.pop().ok_or_else(|| StoreError::new("postgres: there is no answer"))
    }

    /// # Errors
    ///
    /// Where there is no connection, no answer in time, or the server refused.
    pub(super) async fn ask(&self, request: Request<'_>) -> Result<Vec<Row>, StoreError> {
        let mut held = None;
        let what = request.what;
        match tokio::time::timeout(self.limit, self.attempts(request, &mut held)).await {
            Ok(answer) => answer.map_err(|error| error.while_trying_to(what)),
            Err(_) => {
                let limit = self.limit;
                let Some(client) = held else {
                    let message = format!("postgres: cannot {what}: no connection was free within {limit:?}");
                    return Err(StoreError::new(message));
                };
                // Whoever had this connection next would wait for the same answer.
                client.give_up();
                Err(StoreError::new(format!("postgres: cannot {what}: no answer within {limit:?}")))
            }
        }
    }

    async fn attempts(&self, request: Request<'_>, held: &mut Option<Client>) -> Result<Vec<Row>, Failure> {
        let (mut collisions, mut is_second) = (0, false);
        loop {
            // What it had is back in the pool before the next is taken.
            *held = None;
            let client = held.insert(self.pool.client().await?);
            let answer = match self.schema.stands(client).await {
                Ok(()) => client.query_typed(request.statement, request.values).await.map_err(Failure::Client),
                Err(failure) => Err(failure),
            };
            let failure = match answer {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
            };
            match failure.kind() {
                // Nothing was done.
                Kind::Collided if collisions < COLLISIONS => {
                    collisions += 1;
                    let pause = Duration::from_millis(rand::random_range(1..=10 << collisions.min(4)));
                    tokio::time::sleep(pause).await;
                }
                Kind::Unprepared if !is_second => {
                    is_second = true;
                    self.schema.is_lost();
                }
                // Nothing was done, and every connection to that server is of no use.
                Kind::OutOfService if !is_second => {
                    is_second = true;
                    self.leave(held);
                }
                // What is known of the others may be old: a lost connection is noticed by who asks next.
                Kind::Lost if request.is_repeatable && !is_second => {
                    is_second = true;
                    self.leave(held);
                }
                Kind::OutOfService | Kind::Lost => {
                    self.leave(held);
                    return Err(failure);
                }
                _ => return Err(failure),
            }
        }
    }

    fn leave(&self, held: &mut Option<Client>) {
        if let Some(client) = held.take() {
            client.close();
        }
        match &self.pool {
            Pool::Own(pool) => drop(pool.retain(|_, _| false)),
            Pool::Theirs(pool) => drop(pool.retain(|_, _| false)),
        }
    }
}

impl Pool {
    async fn client(&self) -> Result<Client, Failure> {
        match self {
            Self::Own(pool) => pool.get().await.map(Client::Own).map_err(|error| match error {
                managed::PoolError::Backend(error) => Failure::Unreached(error),
                other => Failure::Unreached(StoreError::new(other.to_string())),
            }),
            Self::Theirs(pool) => pool.get().await.map(Client::Theirs).map_err(|error| match error {
                managed::PoolError::Backend(error) => Failure::Client(error),
                other => Failure::Unreached(StoreError::new(other.to_string())),
            }),
        }
    }
}

impl Deref for Client {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &tokio_postgres::Client {
        match self {
            Self::Theirs(client) => client,
            Self::Own(link) => &link.client,
        }
    }
}

impl Client {
    fn close(self) {
        match self {
            Self::Theirs(client) => drop(deadpool_postgres::Client::take(client)),
            Self::Own(link) => drop(Object::take(link)),
        }
    }

    /// Has the server stop what it is doing, so that it holds no locks, and closes the connection.
    fn give_up(self) {
        let Self::Own(link) = self else { return self.close() };
        let link = Object::take(link);
        tokio::spawn(async move {
            let cancelling = link.client.cancel_token();
            let _ = tokio::time::timeout(CANCELLATION_LIMIT, cancelling.cancel_query(link.tls.clone())).await;
        });
    }
}

/// The servers of an address, of which one is in service.
pub(super) struct Servers {
    configs: Vec<Config>,
    tls: Tls,
    /// Which is asked first: the one that was in service last.
    first: AtomicUsize,
}

pub(super) type Wire = tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

impl Servers {
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
    client: tokio_postgres::Client,
    task: JoinHandle<()>,
    tls: MakeRustlsConnect,
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
        Ok(Link { client, task, tls: self.tls.connector() })
    }

    async fn recycle(&self, link: &mut Link, _: &Metrics) -> RecycleResult<StoreError> {
        match link.client.is_closed() {
            false => Ok(()),
            true => Err(RecycleError::message("the connection is closed")),
        }
    }
}

/// Why there is no answer.
pub(super) enum Failure {
    Client(tokio_postgres::Error),
    /// There is no connection.
    Unreached(StoreError),
    /// The schema is not what this needs.
    Schema(StoreError),
}

enum Kind {
    /// Two steps waited for each other, and this one was undone.
    Collided,
    /// The schema is not there.
    Unprepared,
    /// The server only reads. Nothing was done.
    OutOfService,
    /// The connection was lost, and nobody knows what was done.
    Lost,
    Other,
}

impl Failure {
    fn kind(&self) -> Kind {
        let Self::Client(error) = self else { return Kind::Other };
        let Some(code) = error.code() else {
            let is_io = error.source().is_some_and(|source| source.is::<std::io::Error>());
            return if error.is_closed() || is_io { Kind::Lost } else { Kind::Other };
        };
        match *code {
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Kind::Collided,
            SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_FUNCTION | SqlState::INVALID_SCHEMA_NAME => {
                Kind::Unprepared
            }
            SqlState::READ_ONLY_SQL_TRANSACTION => Kind::OutOfService,
            SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => Kind::Lost,
            _ if code.code().starts_with("08") => Kind::Lost,
            _ => Kind::Other,
        }
    }

    pub(super) fn while_trying_to(self, what: &str) -> StoreError {
        let failed = StoreError::new(format!("postgres: cannot {what}"));
        match self {
            Self::Client(error) => failed.because(in_full(&error)),
            Self::Unreached(error) => failed.because(error),
            Self::Schema(error) => error,
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Client(error)
    }
}

/// The error with all that is behind it, and what to do about it. Details of the server's, which may have values in them, are left out.
pub(super) fn in_full(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return match error.code().code() {
            "DW001" => {
                "this database's isolation is not READ COMMITTED: ALTER ROLE ... SET default_transaction_isolation = \
                        'read committed'"
                    .to_owned()
            }
            code => format!("{} ({code})", error.message()),
        };
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(behind) = source {
        text = format!("{text}: {behind}");
        source = behind.source();
    }
    match advice(error) {
        Some(advice) => format!("{text}: {advice}"),
        None => text,
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
