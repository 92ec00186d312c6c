//! [`Session`]: the dictionary that a handler holds.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    data::{Contents, Data},
    encoding::Encoding,
    error::{Error, Kind},
    flash::{self, Flash},
    journal::Operation,
    key::Name,
    lifetime::{Lifetime, Timestamp},
    manager::Ended,
    meaning::{Confirmed, Format, Login, Principal},
    state::{Failing, Intent, Origin, Phase, State},
    telemetry,
    value::Value,
};

/// A visitor's data, as a dictionary: read it, write to it, and it is there on the next page.
///
/// A handler of axum takes it as an argument. It takes `&self` everywhere, is cheap to clone,
/// and clones are one session. Nothing is stored and no cookie is set before the first write.
///
/// ```
/// use axum::{Form, response::Redirect};
/// use dewar::Session;
///
/// #[derive(serde::Deserialize)]
/// struct Answer { color: String }
///
/// async fn answer(session: Session, Form(answer): Form<Answer>) -> Redirect {
///     session.insert("favoriteColor", answer.color);
///     Redirect::to("/page3")
/// }
///
/// async fn greet(session: Session) -> String {
///     let name: Option<String> = session.get("firstName");
///     format!("Hello, {}!", name.unwrap_or("stranger".into()))
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(greet).post(answer));
/// ```
///
/// # When requests race
///
/// With a store, what racing requests write to different entries is merged, and
/// [`update`](Session::update) counts right. In a cookie alone, the last response wins.
///
/// With a store, whatever was answered with a 2xx is in the record, unless the visit was ended while the request ran: then its
/// changes are dropped. What a request meets whose session is not what it was:
///
/// | | logged out, revoked | cleared and begun again, another user's | renewed by a log-in | missing or expired |
/// | --- | --- | --- | --- | --- |
/// | it died while the request ran, which changed something | dropped; [`commit`](Session::commit) says closed | the same | a 409, which may be repeated | a 409 |
/// | it was dead before, and the request changes something | a stranger, who begins a new session | for 10 seconds a 409, then a stranger | the same | a stranger |
/// | the request changes nothing | nothing | nothing | nothing | nothing |
/// | [`set_principal`](Session::set_principal) | begins a session with what this request wrote | the same | keeps what it had loaded, too | as at the left |
/// | it was [cleared](Session::clear), and something was written after that | begins a session with that | dropped | a 409 | a 409 |
///
/// A plain [`renew`](Session::renew) is gentler: for 30 seconds requests with the old id go on in the renewed session (one that meets it emptied, and would
/// fill it again, is a 409: it has no cookie to give). No request removes a
/// cookie unless it ended or emptied the session itself. A handler sees none of it before it commits: a session that was ended while the request runs shows
/// what was loaded, until `commit` says that it is closed and the session is empty.
///
/// # When the response has gone
///
/// The session belongs to its request. Once the head of the response has gone, or will not come any more (a time-out, a client that hung up, an error of
/// an inner service), it is closed: a write is an error in the log, [`commit`](Session::commit) says so. A streaming body and a task commit before.
/// A response that is made outside the `SessionLayer` never passes through it: put layers that answer by themselves (time-outs, panics caught)
/// inside, so that what was committed reaches the browser.
///
/// # Security
///
/// Call [`set_principal`](Session::set_principal) when somebody logs in, and
/// [`clear`](Session::clear) when they log out. [`renew`](Session::renew) is for rotation.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    owner: Arc<dyn Owner>,
    state: Mutex<State>,
}

/// What a session needs of the manager that opened it.
pub(crate) trait Owner: Send + Sync {
    /// What holds for every session of this owner.
    fn rules(&self) -> &Rules;
    /// The moment it is.
    fn now(&self) -> Timestamp;
    /// What names the session of somebody who logs in, whatever its id becomes.
    fn lineage(&self, principal: &str) -> u64;
    /// Ends when the session has ended.
    fn ended(self: Arc<Self>, session: &Session) -> Ended;
    /// Writes what the session holds, and leaves it open.
    fn settle(self: Arc<Self>, session: Session) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;
}

