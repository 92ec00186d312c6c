//! The connections: one for each thread, and all to the file that stands at the path.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, config::DbConfig};

use super::{
    SqliteStore,
    files::{self, Files},
    place::Place,
    statements,
};
use crate::{store::StoreError, telemetry};

/// The connection that writes. The others only read.
pub(super) const WRITER: usize = 0;

/// How often the file may be replaced while it is opened.
const ATTEMPTS: usize = 3;

pub(super) struct Connections {
    source: Mutex<Source>,
    each: Box<[Mutex<Option<Open>>]>,
}

struct Source {
    place: Place,
    /// What the connections have open. `None`: it was lost, and nothing could be opened since.
    files: Option<Arc<Files>>,
    /// Whether there was a `-shm`, as there is but for unusual modes of locking.
    has_index: bool,
}

struct Open {
    connection: Connection,
    files: Arc<Files>,
}

impl Connections {
    /// Opens the writer's and so many for readers.
    pub(super) fn open(place: Place, readers: usize) -> Result<Self, StoreError> {
        let mut source = Source { place, files: None, has_index: false };
        let opened = source.open(1 + readers)?;
        let each = opened.into_iter().map(|open| Mutex::new(Some(open))).collect();
        Ok(Self { source: Mutex::new(source), each })
    }

    /// Runs this on one of the connections, and gives what it returns if the file stands at its path afterwards: what was
    /// committed is in that file. Otherwise it is an error, and the file at the path is opened.
    ///
    /// Whoever writes also looks at the files beside it.
    pub(super) fn with<T>(&self, number: usize, run: impl FnOnce(&mut Connection) -> T) -> Result<T, StoreError> {
        let mut slot = lock(&self.each[number]);
        if slot.is_none() {
            drop(slot);
            self.open_anew(None)?;
            slot = lock(&self.each[number]);
        }
        let Some(open) = slot.as_mut() else {
            return Err(StoreError::new("sqlite: the file was lost while it was opened"));
        };
        let outcome = run(&mut open.connection);
        // While it is open: an inode that is closed may be given to the next file.
        let stands = if number == WRITER { open.files.all_stand() } else { open.files.database_stands() };
        if stands {
            return Ok(outcome);
        }
        let files = Arc::clone(&open.files);
        let lost = files.lost().display().to_string();
        drop(slot);
        self.open_anew(Some(&files))?;
        Err(StoreError::new(format!("sqlite: {lost} was deleted, moved or replaced; it is opened anew")))
    }

    /// Opens the file at the path, unless another thread has done it. All connections to what was lost are closed before: they
    /// share their locks and their memory with whatever is opened beside it.
    fn open_anew(&self, lost: Option<&Arc<Files>>) -> Result<(), StoreError> {
        let mut source = lock(&self.source);
        if let Some(current) = &source.files
            && lost.is_none_or(|lost| !Arc::ptr_eq(lost, current))
        {
            return Ok(());
        }
        let mut each: Vec<_> = self.each.iter().map(lock).collect();
        if let Some(lost) = source.files.take() {
            telemetry::file_lost(lost.lost());
            leave(&lost, each.iter_mut().filter_map(|slot| slot.take()).collect());
        }
        let opened = source.open(each.len())?;
        each.iter_mut().zip(opened).for_each(|(slot, open)| **slot = Some(open));
        Ok(())
    }
}

/// Nobody may have called since it was lost.
impl Drop for Connections {
    fn drop(&mut self) {
        let opened: Vec<_> = self.each.iter().filter_map(|slot| lock(slot).take()).collect();
        if let Some(files) = &lock(&self.source).files
            && !files.all_stand()
        {
            telemetry::file_lost(files.lost());
            leave(files, opened);
        }
    }
}

/// Closes what was lost. What only its log has is copied into it before, so that a file that was moved away is whole.
fn leave(lost: &Files, opened: Vec<Open>) {
    let is_whole =
        lost.is_emptied() || opened.first().is_none_or(|writer| !lost.are_anothers() && copy_log(&writer.connection));
    if !lost.database_stands() {
        // SQLite would remove the log at the path, whosever it is, and fill up an emptied file with pages that belong to the others.
        for open in &opened {
            let _ = open.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }
    if is_whole {
        lost.remove_leftovers();
    } else {
        telemetry::log_not_copied(lost.lost());
        // Where that fails, the next to open the file says so.
        let _ = lost.set_leftovers_aside();
    }
}

/// Whether all that was committed is in the database itself.
fn copy_log(connection: &Connection) -> bool {
    let copied = connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| {
        let (is_busy, frames, copied): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(!is_busy && frames == copied)
    });
    copied.unwrap_or(false)
}

impl Source {
    fn open(&mut self, count: usize) -> Result<Vec<Open>, StoreError> {
        for _ in 0..ATTEMPTS {
            self.place.prepare()?;
            let before = self.place.path().map(files::id);
            let (connections, files) = self.connect(count)?;
            if self.has_index && !files.has_index() {
                return Err(self.place.cannot_open("another connection of this process has the lost one open yet"));
            }
            // Only what stood there before and after is surely what was opened in between.
            let is_the_same = before.is_none_or(|before| before == files.id());
            if is_the_same && files.has_log() && files.all_stand() {
                self.has_index = files.has_index();
                let files = Arc::new(files);
                self.files = Some(Arc::clone(&files));
                let open = |connection| Open { connection, files: Arc::clone(&files) };
                return Ok(connections.into_iter().map(open).collect());
            }
            // The log that the writer has open may have lost its name, and with it all that only it has. In a database that was
            // replaced meanwhile, it may be another's.
            if is_the_same && files.database_stands() {
                copy_log(&connections[WRITER]);
            }
        }
        Err(self.place.cannot_open("it was replaced while it was opened"))
    }

    /// The connections, and the files that stood there when the writer had opened its own.
    fn connect(&mut self, count: usize) -> Result<(Vec<Connection>, Files), StoreError> {
        let writer = self.connect_one(true)?;
        let Some(path) = self.place.path() else { return Err(self.place.cannot_open(NO_FILE)) };
        let files = Files::of(path);
        let mut connections = vec![writer];
        for _ in 1..count {
            connections.push(self.connect_one(false)?);
        }
        Ok((connections, files))
    }

    fn connect_one(&mut self, writes: bool) -> Result<Connection, StoreError> {
        let mut connection = self.place.connect()?;
        self.place.check_links()?;
        set_up(&mut connection, writes).map_err(|error| self.place.cannot_open(error))?;
        Ok(connection)
    }
}

const NO_FILE: &str = "a file is needed, for a write-ahead log";

fn set_up(connection: &mut Connection, writes: bool) -> Result<(), Box<dyn Error>> {
    connection.busy_timeout(SqliteStore::DEFAULT_TIME_LIMIT)?;
    if !writes {
        // SQLite opens the log at the first read, and makes another where it is missing by then.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        return Ok(());
    }
    statements::check_version(connection)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(format!("{NO_FILE}; journal_mode is {mode}").into());
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    statements::create_tables(connection)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
