//! That what was revoked cannot come back.

use std::{collections::BTreeSet, sync::Mutex};

use tokio::task::{JoinSet, yield_now};

use super::{
    administration::{fresh_principal, keys},
    *,
};

/// Each is a chance for a race to go wrong.
const ROUNDS: usize = 40;

pub(super) async fn check<S, F, Fut>(make: &F)
where
    S: SessionAdmin,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    an_epoch_that_was_never_raised_is_everybodys(Case::new(make).await).await;
    a_record_carries_the_epoch_it_began_in(Case::new(make).await).await;
    a_record_that_is_given_to_somebody_begins_in_the_present_epoch(Case::new(make).await).await;
    an_epoch_only_rises(Case::new(make).await).await;
    revoke_ends_the_sessions_of_a_principal(Case::new(make).await).await;
    nothing_of_an_older_epoch_is_written(Case::new(make).await).await;
    one_lineage_passes(Case::new(make).await).await;
    one_lineage_passes_until_the_next_raise(Case::new(make).await).await;
    a_lineage_that_has_ended_does_not_pass(Case::new(make).await).await;
    one_lineage_ends_alone(Case::new(make).await).await;
    revoke_counts_only_what_it_deleted(Case::new(make).await).await;
    renames_cannot_outrun_a_revocation(Case::new(make).await).await;
    renames_cannot_outrun_the_revocation_of_their_lineage(Case::new(make).await).await;
    creates_cannot_outrun_a_revocation(Case::new(make).await).await;
    revoke_everyone_ends_every_session(Case::new(make).await).await;
    nobodys_lineage_passes_everybodys_epoch(Case::new(make).await).await;
    renames_cannot_outrun_the_revocation_of_everyone(Case::new(make).await).await;
}

impl<S: SessionAdmin> Case<S> {
    async fn epoch(&self, principal: Option<&str>) -> u64 {
        works("epoch", self.store.epoch(principal).await)
    }

    /// With [`Case::ended`] as the tombstone.
    pub(super) async fn revoke(&self, principal: &str, which: Revoke) -> u64 {
        works("revoke", self.store.revoke(principal, which, self.ended(), self.now).await)
    }

    async fn revoke_everyone(&self) -> u64 {
        works("revoke_everyone", self.store.revoke_everyone(self.ended(), self.now).await)
    }
}

/// A record that began in this epoch.
fn began(record: Record, epoch: u64) -> Record {
    Record { epoch: Some(epoch), ..record }
}

async fn an_epoch_that_was_never_raised_is_everybodys<S: SessionAdmin>(case: Case<S>) {
    let ann = fresh_principal("ann");
    let everybodys = case.epoch(None).await;
    promise("an epoch that was never raised is everybody's", case.epoch(Some(&ann)).await, everybodys);
    case.of(&ann).await;
    promise("a session does not raise the epoch of its principal", case.epoch(Some(&ann)).await, everybodys);
    case.revoke(&ann, Revoke::All).await;
    promise("a principal's epoch is not everybody's", case.epoch(None).await, everybodys);
    promise("nor anybody else's", case.epoch(Some(&fresh_principal("bob"))).await, everybodys);
}

async fn a_record_carries_the_epoch_it_began_in<S: SessionAdmin>(case: Case<S>) {
    let ann = fresh_principal("ann");
    let sentence = "a record without an epoch takes the present one, and the answer says it";
    for _ in 0..2 {
        let (case, to) = (case.another(), case.another());
        let present = case.epoch(Some(&ann)).await;
        let record = case.record_of(&ann);
        let written = case.written(record.clone()).await;
        promise(sentence, written.epoch, present);
        promise(sentence, case.load().await, Load::Found(began(record.clone(), present), written.version));
        let written = case.renamed(None, &to, record.clone()).await;
        promise(sentence, written.epoch, present);
        let expected = began(record.clone(), present);
        promise(sentence, to.load().await, Load::Found(expected.clone(), written.version));
        let version = to.replaced(written.version, expected.clone()).await;
        promise("replace leaves a record its epoch", to.load().await, Load::Found(expected, version));
        case.revoke(&ann, Revoke::All).await;
    }
    let written = case.written(case.record(b"nobody's")).await;
    promise("the epoch of a record without a principal is zero", written.epoch, 0);
}

