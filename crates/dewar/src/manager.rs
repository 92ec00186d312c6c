//! [`SessionManager`]: opens a session from a request's cookies and commits it to a response.
//!
//! The only place that decides. It knows no web framework, and never asks which dialect it has:
//! what differs is data in the dialect's [`Profile`](crate::dialect::Profile), or the business of its meaning and its layout.

use std::{
    borrow::Cow,
    fmt,
    future::{Future, poll_fn},
    num::NonZeroU32,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, header};

use crate::{
    cookie::{self, Attributes, Candidates, RequestCookies, Until},
    data::Contents,
    dialect::{
        Body, Dialect, Duplicates, Jar, Lasts, Limits, Refusal, Report, Sealed, SessionId, SetValue, Steps, Token,
    },
    error::{Error, Kind},
    layout::Layout,
    lifetime::{Clock, Reissue, Timestamp},
    runtime::Runtime,
    session::{Owner, Rules, Session},
    state::{Origin, Phase, State},
    store::{ErasedStore, Load, Tombstone},
    telemetry::{self, Event, Listeners, Opened, Watch},
};

mod admin;
mod beside;
pub(crate) mod builder;
mod commit;
mod devices;
mod draw;
mod duplicates;
mod edit;
mod ended;
mod execute;
mod happened;
mod job;
mod merge;
mod plan;
mod queue;
pub(crate) mod settings;
pub(crate) mod sources;
mod stored;
mod surely;
mod underway;

pub use builder::SessionManagerBuilder;
pub use devices::Device;
use devices::PAGE;
use draw::Draw;
use duplicates::FormerDomain;
pub use edit::SessionHandle;
pub use ended::Ended;
use ended::Watched;
use queue::Queues;
pub use settings::AtMax;
use settings::Identity;
#[cfg(feature = "web")]
use settings::Settings;
use sources::Source;
use underway::Underway;

/// Opens a session from a request's cookies and commits it to a response's headers.
///
/// `SessionLayer` does this for applications on tower; an adapter for anything else
/// needs these two calls and nothing more.
///
/// ```
/// use dewar::{Keyring, Secret, SessionManager};
/// use http::{HeaderMap, HeaderValue, header};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dewar::Error> {
/// let manager = SessionManager::new(Keyring::new(Secret::generate()))?;
///
/// let request = HeaderMap::new();
/// let session = manager.open(&request).await?;
/// session.insert("firstName", "Ada");
///
/// let mut response = HeaderMap::new();
/// manager.commit(&session).await.apply(&mut response)?;
/// assert!(response[header::SET_COOKIE].to_str().unwrap().starts_with("__Host-Http-session="));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SessionManager {
    inner: Arc<Inner>,
}

struct Inner {
    dialect: Box<dyn Dialect>,
    /// The store as it is asked: where the dialect has a layout, that layout over its engine.
    store: Option<Arc<dyn ErasedStore>>,
    layout: Option<Arc<dyn Layout>>,
    /// The store as it was given.
    given: Option<Arc<dyn ErasedStore>>,
    /// Reads a session that was in the cookie before there was a store.
    former: Option<Sealed>,
    rules: Rules,
    cookie: Attributes,
    former_domain: Option<FormerDomain>,
    reissue: Reissue,
    skew: Duration,
    clock: Clock,
    /// How many sessions a user may have.
    cap: Option<(NonZeroU32, AtMax)>,
    queues: Queues,
    draw: Draw,
    /// Tells this manager's secrets and dialect from another's.
    identity: Identity,
    /// `None`: without a store nothing waits.
    runtime: Option<Arc<dyn Runtime>>,
    /// Whether what has expired is removed by a task of the runtime's, or does not have to be.
    is_purged: AtomicBool,
    underway: Underway,
    watched: Watched,
    /// Where sessions come from that it did not write.
    sources: Vec<Source>,
    listeners: Listeners,
    /// What it was made of.
    #[cfg(feature = "web")]
    settings: Arc<Settings>,
}

/// What a commit comes to: known at once, or after a store has answered, which was asked.
pub(crate) enum Commit {
    Known(Result<(), Error>),
    Waits(Running),
}

type Running = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

