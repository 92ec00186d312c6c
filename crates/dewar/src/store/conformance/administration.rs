//! What operators and a list of devices may rely on.

use std::collections::BTreeSet;

use super::*;

pub(super) async fn check<S, F, Fut>(make: &F)
where
    S: SessionAdmin,
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
{
    count_counts_the_living(Case::new(make).await).await;
    list_gives_a_principal_their_sessions(Case::new(make).await).await;
    list_follows_a_record_to_another_principal(Case::new(make).await).await;
    list_follows_a_record_to_another_key(Case::new(make).await).await;
    list_goes_through_all_in_pages(Case::new(make).await).await;
    paging_goes_on_where_a_record_was_deleted(Case::new(make).await).await;
    purge_removes_what_has_expired_in_small_batches(Case::new(make).await).await;
}

pub(super) type Listed = (StoreKey, Record, Version);

impl<S: SessionAdmin> Case<S> {
    pub(super) async fn count(&self) -> u64 {
        works("count", self.store.count(self.now).await)
    }

    pub(super) async fn purge(&self, limit: usize) -> usize {
        works("purge", self.store.purge(limit, self.now).await)
    }

    async fn page(&self, principal: Option<&str>, after: Option<&StoreKey>, limit: usize) -> Vec<Listed> {
        let page = works("list", self.store.list(principal, after, limit, self.now).await);
        assert!(page.len() <= limit, "broken promise: a page holds at most `limit` sessions");
        page
    }

    /// All pages, until one is shorter than `limit`.
    pub(super) async fn pages(&self, principal: Option<&str>, limit: usize) -> Vec<Listed> {
        let mut all: Vec<Listed> = Vec::new();
        loop {
            let after = all.last().map(|(key, ..)| key.clone());
            let page = self.page(principal, after.as_ref(), limit).await;
            let is_last = page.len() < limit;
            all.extend(page);
            if is_last {
                break;
            }
        }
        if let Some((last, ..)) = all.last() {
            let beyond = self.page(principal, Some(last), limit).await.len();
            promise("a page shorter than `limit` is the last", beyond, 0);
        }
        let keys: BTreeSet<_> = all.iter().map(|(key, ..)| key.clone()).collect();
        promise("no session is listed twice", all.len(), keys.len());
        all
    }

    /// Creates a record for this principal under a fresh key.
    pub(super) async fn of(&self, principal: &str) -> Case<S> {
        let case = self.another();
        case.created(case.record_of(principal)).await;
        case
    }
}

pub(super) fn keys(listed: &[Listed]) -> BTreeSet<StoreKey> {
    listed.iter().map(|(key, ..)| key.clone()).collect()
}

/// A user whom no other promise knows.
pub(super) fn fresh_principal(name: &str) -> String {
    format!("{name}-{}", fresh_key())
}

async fn count_counts_the_living<S: SessionAdmin>(case: Case<S>) {
    let before = case.count().await;
    for _ in 0..5 {
        case.another().created(case.record(b"living")).await;
    }
    let deleted = case.another();
    deleted.created(case.record(b"deleted")).await;
    deleted.delete(None).await;
    let brief = Record { idle_expires: case.now.after(MINUTE), ..case.record(b"brief") };
    case.another().created(brief).await;
    promise("count counts the living, and no tombstone", case.count().await, before + 6);
    let later = case.later(MINUTE).count().await;
    assert!(later <= before + 5, "broken promise: count counts nothing that has expired\n    actual: {later}");
}

async fn list_gives_a_principal_their_sessions<S: SessionAdmin>(case: Case<S>) {
    let ann = fresh_principal("ann_%*");
    let mut mine = BTreeSet::new();
    for _ in 0..5 {
        mine.insert(case.of(&ann).await.key);
    }
    // Names that a pattern, a prefix or a careless comparison would take for hers.
    for other in [&ann[..ann.len() - 1], &format!("{ann}x"), &ann.to_uppercase(), &ann.replace("_%*", "abc")] {
        case.of(other).await;
    }
    case.another().created(case.record(b"anonymous")).await;
    case.of(&ann).await.delete(None).await;
    let brief = case.another();
    let record = Record {
        idle_expires: case.now.after(MINUTE),
        principal: Some(ann.as_str().into()),
        label: Some("a phone".into()),
        ..case.record(b"brief")
    };
    let Written { version, epoch, .. } = brief.written(record.clone()).await;
    let record = Record { epoch: Some(epoch), ..record };

    let listed = case.pages(Some(&ann), 100).await;
    let sentence = "list gives a record with its key and version, as load does";
    let one = listed.iter().find(|(key, ..)| *key == brief.key).cloned();
    promise(sentence, one, Some((brief.key, record, version)));
    let sentence = "list gives a principal their own living sessions, and no others";
    for limit in [1, 2, 5, 100] {
        let listed = case.later(MINUTE).pages(Some(&ann), limit).await;
        promise(sentence, keys(&listed), mine.clone());
    }
    let nobody = case.pages(Some(&fresh_principal("nobody")), 10).await;
    promise("a principal without sessions has an empty list", nobody.len(), 0);
}

