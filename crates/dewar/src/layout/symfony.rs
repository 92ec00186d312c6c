//! _sf2_attributes|a:1:{s:1:"k";i:1;}_sf2_meta|a:3:{s:1:"u";i:1700000000;s:1:"c";i:1700000000;s:1:"l";i:0;}_symfony_flashes|a:1:{...}
//!
//! `Symfony`: the bags of Symfony 5.4 and 7.4 in a record of PHP's, in a file or, by `RedisSessionHandler`, in Redis under `sf_s`; both read each other's.
//!
//! ```text
//! _sf2_attributes   the attributes: the entries of a session
//! _symfony_flashes  the messages of each type, of `FlashBag` or `AutoExpireFlashBag`: the entry of this name
//! _sf2_meta         u: the last request, c: when the session was made, l: seconds that its cookie lives, or 0; in Unix seconds
//! ```
//!
//! As in Symfony, a bag without anything in it is left out, and `_sf2_meta` where nothing else is there. A write sets `u`; a new session and a renewal set all three, as
//! `migrate(true)` does. Whatever else stands in a record, of plain PHP for example, keeps its bytes. How PHP writes a record, and its references, which count
//! through all bags: `php.rs`.
//!
//! What it cannot say: an attribute of the name `_symfony_flashes`; a record with one is not read.
//!
//! Where it deviates: a bag that is no array makes a malformed record, an empty session under a new id (Symfony empties the bag). `u` is set by writes, where Symfony sets it by each request.

use std::{borrow::Cow, iter, mem, time::Duration};

use bytes::Bytes;

use super::{Kept, Layout, Php, Serializer, Stored, php::no_record};
use crate::{
    cookie::Attributes,
    data::{Contents, Data},
    encoding::{
        Encoding, Member, last_wins,
        php::{self, Former, Numbers},
    },
    error::{Error, Refusal},
    explain::Steps,
    lifetime::Timestamp,
    meaning::{FLASHES, Holds},
};

const ATTRIBUTES: &[u8] = b"_sf2_attributes";
const META: &[u8] = b"_sf2_meta";
const UPDATED: &[u8] = b"u";
const CREATED: &[u8] = b"c";
const LIFETIME: &[u8] = b"l";

/// How deep an attribute stands in a record.
const AROUND: usize = 2;

/// Symfony's records, in files and in Redis.
#[derive(Clone, Debug)]
pub struct Symfony {
    php: Php,
}

impl Symfony {
    /// The layout as Symfony has it where nothing is set.
    pub fn new() -> Self {
        Self::over(Php::new().prefix("sf_s"))
    }

    /// Symfony's bags in such records of PHP's. Its `RedisSessionHandler` has the prefix `sf_s`.
    pub fn over(php: Php) -> Self {
        Self { php }
    }

    fn bags(&self, record: &Bytes) -> Option<Bags> {
        Bags::read(self.php.serializer, self.encoding(), record)
    }
}

impl Default for Symfony {
    fn default() -> Self {
        Self::new()
    }
}

impl Layout for Symfony {
    fn encoding(&self) -> Encoding {
        self.php.encoding()
    }

    fn holds(&self) -> Holds {
        self.php.holds()
    }

    fn name(&self, id: &str) -> String {
        self.php.name(id)
    }