impl Commit {
    async fn done(self) -> Result<(), Error> {
        match self {
            Self::Known(result) => result,
            Self::Waits(running) => running.await,
        }
    }
}

/// A session that is being opened. It does nothing until it is polled, and stays small: futures are moved about.
struct Opening<'a> {
    inner: &'a Arc<Inner>,
    request: RequestCookies<'a>,
    waits: Option<Waiting<'a>>,
    /// Where somebody listens, and it has to wait.
    watch: Option<Box<Watch>>,
}

/// A session that was opened, and what the request's cookies led to.
type Attempt = Result<(Session, Opened), Error>;

type Waiting<'a> = Pin<Box<dyn Future<Output = Attempt> + Send + 'a>>;

impl SessionManager {
    /// Opens the session of a request. No cookie, or one that is refused, opens an empty one.
    ///
    /// # Errors
    ///
    /// Only where the store failed.
    pub fn open<'a, C>(&'a self, request: C) -> impl Future<Output = Result<Session, Error>> + Send + use<'a, C>
    where
        C: Into<RequestCookies<'a>>,
    {
        Opening { inner: &self.inner, request: request.into(), waits: None, watch: None }
    }

    /// Saves the session, if anything changed, and says what the response needs: its cookie, and what caches have to know. After it the session is
    /// closed.
    ///
    /// Call it when the response's head is known and before it is sent.
    ///
    /// Dropping the future changes nothing: what has begun is finished.
    pub async fn commit(&self, session: &Session) -> Committed {
        let begun = poll_fn(|context| Poll::Ready(self.begin(session, context))).await;
        let done = begun.done().await;
        self.finish(session, done)
    }

    /// Closes the session of a request that will have no response: a client that hung up, a time-out, a panic. What survives the request (a task, a
    /// clone) saves nothing more, and is told so.
    ///
    /// An adapter calls it when a request is dropped before its commit; after the commit it changes nothing.
    pub fn abandon(&self, session: &Session) {
        session.close();
    }

    /// What it was made of, for adapters that are given a manager.
    #[cfg(feature = "web")]
    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.inner.settings
    }

    #[cfg(feature = "conformance")]
    pub(crate) fn has_store(&self) -> bool {
        self.inner.store.is_some()
    }

    /// Why a request's cookie opens the session that it opens, or none: what it consists of, which secret fits, and the verdict. One report for each cookie
    /// of the name; a store is not asked.
    ///
    /// ```
    /// # fn main() -> Result<(), dewar::Error> {
    /// # let manager = dewar::SessionManager::new(dewar::Secret::generate())?;
    /// let values: [&[u8]; 1] = [b"__Host-Http-session=AQIDBA"];
    /// for report in manager.explain(&values[..]) {
    ///     println!("{report}"); // ... Sealed: malformed
    /// }
    /// # Ok(()) }
    /// ```
    pub fn explain<'a>(&self, request: impl Into<RequestCookies<'a>>) -> Vec<Report> {
        let (inner, request) = (&*self.inner, request.into());
        let (limits, duplicates) = (inner.limits(inner.clock.now()), inner.dialect.profile().duplicates);
        let found = Candidates::find(request, &inner.cookie.name);
        let jars = found.as_slice().iter().map(|chosen| Jar::chosen(&inner.cookie.name, chosen, request, duplicates));
        jars.map(|jar| Report::of(&*inner.dialect, &jar, &limits)).collect()
    }

    /// The name of the session's cookie.
    pub fn cookie_name(&self) -> &str {
        &self.inner.cookie.name
    }

    /// Whether both keep a session the same way, so that a layer within another one may use its session.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let (one, two) = (&*self.inner, &*other.inner);
        let same_store = match (&one.given, &two.given) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            _ => false,
        };
        std::ptr::eq(one, two)
            || same_store
                && one.identity == two.identity
                && one.sources == two.sources
                && one.listeners == two.listeners
                && one.cookie == two.cookie
                && one.former_domain == two.former_domain
                && one.rules == two.rules
                && one.reissue == two.reissue
                && one.skew == two.skew
    }

    /// The first half of a commit, which may have to wait for the store. Closes the session.
    pub(crate) fn begin(&self, session: &Session, context: &mut Context<'_>) -> Commit {
        self.inner.begin(session, true, context)
    }

    /// The second half of a commit: what a response needs, also one that says that it failed.
    pub(crate) fn finish(&self, session: &Session, result: Result<(), Error>) -> Committed {
        // Whoever holds it still may read it into the body.
        let is_held = session.is_held();
        let mut state = session.lock();
        state.phase = Phase::Closed;
        let result = state.committed(result);
        let done = std::mem::take(&mut state.operations);
        let cookies = std::mem::take(&mut state.due);
        let own = cookies.len();
        let cookies = self.inner.with_removals(cookies, &state);
        let varies = state.accessed || is_held || !cookies.is_empty();
        drop(state);
        drop(done);
        telemetry::cookies_set(&cookies[..own]);
        if let Err(error) = &result {
            telemetry::failed(error);
        }
        Committed { result, cookies, own, varies }
    }

    /// The `Set-Cookie` values of what has been committed so far.
    pub(crate) fn due(&self, session: &Session) -> Vec<HeaderValue> {
        let state = session.lock();
        self.inner.with_removals(state.due.clone(), &state)
    }
}