async fn a_record_that_is_given_to_somebody_begins_in_the_present_epoch<S: SessionAdmin>(case: Case<S>) {
    let sentence = "a record that replace gives to somebody begins in the present epoch";
    let ann = fresh_principal("ann");
    let version = case.created(case.record(b"nobody's")).await;
    case.revoke(&ann, Revoke::All).await;
    let present = case.epoch(Some(&ann)).await;
    let record = case.record_of(&ann);
    let version = case.replaced(version, record.clone()).await;
    promise(sentence, case.load().await, Load::Found(began(record, present), version));
    promise("and the next revocation ends it", case.revoke(&ann, Revoke::All).await, 1);
    case.is_gone("and the next revocation ends it", &case.ended()).await;
}

async fn an_epoch_only_rises<S: SessionAdmin>(case: Case<S>) {
    let ann = fresh_principal("ann");
    let mut before = case.epoch(Some(&ann)).await;
    let early = Timestamp::from_millis(case.now.as_millis() - 3_600_000);
    for (case, which) in [
        (case.clone(), Revoke::All),
        (case.clone(), Revoke::All),
        (case.at(early), Revoke::All),
        (case.at(early), Revoke::AllBut { lineage: 7, epoch: u64::MAX }),
        (case.later(MINUTE), Revoke::AllBut { lineage: 7, epoch: u64::MAX }),
    ] {
        case.revoke(&ann, which).await;
        let after = case.epoch(Some(&ann)).await;
        assert!(after > before, "broken promise: each raise gives a later epoch\n  {after} after {before}");
        let at_least = case.now.as_millis();
        assert!(
            after >= at_least,
            "broken promise: an epoch is at least the time of its raise\n  {after} at {at_least}"
        );
        before = after;
    }
    case.revoke(&ann, Revoke::Lineage(7)).await;
    promise("to end one lineage leaves the epoch", case.epoch(Some(&ann)).await, before);
}

async fn revoke_ends_the_sessions_of_a_principal<S: SessionAdmin>(case: Case<S>) {
    let (ann, bob) = (fresh_principal("ann"), fresh_principal("bob"));
    let (one, two) = (case.of(&ann).await, case.of(&ann).await);
    let (bobs, nobodys) = (case.of(&bob).await, case.another());
    nobodys.created(case.record(b"nobody's")).await;
    let why = Why::Renewed { successor: Some(fresh_key()) };
    let dead = Tombstone::new(why, fresh_version().bits(), case.now).until(Some(case.now.after(HOUR)));
    let revoked = case.store.revoke(&ann, Revoke::All, dead.clone(), case.now).await;
    promise("revoke counts what it deleted", works("revoke", revoked), 2);
    for ended in [one, two] {
        ended.is_gone("revoke leaves the tombstone, as delete does", &dead).await;
    }
    promise("a revoked session is in no list", keys(&case.pages(Some(&ann), 10).await), BTreeSet::new());
    for living in [bobs, nobodys] {
        living.found("revoke ends the sessions of one principal alone").await;
    }
    let again = case.of(&ann).await;
    again.found("a session that begins after a revocation lives").await;
    promise("it is listed", keys(&case.pages(Some(&ann), 10).await), BTreeSet::from([again.key.clone()]));
    promise("and the next revocation ends it", case.revoke(&ann, Revoke::All).await, 1);
    again.is_gone("and the next revocation ends it", &case.ended()).await;
}

async fn nothing_of_an_older_epoch_is_written<S: SessionAdmin>(case: Case<S>) {
    let ann = fresh_principal("ann");
    for which in [Revoke::All, Revoke::AllBut { lineage: 7, epoch: u64::MAX }] {
        let (case, from) = (case.another(), case.another());
        let before = case.epoch(Some(&ann)).await;
        case.revoke(&ann, which).await;
        let present = case.epoch(Some(&ann)).await;
        let sentence = "create refuses a record of an older epoch as Outdated, and writes nothing";
        for older in [before, present - 1] {
            promise(sentence, case.create(began(case.record_of(&ann), older)).await, Create::Outdated);
            promise(sentence, case.load().await, Load::Missing);
        }
        let record = case.record(b"nobody's");
        let version = from.created(record.clone()).await;
        let sentence = "rename refuses a record of an older epoch as Outdated, and writes nothing";
        for at in [None, Some(version)] {
            let renamed = from.rename(at, &case, began(case.record_of(&ann), before)).await;
            promise(sentence, renamed, Rename::Outdated);
            promise(sentence, case.load().await, Load::Missing);
            promise(sentence, from.load().await, Load::Found(record.clone(), version));
        }
        promise("what is Outdated is in no list", keys(&case.pages(Some(&ann), 10).await), BTreeSet::new());
        case.created(began(case.record_of(&ann), present)).await;
        case.found("a record of the present epoch is written").await;
        case.revoke(&ann, Revoke::All).await;
    }
}

