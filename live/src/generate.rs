//! Generated sessions, and cookies with something wrong. The same seed gives the same ones.

use dewar::{
    Value,
    value::{BigInteger, DateTime, Uuid},
};

/// SplitMix64 (Steele, Lea, Flood, 2014): small, and the same everywhere.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Names that an application would choose, and names that mean something to Flask.
const NAMES: &[&str] = &[
    "firstName",
    "lastName",
    "favoriteColor",
    "cart",
    "user_id",
    "csrf_token",
    "a",
    "b",
    "aa",
    "A",
    "",
    " ",
    "_",
    " t",
    " b",
    " m",
    " u",
    " d",
    " di",
    " t__",
    " di__",
    " x",
    "__",
    "$t",
    "$",
    "v",
    "ключ",
    "clé",
    "鍵",
    "🔑",
    "\u{7f}",
    "\"",
    "\\",
    "\n",
    "é",
    "e\u{301}",
    "0",
    "10",
    "9",
];

const LETTERS: &[char] = &[
    'a',
    'b',
    'z',
    'A',
    '0',
    '9',
    ' ',
    '"',
    '\\',
    '/',
    '<',
    '>',
    '&',
    '\'',
    '%',
    '+',
    '=',
    ';',
    ',',
    '.',
    '\0',
    '\u{1}',
    '\u{8}',
    '\t',
    '\n',
    '\u{b}',
    '\u{c}',
    '\r',
    '\u{1f}',
    '\u{7f}',
    '\u{80}',
    'é',
    'ß',
    'λ',
    'я',
    '\u{2028}',
    '\u{2029}',
    '\u{d7ff}',
    '\u{e000}',
    '\u{feff}',
    '\u{fffd}',
    '\u{ffff}',
    '漢',
    '\u{10000}',
    '🧪',
    '\u{10ffff}',
];

const FLOATS: &[f64] = &[
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    1.5,
    1e15,
    1e16,
    1e17,
    123_456_789_012_345_680.0,
    9_999_999_999_999_998.0,
    1e-4,
    1e-5,
    1.5e-7,
    0.000_123_45,
    1e21,
    1e22,
    1e100,
    5e-324,
    f64::MIN_POSITIVE,
    f64::MAX,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    9_007_199_254_740_993.0,
];

const INTEGERS: &[i64] = &[
    0,
    1,
    -1,
    9,
    10,
    255,
    65_536,
    2_147_483_647,
    -2_147_483_648,
    4_294_967_296,
    (1 << 53) - 1,
    1 << 53,
    (1 << 53) + 1,
    i64::MAX,
    i64::MIN,
];

/// A session: a map with at least one entry.
pub(crate) fn session(dice: &mut Dice) -> Value {
    let entries = if dice.one_in(20) { 12 + dice.below(20) } else { 1 + dice.below(6) };
    let mut session = members(dice, entries, 3);
    if dice.one_in(8) {
        put(&mut session, "_permanent".into(), Value::Bool(!dice.one_in(8)));
    }
    if dice.one_in(8) {
        let flashes = (0..=dice.below(3)).map(|_| {
            let message = if dice.one_in(3) { Value::Markup(text(dice)) } else { text(dice).into() };
            Value::Tuple(vec![(*dice.pick(&["message", "error", "success"])).into(), message])
        });
        put(&mut session, "_flashes".into(), Value::List(flashes.collect()));
    }
    Value::Map(session)
}

fn members(dice: &mut Dice, count: usize, depth: usize) -> Vec<(Value, Value)> {
    let mut members = Vec::new();
    for _ in 0..count {
        let name = if dice.one_in(4) { text(dice) } else { (*dice.pick(NAMES)).to_owned() };
        let value = value(dice, depth);
        put(&mut members, name.into(), value);
    }
    members
}

/// Two members of one name would not be a map.
fn put(members: &mut Vec<(Value, Value)>, name: Value, value: Value) {
    match members.iter_mut().find(|(former, _)| *former == name) {
        Some(member) => member.1 = value,
        None => members.push((name, value)),
    }
}

