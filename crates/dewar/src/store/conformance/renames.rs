//! How a session moves to a new key.

use super::*;

pub(super) async fn check<S, F, Fut>(make: &F)
where
    S: SessionStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    rename_moves_a_record_and_leaves_a_tombstone(Case::new(make).await).await;
    rename_heeds_the_version(Case::new(make).await).await;
    rename_moves_nothing_that_is_not_there(Case::new(make).await).await;
    rename_never_overwrites(Case::new(make).await).await;
    a_record_may_be_renamed_again_and_again(Case::new(make).await).await;
}

async fn rename_moves_a_record_and_leaves_a_tombstone<S: SessionStore>(case: Case<S>) {
    for takes_any in [true, false] {
        let (case, to) = (case.another(), case.another());
        let before = case.created(case.record(b"before")).await;
        let version = fresh_version();
        let after = Record { label: Some("a phone".into()), persistent: true, ..case.record(b"after") };
        let why = Why::Renewed { successor: Some(to.key.clone()) };
        let dead = Tombstone::new(why, fresh_version().bits(), case.now).until(Some(case.now.after(HOUR)));
        let at = (!takes_any).then_some(before);
        let renamed = case.rename_as(at, &to, version, after.clone(), dead.clone()).await;
        let sentence = "rename moves a record, in the version of its writer";
        promise(sentence, renamed, Rename::Renamed(Written { version, epoch: 0, ended: 0 }));
        promise(sentence, to.load().await, Load::Found(after, version));
        case.is_gone("rename leaves the tombstone, with its reason and its successor, under the old key", &dead).await;
        to.replaced(version, to.record(b"later")).await;
    }
}

async fn rename_heeds_the_version<S: SessionStore>(case: Case<S>) {
    let to = case.another();
    let first = case.created(case.record(b"first")).await;
    let second = case.replaced(first, case.record(b"second")).await;
    let refused = case.rename(Some(first), &to, case.record(b"late")).await;
    promise("rename refuses a version that has passed", refused, Rename::Conflict);
    let sentence = "a rename that was refused wrote nothing";
    promise(sentence, case.load().await, Load::Found(case.record(b"second"), second));
    promise(sentence, to.load().await, Load::Missing);
    case.renamed(Some(second), &to, case.record(b"third")).await;
}

async fn rename_moves_nothing_that_is_not_there<S: SessionStore>(case: Case<S>) {
    let (brief, to) = (case.another(), case.another());
    let version = brief.created(Record { idle_expires: case.now.after(MINUTE), ..case.record(b"brief") }).await;
    let sentence = "rename creates nothing where no record was, and leaves no tombstone there";
    for case in [case, brief.later(MINUTE)] {
        for at in [None, Some(version)] {
            promise(sentence, case.rename(at, &to, case.record(b"x")).await, Rename::Gone(None));
            promise(sentence, case.load().await, Load::Missing);
            promise(sentence, to.load().await, Load::Missing);
        }
    }
}

async fn rename_never_overwrites<S: SessionStore>(case: Case<S>) {
    let (living, dead) = (case.another(), case.another());
    let version = case.created(case.record(b"old")).await;
    let other = living.created(case.record(b"other")).await;
    dead.delete(None).await;
    for (to, standing) in [(&living, Load::Found(case.record(b"other"), other)), (&dead, Load::Gone(dead.ended()))] {
        let sentence = "a rename to a key where something stands is an error, and writes nothing";
        let record = case.record(b"new");
        let refused =
            case.store.rename(&case.key, None, &to.key, fresh_version(), record, case.ended(), None, case.now).await;
        assert!(refused.is_err(), "broken promise: {sentence}\n    actual: {refused:?}");
        promise(sentence, to.load().await, standing);
        promise(sentence, case.load().await, Load::Found(case.record(b"old"), version));
    }
}

async fn a_record_may_be_renamed_again_and_again<S: SessionStore>(case: Case<S>) {
    let mut case = case;
    let mut at = case.created(case.record(b"x")).await;
    let mut former = Vec::new();
    for _ in 0..5 {
        let next = case.another();
        at = case.renamed(Some(at), &next, case.record(b"x")).await.version;
        former.push(std::mem::replace(&mut case, next));
    }
    let sentence = "a record that was renamed again and again lives under its last key alone";
    promise(sentence, case.load().await, Load::Found(case.record(b"x"), at));
    for former in former {
        promise(sentence, former.load().await, Load::Gone(former.ended()));
    }
}
