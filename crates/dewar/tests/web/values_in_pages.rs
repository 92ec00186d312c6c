//! A page shows a value the same way in every format that holds it, and `docs/values.md` says which way.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::support::http::secret;
use axum::{Router, body::Body, http::Request, routing::get};
use dewar::{
    Session, SessionLayer, Templates,
    dialect::{CookieSession, ExpressSession, Flask},
    encoding::Encoding,
    store::memory::MemoryStore,
    testing::Visitor,
    value::{Bytes, DateTime, Markup, Uuid, Value},
};
use http_body_util::BodyExt;
use serde::Serialize;
use time::macros::{date, datetime};

const DOCUMENT: &str = include_str!("../../../../docs/values.md");

/// One application for each format, with the same page.
struct Sites {
    folder: tempfile::TempDir,
    sites: Vec<(&'static str, SessionLayer, Router)>,
}

impl Sites {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layer = || SessionLayer::new(secret()).unwrap().templates(folder.path().to_owned());
        let sites = [
            ("sealed", layer()),
            ("our records", layer().store(MemoryStore::new())),
            ("Flask", layer().dialect(Flask::new)),
            ("cookie-session", layer().dialect(CookieSession::new)),
            ("express-session", layer().dialect(ExpressSession::new).store(MemoryStore::new())),
        ];
        let sites = sites.map(|(name, layer)| {
            let page = get(async |templates: Templates| templates.render::<String>("page.html", ()));
            (name, layer.clone(), Router::new().route("/", page).layer(layer))
        });
        Self { folder, sites: sites.into() }
    }

    /// What a page shows of a session with this entry, in each format; `None` where the format refuses it.
    async fn show(&self, template: &str, insert: &dyn Fn(&Session)) -> Vec<(&'static str, Option<String>)> {
        fs::write(self.folder.path().join("page.html"), template).unwrap();
        let mut shown = Vec::new();
        for (name, layer, app) in &self.sites {
            let page = match Visitor::prepared(&layer.manager().unwrap(), insert).await {
                Ok(mut visitor) => {
                    let request = Request::get("/").body(Body::empty()).unwrap();
                    let response = visitor.send(app.clone(), request).await.unwrap();
                    let bytes = response.into_body().collect().await.unwrap().to_bytes();
                    Some(String::from_utf8(bytes.to_vec()).unwrap())
                }
                Err(error) => {
                    let said = error.to_string();
                    assert!(said.contains("\"it\"") || said.starts_with("set_principal"), "{name}: {said}");
                    None
                }
            };
            shown.push((*name, page));
        }
        shown
    }
}

/// The row of the document whose first cell is this type: what a page shows, and whether Express's formats refuse it.
fn row(of: &str) -> (String, String, bool) {
    let line = DOCUMENT.lines().find(|line| line.starts_with(&format!("| {of} |")));
    let cells: Vec<&str> = line.unwrap_or_else(|| panic!("no row for {of}")).split('|').map(str::trim).collect();
    let code = |cell: &str| cell.trim_matches('`').to_owned();
    (code(cells[2]), code(cells[3]), cells[4].starts_with("refused"))
}

#[derive(Serialize)]
enum Color {
    Red,
}

#[tokio::test]
async fn every_row_of_the_document_is_true_in_every_format() {
    let sites = Sites::new();
    let moment = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let chrono_date = chrono::NaiveDate::from_ymd_opt(2023, 11, 14).unwrap();
    let ip: IpAddr = "203.0.113.5".parse().unwrap();
    let text = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let (theirs, ours): (uuid::Uuid, Uuid) = (text.parse().unwrap(), text.parse().unwrap());
    macro_rules! rows {
        ($($row:literal: $value:expr;)*) => {
            // Erased: 24 types in five formats would be minutes of compiling.
            vec![$(($row, Box::new($value) as Box<dyn erased_serde::Serialize>)),*]
        };
    }
    let rows = rows! {
        "`chrono::DateTime<Utc>`": chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        "`chrono::NaiveDateTime`": chrono_date.and_hms_opt(22, 13, 20).unwrap();
        "`chrono::NaiveDate`": chrono_date;
        "`time::OffsetDateTime`": datetime!(2023-11-14 22:13:20 UTC);
        "`time::Date`": date!(2023 - 11 - 14);
        "`std::time::Duration`": Duration::from_millis(90_500);
        "`std::time::SystemTime`": moment;
        "`uuid::Uuid`": theirs;
        "`rust_decimal::Decimal`": "1.10".parse::<rust_decimal::Decimal>().unwrap();
        "`u128`, `i128`, `u64`, `i64`": u128::MAX;
        "`u32`, `i32` and shorter": 7;
        "`f32`": 0.1f32;
        "`f64`": 0.1f64;
        "`f64` without a fraction": 2.0f64;
        "`std::net::IpAddr`": ip;
        "`char`": 'é';
        "`Option`": None::<u8>;
        "`Vec<u8>`": vec![104u8, 105];
        "`BTreeMap<u8, bool>`": BTreeMap::from([(1u8, true)]);
        "`enum Color { Red }`": Color::Red;
        "`dewar::value::DateTime`": DateTime::from(moment);
        "`dewar::value::Uuid`": ours;
        "`dewar::value::Markup`": Markup("<b>hi</b>".into());
        "`dewar::value::Bytes`, `bytes::Bytes`": Bytes(b"hi".to_vec());
    };
    assert_eq!(rows.len(), DOCUMENT.lines().filter(|line| line.starts_with("| `")).count(), "every row is here");
    for (of, value) in &rows {
        let (template, page, is_refused) = row(of);
        let insert = |session: &Session| session.insert("it", value.as_ref());
        for (format, shown) in sites.show(&template, &insert).await {
            let is_express = ["cookie-session", "express-session"].contains(&format);
            let expected = match *of {
                "`f64` without a fraction" if is_express => Some("2".to_owned()),
                _ => (!(is_refused && is_express)).then(|| page.clone()),
            };
            assert_eq!(shown, expected, "{of} in {format}");
        }
    }
}

