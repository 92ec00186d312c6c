//! The folder of PHP's sessions: which file a name means, and how a file there is opened.

use std::{
    collections::VecDeque,
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use rustix::{
    fs::{Access, OFlags, access},
    process::geteuid,
};

use super::FilesStore;
use crate::store::{StoreError, Timestamp, Version};

/// What PHP's own records begin with: `FILE_PREFIX` in its `mod_files.c`.
pub(super) const RECORD: &str = "sess_";

/// What ours begin with: `_` is in no id.
pub(super) const TOMBSTONE: &str = "dewar-ended_";

/// The most characters that PHP's ids have: `PS_MAX_SID_LENGTH`.
const LONGEST_ID: usize = 256;

/// The most bytes of a name in a folder.
const LONGEST_NAME: usize = 255;

/// How often a file may be replaced while its lock is taken.
const ATTEMPTS: usize = 8;

/// So many tombstones of this process are remembered at most.
const REMEMBERED: usize = 100_000;

#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) depth: usize,
    /// PHP's `session.gc_maxlifetime`, where it was said.
    pub(super) lifetime: Option<Duration>,
    /// The tombstones that this process has made, for a folder that may not be listed.
    pub(super) left: Mutex<VecDeque<PathBuf>>,
}

/// Where the record of one session is, and its tombstone.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) record: PathBuf,
    pub(super) tombstone: PathBuf,
}

/// A file whose lock was tried.
pub(super) enum Locked {
    Ours(File),
    /// Somebody else's.
    Theirs,
    /// There is no file.
    Missing,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(|error| failed("open", path, error))?;
        let folder = Self { path, depth: 0, lifetime: None, left: Mutex::default() };
        folder.check()?;
        // As for PHP, reading its list is not needed.
        access(&folder.path, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
            let cannot =
                "open the folder of PHP's sessions: it is not ours to write; run this as the user that PHP runs as";
            failed(cannot, &folder.path, error)
        })?;
        Ok(folder)
    }

    /// The same with another setting.
    pub(super) fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut folder = Self { path: self.path.clone(), left: Mutex::default(), ..*self };
        change(&mut folder);
        folder
    }

    /// Whether the folder is there.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match fs::metadata(&self.path) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(StoreError::new(format!(
                "files: {} is no folder; write PHP's session.save_path",
                self.path.display()
            ))),
            Err(error) => {
                Err(failed("open the folder of PHP's sessions, which it does not make either", &self.path, error))
            }
        }
    }

    /// Where the session is whose record has this name. `None`: PHP has no such id.
    ///
    /// Nothing but PHP's alphabet ever reaches a path, so no name leads out of the folder.
    pub(super) fn place(&self, name: &str) -> Option<Place> {
        // A layout's name may have what stands before it in Redis.
        let id = name.rsplit_once(':').map_or(name, |(_, id)| id);
        let is_of_an_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b',' | b'-');
        let fits = id.len() > self.depth && id.len() <= LONGEST_ID && RECORD.len() + id.len() <= LONGEST_NAME;
        if !fits || !id.bytes().all(is_of_an_id) {
            return None;
        }
        let mut folder = self.path.clone();
        folder.extend((0..self.depth).map(|at| &id[at..=at]));
        let mut tombstone = format!("{TOMBSTONE}{id}");
        if tombstone.len() > LONGEST_NAME {
            tombstone = format!("{TOMBSTONE}_{}", Version::digest(id.as_bytes()).hex());
        }
        Some(Place { record: folder.join(format!("{RECORD}{id}")), tombstone: folder.join(tombstone) })
    }

    pub(super) fn expires(&self, found: &Metadata) -> Timestamp {
        found.modified().map_or(Timestamp::default(), Timestamp::from).after(self.lifetime())
    }

    fn lifetime(&self) -> Duration {
        self.lifetime.unwrap_or(FilesStore::DEFAULT_LIFETIME)
    }

    /// Lets a record stand until this moment.
    pub(super) fn set_expiry(&self, file: &File, expires: Timestamp) -> io::Result<()> {
        // Beyond it begin the times that a file system does not have.
        const LAST: Duration = Duration::from_secs(u32::MAX as u64);
        let since = Duration::from_millis(expires.as_millis()).saturating_sub(self.lifetime());
        file.set_modified(UNIX_EPOCH + since.min(LAST))
    }

    /// Keeps in mind what is to be removed once.
    pub(super) fn remember(&self, tombstone: &Path) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() < REMEMBERED {
            left.push_back(tombstone.to_owned());
        }
    }
}

/// Opens a file that is there, for reading and writing. Never follows a link.
pub(super) fn open(path: &Path) -> Result<Option<File>, StoreError> {
    match options().open(path) {
        Ok(file) => check(&file, path).map(|()| Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("open", path, error)),
    }
}

/// Makes a file. `None`: there is something already.
pub(super) fn make(path: &Path) -> Result<Option<File>, StoreError> {
    match options().create_new(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let cannot = "make a session's file: its folder is missing; with a depth the folders have to be there, as for PHP (mod_files.sh makes them)";
            Err(failed(cannot, path, error))
        }
        Err(error) => Err(failed("make", path, error)),
    }
}

/// Opens the file, or makes it where there is none.
pub(super) fn open_or_make(path: &Path) -> Result<File, StoreError> {
    let file = options().create(true).open(path).map_err(|error| failed("make", path, error))?;
    check(&file, path)?;
    Ok(file)
}

/// With what a file in a record's place cannot lead elsewhere, or wait, as a pipe would.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    options
}

/// As PHP does, refuses the file of another user.
fn check(file: &File, path: &Path) -> Result<(), StoreError> {
    let found = file.metadata().map_err(|error| failed("read", path, error))?;
    if !found.is_file() {
        return Err(StoreError::new(format!("files: {} is no file: it is left alone", shown(path))));
    }
    let us = geteuid();
    if !us.is_root() && found.uid() != us.as_raw() && found.uid() != 0 {
        return Err(StoreError::new(format!(
            "files: {} is another user's, and is not opened; run this as the user that PHP runs as",
            shown(path)
        )));
    }
    Ok(())
}

/// Tries to take the lock of the file that stands there, which PHP's destroy and its garbage collection may remove meanwhile.
pub(super) fn lock(path: &Path) -> Result<Locked, StoreError> {
    for _ in 0..ATTEMPTS {
        let Some(file) = open(path)? else { return Ok(Locked::Missing) };
        match file.try_lock() {
            Ok(()) if stands_at(&file, path)? => return Ok(Locked::Ours(file)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Locked::Theirs),
            Err(TryLockError::Error(error)) => return Err(failed("lock", path, error)),
        }
    }
    Ok(Locked::Theirs)
}

/// Whether this very file is the one that the path leads to.
pub(super) fn stands_at(file: &File, path: &Path) -> Result<bool, StoreError> {
    let open = file.metadata().map_err(|error| failed("read", path, error))?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("read", path, error)),
    }
}

/// Removes the file, where it is there.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

pub(super) fn failed(what: &str, path: &Path, error: impl Into<io::Error>) -> StoreError {
    let error = error.into();
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ": PHP's files are its own user's alone; run this as the user that PHP runs as (www-data, on Debian)"
        }
        _ => "",
    };
    StoreError::new(format!("files: cannot {what}: {}{advice}", shown(path))).because(error.to_string())
}

/// The path as a message says it. The name of a session's file is its id.
pub(super) fn shown(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match path.parent() {
        Some(folder) if name.starts_with(RECORD) || name.starts_with(TOMBSTONE) => {
            format!("the file of a session in {}", folder.display())
        }
        _ => path.display().to_string(),
    }
}
