//! Sessions in an SQLite file: durable, on one machine, with nothing to install.
//!
//! What was confirmed is on the disk (`WAL`, `synchronous=FULL`), and stays there if the process is
//! killed or the machine loses power. Writes that wait are committed together, so a busy site waits
//! for the disk once for all of them. No executor thread ever waits for it: one thread writes, a
//! few read. Several processes may share the file, as long as they run on one machine.
//!
//! What a purge frees, SQLite uses again; the file does not shrink.
//!
//! # The file while it is open
//!
//! SQLite itself does not notice that its file was deleted: it goes on in nothing, and confirms. This store looks. After each commit,
//! before anybody is answered, it compares device and inode of what is open with those of what stands at the path: of the file, of its
//! write-ahead log (`-wal`) and of the log's index (`-shm`). After each batch of reads it compares those of the file. Where one differs,
//! the answer is an error, the log says which file was lost, and the store opens what stands at the path; a file that is missing it makes.
//!
//! | under a running application | what happens |
//! | --- | --- |
//! | the file is deleted | one error for each call that meets it; then an empty file, and everybody is logged out |
//! | it is moved away | the same; what was confirmed is in the moved file, which needs nothing beside it |
//! | it is moved away, and the process is killed before a call meets that | the moved file lacks what only `-wal` has; the next start sets the log aside as `-wal-lost-1` and logs a warning: move it beside the moved file, named as that file with `-wal` behind it, before anything opens that file |
//! | a backup is moved into its place, or a symbolic link is turned to another file | one error, then the sessions of that file; **not so** where a process is killed or another one opens the file before a call meets it: it reads the old `-wal` as a part of the backup |
//! | its directory is missing or closed to us | errors until that is mended |
//! | it is emptied (`: > sessions.db`) | one error for a write or read, then an empty file |
//! | `-wal` or `-shm` is deleted | one error for a write; nothing that was confirmed is lost, unless another process opens the file before a write notices |
//! | `-shm` is truncated | the system ends the process (`SIGBUS`); nothing that was confirmed is lost |
//! | something is copied over the file or into `-wal` (`cp backup.db sessions.db`), the file is cut short, or `-wal` is emptied | **not noticed**: the inode is the same, the file is damaged, and what is confirmed afterwards may be lost |
//! | several of these within the same few milliseconds, such as its log deleted while it is moved away and back | noticed, but confirmed writes of that moment can be lost |
//!
//! So restore a backup, a whole copy (`VACUUM INTO`, `.backup`), in this order:
//!
//! 1. Stop the application: each process that has the file open.
//! 2. Remove `sessions.db-wal` and `sessions.db-shm`. A process that was killed leaves them, and SQLite would write what is in them into the backup.
//! 3. Move the backup into the place of the file: `mv`, never `cp`.
//! 4. Start the application.
//!
//! To log everybody out, there is [`revoke_everyone`](crate::SessionManager::revoke_everyone).
//!
//! A file has one name. SQLite keeps a log for each name, and two processes that open one file by two names damage it: a file with more
//! than one hard link is refused. A symbolic link is no second name.
//!
//! What remains: a confirmed write was in the file that stood at the path after its commit. Who deletes the file later deletes it. An error does not say
//! that nothing was written: the write may be in the file that was lost. Several processes notice each for itself. Two stores in one process on one
//! file, or the application's own connections beside [`rusqlite0_42`](super::rusqlite0_42), share what they have open: where only `-wal` or `-shm` is
//! deleted, the store answers with errors until the last of them has closed. On Windows nothing is compared, because nobody can delete, move or replace there
//! what SQLite has open.

mod connections;
mod files;
mod place;
mod queue;
mod rows;
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

pub(super) use self::place::check_name;
use self::{
    connections::{Connections, WRITER},
    place::Place,
    queue::{Job, Queue, closed, failed},
};
use super::{
    Cap, Create, Delete, Engine, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError,
    StoreKey, Timestamp, Tombstone, Touch, Version, engine_of, rows::Rows,
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
    /// This waits for the disk: call it when the application starts. The file may be the application's own database: the tables of the
    /// store are named `dewar_...`, their version is in one of them, and `PRAGMA user_version` is neither read nor set.
    ///
    /// # Errors
    ///
    /// Where the path is no file to SQLite (`:memory:`, an empty one, `file:...`), the file cannot be opened or written, or a later
    /// release of this library made its tables.
    pub fn open(file: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::of_place(Place::of_file(file.as_ref())?)
    }

    /// Keeps sessions in what these connections lead to.
    pub(super) fn of_connections(
        open: impl FnMut() -> rusqlite::Result<Connection> + Send + 'static,
    ) -> Result<Self, StoreError> {
        Self::of_place(Place::Applications { open: Box::new(open), path: None })
    }

    fn of_place(place: Place) -> Result<Self, StoreError> {
        let readers = thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 4));
        let connections = Arc::new(Connections::open(place, readers)?);
        let (running, is_running) = watch::channel(());
        let threads = Threads { reads: Arc::default(), writes: Arc::default(), running };
        for number in (0..=readers).filter(|number| *number != WRITER) {
            let (connections, queue) = (Arc::clone(&connections), Arc::clone(&threads.reads));
            start("dewar-sqlite-read", is_running.clone(), move || threads::read(number, &connections, queue))?;
        }
        let queue = Arc::clone(&threads.writes);
        start("dewar-sqlite-write", is_running, move || threads::write(&connections, queue))?;
        Ok(Self { threads: Arc::new(threads), limit: Self::DEFAULT_TIME_LIMIT })
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
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Create, StoreError> {
        let key = key.clone();
        let cap = cap.cloned();
        self.write(move |connection| statements::create(connection, &key, version, &record, cap.as_ref(), now)).await
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
        cap: Option<&Cap>,
        now: Timestamp,
    ) -> Result<Rename, StoreError> {
        let (from, to, cap) = (from.clone(), to.clone(), cap.cloned());
        let renamed = self
            .write(move |connection| {
                let cap = cap.as_ref();
                statements::rename(connection, &from, at, &to, version, &record, &tombstone, cap, now)
            })
            .await?;
        renamed.ok_or_else(|| StoreError::new("sqlite: cannot rename a session: something stands under the new key"))
    }

    async fn ping(&self, _now: Timestamp) -> Result<(), StoreError> {
        self.read(statements::ping).await
    }

    fn engine(&self, shape: Shape) -> Option<Arc<dyn Engine>> {
        Some(match shape {
            Shape::Blob => engine_of(self.clone()),
            Shape::Row(table) => Arc::new(Rows::new(self.clone(), table)),
        })
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

/// `is_running` goes last, after the connections of the thread.
fn start(name: &str, is_running: watch::Receiver<()>, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let body = move || {
        run();
        drop(is_running);
    };
    thread::Builder::new().name(name.into()).spawn(body).map(drop).map_err(|error| failed("start a thread", error))
}
