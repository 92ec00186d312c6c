//! Cookies: found in `Cookie` headers by their exact name, and written as `Set-Cookie` (RFC 6265).

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, HeaderValue,
    header::{self, Entry},
};

use crate::{
    error::{Error, Refusal},
    lifetime::Timestamp,
    value::DateTime,
};

/// The most bytes of name and value that browsers keep: RFC 6265bis, section 5.6.
pub(crate) const LIMIT: usize = 4096;

/// The most cookies of one name that are looked at.
const CANDIDATES: usize = 4;

/// When another site's page may send the cookie along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Never, not even when the visitor follows a link here.
    Strict,
    /// When the visitor follows a link here. The default of ours.
    Lax,
    /// Always; browsers want `Secure` with it.
    None,
}

/// The name of a cookie and what it says to the browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The cookie's name.
    pub name: String,
    /// `Path`.
    pub path: String,
    /// `Domain`; `None`: this host alone.
    pub domain: Option<String>,
    /// `Secure`: over HTTPS only.
    pub secure: bool,
    /// `HttpOnly`: not for scripts.
    pub http_only: bool,
    /// `SameSite`; `None`: not said.
    pub same_site: Option<SameSite>,
    /// `Partitioned` (CHIPS).
    pub partitioned: bool,
}

impl Attributes {
    /// A cookie of this name for the whole host, not for scripts.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            path: "/".into(),
            domain: None,
            secure: false,
            http_only: true,
            same_site: None,
            partitioned: false,
        }
    }

    /// Whether the browser itself guards the name: RFC 6265bis, section 4.1.3.
    pub(crate) fn is_host_prefixed(&self) -> bool {
        starts_with_ignoring_case(&self.name, "__Host-")
    }

    /// Whether a browser keeps both in one place (RFC 6265, section 5.3; a partitioned one is in another).
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let host =
            |cookie: &Self| cookie.domain.as_deref().map(|domain| domain.trim_start_matches('.').to_ascii_lowercase());
        (&self.name, &self.path, self.partitioned) == (&other.name, &other.path, other.partitioned)
            && host(self) == host(other)
    }

    /// # Errors
    ///
    /// Where a browser would throw the cookie away.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let name = &self.name;
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Error::setting(format!(
                "cookie_name: {name:?} is no cookie name; use letters, digits, - and _"
            )));
        }
        for (setting, value) in [("path", Some(&self.path)), ("domain", self.domain.as_ref())] {
            if let Some(value) =
                value.filter(|value| value.bytes().any(|byte| byte == b';' || !(b' '..=b'~').contains(&byte)))
            {
                return Err(Error::setting(format!("{setting}: {value:?} cannot stand in a Set-Cookie header")));
            }
        }
        if let Some(domain) = self.domain.as_deref().filter(|domain| !is_domain(domain)) {
            return Err(Error::setting(format!(
                "domain: {domain:?} is no name of a host; write it without scheme, port and path, for example domain(\"example.org\")"
            )));
        }
        if !self.path.starts_with('/') {
            return Err(Error::setting(format!(
                "path: {:?} must begin with a slash, for example path(\"/admin\")",
                self.path
            )));
        }
        if self.is_host_prefixed() && (self.domain.is_some() || self.path != "/" || !self.secure) {
            return Err(Error::setting(format!(
                "cookie_name: browsers refuse {name:?} with a domain, with a path other than / or without Secure; \
                 name the cookie without __Host-, for example cookie_name(\"session\")"
            )));
        }
        let is_http_prefixed = ["__Http-", "__Host-Http-"].iter().any(|it| starts_with_ignoring_case(name, it));
        if (is_http_prefixed || starts_with_ignoring_case(name, "__Secure-")) && !self.secure {
            return Err(Error::setting(format!(
                "cookie_name: browsers refuse {name:?} without Secure; name the cookie without its prefix, for example cookie_name(\"session\")"
            )));
        }
        if is_http_prefixed && !self.http_only {
            return Err(Error::setting(format!(
                "cookie_name: browsers refuse {name:?} where scripts may read it; \
                 leave out dangerously_allow_scripts() or name the cookie without Http-"
            )));
        }
        if self.same_site == Some(SameSite::None) && !self.secure {
            return Err(Error::setting("same_site: browsers refuse SameSite=None without Secure; use SameSite::Lax"));
        }
        if self.partitioned && !self.secure {
            return Err(Error::setting("partitioned: browsers refuse Partitioned without Secure; leave it out"));
        }
        Ok(())
    }
}

