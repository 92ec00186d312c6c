//! Tried by somebody hostile: cookies of other domains and of other frameworks, names and values that reach a log, hosts, caches, events told twice.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use crate::support::{
    browser::Browser,
    faulty::{Fault, Faulty, Verb},
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, Response},
    routing::get,
};
use dewar::{
    Clock, Event, Keyring, Secret, Session, SessionLayer, SessionManager, Templates,
    dialect::{Flask, Opaque},
    store::{Timestamp, memory::MemoryStore},
    testing::Visitor,
};
use http::{HeaderMap, HeaderValue, header};
use tower::ServiceExt;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const UNTIL: Timestamp = Timestamp::from_secs(1_800_000_000 + 31 * 86_400);
const EXAMPLE: &str = "w98fw9ef8hwe98fhwef";

#[tokio::test]
async fn a_visitor_of_a_test_keeps_the_session_while_the_domain_moves() {
    let manager = SessionManager::builder(Secret::generate())
        .unwrap()
        .clock(Clock::at(NOW))
        .cookie_name("session")
        .domain("example.com")
        .former_domain(None, UNTIL)
        .build()
        .unwrap();
    let mut ada = Visitor::new(&manager);
    ada.edit(|session| session.insert("n", 1)).await.unwrap();
    ada.edit(|session| session.insert("m", 2)).await.unwrap();
    let session = ada.session().await.unwrap();
    assert_eq!((session.get("n"), session.get("m")), (Some(1), Some(2)), "edit answered Ok, and it is lost");
}

/// Its cookie there would outlive a log-out here.
#[test]
fn a_source_that_was_itself_moving_to_another_domain_is_refused() {
    let source = SessionManager::builder(Secret::generate())
        .unwrap()
        .clock(Clock::at(NOW))
        .dialect(Flask::new)
        .domain("example.com")
        .former_domain(None, UNTIL)
        .build()
        .unwrap();
    let ours = SessionManager::builder(Secret::generate()).unwrap().clock(Clock::at(NOW)).reads_also(source, UNTIL);
    assert!(ours.build().unwrap_err().to_string().contains("name a source for each domain"));
}

/// What stands in a browser's jar of `remember_token` after these Set-Cookie headers.
fn remembered(response: &HeaderMap) -> Option<String> {
    let mut stands = Some("ada|old".to_owned());
    for cookie in response.get_all(header::SET_COOKIE) {
        let cookie = cookie.to_str().unwrap();
        if let Some(rest) = cookie.strip_prefix("remember_token=") {
            stands = if cookie.contains("Max-Age=0") { None } else { Some(rest.split(';').next().unwrap().to_owned()) };
        }
    }
    stands
}

