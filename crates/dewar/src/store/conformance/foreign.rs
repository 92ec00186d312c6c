//! Records that another framework reads and writes too: a layout over the store's engine.
//!
//! Only what holds wherever such a record lives is asked for: its data, its expiry to the second,
//! that no write is lost, and that what ended stays ended.

use super::*;
use crate::{
    encoding::Encoding,
    error::{Error, Refusal},
    explain::Steps,
    layout::{Attributes, Contents, Data, Holds, Kept, Layout, Shape, Stored},
    store::Layered,
    value,
};

pub(super) async fn check<S, F, Fut>(make: &F)
where
    S: SessionStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    if make().await.engine(Shape::Blob).is_none() {
        return;
    }
    check_engine(&async || make().await.engine(Shape::Blob).expect("it has had one"), odd, Verbatim::Bytes).await;
}

pub(super) async fn check_engine<F, Fut>(make: &F, named: fn(&str) -> String, layout: Verbatim)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Engine>>,
{
    let case = async || {
        let case = Case::new(async || Layered::new(Arc::new(layout), make().await)).await;
        foreign(Case { named, ..case })
    };
    a_foreign_record_keeps_its_data_and_expiry(case().await).await;
    a_foreign_record_is_replaced_by_version(case().await).await;
    a_foreign_record_is_touched_by_version(case().await).await;
    a_deleted_foreign_record_stays_deleted(case().await).await;
    a_foreign_record_is_renamed_by_version(case().await).await;
    nothing_comes_of_a_missing_foreign_key(case().await).await;
}

/// A name with what a server might take for something else.
pub(super) fn odd(text: &str) -> String {
    format!("sess:{text} {{é}} '%_*?\\[")
}

/// Whatever bytes there are, as the one entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verbatim {
    Bytes,
    /// As a text: each half of a byte is a letter.
    Text,
}

const ENTRY: &[u8] = b"bytes";

impl Layout for Verbatim {
    fn encoding(&self) -> Encoding {
        Encoding::MessagePack
    }

    fn holds(&self) -> Holds {
        Holds::NOTHING
    }

    fn name(&self, id: &str) -> String {
        id.to_owned()
    }

    fn read(&self, found: &Stored, _steps: &mut Steps<'_>) -> Result<Kept, Refusal> {
        let bytes = match self {
            Self::Bytes => found.body().to_vec(),
            Self::Text => found
                .body()
                .chunks(2)
                .map(|letters| letters.iter().fold(0, |byte, letter| byte << 4 | (letter - b'a')))
                .collect(),
        };
        Ok(Kept::new(Data::parse(self.encoding(), &held(&bytes)).ok_or(Refusal::Malformed)?))
    }

    fn write(&self, contents: &Contents, _cookie: &Attributes) -> Result<Stored, Error> {
        let encoded = contents.data.get(ENTRY).unwrap_or_default();
        let bytes: value::Bytes = self.encoding().read(encoded).map_err(|why| Error::entry(ENTRY, why))?;
        Ok(Stored::Blob(match self {
            Self::Bytes => bytes.0.into(),
            Self::Text => bytes.0.iter().flat_map(|byte| [b'a' + (byte >> 4), b'a' + (byte & 15)]).collect(),
        }))
    }
}

/// The entries that these bytes are.
fn held(bytes: &[u8]) -> Bytes {
    let encoding = Encoding::MessagePack;
    let written = encoding.write(&value::Bytes(bytes.to_vec())).expect("MessagePack has bytes");
    let mut data = Vec::new();
    encoding.join([(ENTRY, &written[..])].into_iter(), &mut data);
    data.into()
}

fn holding<S: SessionStore>(case: &Case<S>, bytes: &[u8]) -> Record {
    Record { data: held(bytes), ..case.record(b"") }
}

fn foreign<S: SessionStore>(case: Case<S>) -> Case<S> {
    let text: String = case.key.digest()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    Case { key: StoreKey::foreign((case.named)(&text)), ..case }
}

fn is_about(actual: Timestamp, expected: Timestamp) -> bool {
    actual.since(expected) <= 5 * SECOND && expected.since(actual) <= 5 * SECOND
}

