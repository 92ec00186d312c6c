//! Adapters: a session for the web framework at hand.

#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "tower")]
pub(crate) mod body;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "web")]
mod setup;
#[cfg(feature = "tower")]
pub(crate) mod tower;
#[cfg(feature = "web")]
mod visit;
