//! Any bytes as Symfony's bags in a record of each of PHP's three handlers, and as the token of its security.
//!
//! What is read is written again and reads the same, also once its messages were shown, another was left and the session was renewed.

#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use dewar::{
    Value,
    dialect::{Attributes, Contents, Data, Dialect, Steps, Symfony},
    encoding::{Encoding, Php},
    layout::{Kept, Layout, Serializer, Stored},
    meaning::{FlashChange, Meaning},
};
use dewar_fuzz::NOW;
use libfuzzer_sys::fuzz_target;

const PHP: Encoding = Encoding::Php(Php::SHORTEST);

type Form = (Arc<dyn Layout>, Arc<dyn Meaning>);

static ALL: LazyLock<[Form; 3]> = LazyLock::new(|| {
    [Serializer::Php, Serializer::PhpBinary, Serializer::PhpSerialize].map(|serializer| {
        let symfony = Symfony::new().serializer(serializer).firewall("main");
        (symfony.layout().expect("it has one"), symfony.meaning())
    })
});

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    match ALL.get(usize::from(how % 4)) {
        Some((layout, meaning)) => record(&**layout, &**meaning, rest.to_vec().into()),
        None => token(rest),
    }
});

/// Whoever it is, it is said, and nothing is made of it.
fn token(bytes: &[u8]) {
    let mut data = Data::default();
    data.insert(b"_security_main", PHP.write(&dewar::value::Bytes(bytes.to_vec())).expect("bytes are written"));
    drop(ALL[0].1.principal(&data, PHP));
}

fn record(layout: &dyn Layout, meaning: &dyn Meaning, record: Bytes) {
    let read = |record: Bytes| layout.read(&Stored::Blob(record), &mut Steps::off());
    let Ok(kept) = read(record) else { return };
    drop(meaning.principal(&kept.data, PHP));
    let Some(written) = written(layout, &kept, false) else { return };
    let again = read(written.clone()).expect("what was written reads");
    assert_eq!(self::written(layout, &again, false), Some(written), "the same record has the same bytes");
    same(&kept, &again);
    if let Some(renewed) = self::written(layout, &kept, true) {
        same(&kept, &read(renewed).expect("what was renewed reads"));
    }

    // Messages among them are shown, and go; another comes.
    let Ok(shown) = meaning.flashes(&kept.data, PHP) else { return };
    let mut changed = kept.clone();
    let message = Value::from("hello");
    let changes = [FlashChange::Take(&shown), FlashChange::Leave { category: "fuzz", message: &message }];
    if meaning.flash(&mut changed.data, PHP, &changes).is_ok()
        && let Some(written) = self::written(layout, &changed, false)
    {
        let again = read(written).expect("what was written reads");
        let left = meaning.flashes(&again.data, PHP).expect("a bag is a bag still");
        assert!(left.iter().any(|flash| flash.category == "fuzz" && flash.message == message), "{left:?}");
        assert!(left.len() <= shown.len() + 1, "{shown:?} became {left:?}");
    }
}

/// The record that is written of it. `None`: its references cannot be kept.
fn written(layout: &dyn Layout, kept: &Kept, renewed: bool) -> Option<Bytes> {
    let mut contents = Contents::new(NOW, 1440, None, false);
    (contents.data, contents.extra) = (kept.data.clone(), kept.extra.clone());
    if renewed {
        layout.renewed(&mut contents).ok()?;
    }
    layout.write(&contents, &Attributes::new("PHPSESSID")).ok().map(|written| written.body().clone())
}

fn same(kept: &Kept, again: &Kept) {
    let names = |kept: &Kept| kept.data.iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>();
    assert_eq!(names(kept), names(again));
    for ((_, value), (_, other)) in kept.data.iter().zip(again.data.iter()) {
        // References have other numbers where values before them came or went.
        assert!(value == other || PHP.read::<Value>(value).is_err(), "{}", String::from_utf8_lossy(value));
    }
}
