//! A browser's jar, where a domain's cookie and a host's stand side by side.

use dewar::{Session, SessionManager};
use http::{HeaderMap, HeaderValue, header};

/// A browser on `www.example.com`: RFC 6265, sections 5.3 (a cookie is its name, its domain or host, and its path) and 5.4 (the one created first is
/// sent first, and keeps its place when it is written again).
#[derive(Clone, Debug, Default)]
pub struct Browser(pub Vec<(String, Option<String>, String)>);

impl Browser {
    pub fn headers(&self) -> HeaderMap {
        let pairs: Vec<String> = self.0.iter().map(|(name, _, value)| format!("{name}={value}")).collect();
        match pairs.is_empty() {
            true => HeaderMap::new(),
            false => HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(pairs.join("; ")).unwrap())]),
        }
    }

    pub fn takes(&mut self, cookie: &str) {
        let mut parts = cookie.split("; ");
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let domain = parts.find_map(|part| part.strip_prefix("Domain=")).map(str::to_owned);
        let place = self.0.iter().position(|(other, at, _)| other == name && *at == domain);
        match (cookie.contains("Max-Age=0"), place) {
            (true, Some(place)) => drop(self.0.remove(place)),
            (true, None) => {}
            (false, Some(place)) => self.0[place].2 = value.to_owned(),
            (false, None) => self.0.push((name.to_owned(), domain, value.to_owned())),
        }
    }

    /// One request; the `Set-Cookie` headers of its response.
    pub async fn visits(&mut self, manager: &SessionManager, handler: impl FnOnce(&Session)) -> Vec<String> {
        let session = manager.open(&self.headers()).await.unwrap();
        handler(&session);
        let mut response = HeaderMap::new();
        manager.commit(&session).await.apply(&mut response).unwrap();
        let cookies = response.get_all(header::SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap().to_owned());
        let cookies: Vec<String> = cookies.collect();
        cookies.iter().for_each(|cookie| self.takes(cookie));
        cookies
    }

    pub async fn reads(&mut self, manager: &SessionManager) -> Vec<String> {
        let mut keys = Vec::new();
        self.visits(manager, |session| keys = session.keys()).await;
        keys
    }

    /// The domains at which it has a cookie.
    pub fn domains(&self) -> Vec<Option<&str>> {
        self.0.iter().map(|(_, domain, _)| domain.as_deref()).collect()
    }
}