/// What a commit came to, and what the response says of the session.
#[derive(Debug)]
#[must_use = "the response needs these headers: `apply` them"]
pub struct Committed {
    result: Result<(), Error>,
    cookies: Vec<HeaderValue>,
    /// How many of them are the session's own. The others are removed beside it.
    own: usize,
    varies: bool,
}

impl Committed {
    /// What a response says of a session that was asked for and could not be opened: it depends on the cookie all the same, and no shared cache may
    /// keep it.
    pub fn unreached() -> Self {
        Self { result: Ok(()), cookies: Vec::new(), own: 0, varies: true }
    }

    /// Puts the headers into a response: `Set-Cookie`, `Vary: Cookie`, and `Cache-Control` where the handler said nothing that is as strict.
    ///
    /// # Errors
    ///
    /// Where the store failed, the session does not fit its cookie, or an entry could not be written. Send
    /// the error in place of the response then, with these headers: what was not committed before is not saved.
    pub fn apply(self, response: &mut HeaderMap) -> Result<(), Error> {
        if self.varies {
            cookie::vary(response);
            cookie::cache_control(response, !self.cookies.is_empty());
        }
        let of_handler: Vec<HeaderValue> = match self.cookies.len() > self.own {
            true => response.get_all(header::SET_COOKIE).iter().cloned().collect(),
            false => Vec::new(),
        };
        for (at, cookie) in self.cookies.into_iter().enumerate() {
            // What the handler sets is newer than what goes with the session that ended: who logs in as another may be remembered.
            if at < self.own || !of_handler.iter().any(|set| name_of(set) == name_of(&cookie)) {
                response.append(header::SET_COOKIE, cookie);
            }
        }
        self.result
    }

    /// Whether it was saved.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn result(&self) -> Result<(), &Error> {
        self.result.as_ref().copied()
    }

    /// The values of the `Set-Cookie` headers, for HTTP libraries with types of their own. A response that has one is `Cache-Control: no-store`.
    pub fn cookies(&self) -> impl Iterator<Item = &[u8]> {
        self.cookies.iter().map(HeaderValue::as_bytes)
    }

    /// Whether the response depends on the cookie: it is `Vary: Cookie` then, and no shared cache may keep it.
    pub fn varies(&self) -> bool {
        self.varies
    }
}

/// The name in a `Set-Cookie`.
fn name_of(cookie: &HeaderValue) -> &[u8] {
    let end = cookie.as_bytes().iter().position(|byte| *byte == b'=');
    cookie.as_bytes()[..end.unwrap_or(0)].trim_ascii()
}

