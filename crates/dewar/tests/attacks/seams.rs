//! Faults that were found at the seams, each as the promise that it broke. The engine is one as Redis is; Express writes without looking.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use dewar::{
    Clock, Keyring, Lifetime, Secret, Session, SessionManager, SessionManagerBuilder,
    dialect::{Body, CookieSession, Dialect, ExpressSession, Flask, Jar, Limits, Report, Sealed, Steps},
    encoding::Encoding,
    layout::{Attributes, ConnectRedis, Contents, Data, Holds, Kept, Layout, Refusal, Stored},
    store::{
        Answer, Applied, Engine, Found, Guard, Layered, StoreError, Timestamp, Tombstone, Version, Write,
        memory::MemoryStore,
    },
    value::Markup,
};
use http::{HeaderMap, HeaderValue, header};
use sha2::Digest;

const SECRET: &str = "main-express-key-current";
const OLD: &str = "the secret of the old site 1";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const HOUR: Duration = Duration::from_secs(3600);

/// As Redis is: strings with an end, digests as versions, tombstones beside. Express writes without looking.
#[derive(Clone, Debug, Default)]
struct Fake(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    records: HashMap<String, (Bytes, Timestamp)>,
    tombstones: HashMap<String, Tombstone>,
    /// How many of the next writes fail without being done, and how many of the next loads.
    failing_writes: u32,
    failing_loads: u32,
    log: Vec<String>,
}

impl Inside {
    fn tombstone(&mut self, name: &str, now: Timestamp) -> Option<Tombstone> {
        let tombstone = self.tombstones.get(name).filter(|tombstone| tombstone.until > now).cloned()?;
        self.records.remove(name);
        Some(tombstone)
    }
    fn record(&self, name: &str, now: Timestamp) -> Option<(Bytes, Timestamp)> {
        self.records.get(name).filter(|(_, expires)| *expires > now).cloned()
    }
    fn fails(&mut self) -> Result<(), StoreError> {
        if self.failing_writes > 0 {
            self.failing_writes -= 1;
            return Err(StoreError::new("the network"));
        }
        Ok(())
    }
}

fn ready<'a, T: Send + 'a>(value: Result<T, StoreError>) -> Answer<'a, T> {
    Box::pin(std::future::ready(value))
}

fn bytes(data: Stored) -> Bytes {
    data.body().clone()
}

impl Fake {
    /// Express writes.
    fn set(&self, name: &str, json: &str, expires: Timestamp) {
        self.0.lock().unwrap().records.insert(name.into(), (Bytes::copy_from_slice(json.as_bytes()), expires));
    }
    /// Express reads.
    fn get(&self, name: &str) -> Option<String> {
        let inside = self.0.lock().unwrap();
        inside.records.get(name).map(|(data, _)| String::from_utf8(data.to_vec()).unwrap())
    }
}

