//! How deep a session may nest.

/// The session itself included. Python stops near 1000, serde_json at 128.
pub(super) const DEPTH: usize = 128;
