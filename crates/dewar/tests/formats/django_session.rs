//! Django's sessions in its table and its cache: what the rows say, and what is left alone.

use std::time::Duration;

use bytes::Bytes;
use dewar::{
    Clock, Keyring, Lifetime, Refusal, Secret, Session, SessionLayer, SessionManager,
    dialect::{
        Dialect, DjangoSession, Report,
        wire::itsdangerous::{Derivation, Digest, Signer},
    },
    layout::Stored,
    store::{Load, Record, SessionStore, StoreKey, Timestamp, Version, memory::MemoryStore, sqlite::SqliteStore},
};
use http::{HeaderMap, HeaderValue, header};
use proptest::prelude::*;
use rusqlite::Connection;

use crate::support::directory::Directory;

const SECRET: &str = "the secret of this spring 2";
const OLD: &str = "the secret of last winter 1";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const ID: &str = "mainkey0123456789abcdefghijklmno";
const TWO_WEEKS: u64 = 1_209_600;

/// The table as Django's migration makes it in SQLite.
const MADE: &str = "CREATE TABLE django_session (session_key varchar(40) NOT NULL PRIMARY KEY, session_data text NOT NULL, expire_date datetime NOT NULL); \
                    CREATE INDEX django_session_expire_date_a5c62663 ON django_session (expire_date)";

fn keyring(secrets: &[&str]) -> Keyring {
    let mut secrets = secrets.iter().map(|secret| Secret::new(secret).unwrap());
    let first = Keyring::new(secrets.next().unwrap());
    secrets.fold(first, Keyring::fallback)
}

/// A site's database.
struct Site {
    directory: Directory,
    connection: Connection,
}

impl Site {
    fn new() -> Self {
        let directory = Directory::new();
        let connection = Connection::open(directory.file()).unwrap();
        connection.execute_batch(MADE).unwrap();
        Self { directory, connection }
    }

    fn layer(&self) -> SessionLayer {
        let store = SqliteStore::open(self.directory.file()).unwrap();
        SessionLayer::new(SECRET).unwrap().dialect(DjangoSession::new).store(store).clock(Clock::at(NOW))
    }

    fn manager(&self) -> SessionManager {
        self.layer().manager().unwrap()
    }

    /// A row as Django writes it, that ends so many seconds from now.
    fn insert(&self, id: &str, text: &str, left: i64) {
        let insert = "INSERT INTO django_session VALUES (?1, ?2, strftime('%Y-%m-%d %H:%M:%f', ?3, 'unixepoch'))";
        self.connection.execute(insert, (id, text, NOW.as_secs() as i64 + left)).unwrap();
    }

    /// The text of a row, and the seconds from now until it ends.
    fn row(&self, id: &str) -> Option<(String, i64)> {
        let select = "SELECT session_data, unixepoch(expire_date) FROM django_session WHERE session_key = ?1";
        let mut select = self.connection.prepare(select).unwrap();
        let mut rows = select.query_map([id], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).unwrap();
        rows.next().map(|row| row.unwrap()).map(|(text, ends)| (text, ends - NOW.as_secs() as i64))
    }
}

/// These entries, as `signing.dumps` writes them.
fn signed(json: &str, secret: &str) -> String {
    let mut text = String::new();
    dewar::encoding::base64::push_url(json.as_bytes(), &mut text);
    text.push_str(":1r31eq");
    let salt = b"django.contrib.sessions.SessionStore";
    let signer = Signer::new(&[secret.as_bytes()], salt, Digest::Sha256, Derivation::DjangoConcat).unwrap();
    signer.separator(b':').unwrap().sign_into(&mut text);
    text
}

async fn open(manager: &SessionManager, id: &str) -> Session {
    let cookie = HeaderValue::from_str(&format!("sessionid={id}")).unwrap();
    manager.open(&HeaderMap::from_iter([(header::COOKIE, cookie)])).await.unwrap()
}

/// One request with this id: the `Set-Cookie` headers of its response.
async fn request(manager: &SessionManager, id: &str, handle: impl FnOnce(&Session)) -> Vec<String> {
    let session = open(manager, id).await;
    handle(&session);
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    response.get_all(header::SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap().to_owned()).collect()
}

/// The id that a response sets.
fn id_of(cookies: &[String]) -> String {
    let [cookie] = cookies else { panic!("one cookie: {cookies:?}") };
    cookie.strip_prefix("sessionid=").unwrap().split(';').next().unwrap().to_owned()
}

async fn has(manager: &SessionManager, id: &str, entry: &str) -> bool {
    open(manager, id).await.contains(entry)
}