async fn one_lineage_passes<S: SessionAdmin>(case: Case<S>) {
    let ann = fresh_principal("ann");
    let record = case.record_of(&ann);
    let before = case.written(record.clone()).await.epoch;
    let others = [case.of(&ann).await, case.of(&ann).await];
    let sentence = "revoke ends all sessions but the lineage that it names";
    promise(sentence, case.revoke(&ann, Revoke::AllBut { lineage: record.lineage, epoch: before }).await, 2);
    for other in others {
        other.is_gone(sentence, &case.ended()).await;
    }
    promise(sentence, keys(&case.pages(Some(&ann), 10).await), BTreeSet::from([case.key.clone()]));

    let sentence = "the lineage that passes goes on as if it had begun after";
    let mut last = case.clone();
    for _ in 0..2 {
        let next = case.another();
        last.renamed(None, &next, began(record.clone(), before)).await;
        next.found(sentence).await;
        last = next;
    }
    let stranger = case.another();
    let refused = stranger.create(began(case.record_of(&ann), before)).await;
    promise("no other lineage passes", refused, Create::Outdated);
}

async fn one_lineage_passes_until_the_next_raise<S: SessionAdmin>(case: Case<S>) {
    let sentence = "the lineage that passed ends with the next raise";
    for next in [Revoke::All, Revoke::AllBut { lineage: 7, epoch: u64::MAX }] {
        let ann = fresh_principal("ann");
        let (case, to) = (case.another(), case.another());
        let record = case.record_of(&ann);
        let before = case.written(record.clone()).await.epoch;
        case.revoke(&ann, Revoke::AllBut { lineage: record.lineage, epoch: before }).await;
        promise(sentence, case.revoke(&ann, next).await, 1);
        case.is_gone(sentence, &case.ended()).await;
        promise(sentence, to.create(began(record, before)).await, Create::Outdated);
    }
}

async fn a_lineage_that_has_ended_does_not_pass<S: SessionAdmin>(case: Case<S>) {
    let sentence = "a lineage that has ended does not pass, whoever asks for it";
    let ann = fresh_principal("ann");
    let record = case.record_of(&ann);
    let before = case.written(record.clone()).await.epoch;
    let but = Revoke::AllBut { lineage: record.lineage, epoch: before };
    case.revoke(&ann, Revoke::All).await;
    let newer = case.another();
    newer.created(case.record_of(&ann)).await;
    promise(sentence, case.revoke(&ann, but).await, 1);
    promise(sentence, case.another().create(began(record.clone(), before)).await, Create::Outdated);

    let sentence = "a lineage that passed may pass again";
    let present = case.epoch(Some(&ann)).await;
    let to = case.another();
    to.created(began(record.clone(), present)).await;
    let but = Revoke::AllBut { lineage: record.lineage, epoch: present };
    for _ in 0..2 {
        promise(sentence, case.revoke(&ann, but).await, 0);
        to.found(sentence).await;
    }
}

async fn one_lineage_ends_alone<S: SessionAdmin>(case: Case<S>) {
    let (ann, bob) = (fresh_principal("ann"), fresh_principal("bob"));
    let record = case.record_of(&ann);
    let (from, bobs) = (case.another(), case.another());
    from.created(record.clone()).await;
    from.renamed(None, &case, record.clone()).await;
    bobs.created(Record { principal: Some(bob.as_str().into()), ..record.clone() }).await;
    let other = case.of(&ann).await;
    let before = case.epoch(Some(&ann)).await;

    let sentence = "to end one lineage ends it alone, under whatever key it lives";
    promise(sentence, case.revoke(&fresh_principal("carol"), Revoke::Lineage(record.lineage)).await, 0);
    promise(sentence, case.revoke(&ann, Revoke::Lineage(fresh_version().bits())).await, 0);
    case.found(sentence).await;
    promise(sentence, case.revoke(&ann, Revoke::Lineage(record.lineage)).await, 1);
    case.is_gone(sentence, &case.ended()).await;
    other.found(sentence).await;
    bobs.found(sentence).await;
    promise(sentence, keys(&case.pages(Some(&ann), 10).await), BTreeSet::from([other.key.clone()]));
    promise("to end one lineage leaves the epoch", case.epoch(Some(&ann)).await, before);
    promise(sentence, case.revoke(&ann, Revoke::Lineage(record.lineage)).await, 0);
}