/// Names of hosts, RFC 1123, section 2.1; a dot before them is of old, and means nothing (RFC 6265, section 5.2.3).
fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        let is_in_it = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_in_it) && !label.starts_with('-') && !label.ends_with('-')
    };
    domain.strip_prefix('.').unwrap_or(domain).split('.').all(is_label)
}

fn starts_with_ignoring_case(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The `Cookie` headers of a request, in their order: of an [`http::HeaderMap`], or as bytes where an HTTP library has other types.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dewar::Error> {
/// # let manager = dewar::SessionManager::new(dewar::Secret::generate())?;
/// let values: [&[u8]; 1] = [b"theme=dark; __Host-Http-session=of somebody else"];
/// assert!(manager.open(&values[..]).await?.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RequestCookies<'a>(Source<'a>);

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Headers(&'a HeaderMap),
    Values(&'a [&'a [u8]]),
}

impl<'a> From<&'a HeaderMap> for RequestCookies<'a> {
    fn from(headers: &'a HeaderMap) -> Self {
        Self(Source::Headers(headers))
    }
}

impl<'a> From<&'a [&'a [u8]]> for RequestCookies<'a> {
    fn from(values: &'a [&'a [u8]]) -> Self {
        Self(Source::Values(values))
    }
}

/// The values of the cookies of one exact name, in the order of the request; at most four.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Candidates<'a> {
    values: [&'a [u8]; CANDIDATES],
    count: usize,
}

impl<'a> Candidates<'a> {
    /// Looks a name up, byte for byte: names are not decoded, so `%73ession` is another name.
    pub(crate) fn find(request: RequestCookies<'a>, name: &str) -> Self {
        Self::find_both(request, name, "")
    }

    /// The same, of a name in two parts.
    fn find_both(request: RequestCookies<'a>, name: &str, suffix: &str) -> Self {
        let mut found = Self::default();
        match request.0 {
            Source::Headers(headers) => {
                let headers = headers.get_all(header::COOKIE).iter();
                headers.for_each(|header| found.look_in(header.as_bytes(), name, suffix));
            }
            Source::Values(values) => values.iter().for_each(|header| found.look_in(header, name, suffix)),
        }
        found
    }

    fn look_in(&mut self, header: &'a [u8], name: &str, suffix: &str) {
        let mut start = 0;
        for end in memchr::memchr_iter(b';', header).chain([header.len()]) {
            let pair = &header[start..end];
            start = end + 1;
            let Some(value) = pair.trim_ascii_start().strip_prefix(name.as_bytes()) else { continue };
            let Some(value) = value.strip_prefix(suffix.as_bytes()) else { continue };
            let Some(value) = value.strip_prefix(b"=") else { continue };
            if self.count == CANDIDATES {
                return;
            }
            self.values[self.count] = value.trim_ascii_end();
            self.count += 1;
        }
    }

    pub(crate) fn as_slice(&self) -> &[&'a [u8]] {
        &self.values[..self.count]
    }
}

/// Which of several cookies of the same name counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// None, if they are different authentic sessions (or the name begins with `__Host-`, which a browser sends once).
    Refused,
    /// The first in the header.
    First,
    /// The last in the header.
    Last,
}

/// The cookies of a request that belong to one session, for a dialect to look up: the one of its name, and those with a suffix behind it.
#[derive(Clone, Copy, Debug)]
pub struct Jar<'a> {
    name: &'a str,
    cookies: Cookies<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Cookies<'a> {
    Request {
        request: RequestCookies<'a>,
        /// Of several cookies of the name, the one that counts.
        chosen: &'a [u8],
        /// Which one counts where there are several of a suffix.
        duplicates: Duplicates,
    },
    Given(&'a [(&'a str, &'a str)]),
}

