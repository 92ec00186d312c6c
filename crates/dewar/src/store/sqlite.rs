//! Sessions in an SQLite file: durable, on one machine, with nothing to install.
//!
//! What was confirmed is on the disk (`WAL`, `synchronous=FULL`), and stays there if the process is
//! killed or the machine loses power. Writes that wait are committed together, so a busy site waits
//! for the disk once for all of them. No executor thread ever waits for it: one thread writes, a
//! few read. Several processes may share the file, as long as they run on one machine.
//!
//! What a purge frees, SQLite uses again; the file does not shrink.

mod queue;
mod statements;
mod threads;

use std::{
    fmt,
    future::{Future, poll_fn},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use self::queue::{Job, Queue, closed, failed};
use super::{
    Create, Delete, Engine, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError, StoreKey,
    Timestamp, Tombstone, Touch, Version, engine_of,
};
use crate::layout::Shape;

/// The most rows that one transaction removes: each has its key on another page, and whoever writes meanwhile waits.
const PURGED_AT_ONCE: usize = 100;

/// The most sessions that one transaction ends where everybody's are to end.
const ENDED_AT_ONCE: usize = 1_000;

/// Keeps sessions in an SQLite file. A clone is the same store.
///
/// The threads end when the last clone is dropped, after what waits has been written; await
/// [`SqliteStore::close`] where that must be over. The futures run on any runtime; one of tokio's needs its timers (`enable_time`).
///
/// ```
/// use dewar::store::{SessionAdmin, Timestamp, sqlite::SqliteStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("dewar-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let file = directory.join("sessions.db");
/// let store = SqliteStore::open(file)?;
/// assert_eq!(store.count(Timestamp::from_secs(1_800_000_000)).await?, 0);
/// store.close().await;
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    threads: Arc<Threads>,
    limit: Duration,
}

struct Threads {
    reads: Arc<Queue>,
    writes: Arc<Queue>,
    running: watch::Sender<()>,
}

impl SqliteStore {
    /// How long a call waits for its answer unless [set](Self::time_limit): 5 seconds.
    pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(5);

    /// Opens the file, and makes it (readable by its owner alone) where it is missing.
    ///
    /// This waits for the disk: call it when the application starts.
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened or written, or a later release of this library made it.
    pub fn open(file: impl AsRef<Path>) -> Result<Self, StoreError> {
        let file = file.as_ref();
        let cannot_open = || format!("open {}", file.display());
        make_private(file).map_err(|error| failed(&cannot_open(), error))?;
        let first = Connection::open(file).map_err(|error| failed(&cannot_open(), error))?;
        first.busy_timeout(Self::DEFAULT_TIME_LIMIT).map_err(|error| failed(&cannot_open(), error))?;
        let version = first.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
        match version.map_err(|error| failed(&cannot_open(), error))? {
            0..=statements::SCHEMA => {}
            later => {
                return Err(failed(&cannot_open(), format!("its tables have the unknown version {later}")));
            }
        }
        let store = Self::with_connections(|| Connection::open(file)).map_err(|error| failed(&cannot_open(), error))?;
        first.pragma_update(None, "user_version", statements::SCHEMA).map_err(|error| failed(&cannot_open(), error))?;
        Ok(store)
    }

    /// Sets how long a call waits for its answer before it fails.
    ///
    /// A write that failed so may still be done later.
    #[must_use]
    pub fn time_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Writes what waits, closes the file, and returns when that is done. Every clone is closed.
    pub async fn close(&self) {
        self.threads.close();
        self.threads.running.closed().await;
    }

    /// Opens a connection for each thread.
    pub(crate) fn with_connections(
        mut open: impl FnMut() -> rusqlite::Result<Connection>,
    ) -> Result<Self, rusqlite::Error> {
        let mut writer = open()?;
        writer.busy_timeout(Self::DEFAULT_TIME_LIMIT)?;
        let mode: String = writer.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if !mode.eq_ignore_ascii_case("wal") {
            let message = format!("a file is needed, for a write-ahead log; journal_mode is {mode}");
            return Err(rusqlite::Error::ToSqlConversionFailure(message.into()));
        }
        writer.pragma_update(None, "synchronous", "FULL")?;
        statements::create_tables(&mut writer)?;

        let (running, is_running) = watch::channel(());
        let threads = Threads { reads: Arc::default(), writes: Arc::default(), running };
        let count = thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 4));
        for _ in 0..count {
            let reader = open()?;
            reader.busy_timeout(Self::DEFAULT_TIME_LIMIT)?;
            start("dewar-sqlite-read", threads::read, reader, &threads.reads, is_running.clone())?;
        }
        start("dewar-sqlite-write", threads::write, writer, &threads.writes, is_running)?;
        Ok(Self { threads: Arc::new(threads), limit: Self::DEFAULT_TIME_LIMIT })
    }

    async fn read<T: Send + 'static>(
        &self,
        run: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.wait_for(&self.threads.reads, run).await
    }

    async fn write<T: Send + 'static>(
        &self,
        run: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.wait_for(&self.threads.writes, run).await
    }

    async fn wait_for<T: Send + 'static>(
        &self,
        queue: &Queue,
        run: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = Job::new(Instant::now() + self.limit, run);
        queue.push(job)?;
        answer_within(self.limit, answer).await
    }
}

