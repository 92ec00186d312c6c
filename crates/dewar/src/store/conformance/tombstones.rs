//! What a deleted record leaves behind.

use super::*;
use crate::store::GONE_FOR;

pub(super) async fn check<S, F, Fut>(make: &F)
where
    S: SessionStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    a_deleted_record_is_gone_for_two_minutes(Case::new(make).await).await;
    every_verb_says_why_a_record_is_dead(Case::new(make).await).await;
    a_tombstone_stands_until_its_moment(Case::new(make).await).await;
    a_tombstone_outlives_the_record_it_stands_for(Case::new(make).await).await;
    delete_leaves_a_tombstone_where_nothing_was(Case::new(make).await).await;
    delete_at_a_version_leaves_none(Case::new(make).await).await;
    the_first_tombstone_stays_as_long_as_the_later(Case::new(make).await).await;
}

async fn a_deleted_record_is_gone_for_two_minutes<S: SessionStore>(case: Case<S>) {
    let version = case.created(case.record(b"x")).await;
    let dead = case.ended();
    promise("delete without a version removes any", case.delete(None).await, Delete::Deleted);
    for later in [Duration::ZERO, MINUTE, GONE_FOR - Duration::from_millis(1)] {
        case.later(later).is_gone("a deleted record is Gone for two minutes", &dead).await;
    }
    let case = case.later(GONE_FOR);
    promise("after two minutes a deleted record is Missing", case.load().await, Load::Missing);
    let replaced = case.replace(version, case.record(b"back")).await;
    promise("replace never creates a record, nor over an expired tombstone", replaced, Replace::Gone(None));
    let renamed = case.rename(None, &case.another(), case.record(b"back")).await;
    promise("rename never creates a record of an expired tombstone", renamed, Rename::Gone(None));
}

async fn every_verb_says_why_a_record_is_dead<S: SessionStore>(case: Case<S>) {
    let reasons =
        [Why::Ended, Why::BegunAgain, Why::Renewed { successor: None }, Why::Renewed { successor: Some(fresh_key()) }];
    for why in reasons {
        for takes_any in [true, false] {
            let case = case.another();
            let version = case.created(case.record(b"x")).await;
            let dead = Tombstone::new(why.clone(), fresh_version().bits(), case.now);
            let at = (!takes_any).then_some(version);
            promise("delete removes a record", case.delete_as(at, dead.clone()).await, Delete::Deleted);
            case.is_gone("every verb says why a record is dead, and whose tombstone stands", &dead).await;
            let again = case.delete_as(None, case.ended()).await;
            promise(
                "every verb says why a record is dead, and whose tombstone stands",
                again,
                Delete::Gone(Some(dead)),
            );
        }
    }
}

async fn a_tombstone_stands_until_its_moment<S: SessionStore>(case: Case<S>) {
    let until = case.now.after(Duration::from_millis(7 * 3_600_000 + 7));
    case.created(case.record(b"x")).await;
    let dead = case.ended().until(Some(until));
    case.delete_as(None, dead.clone()).await;
    let sentence = "a tombstone stands until the moment that it names, to the millisecond";
    case.at(Timestamp::from_millis(until.as_millis() - 1)).is_gone(sentence, &dead).await;
    let case = case.at(until);
    promise(sentence, case.load().await, Load::Missing);
    case.created(case.record(b"anew")).await;
}

async fn a_tombstone_outlives_the_record_it_stands_for<S: SessionStore>(case: Case<S>) {
    let record = Record {
        idle_expires: case.now.after(2 * SECOND),
        absolute_expires: Some(case.now.after(2 * SECOND)),
        ..case.record(b"short")
    };
    case.created(record).await;
    case.delete(None).await;
    let sentence = "a tombstone stays for two minutes, even where the record would have expired sooner";
    promise(sentence, case.later(MINUTE).load().await, Load::Gone(case.ended()));
}

async fn delete_leaves_a_tombstone_where_nothing_was<S: SessionStore>(case: Case<S>) {
    let sentence = "delete without a version leaves a tombstone also where nothing was";
    let expired = case.another();
    expired.created(Record { idle_expires: case.now.after(MINUTE), ..case.record(b"brief") }).await;
    for case in [case.clone(), expired.later(MINUTE)] {
        promise(sentence, case.delete(None).await, Delete::Gone(None));
        case.is_gone(sentence, &case.ended()).await;
        let after = case.later(GONE_FOR);
        promise(sentence, after.load().await, Load::Missing);
        after.created(after.record(b"anew")).await;
    }
}

async fn delete_at_a_version_leaves_none<S: SessionStore>(case: Case<S>) {
    let sentence = "delete at a version leaves nothing where the record is not";
    promise(sentence, case.delete(Some(fresh_version())).await, Delete::Gone(None));
    promise(sentence, case.load().await, Load::Missing);
    let version = case.created(case.record(b"x")).await;
    promise(sentence, case.delete(Some(fresh_version())).await, Delete::Conflict);
    promise(sentence, case.load().await, Load::Found(case.record(b"x"), version));
}

async fn the_first_tombstone_stays_as_long_as_the_later<S: SessionStore>(case: Case<S>) {
    case.created(case.record(b"x")).await;
    let first = case.ended();
    case.delete(None).await;
    let case = case.later(MINUTE);
    let later = Tombstone::new(Why::BegunAgain, fresh_version().bits(), case.now).until(Some(case.now.after(HOUR)));
    let sentence = "a delete at a version does not prolong a tombstone";
    let at = case.delete_as(Some(fresh_version()), later.clone()).await;
    promise(sentence, at, Delete::Gone(Some(first.clone())));
    promise(sentence, case.load().await, Load::Gone(first.clone()));

    let sentence = "where a tombstone stands it stays, for as long as the later of both";
    let prolonged = first.until(Some(later.until));
    promise(sentence, case.delete_as(None, later.clone()).await, Delete::Gone(Some(prolonged.clone())));
    case.is_gone(sentence, &prolonged).await;
    let case = case.later(2 * MINUTE);
    let shorter = Tombstone::new(Why::BegunAgain, fresh_version().bits(), case.now);
    promise(sentence, case.delete_as(None, shorter).await, Delete::Gone(Some(prolonged.clone())));
    case.at(Timestamp::from_millis(later.until.as_millis() - 1)).is_gone(sentence, &prolonged).await;
    promise(sentence, case.at(later.until).load().await, Load::Missing);
}
