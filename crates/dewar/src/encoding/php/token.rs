//! What values consist of. Counts and lengths are compared with what is there before anything is allocated.

use std::borrow::Cow;

/// A value, or what an array or an object begins with.
pub(super) enum Token<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Cow<'a, [u8]>),
    /// So many pairs of a key and a value follow, and a brace.
    Array(usize),
    /// The same.
    Object(usize),
    /// An object that has written itself in a way of its own.
    Custom,
    /// Of an enumeration.
    Case,
    /// The same variable as the value of this number.
    Reference(usize),
    /// The same object as the value of this number.
    Same(usize),
}

/// What an array has before each value.
#[derive(PartialEq)]
pub(super) enum Key<'a> {
    Integer(i64),
    /// None that spells an integer.
    Text(Cow<'a, [u8]>),
}

/// The shortest pair of a key and a value: `i:0;N;`.
const PAIR: usize = 6;

pub(super) fn token<'a>(rest: &mut &'a [u8]) -> Option<Token<'a>> {
    let kind = take(rest, 1)?[0];
    if kind == b'N' {
        expect(rest, b";")?;
        return Some(Token::Null);
    }
    expect(rest, b":")?;
    Some(match kind {
        b'b' => match take(rest, 2)? {
            b"0;" => Token::Bool(false),
            b"1;" => Token::Bool(true),
            _ => return None,
        },
        b'i' => Token::Integer(integer(rest)?),
        b'd' => Token::Float(float(until_semicolon(rest)?)?),
        b's' | b'S' => Token::Text(text(kind, rest)?),
        b'a' => Token::Array(pairs(rest)?),
        b'O' => Token::Object(after_object(rest)?.1),
        b'C' => {
            class(quoted(rest)?)?;
            expect(rest, b":")?;
            let len = number(rest)?;
            expect(rest, b":{")?;
            take(rest, len)?;
            expect(rest, b"}")?;
            Token::Custom
        }
        b'E' => {
            let case = quoted(rest)?;
            class(&case[..case.iter().position(|byte| *byte == b':')?])?;
            expect(rest, b";")?;
            Token::Case
        }
        b'R' | b'r' => {
            let to = number(rest)?;
            expect(rest, b";")?;
            if kind == b'R' { Token::Reference(to) } else { Token::Same(to) }
        }
        _ => return None,
    })
}

/// The name of an object's class, and how many pairs follow, and a brace.
pub(super) fn object<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], usize)> {
    expect(rest, b"O:")?;
    after_object(rest)
}

fn after_object<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], usize)> {
    let name = quoted(rest)?;
    class(name)?;
    expect(rest, b":")?;
    Some((name, pairs(rest)?))
}

pub(super) fn key<'a>(rest: &mut &'a [u8]) -> Option<Key<'a>> {
    match take(rest, 2)? {
        b"i:" => Some(Key::Integer(integer(rest)?)),
        &[kind @ (b's' | b'S'), b':'] => {
            let text = text(kind, rest)?;
            Some(integer_key(&text).map_or(Key::Text(text), Key::Integer))
        }
        _ => None,
    }
}

/// The integer that a text is where it is a key: in its one spelling, of 64 bits.
pub(crate) fn integer_key(text: &[u8]) -> Option<i64> {
    // Most names end it here.
    if !matches!(text.first()?, b'-' | b'0'..=b'9') {
        return None;
    }
    let integer: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (integer.to_string().as_bytes() == text).then_some(integer)
}

fn integer(rest: &mut &[u8]) -> Option<i64> {
    // As Rust: a sign at most, and digits. What is beyond 64 bits is refused, where PHP takes another number.
    std::str::from_utf8(until_semicolon(rest)?).ok()?.parse().ok()
}

fn float(text: &[u8]) -> Option<f64> {
    match text {
        b"NAN" => Some(f64::NAN),
        b"INF" => Some(f64::INFINITY),
        b"-INF" => Some(f64::NEG_INFINITY),
        // Rust spells those otherwise, and the rest alike.
        _ if text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) => {
            std::str::from_utf8(text).ok()?.parse().ok()
        }
        _ => None,
    }
}

fn text<'a>(kind: u8, rest: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let text = if kind == b's' { Cow::Borrowed(quoted(rest)?) } else { Cow::Owned(escaped(rest)?) };
    expect(rest, b";")?;
    Some(text)
}

/// `5:"alice"`
fn quoted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = number(rest)?;
    expect(rest, b":\"")?;
    let text = take(rest, len)?;
    expect(rest, b"\"")?;
    Some(text)
}

/// The same with bytes as `\41`, each of which counts as one.
fn escaped(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let len = number(rest)?;
    expect(rest, b":\"")?;
    let mut text = Vec::with_capacity(len.min(rest.len()));
    for _ in 0..len {
        text.push(match take(rest, 1)?[0] {
            b'\\' => {
                let digits = std::str::from_utf8(take(rest, 2)?).ok()?;
                // Rust takes a plus.
                (!digits.starts_with('+')).then_some(())?;
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => byte,
        });
    }
    expect(rest, b"\"")?;
    Some(text)
}

/// `2:{`
fn pairs(rest: &mut &[u8]) -> Option<usize> {
    let count = number(rest)?;
    expect(rest, b":{")?;
    (count.checked_mul(PAIR)? <= rest.len()).then_some(count)
}

/// The name of a class is one that PHP could have.
fn class(name: &[u8]) -> Option<()> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'\\' | 0x7f..);
    (!name.is_empty() && name.iter().all(is_letter)).then_some(())
}

/// Digits alone.
fn number(rest: &mut &[u8]) -> Option<usize> {
    let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(take(rest, len)?).ok()?.parse().ok()
}

fn until_semicolon<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let text = take(rest, rest.iter().position(|byte| *byte == b';')?)?;
    expect(rest, b";")?;
    Some(text)
}

pub(super) fn expect(rest: &mut &[u8], text: &[u8]) -> Option<()> {
    (take(rest, text.len())? == text).then_some(())
}

pub(crate) fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}
