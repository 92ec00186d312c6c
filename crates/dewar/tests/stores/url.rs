//! A store is opened by one address, and what is wrong with an address is said.

use dewar::store::{self, AnyStore};

fn error(url: &str) -> String {
    store::open(url).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn memory_takes_its_bounds_from_the_url() {
    assert!(matches!(store::open("memory:"), Ok(AnyStore::Memory(_))));
    assert!(matches!(store::open("memory:?max_entries=10&max_bytes=100000"), Ok(AnyStore::Memory(_))));
    assert!(error("memory:?max_entrys=10").contains("\"max_entrys=10\""));
    assert!(error("memory:?max_entries=0").contains("max_entries=0"));
    assert!(error("memory:sessions").contains("no path"));
}

#[test]
fn an_unknown_scheme_is_refused_and_not_repeated() {
    for url in [
        "",
        "sessions.db",
        "oracle://user:hunter2@host/db",
        "hunter2:",
        "memory+x:",
        "postgres+x://user:hunter2@host/db",
    ] {
        let error = error(url);
        assert!(
            error.contains("memory:, sqlite:, postgres:, mysql:, redis:,") && !error.contains("hunter2"),
            "{error}"
        );
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_takes_a_file() {
    let file = std::env::temp_dir().join(format!("dewar-url-{}.db", std::process::id()));
    let opened = store::open(&format!("sqlite:{}", file.display()));
    assert!(matches!(opened, Ok(AnyStore::Sqlite(_))), "{opened:?}");
    let opened = store::open(&format!("sqlite://{}", file.display()));
    assert!(matches!(opened, Ok(AnyStore::Sqlite(_))), "{opened:?}");
    drop(opened);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
    assert!(error("sqlite:").contains("sqlite:sessions.db"));
    assert!(error("sqlite:x.db?mode=rwc").contains("without settings"));
}

#[cfg(feature = "sqlite")]
#[test]
fn an_unusual_name_is_a_file() {
    let directory = std::env::temp_dir().join(format!("dewar-url-names-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for name in ["memory", "memory.db", "my sessions.db", "12%.db", "a:b.db", "o'brien.db", "#1.db", "мемуары"] {
        let file = directory.join(name);
        let opened = store::open(&format!("sqlite:{}", file.display()));
        assert!(opened.is_ok() && file.is_file(), "{name}: {opened:?}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[cfg(feature = "sqlite")]
#[test]
fn what_is_memory_to_sqlite_is_refused_with_the_address_of_our_own() {
    let before = std::fs::read_dir(".").unwrap().count();
    for rest in [
        "",
        "//",
        ":memory:",
        "//:memory:",
        "///:memory:",
        "file::memory:",
        "file::memory:?cache=shared",
        "x.db?mode=memory",
        "file:x.db?mode=MEMORY",
        "x.db#mode=memory",
        " :memory:",
        ":memory: ",
        ":memory:\n",
        "':memory:'",
        "%3Amemory%3A",
        ":memory",
        "memory:",
        "memory",
        "Memory",
        ":temp:",
        " ",
        "%20",
        "''",
        "\"\"",
    ] {
        let error = error(&format!("sqlite:{rest}"));
        assert!(error.contains("the address is memory:"), "{rest}: {error}");
    }
    for rest in [" x.db", "x.db ", "x.db\n", "\tx.db"] {
        let error = error(&format!("sqlite:{rest}"));
        assert!(error.contains("begins or ends with a blank"), "{rest:?}: {error}");
    }
    assert_eq!(std::fs::read_dir(".").unwrap().count(), before);
    assert!(!std::path::Path::new("/:memory:").exists());
}

#[cfg(not(feature = "sqlite"))]
#[test]
fn a_feature_that_is_off_is_named_with_the_line_that_adds_it() {
    assert_eq!(error("sqlite:x.db"), "the feature `sqlite` is not enabled: cargo add dewar --features sqlite");
}

#[cfg(not(feature = "redis"))]
#[test]
fn redis_that_is_off_is_named_without_the_password() {
    let expected = "the feature `redis` is not enabled: cargo add dewar --features redis";
    assert_eq!(error("redis://:hunter2@localhost/"), expected);
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn no_password_is_ever_printed() {
    let urls = [
        "redis://user:hunter2@localhost:1/",
        "redis://user:hunter2@localhost:99999999/",
        "redis://user:hunter2@local host/x/y",
        "rediss://user:hunter2@localhost/",
        "redis://user:hunter2@localhost:1/hunter2",
        "redis:hunter2",
    ];
    for url in urls {
        match store::open(url) {
            Ok(store) => {
                assert!(!format!("{store:?}").contains("hunter2"), "{url}");
                let key = store::StoreKey::foreign("x");
                let now = store::Timestamp::from_secs(1);
                let error = store::SessionStore::load(&store, &key, now).await.unwrap_err();
                assert!(!format!("{error} {error:?}").contains("hunter2"), "{url}: {error}");
            }
            Err(error) => assert!(!format!("{error} {error:?}").contains("hunter2"), "{url}: {error}"),
        }
    }
}

#[cfg(feature = "redis")]
#[test]
fn redis_outside_of_a_runtime_is_an_error() {
    assert!(error("redis://localhost/").contains("within a tokio runtime"));
}

#[test]
fn an_error_of_a_store_is_shown_to_a_person_in_full() {
    let error = store::open("sessions.db").unwrap_err();
    assert_eq!(format!("{error:?}"), error.to_string());
}
