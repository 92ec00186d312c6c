//! Garbage collection: what has expired, and tombstones that stand no more.

use std::{
    fs::{self, DirEntry},
    io,
    path::Path,
    sync::PoisonError,
};

use super::{
    folder::{Folder, Locked, RECORD, TOMBSTONE, failed, lock, remove},
    record::{decode, read},
};
use crate::store::{StoreError, Timestamp};

impl Folder {
    /// Removes at most so many; returns how many. What somebody has the lock of stays.
    pub(super) fn purge(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        match self.purge_within(&self.path, self.depth, limit, now) {
            // Debian's own folder has its own job, and may not be listed.
            Err(Unlisted::Denied) => self.purge_remembered(limit, now),
            Err(Unlisted::Failed(error)) => Err(error),
            Ok(count) => {
                self.left.lock().unwrap_or_else(PoisonError::into_inner).clear();
                Ok(count)
            }
        }
    }

    fn purge_within(&self, folder: &Path, depth: usize, limit: usize, now: Timestamp) -> Result<usize, Unlisted> {
        let cannot = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => Unlisted::Denied,
            _ => Unlisted::Failed(failed("list", folder, error)),
        };
        let mut count = 0;
        for entry in fs::read_dir(folder).map_err(cannot)? {
            if count >= limit {
                break;
            }
            let entry = entry.map_err(cannot)?;
            count += match depth.checked_sub(1) {
                Some(depth) if is_of_depth(&entry) => self.purge_within(&entry.path(), depth, limit - count, now)?,
                Some(_) => 0,
                None => self.purge_file(&entry.path(), now).map_err(Unlisted::Failed)?.into(),
            };
        }
        Ok(count)
    }

    fn purge_remembered(&self, limit: usize, now: Timestamp) -> Result<usize, StoreError> {
        let remembered = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        let mut count = 0;
        for tombstone in remembered {
            let is_over = count < limit && self.purge_file(&tombstone, now)?;
            count += usize::from(is_over);
            if !is_over && tombstone.exists() {
                self.remember(&tombstone);
            }
        }
        Ok(count)
    }

    /// Whether it has expired, and is gone.
    fn purge_file(&self, path: &Path, now: Timestamp) -> Result<bool, StoreError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (is_record, is_tombstone) = (name.starts_with(RECORD), name.starts_with(TOMBSTONE));
        let found = fs::symlink_metadata(path).ok().filter(|found| found.is_file());
        let Some(found) = found.filter(|_| is_record || is_tombstone) else { return Ok(false) };
        if is_record && self.expires(&found) > now {
            return Ok(false);
        }
        // What is another user's, or was replaced by something else, is left alone.
        let Ok(Locked::Ours(file)) = lock(path) else { return Ok(false) };
        let is_over = match is_record {
            true => file.metadata().is_ok_and(|found| self.expires(&found) <= now),
            // One that cannot be read keeps nobody from removing the others.
            false => read(&file, path)
                .and_then(|bytes| decode(&bytes))
                .is_ok_and(|found| found.is_none_or(|tombstone| tombstone.until <= now)),
        };
        if is_over {
            remove(path)?;
        }
        Ok(is_over)
    }
}

enum Unlisted {
    Denied,
    Failed(StoreError),
}

/// Whether it is a folder of the depth: one character of an id.
fn is_of_depth(entry: &DirEntry) -> bool {
    let is_one = entry.file_name().len() == 1;
    is_one && entry.file_type().is_ok_and(|kind| kind.is_dir())
}
