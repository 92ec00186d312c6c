//! What the targets in `fuzz/` and a reading of the code with an attacker's eyes have found, each as one test.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dewar::dialect::{Data, Flask};
use dewar::encoding::{Encoding, Json};
use dewar::testing::Visitor;
use dewar::value::{BigInteger, Tuple};
use dewar::{Secret, SessionLayer, SessionManager, Value};
use http::HeaderMap;

const FLASK: Encoding = Encoding::Json(Json::FLASK);

#[test]
fn a_small_integer_that_somebody_wrote_as_a_big_one_reads_as_the_number_it_is() {
    // json_spans: d4 05 35.
    let read: Value = Encoding::MessagePack.read(b"\xd4\x055").unwrap();
    assert_eq!(read, Value::Integer(5));
    assert_eq!(Encoding::MessagePack.read::<BigInteger>(b"\xd4\x055").unwrap().as_str(), "5");
    let beyond: Value = Encoding::MessagePack.read(b"\xc7\x14\x0518446744073709551616").unwrap();
    assert_eq!(beyond, Value::BigInteger("18446744073709551616".parse().unwrap()));
}

#[test]
fn a_number_that_rounds_to_an_integer_is_one_in_javascripts_json() {
    let javascript = Encoding::Json(Json::JAVASCRIPT);
    // json_spans: the same number with and without what no float can hold.
    let read: Value = javascript.read(b"-900010000.000000000001000000000001512304784").unwrap();
    assert_eq!(read, Value::Integer(-900_010_000));
    assert_eq!(javascript.read::<Value>(b"1.0000000000000000001").unwrap(), Value::Integer(1));
    assert_eq!(javascript.read::<i64>(b"1.0000000000000000001").unwrap(), 1);
    assert_eq!(javascript.read::<Value>(b"0.30000000000000004").unwrap(), Value::Float(0.30000000000000004));
}

fn flask() -> SessionManager {
    let secret = Secret::new("w98fw9ef8hwe98fhwef").unwrap();
    SessionLayer::new(secret).unwrap().dialect(Flask::new).manager().unwrap()
}

#[tokio::test]
async fn a_visitor_who_piled_up_flashes_costs_no_more_than_one_pass_over_them() {
    let manager = SessionManager::new(Secret::generate()).unwrap();
    let session = manager.open(&HeaderMap::new()).await.unwrap();
    // On a store nothing stops a visitor who causes a message with every request and never opens the page that shows them.
    session.insert("_flashes", vec![Tuple(("message", "No such user")); 200_000]);
    let before = Instant::now();
    assert_eq!(session.take_flashes().len(), 200_000);
    assert!(session.is_empty());
    // A second or two; taken out one by one, each moving all that follow, it was more than a minute.
    assert!(before.elapsed() < Duration::from_secs(30), "{:?}", before.elapsed());
}

#[tokio::test]
async fn flashes_that_were_shown_are_taken_once_each_and_others_stay() {
    let manager = SessionManager::new(Secret::generate()).unwrap();
    let session = manager.open(&HeaderMap::new()).await.unwrap();
    session.insert("_flashes", vec![Tuple(("a", "1")), Tuple(("a", "2")), Tuple(("a", "1"))]);
    let shown = session.take_flashes();
    assert_eq!(shown.iter().map(|flash| flash.text()).collect::<Vec<_>>(), ["1", "2", "1"]);
}

#[tokio::test]
async fn a_flash_whose_category_is_no_text_is_shown_once_as_every_other() {
    for manager in [flask(), SessionManager::new(Secret::generate()).unwrap()] {
        let session = manager.open(&HeaderMap::new()).await.unwrap();
        let pair = |category: Value| Value::Tuple(vec![category, "said".into()]);
        let odd = [5.into(), true.into(), Value::Null, 1.5.into(), "5".into(), Value::List(vec![])].map(pair);
        session.insert("_flashes", odd.iter().chain([&"no pair".into()]).collect::<Vec<_>>());
        session.insert("stays", 1);
        let shown = session.take_flashes();
        let shown: Vec<_> = shown.iter().map(|flash| (flash.category.as_str(), flash.text())).collect();
        let categories = ["5", "true", "message", "1.5", "5", "message"].map(|category| (category, "said"));
        assert_eq!(shown, [&categories[..], &[("message", "no pair")]].concat());
        assert_eq!(session.keys(), ["stays"]);
    }
}

#[tokio::test]
async fn what_flask_would_not_inflate_again_is_refused_when_it_is_written() {
    let manager = flask();
    let session = manager.open(&HeaderMap::new()).await.unwrap();
    session.insert("fits", "x".repeat((64 << 10) - 20));
    let mut response = HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    let mut visitor = Visitor::new(&manager);
    visitor.receive(&response);
    let session = visitor.session().await.unwrap();
    assert!(session.contains("fits"));
    session.insert("more", "x".repeat(20));
    let error = manager.commit(&session).await.apply(&mut HeaderMap::new()).unwrap_err();
    assert!(error.is_too_large());
    assert!(error.to_string().contains("its largest entries: \"fits\""), "{error}");
}

/// A list in a list in a list, as deep as a session may nest; the innermost holds nothing.
fn deep(encoding: Encoding, levels: usize) -> Vec<u8> {
    let mut value = Value::List(Vec::new());
    for level in 1..levels {
        value = match level % 3 {
            0 => Value::Map(vec![("a".into(), value)]),
            1 if encoding != Encoding::Json(Json::JAVASCRIPT) => Value::Tuple(vec![value]),
            _ => Value::List(vec![value]),
        };
    }
    encoding.write(&value).unwrap()
}

#[test]
fn the_deepest_session_fits_into_a_worker_threads_stack() {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    #[allow(dead_code)]
    enum Nested {
        List(Vec<Nested>),
        Map(std::collections::HashMap<String, Nested>),
    }
    // Tokio's workers have 2 MiB, and what an application does before it reads takes some of it.
    let run = || {
        for encoding in [FLASK, Encoding::Json(Json::JAVASCRIPT), Encoding::MessagePack] {
            // A tuple takes two levels in Flask's JSON.
            let levels = if encoding == FLASK { 90 } else { 126 };
            let encoded = deep(encoding, levels);
            let value: Value = encoding.read(&encoded).unwrap();
            assert_eq!(encoding.write(&value).unwrap(), encoded);
            assert!(encoding.read::<Nested>(&encoded).is_ok());
            let _ = encoding.read::<serde_json::Value>(&encoded);
            let mut whole = Vec::new();
            encoding.join([(&b"a"[..], &encoded[..])].into_iter(), &mut whole);
            assert_eq!(Data::parse(encoding, &Bytes::from(whole)).unwrap().len(), 1);
        }
    };
    std::thread::Builder::new().stack_size(1536 * 1024).spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_tag_that_a_visitor_chose_stays_a_map() {
    // What a visitor sends as JSON and a handler keeps must not come back as safe HTML.
    let sent: serde_json::Value =
        serde_json::from_str(r#"{"a":{" m":"<script>"},"b":[{" di":{" m__":"<b>"}}]}"#).unwrap();
    let kept: Value = FLASK.read(&FLASK.write(&sent).unwrap()).unwrap();
    let map = |name: &str, value: Value| Value::Map(vec![(name.into(), value)]);
    assert_eq!(kept.get("a"), Some(&map(" m", "<script>".into())));
    assert_eq!(kept.get("b"), Some(&Value::List(vec![map(" di", map(" m__", "<b>".into()))])));
}
