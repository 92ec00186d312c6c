//! Where a database is, and how a connection to it is made.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags};

use super::{
    files::{self, Files},
    queue::failed,
};
use crate::store::StoreError;

pub(super) enum Place {
    /// A file of ours, by its absolute path.
    Ours(PathBuf),
    /// A database of the application's own. SQLite knows its path, once it is open.
    Applications { open: Open, path: Option<PathBuf> },
}

pub(super) type Open = Box<dyn FnMut() -> rusqlite::Result<Connection> + Send>;

impl Place {
    pub(super) fn of_file(file: &Path) -> Result<Self, StoreError> {
        check_name(file)?;
        let path = std::path::absolute(file).map_err(|error| failed(&format!("open {}", file.display()), error))?;
        Ok(Self::Ours(path))
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Ours(path) => Some(path),
            Self::Applications { path, .. } => path.as_deref(),
        }
    }

    /// Makes sure that there is a file. Only ours is made: a missing database of the application's own is its business.
    pub(super) fn prepare(&self) -> Result<(), StoreError> {
        let is_there = match self {
            Self::Ours(path) => make_private(path),
            Self::Applications { path: Some(path), .. } => fs::metadata(path).map(drop),
            Self::Applications { path: None, .. } => Ok(()),
        };
        is_there.map_err(|error| self.cannot_open(error))
    }

    pub(super) fn connect(&mut self) -> Result<Connection, StoreError> {
        let connection = match self {
            Self::Ours(path) => {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
                Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            }
            Self::Applications { open, path } => open().inspect(|connection| {
                let found = connection.path().filter(|path| !path.is_empty());
                *path = path.take().or_else(|| found.map(PathBuf::from));
            }),
        };
        connection.map_err(|error| self.cannot_open(error))
    }

    /// Refuses a file that has two names, before anything is read or written.
    pub(super) fn check_links(&self) -> Result<(), StoreError> {
        match self.path() {
            Some(path) if files::has_other_names(path) => Err(self.cannot_open(
                "the file has more than one hard link, and SQLite keeps a log for each name: let all processes open it by one \
                 name, and remove the other, or make it a symbolic link",
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn cannot_open(&self, error: impl std::fmt::Display) -> StoreError {
        match self {
            Self::Ours(path) => {
                let error = error.to_string();
                let is_denied = ["readonly", "unable to open", "denied"].iter().any(|word| error.contains(word));
                let advice = if is_denied {
                    " (it is written to, and so is its folder: run this as a user who may, and on one machine)"
                } else {
                    ""
                };
                failed(&format!("open {}{advice}", path.display()), error)
            }
            Self::Applications { .. } => failed("prepare the database", error),
        }
    }
}

/// Refuses what SQLite takes for a database in memory, for a temporary one or for a URI, and what is near to that: it would be a file
/// of that odd name here.
pub(in crate::store) fn check_name(file: &Path) -> Result<(), StoreError> {
    let name = file.to_string_lossy();
    let uri = name.split_at_checked(5).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("file:"));
    let path = uri.map_or(&*name, |(_, path)| path);
    if names_no_file(path) {
        return Err(StoreError::new(format!(
            "sqlite: {name:?} names no file: write its path, as in sqlite:sessions.db; for sessions in this process's memory \
             the address is memory:, and the store MemoryStore"
        )));
    }
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let is_odd = |end: char| end.is_whitespace() || end.is_control();
    if uri.is_some() {
        return Err(StoreError::new(format!("sqlite: write the path alone, without file: and settings: {path:?}")));
    }
    if name.starts_with(is_odd) || name.ends_with(is_odd) {
        return Err(StoreError::new(format!(
            "sqlite: {name:?} begins or ends with a blank: write the path without it"
        )));
    }
    Ok(())
}

fn names_no_file(written: &str) -> bool {
    let written = written.to_lowercase().replace("%3a", ":").replace("%20", " ");
    let is_around = |end: char| end.is_whitespace() || end.is_control() || matches!(end, '"' | '\'');
    let (path, settings) = written.split_once(['?', '#']).unwrap_or((&written, ""));
    let path = path.trim_matches(is_around);
    let last = path.rsplit(['/', '\\']).next().unwrap_or(path).trim_matches(is_around);
    path.is_empty()
        || matches!(path, "memory" | "memory:")
        || last.starts_with(':')
        || settings.contains("mode=memory")
        || settings.contains("vfs=memdb")
}

/// Makes the file for its owner alone where it is missing, as what is in it concerns nobody else. SQLite gives the files beside
/// it the same permissions.
///
/// A file that is there is not opened: closing it would free the locks that SQLite has on it in this process, and another
/// process would remove a log that is in use.
fn make_private(file: &Path) -> io::Result<()> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let left = Files::of(file);
    if file.try_exists()? {
        return Ok(());
    }
    // What is beside it was of a file that is not there any more. SQLite would remove it as soon as there is an empty one.
    left.set_leftovers_aside()?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // Another process was faster, or a symbolic link leads to a file that is missing.
        Err(_) if !file.try_exists()? => options.create_new(false).create(true).truncate(false).open(file).map(drop),
        _ => Ok(()),
    }
}
