//! Adapters: a session for the web framework at hand.

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "tower")]
pub(crate) mod body;
mod setup;
#[cfg(feature = "tower")]
pub(crate) mod tower;
mod visit;
