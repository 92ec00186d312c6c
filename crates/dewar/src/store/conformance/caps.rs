//! What a cap on the sessions of one principal may be relied on for.

use std::num::NonZeroU32;

use tokio::task::JoinSet;

use super::*;

/// Log-ins at once.
const LOG_INS: usize = 64;

pub(super) async fn check<S, F, Fut>(make: &F)
where
    S: SessionAdmin,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    a_log_in_beyond_the_cap_is_refused(Case::new(make).await).await;
    or_ends_the_oldest(Case::new(make).await).await;
    a_lower_cap_ends_as_many_as_it_needs(Case::new(make).await).await;
    what_does_not_live_is_not_counted(Case::new(make).await).await;
    a_renewal_is_not_counted_twice(Case::new(make).await).await;
    what_stands_is_answered_first(Case::new(make).await).await;
    of_many_log_ins_at_once_as_many_succeed(Case::new(make).await).await;
    of_many_log_ins_at_once_as_many_stay(Case::new(make).await).await;
}

impl<S: SessionAdmin> Case<S> {
    fn user(&self) -> String {
        format!("caps-{}", self.key)
    }

    fn refusing(&self, most: u32) -> Cap {
        Cap { most: NonZeroU32::new(most).expect("not zero"), end_oldest: None }
    }

    fn ending(&self, most: u32) -> Cap {
        Cap { end_oldest: Some(self.ended()), ..self.refusing(most) }
    }

    /// A record of this principal that began so many seconds after the case.
    fn begun(&self, user: &str, seconds: u64) -> Record {
        Record { created: self.now.after(Duration::from_secs(seconds)), ..self.record_of(user) }
    }

    async fn log_in(&self, record: Record, cap: &Cap) -> Create {
        works("create", self.store.create(&self.key, fresh_version(), record, Some(cap), self.now).await)
    }

    async fn log_in_by_renewal(&self, to: &Self, record: Record, cap: &Cap) -> Rename {
        let renamed =
            self.store.rename(&self.key, None, &to.key, fresh_version(), record, self.ended(), Some(cap), self.now);
        works("rename", renamed.await)
    }

    async fn lives(&self) -> bool {
        matches!(self.load().await, Load::Found(..))
    }

    async fn many(&self, user: &str, count: u64) -> Vec<Self> {
        let mut all = Vec::new();
        for number in 0..count {
            let one = self.another();
            one.created(self.begun(user, number)).await;
            all.push(one);
        }
        all
    }

    async fn count_of(&self, user: &str) -> usize {
        works("list", self.store.list(Some(user), None, 1_000, self.now).await).len()
    }
}

async fn a_log_in_beyond_the_cap_is_refused<S: SessionAdmin>(case: Case<S>) {
    let user = case.user();
    let sentence = "a log-in beyond the cap is refused";
    for _ in 0..2 {
        let answer = case.another().log_in(case.record_of(&user), &case.refusing(2)).await;
        assert!(matches!(answer, Create::Created(_)), "broken promise: below the cap a log-in succeeds: {answer:?}");
    }
    let third = case.another();
    promise(sentence, third.log_in(case.record_of(&user), &case.refusing(2)).await, Create::Full);
    promise("what was refused wrote nothing", third.load().await, Load::Missing);
    let (nobody, fresh) = (case.another(), case.another());
    let version = nobody.created(case.record(b"before")).await;
    let renamed = nobody.log_in_by_renewal(&fresh, case.record_of(&user), &case.refusing(2)).await;
    promise(sentence, renamed, Rename::Full);
    promise("what was refused wrote nothing", fresh.load().await, Load::Missing);
    promise("what was refused changed nothing", nobody.found("the old record stands").await.1, version);
    let other = case.another().log_in(case.record_of(&format!("{user}-other")), &case.refusing(2)).await;
    assert!(
        matches!(other, Create::Created(_)),
        "broken promise: a cap counts the sessions of one principal: {other:?}"
    );
    let anonymous = case.another().log_in(case.record(b"x"), &case.refusing(1)).await;
    assert!(matches!(anonymous, Create::Created(_)), "broken promise: who is nobody is not counted: {anonymous:?}");
}

async fn or_ends_the_oldest<S: SessionAdmin>(case: Case<S>) {
    let user = case.user();
    let sessions = case.many(&user, 3).await;
    let version = fresh_version();
    let fresh = case.another();
    let cap = case.ending(3);
    let written = case.store.create(&fresh.key, version, case.begun(&user, 10), Some(&cap), case.now).await;
    match works("create", written) {
        Create::Created(written) => promise("the answer says how many ended", written.ended, 1),
        other => panic!("broken promise: a log-in beyond the cap ends the oldest\n     it said {other:?}"),
    }
    sessions[0].is_gone("the oldest ends, and leaves the tombstone", &case.ended()).await;
    promise("the others live", [sessions[1].lives().await, sessions[2].lives().await], [true, true]);
    let (nobody, to) = (case.another(), case.another());
    nobody.created(case.record(b"before")).await;
    match nobody.log_in_by_renewal(&to, case.begun(&user, 11), &cap).await {
        Rename::Renamed(written) => promise("the answer says how many ended", written.ended, 1),
        other => panic!("broken promise: a log-in beyond the cap ends the oldest\n     it said {other:?}"),
    }
    sessions[1].is_gone("the oldest ends, and leaves the tombstone", &case.ended()).await;
    promise("as many live as may", case.count_of(&user).await, 3);
    promise("the new ones live", [fresh.lives().await, to.lives().await], [true, true]);
}

