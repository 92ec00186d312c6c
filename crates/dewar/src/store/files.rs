//! PHP's session files, beside PHP: `sess_<id>` in its `session.save_path`, checked against PHP 8.2.
//!
//! It keeps the records of another framework alone, by its [`Engine`]; for our own there is [`SqliteStore`](super::sqlite).
//!
//! # Beside PHP
//!
//! - **Names** are PHP's, its depth too, and the folders of a depth have to be there, as for PHP. Files have the mode 0600. PHP opens only what its own user has made
//!   (or root), and so does this: run the application as PHP's user.
//! - **PHP's lock**, `flock(LOCK_EX)` on the file, is taken for a write and let go at once. PHP has it from `session_start()` to the end of its request, so a
//!   write waits that long, up to [a limit](FilesStore::lock_limit), and is then an error. A `load` does not wait.
//!   So a route of ours may call PHP with the same cookie. A route of PHP's that calls ours closes its session before (`session_write_close()`), as it has to
//!   where it calls PHP.
//! - **A write** is made where the file is, never by renaming another over it: PHP would go on with a lock on a file that is in no folder.
//!   It is as durable as PHP's own, which does not wait for the disk.
//! - **Life** is the time of the last change and PHP's `session.gc_maxlifetime`, which is [said here](FilesStore::gc_maxlifetime) or is the layer's idle timeout: one number,
//!   and `php.ini` has to say it, too. PHP's garbage collection goes by the same time. Debian's own (`sessionclean`) goes by the time
//!   of the inode's change, and by the lifetime in `php.ini`.
//! - **Ends** leave a tombstone beside the record, `dewar-ended_<id>`. PHP does not see it. It is on the disk before the record is removed. A record that PHP writes beside it afterwards,
//!   at the end of a request that had begun before, is removed when it is met. PHP's own ends leave nothing.
//! - **A renewal** makes the new file, then the tombstone, then removes the old one, all under the old one's lock. Whoever is killed between the first two steps leaves
//!   the session as it was and a copy under an id that nobody was told, which runs out; after the second, the old session has ended.
//! - **Garbage collection** removes, as PHP's does, what has expired; here with the file's lock, and in every folder of a depth. Where the folder may not be listed (Debian's own
//!   is such a one, and has its own job), it is left to others, but for the tombstones that this process made.
//!
//! A link, a folder, somebody else's file and one of more than 16 MiB in a record's place are errors; nothing is read there or written.

use std::{path::Path, sync::Arc, time::Duration};

use self::{engine::Files, folder::Folder};
use super::{
    Cap, Create, Delete, Engine, Load, Record, Rename, Replace, SessionAdmin, SessionStore, StoreError, StoreKey,
    Timestamp, Tombstone, Touch, Version, patience::LOCK_LIMIT,
};
use crate::layout::Shape;

mod engine;
mod folder;
mod purge;
mod record;

/// PHP's session files in one folder. A clone is the same store.
///
/// It keeps PHP's sessions and those of frameworks on top of it, never our own: without such a dialect the manager is not built.
///
/// ```
/// use dewar::store::files::FilesStore;
///
/// # fn main() -> Result<(), dewar::store::StoreError> {
/// # let directory = std::env::temp_dir();
/// let store = FilesStore::open(directory)?.depth(2);
/// # let _ = store;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FilesStore {
    folder: Arc<Folder>,
    lock_limit: Duration,
}

impl FilesStore {
    /// PHP's `session.gc_maxlifetime` where nobody says anything else: 1440 seconds.
    pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(1440);

