//! A visitor with one cookie jar, as a browser has for all ports of a host.

use std::{collections::BTreeMap, time::Duration};

use ureq::{Agent, RequestBuilder, http::Response};

/// A person's browser, as far as HTTP goes: it keeps cookies and follows redirects.
#[derive(Clone)]
pub(crate) struct Visitor {
    agent: Agent,
    pub(crate) jar: BTreeMap<String, String>,
}

/// What came back, redirects followed.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// The `Set-Cookie` headers of all answers on the way, in order.
    pub(crate) set_cookie: Vec<String>,
}

impl Answer {
    /// The only `Set-Cookie` header there was.
    pub(crate) fn only_cookie(&self) -> &str {
        assert_eq!(self.set_cookie.len(), 1, "one Set-Cookie is expected, not {:?}", self.set_cookie);
        &self.set_cookie[0]
    }
}

/// An agent that gives every answer back as it is, within a time limit.
pub(crate) fn agent(limit: Duration) -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).max_redirects(0).timeout_global(Some(limit));
    config.build().into()
}

impl Visitor {
    pub(crate) fn new() -> Self {
        Self { agent: agent(Duration::from_secs(20)), jar: BTreeMap::new() }
    }

    pub(crate) fn get(&mut self, url: &str) -> Answer {
        let request = self.with_cookies(self.agent.get(url));
        self.follow(url, request.call())
    }

    /// Sends a form.
    pub(crate) fn submit(&mut self, url: &str, form: &[(&str, &str)]) -> Answer {
        let request = self.with_cookies(self.agent.post(url));
        self.follow(url, request.send_form(form.iter().copied()))
    }

    /// Sends a form and does not follow where it leads.
    pub(crate) fn submit_only(&mut self, url: &str, form: &[(&str, &str)]) {
        let request = self.with_cookies(self.agent.post(url));
        let answer = request.send_form(form.iter().copied()).unwrap_or_else(|error| panic!("{url}: {error}"));
        self.receive_all(&answer);
    }

    /// Sends a text.
    pub(crate) fn post(&mut self, url: &str, body: &str) -> Answer {
        let request = self.with_cookies(self.agent.post(url)).content_type("application/json");
        self.follow(url, request.send(body))
    }

    /// The value of the session's cookie.
    pub(crate) fn session(&self) -> &str {
        self.jar.get("session").map_or("", String::as_str)
    }

    fn with_cookies<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        if self.jar.is_empty() {
            return request;
        }
        let pairs: Vec<String> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        request.header("cookie", pairs.join("; "))
    }

    fn follow(&mut self, url: &str, answer: Result<Response<ureq::Body>, ureq::Error>) -> Answer {
        let (mut url, mut set_cookie) = (url.to_owned(), Vec::new());
        let mut answer = answer.unwrap_or_else(|error| panic!("{url}: {error}"));
        for _ in 0..5 {
            set_cookie.extend(self.receive_all(&answer));
            let Some(to) = answer.headers().get("location").filter(|_| answer.status().is_redirection()) else {
                let body = answer.body_mut().read_to_string().unwrap_or_else(|error| panic!("{url}: {error}"));
                return Answer { status: answer.status().as_u16(), body, set_cookie };
            };
            let host = url.split('/').take(3).collect::<Vec<_>>().join("/");
            url = format!("{host}{}", to.to_str().expect("a location is ASCII"));
            let request = self.with_cookies(self.agent.get(&url));
            answer = request.call().unwrap_or_else(|error| panic!("{url}: {error}"));
        }
        panic!("{url}: redirected too often");
    }

    fn receive_all(&mut self, answer: &Response<ureq::Body>) -> Vec<String> {
        let cookies = answer.headers().get_all("set-cookie").iter();
        let cookies: Vec<String> =
            cookies.map(|cookie| cookie.to_str().expect("Set-Cookie is ASCII").to_owned()).collect();
        cookies.iter().for_each(|cookie| self.receive(cookie));
        cookies
    }

    fn receive(&mut self, cookie: &str) {
        let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
        let (name, value) = pair.split_once('=').expect("a cookie has a name");
        const PAST: [&str; 2] = ["max-age=0", "expires=thu, 01 jan 1970 00:00:00 gmt"];
        if attributes.split(';').any(|attribute| PAST.contains(&&*attribute.trim().to_ascii_lowercase())) {
            self.jar.remove(name);
        } else {
            self.jar.insert(name.to_owned(), value.to_owned());
        }
    }
}
