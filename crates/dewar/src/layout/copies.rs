//! Copies of records in a cache of another framework's.

use std::fmt;

/// Where a framework keeps a copy of each record, to be found faster.
///
/// Nothing is read there. A copy is removed once the record has changed, and once more some seconds later: the framework may have found no copy, read the
/// record of before, and put that there after the first time.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copies {
    /// The address of the cache, as [`store::open`](crate::store::open) takes it.
    pub address: Box<str>,
    /// What stands before a record's name in the name of its copy.
    pub prefix: Box<str>,
}

impl Copies {
    /// Copies at this address, under this prefix and the record's own name.
    pub fn new(address: impl Into<Box<str>>, prefix: impl Into<Box<str>>) -> Self {
        Self { address: address.into(), prefix: prefix.into() }
    }
}

/// Never the address, which may have a password.
impl fmt::Debug for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copies").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
