//! What holds of Symfony's sessions beyond the live applications: bags, metadata, references, messages.

use std::time::Duration;

use super::support::site::try_visit;
use bytes::Bytes as Buffer;
use dewar::{
    Clock, Keyring, Session, SessionManager,
    dialect::{self, Attributes, Contents, Data, Symfony},
    encoding::{self, Encoding},
    layout::{self, Kept, Layout, Serializer, Steps, Stored},
    store::{Load, SessionStore, StoreKey, Timestamp, memory::MemoryStore},
    testing::Visitor,
    value::Value,
};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const VALUES: Encoding = Encoding::Php(encoding::Php::SHORTEST);
const ALL: [Serializer; 3] = [Serializer::Php, Serializer::PhpBinary, Serializer::PhpSerialize];

/// As Symfony 5.4 and 7.4 write it.
const RECORD: &str = "_sf2_attributes|a:1:{s:1:\"a\";i:1;}_sf2_meta|a:3:{s:1:\"u\";i:1700000000;s:1:\"c\";i:1600000000;s:1:\"l\";i:0;}\
                      _symfony_flashes|a:1:{s:6:\"notice\";a:2:{i:0;s:5:\"hello\";i:1;s:5:\"again\";}}";
const META: &str = "_sf2_meta|a:3:{s:1:\"u\";i:1700000000;s:1:\"c\";i:1700000000;s:1:\"l\";i:0;}";

fn read(serializer: Serializer, record: &[u8]) -> Option<Kept> {
    let record = Stored::Blob(Buffer::copy_from_slice(record));
    layout::Symfony::over(layout::Php::new().serializer(serializer)).read(&record, &mut Steps::off()).ok()
}

fn write(serializer: Serializer, data: &Data, extra: &Buffer) -> Result<Vec<u8>, String> {
    let mut contents = Contents::new(NOW, 1440, None, false);
    (contents.data, contents.extra) = (data.clone(), extra.clone());
    let written = layout::Symfony::over(layout::Php::new().serializer(serializer))
        .write(&contents, &Attributes::new("PHPSESSID"));
    Ok(written.map_err(|error| error.to_string())?.body().to_vec())
}

/// The record after a change, or why it cannot be.
fn changed(record: &str, change: impl FnOnce(&mut Data)) -> Result<String, String> {
    let Kept { mut data, extra, .. } = read(Serializer::Php, record.as_bytes()).expect("it is a record");
    change(&mut data);
    write(Serializer::Php, &data, &extra).map(|record| String::from_utf8(record).unwrap())
}

fn of(entries: &[(&str, &str)]) -> Data {
    let mut data = Data::default();
    entries.iter().for_each(|(name, value)| data.insert(name.as_bytes(), value.as_bytes()));
    data
}

#[test]
fn a_record_of_symfonys_is_its_attributes_and_its_messages_and_stays_as_it_is() {
    let kept = read(Serializer::Php, RECORD.as_bytes()).unwrap();
    let names: Vec<_> = kept.data.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
    assert_eq!(names, ["a", "_symfony_flashes"]);
    assert_eq!(changed(RECORD, |_| {}).unwrap(), RECORD);
}

#[test]
fn a_write_moves_when_it_was_updated_and_not_when_it_was_created() {
    let older = RECORD.replace("i:1700000000", "i:1600000005");
    assert_eq!(changed(&older, |_| {}).unwrap(), RECORD);
}

#[test]
fn a_new_record_has_the_order_of_symfonys() {
    let data = of(&[("_symfony_flashes", "a:1:{s:1:\"n\";a:1:{i:0;i:1;}}"), ("a", "N;"), ("5", "i:1;")]);
    let written = String::from_utf8(write(Serializer::Php, &data, &Buffer::new()).unwrap()).unwrap();
    let flashes = "_symfony_flashes|a:1:{s:1:\"n\";a:1:{i:0;i:1;}}";
    assert_eq!(written, format!("_sf2_attributes|a:2:{{s:1:\"a\";N;i:5;i:1;}}{flashes}{META}"));
}

