//! A browser and an application in one process.

use std::future::Future;

use dewar::{Clock, Keyring, Secret, SessionLayer};
use http::{Request, Response, header};

/// An application that answers requests.
pub trait Application {
    fn send(&self, request: Request<String>) -> impl Future<Output = Response<String>>;
}

/// A browser's part in a scenario: one jar of cookies.
pub struct Browser<'a, A> {
    application: &'a A,
    pub cookie: Option<String>,
}

impl<'a, A: Application> Browser<'a, A> {
    pub fn new(application: &'a A) -> Self {
        Self { application, cookie: None }
    }

    pub async fn get(&mut self, path: &str) -> Response<String> {
        let mut request = Request::get(path);
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let response = self.application.send(request.body(String::new()).unwrap()).await;
        for set in response.headers().get_all(header::SET_COOKIE) {
            let text = set.to_str().unwrap();
            let pair = text.split(';').next().unwrap().to_owned();
            self.cookie = if text.contains("Max-Age=0") { None } else { Some(pair) };
        }
        response
    }

    pub async fn sees(&mut self, path: &str) -> String {
        self.get(path).await.into_body()
    }
}

pub fn clock() -> Clock {
    Clock::at(dewar::store::Timestamp::from_secs(1_800_000_000))
}

pub fn layer() -> SessionLayer {
    SessionLayer::new(secret()).unwrap().clock(clock())
}

pub fn secret() -> Keyring {
    Keyring::new(Secret::new("0123456789 a secret for tests").unwrap())
}