impl Future for Opening<'_> {
    type Output = Result<Session, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { inner, request, waits, watch } = &mut *self;
        let (attempt, watch) = match waits {
            Some(waits) => {
                let entered = watch.as_mut().map(|watch| watch.enter());
                let polled = waits.as_mut().poll(context);
                drop(entered);
                (ready!(polled), watch.take().map(|watch| *watch))
            }
            None => {
                let mut first = Watch::opening(inner.dialect.profile().name);
                let entered = first.enter();
                let opened = inner.open_now(*request, context);
                drop(entered);
                match opened {
                    Ok(attempt) => (attempt, Some(first)),
                    Err(waiting) => {
                        *waits = Some(waiting);
                        *watch = first.is_heard().then(|| Box::new(first));
                        return self.poll(context);
                    }
                }
            }
        };
        let outcome = telemetry::opened(attempt.as_ref().map_or(Opened::Failed, |(_, outcome)| *outcome));
        watch.inspect(|watch| watch.say(outcome));
        let request = *request;
        Poll::Ready(attempt.map(|(session, _)| session).inspect(|session| inner.note_what_is_beside(request, session)))
    }
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager").field("cookie", &self.inner.cookie.name).finish_non_exhaustive()
    }
}

impl Owner for Inner {
    fn rules(&self) -> &Rules {
        &self.rules
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn lineage(&self, principal: &str) -> u64 {
        self.draw.nonce(self.clock.now(), principal).max(1)
    }

    fn ended(self: Arc<Self>, session: &Session) -> Ended {
        self.end_of(session)
    }

    fn settle(self: Arc<Self>, session: Session) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
        Box::pin(async move {
            let begun = poll_fn(|context| Poll::Ready(self.begin(&session, false, context))).await;
            let done = begun.done().await;
            session.lock().committed(done)
        })
    }
}

impl Inner {
    fn with_removals(&self, mut cookies: Vec<HeaderValue>, state: &State) -> Vec<HeaderValue> {
        if let Some(brought) = &state.brought {
            cookies.extend(self.removals_beside(brought, !cookies.is_empty()));
        }
        cookies
    }

    fn empty(&self, now: Timestamp) -> Contents {
        self.rules.empty(now)
    }

    fn limits(&self, now: Timestamp) -> Limits {
        let Rules { idle, absolute, persistent, .. } = self.rules;
        Limits { now, idle, absolute, persistent, skew: self.skew }
    }

    /// What the request's cookies hold; `None` where there is no cookie of this name.
    fn read(&self, request: RequestCookies<'_>, now: Timestamp) -> Result<Option<Token>, Refusal> {
        let found = Candidates::find(request, &self.cookie.name);
        let candidates = found.as_slice();
        let (Some(oldest), Some(newest)) = (candidates.first(), candidates.last()) else { return Ok(None) };
        let chosen = match self.dialect.profile().duplicates {
            _ if candidates.len() == 1 => oldest,
            Duplicates::First => oldest,
            Duplicates::Last => newest,
            Duplicates::Refused => return Err(Refusal::Ambiguous),
        };
        self.read_one(chosen, request, now).map(Some)
    }

    fn read_one(&self, chosen: &[u8], request: RequestCookies<'_>, now: Timestamp) -> Result<Token, Refusal> {
        let limits = self.limits(now);
        let jar = Jar::chosen(&self.cookie.name, chosen, request, self.dialect.profile().duplicates);
        match (self.dialect.read(&jar, &limits, &mut Steps::off()), &self.former) {
            (Err(Refusal::Malformed), Some(former)) => former.read(&jar, &limits, &mut Steps::off()),
            (token, _) => token,
        }
    }