    fn lock(&self) -> Option<&'static str> {
        // `RedisSessionHandler` has none; PHP's own handler may.
        self.php.lock()
    }

    fn longest_request(&self) -> Duration {
        Layout::longest_request(&self.php)
    }

    fn read(&self, found: &Stored, steps: &mut Steps<'_>) -> Result<Kept, Refusal> {
        let record = found.body();
        steps.note("serialize_handler", || self.php.found(record));
        let Some(Bags { whole, attributes: mut data }) = self.bags(record) else {
            steps.note("bags", || "not Symfony's".into());
            return Err(Refusal::Malformed);
        };
        if data.get(FLASHES.as_bytes()).is_some() {
            steps.note("bags", || format!("an attribute {FLASHES:?}, which is the name of the flash bag"));
            return Err(Refusal::Malformed);
        }
        if let Some(meta) = whole.get(META) {
            steps.note("_sf2_meta", || String::from_utf8_lossy(meta).into_owned());
        }
        if let Some(flashes) = whole.get(FLASHES.as_bytes()) {
            data.insert(FLASHES.as_bytes(), flashes);
        }
        Ok(Kept { extra: record.clone(), ..Kept::new(data) })
    }

    fn write(&self, contents: &Contents, _cookie: &Attributes) -> Result<Stored, Error> {
        let former = self.bags(&contents.extra).ok_or_else(no_record)?;
        let numbers = Former::of(former.iter(), self.php.serializer.around()).ok_or_else(no_record)?;
        let bags = former.with(contents, self.encoding())?;
        let entries = numbers.renumbered(bags.iter())?;
        let record = self.php.serializer.join(&joined(&entries))?;
        Ok(Stored::Blob(record.into()))
    }

    fn stays(&self, extra: &Bytes) -> bool {
        let members = self.php.serializer.cut(extra, &mut Numbers::default()).unwrap_or_default();
        members.iter().any(|member| ![ATTRIBUTES, META, FLASHES.as_bytes()].contains(&member.name.of(extra)))
    }

    fn renewed(&self, contents: &mut Contents) -> Result<(), Error> {
        let mut bags = self.bags(&contents.extra).ok_or_else(no_record)?;
        // Where it does not have all three, another number of values would stand before others.
        let Some(meta) = bags.whole.get(META).filter(|meta| is_whole(meta, self.encoding())) else { return Ok(()) };
        let meta = stamped(meta, contents, self.encoding(), Some(contents.issued))?;
        bags.whole.insert(META, meta);
        let entries: Vec<_> = bags.whole.iter().map(|(name, value)| (name, Cow::Borrowed(value))).collect();
        contents.extra = self.php.serializer.join(&entries)?.into();
        Ok(())
    }
}

/// What stands in a record.
struct Bags {
    /// All of it. In what was read, the attributes, too.
    whole: Data,
    attributes: Data,
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Place<'a> {
    /// In the session.
    Whole(&'a [u8]),
    /// Among the attributes.
    Attribute(&'a [u8]),
}

impl AsRef<[u8]> for Place<'_> {
    fn as_ref(&self) -> &[u8] {
        let (Self::Whole(name) | Self::Attribute(name)) = self;
        name
    }
}

/// What stands for the array of the attributes where they are looked at one by one: it has one number, too.
const ONE: &[u8] = b"N;";
const EMPTY: &[u8] = b"a:0:{}";

impl Bags {
    fn read(serializer: Serializer, encoding: Encoding, record: &Bytes) -> Option<Self> {
        let whole = all_different(record, serializer.cut(record, &mut Numbers::default())?)?;
        let attributes = match whole.get(ATTRIBUTES) {
            Some(attributes) => {
                let attributes = Bytes::copy_from_slice(attributes);
                let mut rest = &attributes[..];
                let members = php::array(&mut rest, &attributes, &mut Numbers::of_a_part())?;
                all_different(&attributes, members)?
            }
            None => Data::default(),
        };
        let is_bag = |name| whole.get(name).is_none_or(|bag| encoding.members(&Bytes::copy_from_slice(bag)).is_some());
        (is_bag(META) && is_bag(FLASHES.as_bytes())).then_some(Self { whole, attributes })
    }

    /// Every value in its order, the attributes one by one.
    fn iter(&self) -> impl Iterator<Item = (Place<'_>, &[u8])> + Clone {
        self.whole.iter().flat_map(|(name, value)| {
            let is_attributes = name == ATTRIBUTES;
            let attributes = is_attributes.then(|| self.attributes.iter()).into_iter().flatten();
            let first = (Place::Whole(name), if is_attributes { ONE } else { value });
            iter::once(first).chain(attributes.map(|(name, value)| (Place::Attribute(name), value)))
        })
    }

