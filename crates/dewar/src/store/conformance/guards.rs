//! How long a key that a cookie leads to stays ended.

use super::{administration::drain, *};

pub(super) async fn check<S, F, Fut>(make: &F)
where
    S: SessionStore,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    an_expired_record_is_ended_until_its_guard(Case::new(make).await).await;
    a_deleted_record_is_gone_until_its_guard(Case::new(make).await).await;
    a_renamed_record_is_gone_until_its_guard(Case::new(make).await).await;
    a_delete_prolongs_a_guard_and_never_shortens_it(Case::new(make).await).await;
    a_guard_that_is_over_changes_nothing(Case::new(make).await).await;
}

pub(super) async fn check_purge<S, F, Fut>(make: &F)
where
    S: SessionAdmin,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    purge_leaves_a_guard_until_it_is_over(Case::new(make).await).await;
    a_revoked_record_is_gone_until_its_guard(Case::new(make).await).await;
}

impl<S: SessionStore> Case<S> {
    /// Expires in an hour, guarded for six.
    fn guarded(&self) -> Record {
        Record { guarded_until: Some(self.now.after(6 * HOUR)), ..self.record(b"guarded") }
    }

    /// Ends with the guard, and is free again.
    async fn is_ended(&self, promised: &str) -> Tombstone {
        match self.load().await {
            Load::Gone(dead) if dead.why == Why::Ended && dead.nonce == 0 => dead,
            other => panic!("broken promise: {promised}\n     load said {other:?}"),
        }
    }

    async fn is_free(&self, promised: &str) {
        promise(promised, self.load().await, Load::Missing);
        self.created(self.record(b"anew")).await;
    }
}

async fn an_expired_record_is_ended_until_its_guard<S: SessionStore>(case: Case<S>) {
    let sentence = "a guarded record that has expired is Ended until its guard is over";
    let guard = case.now.after(6 * HOUR);
    let created = case.another();
    created.created(created.guarded()).await;
    let replaced = case.another();
    let version = replaced.created(replaced.record(b"x")).await;
    let version = replaced.replaced(version, replaced.guarded()).await;
    promise("touch touches", replaced.touch(version, case.now.after(HOUR)).await, Touch::Touched);
    let (from, renamed) = (case.another(), case.another());
    from.created(from.record(b"x")).await;
    from.renamed(None, &renamed, renamed.guarded()).await;
    for case in [created, replaced, renamed] {
        let (record, _) = case.found(sentence).await;
        promise(sentence, record, case.guarded());
        let expired = case.later(HOUR);
        let dead = expired.is_ended(sentence).await;
        promise(sentence, dead.until, guard);
        expired.is_gone(sentence, &dead).await;
        let last = case.at(Timestamp::from_millis(guard.as_millis() - 1));
        last.is_gone(sentence, &last.is_ended(sentence).await).await;
        case.at(guard).is_free(sentence).await;
    }
}

async fn a_deleted_record_is_gone_until_its_guard<S: SessionStore>(case: Case<S>) {
    let sentence = "the tombstone of a guarded record stands until its guard is over";
    let version = case.created(case.guarded()).await;
    let guard = case.now.after(6 * HOUR);
    let dead = case.ended().until(Some(guard));
    promise(sentence, case.delete(Some(version)).await, Delete::Deleted);
    case.is_gone(sentence, &dead).await;
    case.at(Timestamp::from_millis(guard.as_millis() - 1)).is_gone(sentence, &dead).await;
    case.at(guard).is_free(sentence).await;
}

async fn a_renamed_record_is_gone_until_its_guard<S: SessionStore>(case: Case<S>) {
    let sentence = "a guarded record that was renamed leaves a tombstone until its guard is over";
    let to = case.another();
    case.created(case.guarded()).await;
    let guard = case.now.after(6 * HOUR);
    case.renamed(None, &to, case.record(b"moved")).await;
    let dead = case.ended().until(Some(guard));
    case.later(5 * HOUR).is_gone(sentence, &dead).await;
    case.at(guard).is_free(sentence).await;
    promise("a guard stays with the key", to.later(2 * HOUR).load().await, Load::Missing);
}

async fn a_delete_prolongs_a_guard_and_never_shortens_it<S: SessionStore>(case: Case<S>) {
    let sentence = "a delete without a version prolongs a guard, and never shortens it";
    case.created(case.guarded()).await;
    let expired = case.later(2 * HOUR);
    let guard = expired.is_ended(sentence).await;
    promise(sentence, expired.delete(None).await, Delete::Gone(Some(guard.clone())));
    promise(sentence, expired.load().await, Load::Gone(guard.clone()));
    let longer = expired.ended().until(Some(case.now.after(9 * HOUR)));
    let prolonged = guard.until(Some(longer.until));
    promise(sentence, expired.delete_as(None, longer).await, Delete::Gone(Some(prolonged.clone())));
    case.later(8 * HOUR).is_gone(sentence, &prolonged).await;
    case.later(9 * HOUR).is_free(sentence).await;
}

async fn a_guard_that_is_over_changes_nothing<S: SessionStore>(case: Case<S>) {
    let record = Record { guarded_until: Some(case.now.after(MINUTE)), ..case.record(b"x") };
    let deleted = case.another();
    deleted.created(record.clone()).await;
    deleted.delete(None).await;
    deleted.is_gone("a guard never shortens a tombstone", &deleted.ended()).await;
    case.created(record).await;
    case.later(2 * MINUTE).found("a record lives on when its guard is over").await;
    case.later(HOUR).is_free("a record that outlived its guard expires like any other").await;
}

async fn purge_leaves_a_guard_until_it_is_over<S: SessionAdmin>(case: Case<S>) {
    // Later than all that other promises have left.
    let case = case.later(24 * HOUR);
    drain(&case, 1_000).await;
    let (expired, deleted) = (case.another(), case.another());
    expired.created(expired.guarded()).await;
    deleted.created(deleted.guarded()).await;
    deleted.delete(None).await;
    let guard = case.now.after(6 * HOUR);
    let sentence = "purge removes no guard before it is over";
    for hours in [2, 5] {
        let case = case.later(hours * HOUR);
        drain(&case, 3).await;
        let expired = expired.at(case.now);
        let dead = expired.is_ended(sentence).await;
        promise(sentence, dead.until, guard);
        expired.is_gone(sentence, &dead).await;
        deleted.at(case.now).is_gone(sentence, &deleted.ended().until(Some(guard))).await;
    }
    drain(&case.at(guard), 3).await;
    promise("nothing is left to purge", case.at(guard).purge(100).await, 0);
    expired.at(guard).is_free("a guard is over when it is over").await;
    deleted.at(guard).is_free("a guard is over when it is over").await;
}

async fn a_revoked_record_is_gone_until_its_guard<S: SessionAdmin>(case: Case<S>) {
    let ann = administration::fresh_principal("ann");
    case.created(Record { guarded_until: Some(case.now.after(6 * HOUR)), ..case.record_of(&ann) }).await;
    case.revoke(&ann, Revoke::All).await;
    let dead = case.ended().until(Some(case.now.after(6 * HOUR)));
    case.later(5 * HOUR).is_gone("the tombstone of a revoked record stands until its guard is over", &dead).await;
}
