//! Flask-Login's "remember me" is a cookie beside the session: it must not bring back who has logged out.

use dewar::{
    Keyring, Secret, Session, SessionManager,
    dialect::{Attributes, Flask},
    store::memory::MemoryStore,
    testing::Visitor,
};
use http::{HeaderMap, HeaderValue, header};

const GONE: &str = "remember_token=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Path=/";

fn manager(set: impl Fn(Flask) -> Flask + Send + Sync + 'static) -> SessionManager {
    let builder = SessionManager::builder("w98fw9ef8hwe98fhwef").unwrap();
    builder.dialect(move |secrets: &Keyring| set(Flask::new(secrets))).build().unwrap()
}

/// What a response to a browser with these cookies sets, beside the session's own.
async fn answers(manager: &SessionManager, cookies: &str, handler: impl AsyncFnOnce(&Session)) -> Vec<String> {
    let mut request = HeaderMap::new();
    request.insert(header::COOKIE, HeaderValue::try_from(cookies).unwrap());
    let session = manager.open(&request).await.unwrap();
    handler(&session).await;
    let mut response = HeaderMap::new();
    let saved = manager.commit(&session).await.apply(&mut response);
    assert_eq!(
        response.contains_key(header::SET_COOKIE),
        response.get(header::CACHE_CONTROL) == Some(&"no-store".parse().unwrap())
    );
    drop(saved);
    let cookies = response.get_all(header::SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap().to_owned());
    cookies.filter(|cookie| !cookie.starts_with("session=")).collect()
}

/// The cookies of who is logged in and remembered.
async fn remembered(manager: &SessionManager) -> String {
    let ada = Visitor::prepared(manager, |session| session.set_principal("ada")).await.unwrap();
    format!("{}; remember_token=ada|0123", ada.cookie().to_str().unwrap())
}

#[tokio::test]
async fn whatever_ends_the_visit_removes_it() {
    let manager = manager(|flask| flask);
    let cookies = remembered(&manager).await;
    assert_eq!(answers(&manager, &cookies, async |session| session.clear()).await, [GONE]);
    assert_eq!(answers(&manager, &cookies, async |session| session.set_principal("bob")).await, [GONE]);
    let removes = async |session: &Session| assert!(session.remove("_user_id"));
    assert_eq!(answers(&manager, &cookies, removes).await, [GONE]);
    let starts_over = async |session: &Session| {
        session.clear();
        session.flash("You have logged out.");
    };
    assert_eq!(answers(&manager, &cookies, starts_over).await, [GONE]);
    let commits = async |session: &Session| {
        session.clear();
        session.commit().await.unwrap();
        session.insert("too large", "x".repeat(9000)); // the response is an error
    };
    assert_eq!(answers(&manager, &cookies, commits).await, [GONE]);
}

#[tokio::test]
async fn who_is_only_remembered_or_whose_session_was_refused_logs_out_as_well() {
    let manager = manager(|flask| flask);
    for cookies in ["remember_token=ada|0123", "session=odd; remember_token=ada|0123"] {
        assert_eq!(answers(&manager, cookies, async |session| session.clear()).await, [GONE], "{cookies}");
    }
}

#[tokio::test]
async fn a_visit_that_goes_on_keeps_it_and_who_has_none_is_sent_nothing() {
    let manager = manager(|flask| flask);
    let cookies = remembered(&manager).await;
    let kept = [
        answers(&manager, &cookies, async |_| ()).await,
        answers(&manager, &cookies, async |session| session.insert("a", 1)).await,
        answers(&manager, &cookies, async |session| session.renew()).await,
        answers(&manager, &cookies, async |session| session.set_principal("ada")).await,
        answers(&manager, "remember_token=ada|0123", async |session| session.set_principal("ada")).await,
        answers(&manager, "session=odd; xremember_token=1", async |session| session.clear()).await,
    ];
    assert_eq!(kept, [const { Vec::<String>::new() }; 6]);
}

#[tokio::test]
async fn it_is_never_read() {
    let manager = manager(|flask| flask);
    let mut request = HeaderMap::new();
    request.insert(header::COOKIE, HeaderValue::from_static("remember_token=ada|0123"));
    assert_eq!(manager.open(&request).await.unwrap().principal(), None);
}

#[tokio::test]
async fn its_name_domain_and_path_are_what_flask_login_s_settings_say() {
    let manager = manager(|flask| {
        flask.remember_cookie(Attributes {
            domain: Some("example.org".into()),
            path: "/shop".into(),
            ..Attributes::new("stay")
        })
    });
    let removed = answers(&manager, "stay=ada|0123; remember_token=1", async |session| session.clear()).await;
    let gone = "stay=; Domain=example.org; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Path=/shop";
    assert_eq!(removed, [gone]);
}

#[tokio::test]
async fn without_flask_login_there_is_none() {
    let manager = manager(|flask| flask.flask_login(false));
    assert_eq!(answers(&manager, "remember_token=mine", async |session| session.clear()).await, [""; 0]);
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let refused = |set: fn(Flask) -> Flask| {
        let builder = SessionManager::builder(Secret::generate()).unwrap();
        builder.dialect(move |secrets: &Keyring| set(Flask::new(secrets))).build().unwrap_err().to_string()
    };
    let odd = refused(|flask| flask.remember_cookie(Attributes::new("a b")));
    assert!(odd.contains("remember_cookie: cookie_name: \"a b\" is no cookie name"), "{odd}");
    for set in
        [(|flask| flask.remember_cookie(Attributes::new("stay")).flask_login(false)) as fn(Flask) -> Flask, |flask| {
            flask.flask_login(false).remember_cookie(Attributes::new("stay"))
        }]
    {
        let both = refused(set);
        assert!(both.contains("remember_cookie and flask_login(false) contradict each other"), "{both}");
    }
}

/// A dialect that is not Flask's has nothing of the kind.
#[tokio::test]
async fn our_own_sessions_leave_it_alone() {
    let manager = SessionManager::builder(Secret::generate()).unwrap().store(MemoryStore::new()).build().unwrap();
    assert_eq!(answers(&manager, "remember_token=1", async |session| session.clear()).await, [""; 0]);
}
