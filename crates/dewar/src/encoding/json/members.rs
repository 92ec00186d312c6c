//! A whole session of JSON text: cut into entries, and joined again.

use super::flavour::Json;
use super::order::Name;
use super::scan::{Quoted, Scan};
use super::text::{Text, to_wtf8, unescape, write_name};
use super::{read, tag};
use crate::encoding::depth::DEPTH;
use crate::encoding::member::{Member, Piece, last_wins};

/// The entries of the top-level object. Nothing where any part is malformed, or a tag is one Flask could not read.
pub(super) fn cut(json: Json, whole: &[u8]) -> Option<Vec<Member>> {
    std::str::from_utf8(whole).ok()?;
    let mut members = Vec::with_capacity(16);
    let mut scan = Scan::new(json, whole);
    scan.blanks();
    scan.members(|scan, name| {
        let start = scan.at;
        let outer = std::mem::take(&mut scan.blank);
        scan.skip(DEPTH - 1)?;
        if json.tags && scan.blank {
            read::value(json, &whole[start..scan.at])?;
        }
        scan.blank = outer;
        members.push(Member { name: decoded(whole, name)?, value: Piece::within(start..scan.at)? });
        Some(())
    })?;
    scan.end()?;
    last_wins(&mut members, whole);
    match &members[..] {
        [only] if json.tags && tag::is_tag(only.name.of(whole)) => untagged(json, whole, only).map(|only| vec![only]),
        _ => Some(members),
    }
}

/// A name: its place where it has no escapes.
fn decoded(whole: &[u8], name: Quoted) -> Option<Piece> {
    if !name.is_escaped {
        return Piece::within(name.place);
    }
    Some(Piece::Own(match unescape(&whole[name.place])? {
        Text::Utf8(name) => name.as_bytes().into(),
        Text::Units(units) => to_wtf8(&units).into(),
    }))
}

/// The one entry whose name looks like a tag: `{" di":{" t__":value}}`. Any other tag is no session.
fn untagged(json: Json, whole: &[u8], outer: &Member) -> Option<Member> {
    if outer.name.of(whole) != tag::OBJECT.as_bytes() {
        return None;
    }
    let Piece::Within { start, end } = outer.value else { return None };
    let mut inner = Vec::new();
    let mut scan = Scan::new(json, &whole[..end as usize]);
    scan.at = start as usize;
    scan.members(|scan, name| {
        let start = scan.at;
        scan.skip(DEPTH)?;
        inner.push(Member { name: decoded(whole, name)?, value: Piece::within(start..scan.at)? });
        Some(())
    })?;
    last_wins(&mut inner, whole);
    match &inner[..] {
        [only] if !tag::is_tag(only.name.of(whole)) => {
            let name = tag::strip(std::str::from_utf8(only.name.of(whole)).ok()?);
            Some(Member { name: Piece::Own(name.as_bytes().into()), value: only.value.clone() })
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
        write_name(name, json.escapes, out);
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.push(b'}');
}