    /// Opens what needs no store, and what a store answers at once. What has to wait is returned, in a box. Of this manager's own cookies alone.
    fn open_own<'a>(
        self: &'a Arc<Self>,
        request: RequestCookies<'a>,
        context: &mut Context<'_>,
    ) -> Result<Attempt, Waiting<'a>> {
        let now = self.clock.now();
        self.purge_in_background();
        if self.is_moving(now) && Candidates::find(request, &self.cookie.name).as_slice().len() > 1 {
            return Err(Box::pin(async move {
                let opened = self.open_of_several(request, now).await?;
                Ok(self.session(opened, now))
            }));
        }
        let opened = match self.read(request, now) {
            Ok(None) => Ok((self.empty(now), Origin::Fresh { refused: false })),
            Ok(Some(Token::Id { id, outdated })) => {
                let id = self.named(id);
                let mut answer = match self.backend() {
                    Ok(store) => store.load(id.key().clone(), now),
                    Err(error) => return Ok(Err(error)),
                };
                match answer.as_mut().poll(context) {
                    Poll::Ready(Ok(Load::Gone(tombstone))) if plan::is_followed(&tombstone, now) => {
                        return Err(Box::pin(async move { Ok(self.session(self.follow(tombstone, now).await?, now)) }));
                    }
                    Poll::Ready(Ok(found)) => self.open_found(id, found, outdated, now),
                    Poll::Ready(Err(error)) => return Ok(Err(error.into())),
                    Poll::Pending => {
                        return Err(Box::pin(async move {
                            let opened = match answer.await? {
                                Load::Gone(tombstone) if plan::is_followed(&tombstone, now) => {
                                    self.follow(tombstone, now).await?
                                }
                                found => self.open_found(id, found, outdated, now),
                            };
                            Ok(self.session(opened, now))
                        }));
                    }
                }
            }
            Ok(Some(Token::Data { contents, outdated, sliding, .. })) if self.former.is_none() => {
                Ok(self.open_cookie(contents, outdated, sliding, now))
            }
            Ok(Some(token)) => {
                return Err(Box::pin(async move {
                    let opened = self.open(token, now).await?;
                    Ok(self.session(opened, now))
                }));
            }
            Err(Refusal::Ambiguous) if !self.cookie.is_host_prefixed() => {
                return Err(Box::pin(async move {
                    let opened = self.open_of_several(request, now).await?;
                    Ok(self.session(opened, now))
                }));
            }
            Err(refusal) => Err(refusal.into()),
        };
        Ok(Ok(self.session(opened, now)))
    }

    /// The id with the name of its record: another framework's layout gives it.
    fn named(&self, id: SessionId) -> SessionId {
        match &self.layout {
            Some(layout) => id.named(layout.name(id.reveal())),
            None => id,
        }
    }

    fn new_id(&self) -> SessionId {
        self.named(self.dialect.new_id(&mut random))
    }

    /// What a token leads to: the session in it, or the one in the store that it names.
    async fn open(&self, token: Token, now: Timestamp) -> Result<Found, Error> {
        match token {
            Token::Id { id, outdated } => {
                let id = self.named(id);
                match self.backend()?.load(id.key().clone(), now).await? {
                    Load::Gone(tombstone) if plan::is_followed(&tombstone, now) => self.follow(tombstone, now).await,
                    found => Ok(self.open_found(id, found, outdated, now)),
                }
            }
            Token::Data { contents, unique: Some(unique), .. } if self.former.is_some() => {
                let until = contents.expires();
                Box::pin(self.take_over(contents, &unique, until, now)).await
            }
            Token::Data { contents, outdated, sliding, .. } => {
                Ok(Ok(self.open_cookie(contents, outdated, sliding, now)))
            }
        }
    }

    /// The session that is in the cookie itself.
    fn open_cookie(&self, contents: Contents, outdated: bool, sliding: bool, now: Timestamp) -> (Contents, Origin) {
        let due = (sliding || self.is_moving(now)) && self.reissue.is_due(contents.issued, contents.idle, now);
        (contents, Origin::Cookie { reissue: outdated || due })
    }

    /// The session that was opened, or an empty one where the cookie was refused.
    fn session(self: &Arc<Self>, opened: Found, now: Timestamp) -> (Session, Opened) {
        let session = |contents, origin| Session::new(Arc::clone(self) as Arc<dyn Owner>, contents, origin);
        match opened {
            Ok((contents, origin)) => {
                let outcome = if matches!(origin, Origin::Fresh { .. }) { Opened::None } else { Opened::Found };
                (session(contents, origin), outcome)
            }
            Err(closed) => {
                let outcome = self.refused(&self.cookie.name, closed.refusal());
                (session(self.empty(now), closed.into_origin()), outcome)
            }
        }
    }

    /// A cookie opened an empty session.
    fn refused(&self, cookie: &str, reason: Refusal) -> Opened {
        telemetry::refused(cookie, reason);
        self.listeners.tell(&Event::Refused { reason });
        match reason {
            Refusal::Expired | Refusal::Gone | Refusal::Unknown => Opened::Gone,
            _ => Opened::Refused,
        }
    }

    /// The `Set-Cookie` values of a session.
    ///
    /// # Errors
    ///
    /// Where a browser would not keep them.
    fn cookies(&self, body: Body<'_>, contents: &Contents) -> Result<Vec<HeaderValue>, Error> {
        // The moment that the commit began is the one moment of all that it writes.
        let now = contents.issued;
        let until = if self.rules.format.is_persistent(contents) {
            Until::From { now, after: contents.expires().since(now) }
        } else {
            Until::BrowserCloses
        };
        let cookies = self.dialect.write(body, &self.cookie.name, now, &mut random)?;
        for cookie in &cookies {
            check_size(self.cookie.name.len() + cookie.suffix.len() + cookie.value.len(), contents)?;
        }
        let set = cookies.iter().map(|cookie| match cookie.lasts {
            Lasts::WithTheSession => self.set(cookie, until),
            Lasts::For(after) => self.set(cookie, Until::From { now, after }),
            Lasts::NotAnyMore => self.set(cookie, Until::Now),
        });
        set.collect()
    }

    /// The `Set-Cookie` values that remove one.
    fn removal(&self) -> Result<Vec<HeaderValue>, Error> {
        self.removal_with(&self.cookie)
    }

    /// The same, with other attributes.
    fn removal_with(&self, attributes: &Attributes) -> Result<Vec<HeaderValue>, Error> {
        let cookies = self.dialect.removal(&attributes.name);
        cookies.iter().map(|cookie| self.set_with(attributes, cookie, Until::Now)).collect()
    }

    fn set(&self, cookie: &SetValue, until: Until) -> Result<HeaderValue, Error> {
        self.set_with(&self.cookie, cookie, until)
    }

    fn set_with(&self, attributes: &Attributes, cookie: &SetValue, until: Until) -> Result<HeaderValue, Error> {
        let name = match cookie.suffix {
            "" => Cow::Borrowed(attributes.name.as_str()),
            suffix => Cow::Owned(format!("{}{suffix}", attributes.name)),
        };
        cookie::write(attributes, &self.dialect.profile().spelling, &name, &cookie.value, until)
    }
}

