//! Whether the files that are open are the ones that stand at their paths.
//!
//! SQLite does not ask: it goes on in a file that was deleted or moved, and says that all is well.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use crate::telemetry;

/// The files of a database while it is open.
pub(super) struct Files {
    database: Seen,
    /// The write-ahead log, `-wal`: what was committed of late is only there.
    log: Seen,
    /// The index of the log, `-shm`, where processes lock each other out.
    index: Seen,
}

/// What stood at a path when it was opened.
struct Seen {
    path: PathBuf,
    id: Option<Id>,
}

/// Device and inode: no other file has them while this one is open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Id {
    device: u64,
    inode: u64,
}

/// Which file stands at this path, and how many bytes it has.
#[cfg(unix)]
fn look(path: &Path) -> Option<(Id, u64)> {
    use std::os::unix::fs::MetadataExt;

    let found = fs::metadata(path).ok()?;
    Some((Id { device: found.dev(), inode: found.ino() }, found.len()))
}

/// Windows has no inodes. Nobody can delete, move or replace there what SQLite has open.
#[cfg(not(unix))]
fn look(_path: &Path) -> Option<(Id, u64)> {
    Some((Id { device: 0, inode: 0 }, 1))
}

/// Whether other names lead to this file, each of which has a log of its own to SQLite.
#[cfg(unix)]
pub(super) fn has_other_names(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| std::os::unix::fs::MetadataExt::nlink(&found) > 1)
}

#[cfg(not(unix))]
pub(super) fn has_other_names(_path: &Path) -> bool {
    false
}

pub(super) fn id(path: &Path) -> Option<Id> {
    look(path).map(|(id, _)| id)
}

impl Seen {
    fn at(path: PathBuf) -> Self {
        Self { id: id(&path), path }
    }

    fn stands(&self) -> bool {
        id(&self.path) == self.id
    }

    fn is_anothers(&self) -> bool {
        !self.stands() && id(&self.path).is_some()
    }

    fn remove(&self) {
        if self.stands() {
            let _ = fs::remove_file(&self.path);
        }
    }

    fn set_aside(&self) -> io::Result<()> {
        if self.id.is_none() || !self.stands() {
            return Ok(());
        }
        for number in 1.. {
            let mut name = OsString::from(&self.path);
            name.push(format!("-lost-{number}"));
            let aside = PathBuf::from(name);
            if !aside.try_exists()? {
                fs::rename(&self.path, &aside)?;
                telemetry::log_set_aside(&self.path, &aside);
                break;
            }
        }
        Ok(())
    }
}

impl Files {
    /// Those that stand at the paths of this database now.
    pub(super) fn of(database: &Path) -> Self {
        // SQLite puts the others beside the file that a symbolic link leads to.
        let file = database.canonicalize().unwrap_or_else(|_| database.into());
        let beside = |suffix| {
            let mut name = OsString::from(&file);
            name.push(suffix);
            Seen::at(name.into())
        };
        Self { log: beside("-wal"), index: beside("-shm"), database: Seen::at(database.into()) }
    }

    pub(super) fn id(&self) -> Option<Id> {
        self.database.id
    }

    pub(super) fn has_log(&self) -> bool {
        self.log.id.is_some()
    }

    pub(super) fn has_index(&self) -> bool {
        self.index.id.is_some()
    }

    /// Whether the database is the file at its path. One that was emptied is not: whatever was in it is gone.
    pub(super) fn database_stands(&self) -> bool {
        look(&self.database.path).is_some_and(|(id, length)| Some(id) == self.database.id && length > 0)
    }

    pub(super) fn all_stand(&self) -> bool {
        self.database_stands() && self.log.stands() && self.index.stands()
    }

    /// The path of the first that does not stand there any more.
    pub(super) fn lost(&self) -> &Path {
        match () {
            () if !self.database_stands() => &self.database.path,
            () if !self.log.stands() => &self.log.path,
            () => &self.index.path,
        }
    }

    pub(super) fn is_emptied(&self) -> bool {
        self.database.stands() && !self.database_stands()
    }

    /// Whether others work in this database with another log or index already, which this one's content must not be mixed with.
    /// What stands beside the path of one that is elsewhere is none of its business.
    pub(super) fn are_anothers(&self) -> bool {
        self.database_stands() && (self.log.is_anothers() || self.index.is_anothers())
    }

    /// Removes what is left of the lost: SQLite would take it for a part of the file that stands there now.
    pub(super) fn remove_leftovers(&self) {
        if !self.database_stands() {
            self.log.remove();
        }
        self.remove_index();
    }

    /// The same, but the log is given another name: the lost database may need it yet.
    pub(super) fn set_leftovers_aside(&self) -> io::Result<()> {
        if !self.database_stands() {
            self.log.set_aside()?;
        }
        self.remove_index();
        Ok(())
    }

    fn remove_index(&self) {
        if !(self.database_stands() && self.log.stands()) {
            self.index.remove();
        }
    }
}