/// What holds for every session of one manager.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    pub(crate) format: Format,
    pub(crate) idle: u32,
    pub(crate) absolute: Option<u32>,
    /// Whether the cookie outlives the browser where the session does not say.
    pub(crate) persistent: bool,
    /// Whether there is a store, on which operations may have to be replayed.
    pub(crate) replays: bool,
    /// Whether a session, or the store that keeps it, tells when it was issued.
    pub(crate) dated: bool,
}

impl Rules {
    /// A session without entries, beginning now.
    pub(crate) fn empty(&self, now: Timestamp) -> Contents {
        let alone = self.format.alone;
        Contents { alone, ..Contents::new(now, self.idle, self.absolute, self.persistent) }
    }
}

impl Session {
    pub(crate) fn new(owner: Arc<dyn Owner>, contents: Contents, origin: Origin) -> Self {
        Self { shared: Arc::new(Shared { owner, state: Mutex::new(State::new(contents, origin)) }) }
    }

    /// The same session, owned by somebody in between. Only as it was opened: who holds a clone has another one.
    pub(crate) fn owned_by(self, between: impl FnOnce(Arc<dyn Owner>) -> Arc<dyn Owner>) -> Self {
        let shared = Arc::clone(&self.shared);
        drop(self);
        let shared = Arc::try_unwrap(shared).map(|Shared { owner, state }| Shared { owner: between(owner), state });
        Self { shared: shared.map_or_else(|shared| shared, Arc::new) }
    }

    /// The value of an entry; `None` where there is none.
    ///
    /// A value of another type counts as absent, with a warning in the log;
    /// [`try_get`](Session::try_get) tells the difference.
    ///
    /// ```
    /// # fn handler(session: dewar::Session) {
    /// let name: Option<String> = session.get("firstName");
    /// let visits = session.get::<u32>("visits").unwrap_or(0);
    /// # }
    /// ```
    pub fn get<T: DeserializeOwned>(&self, name: impl Name<T>) -> Option<T> {
        self.try_get(name).unwrap_or_else(|error| {
            telemetry::wrong_type(&error);
            None
        })
    }

    /// The value of an entry, `Ok(None)` where there is none.
    ///
    /// # Errors
    ///
    /// Where the entry holds a value of another type ([`Error::is_entry`]).
    pub fn try_get<T: DeserializeOwned>(&self, name: impl Name<T>) -> Result<Option<T>, Error> {
        let name = name.name();
        let Some(encoded) = self.access().contents.data.read(name.as_bytes()) else { return Ok(None) };
        let value = self.encoding().read(&encoded).map_err(|why| Error::entry(name.as_bytes(), why))?;
        Ok(Some(value))
    }

    /// Sets an entry to any value that serde can serialize.
    ///
    /// A value that cannot be written (a map with odd keys, a type the format does not know) makes the commit fail:
    /// the response becomes a 500, and the log names the entry.
    ///
    /// An entry that is read with `get` and then inserted is last-writer-wins when requests race;
    /// [`update`](Session::update) is not.
    #[doc(alias = "set")]
    #[doc(alias = "put")]
    pub fn insert<T: Serialize>(&self, name: impl Name<T>, value: T) {
        self.insert_named(name.name(), &value);
    }

    fn insert_named<T: Serialize + ?Sized>(&self, name: &str, value: &T) {
        let written = self.encoding().write(value);
        let mut dropped = Vec::new();
        let Some(mut state) = self.writable("insert", name) else { return };
        match written {
            Ok(value) => {
                dropped = self.put(&mut state, name, value);
                state.forget_failure(name);
            }
            Err(why) => state.fail(Failing::Entry(name.into()), Error::entry(name.as_bytes(), why)),
        }
        drop(state);
        drop(dropped);
    }

    /// Writes an entry. What was done before and is not to be done any more is returned, to be dropped where no lock is held.
    #[must_use]
    fn put(&self, state: &mut State, name: &str, value: Vec<u8>) -> Vec<Operation> {
        let dropped =
            if self.keeps_principal_in(name) { self.change_principal(state, name, &value) } else { Vec::new() };
        let (name, value) = (name.as_bytes(), Arc::<[u8]>::from(value));
        self.note(state, |data| Operation::Insert {
            name: name.into(),
            value: Arc::clone(&value),
            seen: data.seen(name),
        });
        state.contents.data.insert(name, value);
        dropped
    }