#[test]
fn a_bag_without_anything_is_left_out_and_the_metadata_never_alone() {
    let without = changed(RECORD, |data| drop(data.remove(b"a"))).unwrap();
    assert!(without.starts_with("_sf2_meta|") && without.contains("_symfony_flashes|"), "{without}");
    let without = changed(RECORD, |data| data.insert(b"_symfony_flashes", *b"a:0:{}")).unwrap();
    assert!(without.starts_with("_sf2_attributes|") && !without.contains("_symfony_flashes"), "{without}");
    assert_eq!(changed(RECORD, Data::clear).unwrap(), "");
    let with_others = changed(&format!("plain|i:1;{RECORD}"), Data::clear).unwrap();
    assert!(with_others.starts_with("plain|i:1;_sf2_meta|"), "{with_others}");
}

#[test]
fn what_else_is_in_a_record_keeps_its_bytes_in_its_place() {
    let plain = "cart|O:4:\"Cart\":1:{s:1:\"n\";C:3:\"Own\":5:{a:b|c}}";
    let record = format!("before|d:1e3;{RECORD}{plain}");
    assert_eq!(changed(&record, |_| {}).unwrap(), record);
    let with_more = changed(&record, |data| data.insert(b"b", *b"b:1;")).unwrap();
    assert_eq!(with_more, record.replace("a:1:{s:1:\"a\";i:1;}", "a:2:{s:1:\"a\";i:1;s:1:\"b\";b:1;}"));
}

#[test]
fn references_count_through_all_bags() {
    // first: 1; the attributes: 2, a: 3, o: 4 and 5; then o again and a.
    let record = format!(
        "first|i:1;_sf2_attributes|a:2:{{s:1:\"a\";i:1;s:1:\"o\";O:8:\"stdClass\":1:{{s:1:\"x\";i:1;}}}}{META}again|r:4;a|R:3;"
    );
    assert_eq!(changed(&record, |_| {}).unwrap(), record);
    let more = changed(&record, |data| {
        let object = data.remove(b"o").unwrap();
        data.insert(b"new", *b"a:2:{i:0;i:1;i:1;i:2;}");
        data.insert(b"o", object.to_vec());
    });
    assert!(more.clone().unwrap().ends_with("again|r:7;a|R:3;"), "{more:?}");
    let refused = changed(&record, |data| data.insert(b"o", *b"i:1;")).unwrap_err();
    assert!(refused.contains("\"again\"") && refused.contains("\"o\""), "{refused}");
    let refused = changed(&record, Data::clear).unwrap_err();
    assert!(refused.contains("reference"), "{refused}");
}

#[test]
fn an_attribute_and_an_entry_of_plain_php_of_one_name_are_two() {
    let record = format!("_sf2_attributes|a:2:{{s:4:\"name\";i:1;s:9:\"_sf2_meta\";i:2;}}{META}name|i:3;");
    let written = changed(&record, |data| data.insert(b"name", *b"i:4;")).unwrap();
    assert_eq!(written, record.replace("\"name\";i:1;", "\"name\";i:4;"));
}

#[test]
fn what_is_no_record_of_symfonys_is_refused() {
    for record in [
        "_sf2_attributes|i:1;",
        "_sf2_attributes|O:8:\"stdClass\":0:{}",
        "a|i:1;_sf2_attributes|R:1;",
        "_sf2_meta|i:1;",
        "_symfony_flashes|s:1:\"a\";",
        "_sf2_attributes|a:1:{s:16:\"_symfony_flashes\";a:0:{}}",
        "_sf2_attributes|a:2:{s:1:\"a\";i:1;s:1:\"a\";i:2;}",
        "_sf2_attributes|a:0:{}_sf2_attributes|a:0:{}",
        "_sf2_attributes|a:1:{s:1:\"a\";i:1;",
        "a:0:{}",
    ] {
        assert!(read(Serializer::Php, record.as_bytes()).is_none(), "{record}");
    }
    assert!(read(Serializer::Php, b"").is_some_and(|kept| kept.data.is_empty()));
}

