//! What an engine over a framework's table promises, on whichever database.

use std::{sync::Arc, time::Duration};

use dewar::{
    layout::{Ends, Shape, Stored, Table},
    store::{Applied, Engine, Found, Guard, Tombstone, Version, Write, conformance},
};
use futures_util::future::join_all;

use super::stores::{NOW, ended, later};

/// A database with the tables of Laravel and Django, as their migrations make them there.
pub(crate) trait Database {
    /// In this order: `sessions`, `django_session`.
    const MADE: [&'static str; 2];

    fn engine(&self, shape: Shape) -> Arc<dyn Engine>;
    async fn run(&self, sql: &str);
    /// The first column of the first row, as text.
    async fn text(&self, sql: &str) -> Option<String>;
}

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn laravel() -> Shape {
    let mut table = Table::new("sessions", "id", "payload", Ends::After("last_activity", HOUR));
    table.also = &["user_id"];
    table.made_by = "php artisan migrate";
    Shape::Row(Arc::new(table))
}

pub(crate) fn django() -> Shape {
    Shape::Row(Arc::new(Table::new("django_session", "session_key", "session_data", Ends::At("expire_date"))))
}

pub(crate) async fn every_promise_is_kept<D: Database>(database: &D) {
    a_table_that_is_missing_is_an_error_that_says_what_makes_it(database).await;
    for sql in D::MADE {
        database.run(sql).await;
    }
    for shape in [laravel(), django()] {
        conformance::check_rows(async || database.engine(shape.clone())).await;
    }
    what_the_framework_writes_is_seen_and_never_overwritten_unseen(database).await;
    a_row_that_the_framework_only_touched_is_the_same(database).await;
    what_the_framework_deletes_does_not_come_back(database).await;
    what_the_framework_writes_after_an_end_is_removed(database).await;
    a_renewed_row_takes_the_other_columns_along(database).await;
    moments_are_what_the_framework_reads(database).await;
    a_purge_leaves_what_lives(database).await;
    a_row_that_is_none_of_the_framework_s_is_no_session(database).await;
    no_write_is_lost_when_twenty_race(database).await;
    a_write_that_nobody_waits_for_leaves_nothing_locked(database).await;
}

pub(crate) fn row(body: &str, user: Option<&str>) -> Write {
    let data = Stored::Row { body: body.to_owned().into(), also: vec![user.map(Into::into)] };
    Write::Record { version: Version::digest(data.body()), data, expires: later(3600) }
}

async fn create(engine: &Arc<dyn Engine>, name: &str, body: &str) -> Guard {
    let applied = engine.apply(name, Guard::Absent, row(body, Some("7")), NOW).await.unwrap();
    assert!(matches!(applied, Applied::Done), "{applied:?}");
    Guard::Is(Version::digest(body.as_bytes()))
}

async fn found(engine: &Arc<dyn Engine>, name: &str) -> Option<String> {
    match engine.load(name, NOW).await.unwrap() {
        Found::Record { data, .. } => Some(String::from_utf8(data.body().to_vec()).unwrap()),
        _ => None,
    }
}

async fn a_table_that_is_missing_is_an_error_that_says_what_makes_it<D: Database>(database: &D) {
    let engine = database.engine(laravel());
    for failed in [
        engine.load("a", NOW).await.map(drop),
        engine.apply("a", Guard::Absent, row("a", None), NOW).await.map(drop),
        engine.end("a", Guard::Any, ended(1), NOW).await.map(drop),
    ] {
        let error = failed.unwrap_err().to_string();
        assert!(error.contains("php artisan migrate") && error.contains("sessions"), "{error}");
    }
    database.run("CREATE TABLE sessions (id varchar(255) PRIMARY KEY, payload text)").await;
    let error = engine.load("a", NOW).await.unwrap_err().to_string();
    assert!(error.contains("php artisan migrate") && error.contains("last_activity"), "{error}");
    database.run("DROP TABLE sessions").await;
    database.run("CREATE TABLE sessions (id varchar(255) PRIMARY KEY, payload text, last_activity integer)").await;
    let error = database.engine(laravel()).load("a", NOW).await.unwrap_err().to_string();
    assert!(error.contains("php artisan migrate") && error.contains("user_id"), "before anything is written: {error}");
    database.run("DROP TABLE sessions").await;
}

async fn what_the_framework_writes_is_seen_and_never_overwritten_unseen(database: &impl Database) {
    let engine = database.engine(laravel());
    let before = create(&engine, "seen", "ours").await;
    assert_eq!(database.text("SELECT user_id FROM sessions WHERE id = 'seen'").await.as_deref(), Some("7"));
    database.run("UPDATE sessions SET payload = 'theirs' WHERE id = 'seen'").await;
    let applied = engine.apply("seen", before, row("late", None), NOW).await.unwrap();
    assert!(matches!(applied, Applied::Conflict), "{applied:?}");
    assert_eq!(found(&engine, "seen").await.as_deref(), Some("theirs"));
    let at = Guard::Is(Version::digest(b"theirs"));
    assert!(matches!(engine.apply("seen", at, row("merged", None), NOW).await.unwrap(), Applied::Done));
    assert_eq!(database.text("SELECT payload FROM sessions WHERE id = 'seen'").await.as_deref(), Some("merged"));
    assert_eq!(database.text("SELECT user_id FROM sessions WHERE id = 'seen'").await, None, "nobody is logged in now");
    // To some databases, another case is the same text.
    assert_eq!(found(&engine, "SEEN").await, None);
}

async fn a_row_that_the_framework_only_touched_is_the_same(database: &impl Database) {
    let engine = database.engine(laravel());
    let at = create(&engine, "touched", "a").await;
    database.run(&format!("UPDATE sessions SET last_activity = {} WHERE id = 'touched'", NOW.as_secs() + 5)).await;
    assert!(matches!(engine.apply("touched", at, row("b", None), NOW).await.unwrap(), Applied::Done));
}

async fn what_the_framework_deletes_does_not_come_back(database: &impl Database) {
    let engine = database.engine(laravel());
    let at = create(&engine, "deleted", "a").await;
    database.run("DELETE FROM sessions WHERE id = 'deleted'").await;
    for applied in [
        engine.apply("deleted", at, row("b", None), NOW).await.unwrap(),
        engine.apply("deleted", at, Write::Touch(later(9000)), NOW).await.unwrap(),
        engine.rename("deleted", at, "elsewhere", row("b", None), ended(1), NOW).await.unwrap(),
        engine.end("deleted", at, ended(2), NOW).await.unwrap(),
    ] {
        assert!(matches!(applied, Applied::Gone(None)), "{applied:?}");
    }
    for name in ["deleted", "elsewhere"] {
        assert_eq!(found(&engine, name).await, None);
    }
}

async fn what_the_framework_writes_after_an_end_is_removed(database: &impl Database) {
    for table in [laravel(), django()] {
        let engine = database.engine(table.clone());
        create(&engine, "ended", "a").await;
        let write = match table == laravel() {
            true => {
                "INSERT INTO sessions (id, payload, last_activity) SELECT 'ended', payload, last_activity FROM sessions WHERE id = 'template'"
            }
            false => {
                "INSERT INTO django_session SELECT 'ended', session_data, expire_date FROM django_session WHERE session_key = 'template'"
            }
        };
        create(&engine, "template", "late").await;
        assert!(matches!(engine.end("ended", Guard::Any, ended(3), NOW).await.unwrap(), Applied::Done));
        for at in [Guard::Absent, Guard::Is(Version::digest(b"late"))] {
            database.run(write).await;
            let applied = engine.apply("ended", at, row("ours", None), NOW).await.unwrap();
            assert!(matches!(applied, Applied::Gone(Some(Tombstone { nonce: 3, .. }))), "{applied:?}");
        }
        database.run(write).await;
        assert!(matches!(engine.load("ended", NOW).await.unwrap(), Found::Gone(Tombstone { nonce: 3, .. })));
        // Once the tombstone has run out, there is nothing that could live again.
        assert!(matches!(engine.load("ended", later(3000)).await.unwrap(), Found::Missing));
        assert!(matches!(engine.end("template", Guard::Any, ended(4), NOW).await.unwrap(), Applied::Done));
    }
}

async fn a_renewed_row_takes_the_other_columns_along(database: &impl Database) {
    let engine = database.engine(laravel());
    let at = create(&engine, "old", "a").await;
    database.run("UPDATE sessions SET ip_address = '192.0.2.1' WHERE id = 'old'").await;
    assert!(matches!(
        engine.rename("old", at, "new", row("b", Some("8")), ended(5), NOW).await.unwrap(),
        Applied::Done
    ));
    assert_eq!(found(&engine, "new").await.as_deref(), Some("b"));
    assert!(matches!(engine.load("old", NOW).await.unwrap(), Found::Gone(Tombstone { nonce: 5, .. })));
    for (column, expected) in [("ip_address", "192.0.2.1"), ("user_id", "8")] {
        let sql = format!("SELECT {column} FROM sessions WHERE id = 'new'");
        assert_eq!(database.text(&sql).await.as_deref(), Some(expected));
    }
}

async fn moments_are_what_the_framework_reads(database: &impl Database) {
    create(&database.engine(laravel()), "moment", "a").await;
    let seen = database.text("SELECT last_activity FROM sessions WHERE id = 'moment'").await;
    assert_eq!(seen, Some(NOW.as_secs().to_string()), "an hour before it ends");
    let engine = database.engine(django());
    create(&engine, "moment", "a").await;
    let until =
        database.text("SELECT CAST(expire_date AS char(26)) FROM django_session WHERE session_key = 'moment'").await;
    // An hour after the second 1,800,000,000.
    assert!(until.as_deref().is_some_and(|until| until.starts_with("2027-01-15 09:00:00")), "{until:?}");
    let Found::Record { expires, .. } = engine.load("moment", NOW).await.unwrap() else { panic!("it stands") };
    assert_eq!(expires, later(3600));
}

async fn a_purge_leaves_what_lives(database: &impl Database) {
    let engine = database.engine(django());
    while engine.purge(100, later(100_000)).await.unwrap() > 0 {}
    let at = create(&engine, "lives", "a").await;
    for name in ["one", "two", "three"] {
        create(&engine, name, "a").await;
    }
    assert!(matches!(engine.apply("lives", at, Write::Touch(later(7200)), NOW).await.unwrap(), Applied::Done));
    // In every time zone.
    let soon = later(3601 + 26 * 3600);
    assert_eq!(engine.purge(2, later(3601)).await.unwrap(), 0);
    assert_eq!(engine.purge(2, soon).await.unwrap(), 2);
    assert_eq!(engine.purge(2, soon).await.unwrap(), 1);
    assert_eq!(engine.purge(2, soon).await.unwrap(), 0);
    assert_eq!(found(&engine, "lives").await.as_deref(), Some("a"));
    assert!(engine.needs_purging());
    // Laravel alone knows how long its sessions live, and removes them itself. Tombstones are ours.
    let engine = database.engine(laravel());
    create(&engine, "old", "a").await;
    create(&engine, "left", "a").await;
    assert!(matches!(engine.end("left", Guard::Any, ended(9), NOW).await.unwrap(), Applied::Done));
    assert_eq!(engine.purge(100, later(100_000)).await.unwrap(), 1, "the tombstone");
    assert_eq!(database.text("SELECT payload FROM sessions WHERE id = 'old'").await.as_deref(), Some("a"));
    database.run("DELETE FROM sessions").await;
}

async fn a_row_that_is_none_of_the_framework_s_is_no_session(database: &impl Database) {
    let engine = database.engine(laravel());
    for (id, moment) in [("long ago", "-2147483648"), ("never", "0"), ("now", "1800000000"), ("far", "2147483647")] {
        let sql = format!("INSERT INTO sessions (id, payload, last_activity) VALUES ('{id}', 'é', {moment})");
        database.run(&sql).await;
    }
    let found: Vec<_> =
        futures_util::future::join_all(["long ago", "never", "now", "far"].map(|id| found(&engine, id))).await;
    assert_eq!(found, [None, None, Some("é".into()), Some("é".into())]);
    for id in ["", "a\0b", "' OR ''='", "%", "\u{fffd}"] {
        assert!(matches!(engine.load(id, NOW).await.unwrap(), Found::Missing), "{id:?}");
    }
    database.run("DELETE FROM sessions").await;
}

async fn no_write_is_lost_when_twenty_race(database: &impl Database) {
    let engine = database.engine(laravel());
    create(&engine, "race", "").await;
    let add = async |number: usize| {
        for _ in 0..200 {
            let before = found(&engine, "race").await.unwrap();
            let at = Guard::Is(Version::digest(before.as_bytes()));
            let after = row(&format!("{before} {number}"), None);
            match engine.apply("race", at, after, NOW).await.unwrap() {
                Applied::Done => return,
                Applied::Conflict => {}
                gone => panic!("{gone:?}"),
            }
        }
        panic!("never written");
    };
    join_all((0..20).map(add)).await;
    let mut all: Vec<usize> =
        found(&engine, "race").await.unwrap().split_whitespace().map(|number| number.parse().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
}

async fn a_write_that_nobody_waits_for_leaves_nothing_locked(database: &impl Database) {
    let engine = database.engine(laravel());
    create(&engine, "left", "0").await;
    for micros in (0..60).map(|turn| turn * 40) {
        let before = found(&engine, "left").await.unwrap();
        let at = Guard::Is(Version::digest(before.as_bytes()));
        let write = engine.apply("left", at, row(&format!("{micros}"), None), NOW);
        let _ = tokio::time::timeout(Duration::from_micros(micros), write).await;
    }
    let before = found(&engine, "left").await.unwrap();
    let at = Guard::Is(Version::digest(before.as_bytes()));
    // Whatever was left may still be written; nothing waits for ever, and nothing is in a transaction of somebody else's.
    let applied = engine.apply("left", at, row("last", None), NOW).await.unwrap();
    assert!(matches!(applied, Applied::Done | Applied::Conflict), "{applied:?}");
    database.run("UPDATE sessions SET payload = 'theirs' WHERE id = 'left'").await;
    assert_eq!(found(&engine, "left").await.as_deref(), Some("theirs"));
}