#[tokio::test]
async fn a_row_is_the_text_that_django_writes_and_ends_in_two_weeks() {
    let site = Site::new();
    let id = id_of(&request(&site.manager(), "", |session| session.insert("a", 1)).await);
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{id}");
    assert_eq!(site.row(&id), Some((signed(r#"{"a":1}"#, SECRET), TWO_WEEKS as i64)));
}

#[tokio::test]
async fn what_a_session_says_of_its_lifetime_is_when_its_row_ends() {
    let site = Site::new();
    let manager = site.manager();
    let lives = |seconds| Lifetime::persistent().idle(Duration::from_secs(seconds));
    for (lifetime, says, left) in
        [(lives(300), 300, 300), (lives(5_000_000), 5_000_000, 5_000_000), (Lifetime::browser(), 0, TWO_WEEKS as i64)]
    {
        let id = id_of(&request(&manager, "", |session| session.insert("a", 1)).await);
        request(&manager, &id, |session| session.set_lifetime(lifetime)).await;
        let text = signed(&format!(r#"{{"a":1,"_session_expiry":{says}}}"#), SECRET);
        assert_eq!(site.row(&id), Some((text, left)));
        // What follows keeps it.
        request(&manager, &id, |session| session.insert("b", 2)).await;
        assert_eq!(site.row(&id).unwrap().1, left);
    }
    // Also where the application wrote it by hand.
    let by_hand = |session: &Session| session.insert("_session_expiry", 60);
    let id = id_of(&request(&manager, "", by_hand).await);
    assert_eq!(site.row(&id).unwrap().1, 60);
}

#[tokio::test]
async fn nothing_moves_the_end_of_a_session_that_names_a_moment() {
    let site = Site::new();
    site.insert(ID, &signed(r#"{"_session_expiry":"2023-11-14T23:13:20+00:00"}"#, SECRET), 3600);
    let store = SqliteStore::open(site.directory.file()).unwrap();
    let later = SessionLayer::new(SECRET).unwrap().dialect(DjangoSession::new).store(store);
    let later = later.clock(Clock::at(NOW.after(Duration::from_secs(1800)))).manager().unwrap();
    request(&later, ID, |_| ()).await;
    assert_eq!(site.row(ID).unwrap().1, 3600, "it was opened");
    let cookies = request(&later, ID, |session| session.insert("a", 1)).await;
    assert_eq!(site.row(ID).unwrap().1, 3600, "and written to");
    assert!(cookies.iter().all(|cookie| cookie.contains("Max-Age=1800;")), "{cookies:?}");
}

#[tokio::test]
async fn who_comes_in_the_last_second_of_such_a_session_does_not_prolong_it() {
    let site = Site::new();
    site.insert(ID, &signed(r#"{"_session_expiry":"2023-11-14T23:13:20+00:00"}"#, SECRET), 3600);
    let store = SqliteStore::open(site.directory.file()).unwrap();
    let last = SessionLayer::new(SECRET).unwrap().dialect(DjangoSession::new).store(store);
    let last = last.clock(Clock::at(NOW.after(Duration::from_millis(3_599_500)))).manager().unwrap();
    let cookies = request(&last, ID, |session| assert!(session.is_empty())).await;
    assert_eq!((site.row(ID).unwrap().1, cookies), (3600, Vec::<String>::new()));
}

#[tokio::test]
async fn a_row_that_cannot_be_read_opens_nothing_and_stays() {
    let site = Site::new();
    let manager = site.manager();
    let cut = signed(r#"{"a":1}"#, SECRET);
    let bomb = "[".repeat(100_000);
    for (at, text) in [
        &cut[1..],
        &cut[..cut.len() - 1],
        &signed(r#"{"a":1}"#, OLD),
        &signed("[1]", SECRET),
        &signed("{\"a\":\"\u{e9}\"}", SECRET),
        &signed(&bomb, SECRET),
        "gAVLAS4:1r31eq:AAAA",
        "",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("unreadable{at}");
        site.insert(&id, text, 3600);
        let session = open(&manager, &id).await;
        assert!(session.is_empty(), "{text:.60}");
        let new = id_of(&request(&manager, &id, |session| session.insert("b", 2)).await);
        assert_ne!(new, id);
        assert_eq!(site.row(&id), Some((text.to_owned(), 3600)), "{text:.60}");
    }
}

#[tokio::test]
async fn an_id_that_leads_nowhere_is_never_adopted() {
    let site = Site::new();
    let manager = site.manager();
    site.insert(ID, &signed(r#"{"a":1}"#, SECRET), 3600);
    site.insert("short12", &signed(r#"{"a":1}"#, SECRET), 3600);
    site.insert("ended567890", &signed(r#"{"a":1}"#, SECRET), 0);
    let long = "a".repeat(41);
    for id in [
        "abcdefghijklmnopqrstuvwxyz012345",
        "short12",
        "ended567890",
        &long,
        &ID.to_ascii_uppercase(),
        "with_a_b",
        "%6dainkey0",
    ] {
        assert!(!has(&manager, id, "a").await, "{id}");
        assert_ne!(id_of(&request(&manager, id, |session| session.insert("b", 2)).await), id);
    }
    assert!(has(&manager, ID, "a").await);
}

#[tokio::test]
async fn rows_of_an_older_secret_are_read_and_signed_anew_by_a_write() {
    let site = Site::new();
    let store = SqliteStore::open(site.directory.file()).unwrap();
    let layer = SessionLayer::new(keyring(&[SECRET, OLD])).unwrap().dialect(DjangoSession::new);
    let manager = layer.store(store).clock(Clock::at(NOW)).manager().unwrap();
    site.insert(ID, &signed(r#"{"a":1}"#, OLD), 3600);
    request(&manager, ID, |session| session.insert("b", 2)).await;
    assert_eq!(site.row(ID).unwrap().0, signed(r#"{"a":1,"b":2}"#, SECRET));
}

#[tokio::test]
async fn a_pickle_is_refused_with_what_to_set_instead_and_stays() {
    // pickle.dumps({"a": 1}), in the protocols that Django has used.
    let pickles = [
        &b"\x80\x05\x95\x0a\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s."[..],
        b"\x80\x04\x95\x0a\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.",
    ];
    let layout = DjangoSession::new(&keyring(&[SECRET])).layout().unwrap();
    for pickle in pickles {
        let report = Report::of_record(&*layout, &Stored::Blob(Bytes::from_static(pickle)));
        assert!(report.to_string().contains("serializer"), "{report}");
        assert_eq!(report.verdict.unwrap_err(), Refusal::Unsupported);

        let (store, key) = (MemoryStore::new(), StoreKey::foreign(format!(":1:django.contrib.sessions.cache{ID}")));
        let record = Record::new(pickle.into(), NOW, 3600, NOW.after(Duration::from_secs(3600)));
        store.create(&key, Version::from_bits(1), record.clone(), None, NOW).await.unwrap();
        let layer = SessionLayer::new(SECRET).unwrap().dialect(DjangoSession::new).store(store.clone());
        let manager = layer.clock(Clock::at(NOW)).manager().unwrap();
        assert_ne!(id_of(&request(&manager, ID, |session| session.insert("b", 2)).await), ID);
        let Load::Found(found, _) = store.load(&key, NOW).await.unwrap() else { panic!("it stays") };
        assert_eq!(found.data, record.data);
    }
}

#[tokio::test]
async fn a_value_of_the_cache_is_json_under_the_prefix_and_version() {
    let store = MemoryStore::new();
    let dialect = |secrets: &Keyring| DjangoSession::new(secrets).key_prefix("shop").version(2);
    let layer = SessionLayer::new(SECRET).unwrap().dialect(dialect).store(store.clone());
    let manager = layer.clock(Clock::at(NOW)).manager().unwrap();
    let id = id_of(&request(&manager, "", |session| session.insert("name", "Zoë")).await);
    let key = StoreKey::foreign(format!("shop:2:django.contrib.sessions.cache{id}"));
    let Load::Found(record, _) = store.load(&key, NOW).await.unwrap() else { panic!("there is no value") };
    assert_eq!(record.data, r#"{"name":"Zo\u00eb"}"#);
}

#[test]
fn copies_are_in_redis_and_records_of_copies_in_a_table() {
    let refused = |cache: &'static str, store: MemoryStore| {
        let dialect = move |secrets: &Keyring| DjangoSession::new(secrets).cached_db(cache);
        let layer = SessionLayer::new(SECRET).unwrap().dialect(dialect).store(store);
        layer.manager().unwrap_err().to_string()
    };
    let why = refused("redis://localhost", MemoryStore::new());
    assert!(why.contains("django_session") && why.contains("database"), "{why}");
    let site = Site::new();
    let dialect = |secrets: &Keyring| DjangoSession::new(secrets).cached_db("memory:");
    let why = site.layer().dialect(dialect).manager().unwrap_err().to_string();
    assert!(why.contains("cache: ") && why.contains("redis://"), "{why}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_stands_in_a_row_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), sign in any::<bool>()) {
        let dialect = DjangoSession::new(&keyring(&[SECRET]));
        let text = if sign { signed(&String::from_utf8_lossy(&bytes), SECRET).into() } else { bytes.clone() };
        for layout in [dialect.row().unwrap(), dialect.layout().unwrap()] {
            let found = Stored::Blob(text.clone().into());
            let report = Report::of_record(&*layout, &found);
            prop_assert_eq!(report.verdict.is_ok(), layout.read(&found, &mut dewar::dialect::Steps::off()).is_ok());
        }
    }
}
