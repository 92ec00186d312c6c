//! Asking the server, within a time limit, and once more where that is safe.

use std::{
    future::Future,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mysql_async::{Conn, DriverError, Error, IoError, Opts, Pool, Row, Value, consts::StatusFlags, prelude::Queryable};
use tokio::{
    runtime::Handle,
    time::{Instant as Moment, sleep, timeout_at},
};

use super::schema;
use crate::store::StoreError;

/// How often something is asked again that another transaction was in the way of.
const CONTENDED: u32 = 8;

/// A server that only reads is connected to anew at most this often.
const REJOINED_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    limit: Duration,
}

struct Shared {
    whose: Whose,
    has_tables: AtomicBool,
    /// Held by who looks whether the tables are there.
    preparing: tokio::sync::Mutex<()>,
}

enum Whose {
    /// The application's, with its own settings.
    Theirs(Pool),
    Own {
        opts: Opts,
        joined: Mutex<Joined>,
    },
}

/// A pool replaces connections that were lost. Where a server went out of service and kept them, another pool does.
struct Joined {
    pool: Pool,
    /// Which pool this is, and since when.
    number: u64,
    since: Instant,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// It changes nothing, or done twice it is as done once.
    Repeatable,
    /// Done twice it would meet itself.
    Once,
}

/// Why something was not done, or nobody knows.
pub(super) enum Failure {
    Client(Error),
    /// Nothing was done, for this reason.
    Told(&'static str),
    /// The same, in a sentence of its own.
    Said(String),
    Late,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl Failure {
    /// The server's number of the error.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Client(Error::Server(error)) => Some(error.code),
            _ => None,
        }
    }

    pub(super) fn is_duplicate(&self) -> bool {
        self.code() == Some(1062)
    }

    /// Another transaction was in the way: a deadlock, a lock that was waited for too long, a row that changed meanwhile. Nothing was done.
    fn is_contention(&self) -> bool {
        matches!(self.code(), Some(1213 | 1205 | 1020))
    }

    /// The server only reads. Nothing was done.
    fn is_read_only(&self) -> bool {
        matches!(self.code(), Some(1290 | 1836 | 1792))
    }

    /// The connection is no more: it was closed, killed, or the server is going down.
    fn is_loss(&self) -> bool {
        match self {
            Self::Client(
                Error::Io(_) | Error::Driver(DriverError::ConnectionClosed | DriverError::PacketOutOfOrder),
            ) => true,
            _ => matches!(self.code(), Some(1053 | 1927 | 3169 | 4031)),
        }
    }

    /// What an operator does about it.
    fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::Client(Error::Driver(DriverError::PacketTooLarge)) => TOO_LARGE,
            Self::Client(Error::Driver(DriverError::NoClientSslFlagFromServer)) => {
                "the server offers no TLS; set it up there, or write ?ssl-mode=disabled where nobody else can listen"
            }
            Self::Client(Error::Io(IoError::Tls(_))) => {
                "TLS failed; ?ssl-ca=FILE names the authority that signed the server's certificate"
            }
            Self::Client(Error::Io(IoError::Io(error))) if error.to_string().contains("certificate") => {
                "the server's certificate is refused; ?ssl-ca=FILE names the authority that signed it"
            }
            _ => match self.code()? {
                1040 | 1203 | 1226 => {
                    "the server gives no more connections; raise its max_connections, or lower ?connections="
                }
                1044 | 1142 | 1143 => "the user lacks a right; dewar::store::mysql lists what it needs",
                1153 => TOO_LARGE,
                1290 | 1836 | 1792 => "the server only reads",
                1665 => "the server's binlog_format must be ROW or MIXED",
                _ => return None,
            },
        })
    }
}

const TOO_LARGE: &str = "the session is larger than the server's max_allowed_packet";

/// A connection of a pool. Whoever has it next finds it as new, unless it is [kept](Lease::keep): a transaction is rolled back then,
/// an answer that nobody waits for is read to its end or the connection closed.
pub(super) struct Lease {
    connection: Conn,
    /// Where the tables are, in quotes. The application may `USE` another on its own connections.
    database: String,
}

