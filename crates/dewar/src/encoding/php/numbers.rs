//! The numbers of values, which references count by, across all entries of a record.
//!
//! Each value has the next one: an array, then its members; keys have none. `R:3;` is the same variable as the value of number 3 and has no number of its
//! own; `r:3;` is the same object, and has one. In `php_serialize` the array around all entries is number 1; in `php` and `php_binary` the first entry is.

use super::token::{Token, expect, key, token};

/// What was counted so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// How many values have a number.
    pub(crate) count: usize,
    /// The references, in order.
    pub(crate) references: Vec<Reference>,
    /// Whether there is an object among them that has written itself: how many numbers PHP gives it, nobody else knows.
    pub(crate) is_uncertain: bool,
    /// The numbers of objects, in order.
    objects: Vec<usize>,
}

/// A reference to another value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference {
    /// Where its digits stand in the record.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The number that they say.
    pub(crate) to: usize,
}

impl Numbers {
    pub(super) fn value(&mut self) {
        self.count += 1;
    }

    fn object(&mut self) {
        self.value();
        self.objects.push(self.count);
    }

    /// Steps over a value, nested at most so deep. Nothing where PHP would refuse it.
    pub(super) fn walk(&mut self, rest: &mut &[u8], whole: &[u8], depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let pairs = match token(rest)? {
            Token::Null | Token::Bool(_) | Token::Integer(_) | Token::Float(_) | Token::Text(_) => {
                self.value();
                return Some(());
            }
            Token::Array(pairs) => {
                self.value();
                pairs
            }
            Token::Object(pairs) => {
                self.object();
                pairs
            }
            Token::Case => {
                self.object();
                return Some(());
            }
            Token::Custom => {
                self.object();
                self.is_uncertain = true;
                return Some(());
            }
            Token::Reference(to) => return self.reference(to, rest, whole, to <= self.count),
            Token::Same(to) => {
                self.reference(to, rest, whole, self.objects.binary_search(&to).is_ok())?;
                self.object();
                return Some(());
            }
        };
        for _ in 0..pairs {
            key(rest)?;
            self.walk(rest, whole, depth)?;
        }
        expect(rest, b"}")
    }

    /// One that has just been read.
    fn reference(&mut self, to: usize, rest: &[u8], whole: &[u8], is_there: bool) -> Option<()> {
        if to == 0 || !(is_there || self.is_uncertain) {
            return None;
        }
        let end = whole.len() - rest.len() - 1;
        let digits = whole[..end].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        self.references.push(Reference { start: end - digits, end, to });
        Some(())
    }
}