impl Engine for Fake {
    fn load<'a>(&'a self, name: &'a str, now: Timestamp) -> Answer<'a, Found> {
        let mut inside = self.0.lock().unwrap();
        if inside.failing_loads > 0 {
            inside.failing_loads -= 1;
            return ready(Err(StoreError::new("the network")));
        }
        if let Some(tombstone) = inside.tombstone(name, now) {
            return ready(Ok(Found::Gone(tombstone)));
        }
        ready(Ok(match inside.record(name, now) {
            Some((data, expires)) => {
                Found::Record { version: Version::digest(&data), data: Stored::Blob(data), expires }
            }
            None => Found::Missing,
        }))
    }
    fn apply<'a>(&'a self, name: &'a str, guard: Guard, write: Write, now: Timestamp) -> Answer<'a, Applied> {
        let mut inside = self.0.lock().unwrap();
        if let Err(error) = inside.fails() {
            return ready(Err(error));
        }
        if let Some(tombstone) = inside.tombstone(name, now) {
            return ready(Ok(Applied::Gone(Some(tombstone))));
        }
        let stands = inside.record(name, now);
        match (guard, &stands) {
            (Guard::Absent, None) => {}
            (Guard::Absent, Some(_)) => return ready(Ok(Applied::Conflict)),
            (Guard::Is(_), None) => return ready(Ok(Applied::Gone(None))),
            (Guard::Is(at), Some((data, _))) if Version::digest(data) != at => return ready(Ok(Applied::Conflict)),
            _ => {}
        }
        inside.log.push(format!("{write:?}"));
        match write {
            Write::Record { data, expires, .. } => drop(inside.records.insert(name.into(), (bytes(data), expires))),
            Write::Touch(expires) => inside.records.get_mut(name).unwrap().1 = expires,
            other => panic!("{other:?}"),
        }
        ready(Ok(Applied::Done))
    }
    fn end<'a>(&'a self, name: &'a str, guard: Guard, tomb: Tombstone, now: Timestamp) -> Answer<'a, Applied> {
        let at = guard.version();
        let mut inside = self.0.lock().unwrap();
        if let Err(error) = inside.fails() {
            return ready(Err(error));
        }
        if let Some(tombstone) = inside.tombstone(name, now) {
            return ready(Ok(Applied::Gone(Some(tombstone))));
        }
        let stands = inside.record(name, now);
        match (at, &stands) {
            (Some(_), None) => return ready(Ok(Applied::Gone(None))),
            (Some(at), Some((data, _))) if Version::digest(data) != at => return ready(Ok(Applied::Conflict)),
            _ => {}
        }
        inside.records.remove(name);
        inside.tombstones.insert(name.into(), tomb);
        ready(Ok(if stands.is_some() { Applied::Done } else { Applied::Gone(None) }))
    }
    fn rename<'a>(
        &'a self,
        from: &'a str,
        guard: Guard,
        to: &'a str,
        write: Write,
        tomb: Tombstone,
        now: Timestamp,
    ) -> Answer<'a, Applied> {
        let at = guard.version();
        let mut inside = self.0.lock().unwrap();
        if let Err(error) = inside.fails() {
            return ready(Err(error));
        }
        if let Some(tombstone) = inside.tombstone(from, now) {
            return ready(Ok(Applied::Gone(Some(tombstone))));
        }
        match (at, inside.record(from, now)) {
            (_, None) => return ready(Ok(Applied::Gone(None))),
            (Some(at), Some((data, _))) if Version::digest(&data) != at => return ready(Ok(Applied::Conflict)),
            _ => {}
        }
        let Write::Record { data, expires, .. } = write else { panic!() };
        inside.records.remove(from);
        inside.tombstones.insert(from.into(), tomb);
        inside.records.insert(to.into(), (bytes(data), expires));
        ready(Ok(Applied::Done))
    }
    fn version(&self, data: &Stored, _drawn: Version) -> Version {
        Version::digest(data.body())
    }
}

/// An Express application's other half over the fake engine.
struct Site {
    clock: Clock,
    engine: Fake,
}

/// The cookie that Express sets for this id.
const SID: &str = "MainExpressSid_0123456789-abcdef";
const NAME: &str = "sess:MainExpressSid_0123456789-abcdef";
const COOKIE: &str = "connect.sid=s%3AMainExpressSid_0123456789-abcdef.K6eoFFkyQRARQbmqsy5wAOz%2FMyBw7pOBUbu%2F9iNbj9w";
const END: Timestamp = Timestamp::from_secs(1_700_086_400);

impl Site {
    fn new() -> Self {
        Self { clock: Clock::at(NOW), engine: Fake::default() }
    }
    fn express(&self, make: impl Fn(ExpressSession) -> ExpressSession + Send + Sync + 'static) -> SessionManager {
        let layered = Layered::new(Arc::new(ConnectRedis::new()), Arc::new(self.engine.clone()));
        SessionManager::builder(Keyring::new(Secret::new(SECRET).unwrap()))
            .unwrap()
            .dialect(move |keys: &Keyring| make(ExpressSession::new(keys)))
            .store(layered)
            .clock(self.clock.clone())
            .build()
            .unwrap()
    }
    fn builder(&self) -> SessionManagerBuilder {
        SessionManager::builder(Keyring::new(Secret::new(SECRET).unwrap())).unwrap().clock(self.clock.clone())
    }
    fn before(&self) -> SessionManagerBuilder {
        SessionManager::builder(Keyring::new(Secret::new(OLD).unwrap())).unwrap().clock(self.clock.clone())
    }
    /// Express writes this record.
    fn writes(&self, json: &str) {
        self.engine.set(NAME, json, END);
    }
    fn until(&self) -> Timestamp {
        NOW.after(Duration::from_secs(90 * 86_400))
    }
}

/// A browser with all cookies of the site.
#[derive(Clone, Debug, Default)]
struct Browser(BTreeMap<String, String>);