impl Lease {
    fn new(mut connection: Conn) -> Result<Self, Failure> {
        connection.reset_connection(true);
        let database = connection.opts().db_name().ok_or(NO_DATABASE)?;
        let database = format!("`{}`", database.replace('`', "``"));
        Ok(Self { connection, database })
    }

    /// Puts it back as it is. In the middle of nothing, that is.
    fn keep(mut self) {
        let as_always = self.connection.opts().pool_opts().reset_connection();
        self.connection.reset_connection(as_always);
    }

    /// The statement with the name of the database wherever it says `{db}`.
    pub(super) fn named(&self, statement: &str) -> String {
        statement.replace("{db}", &self.database)
    }

    pub(super) async fn first(&mut self, statement: &str, values: Vec<Value>) -> Result<Option<Row>, Failure> {
        let statement = self.named(statement);
        Ok(self.connection.exec_first(statement, values).await?)
    }

    pub(super) async fn all(&mut self, statement: &str, values: Vec<Value>) -> Result<Vec<Row>, Failure> {
        let statement = self.named(statement);
        Ok(self.connection.exec(statement, values).await?)
    }

    /// How many rows were changed.
    pub(super) async fn change(&mut self, statement: &str, values: Vec<Value>) -> Result<u64, Failure> {
        let statement = self.named(statement);
        self.connection.exec_drop(statement, values).await?;
        Ok(self.connection.affected_rows())
    }

    /// Whether what was done is committed, as far as the last answer tells.
    fn is_committed(&self) -> bool {
        self.connection.last_ok_packet().is_none_or(|answer| {
            let status = answer.status_flags();
            status.contains(StatusFlags::SERVER_STATUS_AUTOCOMMIT)
                && !status.contains(StatusFlags::SERVER_STATUS_IN_TRANS)
        })
    }
}

impl Deref for Lease {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.connection
    }
}

impl Connection {
    pub(super) fn of_pool(pool: Pool, limit: Duration) -> Self {
        Self::new(Whose::Theirs(pool), limit)
    }

    /// Connects at the first request, and again whenever a connection was lost.
    pub(super) fn open(opts: Opts, limit: Duration) -> Result<Self, StoreError> {
        if Handle::try_current().is_err() {
            return Err(StoreError::new("mysql: a store is opened within a tokio runtime"));
        }
        if !has_timers() {
            return Err(StoreError::new(
                "mysql: this tokio runtime has no timers; call enable_time() or enable_all() on its builder",
            ));
        }
        let joined = Mutex::new(Joined { pool: Pool::new(opts.clone()), number: 0, since: Instant::now() });
        Ok(Self::new(Whose::Own { opts, joined }, limit))
    }

    fn new(whose: Whose, limit: Duration) -> Self {
        let shared = Shared { whose, has_tables: AtomicBool::new(false), preparing: tokio::sync::Mutex::default() };
        Self { shared: Arc::new(shared), limit }
    }

    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Begins to ask, for as long as the time limit says.
    pub(super) fn attempts(&self, what: &'static str, request: Request) -> Attempts<'_> {
        let until = Moment::now() + self.limit;
        Attempts { connection: self, what, request, until, number: 0, contended: 0, is_again: false }
    }
}

/// One call of the store, on one connection after the other.
pub(super) struct Attempts<'a> {
    connection: &'a Connection,
    what: &'static str,
    request: Request,
    until: Moment,
    /// Of the pool that was asked last.
    number: u64,
    contended: u32,
    is_again: bool,
}

