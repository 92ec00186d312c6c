//! One entry of a session, as the places where its name and value stand.

use bytes::Bytes;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// One entry of a session: its decoded name (UTF-8, or WTF-8 where it holds a lone surrogate) and its value, still encoded.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: Piece,
    pub(crate) value: Piece,
}

impl Member {
    /// Whether it was not taken out.
    #[inline]
    pub(crate) fn is_there(&self) -> bool {
        !matches!(self.value, Piece::Removed)
    }
}

/// Bytes that stand in the whole session as it was read, or on their own.
///
/// Places instead of shared slices: a session is cut for every request, and counting references would cost more than cutting.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Within {
        start: u32,
        end: u32,
    },
    Own(Arc<[u8]>),
    /// What is appended to, again and again.
    Growing(Arc<Vec<u8>>),
    /// The value of an entry that was taken out of many.
    Removed,
}

impl Piece {
    /// `None` beyond 4 GiB.
    #[inline]
    pub(crate) fn within(range: Range<usize>) -> Option<Self> {
        let end = u32::try_from(range.end).ok()?;
        Some(Self::Within { start: range.start as u32, end })
    }

    #[inline]
    pub(crate) fn of<'a>(&'a self, whole: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Within { start, end } => &whole[*start as usize..*end as usize],
            Self::Own(bytes) => bytes,
            Self::Growing(bytes) => bytes,
            Self::Removed => &[],
        }
    }

    /// The bytes, to be appended to. What is not shared is not copied.
    pub(crate) fn grow(&mut self, whole: &[u8]) -> &mut Vec<u8> {
        if !matches!(self, Self::Growing(_)) {
            *self = Self::Growing(Arc::new(self.of(whole).to_vec()));
        }
        let Self::Growing(bytes) = self else { unreachable!("it was made one") };
        Arc::make_mut(bytes)
    }
}

/// An entry's encoded value, to be decoded where no lock is held.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    whole: Bytes,
    piece: Piece,
}

impl Encoded {
    pub(crate) fn new(whole: &Bytes, piece: &Piece) -> Self {
        let whole = if let Piece::Within { .. } = piece { whole.clone() } else { Bytes::new() };
        Self { whole, piece: piece.clone() }
    }
}

impl Deref for Encoded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.piece.of(&self.whole)
    }
}

impl From<Encoded> for Bytes {
    fn from(encoded: Encoded) -> Self {
        match encoded.piece {
            Piece::Within { start, end } => encoded.whole.slice(start as usize..end as usize),
            own => Bytes::copy_from_slice(own.of(&[])),
        }
    }
}

/// Of members with one name the last one counts, at the place of the first.
pub(crate) fn last_wins(members: &mut Vec<Member>, whole: &[u8]) {
    if all_differ(members, whole) {
        return;
    }
    let mut places: HashMap<&[u8], usize> = HashMap::with_capacity(members.len());
    let mut kept: Vec<Member> = Vec::with_capacity(members.len());
    for member in members.iter() {
        match places.entry(member.name.of(whole)) {
            Entry::Occupied(place) => kept[*place.get()].value = member.value.clone(),
            Entry::Vacant(place) => {
                place.insert(kept.len());
                kept.push(member.clone());
            }
        }
    }
    *members = kept;
}

/// Whether no two names are equal. Of very many it may say no where they are not.
fn all_differ(members: &[Member], whole: &[u8]) -> bool {
    // Sorted formats show it at once.
    if members.is_sorted_by(|a, b| a.name.of(whole) < b.name.of(whole)) {
        return true;
    }
    // Names that leave different marks differ; only those of one mark are compared.
    let mut marks = 0u64;
    members.len() <= 64
        && members.iter().enumerate().all(|(at, member)| {
            let name = member.name.of(whole);
            let bit = 1 << (mark(name) % 64);
            let is_new = marks & bit == 0;
            marks |= bit;
            is_new || members[..at].iter().all(|former| former.name.of(whole) != name)
        })
}

fn mark(name: &[u8]) -> usize {
    let [first, .., last] = name else { return name.len() };
    name.len() + usize::from(*first) * 3 + usize::from(*last) * 5
}