impl Browser {
    fn with(cookie: &str) -> Self {
        let mut browser = Self::default();
        let (name, value) = cookie.split_once('=').unwrap();
        browser.0.insert(name.into(), value.into());
        browser
    }
    fn headers(&self) -> HeaderMap {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(pairs.join("; ")).unwrap())])
    }
    async fn opens(&self, manager: &SessionManager) -> Session {
        manager.open(&self.headers()).await.unwrap()
    }
    async fn ends(&mut self, manager: &SessionManager, session: Session) -> Result<(), dewar::Error> {
        let mut response = HeaderMap::new();
        let done = manager.commit(&session).await.apply(&mut response);
        for cookie in response.get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            match value {
                _ if cookie.contains("01 Jan 1970") => self.0.remove(name),
                value => self.0.insert(name.to_owned(), value.to_owned()),
            };
        }
        done
    }
    async fn visits(&mut self, manager: &SessionManager, handler: impl FnOnce(&Session)) -> Result<(), dewar::Error> {
        let session = manager.open(&self.headers()).await?;
        handler(&session);
        self.ends(manager, session).await
    }
}

// ---------------------------------------------------------------- moving to Express

#[tokio::test]
async fn sessions_do_not_move_into_records_of_another_framework() {
    let site = Site::new();
    let layered = Layered::new(Arc::new(ConnectRedis::new()), Arc::new(site.engine.clone()));
    let moving = site.builder().dialect(ExpressSession::new).store(layered);
    let error = moving.reads_also(site.before().build().unwrap(), site.until()).build().unwrap_err();
    assert!(error.is_setting() && error.to_string().contains("reads_also"), "{error}");
}

#[tokio::test]
async fn messages_that_flask_left_are_shown_after_the_move_to_cookie_session() {
    let site = Site::new();
    let old = site.before().dialect(Flask::new).build().unwrap();
    let new = site.builder().dialect(CookieSession::new).cookie_name("new").reads_also(old.clone(), site.until());
    let new = new.build().unwrap();
    let mut ada = Browser::default();
    ada.visits(&old, |session| session.flash_as("Welcome!", "info")).await.unwrap();
    let shown = ada.opens(&new).await.take_flashes();
    assert_eq!((shown.len(), shown[0].category.as_str(), shown[0].text()), (1, "info", "Welcome!"));
}

// ---------------------------------------------------------------- what moves