#[tokio::test]
async fn who_logs_in_with_remember_me_as_another_is_remembered() {
    let layer = SessionLayer::new(EXAMPLE).unwrap().dialect(Flask::new);
    let log_in = |clears: bool| {
        move |session: Session| async move {
            if clears {
                session.clear();
            }
            session.set_principal("bob");
            [(header::SET_COOKIE, "remember_token=bob|new; HttpOnly; Path=/")]
        }
    };
    let app: Router =
        Router::new().route("/switch", get(log_in(false))).route("/clear", get(log_in(true))).layer(layer.clone());
    let ada = Visitor::prepared(&layer.manager().unwrap(), |session| session.set_principal("ada")).await.unwrap();
    let cookies = format!("{}; remember_token=ada|old", ada.cookie().to_str().unwrap());
    for path in ["/switch", "/clear"] {
        let request = Request::get(path).header(header::COOKIE, &cookies).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(
            remembered(response.headers()).as_deref(),
            Some("bob|new"),
            "{path}: the handler's own new cookie was removed: {:?}",
            response.headers()
        );
    }
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn an_error_of_a_template_never_shows_a_value_of_the_session() {
    const SECRET: &str = "hunter2-of-ada";
    let pages = [
        ("include", "{% include session.theme %}"),
        ("extends", "{% extends session.theme %}"),
        ("import", "{% import session.theme as theme %}"),
        ("filter", "{{ session.theme|int }}"),
        ("float", "{{ session.theme|float }}"),
        ("plus", "{{ session.theme + 1 }}"),
        ("minus", "{{ session.theme - 1 }}"),
        ("call", "{{ session.theme() }}"),
        ("method", "{{ session.theme.foo() }}"),
        ("in", "{{ 1 in session.theme }}"),
        ("get", "{{ session.get(1) }}"),
        ("kwarg", "{{ get_flashed_messages(**{session.theme: 1}) }}"),
        ("dict", "{{ dict(session.theme) }}"),
        ("range", "{{ range(session.theme) }}"),
        ("sum", "{{ [session.theme]|sum }}"),
        ("test", "{{ 1 is divisibleby(session.theme) }}"),
        ("select", "{{ [1]|select(session.theme)|list }}"),
        ("map", "{{ [1]|map(session.theme)|list }}"),
        ("unpack", "{% for a, b in [session.theme] %}{% endfor %}"),
        ("list", "{% for a in 5|round(session.theme) %}{% endfor %}"),
        ("slice", "{{ 'abc'[session.theme:] }}"),
        ("neg", "{{ -session.theme }}"),
        ("pow", "{{ session.theme ** 2 }}"),
        ("items", "{{ session.theme|items }}"),
        ("dictsort", "{{ session.theme|dictsort }}"),
        ("batch", "{{ [1]|batch(session.theme) }}"),
        ("format", "{{ '%d'|format(session.theme) }}"),
        ("reject", "{{ [1]|rejectattr('a', session.theme)|list }}"),
    ];
    let mut environment = minijinja::Environment::new();
    environment.set_loader(move |name| Ok(pages.iter().find(|page| page.0 == name).map(|page| page.1.to_owned())));
    let layer = SessionLayer::new(Secret::generate()).unwrap().templates(environment);
    let app: Router = Router::new()
        .route(
            "/{name}",
            get(async |axum::extract::Path(name): axum::extract::Path<String>, templates: Templates| {
                let done: Result<String, dewar::Error> = templates.render(&name, ());
                done.map(|_| "fine".to_owned())
            }),
        )
        .layer(layer.clone());
    let ada = Visitor::prepared(&layer.manager().unwrap(), |session| session.insert("theme", SECRET)).await.unwrap();
    let mut leaks = Vec::new();
    for (name, _) in pages {
        let mut ada = ada.clone();
        let response =
            ada.send(app.clone(), Request::get(format!("/{name}")).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let text = text(response).await;
        eprintln!(
            "{name} {status} {}",
            if status == 500 { text.lines().find(|l| l.contains("class=why")).unwrap_or("") } else { &text }
        );
        if text.contains(SECRET) {
            leaks.push(name);
        }
    }
    assert!(leaks.is_empty(), "the value is in the page and in the log of: {leaks:?}");
}

/// What `Pages` calls "an environment of minijinja of your own".
#[tokio::test]
async fn templates_of_an_environment_are_there_in_every_build() {
    let mut environment = minijinja::Environment::new();
    environment.add_template("home.html", "Hello, {{ session.firstName }}").unwrap();
    let layer = SessionLayer::new(Secret::generate()).unwrap().templates(environment);
    let app: Router =
        Router::new().route("/", get(async |pages: Templates| pages.render::<String>("home.html", ()))).layer(layer);
    let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status();
    let text = text(response).await;
    let why = text.lines().find(|line| line.contains("class=why")).unwrap_or(&text).to_owned();
    assert_eq!(status, 200, "{why}");
}

/// A map in a value may have names that are the visitors': addresses, telephone numbers.
#[tokio::test]
async fn an_error_of_an_entry_never_shows_a_name_inside_its_value() {
    let manager = SessionManager::builder(EXAMPLE).unwrap().dialect(Flask::new).build().unwrap();
    let session = manager.open(&HeaderMap::new()).await.unwrap();
    let twice = dewar::value::Value::Map(vec![
        (dewar::value::Value::Integer(4_915_112_345), dewar::value::Value::Null),
        (dewar::value::Value::Text("4915112345".into()), dewar::value::Value::Null),
    ]);
    session.insert("calls", twice);
    let error = session.commit().await.unwrap_err().to_string();
    assert!(!error.contains("4915112345"), "{error}");
}

#[tokio::test]
async fn the_address_of_a_store_never_shows_its_password() {
    let mut said = String::new();
    for url in [
        "redis://:hunter2@localhost:notaport",
        "redis://ada:hunter2@localhost:6379/notadb",
        "redis://ada:hunter2@",
        "redis://ada:hunter2@[::1",
        "redis://ada:hunter2@local host/",
        "redsi://ada:hunter2@localhost",
        "redis://localhost?password=hunter2",
        "rediss://ada:hunter2@localhost:99999",
        "redis:ada:hunter2@localhost",
        "ada:hunter2@localhost",
    ] {
        match dewar::store::open(url) {
            Ok(_) => said += &format!("{url} is fine\n").replace("hunter2", "..."),
            Err(error) => said += &format!("{error}\n"),
        }
    }
    eprintln!("{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

fn is_private(response: &HeaderMap) -> bool {
    response.get(header::VARY).is_some_and(|vary| vary.to_str().unwrap().to_ascii_lowercase().contains("cookie"))
        && response.contains_key(header::CACHE_CONTROL)
}

async fn with_cookie(store: &Faulty) -> (SessionLayer, Visitor) {
    let layer = SessionLayer::new(Secret::generate()).unwrap().store(store.clone());
    let ada = Visitor::prepared(&layer.manager().unwrap(), |session| session.insert("n", 1)).await.unwrap();
    (layer, ada)
}

#[tokio::test]
async fn a_page_that_did_not_wait_for_the_session_says_that_it_depends_on_it() {
    let store = Faulty::default();
    let (layer, mut ada) = with_cookie(&store).await;
    let app: Router = Router::new()
        .route(
            "/",
            get(async |request: axum::extract::Request| {
                let (parts, _) = request.into_parts();
                match tokio::time::timeout(Duration::from_millis(20), Session::from_parts(&parts)).await {
                    Ok(Ok(session)) => format!("Visit {}", session.get::<u32>("n").unwrap_or(0)),
                    _ => "Hello, stranger".to_owned(),
                }
            }),
        )
        .layer(layer);
    let request = || Request::get("/").body(Body::empty()).unwrap();
    store.always(Verb::Load, Fault::Slow(Duration::from_secs(5)));
    let response = ada.send(app.clone(), request()).await.unwrap();
    let headers = response.headers().clone();
    assert_eq!(text(response).await, "Hello, stranger");
    assert!(is_private(&headers), "a shared cache keeps the stranger's page for everybody: {headers:?}");
}

#[tokio::test]
async fn a_page_that_had_no_session_at_first_says_that_it_depends_on_it() {
    let store = Faulty::default();
    let (layer, mut ada) = with_cookie(&store).await;
    let app: Router = Router::new()
        .route(
            "/",
            get(async |request: axum::extract::Request| {
                let (parts, _) = request.into_parts();
                let first = Session::from_parts(&parts).await.is_ok();
                drop(Session::from_parts(&parts).await.unwrap());
                format!("{first}")
            }),
        )
        .layer(layer);
    store.fail(Verb::Load, 1, Fault::NotDone);
    let response = ada.send(app, Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    let headers = response.headers().clone();
    assert_eq!(text(response).await, "false");
    assert!(is_private(&headers), "{headers:?}");
}

/// `os.urandom(16)`, as Flask's documentation has long told to make one.
#[test]
fn random_bytes_are_a_good_secret() {
    let mut refused = Vec::new();
    for length in [16, 24, 32] {
        let mut count = 0;
        for _ in 0..40_000 {
            let mut bytes = vec![0; length];
            getrandom::fill(&mut bytes).unwrap();
            // Twice as fast as to make the advice each time.
            if let Err(error) = Secret::new(&bytes) {
                count += 1;
                if count == 1 {
                    refused.push(format!("{length} bytes, {bytes:?}: {}", error.to_string().lines().next().unwrap()));
                }
            }
        }
        eprintln!("{length} random bytes: {count} of 40000 refused");
    }
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn random_text_is_a_good_secret() {
    let alphabets: [&[u8]; 4] = [
        b"0123456789abcdef",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        b"abcdefghijklmnopqrstuvwxyz",
        b"0123456789",
    ];
    for alphabet in alphabets {
        for _ in 0..20_000 {
            let mut bytes = vec![0; 24];
            getrandom::fill(&mut bytes).unwrap();
            let text: Vec<u8> = bytes.iter().map(|byte| alphabet[*byte as usize % alphabet.len()]).collect();
            assert!(Secret::new(&text).is_ok(), "{}", String::from_utf8_lossy(&text));
        }
    }
}

#[test]
fn a_long_secret_costs_little() {
    // Looked at word by word, these would keep the test until tomorrow.
    for secret in ["a".repeat(1 << 24) + "b", "my".repeat(1 << 23), "shhhhhhhh".repeat(1 << 21)] {
        assert!(Secret::new(&secret).is_ok());
    }
}

/// `docker run --env-file` keeps the quotes; a file that is read keeps its end of line.
#[test]
fn the_examples_secret_is_known_in_quotes_too() {
    for spelt in ["\"w98fw9ef8hwe98fhwef\"", "'w98fw9ef8hwe98fhwef'", "w98fw9ef8hwe98fhwef\n", " w98fw9ef8hwe98fhwef"] {
        let secret = Secret::new(spelt);
        assert!(secret.is_err() || secret.unwrap().is_example(), "{spelt:?} serves anywhere");
    }
}

async fn status(request: Request<Body>) -> u16 {
    let layer = SessionLayer::new(EXAMPLE).unwrap();
    let app: Router = Router::new().route("/", get(async |session: Session| session.insert("a", 1))).layer(layer);
    app.oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn tower_looks_at_every_host_that_a_request_names() {
    let mut passed = Vec::new();
    let requests = [
        ("absolute-form", "http://localhost/", vec![("host", "example.com")]),
        ("two hosts", "/", vec![("host", "localhost"), ("host", "example.com")]),
        ("forwarded", "/", vec![("host", "127.0.0.1:3000"), ("x-forwarded-host", "example.com")]),
        ("forwarded, RFC 7239", "/", vec![("host", "127.0.0.1:3000"), ("forwarded", "for=1.2.3.4;host=example.com")]),
        ("userinfo", "/", vec![("host", "example.com@localhost")]),
    ];
    for (what, uri, headers) in requests {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if status(request.body(Body::empty()).unwrap()).await == 200 {
            passed.push(what);
        }
    }
    assert!(passed.is_empty(), "the examples' secret serves: {passed:?}");
}

#[actix_web::test]
async fn actix_does_not_take_a_visitors_word_for_its_host() {
    use actix_web::{App, test, web};
    use dewar::web::actix::SessionMiddleware;
    let sessions = SessionMiddleware::new(EXAMPLE).unwrap();
    let app = test::init_service(App::new().wrap(sessions).route(
        "/",
        web::get().to(async |session: Session| {
            session.insert("a", 1);
            ""
        }),
    ))
    .await;
    let mut passed = Vec::new();
    for (name, value) in [("x-forwarded-host", "localhost"), ("forwarded", "host=localhost"), ("x-none", "1")] {
        let request = test::TestRequest::get()
            .uri("/")
            .insert_header(("host", "example.com"))
            .insert_header((name, value))
            .to_request();
        if test::call_service(&app, request).await.status() == 200 {
            passed.push(name);
        }
    }
    assert!(passed.is_empty(), "Host: example.com is served with: {passed:?}");
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn since(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A callback that uses the very session, and the manager.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_may_use_the_session_and_the_manager() {
    static SESSION: OnceLock<Mutex<Option<Session>>> = OnceLock::new();
    static MANAGER: OnceLock<SessionManager> = OnceLock::new();
    let store = MemoryStore::new();
    let manager = SessionManager::builder(Secret::generate())
        .unwrap()
        .store(store)
        .on_event(|_: &Event| {
            if let Some(session) = SESSION.get().and_then(|it| it.lock().unwrap().clone()) {
                let _: Option<u32> = session.get("n");
                session.insert("from the callback", 1);
                let _ = session.principal();
            }
            if let Some(manager) = MANAGER.get() {
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(async {
                        let other = manager.open(&HeaderMap::new()).await.unwrap();
                        drop(other);
                        let _ = manager.count().await;
                        let _ = manager.revoke_all("ada").await;
                    });
                });
            }
            panic!("a callback panics");
        })
        .build()
        .unwrap();
    let _ = MANAGER.set(manager.clone());
    let all = async {
        for step in 0..4 {
            let session = manager.open(&HeaderMap::new()).await.unwrap();
            *SESSION.get_or_init(Mutex::default).lock().unwrap() = Some(session.clone());
            session.insert("n", 1);
            session.commit().await.unwrap();
            match step {
                0 => session.renew(),
                1 => session.set_principal("ada"),
                2 => session.clear(),
                _ => drop(session.remove("n")),
            }
            let _ = session.commit().await;
            let _ = manager.commit(&session).await.apply(&mut HeaderMap::new());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("no deadlock");
}

/// What is told after the answer was lost, twice.
#[tokio::test]
async fn lost_answers_are_told_once() {
    for verb in [Verb::Create, Verb::Replace, Verb::Delete, Verb::Rename] {
        for fault in [Fault::Lost, Fault::NotDone, Fault::Late(Duration::from_millis(30))] {
            let heard = Heard::default();
            let (store, told) = (Faulty::default(), heard.clone());
            let manager = SessionManager::builder(Secret::generate())
                .unwrap()
                .store(store.clone())
                .on_event(move |event| told.0.lock().unwrap().push(format!("{event:?}")))
                .build()
                .unwrap();
            let mut ada = Visitor::new(&manager);
            let mut tries = 0;
            store.fail(verb, 1, fault);
            store.fail(verb, 3, fault);
            while tries < 8 && ada.edit(|session| session.insert("n", 1)).await.is_err() {
                tries += 1;
            }
            while tries < 8 && ada.edit(|session| session.set_principal("ada")).await.is_err() {
                tries += 1;
            }
            while tries < 8 && ada.edit(|session| session.clear()).await.is_err() {
                tries += 1;
            }
            let heard = heard.since();
            for what in ["Created", "Authenticated", "Renewed", "Ended"] {
                let count = heard.iter().filter(|it| it.starts_with(what)).count();
                assert!(count <= 1 || what == "Created", "{verb:?} {fault:?}: {heard:?}");
            }
            eprintln!("{verb:?} {fault:?} {tries}: {heard:?}");
        }
    }
}

/// Every sequence of faults: what is told is told once, and only what is so.
#[tokio::test]
async fn no_sequence_of_lost_answers_tells_anything_twice() {
    let faults = [None, Some(Fault::Lost), Some(Fault::NotDone), Some(Fault::Late(Duration::from_millis(5)))];
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    for code in 0..256usize {
        for verb in [Verb::Create, Verb::Rename, Verb::Delete] {
            let heard = Heard::default();
            let (store, told) = (Faulty::default(), heard.clone());
            let manager = SessionManager::builder(Secret::generate())
                .unwrap()
                .store(store.clone())
                .on_event(move |event| told.0.lock().unwrap().push(format!("{event:?}")))
                .build()
                .unwrap();
            let mut ada = Visitor::new(&manager);
            for at in 0..3 {
                if let Some(fault) = faults[code >> (2 * at) & 3] {
                    store.fail(verb, at as u32 + 1, fault);
                }
            }
            if code >> 6 & 1 == 1 {
                store.fail(Verb::Load, 1, Fault::NotDone);
            }
            if code >> 6 & 2 == 2 {
                store.fail(Verb::Load, 2, Fault::NotDone);
            }
            let session = ada.session().await.unwrap();
            session.insert("n", 1);
            let mut ok = [0; 3];
            for _ in 0..4 {
                if session.commit().await.is_ok() {
                    ok[0] = 1;
                    break;
                }
            }
            session.set_principal("ada");
            for _ in 0..4 {
                if session.commit().await.is_ok() {
                    ok[1] = 1;
                    break;
                }
            }
            session.clear();
            for _ in 0..4 {
                if session.commit().await.is_ok() {
                    ok[2] = 1;
                    break;
                }
            }
            let heard = heard.since();
            for what in ["Created", "Authenticated", "Renewed", "Ended"] {
                let count = heard.iter().filter(|it| it.starts_with(what)).count();
                assert!(count <= 1, "{code} {verb:?} {ok:?}: {heard:?}");
            }
            *seen.entry(format!("{ok:?} {heard:?}")).or_default() += 1;
            let _ = &mut ada;
        }
    }
    eprintln!("{seen:#?}");
}

/// Whatever call fails, by chance.
#[tokio::test]
async fn no_chance_of_faults_tells_anything_twice() {
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    let mut dice = crate::support::histories::Dice(7);
    for round in 0..1500 {
        let heard = Heard::default();
        let (store, told) = (Faulty::default(), heard.clone());
        let manager = SessionManager::builder(Secret::generate())
            .unwrap()
            .store(store.clone())
            .on_event(move |event| told.0.lock().unwrap().push(format!("{event:?}")))
            .build()
            .unwrap();
        for nth in 1..24 {
            match dice.roll(5) {
                0 => store.fail(None, nth, Fault::Lost),
                1 => store.fail(None, nth, Fault::NotDone),
                2 => store.fail(None, nth, Fault::Late(Duration::from_micros(700))),
                _ => {}
            }
        }
        let session = loop {
            if let Ok(session) = manager.open(&HeaderMap::new()).await {
                break session;
            }
        };
        let mut tries = 0;
        session.insert("n", 1);
        if dice.roll(2) == 0 {
            session.set_principal("ada");
        }
        for step in 0..3 {
            match step {
                1 => session.set_principal("ada"),
                2 => session.clear(),
                _ => {}
            }
            if dice.roll(4) > 0 {
                while tries < 12 && session.commit().await.is_err() {
                    tries += 1;
                }
            }
        }
        let mut done = false;
        while tries < 20 && !done {
            done = session.commit().await.is_ok();
            tries += 1;
        }
        let heard = heard.since();
        for (what, most) in [("Created", 1), ("Authenticated", 2), ("Renewed", 2), ("Ended", 1)] {
            let count = heard.iter().filter(|it| it.starts_with(what)).count();
            assert!(count <= most, "{round} {done}: {heard:?}");
        }
        *seen.entry(format!("{done} {heard:?}")).or_default() += 1;
    }
    eprintln!("{seen:#?}");
}

/// A log-out of everybody whose answer was lost.
#[tokio::test]
async fn a_revocation_is_told_once() {
    for fault in [Fault::Lost, Fault::NotDone, Fault::Late(Duration::from_millis(2))] {
        let heard = Heard::default();
        let (store, told) = (Faulty::default(), heard.clone());
        let manager = SessionManager::builder(Secret::generate())
            .unwrap()
            .store(store.clone())
            .on_event(move |event| told.0.lock().unwrap().push(format!("{event:?}")))
            .build()
            .unwrap();
        let _ada = Visitor::prepared(&manager, |session| session.set_principal("ada")).await.unwrap();
        heard.since();
        store.fail(Verb::Revoke, 1, fault);
        let first = manager.revoke_all("ada").await.map_err(|error| error.to_string());
        let second = manager.revoke_all("ada").await.map_err(|error| error.to_string());
        eprintln!("{fault:?}: {first:?} {second:?} {:?}", heard.since());
    }
}

#[tokio::test]
async fn who_moved_from_flask_and_logs_out_is_not_remembered_by_flask() {
    let clock = Clock::at(NOW);
    let flask = SessionManager::builder(EXAMPLE).unwrap().clock(clock.clone()).dialect(Flask::new).build().unwrap();
    let ours = SessionManager::builder(Secret::generate())
        .unwrap()
        .clock(clock)
        .reads_also(flask.clone(), UNTIL)
        .build()
        .unwrap();
    let ada = Visitor::prepared(&flask, |session| session.set_principal("ada")).await.unwrap();
    let cookies = format!("{}; remember_token=ada|old", ada.cookie().to_str().unwrap());
    let request = HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(cookies).unwrap())]);
    let session = ours.open(&request).await.unwrap();
    assert_eq!(session.principal().as_deref(), Some("ada"));
    session.clear();
    let mut response = HeaderMap::new();
    ours.commit(&session).await.apply(&mut response).unwrap();
    assert_eq!(
        remembered(&response),
        None,
        "a page of Flask's logs ada in again, and reads_also takes her along: {response:?}"
    );
}

#[tokio::test]
async fn a_name_of_a_template_makes_no_second_line_in_the_log() {
    let mut environment = minijinja::Environment::new();
    environment.set_loader(|_| Ok(None::<String>));
    let layer = SessionLayer::new(Secret::generate()).unwrap().templates(environment);
    static SAID: OnceLock<String> = OnceLock::new();
    let app: Router = Router::new()
        .route(
            "/{page}",
            get(async |axum::extract::Path(page): axum::extract::Path<String>, pages: Templates| {
                let _ = SAID.set(pages.render::<String>(&page, ()).unwrap_err().to_string());
            }),
        )
        .layer(layer);
    let request = Request::get("/x%0a2026-11-27%20ERROR%20forged%1b%5b31m").body(Body::empty()).unwrap();
    app.oneshot(request).await.unwrap();
    let said = SAID.get().unwrap();
    assert!(!said.contains(char::is_control), "{said:?}");
}

#[tokio::test]
async fn what_is_interim_says_so_also_where_nobody_asked_for_the_session() {
    let store = Faulty::default();
    let (layer, mut ada) = with_cookie(&store).await;
    let app: Router = Router::new()
        .route("/plain", get(async || http::StatusCode::EARLY_HINTS))
        .route("/down", get(async |_: Option<Session>| http::StatusCode::EARLY_HINTS))
        .route(
            "/upgrade",
            get(async |session: Session| {
                session.insert("n", 3);
                http::StatusCode::SWITCHING_PROTOCOLS
            }),
        )
        .layer(layer);
    let response = ada.send(app.clone(), Request::get("/upgrade").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 101);
    let plain = ada.send(app.clone(), Request::get("/plain").body(Body::empty()).unwrap()).await.unwrap().status();
    store.always(Verb::Load, Fault::NotDone);
    let down = ada.send(app, Request::get("/down").body(Body::empty()).unwrap()).await.unwrap().status();
    assert_eq!((plain.as_u16(), down.as_u16()), (500, 500), "hyper makes a bare 500 of it");
}

#[tokio::test]
async fn the_attributes_of_the_remember_cookie_are_refused_where_they_are_odd() {
    use dewar::dialect::Attributes;
    let odd = [
        Attributes::new("remember_token\r\nSet-Cookie: a"),
        Attributes::new("a=b; Domain=example.com"),
        Attributes { path: "/; Domain=evil".into(), ..Attributes::new("remember_token") },
        Attributes { domain: Some("a; Secure".into()), ..Attributes::new("remember_token") },
        Attributes::new("session"),
    ];
    let mut accepted = Vec::new();
    for cookie in odd {
        let named = format!("{cookie:?}");
        let built = SessionManager::builder(EXAMPLE)
            .unwrap()
            .dialect(move |secrets: &Keyring| Flask::new(secrets).remember_cookie(cookie.clone()))
            .build();
        match built {
            Ok(_) => accepted.push(named),
            Err(error) => eprintln!("{error}"),
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
}

#[tokio::test]
async fn odd_flashes_cost_little_and_go_away() {
    let manager = SessionManager::builder(EXAMPLE).unwrap().store(MemoryStore::new()).build().unwrap();
    let mut ada = Visitor::new(&manager);
    let odd: Vec<(u32, Option<u8>)> = (0..100_000).map(|n| (n % 7, None)).collect();
    ada.edit(|session| session.insert("_flashes", odd)).await.unwrap();
    let begun = std::time::Instant::now();
    let shown = ada.edit(|session| session.take_flashes().len()).await.unwrap();
    eprintln!("{shown} in {:?}", begun.elapsed());
    assert_eq!(shown, 100_000);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(ada.edit(|session| session.take_flashes().len()).await.unwrap(), 0);
}

#[tokio::test]
async fn whatever_stands_where_flashes_stand_goes_away() {
    let manager = SessionManager::builder(EXAMPLE).unwrap().dialect(Flask::new).build().unwrap();
    for odd in [
        serde_json::json!("text"),
        serde_json::json!({"a": 1}),
        serde_json::json!(7),
        serde_json::json!(null),
        serde_json::json!([[1], [], 5]),
    ] {
        let mut ada = Visitor::new(&manager);
        ada.edit(|session| session.insert("_flashes", &odd)).await.unwrap();
        let shown = ada.edit(|session| session.take_flashes().len()).await.unwrap();
        let stays = ada.session().await.unwrap().contains("_flashes");
        eprintln!("{odd}: {shown} shown, stays: {stays}");
        let flashes = ada.edit(|session| session.flash("x")).await;
        eprintln!("   and a new one: {:?}", flashes.map_err(|error| error.to_string()));
    }
}

#[tokio::test]
async fn a_touch_that_failed_hides_no_log_out() {
    let clock = Clock::at(NOW);
    let store = Faulty::default();
    let manager = SessionManager::builder(Secret::generate())
        .unwrap()
        .clock(clock.clone())
        .dialect(|_: &Keyring| Opaque::new())
        .store(store.clone())
        .build()
        .unwrap();
    let ada = Visitor::prepared(&manager, |session| session.set_principal("ada")).await.unwrap();
    clock.advance(Duration::from_secs(20_000));
    store.always(Verb::Touch, Fault::NotDone);
    let request = HeaderMap::from_iter([(header::COOKIE, ada.cookie())]);
    let session = manager.open(&request).await.unwrap();
    assert_eq!(session.principal().as_deref(), Some("ada"));
    session.commit().await.unwrap();
    manager.revoke_all("ada").await.unwrap();
    session.insert("late", 1);
    let mut response = HeaderMap::new();
    let _ = manager.commit(&session).await.apply(&mut response);
    assert!(manager.open(&request).await.unwrap().is_empty());
    assert!(!response.contains_key(header::SET_COOKIE));
    clock.advance(Duration::from_secs(86_400));
    assert!(manager.open(&request).await.unwrap().is_empty());
}

/// Old servers and new ones, in any order; log-ins, log-outs, writes; a neighbour who plants a session of their own.
#[tokio::test]
async fn while_the_domain_moves_nothing_is_lost_mixed_up_or_comes_back() {
    let mut dice = crate::support::histories::Dice(11);
    for plants in [false, true] {
        for round in 0..600u64 {
            let keeps = round % 3;
            let clock = Clock::at(NOW);
            let (secret, store) = (Secret::generate(), MemoryStore::new());
            let builder = || {
                let builder = SessionManager::builder(secret.clone()).unwrap().clock(clock.clone());
                match keeps {
                    0 => builder.cookie_name("session"),
                    1 => builder.dialect(|_: &Keyring| Opaque::new()).store(store.clone()).cookie_name("session"),
                    _ => builder.dialect(Flask::new),
                }
            };
            let old = builder().former_domain("example.com", UNTIL).build().unwrap();
            let new = builder().domain("example.com").former_domain(None, UNTIL).build().unwrap();
            let mut browser = Browser::default();
            // What is so: the user, and the entry.
            let (mut user, mut n) = (None::<&str>, None::<u32>);
            let mut is_planted = false;
            let mut history = Vec::new();
            for step in 0..12u32 {
                clock.advance(Duration::from_secs(u64::from(dice.roll(3) as u32) * 4000));
                if plants && dice.roll(5) == 0 {
                    let mallory = Visitor::prepared(&new, |session| session.set_principal("mallory")).await.unwrap();
                    let cookie = mallory.cookie().to_str().unwrap().to_owned();
                    browser.takes(&format!("{cookie}; Domain=example.com"));
                    history.push("plant".to_owned());
                    is_planted = true;
                    continue;
                }
                let manager = if dice.roll(2) == 0 { &old } else { &new };
                let session = manager.open(&browser.headers()).await.unwrap();
                let seen = (session.principal(), session.get::<u32>("n"));
                if !is_planted {
                    assert_eq!((seen.0.as_deref(), seen.1), (user, n), "{keeps} {round} {history:?} {browser:?}");
                }
                let what = dice.roll(5);
                history.push(format!("{} {what} {seen:?}", if std::ptr::eq(manager, &old) { "old" } else { "new" }));
                match what {
                    0 => {
                        session.insert("n", step);
                        n = Some(step);
                    }
                    1 => {
                        session.set_principal("ada");
                        if user.is_some_and(|user| user != "ada") {
                            n = None;
                        }
                        user = Some("ada");
                    }
                    2 => {
                        session.clear();
                        (user, n) = (None, None);
                    }
                    3 => {
                        session.clear();
                        session.set_principal("bob");
                        (user, n) = (Some("bob"), None);
                    }
                    _ => {}
                }
                let mut response = HeaderMap::new();
                manager.commit(&session).await.apply(&mut response).unwrap();
                for cookie in response.get_all(header::SET_COOKIE) {
                    browser.takes(cookie.to_str().unwrap());
                }
                if what == 2 {
                    // Logged out: whoever comes next is nobody.
                    for manager in [&old, &new] {
                        let session = manager.open(&browser.headers()).await.unwrap();
                        assert!(session.is_empty(), "{keeps} {round} {history:?} {browser:?}");
                    }
                    is_planted = false;
                }
                if what == 1 || what == 3 {
                    for manager in [&old, &new] {
                        let session = manager.open(&browser.headers()).await.unwrap();
                        assert_eq!(session.principal().as_deref(), user, "{keeps} {round} {history:?} {browser:?}");
                    }
                    is_planted = false;
                    n = manager.open(&browser.headers()).await.unwrap().get("n");
                }
            }
        }
    }
}
