//! The numbers of values, by which references count across all entries of a record.
//!
//! Each value has the next one: an array, then its members; keys have none. `R:3;` is the same variable as the value of number 3, and has no number of its
//! own; `r:3;` is the same object, and has one. In `php_serialize` the array around all entries is number 1; in `php` and `php_binary` the first entry is.
//!
//! So whatever is written before a reference, or before what it refers to, moves its number: [`Former`] sets it anew.

use std::{borrow::Cow, collections::HashMap, hash::Hash, ops::Range};

use super::token::{Token, expect, key, token};
use crate::{encoding::depth::DEPTH, error::Error};

/// What was counted so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// How many values have a number.
    count: usize,
    /// The references, in order.
    references: Vec<Reference>,
    /// The numbers of objects, in order.
    objects: Vec<usize>,
    /// Whether there is an object that has written itself: how many numbers are in it, PHP alone knows.
    is_uncertain: bool,
    /// Whether values may be referred to that are not here.
    is_part: bool,
}

/// A reference to another value.
#[derive(Clone, Debug)]
struct Reference {
    /// Where its digits stand.
    digits: Range<usize>,
    /// The number that they say.
    to: usize,
}

impl Numbers {
    /// Of a part of a record: what its references refer to is not looked at.
    pub(crate) fn of_a_part() -> Self {
        Self { is_part: true, ..Self::default() }
    }

    /// Of one entry's value.
    fn of_a_value(value: &[u8]) -> Option<Self> {
        let (mut numbers, mut rest) = (Self::of_a_part(), value);
        numbers.walk(&mut rest, value, DEPTH - 1)?;
        rest.is_empty().then_some(numbers)
    }

    pub(super) fn value(&mut self) {
        self.count += 1;
    }

    /// Whether there is a reference to be kept right.
    pub(crate) fn has_references(&self) -> bool {
        !self.references.is_empty()
    }

    fn object(&mut self) {
        self.value();
        self.objects.push(self.count);
    }

    /// Steps over a value, nested at most so deep. Nothing where PHP would refuse it.
    pub(super) fn walk(&mut self, rest: &mut &[u8], whole: &[u8], depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let pairs = match token(rest)? {
            Token::Null | Token::Bool(_) | Token::Integer(_) | Token::Float(_) | Token::Text(_) => {
                self.value();
                return Some(());
            }
            Token::Array(pairs) => {
                self.value();
                pairs
            }
            Token::Object(pairs) => {
                self.object();
                pairs
            }
            Token::Case => {
                self.object();
                return Some(());
            }
            Token::Custom => {
                self.object();
                self.is_uncertain = true;
                return Some(());
            }
            Token::Reference(to) => return self.reference(to, to <= self.count, rest, whole),
            Token::Same(to) => {
                self.reference(to, self.objects.binary_search(&to).is_ok(), rest, whole)?;
                self.object();
                return Some(());
            }
        };
        for _ in 0..pairs {
            key(rest)?;
            self.walk(rest, whole, depth)?;
        }
        expect(rest, b"}")
    }

    /// One that was just taken off the rest.
    fn reference(&mut self, to: usize, is_there: bool, rest: &[u8], whole: &[u8]) -> Option<()> {
        if to == 0 || !(is_there || self.is_uncertain || self.is_part) {
            return None;
        }
        let end = whole.len() - rest.len() - 1;
        let digits = whole[..end].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        self.references.push(Reference { digits: end - digits..end, to });
        Some(())
    }
}

/// The name of an entry, and its value as it is to be written.
type Renumbered<'a, N> = (N, Cow<'a, [u8]>);

/// The entries of a record as they were read, with their numbers: each under a name, or under whatever tells it from the others.
pub(crate) struct Former<'a, N> {
    entries: Vec<Entry<'a, N>>,
    /// The last entry of each name.
    places: HashMap<N, usize>,
    /// How many numbers the array around all entries has.
    around: usize,
}

struct Entry<'a, N> {
    name: N,
    value: &'a [u8],
    /// The number of its first value.
    first: usize,
    numbers: Numbers,
}