impl<'a> Jar<'a> {
    /// Cookies by hand, of any length: the name, and for each suffix its value.
    ///
    /// ```
    /// use dewar::dialect::Jar;
    ///
    /// let jar = Jar::of("session", &[("", "eyJ9"), (".sig", "abc")]);
    /// assert_eq!(jar.get(".sig"), Ok(Some("abc")));
    /// assert_eq!(jar.get(".0"), Ok(None));
    /// ```
    pub fn of(name: &'a str, values: &'a [(&'a str, &'a str)]) -> Self {
        Self { name, cookies: Cookies::Given(values) }
    }

    pub(crate) fn chosen(name: &'a str, chosen: &'a [u8], request: RequestCookies<'a>, duplicates: Duplicates) -> Self {
        Self { name, cookies: Cookies::Request { request, chosen, duplicates } }
    }

    /// The name of the cookie, without a suffix.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The value of the cookie without a suffix.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); malformed where there is none.
    pub fn value(&self) -> Result<&'a str, Refusal> {
        self.get("")?.ok_or(Refusal::Malformed)
    }

    /// The value of the cookie with this suffix; `None`: the request has none.
    ///
    /// # Errors
    ///
    /// Where it is longer than any that a browser keeps, or not UTF-8; where there are several, and the dialect takes none of them.
    pub fn get(&self, suffix: &str) -> Result<Option<&'a str>, Refusal> {
        let value = match self.cookies {
            Cookies::Given(values) => {
                return Ok(values.iter().find(|(other, _)| *other == suffix).map(|(_, value)| *value));
            }
            Cookies::Request { chosen, .. } if suffix.is_empty() => Some(chosen),
            Cookies::Request { request, duplicates, .. } => {
                let found = Candidates::find_both(request, self.name, suffix);
                match (duplicates, &found.values[..found.count]) {
                    (Duplicates::Refused, [_, _, ..]) => return Err(Refusal::Ambiguous),
                    (Duplicates::Last, [.., value]) | (_, [value, ..]) => Some(*value),
                    (_, []) => None,
                }
            }
        };
        match value {
            Some(value) if value.len() > LIMIT => Err(Refusal::Oversize),
            Some(value) => std::str::from_utf8(value).map(Some).map_err(|_| Refusal::Malformed),
            None => Ok(None),
        }
    }
}

/// One attribute of a `Set-Cookie` header, so that a dialect can state its framework's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// `Domain`
    Domain,
    /// `Expires`
    Expires,
    /// `Max-Age`
    MaxAge,
    /// `Path`
    Path,
    /// `Secure`
    Secure,
    /// `HttpOnly`
    HttpOnly,
    /// `SameSite`
    SameSite,
    /// `Partitioned`
    Partitioned,
}

/// How a framework spells a `Set-Cookie` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// The attributes in the framework's order. One that is missing here is never written.
    pub order: &'static [Attribute],
    /// The attributes whose names are in lower case, and with `SameSite` its value, too.
    pub lower_case: &'static [Attribute],
    /// How a persistent cookie says when it ends; the order must have the attribute.
    pub persistent: Ending,
    /// How a removal says that it is over.
    pub removal: Ending,
}

/// Which attributes say when a cookie ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// `Expires` alone.
    Expires,
    /// `Max-Age` alone.
    MaxAge,
    /// Both.
    Both,
}

impl Ending {
    fn has(self, attribute: Attribute) -> bool {
        self == Self::Both
            || (self == Self::Expires && attribute == Attribute::Expires)
            || (self == Self::MaxAge && attribute == Attribute::MaxAge)
    }
}

