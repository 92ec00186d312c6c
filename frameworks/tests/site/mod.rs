//! A server on a port of its own, and the visitors that come to it over HTTP.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
};

use dewar::{Secret, SessionManager, store::memory::MemoryStore};
use tokio::sync::oneshot;
use ureq::{
    Agent,
    http::{HeaderMap, StatusCode, header},
};

use crate::servers::Serve;

/// Where the sessions of a site are.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Place {
    Cookie,
    Store,
}

/// A server, which stops when it is dropped.
pub(crate) struct Site {
    pub(crate) place: Place,
    pub(crate) address: SocketAddr,
    cookie_name: String,
    /// One for all visitors, as a reverse proxy has: a connection serves now this one, now that one.
    agent: Agent,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl Site {
    pub(crate) fn start(serve: Serve, place: Place) -> Self {
        let sessions = SessionManager::builder(Secret::generate()).unwrap();
        let sessions = if place == Place::Store { sessions.store(MemoryStore::new()) } else { sessions };
        let sessions = sessions.build().unwrap();
        Self::start_with(serve, place, sessions.cookie_name().to_string(), Some(sessions))
    }

    pub(crate) fn start_without_a_layer(serve: Serve) -> Self {
        Self::start_with(serve, Place::Cookie, "none".into(), None)
    }

    fn start_with(serve: Serve, place: Place, cookie_name: String, sessions: Option<SessionManager>) -> Self {
        // Whoever connects before the server accepts waits.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = thread::spawn(move || serve(listener, sessions, stopped));
        let agent = Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
        Self { place, address, cookie_name, agent, stop: Some(stop), server: Some(server) }
    }

    pub(crate) fn visitor(&self) -> Visitor<'_> {
        Visitor { site: self, cookie: None }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        let ended = self.server.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the server panicked");
    }
}

/// A browser, as far as this matters: it keeps the site's session cookie.
pub(crate) struct Visitor<'a> {
    site: &'a Site,
    pub(crate) cookie: Option<String>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Visitor<'_> {
    /// What the page says, which has to be there.
    pub(crate) fn read(&mut self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.text
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.try_get(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// # Errors
    ///
    /// Where no response came.
    pub(crate) fn try_get(&mut self, path: &str) -> Result<Answer, ureq::Error> {
        let mut request = self.site.agent.get(format!("http://{}{path}", self.site.address));
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, format!("{}={cookie}", self.site.cookie_name));
        }
        let mut response = request.call()?;
        let text = response.body_mut().read_to_string()?;
        let answer = Answer { status: response.status(), headers: response.headers().clone(), text };
        for line in answer.set_cookies() {
            let (pair, attributes) = line.split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            assert_eq!(name, self.site.cookie_name);
            self.cookie = (!attributes.contains("Max-Age=0")).then(|| value.to_string());
        }
        Ok(answer)
    }

    /// Asks for a page, and hangs up while its handler waits.
    pub(crate) fn ask_and_leave(&self, path: &str, waits: impl Fn() -> bool) {
        let Site { address, cookie_name, .. } = self.site;
        let cookie = self.cookie.as_deref().unwrap_or_default();
        let mut connection = TcpStream::connect(address).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie_name}={cookie}\r\n\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        wait_until(waits);
    }
}

impl Answer {
    pub(crate) fn set_cookies(&self) -> Vec<&str> {
        self.headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect()
    }

    pub(crate) fn varies(&self) -> bool {
        self.headers.get_all(header::VARY).iter().any(|value| value.to_str().unwrap().to_lowercase().contains("cookie"))
    }
}

/// Waits for what happens on the server, for ten seconds at most.
pub(crate) fn wait_until(happened: impl Fn() -> bool) {
    for _ in 0..1000 {
        if happened() {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it did not happen");
}