    fn keeps_principal_in(&self, name: &str) -> bool {
        self.format().meaning.is_principal(name)
    }

    /// Whom the entry says when it has this value.
    fn principal_in(&self, entry: &str, encoded: &[u8]) -> Option<Principal> {
        let mut alone = Data::default();
        alone.insert(entry.as_bytes(), encoded);
        self.format().meaning.principal(&alone, self.encoding())
    }

    /// Whether the entry with this value says another user than it says now.
    fn is_of_another(&self, state: &State, entry: &str, encoded: &[u8]) -> bool {
        self.principal_in(entry, encoded) != self.format().principal(&state.contents)
    }

    /// An entry that another framework's log-in keeps the user in is the principal: from one to another, the former's entries go.
    fn change_principal(&self, state: &mut State, entry: &str, encoded: &[u8]) -> Vec<Operation> {
        let former = self.format().principal(&state.contents).or_else(|| state.removed.take());
        let next = self.principal_in(entry, encoded);
        match (former, next) {
            (Some(former), Some(next)) if former != next => state.begin_again(self.empty(), Intent::Switch),
            (None, Some(_)) => {
                state.intent = state.intent.max(Intent::LogIn);
                Vec::new()
            }
            // Whoever comes next in this request is not the former.
            (Some(former), None) => {
                state.removed = Some(former);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Removes an entry, whatever it holds. Returns whether it was there; [`take`](Session::take) returns its value.
    ///
    /// ```
    /// # fn handler(session: dewar::Session) {
    /// session.remove("draft");
    /// # }
    /// ```
    #[doc(alias = "delete")]
    #[doc(alias = "forget")]
    #[doc(alias = "unset")]
    pub fn remove(&self, name: impl AsRef<str>) -> bool {
        self.take_out(name.as_ref()).is_some()
    }

    /// Takes an entry out and returns its value, as Python's `pop`.
    ///
    /// A value of another type is taken out too, and `None` returned, with a warning in the log;
    /// [`Value`] takes any.
    ///
    /// ```
    /// # fn handler(session: dewar::Session) {
    /// let next: Option<String> = session.take("next");
    /// let visits = session.take::<u32>("visits").unwrap_or(0);
    /// # }
    /// ```
    #[doc(alias = "pop")]
    #[doc(alias = "pull")]
    #[must_use = "to remove an entry and not look at it, call `remove`"]
    pub fn take<T: DeserializeOwned>(&self, name: impl Name<T>) -> Option<T> {
        let name = name.name();
        let encoded = self.take_out(name)?;
        match self.encoding().read(&encoded) {
            Ok(value) => Some(value),
            Err(why) => {
                telemetry::wrong_type(&Error::entry(name.as_bytes(), why));
                None
            }
        }
    }

    fn take_out(&self, name: &str) -> Option<Bytes> {
        let mut state = self.writable("remove", name)?;
        state.forget_failure(name);
        if self.keeps_principal_in(name) {
            state.removed = self.format().principal(&state.contents).or_else(|| state.removed.take());
        }
        let encoded = state.contents.data.remove(name.as_bytes())?;
        self.note(&mut state, |_| Operation::Remove { name: name.as_bytes().into() });
        Some(encoded)
    }

    /// Changes an entry in place, beginning with `T::default()` where there is none. Returns the new value.
    ///
    /// With a store, `change` is run again when another request got there first: a counter is
    /// never wrong and an append never lost. The value returned is what it was here.
    ///
    /// The closure is kept until the session is saved, so it owns what it uses (`move`) and may run
    /// several times (`Fn`): clone inside what it gives away.
    ///
    /// ```
    /// # fn handler(session: dewar::Session, article: String) -> Result<(), dewar::Error> {
    /// let visits = session.update("visits", |visits: &mut u32| *visits += 1)?;
    /// session.update("cart", move |cart: &mut Vec<String>| cart.push(article.clone()))?;
    /// # let _ = visits; Ok(())
    /// # }
    /// ```
    ///
    /// A closure that borrows from the handler does not compile:
    ///
    /// ```compile_fail
    /// # fn handler(session: dewar::Session) {
    /// let article = String::from("book");
    /// session.update("cart", |cart: &mut Vec<String>| cart.push(article.clone()));
    /// drop(article);
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Where the entry holds a value of another type (it is left alone), where the new value
    /// cannot be written, and where the session is closed.
    #[doc(alias = "setdefault")]
    #[doc(alias = "get_or_insert")]
    #[doc(alias = "entry")]
    #[doc(alias = "increment")]
    #[doc(alias = "push")]
    pub fn update<T>(&self, name: impl Name<T>, change: impl Fn(&mut T) + Send + 'static) -> Result<T, Error>
    where
        T: Default + Serialize + DeserializeOwned,
    {
        let name = name.name();
        let run = move |old: Option<&[u8]>, encoding: Encoding| -> Result<(T, Vec<u8>), String> {
            let mut value = match old {
                Some(encoded) => encoding.read(encoded).map_err(|why| why.to_string())?,
                None => T::default(),
            };
            change(&mut value);
            let written = encoding.write(&value).map_err(|why| why.to_string())?;
            Ok((value, written))
        };
        // The closure runs outside the lock. It may itself write to this entry: then it runs again.
        for _ in 0..100 {
            let old = self.access().contents.data.encoded(name.as_bytes());
            let (value, written) =
                run(old.as_deref(), self.encoding()).map_err(|why| Error::entry(name.as_bytes(), why))?;
            let Some(mut state) = self.writable("update", name) else { return Err(closed()) };
            if state.contents.data.get(name.as_bytes()) != old.as_deref() {
                continue;
            }
            if self.keeps_principal_in(name) && self.is_of_another(&state, name, &written) {
                let dropped = self.put(&mut state, name, written);
                drop(state);
                drop(dropped);
                return Ok(value);
            }
            state.contents.data.insert(name.as_bytes(), written);
            self.note(&mut state, |_| {
                let change = Box::new(move |old: Option<&[u8]>, encoding| run(old, encoding).map(|(_, bytes)| bytes));
                Operation::Update { name: name.as_bytes().into(), change }
            });
            return Ok(value);
        }
        Err(Error::entry(name.as_bytes(), "it changes whenever its update runs"))
    }

    /// Whether there is an entry of this name.
    #[doc(alias = "contains_key")]
    #[doc(alias = "has")]
    #[doc(alias = "exists")]
    pub fn contains(&self, name: impl AsRef<str>) -> bool {
        self.access().contents.data.get(name.as_ref().as_bytes()).is_some()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.access().contents.data.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.access().contents.data.is_empty()
    }

    /// The names of the entries, in order: a snapshot.
    pub fn keys(&self) -> Vec<String> {
        let state = self.access();
        state.contents.data.iter().map(|(name, _)| text(name)).collect()
    }

    /// The entries in order, as a snapshot: name and value.
    ///
    /// What cannot be read (another framework's oddity) is left out; it stays in the session.
    #[doc(alias = "items")]
    #[doc(alias = "entries")]
    #[doc(alias = "all")]
    pub fn iter(&self) -> impl Iterator<Item = (String, Value)> {
        let snapshot = self.access().contents.data.clone();
        let encoding = self.encoding();
        let read: Vec<_> =
            snapshot.iter().filter_map(|(name, value)| Some((text(name), encoding.read(value).ok()?))).collect();
        read.into_iter()
    }

    /// Empties the session and ends the visit: the lesson's `session.clear()`, and every log-out.
    ///
    /// What is inserted after it belongs to a new session with a new id, also where the old one was revoked meanwhile. With a store, whoever
    /// still holds the old id has nothing; in a cookie alone, a copy of the cookie lives until it expires.
    #[doc(alias = "flush")]
    #[doc(alias = "destroy")]
    #[doc(alias = "invalidate")]
    #[doc(alias = "purge")]
    #[doc(alias = "reset")]
    #[doc(alias = "logout")]
    #[doc(alias = "log_out")]
    pub fn clear(&self) {
        let Some(mut state) = self.writable("clear", "") else { return };
        let done = state.begin_again(self.empty(), Intent::End);
        drop(state);
        drop(done);
    }

    /// Keeps the data and changes the id, so that an id known to somebody else is worth nothing.
    ///
    /// Call it by the hour, for example. A log-in is [`set_principal`](Session::set_principal)'s: whoever knew the old id may follow a renewal
    /// for a while, but never a log-in.
    ///
    /// With a store, requests that left the browser before the new cookie arrived go on in the renewed session for 30 seconds, without a cookie of
    /// their own. If the answer with the new cookie never reaches the browser, the visit is over after that: only the browser was given the new id.
    #[doc(alias = "regenerate")]
    #[doc(alias = "cycle_id")]
    #[doc(alias = "cycle_key")]
    #[doc(alias = "migrate")]
    pub fn renew(&self) {
        let Some(mut state) = self.writable("renew", "") else { return };
        state.intent = state.intent.max(Intent::Renew);
    }

    /// Leaves a message for the next page, with Flask's default category, `"message"`.
    pub fn flash(&self, message: impl Into<Value>) {
        self.flash_as(message, "message");
    }

    /// Leaves a message for the next page, in a category of your own: `"error"`, `"success"`. The message is first, as in Flask.
    ///
    /// ```
    /// # fn handler(session: dewar::Session) {
    /// session.flash_as("That is no colour.", "error");
    /// # }
    /// ```
    pub fn flash_as(&self, message: impl Into<Value>, category: &str) {
        let operation = Operation::Flash { category: category.to_owned(), message: message.into() };
        self.apply("flash", operation);
    }

    /// Takes the messages that earlier requests left, in order, each once.
    #[doc(alias = "get_flashed_messages")]
    pub fn take_flashes(&self) -> Vec<Flash> {
        let format = self.format();
        let waiting = format.meaning.flashes(&self.access().contents.data, format.encoding);
        match waiting {
            Ok(shown) if shown.is_empty() => shown,
            Ok(shown) => {
                self.apply("take_flashes", Operation::TakeFlashes { shown: shown.clone() });
                shown
            }
            Err(why) => {
                telemetry::wrong_type(&Error::entry(flash::ENTRY.as_bytes(), why));
                Vec::new()
            }
        }
    }

    /// Changes how long this session lives: "remember me".
    ///
    /// A timeout that is not given is the layer's. A session without entries and without a principal is not kept, and neither is this: call it
    /// in the request that logs in or writes.
    ///
    /// A format that keeps no timeouts of a single session (Flask's) takes [`Lifetime::browser`] and [`Lifetime::persistent`] as they are,
    /// express-session's also an idle timeout of a persistent one, and Django's one that is no longer than the layer's, which there the browser alone
    /// knows; what a format cannot say makes the commit fail.
    #[doc(alias = "permanent")]
    #[doc(alias = "set_expiry")]
    #[doc(alias = "max_age")]
    #[doc(alias = "remember")]
    pub fn set_lifetime(&self, lifetime: Lifetime) {
        let rules = self.rules();
        let fits = rules
            .format
            .fits(lifetime, rules.persistent, rules.idle)
            .and_then(|()| lifetime.check(rules.absolute).map_err(str::to_owned));
        if let Err(why) = fits {
            return self.fail("set_lifetime", Error::setting(format!("set_lifetime: {why}")));
        }
        if let Some(mut state) = self.writable("set_lifetime", "") {
            state.forget_failure_of("set_lifetime");
            state.sets_lifetime = true;
        }
        self.apply(
            "set_lifetime",
            Operation::SetLifetime {
                idle: lifetime.idle.unwrap_or(rules.idle),
                absolute: lifetime.absolute.or(rules.absolute),
                persistent: lifetime.persistent,
            },
        );
    }

    /// Says whose session this is, once somebody has logged in.
    ///
    /// From nobody to somebody, and for the same user again, the id is renewed and the data kept; from one user to another the
    /// former's entries are dropped, with label and lifetime. The absolute timeout begins anew. To nobody: [`clear`](Session::clear).
    ///
    /// It is for the moment when somebody proved who they are. Called with every request it would renew the id every time:
    /// [`principal`](Session::principal) is for asking. Another framework may want to know more than the name: [`Login`].
    ///
    /// ```
    /// # fn handler(session: dewar::Session) {
    /// session.set_principal("ada");
    /// session.set_principal(42); // an integer stays one where another framework keeps integers
    /// # struct User { id: u64 } let user = User { id: 7 };
    /// session.set_principal(user.id.to_string()); // whatever can be shown, such as a `uuid::Uuid`
    /// # }
    /// ```
    ///
    /// # Security
    ///
    /// This is what stops session fixation. Call it after the password was checked, not before.
    #[doc(alias = "login")]
    #[doc(alias = "log_in")]
    #[doc(alias = "set_user")]
    pub fn set_principal(&self, login: impl Into<Login>) {
        let login = login.into();
        if login.id.is_empty() {
            let why =
                "set_principal: a user without a name is refused, or all of them would be one; call clear() to log out";
            return self.fail("set_principal", Error::setting(why));
        }
        let format = self.format();
        if !format.keeps_principal() {
            let why = format!(
                "set_principal: {} was not told which entry says whose session it is (Flask has flask_login, the forms of Express passport \
                 and principal_entry); without one, insert an entry of your own, and call renew()",
                format.name
            );
            return self.fail("set_principal", Error::setting(why));
        }
        let Some(mut state) = self.writable("set_principal", "") else { return };
        state.forget_failure_of("set_principal");
        let former = format.principal(&state.contents).or_else(|| state.removed.take());
        let mut dropped = Vec::new();
        if former.is_some_and(|former| !former.is(&login.id)) {
            dropped = state.begin_again(self.empty(), Intent::Switch);
        } else {
            state.intent = state.intent.max(Intent::LogIn);
        }
        let (at, lineage) = (self.shared.owner.now(), self.shared.owner.lineage(&login.id));
        let operation = Operation::SetPrincipal { login, at, lineage };
        match operation.replay(&mut state.contents, format) {
            Ok(()) => self.note(&mut state, |_| operation),
            Err(error) => state.fail(Failing::Method("set_principal"), error),
        }
        drop(state);
        drop(dropped);
    }

    /// The user whom this session belongs to, once known.
    ///
    /// Where another framework's log-in wrote it, an integer or a UUID is its text (`7` is `"7"`), and anything else that is not
    /// `null` is somebody, too.
    ///
    /// # Security
    ///
    /// It is what the session says since the log-in. Whether the password has changed since, in a format that ties a session to it (Django's), is
    /// [`confirm_principal`](Session::confirm_principal)'s to ask.
    #[doc(alias = "user")]
    #[doc(alias = "user_id")]
    pub fn principal(&self) -> Option<String> {
        self.format().principal(&self.access().contents).map(Principal::into_text)
    }

    /// Whether this is still the session of this user as the application has them now; where it is not, it ends, as with [`clear`](Session::clear).
    ///
    /// For a format that ties a session to the user's password, as Django's does: a changed password ends the sessions of before. What the session says
    /// is compared in constant time. One that was tied under a `SECRET_KEY` of before is tied anew. Of nobody's session the answer is no, and nothing is done.
    ///
    /// ```
    /// use dewar::{Login, Session};
    ///
    /// # struct User { password: String }
    /// # async fn find_user(_id: &str) -> Option<User> { None }
    /// async fn user(session: &Session) -> Option<User> {
    ///     let id = session.principal()?;
    ///     let user = find_user(&id).await?; // SELECT ... FROM auth_user WHERE id = ... AND is_active
    ///     session.confirm_principal(Login::new(id).password(&user.password)).then_some(user)
    /// }
    /// ```
    ///
    /// A format that keeps nothing of a password (ours, Flask's, those of Express) makes the commit fail, and the answer is no. There
    /// `SessionManager::revoke_all` on a store ends the sessions of whoever changes it.
    ///
    /// # Security
    ///
    /// Until it is asked, [`principal`](Session::principal) says what the cookie says. Ask before whatever matters, with the user as they are now.
    #[must_use]
    pub fn confirm_principal(&self, user: impl Into<Login>) -> bool {
        let (user, format) = (user.into(), self.format());
        let confirmed = {
            let state = self.access();
            match format.principal(&state.contents) {
                None => return false,
                Some(principal) if !principal.is(&user.id) => Ok(Confirmed::No),
                Some(_) => format.meaning.confirm(&state.contents.data, format.encoding, &user),
            }
        };
        match confirmed {
            Ok(Confirmed::Yes) => true,
            Ok(Confirmed::Anew(entry, value)) => {
                let (name, value) = (entry.as_bytes().into(), value.into());
                self.apply("confirm_principal", Operation::Insert { name, value, seen: None });
                true
            }
            Ok(Confirmed::No) => {
                self.clear();
                false
            }
            Err(error) => {
                self.fail("confirm_principal", error);
                false
            }
        }
    }

    /// When the user authenticated, where the format keeps it: the last [`set_principal`](Session::set_principal).
    pub fn authenticated_at(&self) -> Option<Timestamp> {
        let state = self.access();
        (self.format().beside.principal && state.contents.principal.is_some()).then_some(state.contents.created)
    }

    /// When the session ends, if nobody opens it again: by its idle or its absolute timeout, whichever is first.
    ///
    /// As it will be once this request is answered: its changes count as a visit, and its reading where [`Reissue`](crate::Reissue) says so (by
    /// default after a tenth of the idle timeout).
    ///
    /// `None` where there is nothing that could end: a session without entries that is nobody's, and a format that does not say when it was written
    /// (cookie-session's, whose cookie the browser forgets).
    ///
    /// ```
    /// # fn handler(session: dewar::Session) {
    /// if let Some(end) = session.expires_at() {
    ///     println!("You are logged in until {end}."); // 2026-11-28T18:03:27Z
    /// }
    /// # }
    /// ```
    #[doc(alias = "expires")]
    #[doc(alias = "expiry_date")]
    #[doc(alias = "expiry_age")]
    pub fn expires_at(&self) -> Option<Timestamp> {
        let now = self.shared.owner.now();
        let state = self.access();
        if state.contents.is_empty() || !self.rules().dated {
            return None;
        }
        let issued = if state.begins_idling_anew() { now } else { state.contents.issued };
        Some(state.contents.expires_if_issued(issued))
    }

    /// Whether nothing of this session has been saved yet: the request came with none (no cookie, or one that is refused or over), or the one that it
    /// came with was ended by [`clear`](Session::clear) or by another user's log-in. After the first commit it is not new any more.
    #[doc(alias = "new")]
    #[doc(alias = "isNew")]
    pub fn is_new(&self) -> bool {
        let state = self.access();
        let comes_from_nowhere = matches!(state.origin, Origin::Fresh { .. } | Origin::Unreadable(_) | Origin::Late(_));
        comes_from_nowhere || state.intent >= Intent::Switch
    }

    /// Names this session for the list of the user's devices: `"Firefox on Linux"`.
    ///
    /// Only a session of our own format keeps a label; elsewhere the commit fails. A session without entries and without a principal is not kept,
    /// and neither is its label: set it in the request that logs in.
    pub fn set_label(&self, label: &str) {
        if !self.format().beside.label {
            return self
                .fail("set_label", Error::setting("set_label: this session format keeps no label; leave it out"));
        }
        self.apply("set_label", Operation::SetLabel { label: label.into() });
    }

    /// Saves now, instead of with the response, so that the handler learns whether it succeeded.
    ///
    /// `Ok` means: on a store, it is stored; in a cookie, this state is frozen, and every response carries it, an error too. The session
    /// stays open; what is written later is saved with the response.
    ///
    /// # Errors
    ///
    /// Where the store failed, the session does not fit its cookie, or an entry could not be
    /// written: the changes stay in the session, and the response's commit tries again. Where the session was
    /// ended meanwhile by another request, which discards the changes, and where the response has gone ([`Error::is_closed`]). Where
    /// another request logged in or let it expire ([`Error::is_conflict`]): the request may be repeated.
    ///
    /// Dropping the future changes nothing: what has begun is finished, and the response waits for it.
    #[doc(alias = "save")]
    pub async fn commit(&self) -> Result<(), Error> {
        Arc::clone(&self.shared.owner).settle(self.clone()).await
    }

    /// Ends when this session has ended: by a log-out, by [`revoke`](crate::SessionManager::revoke) and the like from any server, or because it ran
    /// out. What keeps a connection open for a visitor (server-sent events, a WebSocket) closes it then.
    ///
    /// ```
    /// # use dewar::Session;
    /// # async fn next_price() -> String { "42".into() }
    /// async fn prices(session: Session, send: impl Fn(String)) {
    ///     let mut ended = session.ended();
    ///     loop {
    ///         tokio::select! {
    ///             () = &mut ended => break,
    ///             price = next_price() => send(price),
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// It is about the session as it is stored when this is called: for one that begins with this request, call it after
    /// [`commit`](Session::commit). It outlives the request, and follows the session where its id is renewed; an anonymous session ends with a log-in.
    /// It does not keep the session alive: a connection alone is no visit. A session that is not stored (new, or kept in the cookie) has no end that
    /// anybody could learn of, and this never ends; one that ended before is over at once.
    ///
    /// The stores in memory, in PostgreSQL and in Redis tell at once; SQLite and MySQL are asked twice a second, all sessions that are waited for one
    /// after another on one connection. Each store is also asked every 10 seconds, because what it tells may get lost. While a store is down a session
    /// counts as alive.
    pub fn ended(&self) -> Ended {
        Arc::clone(&self.shared.owner).ended(self)
    }

    /// The state, for the manager.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs while the lock is held, so a poisoned state is a whole one.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing that is written from here on is saved.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if state.phase != Phase::Committing {
            state.phase = Phase::Closed;
        }
        state.changed = false;
        // A closure may own a clone of this session.
        let done = std::mem::take(&mut state.operations);
        drop(state);
        drop(done);
    }

    /// Whether somebody else holds it, too.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    pub(crate) fn rules(&self) -> &Rules {
        self.shared.owner.rules()
    }

    fn format(&self) -> &Format {
        &self.rules().format
    }

    fn encoding(&self) -> Encoding {
        self.format().encoding
    }

    fn access(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.accessed = true;
        state
    }

    /// The state, if it may still be written to.
    fn writable(&self, what: &str, name: &str) -> Option<MutexGuard<'_, State>> {
        let state = self.access();
        if state.phase == Phase::Open {
            return Some(state);
        }
        drop(state);
        telemetry::written_too_late(what, name);
        None
    }

