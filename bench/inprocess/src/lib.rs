//! Requests to an application in this process.

use axum::{
    body::{Body, HttpBody},
    http::{HeaderValue, Request, Response, header},
    routing::RouterIntoService,
};
use peers::Peer;
use tower::Service;

/// What a request does to the session.
pub const SCENARIOS: [&str; 4] = ["untouched", "read", "write", "login"];

pub struct App {
    pub peer: Peer,
    service: RouterIntoService<Body>,
    cookies: Vec<HeaderValue>,
    turn: usize,
}

impl App {
    /// An application with this many sessions, each in a cookie of its own.
    pub async fn with_sessions(peer: Peer, sessions: usize) -> Self {
        // As `axum::serve` does: without it, a router puts its layers on anew for every request.
        let service = peer.app().with_state(()).into_service();
        let mut app = Self { peer, service, cookies: Vec::new(), turn: 0 };
        for _ in 0..sessions {
            let response = app.call("/seed", None).await;
            let set_cookie = response.headers().get(header::SET_COOKIE);
            let pair = set_cookie.map_or(&b"nothing=here"[..], |cookie| {
                cookie.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default()
            });
            app.cookies.push(HeaderValue::from_bytes(pair).expect("a cookie is a header value"));
        }
        app
    }

    /// One request of the next session in turn.
    pub async fn request(&mut self, scenario: &str) -> Response<Body> {
        let (path, cookie) = match scenario {
            "untouched" => ("/untouched", true),
            "read" => ("/read", true),
            "write" => ("/write", true),
            _ => ("/login", false),
        };
        self.turn = (self.turn + 1) % self.cookies.len();
        let cookie = cookie.then(|| self.cookies[self.turn].clone());
        self.call(path, cookie).await
    }

    /// # Panics
    ///
    /// Where the application does not do what it should: a benchmark of failures would be fast.
    pub async fn check(&mut self) {
        for scenario in SCENARIOS {
            let response = self.request(scenario).await;
            let (bare, peer) = (matches!(self.peer, Peer::Bare | Peer::Nothing), self.peer);
            assert!(response.status().is_success(), "{peer}: {scenario}");
            let length = response.body().size_hint().exact();
            let expected = match scenario {
                "read" => 3,
                "write" => 2,
                _ => 5,
            };
            assert_eq!(length, Some(expected), "{peer}: {scenario}: the session was not there");
            // On a store, a session that exists keeps its cookie.
            let sets = !bare && (scenario == "login" || scenario == "write" && !peer.has_store());
            let set = response.headers().contains_key(header::SET_COOKIE);
            assert!(set == sets || peer == Peer::TowerSessions, "{peer}: {scenario}: Set-Cookie {set}");
        }
    }

    async fn call(&mut self, path: &'static str, cookie: Option<HeaderValue>) -> Response<Body> {
        let mut request = Request::get(path);
        if let (Some(cookie), Some(headers)) = (cookie, request.headers_mut()) {
            headers.insert(header::COOKIE, cookie);
        }
        let request = request.body(Body::empty()).expect("a request of constants");
        match self.service.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