/// What a cookie leads to: a session, or the reason why it leads to none.
type Found = Result<(Contents, Origin), Closed>;

enum Closed {
    Refused(Refusal),
    /// It was there, and is dead.
    Dead(Tombstone),
    /// A record stands there that is no session here, and may be one to the framework that wrote it.
    Unreadable(SessionId),
}

impl Closed {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Refused(refusal) => *refusal,
            Self::Dead(_) => Refusal::Gone,
            Self::Unreadable(_) => Refusal::Malformed,
        }
    }
}

impl Closed {
    /// What a session is that was refused.
    fn into_origin(self) -> Origin {
        match self {
            Self::Dead(tombstone) => Origin::Late(tombstone),
            Self::Unreadable(id) => Origin::Unreadable(id),
            Self::Refused(refusal) => Origin::Fresh { refused: refusal != Refusal::Unknown },
        }
    }
}

impl From<Refusal> for Closed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// # Errors
///
/// Where the cookie would be cut or dropped by browsers; the message names the largest entries.
fn check_size(bytes: usize, contents: &Contents) -> Result<(), Error> {
    if bytes <= cookie::LIMIT / 10 * 9 {
        return Ok(());
    }
    let largest = largest_entries(contents);
    if bytes <= cookie::LIMIT {
        telemetry::nearly_too_large(bytes, &largest);
        return Ok(());
    }
    Err(Error::new(
        Kind::TooLarge,
        format!(
            "the session needs a cookie of {bytes} bytes, and browsers keep {}; its largest entries: {largest}. \
             Keep less in the session, or keep it in a store",
            cookie::LIMIT
        ),
    ))
}

fn largest_entries(contents: &Contents) -> String {
    let mut sizes: Vec<(usize, &[u8])> = contents.data.iter().map(|(name, value)| (value.len(), name)).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let largest: Vec<String> = sizes
        .iter()
        .take(3)
        .map(|(size, name)| format!("{:?} ({size} bytes)", String::from_utf8_lossy(name)))
        .collect();
    largest.join(", ")
}

/// Of the operating system, not of a generator in this process: a fork would copy its state, and two workers would make the
/// same ids and nonces.
fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random numbers");
}
