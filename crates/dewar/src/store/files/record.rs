//! What each verb does to a file and to the tombstone beside it. All of it waits for the disk, and never for a lock.

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::unix::fs::FileExt,
    path::Path,
    time::SystemTime,
};

use super::folder::{Folder, Locked, Place, failed, lock, make, open, open_or_make, remove, shown, stands_at};
use crate::{
    layout::Stored,
    store::{Applied, Found, Guard, StoreError, Timestamp, Tombstone, Version, Write, tombstone},
};

/// The most bytes of a record. PHP has no bound of its own but its memory.
const MOST: u64 = 16 << 20;

/// What a verb came to. `None`: somebody else has the lock, and nothing was done.
pub(super) type Done = Option<Applied>;

/// What stands in a place, with the lock of its file.
enum Stands {
    Record(File, Vec<u8>),
    /// Nothing, or something that has expired.
    Nothing(Option<File>),
    Ended(Tombstone),
    Locked,
}

/// What one look at a record found.
pub(super) enum Look {
    Settled(Found),
    /// Somebody has the lock and may be writing: what stands there now, and the state of its file.
    Unsettled(Found, (SystemTime, u64)),
}

impl Folder {
    /// Reads without waiting for anybody.
    pub(super) fn look(&self, place: &Place, now: Timestamp) -> Result<Look, StoreError> {
        let Some(file) = open(&place.record)? else {
            self.check()?;
            return Ok(Look::Settled(standing(place, now)?.map_or(Found::Missing, Found::Gone)));
        };
        // Unlocked when it is closed.
        let is_ours = file.try_lock_shared().is_ok();
        let cannot = |error| failed("read", &place.record, error);
        let data = read(&file, &place.record)?;
        let metadata = file.metadata().map_err(cannot)?;
        let state = (metadata.modified().map_err(cannot)?, metadata.len());
        // After the record: what ends a session leaves its tombstone first.
        if let Some(tombstone) = standing(place, now)? {
            remove(&place.record)?;
            return Ok(Look::Settled(Found::Gone(tombstone)));
        }
        let expires = self.expires(&metadata);
        let version = Version::digest(&data);
        let found = match expires > now {
            true => Found::Record { data: Stored::Blob(data.into()), version, expires },
            false => Found::Missing,
        };
        Ok(if is_ours { Look::Settled(found) } else { Look::Unsettled(found, state) })
    }

    pub(super) fn apply(&self, place: &Place, guard: Guard, write: &Write, now: Timestamp) -> Result<Done, StoreError> {
        match (self.stands(place, now)?, guard, write) {
            (Stands::Locked, ..) => Ok(None),
            (Stands::Ended(tombstone), ..) => Ok(Some(Applied::Gone(Some(tombstone)))),
            (Stands::Nothing(file), Guard::Absent, Write::Record { data, expires, .. }) => {
                self.create(place, file, data.body(), *expires, now)
            }
            (Stands::Nothing(_), ..) => Ok(Some(Applied::Gone(None))),
            (Stands::Record(..), Guard::Absent, _) => Ok(Some(Applied::Conflict)),
            (Stands::Record(_, was), ..) if !is(guard, &was) => Ok(Some(Applied::Conflict)),
            (Stands::Record(file, was), _, write) => {
                self.write(&file, &was, write).map_err(|error| failed("write", &place.record, error))?;
                // Whoever collects garbage without the lock may have removed it in between.
                Ok(stands_at(&file, &place.record)?.then_some(Applied::Done))
            }
        }
    }

    pub(super) fn end(
        &self,
        place: &Place,
        guard: Guard,
        tombstone: &Tombstone,
        now: Timestamp,
    ) -> Result<Done, StoreError> {
        match self.stands(place, now)? {
            Stands::Locked => Ok(None),
            Stands::Ended(_) => self.leave(place, tombstone, now).map(|stood| Some(Applied::Gone(stood))),
            Stands::Record(_, was) if !is(guard, &was) => Ok(Some(Applied::Conflict)),
            Stands::Record(file, _) => {
                let stood = self.leave_beside(&file, place, tombstone, now)?;
                remove_emptied(&file, &place.record)?;
                Ok(Some(stood.map_or(Applied::Done, |stood| Applied::Gone(Some(stood)))))
            }
            Stands::Nothing(expired) => {
                if !matches!(guard, Guard::Any) {
                    return Ok(Some(Applied::Gone(None)));
                }
                let stood = self.leave(place, tombstone, now)?;
                if expired.is_some() {
                    remove(&place.record)?;
                }
                // A record that was made in between is met again, and then is beside a tombstone.
                let is_there = expired.is_none() && open(&place.record)?.is_some();
                Ok((!is_there).then_some(Applied::Gone(stood)))
            }
        }
    }

