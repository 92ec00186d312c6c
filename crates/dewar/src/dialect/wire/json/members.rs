//! A whole session of JSON text: cut into entries, and joined again.

use super::order::Name;
use super::scan::Scan;
use super::text::{Text, to_wtf8, unescape, write_name};
use super::{Json, read, tag};
use crate::dialect::wire::{DEPTH, Member, last_wins};
use bytes::Bytes;

/// The entries of the top-level object. Nothing where any part is malformed, or a tag is one Flask could not read.
pub(super) fn cut(json: Json, whole: &Bytes) -> Option<Vec<Member>> {
    std::str::from_utf8(whole).ok()?;
    let mut members = Vec::with_capacity(8);
    let mut scan = Scan::new(json, whole);
    scan.blanks();
    scan.members(|scan, name| {
        let start = scan.at;
        let outer = std::mem::take(&mut scan.blank);
        scan.skip(DEPTH - 1)?;
        let value = &whole[start..scan.at];
        if json.tags && scan.blank {
            read::value(json, value)?;
        }
        scan.blank = outer;
        members.push(Member { name: decoded(whole, name)?, value: whole.slice_ref(value) });
        Some(())
    })?;
    scan.end()?;
    last_wins(&mut members);
    match &members[..] {
        [only] if json.tags && tag::is_tag(&only.name) => untagged(json, only).map(|only| vec![only]),
        _ => Some(members),
    }
}

fn decoded(whole: &Bytes, name: &[u8]) -> Option<Bytes> {
    if !name.contains(&b'\\') {
        return Some(whole.slice_ref(name));
    }
    Some(match unescape(name)? {
        Text::Utf8(name) => Bytes::from(name.into_owned()),
        Text::Units(units) => to_wtf8(&units).into(),
    })
}

/// The one entry whose name looks like a tag: `{" di":{" t__":value}}`. Any other tag is no session.
fn untagged(json: Json, outer: &Member) -> Option<Member> {
    if outer.name != tag::OBJECT {
        return None;
    }
    let mut inner = Vec::new();
    let mut scan = Scan::new(json, &outer.value);
    scan.members(|scan, name| {
        let start = scan.at;
        scan.skip(DEPTH)?;
        inner.push(Member {
            name: decoded(&outer.value, name)?,
            value: outer.value.slice_ref(&outer.value[start..scan.at]),
        });
        Some(())
    })?;
    last_wins(&mut inner);
    match &inner[..] {
        [only] if !tag::is_tag(&only.name) => {
            let name = std::str::from_utf8(&only.name).ok()?;
            Some(Member { name: only.name.slice_ref(tag::strip(name).as_bytes()), value: only.value.clone() })
        }
        _ => None,
    }
}

/// Appends the object of these entries.
pub(super) fn join<'a>(json: Json, members: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, out: &mut Vec<u8>) {
    out.reserve(members.clone().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>() + 2);
    let mut first_two = members.clone().take(2);
    if let (Some((name, value)), None, true) = (first_two.next(), first_two.next(), json.tags)
        && tag::is_tag(name)
    {
        out.extend_from_slice(b"{\" di\":{\"");
        out.extend_from_slice(name);
        out.extend_from_slice(b"__\":");
        out.extend_from_slice(value);
        out.extend_from_slice(b"}}");
        return;
    }
    let order = |a: &(&'a [u8], &'a [u8]), b: &(&'a [u8], &'a [u8])| {
        json.order(Name { text: a.0, integer: None }, Name { text: b.0, integer: None })
    };
    if !json.orders() || members.clone().is_sorted_by(|a, b| order(a, b).is_le()) {
        object(json, members, out);
    } else {
        let mut sorted: Vec<_> = members.collect();
        sorted.sort_by(order);
        object(json, sorted.into_iter(), out);
    }
}

fn object<'a>(json: Json, members: impl Iterator<Item = (&'a [u8], &'a [u8])>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (name, value)) in members.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_name(name, json.ascii, out);
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.push(b'}');
}
