//! What a format keeps of a session, where it keeps it, and what a cookie says of itself.

use std::{sync::Arc, time::Duration};

use super::support::site::try_visit;
use dewar::{
    Clock, Keyring, Lifetime, Login, Secret, Session, SessionLayer, SessionManager,
    dialect::{
        self, Body, CookieSession, Dialect, ExpressSession, Flask, Jar, Lasts, Limits, Profile, Random, Refusal,
        Report, Sealed, SetValue, Steps, Token,
    },
    encoding::Encoding,
    layout::Shape,
    meaning::{Change, Data, Meaning},
    store::{Load, SessionStore, StoreKey, Timestamp, memory::MemoryStore},
    testing::Visitor,
};
use http::{HeaderMap, HeaderValue, header};

const SECRET: &str = "main-express-key-current";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn keyring() -> Keyring {
    Keyring::new(Secret::new(SECRET).unwrap())
}

fn express(
    store: &MemoryStore,
    make: impl Fn(ExpressSession) -> ExpressSession + Send + Sync + 'static,
) -> SessionManager {
    let layer = SessionLayer::new(SECRET).unwrap().dialect(move |keys: &Keyring| make(ExpressSession::new(keys)));
    layer.store(store.clone()).clock(Clock::at(NOW)).manager().unwrap()
}

fn flask(make: impl Fn(Flask) -> Flask + Send + Sync + 'static) -> SessionManager {
    let layer = SessionLayer::new(SECRET).unwrap().dialect(move |keys: &Keyring| make(Flask::new(keys)));
    layer.clock(Clock::at(NOW)).manager().unwrap()
}

