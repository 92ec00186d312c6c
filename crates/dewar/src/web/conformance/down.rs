//! A store that cannot be reached.

use crate::store::{
    Create, Delete, Load, Record, Rename, Replace, Revoke, SessionAdmin, SessionStore, StoreError, StoreKey, Timestamp,
    Tombstone, Touch, Version,
};

pub(super) struct Down;

macro_rules! down {
    ($($method:ident($($argument:ty),*) -> $answer:ty;)*) => {$(
        #[allow(clippy::too_many_arguments)] // As the trait has it.
        async fn $method(&self, $(_: $argument),*) -> Result<$answer, StoreError> {
            Err(StoreError::new("it is down"))
        }
    )*};
}

impl SessionStore for Down {
    down! {
        load(&StoreKey, Timestamp) -> Load;
        create(&StoreKey, Version, Record, Timestamp) -> Create;
        replace(&StoreKey, Version, Version, Record, Timestamp) -> Replace;
        touch(&StoreKey, Version, Timestamp, Timestamp) -> Touch;
        delete(&StoreKey, Option<Version>, Tombstone, Timestamp) -> Delete;
        rename(&StoreKey, Option<Version>, &StoreKey, Version, Record, Tombstone, Timestamp) -> Rename;
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