fn value(dice: &mut Dice, depth: usize) -> Value {
    let kinds = if depth == 0 { 12 } else { 16 };
    match dice.below(kinds) {
        0 => Value::Null,
        1 => Value::Bool(dice.one_in(2)),
        2 => Value::Integer(*dice.pick(INTEGERS)),
        3 => Value::Integer(dice.next() as i64 >> dice.below(64)),
        4 => big_integer(dice),
        5 => Value::Float(float(dice)),
        6 | 7 => text(dice).into(),
        8 => surrogates(dice),
        9 => bytes(dice),
        10 => Value::Markup(text(dice)),
        11 => uuid_or_date(dice),
        12 => Value::List(values(dice, depth)),
        13 => Value::Tuple(values(dice, depth)),
        14 => {
            let count = dice.below(4);
            Value::Map(members(dice, count, depth - 1))
        }
        _ => lookalike(dice, depth),
    }
}

fn values(dice: &mut Dice, depth: usize) -> Vec<Value> {
    (0..dice.below(5)).map(|_| value(dice, depth - 1)).collect()
}

/// A map that Flask could take for one of its own tags, or one whose names are not text.
fn lookalike(dice: &mut Dice, depth: usize) -> Value {
    let inner = value(dice, depth - 1);
    match dice.below(4) {
        0 => {
            let mut members = Vec::new();
            for _ in 0..dice.below(4) {
                put(&mut members, Value::Integer(*dice.pick(INTEGERS)), value(dice, depth - 1));
            }
            Value::Map(members)
        }
        1 => Value::Map(vec![(surrogates(dice), inner)]),
        _ => Value::Map(vec![(
            (*dice.pick(&[" t", " b", " m", " u", " d", " di", " t__", " di__", " x"])).into(),
            inner,
        )]),
    }
}

fn big_integer(dice: &mut Dice) -> Value {
    let digits: String = (0..19 + dice.below(40)).map(|_| char::from(b'1' + dice.below(9) as u8)).collect();
    let sign = if dice.one_in(2) { "-" } else { "" };
    let big: BigInteger = format!("{sign}{digits}").parse().expect("digits are an integer");
    big.as_str().parse().map_or(Value::BigInteger(big), Value::Integer)
}

fn float(dice: &mut Dice) -> f64 {
    match dice.below(3) {
        0 => *dice.pick(FLOATS),
        1 => (dice.below(2_000_000) as f64 - 1_000_000.0) / 1000.0,
        // Another NaN than Python's own would come back as that one.
        _ => Some(f64::from_bits(dice.next())).filter(|it| !it.is_nan()).unwrap_or(f64::NAN),
    }
}

fn text(dice: &mut Dice) -> String {
    match dice.below(12) {
        0 => String::new(),
        1 => "lorem ipsum dolor sit amet ".repeat(1 + dice.below(12)),
        2..=6 => (0..dice.below(20)).map(|_| char::from(b' ' + dice.below(95) as u8)).collect(),
        7 => (0..dice.below(12)).filter_map(|_| char::from_u32(dice.next() as u32 % 0x11_0000)).collect(),
        _ => (0..dice.below(12)).map(|_| *dice.pick(LETTERS)).collect(),
    }
}

fn surrogates(dice: &mut Dice) -> Value {
    let units: Vec<u16> = (0..1 + dice.below(5))
        .map(|_| {
            if dice.one_in(2) {
                0xd800 + dice.below(0x800) as u16
            } else {
                *dice.pick(&[0x41, 0x5c, 0x75, 0xe9, 0xffff])
            }
        })
        .collect();
    String::from_utf16(&units).map_or(Value::Surrogates(units), Value::Text)
}

fn bytes(dice: &mut Dice) -> Value {
    Value::Bytes((0..dice.below(24)).map(|_| dice.next() as u8).collect())
}

fn uuid_or_date(dice: &mut Dice) -> Value {
    if dice.one_in(2) {
        let (high, low) = (dice.next().to_be_bytes(), dice.next().to_be_bytes());
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&high);
        uuid[8..].copy_from_slice(&low);
        return Value::Uuid(Uuid::from_bytes(uuid));
    }
    // From the year 100 on: before it, Python reads its own dates wrong.
    let (first, last) = (-59_011_459_200, 253_402_300_799_i64);
    let second = first + (dice.next() % (last - first) as u64) as i64;
    let micros = if dice.one_in(3) { dice.below(1_000_000) as u32 } else { 0 };
    Value::DateTime(DateTime::from_unix(second, micros * 1000).expect("a moment Python knows"))
}