    /// The folder that is PHP's `session.save_path`. It is never made here.
    ///
    /// # Errors
    ///
    /// Where it is missing, no folder, or not ours to write.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        let folder = Folder::open(folder.as_ref())?;
        Ok(Self { folder: Arc::new(folder), lock_limit: LOCK_LIMIT })
    }

    /// PHP's depth, the `2` of a save path `"2;/var/sessions"`: files are in folders of the first characters of the id.
    #[must_use]
    pub fn depth(self, depth: usize) -> Self {
        Self { folder: Arc::new(self.folder.with(|folder| folder.depth = depth)), ..self }
    }

    /// PHP's `session.gc_maxlifetime`, in whole seconds: how long after the last change of its file a session ends. The default: the layer's idle timeout, as
    /// that is this where the layer says none. Where both say one, it is the same, or the manager is not built.
    #[must_use]
    pub fn gc_maxlifetime(self, lifetime: Duration) -> Self {
        Self { folder: Arc::new(self.folder.with(|folder| folder.lifetime = Some(lifetime))), ..self }
    }

    /// How long a write waits for the lock of a request of PHP's before it is an error: 10 seconds unless set.
    #[must_use]
    pub fn lock_limit(self, limit: Duration) -> Self {
        Self { lock_limit: limit, ..self }
    }

    /// The store at what follows `files:` in an address.
    pub(super) fn of_address(rest: &str) -> Result<Self, StoreError> {
        let (folder, settings) = rest.split_once('?').unwrap_or((rest, ""));
        let folder = folder.strip_prefix("//").unwrap_or(folder);
        if let Some((depth, folder)) = folder.split_once(';').filter(|(depth, _)| depth.parse::<u8>().is_ok()) {
            let folder = folder.rsplit(';').next().unwrap_or(folder);
            return Err(StoreError::new(format!(
                "files: PHP's depth is a setting here: write files:{folder}?depth={depth}"
            )));
        }
        if folder.is_empty() {
            return Err(StoreError::new(
                "files: names no folder: write PHP's session.save_path, as in files:/var/lib/php/sessions",
            ));
        }
        let mut store = Self::open(folder)?;
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            let parsed = setting.split_once('=').and_then(|(name, value)| Some((name, value.parse::<u32>().ok()?)));
            store = match parsed {
                Some(("depth", depth)) if depth <= 16 => store.depth(depth as usize),
                Some(("gc_maxlifetime", seconds)) if seconds > 0 => {
                    store.gc_maxlifetime(Duration::from_secs(seconds.into()))
                }
                Some(("lock_limit", seconds)) => store.lock_limit(Duration::from_secs(seconds.into())),
                _ => {
                    return Err(StoreError::new(format!(
                        "files: cannot read {setting:?}: expected depth=N, gc_maxlifetime=SECONDS or lock_limit=SECONDS"
                    )));
                }
            };
        }
        Ok(store)
    }
}

/// What it says of records of our own.
fn refused() -> StoreError {
    StoreError::new("files: keep PHP's sessions and never our own; add .dialect(...) of PHP, or use sqlite:FILE")
}

impl SessionStore for FilesStore {
    async fn load(&self, _key: &StoreKey, _now: Timestamp) -> Result<Load, StoreError> {
        Err(refused())
    }

    async fn create(
        &self,
        _key: &StoreKey,
        _version: Version,
        _record: Record,
        _cap: Option<&Cap>,
        _now: Timestamp,
    ) -> Result<Create, StoreError> {
        Err(refused())
    }

    async fn replace(
        &self,
        _key: &StoreKey,
        _at: Version,
        _version: Version,
        _record: Record,
        _now: Timestamp,
    ) -> Result<Replace, StoreError> {
        Err(refused())
    }

    async fn touch(
        &self,
        _key: &StoreKey,
        _at: Version,
        _idle_expires: Timestamp,
        _now: Timestamp,
    ) -> Result<Touch, StoreError> {
        Err(refused())
    }

    async fn delete(
        &self,
        _key: &StoreKey,
        _at: Option<Version>,
        _tombstone: Tombstone,
        _now: Timestamp,
    ) -> Result<Delete, StoreError> {
        Err(refused())
    }

    async fn rename(
        &self,
        _from: &StoreKey,
        _at: Option<Version>,
        _to: &StoreKey,
        _version: Version,
        _record: Record,
        _tombstone: Tombstone,
        _cap: Option<&Cap>,
        _now: Timestamp,
    ) -> Result<Rename, StoreError> {
        Err(refused())
    }

    fn keeps_own(&self) -> Result<(), StoreError> {
        Err(refused())
    }

    fn engine(&self, shape: Shape) -> Option<Arc<dyn Engine>> {
        match shape {
            Shape::Blob => Some(Arc::new(Files::new(Arc::clone(&self.folder), self.lock_limit))),
            Shape::Row(_) => None,
        }
    }
}

impl SessionAdmin for FilesStore {}
