//! What a session takes, it gives back: `insert`, commit, open and `get` give the same value in every dialect, or the commit names the entry.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    sync::LazyLock,
    time::{Duration, UNIX_EPOCH},
};

use crate::support::http::secret;
use dewar::{
    Session, SessionLayer, SessionManager,
    dialect::{CookieSession, ExpressSession, Flask},
    store::memory::MemoryStore,
    testing::Visitor,
    value::{BigInteger, Bytes, DateTime, Markup, Tuple, Uuid, Value},
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

const NAME: &str = "the entry";

/// One manager for each dialect, the most exact first.
static MANAGERS: LazyLock<[(&str, SessionManager); 5]> = LazyLock::new(|| {
    let layer = || SessionLayer::new(secret()).unwrap();
    [
        ("sealed", layer()),
        ("opaque", layer().store(MemoryStore::new())),
        ("Flask", layer().dialect(Flask::new)),
        ("cookie-session", layer().dialect(CookieSession::new)),
        ("express-session", layer().dialect(ExpressSession::new).store(MemoryStore::new())),
    ]
    .map(|(name, layer)| (name, layer.manager().unwrap()))
});

/// What came of a value.
#[derive(Debug, PartialEq)]
enum Came {
    Back,
    Refused,
}

/// Commits what was inserted, and opens it again.
async fn visit(manager: &SessionManager, insert: &dyn Fn(&Session)) -> Result<Session, dewar::Error> {
    Visitor::prepared(manager, insert).await?.session().await
}

/// The five shapes that serde keeps apart, and two that it buffers while it reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Plain<L> {
    it: L,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum External<L> {
    Nothing,
    New(L),
    Two(L, bool),
    Struct { it: L },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Internal<L> {
    Nothing,
    New(Plain<L>),
    Struct { it: L },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "of")]
enum Adjacent<L> {
    Nothing,
    New(L),
    Two(L, bool),
    Struct { it: L },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged<L> {
    Struct { it: L },
    List(Vec<Plain<L>>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat<L> {
    before: bool,
    #[serde(flatten)]
    plain: Plain<L>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FlatMap<L> {
    before: bool,
    #[serde(flatten)]
    rest: BTreeMap<String, L>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct New<L>(L);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair<L>(L, L);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Color {
    Red,
    Green,
}

/// A value in every shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Shapes<L> {
    plain: New<Pair<Plain<L>>>,
    external: [External<L>; 3],
    internal: [Internal<L>; 2],
    adjacent: [Adjacent<L>; 3],
    untagged: [Untagged<L>; 2],
    flat: Flat<L>,
    flat_map: FlatMap<L>,
    nested: Untagged<Internal<Plain<L>>>,
}

impl<L: Clone> Shapes<L> {
    fn of(leaf: &L) -> Self {
        let it = || leaf.clone();
        let plain = || Plain { it: it() };
        Self {
            plain: New(Pair(plain(), plain())),
            external: [External::New(it()), External::Two(it(), true), External::Struct { it: it() }],
            internal: [Internal::New(plain()), Internal::Struct { it: it() }],
            adjacent: [Adjacent::New(it()), Adjacent::Two(it(), true), Adjacent::Struct { it: it() }],
            untagged: [Untagged::Struct { it: it() }, Untagged::List(vec![plain(), plain()])],
            flat: Flat { before: true, plain: plain() },
            flat_map: FlatMap { before: true, rest: BTreeMap::from([("a".to_owned(), it())]) },
            nested: Untagged::Struct { it: Internal::Struct { it: plain() } },
        }
    }
}

/// A value alone and in every shape: it comes back from all, or is refused in all. Each dialect's answer.
fn in_every_shape<L>(leaf: L) -> Vec<(&'static str, Came)>
where
    L: Serialize + DeserializeOwned + Debug + Clone + PartialEq + 'static,
{
    let shapes = by_itself(Shapes::of(&leaf), Shapes::eq);
    assert_eq!(by_itself(leaf, L::eq), shapes);
    shapes
}

/// A value by itself, which serde itself reads back in no buffer, or which has a way of its own to be compared.
fn by_itself<T>(value: T, same: fn(&T, &T) -> bool) -> Vec<(&'static str, Came)>
where
    T: Serialize + DeserializeOwned + Debug,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let came = |(dialect, manager): &(&'static str, SessionManager)| {
        let session = match runtime.block_on(visit(manager, &|session| session.insert(NAME, &value))) {
            Ok(session) => session,
            Err(error) => {
                assert!(error.is_entry() && error.to_string().contains(NAME), "{dialect}: {value:?}: {error}");
                return (*dialect, Came::Refused);
            }
        };
        match session.try_get::<T>(NAME) {
            Ok(Some(found)) if same(&found, &value) => (*dialect, Came::Back),
            other => panic!("{dialect}: {value:?} was committed, and came back as {other:?}"),
        }
    };
    MANAGERS.iter().map(came).collect()
}

/// Which dialects refused it.
fn refusing(answers: Vec<(&'static str, Came)>) -> Vec<&'static str> {
    answers.into_iter().filter(|(_, came)| *came == Came::Refused).map(|(dialect, _)| dialect).collect()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,6}", "\\PC{0,6}", Just("null".to_owned()), Just("7".to_owned())]
}

fn moment() -> impl Strategy<Value = DateTime> {
    (-58_000_000_000i64..250_000_000_000).prop_map(|seconds| DateTime::from_unix(seconds, 0).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_every_format_holds_comes_back_from_every_format(
        small in any::<i32>(), short in any::<u16>(), text in text(), yes in any::<bool>(), sign in any::<char>(),
        ip in any::<IpAddr>(), port in any::<u16>(), id in any::<[u8; 16]>(), seconds in 0u64..1 << 40, float in -1e9f32..1e9,
        bytes in prop::collection::vec(any::<u8>(), 0..5), numbered in prop::collection::btree_map(any::<i16>(), any::<u8>(), 0..4),
    ) {
        let nobody: Vec<&str> = Vec::new();
        macro_rules! come_back {
            ($($leaf:expr),* $(,)?) => {$(
                prop_assert_eq!(refusing(in_every_shape($leaf)), nobody.clone(), "{}", stringify!($leaf));
            )*};
        }
        come_back![
            small, text.clone(), sign, ip, uuid::Uuid::from_bytes(id), float, bytes.clone(), Some(small), None::<String>, Color::Green,
            BTreeMap::from([(text.clone(), small)]), Unit, Duration::from_secs(seconds),
        ];
        // serde buffers the names of a map as text, and then reads no number from it: these are not in every shape.
        macro_rules! come_back_alone {
            ($($leaf:expr),* $(,)?) => {$(
                prop_assert_eq!(refusing(by_itself($leaf, |one, other| one == other)), nobody.clone(), "{}", stringify!($leaf));
            )*};
        }
        come_back_alone![
            short, yes, (), SocketAddr::new(ip, port), NonZeroU16::new(port | 1).unwrap(), PathBuf::from(text.clone()),
            BTreeSet::from([text.clone()]), [small; 3], Ok::<i32, String>(small), Err::<i32, String>(text.clone()), small..small,
            External::<u8>::Nothing, Internal::<u8>::Nothing, Adjacent::<u8>::Nothing,
            Value::List(vec![Value::Text(text.clone()), Value::Null, Value::from(small)]),
            numbered.clone(), HashMap::from([(yes, small)]), BTreeMap::from([(ip, small)]), BTreeMap::from([(sign, small)]),
            BTreeMap::from([(Color::Red, small)]), BTreeMap::from([(uuid::Uuid::from_bytes(id), small)]),
            UNIX_EPOCH + Duration::from_secs(seconds), u128::from(seconds), i128::from(small),
            Plain { it: Some(Plain { it: numbered }) },
        ];
    }

    #[test]
    fn what_only_some_formats_hold_is_refused_by_name_in_the_others(
        long in any::<i64>(), double in any::<f64>(), id in any::<[u8; 16]>(), moment in moment(),
        text in text(), bytes in prop::collection::vec(any::<u8>(), 0..5), large in any::<u128>(),
    ) {
        let javascript = ["cookie-session", "express-session"];
        let refused = |is_refused: bool| if is_refused { javascript.to_vec() } else { Vec::new() };
        prop_assert_eq!(refusing(in_every_shape(long)), refused(long.unsigned_abs() >= 1 << 53));
        prop_assert_eq!(refusing(by_itself(large, u128::eq)), refused(large >= 1 << 53));
        prop_assert_eq!(refusing(by_itself(BigInteger::from(large), BigInteger::eq)), refused(large >= 1 << 53));
        let same = |one: &f64, other: &f64| one == other || one.is_nan() && other.is_nan();
        prop_assert_eq!(refusing(by_itself(double, same)), refused(!double.is_finite()));
        for special in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            prop_assert_eq!(refusing(by_itself(special, same)), refused(true));
            let same = |one: &f32, other: &f32| one == other || one.is_nan() && other.is_nan();
            prop_assert_eq!(refusing(by_itself(special as f32, same)), refused(true));
        }
        prop_assert_eq!(refusing(in_every_shape(Bytes(bytes))), refused(true));
        prop_assert_eq!(refusing(in_every_shape(Uuid::from_bytes(id))), refused(true));
        prop_assert_eq!(refusing(in_every_shape(moment)), refused(true));
        prop_assert_eq!(refusing(in_every_shape(Markup(text.clone()))), refused(true));
        prop_assert_eq!(refusing(in_every_shape(Tuple((text.clone(), long as i32)))), refused(true));
        for value in [Value::Uuid(Uuid::from_bytes(id)), Value::DateTime(moment), Value::Markup(text.clone()), Value::Tuple(vec![Value::Text(text)])] {
            prop_assert_eq!(refusing(by_itself(value, Value::eq)), refused(true));
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(u8),
    Text(String),
}

/// A map whose keys are numbers and texts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Mixed(Vec<(Either, u8)>);

impl Serialize for Mixed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[test]
fn an_option_of_nothing_is_refused_by_every_format() {
    let all = ["sealed", "opaque", "Flask", "cookie-session", "express-session"];
    assert_eq!(refusing(by_itself(Some(()), Option::eq)), all);
    assert_eq!(refusing(by_itself(Some(None::<u8>), Option::eq)), all);
    assert_eq!(refusing(by_itself(Some(New(Unit)), Option::eq)), all);
    assert_eq!(refusing(by_itself(vec![Plain { it: Some(Value::Null) }], Vec::eq)), all);
    assert_eq!(refusing(by_itself(Some("null".to_owned()), Option::eq)), [""; 0]);
}

#[test]
fn names_that_json_cannot_tell_apart_are_refused() {
    let json = ["Flask", "cookie-session", "express-session"];
    let one = BTreeMap::from([(None::<u8>, 1u8)]);
    assert_eq!(refusing(by_itself(one, BTreeMap::eq)), json);
    assert_eq!(refusing(by_itself(BTreeMap::from([((), 1u8)]), BTreeMap::eq)), json);
    let (seven, text) = (Either::Number(7), Either::Text("7".to_owned()));
    let layers = [2, 30].map(|others| {
        let others = (0..others).map(|other| (Either::Text(format!("other {other}")), other));
        Mixed([(seven.clone(), 1), (text.clone(), 2)].into_iter().chain(others).collect())
    });
    for mixed in layers {
        let refused: Vec<&str> = MANAGERS
            .iter()
            .filter(|(_, manager)| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(visit(manager, &|session| session.insert(NAME, &mixed))).is_err()
            })
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(refused, json);
    }
}

#[test]
fn a_short_float_is_rounded_once() {
    // Each is the shortest text of its 32 bits, and of another such float once it was rounded to 64 bits.
    let floats: Vec<f32> = (0..4_000_000u32)
        .map(|bits| f32::from_bits(bits.wrapping_mul(1_073)))
        .filter(|float| float.is_finite() && float.to_string().parse::<f64>().unwrap() as f32 != *float)
        .collect();
    for float in floats.into_iter().chain([7.038531e-26]) {
        assert_eq!(refusing(in_every_shape(float)), [""; 0]);
    }
}
