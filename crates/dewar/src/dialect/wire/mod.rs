//! How frameworks sign and compress, for dialects to share.

#[cfg(feature = "express")]
pub mod cookie_signature;
#[cfg(feature = "django")]
pub(crate) mod django;
#[cfg(any(feature = "flask", feature = "django"))]
pub mod inflate;
#[cfg(any(feature = "flask", feature = "django"))]
pub mod itsdangerous;
pub mod keygrip;
#[cfg(feature = "laravel")]
pub mod laravel;
mod mac;
#[cfg(feature = "rails")]
pub mod rails;

pub use mac::Digest;
