//! Sessions for web applications: a place to keep a little information, for a while, as a person moves from page to page.
//!
//! As easy as Flask's `session`: one import, one secret, a dictionary. A handler takes a [`Session`] as an argument; the
//! `SessionLayer` opens it from the request's cookie and saves it with the response.
//!
#![cfg_attr(feature = "templates", doc = "```no_run")]
#![cfg_attr(not(feature = "templates"), doc = "```ignore")]
//! use axum::{Form, Router, response::{Html, Redirect}, routing::get};
//! use dewar::{Error, Session, SessionLayer, Templates};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "camelCase")]
//! struct Name { first_name: String }
//!
//! async fn page(templates: Templates) -> Result<Html<String>, Error> {
//!     templates.render("page.html", ()) // {% if 'firstName' in session %}Hello, {{ session['firstName'] }}{% endif %}
//! }
//! async fn answer(session: Session, Form(name): Form<Name>) -> Redirect {
//!     session.insert("firstName", name.first_name);
//!     Redirect::to("/")
//! }
//! async fn start_over(session: Session) -> Redirect {
//!     session.clear();
//!     Redirect::to("/")
//! }
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     tracing_subscriber::fmt::init(); // shows the log
//!     let app = Router::new()
//!         .route("/", get(page).post(answer))
//!         .route("/startOver", get(start_over))
//!         .layer(SessionLayer::from_env()?.templates("templates"));
//!     axum::serve(tokio::net::TcpListener::bind("127.0.0.1:5000").await?, app).await?;
//!     Ok(())
//! }
//! ```
//!
//! The secret comes from the environment variable `SECRET_KEY`; where it is missing, the error prints a line that sets a good one.
//!
//! # Where the data is
//!
//! - In the cookie, encrypted: the default. Nothing to run; when requests race the last response wins, and a copy of the
//!   cookie lives until it expires.
//! - On a [store]: the cookie holds a random id. Racing requests merge, a log-out is final, devices can be listed.
//! - As another framework keeps it: a [dialect] reads and writes its sessions, so that both can share each visitor's.
//!
//! # Where to look
//!
//! [`Session`] is what handlers use; `SessionLayer` has every setting; [`Secret`] and [`Keyring`] are about secrets and their
//! rotation; [`testing`] makes sessions for tests of applications; [`SessionManager`] is for adapters to other frameworks.
//!
//! # Features
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `axum` (default) | the extractor [`Session`], and [`Error`] as a response; implies `tower` |
//! | `tower` | `SessionLayer` |
//! | `actix` | [`web::actix`]: `SessionMiddleware`, and [`Session`] as an argument of actix-web's handlers |
//! | `templates` | pages of minijinja with the session in them |
//! | `flask`, `express` | Flask's signed cookie; cookie-session and express-session |
//! | `django` | Django's signed cookies, and its sessions in a database or a cache |
//! | `php` | PHP's sessions, in its three encodings |
//! | `sqlite`, `postgres`, `mysql`, `redis` | stores in a SQLite file, in PostgreSQL, in MySQL or MariaDB, in Redis or Valkey |
//! | `redis-tls` | `rediss:`, Redis or Valkey over TLS |
//! | `conformance` | the suites that every store and every adapter passes, for one of your own |
//! | `metrics` | counters, times and sizes through the crate `metrics`: the table is in `docs/on-call.md` |
//! | `wasm_js` | random numbers from JavaScript on `wasm32-unknown-unknown`; without it the application gives its own |
//! | `json`, `tokio`, `web` | implied where they are needed |

#![deny(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod cookie;
mod data;
pub mod dialect;
pub mod encoding;
mod error;
mod explain;
mod flash;
mod id;
mod journal;
mod key;
pub mod layout;
mod lifetime;
mod manager;
pub mod meaning;
pub mod runtime;
mod secret;
mod session;
mod state;
pub mod store;
mod telemetry;
#[cfg(feature = "templates")]
pub mod template;
pub mod testing;
pub mod value;
#[cfg(any(feature = "web", feature = "conformance"))]
pub mod web;

pub use cookie::{RequestCookies, SameSite};
pub use error::{Error, Refusal};
pub use flash::Flash;
pub use key::{Key, Name};
pub use lifetime::{Clock, Lifetime, Reissue};
pub use manager::{AtMax, Committed, Device, Ended, SessionHandle, SessionManager, SessionManagerBuilder};
pub use meaning::Login;
pub use secret::{Keyring, Secret};
pub use session::Session;
pub use telemetry::{EndReason, Event};
pub use value::Value;

#[cfg(feature = "templates")]
pub use template::Templates;
#[cfg(feature = "tower")]
pub use web::{
    body::ResponseBody,
    tower::{ResponseFuture, SessionLayer, SessionService},
};

/// The examples of the pages in `docs/`, compiled and run.
#[cfg(all(
    doctest,
    feature = "templates",
    feature = "flask",
    feature = "express",
    feature = "django",
    feature = "rails",
    feature = "iron",
    feature = "sqlite"
))]
mod docs {
    #[doc = include_str!("../../../docs/coming-from-django.md")]
    mod coming_from_django {}
    #[doc = include_str!("../../../docs/coming-from-express.md")]
    mod coming_from_express {}
    #[doc = include_str!("../../../docs/coming-from-flask.md")]
    mod coming_from_flask {}
    #[doc = include_str!("../../../docs/coming-from-flask-session.md")]
    mod coming_from_flask_session {}
    #[cfg(feature = "laravel")]
    #[doc = include_str!("../../../docs/coming-from-laravel.md")]
    mod coming_from_laravel {}
    #[doc = include_str!("../../../docs/coming-from-phoenix.md")]
    mod coming_from_phoenix {}
    #[cfg(all(feature = "php", unix))]
    #[doc = include_str!("../../../docs/coming-from-php.md")]
    mod coming_from_php {}
    #[doc = include_str!("../../../docs/coming-from-rails.md")]
    mod coming_from_rails {}
    #[doc = include_str!("../../../docs/coming-from-tower-sessions.md")]
    mod coming_from_tower_sessions {}
    #[doc = include_str!("../../../docs/concepts.md")]
    mod concepts {}
    #[doc = include_str!("../../../docs/cookie-or-store.md")]
    mod cookie_or_store {}
    #[doc = include_str!("../../../docs/on-call.md")]
    mod on_call {}
    #[doc = include_str!("../../../docs/wasm.md")]
    mod wasm {}
    #[doc = include_str!("../../../docs/which-store.md")]
    mod which_store {}
}