async fn a_foreign_record_keeps_its_data_and_expiry<S: SessionStore>(case: Case<S>) {
    let sentence = "a foreign record keeps its data, byte for byte, and its expiry to the second";
    let json = Bytes::from_static(br#"{"cookie":{"path":"/"},"firstName":"Ann"}"#);
    let binary: Bytes = (0..=255).collect::<Vec<u8>>().into();
    for data in [json, binary, Bytes::new(), vec![7; 1_048_576].into()].map(|bytes| held(&bytes)) {
        let case = foreign(case.another());
        let version = case.created(Record { data: data.clone(), ..case.record(b"") }).await;
        let (record, loaded) = case.found(sentence).await;
        assert!(record.data == data, "broken promise: {sentence}");
        assert!(is_about(record.expires(), case.now.after(HOUR)), "broken promise: {sentence}\n  {record:?}");
        promise("load gives the version that create gave", loaded, version);
        let sentence = "create never overwrites a foreign record";
        promise(sentence, case.create(holding(&case, b"second")).await, Create::Exists);
        assert!(case.found(sentence).await.0.data == data, "broken promise: {sentence}");
    }
}

async fn a_foreign_record_is_replaced_by_version<S: SessionStore>(case: Case<S>) {
    let first = case.created(holding(&case, b"first")).await;
    let longer = Record { idle_expires: case.now.after(3 * HOUR), ..holding(&case, b"second") };
    let second = case.replaced(first, longer).await;
    let (record, loaded) = case.found("a replaced foreign record is found").await;
    promise("replace replaces the data of a foreign record", record.data, held(b"second"));
    promise("load gives the version that replace gave", loaded, second);
    let sentence = "replace sets the expiry of a foreign record";
    assert!(is_about(record.idle_expires, case.now.after(3 * HOUR)), "broken promise: {sentence}");
    let sentence = "replace refuses a version of a foreign record that has passed";
    promise(sentence, case.replace(first, holding(&case, b"late")).await, Replace::Conflict);
    promise(sentence, case.found(sentence).await.1, second);
}

async fn a_foreign_record_is_touched_by_version<S: SessionStore>(case: Case<S>) {
    let first = case.created(holding(&case, b"first")).await;
    let sentence = "touch moves the expiry of a foreign record and leaves its data and version";
    promise(sentence, case.touch(first, case.now.after(4 * HOUR)).await, Touch::Touched);
    let (record, version) = case.found(sentence).await;
    assert!(is_about(record.idle_expires, case.now.after(4 * HOUR)), "broken promise: {sentence}");
    promise(sentence, (record.data, version), (held(b"first"), first));
    case.replaced(first, holding(&case, b"second")).await;
    let sentence = "touch refuses a version of a foreign record that has passed";
    promise(sentence, case.touch(first, case.now.after(9 * HOUR)).await, Touch::Conflict);
    assert!(is_about(case.found(sentence).await.0.idle_expires, case.now.after(HOUR)), "broken promise: {sentence}");
}

async fn a_deleted_foreign_record_stays_deleted<S: SessionStore>(case: Case<S>) {
    let first = case.created(holding(&case, b"first")).await;
    let second = case.replaced(first, holding(&case, b"second")).await;
    let sentence = "delete refuses a version of a foreign record that has passed";
    promise(sentence, case.delete(Some(first)).await, Delete::Conflict);
    promise(sentence, case.found(sentence).await.1, second);
    promise("delete removes a foreign record of this version", case.delete(Some(second)).await, Delete::Deleted);

    let sentence = "a deleted foreign record stays deleted";
    let after = case.load().await;
    assert!(!matches!(after, Load::Found(..)), "broken promise: {sentence}\n  load said {after:?}");
    let why = match &after {
        Load::Gone(tombstone) => Some(tombstone.clone()),
        _ => None,
    };
    promise(sentence, case.replace(second, holding(&case, b"late")).await, Replace::Gone(why.clone()));
    promise(sentence, case.touch(second, case.now.after(HOUR)).await, Touch::Gone(why.clone()));
    promise(sentence, case.delete(Some(second)).await, Delete::Gone(why.clone()));
    promise(sentence, case.delete(None).await, Delete::Gone(why));
    let created = matches!(case.create(holding(&case, b"anew")).await, Create::Created(_));
    promise("a foreign key can be used again once it is Missing", created, after == Load::Missing);
}

async fn a_foreign_record_is_renamed_by_version<S: SessionStore>(case: Case<S>) {
    let to = foreign(case.another());
    let first = case.created(holding(&case, b"first")).await;
    let second = case.replaced(first, holding(&case, b"second")).await;
    let sentence = "rename refuses a version of a foreign record that has passed";
    promise(sentence, case.rename(Some(first), &to, holding(&case, b"late")).await, Rename::Conflict);
    promise(sentence, case.found(sentence).await.1, second);
    promise(sentence, to.load().await, Load::Missing);

    let sentence = "rename moves a foreign record to its new key";
    let written = case.renamed(Some(second), &to, holding(&case, b"moved")).await;
    let (record, loaded) = to.found(sentence).await;
    promise(sentence, (record.data, loaded), (held(b"moved"), written.version));
    let after = case.load().await;
    assert!(!matches!(after, Load::Found(..)), "broken promise: {sentence}\n  load said {after:?}");
    let third = foreign(case.another());
    let again = case.rename(Some(second), &third, holding(&case, b"again")).await;
    assert!(matches!(again, Rename::Gone(_)), "broken promise: {sentence}, once\n  rename said {again:?}");
    promise(sentence, third.load().await, Load::Missing);
}

async fn nothing_comes_of_a_missing_foreign_key<S: SessionStore>(case: Case<S>) {
    let version = foreign(case.another()).created(holding(&case, b"first")).await;
    let sentence = "replace, touch and delete leave nothing under a missing foreign key";
    promise(sentence, case.load().await, Load::Missing);
    promise(sentence, case.replace(version, holding(&case, b"first")).await, Replace::Gone(None));
    promise(sentence, case.touch(version, case.now.after(HOUR)).await, Touch::Gone(None));
    promise(sentence, case.delete(Some(version)).await, Delete::Gone(None));
    promise(sentence, case.load().await, Load::Missing);
    promise("there is nothing to delete under a missing foreign key", case.delete(None).await, Delete::Gone(None));
    let after = case.load().await;
    assert!(!matches!(after, Load::Found(..)), "broken promise: a delete creates no record\n  load said {after:?}");
}
