//! Adapters: a session for the web framework at hand.

#[cfg(feature = "axum")]
mod axum;
pub(crate) mod body;
pub(crate) mod tower;