/// The record that a visitor's cookie of Express's leads to.
async fn record(store: &MemoryStore, visitor: &Visitor) -> String {
    let cookie = visitor.cookie().to_str().unwrap().to_owned();
    let sid = cookie.strip_prefix("connect.sid=s%3A").unwrap().split('.').next().unwrap();
    match store.load(&StoreKey::foreign(format!("sess:{sid}")), NOW).await.unwrap() {
        Load::Found(record, _) => String::from_utf8(record.data.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_lifetime_of_a_single_session_is_in_express_s_record() {
    let store = MemoryStore::new();
    let manager = express(&store, |dialect| dialect);
    let mut ada = Visitor::prepared(&manager, |session| {
        session.insert("a", 1);
        session.set_lifetime(Lifetime::persistent().idle(2 * HOUR));
    })
    .await
    .unwrap();
    assert!(record(&store, &ada).await.starts_with(r#"{"cookie":{"originalMaxAge":7200000,"#));
    try_visit(&mut ada, &manager, |session| session.insert("b", 2)).await.unwrap();
    assert!(record(&store, &ada).await.contains("7200000"), "it stays with the session");
    try_visit(&mut ada, &manager, |session| session.set_lifetime(Lifetime::browser())).await.unwrap();
    assert!(record(&store, &ada).await.contains(r#""originalMaxAge":null"#));
}

#[tokio::test]
async fn what_a_format_cannot_say_of_a_single_session_is_refused_by_name() {
    let store = MemoryStore::new();
    let cookie = SessionLayer::new(SECRET).unwrap().dialect(CookieSession::new).manager().unwrap();
    let cases: [(&SessionManager, Lifetime, &str); 5] = [
        (&express(&store, |dialect| dialect), Lifetime::browser().idle(HOUR), "Lifetime::persistent().idle"),
        (&express(&store, |dialect| dialect), Lifetime::persistent().absolute(HOUR), "absolute timeout"),
        (&flask(|dialect| dialect), Lifetime::persistent().idle(HOUR), "set it on the layer"),
        (&cookie, Lifetime::persistent(), "set that on the layer"),
        (&cookie, Lifetime::browser().idle(HOUR), "set it on the layer"),
    ];
    for (manager, lifetime, what) in cases {
        let refused = Visitor::prepared(manager, |session| {
            session.insert("a", 1);
            session.set_lifetime(lifetime);
        });
        let error = refused.await.unwrap_err();
        assert!(error.is_setting() && error.to_string().contains(what), "{error}");
    }
    let nobody = Visitor::prepared(&cookie, |session| session.set_principal("7")).await.unwrap_err();
    assert!(nobody.is_setting() && nobody.to_string().contains("not told which entry"), "{nobody}");
}

#[tokio::test]
async fn the_principal_of_express_is_passport_s_user_or_an_entry_of_one_s_own_where_that_is_said() {
    let store = MemoryStore::new();
    let settings: [(SessionManager, &str); 3] = [
        (express(&store, ExpressSession::passport), r#""passport":{"user":"7"}"#),
        (express(&store, |dialect| dialect.principal_entry("userId")), r#""userId":"7""#),
        (express(&store, |dialect| dialect), ""),
    ];
    for (manager, expected) in &settings[..2] {
        let mut ada = Visitor::prepared(manager, |session| session.insert("cart", 1)).await.unwrap();
        let before = ada.cookie();
        try_visit(&mut ada, manager, |session| session.set_principal("7")).await.unwrap();
        assert_ne!(ada.cookie(), before, "a log-in has a new id");
        let json = record(&store, &ada).await;
        assert!(json.contains(expected) && json.contains(r#""cart":1"#), "{json}");
        assert_eq!(ada.session().await.unwrap().principal().as_deref(), Some("7"));
        try_visit(&mut ada, manager, |session| session.set_principal("8")).await.unwrap();
        assert!(
            !record(&store, &ada).await.contains("cart"),
            "another user's session begins without the former's entries"
        );
    }
    // By hand it is the same.
    let manager = &settings[0].0;
    let mut ada = Visitor::prepared(manager, |session| {
        session.insert("passport", serde_json::json!({ "user": 7, "other": true }));
    })
    .await
    .unwrap();
    assert_eq!(ada.session().await.unwrap().principal().as_deref(), Some("7"));
    try_visit(&mut ada, manager, |session| session.set_principal("7")).await.unwrap();
    assert!(record(&store, &ada).await.contains(r#""passport":{"user":7,"other":true}"#), "a number stays one");
    try_visit(&mut ada, manager, |session| {
        session.insert("mine", 1);
        session.insert("passport", serde_json::json!({ "user": 8 }));
    })
    .await
    .unwrap();
    assert!(!record(&store, &ada).await.contains("mine"));
    let nobody = Visitor::prepared(&settings[2].0, |session| session.insert("passport", 7)).await.unwrap();
    assert_eq!(nobody.session().await.unwrap().principal(), None);
}

#[tokio::test]
async fn messages_are_kept_as_connect_flash_keeps_them() {
    let store = MemoryStore::new();
    let manager = express(&store, |dialect| dialect);
    let mut ada = Visitor::prepared(&manager, |session| {
        session.flash_as("one", "info");
        session.flash_as("two", "error");
        session.flash_as("three", "info");
        session.flash_as("one", "info");
    })
    .await
    .unwrap();
    let json = record(&store, &ada).await;
    assert!(json.ends_with(r#""flash":{"info":["one","three","one"],"error":["two"]}}"#), "{json}");
    let mut shown = Vec::new();
    try_visit(&mut ada, &manager, |session| {
        shown = session.take_flashes();
        session.flash_as("four", "late");
    })
    .await
    .unwrap();
    let texts: Vec<_> = shown.iter().map(|flash| (flash.category.as_str(), flash.text())).collect();
    assert_eq!(texts, [("info", "one"), ("info", "three"), ("info", "one"), ("error", "two")]);
    assert!(record(&store, &ada).await.ends_with(r#""flash":{"late":["four"]}}"#));
    try_visit(&mut ada, &manager, |session| {
        session.take_flashes();
        session.insert("a", 1);
    })
    .await
    .unwrap();
    assert!(!record(&store, &ada).await.contains("flash"));
}

#[tokio::test]
async fn two_requests_that_race_leave_both_their_messages_at_express() {
    let store = MemoryStore::new();
    let manager = express(&store, |dialect| dialect);
    let ada = Visitor::prepared(&manager, |session| session.flash_as("zero", "info")).await.unwrap();
    let [one, other] = [ada.session().await.unwrap(), ada.session().await.unwrap()];
    one.flash_as("one", "info");
    let shown = other.take_flashes();
    other.flash_as("two", "info");
    for session in [one, other] {
        manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap();
    }
    assert_eq!(shown.len(), 1);
    assert!(record(&store, &ada).await.ends_with(r#""flash":{"info":["one","two"]}}"#));
}

#[tokio::test]
async fn a_log_in_is_one_that_flask_login_believes() {
    let manager = flask(|dialect| dialect);
    // What `flask_login.utils._create_identifier` of Flask-Login 0.6.3 gave for these.
    let clients = [
        (
            ("127.0.0.1", "curl/8"),
            "e3b66b456272032cfccd37bff3478587d79e2c0f2719960c75c6a22aa25d6a0dc6a0b5e738c6d8b75e8533c3ae5d391ec6191d611561902ea5b09abda53a2371",
        ),
        (
            ("10.0.0.1, 1.1.1.1", r#"it's "x" é \ 'q'"#),
            "280d417581767ae466adb3a58275a1144ef3d78d76c15c6af462479fa00e70ab272d4644b01507fbe1bb014a6d4f8367faecdd0502a1947b8c467787af57aed6",
        ),
        (
            ("::1", "it's"),
            "eca1874071d2260b861d85dd4c4b5d024437e9384fdd767a68b09346a633856a6116663707c30784e2564731c46300cb8cb5abde7898c38f49b0830b5e6b692a",
        ),
    ];
    for ((address, user_agent), identifier) in clients {
        let log_in = |session: &Session| session.set_principal(Login::new("7").client(address, user_agent));
        let ada = Visitor::prepared(&manager, log_in).await.unwrap();
        let session = ada.session().await.unwrap();
        assert_eq!(session.get::<String>("_user_id").as_deref(), Some("7"));
        assert_eq!(session.get("_fresh"), Some(true));
        assert_eq!(session.get::<String>("_id").as_deref(), Some(identifier));
        assert_eq!(session.principal().as_deref(), Some("7"));
    }

    let without = flask(|dialect| dialect.flask_login(false));
    let error = Visitor::prepared(&without, |session| session.set_principal("7")).await.unwrap_err();
    assert!(error.is_setting() && error.to_string().contains("not told which entry"), "{error}");
    let ada = Visitor::prepared(&without, |session| session.insert("_user_id", "7")).await.unwrap();
    assert_eq!(ada.session().await.unwrap().principal(), None, "an entry like any other");
}

#[tokio::test]
async fn a_store_of_other_records_than_the_dialect_s_is_refused_at_start_up() {
    let engine = MemoryStore::new().engine(Shape::Blob).unwrap();
    let layout = ExpressSession::new(&keyring()).layout().unwrap();
    let layered = dewar::store::Layered::new(layout, engine);
    let error = SessionLayer::new(SECRET).unwrap().store(layered.clone()).manager().unwrap_err();
    assert!(error.is_setting() && error.to_string().contains(".dialect("), "{error}");
    // Where the dialect's ids lead to such records, it is what it says.
    let manager = SessionLayer::new(SECRET).unwrap().dialect(ExpressSession::new).store(layered).manager().unwrap();
    let ada = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
    assert_eq!(ada.session().await.unwrap().get("a"), Some(1));
    let error = manager.revoke_everyone().await.unwrap_err();
    assert!(error.to_string().contains("does not list"), "{error}");
}

/// Sealed, with a second cookie that lasts a minute, and a third that is not any more.
struct Several(Sealed);

impl Dialect for Several {
    fn profile(&self) -> &Profile {
        self.0.profile()
    }
    fn read(&self, jar: &Jar<'_>, limits: &Limits, steps: &mut Steps<'_>) -> Result<Token, Refusal> {
        jar.get(".bound")?.ok_or(Refusal::BadSignature)?;
        self.0.read(jar, limits, steps)
    }
    fn write(
        &self,
        body: Body<'_>,
        cookie: &str,
        now: Timestamp,
        random: Random<'_>,
    ) -> Result<Vec<SetValue>, dewar::Error> {
        let mut cookies = self.0.write(body, cookie, now, random)?;
        cookies.push(SetValue::new(".bound", "yes".into()).lasting(Lasts::For(Duration::from_secs(60))));
        cookies.push(SetValue::new(".0", String::new()).lasting(Lasts::NotAnyMore));
        Ok(cookies)
    }
    fn removal(&self, _: &str) -> Vec<SetValue> {
        ["", ".bound"].map(|suffix| SetValue::new(suffix, String::new())).into()
    }
    fn meaning(&self) -> Arc<dyn Meaning> {
        Arc::new(Tokens)
    }
}

/// A token in an entry that changes with the id.
#[derive(Debug)]
struct Tokens;

impl Meaning for Tokens {
    fn set(&self, data: &mut Data, encoding: Encoding, change: Change<'_>) -> Result<(), dewar::Error> {
        if let Change::Renewed(random) = change {
            let mut token = [0; 8];
            random(&mut token);
            data.insert(b"_token", encoding.write(&u64::from_le_bytes(token)).unwrap());
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_dialect_may_set_several_cookies_each_with_a_lifetime_of_its_own() {
    let layer = SessionLayer::new(SECRET).unwrap().dialect(|keys: &Keyring| Several(Sealed::new(keys)));
    let manager = layer.clock(Clock::at(NOW)).cookie_name("app").manager().unwrap();
    let session = manager.open(&HeaderMap::new()).await.unwrap();
    session.insert("a", 1);
    let committed = manager.commit(&session).await;
    let cookies: Vec<_> = committed.cookies().map(|cookie| String::from_utf8(cookie.to_vec()).unwrap()).collect();
    let [first, bound, gone] = &cookies[..] else { panic!("{cookies:?}") };
    assert!(first.starts_with("app=") && !first.contains("Max-Age"), "{first}");
    assert!(bound.starts_with("app.bound=yes; ") && bound.contains("Max-Age=60"), "{bound}");
    assert!(gone.starts_with("app.0=; ") && gone.contains("Max-Age=0"), "{gone}");

    let mut request = HeaderMap::new();
    let pair = first.split(';').next().unwrap();
    request.insert(header::COOKIE, HeaderValue::from_str(pair).unwrap());
    assert!(manager.open(&request).await.unwrap().is_empty(), "the one is not enough");
    request.insert(header::COOKIE, HeaderValue::from_str(&format!("app.bound=yes; {pair}")).unwrap());
    let session = manager.open(&request).await.unwrap();
    assert_eq!(session.get("a"), Some(1));
    session.clear();
    assert_eq!(manager.commit(&session).await.cookies().count(), 2);
}

#[tokio::test]
async fn what_a_framework_ties_to_the_id_changes_with_it() {
    let layer = SessionLayer::new(SECRET).unwrap().dialect(|keys: &Keyring| Several(Sealed::new(keys)));
    let manager = layer.cookie_name("app").dangerously_allow_http().manager().unwrap();
    let mut ada = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
    assert!(!ada.session().await.unwrap().contains("_token"));
    let mut tokens = Vec::new();
    for change in [Session::renew as fn(&Session), |session: &Session| session.set_principal("7"), Session::renew] {
        try_visit(&mut ada, &manager, change).await.unwrap();
        tokens.push(ada.session().await.unwrap().get::<u64>("_token").unwrap());
    }
    try_visit(&mut ada, &manager, |session| session.insert("b", 2)).await.unwrap();
    assert_eq!(ada.session().await.unwrap().get("_token"), tokens.last().copied());
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
}

#[test]
fn a_report_says_what_a_cookie_is_and_which_secret_fits_and_never_a_value() {
    let older = Secret::new("main-express-key-previous").unwrap();
    let keyring = keyring().fallback(older.clone());
    let limits = Limits::new(NOW, 86_400);
    let mut contents = dewar::dialect::Contents::new(NOW, 3600, None, false);
    let flask = Flask::new(&Keyring::new(older));
    let encoding = flask.profile().encoding;
    contents.data.insert(b"firstName", encoding.write("a value that nobody is to see").unwrap());
    let cookie = flask.write(Body::Data(&contents), "session", NOW, &mut |_| ()).unwrap().remove(0).value;

    let report = Report::of(&Flask::new(&keyring), &Jar::of("session", &[("", &cookie)]), &limits);
    let text = report.to_string();
    assert!(
        report.verdict.is_ok() && text.contains("of secret 2 of 2") && text.contains("2023-11-14T22:13:20Z"),
        "{text}"
    );
    assert!(text.contains("firstName") && !text.contains("nobody is to see"), "{text}");

    // Forged and expired ones say as much, and are refused.
    let forged = format!("{}A", &cookie[..cookie.len() - 1]);
    let report = Report::of(&Flask::new(&keyring), &Jar::of("session", &[("", &forged)]), &limits);
    let text = report.to_string();
    assert_eq!(report.verdict.unwrap_err(), Refusal::BadSignature);
    assert!(
        text.contains("2023-11-14T22:13:20Z") && text.contains("no secret") && text.ends_with("bad_signature"),
        "{text}"
    );
    let late = Limits::new(NOW.after(48 * HOUR), 86_400);
    let report = Report::of(&Flask::new(&keyring), &Jar::of("session", &[("", &cookie)]), &late);
    assert!(report.to_string().contains("of secret 2 of 2"), "{report}");
    assert_eq!(report.verdict.unwrap_err(), Refusal::Expired);
}

#[test]
fn every_dialect_is_listed_with_its_usual_cookies() {
    let all: Vec<_> = dialect::all().collect();
    let names: Vec<_> = all.iter().map(|known| known.name).collect();
    let ours = ["Sealed", "Opaque"];
    let theirs = [
        "Flask",
        "Flask-Session",
        "Django",
        "Django-session",
        "Rails",
        "cookie-session",
        "express-session",
        "iron-session",
        "Phoenix",
        "PHP",
        "Laravel",
        "Symfony",
    ];
    assert_eq!(names, [&ours[..], &theirs].concat());
    for known in all {
        let dialect = known.under(&keyring());
        assert_eq!(dialect.profile().name, known.name);
        assert!(known.cookies.contains(&dialect.profile().cookie.name.as_str()), "{}", known.name);
    }
}

#[test]
fn the_page_on_compatibility_names_every_setting_of_every_dialect() {
    let page = include_str!("../../../../COMPATIBILITY.md");
    for known in dialect::all() {
        let name = known.name.to_ascii_lowercase();
        let refused = known.with("no_such_setting=1").err().expect("there is no such setting").to_string();
        let Some((_, settings)) = refused.split_once("it has ") else { continue };
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        for setting in settings.split(", ") {
            assert!(row.contains(&format!("`{setting}`")), "{name}: {setting} is not in {row}");
        }
    }
}