async fn list_follows_a_record_to_another_principal<S: SessionAdmin>(case: Case<S>) {
    let (ann, bob) = (fresh_principal("ann"), fresh_principal("bob"));
    let version = case.created(case.record(b"anonymous")).await;
    let of = |principal: &str| Record { principal: Some(principal.into()), ..case.record(b"x") };
    let own = BTreeSet::from([case.key.clone()]);
    let sentence = "a record that replace gave a principal is in the list of that principal alone";
    let version = case.replaced(version, of(&ann)).await;
    promise(sentence, keys(&case.pages(Some(&ann), 10).await), own.clone());
    let version = case.replaced(version, of(&bob)).await;
    promise(sentence, keys(&case.pages(Some(&ann), 10).await), BTreeSet::new());
    promise(sentence, keys(&case.pages(Some(&bob), 10).await), own);
    case.replaced(version, case.record(b"anonymous")).await;
    promise(sentence, keys(&case.pages(Some(&bob), 10).await), BTreeSet::new());
}

async fn list_follows_a_record_to_another_key<S: SessionAdmin>(case: Case<S>) {
    let ann = fresh_principal("ann");
    let to = case.another();
    case.created(case.record_of(&ann)).await;
    case.renamed(None, &to, Record { label: Some("moved".into()), ..case.record_of(&ann) }).await;
    let sentence = "a record that was renamed is in the list of its principal once, under its new key";
    let (record, version) = to.found(sentence).await;
    promise(sentence, case.pages(Some(&ann), 10).await, vec![(to.key.clone(), record, version)]);

    let (bob, next) = (fresh_principal("bob"), case.another());
    to.renamed(None, &next, case.record_of(&bob)).await;
    let sentence = "a record that rename gave another principal is in the list of that principal alone";
    promise(sentence, keys(&case.pages(Some(&ann), 10).await), BTreeSet::new());
    promise(sentence, keys(&case.pages(Some(&bob), 10).await), BTreeSet::from([next.key]));
}

async fn list_goes_through_all_in_pages<S: SessionAdmin>(case: Case<S>) {
    let mut mine = BTreeSet::new();
    for _ in 0..11 {
        let case = case.another();
        case.created(case.record(b"x")).await;
        mine.insert(case.key);
    }
    let deleted = case.of("somebody").await;
    deleted.delete(None).await;
    for limit in [3, 100] {
        let listed = keys(&case.pages(None, limit).await);
        let found: BTreeSet<_> = listed.intersection(&mine).cloned().collect();
        promise("list goes through all living sessions, a page at a time", found, mine.clone());
        assert!(!listed.contains(&deleted.key), "broken promise: list leaves out what was deleted");
    }
}

async fn paging_goes_on_where_a_record_was_deleted<S: SessionAdmin>(case: Case<S>) {
    let ann = fresh_principal("ann");
    for _ in 0..6 {
        case.of(&ann).await;
    }
    let first = case.page(Some(&ann), None, 3).await;
    promise("a page is full while there are more", first.len(), 3);
    for (key, ..) in &first {
        Case { key: key.clone(), ..case.clone() }.delete(None).await;
    }
    let rest = case.page(Some(&ann), first.last().map(|(key, ..)| key), 10).await;
    promise("paging goes on after a key that was deleted meanwhile", rest.len(), 3);
    promise("a deleted session is in no list", case.page(Some(&ann), None, 10).await.len(), 3);
}

async fn purge_removes_what_has_expired_in_small_batches<S: SessionAdmin>(case: Case<S>) {
    // The clean slate first: only then can what is removed be counted.
    let case = case.later(2 * HOUR);
    drain(&case, 1_000).await;
    let mut living = Vec::new();
    for _ in 0..5 {
        let case = case.another();
        case.created(case.record(b"living")).await;
        living.push(case.clone());
        let brief = Record { idle_expires: case.now.after(MINUTE), ..case.record(b"brief") };
        case.another().created(brief).await;
        let deleted = case.another();
        deleted.created(case.record(b"deleted")).await;
        deleted.delete(None).await;
    }
    promise("purge removes nothing that is living, and no tombstone before its time", case.purge(100).await, 0);
    let case = case.later(3 * MINUTE);
    let removed = drain(&case, 3).await;
    // A server that expires records by itself leaves nothing for a purge.
    assert!(
        removed == 0 || removed >= 10,
        "broken promise: purge removes all expired records and tombstones, batch by batch\n  removed {removed} of 10"
    );
    for living in living {
        living.at(case.now).found("purge removes nothing that is living").await;
    }
}

pub(super) async fn drain<S: SessionAdmin>(case: &Case<S>, limit: usize) -> usize {
    let mut total = 0;
    loop {
        let removed = case.purge(limit).await;
        assert!(removed <= limit, "broken promise: purge removes at most `limit` at a time");
        if removed == 0 {
            return total;
        }
        total += removed;
    }
}
