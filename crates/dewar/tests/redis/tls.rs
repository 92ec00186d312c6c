//! Redis over TLS: who is trusted, who has to show a certificate, and what is said where that fails. And who may log in.

use std::time::Duration;

use crate::support::{
    certificates::Authority,
    redis::{client, order},
    redis_server::{Server, free_port},
    stores::{NOW, create, key, record},
};
use dewar::store::{SessionStore, StoreError, conformance, redis::RedisStore};

struct Site {
    authority: Authority,
    server: Server,
    port: u16,
}

/// A server with a certificate for these names. It asks for a client's one, or not.
fn site(names: &str, asks: bool) -> Site {
    let authority = Authority::new("ours");
    authority.signs("server", names);
    serve(authority, asks)
}

fn serve(authority: Authority, asks: bool) -> Site {
    let port = free_port();
    let (cert, key, ca) = (authority.file("server.pem"), authority.file("server.key"), authority.file("ca.pem"));
    let arguments = [
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        if asks { "yes" } else { "no" },
    ];
    let server = Server::start(&arguments);
    Site { authority, server, port }
}

impl Site {
    fn url(&self, settings: &str) -> String {
        let ca = self.authority.file("ca.pem");
        let ca = if settings.contains("ca=") { String::new() } else { format!("ca={ca}&") };
        format!("rediss://localhost:{}/?{ca}{settings}", self.port)
    }
}

async fn asks(url: &str) -> Result<(), StoreError> {
    let store = RedisStore::open(url)?.time_limit(Duration::from_secs(3));
    // Whoever comes second is told the same.
    let first = store.ping(NOW).await;
    let second = store.ping(NOW).await;
    assert_eq!(first.is_ok(), second.is_ok(), "{first:?}, {second:?}");
    let debug = format!("{store:?} {first:?}");
    assert!(!debug.contains("hunter2") && !debug.contains("PRIVATE"), "{debug}");
    second
}