#[tokio::test]
async fn a_page_counts_with_every_integer_and_finds_the_members_of_a_map_by_their_text() {
    let sites = Sites::new();
    let insert = |session: &Session| {
        session.insert("it", u64::from(u32::MAX));
        session.insert("seats", BTreeMap::from([(1u8, "Ada"), (2, "Eve")]));
        session.insert("open", BTreeMap::from([(true, 3)]));
    };
    let template = "{{ session.it + 1 }} {{ session.seats['2'] }} {{ session.open.true }}{% for seat in session.seats %} {{ seat ~ '.' }}{% endfor %}";
    for (format, shown) in sites.show(template, &insert).await {
        assert_eq!(shown.as_deref(), Some("4294967296 Eve 3 1. 2."), "{format}");
    }
    let insert = |session: &Session| session.insert("it", u64::MAX);
    let shown = sites.show("{{ session.it + 1 }}", &insert).await;
    let pages: Vec<_> = shown.iter().filter_map(|(_, shown)| shown.as_deref()).collect();
    assert_eq!(pages, ["18446744073709551616"; 3]);
}

/// As revisions before wrote it: for machines, in bytes and numbers.
fn old<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

#[test]
fn what_was_written_for_machines_is_still_read() {
    let id = uuid::Uuid::from_u128(7);
    let ip: IpAddr = "203.0.113.5".parse().unwrap();
    let moment = datetime!(2023-11-14 22:13:20.5 +01:00);
    let read = Encoding::MessagePack;
    assert_eq!(read.read::<uuid::Uuid>(&old(&id)).unwrap(), id);
    assert_eq!(read.read::<IpAddr>(&old(&ip)).unwrap(), ip);
    assert_eq!(read.read::<time::OffsetDateTime>(&old(&moment)).unwrap(), moment);
    assert_eq!(read.read::<(uuid::Uuid, Option<IpAddr>)>(&old(&(id, Some(ip)))).unwrap(), (id, Some(ip)));
    let all: Value = read.read(&old(&id)).unwrap();
    assert_eq!(all, Value::Bytes(id.as_bytes().to_vec()), "a page cannot know what bytes mean: insert it again");
}

#[tokio::test]
async fn a_page_shows_the_user_by_a_call_that_no_entry_can_answer() {
    let sites = Sites::new();
    let template = "{{ session.principal() }}|{{ session.principal }}|{{ 'principal' in session }}";
    let user = |session: &Session| session.set_principal("ada");
    for (format, shown) in &sites.show(template, &user).await[..3] {
        assert_eq!(shown.as_deref(), Some("ada||False"), "{format}");
    }
    let pretender = |session: &Session| {
        session.set_principal("eve");
        session.insert("principal", "admin");
    };
    for (format, shown) in &sites.show(template, &pretender).await[..3] {
        assert_eq!(shown.as_deref(), Some("eve|admin|True"), "{format}");
    }
    let nobody = |session: &Session| session.insert("principal", "admin");
    let template = "{{ session.principal() is none }}";
    for (format, shown) in sites.show(template, &nobody).await {
        assert_eq!(shown.as_deref(), Some("True"), "{format}");
    }
}

#[test]
fn a_moment_is_shown_as_a_date() {
    let moment = dewar::store::Timestamp::from_millis(1_700_000_000_500);
    assert_eq!(format!("{moment} {moment:?}"), "2023-11-14T22:13:20.5Z 2023-11-14T22:13:20.5Z");
    let time: SystemTime = moment.into();
    assert_eq!(dewar::store::Timestamp::from(time), moment);
    assert_eq!(dewar::store::Timestamp::from_millis(u64::MAX).to_string(), "18446744073709551615 ms after 1970");
}
