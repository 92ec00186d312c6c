//! The promises of an adapter as one call: run it against one of your own.
//!
//! An adapter's test serves the suite's [`Site`] behind the layers of its managers, on every path, and says where it listens. With axum:
//!
//! ```
//! use axum::{Router, body::Body, http::Uri, response::{IntoResponse, Response}};
//! use dewar::{Error, Session, SessionLayer, web::conformance::{self, Site}};
//!
//! fn routes(site: Site) -> Router {
//!     let layers: Vec<_> = site.managers().iter().rev().cloned().map(SessionLayer::from).collect();
//!     let page = async move |request: axum::extract::Request| -> Result<Response, Error> {
//!         let (parts, _) = request.into_parts();
//!         let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
//!         let answer = site.answer(path, Session::from_parts(&parts)).await?;
//!         let mut response = Response::builder().status(answer.status);
//!         for (name, value) in &answer.headers {
//!             response = response.header(*name, value);
//!         }
//!         let body = futures_util::stream::unfold(answer.body, async |mut body| {
//!             body.next().await.map(|chunk| (Ok::<_, std::convert::Infallible>(chunk), body))
//!         });
//!         Ok(response.body(Body::from_stream(body)).unwrap())
//!     };
//!     layers.into_iter().fold(Router::new().fallback(page), Router::layer)
//! }
//!
//! # #[tokio::main] async fn main() {
//! conformance::check(async |site| {
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
//!     let address = listener.local_addr().unwrap();
//!     let server = tokio::spawn(async move { axum::serve(listener, routes(site)).await });
//!     (address, conformance::on_drop(move || server.abort()))
//! })
//! .await;
//! # }
//! ```

mod browser;
mod cookies;
mod down;
mod requests;
mod site;
mod strangers;

use std::net::SocketAddr;

pub use site::{Answer, Body, Site};

use crate::{
    Clock, Keyring, Secret, SessionManager,
    manager::SessionManagerBuilder,
    store::{Timestamp, memory::MemoryStore},
};
use browser::Browser;

/// Checks every promise of an adapter.
///
/// `serve` serves a [`Site`] on a free port of this machine, and returns its address and what stops it when it is dropped. It is called some dozen times.
///
/// # Panics
///
/// Where a promise is broken; the line before it on standard error names it. Also outside of a tokio runtime. One page of the site panics as it
/// should, and its message is no failure.
pub async fn check<G>(serve: impl AsyncFn(Site) -> (SocketAddr, G)) {
    let serve = Serve { serve };
    for manager in [made(builder()), made(builder().store(MemoryStore::new()))] {
        let server = serve.one(manager).await;
        cookies::check(&server).await;
        requests::check(&server).await;
        strangers::check(&server).await;
    }
    cookies::check_settings(&serve).await;
    requests::check_rest(&serve).await;
}

/// Names the promise that was broken, where a panic passes it.
struct Promise(&'static str);

impl Promise {
    fn new(scenario: &'static str) -> Self {
        Self(scenario)
    }
}

impl Drop for Promise {
    #[allow(clippy::print_stderr)] // For whoever reads the test's output.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("broken promise: {}", self.0.replace('_', " "));
        }
    }
}

/// Calls this when it is dropped: to stop a server.
#[must_use = "dropped at once, it calls at once"]
pub fn on_drop(call: impl FnOnce() + Send + 'static) -> impl Send {
    OnDrop(Some(Box::new(call)))
}

struct OnDrop(Option<Box<dyn FnOnce() + Send>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

/// A site that is being served.
struct Server<G> {
    site: Site,
    address: SocketAddr,
    _stop: G,
}

impl<G> Server<G> {
    fn browser(&self) -> Browser<'_> {
        Browser::new(&self.site, self.address)
    }
}

struct Serve<F> {
    serve: F,
}

impl<F, G> Serve<F>
where
    F: AsyncFn(Site) -> (SocketAddr, G),
{
    /// Serves behind these managers, the outermost first.
    async fn behind(&self, managers: Vec<SessionManager>) -> Server<G> {
        let site = Site::new(managers);
        let (address, stop) = (self.serve)(site.clone()).await;
        Server { site, address, _stop: stop }
    }

    async fn one(&self, manager: SessionManager) -> Server<G> {
        self.behind(vec![manager]).await
    }
}

fn clock() -> Clock {
    Clock::at(Timestamp::from_secs(1_800_000_000))
}

fn secret() -> Keyring {
    Keyring::new(Secret::new("0123456789 a secret for tests").expect("a secret of 29 bytes"))
}

fn builder() -> SessionManagerBuilder {
    SessionManager::builder(secret()).expect("a keyring is a keyring").clock(clock())
}

fn made(builder: SessionManagerBuilder) -> SessionManager {
    builder.build().expect("the suite's settings fit together")
}