impl Attempts<'_> {
    /// A connection to a server that has the tables.
    pub(super) async fn lease(&mut self) -> Result<Lease, StoreError> {
        let shared = &*self.connection.shared;
        let (pool, number) = shared.pool();
        self.number = number;
        let leased = timeout_at(self.until, async {
            let mut lease = Lease::new(pool.get_conn().await?)?;
            if !shared.has_tables.load(Ordering::Acquire) {
                let _one_at_a_time = shared.preparing.lock().await;
                if !shared.has_tables.load(Ordering::Acquire) {
                    schema::prepare(&mut lease).await?;
                    if !lease.is_committed() {
                        return Err(AUTOCOMMIT);
                    }
                    shared.has_tables.store(true, Ordering::Release);
                }
            }
            Ok(lease)
        });
        match leased.await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(failure)) => Err(self.failed(failure)),
            Err(_) => {
                let limit = self.connection.limit;
                Err(StoreError::new(format!(
                    "mysql: cannot {}: no connection within {limit:?}; all are in use, or the server does not answer",
                    self.what
                )))
            }
        }
    }

    pub(super) async fn within<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        timeout_at(self.until, call).await.unwrap_or(Err(Failure::Late))
    }

    /// What came of it. `None`: it is to be asked once more.
    pub(super) async fn settle<T>(
        &mut self,
        lease: Lease,
        outcome: Result<T, Failure>,
    ) -> Result<Option<T>, StoreError> {
        let shared = &*self.connection.shared;
        let failure = match outcome {
            Ok(answer) if lease.is_committed() => {
                lease.keep();
                return Ok(Some(answer));
            }
            Ok(_) => AUTOCOMMIT,
            Err(failure) => failure,
        };
        drop(lease);
        let again = if failure.is_contention() && self.contended < CONTENDED {
            self.contended += 1;
            let pause = Duration::from_millis(rand::random_range(0..=4 << self.contended));
            sleep(pause).await;
            true
        } else if failure.is_read_only() && !self.is_again {
            self.is_again = true;
            shared.rejoin(self.number)
        } else {
            let again = failure.is_loss() && self.request == Request::Repeatable && !self.is_again;
            self.is_again |= again;
            again
        };
        // Somebody removed the tables, or another server is in service: the next call looks.
        if matches!(failure.code(), Some(1146 | 1054)) {
            shared.has_tables.store(false, Ordering::Release);
        }
        if again { Ok(None) } else { Err(self.failed(failure)) }
    }

    fn failed(&self, failure: Failure) -> StoreError {
        let advice = failure.advice().map(|advice| format!(": {advice}")).unwrap_or_default();
        let at = self.connection.shared.address().filter(|_| failure.is_loss()).unwrap_or_default();
        let what = format!("mysql: cannot {}{at}{advice}", self.what);
        match failure {
            Failure::Client(error) => StoreError::new(what).because(error),
            Failure::Told(why) => StoreError::new(format!("{what}: {why}")),
            Failure::Said(why) => StoreError::new(format!("{what}: {why}")),
            Failure::Late => StoreError::new(format!("{what}: no answer within {:?}", self.connection.limit)),
        }
    }
}

const AUTOCOMMIT: Failure = Failure::Told(
    "a connection of the application's is in the middle of a transaction, or its autocommit is off, so nothing would be kept: \
     end each transaction, and SET autocommit = 1",
);

const NO_DATABASE: Failure =
    Failure::Told("the application's pool names no database: write it into the address or the options of the pool");

impl Shared {
    fn pool(&self) -> (Pool, u64) {
        match &self.whose {
            Whose::Theirs(pool) => (pool.clone(), 0),
            Whose::Own { joined, .. } => {
                let joined = lock(joined);
                (joined.pool.clone(), joined.number)
            }
        }
    }

    /// `: host:port`, for a message.
    fn address(&self) -> Option<String> {
        match &self.whose {
            Whose::Own { opts, .. } => Some(format!(": {}:{}", opts.ip_or_hostname(), opts.tcp_port())),
            Whose::Theirs(_) => None,
        }
    }

    /// Leaves the server for whichever is at its address now; `false`: that was done a moment ago.
    fn rejoin(&self, number: u64) -> bool {
        let Whose::Own { opts, joined } = &self.whose else { return false };
        let mut joined = lock(joined);
        if joined.number == number {
            if number > 0 && joined.since.elapsed() < REJOINED_EVERY {
                return false;
            }
            *joined = Joined { pool: Pool::new(opts.clone()), number: number + 1, since: Instant::now() };
            self.has_tables.store(false, Ordering::Release);
        }
        true
    }
}

fn lock(joined: &Mutex<Joined>) -> MutexGuard<'_, Joined> {
    joined.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the runtime counts time. Tokio tells by a panic.
fn has_timers() -> bool {
    std::panic::catch_unwind(|| drop(sleep(Duration::ZERO))).is_ok()
}