#[tokio::test]
async fn a_session_of_express_with_a_lifetime_of_its_own_has_the_new_layer_s_absolute_timeout() {
    let site = Site::new();
    let old = site.express(|dialect| dialect);
    let new = SessionManager::builder(Keyring::new(Secret::new(OLD).unwrap())).unwrap();
    let new = new.clock(site.clock.clone()).store(MemoryStore::new());
    let new = new.lifetime(Lifetime::browser().idle(HOUR * 24).absolute(HOUR * 48)).reads_also(old, site.until());
    let new = new.build().unwrap();
    site.writes(r#"{"cookie":{"originalMaxAge":7200000,"expires":"2023-11-15T00:13:20.000Z"},"a":1}"#);
    let mut ada = Browser::with(COOKIE);
    ada.visits(&new, |session| session.insert("b", 2)).await.unwrap();
    for _ in 0..60 {
        site.clock.advance(HOUR);
        ada.visits(&new, |session| session.insert("b", 3)).await.unwrap();
    }
    assert!(!ada.opens(&new).await.contains("a"), "60 hours old, where no session may live longer than 48");
}

#[tokio::test]
async fn messages_that_express_left_are_shown_after_the_move_to_our_own_store() {
    let site = Site::new();
    let old = site.express(|dialect| dialect);
    let new = site.before().store(MemoryStore::new()).reads_also(old.clone(), site.until()).build().unwrap();
    let mut ada = Browser::default();
    ada.visits(&old, |session| session.flash("Welcome!")).await.unwrap();
    let shown = ada.opens(&new).await.take_flashes();
    assert_eq!(shown.len(), 1, "a message is dropped silently");
}

#[tokio::test]
async fn a_log_out_at_express_while_its_session_moves_is_a_log_out_here() {
    let site = Site::new();
    let old = site.express(ExpressSession::passport);
    let new = site.before().store(MemoryStore::new()).reads_also(old.clone(), site.until()).build().unwrap();
    site.writes(r#"{"cookie":{"originalMaxAge":null},"passport":{"user":"alice"},"a":1}"#);
    let mut ada = Browser::with(COOKIE);
    let session = ada.opens(&new).await;
    assert_eq!(session.principal().as_deref(), Some("alice"));
    session.insert("b", 2);
    // `req.logout()` of Passport 0.5: the id stays.
    site.writes(r#"{"cookie":{"originalMaxAge":null},"passport":{},"a":1}"#);
    let _ = ada.ends(&new, session).await;
    assert_eq!(ada.opens(&new).await.principal(), None, "logged out there, and logged in here");
}

#[tokio::test]
async fn a_log_in_of_another_at_express_while_its_session_moves_mixes_no_two_users() {
    let site = Site::new();
    let old = site.express(ExpressSession::passport);
    let new = site.before().store(MemoryStore::new()).reads_also(old.clone(), site.until()).build().unwrap();
    site.writes(r#"{"cookie":{"originalMaxAge":null},"passport":{"user":"alice"},"a":1}"#);
    let mut ada = Browser::with(COOKIE);
    let session = ada.opens(&new).await;
    session.insert("b", 2);
    site.writes(r#"{"cookie":{"originalMaxAge":null},"passport":{"user":"bob"},"secret of bob":1}"#);
    let _ = ada.ends(&new, session).await;
    let session = ada.opens(&new).await;
    assert!(
        session.principal().as_deref() != Some("alice") || !session.contains("secret of bob"),
        "alice has what is bob's"
    );
}

#[tokio::test]
async fn what_was_labelled_at_the_old_store_while_it_moves_has_its_label() {
    let site = Site::new();
    let old = site.before().store(MemoryStore::new()).build().unwrap();
    let new = site.builder().store(MemoryStore::new()).cookie_name("new").reads_also(old.clone(), site.until());
    let new = new.build().unwrap();
    let mut ada = Browser::default();
    ada.visits(&old, |session| {
        session.set_principal("ada");
        session.insert("a", 1);
    })
    .await
    .unwrap();
    let mut other = ada.clone();
    let session = ada.opens(&new).await;
    session.insert("b", 2);
    other.visits(&old, |session| session.set_label("Firefox")).await.unwrap();
    ada.ends(&new, session).await.unwrap();
    let devices = new.sessions_of("ada").await.unwrap();
    assert_eq!(devices[0].label.as_deref(), Some("Firefox"), "answered 2xx, and lost");
}

#[tokio::test]
async fn remember_me_that_express_said_while_its_session_moves_is_kept() {
    let site = Site::new();
    let old = site.express(|dialect| dialect);
    let new = site.before().store(MemoryStore::new()).reads_also(old.clone(), site.until()).build().unwrap();
    site.writes(r#"{"cookie":{"originalMaxAge":null},"a":1}"#);
    let mut ada = Browser::with(COOKIE);
    let mut other = ada.clone();
    let session = ada.opens(&new).await;
    session.insert("b", 2);
    other.visits(&old, |session| session.set_lifetime(Lifetime::persistent().idle(HOUR * 24 * 20))).await.unwrap();
    ada.ends(&new, session).await.unwrap();
    site.clock.advance(HOUR * 24 * 10);
    assert_eq!(ada.opens(&new).await.get("a"), Some(1), "answered 2xx, and forgotten");
}

#[tokio::test]
async fn a_session_that_expired_at_its_source_while_it_moved_is_no_2xx_with_its_write_lost() {
    let site = Site::new();
    let old = site.express(|dialect| dialect);
    let new = site.before().store(MemoryStore::new()).reads_also(old.clone(), site.until()).build().unwrap();
    site.engine.set(NAME, r#"{"cookie":{"originalMaxAge":null},"a":1}"#, NOW.after(Duration::from_secs(2)));
    let mut ada = Browser::with(COOKIE);
    let session = ada.opens(&new).await;
    session.insert("b", 2);
    site.clock.advance(Duration::from_secs(3));
    let done = ada.ends(&new, session).await;
    assert!(done.is_err() || ada.opens(&new).await.get("b") == Some(2), "answered 2xx, and lost");
}

// ---------------------------------------------------------------- who it is

/// After a request in which alice's browser becomes eve's.
async fn eve_has_nothing_of_alice_s(manager: &SessionManager, mut browser: Browser, becomes: impl FnOnce(&Session)) {
    browser.visits(manager, becomes).await.unwrap();
    let session = browser.opens(manager).await;
    assert_eq!(session.principal().as_deref(), Some("eve"));
    assert!(!session.contains("secret of alice"), "eve has what is alice's");
}

#[tokio::test]
async fn nobody_between_two_users_of_one_request_keeps_the_former_s_entries_no_more_than_a_removal() {
    let site = Site::new();
    let manager = site.express(|dialect| dialect.principal_entry("userId"));
    site.writes(r#"{"cookie":{"originalMaxAge":null},"userId":"alice","secret of alice":1}"#);
    let ada = Browser::with(COOKIE);
    eve_has_nothing_of_alice_s(&manager, ada, |session| {
        session.insert("userId", None::<String>);
        session.insert("userId", "eve");
    })
    .await;
}

#[tokio::test]
async fn passport_without_a_user_between_two_users_of_one_request_keeps_nothing_of_the_former() {
    let site = Site::new();
    let manager = site.express(ExpressSession::passport);
    site.writes(r#"{"cookie":{"originalMaxAge":null},"passport":{"user":"alice"},"secret of alice":1}"#);
    let ada = Browser::with(COOKIE);
    eve_has_nothing_of_alice_s(&manager, ada, |session| {
        session.insert("passport", serde_json::json!({}));
        session.insert("passport", serde_json::json!({ "user": "eve" }));
    })
    .await;
}

#[tokio::test]
async fn set_principal_after_the_former_user_s_entry_was_removed_keeps_nothing_of_the_former() {
    let site = Site::new();
    let manager = site.express(|dialect| dialect.principal_entry("userId"));
    site.writes(r#"{"cookie":{"originalMaxAge":null},"userId":"alice","secret of alice":1}"#);
    let ada = Browser::with(COOKIE);
    eve_has_nothing_of_alice_s(&manager, ada, |session| {
        session.remove("userId");
        session.set_principal("eve");
    })
    .await;
}

#[tokio::test]
async fn set_principal_after_flask_login_s_entry_was_removed_keeps_nothing_of_the_former() {
    let site = Site::new();
    let manager = site.before().dialect(Flask::new).build().unwrap();
    let mut ada = Browser::default();
    ada.visits(&manager, |session| {
        session.set_principal("alice");
        session.insert("secret of alice", 1);
    })
    .await
    .unwrap();
    eve_has_nothing_of_alice_s(&manager, ada, |session| {
        session.remove("_user_id");
        session.set_principal("eve");
    })
    .await;
}

#[tokio::test]
async fn a_log_in_that_races_with_express_s_log_in_of_another_takes_nothing_of_theirs() {
    let site = Site::new();
    let manager = site.express(|dialect| dialect.principal_entry("userId"));
    for by_entry in [false, true] {
        site.engine.0.lock().unwrap().tombstones.clear();
        site.writes(r#"{"cookie":{"originalMaxAge":null},"cart":1}"#);
        let mut ada = Browser::with(COOKIE);
        let session = ada.opens(&manager).await;
        // Express logs alice in, under the same id.
        site.writes(r#"{"cookie":{"originalMaxAge":null},"cart":1,"userId":"alice","secret of alice":1}"#);
        match by_entry {
            true => session.insert("userId", "bob"),
            false => session.set_principal("bob"),
        }
        ada.ends(&manager, session).await.unwrap();
        let session = ada.opens(&manager).await;
        assert_eq!(session.principal().as_deref(), Some("bob"));
        assert!(!session.contains("secret of alice"), "bob has what is alice's");
    }
}

#[tokio::test]
async fn what_two_requests_update_in_passport_s_entry_is_never_lost() {
    let site = Site::new();
    let manager = site.express(ExpressSession::passport);
    site.writes(r#"{"cookie":{"originalMaxAge":null},"passport":{"user":"7","n":0}}"#);
    let mut ada = Browser::with(COOKIE);
    let sessions = [ada.opens(&manager).await, ada.opens(&manager).await];
    for session in &sessions {
        session
            .update("passport", |passport: &mut serde_json::Value| {
                passport["n"] = (passport["n"].as_i64().unwrap() + 1).into();
            })
            .unwrap();
    }
    for session in sessions {
        ada.ends(&manager, session).await.unwrap();
    }
    let passport: serde_json::Value = ada.opens(&manager).await.get("passport").unwrap();
    assert_eq!(passport["n"], 2, "both were answered 2xx, and one is lost");
}

#[tokio::test]
async fn an_update_of_passport_s_entry_undoes_no_log_out_that_it_races_with() {
    let site = Site::new();
    let manager = site.express(ExpressSession::passport);
    site.writes(r#"{"cookie":{"originalMaxAge":null},"passport":{"user":"7"}}"#);
    let mut ada = Browser::with(COOKIE);
    let session = ada.opens(&manager).await;
    session
        .update("passport", |passport: &mut BTreeMap<String, serde_json::Value>| {
            passport.insert("seen".into(), true.into());
        })
        .unwrap();
    // Passport 0.5: `delete req.session.passport.user`.
    site.writes(r#"{"cookie":{"originalMaxAge":null},"passport":{}}"#);
    let _ = ada.ends(&manager, session).await;
    assert_eq!(ada.opens(&manager).await.principal(), None, "the log-out was undone");
}

#[tokio::test]
async fn another_member_of_passport_s_entry_is_no_other_user() {
    let site = Site::new();
    let manager = site.express(ExpressSession::passport);
    site.writes(r#"{"cookie":{"originalMaxAge":null},"passport":{"user":{"id":7}},"cart":1}"#);
    let mut ada = Browser::with(COOKIE);
    ada.visits(&manager, |session| {
        session
            .update("passport", |passport: &mut BTreeMap<String, serde_json::Value>| {
                passport.insert("seen".into(), true.into());
            })
            .unwrap();
    })
    .await
    .unwrap();
    assert!(ada.opens(&manager).await.contains("cart"), "the same user lost their entries");
}

#[tokio::test]
async fn an_entry_that_express_cannot_have_is_no_principal_entry_and_refused_at_start_up() {
    let site = Site::new();
    let layered = Layered::new(Arc::new(ConnectRedis::new()), Arc::new(site.engine.clone()));
    let built =
        site.builder().dialect(|keys: &Keyring| ExpressSession::new(keys).principal_entry("id")).store(layered).build();
    assert!(built.is_err(), "every log-in fails later");
}

// ---------------------------------------------------------------- races and lost answers

#[tokio::test]
async fn a_lost_write_is_not_taken_for_done_because_express_wrote_the_same() {
    let site = Site::new();
    let manager = site.express(|dialect| dialect);
    site.writes(r#"{"cookie":{"originalMaxAge":null},"n":0}"#);
    let mut ada = Browser::with(COOKIE);
    let session = ada.opens(&manager).await;
    session.update("n", |n: &mut i64| *n += 1).unwrap();
    {
        let mut inside = site.engine.0.lock().unwrap();
        (inside.failing_writes, inside.failing_loads) = (1, 1);
    }
    session.commit().await.unwrap_err();
    // Express counts, too: req.session.n += 1.
    site.writes(r#"{"cookie":{"originalMaxAge":null},"n":1}"#);
    let done = ada.ends(&manager, session).await;
    assert!(done.is_err() || ada.opens(&manager).await.get("n") == Some(2), "answered 2xx, and lost");
}

#[tokio::test]
async fn a_message_with_markup_is_refused_by_name_where_a_format_has_none() {
    let site = Site::new();
    let manager = site.express(|dialect| dialect);
    let mut ada = Browser::default();
    let error = ada.visits(&manager, |session| session.flash(Markup("<b>once</b>".into()))).await.unwrap_err();
    assert!(error.is_entry() && error.to_string().contains("markup"), "{error}");
}

// ---------------------------------------------------------------- layouts, records

#[tokio::test]
async fn a_layout_that_was_given_names_the_records() {
    let site = Site::new();
    let layered = Layered::new(Arc::new(ConnectRedis::new().prefix("app:")), Arc::new(site.engine.clone()));
    let manager = site.builder().dialect(ExpressSession::new).store(layered).build().unwrap();
    site.engine.set(&format!("app:{SID}"), r#"{"cookie":{"originalMaxAge":null},"a":1}"#, END);
    let ada = Browser::with(COOKIE);
    assert_eq!(ada.opens(&manager).await.get("a"), Some(1), "the prefix of the layout is ignored");
}

#[tokio::test]
async fn clearing_a_record_that_express_reads_and_we_do_not_ends_it() {
    let site = Site::new();
    let manager = site.express(|dialect| dialect);
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    site.writes(&format!(r#"{{"cookie":{{"originalMaxAge":null}},"userId":"alice","deep":{deep}}}"#));
    let mut ada = Browser::with(COOKIE);
    let mut was_empty = false;
    ada.visits(&manager, |session| {
        was_empty = session.is_empty();
        session.clear();
    })
    .await
    .unwrap();
    assert_eq!(
        site.engine.get(NAME),
        None,
        "the log-out was answered 2xx, and a copy of the cookie is logged in at Express"
    );
}

// ---------------------------------------------------------------- explain

#[test]
fn a_report_shows_no_value_however_it_is_printed() {
    let keyring = Keyring::new(Secret::new(SECRET).unwrap());
    let mut contents = Contents::new(NOW, 3600, None, false);
    let sealed = Sealed::new(&keyring);
    contents.data.insert(b"name", sealed.profile().encoding.write("nobody is to see this").unwrap());
    let cookie = sealed.write(Body::Data(&contents), "session", NOW, &mut |_| ()).unwrap().remove(0).value;
    let values = [("", &*cookie)];
    let report = Report::of(&sealed, &Jar::of("session", &values), &Limits::new(NOW, 3600));
    let text = format!("{report} {report:?}");
    assert!(!text.contains("nobody is to see this"), "{text}");
}

#[tokio::test]
async fn a_report_says_nothing_that_a_cookie_can_be_made_of() {
    let site = Site::new();
    let manager = site.before().build().unwrap();
    let mut ada = Browser::default();
    ada.visits(&manager, |session| session.insert("secret", 1)).await.unwrap();
    let cookie = ada.0["__Host-Http-session"].clone();
    let sealed = Sealed::new(&Keyring::new(Secret::new(OLD).unwrap()));
    let values = [("", &*cookie)];
    let report = Report::of(&sealed, &Jar::of("__Host-Http-session", &values), &Limits::new(NOW, 86_400));
    let log = format!("{report:?}");

    // The session moves to a store. Whoever reads the log makes its id of these numbers.
    let new = site.before().store(MemoryStore::new()).build().unwrap();
    ada.visits(&new, |session| session.insert("b", 2)).await.unwrap();
    let Some((_, unique)) = log.split_once("unique: Some([") else { return };
    let unique: Vec<u8> = unique.split_once(']').unwrap().0.split(", ").map(|byte| byte.parse().unwrap()).collect();
    let id = sha2::Sha256::new().chain_update("dewar taken over\0").chain_update(&unique).finalize();
    let thief = Browser::with(&format!("__Host-Http-session={}", URL_SAFE_NO_PAD.encode(id)));
    assert!(thief.opens(&new).await.is_empty(), "a line of a log opens the session");
}

// ---------------------------------------------------------------- more

#[tokio::test]
async fn a_write_of_one_user_is_not_put_into_the_session_of_another_that_express_made_of_it() {
    let site = Site::new();
    let manager = site.express(|dialect| dialect.principal_entry("userId"));
    site.writes(r#"{"cookie":{"originalMaxAge":null},"userId":"alice"}"#);
    let mut ada = Browser::with(COOKIE);
    let session = ada.opens(&manager).await;
    session.insert("secret of alice", 1);
    site.writes(r#"{"cookie":{"originalMaxAge":null},"userId":"bob"}"#);
    let _ = ada.ends(&manager, session).await;
    assert!(!site.engine.get(NAME).unwrap().contains("secret of alice"), "bob has what is alice's");
}

#[tokio::test]
async fn a_user_who_is_inserted_again_does_not_take_the_session_of_another_that_express_made_of_it() {
    let site = Site::new();
    let manager = site.express(|dialect| dialect.principal_entry("userId"));
    site.writes(r#"{"cookie":{"originalMaxAge":null},"userId":"alice"}"#);
    let mut ada = Browser::with(COOKIE);
    let session = ada.opens(&manager).await;
    session.insert("userId", "alice");
    site.writes(r#"{"cookie":{"originalMaxAge":null},"userId":"bob","secret of bob":1}"#);
    let _ = ada.ends(&manager, session).await;
    assert_eq!(ada.opens(&manager).await.principal().as_deref(), Some("bob"), "alice has what is bob's");
}

#[tokio::test]
async fn two_of_our_own_requests_that_count_lose_nothing_to_one_failure_of_the_network() {
    let site = Site::new();
    let managers = [site.express(|dialect| dialect), site.express(|dialect| dialect)];
    site.writes(r#"{"cookie":{"originalMaxAge":null},"n":0}"#);
    let mut ada = Browser::with(COOKIE);
    let sessions = [ada.opens(&managers[0]).await, ada.opens(&managers[1]).await];
    for session in &sessions {
        session.update("n", |n: &mut i64| *n += 1).unwrap();
    }
    // Never done. The handler goes on: "the response's commit tries again".
    site.engine.0.lock().unwrap().failing_writes = 1;
    sessions[0].commit().await.unwrap_err();
    let [one, other] = sessions;
    let done = [ada.ends(&managers[1], other).await, ada.ends(&managers[0], one).await];
    let answered = done.iter().filter(|done| done.is_ok()).count();
    assert_eq!(ada.opens(&managers[0]).await.get("n"), Some(answered), "answered 2xx, and lost");
}

/// A framework whose records say nothing of how long they live.
#[derive(Debug)]
struct Silent;

impl Layout for Silent {
    fn encoding(&self) -> Encoding {
        ConnectRedis::new().encoding()
    }
    fn holds(&self) -> Holds {
        Holds::NOTHING
    }
    fn name(&self, id: &str) -> String {
        format!("sess:{id}")
    }
    fn read(&self, found: &Stored, _: &mut Steps<'_>) -> Result<Kept, Refusal> {
        let data = Data::parse(self.encoding(), found.body()).ok_or(Refusal::Malformed)?;
        Ok(Kept::new(data))
    }
    fn write(&self, contents: &Contents, _: &Attributes) -> Result<Stored, dewar::Error> {
        let mut out = Vec::new();
        contents.data.write(self.encoding(), &mut out);
        Ok(Stored::Blob(out.into()))
    }
}

#[tokio::test]
async fn the_layer_s_persistent_cookie_is_no_matter_of_the_first_page_where_records_do_not_say() {
    let site = Site::new();
    let layered = Layered::new(Arc::new(Silent), Arc::new(site.engine.clone()));
    let layer = site.builder().dialect(ExpressSession::new).store(layered);
    let manager = layer.lifetime(Lifetime::persistent().idle(HOUR)).build().unwrap();
    let mut ada = Browser::default();
    ada.visits(&manager, |session| session.insert("a", 1)).await.unwrap();
    site.clock.advance(HOUR / 2);
    let session = ada.opens(&manager).await;
    session.insert("b", 2);
    let cookies: Vec<_> =
        manager.commit(&session).await.cookies().map(|it| String::from_utf8_lossy(it).into_owned()).collect();
    assert!(cookies.iter().any(|cookie| cookie.contains("Expires")), "the browser forgets it: {cookies:?}");
}

#[tokio::test]
async fn every_cookie_of_the_old_format_goes_when_its_session_has_moved() {
    let site = Site::new();
    let old = site.before().dialect(CookieSession::new).build().unwrap();
    let new = site.builder().dialect(Flask::new).reads_also(old.clone(), site.until()).build().unwrap();
    let mut ada = Browser::default();
    ada.visits(&old, |session| session.insert("a", 1)).await.unwrap();
    ada.visits(&new, |session| session.insert("b", 2)).await.unwrap();
    assert_eq!(ada.0.keys().collect::<Vec<_>>(), ["session"]);
}

#[tokio::test]
async fn a_session_that_was_renewed_at_its_source_while_it_moved_is_no_2xx_with_its_write_lost() {
    let site = Site::new();
    let old = site.before().store(MemoryStore::new()).build().unwrap();
    let new = site.builder().store(MemoryStore::new()).cookie_name("new").reads_also(old.clone(), site.until());
    let new = new.build().unwrap();
    let mut ada = Browser::default();
    ada.visits(&old, |session| session.insert("a", 1)).await.unwrap();
    let mut other = ada.clone();
    let session = ada.opens(&new).await;
    session.insert("b", 2);
    // Another request of the visit, at a server that does not know the new store yet.
    other.visits(&old, Session::renew).await.unwrap();
    let done = ada.ends(&new, session).await;
    other.0.extend(ada.0.into_iter().filter(|(name, _)| name == "new"));
    assert!(
        done.is_err() || other.opens(&new).await.get("b") == Some(2),
        "answered 2xx, lost, and nobody had logged out"
    );
}