    /// The same with what the session now has.
    fn with(&self, contents: &Contents, encoding: Encoding) -> Result<Self, Error> {
        let mut bags = Self { whole: self.whole.clone(), attributes: contents.data.clone() };
        let flashes = bags.attributes.remove(FLASHES.as_bytes());
        if let Some((name, _)) = bags.attributes.iter().find(|(_, value)| !php::fits(value, AROUND)) {
            return Err(Error::entry(name, "nested too deep for an attribute of Symfony's"));
        }
        put(&mut bags.whole, ATTRIBUTES, (!bags.attributes.is_empty()).then_some(ONE));
        if flashes.as_ref().is_some_and(|flashes| encoding.members(flashes).is_none()) {
            return Err(Error::entry(FLASHES.as_bytes(), "Symfony keeps its messages here; name the entry otherwise"));
        }
        put(&mut bags.whole, FLASHES.as_bytes(), flashes.as_deref().filter(|flashes| *flashes != EMPTY));
        let meta = stamped(self.whole.get(META).unwrap_or(EMPTY), contents, encoding, None)?;
        bags.whole.insert(META, meta);
        if bags.whole.len() == 1 {
            bags.whole.clear();
        }
        Ok(bags)
    }
}

/// Members of different names: PHP writes no others.
fn all_different(whole: &Bytes, mut members: Vec<Member>) -> Option<Data> {
    let count = members.len();
    last_wins(&mut members, whole);
    (members.len() == count).then(|| Data::of(whole, members))
}

fn put(data: &mut Data, name: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => data.insert(name, value),
        None => drop(data.remove(name)),
    }
}

/// `_sf2_meta` of a write; `began`: of a session that begins then. As `MetadataBag` does, which takes one without `c` for new.
fn stamped(meta: &[u8], contents: &Contents, encoding: Encoding, began: Option<Timestamp>) -> Result<Vec<u8>, Error> {
    let mut meta = Data::parse(encoding, &Bytes::copy_from_slice(meta)).ok_or_else(no_record)?;
    let began = began.or_else(|| meta.get(CREATED).is_none().then_some(contents.created));
    let mut set = |name: &[u8], seconds: u64| {
        let seconds = encoding.write(&seconds).map_err(|why| Error::entry(META, why))?;
        meta.insert(name, seconds);
        Ok::<_, Error>(())
    };
    set(UPDATED, contents.issued.as_secs())?;
    if let Some(began) = began {
        set(CREATED, began.as_secs())?;
        set(LIFETIME, if contents.persistent { contents.idle.into() } else { 0 })?;
    }
    let mut written = Vec::with_capacity(48);
    meta.write(encoding, &mut written);
    Ok(written)
}

/// Whether it has the three numbers.
fn is_whole(meta: &[u8], encoding: Encoding) -> bool {
    let meta = Data::parse(encoding, &Bytes::copy_from_slice(meta)).unwrap_or_default();
    let is_number = |name| meta.get(name).is_some_and(|number| encoding.read::<i64>(number).is_ok());
    [UPDATED, CREATED, LIFETIME].into_iter().all(is_number)
}

/// The record's members, with the attributes in one.
fn joined<'a>(entries: &'a [(Place<'a>, Cow<'a, [u8]>)]) -> Vec<(&'a [u8], Cow<'a, [u8]>)> {
    let mut attributes = Vec::with_capacity(256);
    let members = entries.iter().filter_map(|(place, value)| match place {
        Place::Attribute(name) => Some((*name, &**value)),
        Place::Whole(_) => None,
    });
    php::join(members, &mut attributes);
    let members = entries.iter().filter_map(|(place, value)| match place {
        Place::Whole(ATTRIBUTES) => Some((ATTRIBUTES, Cow::Owned(mem::take(&mut attributes)))),
        Place::Whole(name) => Some((*name, Cow::Borrowed(&**value))),
        Place::Attribute(_) => None,
    });
    members.collect()
}
