//! A store that cannot be reached, and counts how often somebody tried.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::store::{
    Cap, Create, Delete, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError, StoreKey,
    Timestamp, Tombstone, Touch, Version,
};

#[derive(Clone, Default)]
pub(super) struct Down(Arc<AtomicUsize>);

impl Down {
    pub(super) fn asked(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

macro_rules! down {
    ($($method:ident($($argument:ty),*) -> $answer:ty;)*) => {$(
        #[allow(clippy::too_many_arguments)] // As the trait has it.
        async fn $method(&self, $(_: $argument),*) -> Result<$answer, StoreError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Err(StoreError::new("it is down"))
        }
    )*};
}

impl SessionStore for Down {
    down! {
        load(&StoreKey, Timestamp) -> Load;
        create(&StoreKey, Version, Record, Option<&Cap>, Timestamp) -> Create;
        replace(&StoreKey, Version, Version, Record, Timestamp) -> Replace;
        touch(&StoreKey, Version, Timestamp, Timestamp) -> Touch;
        delete(&StoreKey, Option<Version>, Tombstone, Timestamp) -> Delete;
        rename(&StoreKey, Option<Version>, &StoreKey, Version, Record, Tombstone, Option<&Cap>, Timestamp) -> Rename;
    }
}

impl SessionAdmin for Down {
    down! {
        count(Timestamp) -> u64;
        list(Option<&str>, Option<&StoreKey>, usize, Timestamp) -> Vec<(StoreKey, Record, Version)>;
        epoch(Option<&str>) -> u64;
        revoke(&str, Revoke, Tombstone, Timestamp) -> u64;
        revoke_everyone(Tombstone, Timestamp) -> u64;
        purge(usize, Timestamp) -> usize;
    }
}
