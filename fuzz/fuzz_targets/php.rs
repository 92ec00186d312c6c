//! Any bytes as a record of each of PHP's three handlers, and as one value.

#![no_main]

use dewar::{
    Value,
    dialect::{Attributes, Contents, Steps},
    encoding::{Encoding, Php},
    layout::{self, Kept, Layout, Serializer, Stored},
};
use dewar_fuzz::{NOW, survives};
use libfuzzer_sys::fuzz_target;

const PHP: Encoding = Encoding::Php(Php::SHORTEST);

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    let serializer = match how % 4 {
        0 => Serializer::Php,
        1 => Serializer::PhpBinary,
        2 => Serializer::PhpSerialize,
        _ => {
            if let Ok(value) = PHP.read::<Value>(rest) {
                survives(PHP, &value);
            }
            return;
        }
    };
    let layout = layout::Php::new().serializer(serializer);
    let Some((kept, written)) = rewritten(&layout, rest.to_vec()) else { return };
    let (again, twice) = rewritten(&layout, written.clone()).expect("what was written reads, and is written");
    assert_eq!(written, twice);
    let named = |kept: &Kept| kept.data.iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>();
    assert_eq!(named(&kept), named(&again));
    for ((_, value), (_, other)) in kept.data.iter().zip(again.data.iter()) {
        // Where an entry was there twice, references have other numbers.
        assert!(value == other || PHP.read::<Value>(value).is_err(), "{}", String::from_utf8_lossy(value));
    }
});

/// What a record holds, and the record that is written of it. `None`: it is none, or its references cannot be kept.
fn rewritten(layout: &layout::Php, record: Vec<u8>) -> Option<(Kept, Vec<u8>)> {
    let kept = layout.read(&Stored::Blob(record.into()), &mut Steps::off()).ok()?;
    let mut contents = Contents::new(NOW, 1440, None, false);
    (contents.data, contents.extra) = (kept.data.clone(), kept.extra.clone());
    let written = layout.write(&contents, &Attributes::new("PHPSESSID")).ok()?;
    let written = written.body().to_vec();
    Some((kept, written))
}