impl<'a, N: AsRef<[u8]> + Copy + Eq + Hash> Former<'a, N> {
    /// Of these entries, in their order, each as it was read.
    pub(crate) fn of(entries: impl Iterator<Item = (N, &'a [u8])>, around: usize) -> Option<Self> {
        let mut former = Self { entries: Vec::new(), places: HashMap::new(), around };
        let mut first = around + 1;
        for (name, value) in entries {
            let numbers = Numbers::of_a_value(value)?;
            let count = numbers.count;
            former.places.insert(name, former.entries.len());
            former.entries.push(Entry { name, value, first, numbers });
            first += count;
        }
        Some(former)
    }

    /// The entries as they are to be written: the same, with references that say the same.
    ///
    /// # Errors
    ///
    /// Where a reference would not: the message names its entry.
    pub(crate) fn renumbered(
        &self,
        entries: impl Iterator<Item = (N, &'a [u8])> + Clone,
    ) -> Result<Vec<Renumbered<'a, N>>, Error> {
        let is_certain = !self.entries.iter().any(|entry| entry.numbers.is_uncertain);
        if !is_certain {
            self.check_unmoved(entries.clone())?;
        }
        let mut first = self.around + 1;
        // The number that the first value of each has now.
        let mut moved = vec![None; self.entries.len()];
        let mut renumbered = Vec::with_capacity(entries.size_hint().0);
        for (name, value) in entries {
            let at = self.places.get(&name).copied().filter(|at| self.entries[*at].value == value);
            let (value, count) = match at {
                Some(at) => {
                    moved[at] = Some(first);
                    let value = if is_certain { self.renumber(at, value, &moved)? } else { Cow::Borrowed(value) };
                    (value, self.entries[at].numbers.count)
                }
                None => {
                    let numbers = Numbers::of_a_value(value).ok_or_else(|| Error::entry(name.as_ref(), "malformed"))?;
                    if !numbers.references.is_empty() {
                        return Err(Error::entry(name.as_ref(), CHANGED));
                    }
                    (Cow::Borrowed(value), numbers.count)
                }
            };
            first += count;
            renumbered.push((name, value));
        }
        Ok(renumbered)
    }

    /// The value of a former entry with its references to where their values are now.
    fn renumber(&self, at: usize, value: &'a [u8], moved: &[Option<usize>]) -> Result<Cow<'a, [u8]>, Error> {
        let entry = &self.entries[at];
        let mut renumbered = Vec::new();
        let mut copied = 0;
        for reference in &entry.numbers.references {
            let to = self.now(reference.to, moved).map_err(|other| {
                let other = String::from_utf8_lossy(other.name.as_ref());
                let why =
                    format!("a PHP reference to the entry {other:?}, which was changed, moved or removed; remove both");
                Error::entry(entry.name.as_ref(), why)
            })?;
            renumbered.extend_from_slice(&value[copied..reference.digits.start]);
            renumbered.extend_from_slice(to.to_string().as_bytes());
            copied = reference.digits.end;
        }
        if copied == 0 {
            return Ok(Cow::Borrowed(value));
        }
        renumbered.extend_from_slice(&value[copied..]);
        Ok(Cow::Owned(renumbered))
    }

    /// The number that a value now has. An error: the entry that had it, and is not the same any more.
    fn now(&self, number: usize, moved: &[Option<usize>]) -> Result<usize, &Entry<'a, N>> {
        // The array around them stays where it is. The last entry that begins there is it: before it are references, which have no number.
        match self.entries.partition_point(|entry| entry.first <= number).checked_sub(1) {
            None => Ok(number),
            Some(at) => {
                let entry = &self.entries[at];
                moved[at].map(|first| first + (number - entry.first)).ok_or(entry)
            }
        }
    }

    /// Where numbers are not certain, nothing may be different up to the last reference.
    fn check_unmoved(&self, entries: impl Iterator<Item = (N, &'a [u8])>) -> Result<(), Error> {
        let Some(last) = self.entries.iter().rposition(|entry| !entry.numbers.references.is_empty()) else {
            return Ok(());
        };
        let pairs = entries.zip(&self.entries);
        let same = pairs.take_while(|((name, value), entry)| *name == entry.name && *value == entry.value).count();
        if same > last {
            return Ok(());
        }
        Err(Error::entry(self.entries[last].name.as_ref(), UNCERTAIN))
    }
}

/// Why an entry with references is not written.
const CHANGED: &str =
    "PHP references, which count the values before them: it can be kept or removed here, not changed or moved";
/// Why none is behind an object that has written itself (`C:`).
const UNCERTAIN: &str =
    "PHP references behind an object of its own form (`C:`): no entry before it can be added, changed or removed here";