async fn answer_within<T>(
    limit: Duration,
    mut answer: oneshot::Receiver<Result<T, StoreError>>,
) -> Result<T, StoreError> {
    // Tokio's timers cost a call next to nothing, and are not there in a program without it.
    let late: &mut (dyn Future<Output = ()> + Send + Unpin) = match tokio::runtime::Handle::try_current() {
        Ok(_) => &mut Box::pin(tokio::time::sleep(limit)),
        Err(_) => &mut futures_timer::Delay::new(limit),
    };
    let mut late = Pin::new(late);
    poll_fn(|context| match Pin::new(&mut answer).poll(context) {
        Poll::Ready(Ok(answer)) => Poll::Ready(answer),
        Poll::Ready(Err(_)) => Poll::Ready(Err(closed())),
        Poll::Pending => {
            let late = late.as_mut().poll(context);
            late.map(|()| Err(StoreError::new(format!("sqlite: no answer within {limit:?}"))))
        }
    })
    .await
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Threads {
    fn close(&self) {
        self.reads.close();
        self.writes.close();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.close();
    }
}

impl SessionStore for SqliteStore {
    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Load, StoreError> {
        let key = key.clone();
        self.read(move |connection| statements::load(connection, &key, now)).await
    }

    async fn create(
        &self,
        key: &StoreKey,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        let key = key.clone();
        self.write(move |connection| statements::create(connection, &key, version, &record, now)).await
    }

    async fn replace(
        &self,
        key: &StoreKey,
        at: Version,
        version: Version,
        record: Record,
        now: Timestamp,
    ) -> Result<Replace, StoreError> {
        let key = key.clone();
        self.write(move |connection| statements::replace(connection, &key, at, version, &record, now)).await
    }

    async fn touch(
        &self,
        key: &StoreKey,
        at: Version,
        idle_expires: Timestamp,
        now: Timestamp,
    ) -> Result<Touch, StoreError> {
        let key = key.clone();
        self.write(move |connection| statements::touch(connection, &key, at, idle_expires, now)).await
    }

    async fn delete(
        &self,
        key: &StoreKey,
        at: Option<Version>,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Delete, StoreError> {
        let key = key.clone();
        self.write(move |connection| statements::delete(connection, &key, at, &tombstone, now)).await
    }

    async fn rename(
        &self,
        from: &StoreKey,
        at: Option<Version>,
        to: &StoreKey,
        version: Version,
        record: Record,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<Rename, StoreError> {
        let (from, to) = (from.clone(), to.clone());
        let renamed = self
            .write(move |connection| statements::rename(connection, &from, at, &to, version, &record, &tombstone, now))
            .await?;
        renamed.ok_or_else(|| StoreError::new("sqlite: cannot rename a session: something stands under the new key"))
    }

    async fn ping(&self, _now: Timestamp) -> Result<(), StoreError> {
        self.read(statements::ping).await
    }

    fn engine(&self, shape: Shape) -> Option<Arc<dyn Engine>> {
        (shape == Shape::Blob).then(|| engine_of(self.clone()))
    }
}

impl SessionAdmin for SqliteStore {
    async fn count(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.read(move |connection| statements::count(connection, now)).await
    }

    async fn list(
        &self,
        principal: Option<&str>,
        after: Option<&StoreKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(StoreKey, Record, Version)>, StoreError> {
        let (principal, after) = (principal.map(Box::<str>::from), after.cloned());
        self.read(move |connection| statements::list(connection, principal.as_deref(), after.as_ref(), limit, now))
            .await
    }

    async fn epoch(&self, principal: Option<&str>) -> Result<u64, StoreError> {
        let principal = principal.map(Box::<str>::from);
        self.read(move |connection| statements::epoch(connection, principal.as_deref())).await
    }

    async fn revoke(
        &self,
        principal: &str,
        which: Revoke,
        tombstone: Tombstone,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let principal = Box::<str>::from(principal);
        self.write(move |connection| statements::revoke(connection, &principal, which, &tombstone, now)).await
    }

    async fn revoke_everyone(&self, tombstone: Tombstone, now: Timestamp) -> Result<u64, StoreError> {
        let epoch = self.write(move |connection| statements::raise_everyones(connection, now)).await?;
        let (mut count, mut last) = (0, 0);
        loop {
            let tombstone = tombstone.clone();
            let ended = self.write(move |connection| {
                statements::end_begun_before(connection, epoch, last, ENDED_AT_ONCE, &tombstone, now)
            });
            let Some((ended, row)) = ended.await? else { return Ok(count) };
            count += ended;
            last = row;
        }
    }

    async fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let mut purged = 0;
        while purged < limit {
            let most = PURGED_AT_ONCE.min(limit - purged);
            let (ended, removed) = self.write(move |connection| statements::purge(connection, most, now)).await?;
            purged += removed;
            // Those that leave a tombstone are no part of the limit: each is met once.
            if ended < most && removed < most {
                break;
            }
        }
        Ok(purged)
    }
}

type Loop = fn(Connection, Arc<Queue>);

fn start(
    name: &str,
    run: Loop,
    connection: Connection,
    queue: &Arc<Queue>,
    is_running: watch::Receiver<()>,
) -> rusqlite::Result<()> {
    let queue = Arc::clone(queue);
    let body = move || {
        run(connection, queue);
        drop(is_running);
    };
    let started = thread::Builder::new().name(name.into()).spawn(body);
    started.map(drop).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Makes the file for its owner alone, as what is in it concerns nobody else. SQLite gives the
/// files beside it the same permissions.
fn make_private(file: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}
