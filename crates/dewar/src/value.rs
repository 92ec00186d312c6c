//! What a session may hold beyond serde's own types: bytes, tuples, markup, UUIDs, dates.
//!
//! Any `Serialize` goes into a session, written as people would read it: a date of chrono's, a UUID, a decimal and an address are their text, so that a
//! page shows the same in every format. These types are for what serde's data model cannot tell apart but a framework
//! can: Flask keeps a tuple, safe HTML, a UUID and a date as such. They keep their kind in Flask's JSON and in
//! MessagePack, are refused by name in formats that would lose it, and pass through any other serde format as what they wrap.

pub(crate) mod exact;
pub(crate) mod read;
mod time;
mod typed;
pub(crate) mod write;

pub use self::time::DateTime;

use std::fmt;
use std::str::FromStr;

/// Any value a session can hold, in the order and kind it was stored. Never rounds, merges or reorders.
///
/// ```
/// use dewar::value::Value;
///
/// let value = Value::from(vec![Value::from("blue"), Value::from(7)]);
/// assert_eq!(value.as_list().unwrap()[0].as_str(), Some("blue"));
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: Python's `None`, JSON's `null`.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer of 64 bits.
    Integer(i64),
    /// An integer beyond 64 bits.
    BigInteger(BigInteger),
    /// A 64-bit float, NaN and infinities included.
    Float(f64),
    /// Text.
    Text(String),
    /// Text with a lone surrogate, as UTF-16 code units: Python and JavaScript can hold it, UTF-8 cannot.
    Surrogates(Vec<u16>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A tuple: a list that a framework keeps apart from lists.
    Tuple(Vec<Value>),
    /// A map, in order. Keys need not be text.
    Map(Vec<(Value, Value)>),
    /// Text marked as safe HTML.
    Markup(String),
    /// A UUID.
    Uuid(Uuid),
    /// A moment in time.
    DateTime(DateTime),
    /// An atom of Erlang's, by its name. A type that is read sees text. `nil`, `true` and `false` are [`Null`](Self::Null) and [`Bool`](Self::Bool).
    Atom(String),
}

impl Value {
    /// The text of a text, of markup or of an atom.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) | Value::Markup(text) | Value::Atom(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, where it has at most 64 bits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Integer(integer) => Some(*integer),
            _ => None,
        }
    }

    /// The members of a list or a tuple.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The member of a map with this text as its key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Map(members) => members
                .iter()
                .find(|(name, _)| matches!(name, Value::Text(name) if name == key))
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// What kind of value this is, for messages: `text`, `a map`, `an integer`.
    pub fn kind(&self) -> &'static str {
        KINDS[match self {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Integer(_) => 2,
            Value::BigInteger(_) => 3,
            Value::Float(_) => 4,
            Value::Text(_) => 5,
            Value::Surrogates(_) => 6,
            Value::Bytes(_) => 7,
            Value::List(_) => 8,
            Value::Tuple(_) => 9,
            Value::Map(_) => 10,
            Value::Markup(_) => 11,
            Value::Uuid(_) => 12,
            Value::DateTime(_) => 13,
            Value::Atom(_) => 14,
        }]
    }
}

/// The words for the kinds of values: messages say no others.
pub(crate) const KINDS: [&str; 15] = [
    "nothing",
    "a boolean",
    "an integer",
    "an integer beyond 64 bits",
    "a float",
    "text",
    "text with a lone surrogate",
    "bytes",
    "a list",
    "a tuple",
    "a map",
    "markup",
    "a UUID",
    "a date",
    "an atom",
];

macro_rules! into_value {
    ($($from:ty => |$it:ident| $make:expr),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from($it: $from) -> Self {
                $make
            }
        }
    )*};
}

into_value! {
    () => |_it| Value::Null,
    bool => |it| Value::Bool(it),
    i64 => |it| Value::Integer(it),
    i32 => |it| Value::Integer(it.into()),
    u32 => |it| Value::Integer(it.into()),
    f64 => |it| Value::Float(it),
    &str => |it| Value::Text(it.into()),
    &String => |it| Value::Text(it.clone()),
    std::borrow::Cow<'_, str> => |it| Value::Text(it.into_owned()),
    String => |it| Value::Text(it),
    Vec<Value> => |it| Value::List(it),
    Bytes => |it| Value::Bytes(it.0),
    Markup => |it| Value::Markup(it.0),
    Uuid => |it| Value::Uuid(it),
    DateTime => |it| Value::DateTime(it),
    i128 => |it| i64::try_from(it).map_or_else(|_| Value::BigInteger(it.into()), Value::Integer),
    u128 => |it| i64::try_from(it).map_or_else(|_| Value::BigInteger(it.into()), Value::Integer),
    u64 => |it| Value::from(u128::from(it)),
}

/// A tuple: written as Flask's tuple where the format knows one. Refused where the wrapped value is not a list.
///
/// ```
/// use dewar::value::Tuple;
///
/// let flash = Tuple(("message", "Saved!"));
/// assert_eq!(flash.0.1, "Saved!");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tuple<T>(pub T);

/// Bytes, where a plain `Vec<u8>` would be a list of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Bytes(pub Vec<u8>);

/// Text marked as safe HTML.
///
/// # Security
///
/// Plain text also reads as markup, so that formats without the mark can be used: read an entry as `Markup` only if your
/// own code wrote it. [`Value`] tells the two apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Markup(pub String);

/// An integer of any size, as decimal text.
///
/// ```
/// use dewar::value::BigInteger;
///
/// let big: BigInteger = "1180591620717411303424".parse().unwrap();
/// assert_eq!(big.as_str(), "1180591620717411303424");
/// assert!("1e3".parse::<BigInteger>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BigInteger(String);

impl BigInteger {
    /// The integer in decimal, without a plus or leading zeros.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BigInteger {
    type Err = Invalid;

    /// # Errors
    ///
    /// Where the text is not a plain decimal integer: a minus at most, no leading zeros, no `-0`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_digit())
            && (!digits.starts_with('0') || text == "0");
        plain.then(|| BigInteger(text.into())).ok_or(Invalid("an integer"))
    }
}

impl From<i128> for BigInteger {
    fn from(integer: i128) -> Self {
        BigInteger(integer.to_string())
    }
}

impl From<u128> for BigInteger {
    fn from(integer: u128) -> Self {
        BigInteger(integer.to_string())
    }
}

impl fmt::Display for BigInteger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A UUID: 16 bytes, shown as dashed lower-case text.
///
/// ```
/// use dewar::value::Uuid;
///
/// let id: Uuid = "12345678-1234-5678-1234-567812345678".parse().unwrap();
/// assert_eq!(id.as_bytes()[0], 0x12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// The UUID with these bytes, in network order.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Uuid(bytes)
    }

    /// Its bytes, in network order.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = Invalid;

    /// Reads 32 hex digits, with dashes in their usual places or without any.
    ///
    /// # Errors
    ///
    /// Anything else.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let dashed = text.len() == 36;
        let mut digits =
            text.bytes().enumerate().filter(|(i, b)| !(dashed && matches!(i, 8 | 13 | 18 | 23) && *b == b'-'));
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            for _ in 0..2 {
                let digit = digits.next().and_then(|(_, b)| (b as char).to_digit(16)).ok_or(Invalid("a UUID"))?;
                *byte = *byte << 4 | digit as u8;
            }
        }
        digits.next().is_none().then_some(Uuid(bytes)).ok_or(Invalid("a UUID"))
    }
}

/// A text that is not what it should be. Shows what was expected, never the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid(pub(crate) &'static str);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {}", self.0)
    }
}

impl std::error::Error for Invalid {}
