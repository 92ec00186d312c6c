//! In which order an object's members are written.

use super::flavour::{Json, Numbers};
use std::cmp::Ordering;

/// A member's name as far as order goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    /// UTF-8 or WTF-8: bytewise order is the order of code points.
    pub(super) text: &'a [u8],
    /// Set where it was an integer before it became text.
    pub(super) integer: Option<i128>,
}

impl Json {
    /// Whether members may have to change places.
    pub(super) fn orders(self) -> bool {
        self.sorted || self.numbers == Numbers::JavaScript
    }

    /// Which of two names is written first; equal where insertion order decides.
    pub(super) fn order(self, a: Name<'_>, b: Name<'_>) -> Ordering {
        if self.sorted {
            // Python sorts integers before they become text, and cannot sort the two together; ours come first.
            return match (a.integer, b.integer) {
                (Some(a), Some(b)) => a.cmp(&b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => a.text.cmp(b.text),
            };
        }
        match self.numbers {
            Numbers::Python | Numbers::Ruby | Numbers::Php | Numbers::Msgspec => Ordering::Equal,
            Numbers::JavaScript => match (array_index(a.text), array_index(b.text)) {
                (Some(a), Some(b)) => a.cmp(&b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => Ordering::Equal,
            },
        }
    }
}

/// `0` to `4294967294` in canonical form: such names come first in a JavaScript object (ECMA-262, OrdinaryOwnPropertyKeys).
fn array_index(name: &[u8]) -> Option<u32> {
    let canonical = matches!(name, [b'0'] | [b'1'..=b'9', ..]) && name.len() <= 10;
    if !canonical {
        return None;
    }
    let index = std::str::from_utf8(name).ok()?.parse().ok()?;
    (name.iter().all(u8::is_ascii_digit) && index < u32::MAX).then_some(index)
}