async fn revoke_counts_only_what_it_deleted<S: SessionAdmin>(case: Case<S>) {
    let ann = fresh_principal("ann");
    let brief = case.another();
    let record = Record { idle_expires: case.now.after(MINUTE), ..case.record_of(&ann) };
    brief.created(record.clone()).await;
    case.of(&ann).await.delete(None).await;
    case.of(&ann).await;
    let later = case.later(MINUTE);
    let sentence = "revoke counts only what it deleted: nothing expired, nothing that was dead";
    promise(sentence, later.revoke(&ann, Revoke::Lineage(record.lineage)).await, 0);
    promise(sentence, later.revoke(&ann, Revoke::All).await, 1);
    promise(sentence, later.revoke(&ann, Revoke::All).await, 0);
    promise(sentence, later.revoke(&ann, Revoke::AllBut { lineage: 7, epoch: u64::MAX }).await, 0);
}

/// Sessions that are renamed as fast as can be, until they are refused.
struct Runners<S> {
    case: Case<S>,
    keys: Arc<Mutex<Vec<StoreKey>>>,
    tasks: JoinSet<()>,
}

impl<S: SessionAdmin> Runners<S> {
    async fn start(case: &Case<S>, records: Vec<Record>) -> Self {
        let mut runners = Self { case: case.clone(), keys: Arc::default(), tasks: JoinSet::new() };
        for record in records {
            let first = case.another();
            let epoch = first.written(record.clone()).await.epoch;
            runners.tasks.spawn(run(first, began(record, epoch), Arc::clone(&runners.keys)));
        }
        runners
    }

    /// None lives, neither now nor when all have stopped.
    async fn are_dead(mut self, promised: &str) {
        self.no_key_lives(promised).await;
        while let Some(stopped) = self.tasks.join_next().await {
            stopped.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        }
        self.no_key_lives(promised).await;
    }

    async fn no_key_lives(&self, promised: &str) {
        let keys = self.keys.lock().expect("no task panics with it").clone();
        for key in keys {
            let found = Case { key, ..self.case.clone() }.load().await;
            assert!(!matches!(found, Load::Found(..)), "broken promise: {promised}\n     load said {found:?}");
        }
    }
}

async fn run<S: SessionAdmin>(first: Case<S>, record: Record, keys: Arc<Mutex<Vec<StoreKey>>>) {
    let remember = |case: &Case<S>| keys.lock().expect("no task panics with it").push(case.key.clone());
    let mut last = first;
    remember(&last);
    for _ in 0..500 {
        let next = last.another();
        remember(&next);
        if !matches!(last.rename(None, &next, record.clone()).await, Rename::Renamed(_)) {
            return;
        }
        last = next;
        yield_now().await;
    }
}

async fn some_steps(round: usize) {
    for _ in 0..round {
        yield_now().await;
    }
}

async fn renames_cannot_outrun_a_revocation<S: SessionAdmin>(case: Case<S>) {
    let sentence = "no session that is renamed meanwhile outruns a revocation";
    for round in 0..ROUNDS {
        let ann = fresh_principal("ann");
        let runners = Runners::start(&case, (0..4).map(|_| case.record_of(&ann)).collect()).await;
        some_steps(round).await;
        let deleted = case.revoke(&ann, Revoke::All).await;
        assert!(deleted <= 4, "broken promise: revoke counts only what it deleted\n    actual: {deleted} of 4");
        runners.are_dead(sentence).await;
        promise(sentence, case.pages(Some(&ann), 10).await, Vec::new());
    }
}

async fn renames_cannot_outrun_the_revocation_of_their_lineage<S: SessionAdmin>(case: Case<S>) {
    let sentence = "no session that is renamed meanwhile outruns the revocation of its lineage";
    for round in 0..ROUNDS {
        let ann = fresh_principal("ann");
        let record = case.record_of(&ann);
        let runners = Runners::start(&case, vec![record.clone()]).await;
        some_steps(round).await;
        promise(sentence, case.revoke(&ann, Revoke::Lineage(record.lineage)).await, 1);
        runners.are_dead(sentence).await;
        promise(sentence, case.pages(Some(&ann), 10).await, Vec::new());
    }
}

