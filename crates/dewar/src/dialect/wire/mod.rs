//! How frameworks sign and compress, for dialects to share.

#[cfg(feature = "express")]
pub mod cookie_signature;
#[cfg(feature = "flask")]
pub mod inflate;
#[cfg(feature = "flask")]
pub mod itsdangerous;
pub mod keygrip;
mod mac;
#[cfg(feature = "rails")]
pub mod rails;

pub use mac::Digest;
