//! The low end of writing: brackets, commas, names and their order. Knows no values.

use super::flavour::{Escapes, Json};
use super::order::Name;
use super::{tag, text};
use crate::encoding::error::WriteError;
use std::collections::HashSet;

/// Up to so many names are compared with each other; a set of them would cost more.
const FEW: usize = 8;

/// Text that is being written in a flavour, with the names that its open objects have so far.
pub(super) struct Buffer {
    pub(super) json: Json,
    pub(super) out: Vec<u8>,
    /// The decoded names of the members of all open objects.
    names: Vec<u8>,
    spans: Vec<Span>,
    /// How deep the deepest value since the innermost opening nests.
    height: usize,
}

/// An open object or list.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    open: usize,
    spans: usize,
    names: usize,
    height: usize,
}

/// A member of an open object: where its text and its name begin.
struct Span {
    start: usize,
    name: usize,
    integer: Option<i128>,
}

impl Buffer {
    pub(super) fn new(json: Json) -> Self {
        Buffer { json, out: Vec::with_capacity(64), names: Vec::new(), spans: Vec::new(), height: 0 }
    }

    /// The whole text.
    ///
    /// # Errors
    ///
    /// Where it nests too deep.
    pub(super) fn finish(self) -> Result<Vec<u8>, WriteError> {
        if self.height > self.json.deepest() { Err(self.json.too_deep()) } else { Ok(self.out) }
    }

    pub(super) fn open(&mut self, bracket: u8) -> Frame {
        let frame = Frame {
            open: self.out.len(),
            spans: self.spans.len(),
            names: self.names.len(),
            height: std::mem::take(&mut self.height),
        };
        self.out.push(bracket);
        frame
    }

    pub(super) fn next(&mut self, frame: Frame) {
        if self.out.len() > frame.open + 1 {
            self.out.push(b',');
        }
    }

    /// A member's name, UTF-8 or WTF-8.
    pub(super) fn name(&mut self, frame: Frame, name: &[u8], integer: Option<i128>) {
        self.next(frame);
        if self.spans.capacity() == 0 {
            self.spans.reserve(8);
            self.names.reserve(64);
        }
        self.spans.push(Span { start: self.out.len(), name: self.names.len(), integer });
        self.names.extend_from_slice(name);
        text::write_name(name, self.json.escapes, &mut self.out);
        self.out.push(b':');
    }

    /// Begins a tagged value, up to what the tag wraps.
    pub(super) fn open_tag(&mut self, tag: &str) -> Frame {
        let frame = self.open(b'{');
        text::write(tag, Escapes::NonAscii, &mut self.out);
        self.out.push(b':');
        frame
    }

    pub(super) fn close_tag(&mut self, frame: Frame) {
        self.out.push(b'}');
        self.rise(frame);
    }

    pub(super) fn close_list(&mut self, frame: Frame) {
        self.out.push(b']');
        self.rise(frame);
    }

    /// # Errors
    ///
    /// Where two names are written alike: whoever reads it keeps one of them.
    pub(super) fn close_object(&mut self, frame: Frame) -> Result<(), WriteError> {
        let names = frame.spans..self.spans.len();
        let mut met = HashSet::new();
        for at in names.clone() {
            let name = self.name_at(at);
            let is_met = match names.len() {
                ..=FEW => (names.start..at).any(|before| self.name_at(before) == name),
                _ => !met.insert(name),
            };
            if is_met {
                // Not which: a name inside of a value is a value.
                return Err(WriteError::new("two members of a map have the same name in JSON".to_owned()));
            }
        }
        if let [only] = &self.spans[frame.spans..]
            && self.json.tags
            && tag::is_tag(&self.names[only.name..])
        {
            let quote = frame.open + 2 + self.names.len() - only.name;
            self.out.splice(quote..quote, *b"__");
            self.out.splice(frame.open..frame.open, *b"{\" di\":");
            self.out.push(b'}');
            self.height += 1;
        } else if self.json.orders() {
            self.sort(frame);
        }
        self.out.push(b'}');
        self.spans.truncate(frame.spans);
        self.names.truncate(frame.names);
        self.rise(frame);
        Ok(())
    }

    /// The decoded name of the member `at`, of all that are open.
    fn name_at(&self, at: usize) -> &[u8] {
        let end = self.spans.get(at + 1).map_or(self.names.len(), |next| next.name);
        &self.names[self.spans[at].name..end]
    }

    fn rise(&mut self, frame: Frame) {
        self.height = frame.height.max(self.height + 1);
    }

    fn sort(&mut self, frame: Frame) {
        let spans = &self.spans[frame.spans..];
        let name = |i: usize| Name { text: self.name_at(frame.spans + i), integer: spans[i].integer };
        if (1..spans.len()).all(|i| self.json.order(name(i - 1), name(i)).is_le()) {
            return;
        }
        let mut order: Vec<usize> = (0..spans.len()).collect();
        order.sort_by(|a, b| self.json.order(name(*a), name(*b)));
        let members = self.out.split_off(frame.open + 1);
        let place = |i: usize| spans.get(i).map_or(members.len() + 1, |span| span.start - frame.open - 1);
        for (at, i) in order.into_iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(&members[place(i)..place(i + 1) - 1]);
        }
    }
}
