//! What one caller may rely on.

use super::*;
use crate::store::GONE_FOR;

pub(super) async fn check<S, F, Fut>(make: &F)
where
    S: SessionStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    // The plainer promises come first, so that the sentence which names a fault names it well.
    a_record_is_found_as_it_was_created(Case::new(make).await).await;
    any_bytes_come_back(Case::new(make).await).await;
    keys_do_not_mix(Case::new(make).await).await;
    nothing_comes_of_a_missing_key(Case::new(make).await).await;
    replace_replaces_one_version_wholly(Case::new(make).await).await;
    delete_heeds_the_version(Case::new(make).await).await;
    create_never_overwrites(Case::new(make).await).await;
    an_expired_record_is_absent(Case::new(make).await).await;
    create_overwrites_what_has_expired(Case::new(make).await).await;
    touch_moves_the_idle_expiry_alone(Case::new(make).await).await;
    touch_cannot_pass_the_absolute_expiry(Case::new(make).await).await;
    touch_revives_nothing(Case::new(make).await).await;
}

fn full_record<S: SessionStore>(case: &Case<S>) -> Record {
    Record {
        data: Bytes::from_static(b"\x82\xa4name\xa3Ann"),
        created: Timestamp::from_millis(case.now.as_secs() * 1000 - 12_345),
        idle_seconds: 1_800,
        idle_expires: case.now.after(Duration::from_millis(1_799_999)),
        absolute_expires: Some(case.now.after(Duration::from_millis(86_400_001))),
        persistent: true,
        principal: Some("ann@example.org".into()),
        lineage: u64::MAX >> 1,
        epoch: Some(case.now.as_millis()),
        guarded_until: Some(case.now.after(Duration::from_millis(86_400_003))),
        extra: Bytes::new(),
        label: Some("Firefox on Linux – Zürich ☂ 'quoted' \"twice\" \\".into()),
    }
}

async fn a_record_is_found_as_it_was_created<S: SessionStore>(case: Case<S>) {
    let sentence = "a record is found as it was created, every field to the millisecond";
    let absent = case.record(b"x");
    let empty = Record {
        principal: Some("".into()),
        label: Some("".into()),
        epoch: Some(case.now.as_millis()),
        ..absent.clone()
    };
    let far = Record {
        idle_seconds: u32::MAX,
        idle_expires: Timestamp::from_secs(253_402_300_799),
        absolute_expires: Some(Timestamp::from_secs(253_402_300_799)),
        ..absent.clone()
    };
    for record in [full_record(&case), absent, empty, far] {
        let case = case.another();
        let version = case.created(record.clone()).await;
        promise(sentence, case.load().await, Load::Found(record, version));
    }
}