async fn creates_cannot_outrun_a_revocation<S: SessionAdmin>(case: Case<S>) {
    let sentence = "no session of an older epoch is created while or after a revocation runs";
    for round in 0..ROUNDS {
        let ann = fresh_principal("ann");
        let before = case.epoch(Some(&ann)).await;
        let creates: JoinSet<()> = (0..8)
            .map(|_| {
                let (case, record) = (case.another(), began(case.record_of(&ann), before));
                async move {
                    some_steps(round / 4).await;
                    case.create(record).await;
                }
            })
            .collect();
        some_steps(round / 2).await;
        case.revoke(&ann, Revoke::All).await;
        promise(sentence, case.pages(Some(&ann), 10).await, Vec::new());
        creates.join_all().await;
        promise(sentence, case.pages(Some(&ann), 10).await, Vec::new());
    }
}

async fn revoke_everyone_ends_every_session<S: SessionAdmin>(case: Case<S>) {
    let (ann, bob) = (fresh_principal("ann"), fresh_principal("bob"));
    let (anns, bobs, nobodys, dead) = (case.of(&ann).await, case.of(&bob).await, case.another(), case.another());
    nobodys.created(case.record(b"nobody's")).await;
    dead.delete(None).await;
    let before = case.epoch(Some(&ann)).await;
    let living = case.count().await;

    promise("revoke_everyone counts what it deleted", case.revoke_everyone().await, living);
    for ended in [anns, bobs, nobodys] {
        ended.is_gone("revoke_everyone ends every session, and leaves its tombstone", &case.ended()).await;
    }
    dead.is_gone("revoke_everyone leaves tombstones as they are", &dead.ended()).await;
    let present = case.epoch(None).await;
    let at_least = case.now.as_millis();
    assert!(
        present >= at_least && present > before,
        "broken promise: revoke_everyone raises the epoch of everybody\n    actual: {present} after {before}, at {at_least}"
    );
    promise("everybody's epoch is each principal's", case.epoch(Some(&ann)).await, present);
    promise("everybody's epoch is each principal's", case.epoch(Some(&fresh_principal("carol"))).await, present);

    let (from, to) = (case.another(), case.another());
    let sentence = "nothing that began before everybody's epoch was raised is written";
    promise(sentence, to.create(began(case.record_of(&ann), before)).await, Create::Outdated);
    promise(sentence, to.create(began(case.record(b"nobody's"), before)).await, Create::Outdated);
    from.created(case.record(b"x")).await;
    promise(sentence, from.rename(None, &to, began(case.record_of(&ann), before)).await, Rename::Outdated);
    promise(sentence, to.load().await, Load::Missing);
    let written = to.written(case.record_of(&ann)).await;
    promise("what begins afterwards takes the present epoch", written.epoch, present);
    case.revoke(&ann, Revoke::All).await;
    let own = case.epoch(Some(&ann)).await;
    assert!(own > present, "broken promise: an epoch is later than any that was given before\n  {own} after {present}");
    case.revoke_everyone().await;
    let everybodys = case.epoch(None).await;
    assert!(everybodys > own, "broken promise: an epoch is later than any that was given before");
}

async fn nobodys_lineage_passes_everybodys_epoch<S: SessionAdmin>(case: Case<S>) {
    let ann = fresh_principal("ann");
    let record = case.record_of(&ann);
    let before = case.written(record.clone()).await.epoch;
    case.revoke(&ann, Revoke::AllBut { lineage: record.lineage, epoch: before }).await;
    case.revoke_everyone().await;
    let sentence = "revoke_everyone ends also the lineage that passed";
    case.is_gone(sentence, &case.ended()).await;
    promise(sentence, case.another().create(began(record, before)).await, Create::Outdated);
}

async fn renames_cannot_outrun_the_revocation_of_everyone<S: SessionAdmin>(case: Case<S>) {
    let sentence = "no session that is renamed meanwhile outruns the revocation of everyone";
    for round in 0..ROUNDS {
        let records = (0..4).map(|_| case.record_of(&fresh_principal("ann"))).collect();
        let runners = Runners::start(&case, records).await;
        some_steps(round).await;
        case.revoke_everyone().await;
        runners.are_dead(sentence).await;
        promise(sentence, case.count().await, 0);
    }
}