async fn refused(url: &str) -> String {
    asks(url).await.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server and openssl; cargo xtask live"]
async fn the_store_keeps_every_promise_over_tls() {
    let site = site("DNS:localhost", false);
    conformance::check(|| async { RedisStore::open(&site.url("")).unwrap() }).await;
}

#[tokio::test]
#[ignore = "needs redis-server and openssl; cargo xtask live"]
async fn a_server_is_trusted_whose_authority_is_named_and_whose_name_is_the_addresss() {
    let site = site("DNS:localhost,IP:127.0.0.1", false);
    asks(&site.url("")).await.unwrap();
    asks(&site.url("").replace("localhost", "127.0.0.1")).await.unwrap();
}

#[tokio::test]
#[ignore = "needs redis-server and openssl; cargo xtask live"]
async fn a_certificate_that_nobody_trusted_signed_is_refused() {
    let (site, other) = (site("DNS:localhost", false), Authority::new("another"));
    for settings in [format!("ca={}", other.file("ca.pem")), "protocol=resp2&ca=".to_owned() + &other.file("ca.pem")] {
        let error = refused(&site.url(&settings)).await;
        assert!(error.contains("nobody trusted here signed") && error.contains("?ca=FILE"), "{error}");
    }
    // The system's authorities do not know ours.
    let error = refused(&format!("rediss://localhost:{}/", site.port)).await;
    assert!(error.contains("?ca=FILE"), "{error}");
}

#[tokio::test]
#[ignore = "needs redis-server and openssl; cargo xtask live"]
async fn a_certificate_of_another_name_is_refused() {
    let site = site("DNS:redis.example", false);
    let error = refused(&site.url("")).await;
    assert!(error.contains("is for another name") && error.contains("redis.example"), "{error}");
}

#[tokio::test]
#[ignore = "needs redis-server and openssl; cargo xtask live"]
async fn a_certificate_that_expired_or_is_not_valid_yet_is_refused() {
    for (begins, ends, says) in [
        ("20200101000000Z", "20200102000000Z", "has expired"),
        ("20900101000000Z", "20900102000000Z", "is not valid yet"),
    ] {
        let authority = Authority::new("ours");
        authority.signs_for("server", "DNS:localhost", begins, ends);
        let site = serve(authority, false);
        let error = refused(&site.url("")).await;
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server and openssl; cargo xtask live"]
async fn a_server_that_asks_for_a_certificate_gets_the_one_that_the_address_names() {
    let site = site("DNS:localhost", true);
    let (ours, other) = (&site.authority, Authority::new("another"));
    ours.signs("web", "DNS:web");
    other.signs("web", "DNS:web");
    let shown = |by: &Authority| site.url(&format!("cert={}&key={}", by.file("web.pem"), by.file("web.key")));
    asks(&shown(ours)).await.unwrap();
    let error = refused(&site.url("")).await;
    assert!(error.contains("?cert=FILE&key=FILE"), "{error}");
    let error = refused(&shown(&other)).await;
    assert!(error.contains("refuses the certificate that cert= names"), "{error}");
}

#[tokio::test]
#[ignore = "needs openssl; cargo xtask live"]
async fn files_that_hold_something_else_are_refused_at_the_start() {
    let authority = Authority::new("ours");
    authority.signs("web", "DNS:web");
    authority.signs("other", "DNS:web");
    std::fs::write(authority.path("empty"), "").unwrap();
    let opens = |settings: &str| {
        let settings =
            settings.replace("=@", &format!("={}/", authority.path("").display().to_string().trim_end_matches('/')));
        RedisStore::open(&format!("rediss://:hunter2@localhost/?{settings}")).map(drop)
    };
    opens("ca=@ca.pem&cert=@web.pem&key=@web.key").unwrap();
    for (settings, says) in [
        ("ca=@nothing", "cannot be read"),
        ("ca=@empty", "holds no certificate as text (PEM)"),
        ("ca=@web.key", "holds no certificate as text (PEM)"),
        ("cert=@web.key&key=@web.key", "holds no certificate as text (PEM)"),
        ("cert=@web.pem&key=@web.pem", "holds no private key"),
        ("cert=@web.pem&key=@other.key", "do not belong together"),
    ] {
        let error = opens(settings).unwrap_err().to_string();
        assert!(error.contains(says), "{settings}: {error}");
        assert!(!error.contains("hunter2") && !error.contains("PRIVATE KEY-----\n"), "{error}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server and openssl; cargo xtask live"]
async fn tls_where_there_is_none_and_none_where_there_is_one_are_named() {
    let site = site("DNS:localhost", false);
    let plain = site.url("").replace(&format!(":{}/", site.port), &format!(":{}/", site.server.port()));
    let error = refused(&plain).await;
    assert!(error.contains("without TLS"), "{error}");
    let error = refused(&format!("redis://localhost:{}/", site.port)).await;
    assert!(error.contains("rediss://HOST:PORT/"), "{error}");
}

// Who may log in.

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_password_that_lacks_or_is_wrong_is_named_and_taken_once_it_is_right() {
    let server = Server::start(&["--requirepass", "s3cret", "--user", "ada", "on", ">s3cret", "~*", "+@all"]);
    let url = |login: &str, more: &str| server.url().replace("redis://", &format!("redis://{login}")) + more;
    for more in ["", "?protocol=resp2"] {
        asks(&url(":s3cret@", more)).await.unwrap();
        asks(&url("ada:s3cret@", more)).await.unwrap();
        let error = refused(&url("", more)).await;
        assert!(error.contains("wants a password: redis://:PASSWORD@HOST/"), "{error}");
        for login in [":hunter2@", "ada:hunter2@", "eve:hunter2@"] {
            let error = refused(&url(login, more)).await;
            assert!(error.contains("no such user, or the password is wrong"), "{login}: {error}");
        }
    }
    let store = RedisStore::open(&url(":later@", "")).unwrap();
    store.ping(NOW).await.unwrap_err();
    let mut admin = redis::Client::open(url(":s3cret@", "")).unwrap().get_multiplexed_async_connection().await.unwrap();
    order(&mut admin, "CONFIG SET requirepass later").await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    store.ping(NOW).await.unwrap();
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_user_who_lacks_a_right_is_told_where_the_rights_are_listed() {
    let server = Server::start(&[]);
    order(&mut client(&server).await, "ACL SETUSER ada on >hunter2 ~dewar* +get +evalsha").await;
    let store = RedisStore::open(&server.url().replace("redis://", "redis://ada:hunter2@")).unwrap();
    store.load(&key(1), NOW).await.unwrap();
    let error = store.create(&key(1), dewar::store::Version::from_bits(1), record(b"x"), None, NOW).await.unwrap_err();
    assert!(error.to_string().contains("dewar::store::redis lists"), "{error}");
    order(&mut client(&server).await, "ACL SETUSER ada +script|load +scan +info").await;
    let error = store.create(&key(1), dewar::store::Version::from_bits(1), record(b"x"), None, NOW).await.unwrap_err();
    assert!(error.to_string().contains("dewar::store::redis lists"), "a command of a script: {error}");
}

#[tokio::test]
#[ignore = "needs redis-server; cargo xtask live"]
async fn a_database_that_is_not_there_is_named() {
    let server = Server::start(&["--databases", "2"]);
    create(&RedisStore::open(&format!("{}1", server.url())).unwrap(), 1, &record(b"x")).await;
    let error = refused(&format!("{}7", server.url())).await;
    assert!(error.contains("no database of that number"), "{error}");
}
