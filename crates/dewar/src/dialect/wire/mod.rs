//! How frameworks sign and compress, for dialects to share.

#[cfg(feature = "express")]
pub mod cookie_signature;
#[cfg(feature = "flask")]
pub mod inflate;
#[cfg(feature = "flask")]
pub mod itsdangerous;
#[cfg(feature = "express")]
pub mod keygrip;
#[cfg(any(feature = "flask", feature = "express"))]
mod mac;

#[cfg(any(feature = "flask", feature = "express"))]
pub use mac::Digest;