async fn a_lower_cap_ends_as_many_as_it_needs<S: SessionAdmin>(case: Case<S>) {
    let user = case.user();
    let sessions = case.many(&user, 5).await;
    match case.another().log_in(case.begun(&user, 10), &case.ending(2)).await {
        Create::Created(written) => promise("as many end as are too many", written.ended, 4),
        other => panic!("broken promise: a log-in beyond the cap ends the oldest\n     it said {other:?}"),
    }
    promise("of those, the newest stays", sessions[4].lives().await, true);
    promise("as many live as may", case.count_of(&user).await, 2);
}

async fn what_does_not_live_is_not_counted<S: SessionAdmin>(case: Case<S>) {
    let user = case.user();
    let sessions = case.many(&user, 2).await;
    sessions[0].delete(None).await;
    let mut brief = case.begun(&user, 0);
    (brief.idle_seconds, brief.idle_expires) = (1, case.now.after(SECOND));
    case.another().created(brief).await;
    let later = case.another().later(MINUTE);
    let answer = later.log_in(later.record_of(&user), &later.refusing(2)).await;
    assert!(matches!(answer, Create::Created(_)), "broken promise: a cap counts what lives: {answer:?}");
    let full = later.another().log_in(later.record_of(&user), &later.refusing(2)).await;
    promise("and all that lives", full, Create::Full);
}

async fn a_renewal_is_not_counted_twice<S: SessionAdmin>(case: Case<S>) {
    let user = case.user();
    let record = case.record_of(&user);
    let (first, second, third) = (case.another(), case.another(), case.another());
    first.created(record.clone()).await;
    let renewed = first.log_in_by_renewal(&second, record.clone(), &case.refusing(1)).await;
    assert!(matches!(renewed, Rename::Renamed(_)), "broken promise: one lineage counts once: {renewed:?}");
    let again = second.log_in_by_renewal(&third, case.record_of(&user), &case.refusing(1)).await;
    assert!(matches!(again, Rename::Renamed(_)), "broken promise: what is renamed is not counted: {again:?}");
    promise("one lives", case.count_of(&user).await, 1);
}

async fn what_stands_is_answered_first<S: SessionAdmin>(case: Case<S>) {
    let user = case.user();
    case.many(&user, 1).await;
    let (full, record) = (case.refusing(1), || case.record_of(&user));
    let standing = case.another();
    let version = standing.created(case.record(b"x")).await;
    promise("what stands is answered before the cap", standing.log_in(record(), &full).await, Create::Exists);
    let stale = Version::from_bits(version.bits() ^ 1);
    let to = case.another();
    let conflict = standing.store.rename(
        &standing.key,
        Some(stale),
        &to.key,
        fresh_version(),
        record(),
        case.ended(),
        Some(&full),
        case.now,
    );
    promise("a conflict is answered before the cap", works("rename", conflict.await), Rename::Conflict);
    standing.delete(None).await;
    let gone = standing.log_in(record(), &full).await;
    assert!(matches!(gone, Create::Gone(_)), "broken promise: a tombstone is answered before the cap: {gone:?}");
}

async fn at_once<S: SessionAdmin>(case: &Case<S>, user: &str, cap: &Cap) -> usize {
    let tasks: JoinSet<bool> = (0..LOG_INS)
        .map(|number| {
            let (case, record, cap) = (case.another(), case.record_of(user), cap.clone());
            async move {
                // Half of them were somebody before.
                if number % 2 == 0 {
                    return matches!(case.log_in(record, &cap).await, Create::Created(_));
                }
                let to = case.another();
                case.created(case.record(b"before")).await;
                matches!(case.log_in_by_renewal(&to, record, &cap).await, Rename::Renamed(_))
            }
        })
        .collect();
    tasks.join_all().await.into_iter().filter(|succeeded| *succeeded).count()
}

async fn of_many_log_ins_at_once_as_many_succeed<S: SessionAdmin>(case: Case<S>) {
    let user = case.user();
    let succeeded = at_once(&case, &user, &case.refusing(5)).await;
    promise("of many log-ins at once, as many succeed as may", succeeded, 5);
    promise("of many log-ins at once, as many live as may", case.count_of(&user).await, 5);
}

async fn of_many_log_ins_at_once_as_many_stay<S: SessionAdmin>(case: Case<S>) {
    let user = case.user();
    let succeeded = at_once(&case, &user, &case.ending(5)).await;
    promise("where the oldest ends, each log-in succeeds", succeeded, LOG_INS);
    promise("of many log-ins at once, as many live as may", case.count_of(&user).await, 5);
}