impl Spelling {
    /// Ours.
    pub const OWN: Self = {
        use Attribute::{Domain, Expires, HttpOnly, MaxAge, Partitioned, Path, SameSite, Secure};
        Self {
            order: &[Path, Domain, MaxAge, Expires, Secure, HttpOnly, SameSite, Partitioned],
            lower_case: &[],
            persistent: Ending::MaxAge,
            removal: Ending::Both,
        }
    };
}

/// When the cookie that is written ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The browser closes.
    BrowserCloses,
    /// This much from now.
    From { now: Timestamp, after: Duration },
    /// At once: the cookie is removed.
    Now,
}

/// Writes one `Set-Cookie` header.
///
/// # Errors
///
/// Where the value cannot stand in a header, which no dialect's does.
pub(crate) fn write(
    attributes: &Attributes,
    spelling: &Spelling,
    name: &str,
    value: &str,
    until: Until,
) -> Result<HeaderValue, Error> {
    let said = spelling.order.iter().filter_map(|attribute| {
        let (name, value) = say(*attribute, attributes, spelling, until)?;
        Some((name, value, spelling.lower_case.contains(attribute)))
    });
    let mut parts: [(&str, Cow<'_, str>, bool); 8] = Default::default();
    let count = said.zip(&mut parts).map(|(part, place)| *place = part).count();
    let parts = &parts[..count];

    // Of exactly this length, so that the header takes it over without a copy.
    let length = |(name, value, _): &(&str, Cow<'_, str>, bool)| {
        2 + name.len() + if value.is_empty() { 0 } else { 1 + value.len() }
    };
    let mut text = String::with_capacity(name.len() + 1 + value.len() + parts.iter().map(length).sum::<usize>());
    text.push_str(name);
    text.push('=');
    text.push_str(value);
    for (name, value, lower_case) in parts {
        text.push_str("; ");
        if *lower_case {
            text.extend(name.chars().map(|letter| letter.to_ascii_lowercase()));
        } else {
            text.push_str(name);
        }
        if !value.is_empty() {
            text.push('=');
            text.push_str(value);
        }
    }
    HeaderValue::try_from(text).map_err(|_| Error::setting("the session cookie cannot stand in a header"))
}

/// What the header says of one attribute, if anything; an empty value stands for none.
fn say<'a>(
    attribute: Attribute,
    cookie: &'a Attributes,
    spelling: &Spelling,
    until: Until,
) -> Option<(&'static str, Cow<'a, str>)> {
    let flag = |name, set: bool| set.then_some((name, Cow::Borrowed("")));
    match attribute {
        Attribute::Path => Some(("Path", cookie.path.as_str().into())),
        Attribute::Domain => cookie.domain.as_deref().map(|domain| ("Domain", domain.into())),
        Attribute::Secure => flag("Secure", cookie.secure),
        Attribute::HttpOnly => flag("HttpOnly", cookie.http_only),
        Attribute::Partitioned => flag("Partitioned", cookie.partitioned),
        Attribute::SameSite => {
            let value = match (cookie.same_site?, spelling.lower_case.contains(&attribute)) {
                (SameSite::Strict, false) => "Strict",
                (SameSite::Lax, false) => "Lax",
                (SameSite::None, false) => "None",
                (SameSite::Strict, true) => "strict",
                (SameSite::Lax, true) => "lax",
                (SameSite::None, true) => "none",
            };
            Some(("SameSite", value.into()))
        }
        Attribute::Expires => match until {
            Until::From { now, after } if spelling.persistent.has(attribute) => {
                Some(("Expires", date(now.after(after)).into()))
            }
            Until::Now if spelling.removal.has(attribute) => Some(("Expires", date(Timestamp::default()).into())),
            _ => None,
        },
        Attribute::MaxAge => match until {
            Until::From { after, .. } if spelling.persistent.has(attribute) => {
                Some(("Max-Age", after.as_secs().to_string().into()))
            }
            Until::Now if spelling.removal.has(attribute) => Some(("Max-Age", "0".into())),
            _ => None,
        },
    }
}

fn date(moment: Timestamp) -> String {
    DateTime::from(SystemTime::from(moment)).to_http()
}

/// Adds `Vary: Cookie` unless it is said already.
pub(crate) fn vary(headers: &mut HeaderMap) {
    let ours = HeaderValue::from_static("Cookie");
    match headers.entry(header::VARY) {
        Entry::Vacant(silent) => drop(silent.insert(ours)),
        Entry::Occupied(mut said) => {
            if !said.iter().any(|value| lists(value, &["*", "cookie"])) {
                said.append(ours);
            }
        }
    }
}

/// Keeps shared caches away: from a response that sets the cookie always, from one that read it unless the handler decided.
pub(crate) fn cache_control(headers: &mut HeaderMap, sets_cookie: bool) {
    match headers.entry(header::CACHE_CONTROL) {
        Entry::Vacant(silent) => {
            let ours = if sets_cookie { "no-store" } else { "private" };
            silent.insert(HeaderValue::from_static(ours));
        }
        Entry::Occupied(mut said) => {
            if sets_cookie && !said.iter().any(|value| lists(value, &["private", "no-store"])) {
                said.insert(HeaderValue::from_static("no-store"));
            }
        }
    }
}

/// Whether a comma-separated list has one of these words.
fn lists(value: &HeaderValue, words: &[&str]) -> bool {
    let mut listed = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    listed.any(|item| words.iter().any(|word| item.eq_ignore_ascii_case(word.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&'static str]) -> HeaderMap {
        cookies.iter().map(|cookie| (header::COOKIE, HeaderValue::from_static(cookie))).collect()
    }

    fn found(cookies: &[&'static str], name: &str) -> Vec<String> {
        let headers = headers(cookies);
        let values = Candidates::find((&headers).into(), name);
        values.as_slice().iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    #[test]
    fn a_cookie_is_found_by_its_exact_name_over_several_headers() {
        assert_eq!(found(&["a=1; session=x", "session=y;session=\"z\" "], "session"), ["x", "y", "\"z\""]);
        assert!(found(&["xsession=1; Session=2; %73ession=3; session2=4; session"], "session").is_empty());
    }

    #[test]
    fn no_more_than_four_cookies_of_a_name_are_looked_at() {
        assert_eq!(found(&["s=1; s=2; s=3; s=4; s=5"], "s"), ["1", "2", "3", "4"]);
    }

    #[test]
    fn the_removal_cookie_repeats_every_attribute() {
        let attributes =
            Attributes { secure: true, same_site: Some(SameSite::Lax), ..Attributes::new("__Host-session") };
        let header = write(&attributes, &Spelling::OWN, &attributes.name, "", Until::Now).unwrap();
        assert_eq!(
            header,
            "__Host-session=; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn what_a_browser_would_throw_away_is_refused_by_name() {
        let bad = [
            Attributes { domain: Some("h.example".into()), secure: true, ..Attributes::new("__Host-session") },
            Attributes { same_site: Some(SameSite::None), ..Attributes::new("session") },
            Attributes::new("a b"),
            Attributes { path: "/;x".into(), ..Attributes::new("session") },
            Attributes { path: "app".into(), ..Attributes::new("session") },
            Attributes::new("__Secure-session"),
            Attributes::new("__Http-session"),
            Attributes { secure: true, http_only: false, ..Attributes::new("__Http-session") },
            Attributes { secure: true, http_only: false, ..Attributes::new("__Host-Http-session") },
        ];
        for attributes in bad {
            assert!(attributes.check().unwrap_err().is_setting(), "{attributes:?}");
        }
    }

    #[test]
    fn vary_and_cache_control_are_merged_with_what_the_handler_said() {
        let mut said = HeaderMap::new();
        said.insert(header::VARY, HeaderValue::from_static("Accept, cookie"));
        said.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        vary(&mut said);
        cache_control(&mut said, false);
        assert_eq!(said[header::VARY], "Accept, cookie");
        assert_eq!(said[header::CACHE_CONTROL], "max-age=60");
        cache_control(&mut said, true);
        assert_eq!(said[header::CACHE_CONTROL], "no-store");
    }
}
