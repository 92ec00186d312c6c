//! Properties: whatever was inserted reads back, any changed bit is refused, a replay equals what was done.

use std::collections::BTreeMap;

use dewar::{Keyring, Secret, Session, SessionManager, Value, testing::Visitor};
use http::{HeaderMap, HeaderValue, header};
use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn manager() -> SessionManager {
    SessionManager::new(Secret::generate()).unwrap()
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("NaN is not equal to itself", |float| !float.is_nan()).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        any::<[u8; 16]>().prop_map(|bytes| Value::Uuid(dewar::value::Uuid::from_bytes(bytes))),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Tuple),
            prop::collection::btree_map(".{0,8}", inner, 0..4)
                .prop_map(|map| Value::Map(map.into_iter().map(|(name, value)| (Value::Text(name), value)).collect())),
        ]
    })
}

#[derive(Clone, Debug)]
enum Step {
    Insert(String, Value),
    Remove(String),
    Count(String),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let name = || "[abc]";
    prop_oneof![
        4 => (name(), value()).prop_map(|(name, value)| Step::Insert(name, value)),
        2 => name().prop_map(Step::Remove),
        2 => name().prop_map(|name| Step::Count(format!("count-{name}"))),
        1 => Just(Step::Clear),
    ]
}

/// The model: a plain map.
fn run(step: &Step, session: &Session, model: &mut BTreeMap<String, Value>) {
    match step {
        Step::Insert(name, value) => {
            session.insert(name, value.clone());
            model.insert(name.clone(), value.clone());
        }
        Step::Remove(name) => {
            assert_eq!(session.take::<Value>(name), model.remove(name));
        }
        Step::Count(name) => {
            let count = session.update(name, |count: &mut i64| *count += 1).unwrap();
            let before = model.get(name).and_then(Value::as_i64).unwrap_or(0);
            assert_eq!(count, before + 1);
            model.insert(name.clone(), Value::from(count));
        }
        Step::Clear => {
            session.clear();
            model.clear();
        }
    }
}

fn entries(session: &Session) -> BTreeMap<String, Value> {
    session.iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_session_over_several_requests_equals_a_plain_map(requests in prop::collection::vec(prop::collection::vec(step(), 0..6), 1..5)) {
        let manager = manager();
        runtime().block_on(async {
            let mut visitor = Visitor::new(&manager);
            let mut model = BTreeMap::new();
            for steps in &requests {
                let session = visitor.session().await.unwrap();
                for step in steps {
                    run(step, &session, &mut model);
                    assert_eq!(entries(&session), model);
                }
                let mut response = HeaderMap::new();
                if let Err(error) = manager.commit(&session).await.apply(&mut response) {
                    assert!(error.is_too_large());
                    return;
                }
                visitor.receive(&response);
                assert_eq!(entries(&visitor.session().await.unwrap()), model);
            }
        });
    }

    #[test]
    fn a_token_with_any_bit_flipped_opens_nothing(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let manager = manager();
        runtime().block_on(async {
            let visitor = Visitor::with(&manager, BTreeMap::from([("firstName", "Ada")])).await.unwrap();
            let mut cookie = visitor.cookie().as_bytes().to_vec();
            let start = manager.cookie_name().len() + 1;
            let at = start + at.index(cookie.len() - start);
            cookie[at] ^= 1 << bit;
            let Ok(cookie) = HeaderValue::from_bytes(&cookie) else { return };
            let request = HeaderMap::from_iter([(header::COOKIE, cookie)]);
            assert!(manager.open(&request).await.unwrap().is_empty());
        });
    }

    #[test]
    fn no_cookie_header_panics(header in prop::collection::vec(any::<u8>(), 0..300)) {
        let manager = manager();
        let header = [b"__Host-Http-session=".to_vec(), header].concat();
        let Ok(header) = HeaderValue::from_bytes(&header) else { return Ok(()) };
        let request = HeaderMap::from_iter([(header::COOKIE, header)]);
        runtime().block_on(async { assert!(manager.open(&request).await.unwrap().is_empty()) });
    }
}

#[test]
fn a_token_of_one_cookie_name_or_secret_opens_no_other() {
    runtime().block_on(async {
        let one = SessionManager::new(Keyring::new(Secret::new("the secret of the first app").unwrap())).unwrap();
        let two = SessionManager::new(Keyring::new(Secret::new("the secret of the other app").unwrap())).unwrap();
        let named = dewar::SessionLayer::new("the secret of the first app").unwrap();
        let named = named.cookie_name("__Host-other").manager().unwrap();
        let cookie = Visitor::with(&one, BTreeMap::from([("a", 1)])).await.unwrap().cookie();
        let renamed = cookie.to_str().unwrap().replace("__Host-Http-session", "__Host-other");
        for (manager, cookie, found) in
            [(&one, cookie.clone(), true), (&two, cookie, false), (&named, renamed.parse().unwrap(), false)]
        {
            let request = HeaderMap::from_iter([(header::COOKIE, cookie)]);
            assert_eq!(manager.open(&request).await.unwrap().contains("a"), found);
        }
    });
}