    /// The new file, the tombstone, the old file, in this order and under the old one's lock: who is killed between leaves one session that somebody
    /// has the id of.
    pub(super) fn rename(
        &self,
        (from, to): (&Place, &Place),
        guard: Guard,
        (data, expires): (&[u8], Timestamp),
        tombstone: &Tombstone,
        now: Timestamp,
    ) -> Result<Done, StoreError> {
        match self.stands(from, now)? {
            Stands::Locked => Ok(None),
            Stands::Ended(tombstone) => Ok(Some(Applied::Gone(Some(tombstone)))),
            Stands::Nothing(_) => Ok(Some(Applied::Gone(None))),
            Stands::Record(_, was) if !is(guard, &was) => Ok(Some(Applied::Conflict)),
            Stands::Record(old, _) => {
                let taken = || StoreError::new("files: the new id is not new");
                if standing(to, now)?.is_some() {
                    return Err(taken());
                }
                let new = make(&to.record)?.ok_or_else(taken)?;
                let written = self.fill(&new, data, expires).and_then(|()| new.sync_all());
                let left = written
                    .map_err(|error| failed("write", &to.record, error))
                    .and_then(|()| self.leave_beside(&old, from, tombstone, now).map(drop));
                if let Err(error) = left {
                    // Not the tombstone: it may be half there.
                    let _ = remove(&to.record);
                    return Err(error);
                }
                remove(&from.record)?;
                Ok(Some(Applied::Done))
            }
        }
    }

    /// What stands in a place, under its lock. A record beside a tombstone is a late write of PHP's, and goes.
    fn stands(&self, place: &Place, now: Timestamp) -> Result<Stands, StoreError> {
        let file = match lock(&place.record)? {
            Locked::Theirs => return Ok(Stands::Locked),
            Locked::Missing => {
                self.check()?;
                None
            }
            Locked::Ours(file) => Some(file),
        };
        if let Some(tombstone) = standing(place, now)? {
            if let Some(late) = file {
                remove_emptied(&late, &place.record)?;
            }
            return Ok(Stands::Ended(tombstone));
        }
        let Some(file) = file else { return Ok(Stands::Nothing(None)) };
        let metadata = file.metadata().map_err(|error| failed("read", &place.record, error))?;
        if self.expires(&metadata) <= now {
            return Ok(Stands::Nothing(Some(file)));
        }
        let data = read(&file, &place.record)?;
        Ok(Stands::Record(file, data))
    }

