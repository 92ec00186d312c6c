//! A session's entries in their order, each still encoded, and what is known about the visit.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use hashbrown::HashTable;

use crate::{
    encoding::{Encoded, Encoding, Member, Piece},
    lifetime::Timestamp,
};

/// The entries of a session, in order, each still as its dialect wrote it.
///
/// An entry is decoded when it is asked for, and one that nobody touches keeps its bytes.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// What was parsed. The entries that were there are places in it.
    whole: Bytes,
    members: Vec<Member>,
    /// How many of them were taken out, and are still in their place: only where there are many.
    removed: usize,
    /// Where the entries are, once there are so many that a search is too slow.
    index: OnceLock<Box<Index>>,
    /// Bit `i`: entry `i` was read. Beyond 64 entries nothing is noted, which costs a warning, no data.
    read: u64,
}

impl Data {
    /// Splits an encoded dictionary into its entries. `None` where any part of it is malformed; of MessagePack the structure is checked, and what is
    /// in a text when it is read.
    ///
    /// Of entries with one name the last one counts, at the place of the first.
    pub fn parse(encoding: Encoding, text: &Bytes) -> Option<Self> {
        Some(Self { members: encoding.members(text)?, whole: text.clone(), ..Self::default() })
    }

    /// Entries that were cut out of a whole that is no dictionary.
    #[cfg(feature = "php")]
    pub(crate) fn of(whole: &Bytes, members: Vec<Member>) -> Self {
        Self { members, whole: whole.clone(), ..Self::default() }
    }

    /// Writes the dictionary; entries that were not touched keep their bytes.
    pub fn write(&self, encoding: Encoding, out: &mut Vec<u8>) {
        encoding.join(self.iter(), out);
    }

    /// The encoded value of an entry.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.position(name).map(|at| self.members[at].value.of(&self.whole))
    }

    /// The same, to be decoded where no lock is held.
    pub(crate) fn encoded(&self, name: &[u8]) -> Option<Encoded> {
        self.position(name).map(|at| self.encoded_at(at))
    }

    /// As [`Data::encoded`], and notes that the entry was read.
    pub(crate) fn read(&mut self, name: &[u8]) -> Option<Encoded> {
        let at = self.position(name)?;
        self.read |= bit(at);
        Some(self.encoded_at(at))
    }

    /// The value that was here, if it was ever [read](Data::read).
    pub(crate) fn seen(&self, name: &[u8]) -> Option<Encoded> {
        let at = self.position(name)?;
        (self.read & bit(at) != 0).then(|| self.encoded_at(at))
    }

    /// Sets an entry: in its place where it exists, else at the end.
    pub fn insert(&mut self, name: &[u8], value: impl Into<Arc<[u8]>>) {
        let value = Piece::Own(value.into());
        match self.position(name) {
            Some(at) => self.members[at].value = value,
            None => {
                if let Some(index) = self.index.get_mut() {
                    index.add(name, self.members.len());
                }
                self.members.push(Member { name: Piece::Own(name.into()), value });
            }
        }
    }

    /// The encoded value of an entry, to be appended to.
    pub(crate) fn grow(&mut self, name: &[u8]) -> Option<&mut Vec<u8>> {
        let at = self.position(name)?;
        Some(self.members[at].value.grow(&self.whole))
    }

    /// Takes an entry out and returns its encoded value; the others keep their order.
    pub fn remove(&mut self, name: &[u8]) -> Option<Bytes> {
        let at = self.position(name)?;
        let removed = self.encoded_at(at);
        if self.members.len() < INDEXED_FROM {
            self.members.remove(at);
            let below = bit(at).wrapping_sub(1);
            self.read = (self.read & below) | ((self.read >> 1) & !below);
        } else {
            self.index.get_mut().into_iter().for_each(|index| index.remove(name, at));
            self.members[at].value = Piece::Removed;
            self.removed += 1;
            if self.removed * 2 > self.members.len() {
                self.close_the_gaps();
            }
        }
        Some(removed.into())
    }

    fn close_the_gaps(&mut self) {
        let places = (0..self.members.len()).filter(|at| self.members[*at].is_there());
        self.read =
            places.enumerate().filter(|(_, at)| self.read & bit(*at) != 0).fold(0, |read, (to, _)| read | bit(to));
        self.members.retain(Member::is_there);
        self.removed = 0;
        self.index = OnceLock::new();
    }

    /// Takes every entry out.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The entries in order: name (UTF-8, or WTF-8 in another framework's session), encoded value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let there = self.members.iter().filter(|member| member.is_there());
        there.map(|member| (member.name.of(&self.whole), member.value.of(&self.whole)))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.members.len() - self.removed
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        let is_it = |at: usize| self.members[at].name.of(&self.whole) == name;
        if self.members.len() < INDEXED_FROM {
            return (0..self.members.len()).find(|at| is_it(*at));
        }
        let index = self.index.get_or_init(|| {
            let mut index = Box::<Index>::default();
            let there = self.members.iter().enumerate().filter(|(_, member)| member.is_there());
            there.for_each(|(at, member)| index.add(member.name.of(&self.whole), at));
            index
        });
        index.find(name, is_it)
    }

    fn encoded_at(&self, at: usize) -> Encoded {
        Encoded::new(&self.whole, &self.members[at].value)
    }
}

/// So many entries are searched faster by name than one by one.
const INDEXED_FROM: usize = 64;

/// The places of entries, by their names: a visitor may choose those, so the hash is keyed.
#[derive(Clone, Debug, Default)]
struct Index {
    hash: RandomState,
    places: HashTable<(u64, usize)>,
}

impl Index {
    fn find(&self, name: &[u8], is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let hash = self.hash.hash_one(name);
        self.places.find(hash, |(other, at)| *other == hash && is_it(*at)).map(|(_, at)| *at)
    }