    /// Does one operation here and now, and notes it for a replay. Only for operations that run no code of the application's.
    fn apply(&self, what: &'static str, operation: Operation) {
        let Some(mut state) = self.writable(what, "") else { return };
        if let Operation::SetLabel { .. } = operation {
            state.forget_failure_of(what);
        }
        match operation.replay(&mut state.contents, self.format()) {
            Ok(()) => self.note(&mut state, |_| operation),
            Err(error) => state.fail(Failing::Method(what), error),
        }
    }

    /// Does what another format's session had done to it.
    pub(crate) fn carry(&self, operation: Operation) {
        self.apply("reads_also", operation);
    }

    /// Notes that something is to be saved; what it was, where it may have to be replayed.
    fn note(&self, state: &mut State, operation: impl FnOnce(&Data) -> Operation) {
        state.changed = true;
        if self.rules().replays {
            state.operations.push(operation(&state.contents.data));
        }
    }

    fn fail(&self, method: &'static str, error: Error) {
        if let Some(mut state) = self.writable(method, "") {
            state.fail(Failing::Method(method), error);
        }
    }

    fn empty(&self) -> Contents {
        self.rules().empty(self.shared.owner.now())
    }
}

/// A panic commits nothing, also where a layer inside ours turns it into a response.
impl Drop for Session {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.lock();
            if state.phase == Phase::Open {
                state.phase = Phase::Panicked;
            }
        }
    }
}

/// The names of the entries, never their values.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let names = state.contents.data.iter().map(|(name, _)| text(name));
        f.debug_set().entries(names).finish()
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn closed() -> Error {
    Error::new(Kind::Closed, "the session was written to after its response had gone")
}