    /// A new record, or one in the place of an expired one whose lock is ours.
    fn create(
        &self,
        place: &Place,
        expired: Option<File>,
        data: &[u8],
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<Done, StoreError> {
        let is_new = expired.is_none();
        let file = match expired {
            Some(file) => file,
            None => {
                // Who was faster is met again; so is a request of PHP's that has found the empty file.
                let Some(file) = make(&place.record)? else { return Ok(None) };
                if file.try_lock().is_err() || !stands_at(&file, &place.record)? {
                    return Ok(None);
                }
                file
            }
        };
        // Either whoever ends a session where there is none sees the file, or its tombstone is seen here.
        if let Some(tombstone) = standing(place, now)? {
            remove(&place.record)?;
            return Ok(Some(Applied::Gone(Some(tombstone))));
        }
        self.fill(&file, data, expires).map_err(|error| {
            if is_new {
                let _ = remove(&place.record);
            }
            failed("write", &place.record, error)
        })?;
        Ok(Some(Applied::Done))
    }

    fn write(&self, file: &File, was: &[u8], write: &Write) -> io::Result<()> {
        match write {
            Write::Touch(expires) => self.set_expiry(file, *expires),
            Write::Record { data, expires, .. } => {
                // On a full disk the room of what was there is still there.
                self.fill(file, data.body(), *expires)
                    .inspect_err(|_| drop(file.write_all_at(was, 0).and_then(|()| file.set_len(was.len() as u64))))
            }
        }
    }

    fn fill(&self, file: &File, data: &[u8], expires: Timestamp) -> io::Result<()> {
        let longer = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(MOST as usize);
        if longer > data.len() {
            // In one step, so that nobody reads the end of what was there before as entries: zeros are none.
            let mut padded = data.to_vec();
            padded.resize(longer, 0);
            file.write_all_at(&padded, 0)?;
        } else {
            file.write_all_at(data, 0)?;
        }
        file.set_len(data.len() as u64)?;
        self.set_expiry(file, expires)
    }

    /// The same beside a record, which stands no longer than the tombstone from then on: where it is not removed any more, since somebody was killed or
    /// the power failed, it does not come back.
    fn leave_beside(
        &self,
        record: &File,
        place: &Place,
        tombstone: &Tombstone,
        now: Timestamp,
    ) -> Result<Option<Tombstone>, StoreError> {
        let cannot = |error| failed("end", &place.record, error);
        let before = record.metadata().map_err(cannot)?;
        if self.expires(&before) > tombstone.until {
            self.set_expiry(record, tombstone.until).map_err(cannot)?;
        }
        self.leave(place, tombstone, now).inspect_err(|_| {
            let _ = before.modified().and_then(|modified| record.set_modified(modified));
        })
    }

    /// Leaves a tombstone that is on the disk when this returns. Where one stands, it stays, for as long as the later of both, and is the answer.
    fn leave(&self, place: &Place, tombstone: &Tombstone, now: Timestamp) -> Result<Option<Tombstone>, StoreError> {
        let cannot = |error| failed("end", &place.tombstone, error);
        loop {
            let file = open_or_make(&place.tombstone)?;
            // Only this library takes it, for a moment.
            file.lock().map_err(cannot)?;
            if !stands_at(&file, &place.tombstone)? {
                continue;
            }
            let stood = decode(&read(&file, &place.tombstone)?)?.filter(|stood| stood.until > now);
            let left = match &stood {
                Some(stood) if stood.until >= tombstone.until => return Ok(Some(stood.clone())),
                Some(stood) => Tombstone { until: tombstone.until, ..stood.clone() },
                None => tombstone.clone(),
            };
            let bytes = tombstone::encode(&left);
            file.write_all_at(&bytes, 0).and_then(|()| file.set_len(bytes.len() as u64)).map_err(cannot)?;
            file.sync_all().map_err(cannot)?;
            self.remember(&place.tombstone);
            return Ok(stood.map(|_| left));
        }
    }
}

/// Removes a record whose lock is ours. A request of PHP's that waits for the lock has the file open, and finds nothing in it.
fn remove_emptied(record: &File, path: &Path) -> Result<(), StoreError> {
    record.set_len(0).map_err(|error| failed("end", path, error))?;
    remove(path)
}

/// Whether these bytes are what the guard asks for.
fn is(guard: Guard, data: &[u8]) -> bool {
    guard.version().is_none_or(|version| version == Version::digest(data))
}

/// The tombstone of a session that has ended, as long as it stands.
fn standing(place: &Place, now: Timestamp) -> Result<Option<Tombstone>, StoreError> {
    let Some(file) = open(&place.tombstone)? else { return Ok(None) };
    Ok(decode(&read(&file, &place.tombstone)?)?.filter(|tombstone| tombstone.until > now))
}

/// `None` also for one that was cut: whoever wrote it was killed before the record was removed, and nobody was told that the session had ended.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<Tombstone>, StoreError> {
    const SHORTEST: usize = 27;
    match tombstone::decode(bytes) {
        None if bytes.len() >= SHORTEST => {
            Err(StoreError::new("files: a tombstone of a later release, or of somebody else"))
        }
        tombstone => Ok(tombstone),
    }
}

/// All of the file, from its beginning.
pub(super) fn read(mut file: &File, path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut data = Vec::new();
    let read = file.rewind().and_then(|()| file.take(MOST + 1).read_to_end(&mut data));
    read.map_err(|error| failed("read", path, error))?;
    match data.len() as u64 > MOST {
        true => Err(StoreError::new(format!("files: {} has more than 16 MiB; it is left alone", shown(path)))),
        false => Ok(data),
    }
}