    fn add(&mut self, name: &[u8], at: usize) {
        let hash = self.hash.hash_one(name);
        self.places.insert_unique(hash, (hash, at), |(hash, _)| *hash);
    }

    fn remove(&mut self, name: &[u8], at: usize) {
        let hash = self.hash.hash_one(name);
        if let Ok(place) = self.places.find_entry(hash, |(_, place)| *place == at) {
            place.remove();
        }
    }
}

fn bit(at: usize) -> u64 {
    u32::try_from(at).ok().and_then(|at| 1u64.checked_shl(at)).unwrap_or(0)
}

/// Everything that one session is: its entries, and what is known about the visit.
///
/// This is what a dialect that keeps data in the cookie reads and writes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Contents {
    /// The entries.
    pub data: Data,
    /// When the visit began. A dialect that does not know says when the session was issued.
    pub created: Timestamp,
    /// When the session was last issued, touched or written.
    pub issued: Timestamp,
    /// The idle timeout in seconds.
    pub idle: u32,
    /// The absolute timeout in seconds, counted from `created`.
    pub absolute: Option<u32>,
    /// Whether the cookie outlives the browser.
    pub persistent: bool,
    /// The user whom the session belongs to, once known.
    pub principal: Option<Box<str>>,
    /// What the application calls this session in a list of devices.
    pub label: Option<Box<str>>,
    /// What another framework keeps beside the entries (express-session's `cookie`), untouched.
    pub extra: Bytes,
    /// Whether that is worth keeping without an entry.
    pub(crate) stays: bool,
    /// The entry that is not worth keeping alone.
    pub(crate) alone: Option<&'static str>,
    /// Names the session of a principal across renewals; zero without one.
    pub(crate) lineage: u64,
    /// The epoch of its principal that it began in; `None`: it begins now.
    pub(crate) epoch: Option<u64>,
    /// Until when a cookie that it was moved from could come back.
    pub(crate) guarded_until: Option<Timestamp>,
}

impl Contents {
    /// Notes the epoch that a principal's session begins in, where it had none.
    pub(crate) fn begin_in(&mut self, epoch: Option<u64>) {
        if self.principal.is_some() {
            self.epoch = self.epoch.or(epoch);
        }
    }

    /// A new session without entries, beginning now.
    pub fn new(now: Timestamp, idle: u32, absolute: Option<u32>, persistent: bool) -> Self {
        Self {
            data: Data::default(),
            created: now,
            issued: now,
            idle,
            absolute,
            persistent,
            principal: None,
            label: None,
            extra: Bytes::new(),
            stays: false,
            alone: None,
            lineage: 0,
            epoch: None,
            guarded_until: None,
        }
    }

    /// Nothing that would have to be kept: no entry, nobody's, and nothing of another framework's that is kept for its own sake.
    pub fn is_empty(&self) -> bool {
        self.has_nothing() && self.principal.is_none() && !self.stays
    }

    /// No entry that counts.
    pub(crate) fn has_nothing(&self) -> bool {
        match (self.data.len(), self.alone) {
            (0, _) => true,
            (1, Some(alone)) => self.data.get(alone.as_bytes()).is_some(),
            _ => false,
        }
    }

    /// The moment from which the session counts as absent, were it not opened any more.
    pub fn expires(&self) -> Timestamp {
        self.expires_if_issued(self.issued)
    }

    /// The same, were it issued at this moment.
    pub(crate) fn expires_if_issued(&self, issued: Timestamp) -> Timestamp {
        let idle = issued.after(std::time::Duration::from_secs(u64::from(self.idle)));
        self.absolute_expires().map_or(idle, |absolute| absolute.min(idle))
    }

    pub(crate) fn idle_expires(&self) -> Timestamp {
        self.issued.after(std::time::Duration::from_secs(u64::from(self.idle)))
    }

    pub(crate) fn absolute_expires(&self) -> Option<Timestamp> {
        let absolute = self.absolute?;
        Some(self.created.after(std::time::Duration::from_secs(u64::from(absolute))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of few names, so that many are there, and of so many that the index comes and goes.
    fn operations() -> impl Strategy<Value = Vec<(bool, u8, u8)>> {
        prop::collection::vec((prop::bool::weighted(0.5), 0..150u8, 0..100u8), 0..600)
    }

    fn name(number: u8) -> Vec<u8> {
        format!("name {number}").into_bytes()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn entries_are_an_ordered_map_however_many_are_put_in_and_taken_out(
            parsed in 0..150u8,
            operations in operations(),
        ) {
            let mut model: Vec<(Vec<u8>, Vec<u8>)> = (0..parsed).map(|number| (name(number), vec![number % 100])).collect();
            let mut text = Vec::new();
            Encoding::MessagePack.join(model.iter().map(|(name, value)| (&name[..], &value[..])), &mut text);
            let mut data = Data::parse(Encoding::MessagePack, &text.into()).unwrap();
            for (inserts, number, value) in operations {
                let name = name(number);
                let place = model.iter().position(|(other, _)| *other == name);
                if inserts {
                    data.insert(&name, [value]);
                    match place {
                        Some(at) => model[at].1 = vec![value],
                        None => model.push((name.clone(), vec![value])),
                    }
                } else {
                    let removed = place.map(|at| Bytes::from(model.remove(at).1));
                    prop_assert_eq!(data.remove(&name), removed);
                }
                let expected = model.iter().find(|(other, _)| *other == name).map(|(_, value)| &value[..]);
                prop_assert_eq!(data.get(&name), expected);
                prop_assert_eq!(data.len(), model.len());
            }
            let entries: Vec<_> = data.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            prop_assert_eq!(entries, model);
        }
    }
}
