//! A key, as tables and the index of principals know it.

pub(super) type Digest = [u8; 32];

/// A key is a digest already: any of its bits are a good hash. The first ones choose the shard.
pub(super) fn hash(key: &Digest) -> u64 {
    u64::from_le_bytes([key[8], key[9], key[10], key[11], key[12], key[13], key[14], key[15]])
}
