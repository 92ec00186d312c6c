//! Sessions for web applications: a place to keep a little information, for a while, as a person moves from one page to the next.
//!
//! As easy as Flask's `session`: one import, one secret, a dictionary.
#![cfg_attr(feature = "templates", doc = include_str!("front.md"))]
#![deny(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod cookie;
mod data;
pub mod dialect;
mod error;
mod flash;
mod id;
mod journal;
mod key;
mod lifetime;
mod manager;
mod secret;
mod session;
pub mod store;
mod telemetry;
#[cfg(feature = "templates")]
pub mod template;
pub mod testing;
pub mod value;
#[cfg(feature = "tower")]
mod web;

pub use cookie::SameSite;
pub use error::{Error, Refusal};
pub use flash::Flash;
pub use key::{Key, Name};
pub use lifetime::{Clock, Lifetime, Reissue};
pub use manager::SessionManager;
pub use secret::{Keyring, Secret};
pub use session::Session;
pub use value::Value;

#[cfg(feature = "templates")]
pub use template::Templates;
#[cfg(feature = "tower")]
pub use web::tower::{ResponseFuture, SessionLayer, SessionService};

/// The examples of the pages in `docs/`, compiled and run.
#[cfg(all(doctest, feature = "templates", feature = "flask"))]
mod docs {
    #[doc = include_str!("../../../docs/coming-from-flask.md")]
    mod coming_from_flask {}
    #[doc = include_str!("../../../docs/coming-from-tower-sessions.md")]
    mod coming_from_tower_sessions {}
    #[doc = include_str!("../../../docs/cookie-or-store.md")]
    mod cookie_or_store {}
}