#[test]
fn what_the_bags_cannot_hold_is_refused_by_name() {
    let refused = changed(RECORD, |data| data.insert(b"_symfony_flashes", *b"i:1;")).unwrap_err();
    assert!(refused.contains("_symfony_flashes"), "{refused}");
    let nested = |levels: usize| format!("{}N;{}", "a:1:{i:0;".repeat(levels), "}".repeat(levels));
    let deepest = changed(RECORD, |data| data.insert(b"deep", nested(125).as_bytes())).unwrap();
    assert!(read(Serializer::Php, deepest.as_bytes()).is_some(), "what is written is read");
    let refused = changed(RECORD, |data| data.insert(b"deep", nested(126).as_bytes())).unwrap_err();
    assert!(refused.contains("\"deep\""), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn attributes_read_the_same_in_every_handler(
        names in prop::collection::btree_set("[a-z][a-zé:;\"{}|]{0,9}|-?[0-9]{1,20}", 0..6),
    ) {
        let mut data = Data::default();
        for (number, name) in names.iter().enumerate() {
            data.insert(name.as_bytes(), VALUES.write(&number).unwrap());
        }
        for serializer in ALL {
            let record = write(serializer, &data, &Buffer::new()).unwrap();
            let kept = read(serializer, &record).unwrap();
            prop_assert!(kept.data.iter().eq(data.iter()), "{:?}", serializer);
            prop_assert_eq!(write(serializer, &kept.data, &kept.extra).unwrap(), record);
        }
    }

    #[test]
    fn no_bytes_are_too_much_for_a_reader(
        piece in "[abisdNOCRr:;{}\"|0-9.+-]{0,32}",
        at in 0..RECORD.len(),
        cut in 0..16_usize,
    ) {
        let mut record = RECORD.to_owned();
        record.replace_range(at..(at + cut).min(RECORD.len()), &piece);
        for serializer in ALL {
            let Some(kept) = read(serializer, record.as_bytes()) else { continue };
            if let Ok(written) = write(serializer, &kept.data, &kept.extra) {
                let again = read(serializer, &written).unwrap();
                let kept = kept.data.iter().filter(|(name, value)| !(*name == b"_symfony_flashes" && *value == b"a:0:{}"));
                let is_same = again.data.iter().eq(kept);
                prop_assert!(is_same, "{}", record);
            }
        }
    }
}

fn manager(store: &MemoryStore, at: Timestamp, change: fn(Symfony) -> Symfony) -> SessionManager {
    let layer = dewar::SessionLayer::new("w98fw9ef8hwe98fhwef").unwrap();
    let layer = layer.dialect(move |_: &Keyring| change(Symfony::new())).store(store.clone());
    layer.clock(Clock::at(at)).manager().unwrap()
}

/// The record that a visitor's cookie leads to.
async fn record(store: &MemoryStore, visitor: &Visitor) -> String {
    let cookie = visitor.cookie().to_str().unwrap().to_owned();
    let id = cookie.strip_prefix("PHPSESSID=").unwrap();
    match store.load(&StoreKey::foreign(format!("sf_s{id}")), NOW).await.unwrap() {
        Load::Found(record, _) => String::from_utf8(record.data.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_renewal_begins_the_metadata_anew_as_migrate_does() {
    let store = MemoryStore::new();
    let mut ada = Visitor::prepared(&manager(&store, NOW, |it| it), |session| session.insert("a", 1)).await.unwrap();
    assert_eq!(record(&store, &ada).await, format!("_sf2_attributes|a:1:{{s:1:\"a\";i:1;}}{META}"));
    let later = manager(&store, NOW.after(Duration::from_secs(60)), |it| it);
    try_visit(&mut ada, &later, |session| session.insert("a", 2)).await.unwrap();
    let written = record(&store, &ada).await;
    assert!(written.contains("s:1:\"u\";i:1700000060;s:1:\"c\";i:1700000000;"), "{written}");
    let later = manager(&store, NOW.after(Duration::from_secs(90)), |it| it);
    try_visit(&mut ada, &later, Session::renew).await.unwrap();
    let written = record(&store, &ada).await;
    assert!(written.contains("s:1:\"u\";i:1700000090;s:1:\"c\";i:1700000090;"), "{written}");
}

#[tokio::test]
async fn messages_are_of_the_flash_bag_and_those_that_are_objects_wait_for_symfony() {
    let store = MemoryStore::new();
    let manager = manager(&store, NOW, |it| it);
    let mut ada = Visitor::prepared(&manager, |session| session.insert("a", 1)).await.unwrap();
    let object = "O:8:\"stdClass\":0:{}";
    let bag = format!(
        "a:2:{{s:6:\"notice\";a:3:{{i:0;s:1:\"x\";i:1;{object}i:2;s:1:\"y\";}}s:1:\"5\";a:1:{{s:1:\"k\";i:7;}}}}"
    );
    let cookie = ada.cookie().to_str().unwrap().replace("PHPSESSID=", "sf_s");
    let Load::Found(mut found, version) = store.load(&StoreKey::foreign(cookie.clone()), NOW).await.unwrap() else {
        panic!("it is there")
    };
    found.data = format!("{}_symfony_flashes|{bag}", String::from_utf8_lossy(&found.data)).into();
    store.replace(&StoreKey::foreign(cookie), version, dewar::store::Version::from_bits(7), found, NOW).await.unwrap();
    try_visit(&mut ada, &manager, |session| session.flash_as("z", "notice")).await.unwrap();
    let left = format!("a:4:{{i:0;s:1:\"x\";i:1;{object}i:2;s:1:\"y\";i:3;s:1:\"z\";}}");
    assert!(record(&store, &ada).await.contains(&left), "{}", record(&store, &ada).await);
    let mut shown = Vec::new();
    try_visit(&mut ada, &manager, |session| shown = session.take_flashes()).await.unwrap();
    let shown: Vec<_> = shown.iter().map(|flash| (&*flash.category, flash.message.clone())).collect();
    let text = |text: &str| Value::Text(text.into());
    let expected = [("notice", text("x")), ("notice", text("y")), ("notice", text("z")), ("5", Value::Integer(7))];
    assert_eq!(shown, expected);
    let written = record(&store, &ada).await;
    assert!(written.ends_with(&format!("_symfony_flashes|a:1:{{s:6:\"notice\";a:1:{{i:1;{object}}}}}")), "{written}");
}

#[tokio::test]
async fn nobody_is_logged_in_to_symfony_s_security_and_an_attribute_says_who_it_is_where_it_is_named() {
    let store = MemoryStore::new();
    let plain = manager(&store, NOW, |it| it);
    let refused = Visitor::prepared(&plain, |session| session.set_principal("7")).await.unwrap_err();
    assert!(refused.is_setting() && refused.to_string().contains("principal_entry"), "{refused}");
    let named = manager(&store, NOW, |it| it.principal_entry("user"));
    let mut ada = Visitor::prepared(&named, |session| {
        session.insert("cart", 1);
        session.insert("_csrf/form", "token");
    })
    .await
    .unwrap();
    let before = ada.cookie();
    try_visit(&mut ada, &named, |session| session.set_principal(7)).await.unwrap();
    assert_ne!(ada.cookie(), before, "a log-in has a new id");
    let written = record(&store, &ada).await;
    assert!(written.starts_with("_sf2_attributes|a:2:{s:4:\"cart\";i:1;s:4:\"user\";i:7;}"), "{written}");
}

/// A user of Symfony's in the state that all tokens have.
fn state(is_authenticated: u8, user: &str) -> String {
    format!("a:5:{{i:0;{user}i:1;b:{is_authenticated};i:2;N;i:3;a:0:{{}}i:4;a:0:{{}}}}")
}

#[tokio::test]
async fn whatever_is_no_token_that_is_known_says_that_nobody_is_logged_in() {
    let class = "Symfony\\Component\\Security\\Core\\Authentication\\Token\\UsernamePasswordToken";
    let token =
        |class: &str, state: &str| format!("O:{}:\"{class}\":3:{{i:0;N;i:1;s:4:\"main\";i:2;{state}}}", class.len());
    let user = "O:4:\"User\":1:{s:14:\"\0User\0username\";s:3:\"ann\";}";
    for (attribute, expected) in [
        (token(class, &state(1, user)), Some("ann")),
        (token(class, &state(1, &user.replace("s:3:\"ann\"", "i:7"))), Some("7")),
        (token(class, &state(0, user)), None),
        (token("Scheb\\TwoFactorToken", &state(1, user)), None),
        (token(class, &state(1, &user.replace("username", "nickname"))), None),
        (token(class, &state(1, &user.replace("s:3:\"ann\"", "s:0:\"\""))), None),
        (token(class, &state(1, &user.replace("s:3:\"ann\"", "a:0:{}"))), None),
        (token(class, &state(1, "R:1;")), None),
        (token(class, "a:0:{}"), None),
        (token(class, &state(1, user)) + "i:1;", None),
        (format!("C:{}:\"{class}\":0:{{}}", class.len()), None),
        ("s:3:\"ann\";".to_owned(), None),
        (String::new(), None),
    ] {
        let store = MemoryStore::new();
        let manager = manager(&store, NOW, |it| it.firewall("main"));
        let mut ada =
            Visitor::prepared(&manager, |session| session.insert("_security_main", &attribute)).await.unwrap();
        let mut found = None;
        try_visit(&mut ada, &manager, |session| found = session.principal()).await.unwrap();
        assert_eq!(found.as_deref(), expected, "{attribute:?}");
    }
}

#[test]
fn where_the_user_is_is_said_once() {
    let layer = |change: fn(Symfony) -> Symfony| {
        let layer = dewar::SessionLayer::new("w98fw9ef8hwe98fhwef").unwrap();
        layer.dialect(move |_: &Keyring| change(Symfony::new())).store(MemoryStore::new()).manager().err()
    };
    let refused = layer(|it| it.firewall("main").principal_entry("user")).unwrap().to_string();
    assert!(refused.contains("leave one of them out"), "{refused}");
    assert!(layer(|it| it.principal_entry("_symfony_flashes")).is_some());
}

#[test]
fn options_are_those_of_php() {
    let known = dialect::all().find(|known| known.name == "Symfony").unwrap();
    let keys = Keyring::new(dewar::Secret::new("w98fw9ef8hwe98fhwef").unwrap());
    let options = "serializer=php_serialize,prefix=shop_,principal_entry=user,sid_length=26";
    let made = known.with(options).unwrap()(&keys);
    assert_eq!(made.profile().name, "Symfony");
    assert_eq!(made.layout().unwrap().name("ID"), "shop_ID");
    let refused = known.with("cipher=x").err().unwrap().to_string();
    assert!(refused.contains("Symfony has no option") && refused.contains("serializer"), "{refused}");
}

#[tokio::test]
async fn however_many_types_of_messages_there_are_a_page_does_not_take_for_ever() {
    // Looked through one by one, they would keep the test for minutes.
    const COUNT: usize = 100_000;
    let types: String = (0..COUNT).map(|at| format!("s:7:\"t{at:06}\";a:1:{{i:0;s:1:\"x\";}}")).collect();
    let data = of(&[("_symfony_flashes", &format!("a:{COUNT}:{{{types}}}"))]);
    let record = write(Serializer::Php, &data, &Buffer::new()).unwrap();
    let (store, id) = (MemoryStore::new(), "a".repeat(26));
    let record = dewar::store::Record::new(record.into(), NOW, 1440, NOW.after(Duration::from_secs(1440)));
    let key = dewar::store::StoreKey::foreign(format!("sf_s{id}"));
    store.create(&key, dewar::store::Version::from_bits(1), record, None, NOW).await.unwrap();
    let mut request = http::HeaderMap::new();
    request.insert(http::header::COOKIE, format!("PHPSESSID={id}").parse().unwrap());
    let session = manager(&store, NOW, |it| it).open(&request).await.unwrap();
    assert_eq!(session.take_flashes().len(), COUNT);
}

/// A visitor whose session Symfony has written so.
async fn visitor(store: &MemoryStore, manager: &SessionManager, record: &str) -> Visitor {
    let id = "a".repeat(26);
    let record = dewar::store::Record::new(record.to_owned().into(), NOW, 1440, NOW.after(Duration::from_secs(1440)));
    let key = StoreKey::foreign(format!("sf_s{id}"));
    store.create(&key, dewar::store::Version::from_bits(1), record, None, NOW).await.unwrap();
    let mut visitor = Visitor::new(manager);
    visitor.receive_cookie(format!("PHPSESSID={id}; path=/").as_bytes());
    visitor
}

#[tokio::test]
async fn a_session_that_plain_php_has_entries_in_does_not_end_with_its_last_attribute() {
    let plain = "plain|O:8:\"stdClass\":0:{}";
    let only_meta = format!("{plain}{}", META);
    for (is_first, last) in [
        (true, "_sf2_attributes|a:1:{s:1:\"a\";i:1;}"),
        (false, "_symfony_flashes|a:1:{s:1:\"n\";a:1:{i:0;s:1:\"x\";}}"),
    ] {
        let store = MemoryStore::new();
        let manager = manager(&store, NOW, |it| it);
        let written = if is_first { format!("{plain}{last}{META}") } else { format!("{plain}{META}{last}") };
        let mut ada = visitor(&store, &manager, &written).await;
        let cookie = ada.cookie();
        let empty = |session: &Session| {
            session.remove("a");
            session.take_flashes();
        };
        try_visit(&mut ada, &manager, empty).await.unwrap();
        assert_eq!(ada.cookie(), cookie);
        assert_eq!(record(&store, &ada).await, only_meta);
        try_visit(&mut ada, &manager, |session| session.insert("b", 2)).await.unwrap();
        assert_eq!(record(&store, &ada).await, format!("{only_meta}_sf2_attributes|a:1:{{s:1:\"b\";i:2;}}"));
        // `invalidate()` is another thing.
        try_visit(&mut ada, &manager, Session::clear).await.unwrap();
        assert_eq!(ada.cookie(), "");
    }
    let store = MemoryStore::new();
    let manager = manager(&store, NOW, |it| it);
    let mut ada = visitor(&store, &manager, &format!("_sf2_attributes|a:1:{{s:1:\"a\";i:1;}}{META}")).await;
    try_visit(&mut ada, &manager, |session| assert!(session.remove("a"))).await.unwrap();
    assert_eq!(ada.cookie(), "", "where there is nothing else it ends");
}

#[tokio::test]
async fn messages_of_an_auto_expire_flash_bag_are_read_and_left_where_that_is_said() {
    let store = MemoryStore::new();
    let plain = manager(&store, NOW, |it| it);
    let auto = manager(&store, NOW, |it| it.auto_expire_flashes(true));
    let bag =
        |display: &str, new: &str| format!("_symfony_flashes|a:2:{{s:7:\"display\";{display}s:3:\"new\";{new}}}{META}");
    let one = |text: &str| format!("a:1:{{s:1:\"n\";a:1:{{i:0;s:1:\"{text}\";}}}}");
    let mut ada = visitor(&store, &auto, &bag(&one("o"), &one("x"))).await;
    let written = record(&store, &ada).await;
    try_visit(&mut ada, &plain, |session| session.flash("y")).await.unwrap_err();
    assert_eq!(record(&store, &ada).await, written, "nothing of Symfony's is overwritten where it is not said");

    try_visit(&mut ada, &auto, |session| session.flash_as("y", "n")).await.unwrap();
    let both = "a:1:{s:1:\"n\";a:2:{i:0;s:1:\"x\";i:1;s:1:\"y\";}}";
    assert_eq!(record(&store, &ada).await, bag(&one("o"), both));
    let mut shown = Vec::new();
    try_visit(&mut ada, &auto, |session| {
        session.insert("a", 1);
        shown = session.take_flashes();
    })
    .await
    .unwrap();
    assert_eq!(shown.iter().map(|flash| flash.text()).collect::<Vec<_>>(), ["x", "y"]);
    assert!(!record(&store, &ada).await.contains("_symfony_flashes"), "{}", record(&store, &ada).await);

    try_visit(&mut ada, &auto, |session| session.flash_as("z", "n")).await.unwrap();
    let left = bag("a:0:{}", &one("z"));
    assert!(record(&store, &ada).await.ends_with(left.strip_suffix(META).unwrap()), "{}", record(&store, &ada).await);
    // Messages of the other bag are not taken for its own.
    let store = MemoryStore::new();
    let auto = manager(&store, NOW, |it| it.auto_expire_flashes(true));
    let mut ada = visitor(&store, &auto, &format!("_symfony_flashes|{}{META}", one("x"))).await;
    let refused = try_visit(&mut ada, &auto, |session| session.flash("y")).await.unwrap_err().to_string();
    assert!(refused.contains("auto_expire_flashes"), "{refused}");
}

#[tokio::test]
async fn the_cookie_is_spelled_as_symfonys_own() {
    let layer = dewar::SessionLayer::new("w98fw9ef8hwe98fhwef").unwrap();
    let layer = layer.dialect(|_: &Keyring| Symfony::new()).store(MemoryStore::new()).secure(true).domain("h.example");
    let manager = layer.clock(Clock::at(NOW)).lifetime(dewar::Lifetime::persistent()).manager().unwrap();
    let session = manager.open(&http::HeaderMap::new()).await.unwrap();
    session.insert("a", 1);
    let mut response = http::HeaderMap::new();
    manager.commit(&session).await.apply(&mut response).unwrap();
    let cookie = response[http::header::SET_COOKIE].to_str().unwrap();
    let (_, attributes) = cookie.split_once("; ").unwrap();
    // As `Cookie::create()` of 7.4 writes it.
    let expected =
        "expires=Tue, 14 Nov 2023 22:37:20 GMT; Max-Age=1440; path=/; domain=h.example; secure; httponly; samesite=lax";
    assert_eq!(attributes, expected);
}