async fn any_bytes_come_back<S: SessionStore>(case: Case<S>) {
    let all: Vec<u8> = (0..=255).chain([0, 0, b'\r', b'\n', 0]).collect();
    let large: Vec<u8> = (0..1_048_576_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for data in [all, Vec::new(), large] {
        let sentence = format!("{} bytes come back as they were, whatever they are", data.len());
        let created = case.another();
        let record = Record { data: data.into(), ..case.record(b"") };
        created.created(record.clone()).await;
        assert!(created.found(&sentence).await.0 == record, "broken promise: {sentence}, after create");
        let replaced = case.another();
        let version = replaced.created(case.record(b"before")).await;
        replaced.replaced(version, record.clone()).await;
        assert!(replaced.found(&sentence).await.0 == record, "broken promise: {sentence}, after replace");
    }
}

async fn keys_do_not_mix<S: SessionStore>(case: Case<S>) {
    let sentence = "what is done under one key leaves another alone";
    let other = case.another();
    let version = case.created(case.record(b"one")).await;
    promise(sentence, other.load().await, Load::Missing);
    other.created(other.record(b"two")).await;
    promise(sentence, other.delete(None).await, Delete::Deleted);
    promise(sentence, case.load().await, Load::Found(case.record(b"one"), version));
}

async fn nothing_comes_of_a_missing_key<S: SessionStore>(case: Case<S>) {
    let version = case.another().created(case.record(b"elsewhere")).await;
    promise("a key that was never used is Missing", case.load().await, Load::Missing);
    let replaced = case.replace(version, case.record(b"new")).await;
    promise("replace never creates a record", replaced, Replace::Gone(None));
    promise("touch never creates a record", case.touch(version, case.now.after(HOUR)).await, Touch::Gone(None));
    promise("there is nothing to delete under a missing key", case.delete(Some(version)).await, Delete::Gone(None));
    let sentence = "replace, touch and delete at a version leave nothing under a missing key, not even a tombstone";
    promise(sentence, case.load().await, Load::Missing);
    case.created(case.record(b"at last")).await;
}

async fn replace_replaces_one_version_wholly<S: SessionStore>(case: Case<S>) {
    let first = case.created(full_record(&case)).await;
    let second = case.replaced(first, case.record(b"second")).await;
    let expected = Load::Found(case.record(b"second"), second);
    promise("replace replaces the record wholly: data, expiries, principal and label", case.load().await, expected);
    let conflict = case.replace(first, case.record(b"late")).await;
    promise("replace refuses a version that has passed", conflict, Replace::Conflict);
    let expected = Load::Found(case.record(b"second"), second);
    promise("a replace that was refused wrote nothing", case.load().await, expected);

    let third = case.replaced(second, case.record(b"second")).await;
    let conflict = case.replace(second, case.record(b"late")).await;
    promise("the same data written again is a new state", conflict, Replace::Conflict);
    case.replaced(third, full_record(&case)).await;
    let (record, _) = case.found("replace can set every field").await;
    promise("replace can set every field", record, full_record(&case));
}

async fn delete_heeds_the_version<S: SessionStore>(case: Case<S>) {
    let first = case.created(case.record(b"first")).await;
    let second = case.replaced(first, case.record(b"second")).await;
    promise("delete refuses a version that has passed", case.delete(Some(first)).await, Delete::Conflict);
    let expected = Load::Found(case.record(b"second"), second);
    promise("a delete that was refused removed nothing", case.load().await, expected);
    promise("delete removes a record of this very version", case.delete(Some(second)).await, Delete::Deleted);
    promise("a deleted record is Gone", case.load().await, Load::Gone(case.ended()));

    let other = case.another();
    other.created(other.record(b"other")).await;
    promise("delete without a version removes any", other.delete(None).await, Delete::Deleted);
    promise("a deleted record is Gone", other.load().await, Load::Gone(other.ended()));
}

async fn create_never_overwrites<S: SessionStore>(case: Case<S>) {
    let version = case.created(case.record(b"first")).await;
    promise("create never overwrites a record", case.create(case.record(b"second")).await, Create::Exists);
    let first = Load::Found(case.record(b"first"), version);
    promise("a create that was refused wrote nothing", case.load().await, first);

    case.delete(None).await;
    promise(
        "create never overwrites a tombstone",
        case.create(case.record(b"third")).await,
        Create::Gone(case.ended()),
    );
    promise("a create that was refused wrote nothing", case.load().await, Load::Gone(case.ended()));
}

async fn an_expired_record_is_absent<S: SessionStore>(case: Case<S>) {
    let idle = case.record(b"idle");
    let absolute = Record { absolute_expires: Some(case.now.after(MINUTE)), ..case.record(b"absolute") };
    for record in [idle, absolute] {
        let case = case.another();
        let version = case.created(record.clone()).await;
        let last = case.at(Timestamp::from_millis(record.expires().as_millis() - 1));
        last.found("a record is there until the earlier of its two expiries").await;

        let case = case.at(record.expires());
        let sentence = "an expired record is Missing to load, from the very millisecond";
        promise(sentence, case.load().await, Load::Missing);
        let fresh = case.record(b"new");
        promise("an expired record cannot be replaced", case.replace(version, fresh).await, Replace::Gone(None));
        let touched = case.touch(version, case.now.after(HOUR)).await;
        promise("an expired record cannot be touched", touched, Touch::Gone(None));
        promise("an expired record cannot be deleted", case.delete(Some(version)).await, Delete::Gone(None));
        promise("what has expired stays absent", case.load().await, Load::Missing);
    }
}

async fn create_overwrites_what_has_expired<S: SessionStore>(case: Case<S>) {
    let stale = case.created(case.record(b"old")).await;
    let case = case.later(HOUR);
    let version = case.created(case.record(b"new")).await;
    let sentence = "create overwrites an expired record";
    promise(sentence, case.load().await, Load::Found(case.record(b"new"), version));
    let sentence = "the version of a record that expired is not the version of the next";
    promise(sentence, case.replace(stale, case.record(b"newer")).await, Replace::Conflict);

    case.delete(None).await;
    let case = case.later(GONE_FOR + SECOND);
    let again = case.created(case.record(b"newest")).await;
    let sentence = "create overwrites a tombstone that has expired";
    promise(sentence, case.load().await, Load::Found(case.record(b"newest"), again));
    let sentence = "the version of a record that was deleted is not the version of the next";
    promise(sentence, case.replace(version, case.record(b"newer")).await, Replace::Conflict);
}

async fn touch_moves_the_idle_expiry_alone<S: SessionStore>(case: Case<S>) {
    let record =
        Record { absolute_expires: Some(case.now.after(24 * HOUR)), guarded_until: None, ..full_record(&case) };
    let version = case.created(record.clone()).await;
    for expires in [case.now.after(5 * HOUR), case.now.after(MINUTE)] {
        let sentence = "touch moves the idle expiry, and neither the version nor anything else";
        promise(sentence, case.touch(version, expires).await, Touch::Touched);
        let expected = Record { idle_expires: expires, ..record.clone() };
        promise(sentence, case.load().await, Load::Found(expected, version));
        promise("a touched record expires when it was told to", case.at(expires).load().await, Load::Missing);
    }
    let next = case.replaced(version, record.clone()).await;
    let touched = case.touch(version, case.now.after(6 * HOUR)).await;
    promise("touch refuses a version that has passed", touched, Touch::Conflict);
    promise("a touch that was refused wrote nothing", case.load().await, Load::Found(record, next));
}

async fn touch_cannot_pass_the_absolute_expiry<S: SessionStore>(case: Case<S>) {
    let record = Record { absolute_expires: Some(case.now.after(2 * HOUR)), ..case.record(b"x") };
    let version = case.created(record).await;
    case.touch(version, case.now.after(10 * HOUR)).await;
    let sentence = "the absolute expiry holds however often a record is touched";
    case.later(2 * HOUR - SECOND).found(sentence).await;
    promise(sentence, case.later(2 * HOUR).load().await, Load::Missing);
}

async fn touch_revives_nothing<S: SessionStore>(case: Case<S>) {
    let version = case.created(case.record(b"x")).await;
    case.delete(None).await;
    let touched = case.touch(version, case.now.after(HOUR)).await;
    promise("a deleted record cannot be touched", touched, Touch::Gone(Some(case.ended())));
    promise("a touch does not revive a deleted record", case.load().await, Load::Gone(case.ended()));
    let late = case.later(GONE_FOR).load().await;
    promise("a touch does not keep a tombstone alive", late, Load::Missing);
}
